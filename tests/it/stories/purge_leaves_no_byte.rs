//! What nobody may see any more is in no file, once somebody has asked for that.
//! Owns: the story `purge_leaves_no_byte`, also after power cuts. May touch: the directory of its store.
//! Never: asks anything but the bytes of files whether a body is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use restante::{
    CrashPlan, Draft, Durability, GroupId, GroupSettings, HistoryQuery, Loss, Options, Peer, Retention, Seq,
    SimStorage, Store, Threads, Timeline, Timestamp, UserId,
};

use crate::support::TempDir;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CHAT: GroupId = GroupId(1);
const LOG: GroupId = GroupId(2);
const GONE: GroupId = GroupId(3);

fn options() -> Options {
    let options = Options::default().threads(Threads::Inline).maintain(false);
    options.journal_bytes(64 << 10).memory_bytes_max(64 << 10).merge_fan_in(2)
}

/// All files of a directory and of those in it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// In which files some bytes are.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let has = |path: &PathBuf| std::fs::read(path).unwrap().windows(text.len()).any(|it| it == text.as_bytes());
    files(directory).into_iter().filter(has).collect()
}

fn texts(store: &Store, group: GroupId) -> Vec<String> {
    let page = store.history(BOB, Peer::Group(group), &HistoryQuery::oldest()).unwrap();
    page.messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect()
}

/// A body that is nowhere else, and not a part of another.
fn needle(name: &str) -> String {
    format!("<<{name} 7f3a9c51e0>>")
}

#[test]
fn purge_leaves_no_byte() {
    // Sealed now and then, or never before the purge; merged, or not.
    for (seal_every, merges) in [(1, true), (3, true), (2, false), (u64::MAX, true)] {
        let directory = TempDir::new("purge");
        let store = Store::open(directory.path(), options()).unwrap();
        store.pause_merges(!merges);
        for group in [CHAT, LOG, GONE] {
            store.create_group(group, GroupSettings::default().shows_history(true)).wait().unwrap();
            store.join_many(group, &[ANN, BOB]).wait().unwrap();
        }
        let mut calls = 0;
        let mut step = |store: &Store| {
            calls += 1;
            if calls % seal_every == 0 {
                store.seal().unwrap();
            }
        };
        let send = |group: GroupId, name: &str| {
            let appended = store.append(Draft::group(group, ANN, needle(name).as_bytes())).wait().unwrap();
            (Timeline::Group(group), appended.seq)
        };

        // In the chat: one stays, one is recalled, one edited, one edited twice, one edited and then recalled.
        send(CHAT, "kept");
        step(&store);
        let (chat, recalled) = send(CHAT, "recalled");
        let (_, edited) = send(CHAT, "edited away");
        step(&store);
        let (_, twice) = send(CHAT, "edited away first");
        let (_, both) = send(CHAT, "edited away and recalled");
        step(&store);
        store.edit(ANN, chat, edited, needle("as it is now").as_bytes()).wait().unwrap();
        store.edit(ANN, chat, twice, needle("edited away second").as_bytes()).wait().unwrap();
        step(&store);
        store.edit(ANN, chat, twice, needle("as it is at last").as_bytes()).wait().unwrap();
        store.edit(ANN, chat, both, needle("recalled once edited").as_bytes()).wait().unwrap();
        step(&store);
        store.recall(ANN, chat, recalled).wait().unwrap();
        store.recall(ANN, chat, both).wait().unwrap();
        step(&store);
        // Of the log only the newest is kept; one of those that go was edited. The third group ends.
        for number in 1..=5 {
            send(LOG, &format!("trimmed {number}"));
            step(&store);
        }
        store.edit(ANN, Timeline::Group(LOG), Seq(2), needle("trimmed edit").as_bytes()).wait().unwrap();
        send(LOG, "newest of the log");
        send(GONE, "said in a group that ended");
        step(&store);
        let keeps_one = GroupSettings::default().shows_history(true).retention(Some(Retention::default().count(1)));
        store.set_group(LOG, keeps_one).wait().unwrap();
        store.maintain(Timestamp::MAX).wait().unwrap();
        store.dissolve(GONE).wait().unwrap();
        step(&store);

        let stays = ["kept", "as it is now", "as it is at last", "newest of the log"].map(needle);
        let mut goes = ["recalled", "edited away", "edited away first", "edited away second"].map(needle).to_vec();
        goes.extend(["edited away and recalled", "recalled once edited", "trimmed edit"].map(needle));
        goes.extend((1..=5).map(|number| needle(&format!("trimmed {number}"))));
        goes.push(needle("said in a group that ended"));
        let is_anywhere = |text: &String| !files_with(directory.path(), text).is_empty();
        assert!(stays.iter().all(is_anywhere));
        assert!(seal_every == 1 || goes.iter().any(is_anywhere), "there is something to purge");

        let purged = store.purge().unwrap();
        assert!(seal_every == 1 || purged.files > 0);
        let check = |store: &Store| {
            for text in &goes {
                assert_eq!(files_with(directory.path(), text), Vec::<PathBuf>::new(), "{text} seal_every={seal_every}");
            }
            assert!(stays.iter().all(is_anywhere));
            assert_eq!(texts(store, CHAT), [&stays[0], "", &stays[1], &stays[2], ""]);
            assert_eq!(texts(store, LOG), [stays[3].as_str()]);
            assert!(store.verify().unwrap().is_whole());
        };
        check(&store);
        assert_eq!(store.purge().unwrap().files, 0, "nothing is left to do");
        let digest = store.state_digest().unwrap();
        store.close().unwrap();
        let store = Store::open(directory.path(), options()).unwrap();
        assert_eq!(store.state_digest().unwrap(), digest);
        check(&store);
    }
}

/// The same after power cuts: what recovery set aside is gone, and what purging took away does not come back.
#[test]
fn purge_leaves_no_byte_that_a_power_cut_brings_back() {
    let whole = CrashPlan { seed: 3, loss: Loss::Nothing };
    let crashed = |storage: &SimStorage, plan| storage.crash_at(storage.operations(), plan);
    let open = |storage: &Arc<SimStorage>| {
        Store::open_on(storage.clone(), options().durability(Durability::Buffered)).unwrap()
    };
    let has = |storage: &SimStorage, text: &str| {
        let bytes = storage.names().into_iter().filter_map(|name| storage.bytes(&name));
        bytes.filter(|bytes| bytes.windows(text.len()).any(|it| it == text.as_bytes())).count()
    };
    let storage = SimStorage::new(3);
    let store = open(&storage);
    let (secret, kept) = (needle("sealed secret"), needle("kept"));
    store.append(Draft::direct(ANN, BOB, secret.as_bytes())).wait().unwrap();
    store.append(Draft::direct(ANN, BOB, kept.as_bytes())).wait().unwrap();
    store.seal().unwrap();
    let aside = needle("secret of a journal that is set aside");
    store.append(Draft::direct(ANN, BOB, aside.as_bytes())).wait().unwrap();

    // Recovery copies what it keeps, and sets the old file aside as evidence.
    let storage = crashed(&storage, whole);
    drop(store);
    let store = open(&storage);
    assert!(storage.names().iter().any(|name| name.ends_with(".evidence")), "{:?}", storage.names());
    assert_eq!(has(&storage, &aside), 2);
    for seq in [1, 3] {
        store.recall(ANN, Timeline::direct(ANN, BOB), Seq(seq)).wait().unwrap();
    }
    assert!(store.purge().unwrap().files > 0);
    for loss in [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random] {
        for seed in 0..8 {
            let image = crashed(&storage, CrashPlan { seed, loss });
            let found = (has(&image, &secret), has(&image, &aside), has(&image, &kept));
            assert_eq!(found, (0, 0, 1), "{loss:?} seed={seed}: {:?}", image.names());
            assert!(open(&image).verify().unwrap().is_whole());
        }
    }
}
