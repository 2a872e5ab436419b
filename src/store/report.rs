//! What the store says of itself: files, bytes, memory, and what its work has cost.
//! Owns: `Statistics`. May touch: `pipeline`, `statistics`, `journal` and `segment` (names), `storage`.
//! Never: reads a file's bytes, or holds a lock for longer than a copy takes.

use super::Store;
use super::pipeline::Pipeline;
use super::statistics::{Counters, SYNC_CLASSES_MICROS};
use crate::journal::{JournalFileKind, journal_file_kind};
use crate::segment::{SegmentKind, segment_id};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many heads are looked at for the largest group while writers wait.
const HEADS_AT_ONCE: usize = 4_096;

/// Figures about a store, to watch it by. What is counted is counted since it was opened; what is measured
/// is as of the call. The parts are taken one after another, so they may be of moments that lie calls apart.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Files in the directory.
    pub files: FileStatistics,
    /// Bytes written.
    pub written: WrittenStatistics,
    /// Memory.
    pub memory: MemoryStatistics,
    /// How often what was asked for was in memory.
    pub cache: CacheStatistics,
    /// Sealing and merging.
    pub work: WorkStatistics,
    /// Syncs of the journal.
    pub syncs: SyncStatistics,
    /// Finding messages that are not in memory.
    pub look_ups: LookUpStatistics,
    /// The most members of a group, among the groups that are in memory.
    pub group_members_max: u64,
    /// Live files of which [`Store::verify`] found every byte sound when it last read them, as far as the catalogue
    /// remembers.
    pub verified_files: u64,
    /// The same for files that it found damaged.
    pub damaged_files: u64,
    /// How often the catalogue, which costs nothing to lose, was found damaged or could not be written, and was begun
    /// anew, since the store was opened. It is opened a moment after the store is.
    pub catalog_rebuilds: u64,
}

/// Files in the directory, by kind. Those of other makers are not counted, nor is the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatistics {
    /// The journal: sealed or not.
    pub journals: FileKindStatistics,
    /// Rows.
    pub rows: FileKindStatistics,
    /// Indexes of messages.
    pub indexes: FileKindStatistics,
    /// Messages that a merge has put in order.
    pub messages: FileKindStatistics,
    /// The journal file kept ready, and files that are being made.
    pub spares: FileKindStatistics,
    /// What recovery set aside.
    pub evidence: FileKindStatistics,
    /// Files that are gone from the directory, or will be, and that a reader or a [`crate::Body`] still holds: the
    /// device has their bytes until it lets go. Not counted among the others; `allotted_bytes` is their length.
    pub pinned: FileKindStatistics,
    /// False if the directory, or a file that is in it, could not be looked at: then what is here is a part.
    pub is_complete: bool,
}

/// Files of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileKindStatistics {
    /// How many.
    pub count: u64,
    /// The sum of their lengths, in bytes.
    pub length_bytes: u64,
    /// What the device has allotted to them, in bytes. A file that a backup shares is counted here too.
    pub allotted_bytes: u64,
}

/// Bytes written since the store was opened, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenStatistics {
    /// Bodies of messages and edits that came in: what the rest is measured by.
    pub payload_bytes: u64,
    /// Frames and first pages of journal files. Stamps, some 64 bytes a sync, are not counted.
    pub journal_bytes: u64,
    /// Zeros in journal files that were made ready; what was left of one by an earlier process is counted as if
    /// it was made anew.
    pub prepared_bytes: u64,
    /// Indexes and rows that sealing made.
    pub sealing_bytes: u64,
    /// What merges and purges made. One that was broken off is not counted.
    pub merging_bytes: u64,
}

impl WrittenStatistics {
    /// How many bytes were written for each byte of a body, the zeros of files made ready left out; 0 while no
    /// body came in. Merges of what came in before the store was opened are counted: only a long run tells.
    pub fn amplification(&self) -> f64 {
        let written = self.journal_bytes + self.sealing_bytes + self.merging_bytes;
        if self.payload_bytes == 0 { 0.0 } else { written as f64 / self.payload_bytes as f64 }
    }
}

/// Memory that the state of timelines and users takes, reckoned, not measured. Mapped files are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStatistics {
    /// All of it, in bytes.
    pub resident_bytes: u64,
    /// What of it no sealing has written down yet, in bytes: this cannot be let go.
    pub unsealed_bytes: u64,
    /// What it may take, in bytes: [`crate::Options::memory_bytes_max`].
    pub budget_bytes: u64,
}

/// How often what a call needed was in memory. Nothing is counted as long as nothing lies only on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatistics {
    /// Looks that found all they needed.
    pub hits: u64,
    /// Looks that did not, and were made again.
    pub misses: u64,
    /// Heads, rows, users, names that were loaded for them.
    pub loads: u64,
}

/// Sealing and merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkStatistics {
    /// Journals sealed, and their bytes.
    pub seals: u64,
    /// Bytes of frames in the journals that were sealed.
    pub sealed_bytes: u64,
    /// Journals that are full and not sealed yet.
    pub unsealed_journals: u64,
    /// Merges of rows.
    pub row_merges: u64,
    /// Merges of files of messages; purged files are counted as one each.
    pub unit_merges: u64,
    /// Bytes that merges have gone through, also those that were broken off.
    pub merged_bytes: u64,
    /// Calls that waited because sealing could not keep up: back-pressure.
    pub stalls: u64,
    /// Sorted runs of rows there are: the most that a look-up of a row may have to look into.
    pub row_runs: u64,
    /// Files of messages there are, journals that are sealed among them.
    pub units: u64,
}

/// Syncs of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncStatistics {
    /// How many.
    pub count: u64,
    /// What the last one took.
    pub last: Duration,
    /// What the longest took.
    pub max: Duration,
    /// What all took.
    pub total: Duration,
    /// How many took at most 0.1, 0.3, 1, 3, 10, 30, 100 milliseconds (and more than the class before), and how many
    /// took longer.
    pub classes: [u64; SYNC_CLASSES_MICROS.len() + 1],
    /// Syncs that made calls durable.
    pub groups: u64,
    /// Calls that those made durable; by `groups` it is the mean size of a group.
    pub grouped_calls: u64,
    /// The most calls that one made durable.
    pub group_calls_max: u64,
}

/// Finding messages of which only files know where they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookUpStatistics {
    /// How often: about once a page.
    pub count: u64,
    /// Indexes looked into for them.
    pub units_touched: u64,
}

impl Store {
    /// Figures about the store.
    ///
    /// Looks at the directory and at every file in it, so it is for once in some seconds, not for every call.
    pub fn statistics(&self) -> Statistics {
        let pipeline = &self.pipeline;
        let counters = &pipeline.statistics;
        let (memory, row_runs, segments) = {
            let state = pipeline.state();
            let memory = MemoryStatistics {
                resident_bytes: state.resident_bytes() as u64,
                unsealed_bytes: state.unsealed_bytes() as u64,
                budget_bytes: pipeline.options.memory_bytes,
            };
            (memory, state.segments.rows.run_count() as u64, state.segments.clone())
        };
        let known = pipeline.notes.known();
        let look_ups = segments.units.statistics();
        let looked_up = LookUpStatistics { count: read(&look_ups.calls), units_touched: read(&look_ups.units_touched) };
        Statistics {
            files: files(pipeline),
            written: WrittenStatistics {
                payload_bytes: read(&counters.payload_bytes),
                journal_bytes: read(&counters.journal_bytes),
                prepared_bytes: read(&counters.prepared_bytes),
                sealing_bytes: read(&counters.sealing_bytes),
                merging_bytes: read(&counters.merging_bytes),
            },
            memory,
            cache: CacheStatistics {
                hits: read(&counters.hits.0),
                misses: read(&counters.misses),
                loads: read(&counters.loads),
            },
            work: WorkStatistics {
                seals: read(&counters.seals),
                sealed_bytes: read(&counters.sealed_bytes),
                unsealed_journals: pipeline.unsealed().len() as u64,
                row_merges: read(&counters.row_merges),
                unit_merges: read(&counters.unit_merges),
                merged_bytes: read(&counters.merged_bytes),
                stalls: read(&counters.stalls),
                row_runs,
                units: segments.units.iter().len() as u64,
            },
            syncs: syncs(counters),
            look_ups: looked_up,
            group_members_max: group_members_max(pipeline),
            verified_files: known.verified_files,
            damaged_files: known.damaged_files,
            catalog_rebuilds: known.rebuilds,
        }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn syncs(counters: &Counters) -> SyncStatistics {
    let syncs = &counters.syncs;
    let time = |counter| Duration::from_nanos(read(counter));
    SyncStatistics {
        count: read(&syncs.count),
        last: time(&syncs.last_nanos),
        max: time(&syncs.max_nanos),
        total: time(&syncs.total_nanos),
        classes: std::array::from_fn(|class| read(&syncs.classes[class])),
        groups: read(&syncs.groups),
        grouped_calls: read(&syncs.grouped_calls),
        group_calls_max: read(&syncs.group_calls_max),
    }
}

fn files(pipeline: &Pipeline) -> FileStatistics {
    let mut files = FileStatistics { is_complete: true, ..FileStatistics::default() };
    let (count, bytes) = pipeline.statistics.pins.held();
    files.pinned = FileKindStatistics { count, length_bytes: bytes, allotted_bytes: bytes };
    let names = pipeline.storage.list().unwrap_or_else(|_| {
        files.is_complete = false;
        Vec::new()
    });
    for name in names {
        let kind = match (segment_id(&name), journal_file_kind(&name)) {
            (Some((SegmentKind::Rows, _)), _) => &mut files.rows,
            (Some((SegmentKind::Index, _)), _) => &mut files.indexes,
            (Some((SegmentKind::Messages, _)), _) => &mut files.messages,
            (None, Some(JournalFileKind::Journal)) => &mut files.journals,
            (None, Some(JournalFileKind::Spare)) => &mut files.spares,
            (None, Some(JournalFileKind::Evidence)) => &mut files.evidence,
            (None, None) => continue,
        };
        match pipeline.storage.file_bytes(&name) {
            Ok(bytes) => {
                kind.count += 1;
                kind.length_bytes += bytes.length;
                kind.allotted_bytes += bytes.allotted;
            }
            // Taken away, or renamed, since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => files.is_complete = false,
        }
    }
    files
}

/// Little by little, so that no writer waits for all heads to be looked at.
fn group_members_max(pipeline: &Pipeline) -> u64 {
    let (mut most, mut slot) = (0, 0);
    loop {
        let state = pipeline.state();
        if slot >= state.slot_count() {
            return most;
        }
        most = most.max(state.members_max_here(slot..slot + HEADS_AT_ONCE));
        slot += HEADS_AT_ONCE;
    }
}
