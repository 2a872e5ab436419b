//! Applies one change to the state.
//! Owns: what each kind of change does. May touch: the rest of `state`, `change`.
//! Never: reads an older value of a row to compute a new one, reads a message or a clock, or fails:
//! every value it sets stands in the change. Applying a change again does nothing.

use super::State;
use super::amended::Amendment;
use super::cells::Standing;
use super::lost::LostRun;
use super::member::{self, Row};
use super::roster::Seat;
use super::timeline::{Head, PART_SEQS, Part, Tip, kinds};
use super::trims::CountingTrim;
use crate::change::{
    Amend, Append, Change, Clear, Commit, Flags, Forget, Hide, Join, Leave, Mark, RowKey, SetFlags, SetGroup,
    SetMember, SetMetadata, Trim, decode_hides, decode_mentions,
};
use crate::id::{GroupId, NameKind, Timeline, UserId};
use crate::journal::Place;
use crate::settings::GroupSettings;
use std::sync::Arc;

impl State {
    /// Applies a change, whose record lies at `place`.
    pub fn apply(&mut self, change: &Change, tail: &[u8], place: Place, commit: Commit) {
        if commit.version <= self.version {
            return;
        }
        match change {
            Change::Append(append) => self.apply_append(append, tail, place, commit),
            Change::Group(group) => self.apply_group(group, commit),
            Change::Join(join) => self.apply_join(join, commit),
            Change::Leave(leave) => self.apply_leave(leave, commit),
            Change::Mark(mark) => self.apply_mark(mark, commit),
            Change::Clear(clear) => self.apply_clear(clear, commit),
            Change::Flags(SetFlags { row, flags }) => {
                self.row_set(row, commit, |row| row.flags = *flags);
            }
            Change::Metadata(SetMetadata { row }) => self.apply_metadata(row, tail, commit),
            Change::Hide(Hide { row }) => self.apply_hide(row, tail, commit),
            Change::Member(member) => self.apply_member(member, tail, commit),
            Change::Amend(amend) => self.apply_amend(amend, place, commit),
            Change::GroupMetadata(change) => {
                let slot = self.news(change.group, commit);
                self.touch_part(slot, Part::Metadata);
                let head = self.head_mut(slot);
                head.metadata = (!tail.is_empty()).then(|| tail.into());
            }
            Change::Dissolve(dissolve) => {
                let slot = self.news(dissolve.group, commit);
                let head = self.head_mut(slot);
                head.tip.dissolved = true;
                // Nothing of this can be seen any more.
                head.part_with_all();
            }
            Change::AddUser(change) => self.person_to_change(change.user).exists_since = commit.version,
            Change::Name(name) => {
                self.touch_name(name.kind, name.id, tail);
                self.names.insert(name.kind, name.id, tail);
                if name.appears {
                    self.person_to_change(UserId(name.id)).exists_since = commit.version;
                }
            }
            Change::FreeName(name) => {
                self.touch_name(name.kind, name.id, tail);
                self.names.remove(name.kind, name.id, tail);
            }
            Change::Forget(forget) => self.apply_forget(forget, commit),
            Change::RemoveUser(change) => {
                self.person_to_change(change.user).exists_since = 0;
                if let Some(name) = self.name_of(NameKind::User, change.user.0).cloned() {
                    self.touch_name(NameKind::User, change.user.0, &name);
                    self.names.remove(NameKind::User, change.user.0, &name);
                }
            }
            Change::Settings(settings) => {
                Arc::make_mut(&mut self.settings).push((commit.version, *settings));
                self.dedup_window_max = self.dedup_window_max.max(settings.dedup_window_micros());
            }
            Change::Horizon(horizon) => self.horizon = horizon.version,
            Change::Trim(trim) => self.apply_trim(trim, commit),
        }
        self.version = commit.version;
        self.time = commit.time;
        self.commit_times.push(commit.time);
    }

    fn apply_append(&mut self, append: &Append, tail: &[u8], place: Place, commit: Commit) {
        let Commit { version, time } = commit;
        let Append { timeline, sender, seq, ordinal, opens, .. } = *append;
        let slot = self.head_to_change(timeline, GroupSettings::default(), version);
        self.cells.get_mut(slot).newest = version;
        let head = self.head_mut(slot);
        let timestamp = append.timestamp;
        head.tip = Tip { last: seq, last_timestamp: timestamp, ordinal, version, time, opens: false, ..head.tip };
        head.places.push(place);
        if let Timeline::Broadcast(_) = timeline {
            head.sent.push((version, ordinal));
            head.parts.push(Part::Sent((seq - 1) / PART_SEQS));
        }
        if append.alerts != 0 {
            let alerts = Arc::make_mut(head.alerts.get_or_insert_default());
            for kind in kinds(append.alerts) {
                alerts.0[kind].push(seq);
                head.parts.push(Part::Alerts(kind as u8, seq / PART_SEQS));
            }
        }
        let moves_marks = append.counts && append.sender_present;
        if moves_marks && let Some(side) = head.side_mut(sender) {
            (side.read_max, side.delivered_max) = (seq, seq);
        }
        if let Some(pair) = timeline.ends() {
            for (user, session, appears) in [
                (pair.low(), opens.low_session, opens.low_appears),
                (pair.high(), opens.high_session, opens.high_appears),
            ] {
                if appears {
                    self.person_to_change(user).exists_since = version;
                }
                if session {
                    let row = self.row_to_change(user, slot);
                    *row = row.opened(seq - 1, version, time);
                }
            }
        }
        if opens.sender_appears {
            self.person_to_change(sender).exists_since = version;
        }
        if !sender.is_none() {
            let row = self.row_to_change(sender, slot);
            row.send(seq, ordinal, moves_marks, version, time);
            if moves_marks {
                let marks = (row.seat, seq, seq);
                self.set_seat(slot, sender, marks);
            }
        }
        if append.mention_bytes > 0 {
            let mentions = tail.get(..append.mention_bytes.into()).and_then(decode_mentions).unwrap_or_default();
            for mentioned in mentions.iter().filter(|mentioned| mentioned.has_row) {
                self.row_to_change(mentioned.user, slot);
                self.person_or_insert(mentioned.user).notes_mut(slot).1.mentions.push(seq);
            }
        }
        self.note_client_id(append, place, time);
    }

    /// Notes that a client id is taken.
    fn note_client_id(&mut self, append: &Append, place: Place, time: u64) {
        let window = self.settings().dedup_window_micros();
        if !append.client_id.is_none() && window > 0 {
            let hash = self.dedup.hash(append.timeline, append.sender, append.client_id);
            self.dedup.insert(hash, append.seq, place.file_id(), time, self.dedup_window_max);
        }
    }

    /// Notes of a change that the rows on disk know already what no index knows: where its message lies. Of an edit
    /// they know that too, but recovery may have copied its record to another journal since.
    pub fn apply_place(&mut self, change: &Change, place: Place, commit: Commit) {
        if let Change::Append(append) = change {
            if let Some(slot) = self.slot(append.timeline) {
                let head = self.head_mut(slot);
                if append.seq == head.indexed + head.places.len() as u64 + 1 {
                    head.places.push(place);
                }
                // It has to be written down again with the journal's index.
                self.touch_head(slot);
            }
            self.note_client_id(append, place, commit.time);
        }
        if let Change::Amend(amend) = change
            && !amend.recalls
            && let Some(slot) = self.slot(amend.timeline)
        {
            let head = self.head_mut(slot);
            let amended = head.amended.as_mut();
            if amended.is_some_and(|amended| amended.set_place(amend.seq, commit.version, place)) {
                head.parts.push(Part::Amended(amend.seq));
                self.touch_head(slot);
            }
        }
        self.commit_times.push(commit.time);
    }

    /// Applies what must have been done just before the change at `place`, of which nothing is left but that it shows.
    pub fn apply_before(&mut self, change: &Change, tail: &[u8], place: Place, commit: Commit) {
        let (version, time) = (self.version, self.time);
        self.apply(change, tail, place, commit);
        (self.version, self.time) = (version, time);
    }

    /// Makes sure that a row of a user, which is in memory, has its timeline, and a member its seat.
    pub fn house(&mut self, user: UserId, timeline: Timeline, version: u64) {
        if self.slot(timeline).is_none() {
            self.head_to_change(timeline, GroupSettings::default(), version);
        }
        let Some(slot) = self.slot(timeline) else { return };
        let Some(row) = self.row(user, slot).copied().filter(Row::is_present) else { return };
        let is_seated = self.head(slot).roster.as_ref().is_some_and(|roster| roster.get(user).is_some());
        if matches!(timeline, Timeline::Group(_)) && !is_seated {
            let Row { joined_at, read_max, delivered_max, .. } = row;
            self.take_seat(slot, Seat { user, joined_at, read_max, delivered_max });
        }
    }

    /// Makes sure that no row in memory is without its timeline.
    pub fn house_all(&mut self, version: u64) {
        let is_all_here = self.is_all_here();
        let rows = self.people.iter().flat_map(|person| person.rows.iter()).filter(|row| !row.is_blank());
        let is_lacking = |slot: &u32| match self.cells.get(*slot).standing {
            Standing::Here(_) => false,
            Standing::Absent => true,
            Standing::Unknown => is_all_here,
        };
        let lacking: Vec<u32> = rows.map(|row| row.slot).filter(is_lacking).collect();
        for slot in lacking {
            self.head_to_change(self.cells.get(slot).timeline, GroupSettings::default(), version);
        }
    }

    /// Takes in a record without content that stands in the place of a lost message.
    pub fn apply_stand_in(&mut self, append: &Append, place: Place, commit: Commit) {
        let Append { timeline, seq, ordinal, timestamp, .. } = *append;
        let Commit { version, time } = commit;
        let slot = self.head_to_change(timeline, GroupSettings::default(), version);
        let head = self.head_mut(slot);
        if seq != head.indexed + head.places.len() as u64 + 1 {
            return;
        }
        head.places.push(place);
        if seq <= head.tip.last {
            return;
        }
        // Whether it opened sessions nobody knows.
        head.tip = Tip { last: seq, last_timestamp: timestamp, ordinal, version, time, ..head.tip };
        if let Timeline::Broadcast(_) = timeline {
            head.sent.push((version, ordinal));
            head.parts.push(Part::Sent((seq - 1) / PART_SEQS));
        }
        let cell = self.cells.get_mut(slot);
        cell.newest = cell.newest.max(version);
    }

    /// Notes that messages of a timeline are lost, those of them that were not trimmed: gives the runs that were not.
    pub fn lose(&mut self, timeline: Timeline, runs: &[LostRun]) -> Vec<LostRun> {
        let Some(slot) = self.slot(timeline) else { return Vec::new() };
        let trim = self.head(slot).tip.trim();
        let runs: Vec<LostRun> = runs.iter().filter_map(|run| run.above(trim)).collect();
        if !runs.is_empty() {
            self.touch_head(slot);
            self.head_mut(slot).lose(&runs);
        }
        runs
    }

    fn apply_group(&mut self, group: &SetGroup, commit: Commit) {
        let slot = self.head_to_change(Timeline::Group(group.group), group.settings, commit.version);
        let tip = &mut self.head_mut(slot).tip;
        (tip.settings, tip.settings_by) = (group.settings, commit.version);
    }

    fn apply_join(&mut self, join: &Join, commit: Commit) {
        let Commit { version, time } = commit;
        let slot = self.head_to_change(Timeline::Group(join.group), GroupSettings::default(), version);
        if join.appears {
            self.person_to_change(join.user).exists_since = version;
        }
        let row = self.row_to_change(join.user, slot);
        // What was once read stays read for receipts, and own messages stay own.
        let (last, floor) = ((join.joined_at, join.joined_ordinal), (join.floor, join.floor_ordinal));
        *row = row.joined(last, floor, version, time);
        let Row { read_max, delivered_max, has_notes, .. } = *row;
        if has_notes {
            let (_, notes) = self.person_or_insert(join.user).notes_mut(slot);
            notes.data = None;
            notes.forget_mentions(join.floor);
        }
        self.take_seat(slot, Seat { user: join.user, joined_at: join.joined_at, read_max, delivered_max });
    }

    fn apply_leave(&mut self, leave: &Leave, commit: Commit) {
        let slot = self.head_to_change(Timeline::Group(leave.group), GroupSettings::default(), commit.version);
        let row = self.row_to_change(leave.user, slot);
        let last = (leave.ceiling, leave.ceiling_ordinal);
        *row = row.left(last, leave.ceiling_timestamp, commit.version, commit.time);
        if row.has_notes {
            self.person_or_insert(leave.user).notes_mut(slot).1.data = None;
        }
        self.leave_seat(slot, leave.user);
    }

    fn apply_mark(&mut self, mark: &Mark, commit: Commit) {
        let slot = self.row_set(&mark.row, commit, |row| {
            row.read = mark.read;
            row.read_ordinal = mark.read_ordinal;
            row.read_max = mark.read_max;
            row.delivered_max = mark.delivered_max;
            row.flags.marked_unread = mark.marked_unread;
        });
        if !mark.receipts {
            return;
        }
        let user = mark.row.user;
        if let Timeline::Direct(_) = mark.row.timeline {
            self.touch_head(slot);
            self.cells.get_mut(slot).newest = commit.version;
            if let Some(side) = self.head_mut(slot).side_mut(user) {
                side.read_max = mark.read_max;
                side.delivered_max = mark.delivered_max;
                side.version = commit.version;
                side.time = commit.time;
            }
        } else {
            let guess = self.row(user, slot).map_or(0, |row| row.seat);
            self.set_seat(slot, user, (guess, mark.read_max, mark.delivered_max));
        }
    }

    fn apply_clear(&mut self, clear: &Clear, commit: Commit) {
        let slot = self.row_set(&clear.row, commit, |row| {
            row.floor = clear.floor;
            row.floor_ordinal = clear.floor_ordinal;
            row.cleared = clear.floor;
            row.cleared_ordinal = clear.floor_ordinal;
            if clear.removes {
                row.removed_at = Some(clear.floor_ordinal);
                row.flags = Flags { muted: row.flags.muted, ..Flags::default() };
                row.has_metadata = false;
            }
        });
        let user = clear.row.user;
        if self.row(user, slot).is_some_and(|row| row.has_notes) {
            let notes = self.person_or_insert(user).notes_mut(slot).1;
            notes.forget_mentions(clear.floor);
            if clear.removes {
                notes.metadata = None;
            }
        }
    }

    fn apply_metadata(&mut self, key: &RowKey, metadata: &[u8], commit: Commit) {
        let slot = self.row_set(key, commit, |row| row.has_metadata = !metadata.is_empty());
        let (_, notes) = self.person_or_insert(key.user).notes_mut(slot);
        notes.metadata = (!metadata.is_empty()).then(|| metadata.into());
    }

    fn apply_hide(&mut self, key: &RowKey, tail: &[u8], commit: Commit) {
        let Commit { version, time } = commit;
        let slot = self.row_set(key, commit, |_| ());
        let (_, notes) = self.person_or_insert(key.user).notes_mut(slot);
        for hidden in decode_hides(tail).unwrap_or_default() {
            let crate::change::Hidden { seq, ordinal, counts, alerts } = hidden;
            notes.hidden.entry(seq).or_insert(member::Hide { version, time, ordinal, counts, alerts });
        }
    }

    fn apply_member(&mut self, member: &SetMember, tail: &[u8], commit: Commit) {
        let key = RowKey { timeline: Timeline::Group(member.group), user: member.user, opening: None, appears: false };
        let slot = self.row_set(&key, commit, |row| {
            row.role = member.role.unwrap_or(row.role);
            row.silenced_until = member.silenced_until.unwrap_or(row.silenced_until);
        });
        if member.data {
            let (_, notes) = self.person_or_insert(member.user).notes_mut(slot);
            notes.data = (!tail.is_empty()).then(|| tail.into());
        }
    }

    fn apply_amend(&mut self, amend: &Amend, place: Place, commit: Commit) {
        let Some(slot) = self.slot(amend.timeline) else { return };
        let Commit { version, time } = commit;
        self.touch_head(slot);
        self.cells.get_mut(slot).newest = version;
        let head = self.head_mut(slot);
        head.tip.news_version = version;
        head.tip.news_time = time;
        let edit = (!amend.recalls).then_some(place);
        let amendment = Amendment { version, time, by: amend.by, edit };
        let counting = amend.counts.then_some(amend.ordinal);
        head.amended.get_or_insert_default().insert(amend.seq, amendment, counting);
        head.parts.push(Part::Amended(amend.seq));
        if let Some(alerts) = head.alerts.as_mut().filter(|_| amend.recalls && amend.alerts != 0) {
            let alerts = Arc::make_mut(alerts);
            for kind in kinds(amend.alerts) {
                if let Ok(index) = alerts.0[kind].binary_search(&amend.seq) {
                    alerts.0[kind].remove(index);
                    head.parts.push(Part::Alerts(kind as u8, amend.seq / PART_SEQS));
                }
            }
        }
    }

    fn apply_trim(&mut self, trim: &Trim, commit: Commit) {
        let Some(slot) = self.slot(trim.timeline) else { return };
        let Commit { version, time } = commit;
        self.touch_head(slot);
        if trim.counts() {
            self.cells.get_mut(slot).newest = version;
        }
        let horizon = self.horizon;
        let head = self.head_mut(slot);
        head.tip.trimmed = trim.trim;
        head.tip.trimmed_ordinal = trim.trim_ordinal;
        head.tip.trimmed_by = version;
        head.tip.age_day = trim.age_day;
        if trim.counts() {
            head.tip.news_version = version;
            head.tip.news_time = time;
            let counting = CountingTrim { ordinal_before: trim.ordinal_before, version, time };
            head.trims.get_or_insert_default().push(counting, horizon);
        }
        head.trim_parts(trim.trim);
    }

    fn apply_forget(&mut self, forget: &Forget, commit: Commit) {
        let Some(slot) = self.slot(forget.timeline) else { return };
        let row = self.row_to_change(forget.user, slot);
        *row = row.forgotten((forget.floor, forget.floor_ordinal), commit.version, commit.time);
        self.person_or_insert(forget.user).drop_notes(slot);
        self.touch_head(slot);
        self.head_mut(slot).tip.opens = true;
        self.leave_seat(slot, forget.user);
    }

    /// Sets a row's own values, opening the session first if the change does. Tells the timeline's slot.
    fn row_set(&mut self, key: &RowKey, commit: Commit, set: impl FnOnce(&mut Row)) -> u32 {
        let Commit { version, time } = commit;
        let slot = match self.slot(key.timeline) {
            Some(slot) => slot,
            None => self.head_to_change(key.timeline, GroupSettings::default(), version),
        };
        if key.appears {
            self.person_to_change(key.user).exists_since = version;
        }
        let row = self.row_to_change(key.user, slot);
        if let Some(opening) = key.opening {
            let (floor, floor_ordinal) = (opening.floor, opening.floor_ordinal);
            *row = match key.timeline {
                Timeline::Broadcast(_) => {
                    Row { unsealed: row.unsealed, ..Row::of_broadcast(slot, floor, floor_ordinal) }
                }
                _ => Row { floor, floor_ordinal, ..row.opened(floor, version, time) },
            };
        }
        set(row);
        row.version = version;
        row.time = time;
        if let (Some(opening), Timeline::Broadcast(_)) = (key.opening, key.timeline) {
            self.take_seat(slot, Seat { user: key.user, joined_at: opening.floor, read_max: 0, delivered_max: 0 });
        }
        slot
    }

    /// Gives a user a seat in the roster.
    fn take_seat(&mut self, slot: u32, seat: Seat) {
        self.touch_head(slot);
        self.touch_part(slot, Part::Seat(seat.user));
        let index = self.head_mut(slot).roster.get_or_insert_default().insert(seat);
        self.row_to_change(seat.user, slot).seat = index;
    }

    /// Sets the marks of a member's seat, if it has one; `guess` is where that was once.
    fn set_seat(&mut self, slot: u32, user: UserId, (guess, read_max, delivered_max): (u32, u64, u64)) {
        if self.head_mut(slot).roster.as_mut().is_none_or(|roster| roster.seat_mut(guess, user).is_none()) {
            return;
        }
        self.touch_head(slot);
        self.touch_part(slot, Part::Seat(user));
        let roster = self.head_mut(slot).roster.as_mut();
        let Some((index, seat)) = roster.and_then(|roster| roster.seat_mut(guess, user)) else { return };
        (seat.read_max, seat.delivered_max) = (read_max, delivered_max);
        if index != guess {
            self.row_to_change(user, slot).seat = index;
        }
    }

    /// Takes a user's seat away.
    fn leave_seat(&mut self, slot: u32, user: UserId) {
        self.touch_head(slot);
        self.touch_part(slot, Part::Seat(user));
        if let Some(roster) = &mut self.head_mut(slot).roster {
            roster.remove(user);
        }
    }

    /// The slot of a group about which there is news for all who are in it.
    fn news(&mut self, group: GroupId, commit: Commit) -> u32 {
        let slot = self.head_to_change(Timeline::Group(group), GroupSettings::default(), commit.version);
        self.cells.get_mut(slot).newest = commit.version;
        let head = self.head_mut(slot);
        head.tip.news_version = commit.version;
        head.tip.news_time = commit.time;
        slot
    }

    /// A head that is in memory: whoever sequenced the change saw to that.
    fn head_mut(&mut self, slot: u32) -> &mut Head {
        self.cells.head_mut(slot).expect("what a change touches is in memory")
    }
}
