//! What a replay is asked to do on the command line.
//! Owns: the flags, their defaults and what is said about wrong ones. May touch: nothing.
//! Never: looks at the disk.

use std::path::PathBuf;

use restante::{Durability, limits};

pub const USAGE: &str = "\
usage: cargo run --release --example replay -- [FILE] [options]

Plays a chat through a store, with recalls, edits, mentions, hidden messages and several devices;
shows what a phone would show, reopens the store, and checks every unread figure, goto and mention
badge, every message and some receipts against a recount of its own. Without FILE it plays a small town's thirty days;
FILE is a chat log: time, room, sender, text, mentions between tabs (.tsv, or .tsv.zst).

  --store DIR                  where the store goes, and stays; default: a temporary directory
  --resume                     take up a replay that was killed, in the same directory
  --keep                       do not remove the temporary directory at the end
  --durability sync|buffered   default: buffered, as for an import
  --messages N                 so many messages; default: 200,000, or all of FILE
  --users N                    townspeople who chat, 10 to 10,000; default: 400
  --crowd N                    members of the town's one big group, 3 to 50,000; default: 30,000
  --seed N                     another town; default: 1
  --help                       this";

pub struct Options {
    pub file: Option<PathBuf>,
    pub store: Option<PathBuf>,
    pub resume: bool,
    pub keep: bool,
    pub durability: Durability,
    pub messages: Option<u64>,
    pub users: Option<u64>,
    pub crowd: Option<u64>,
    pub seed: Option<u64>,
    pub help: bool,
}

impl Options {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut arguments = arguments;
        let mut options = Options {
            file: None,
            store: None,
            resume: false,
            keep: false,
            durability: Durability::Buffered,
            messages: None,
            users: None,
            crowd: None,
            seed: None,
            help: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--store" => options.store = Some(value()?.into()),
                "--resume" => options.resume = true,
                "--keep" => options.keep = true,
                "--durability" => {
                    options.durability = match value()?.as_str() {
                        "sync" => Durability::Sync,
                        "buffered" => Durability::Buffered,
                        other => return Err(format!("durability is sync or buffered: got={other}")),
                    }
                }
                "--messages" => options.messages = Some(number(&argument, &value()?, 1, 1_000_000_000)?),
                "--users" => options.users = Some(number(&argument, &value()?, 10, 10_000)?),
                "--crowd" => options.crowd = Some(number(&argument, &value()?, 3, limits::JOIN_USERS_MAX as u64)?),
                "--seed" => options.seed = Some(number(&argument, &value()?, 0, u64::MAX)?),
                "--help" | "-h" => options.help = true,
                flag if flag.starts_with('-') => return Err(format!("unknown option: {flag}")),
                _ if options.file.is_some() => return Err(format!("only one file, please: got={argument}")),
                _ => options.file = Some(argument.into()),
            }
        }
        if options.file.is_some() && (options.users.is_some() || options.crowd.is_some() || options.seed.is_some()) {
            return Err("--users, --crowd and --seed are for the town, not for a file".into());
        }
        Ok(options)
    }
}

fn number(flag: &str, text: &str, min: u64, max: u64) -> Result<u64, String> {
    match text.replace(['_', ','], "").parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(format!("{flag} takes a number: want={min}..={max} got={text}")),
    }
}
