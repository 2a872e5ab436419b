//! The only way to files: one directory, a handful of operations, each with its promise.
//! Owns: the contract of [`Storage`], [`StorageFile`] and [`StorageCopy`], and [`Body`]. May touch: nothing.
//! Never: knows what the bytes mean.

mod body;
mod real;
mod sim;

pub use body::Body;
pub use real::{ReadMode, RealStorage};
pub use sim::{CrashPlan, FailEffect, Loss, SimStorage};

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Bytes at the start of every file that may be rewritten for ever and never viewed.
pub const REWRITABLE_BYTES: u64 = 4096;

/// One directory of files.
///
/// # Contract
/// - A file's *bytes* are durable once [`StorageFile::sync`] returned after they were written. Before
///   that a crash of the machine may keep any subset of the writes, in any order, each torn at any
///   sector; the end of the process alone loses nothing that a call has returned from.
/// - A file's *name* (its creation, renaming, removal) is durable once [`Storage::sync_directory`]
///   returned after it. Before that a crash of the machine may keep any subset, but each of them whole.
/// - A call that returns an error may have had all, some or none of its effect. After a failed sync
///   nothing written since the last good one may be trusted, also not by a later sync that succeeds.
/// - Names are plain file names without a path separator.
/// - A storage that [is read-only](Storage::is_read_only) refuses whatever would change a byte, a name or a length
///   with an error of kind `PermissionDenied`, through its files too. Syncing, copying and locking go on.
pub trait Storage: Send + Sync + fmt::Debug {
    /// All names in the directory, in no order. Names that are not UTF-8 are an error of kind `InvalidData`.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new file of `length` zero bytes, with its space allotted; an error of kind `AlreadyExists` if the name is taken.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>>;
    /// As [`Storage::create`], but that space is taken only as bytes are written, so that a lack of it is an error of that
    /// write: for a file that is written once.
    fn create_sparse(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.create(name, length)
    }
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;
    /// Gives a file another name. The caller has made sure that the target is free. Open handles stay good.
    fn rename(&self, source: &str, target: &str) -> io::Result<()>;
    /// Takes a name away; the bytes go when the last handle does.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all names durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Under how many names the file is known.
    fn link_count(&self, name: &str) -> io::Result<u64>;
    /// The length of a file and what it takes of the device.
    fn file_bytes(&self, name: &str) -> io::Result<FileBytes>;
    /// Begins a copy of the directory that will appear at `target`, which is a path of the file system and no
    /// name in this directory; a relative one counts from where the process is at this moment. An error of kind
    /// `AlreadyExists` if there is something at `target`, `InvalidInput` if it lies in this directory.
    ///
    /// The copy is gathered in `<target>.tmp`. What an earlier attempt left there is removed, unless it holds
    /// what no attempt leaves (`AlreadyExists`), or the attempt is still under way (`WouldBlock`).
    fn begin_copy(&self, target: &Path) -> io::Result<Box<dyn StorageCopy>>;
    /// Whether this storage refuses to be changed.
    fn is_read_only(&self) -> bool;
    /// Takes the directory for this process until the value is dropped; an error of kind `WouldBlock` if another has it.
    /// Read-only storages have it together, and keep out, and are kept out by, one that is not.
    fn lock(&self) -> io::Result<Box<dyn StorageLock>>;
    /// Fills `bytes` with random ones.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;
    /// The name with the directory before it, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// What a file takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBytes {
    /// Its length.
    pub length: u64,
    /// What the device has allotted to it, where the system tells; its length elsewhere. A file with several
    /// names takes this once, and it is free only when the last of them goes.
    pub allotted: u64,
}

/// A directory that is being made beside its target, to appear there whole or not at all.
///
/// Dropped unfinished it is removed as far as that can be done. What then is left (as what a crash leaves) is named
/// `<target>.tmp`, holds any subset of what was put in, and the next [`Storage::begin_copy`] to that target removes it.
pub trait StorageCopy: Send + Sync + fmt::Debug {
    /// Gives a file of the storage its name in the copy too: the bytes are shared, so only a file that nobody writes to any
    /// more may be linked, and its bytes are synced by the caller. `false`, and no effect, where the system
    /// cannot do that (another file system, no such links, too many): then `create` it and copy the bytes.
    fn link(&self, name: &str) -> io::Result<bool>;
    /// As [`Storage::create`], in the copy, but that space is taken only as bytes are written. The caller syncs the
    /// file before `finish`.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>>;
    /// Makes the names in the copy durable, gives it its target's name, and makes that durable. If it fails there may be no
    /// copy at `target`, or a whole one whose name a crash of the machine may yet take away.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Holds a directory for this process; dropping it lets go.
pub trait StorageLock: Send + Sync + fmt::Debug {}

/// One open file of fixed length.
///
/// The first [`REWRITABLE_BYTES`] may be rewritten at any time and are only copied out. Above them a
/// byte is written while it is *unsettled*, and viewed once it is *settled*: [`StorageFile::settle`] moves the border
/// and promises that nothing below it is written again. A file starts with everything unsettled
/// when nobody in this process has a handle to it or a [`Body`] of it.
/// This is what makes handing out mapped bytes sound, so implementations enforce it.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// The length, in bytes.
    fn length(&self) -> u64;
    /// Writes all of `bytes`: seen by every later read, kept when the process ends, durable after the next sync.
    /// An error of kind `InvalidInput` for a range past the end, or one that is settled.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Copies bytes out; an error of kind `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Promises that nothing above the first [`REWRITABLE_BYTES`] and below `offset` is written again. Never moves back.
    fn settle(&self, offset: u64);
    /// Settled bytes in place, if this storage maps files; `None` if it does not, or the range is not
    /// wholly settled.
    fn mapped(&self, offset: u64, length: usize) -> Option<&[u8]>;
    /// Settled bytes to keep: without copying if this storage maps files, a copy otherwise. An error
    /// of kind `InvalidInput` if the range is not wholly settled.
    fn body(&self, offset: u64, length: usize) -> io::Result<Body>;
    /// Makes all bytes written before this call durable.
    fn sync(&self) -> io::Result<()>;
    /// Can be upgraded for as long as this process holds the bytes of the file, by a handle or a [`Body`], and
    /// so keeps them on the device although the name may be gone. One that never can where that is not known.
    fn held(&self) -> Weak<dyn Any + Send + Sync> {
        Weak::<()>::new()
    }
}

/// Checks a write against length and settled border.
fn check_write(offset: u64, length: usize, file_length: u64, settled: u64) -> io::Result<()> {
    let end = offset.checked_add(length as u64).filter(|end| *end <= file_length);
    match end {
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "write past the end of the file")),
        Some(end) if offset.max(REWRITABLE_BYTES) < end.min(settled) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "write to settled bytes"))
        }
        Some(_) => Ok(()),
    }
}

/// Checks a read against the length.
fn check_read(offset: u64, length: usize, file_length: u64) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= file_length => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end of the file")),
    }
}

/// Where a copy is gathered that is to appear at `target`.
fn unfinished_target(target: &Path) -> io::Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the target of a copy has no name"));
    };
    let mut name = name.to_owned();
    name.push(".tmp");
    Ok(target.with_file_name(name))
}

/// What a read-only storage says to whoever would change it.
fn refuse_write(is_read_only: bool) -> io::Result<()> {
    if is_read_only {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the storage was opened for reading only"));
    }
    Ok(())
}

/// Whether a range may be viewed.
fn is_settled(offset: u64, length: usize, settled: u64) -> bool {
    offset >= REWRITABLE_BYTES && offset.checked_add(length as u64).is_some_and(|end| end <= settled)
}

#[cfg(test)]
mod tests;
