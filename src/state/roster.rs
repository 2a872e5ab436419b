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

    /// Takes a member out. The last one moves to its seat.
    pub fn remove(&mut self, user: UserId) {
        let Some(index) = self.index.remove(&user) else { return };
        self.seats.swap_remove(index as usize);
        if let Some(moved) = self.seats.get(index as usize) {
            self.index.insert(moved.user, index);
        }
    }

    /// The seat of a member, and which it is. `guess` is where it was once.
    pub fn seat_mut(&mut self, guess: u32, user: UserId) -> Option<(u32, &mut Seat)> {
        let index = match self.seats.get(guess as usize) {
            Some(seat) if seat.user == user => guess,
            _ => *self.index.get(&user)?,
        };
        Some((index, &mut self.seats[index as usize]))
    }

    pub fn get(&self, user: UserId) -> Option<&Seat> {
        self.index.get(&user).map(|index| &self.seats[*index as usize])
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
        let seats: BTreeMap<u64, u32> = (1..=100u64).rev().map(|id| (id, roster.insert(seat(id)))).collect();
        (1..=100u64).filter(|id| id % 3 == 0).for_each(|id| roster.remove(UserId(id)));
        roster.remove(UserId(7_000));
        let left: Vec<u64> = roster.after(UserId(10)).map(|seat| seat.user.0).collect();
        assert_eq!(left, (11..=100u64).filter(|id| id % 3 != 0).collect::<Vec<_>>());
        for id in (1..=100u64).filter(|id| id % 3 != 0) {
            let (index, found) = roster.seat_mut(seats[&id], UserId(id)).unwrap();
            assert_eq!((found.user, found.joined_at), (UserId(id), id));
            assert_eq!(roster.insert(seat(id)), index);
        }
        assert!(roster.seat_mut(0, UserId(3)).is_none());
        assert_eq!(roster.len(), 67);
    }
}
