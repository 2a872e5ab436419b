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

pub use crash::{CrashPlan, Loss};
pub use machine::FailEffect;

use super::{Storage, StorageFile, StorageLock};
use disk::{Change, Disk, FileId};
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
pub struct SimStorage {
    shared: Arc<Mutex<Machine>>,
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
    /// If the run has not come to that operation.
    pub fn crash_at(&self, operation: u64, plan: CrashPlan) -> Arc<SimStorage> {
        let machine = self.machine();
        let operation_count = machine.record.operation_count();
        assert!(operation <= operation_count, "operation not reached: got={operation} count={operation_count}");
        let (disk, in_flight) = machine.record.before(operation);
        let in_flight = in_flight.cloned();
        let (seed, is_full) = (Random::new(&[machine.seed, operation, plan.seed]).next(), machine.is_full);
        drop(machine);

        let disk = disk.crashed(operation, in_flight.as_ref(), plan);
        SimStorage::with(Machine { is_full, ..Machine::new(seed, disk) })
    }

    /// A copy that shares nothing with this storage: its run so far, its faults, and what is not synced
    /// yet stays so. It is unlocked and has power, so it is also what the next process finds when one
    /// was killed and the machine went on.
    pub fn deep_clone(&self) -> Arc<SimStorage> {
        let machine = self.machine();
        SimStorage::with(Machine {
            record: machine.record.clone(),
            random: machine.random.clone(),
            faults: machine.faults.clone(),
            fails_from: machine.fails_from,
            is_full: machine.is_full,
            ..Machine::new(machine.seed, Disk::default())
        })
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

    /// Under how many names the file is to be known from now on.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn set_link_count(&self, name: &str, link_count: u64) {
        let mut machine = self.machine();
        assert!(machine.file(name).is_some(), "no such file: name={name}");
        machine.record.damage(Change::LinkCount { name: name.into(), link_count });
    }

    /// Flips the bits of `mask` in a byte, both as a process sees it and as it is durable.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn corrupt(&self, name: &str, offset: u64, mask: u8) {
        let mut machine = self.machine();
        let length = machine.file(name).map_or(0, |file| file.current.length());
        assert!(offset < length, "no such byte: name={name} offset={offset} length={length}");
        machine.record.damage(Change::Corrupt { name: name.into(), offset, mask });
    }

    /// Puts a file with these bytes at a name, free or not. It is durable, and so are all names now.
    /// Handles to an older file of that name keep the older bytes.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        self.machine().record.damage(Change::Replace { name: name.into(), bytes: bytes.into() });
    }

    /// Takes a file away, if it is there. All names are durable now.
    pub fn remove_file(&self, name: &str) {
        self.machine().record.damage(Change::Vanish { name: name.into() });
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
        self.machine().file(name).map(|file| file.current.to_vec())
    }

    /// All names as a process sees them, sorted.
    pub fn names(&self) -> Vec<String> {
        self.machine().record.disk().names.keys().map(|name| name.to_string()).collect()
    }

    fn with(machine: Machine) -> Arc<SimStorage> {
        Arc::new(SimStorage { shared: Arc::new(Mutex::new(machine)) })
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, Machine>> {
        Machine::powered(&self.shared)
    }

    fn handle(&self, id: FileId, length: u64) -> Arc<dyn StorageFile> {
        Arc::new(SimFile::new(&self.shared, id, length))
    }
}

impl Storage for SimStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        self.powered()?.read_count += 1;
        Ok(self.names())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut machine = self.powered()?;
        check_name(name)?;
        if machine.file(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if machine.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        machine.operate(Change::Create { name: name.into(), length })?;
        Ok(self.handle(machine.record.disk().names[name], length))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut machine = self.powered()?;
        let length = machine.existing(name)?.current.length();
        machine.read_count += 1;
        Ok(self.handle(machine.record.disk().names[name], length))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        let mut machine = self.powered()?;
        check_name(target)?;
        machine.existing(source)?;
        machine.operate(Change::Rename { source: source.into(), target: target.into() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut machine = self.powered()?;
        machine.existing(name)?;
        machine.operate(Change::Remove { name: name.into() })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.powered()?.operate(Change::SyncDirectory)
    }

    fn link_count(&self, name: &str) -> io::Result<u64> {
        Ok(self.powered()?.existing(name)?.link_count)
    }

    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        let mut machine = self.powered()?;
        if machine.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        machine.is_locked = true;
        Ok(Box::new(SimLock(self.shared.clone())))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.powered()?.random.fill(bytes);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("sim").join(name)
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
struct SimLock(Arc<Mutex<Machine>>);

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_locked = false;
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
