//! What is kept between the steps of sealing.
//! Owns: a round that is written down and not on disk yet, the ids of segments. May touch: `journal`, `state`.
//! Never: writes a file; `seal` does.

use crate::journal::LiveFile;
use crate::state::stored::Entries;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many closed journals may wait to be sealed; who needs another file seals one first.
pub(super) const UNSEALED_MAX: usize = 2;

/// What is known between the steps of sealing.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// A round that is written down, whose files could not be made.
    pub job: Option<Job>,
}

/// The ids of segments.
#[derive(Debug)]
pub(crate) struct SegmentIds(AtomicU64);

impl SegmentIds {
    /// The next one to be given is `next`.
    pub fn new(next: u64) -> SegmentIds {
        SegmentIds(AtomicU64::new(next))
    }

    /// All that were given are below this.
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives the id of a new segment.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What one sealing writes.
#[derive(Debug)]
pub(crate) struct Job {
    pub journal: LiveFile,
    /// The rows are as of this version.
    pub version: u64,
    pub entries: Entries,
    /// The rows that only the journal tells are among them.
    pub is_indexed: bool,
}
