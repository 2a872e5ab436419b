//! What both storages promise, held against both, and what the simulated one adds for its users.
//! Owns: the tests of `real` and `sim` alike. May touch: both.
//! Never: is part of the crate that others link.

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

/// What a seed crashes into stays the same from one version of the simulation to the next, so that a failure that was
/// written down can be had again.
#[test]
fn old_seeds_lead_to_the_same_images() {
    let storage = SimStorage::new(11);
    let mut random = Random::new(&[12]);
    for step in 0..200 {
        let name = format!("file {}", random.below(6));
        if random.chance(1) {
            let effect = [FailEffect::Nothing, FailEffect::Part, FailEffect::All][random.below(3) as usize];
            storage.fail_operation(0, Other, effect);
        }
        // Errors are part of the run.
        let _ = match random.below(8) {
            0 => storage.create(&name, LENGTH).map(drop),
            1 => storage.remove(&name),
            2 => storage.sync_directory(),
            3 if storage.bytes("file 7").is_none() => storage.rename(&name, "file 7"),
            4 => storage.open(&name).and_then(|file| file.sync()),
            _ => storage.open(&name).and_then(|file| file.write_at(random.below(LENGTH / 2), &[step; 700])),
        };
    }
    let mut digest = xxhash_rust::xxh3::Xxh3::new();
    for operation in 0..=storage.operations() {
        for loss in [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random] {
            let image = storage.crash_at(operation, CrashPlan { seed: operation, loss });
            for name in image.names() {
                digest.update(name.as_bytes());
                digest.update(&image.bytes(&name).unwrap());
            }
            let mut drawn = [0; 8];
            image.fill_random(&mut drawn).unwrap();
            digest.update(&drawn);
        }
    }
    assert_eq!((storage.operations(), digest.digest()), (92, 18_319_115_577_712_867_612));
}
