//! The plain model: every change ever made, in order, and what they come to for writers and for readers.
//! Owns: the log, the two states, time and epochs. May touch: `change`, `state`.
//! Never: decides what a call does, or asks the store.

use restante::{Epoch, Peer, Timeline, UserId};

use super::change::{Change, What};
use super::judge::{Decision, Judge};
use super::state::{Message, State};

/// Journal files of the model's stores; a body may take a quarter of one.
pub const JOURNAL_BYTES: u64 = 64 << 10;

/// A state at some time of the clock.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub state: &'a State,
    pub clock: u64,
}

impl<'a> View<'a> {
    /// max(clock, last commit time).
    pub fn store_time(&self) -> u64 {
        self.clock.max(self.state.time())
    }

    /// Whether the client id of a message still counts at this view's time.
    pub fn in_window(&self, message: &Message) -> bool {
        self.store_time() < window_end(message)
    }

    /// The newest message under a client id, inside its window or not.
    pub fn newest_with_id(&self, timeline: Timeline, sender: UserId, client_id: u128) -> Option<&'a Message> {
        self.state.line(timeline).messages.iter().rfind(|message| has_id(message, sender, client_id))
    }

    /// The message that has taken a client id.
    pub fn taken(&self, timeline: Timeline, sender: UserId, client_id: u128) -> Option<&'a Message> {
        let mut messages = self.state.line(timeline).messages.iter();
        messages.find(|message| has_id(message, sender, client_id) && self.in_window(message))
    }
}

/// When the client id of a message is free again.
pub fn window_end(message: &Message) -> u64 {
    message.commit_time + message.window_secs * 1_000_000
}

fn has_id(message: &Message, sender: UserId, client_id: u128) -> bool {
    client_id != 0 && message.letter.client_id == client_id && message.letter.sender == sender
}

/// The whole model.
#[derive(Debug)]
pub struct World {
    pub log: Vec<Change>,
    /// Everything that has happened, seen or not.
    sequenced: State,
    /// What readers see.
    seen: State,
    /// The clock that is followed.
    pub clock: u64,
    /// The wall clock is not followed: nothing is forgotten for its age.
    pub is_stepped: bool,
    pub epoch: Epoch,
    /// Epochs that ended and their last surviving versions, oldest first.
    pub ends: Vec<(Epoch, u64)>,
    /// A crash cut a call that makes several changes, so no call makes the same log again.
    pub was_call_cut: bool,
}

impl World {
    pub fn new(epoch: Epoch, clock: u64) -> World {
        let (sequenced, seen) = (State::new(), State::new());
        World {
            log: Vec::new(),
            sequenced,
            seen,
            clock,
            is_stepped: false,
            epoch,
            ends: Vec::new(),
            was_call_cut: false,
        }
    }

    pub fn sequenced(&self) -> View<'_> {
        View { state: &self.sequenced, clock: self.clock }
    }

    pub fn seen(&self) -> View<'_> {
        View { state: &self.seen, clock: self.clock }
    }

    /// The newest version that readers see.
    pub fn published(&self) -> u64 {
        self.seen.version()
    }

    /// Whether everything that happened is seen.
    pub fn is_settled(&self) -> bool {
        self.seen.version() == self.sequenced.version()
    }

    /// Lets readers see everything up to `version`.
    pub fn publish(&mut self, version: u64) {
        let from = self.published() as usize;
        for change in &self.log[from..version as usize] {
            self.seen.apply(change);
        }
    }

    /// A crash that left only the first `version` changes.
    pub fn cut(&mut self, version: u64) {
        let newest = (version as usize).checked_sub(1).map(|index| &self.log[index]);
        self.was_call_cut |= newest.is_some_and(|change| change.call_end > version);
        self.log.truncate(version as usize);
        let mut state = State::new();
        self.log.iter().for_each(|change| state.apply(change));
        self.seen = state.clone();
        self.sequenced = state;
    }

    /// One who decides by everything that has happened, and clamps to what is seen.
    pub fn judge(&self) -> Judge<'_> {
        Judge { state: &self.sequenced, seen: &self.seen, clock: self.clock, is_stepped: self.is_stepped }
    }

    /// One who decides as if nothing had happened that is not seen.
    pub fn judge_seen(&self) -> Judge<'_> {
        Judge { state: &self.seen, seen: &self.seen, clock: self.clock, is_stepped: self.is_stepped }
    }

    /// Makes the changes of a decision.
    pub fn carry_out(&mut self, decision: &Decision) {
        let call_end = self.sequenced.version() + decision.whats.len() as u64;
        for what in &decision.whats {
            let version = self.sequenced.version() + 1;
            let commit_time = self.sequenced().store_time();
            let batch_end = if decision.is_batch { call_end } else { version };
            let change = Change { version, commit_time, batch_end, call_end, what: what.clone() };
            self.sequenced.apply(&change);
            self.log.push(change);
        }
    }
}

/// A state in which one more change was made at the time of a clock.
pub fn with_change(state: &mut State, clock: u64, what: What) -> u64 {
    let version = state.version() + 1;
    let commit_time = clock.max(state.time());
    state.apply(&Change { version, commit_time, batch_end: version, call_end: version, what });
    version
}

pub fn is_none(peer: Peer) -> bool {
    match peer {
        Peer::User(user) => user.is_none(),
        Peer::Group(group) => group.is_none(),
        Peer::System(system) => system.is_none(),
        Peer::Business(business) => business.is_none(),
        _ => unreachable!("the model has no other peers"),
    }
}
