//! A run of changes, kept so that the directory can be had as it was before any of them.
//! Owns: `Record`. May touch: `disk`.
//! Never: decides what a crash loses.

use super::disk::{Change, Disk};

/// After how many changes a state is kept: the most that are made again to get at any state. Keeping
/// one costs a few reference counts a file, and the copy of each page at its next write.
const CHECKPOINT_CHANGES: usize = 32;

/// All changes so far and the state they led to.
#[derive(Clone)]
pub(super) struct Record {
    disk: Disk,
    changes: Vec<(u64, Change)>,
    /// For each operation its place in `changes`, which also has damage.
    operations: Vec<usize>,
    /// The state before every so many changes.
    checkpoints: Vec<Disk>,
}

impl Record {
    pub(super) fn new(disk: Disk) -> Record {
        Record { disk, changes: Vec::new(), operations: Vec::new(), checkpoints: Vec::new() }
    }

    /// Makes a change that counts as an operation.
    pub(super) fn operate(&mut self, change: Change) {
        self.operations.push(self.changes.len());
        self.push(self.operations.len() as u64 - 1, change);
    }

    /// Makes a change that does not: damage from outside.
    pub(super) fn damage(&mut self, change: Change) {
        self.push(self.operations.len() as u64, change);
    }

    /// The present state.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn operation_count(&self) -> u64 {
        self.operations.len() as u64
    }

    /// The state just before an operation, and the operation; none follows the last state.
    pub(super) fn before(&self, operation: u64) -> (Disk, Option<&Change>) {
        let Some(end) = self.operations.get(operation as usize).copied() else {
            return (self.disk.clone(), None);
        };
        let checkpoint = end / CHECKPOINT_CHANGES;
        let mut disk = self.checkpoints[checkpoint].clone();
        for (operation, change) in &self.changes[checkpoint * CHECKPOINT_CHANGES..end] {
            disk.apply(*operation, change);
        }
        (disk, Some(&self.changes[end].1))
    }

    fn push(&mut self, operation: u64, change: Change) {
        if self.changes.len().is_multiple_of(CHECKPOINT_CHANGES) {
            self.checkpoints.push(self.disk.clone());
        }
        self.disk.apply(operation, &change);
        self.changes.push((operation, change));
    }
}
