//! A sealed journal with every bit wrong in turn; checks that are made once; devices that fail for a while.
//! Owns: those tests. May touch: all of `journal`.
//! Never: is part of the crate.

use super::super::file::{JournalFile, open_sealed, verify_journal};
use super::super::header::FileHeader;
use super::super::{RecoverOptions, Replayed, Writer, prepare_spare, recover};
use super::*;
use crate::change::{AddUser, Amend, Opens};
use crate::id::{ClientId, GroupId, Timeline, UserId};
use crate::storage::{SimStorage, Storage};

const TIMELINE: Timeline = Timeline::Group(GroupId(7));

fn append(seq: u64) -> Append {
    Append {
        timeline: TIMELINE,
        sender: UserId(3),
        seq,
        ordinal: seq,
        own_previous: 0,
        timestamp: seq,
        kind: 0,
        counts: true,
        imported: false,
        sender_present: true,
        client_id: ClientId(9),
        opens: Opens::default(),
        alerts: 0,
        mention_bytes: 0,
    }
}

/// A small journal that is complete: an edit at the first place, then a message for each of the others.
struct Journal {
    sim: Arc<SimStorage>,
    uuid: [u8; 16],
    sealed: Sealed,
    places: Vec<Place>,
    trusted: Arc<JournalFile>,
}

fn journal() -> Journal {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let recovered =
        recover(&storage, &RecoverOptions { journal_bytes: 16 << 10, unsynced: false }, &mut |_: Replayed<'_>| Ok(()));
    let end = recovered.unwrap().end;
    let trusted = end.current.clone();
    let mut writer = Writer::new(storage.clone(), end);
    let amend =
        Amend { timeline: TIMELINE, seq: 9, by: UserId(3), recalls: false, ordinal: 1, counts: true, alerts: 0 };
    let mut places = Vec::new();
    for version in 1..=9 {
        let commit = Commit { version, time: version };
        let (change, tail) = match version {
            1 => (Change::Amend(amend), &b"better"[..]),
            9 => (Change::AddUser(AddUser { user: UserId(9) }), &b""[..]),
            _ => (Change::Append(append(version)), &b"hello"[..]),
        };
        places.push(writer.push(&change, tail, commit, version % 3 > 0));
        if version % 3 == 0 {
            writer.flush().unwrap();
        }
    }
    let end = writer.position();
    let point = writer.sync_point();
    trusted.sync().unwrap();
    writer.synced(&point).unwrap();
    writer.roll(prepare_spare(&*storage, 16 << 10).unwrap()).unwrap();
    let mut digest = 0;
    trusted
        .walk_frames(&mut |frame| {
            if frame.offset < end {
                digest = digest_frame(digest, frame.bytes);
            }
            Ok(())
        })
        .unwrap();
    Journal { sim, uuid: trusted.header.uuid, sealed: Sealed { end, digest }, places, trusted }
}

impl Journal {
    fn open(&self) -> Result<JournalFile> {
        open_sealed(&*self.sim, 1, self.sealed, &[self.uuid])
    }

    /// Reads everything that is there; says how often damage was met. Wrong data is not let through.
    fn read_all(&self, records: &Records) -> usize {
        let mut met = 0;
        for (place, version) in self.places.iter().zip(1..) {
            let offset = place.offset();
            let read = match version {
                1 => records.edited_body(offset).map(|body| assert_eq!(&*body, b"better")),
                9 => records.whole(offset).map(|whole| assert_eq!(whole.decoded().commit.version, 9)),
                _ => records.read(offset).map(|stored| {
                    assert_eq!(stored.append, append(version));
                    assert_eq!(&*records.body(&stored).unwrap(), b"hello");
                }),
            };
            met += usize::from(read.map_err(|error| assert_eq!(error.kind(), ErrorKind::Corruption)).is_err());
        }
        met
    }
}

const NAME: &str = "0000000000000001.journal";

#[test]
fn every_flipped_bit_of_a_sealed_journal_is_met_at_first_touch_and_for_good() {
    let journal = journal();
    assert_eq!(journal.read_all(&journal.open().unwrap()), 0);
    for offset in (0..128).chain(FRAMES_OFFSET..journal.sealed.end) {
        for bit in 0..8 {
            journal.sim.corrupt(NAME, offset, 1 << bit);
            if let Ok(records) = journal.open() {
                assert_eq!(journal.read_all(&records), journal.places.len(), "offset {offset} bit {bit}");
                let mut told = 0;
                verify_journal(&records, &mut |_| told += 1).unwrap();
                assert_eq!(told, 1);
                // What was once found stays so, even if the device thinks better of it.
                journal.sim.corrupt(NAME, offset, 1 << bit);
                assert_eq!(journal.read_all(&records), journal.places.len());
                journal.sim.corrupt(NAME, offset, 1 << bit);
            }
            journal.sim.corrupt(NAME, offset, 1 << bit);
        }
    }
    assert_eq!(journal.read_all(&journal.open().unwrap()), 0);
}

#[test]
fn what_the_file_does_not_hold_is_damage() {
    let journal = journal();
    let file = journal.open().unwrap();
    for offset in [0, 100, FRAMES_OFFSET, FRAMES_OFFSET + 1, journal.sealed.end, journal.sealed.end + 1, u64::MAX] {
        assert!(file.read(offset).is_err() && file.whole(offset).is_err(), "{offset}");
        assert!(file.edited_body(offset).is_err(), "{offset}");
    }
    // An edit is no message, and the other way round.
    assert!(file.read(journal.places[0].offset()).is_err());
    assert!(file.edited_body(journal.places[1].offset()).is_err());
    for end in [0, FRAMES_OFFSET - 1, journal.trusted.handle.length() + 1, u64::MAX] {
        let sealed = Sealed { end, ..journal.sealed };
        assert!(open_sealed(&*journal.sim, 1, sealed, &[journal.uuid]).is_err(), "{end}");
    }
    let other = Sealed { digest: 1, ..journal.sealed };
    assert_eq!(journal.read_all(&open_sealed(&*journal.sim, 1, other, &[journal.uuid]).unwrap()), 9);
    assert!(open_sealed(&*journal.sim, 1, journal.sealed, &[[1; 16]]).is_err());
    // The file after it is one of the store too, and another one.
    assert_eq!(journal.read_all(&open_sealed(&*journal.sim, 2, journal.sealed, &[journal.uuid]).unwrap()), 9);
    assert!(open_sealed(&*journal.sim, 3, journal.sealed, &[journal.uuid]).is_err());
}

#[test]
fn a_header_that_was_exchanged_is_damage() {
    let journal = journal();
    let file = journal.open().unwrap();
    let told = || {
        let mut told = 0;
        verify_journal(&file, &mut |_| told += 1).unwrap();
        told
    };
    assert_eq!(told(), 0);
    let other = FileHeader { salt: file.header.salt + 1, ..file.header.clone() };
    journal.trusted.handle.write_at(0, &other.encode()).unwrap();
    assert_eq!(told(), 1);
}

#[test]
fn a_journal_is_gone_through_once() {
    let journal = journal();
    let file = journal.open().unwrap();
    let reads = |look: &mut dyn FnMut()| {
        let before = journal.sim.reads();
        look();
        journal.sim.reads() - before
    };
    let message = journal.places[2].offset();
    let first = reads(&mut || _ = file.read(message).unwrap());
    assert!(first > 3, "reads={first}");
    assert_eq!(reads(&mut || _ = file.read(message).unwrap()), 1);
    // What this process wrote needs no check; a walk is one.
    assert_eq!(reads(&mut || _ = journal.trusted.read(message).unwrap()), 1);
    let file = journal.open().unwrap();
    file.walk(&mut |_| Ok(())).unwrap();
    assert_eq!(reads(&mut || _ = file.read(message).unwrap()), 1);
}

#[test]
fn a_device_that_fails_is_no_damage() {
    let journal = journal();
    let file = journal.open().unwrap();
    journal.sim.power_off();
    assert_eq!(file.read(journal.places[2].offset()).unwrap_err().kind(), ErrorKind::Io);
    let Check::Whole(whole) = &file.records().check else { panic!("it is sealed") };
    assert!(whole.verdict.get().is_none());
}

#[test]
fn many_threads_find_out_the_same() {
    let journal = journal();
    for is_good in [true, false] {
        let file = journal.open().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(journal.read_all(&file), if is_good { 0 } else { journal.places.len() }));
            }
        });
        journal.sim.corrupt(NAME, FRAMES_OFFSET + 20, 1);
    }
}

#[test]
fn a_walk_gives_every_change_in_order() {
    let journal = journal();
    let mut versions = Vec::new();
    journal
        .trusted
        .walk(&mut |record| {
            assert_eq!(record.place, journal.places[versions.len()]);
            versions.push(record.decoded.commit.version);
            Ok(())
        })
        .unwrap();
    assert_eq!(versions, (1..=9).collect::<Vec<_>>());
}
