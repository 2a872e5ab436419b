//! What is sequenced but not published: the pending value of every row a pending change touches.
//! Owns: those values, and undoing them when a batch is refused. May touch: `state`.
//! Never: outlives the publication of what it holds.

use super::{Row, State, Tip};
use crate::id::{ClientId, GroupId, NameKind, Source, Timeline, UserId};
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
    /// For how long it is taken, in microseconds.
    pub window: u64,
    pub kind: u16,
    pub body_digest: u128,
}

/// A thing that changes so seldom that its pending value is not kept: who wants to change it again waits
/// until the first change is published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Busy {
    /// What became of a message.
    Message(Timeline, u64),
    /// What a user noted about a session, or the server about a member.
    Notes(Timeline, UserId),
    /// A group's metadata.
    Group(GroupId),
    Name(NameKind, Vec<u8>),
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
    /// The version since which users exist; 0 for those removed.
    existing: Rows<UserId, u64>,
    /// Whether new sources send a broadcast.
    sources: Rows<Source, bool>,
    busy: Rows<Busy, ()>,
    /// What to put back if the batch is refused; empty outside of batches.
    undo: Vec<Undo>,
    in_batch: bool,
    /// What `newest` was before the batch.
    newest_before: u64,
}

#[derive(Debug)]
enum Undo {
    Tip(Timeline, Option<(u64, Tip)>),
    Row((Timeline, UserId), Option<(u64, Row)>),
    Taken((Timeline, UserId, ClientId), Option<(u64, Taken)>),
    Existing(UserId, Option<(u64, u64)>),
    Source(Source, Option<(u64, bool)>),
}

impl Overlay {
    /// The newest value of a timeline's tip.
    pub fn tip(&self, state: &State, timeline: Timeline) -> Option<Tip> {
        self.pending_tip(timeline).or_else(|| state.head_of(timeline).map(|head| &head.tip)).copied()
    }

    /// The pending value of a timeline's tip.
    pub fn pending_tip(&self, timeline: Timeline) -> Option<&Tip> {
        if self.newest == 0 { None } else { self.tips.get(&timeline).map(|(_, tip)| tip) }
    }

    /// The newest value of a row.
    pub fn row(&self, state: &State, timeline: Timeline, user: UserId) -> Option<Row> {
        self.pending_row(timeline, user).or_else(|| state.row_of(user, timeline)).copied()
    }

    /// The pending value of a row.
    pub fn pending_row(&self, timeline: Timeline, user: UserId) -> Option<&Row> {
        if self.newest == 0 { None } else { self.rows.get(&(timeline, user)).map(|(_, row)| row) }
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

    /// The newest version that anything pending has; 0 if nothing is.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// The version since which a user exists by what is pending.
    pub fn exists_since(&self, user: UserId) -> Option<u64> {
        self.existing.get(&user).map(|(_, since)| *since)
    }

    pub fn set_exists_since(&mut self, user: UserId, since: u64, version: u64) {
        self.newest = version;
        let before = self.existing.insert(user, (version, since));
        if self.in_batch {
            self.undo.push(Undo::Existing(user, before));
        }
    }

    /// What a pending first message made of a source.
    pub fn is_broadcast(&self, source: Source) -> Option<bool> {
        self.sources.get(&source).map(|(_, is_broadcast)| *is_broadcast)
    }

    /// How many sources of broadcasts are pending that the state does not know yet.
    pub fn broadcasts(&self, state: &State) -> usize {
        let new = self.sources.iter().filter(|(source, _)| state.is_broadcast(**source).is_none());
        new.filter(|(_, (_, is_broadcast))| *is_broadcast).count()
    }

    pub fn set_source(&mut self, source: Source, is_broadcast: bool, version: u64) {
        self.newest = version;
        let before = self.sources.insert(source, (version, is_broadcast));
        if self.in_batch {
            self.undo.push(Undo::Source(source, before));
        }
    }

    /// The pending change of a thing whose value is not kept here.
    pub fn busy(&self, thing: &Busy) -> Option<u64> {
        if self.busy.is_empty() { None } else { self.busy.get(thing).map(|(version, ())| *version) }
    }

    /// The newest pending change of any name.
    pub fn busy_name(&self) -> Option<u64> {
        let names = self.busy.iter().filter(|(thing, _)| matches!(thing, Busy::Name(..)));
        names.map(|(_, (version, ()))| *version).max()
    }

    pub fn set_busy(&mut self, thing: Busy, version: u64) {
        assert!(!self.in_batch, "messages keep their values");
        self.newest = version;
        self.busy.insert(thing, (version, ()));
    }

    /// Whether a user has a session by what is pending.
    pub fn has_session(&self, user: UserId) -> bool {
        self.rows.iter().any(|((_, owner), (_, row))| *owner == user && row.is_session())
    }

    /// From here on everything can be undone.
    pub fn begin_batch(&mut self) {
        self.in_batch = true;
        self.newest_before = self.newest;
    }

    /// Keeps the batch.
    pub fn keep_batch(&mut self) {
        self.in_batch = false;
        self.undo.clear();
    }

    /// Takes the batch back.
    pub fn undo_batch(&mut self) {
        self.in_batch = false;
        // No answer may rest on a version that the batch did not keep.
        self.newest = self.newest_before;
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Tip(key, before) => put_back(&mut self.tips, key, before),
                Undo::Row(key, before) => put_back(&mut self.rows, key, before),
                Undo::Taken(key, before) => put_back(&mut self.taken, key, before),
                Undo::Existing(key, before) => put_back(&mut self.existing, key, before),
                Undo::Source(key, before) => put_back(&mut self.sources, key, before),
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
            clear(&mut self.existing);
            clear(&mut self.sources);
            clear(&mut self.busy);
        } else {
            self.tips.retain(|_, (pending, _)| *pending > version);
            self.rows.retain(|_, (pending, _)| *pending > version);
            self.taken.retain(|_, (pending, _)| *pending > version);
            self.existing.retain(|_, (pending, _)| *pending > version);
            self.sources.retain(|_, (pending, _)| *pending > version);
            self.busy.retain(|_, (pending, ())| *pending > version);
        }
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
