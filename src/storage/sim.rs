//! A directory in memory that can lose, tear and reorder what was not synced, and fail any call.
//! Owns: `SimStorage` and its lock. May touch: what it declares below.
//! Never: reads a clock, draws a number that the seed does not give, or touches a real file.

mod random;

mod pages;

mod disk;

mod record;

mod machine;

mod crash;

mod file;

mod copy;

pub use crash::{CrashPlan, Loss};
pub use machine::FailEffect;

use super::{FileBytes, Storage, StorageCopy, StorageFile, StorageLock, refuse_write};
use copy::SimCopy;
use disk::{Change, Disk, FileId, HOME, Name, OUTSIDE};
use file::SimFile;
use machine::Machine;
use random::Random;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory in memory for crash tests: every run, fault and crash of it can be had again by its seed.
///
/// Each mutating call (`create`, `write_at`, `sync`, `rename`, `remove`, `sync_directory`) is an
/// *operation*, numbered from 0, and kept with its bytes as long as the storage lives. So one run is
/// enough to try a crash within every operation, in as many ways as wanted:
///
/// ```
/// use restante::{CrashPlan, Loss, SimStorage, Storage};
///
/// let storage = SimStorage::new(1);
/// let file = storage.create("letters", 8192)?;
/// file.sync()?;
/// storage.sync_directory()?;
/// file.write_at(4096, b"hello")?;
///
/// for operation in 0..=storage.operations() {
///     let found = storage.crash_at(operation, CrashPlan { seed: 7, loss: Loss::Random });
///     // Open what is to be tested on `found`: what was synced before `operation` must be there.
///     assert!(operation < 3 || found.bytes("letters").is_some());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A call that is refused because its arguments break the contract, because a name is taken or
/// missing, or because the storage is full or without power, changes nothing and is not an operation.
/// Files are never mapped: [`StorageFile::mapped`] has nothing, bodies are copies.
///
/// Copies that were made of the directory ([`Storage::begin_copy`]) are on the same simulated machine: crashes, faults and power
/// are common to all, and a file with a link in a copy is one file. [`SimStorage::copy_at`] has them. Their steps are operations
/// too: making the directory, each `link` and `create`, three for `finish`, and each removal where one is given up.
pub struct SimStorage {
    shared: Arc<Mutex<Machine>>,
    directory: FileId,
    path: PathBuf,
    is_read_only: bool,
}

impl SimStorage {
    /// An empty directory. The seed gives `fill_random` its bytes and faults their extent.
    #[allow(clippy::new_ret_no_self, reason = "a storage is shared: its users hold it as `Arc<dyn Storage>`")]
    pub fn new(seed: u64) -> Arc<SimStorage> {
        SimStorage::with(Machine::new(seed, Disk::default()))
    }

    /// The directory as a process finds it after a crash within operation number `operation` of this
    /// run, or after all of them if the number is [`SimStorage::operations`].
    ///
    /// What it holds is all durable. It is unlocked, has power, no faults ahead and no operations behind it; it is
    /// full if this one is at present. This storage goes on as if nothing had been asked.
    ///
    /// # Panics
    /// If the run has not come to that operation. Also if this is a copy, and the crash leaves no directory of it: then
    /// ask the storage that it is a copy of, and that for its [`SimStorage::copy_at`].
    pub fn crash_at(&self, operation: u64, plan: CrashPlan) -> Arc<SimStorage> {
        let machine = self.machine();
        let operation_count = machine.record.operation_count();
        assert!(operation <= operation_count, "operation not reached: got={operation} count={operation_count}");
        let (disk, in_flight) = machine.record.before(operation);
        let in_flight = in_flight.cloned();
        let seed = Random::new(&[machine.seed, operation, plan.seed]).next();
        let (is_full, has_links) = (machine.is_full, machine.has_links);
        drop(machine);

        let disk = disk.crashed(operation, in_flight.as_ref(), plan);
        assert!(disk.directories.contains_key(&self.directory), "the crash left no such copy: path={:?}", self.path);
        let image = SimStorage::with(Machine { is_full, has_links, ..Machine::new(seed, disk) });
        image.beside(self.directory, self.path.clone(), false)
    }

    /// The copy that was made at `target`, named as it was for [`Storage::begin_copy`], as a storage of its own.
    /// What is still being gathered is at `<target>.tmp`, and the copy of a copy is had from either.
    pub fn copy_at(&self, target: impl AsRef<Path>) -> Option<Arc<SimStorage>> {
        let target = target.as_ref();
        let directory = self.machine().existing(OUTSIDE, &copy::name_of(target).ok()?).ok()?;
        Some(self.beside(directory, target.to_owned(), false))
    }

    /// The paths of all copies, finished or not, sorted.
    pub fn copies(&self) -> Vec<PathBuf> {
        self.machine().record.disk().names(OUTSIDE).keys().map(|name| PathBuf::from(&**name)).collect()
    }

    /// The same directory, for reading only. See [`Storage::is_read_only`].
    pub fn read_only(&self) -> Arc<SimStorage> {
        self.beside(self.directory, self.path.clone(), true)
    }

    /// Whether a copy can have links to the files it is a copy of. If not, it lies on another file system.
    pub fn set_links(&self, has_links: bool) {
        self.machine().has_links = has_links;
    }

    /// A copy that shares nothing with this storage: its run so far, its faults, and what is not synced
    /// yet stays so. It is unlocked and has power, so it is also what the next process finds when one
    /// was killed and the machine went on.
    pub fn deep_clone(&self) -> Arc<SimStorage> {
        let machine = self.machine();
        let clone = SimStorage::with(Machine {
            record: machine.record.clone(),
            random: machine.random.clone(),
            faults: machine.faults.clone(),
            fails_from: machine.fails_from,
            is_full: machine.is_full,
            has_links: machine.has_links,
            ..Machine::new(machine.seed, Disk::default())
        });
        clone.beside(self.directory, self.path.clone(), self.is_read_only)
    }

    /// Makes one operation fail: the next one for `number` 0, the one after it for 1, and so on.
    ///
    /// After a failed sync the bytes (or names) it should have made durable are suspect: a crash may
    /// lose them, whatever later syncs say.
    pub fn fail_operation(&self, number: u64, kind: io::ErrorKind, effect: FailEffect) {
        let mut machine = self.machine();
        let operation = machine.record.operation_count() + number;
        machine.faults.insert(operation, (kind, effect));
    }

    /// Makes all operations fail without effect from the next one (`number` 0) or a later one on, as a device that is gone.
    pub fn fail_from(&self, number: u64, kind: io::ErrorKind) {
        let mut machine = self.machine();
        machine.fails_from = Some((machine.record.operation_count() + number, kind));
    }

    /// Whether there is no space for another file. Writes to existing ones go on: their space is allotted.
    pub fn set_full(&self, is_full: bool) {
        self.machine().is_full = is_full;
    }

    /// Fails every later call on this storage and its files. Old handles can change nothing any more.
    /// The methods of `SimStorage` itself go on.
    pub fn power_off(&self) {
        self.machine().has_power = false;
    }

    /// Under how many names the file is to be known from now on, those that it has in copies with them.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn set_link_count(&self, name: &str, link_count: u64) {
        let mut machine = self.machine();
        let Ok(file) = machine.existing(self.directory, name) else { panic!("no such file: name={name}") };
        machine.record.damage(Change::LinkCount { file, link_count });
    }

    /// Flips the bits of `mask` in a byte, both as a process sees it and as it is durable.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn corrupt(&self, name: &str, offset: u64, mask: u8) {
        let mut machine = self.machine();
        let length = machine.file(self.directory, name).map_or(0, |file| file.current.length());
        assert!(offset < length, "no such byte: name={name} offset={offset} length={length}");
        let file = machine.record.disk().names(self.directory)[name];
        machine.record.damage(Change::Corrupt { file, offset, mask });
    }

    /// Puts a file with these bytes at a name, free or not. It is durable, and so are all names now.
    /// Handles to an older file of that name keep the older bytes.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        let (directory, name) = (self.directory, name.into());
        self.machine().record.damage(Change::Replace { directory, name, bytes: bytes.into() });
    }

    /// Takes a file away, if it is there. All names are durable now.
    pub fn remove_file(&self, name: &str) {
        self.machine().record.damage(Change::Vanish { directory: self.directory, name: name.into() });
    }

    /// How many operations there were, failed ones with them. Each is a point to crash at.
    pub fn operations(&self) -> u64 {
        self.machine().record.operation_count()
    }

    /// How many calls to `list`, `open`, `read_at` and `body` there were, failed ones not.
    pub fn reads(&self) -> u64 {
        self.machine().read_count
    }

    /// The bytes of a file as a process sees them, if there is one of that name.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.machine().file(self.directory, name).map(|file| file.current.to_vec())
    }

    /// All names as a process sees them, sorted.
    pub fn names(&self) -> Vec<String> {
        self.machine().record.disk().names(self.directory).keys().map(|name| name.to_string()).collect()
    }

    fn with(machine: Machine) -> Arc<SimStorage> {
        let (directory, path) = (HOME, PathBuf::from("sim"));
        Arc::new(SimStorage { shared: Arc::new(Mutex::new(machine)), directory, path, is_read_only: false })
    }

    /// Another storage on the same machine.
    fn beside(&self, directory: FileId, path: PathBuf, is_read_only: bool) -> Arc<SimStorage> {
        Arc::new(SimStorage { shared: self.shared.clone(), directory, path, is_read_only })
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, Machine>> {
        Machine::powered(&self.shared)
    }

    /// As `powered`, for a call that changes something.
    fn writable(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.powered()?;
        refuse_write(self.is_read_only)?;
        Ok(machine)
    }

    fn handle(&self, id: FileId, length: u64) -> Arc<dyn StorageFile> {
        Arc::new(SimFile::new(&self.shared, id, length, self.is_read_only))
    }
}

impl Storage for SimStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        self.powered()?.read_count += 1;
        Ok(self.names())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut machine = self.writable()?;
        check_name(name)?;
        if machine.existing(self.directory, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = machine.create(self.directory, name.into(), length)?;
        Ok(self.handle(id, length))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut machine = self.powered()?;
        let id = machine.existing(self.directory, name)?;
        machine.read_count += 1;
        Ok(self.handle(id, machine.record.disk().files[&id].current.length()))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        let mut machine = self.writable()?;
        check_name(target)?;
        machine.existing(self.directory, source)?;
        let (source, target): (Name, Name) = (source.into(), target.into());
        machine.operate(Change::Rename { directory: self.directory, source, target })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut machine = self.writable()?;
        machine.existing(self.directory, name)?;
        machine.operate(Change::Remove { directory: self.directory, name: name.into() })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.powered()?.operate(Change::SyncDirectory { directory: self.directory })
    }

    fn link_count(&self, name: &str) -> io::Result<u64> {
        let machine = self.powered()?;
        let id = machine.existing(self.directory, name)?;
        Ok(machine.record.disk().link_count(id))
    }

    fn file_bytes(&self, name: &str) -> io::Result<FileBytes> {
        let machine = self.powered()?;
        let id = machine.existing(self.directory, name)?;
        let length = machine.record.disk().files[&id].current.length();
        Ok(FileBytes { length, allotted: length })
    }

    fn begin_copy(&self, target: &Path) -> io::Result<Box<dyn StorageCopy>> {
        Ok(Box::new(SimCopy::begin(&self.shared, self.directory, target)?))
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        self.powered()?.lock(self.directory, self.is_read_only)?;
        Ok(Box::new(SimLock { shared: self.shared.clone(), directory: self.directory }))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.powered()?.random.fill(bytes);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStorage")
            .field("names", &self.names())
            .field("operations", &self.operations())
            .finish_non_exhaustive()
    }
}

/// Released when dropped.
struct SimLock {
    shared: Arc<Mutex<Machine>>,
    directory: FileId,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).unlock(self.directory);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimLock")
    }
}

/// Refuses what is not a plain file name.
fn check_name(name: &str) -> io::Result<()> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a plain file name: name={name:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
