//! What a store does with its files by itself, done on purpose and often: sealing, merging, purging, letting go.
//! Owns: how small files and budgets are, where in a run that happens, what is seen of it. May touch: `run`, `op`.
//! Never: changes anything that a reader could tell.

use std::collections::BTreeSet;

use restante::Options;

use super::op::{How, Op, Write};
use super::run::{Checked, Run, must, same};
use super::word::{Ask, At, Post, Text, To, USERS, With, Within};
use crate::support::Rng;

/// Timelines that only fill the memory, each of two users of its own.
const CROWD: u64 = 100;
/// So many of them are written to at once.
const AT_ONCE: u64 = 25;

/// How soon a store needs another file, and lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub memory_bytes_max: Option<u64>,
    pub merge_fan_in: usize,
}

impl Sizes {
    /// Of a store that does all that as late as it can.
    pub const LARGE: Sizes = Sizes { memory_bytes_max: None, merge_fan_in: 16 };

    pub fn draw(seed: u64) -> Sizes {
        let mut rng = Rng::new(seed ^ 0x517e);
        let memory_bytes_max = if rng.percent(90) { Some(64 << 10) } else { None };
        Sizes { memory_bytes_max, merge_fan_in: rng.between(2, 4) as usize }
    }

    pub fn set(self, options: Options) -> Options {
        let options = options.merge_fan_in(self.merge_fan_in);
        match self.memory_bytes_max {
            Some(bytes) => options.memory_bytes_max(bytes),
            None => options,
        }
    }
}

/// Puts between the operations of a run what turns its files over.
pub fn sprinkle(seed: u64, ops: Vec<Op>) -> Vec<Op> {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let seal_chance = rng.pick(&[0, 3, 10, 30]);
    let purge_chance = rng.pick(&[0, 1, 5]);
    let crowd_chance = rng.pick(&[0, 3, 3]);
    let mut sprinkled = Vec::with_capacity(2 * ops.len());
    if crowd_chance > 0 {
        sprinkled.extend((0..CROWD / AT_ONCE).map(|part| Op::Crowd { first: (part * AT_ONCE) as u8, looks: false }));
    }
    for op in ops {
        sprinkled.push(op);
        if rng.percent(seal_chance) {
            sprinkled.push(Op::Seal);
        }
        if rng.percent(purge_chance) {
            sprinkled.push(Op::Purge);
        }
        if rng.percent(crowd_chance) {
            let first = rng.below(CROWD - AT_ONCE + 1) as u8;
            sprinkled.push(Op::Crowd { first, looks: rng.percent(30) });
        }
        if rng.percent(1) {
            sprinkled.push(Op::Pause(rng.percent(30)));
        }
        if rng.percent(seal_chance) && rng.percent(10) {
            sprinkled.push(Op::Look);
        }
    }
    sprinkled
}

/// The files of a store, as they were last seen.
#[derive(Debug, Default)]
pub struct Turnover {
    pub names: BTreeSet<String>,
}

impl Run<'_> {
    /// Seals, merges, and holds that nobody can tell.
    pub fn seal(&mut self) -> Checked {
        self.sync()?;
        let before = must("digest", self.store().state_digest())?;
        must("seal", self.store().seal())?;
        self.sync()?;
        same("digest after sealing", &must("digest", self.store().state_digest())?, &before)?;
        self.traps.hit("disk: sealed");
        self.note_files()
    }

    /// Takes out what nobody may see, and holds that nobody can tell.
    pub fn purge(&mut self) -> Checked {
        self.sync()?;
        let before = must("digest", self.store().state_digest())?;
        let purged = must("purge", self.store().purge())?;
        self.sync()?;
        same("digest after purging", &must("digest", self.store().state_digest())?, &before)?;
        self.traps.hit_if(purged.files > 0, "disk: purged");
        let again = must("purge again", self.store().purge())?;
        same("files that a second purge finds", &again.files, &0)?;
        self.note_files()
    }

    pub fn pause(&mut self, pause: bool) -> Checked {
        self.store().pause_merges(pause);
        Ok(())
    }

    /// Users whom nobody else knows write to each other, or look.
    pub fn crowd(&mut self, first: u8, looks: bool) -> Checked {
        let pairs = (first..first + AT_ONCE as u8).map(|number| {
            let by = USERS.len() as u8 + 2 * number;
            (by, by + 1)
        });
        if looks {
            let ask = Ask { newest: true, within: Within::All, limit: Some(3), bytes: None };
            return pairs.into_iter().try_for_each(|(one, other)| {
                self.ask_history(one, With::User(other), &ask)?;
                self.ask_totals(other)
            });
        }
        let posts: Vec<Post> = pairs
            .map(|(by, other)| Post {
                by,
                to: To::User(other),
                id: by % 3,
                text: Text(by, usize::from(by)),
                kind: 0,
                counts: by % 5 > 0,
                at: At::Unset,
                mentions: 0,
                alerts: 0,
            })
            .collect();
        posts.into_iter().try_for_each(|post| self.write(How::Plain, &Write::Append(post)))
    }

    /// What happened to the files since they were last looked at.
    pub fn note_files(&mut self) -> Checked {
        let names = self.file_names();
        let before = std::mem::replace(&mut self.turnover.names, names.clone());
        let is_gone = |kind: &str| before.iter().any(|name| name.ends_with(kind) && !names.contains(name));
        let is_new = |kind: &str| names.iter().any(|name| name.ends_with(kind) && !before.contains(name));
        let met = [
            (is_gone(".rows"), "disk: rows merged"),
            (is_new(".messages"), "disk: messages merged"),
            (is_gone(".messages"), "disk: merged messages merged again"),
            (is_gone(".journal"), "disk: a journal is gone"),
        ];
        met.into_iter().for_each(|(is_met, name)| self.traps.hit_if(is_met, name));
        Ok(())
    }
}
