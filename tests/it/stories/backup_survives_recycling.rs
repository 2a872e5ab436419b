//! A backup shares its files with a store that goes on: what the store does with them does not reach the backup.
//! Owns: the story `backup_survives_recycling`. May touch: the directories of the store and of the backup.
//! Never: writes to the backup.

use std::collections::BTreeMap;
use std::path::Path;

use restante::{Draft, GroupId, GroupSettings, HistoryQuery, Options, Peer, Seq, Store, Threads, Timeline, UserId};

use crate::support::TempDir;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const TEAM: GroupId = GroupId(1);

fn options() -> Options {
    let options = Options::default().threads(Threads::Inline).maintain(false);
    options.journal_bytes(64 << 10).memory_bytes_max(64 << 10).merge_fan_in(2)
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|it| (it.file_name().to_string_lossy().into_owned(), std::fs::read(it.path()).unwrap())).collect()
}

fn bodies(store: &Store) -> Vec<(u64, usize, u8)> {
    let page = store.history(BOB, Peer::Group(TEAM), &HistoryQuery::oldest().limit(1_000).bytes(16 << 20)).unwrap();
    let of = |body: &[u8]| (body.len(), body.first().copied().unwrap_or(0));
    page.messages.iter().map(|message| (message.seq.0, of(&message.body).0, of(&message.body).1)).collect()
}

fn send(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = vec![number as u8; 4_000 + number as usize];
        store.append(Draft::group(TEAM, ANN, &body)).wait().unwrap();
    }
}

#[test]
fn backup_survives_recycling() {
    let (directory, shelf) = (TempDir::new("recycled"), TempDir::new("shelf"));
    let store = Store::open(directory.path(), options()).unwrap();
    store.create_group(TEAM, GroupSettings::default()).wait().unwrap();
    store.join_many(TEAM, &[ANN, BOB]).wait().unwrap();
    // Some of it is merged, some sealed, some only in the present journal.
    send(&store, 1..60);
    store.seal().unwrap();
    send(&store, 60..90);
    let (digest, version, said) = (store.state_digest().unwrap(), store.version(), bodies(&store));
    assert_eq!(said.len(), 89);
    let target = shelf.path().join("friday");
    let backup = store.backup(&target).unwrap();
    assert_eq!(backup.version, version);
    assert!(backup.linked > 0, "this directory has links");
    let copied = files(&target);

    // All that was said is recalled, all of it is purged, and every file gives way to others, more than once.
    for seq in 1..90 {
        store.recall(ANN, Timeline::Group(TEAM), Seq(seq)).wait().unwrap();
    }
    store.purge().unwrap();
    send(&store, 90..200);
    store.seal().unwrap();
    store.purge().unwrap();
    let now = files(directory.path());
    let shared: Vec<&String> =
        copied.iter().filter(|(name, bytes)| now.get(*name) == Some(bytes)).map(|it| it.0).collect();
    assert!(shared.iter().all(|name| !name.ends_with(".journal") && !name.ends_with(".messages")), "left: {shared:?}");
    assert!(bodies(&store)[..89].iter().all(|(_, length, _)| *length == 0));
    store.close().unwrap();
    drop(directory);

    // The backup is what it was, to the byte, and opens.
    assert!(files(&target) == copied, "a file of the backup changed");
    assert!(Store::verify_directory(&target).unwrap().is_whole());
    let store = Store::open_read_only(&target, options()).unwrap();
    assert_eq!((store.version(), store.state_digest().unwrap()), (version, digest));
    assert_eq!(bodies(&store), said);
    drop(store);
    assert!(files(&target) == copied, "looking at a backup leaves it as it is");
    // As a store of its own it goes on from there, in an epoch of its own.
    let store = Store::open(&target, options()).unwrap();
    assert!(store.recovery().new_epoch);
    send(&store, 90..91);
    assert_eq!(bodies(&store).len(), 90);
}
