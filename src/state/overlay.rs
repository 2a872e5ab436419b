//! What is sequenced but not published: the pending value of every row a pending change touches.
//! Owns: those values, and undoing them when a batch is refused. May touch: `state`.
//! Never: outlives the publication of what it holds.

use super::{Presence, Row, State, Tip};
use crate::id::{ClientId, Timeline, UserId};
use ahash::RandomState;
use std::collections::HashMap;
use std::hash::Hash;

/// A message whose client id is taken, and which is not published yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub seq: u64,
    pub timestamp: u64,
    pub version: u64,
    pub time: u64,
    pub kind: u16,
    pub body_digest: u128,
}

/// A map with room for a bulk join would make every later clearing slow.
const CAPACITY_KEPT: usize = 1024;

type Rows<K, V> = HashMap<K, (u64, V), RandomState>;

/// The pending values, each with the version of the change that made it so.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    newest: u64,
    tips: Rows<Timeline, Tip>,
    rows: Rows<(Timeline, UserId), Row>,
    taken: Rows<(Timeline, UserId, ClientId), Taken>,
    /// What to put back if the batch is refused; empty outside of batches.
    undo: Vec<Undo>,
    in_batch: bool,
}

#[derive(Debug)]
enum Undo {
    Tip(Timeline, Option<(u64, Tip)>),
    Row((Timeline, UserId), Option<(u64, Row)>),
    Taken((Timeline, UserId, ClientId), Option<(u64, Taken)>),
}

impl Overlay {
    /// The newest value of a timeline's tip.
    pub fn tip(&self, state: &State, timeline: Timeline) -> Option<Tip> {
        if self.newest > 0
            && let Some((_, tip)) = self.tips.get(&timeline)
        {
            return Some(*tip);
        }
        state.head_of(timeline).map(|head| head.tip)
    }

    /// The newest value of a row.
    pub fn row(&self, state: &State, timeline: Timeline, user: UserId) -> Option<Row> {
        if self.newest > 0
            && let Some((_, row)) = self.rows.get(&(timeline, user))
        {
            return Some(*row);
        }
        state.row_of(user, timeline).copied()
    }

    /// The pending message that took a client id.
    pub fn taken(&self, timeline: Timeline, sender: UserId, id: ClientId) -> Option<&Taken> {
        self.taken.get(&(timeline, sender, id)).map(|(_, taken)| taken)
    }

    pub fn set_tip(&mut self, timeline: Timeline, tip: Tip, version: u64) {
        self.newest = version;
        let before = self.tips.insert(timeline, (version, tip));
        if self.in_batch {
            self.undo.push(Undo::Tip(timeline, before));
        }
    }

    pub fn set_row(&mut self, timeline: Timeline, user: UserId, row: Row, version: u64) {
        self.newest = version;
        let before = self.rows.insert((timeline, user), (version, row));
        if self.in_batch {
            self.undo.push(Undo::Row((timeline, user), before));
        }
    }

    pub fn set_taken(&mut self, timeline: Timeline, sender: UserId, id: ClientId, taken: Taken) {
        self.newest = taken.version;
        let before = self.taken.insert((timeline, sender, id), (taken.version, taken));
        if self.in_batch {
            self.undo.push(Undo::Taken((timeline, sender, id), before));
        }
    }

    /// From here on everything can be undone.
    pub fn begin_batch(&mut self) {
        self.in_batch = true;
    }

    /// Keeps the batch.
    pub fn keep_batch(&mut self) {
        self.in_batch = false;
        self.undo.clear();
    }

    /// Takes the batch back.
    pub fn undo_batch(&mut self) {
        self.in_batch = false;
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Tip(key, before) => put_back(&mut self.tips, key, before),
                Undo::Row(key, before) => put_back(&mut self.rows, key, before),
                Undo::Taken(key, before) => put_back(&mut self.taken, key, before),
            }
        }
    }

    /// Drops what is published up to and with `version`.
    pub fn published(&mut self, version: u64) {
        if self.newest <= version {
            self.newest = 0;
            clear(&mut self.tips);
            clear(&mut self.rows);
            clear(&mut self.taken);
        } else {
            self.tips.retain(|_, (pending, _)| *pending > version);
            self.rows.retain(|_, (pending, _)| *pending > version);
            self.taken.retain(|_, (pending, _)| *pending > version);
        }
    }
}

impl Row {
    /// Whether the user is a member now.
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Member
    }
}

fn put_back<K: Hash + Eq, V>(map: &mut Rows<K, V>, key: K, before: Option<(u64, V)>) {
    match before {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn clear<K, V>(map: &mut Rows<K, V>) {
    if map.is_empty() {
        return;
    }
    if map.capacity() > CAPACITY_KEPT {
        *map = HashMap::default();
    } else {
        map.clear();
    }
}
