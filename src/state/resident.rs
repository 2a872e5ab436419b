//! What of the state is in memory, and what it takes.
//! Owns: taking in what was loaded, letting go of what is on disk, reckoning bytes. May touch: the rest of `state`.
//! Never: does I/O, or lets go of what the disk does not have.

use super::CommitTimes;
use super::State;
use super::cells::{NEWEST_UNKNOWN, Standing};
use super::member::{Notes, Person, Row};
use super::stored::Globals;
use super::timeline::Head;
use crate::id::{NameKind, Source, Timeline, UserId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What was loaded of a need.
#[derive(Debug)]
pub(crate) enum Loaded {
    Head(Timeline, Option<(Box<Head>, u64)>),
    Person(UserId, u64),
    Row(UserId, Timeline, Option<(Row, Option<Box<Notes>>)>),
    Rows(UserId, u64, Vec<(Timeline, Row, Option<Box<Notes>>)>),
    Name(NameKind, Vec<u8>, Option<u64>),
    NameOf(NameKind, u64, Option<Vec<u8>>),
}

impl State {
    /// Whether nothing lies only on disk, so that what is not in memory is not at all.
    #[inline]
    pub fn is_all_here(&self) -> bool {
        self.pending.all_here
    }

    /// There are rows on disk, and the commit times that they do not have begin with `times`.
    pub fn set_rows_on_disk(&mut self, times: CommitTimes) {
        self.pending.all_here = false;
        self.commit_times = times;
    }

    /// Takes in what was loaded, unless it is in memory by now.
    pub fn install(&mut self, loaded: Loaded) {
        match loaded {
            Loaded::Head(timeline, found) => {
                let slot = self.cells.slot_or_insert(timeline);
                let cell = self.cells.get_mut(slot);
                if !matches!(cell.standing, Standing::Unknown) {
                    return;
                }
                match found {
                    Some((head, newest)) => {
                        (cell.newest, cell.standing) = (newest, Standing::Here(head));
                        self.reckon_head(slot);
                    }
                    None => (cell.newest, cell.standing) = (0, Standing::Absent),
                }
            }
            Loaded::Person(user, exists_since) => self.install_person(user, exists_since),
            Loaded::Row(user, timeline, found) => self.install_row(user, timeline, found),
            Loaded::Rows(user, exists_since, rows) => {
                self.install_person(user, exists_since);
                for (timeline, row, notes) in rows {
                    self.install_row(user, timeline, Some((row, notes)));
                }
                self.person_or_insert(user).is_complete = true;
            }
            Loaded::Name(kind, name, id) => self.names.learn(kind, &name, id, self.version),
            Loaded::NameOf(kind, id, name) => self.names.learn_of(kind, id, name.as_deref(), self.version),
        }
    }

    fn install_person(&mut self, user: UserId, exists_since: u64) {
        let person = self.person_or_insert(user);
        if !person.is_known {
            (person.is_known, person.exists_since) = (true, exists_since);
        }
    }

    fn install_row(&mut self, user: UserId, timeline: Timeline, found: Option<(Row, Option<Box<Notes>>)>) {
        let slot = self.cells.slot_or_insert(timeline);
        if self.person_or_insert(user).row(slot).is_some() {
            self.cells.remove_if_unheld(slot);
            return;
        }
        // One that is blank keeps the knowledge that there is none.
        let (row, notes) = found.unwrap_or((Row::outside(slot), None));
        self.cells.get_mut(slot).rows += 1;
        self.person_or_insert(user).insert(Row { slot, ..row }, notes);
        self.reckon_person(user);
    }

    /// Takes in what a store has one of.
    pub fn install_globals(&mut self, globals: Globals, sources: Vec<(Source, bool)>) {
        (self.version, self.time, self.horizon) = (globals.version, globals.time, globals.horizon);
        let longest = globals.settings.iter().map(|(_, settings)| settings.dedup_window_micros()).max();
        self.dedup_window_max = self.dedup_window_max.max(longest.unwrap_or(0));
        self.settings = Arc::new(globals.settings);
        globals.newest_names.into_iter().for_each(|(kind, id)| self.names.learn_newest(kind, id));
        self.sources = sources.into_iter().collect();
    }

    /// The timelines of all broadcasts, by their sources.
    pub fn broadcast_timelines(&self) -> Vec<Timeline> {
        let broadcasts = self.sources.iter().filter(|(_, is_broadcast)| **is_broadcast);
        broadcasts.map(|(source, _)| Timeline::Broadcast(*source)).collect()
    }

    /// The head of a broadcast, just loaded, is to stay.
    pub fn keep_broadcast(&mut self, timeline: Timeline) {
        if let Some(slot) = self.slot(timeline) {
            self.broadcasts.push(slot);
        }
    }

    /// About how many bytes all this takes in memory.
    pub fn resident_bytes(&self) -> usize {
        let tables = self.cells.bytes() + self.users.capacity() * 24 + self.people.capacity() * size_of::<Person>();
        self.pending.resident_bytes + tables + self.dedup.bytes() + self.commit_times.bytes()
    }

    /// The same as it was noted of each thing.
    #[cfg(test)]
    pub fn resident_bytes_summed(&self) -> usize {
        let heads = self.heads_here(0..self.cells.count()).map(|head| head.reckoned_bytes);
        let people = self.people.iter().map(|person| person.reckoned_bytes);
        self.resident_bytes() - self.pending.resident_bytes + heads.chain(people).sum::<usize>()
    }

    /// Forgets the commit times up to a version: rows on disk have them.
    pub fn forget_commit_times(&mut self, version: u64) {
        self.commit_times.forget_up_to(version);
    }

    /// Lets go of what is on disk and was not used since the last sweep, while more than `bytes_max` are in
    /// memory. At most `count` things are looked at. False if all is well.
    pub fn evict(&mut self, count: usize, bytes_max: usize) -> bool {
        if self.pending.is_all_here_at(self.version) {
            return false;
        }
        for _ in 0..count {
            if self.resident_bytes() <= bytes_max {
                return false;
            }
            let (position, people) = (self.pending.sweep, self.people.len());
            if position < people {
                self.evict_person(position);
            } else if position - people < self.cells.count() {
                self.evict_head((position - people) as u32);
            }
            self.pending.sweep = if position < people + self.cells.count() { position + 1 } else { 0 };
            self.close_ranks();
        }
        true
    }

    /// Where half of the places for users are nobody's, the last one is given up, and who stood there stands elsewhere.
    fn close_ranks(&mut self) {
        let State { users, people, free_people, .. } = self;
        if 2 * free_people.len() <= people.len() {
            return;
        }
        let Some(last) = people.pop() else { return };
        if !last.user.is_none() {
            // Places behind the end were given up since they became free.
            let free = std::iter::from_fn(|| free_people.pop()).find(|index| (*index as usize) < people.len());
            let Some(place) = free else {
                people.push(last);
                return;
            };
            users.insert(last.user, place);
            people[place as usize] = last;
        }
        if people.len() < people.capacity() / 2 {
            people.shrink_to(people.len() + people.len() / 8);
            free_people.retain(|index| (*index as usize) < people.len());
            users.shrink_to(2 * people.len());
        }
    }

    /// The most members that a group among some slots has in memory.
    pub fn members_max_here(&self, slots: std::ops::Range<usize>) -> u64 {
        let rosters = self.heads_here(slots).filter(|head| matches!(head.timeline, Timeline::Group(_)));
        rosters.filter_map(|head| head.roster.as_ref()).map(|roster| roster.len() as u64).max().unwrap_or(0)
    }

    /// The heads in memory among some slots.
    pub fn heads_here(&self, slots: std::ops::Range<usize>) -> impl Iterator<Item = &Head> {
        slots.take_while(|slot| *slot < self.cells.count()).filter_map(|slot| self.cells.head(slot as u32))
    }

    /// How many slots there are.
    pub fn slot_count(&self) -> usize {
        self.cells.count()
    }

    /// The timelines whose heads are in memory.
    pub fn timelines_here(&self) -> impl Iterator<Item = Timeline> + '_ {
        let here = self.cells.iter().filter(|(_, cell)| matches!(cell.standing, Standing::Here(_)));
        here.map(|(_, cell)| cell.timeline)
    }

    /// The users of whom something is in memory.
    pub fn users_here(&self) -> impl Iterator<Item = UserId> + '_ {
        self.users.keys().copied()
    }

    /// How many things [`State::evict`] looks at in a sweep.
    pub fn sweep_length(&self) -> usize {
        self.people.len() + self.cells.count() + 1
    }

    fn evict_person(&mut self, index: usize) {
        let State { cells, pending, users, people, free_people, version, .. } = self;
        let person = &mut people[index];
        if person.user.is_none() {
            return;
        }
        if person.used.swap(false, Ordering::Relaxed) || person.pinned.load(Ordering::Relaxed) > *version {
            return;
        }
        let gone = person.retain(|row| !pending.is_on_disk(row.unsealed));
        for slot in gone {
            cells.get_mut(slot).rows -= 1;
            cells.remove_if_unheld(slot);
        }
        let is_nothing_left = person.rows.is_empty() && pending.is_on_disk(person.unsealed);
        let bytes = if is_nothing_left { 0 } else { person.bytes() };
        pending.reckon(&mut person.reckoned_bytes, bytes);
        if is_nothing_left {
            users.remove(&person.user);
            *person = Person::unknown(UserId::NONE);
            free_people.push(index as u32);
        }
    }

    fn evict_head(&mut self, slot: u32) {
        let State { cells, pending, version, .. } = self;
        let cell = cells.get_mut(slot);
        if cell.used.swap(false, Ordering::Relaxed) || cell.pinned.load(Ordering::Relaxed) > *version {
            return;
        }
        match &cell.standing {
            Standing::Here(head) if pending.is_on_disk(head.unsealed) && head.places.is_empty() => {
                if matches!(cell.timeline, Timeline::Broadcast(_)) {
                    return;
                }
                let mut reckoned = head.reckoned_bytes;
                pending.reckon(&mut reckoned, 0);
                cell.standing = Standing::Unknown;
            }
            Standing::Absent => {
                cell.standing = Standing::Unknown;
                cell.newest = NEWEST_UNKNOWN;
            }
            Standing::Here(_) | Standing::Unknown => return,
        }
        cells.remove_if_unheld(slot);
    }
}
