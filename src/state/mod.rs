//! The state of a store in memory: what the journal says, applied.
//! Owns: heads, rows, dedup, the commit times. May touch: `change`, `journal` (places and files).
//! Never: does I/O or reads a clock; it is a pure function of the changes.

mod timeline;

mod member;

mod dedup;

mod commit_times;

mod apply;

mod overlay;

mod sequence;

pub(crate) use member::{Presence, Row};
use overlay::Overlay;
pub(crate) use overlay::Taken;
pub(crate) use sequence::{
    Answer, Decided, Known, MarkPlan, PreparedAppend, Sequenced, Sequencer, Stale, UnreadPlan, append_bytes_max,
    is_within_window, join_bytes_max,
};
pub use sequence::{Appended, Effect, Joined, Outcome};
pub(crate) use timeline::{Head, Tip};

use crate::id::{ClientId, Timeline, UserId};
use crate::journal::FileTable;
use ahash::RandomState;
use commit_times::CommitTimes;
use dedup::Dedup;
use member::Person;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that is published.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The newest version, and its commit time.
    pub version: u64,
    pub time: u64,
    pub files: Arc<FileTable>,
    slots: HashMap<Timeline, u32, RandomState>,
    heads: Vec<Head>,
    users: HashMap<UserId, u32, RandomState>,
    people: Vec<Person>,
    dedup: Dedup,
    commit_times: CommitTimes,
}

impl State {
    pub fn new() -> State {
        State {
            version: 0,
            time: 0,
            files: Arc::default(),
            slots: HashMap::default(),
            heads: Vec::new(),
            users: HashMap::default(),
            people: Vec::new(),
            dedup: Dedup::new(),
            commit_times: CommitTimes::default(),
        }
    }

    pub fn slot(&self, timeline: Timeline) -> Option<u32> {
        self.slots.get(&timeline).copied()
    }

    /// The head at a slot that this state handed out.
    pub fn head(&self, slot: u32) -> &Head {
        &self.heads[slot as usize]
    }

    pub fn head_of(&self, timeline: Timeline) -> Option<&Head> {
        self.slot(timeline).map(|slot| self.head(slot))
    }

    /// All heads, in the order in which their timelines came to be.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// A user's rows, in no order that means anything.
    pub fn rows(&self, user: UserId) -> &[Row] {
        self.person(user).map_or(&[], |person| &person.rows)
    }

    pub fn row(&self, user: UserId, slot: u32) -> Option<&Row> {
        self.person(user)?.row(slot)
    }

    pub fn row_of(&self, user: UserId, timeline: Timeline) -> Option<&Row> {
        self.row(user, self.slot(timeline)?)
    }

    /// Every user who has a row.
    pub fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.users.keys().copied()
    }

    /// What stands for a client id in this process.
    pub fn dedup_hash(&self, timeline: Timeline, sender: UserId, id: ClientId) -> u64 {
        self.dedup.hash(timeline, sender, id)
    }

    /// The messages that may have the client id, newest first.
    pub fn dedup_candidates(&self, hash: u64, timeline: Timeline) -> Vec<u64> {
        self.slot(timeline).map_or_else(Vec::new, |slot| self.dedup.candidates(hash, slot))
    }

    /// The first version committed at or after `time`, if there is one.
    pub fn first_version_at(&self, time: u64) -> Option<u64> {
        self.commit_times.first_at(time)
    }

    fn person(&self, user: UserId) -> Option<&Person> {
        self.users.get(&user).map(|index| &self.people[*index as usize])
    }
}
