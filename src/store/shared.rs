//! The state, as threads share it.
//! Owns: its lock, and who goes first. May touch: `state`.
//! Never: lets long work that goes in steps keep out those who wait.

use crate::state::State;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Who sleeps is awake by then, most of the time.
const YIELD_MAX: Duration = Duration::from_micros(200);

/// What is there then is half of a change.
const PANICKED: &str = "a thread panicked while it published";

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
        match self.state.try_read() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(_)) => panic!("{PANICKED}"),
            Err(TryLockError::WouldBlock) => self.waiting(|| self.state.read().expect(PANICKED)),
        }
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        match self.state.try_write() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(_)) => panic!("{PANICKED}"),
            Err(TryLockError::WouldBlock) => self.waiting(|| self.state.write().expect(PANICKED)),
        }
    }

    fn waiting<G>(&self, wait: impl FnOnce() -> G) -> G {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = wait();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// How many steps one waits who wants the state, again and again.
    #[test]
    fn who_waits_has_the_state_between_two_steps() {
        const TURNS: usize = 21;
        let (shared, begun) = (SharedState::new(State::new()), AtomicU32::new(0));
        let is_over = AtomicBool::new(false);
        let mut waited: Vec<u32> = thread::scope(|scope| {
            scope.spawn(|| {
                shared.in_steps(|_| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    // As long as a step takes, and as busy.
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_micros(300) {}
                    !is_over.load(Ordering::Relaxed)
                });
            });
            let turn = |_| {
                let before = begun.load(Ordering::Relaxed);
                let state = shared.write();
                let waited = begun.load(Ordering::Relaxed) - before;
                drop(state);
                thread::sleep(Duration::from_millis(1));
                waited
            };
            let waited = (0..TURNS).map(turn).collect();
            is_over.store(true, Ordering::Relaxed);
            waited
        });
        waited.sort_unstable();
        assert!(waited[TURNS / 2] <= 1, "steps that began meanwhile: {waited:?}");
    }

    #[test]
    #[should_panic(expected = "a thread panicked while it published")]
    fn after_a_panic_nobody_waits() {
        let shared = SharedState::new(State::new());
        let panicked = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _state = shared.write();
                panic!("in the midst of a change");
            });
            thread.join()
        });
        assert!(panicked.is_err());
        drop(shared.write());
    }
}
