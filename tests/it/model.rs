//! The model test: random operations against the store and a plain list of changes, every answer compared.
//! Owns: how many sequences run, shrinking, named sequences that once failed. May touch: its submodules.
//! Never: knows how the store works; the model is written from what the store promises.
//!
//! `RESTANTE_MODEL_SEQUENCES=20000 cargo test --release --test it model` is the long soak;
//! `RESTANTE_MODEL_SEED=n` plays one sequence again and prints its operations.

// What is asked.
mod word;

mod op;

mod draw;

mod dice;

// What is right.
mod answer;

mod change;

mod row;

mod state;

mod world;

mod judge;

mod judge_sessions;

mod judge_groups;

mod look;

mod list;

// Both at once.
mod run;

mod write;

mod ask;

mod ask_more;

mod clocks;

mod follow;

mod copy;

mod turnover;

// What was met, and what once failed.
mod trap;

mod note;

mod note_sessions;

mod note_look;

mod once_failed;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use draw::{Setup, sequence};
use op::Op;
use run::Run;
use trap::Traps;

use crate::support::number_from_env;

const SEQUENCES: u64 = 500;
/// A run is played again at most so often to find a shorter list that fails.
const SHRINKS_MAX: usize = 600;

#[test]
fn random_sequences_match_the_model() {
    if let Some(seed) = number_from_env("RESTANTE_MODEL_SEED") {
        let (setup, ops) = sequence(seed);
        eprintln!("{setup:?}\n{}", listed(&ops));
        return check(&setup, &ops);
    }
    let sequences = number_from_env("RESTANTE_MODEL_SEQUENCES").unwrap_or(SEQUENCES);
    let (next, has_failed) = (AtomicU64::new(1), AtomicBool::new(false));
    let (failed, traps) = (Mutex::new(Vec::new()), Mutex::new(Traps::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let mut met = Traps::default();
                while !has_failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > sequences {
                        break;
                    }
                    let (setup, ops) = sequence(seed);
                    if play(&setup, &ops, &mut met).is_err() {
                        has_failed.store(true, Ordering::Relaxed);
                        failed.lock().unwrap().push(seed);
                    }
                }
                traps.lock().unwrap().add(&met);
            });
        }
    });
    if let Some(seed) = failed.lock().unwrap().iter().min() {
        let (setup, ops) = sequence(*seed);
        check(&setup, &ops);
        panic!("seed {seed} failed once and not again");
    }
    let traps = traps.into_inner().unwrap();
    println!("{sequences} sequences; traps met:\n{}", traps.table());
    if sequences >= SEQUENCES {
        assert_eq!(traps.never_met(), Vec::<&str>::new(), "traps that no sequence met");
    }
}

/// Plays a list; if it fails, looks for a shorter one that fails and panics with that.
fn check(setup: &Setup, ops: &[Op]) {
    let Err((index, error)) = play(setup, ops, &mut Traps::default()) else { return };
    // The panics of the store on the way would hide the one that counts.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let short = shrink(setup, &ops[..ops.len().min(index + 1)], &error);
    std::panic::set_hook(hook);
    let last = play(setup, &short, &mut Traps::default()).err();
    let (_, short_error) = last.unwrap_or_else(|| (0, "does not fail again".to_owned()));
    panic!(
        "the store and the model differ: RESTANTE_MODEL_SEED={}\n{error}\n\n\
         shortest list found: {setup:?}\n{}\n{short_error}",
        setup.seed,
        listed(&short)
    );
}

/// Plays all operations; on failure says at which one, and why. The end counts as one more.
fn play(setup: &Setup, ops: &[Op], traps: &mut Traps) -> Result<(), (usize, String)> {
    let mut index = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(*setup, traps)?;
        for op in ops {
            run.play(op).map_err(|error| format!("step {index}: {error}"))?;
            index += 1;
        }
        run.finish()
    }));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    });
    result.map_err(|error| (index, error))
}

/// What an error is about: its words without the numbers in them, and without where it was met.
fn gist(error: &str) -> String {
    let text = error.split_once(": ").map_or(error, |(_, text)| text);
    let first = text.lines().next().unwrap_or_default();
    first.split(['{', ':']).next().unwrap_or_default().chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// Drops pieces, large ones first, as long as what is left fails for the same reason.
fn shrink(setup: &Setup, ops: &[Op], error: &str) -> Vec<Op> {
    let wanted = gist(error);
    let fails = |ops: &[Op]| play(setup, ops, &mut Traps::default()).is_err_and(|(_, error)| gist(&error) == wanted);
    let mut ops = ops.to_vec();
    let mut left = SHRINKS_MAX;
    let mut size = ops.len().div_ceil(2);
    while size > 0 {
        let length_before = ops.len();
        let mut start = ops.len().saturating_sub(size);
        loop {
            let mut shorter = ops.clone();
            shorter.drain(start..ops.len().min(start + size));
            if left == 0 {
                return ops;
            }
            left -= 1;
            if fails(&shorter) {
                ops = shorter;
            }
            if start == 0 {
                break;
            }
            start = start.saturating_sub(size).min(ops.len());
        }
        // At size 1 once more for as long as that helps.
        if size > 1 || ops.len() == length_before {
            size /= 2;
        }
    }
    ops
}

fn listed(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("    {op:?},\n")).collect()
}
