//! Backups: copies of a store that is in use.
//! Owns: what goes into a copy. May touch: `pipeline`, `journal`, `segment`, `storage`.
//! Never: copies what is not synced, or lets a file go while it is copied.

use super::Store;
use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Version;
use crate::journal::{BACKUP_NAME, journal_name};
use crate::segment::segment_name;
use crate::storage::StorageCopy;
use std::io;
use std::path::Path;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// It holds all changes up to this one, and none after.
    pub version: Version,
    /// How many files it consists of.
    pub files: u64,
    /// How many of them share their bytes with the store, by hard links.
    pub linked: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
}

/// Bytes that are copied at once.
const STEP_BYTES: usize = 1 << 20;

impl Store {
    /// Copies the store, as of one moment, into a new directory: `target`, which appears whole or not at all. A
    /// relative path counts from where the process is.
    ///
    /// Calls go on meanwhile; who needs a new journal file may wait for it. Files that change no more are shared by
    /// hard links where the file system can, so on the same disk it takes little time and room, and does not
    /// protect from the loss of that disk: copy the copy elsewhere. Everything in it is durable when this returns.
    ///
    /// [`Store::open_read_only`] leaves the copy as it is. Whoever opens it for writing makes it a store of its own: it gets
    /// an epoch of its own, so that cursors of this store end at [`Backup::version`].
    ///
    /// # Errors
    /// `InvalidInput` if there is something at `target`, or it lies in the store; `Full`, `Io`; `Unknown`, `Poisoned`,
    /// `Closed`.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<Backup> {
        let (pipeline, target) = (&self.pipeline, target.as_ref());
        let _merging = pipeline.merging();
        // No file is made live or let go until the copy is done.
        let _sealing = pipeline.sealing();
        let (manifest, current, end, version) = pipeline.synced_end()?;
        let mut copying = Copying::begin(pipeline, target)?;
        for journal in &manifest.journals {
            copying.put(&journal_name(journal.file_id))?;
        }
        for segment in &manifest.segments {
            copying.put(&segment_name(segment.kind, segment.id))?;
        }
        let length = current.header.file_bytes;
        let newest = copying.create(&journal_name(current.id()), length)?;
        current.copy_to(&*newest, end, version)?;
        copying.made.copied_bytes += end;
        let mark = copying.create(BACKUP_NAME, BACKUP_MARK.len() as u64)?;
        mark.write_at(0, BACKUP_MARK).and_then(|()| mark.sync()).map_err(copying.context("write"))?;
        copying.finish(Version(version))
    }
}

/// What the mark says to someone who looks into the directory.
const BACKUP_MARK: &[u8] = b"restante backup\n";

/// A copy on its way.
struct Copying<'a> {
    pipeline: &'a Pipeline,
    target: &'a Path,
    copy: Box<dyn StorageCopy>,
    made: Backup,
}

impl<'a> Copying<'a> {
    fn begin(pipeline: &'a Pipeline, target: &'a Path) -> Result<Copying<'a>> {
        let copy = pipeline.storage.begin_copy(target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::InvalidInput => {
                let message = format!("no backup can be made there: path={}", target.display());
                Error::new(ErrorKind::InvalidInput, message).caused_by(Error::io("copy to", target, error))
            }
            _ => Error::io("copy to", target, error),
        })?;
        let made = Backup { version: Version::NONE, files: 0, linked: 0, copied_bytes: 0 };
        Ok(Copying { pipeline, target, copy, made })
    }

    fn context(&self, operation: &'static str) -> impl Fn(io::Error) -> Error + use<'a> {
        let target = self.target;
        move |error| Error::io(operation, target, error)
    }

    /// A file of the store, which nobody writes to any more.
    fn put(&mut self, name: &str) -> Result<()> {
        if self.copy.link(name).map_err(self.context("link into"))? {
            self.made.files += 1;
            self.made.linked += 1;
            return Ok(());
        }
        let storage = &self.pipeline.storage;
        let context = |error| Error::io("copy", &storage.path(name), error);
        let source = storage.open(name).map_err(context)?;
        let target = self.create(name, source.length())?;
        let mut bytes = vec![0; STEP_BYTES];
        let mut offset = 0;
        while offset < source.length() {
            let part = &mut bytes[..(source.length() - offset).min(STEP_BYTES as u64) as usize];
            source.read_at(offset, part).and_then(|()| target.write_at(offset, part)).map_err(context)?;
            offset += part.len() as u64;
        }
        self.made.copied_bytes += offset;
        target.sync().map_err(self.context("sync"))
    }

    fn create(&mut self, name: &str, length: u64) -> Result<std::sync::Arc<dyn crate::storage::StorageFile>> {
        self.made.files += 1;
        self.copy.create(name, length).map_err(self.context("create in"))
    }

    fn finish(self, version: Version) -> Result<Backup> {
        let context = self.context("finish");
        self.copy.finish().map_err(context)?;
        Ok(Backup { version, ..self.made })
    }
}
