//! What a failed store, and a waker that does more than wake, must not bring about.
//! Owns: wakers that call, drop and close the store; calls after a failed commit. May touch: the public interface,
//! `scene`, `support`.
//! Never: looks at files.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use restante::limits::JOURNAL_BYTES_MIN;
use restante::{Draft, Durability, ErrorKind, FailEffect, ListQuery, Options, Seq, SimStorage, Store};

use super::extremes::within;
use crate::scene::user;
use crate::support::TempDir;

/// As an executor does it: the waker holds the last things alive, the store among them.
struct OwningWaker {
    store: Mutex<Option<Store>>,
    sender: Mutex<mpsc::Sender<()>>,
    calls: bool,
}

impl Wake for OwningWaker {
    fn wake(self: Arc<Self>) {
        if self.calls {
            let store = self.store.lock().unwrap().clone();
            if let Some(store) = store {
                store.total_unread(user(2)).unwrap();
                store.changed(user(2), None, &ListQuery::new()).unwrap();
                drop(store.append(Draft::direct(user(1), user(2), b"from a waker")));
            }
        } else {
            drop(self.store.lock().unwrap().take());
        }
        let _ = self.sender.lock().unwrap().send(());
    }
}

fn waker_with_store(calls: bool) {
    let directory = TempDir::new("breaker");
    let path = directory.path().to_owned();
    within(20, if calls { "a waker that calls the store" } else { "a waker that drops the store" }, move || {
        for _ in 0..10 {
            let store = Store::open(&path, Options::default()).expect("open again");
            let (sender, receiver) = mpsc::channel();
            let mut ticket = store.append(Draft::direct(user(1), user(2), b"x"));
            let owner = OwningWaker { store: Mutex::new(Some(store)), sender: Mutex::new(sender), calls };
            let waker = Waker::from(Arc::new(owner));
            let pending = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending();
            drop(waker);
            if pending {
                receiver.recv_timeout(Duration::from_secs(10)).expect("woken");
            }
            drop(ticket);
            // Who dropped the last handle closed it; that may be another thread, so give it a moment.
            let since = Instant::now();
            loop {
                match Store::open(&path, Options::default()) {
                    Ok(store) => break store.close().unwrap(),
                    Err(error) if error.kind() == ErrorKind::Locked && since.elapsed() < Duration::from_secs(5) => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
}

#[test]
fn a_waker_may_call_the_store() {
    waker_with_store(true);
}

#[test]
fn a_waker_may_drop_the_last_handle() {
    waker_with_store(false);
}

/// The last handle goes on the thread that wakes, while another change is still on its way.
#[test]
fn a_waker_drops_the_last_handle_before_the_last_sync() {
    struct Slow(Mutex<Option<Store>>, mpsc::Sender<()>);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            thread::sleep(Duration::from_millis(50));
            drop(self.0.lock().unwrap().take());
            let _ = self.1.send(());
        }
    }
    let directory = TempDir::new("breaker");
    let path = directory.path().to_owned();
    within(20, "the last handle", move || {
        let store = Store::open(&path, Options::default()).unwrap();
        let other = store.clone();
        let (sender, receiver) = mpsc::channel();
        let mut ticket = store.append(Draft::direct(user(1), user(2), b"one"));
        let waker = Waker::from(Arc::new(Slow(Mutex::new(Some(store)), sender)));
        let is_pending = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending();
        drop(waker);
        thread::sleep(Duration::from_millis(25));
        let last = other.append(Draft::direct(user(1), user(2), b"two"));
        drop(other);
        if is_pending {
            receiver.recv().unwrap();
        }
        assert_eq!(last.wait().expect("closing made it durable").seq, Seq(2));
        let since = Instant::now();
        let store = loop {
            match Store::open(&path, Options::default()) {
                Err(error) if error.kind() == ErrorKind::Locked && since.elapsed() < Duration::from_secs(5) => {
                    thread::sleep(Duration::from_millis(1));
                }
                opened => break opened.unwrap(),
            }
        };
        assert!(store.recovery().clean);
        assert_eq!(store.total_unread(user(2)).unwrap().unread, 2);
    });
}

/// Who was told that a commit failed half-way begins nothing more: the next call is refused, not half done as well.
#[test]
fn after_a_failed_commit_everything_is_refused() {
    for round in 0..300 {
        let storage = SimStorage::new(round);
        let durability = if round.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered };
        let options = Options::default().durability(durability).journal_bytes(JOURNAL_BYTES_MIN);
        let store = Store::open_on(storage.clone(), options).unwrap();
        storage.fail_operation(20 + round % 50, std::io::ErrorKind::Other, FailEffect::Nothing);
        thread::scope(|scope| {
            for own in 1..=3 {
                let store = &store;
                scope.spawn(move || {
                    let send = || store.append(Draft::direct(user(own), user(9), &[7; 400])).wait();
                    // A fault that met the spare file is nobody's: then nothing fails.
                    let Some(first) = (0..1_000).find_map(|_| send().err()) else { return };
                    let second = send().unwrap_err();
                    assert_eq!(second.kind(), ErrorKind::Poisoned, "round={round} {durability:?} after {first:?}");
                });
            }
        });
    }
}

/// A failed commit wakes who waits for it, and that one drops the last handle.
#[test]
fn a_failure_wakes_and_the_waker_may_drop_the_last_handle() {
    for number in 0..3 {
        within(20, "dropping a store that failed", move || {
            let storage = SimStorage::new(number);
            let store = Store::open_on(storage.clone(), Options::default().maintain(false)).unwrap();
            store.append(Draft::direct(user(1), user(2), b"one")).wait().unwrap();
            storage.fail_from(number, std::io::ErrorKind::Other);
            let (sender, receiver) = mpsc::channel();
            let mut ticket = store.append(Draft::direct(user(1), user(2), b"two"));
            let owner = OwningWaker { store: Mutex::new(Some(store)), sender: Mutex::new(sender), calls: false };
            let waker = Waker::from(Arc::new(owner));
            let is_pending = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending();
            drop(waker);
            if is_pending {
                receiver.recv_timeout(Duration::from_secs(10)).expect("woken");
            }
            drop(ticket);
        });
    }
}
