//! Tickets: when an answer is given, to whom, and what it is worth then.
//! Owns: waiting, awaiting, dropping. May touch: its submodules, `scene`.
//! Never: depends on how long a sync takes.

mod clocks;
mod pending;
mod threads;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use restante::{Appended, Draft, Durability, HistoryQuery, Loss, Outcome, Seq, Threads, Ticket};

use crate::scene::{Scene, seqs, user, with};

/// Far above anything that happens; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wakes a parked thread, and counts how often.
struct Unpark {
    thread: Thread,
    count: AtomicU64,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
    }
}

/// All the runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = Arc::new(Unpark { thread: std::thread::current(), count: AtomicU64::new(0) });
    let waker = Waker::from(unpark.clone());
    let mut future = pin!(future);
    let started = Instant::now();
    loop {
        let woken = unpark.count.load(Ordering::Acquire);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while unpark.count.load(Ordering::Acquire) == woken {
            assert!(started.elapsed() < PATIENCE, "nobody woke the task");
            std::thread::park_timeout(PATIENCE);
        }
    }
}

fn draft(body: &[u8]) -> Draft<'_> {
    Draft::direct(user(1), user(2), body)
}

/// What there is after a power cut now.
fn durable(scene: &Scene) -> Vec<u64> {
    seqs(&scene.after_crash(Loss::All).all(user(2), with(1)))
}

#[test]
fn a_ticket_is_awaited_without_a_runtime() {
    for durability in [Durability::Sync, Durability::Buffered] {
        for level in [Durability::Sync, Durability::Buffered] {
            let scene = Scene::with(|options| options.durability(durability).threads(Threads::Background));
            let store = scene.store.at(level);
            for number in 1..=20 {
                let appended = block_on(store.append(draft(b"awaited"))).unwrap();
                assert_eq!((appended.seq, appended.outcome), (Seq(number), Outcome::Written));
                if level == Durability::Sync {
                    assert_eq!(durable(&scene).len() as u64, number, "{durability:?} {level:?}");
                    assert_eq!(scene.all(user(2), with(1)).len() as u64, number);
                }
            }
        }
    }
}

#[test]
fn many_tickets_are_awaited_at_once() {
    let scene = Scene::with(|options| options.threads(Threads::Background));
    let answers: Vec<Appended> = block_on(async {
        let tickets: Vec<Ticket<Appended>> = (0..500).map(|_| scene.store.append(draft(b"one of many"))).collect();
        let mut answers = Vec::new();
        // The newest first: when it is done, all are.
        for ticket in tickets.into_iter().rev() {
            answers.push(ticket.await.unwrap());
        }
        answers
    });
    let got: Vec<u64> = answers.iter().map(|appended| appended.seq.0).collect();
    assert_eq!(got, (1..=500).rev().collect::<Vec<_>>());
    assert_eq!(durable(&scene), (1..=500).collect::<Vec<_>>());
}

#[test]
fn an_awaited_error_is_an_error() {
    let scene = Scene::with(|options| options.threads(Threads::Background));
    let error = block_on(scene.store.append(Draft::group(restante::GroupId(1), user(1), b"x"))).unwrap_err();
    assert_eq!(error.kind(), restante::ErrorKind::NotFound);
    // A sync that fails wakes who waits, and says so.
    scene.storage.fail_from(0, std::io::ErrorKind::Other);
    let error = block_on(scene.store.append(draft(b"lost"))).unwrap_err();
    assert_eq!(error.kind(), restante::ErrorKind::Unknown);
    let again = || block_on(scene.store.append(draft(b"refused"))).unwrap_err().kind();
    until("later calls are refused", || again() == restante::ErrorKind::Poisoned);
}

#[test]
fn without_threads_awaiting_does_the_work_itself() {
    let scene = Scene::new();
    let first = scene.store.append(draft(b"one"));
    let second = scene.store.append(draft(b"two"));
    assert!(!first.is_done() && !second.is_done());
    assert_eq!(durable(&scene), [] as [u64; 0]);
    assert_eq!(block_on(first).unwrap().seq, Seq(1));
    assert!(second.is_done(), "one sync for both");
    assert_eq!(durable(&scene), [1, 2]);
    assert_eq!(second.wait().unwrap().seq, Seq(2));
    // Written for another call's sake is not durable.
    let third = scene.store.append(draft(b"three"));
    let fourth = scene.store.at(Durability::Buffered).append(draft(b"four"));
    assert!(!third.is_done() && fourth.is_done());
    assert_eq!(third.wait().unwrap().seq, Seq(3));
    assert_eq!(durable(&scene), [1, 2, 3, 4]);
}

#[test]
fn dropping_a_ticket_does_not_undo() {
    // Without threads the next sync takes it along, or the close.
    let scene = Scene::new();
    drop(scene.store.append(draft(b"one")));
    assert_eq!(scene.all(user(2), with(1)), [], "not durable, so not visible");
    scene.store.sync().unwrap();
    assert_eq!(seqs(&scene.all(user(2), with(1))), [1]);
    drop(scene.store.append(draft(b"two")));
    assert_eq!(scene.send(draft(b"three")).seq, Seq(3));
    drop(scene.store.append(draft(b"four")));
    let scene = scene.reopened();
    assert_eq!(seqs(&scene.all(user(2), with(1))), [1, 2, 3, 4]);

    // With threads it becomes durable and visible by itself, also when its task was dropped half-way.
    let scene = Scene::with(|options| options.threads(Threads::Background).sync_delay_ms(1));
    drop(scene.store.append(draft(b"one")));
    let mut ticket = Box::pin(scene.store.append(draft(b"two")));
    let _ = ticket.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(ticket);
    until("both are visible", || scene.all(user(2), with(1)).len() == 2);
    assert_eq!(durable(&scene), [1, 2]);
}

#[test]
fn a_buffered_call_in_a_sync_store_becomes_visible_in_time() {
    for delay in [0, 1, 10] {
        let scene = Scene::with(|options| options.threads(Threads::Background).sync_delay_ms(delay));
        let store = scene.store.at(Durability::Buffered);
        for number in 1..=10 {
            let ticket = store.append(draft(b"buffered"));
            assert!(ticket.is_done(), "the system has it when the call returns");
            assert_eq!(ticket.wait().unwrap().seq, Seq(number));
            // Acknowledged at its level: it survives the end of the process at any moment from here on.
            assert_eq!(seqs(&scene.after_crash(Loss::Nothing).all(user(2), with(1))).len() as u64, number);
            until("it is visible", || scene.all(user(2), with(1)).len() as u64 == number);
            assert_eq!(durable(&scene).len() as u64, number, "visible is durable");
        }
    }
}

#[test]
fn a_buffered_call_in_a_sync_store_is_not_seen_before_it_is_durable() {
    // No sync comes by itself in the time this takes, or at all.
    let slow = Scene::with(|options| options.threads(Threads::Background).sync_delay_ms(10_000));
    for scene in [slow, Scene::new()] {
        let buffered = scene.store.at(Durability::Buffered);
        let appended = buffered.append(draft(b"buffered")).wait().unwrap();
        assert_eq!(appended.seq, Seq(1));
        if scene.store.version().is_none() {
            assert_eq!(scene.all(user(2), with(1)), []);
            assert_eq!(durable(&scene), [] as [u64; 0]);
            assert_eq!(seqs(&scene.after_crash(Loss::Nothing).all(user(2), with(1))), [1]);
        }
        // The next call that waits for a sync takes it along.
        let next = scene.send(draft(b"synced"));
        assert_eq!(next.seq, Seq(2));
        assert_eq!(seqs(&scene.all(user(2), with(1))), [1, 2]);
        assert_eq!(durable(&scene), [1, 2]);
    }
}

#[test]
fn a_sync_call_in_a_buffered_store_waits_for_the_disk() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    scene.send(draft(b"seen, not safe"));
    assert_eq!(seqs(&scene.all(user(2), with(1))), [1]);
    assert_eq!(durable(&scene), [] as [u64; 0]);
    let ticket = scene.store.at(Durability::Sync).append(draft(b"safe"));
    assert!(!ticket.is_done());
    assert_eq!(ticket.wait().unwrap().seq, Seq(2));
    assert_eq!(durable(&scene), [1, 2], "and what was before it");
    let page = scene.page(user(2), with(1), HistoryQuery::newest());
    assert_eq!(seqs(&page.messages), [2, 1]);
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it did not come: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
