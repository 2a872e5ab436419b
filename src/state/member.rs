//! What is kept per user and timeline, and how a user's rows are found.
//! Owns: `Row`, `Person`. May touch: nothing.
//! Never: looks at a message or at another user.

use ahash::RandomState;
use std::collections::HashMap;

/// Whether a user has the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It sent something without ever having had the session; only its own messages are tracked.
    Outside,
    Member,
    Left,
}

/// A session's row. Ordinals count the counting messages up to and with a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where the head of its timeline stands in the state; a row of a change that is not applied yet
    /// has none.
    pub slot: u32,
    pub presence: Presence,
    /// The badge's mark.
    pub read: u64,
    pub read_ordinal: u64,
    /// The highest mark there ever was.
    pub read_max: u64,
    /// Nothing at or below it is visible.
    pub floor: u64,
    pub floor_ordinal: u64,
    /// Nothing above it is visible, once the member left.
    pub ceiling: u64,
    pub ceiling_ordinal: u64,
    pub ceiling_timestamp: u64,
    /// The newest seq when the user joined, and the commit time and version of that.
    pub joined_at: u64,
    pub joined_time: u64,
    pub joined_version: u64,
    /// The newest counting message of this user.
    pub own_last: u64,
    /// Version and commit time of the row's newest change that its user sees.
    pub version: u64,
    pub time: u64,
}

impl Row {
    pub fn outside(slot: u32) -> Row {
        Row {
            slot,
            presence: Presence::Outside,
            read: 0,
            read_ordinal: 0,
            read_max: 0,
            floor: 0,
            floor_ordinal: 0,
            ceiling: 0,
            ceiling_ordinal: 0,
            ceiling_timestamp: 0,
            joined_at: 0,
            joined_time: 0,
            joined_version: 0,
            own_last: 0,
            version: 0,
            time: 0,
        }
    }

    /// A session that a change brought about.
    pub fn member(slot: u32, version: u64, time: u64) -> Row {
        Row {
            presence: Presence::Member,
            joined_time: time,
            joined_version: version,
            version,
            time,
            ..Row::outside(slot)
        }
    }

    /// The read mark as it is reported: the floor is as good as read.
    pub fn mark(&self) -> u64 {
        self.read.max(self.floor)
    }

    /// The ordinal at [`Row::mark`].
    pub fn mark_ordinal(&self) -> u64 {
        if self.read >= self.floor { self.read_ordinal } else { self.floor_ordinal }
    }

    /// The newest seq the session shows, of a timeline that ends at `last`.
    pub fn end(&self, last: u64) -> u64 {
        match self.presence {
            Presence::Left => self.ceiling,
            Presence::Member | Presence::Outside => last,
        }
    }
}

/// So many of a user's sessions are found by looking through their slots, which fit a cache line; the
/// others by hash.
const SLOTS_LINEAR: usize = 14;

/// A user with its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub rows: Vec<Row>,
    /// The slots of the first rows, apart from them: a row is two cache lines.
    first_slots: [u32; SLOTS_LINEAR],
    further: HashMap<u32, u32, RandomState>,
}

impl Person {
    pub fn row(&self, slot: u32) -> Option<&Row> {
        Some(&self.rows[self.index(slot)?])
    }

    /// The row for `slot`, made as `make` says if it is absent.
    pub fn row_or_insert(&mut self, slot: u32, make: impl FnOnce() -> Row) -> &mut Row {
        let index = self.index(slot).unwrap_or_else(|| {
            let index = self.rows.len();
            match self.first_slots.get_mut(index) {
                Some(first) => *first = slot,
                None => {
                    self.further.insert(slot, index as u32);
                }
            }
            self.rows.push(make());
            index
        });
        &mut self.rows[index]
    }

    fn index(&self, slot: u32) -> Option<usize> {
        let first = &self.first_slots[..self.rows.len().min(SLOTS_LINEAR)];
        first.iter().position(|first| *first == slot).or_else(|| self.further.get(&slot).map(|index| *index as usize))
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
            person.row_or_insert(slot * 7, || Row::outside(slot * 7)).read = slot.into();
            for earlier in 0..=slot {
                assert_eq!(person.row(earlier * 7).unwrap().read, u64::from(earlier));
            }
        }
        assert_eq!(person.rows.len(), 3 * SLOTS_LINEAR);
    }
}
