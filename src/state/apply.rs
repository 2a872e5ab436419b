//! Applies one change to the state.
//! Owns: what each kind of change does. May touch: the rest of `state`, `change`.
//! Never: reads an older value of a row to compute a new one, reads a message or a clock, or fails:
//! every value it sets stands in the change. Applying a change again does nothing.

use super::member::{Presence, Row};
use super::timeline::{Head, Tip};
use super::{Person, State};
use crate::change::{Append, Change, Commit, CreateGroup, GroupSettings, Join, Leave, Mark};
use crate::id::{Timeline, UserId};
use crate::journal::Place;

impl State {
    /// Applies a change, whose record lies at `place`.
    pub fn apply(&mut self, change: &Change, place: Place, commit: Commit) {
        let Commit { version, time } = commit;
        match change {
            Change::Append(append) => self.apply_append(append, place, version, time),
            Change::CreateGroup(create) => self.apply_create(create, version),
            Change::Join(join) => self.apply_join(join, version, time),
            Change::Leave(leave) => self.apply_leave(leave, version, time),
            Change::Mark(mark) => self.apply_mark(mark, version, time),
        }
        if version > self.version {
            self.version = version;
            self.time = time;
            self.commit_times.push(time);
        }
    }

    /// Whether a change read from a journal can follow what is applied; if not, what it should be.
    ///
    /// The sequencer makes no other changes, so bytes that say otherwise are damaged, whatever their
    /// checksum says.
    pub fn admits(&self, change: &Change, commit: Commit) -> Result<(), &'static str> {
        let Commit { version, time } = commit;
        let expect = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        expect(version == self.version + 1, "the next version")?;
        expect(time >= self.time, "a commit time that does not go back")?;
        let tip = |timeline| self.head_of(timeline).map(|head| head.tip);
        match change {
            Change::Append(append) => {
                let direct = matches!(append.timeline, Timeline::Direct(_));
                let before = tip(append.timeline).or(direct.then(|| Tip::new(GroupSettings::default(), version)));
                let before = before.ok_or("a message to a group that exists")?;
                expect(append.seq == before.last + 1, "the next seq")?;
                expect(append.ordinal == before.ordinal + u64::from(append.counts), "the next ordinal")?;
                expect(append.timestamp > before.last_timestamp, "a later timestamp")?;
                let own_last = self.row_of(append.sender, append.timeline).map_or(0, |row| row.own_last);
                expect(append.own_previous == own_last, "the sender's message before")
            }
            Change::CreateGroup(create) => {
                expect(tip(Timeline::Group(create.group)).is_none(), "a group that does not exist")
            }
            Change::Join(join) => {
                let before = tip(Timeline::Group(join.group));
                expect(before.is_none() == join.creates, "a join that creates its group if it is new")?;
                let last = before.map_or((0, 0), |tip| (tip.last, tip.ordinal));
                expect((join.joined_at, join.joined_ordinal) == last, "a join at the newest message")?;
                expect(join.floor <= join.joined_at, "a floor below the join")?;
                expect(join.floor_ordinal <= join.floor, "an ordinal not above its seq")
            }
            Change::Leave(leave) => {
                let before = tip(Timeline::Group(leave.group)).ok_or("a group that exists")?;
                let row = self.row_of(leave.user, Timeline::Group(leave.group)).copied();
                expect(row.is_some_and(|row| row.presence == Presence::Member), "a member who leaves")?;
                let ceiling = (leave.ceiling, leave.ceiling_ordinal, leave.ceiling_timestamp);
                expect(ceiling == (before.last, before.ordinal, before.last_timestamp), "a leave at the newest message")
            }
            Change::Mark(mark) => {
                let before = tip(mark.timeline).ok_or("a timeline that exists")?;
                let row = self.row_of(mark.user, mark.timeline).copied();
                expect(row.is_some_and(|row| row.presence != Presence::Outside), "a session that exists")?;
                expect(mark.read <= before.last && mark.read_max <= before.last, "marks on messages that exist")?;
                expect(mark.read_ordinal <= mark.read.min(before.ordinal), "an ordinal not above its seq")
            }
        }
    }

    fn apply_append(&mut self, append: &Append, place: Place, version: u64, time: u64) {
        let Append { timeline, sender, seq, ordinal, .. } = *append;
        let slot = self.slot_or_insert(timeline, GroupSettings::default(), version);
        let head = &mut self.heads[slot as usize];
        if seq <= head.tip.last {
            return;
        }
        head.tip = Tip { last: seq, last_timestamp: append.timestamp, ordinal, version, time, ..head.tip };
        head.places.push(place);
        if let (Timeline::Direct(pair), 1) = (timeline, seq) {
            for user in [pair.low(), pair.high()] {
                self.row_or_insert(user, slot, || Row::member(slot, version, time));
            }
        }
        if append.counts {
            let row = self.row_or_insert(sender, slot, || Row::outside(slot));
            row.own_last = seq;
            if append.sender_present {
                row.read = seq;
                row.read_ordinal = ordinal;
                row.read_max = seq;
                row.version = version;
                row.time = time;
            }
        }
        if !append.client_id.is_none() {
            let hash = self.dedup.hash(timeline, sender, append.client_id);
            self.dedup.insert(hash, slot, seq, time);
        }
    }

    fn apply_create(&mut self, create: &CreateGroup, version: u64) {
        self.slot_or_insert(Timeline::Group(create.group), create.settings, version);
    }

    fn apply_join(&mut self, join: &Join, version: u64, time: u64) {
        let slot = self.slot_or_insert(Timeline::Group(join.group), GroupSettings::default(), version);
        let row = self.row_or_insert(join.user, slot, || Row::outside(slot));
        if row.version >= version {
            return;
        }
        *row = Row {
            read: join.joined_at,
            read_ordinal: join.joined_ordinal,
            // What was once read stays read for receipts, and own messages stay own.
            read_max: row.read_max,
            own_last: row.own_last,
            floor: join.floor,
            floor_ordinal: join.floor_ordinal,
            joined_at: join.joined_at,
            ..Row::member(slot, version, time)
        };
    }

    fn apply_leave(&mut self, leave: &Leave, version: u64, time: u64) {
        let slot = self.slot_or_insert(Timeline::Group(leave.group), GroupSettings::default(), version);
        let row = self.row_or_insert(leave.user, slot, || Row::outside(slot));
        if row.version >= version {
            return;
        }
        row.presence = Presence::Left;
        row.ceiling = leave.ceiling;
        row.ceiling_ordinal = leave.ceiling_ordinal;
        row.ceiling_timestamp = leave.ceiling_timestamp;
        row.version = version;
        row.time = time;
    }

    fn apply_mark(&mut self, mark: &Mark, version: u64, time: u64) {
        let slot = self.slot_or_insert(mark.timeline, GroupSettings::default(), version);
        let row = self.row_or_insert(mark.user, slot, || Row::outside(slot));
        if row.version >= version {
            return;
        }
        row.read = mark.read;
        row.read_ordinal = mark.read_ordinal;
        row.read_max = mark.read_max;
        row.version = version;
        row.time = time;
    }

    fn slot_or_insert(&mut self, timeline: Timeline, settings: GroupSettings, version: u64) -> u32 {
        *self.slots.entry(timeline).or_insert_with(|| {
            self.heads.push(Head { timeline, tip: Tip::new(settings, version), places: Vec::new() });
            (self.heads.len() - 1) as u32
        })
    }

    fn row_or_insert(&mut self, user: UserId, slot: u32, make: impl FnOnce() -> Row) -> &mut Row {
        let index = *self.users.entry(user).or_insert_with(|| {
            self.people.push(Person::default());
            (self.people.len() - 1) as u32
        });
        self.people[index as usize].row_or_insert(slot, make)
    }
}
