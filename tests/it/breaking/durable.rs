//! What was acknowledged, or seen in a `Sync` store, is there after the store went under: by a close, a failing disk, a
//! crash, while threads write.
//! Owns: those tests. May touch: the public interface, `scene`, `support`.
//! Never: judges an answer by anything but what was acknowledged before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use restante::{
    Appended, Body, ClientId, CrashPlan, Draft, Durability, Effect, ErrorKind, HistoryQuery, ListQuery, Loss, Message,
    Options, Outcome, ReadMode, Seq, SimStorage, Store, Threads, Version,
};

use super::extremes::{check_entry, text, visible, within};
use crate::scene::{START, Scene, group, user, with};
use crate::support::TempDir;

/// Tells threads to stop, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a reader has seen of a `Sync` store survives any crash from that moment on.
#[test]
fn what_readers_of_a_sync_store_saw_survives() {
    let storage = SimStorage::new(9);
    let options = Options::default().journal_bytes(64 << 10);
    let store = Store::open_on(storage.clone(), options.clone()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for own in 1..=3 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let store = if number % 3 == 0 { store.clone() } else { store.at(Durability::Buffered) };
                    let body = text(user(own), number, 300);
                    store.append(Draft::direct(user(own), user(9), &body)).wait().unwrap();
                    thread::sleep(Duration::from_micros(300));
                }
            });
        }
        let _stop = Stop(&stop);
        for round in 0..60 {
            thread::sleep(Duration::from_millis(5));
            let seen = store.version();
            let total = store.total_unread(user(9)).unwrap().unread;
            let loss = [Loss::All, Loss::Prefix, Loss::Random, Loss::Nothing][round % 4];
            let plan = CrashPlan { seed: round as u64, loss };
            let crashed = storage.crash_at(storage.operations(), plan);
            let found = Store::open_on(crashed, options.clone().threads(Threads::Inline)).unwrap();
            assert!(found.version() >= seen, "{loss:?}: seen={seen} found={}", found.version());
            assert!(found.total_unread(user(9)).unwrap().unread >= total);
            for entry in found.changed(user(9), None, &ListQuery::new()).unwrap().entries {
                check_entry(&found, user(9), &entry);
            }
        }
    });
}

/// An answer that rests on a change is given only when that change is as durable as was asked.
#[test]
fn answers_rest_on_durable_changes() {
    type Case = (&'static str, fn(&Store), fn(&Store) -> ErrorKind);
    fn written(store: &Store) -> Store {
        store.at(Durability::Buffered)
    }
    let cases: [Case; 8] = [
        (
            "duplicate",
            |store| drop(written(store).append(Draft::direct(user(1), user(2), b"x").client_id(ClientId(7))).wait()),
            |store| {
                let draft = Draft::direct(user(1), user(2), b"x").client_id(ClientId(7));
                assert_eq!(store.append(draft).wait().unwrap().outcome, Outcome::Duplicate);
                ErrorKind::Io
            },
        ),
        (
            "duplicate in a batch",
            |store| drop(written(store).append(Draft::direct(user(1), user(2), b"x").client_id(ClientId(7))).wait()),
            |store| {
                let draft = Draft::direct(user(1), user(2), b"x").client_id(ClientId(7));
                assert_eq!(store.append_batch(&[draft]).wait().unwrap()[0].outcome, Outcome::Duplicate);
                ErrorKind::Io
            },
        ),
        (
            "conflict",
            |store| drop(written(store).append(Draft::direct(user(1), user(2), b"x").client_id(ClientId(7))).wait()),
            |store| {
                let draft = Draft::direct(user(1), user(2), b"y").client_id(ClientId(7));
                store.append(draft).wait().unwrap_err().kind()
            },
        ),
        (
            "refused",
            |store| drop(written(store).leave(group(1), user(1)).wait()),
            |store| store.append(Draft::group(group(1), user(1), b"y")).wait().unwrap_err().kind(),
        ),
        (
            "joined already",
            |store| drop(written(store).join(group(1), user(5)).wait()),
            |store| {
                assert_eq!(store.join(group(1), user(5)).wait().unwrap(), Effect::Unchanged);
                ErrorKind::Io
            },
        ),
        (
            "joined already, in bulk",
            |store| drop(written(store).join(group(1), user(5)).wait()),
            |store| {
                assert_eq!(store.join_many(group(1), &[user(5)]).wait().unwrap().unchanged, 1);
                ErrorKind::Io
            },
        ),
        (
            "left already",
            |store| drop(written(store).leave(group(1), user(1)).wait()),
            |store| {
                assert_eq!(store.leave(group(1), user(1)).wait().unwrap(), Effect::Unchanged);
                ErrorKind::Io
            },
        ),
        (
            "not above the last timestamp",
            |store| drop(written(store).append(Draft::group(group(1), user(1), b"x")).wait()),
            |store| store.append(Draft::group(group(1), user(1), b"x").timestamp(START)).wait().unwrap_err().kind(),
        ),
    ];
    for (name, first, second) in cases {
        let scene = Scene::with(|options| options.sync_delay_ms(10_000));
        scene.store.join(group(1), user(1)).wait().unwrap();
        first(&scene.store);
        let kind = second(&scene.store);
        let version = scene.store.version();
        let found = scene.after_crash(Loss::All);
        assert_eq!(found.store.version(), Version(2), "{name} {kind:?}: what it rests on is gone, live={version}");
    }
}

fn close_under_writers(durability: Durability, threads: Threads, read_mode: ReadMode) {
    let directory = TempDir::new("breaker");
    let options =
        Options::default().durability(durability).threads(threads).read_mode(read_mode).journal_bytes(1 << 20);
    let mut acknowledged: HashMap<u64, Vec<Appended>> = HashMap::new();
    for round in 0..4 {
        let store = Store::open(directory.path(), options.clone()).unwrap();
        if round > 0 {
            assert!(store.recovery().clean && !store.recovery().new_epoch, "{:?}", store.recovery());
        }
        for (own, appended) in &acknowledged {
            let found = visible(&store, user(9), with(*own), Seq(1), Seq(u64::MAX));
            let by_seq: HashMap<Seq, &Message> = found.iter().map(|it| (it.seq, it)).collect();
            for it in appended {
                assert_eq!(by_seq.get(&it.seq).map(|it| it.version), Some(it.version));
            }
        }
        let (waits, closed) = thread::scope(|scope| {
            let writers: Vec<_> = (1..=4)
                .map(|own| {
                    let store = store.clone();
                    scope.spawn(move || {
                        let mut done = Vec::new();
                        let mut tickets = Vec::new();
                        loop {
                            let ticket = store.append(Draft::direct(user(own), user(9), &text(user(own), 1, 200)));
                            if own % 2 == 0 {
                                tickets.push(ticket);
                                if tickets.len() < 16 {
                                    continue;
                                }
                            } else {
                                tickets.push(ticket);
                            }
                            let mut is_closed = false;
                            for ticket in tickets.drain(..) {
                                match ticket.wait() {
                                    Ok(appended) if !is_closed => done.push(appended),
                                    Ok(appended) => panic!("written after closing: {appended:?}"),
                                    Err(error) => {
                                        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                                        is_closed = true;
                                    }
                                }
                            }
                            if is_closed {
                                let kinds = [
                                    store.join(group(1), user(1)).wait().unwrap_err().kind(),
                                    store.mark_read(user(9), with(own), Seq(1)).wait().unwrap_err().kind(),
                                    store
                                        .append_batch(&[Draft::direct(user(1), user(2), b"")])
                                        .wait()
                                        .unwrap_err()
                                        .kind(),
                                    store.sync().unwrap_err().kind(),
                                ];
                                assert_eq!(kinds, [ErrorKind::Closed; 4]);
                                return (own, done);
                            }
                        }
                    })
                })
                .collect();
            let closers: Vec<_> = (0..2)
                .map(|_| {
                    let store = store.clone();
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(120));
                        store.close().map_err(|error| error.kind())
                    })
                })
                .collect();
            let closed: Vec<_> = closers.into_iter().map(|it| it.join().unwrap()).collect();
            (writers.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>(), closed)
        });
        assert!(closed.contains(&Ok(())), "{closed:?}");
        assert!(closed.iter().all(|it| matches!(it, Ok(()) | Err(ErrorKind::Closed))), "{closed:?}");
        for (own, done) in waits {
            assert!(!done.is_empty());
            acknowledged.entry(own).or_default().extend(done);
        }
        // Reads go on through the other handle, or say that it is closed.
        match store.history(user(9), with(1), &HistoryQuery::newest()) {
            Ok(page) => assert!(!page.messages.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
}

#[test]
fn closing_while_writers_run_loses_nothing() {
    for threads in [Threads::Background, Threads::Inline] {
        for durability in [Durability::Sync, Durability::Buffered] {
            within(30, "closing", move || close_under_writers(durability, threads, ReadMode::Mapped));
        }
    }
    within(30, "closing", || close_under_writers(Durability::Buffered, Threads::Background, ReadMode::Pread));
}

#[test]
fn tickets_and_bodies_outlive_the_store() {
    for read_mode in [ReadMode::Mapped, ReadMode::Pread] {
        for threads in [Threads::Background, Threads::Inline] {
            within(30, "an end", move || {
                let directory = TempDir::new("breaker");
                let options = Options::default().threads(threads).read_mode(read_mode).journal_bytes(64 << 10);
                let store = Store::open(directory.path(), options.clone()).unwrap();
                let mut bodies: Vec<(Body, Vec<u8>)> = Vec::new();
                let mut tickets = Vec::new();
                let hold = |store: &Store, bodies: &mut Vec<(Body, Vec<u8>)>| {
                    let page = store.history(user(2), with(1), &HistoryQuery::newest().limit(5)).unwrap();
                    bodies.extend(page.messages.into_iter().map(|it| (it.body.clone(), it.body.to_vec())));
                };
                for number in 0..60 {
                    let body = text(user(1), number, 5_000);
                    store.append(Draft::direct(user(1), user(2), &body)).wait().unwrap();
                    hold(&store, &mut bodies);
                }
                for number in 60..80 {
                    let body = text(user(1), number, 5_000);
                    tickets.push((number, store.append(Draft::direct(user(1), user(2), &body))));
                }
                drop(store);
                // Dropped, so closed and let go, whatever still lives.
                let store = Store::open(directory.path(), options.clone()).expect("the lock is let go");
                assert!(store.recovery().clean);
                for number in 80..120 {
                    let body = text(user(1), number, 5_000);
                    assert_eq!(
                        store.append(Draft::direct(user(1), user(2), &body)).wait().unwrap().seq,
                        Seq(number + 1)
                    );
                    hold(&store, &mut bodies);
                }
                for (number, ticket) in tickets {
                    assert_eq!(ticket.wait().unwrap().seq, Seq(number + 1), "closing made it durable");
                }
                let last = store.clone();
                store.close().unwrap();
                drop(last);
                drop(directory);
                for (body, copy) in &bodies {
                    assert_eq!(body[..], copy[..]);
                    assert_eq!(body.clone().first(10)[..], copy[..10]);
                }
            });
        }
    }
}

/// The disk goes while threads write: nothing acknowledged is lost, nothing half done is shown after opening again.
#[test]
fn a_disk_that_goes_under_writers() {
    within(40, "writers on a dead disk", || {
        for round in 0..24u64 {
            let storage = SimStorage::new(round);
            let durability = if round % 2 == 0 { Durability::Sync } else { Durability::Buffered };
            let options = Options::default().durability(durability).journal_bytes(64 << 10);
            let store = Store::open_on(storage.clone(), options.clone()).unwrap();
            storage.fail_from(20 + round * 13, std::io::ErrorKind::Other);
            let done: Vec<(u64, Vec<(u64, Appended)>)> = thread::scope(|scope| {
                let writers: Vec<_> = (1..=3)
                    .map(|own| {
                        let store = store.clone();
                        scope.spawn(move || {
                            let mut done = Vec::new();
                            for number in 0..50_000 {
                                let body = text(user(own), number, 400);
                                let draft =
                                    Draft::direct(user(own), user(9), &body).client_id(ClientId(number as u128 + 1));
                                match store.append(draft).wait() {
                                    Ok(appended) => done.push((number, appended)),
                                    Err(error) => {
                                        assert!(
                                            matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Poisoned),
                                            "{error:?}"
                                        );
                                        return (own, done);
                                    }
                                }
                            }
                            panic!("never failed");
                        })
                    })
                    .collect();
                writers.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let _ = store.total_unread(user(9)).unwrap();
            let error = store.close().unwrap_err().kind();
            assert!(matches!(error, ErrorKind::Unknown | ErrorKind::Poisoned), "{error:?}");
            let loss = if round % 2 == 0 { Loss::Random } else { Loss::Nothing };
            let crashed = storage.crash_at(storage.operations(), CrashPlan { seed: round, loss });
            let store = Store::open_on(crashed, options).unwrap();
            for (own, done) in done {
                let found = visible(&store, user(9), with(own), Seq(1), Seq(u64::MAX));
                for (number, appended) in &done {
                    assert_eq!(found[appended.seq.0 as usize - 1].version, appended.version);
                    assert_eq!(*found[appended.seq.0 as usize - 1].body, *text(user(own), *number, 400));
                }
                // The retry settles what was unknown.
                let number = done.len() as u64;
                let body = text(user(own), number, 400);
                let draft = Draft::direct(user(own), user(9), &body).client_id(ClientId(number as u128 + 1));
                let retried = store.append(draft).wait().unwrap();
                assert_eq!(retried.seq, Seq(number + 1));
            }
        }
    });
}
