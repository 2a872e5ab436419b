//! What a soak is asked to do on the command line.
//! Owns: the flags, their defaults and what is said about wrong ones. May touch: nothing.
//! Never: looks at the disk.

use std::path::PathBuf;

pub const USAGE: &str = "\
usage: cargo run --release --example soak -- [options]

Writes far more than memory may hold, watches speed and memory while it does so, and looks at
what came of it: bytes on disk and written, opening, pages. Needs about twice --bytes on the disk.

  --bytes N           bytes of bodies, in each kind of traffic; default: 10,000,000,000
  --timelines N       direct timelines; default: 2,000,000
  --groups N          groups of 50; default: 10,000
  --traffic KIND      dense (busy groups, chats in bursts), sparse (each timeline rarely) or both,
                      one after the other, in stores of their own; default: both
  --memory N          memory_bytes_max; default: 268,435,456
  --batch N           messages of an append; default: 100
  --fan-in N          merge_fan_in; default: the store's
  --directory DIR     where the stores go; default: the temporary directory
  --pages N           pages of each measurement; default: 2,000
  --drop-caches       empty the machine's page cache for the cold figures: needs root, and every
                      other process on the machine feels it
  --keep              do not remove the stores
  --seed N            other traffic; default: 1
  --help              this";

/// Bytes of a message's body.
pub const BODY_BYTES: usize = 120;
/// Members of a group.
pub const GROUP_MEMBERS: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dense,
    Sparse,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dense => "dense",
            Kind::Sparse => "sparse",
        }
    }
}

pub struct Options {
    pub bytes: u64,
    pub timelines: u64,
    pub groups: u64,
    pub kinds: Vec<Kind>,
    pub memory: u64,
    pub batch: usize,
    pub fan_in: Option<usize>,
    pub directory: PathBuf,
    pub pages: u64,
    pub drop_caches: bool,
    pub keep: bool,
    pub seed: u64,
    pub help: bool,
    /// Append to the store at this path until killed: the soak starts itself so.
    pub child: Option<PathBuf>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            bytes: 10_000_000_000,
            timelines: 2_000_000,
            groups: 10_000,
            kinds: vec![Kind::Dense, Kind::Sparse],
            memory: 256 << 20,
            batch: 100,
            fan_in: None,
            directory: std::env::temp_dir(),
            pages: 2_000,
            drop_caches: false,
            keep: false,
            seed: 1,
            help: false,
            child: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bytes" => options.bytes = number(&argument, &value()?, 1_000_000, 1 << 50)?,
                "--timelines" => options.timelines = number(&argument, &value()?, 2_000, 1 << 32)?,
                "--groups" => options.groups = number(&argument, &value()?, 1, 1 << 24)?,
                "--traffic" => {
                    options.kinds = match value()?.as_str() {
                        "dense" => vec![Kind::Dense],
                        "sparse" => vec![Kind::Sparse],
                        "both" => vec![Kind::Dense, Kind::Sparse],
                        other => return Err(format!("traffic is dense, sparse or both: got={other}")),
                    }
                }
                "--memory" => options.memory = number(&argument, &value()?, 1 << 20, 1 << 40)?,
                "--batch" => options.batch = number(&argument, &value()?, 1, 4_096)? as usize,
                "--fan-in" => options.fan_in = Some(number(&argument, &value()?, 2, 64)? as usize),
                "--directory" => options.directory = value()?.into(),
                "--pages" => options.pages = number(&argument, &value()?, 1, 1 << 20)?,
                "--drop-caches" => options.drop_caches = true,
                "--keep" => options.keep = true,
                "--seed" => options.seed = number(&argument, &value()?, 0, u64::MAX)?,
                "--child" => options.child = Some(value()?.into()),
                "--help" | "-h" => options.help = true,
                other => return Err(format!("unknown option: {other}")),
            }
        }
        Ok(options)
    }

    /// Messages that each kind of traffic has.
    pub fn messages(&self) -> u64 {
        self.bytes.div_ceil(BODY_BYTES as u64)
    }
}

fn number(flag: &str, text: &str, min: u64, max: u64) -> Result<u64, String> {
    match text.replace(['_', ','], "").parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(format!("{flag} takes a number: want={min}..={max} got={text}")),
    }
}
