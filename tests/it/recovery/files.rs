//! Files that are missing, foreign, swapped, cut short or not ours.
//! Owns: the rows about whole files and headers. May touch: the helpers above.
//! Never: damages single frames.

use std::sync::Arc;

use restante::Durability::{Buffered, Sync};
use restante::{ErrorKind, SimStorage, Storage, Store};

use super::layout::{FRAMES, File, HEADER_BYTES, edit, journal, journals, reseal};
use super::{LARGE, Subject, everything, last, met, open, refused};
use crate::support::Rng;

/// A closed store of several files.
fn several(seed: u64) -> (Arc<SimStorage>, (u64, u64)) {
    let mut subject = Subject::new(seed, Sync);
    subject.say_some(14, LARGE);
    let (storage, digests) = subject.closed();
    assert!(journals(&storage).len() >= 4);
    (storage, last(&digests))
}

/// Row `live file missing`.
#[test]
fn a_missing_older_file_is_named() {
    let (storage, _) = several(21);
    let ids = journals(&storage);
    for id in &ids[..ids.len() - 1] {
        let image = storage.deep_clone();
        image.remove_file(&journal(*id));
        refused(&image, *id, 0);
    }
}

/// Row `successor missing`: the closing frame of the file before names it.
#[test]
fn a_missing_newest_file_is_named() {
    let (storage, _) = several(22);
    let newest = *journals(&storage).last().unwrap();
    storage.remove_file(&journal(newest));
    refused(&storage, newest, 0);
}

/// Row `successor missing`: recovery made it, so the first page of the file before names it.
#[test]
fn a_missing_newest_file_made_by_recovery_is_named() {
    let mut subject = Subject::new(23, Buffered);
    subject.say_some(3, LARGE);
    subject.sync();
    subject.say_some(1, 100);
    let image = subject.killed();
    let store = open(&image, Sync).unwrap();
    assert_eq!(journals(&image), [1, 2], "file 1 is mostly proven and stays live");
    let image = image.crash_at(image.operations(), restante::CrashPlan { seed: 1, loss: restante::Loss::All });
    drop(store);
    image.remove_file(&journal(2));
    refused(&image, 2, 0);
}

/// Row `no journal`: with anything of a store left, it is never taken for a new one.
#[test]
fn a_store_without_journal_files_is_never_made_anew() {
    let mut subject = Subject::new(24, Buffered);
    subject.say_some(2, 50);
    let image = subject.killed();
    drop(open(&image, Buffered).unwrap());
    image.remove_file(&journal(2));
    assert_eq!(image.names(), ["0000000000000001.evidence"]);
    let spared = SimStorage::new(26);
    spared.create("next.spare", 65_536).unwrap();
    for (image, name) in [(image, "0000000000000001.evidence"), (spared, "next.spare")] {
        let before = everything(&image);
        let error = open(&image, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        let text = format!("store damaged: file=sim/{name} offset=0 want=a journal file beside it got=none");
        assert_eq!(error.to_string(), text);
        assert!(everything(&image) == before);
    }
}

/// Row `foreign directory`.
#[test]
fn a_directory_of_other_things_is_refused() {
    for name in ["notes.txt", "0000000000000001.journal.bak", "1.journal", "x.tmp", "000000000000000A.journal"] {
        let storage = SimStorage::new(27);
        storage.replace(name, b"mine".to_vec());
        let error = open(&storage, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(error.to_string(), format!("the directory is not empty and holds no store: found=sim/{name}"));
        assert_eq!((storage.names(), storage.bytes(name).unwrap()), (vec![name.to_owned()], b"mine".to_vec()));
    }
    // The lock of a process that came to nothing else, and its unfinished first file.
    let storage = SimStorage::new(28);
    storage.replace("LOCK", Vec::new());
    storage.replace("0000000000000001.journal.tmp", vec![0; 100]);
    assert!(open(&storage, Sync).unwrap().recovery().created);
    assert_eq!(storage.names(), ["0000000000000001.journal", "LOCK"]);
}

/// Row `foreign file`: the same name in another store, any name in another store.
#[test]
fn a_file_of_another_store_is_refused() {
    let ((ours, _), (theirs, _)) = (several(29), several(30));
    for id in journals(&ours) {
        let image = ours.deep_clone();
        image.replace(&journal(id), theirs.bytes(&journal(id)).unwrap());
        let error = open(&image, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.corruption().unwrap().offset, 16, "{error}");
    }
    // Newer than all of ours, listing none before it: recovery left it so after many crashes.
    let mut storage = SimStorage::new(31);
    while journals(&storage).last().is_none_or(|id| *id < 9) {
        let mut subject = Subject::on(storage, Buffered);
        subject.say_some(1, 50);
        storage = subject.killed();
    }
    let id = *journals(&storage).last().unwrap();
    ours.replace(&journal(id), storage.bytes(&journal(id)).unwrap());
    refused(&ours, 1, 16);
    // Beside live files, where no list names it.
    let mut subject = Subject::new(32, Buffered);
    subject.say_some(1, 50);
    let image = subject.killed();
    drop(open(&image, Sync).unwrap());
    assert_eq!(journals(&image), [2]);
    image.replace(&journal(1), theirs.bytes(&journal(1)).unwrap());
    refused(&image, 1, 16);
}

/// Row `wrong id`: a file under another file's name.
#[test]
fn swapped_files_are_refused() {
    let (storage, _) = several(33);
    let ids = journals(&storage);
    for (one, other) in [(ids[0], ids[1]), (ids[1], *ids.last().unwrap()), (ids[0], *ids.last().unwrap())] {
        let image = storage.deep_clone();
        let (first, second) = (storage.bytes(&journal(one)).unwrap(), storage.bytes(&journal(other)).unwrap());
        image.replace(&journal(one), second);
        image.replace(&journal(other), first);
        let error = open(&image, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.corruption().unwrap().offset, 32, "{error}");
        assert!(error.to_string().contains("want=file id "), "{error}");
    }
}

/// Row `bad header`: files cut short, emptied, overwritten. Any bytes give an error, never a panic.
#[test]
fn files_that_are_not_journal_files_are_refused() {
    let (storage, _) = several(34);
    let ids = journals(&storage);
    let mut rng = Rng::new(34);
    for id in [ids[0], ids[1], *ids.last().unwrap()] {
        let whole = storage.bytes(&journal(id)).unwrap();
        let mut garbage = vec![0; whole.len()];
        garbage.iter_mut().for_each(|byte| *byte = rng.next() as u8);
        let mut headed = garbage.clone();
        headed[..FRAMES].copy_from_slice(&whole[..FRAMES]);
        let mut longer = whole.clone();
        longer.resize(whole.len() + 4096, 0);
        let mut wrong: Vec<Vec<u8>> = vec![garbage, headed, longer, vec![0; whole.len()], vec![0xff; whole.len()]];
        let lengths = [0, 1, 87, 88, 4095, 4096, 4097, 5000, 40_000, whole.len() - 512, whole.len() - 1];
        wrong.extend(lengths.map(|length| whole[..length].to_vec()));
        for bytes in wrong {
            let image = storage.deep_clone();
            let length = bytes.len();
            image.replace(&journal(id), bytes);
            let error = met(&image, Sync);
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error} length={length}");
            assert!(error.corruption().unwrap().file.ends_with(journal(id)), "{error}");
        }
    }
}

/// Row `newer format`: not damage, and nothing is changed.
#[test]
fn a_newer_format_is_unsupported() {
    let mut subject = Subject::new(35, Sync);
    subject.say_some(2, 50);
    let (storage, _) = subject.closed();
    for (offset, value) in [(8, 2), (8, 0), (12, 1), (15, 0x80), (80, 2), (83, 1)] {
        let image = storage.deep_clone();
        edit(&image, 1, |bytes| {
            bytes[offset] = value;
            reseal(&mut bytes[..HEADER_BYTES]);
        });
        let before = everything(&image);
        let error = open(&image, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(
            error.to_string().starts_with("written by a newer version: file=sim/0000000000000001.journal"),
            "{error}"
        );
        assert!(everything(&image) == before);
    }
}

/// Headers that are whole and make no sense.
#[test]
fn a_header_that_makes_no_sense_is_refused() {
    let (storage, _) = several(36);
    let newest = *journals(&storage).last().unwrap();
    for (offset, bytes) in [(32, [0xff; 8]), (48, [0xff; 8]), (48, [0; 8]), (72, [0; 8]), (72, [0xff; 8]), (72, [9; 8])]
    {
        let image = storage.deep_clone();
        edit(&image, newest, |file| {
            file[offset..offset + 8].copy_from_slice(&bytes);
            reseal(&mut file[..HEADER_BYTES]);
        });
        let error = open(&image, Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error} offset={offset}");
    }
}

/// Row `unfinished`: the store's own unfinished files go, other names are left alone.
#[test]
fn unfinished_files_are_removed_and_other_names_left_alone() {
    let (storage, digest) = several(37);
    let mut kept = storage.names();
    kept.extend(["notes.tmp", "notes.txt", "x.journal.tmp"].map(str::to_owned));
    kept.sort();
    for name in ["0000000000000099.journal.tmp", "next.spare.tmp", "notes.tmp", "notes.txt", "x.journal.tmp"] {
        storage.replace(name, vec![7; 100]);
    }
    let store = open(&storage, Sync).unwrap();
    assert_eq!(storage.names(), kept);
    assert_eq!(store.state_digest().unwrap(), digest.1);
}

/// Row `not live`: a file that no list names is set aside unread.
#[test]
fn a_file_that_is_not_live_is_set_aside() {
    let mut subject = Subject::new(38, Buffered);
    subject.say_some(3, 50);
    let digest = last(&subject.digests);
    let image = subject.killed();
    drop(open(&image, Sync).unwrap());
    let evidence = image.bytes("0000000000000001.evidence").expect("set aside");
    assert_eq!(journals(&image), [2]);
    // Back under its old name, whole or as garbage.
    for bytes in [evidence.clone(), vec![0xaa; 100], Vec::new()] {
        let image = image.deep_clone();
        image.replace(&journal(1), bytes.clone());
        let store = open(&image, Sync).unwrap();
        assert_eq!((store.version().0, store.state_digest().unwrap()), digest);
        assert_eq!(journals(&image), [2]);
        assert_eq!(image.bytes("0000000000000001.evidence"), Some(bytes));
    }
}

/// One process at a time.
#[test]
fn an_open_store_is_locked() {
    let storage = SimStorage::new(39);
    let first: Store = open(&storage, Sync).unwrap();
    let error = open(&storage, Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    drop(first);
    open(&storage, Sync).unwrap();
}

/// The test's own reading of the bytes agrees with the store's.
#[test]
fn the_layout_read_by_hand_is_the_stores_own() {
    let (storage, _) = several(40);
    for id in journals(&storage) {
        let file = File::load(&storage, id);
        assert_eq!(file.written_from(file.end()), 0, "file {id}: everything written is a frame");
    }
}
