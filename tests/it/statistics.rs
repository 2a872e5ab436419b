//! What the store says of itself, held against what was done to it and what lies in its directory.
//! Owns: nothing. May touch: the public interface, its own directory.
//! Never: wants a figure to the byte where the store is free to write more.

use crate::support::TempDir;
use restante::{
    Draft, Durability, FileKindStatistics, HistoryQuery, Options, Peer, Statistics, Store, Threads, UserId,
};

const BODY_BYTES: usize = 700;
const USER: UserId = UserId(1);
const OTHER: UserId = UserId(2);

fn open(directory: &TempDir) -> Store {
    let options = Options::default().threads(Threads::Inline).durability(Durability::Buffered);
    Store::open(directory.path().join("store"), options.journal_bytes(64 << 10).memory_bytes_max(64 << 10)).unwrap()
}

fn append(store: &Store, count: usize) {
    for _ in 0..count {
        store.append(Draft::direct(USER, OTHER, &[7; BODY_BYTES])).wait().unwrap();
    }
}

/// Files with this ending in the store's directory.
fn listed(directory: &TempDir, ending: &str) -> (u64, u64) {
    let entries = std::fs::read_dir(directory.path().join("store")).unwrap().map(Result::unwrap);
    let entries = entries.filter(|entry| entry.file_name().to_str().unwrap().ends_with(ending));
    entries.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.metadata().unwrap().len()))
}

fn check_files(directory: &TempDir, statistics: &Statistics) {
    let files = &statistics.files;
    assert!(files.is_complete);
    let kinds: [(&str, FileKindStatistics); 6] = [
        (".journal", files.journals),
        (".rows", files.rows),
        (".index", files.indexes),
        (".messages", files.messages),
        (".spare", files.spares),
        (".evidence", files.evidence),
    ];
    for (ending, kind) in kinds {
        assert_eq!((kind.count, kind.length_bytes), listed(directory, ending), "{ending}");
        assert_eq!(kind.allotted_bytes > 0, kind.length_bytes > 0, "{ending}");
    }
}

#[test]
fn files_and_bytes_are_those_of_the_directory() {
    let directory = TempDir::new("statistics");
    let store = open(&directory);
    let new = store.statistics();
    check_files(&directory, &new);
    assert_eq!((new.written.payload_bytes, new.work.seals, new.written.amplification()), (0, 0, 0.0));

    append(&store, 20);
    store.sync().unwrap();
    let few = store.statistics();
    assert_eq!(few.written.payload_bytes, 20 * BODY_BYTES as u64);
    assert!(few.written.journal_bytes > few.written.payload_bytes);
    assert!(few.written.journal_bytes < few.written.payload_bytes + 20 * 100);
    assert!(few.syncs.count > 0 && few.syncs.max >= few.syncs.last && few.syncs.total >= few.syncs.max);
    assert_eq!(few.syncs.classes.iter().sum::<u64>(), few.syncs.count);
    // The calls since the store was opened were made durable by one sync.
    assert_eq!((few.syncs.group_calls_max, few.syncs.grouped_calls), (20, 20));
    assert_eq!(few.cache, Default::default(), "all is in memory");

    append(&store, 400);
    store.seal().unwrap();
    let many = store.statistics();
    check_files(&directory, &many);
    assert_eq!(many.written.payload_bytes, 420 * BODY_BYTES as u64);
    assert!(many.work.seals >= 4 && many.work.sealed_bytes > many.written.payload_bytes);
    assert!(many.work.units > 0 && many.work.row_runs > 0 && many.work.unsealed_journals == 0);
    assert!(many.files.indexes.length_bytes + many.files.rows.length_bytes > 0);
    assert!(many.written.amplification() > 1.0);
    assert!(many.written.prepared_bytes >= 4 * (64 << 10));
    assert!(many.memory.budget_bytes == 64 << 10 && many.memory.resident_bytes > 0);

    let query = HistoryQuery::oldest().limit(5);
    assert_eq!(store.history(USER, Peer::User(OTHER), &query).unwrap().messages.len(), 5);
    let looked = store.statistics();
    assert!(looked.look_ups.count > many.look_ups.count);
    assert!(looked.look_ups.units_touched > many.look_ups.units_touched);
    assert!(looked.cache.hits + looked.cache.misses > many.cache.hits + many.cache.misses);
}

#[test]
fn a_group_in_memory_is_counted() {
    let directory = TempDir::new("statistics-group");
    let store = open(&directory);
    let users: Vec<UserId> = (1..=37).map(UserId).collect();
    store.join_many(restante::GroupId(5), &users).wait().unwrap();
    store.join(restante::GroupId(6), USER).wait().unwrap();
    append(&store, 1);
    assert_eq!(store.statistics().group_members_max, 37);
}

#[test]
fn what_a_body_holds_is_told_until_it_goes() {
    let directory = TempDir::new("statistics-pinned");
    let store = open(&directory);
    append(&store, 100);
    store.seal().unwrap();
    let page = store.history(USER, Peer::User(OTHER), &HistoryQuery::oldest().limit(1)).unwrap();
    store.recall(USER, page.messages[0].timeline, restante::Seq(2)).wait().unwrap();
    assert_eq!(store.statistics().files.pinned.count, 0);
    let purged = store.purge().unwrap();
    assert!(purged.files > 0, "what was recalled was in no file");
    let held = store.statistics().files.pinned;
    assert!(held.count == 1 && held.length_bytes >= 64 << 10, "{held:?}");
    assert_eq!(page.messages[0].body.len(), BODY_BYTES);
    drop(page);
    assert_eq!(store.statistics().files.pinned.count, 0);
}
