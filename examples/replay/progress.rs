//! Shows how far a replay is: a bar on a terminal, else a line at every tenth.
//! Owns: standard error while a run lasts. May touch: nothing.
//! Never: writes to standard output.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use restante::Version;

use crate::report::grouped;

pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    tenths: u64,
}

impl Progress {
    pub fn new(total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{bar:40} {human_pos} of {human_len} messages  {per_sec}  {eta} left";
            let bar = ProgressBar::new(total);
            match ProgressStyle::with_template(style) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Progress { bar, total, done: 0, tenths: 0 }
    }

    /// So many messages more are in the store, which is at `version` and has acknowledged it.
    pub fn advance(&mut self, messages: u64, version: Version) {
        self.done += messages;
        if let Some(bar) = &self.bar {
            bar.inc(messages);
            return;
        }
        let tenths = (self.done * 10).checked_div(self.total).unwrap_or(10).min(10);
        if tenths > self.tenths {
            self.tenths = tenths;
            eprintln!(
                "{:3}%  {} of {} messages  version {}",
                tenths * 10,
                grouped(self.done),
                grouped(self.total),
                version.get()
            );
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
