//! The members of a group, or those with a row in a broadcast, with their marks, side by side.
//! Owns: `Roster`. May touch: nothing.
//! Never: knows more of a member than a receipt needs; the rest is in its row.

use crate::id::UserId;
use std::collections::BTreeMap;

/// Present members, found by id in order, their marks in one dense array: receipts of 30,000 members
/// look at one run of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    index: BTreeMap<UserId, u32>,
    seats: Vec<Seat>,
}

/// What receipts are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub user: UserId,
    pub joined_at: u64,
    pub read_max: u64,
    pub delivered_max: u64,
}

impl Roster {
    /// Adds a member, or sets what its seat says, and tells which seat that is.
    pub fn insert(&mut self, seat: Seat) -> u32 {
        let next = self.seats.len() as u32;
        let index = *self.index.entry(seat.user).or_insert(next);
        match self.seats.get_mut(index as usize) {
            Some(present) => *present = seat,
            None => self.seats.push(seat),
        }
        index
    }

    /// Takes a member out. The last one moves to its seat: who that is, and which seat.
    pub fn remove(&mut self, user: UserId) -> Option<(UserId, u32)> {
        let index = self.index.remove(&user)?;
        self.seats.swap_remove(index as usize);
        let moved = self.seats.get(index as usize)?;
        self.index.insert(moved.user, index);
        Some((moved.user, index))
    }

    /// The seat of a member, whose row knows which it is.
    pub fn seat_mut(&mut self, index: u32, user: UserId) -> Option<&mut Seat> {
        self.seats.get_mut(index as usize).filter(|seat| seat.user == user)
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// All seats, in no order that means anything.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The members with ids above `after`, ascending.
    pub fn after(&self, after: UserId) -> impl Iterator<Item = &Seat> {
        let bounds = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.index.range(bounds).map(|(_, index)| &self.seats[*index as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_order_after_others_left() {
        let mut roster = Roster::default();
        let seat = |id: u64| Seat { user: UserId(id), joined_at: id, read_max: 0, delivered_max: 0 };
        let mut seats: BTreeMap<u64, u32> = (1..=100u64).rev().map(|id| (id, roster.insert(seat(id)))).collect();
        for id in (1..=100u64).filter(|id| id % 3 == 0) {
            if let Some((moved, index)) = roster.remove(UserId(id)) {
                seats.insert(moved.0, index);
            }
        }
        assert_eq!(roster.remove(UserId(7_000)), None);
        let left: Vec<u64> = roster.after(UserId(10)).map(|seat| seat.user.0).collect();
        assert_eq!(left, (11..=100u64).filter(|id| id % 3 != 0).collect::<Vec<_>>());
        for id in (1..=100u64).filter(|id| id % 3 != 0) {
            assert_eq!(roster.seat_mut(seats[&id], UserId(id)).unwrap().joined_at, id);
            assert_eq!(roster.insert(seat(id)), seats[&id]);
        }
        assert_eq!(roster.len(), 67);
    }
}
