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

/// What both storages promise, held against both, and what this one adds for its users.
#[cfg(test)]
mod tests {
    use super::super::{REWRITABLE_BYTES, ReadMode, RealStorage};
    use super::*;
    use io::ErrorKind::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const LENGTH: u64 = 4 * REWRITABLE_BYTES;

    /// Runs a test on an empty directory of each storage there is.
    fn check(test: impl Fn(&dyn Storage)) {
        for read_mode in [ReadMode::Mapped, ReadMode::Pread] {
            let directory = TemporaryDirectory::new();
            test(&RealStorage::new(&directory.0, read_mode).unwrap());
        }
        test(&*SimStorage::new(1));
    }

    struct TemporaryDirectory(PathBuf);

    impl TemporaryDirectory {
        fn new() -> TemporaryDirectory {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            TemporaryDirectory(std::env::temp_dir().join(format!("restante-storage-{}-{number}", std::process::id())))
        }
    }

    impl Drop for TemporaryDirectory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
        result.err().expect("must be refused").kind()
    }

    fn read(file: &dyn StorageFile, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        file.read_at(offset, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn new_files_are_zero_and_of_their_length() {
        check(|storage| {
            // Above what is written at once, and no multiple of a page.
            let length = (64 << 10) + 4096 + 7;
            let file = storage.create("letters", length).unwrap();
            assert_eq!(file.length(), length);
            assert_eq!(read(&*file, 0, length as usize), vec![0; length as usize]);
            assert_eq!(storage.open("letters").unwrap().length(), length);
            assert_eq!(storage.create("none", 0).unwrap().length(), 0);
            assert_eq!(storage.link_count("letters").unwrap(), 1);
            assert_eq!(kind(storage.create("letters", 1)), AlreadyExists);
            assert_eq!(kind(storage.open("absent")), NotFound);
            assert_eq!(kind(storage.link_count("absent")), NotFound);
        });
    }

    #[test]
    fn reads_what_was_written() {
        check(|storage| {
            let file = storage.create("letters", LENGTH).unwrap();
            let other = storage.open("letters").unwrap();
            file.write_at(4094, b"over the page").unwrap();
            file.write_at(LENGTH - 3, b"end").unwrap();
            file.sync().unwrap();
            assert_eq!(read(&*other, 4093, 15), b"\0over the page\0");
            assert_eq!(read(&*other, LENGTH - 4, 4), b"\0end");
            assert_eq!(kind(file.write_at(LENGTH - 2, b"end")), InvalidInput);
            assert_eq!(kind(file.write_at(u64::MAX, b"end")), InvalidInput);
            for offset in [LENGTH - 2, LENGTH + 9, u64::MAX] {
                assert_eq!(kind(file.read_at(offset, &mut [0; 3])), UnexpectedEof, "offset={offset}");
            }
            assert_eq!(read(&*file, LENGTH - 4, 4), b"\0end");
        });
    }

    #[test]
    fn settled_bytes_are_viewed_and_never_written() {
        check(|storage| {
            let file = storage.create("letters", LENGTH).unwrap();
            let body = |offset, length| file.body(offset, length).map(|body| body.to_vec());
            file.write_at(REWRITABLE_BYTES, b"hello").unwrap();
            assert_eq!(kind(body(REWRITABLE_BYTES, 5)), InvalidInput);
            assert!(file.mapped(REWRITABLE_BYTES, 5).is_none());

            // A border inside the rewritable bytes settles nothing.
            file.settle(REWRITABLE_BYTES);
            file.write_at(REWRITABLE_BYTES - 1, b"-hello").unwrap();

            file.settle(REWRITABLE_BYTES + 5);
            file.settle(REWRITABLE_BYTES + 2);
            assert_eq!(body(REWRITABLE_BYTES, 5).unwrap(), b"hello");
            assert!(file.mapped(REWRITABLE_BYTES, 5).is_none_or(|bytes| bytes == b"hello"));
            for (offset, length) in [(REWRITABLE_BYTES, 6), (REWRITABLE_BYTES - 1, 2), (u64::MAX, 2)] {
                assert_eq!(kind(body(offset, length)), InvalidInput, "offset={offset}");
                assert!(file.mapped(offset, length).is_none(), "offset={offset}");
            }
            for (offset, bytes) in [(REWRITABLE_BYTES + 4, &b"x"[..]), (REWRITABLE_BYTES - 1, b"xx"), (0, &[1; 9999])] {
                assert_eq!(kind(file.write_at(offset, bytes)), InvalidInput, "offset={offset}");
            }
            file.write_at(0, &[7; REWRITABLE_BYTES as usize]).unwrap();
            file.write_at(REWRITABLE_BYTES + 5, b" you").unwrap();
            assert_eq!(body(REWRITABLE_BYTES, 5).unwrap(), b"hello");

            file.settle(u64::MAX);
            assert_eq!(body(REWRITABLE_BYTES, 9).unwrap(), b"hello you");
            assert_eq!(kind(body(LENGTH - 1, 2)), InvalidInput);
            let kept = file.body(REWRITABLE_BYTES, 5).unwrap();
            storage.remove("letters").unwrap();
            assert_eq!(&*kept, b"hello");
        });
    }

    #[test]
    fn handles_follow_the_file_not_the_name() {
        check(|storage| {
            let file = storage.create("new", LENGTH).unwrap();
            storage.rename("new", "old").unwrap();
            file.write_at(0, b"followed").unwrap();
            file.sync().unwrap();
            storage.sync_directory().unwrap();
            assert_eq!(read(&*storage.open("old").unwrap(), 0, 8), b"followed");
            assert_eq!(kind(storage.open("new")), NotFound);
            assert_eq!(storage.list().unwrap(), ["old"]);

            storage.create("new", LENGTH).unwrap();
            storage.remove("old").unwrap();
            file.write_at(0, b"nameless").unwrap();
            assert_eq!(read(&*file, 0, 8), b"nameless");
            assert_eq!(read(&*storage.open("new").unwrap(), 0, 8), [0; 8]);
            assert_eq!(kind(storage.remove("old")), NotFound);
            assert_eq!(kind(storage.rename("old", "older")), NotFound);
            assert_eq!(storage.list().unwrap(), ["new"]);
        });
    }

    #[test]
    fn one_process_has_the_lock() {
        check(|storage| {
            let lock = storage.lock().unwrap();
            assert_eq!(kind(storage.lock()), WouldBlock);
            drop(lock);
            storage.lock().unwrap();
        });
    }

    #[test]
    fn random_bytes_come_from_the_seed() {
        let draw = |storage: &SimStorage| {
            let mut bytes = [0; 16];
            storage.fill_random(&mut bytes).unwrap();
            bytes
        };
        let storage = SimStorage::new(5);
        let image = |seed| draw(&storage.crash_at(0, CrashPlan { seed, loss: Loss::All }));
        let first = draw(&storage);
        assert_eq!(first, draw(&SimStorage::new(5)));
        assert_ne!(first, draw(&SimStorage::new(6)));
        assert_eq!(image(1), image(1));
        assert_ne!(image(1), image(2));
        assert_ne!(image(5), first);
        assert_eq!(draw(&storage.deep_clone()), draw(&storage));
    }

    #[test]
    fn operations_fail_as_told() {
        let storage = SimStorage::new(1);
        let file = storage.create("letters", LENGTH).unwrap();
        storage.fail_operation(1, Other, FailEffect::All);
        storage.fail_operation(2, StorageFull, FailEffect::Nothing);
        storage.fail_from(4, BrokenPipe);
        file.write_at(0, b"one").unwrap();
        assert_eq!(kind(file.write_at(0, b"two")), Other);
        assert_eq!(read(&*file, 0, 3), b"two");
        assert_eq!(kind(file.write_at(0, b"six")), StorageFull);
        assert_eq!(read(&*file, 0, 3), b"two");
        // Refused calls are no operations.
        assert_eq!(kind(file.write_at(LENGTH, b"!")), InvalidInput);
        assert_eq!(kind(storage.create("letters", 1)), AlreadyExists);
        assert_eq!(kind(storage.create("a/b", 1)), InvalidInput);
        file.sync().unwrap();
        assert_eq!(storage.operations(), 5);
        for result in [file.sync(), storage.remove("letters"), storage.sync_directory(), file.write_at(0, b"ten")] {
            assert_eq!(kind(result), BrokenPipe);
        }
        assert_eq!(storage.operations(), 9);
        assert_eq!(read(&*storage.open("letters").unwrap(), 0, 3), b"two");
        // What is found after the crash is a sound device again.
        storage.crash_at(9, CrashPlan { seed: 0, loss: Loss::Nothing }).sync_directory().unwrap();
    }

    #[test]
    fn a_write_that_fails_in_part_leaves_its_first_bytes() {
        let left = |seed| {
            let storage = SimStorage::new(seed);
            let file = storage.create("letters", 100).unwrap();
            storage.fail_operation(0, Other, FailEffect::Part);
            assert_eq!(kind(file.write_at(0, &[1; 100])), Other);
            let bytes = storage.bytes("letters").unwrap();
            let count = bytes.iter().filter(|byte| **byte == 1).count();
            assert!(bytes[..count].iter().all(|byte| *byte == 1));
            count
        };
        assert!((0..20).any(|seed| left(seed) < 50) && (0..20).any(|seed| left(seed) > 50));
        assert_eq!(left(3), left(3));
    }

    #[test]
    fn a_full_storage_makes_no_files_and_writes_existing_ones() {
        let storage = SimStorage::new(1);
        let file = storage.create("letters", LENGTH).unwrap();
        storage.set_full(true);
        assert_eq!(kind(storage.create("more", 1)), StorageFull);
        file.write_at(0, b"fits").unwrap();
        let image = storage.crash_at(2, CrashPlan { seed: 0, loss: Loss::Nothing });
        assert_eq!(kind(image.create("more", 1)), StorageFull);
        image.set_full(false);
        image.create("more", 1).unwrap();
    }

    #[test]
    fn without_power_old_handles_change_nothing() {
        let storage = SimStorage::new(1);
        let file = storage.create("letters", LENGTH).unwrap();
        file.settle(LENGTH);
        let _lock = storage.lock().unwrap();
        storage.power_off();
        for result in [
            file.write_at(0, b"late"),
            file.read_at(0, &mut [0]),
            file.sync(),
            file.body(REWRITABLE_BYTES, 1).map(|_| ()),
            storage.list().map(|_| ()),
            storage.create("more", 1).map(|_| ()),
            storage.open("letters").map(|_| ()),
            storage.rename("letters", "x"),
            storage.remove("letters"),
            storage.sync_directory(),
            storage.link_count("letters").map(|_| ()),
            storage.lock().map(|_| ()),
            storage.fill_random(&mut [0]),
        ] {
            assert_eq!(result.unwrap_err().to_string(), "simulated storage is powered off");
        }
        assert_eq!((storage.operations(), storage.names()), (1, vec!["letters".to_owned()]));
        let next = storage.deep_clone();
        let _lock = next.lock().unwrap();
        next.open("letters").unwrap().write_at(0, b"next").unwrap();
        assert_eq!(&storage.bytes("letters").unwrap()[..4], [0; 4]);
    }

    #[test]
    fn damage_is_durable_and_no_operation() {
        let storage = SimStorage::new(1);
        let file = storage.create("letters", 8).unwrap();
        file.write_at(0, b"abcdefgh").unwrap();
        file.sync().unwrap();
        storage.sync_directory().unwrap();
        storage.corrupt("letters", 1, 0x03);
        storage.replace("short", b"xyz".to_vec());
        storage.set_link_count("short", 2);
        storage.create("gone", 5).unwrap();
        storage.remove_file("gone");
        storage.remove_file("absent");
        assert_eq!((storage.operations(), storage.reads()), (5, 0));
        assert_eq!(storage.names(), ["letters", "short"]);
        assert_eq!(storage.bytes("absent"), None);
        let image = |operation| storage.crash_at(operation, CrashPlan { seed: 0, loss: Loss::All });
        assert_eq!(image(5).names(), ["letters", "short"]);
        assert_eq!(image(5).bytes("letters").unwrap(), b"aacdefgh");
        assert_eq!(image(5).open("short").unwrap().length(), 3);
        assert_eq!(image(5).link_count("short").unwrap(), 2);
        assert_eq!(image(3).bytes("short"), None, "the damage came later");
    }
}
