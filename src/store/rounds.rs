//! What is remembered between rounds of maintenance.
//! Owns: how far the last round looked, what timelines weigh. May touch: `id`.
//! Never: holds what could not be found again by looking at the messages.

use crate::id::Timeline;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// So many timelines have their weight remembered; with more, all are weighed again.
const WEIGHTS_MAX: usize = 1 << 16;

/// The memory of the rounds; held while one runs, so that they come one after another.
#[derive(Debug, Default)]
pub(crate) struct Rounds(Mutex<Memory>);

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The newest version at the beginning of the last round that came through, and its day.
    pub version: u64,
    pub day: u64,
    /// Of timelines whose bytes are bounded.
    pub weights: HashMap<Timeline, Weight>,
}

/// The bytes of the newest bodies of the messages above `trim`, up to `last`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub trim: u64,
    pub last: u64,
    /// The newest amendment by then: a recall makes a message weigh nothing.
    pub news: u64,
    pub bytes: u64,
}

impl Rounds {
    /// The memory, once no other round uses it.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("no thread panicked while it maintained the store")
    }
}

impl Memory {
    /// Notes what a timeline weighs.
    pub fn remember(&mut self, timeline: Timeline, weight: Weight) {
        if self.weights.len() >= WEIGHTS_MAX {
            self.weights.clear();
        }
        self.weights.insert(timeline, weight);
    }
}
