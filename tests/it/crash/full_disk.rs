//! A full disk: what adds is refused before it is anything, what marks and frees goes on, nothing is lost.
//! Owns: these stories. May touch: `run` for its options, the simulated directory.
//! Never: fills a real disk.

use std::sync::Arc;

use restante::Durability::{self, Buffered, Sync};
use restante::{
    CrashPlan, Draft, Effect, ErrorKind, GroupId, GroupSettings, HistoryQuery, ListQuery, Loss, ManualClock, Outcome,
    Peer, Seq, SimStorage, Store, Timestamp, UserId, Version,
};

use super::run::options;
use super::workload::START;

const GROUP: GroupId = GroupId(1);
const MEMBERS: u64 = 40;

fn store_on(storage: &Arc<SimStorage>, durability: Durability) -> restante::Result<Store> {
    Store::open_on(storage.clone(), options(durability, &Arc::new(ManualClock::new(Timestamp(START)))))
}

/// A group whose messages fill the present file; returns the newest seq.
fn fill(store: &Store) -> Seq {
    let mut newest = Seq(0);
    loop {
        let before = store.version();
        match store.append(Draft::group(GROUP, UserId(1), &[7; 1_000])).wait() {
            Ok(appended) => {
                assert_eq!((appended.outcome, appended.version.0), (Outcome::Written, before.0 + 1));
                newest = appended.seq;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                assert!(error.to_string().starts_with("no room on the disk for another journal file: cannot create"));
                assert_eq!(store.version(), before, "nothing was written");
                return newest;
            }
        }
    }
}

fn new_store(durability: Durability) -> (Arc<SimStorage>, Store) {
    let storage = SimStorage::new(3);
    let store = store_on(&storage, durability).unwrap();
    store.create_group(GROUP, GroupSettings::default()).wait().unwrap();
    let members: Vec<UserId> = (1..=MEMBERS).map(UserId).collect();
    assert_eq!(store.join_many(GROUP, &members).wait().unwrap().joined as u64, MEMBERS);
    (storage, store)
}

fn full(result: restante::Result<impl std::fmt::Debug>) {
    assert_eq!(result.expect_err("the disk is full").kind(), ErrorKind::Full);
}

#[test]
fn a_full_disk_refuses_what_adds_and_takes_what_marks_and_frees() {
    for durability in [Sync, Buffered] {
        let (storage, store) = new_store(durability);
        storage.set_full(true);
        let newest = fill(&store);
        assert!(newest.0 > 20, "the present file is used first");

        // Whatever adds is refused, again and again, and has no version.
        let version = store.version();
        full(store.append(Draft::direct(UserId(1), UserId(99), &[0; 1_000])).wait());
        full(
            store
                .append_batch(&[Draft::group(GROUP, UserId(2), b"one"), Draft::group(GROUP, UserId(2), &[0; 900])])
                .wait(),
        );
        full(store.join_many(GROUP, &(100..110).map(UserId).collect::<Vec<_>>()).wait());
        assert_eq!(store.version(), version);
        assert!(store.changed(UserId(99), None, &ListQuery::new()).unwrap().entries.is_empty(), "no session");

        // Marks and leaves work from the reserve; their versions go on without a hole.
        for (count, user) in (2..=11).map(UserId).enumerate() {
            let version = version.0 + 3 * count as u64;
            let peer = Peer::Group(GROUP);
            assert_eq!(store.mark_read(user, peer, newest).wait().unwrap(), Effect::Changed(Version(version + 1)));
            let back = store.mark_unread_from(user, peer, Seq(3)).wait().unwrap();
            assert_eq!(back, Effect::Changed(Version(version + 2)));
            assert_eq!(store.leave(GROUP, user).wait().unwrap(), Effect::Changed(Version(version + 3)));
        }
        let page = store.history(UserId(20), Peer::Group(GROUP), &HistoryQuery::newest().limit(3)).unwrap();
        assert_eq!(page.messages.first().map(|message| message.seq), Some(newest));
        assert_eq!(store.total_unread(UserId(20)).unwrap().unread, newest.0);

        // A retry is answered, as it adds nothing; and nothing is lost to a power cut now.
        let digest = store.state_digest().unwrap();
        store.sync().unwrap();
        let image = storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::All });
        image.set_full(false);
        assert_eq!(store_on(&image, durability).unwrap().state_digest().unwrap(), digest);

        // The reserve ends some time. Even then nothing is poisoned.
        let mut seq = 4;
        let told = loop {
            let mark = store.mark_read(UserId(12 + seq % 20), Peer::Group(GROUP), Seq(seq / 20)).wait();
            match mark {
                Ok(_) => seq += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(told.kind(), ErrorKind::Full, "{told}");

        // Closing and opening need no room.
        let (version, digest) = (store.version(), store.state_digest().unwrap());
        store.close().unwrap();
        let store = store_on(&storage, durability).unwrap();
        assert!(store.recovery().clean);
        assert_eq!((store.version(), store.state_digest().unwrap()), (version, digest));
        full(store.append(Draft::group(GROUP, UserId(1), &[7; 1_000])).wait());

        storage.set_full(false);
        let appended = store.append(Draft::group(GROUP, UserId(1), &[7; 1_000])).wait().unwrap();
        assert_eq!((appended.seq, appended.version), (Seq(newest.0 + 1), Version(version.0 + 1)));
        store.join(GROUP, UserId(50)).wait().unwrap();
    }
}

/// Opening after a crash may need room for one file; without it, it changes nothing and says so.
#[test]
fn a_full_disk_at_recovery_is_told_and_nothing_is_lost() {
    let (storage, store) = new_store(Buffered);
    store.append(Draft::group(GROUP, UserId(1), b"kept")).wait().unwrap();
    store.sync().unwrap();
    store.append(Draft::group(GROUP, UserId(1), b"seen")).wait().unwrap();
    let digest = store.state_digest().unwrap();
    let image = storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::Nothing });
    image.set_full(true);
    let names = image.names();
    for _ in 0..2 {
        let error = store_on(&image, Buffered).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert_eq!(image.names(), names);
    }
    // A spare that is long enough is room, too.
    for length in [64 << 10, 16 << 10] {
        let image = image.deep_clone();
        image.replace("next.spare", vec![0xaa; length]);
        let store = store_on(&image, Buffered);
        match length {
            0..65_536 => assert_eq!(store.err().map(|error| error.kind()), Some(ErrorKind::Full)),
            _ => assert_eq!(store.unwrap().state_digest().unwrap(), digest),
        }
    }
    image.set_full(false);
    let store = store_on(&image, Buffered).unwrap();
    assert_eq!(store.state_digest().unwrap(), digest);
}
