//! A journal's part in a backup.
//! Owns: the copy of the newest journal file, and the mark that a directory is a copy. May touch: `file`, `header`,
//! `storage`.
//! Never: copies what is not synced.

use super::file::JournalFile;
use super::header::{FRAMES_OFFSET, STAMP_UNNAMED, Stamp};
use crate::error::{Error, Result};
use crate::storage::StorageFile;

/// The name of the file that says that this directory is a copy of a store. Who opens it for writing makes it a
/// store of its own, with a uuid and an epoch of its own, and removes this.
pub(crate) const BACKUP_NAME: &str = "BACKUP";

/// Bytes that are copied at once.
const STEP_BYTES: usize = 1 << 20;

impl JournalFile {
    /// Copies the frames up to `end`, which are synced and end with `version`, into an empty file of the same length, and
    /// syncs it.
    pub fn copy_to(&self, target: &dyn StorageFile, end: u64, version: u64) -> Result<()> {
        let context = |error| Error::io("copy", &self.path, error);
        target.write_at(0, &self.header.encode()).map_err(context)?;
        let stamp = Stamp { counter: STAMP_UNNAMED + 1, synced: end, version };
        stamp.write(target, self.seed).map_err(context)?;
        let mut bytes = vec![0; STEP_BYTES];
        let mut offset = FRAMES_OFFSET;
        while offset < end {
            let part = &mut bytes[..(end - offset).min(STEP_BYTES as u64) as usize];
            self.handle.read_at(offset, part).map_err(context)?;
            target.write_at(offset, part).map_err(context)?;
            offset += part.len() as u64;
        }
        target.sync().map_err(context)
    }
}
