//! Files of the operating system, in one directory.
//! Owns: paths, permissions, mappings. May touch: `body`, and what it declares below.
//! Never: decides what is durable when; it syncs what it is told to.

mod copy;

use super::{
    Body, FileBytes, REWRITABLE_BYTES, Storage, StorageCopy, StorageFile, StorageLock, check_read, check_write,
    is_settled, refuse_write,
};
use copy::RealCopy;
use memmap2::{MmapOptions, MmapRaw};
use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

const LOCK_NAME: &str = "LOCK";
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// How the bytes of files are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// Through a shared mapping: bodies are handed out without copying, an append is a copy in memory.
    /// A file that *another* program truncates while it is mapped ends the process with a signal, as
    /// does a device error on a page that is being read.
    #[default]
    Mapped,
    /// Through `pread` and `pwrite`: every fault is an error value, at the price of a system call and a
    /// copy for every append and every message read.
    Pread,
}

/// A directory of the file system; made with mode 0700, its files with mode 0600.
#[derive(Debug)]
pub struct RealStorage {
    directory: PathBuf,
    read_mode: ReadMode,
    is_read_only: bool,
}

impl RealStorage {
    /// The directory `path`, made if it is absent; its parent must exist.
    pub fn new(path: impl AsRef<Path>, read_mode: ReadMode) -> io::Result<RealStorage> {
        let directory = path.as_ref().to_owned();
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {
                sync_parent(&directory)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(RealStorage { directory, read_mode, is_read_only: false })
    }

    /// The directory `path`, which is there already, for reading only: nothing in it is ever changed, its files are opened without
    /// the permission to write, and several processes may have its lock at once.
    ///
    /// The lock is that on the file `LOCK`, shared. Every directory that was a store or the target of a copy has
    /// that file; where it is missing (copied by other means) no lock is taken, and whoever opens the directory for
    /// writing meanwhile is not kept out.
    pub fn read_only(path: impl AsRef<Path>, read_mode: ReadMode) -> io::Result<RealStorage> {
        let directory = path.as_ref().to_owned();
        if !fs::metadata(&directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(RealStorage { directory, read_mode, is_read_only: true })
    }

    fn handle(&self, file: File) -> io::Result<Arc<dyn StorageFile>> {
        self.handle_of(file, false)
    }

    fn handle_of(&self, file: File, is_sparse: bool) -> io::Result<Arc<dyn StorageFile>> {
        let length = file.metadata()?.len();
        let map = Map::of(&file)?;
        if self.read_mode == ReadMode::Mapped && length > 0 {
            map.raw(&file, self.is_read_only)?;
        }
        let (read_mode, is_read_only) = (self.read_mode, self.is_read_only);
        Ok(Arc::new(RealFile { file, length, read_mode, is_read_only, is_sparse, map }))
    }

    /// What the system says of a name, which must be that of a regular file.
    fn regular(&self, name: &str) -> io::Result<fs::Metadata> {
        let metadata = fs::symlink_metadata(self.path(name))?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        Ok(metadata)
    }
}

/// Makes the name of a directory durable in the one above it.
fn sync_parent(directory: &Path) -> io::Result<()> {
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

impl Storage for RealStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.directory)?
            .map(|entry| {
                entry?.file_name().into_string().map_err(|name| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("file name is not UTF-8: name={name:?}"))
                })
            })
            .collect()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        refuse_write(self.is_read_only)?;
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let fill = || {
            // Written, not only allotted: overwriting written blocks needs no change of the file's
            // metadata, which makes every later fdatasync cheaper (docs/decisions).
            let mut offset = 0;
            while offset < length {
                let part = (length - offset).min(ZEROS.len() as u64);
                file.write_all_at(&ZEROS[..part as usize], offset)?;
                offset += part;
            }
            self.handle(file.try_clone()?)
        };
        fill().inspect_err(|_| {
            // The space is what the caller lacks; a half-made file would keep it.
            let _ = fs::remove_file(&path);
        })
    }

    fn create_sparse(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        refuse_write(self.is_read_only)?;
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let sized = file.set_len(length).and_then(|()| self.handle_of(file, true));
        sized.inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.regular(name)?;
        self.handle(OpenOptions::new().read(true).write(!self.is_read_only).open(self.path(name))?)
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        refuse_write(self.is_read_only)?;
        fs::rename(self.path(source), self.path(target))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        refuse_write(self.is_read_only)?;
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn link_count(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.path(name))?.nlink())
    }

    fn file_bytes(&self, name: &str) -> io::Result<FileBytes> {
        let metadata = self.regular(name)?;
        // The unit of `blocks` is 512 bytes, whatever the file system's own blocks are.
        Ok(FileBytes { length: metadata.len(), allotted: metadata.blocks().saturating_mul(512) })
    }

    fn begin_copy(&self, target: &Path) -> io::Result<Box<dyn StorageCopy>> {
        Ok(Box::new(RealCopy::begin(&self.directory, target)?))
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        let path = self.path(LOCK_NAME);
        let locked = if self.is_read_only {
            match File::open(path) {
                Ok(file) => file.try_lock_shared().map(|()| Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => return Err(error),
            }
        } else {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.try_lock().map(|()| Some(file))
        };
        match locked {
            Ok(file) => Ok(Box::new(RealLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Let go of by name: closing the descriptor is not enough while a process that is just being started
/// holds a copy of it, between its fork and its exec.
#[derive(Debug)]
struct RealLock(Option<File>);

impl StorageLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // If it fails, closing lets go of the lock.
            let _ = file.unlock();
        }
    }
}

/// What all handles of this process to one file share, and every `Body` in it keeps: the mapping and
/// the border below which nobody writes any more. Only raw pointers into the mapping are kept, so that
/// a reference exists for settled bytes alone.
#[derive(Debug, Default)]
pub(super) struct Map {
    raw: OnceLock<MmapRaw>,
    /// For handles without the permission to write. They may be to the very file that another handle writes, where a
    /// copy has a link to it, so each kind has a mapping of its own.
    raw_read_only: OnceLock<MmapRaw>,
    settled: AtomicU64,
    /// Held while bytes are copied in and while the settled border moves, so that a range is never
    /// written and settled at once.
    write: Mutex<()>,
}

/// The maps in use, by device and inode, so that a file that is opened twice, under whatever name, has
/// one border. A mapping keeps its inode from being used again.
static MAPS: Mutex<BTreeMap<(u64, u64), Weak<Map>>> = Mutex::new(BTreeMap::new());

impl Map {
    fn of(file: &File) -> io::Result<Arc<Map>> {
        let metadata = file.metadata()?;
        let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (metadata.dev(), metadata.ino());
        if let Some(map) = maps.get(&key).and_then(Weak::upgrade) {
            return Ok(map);
        }
        maps.retain(|_, map| map.strong_count() > 0);
        let map = Arc::new(Map::default());
        maps.insert(key, Arc::downgrade(&map));
        Ok(map)
    }

    fn raw(&self, file: &File, is_read_only: bool) -> io::Result<&MmapRaw> {
        let place = self.place(is_read_only);
        if place.get().is_none() {
            let raw = if is_read_only { MmapOptions::new().map_raw_read_only(file)? } else { MmapRaw::map_raw(file)? };
            // Another thread may have been faster; one mapping is as good as the other.
            let _ = place.set(raw);
        }
        place.get().ok_or_else(|| io::Error::other("the mapping is gone"))
    }

    fn place(&self, is_read_only: bool) -> &OnceLock<MmapRaw> {
        if is_read_only { &self.raw_read_only } else { &self.raw }
    }
}

struct RealFile {
    /// Let go before the descriptor, which keeps the inode: else a new file with the same inode could
    /// find this border.
    map: Arc<Map>,
    file: File,
    length: u64,
    read_mode: ReadMode,
    is_read_only: bool,
    /// Its blocks are allotted as they are written.
    is_sparse: bool,
}

impl std::fmt::Debug for RealFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealFile").field("file", &self.file).field("length", &self.length).finish_non_exhaustive()
    }
}

impl RealFile {
    fn settled(&self) -> u64 {
        // Pairs with the Release in `settle`: the bytes below were written before.
        self.map.settled.load(Ordering::Acquire)
    }

    /// The start of the mapping, if this handle reads and writes through it. Not to be written to if this handle may
    /// only read.
    fn start(&self) -> Option<*mut u8> {
        let raw = self.map.place(self.is_read_only).get();
        let raw = raw.filter(|raw| self.read_mode == ReadMode::Mapped && raw.len() as u64 >= self.length)?;
        Some(raw.as_mut_ptr())
    }
}

impl StorageFile for RealFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        refuse_write(self.is_read_only)?;
        let _one_at_a_time = self.map.write.lock().unwrap_or_else(PoisonError::into_inner);
        check_write(offset, bytes.len(), self.length, self.settled())?;
        // Where no block is allotted yet, a lack of space must be an error and not the end of the process.
        let Some(start) = self.start().filter(|_| !self.is_sparse) else {
            return self.file.write_all_at(bytes, offset);
        };
        // SAFETY: `check_write` keeps the range inside `length`, which the mapping has; a handle that gets here has
        // the mapping that may be written (`refuse_write`). The range is
        // unsettled (or in the first page, which is never referenced), so no `&[u8]` or `Body` of any
        // handle of this process covers it: all share one border (`MAPS`). It stays so until the guard
        // is dropped, since `settle` takes the same lock. Writers exclude each other by the lock;
        // `read_at` does not touch the mapping.
        unsafe {
            start.add(offset as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        // Checked here, since an offset that no file can have is another error to the system.
        check_read(offset, bytes.len(), self.length)?;
        // The page cache is shared with the mapping, so this sees what was copied in there.
        self.file.read_exact_at(bytes, offset)
    }

    fn settle(&self, offset: u64) {
        let _no_write_meanwhile = self.map.write.lock().unwrap_or_else(PoisonError::into_inner);
        self.map.settled.fetch_max(offset.min(self.length), Ordering::Release);
    }

    fn mapped(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let start = self.start()?;
        if !is_settled(offset, length, self.settled()) {
            return None;
        }
        // SAFETY: settled ranges lie inside `length`, hence inside the mapping, above the first page,
        // were written before (Acquire in `settled`) and are never written again by any handle of this
        // process, since all share the border; the mapping lives as long as `self`. Another process
        // that truncates or overwrites the file is the documented exception of `ReadMode::Mapped`; the
        // lock on the directory keeps other stores out.
        Some(unsafe { std::slice::from_raw_parts(start.add(offset as usize), length) })
    }

    fn body(&self, offset: u64, length: usize) -> io::Result<Body> {
        if !is_settled(offset, length, self.settled()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "bytes are not settled"));
        }
        match self.start() {
            // SAFETY: settled, hence inside the mapping and never written again, see `mapped`; the body
            // keeps the mapping and the border.
            Some(start) => Ok(unsafe { Body::of_map(&self.map, start.add(offset as usize), length) }),
            None => {
                let mut bytes = vec![0; length];
                self.read_at(offset, &mut bytes)?;
                Ok(Body::copy_of(&bytes))
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        // On Linux fdatasync also writes the dirty pages of a shared mapping; elsewhere msync must.
        #[cfg(not(target_os = "linux"))]
        if let Some(raw) = self.map.raw.get() {
            raw.flush()?;
        }
        self.file.sync_data()
    }

    fn held(&self) -> Weak<dyn Any + Send + Sync> {
        let map: Arc<dyn Any + Send + Sync> = self.map.clone();
        Arc::downgrade(&map)
    }
}

const _: () = assert!(REWRITABLE_BYTES == 4096, "docs/format.md: the header is the first page");

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn keeps_others_out() {
        let directory = std::env::temp_dir().join(format!("restante-mode-{}", std::process::id()));
        let storage = RealStorage::new(&directory, ReadMode::Mapped).unwrap();
        storage.create("letters", 4096).unwrap();
        let _lock = storage.lock().unwrap();
        let modes = [mode(&directory), mode(&storage.path("letters")), mode(&storage.path(LOCK_NAME))];
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(modes, [0o700, 0o600, 0o600]);
    }

    /// Two handles once had a border each, so that one could write under what the other had lent out.
    #[test]
    fn no_handle_writes_under_a_body_that_another_lent_out() {
        let directory = std::env::temp_dir().join(format!("restante-border-{}", std::process::id()));
        let storage = RealStorage::new(&directory, ReadMode::Mapped).unwrap();
        let file = storage.create("letters", 8192).unwrap();
        file.write_at(4096, b"hello").unwrap();
        file.settle(4101);
        let body = file.body(4096, 5).unwrap();
        drop(file);
        fs::hard_link(storage.path("letters"), storage.path("second")).unwrap();
        let preads = RealStorage::new(&directory, ReadMode::Pread).unwrap();
        let others = [storage.open("letters"), storage.open("second"), preads.open("letters")];
        let written = others.map(|other| other.unwrap().write_at(4096, b"xxxxx").map_err(|error| error.kind()));
        let kept = body.to_vec();
        drop(body);
        let free = storage.open("letters").unwrap().write_at(4096, b"xxxxx");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(written, [Err(io::ErrorKind::InvalidInput); 3]);
        assert_eq!(kept, b"hello");
        free.unwrap();
    }

    #[test]
    fn opens_regular_files_only() {
        let directory = std::env::temp_dir().join(format!("restante-regular-{}", std::process::id()));
        let storage = RealStorage::new(&directory, ReadMode::Mapped).unwrap();
        storage.create("letters", 4096).unwrap();
        std::os::unix::fs::symlink("letters", storage.path("link")).unwrap();
        fs::hard_link(storage.path("letters"), storage.path("second")).unwrap();
        let (link, count) = (storage.open("link").map(|_| ()), storage.link_count("letters"));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(link.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(count.unwrap(), 2);
    }
}
