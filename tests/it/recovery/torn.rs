//! Tails that nothing proves: they are cut, reported, and never repaired in place.
//! Owns: the rows about the newest two files. May touch: the helpers above.
//! Never: damages what was synced.

use restante::Durability::{Buffered, Sync};
use restante::{ListQuery, SimStorage, Store, UserId};

use super::layout::{CLOSING, File, STAMP_BYTES, STAMPS, edit, journal, journals};
use super::{LARGE, Subject, at, is_cut, is_whole, last, open, refused, works};

/// Row `no proof`: the first bad frame and all behind it are cut, whatever is whole among them.
#[test]
fn a_torn_last_group_is_cut_and_reported() {
    let mut subject = Subject::new(11, Buffered);
    subject.say_some(3, 80);
    subject.sync();
    subject.say_some(4, 80);
    let file = File::load(&subject.storage, 1);
    for (index, frame) in file.frames[file.frames.len() - 4..].iter().enumerate() {
        for offset in [frame.offset, frame.offset + 9, frame.end - 9] {
            let image = subject.killed();
            image.corrupt(&journal(1), offset as u64, 0x80);
            let bytes = file.written_from(frame.offset);
            is_cut(&image, 1, frame.offset, bytes, at(&subject.digests, 3 + index as u64));
        }
        // A write that stopped: zeros from some sector on.
        let image = subject.killed();
        edit(&image, 1, |bytes| bytes[frame.offset + 24..].fill(0));
        let bytes = File::load(&image, 1).written_from(frame.offset);
        is_cut(&image, 1, frame.offset, bytes, at(&subject.digests, 3 + index as u64));
    }
    // Nothing of the last write reached the disk: nothing is cut.
    let image = subject.killed();
    edit(&image, 1, |bytes| bytes[file.last().offset..].fill(0));
    is_whole(&image, at(&subject.digests, 6));
}

/// Row `epoch`: where something seen may be lost, those who saw it are told; elsewhere nobody is bothered.
#[test]
fn a_cut_ends_the_epoch_only_of_what_was_seen() {
    for durability in [Sync, Buffered] {
        let mut subject = Subject::new(12, durability);
        subject.say_some(2, 80);
        subject.sync();
        let epoch = subject.store.epoch();
        // In a `Sync` store nobody sees this.
        let _unseen = subject.store.append(restante::Draft::direct(UserId(1), UserId(2), b"torn"));
        let image = subject.killed();
        let end = File::load(&image, 1).end();
        edit(&image, 1, |bytes| bytes[end - 8] ^= u8::from(durability == Buffered));
        let store = open(&image, durability).unwrap();
        assert_eq!((store.version().0, store.recovery().new_epoch), (2, durability == Buffered));
        let ends = store.changed(UserId(1), None, &ListQuery::new()).unwrap().epoch_ends;
        let ends: Vec<_> = ends.iter().map(|end| (end.epoch, end.end.0)).collect();
        assert_eq!(ends, if durability == Buffered { vec![(epoch, 2)] } else { vec![] });
        assert_eq!(store.epoch() != epoch, durability == Buffered);
    }
}

/// A store whose file before the newest is not synced: file 1 up to `synced`, then the rest and file 2.
fn two_unsynced_files(seed: u64) -> (Subject, usize) {
    let mut subject = Subject::new(seed, Buffered);
    subject.say_some(2, LARGE);
    subject.sync();
    let synced = File::load(&subject.storage, 1).end();
    while journals(&subject.storage).len() < 2 {
        subject.say_some(1, 9_000);
    }
    subject.say_some(2, 500);
    assert_eq!(File::load(&subject.storage, 1).last().kind, CLOSING);
    (subject, synced)
}

/// Row `torn before the newest`: the file before the newest ends early, so nothing in the newest counts.
#[test]
fn a_torn_file_before_the_newest_takes_the_newest_with_it() {
    let (subject, synced) = two_unsynced_files(13);
    let (first, second) = (File::load(&subject.storage, 1), File::load(&subject.storage, 2));
    let unsynced: Vec<_> = first.frames.iter().filter(|frame| frame.offset >= synced && frame.kind == 1).collect();
    assert!(unsynced.len() >= 2);
    for (index, frame) in unsynced.into_iter().enumerate() {
        let image = subject.killed();
        image.corrupt(&journal(1), frame.offset as u64 + 30, 0x01);
        let bytes = first.written_from(frame.offset) + second.written_from(4096);
        is_cut(&image, 1, frame.offset, bytes, at(&subject.digests, 2 + index as u64));
        assert!(!journals(&image).contains(&2), "set aside");
    }
    is_whole(&subject.killed(), last(&subject.digests));
}

/// Row `torn before the newest`, but proven: the newest file's stamp vouches for all files before it.
#[test]
fn a_stamp_in_the_newest_file_proves_the_one_before() {
    let (mut subject, synced) = two_unsynced_files(14);
    let below: Vec<_> =
        File::load(&subject.storage, 1).frames.into_iter().filter(|frame| frame.kind != CLOSING).collect();
    for frame in below.iter().filter(|frame| frame.offset < synced) {
        let image = subject.killed();
        image.corrupt(&journal(1), frame.offset as u64 + 17, 0x01);
        refused(&image, 1, frame.offset);
    }
    subject.sync();
    for frame in &below {
        let image = subject.killed();
        image.corrupt(&journal(1), frame.offset as u64 + 17, 0x01);
        refused(&image, 1, frame.offset);
    }
}

/// Row `closing frame torn`: the successor's own list says where the file before it ends.
#[test]
fn a_closing_frame_is_not_needed_while_its_successor_is_there() {
    let (subject, _) = two_unsynced_files(15);
    let closing = File::load(&subject.storage, 1).last();
    let image = subject.killed();
    image.corrupt(&journal(1), closing.offset as u64 + 1, 0xff);
    is_whole(&image, last(&subject.digests));
}

/// Never in place: what is cut, and what is copied because nothing proves it, stays to be looked at.
#[test]
fn what_is_cut_stays_in_its_file_or_in_evidence() {
    let mut subject = Subject::new(16, Buffered);
    subject.say_some(2, LARGE);
    subject.sync();
    subject.say_some(1, 4_000);
    // Most of the file is proven: it stays live, and keeps the torn tail.
    let image = subject.killed();
    let torn = File::load(&image, 1).last();
    image.corrupt(&journal(1), torn.offset as u64, 1);
    let before = image.bytes(&journal(1)).unwrap();
    drop(open(&image, Sync).unwrap());
    let after = image.bytes(&journal(1)).unwrap();
    assert!(before[4096..] == after[4096..], "frames are never touched");
    assert_eq!(journals(&image), [1, 2]);

    // Little is proven: all of it goes on, and the file is set aside whole.
    let mut subject = Subject::new(17, Buffered);
    subject.say_some(3, 100);
    let image = subject.killed();
    let torn = File::load(&image, 1).last();
    image.corrupt(&journal(1), torn.offset as u64, 1);
    let before = image.bytes(&journal(1)).unwrap();
    drop(open(&image, Sync).unwrap());
    assert_eq!(journals(&image), [2]);
    assert!(image.bytes("0000000000000001.evidence").as_ref() == Some(&before));
}

/// The end of a process may leave a stamp at any byte of it. The other one counts, and nobody finds half a stamp later.
#[test]
fn a_torn_stamp_is_taken_away() {
    let mut subject = Subject::new(19, Sync);
    subject.say_some(2, LARGE);
    let older = File::load(&subject.storage, 1);
    subject.say_some(1, 300);
    let image = subject.killed();
    let newer = File::load(&image, 1);
    let is_written = |at: &usize| older.bytes[*at..*at + STAMP_BYTES] != newer.bytes[*at..*at + STAMP_BYTES];
    let slots: Vec<usize> = STAMPS.into_iter().filter(is_written).collect();
    let [slot] = slots[..] else { panic!("one stamp is written at a time: {slots:?}") };
    for torn_at in slot + 1..slot + STAMP_BYTES {
        let image = image.deep_clone();
        edit(&image, 1, |bytes| {
            bytes[torn_at..slot + STAMP_BYTES].copy_from_slice(&older.bytes[torn_at..slot + STAMP_BYTES]);
        });
        let store = open(&image, Sync).unwrap();
        assert_eq!((store.version().0, store.state_digest().unwrap()), last(&subject.digests), "at {torn_at}");
        assert_eq!(journals(&image), [1, 2], "most of the file is proven, and stays");
        let found = store.verify().unwrap();
        assert!(found.is_whole(), "torn at {torn_at}: {found:?}");
        works(&image, store);
        let found = Store::verify_on(image.clone()).unwrap();
        assert!(found.is_whole(), "torn at {torn_at}: {found:?}");
    }
}

/// At most four evidence files are kept, the newest ones, however often a store crashes.
#[test]
fn evidence_is_kept_and_bounded() {
    let mut storage = SimStorage::new(18);
    let mut digest = None;
    for round in 0..9 {
        let mut subject = Subject::on(storage, Buffered);
        assert!(digest.is_none_or(|digest| digest == last(&subject.digests)), "round {round}");
        subject.say_some(1, 50);
        digest = Some(last(&subject.digests));
        storage = subject.killed();
    }
    let store = open(&storage, Buffered).unwrap();
    let names: Vec<String> = storage.names().into_iter().filter(|name| name.ends_with(".evidence")).collect();
    let newest = journals(&storage)[0];
    let want: Vec<String> = (newest - 4..newest).map(|id| format!("{id:016x}.evidence")).collect();
    assert_eq!(names, want);
    assert_eq!(store.version().0, 9);
    assert_eq!(store.recovery().cut, None);
}
