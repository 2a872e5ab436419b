//! Crashes: at every operation, in many ways, once and again while the first crash is recovered from.
//! Owns: how many images there are and who checks them. May touch: its submodules, the simulated directory.
//! Never: looks into a file; what is there is judged by what the store answers.
//!
//! `RESTANTE_CRASH_IMAGES=2000000 cargo test --release --test it crash` is the long soak;
//! `RESTANTE_CRASH_SEED=n` checks the images of one run again.

mod act;
mod faults;
mod full_disk;
mod image;
pub mod run;
pub mod workload;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use restante::Durability::{self, Buffered, Sync};
use restante::{CrashPlan, Loss, ManualClock, Recovery, SimStorage, Store, Timestamp};

use crate::support::number_from_env;
use act::KINDS;
use image::{Checked, Expected, Seen, check};
use run::{Run, options};
use workload::{START, Shape, Step, Timed, draw, point};

const IMAGES: u64 = 100_000;
const CHANGES: usize = 300;
/// Of so many images one is crashed again at every operation of its recovery.
const AGAIN_EVERY: u64 = 150;

const fn shape(first: Durability, second: Durability, third: Durability, percents: [u64; 3]) -> Shape {
    let [buffered_percent, sync_percent, large_percent] = percents;
    Shape { first, second, third, changes: CHANGES, buffered_percent, sync_percent, large_percent, seal_permille: 20 }
}

const SHAPES: [Shape; 4] = [
    shape(Sync, Sync, Sync, [0, 3, 40]),
    shape(Buffered, Buffered, Sync, [0, 7, 35]),
    shape(Sync, Buffered, Sync, [6, 3, 35]),
    // Files follow each other without any sync but those that following itself needs.
    shape(Buffered, Buffered, Buffered, [0, 0, 80]),
];

const LOSSES: [Loss; 6] = [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random, Loss::Random, Loss::Random];
const LOSSES_AGAIN: [Loss; 4] = [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random];

/// How many images there were, and how many showed what.
#[derive(Debug, Default)]
struct Tally {
    images: AtomicU64,
    crashed_again: AtomicU64,
    created: AtomicU64,
    clean: AtomicU64,
    cut: AtomicU64,
    new_epoch: AtomicU64,
    several_files: AtomicU64,
}

impl Tally {
    fn count(&self, seen: &Seen) {
        let Recovery { created, clean, cut, new_epoch, .. } = &seen.recovery;
        for (counter, is_so) in [
            (&self.images, true),
            (&self.created, *created),
            (&self.clean, *clean),
            (&self.cut, cut.is_some()),
            (&self.new_epoch, *new_epoch),
            (&self.several_files, seen.files > 2),
        ] {
            counter.fetch_add(u64::from(is_so), Ordering::Relaxed);
        }
    }
}

#[test]
fn every_crash_keeps_what_was_promised() {
    let one_seed = number_from_env("RESTANTE_CRASH_SEED");
    let images_min = number_from_env("RESTANTE_CRASH_IMAGES").unwrap_or(IMAGES);
    let (mut seed, tally) = (one_seed.unwrap_or(1), Tally::default());
    loop {
        let shape = SHAPES[(seed % SHAPES.len() as u64) as usize];
        crash_everywhere(seed, &play(seed, &shape), &tally);
        // All shapes have their turn, however few images are asked for.
        let is_enough = tally.images.load(Ordering::Relaxed) >= images_min && seed >= SHAPES.len() as u64;
        if one_seed.is_some() || is_enough {
            break;
        }
        seed += 1;
    }
    println!("crash images held up to seed {seed}: {tally:?}");
    let Tally { images, crashed_again, created, clean, cut, new_epoch, several_files } = tally;
    if one_seed.is_none() {
        assert!(images.into_inner() >= images_min);
        for (what, count) in [
            ("crashed again", crashed_again),
            ("created", created),
            ("clean", clean),
            ("cut", cut),
            ("new epoch", new_epoch),
            ("several files", several_files),
        ] {
            assert!(count.into_inner() > 100, "hardly any image was: {what}");
        }
    }
}

/// Every kind of change is among those that are crashed, and changes something.
#[test]
fn every_kind_of_change_is_drawn() {
    let mut kinds = BTreeMap::new();
    for seed in 1..=8 {
        let clock = Arc::new(ManualClock::new(Timestamp(START)));
        let store = Store::open_on(SimStorage::new(seed), options(Buffered, &clock)).expect("makes a store");
        for Timed { time, step } in draw(seed, &SHAPES[0]) {
            clock.set(Timestamp(time));
            let act = match step {
                Step::Ask(act, ..) => act,
                Step::Point { user, peer, part, what, .. } => match point(&store, user, peer, part, what) {
                    Some(act) => act,
                    None => continue,
                },
                Step::Sync | Step::Reopen(_) | Step::Kill(_) => continue,
                Step::Seal | Step::Purge | Step::Backup => continue,
            };
            let (kind, before) = (act.kind(), store.version());
            act.ask(&store, time).wait().unwrap_or_else(|error| panic!("seed {seed}: {act:?}: {error:?}"));
            *kinds.entry(kind).or_insert(0) += u64::from(store.version() > before);
        }
    }
    println!("changes made: {kinds:?}");
    assert_eq!(kinds.len(), KINDS, "a kind is never drawn: {kinds:?}");
    assert!(kinds.values().all(|count| *count >= 3), "a kind hardly ever changes anything: {kinds:?}");
}

fn play(seed: u64, shape: &Shape) -> Run {
    let mut run = Run::new(SimStorage::new(seed), shape.first);
    run.open().expect("makes a store");
    for timed in &draw(seed, shape) {
        run.play(timed).unwrap_or_else(|error| panic!("RESTANTE_CRASH_SEED={seed}: {timed:?}: {error:?}"));
    }
    run.finish();
    let newest = run.storage.names().into_iter().rfind(|name| name.ends_with(".journal"));
    assert!(newest > Some("0000000000000003".to_owned()), "seed {seed} hardly filled a file: {newest:?}");
    run
}

/// Crashes a run at each of its operations in each way, and some of that again.
fn crash_everywhere(seed: u64, run: &Run, tally: &Tally) {
    let next = AtomicU64::new(0);
    let (has_failed, failures) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let operation = next.fetch_add(1, Ordering::Relaxed);
                    if operation > run.storage.operations() {
                        break;
                    }
                    if let Err(error) = crash_at(seed, run, operation, tally) {
                        has_failed.store(true, Ordering::Relaxed);
                        failures.lock().unwrap().push(error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "RESTANTE_CRASH_SEED={seed}\n{}", failures.join("\n"));
}

fn crash_at(seed: u64, run: &Run, operation: u64, tally: &Tally) -> Checked {
    for (index, loss) in LOSSES.into_iter().enumerate() {
        let number = operation * LOSSES.len() as u64 + index as u64;
        let plan = CrashPlan { seed: seed.wrapping_mul(1_000_003).wrapping_add(number), loss };
        let durability = if number % 5 < 2 { Buffered } else { Sync };
        let found = run.storage.crash_at(operation, plan);
        let expected = Expected::of(&run.promises, operation, loss);
        let result = check(&found, durability, &expected).and_then(|seen| {
            tally.count(&seen);
            let is_chosen = (number + seed).is_multiple_of(AGAIN_EVERY);
            if is_chosen { crash_again(&found, plan.seed, &expected, &seen, tally) } else { Ok(()) }
        });
        result
            .map_err(|error| format!("crash within operation {operation}, {plan:?}, opened {durability:?}: {error}"))?;
    }
    Ok(())
}

/// Crashes what was done on an image at each of its operations.
fn crash_again(found: &SimStorage, seed: u64, before: &Expected, seen: &Seen, tally: &Tally) -> Checked {
    for operation in 0..=found.operations() {
        for (index, loss) in LOSSES_AGAIN.into_iter().enumerate() {
            let plan = CrashPlan { seed: seed ^ (operation << 8 | index as u64), loss };
            let durability = if (operation + index as u64).is_multiple_of(2) { Buffered } else { Sync };
            let seen = check(&found.crash_at(operation, plan), durability, &seen.expected(before, operation));
            let context =
                |error| format!("then within operation {operation}, {plan:?}, opened {durability:?}: {error}");
            tally.count(&seen.map_err(context)?);
            tally.crashed_again.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
