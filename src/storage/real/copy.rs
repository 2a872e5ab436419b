//! A directory that is made beside its target and gets its name when it is whole.
//! Owns: `RealCopy`, and what becomes of one that was left unfinished. May touch: `real`.
//! Never: copies bytes, syncs a file of the copy, or removes what is not surely a copy.

use super::super::{StorageCopy, StorageFile, StorageLock, unfinished_target};
use super::{LOCK_NAME, ReadMode, RealStorage, Storage, sync_parent};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A copy under way. It has the lock of the new directory, so that no other attempt takes it for a leftover, and nobody
/// opens it before its name is durable.
#[derive(Debug)]
pub(super) struct RealCopy {
    source: PathBuf,
    gathered: RealStorage,
    target: PathBuf,
    is_finished: bool,
    _lock: Box<dyn StorageLock>,
}

impl RealCopy {
    pub(super) fn begin(source: &Path, target: &Path) -> io::Result<RealCopy> {
        let target = std::path::absolute(target)?;
        let path = unfinished_target(&target)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let (source, parent) = (fs::canonicalize(source)?, fs::canonicalize(parent)?);
        if parent.starts_with(&source) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the target of a copy lies in what is copied"));
        }
        check_free(&target)?;
        // The bytes of a copy are written once and seldom read, so they are not mapped.
        let gathered = RealStorage { directory: path, read_mode: ReadMode::Pread, is_read_only: false };
        remove_leftover(&gathered)?;
        DirBuilder::new().mode(0o700).create(&gathered.directory)?;
        let lock = gathered.lock()?;
        Ok(RealCopy { source, gathered, target, is_finished: false, _lock: lock })
    }
}

impl StorageCopy for RealCopy {
    fn link(&self, name: &str) -> io::Result<bool> {
        let source = self.source.join(name);
        if !fs::symlink_metadata(&source)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let Err(error) = fs::hard_link(source, self.gathered.path(name)) else { return Ok(true) };
        match error.kind() {
            // The last is what systems say of a file system without links, or of a file of another owner.
            io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied => Ok(false),
            _ => Err(error),
        }
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.gathered.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        // Not filled as the files of a store are: its bytes are written once, and a lack of space is an error of that write.
        file.set_len(length)?;
        self.gathered.handle(file)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.gathered.sync_directory()?;
        check_free(&self.target)?;
        fs::rename(&self.gathered.directory, &self.target)?;
        self.is_finished = true;
        sync_parent(&self.target)
    }
}

impl Drop for RealCopy {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed is a leftover for the next attempt.
            let _ = names(&self.gathered).and_then(|names| remove_all(&self.gathered, &names));
        }
    }
}

fn check_free(target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something at the target of a copy")),
    }
}

/// Removes what an earlier attempt left, if it is that: regular files only, with a lock file as every copy has, or, where a crash
/// lost that one, nothing that others than the owner may read.
fn remove_leftover(left: &RealStorage) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(&left.directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let stranger = || io::Error::new(io::ErrorKind::AlreadyExists, "what lies in the way of a copy is no copy");
    let is_private = |metadata: &fs::Metadata| metadata.mode() & 0o077 == 0;
    if !metadata.is_dir() {
        return Err(stranger());
    }
    let names = names(left)?;
    let has_lock = names.iter().any(|name| name == LOCK_NAME);
    let mut is_copy = has_lock || is_private(&metadata);
    for name in &names {
        let metadata = fs::symlink_metadata(left.path(name))?;
        is_copy &= metadata.is_file() && (has_lock || is_private(&metadata));
    }
    if !is_copy {
        return Err(stranger());
    }
    let _lock = if has_lock { Some(left.lock()?) } else { None };
    remove_all(left, &names)
}

/// What is in the directory, the lock file last: as long as there is something, it is known for a copy.
fn names(storage: &RealStorage) -> io::Result<Vec<String>> {
    let mut names = storage.list()?;
    names.sort_unstable_by_key(|name| name == LOCK_NAME);
    Ok(names)
}

fn remove_all(storage: &RealStorage, names: &[String]) -> io::Result<()> {
    for name in names {
        storage.remove(name)?;
    }
    fs::remove_dir(&storage.directory)
}
