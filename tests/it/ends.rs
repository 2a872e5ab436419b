//! The ends of things: of a journal file that is nearly full, of a store that is closed, of a sync that fails.
//! Owns: those tests. May touch: the simulated directory.
//! Never: looks behind the public interface.

use restante::{
    CrashPlan, Draft, Durability, ErrorKind, FailEffect, Loss, Options, SimStorage, Store, Threads, UserId, Version,
};
use std::io;
use std::sync::Arc;

fn options(durability: Durability) -> Options {
    Options::default().threads(Threads::Inline).journal_bytes(64 << 10).durability(durability)
}

fn note() -> Draft<'static> {
    Draft::direct(UserId(1), UserId(2), b"")
}

/// The mark before the first `Buffered` call was taken from the file's room and given back to it again
/// with every write, so that small appends ran past the end of the file and poisoned the store.
#[test]
fn a_long_open_mark_does_not_make_room_where_there_is_none() {
    let mut storage = SimStorage::new(1);
    for round in 0..40 {
        let store = Store::open_on(storage.clone(), options(Durability::Buffered)).unwrap();
        store.append(note()).wait().unwrap();
        assert_eq!(store.recovery().new_epoch, round > 0);
        let plan = CrashPlan { seed: round, loss: Loss::Nothing };
        storage = storage.crash_at(storage.operations(), plan);
    }
    let store = Store::open_on(storage.clone(), options(Durability::Sync)).unwrap();
    let before = store.version();
    for _ in 0..8_000 {
        store.at(Durability::Buffered).append(note()).wait().unwrap();
    }
    store.sync().unwrap();
    assert_eq!(store.version(), Version(before.0 + 8_000));
    let digest = store.state_digest().unwrap();
    store.close().unwrap();
    let store = Store::open_on(storage, options(Durability::Sync)).unwrap();
    assert_eq!(store.state_digest().unwrap(), digest);
}

/// Nothing may be written once the directory is let go: it may be another process's by then.
#[test]
fn a_closed_store_touches_no_file() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let storage = SimStorage::new(2);
        let store = Store::open_on(storage.clone(), options(durability)).unwrap();
        store.append(note()).wait().unwrap();
        let other = store.clone();
        let last = store.clone();
        store.close().unwrap();
        let operations = storage.operations();
        for durability in [Durability::Sync, Durability::Buffered] {
            let error = other.at(durability).append(note()).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
        }
        assert_eq!(other.sync().unwrap_err().kind(), ErrorKind::Closed);
        other.close().unwrap();
        assert_eq!(last.version(), Version(1), "reads go on");
        drop(last);
        assert_eq!(storage.operations(), operations);
    }
}

/// A sync that fails is told once by the system: whoever syncs next must not take its own success for
/// that of what was lost.
#[test]
fn after_a_failed_sync_no_other_sync_acknowledges() {
    for first in [Durability::Sync, Durability::Buffered] {
        let storage = SimStorage::new(3);
        let store = Store::open_on(storage.clone(), options(Durability::Sync)).unwrap();
        store.append(note()).wait().unwrap();
        let waiting = store.append(note());
        // Whatever comes next fails, a few times; then the disk seems well again.
        for number in 0..3 {
            storage.fail_operation(number, io::ErrorKind::Other, FailEffect::Nothing);
        }
        let error = store.at(first).append(note()).wait().unwrap_err();
        assert!([ErrorKind::Unknown, ErrorKind::Poisoned].contains(&error.kind()), "{error:?}");
        let error = waiting.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert_eq!(store.append(note()).wait().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.at(Durability::Buffered).append(note()).wait().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.version(), Version(1), "reads go on, and see what is durable");
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
        let image: Arc<SimStorage> = storage.crash_at(storage.operations(), CrashPlan { seed: 9, loss: Loss::All });
        let store = Store::open_on(image, options(Durability::Sync)).unwrap();
        assert!(store.version() >= Version(1));
    }
}
