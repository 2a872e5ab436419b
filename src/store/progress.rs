//! How far changes have come, and who waits for what.
//! Owns: the counters, the waiting threads and wakers, the background threads' alarm clocks.
//! May touch: `error`.
//! Never: writes, syncs or publishes.

use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How far changes have come.
#[derive(Debug)]
pub(crate) struct Progress {
    written: AtomicU64,
    synced: AtomicU64,
    sync_nanos: AtomicU64,
    armed: AtomicBool,
    failed: AtomicBool,
    waiters: Mutex<Waiters>,
    /// Woken when a group is synced, or all has failed.
    advanced: Condvar,
    alarms: Mutex<Alarms>,
    sync_alarm: Condvar,
    prepare_alarm: Condvar,
    maintain_alarm: Condvar,
    seal_alarm: Condvar,
    merge_alarm: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    leading: bool,
    failure: Option<Error>,
    /// By ticket: the version it waits for, and whom to wake.
    wakers: HashMap<u64, (u64, Waker)>,
    tickets: u64,
}

#[derive(Debug, Default)]
struct Alarms {
    sync_at: Option<Instant>,
    prepare: bool,
    seal: bool,
    merge: bool,
    stop: bool,
}

impl Progress {
    /// Everything up to `version` is done.
    pub fn new(version: u64) -> Progress {
        Progress {
            written: AtomicU64::new(version),
            synced: AtomicU64::new(version),
            sync_nanos: AtomicU64::new(0),
            armed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            waiters: Mutex::default(),
            advanced: Condvar::new(),
            alarms: Mutex::default(),
            sync_alarm: Condvar::new(),
            prepare_alarm: Condvar::new(),
            maintain_alarm: Condvar::new(),
            seal_alarm: Condvar::new(),
            merge_alarm: Condvar::new(),
        }
    }

    /// The newest version the operating system has.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The newest version that is durable.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// How long the last sync took.
    pub fn sync_time(&self) -> Duration {
        Duration::from_nanos(self.sync_nanos.load(Ordering::Relaxed))
    }

    pub fn set_written(&self, version: u64) {
        self.written.store(version, Ordering::Release);
    }

    /// Tells all threads that wait. Called by the leader, who calls [`Progress::wake`] once it leads no more.
    pub fn set_synced(&self, version: u64, took: Duration) {
        self.sync_nanos.store(took.as_nanos() as u64, Ordering::Relaxed);
        self.synced.fetch_max(version, Ordering::AcqRel);
        drop(self.waiters());
        self.advanced.notify_all();
    }

    /// Wakes the tasks whose wait is over. A waker may do anything: poll at once, call the store and wait
    /// for a sync, drop the last handle. So the caller holds no lock and leads no sync.
    pub fn wake(&self) {
        let mut waiters = self.waiters();
        let (synced, has_failed) = (self.synced(), waiters.failure.is_some());
        let woken: Vec<_> = waiters.wakers.extract_if(|_, (wanted, _)| has_failed || *wanted <= synced).collect();
        drop(waiters);
        woken.into_iter().for_each(|(_, (_, waker))| waker.wake());
    }

    /// Waits until `version` is synced (`false`), or the caller is to lead the next sync (`true`).
    pub fn lead_or_wait(&self, version: u64) -> Result<bool> {
        if self.synced() >= version {
            return Ok(false);
        }
        let mut waiters = self.waiters();
        loop {
            if self.synced() >= version {
                return Ok(false);
            }
            if let Some(failure) = &waiters.failure {
                return Err(unknown(failure));
            }
            if !waiters.leading {
                waiters.leading = true;
                return Ok(true);
            }
            waiters = self.advanced.wait(waiters).expect("no thread panicked holding it");
        }
    }

    /// The leader is done, well or not.
    pub fn end_lead(&self) {
        self.waiters().leading = false;
        self.advanced.notify_all();
    }

    /// Remembers the first failure and tells all who wait. The caller may hold locks, so the tasks are
    /// woken by the background thread; without one nobody was let wait for a waker.
    pub fn fail(&self, error: &Error) {
        self.waiters().failure.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Release);
        self.advanced.notify_all();
        self.kick_sync(Instant::now());
    }

    /// An error if something has failed.
    pub fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) { Err(self.unknown()) } else { Ok(()) }
    }

    /// What an open ticket is told after a failure.
    pub fn unknown(&self) -> Error {
        match &self.waiters().failure {
            Some(failure) => unknown(failure),
            None => Error::new(ErrorKind::Unknown, "the commit failed half-way"),
        }
    }

    /// Wakes the task when `version` is synced or all has failed; `false` if that is so already. `ticket`
    /// stands for the ticket that waits, and is set by its first call.
    pub fn wake_at(&self, ticket: &mut Option<u64>, version: u64, waker: &Waker) -> bool {
        let mut waiters = self.waiters();
        if self.synced() >= version || waiters.failure.is_some() {
            return false;
        }
        let ticket = *ticket.get_or_insert_with(|| {
            waiters.tickets += 1;
            waiters.tickets
        });
        waiters.wakers.insert(ticket, (version, waker.clone()));
        true
    }

    /// Nobody waits for the ticket any more.
    pub fn forget(&self, ticket: u64) {
        let waker = self.waiters().wakers.remove(&ticket);
        // Dropped without the lock, see `set_synced`.
        drop(waker);
    }

    /// Whether a background sync is due some time.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Lets the background thread sync at `deadline`, or earlier if that was asked before.
    pub fn kick_sync(&self, deadline: Instant) {
        self.armed.store(true, Ordering::Release);
        let mut alarms = self.alarms();
        alarms.sync_at = Some(alarms.sync_at.map_or(deadline, |before| before.min(deadline)));
        self.sync_alarm.notify_one();
    }

    /// Lets the background thread seal what can be sealed.
    pub fn kick_seal(&self) {
        self.alarms().seal = true;
        self.seal_alarm.notify_one();
    }

    /// Lets the background thread prepare a file.
    pub fn kick_prepare(&self) {
        self.alarms().prepare = true;
        self.prepare_alarm.notify_one();
    }

    /// Ends the background threads.
    pub fn stop(&self) {
        self.alarms().stop = true;
        self.sync_alarm.notify_all();
        self.prepare_alarm.notify_all();
        self.maintain_alarm.notify_all();
        self.seal_alarm.notify_all();
        self.merge_alarm.notify_all();
    }

    /// Lets the background thread merge what is due.
    pub fn kick_merge(&self) {
        self.alarms().merge = true;
        self.merge_alarm.notify_one();
    }

    /// Sleeps until there may be something to merge; `false` if the thread is to end.
    pub fn wait_merge(&self) -> bool {
        let mut alarms = self.alarms();
        while !alarms.stop && !alarms.merge {
            alarms = self.merge_alarm.wait(alarms).expect("no thread panicked holding it");
        }
        alarms.merge = false;
        !alarms.stop
    }

    /// Sleeps until there may be something to seal; `false` if the thread is to end.
    pub fn wait_seal(&self) -> bool {
        let mut alarms = self.alarms();
        while !alarms.stop && !alarms.seal {
            alarms = self.seal_alarm.wait(alarms).expect("no thread panicked holding it");
        }
        alarms.seal = false;
        !alarms.stop
    }

    /// Sleeps until a sync is due; `false` if the thread is to end.
    pub fn wait_sync(&self) -> bool {
        let mut alarms = self.alarms();
        loop {
            if alarms.stop {
                return false;
            }
            let now = Instant::now();
            match alarms.sync_at {
                Some(deadline) if deadline <= now => {
                    alarms.sync_at = None;
                    // Lowered before the work, so that what comes during it is seen to as well.
                    self.armed.store(false, Ordering::Release);
                    return true;
                }
                Some(deadline) => {
                    let slept = self.sync_alarm.wait_timeout(alarms, deadline - now);
                    alarms = slept.expect("no thread panicked holding it").0;
                }
                None => alarms = self.sync_alarm.wait(alarms).expect("no thread panicked holding it"),
            }
        }
    }

    /// Sleeps until a file is wanted; `false` if the thread is to end.
    pub fn wait_prepare(&self) -> bool {
        let mut alarms = self.alarms();
        while !alarms.stop && !alarms.prepare {
            alarms = self.prepare_alarm.wait(alarms).expect("no thread panicked holding it");
        }
        alarms.prepare = false;
        !alarms.stop
    }

    /// Blocks for `period`; `false` once the store is closing.
    pub fn wait_maintain(&self, period: Duration) -> bool {
        let alarms = self.alarms();
        let waited = self.maintain_alarm.wait_timeout_while(alarms, period, |alarms| !alarms.stop);
        !waited.expect("no thread panicked holding it").0.stop
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().expect("no thread panicked holding it")
    }

    fn alarms(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().expect("no thread panicked holding it")
    }
}

fn unknown(failure: &Error) -> Error {
    Error::new(ErrorKind::Unknown, "the commit failed half-way").caused_by(failure.clone())
}
