//! The state, as threads share it.
//! Owns: its lock, and who goes first. May touch: `state`.
//! Never: lets long work that goes in steps keep out those who wait.

use crate::state::State;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Whoever waits has been woken by then, and has the lock; or will have it after the next step.
const YIELD_MAX: Duration = Duration::from_micros(200);

pub(super) struct SharedState {
    state: RwLock<State>,
    /// How many wait for it.
    waiting: AtomicU32,
}

impl SharedState {
    pub fn new(state: State) -> SharedState {
        SharedState { state: RwLock::new(state), waiting: AtomicU32::new(0) }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.try_read().unwrap_or_else(|_| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let state = self.state.read().expect("no thread panicked while it published");
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            state
        })
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.try_write().unwrap_or_else(|_| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let state = self.state.write().expect("no thread panicked while it published");
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            state
        })
    }

    /// Calls `step` until it says false. Between two steps others have the state if they want it: a lock goes to whoever
    /// comes first, and one who was woken comes later than one who never slept. Without this an append waited for all
    /// steps of a sealing, up to 86 ms.
    pub fn in_steps(&self, mut step: impl FnMut(&mut State) -> bool) {
        while step(&mut self.write()) {
            let started = Instant::now();
            while self.waiting.load(Ordering::Relaxed) > 0 && started.elapsed() < YIELD_MAX {
                thread::yield_now();
            }
        }
    }
}
