//! What is kept per user and timeline, and how a user's rows are found.
//! Owns: `Row`, `Notes`, `Person`. May touch: `timeline` (a head's tip), `change`.
//! Never: looks at a message or at another user.

use super::timeline::{Tip, Unsealed};
use crate::change::Flags;
use crate::id::UserId;
use ahash::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether a user has the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It sent something without ever having had the session; only its own messages are tracked.
    Outside,
    Member,
    Left,
    /// It was removed as a user; the floor is kept, and a tombstone.
    Gone,
}

/// A session's row. Ordinals count the counting messages up to and with a seq.
///
/// What a walk over all of a user's sessions looks at comes first, in one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Row {
    /// Version and commit time of the row's newest change that its user sees.
    pub version: u64,
    pub time: u64,
    /// Where the head of its timeline stands in the state; a row of a change that is not applied yet
    /// has none.
    pub slot: u32,
    /// Where its seat stood in the roster when it was last looked for, if the timeline has one.
    pub seat: u32,
    /// What of it the disk does not have yet.
    pub unsealed: Unsealed,
    pub presence: Presence,
    pub flags: Flags,
    /// There is something in the user's notes about it.
    pub has_notes: bool,
    pub has_metadata: bool,
    pub role: u8,
    /// The session was removed when so many messages counted; more of them bring it back.
    pub removed_at: Option<u64>,
    /// The badge's mark.
    pub read: u64,
    pub read_ordinal: u64,
    /// The highest marks there ever were.
    pub read_max: u64,
    pub delivered_max: u64,
    /// Nothing at or below it is visible.
    pub floor: u64,
    pub floor_ordinal: u64,
    /// The highest floor that the user itself asked for.
    pub cleared: u64,
    pub cleared_ordinal: u64,
    /// Nothing above it is visible, once the member left.
    pub ceiling: u64,
    pub ceiling_ordinal: u64,
    pub ceiling_timestamp: u64,
    /// The newest seq when the user joined, and the commit time and version of that.
    pub joined_at: u64,
    pub joined_time: u64,
    pub joined_version: u64,
    /// The newest message of this user.
    pub own_last: u64,
    /// It may not send before this time.
    pub silenced_until: u64,
}

impl Row {
    pub fn outside(slot: u32) -> Row {
        Row {
            slot,
            seat: 0,
            unsealed: Unsealed::default(),
            presence: Presence::Outside,
            flags: Flags::default(),
            removed_at: None,
            has_notes: false,
            has_metadata: false,
            role: 0,
            version: 0,
            time: 0,
            read: 0,
            read_ordinal: 0,
            read_max: 0,
            delivered_max: 0,
            floor: 0,
            floor_ordinal: 0,
            cleared: 0,
            cleared_ordinal: 0,
            ceiling: 0,
            ceiling_ordinal: 0,
            ceiling_timestamp: 0,
            joined_at: 0,
            joined_time: 0,
            joined_version: 0,
            own_last: 0,
            silenced_until: 0,
        }
    }

    /// The same, as a session that a change brought about when the timeline ended at `last`.
    pub fn opened(self, last: u64, version: u64, time: u64) -> Row {
        Row {
            presence: Presence::Member,
            joined_at: last,
            joined_time: time,
            joined_version: version,
            removed_at: None,
            version,
            time,
            ..self
        }
    }

    /// The same after its user joined, when the timeline ended at `last`, with so many counting messages.
    pub fn joined(self, last: (u64, u64), floor: (u64, u64), version: u64, time: u64) -> Row {
        Row {
            read: last.0,
            read_ordinal: last.1,
            floor: floor.0,
            floor_ordinal: floor.1,
            role: 0,
            ..self.opened(last.0, version, time)
        }
    }

    /// The same after its user left, when the timeline ended at `last`.
    pub fn left(self, last: (u64, u64), timestamp: u64, version: u64, time: u64) -> Row {
        Row {
            presence: Presence::Left,
            ceiling: last.0,
            ceiling_ordinal: last.1,
            ceiling_timestamp: timestamp,
            role: 0,
            version,
            time,
            ..self
        }
    }

    /// Its user sent message `seq`, which, if it `moves_marks`, is as good as read.
    pub fn send(&mut self, seq: u64, ordinal: u64, moves_marks: bool, version: u64, time: u64) {
        self.own_last = seq;
        if moves_marks {
            self.read = seq;
            self.read_ordinal = ordinal;
            self.read_max = seq;
            self.delivered_max = seq;
            self.flags.marked_unread = false;
            self.version = version;
            self.time = time;
        }
    }

    /// What is kept of it once its user was removed. What others were told stays told, what was said stays
    /// said, and who may not speak may not.
    pub fn forgotten(self, floor: (u64, u64), version: u64, time: u64) -> Row {
        Row {
            presence: Presence::Gone,
            version,
            time,
            read: floor.0,
            read_ordinal: floor.1,
            floor: floor.0,
            floor_ordinal: floor.1,
            cleared: floor.0,
            cleared_ordinal: floor.1,
            read_max: self.read_max,
            delivered_max: self.delivered_max,
            own_last: self.own_last,
            silenced_until: self.silenced_until,
            unsealed: self.unsealed,
            ..Row::outside(self.slot)
        }
    }

    /// A broadcast's session of a user who saw nothing of it up to `floor`. It was there before any
    /// change of its own.
    pub fn of_broadcast(slot: u32, floor: u64, floor_ordinal: u64) -> Row {
        Row {
            presence: Presence::Member,
            read: floor,
            read_ordinal: floor_ordinal,
            floor,
            floor_ordinal,
            joined_at: floor,
            ..Row::outside(slot)
        }
    }

    /// Whether it says nothing: it stands for the knowledge that there is none.
    pub fn is_blank(&self) -> bool {
        self.presence == Presence::Outside && self.version == 0 && self.own_last == 0
    }

    /// Whether the user has the session, or had it until it was removed or left.
    pub fn is_session(&self) -> bool {
        self.presence == Presence::Member || self.presence == Presence::Left
    }

    /// Whether the user is in the timeline now.
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Member
    }

    /// Whether the session was removed, and nothing that counts came since.
    pub fn is_removed(&self, tip: &Tip) -> bool {
        self.removed_at.is_some_and(|removed_at| self.end_ordinal(tip) <= removed_at)
    }

    /// Whether all that is left of it is that it is not there.
    pub fn is_tombstone(&self, tip: &Tip) -> bool {
        tip.dissolved || self.presence == Presence::Gone || self.is_removed(tip)
    }

    /// Nothing at or below it is visible.
    pub fn floor(&self, tip: &Tip) -> u64 {
        self.floor.max(tip.trim())
    }

    /// How many messages count at or below [`Row::floor`].
    pub fn floor_ordinal(&self, tip: &Tip) -> u64 {
        if self.floor > tip.trim() { self.floor_ordinal } else { tip.trim_ordinal() }
    }

    /// The read mark as it is reported: what the floor or a trim took is as good as read.
    pub fn mark(&self, tip: &Tip) -> u64 {
        self.read.max(self.floor(tip))
    }

    /// The ordinal at [`Row::mark`].
    pub fn mark_ordinal(&self, tip: &Tip) -> u64 {
        if self.read > self.floor(tip) { self.read_ordinal } else { self.floor_ordinal(tip) }
    }

    /// The newest seq the session shows, of a timeline that ends at `last`.
    pub fn end(&self, last: u64) -> u64 {
        match self.presence {
            Presence::Left => self.ceiling,
            Presence::Member | Presence::Outside | Presence::Gone => last,
        }
    }

    /// How many messages count up to and with the end.
    pub fn end_ordinal(&self, tip: &Tip) -> u64 {
        match self.presence {
            Presence::Left => self.ceiling_ordinal,
            Presence::Member | Presence::Outside | Presence::Gone => tip.ordinal,
        }
    }
}

/// What few sessions have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// Messages that mention the user, ascending, above the floor.
    pub mentions: Vec<u64>,
    /// Messages that the user hid, by seq.
    pub hidden: BTreeMap<u64, Hide>,
    pub metadata: Option<Arc<[u8]>>,
    /// What the server keeps with the member.
    pub data: Option<Arc<[u8]>>,
}

impl Notes {
    /// About how many bytes they take in memory.
    fn bytes(&self) -> usize {
        let blobs = [&self.metadata, &self.data].into_iter().flatten().map(|blob| blob.len()).sum::<usize>();
        size_of::<Notes>() + self.mentions.capacity() * 8 + self.hidden.len() * 80 + blobs
    }

    /// Mentions at or below the floor are passed for good.
    pub fn forget_mentions(&mut self, floor: u64) {
        self.mentions.drain(..self.mentions.partition_point(|seq| *seq <= floor));
    }
}

/// A message that its reader hid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hide {
    pub version: u64,
    pub time: u64,
    pub ordinal: u64,
    /// It counts, and the reader did not send it.
    pub counts: bool,
    pub alerts: u8,
}

/// So many rows of a user grow its list by one each.
const ROWS_EXACT: usize = 8;
/// So many of a user's sessions are found by looking through their slots, which fit a cache line; the
/// others by hash.
const SLOTS_LINEAR: usize = 14;

/// A user with its rows, or with those of them that are in memory.
#[derive(Debug, Default)]
pub(crate) struct Person {
    pub user: UserId,
    /// The version at which the user came to exist; 0 for one who does not, or not any more.
    pub exists_since: u64,
    /// That is known.
    pub is_known: bool,
    /// No row of it lies only on disk.
    pub is_complete: bool,
    /// What of `exists_since` the disk does not have yet.
    pub unsealed: Unsealed,
    /// The newest change of it that was sequenced: until that is published, it stays.
    pub pinned: AtomicU64,
    /// Looked at since the last sweep.
    pub used: AtomicBool,
    /// The bytes that it was reckoned at when it was last looked at.
    pub reckoned_bytes: usize,
    pub rows: Vec<Row>,
    /// The slots of the first rows, apart from them: a row is two cache lines.
    first_slots: [u32; SLOTS_LINEAR],
    /// What few have; two empty maps are as large as a row.
    more: Option<Box<More>>,
}

/// What goes with rows, by their slots.
#[derive(Clone, Debug, Default)]
struct More {
    /// Where the rows stand whose slots are not among the first.
    further: HashMap<u32, u32, RandomState>,
    notes: HashMap<u32, Box<Notes>, RandomState>,
}

impl Clone for Person {
    fn clone(&self) -> Person {
        Person {
            pinned: AtomicU64::new(self.pinned.load(Ordering::Relaxed)),
            used: AtomicBool::new(true),
            rows: self.rows.clone(),
            more: self.more.clone(),
            ..*self
        }
    }
}

impl Person {
    /// Of whom nothing is known.
    pub fn unknown(user: UserId) -> Person {
        Person { user, ..Person::default() }
    }

    /// Who is on no disk: all there will be of it is in memory.
    pub fn new(user: UserId) -> Person {
        Person { user, is_known: true, is_complete: true, ..Person::default() }
    }

    pub fn row(&self, slot: u32) -> Option<&Row> {
        Some(&self.rows[self.position(slot)?])
    }

    pub fn row_mut(&mut self, slot: u32) -> Option<&mut Row> {
        let index = self.position(slot)?;
        Some(&mut self.rows[index])
    }

    /// Adds a row; its slot has none yet.
    pub fn insert(&mut self, row: Row, notes: Option<Box<Notes>>) {
        let index = self.rows.len();
        match self.first_slots.get_mut(index) {
            Some(first) => *first = row.slot,
            None => {
                self.more.get_or_insert_default().further.insert(row.slot, index as u32);
            }
        }
        if let Some(notes) = notes {
            self.more.get_or_insert_default().notes.insert(row.slot, notes);
        }
        if index < ROWS_EXACT {
            // Most users that are looked at have few rows here.
            self.rows.reserve_exact(1);
        }
        self.rows.push(row);
    }

    /// Keeps only some rows, and names the slots of the others. The user is complete no more.
    pub fn retain(&mut self, mut keeps: impl FnMut(&Row) -> bool) -> Vec<u32> {
        if self.rows.iter().all(&mut keeps) {
            return Vec::new();
        }
        let rows = std::mem::take(&mut self.rows);
        let mut more = self.more.take();
        let mut gone = Vec::new();
        for row in rows {
            if keeps(&row) {
                let notes = more.as_mut().and_then(|more| more.notes.remove(&row.slot));
                self.insert(row, notes);
            } else {
                gone.push(row.slot);
            }
        }
        self.rows.shrink_to_fit();
        self.is_complete &= gone.is_empty();
        gone
    }

    /// What the user has in the session at `slot` that few have.
    pub fn notes(&self, row: &Row) -> Option<&Notes> {
        if row.has_notes { self.more.as_ref()?.notes.get(&row.slot).map(|notes| &**notes) } else { None }
    }

    /// The same, to write in; there is a row.
    pub fn notes_mut(&mut self, slot: u32) -> (&mut Row, &mut Notes) {
        let index = self.position(slot).expect("notes belong to a row");
        let row = &mut self.rows[index];
        row.has_notes = true;
        (row, self.more.get_or_insert_default().notes.entry(slot).or_default())
    }

    /// Lets go of all that [`Person::notes`] has about a session, whose row says so already.
    pub fn drop_notes(&mut self, slot: u32) {
        if let Some(more) = &mut self.more {
            more.notes.remove(&slot);
        }
    }

    /// About how many bytes it takes in memory, besides itself.
    pub fn bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            let notes: usize = more.notes.values().map(|notes| notes.bytes()).sum();
            size_of::<More>() + more.further.capacity() * 10 + more.notes.capacity() * 14 + notes
        });
        self.rows.capacity() * size_of::<Row>() + more
    }

    /// Where among the rows that of a slot stands.
    pub fn position(&self, slot: u32) -> Option<usize> {
        let first = &self.first_slots[..self.rows.len().min(SLOTS_LINEAR)];
        let further = || Some(*self.more.as_ref()?.further.get(&slot)? as usize);
        first.iter().position(|first| *first == slot).or_else(further)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_on_both_sides_of_the_linear_limit() {
        let mut person = Person::default();
        for slot in 0..3 * SLOTS_LINEAR as u32 {
            assert!(person.row(slot * 7).is_none());
            person.insert(Row { read: slot.into(), ..Row::outside(slot * 7) }, None);
            for earlier in 0..=slot {
                assert_eq!(person.row(earlier * 7).unwrap().read, u64::from(earlier));
            }
        }
        assert_eq!(person.rows.len(), 3 * SLOTS_LINEAR);
        person.notes_mut(0).1.mentions.push(5);
        person.notes_mut(7).1.mentions.push(6);
        let gone = person.retain(|row| row.slot % 2 == 0);
        assert_eq!(gone.len(), person.rows.len());
        assert!(gone.iter().all(|slot| person.row(*slot).is_none()));
        let kept = *person.row(0).unwrap();
        assert_eq!(person.notes(&kept).unwrap().mentions, [5]);
        assert!(person.rows.iter().all(|row| person.row(row.slot).unwrap().read == u64::from(row.slot / 7)));
    }
}
