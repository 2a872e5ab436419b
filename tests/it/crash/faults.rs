//! Faults: every file operation fails once, in every way; the disk is full for a while.
//! Owns: where faults strike and what must still work. May touch: `image`, `run`, `workload`.
//! Never: crashes before the fault; the images of sound runs are checked beside this.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use restante::Durability::{self, Buffered, Sync};
use restante::{CrashPlan, Draft, ErrorKind, FailEffect, Loss, SimStorage, UserId};

use super::image::{Expected, check};
use super::run::{Look, Run};
use super::workload::{Shape, Step, draw};
use crate::support::number_from_env;

/// Few changes, as each fault needs a run of its own.
const CHANGES: usize = 150;

const FAULTS: [(io::ErrorKind, FailEffect); 4] = [
    (io::ErrorKind::Other, FailEffect::Nothing),
    (io::ErrorKind::Other, FailEffect::Part),
    (io::ErrorKind::Other, FailEffect::All),
    (io::ErrorKind::StorageFull, FailEffect::Nothing),
];

/// A run in which an operation failed. It ends with its fourth failed step, or where a poisoned store would be left.
struct Failed {
    run: Run,
    /// What the steps that failed were told, in order.
    kinds: Vec<ErrorKind>,
    opened: bool,
}

fn shape(first: Durability, buffered_percent: u64, sync_percent: u64) -> Shape {
    Shape {
        first,
        second: first,
        third: first,
        changes: CHANGES,
        buffered_percent,
        sync_percent,
        large_percent: 35,
        seal_permille: 20,
    }
}

/// Plays a run in which one operation fails; `None` if there is no such operation.
fn play(seed: u64, shape: &Shape, operation: u64, kind: io::ErrorKind, effect: FailEffect) -> Option<Failed> {
    let storage = SimStorage::new(seed);
    storage.fail_operation(operation, kind, effect);
    let mut failed = Failed { run: Run::new(storage, shape.first), kinds: Vec::new(), opened: true };
    if let Err(error) = failed.run.open() {
        (failed.opened, failed.kinds) = (false, vec![error.kind()]);
        failed.run.finish();
        return Some(failed);
    }
    for timed in &draw(seed, shape) {
        let is_poisoned = failed.kinds.contains(&ErrorKind::Unknown);
        if is_poisoned && matches!(timed.step, Step::Kill(_)) {
            break;
        }
        if let Err(error) = failed.run.play(timed) {
            failed.kinds.push(error.kind());
            if failed.run.store.is_none() || failed.kinds.len() == 4 {
                break;
            }
        }
    }
    failed.run.finish();
    (failed.run.storage.operations() > operation || !failed.kinds.is_empty()).then_some(failed)
}

/// After a fault reads go on, later calls say why they are refused, and nothing acknowledged is lost:
/// not to the next process, not to a power cut, and not to a power cut after the next process has gone on.
#[test]
fn every_failed_operation_loses_nothing_acknowledged() {
    let seed = number_from_env("RESTANTE_CRASH_SEED").unwrap_or(1);
    let (images, faults) = (AtomicU64::new(0), AtomicU64::new(0));
    let shapes = [shape(Sync, 0, 3), shape(Sync, 12, 3), shape(Buffered, 0, 2)];
    std::thread::scope(|scope| {
        for (index, shape) in shapes.iter().enumerate() {
            let (images, faults) = (&images, &faults);
            scope.spawn(move || {
                for operation in 0.. {
                    for (number, (kind, effect)) in FAULTS.into_iter().enumerate() {
                        let seed = seed * 10 + index as u64;
                        let Some(failed) = play(seed, shape, operation, kind, effect) else { return };
                        let context = format!(
                            "RESTANTE_CRASH_SEED={} shape {index}, operation {operation} fails {kind:?} {effect:?}, told {:?}",
                            seed / 10,
                            failed.kinds
                        );
                        check_told(&failed).unwrap_or_else(|error| panic!("{context}: {error}"));
                        let count = check_images(&failed, operation * 4 + number as u64);
                        images.fetch_add(count.unwrap_or_else(|error| panic!("{context}: {error}")), Ordering::Relaxed);
                        faults.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("seed {seed}: {} faults, {} images held", faults.into_inner(), images.into_inner());
}

/// The kinds of error that callers were given, and that reads go on.
fn check_told(failed: &Failed) -> Result<(), String> {
    use ErrorKind::{Full, Io, Poisoned, Unknown};
    let hold = |is_so: bool, what: &str| if is_so { Ok(()) } else { Err(what.to_owned()) };
    if !failed.opened {
        return hold([Io, Full].contains(&failed.kinds[0]), "an open that fails says what the system said");
    }
    let poisoned_at = failed.kinds.iter().position(|kind| [Unknown, Poisoned].contains(kind));
    let (before, after) = failed.kinds.split_at(poisoned_at.unwrap_or(failed.kinds.len()));
    hold(before.iter().all(|kind| [Io, Full].contains(kind)), "a file that could not be prepared")?;
    hold(after.iter().all(|kind| [Unknown, Poisoned].contains(kind)), "a poisoned store stays so")?;
    let Some(store) = &failed.run.store else { return Ok(()) };
    let version = store.version().0;
    let table = failed.run.promises.table(failed.run.storage.operations());
    let digest = store.state_digest().map_err(|error| format!("reads go on: {error:?}"))?;
    let is_right = match table.get(&version) {
        Some(Look::Digest(want)) => *want == digest,
        // The fault struck within; the images below go on with it.
        Some(Look::Removing(_)) => true,
        None => false,
    };
    hold(is_right, "reads show what was published")?;
    if !after.is_empty() {
        let told = store.append(Draft::direct(UserId(1), UserId(2), b"no")).wait().err().map(|error| error.kind());
        hold(told == Some(Poisoned), "a poisoned store refuses changes")?;
        hold(store.sync().err().map(|error| error.kind()) == Some(Poisoned), "a poisoned store refuses to sync")?;
    }
    Ok(())
}

fn check_images(failed: &Failed, number: u64) -> Result<u64, String> {
    let (storage, promises) = (&failed.run.storage, &failed.run.promises);
    let end = storage.operations();
    let mut images = 0;
    let durability = if number.is_multiple_of(2) { Sync } else { Buffered };
    let epoch = |mut expected: Expected| {
        // A poisoned store, or one that failed to open, may or may not have ended its epoch.
        expected.epoch = expected.epoch.map(|(epoch, unsynced)| match failed.kinds.as_slice() {
            [] => (epoch, unsynced),
            _ => (epoch, super::run::Unsynced::Perhaps),
        });
        expected.clean = None;
        expected
    };
    for (index, loss) in [Loss::All, Loss::Prefix, Loss::Random, Loss::Random].into_iter().enumerate() {
        let plan = CrashPlan { seed: number * 10 + index as u64, loss };
        let found = storage.crash_at(end, plan);
        let expected = epoch(Expected::of(promises, end, loss));
        check(&found, durability, &expected).map_err(|error| format!("{plan:?} opened {durability:?}: {error}"))?;
        images += 1;
    }
    // The machine goes on: what the failed sync left in the cache is there, and still cannot be trusted.
    let next = storage.deep_clone();
    let expected = epoch(Expected::of(promises, end, Loss::Nothing));
    check(&next, durability, &expected).map_err(|error| format!("the next process, {durability:?}: {error}"))?;
    Ok(images + 1)
}
