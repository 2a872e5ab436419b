//! Plays a chat through a store and checks every figure: the whole crate at work in one program.
//! Owns: the order of events and the exit code. May touch: every module here, the store's directory.
//! Never: calls a recount wrong; if it and the store differ, the run fails (exit code 1).
//!
//! A chat is a script (`town` or `import`): steps, each a pure function of the input. `run` takes them
//! to the store and to the `recount`; `report` prints what a phone would show; `check` compares.

mod afterthoughts;
mod check;
mod devices;
mod import;
mod log;
mod options;
mod progress;
mod recount;
mod report;
mod run;
mod steps;
mod town;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use restante::{Durability, ManualClock, Store, Timestamp};

use crate::import::Import;
use crate::log::Log;
use crate::options::{Options, USAGE};
use crate::progress::Progress;
use crate::report::grouped;
use crate::run::Run;
use crate::steps::{Result, Script};
use crate::town::{Plan, Town};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) if options.help => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(options) => options,
        Err(error) => {
            eprintln!("replay: {error}\n\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match replay(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Whether everything was right.
fn replay(options: &Options) -> Result<bool> {
    // A log is read once before anything is made, so a bad line leaves nothing behind.
    let (mut script, messages) = script(options)?;
    let directory = Directory::prepare(options)?;
    let durability = match options.durability {
        Durability::Sync => "sync: each answer waits for the disk",
        _ => "buffered: survives a killed process; synced once at the end",
    };
    println!("store: {}", directory.path.display());
    println!("durability: {durability}");

    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let store = open(&directory.path, options, &clock)?;
    if options.resume {
        let recovery = store.recovery();
        let end = if recovery.clean { "cleanly closed" } else { "not closed" };
        println!("resumed at version {}: {end}, {} changes replayed", store.version().get(), grouped(recovery.changes));
    }
    let mut run = run::run(script.as_mut(), &store, &clock, Progress::new(messages))?;
    report::totals(&run);
    report::devices(&run, script.scene(), script.names());
    report::phone(&store, &run.recount, script.names())?;

    let (store, digest_kept) = reopen(store, &directory.path, options, &clock)?;
    let is_right = check(&store, &mut run, &clock)?;
    store.close()?;
    let is_right = is_right && digest_kept;
    directory.tidy(is_right)?;
    Ok(is_right)
}

/// The script, and how many messages to expect of it.
fn script(options: &Options) -> Result<(Box<dyn Script>, u64)> {
    let Some(file) = &options.file else {
        let plan = Plan {
            seed: options.seed.unwrap_or(1),
            people: options.users.unwrap_or(400),
            crowd: options.crowd.unwrap_or(30_000),
            messages: options.messages.unwrap_or(200_000),
        };
        println!(
            "a town of {} people and a group of {}, seed {}",
            grouped(plan.people),
            grouped(plan.crowd),
            plan.seed
        );
        return Ok((Box::new(Town::new(plan)), plan.messages));
    };
    let limit = options.messages.unwrap_or(u64::MAX);
    let messages = Log::count(file, limit)?;
    println!("{}: {} messages", file.display(), grouped(messages));
    Ok((Box::new(Import::open(file, limit)?), messages))
}

fn open(path: &Path, options: &Options, clock: &Arc<ManualClock>) -> Result<Store> {
    // The script says when the store is maintained, so that every run makes the same changes.
    let store_options = restante::Options::default().durability(options.durability).clock(clock.clone());
    let store_options = store_options.maintain(false);
    Ok(Store::open(path, store_options)?)
}

/// Closes and opens the store; whether its digest is still the same.
fn reopen(store: Store, path: &Path, options: &Options, clock: &Arc<ManualClock>) -> Result<(Store, bool)> {
    let (before, version) = (store.state_digest()?, store.version());
    println!("\ndigest {before:016x} at version {}", version.get());
    store.close()?;
    let timed = Instant::now();
    let store = open(path, options, clock)?;
    let elapsed = timed.elapsed();
    let after = store.state_digest()?;
    let is_same = (before, version) == (after, store.version());
    println!(
        "reopened in {:.1} ms, {} changes replayed: {}",
        elapsed.as_secs_f64() * 1e3,
        grouped(store.recovery().changes),
        if is_same { "same digest" } else { "ANOTHER DIGEST" }
    );
    if !is_same {
        eprintln!("WRONG digest after reopening: want={before:016x} got={after:016x}");
    }
    Ok((store, is_same))
}

fn check(store: &Store, run: &mut Run, clock: &Arc<ManualClock>) -> Result<bool> {
    let timed = Instant::now();
    let verdict = check::check(store, &run.recount, &mut run.devices, restante::Clock::now(clock.as_ref()))?;
    verdict.print();
    println!("the checks took {:.2} s", timed.elapsed().as_secs_f64());
    Ok(verdict.is_right())
}

/// Where the store lies, and whether it goes when all is done.
struct Directory {
    path: PathBuf,
    is_temporary: bool,
}

impl Directory {
    /// A directory the user named is never emptied; the temporary one is, unless it is to be resumed.
    fn prepare(options: &Options) -> Result<Directory> {
        let Some(path) = options.store.clone() else {
            let path = std::env::temp_dir().join("restante-replay");
            if !options.resume && path.exists() {
                std::fs::remove_dir_all(&path).map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
            }
            return Ok(Directory { path, is_temporary: !options.keep });
        };
        let is_used = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if is_used && !options.resume {
            return Err(format!("{} is not empty: name another directory, or --resume", path.display()).into());
        }
        Ok(Directory { path, is_temporary: false })
    }

    /// A run that found something wrong leaves its store for whoever looks into it.
    fn tidy(self, is_right: bool) -> Result<()> {
        if self.is_temporary && is_right {
            std::fs::remove_dir_all(&self.path).map_err(|error| format!("cannot remove the store: {error}"))?;
        } else {
            println!("the store stays in {}", self.path.display());
        }
        Ok(())
    }
}
