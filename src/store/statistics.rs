//! What the store counts of its own work.
//! Owns: the counters, the files that are gone but held. May touch: `storage`.
//! Never: decides anything by them, or keeps a file alive.
//!
//! All of it is since the store was opened. A counter is added to at most once a call, and relaxed: figures of one
//! moment may be a call apart.

use crate::storage::StorageFile;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

/// Syncs are told apart by these bounds, in microseconds; the last class has none.
pub(super) const SYNC_CLASSES_MICROS: [u64; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

/// Counters since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Looks at the state that found all in memory, while there was something on disk.
    pub hits: Lonely,
    /// Looks that did not.
    pub misses: AtomicU64,
    /// Things loaded because a look missed them.
    pub loads: AtomicU64,
    /// Journals sealed, and their bytes.
    pub seals: AtomicU64,
    pub sealed_bytes: AtomicU64,
    pub row_merges: AtomicU64,
    pub unit_merges: AtomicU64,
    /// Bytes that merges read.
    pub merged_bytes: AtomicU64,
    /// Calls that waited because sealing could not keep up.
    pub stalls: AtomicU64,
    /// Bodies of messages and edits.
    pub payload_bytes: AtomicU64,
    /// Bytes written: frames and first pages of journals, zeros of journals to come, what sealings and merges made.
    pub journal_bytes: AtomicU64,
    pub prepared_bytes: AtomicU64,
    pub sealing_bytes: AtomicU64,
    pub merging_bytes: AtomicU64,
    pub syncs: SyncCounters,
    pub pins: Pins,
}

/// A counter that many threads add to all the time, with a line of memory for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Lonely(pub AtomicU64);

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What syncs took, and for how many calls.
#[derive(Debug, Default)]
pub(crate) struct SyncCounters {
    pub count: AtomicU64,
    pub last_nanos: AtomicU64,
    pub max_nanos: AtomicU64,
    pub total_nanos: AtomicU64,
    pub classes: [AtomicU64; SYNC_CLASSES_MICROS.len() + 1],
    /// Syncs that calls waited for, or were published by, and those calls.
    pub groups: AtomicU64,
    pub grouped_calls: AtomicU64,
    pub group_calls_max: AtomicU64,
}

impl SyncCounters {
    pub fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        add(&self.count, 1);
        add(&self.total_nanos, nanos);
        self.last_nanos.store(nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        let class = SYNC_CLASSES_MICROS.partition_point(|bound| bound * 1_000 < nanos);
        add(&self.classes[class], 1);
    }

    pub fn group(&self, calls: u64) {
        if calls > 0 {
            add(&self.groups, 1);
            add(&self.grouped_calls, calls);
            self.group_calls_max.fetch_max(calls, Ordering::Relaxed);
        }
    }
}

/// Files that are not live any more, for as long as a reader holds them.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Vec<Pin>>);

#[derive(Debug)]
struct Pin {
    held: Weak<dyn Any + Send + Sync>,
    bytes: u64,
}

impl Pins {
    /// The file was just taken off the list of live ones.
    pub fn note(&self, file: &dyn StorageFile) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.held.strong_count() > 0);
        pins.push(Pin { held: file.held(), bytes: file.length() });
    }

    /// How many are held, and their bytes.
    pub fn held(&self) -> (u64, u64) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.held.strong_count() > 0);
        (pins.len() as u64, pins.iter().map(|pin| pin.bytes).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ReadMode, RealStorage, SimStorage, Storage};

    #[test]
    fn syncs_fall_into_classes() {
        let syncs = SyncCounters::default();
        for micros in [0, 100, 101, 30_000, 99_999, 100_001, 5_000_000] {
            syncs.took(Duration::from_micros(micros));
        }
        let classes: Vec<u64> = syncs.classes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(classes, [2, 1, 0, 0, 0, 1, 1, 2]);
        assert_eq!(syncs.count.load(Ordering::Relaxed), 7);
        assert_eq!(syncs.max_nanos.load(Ordering::Relaxed), 5_000_000_000);
    }

    #[test]
    fn a_file_is_held_until_its_last_body_goes() {
        let directory = std::env::temp_dir().join(format!("restante-pins-{}", std::process::id()));
        let storage = RealStorage::new(&directory, ReadMode::Mapped).unwrap();
        let file = storage.create("letters", 8192).unwrap();
        let simulated = SimStorage::new(1).create("letters", 4096).unwrap();
        file.settle(8192);
        let body = file.body(4096, 5).unwrap();
        let pins = Pins::default();
        pins.note(&*file);
        pins.note(&*simulated);
        let all = pins.held();
        drop((file, simulated));
        let by_body = pins.held();
        drop(body);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((all, by_body, pins.held()), ((2, 12_288), (1, 8_192), (0, 0)));
    }
}
