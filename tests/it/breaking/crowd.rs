//! Every call on many threads at once, while others list, page and follow; then all is recounted, also after opening.
//! Owns: those runs. May touch: the public interface, `drive`, `support`.
//! Never: knows the order in which the calls happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use restante::*;

use super::drive::*;
use crate::support::{Rng, TempDir, number_from_env};

/// What an entry says of itself must be what its history says.
fn recount(store: &Store, user: UserId) {
    let list = store.changed(user, None, &ListQuery::new().limit(1_000).latest(20)).unwrap();
    let mut totals = (0, 0);
    for entry in &list.entries {
        let what = format!("user={user:?} {entry:?}");
        let query = HistoryQuery::oldest().limit(1_000).bytes(16 << 20).seqs(entry.first..=entry.last);
        let mut all = store.history(user, entry.peer, &query).unwrap().messages;
        let is_counted =
            |it: &&Message| it.seq > entry.read_mark && it.counts && it.recalled.is_none() && it.sender != user;
        let unread: Vec<&Message> = all.iter().filter(is_counted).collect();
        assert_eq!(entry.unread, unread.len() as u64, "{what}");
        assert_eq!(entry.goto, unread.first().map(|it| (it.seq, it.timestamp)), "{what}");
        for alert in &entry.alerts {
            let with: Vec<_> = unread.iter().filter(|it| it.alerts >> alert.kind & 1 == 1).collect();
            assert_eq!((alert.count, alert.oldest), (with.len() as u64, with[0].seq), "{what}");
        }
        if entry.flags.muted {
            totals.1 += entry.unread;
        } else {
            totals.0 += entry.unread;
        }
        all.reverse();
        all.truncate(entry.latest.len());
        assert_eq!(entry.latest, all, "{what}");
    }
    let said = store.total_unread(user).unwrap();
    assert_eq!((said.unread, said.muted_unread), totals, "user={user:?}");
}

fn crowd(durability: Durability, threads: Threads, seed: u64) {
    eprintln!("seed={seed} {durability:?} {threads:?}");
    let directory = TempDir::new("crowd");
    let options = Options::default().durability(durability).threads(threads).journal_bytes(64 << 10);
    let store = Store::open(directory.path(), options.clone()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let writers: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    let mut drive = Drive { rng: Rng::new(seed * 10 + number), last: 40, now: 0, rare: 25 };
                    let handle = if number == 3 { store.at(Durability::Buffered) } else { store.clone() };
                    for _ in 0..250 {
                        drive.now = store.time().now.0;
                        let op = drive.next();
                        let said = apply(&handle, &op, &mut Vec::new());
                        for never in ["Corruption", "Io", "Unknown", "Poisoned", "Closed", "Full"] {
                            assert!(!said.starts_with(&format!("error {never}")), "{op:?} -> {said}");
                        }
                    }
                })
            })
            .collect();
        for number in 0..2 {
            scope.spawn(move || {
                let mut rng = Rng::new(seed * 100 + number);
                let mut cursor = None;
                let user = UserId(1 + number);
                while !stop.load(Ordering::Relaxed) {
                    let query = CatchUpQuery::new().limit(1 + rng.below(4) as usize);
                    let base = store.version();
                    let list = store.catch_up(user, cursor.as_ref(), &query).unwrap();
                    for pair in list.entries.windows(2) {
                        assert!(pair[0].version < pair[1].version, "{list:?}");
                    }
                    assert!(store.version() >= base);
                    for entry in list.entries.iter().filter(|it| it.is_add) {
                        assert!(entry.unread <= entry.last.0 - entry.read_mark.0.min(entry.last.0), "{entry:?}");
                        assert_eq!(entry.unread > 0, entry.goto.is_some(), "{entry:?}");
                        assert!(entry.goto.is_none_or(|(seq, _)| seq > entry.read_mark && seq <= entry.last));
                        let _ = store.amendments(user, entry.peer, None, 3);
                        let _ = store.receipts(user, entry.peer, entry.last, UserId::NONE, 9);
                        let _ = store.history(user, entry.peer, &HistoryQuery::newest().limit(5));
                    }
                    cursor = Some(list.next);
                    let recent = store.recent(user, None, &ListQuery::new()).unwrap();
                    assert!(recent.entries.iter().map(|it| (std::cmp::Reverse(it.activity), it.peer)).is_sorted());
                    for group in 1..=GROUPS {
                        let _ = store.members(GroupId(group), UserId::NONE, 2);
                    }
                }
            });
        }
        let results: Vec<_> = writers.into_iter().map(|it| it.join()).collect();
        stop.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|it| it.unwrap());
    });
    store.sync().unwrap();
    (1..=USERS).for_each(|user| recount(&store, UserId(user)));
    let digest = (store.version(), store.state_digest().unwrap());
    store.close().unwrap();
    let store = Store::open(directory.path(), options).unwrap();
    assert_eq!((store.version(), store.state_digest().unwrap()), digest, "opened again: seed={seed}");
    (1..=USERS).for_each(|user| recount(&store, UserId(user)));
}

#[test]
fn every_call_on_many_threads() {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        let first = number_from_env("RESTANTE_BREAK_SEED").unwrap_or(1);
        for seed in first..first + number_from_env("RESTANTE_BREAK_RUNS").unwrap_or(2) {
            for durability in [Durability::Sync, Durability::Buffered] {
                for threads in [Threads::Background, Threads::Inline] {
                    crowd(durability, threads, seed);
                }
            }
        }
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(300)) {
        Ok(()) => {}
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(worker.join().unwrap_err()),
    }
}
