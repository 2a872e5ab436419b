//! Whether what a change needs is in memory, and that it stays there until the change is published.
//! Owns: `Needs`. May touch: the rest of `state`.
//! Never: loads anything, or lets go of anything.

use super::State;
use super::cells::Standing;
use super::member::{Person, Row};
use super::needs::Need;
use super::timeline::Head;
use crate::id::{Timeline, UserId};
use std::sync::atomic::Ordering;

/// What a change needs: each thing is looked up once, when it is named.
pub(crate) struct Needs<'s> {
    state: &'s State,
    /// What is not in memory.
    missing: Vec<Need>,
    /// Where the rest stands.
    here: Vec<Found>,
}

/// Where something stands in memory.
#[derive(Clone, Copy)]
enum Found {
    /// The slot of a head, or of a timeline without one.
    Slot(u32),
    Person(u32),
    Names,
}

/// What is known of a thing: `None` if it may be on disk, `Some(None)` if there is none.
pub(crate) type Finding<'s, T> = Option<Option<&'s T>>;

impl<'s> Needs<'s> {
    pub fn new(state: &'s State) -> Needs<'s> {
        Needs { state, missing: Vec::new(), here: Vec::new() }
    }

    /// Adds a thing.
    pub fn push(&mut self, need: Need) {
        match self.state.find(&need) {
            Some(place) => self.here.extend(place),
            None => self.missing.push(need),
        }
    }

    pub fn extend(&mut self, needs: impl IntoIterator<Item = Need>) {
        needs.into_iter().for_each(|need| self.push(need));
    }

    /// Adds a timeline's head and a user's row there, if it is a user, and says what is known of them.
    pub fn head_and_row(&mut self, timeline: Timeline, user: UserId) -> (Finding<'s, Head>, Finding<'s, Row>) {
        let state = self.state;
        let slot = state.cells.slot(timeline);
        let is_unknown = slot.is_none_or(|slot| matches!(state.cells.standing(slot), Standing::Unknown));
        let head = (!is_unknown || state.is_all_here()).then(|| slot.and_then(|slot| state.cells.head(slot)));
        match head {
            Some(_) => self.here.extend(slot.map(Found::Slot)),
            None => self.missing.push(Need::Head(timeline)),
        }
        if user.is_none() {
            return (head, Some(None));
        }
        let index = state.users.get(&user).copied();
        let person = index.map(|index| state.person_at(index));
        let row = slot.and_then(|slot| person?.row(slot));
        let is_known = row.is_some() || person.map_or(state.is_all_here(), |person| person.is_complete);
        match index.filter(|_| is_known) {
            Some(index) => self.here.push(Found::Person(index)),
            None if is_known => {}
            None => self.missing.push(Need::Row(user, timeline)),
        }
        (head, is_known.then_some(row))
    }

    /// Whether all of it is in memory.
    pub fn are_met(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is not, each once.
    pub fn into_missing(mut self) -> Vec<Need> {
        // Messages of a batch may need the same.
        self.missing.sort_unstable();
        self.missing.dedup();
        self.missing
    }

    /// Keeps all of it in memory until `version` is published. It is there.
    pub fn keep(&self, version: u64) {
        let State { cells, people, names, .. } = self.state;
        for place in &self.here {
            match place {
                Found::Slot(slot) => cells.get(*slot).pinned.fetch_max(version, Ordering::Relaxed),
                Found::Person(index) => people[*index as usize].pinned.fetch_max(version, Ordering::Relaxed),
                Found::Names => {
                    names.pin(version);
                    0
                }
            };
        }
    }
}

impl State {
    /// The head of a timeline, if it is in memory.
    pub fn head_if_here(&self, timeline: Timeline) -> Option<&Head> {
        self.cells.head(self.cells.slot(timeline)?)
    }

    /// Whether a thing is in memory.
    pub fn has(&self, need: &Need) -> bool {
        self.is_all_here() || self.find(need).is_some()
    }

    /// Where a thing stands, if it is in memory: nowhere if all is here, and there is none.
    fn find(&self, need: &Need) -> Option<Option<Found>> {
        let place = match need {
            Need::Head(timeline) => {
                let slot = self.cells.slot(*timeline);
                let known = slot.filter(|slot| !matches!(self.cells.standing(*slot), Standing::Unknown));
                known.map(Found::Slot)
            }
            Need::Person(user) => self.find_person(*user, |person| person.is_known),
            Need::Row(user, timeline) => self.find_person(*user, |person| {
                person.is_complete || self.cells.slot(*timeline).is_some_and(|slot| person.row(slot).is_some())
            }),
            Need::Rows(user) => self.find_person(*user, |person| person.is_complete),
            Need::Name(kind, name) => self.names.id(*kind, name).map(|_| Found::Names),
            Need::NameOf(kind, id) => self.names.name(*kind, *id).map(|_| Found::Names),
        };
        if place.is_none() && self.is_all_here() { Some(None) } else { place.map(Some) }
    }

    fn find_person(&self, user: UserId, is_known: impl Fn(&Person) -> bool) -> Option<Found> {
        let index = *self.users.get(&user)?;
        is_known(self.person_at(index)).then_some(Found::Person(index))
    }
}
