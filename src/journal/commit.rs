//! The point at which a change counts as committed: here a sync of the local files, elsewhere one day
//! the quorum of a carrier.
//! Owns: the trait and the local way. May touch: `file`.
//! Never: writes a frame or publishes a change.

use super::write::SyncPoint;
use crate::error::Result;

/// Makes changes durable.
pub(crate) trait CommitPoint: Send + Sync {
    /// Returns once everything that `point` covers survives whatever this commit point promises to
    /// survive. After an error nothing may be assumed, and it is not tried again.
    fn commit(&self, point: &SyncPoint) -> Result<()>;
}

/// `fdatasync` of the files themselves, older file first.
#[derive(Debug)]
pub(crate) struct LocalSync;

impl CommitPoint for LocalSync {
    fn commit(&self, point: &SyncPoint) -> Result<()> {
        point.files.iter().try_for_each(|file| file.sync())
    }
}
