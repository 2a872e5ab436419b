//! Applies one change to the state.
//! Owns: what each kind of change does. May touch: the rest of `state`, `change`.
//! Never: reads an older value of a row to compute a new one, reads a message or a clock, or fails:
//! every value it sets stands in the change. Applying a change again does nothing.

use super::State;
use super::amended::Amendment;
use super::member::{self, Person, Row};
use super::roster::Seat;
use super::timeline::{Head, Tip, kinds};
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
            Change::Flags(SetFlags { row, flags }) => self.row_set(row, commit, |row| row.flags = *flags),
            Change::Metadata(SetMetadata { row }) => self.apply_metadata(row, tail, commit),
            Change::Hide(Hide { row }) => self.apply_hide(row, tail, commit),
            Change::Member(member) => self.apply_member(member, tail, commit),
            Change::Amend(amend) => self.apply_amend(amend, place, commit),
            Change::GroupMetadata(change) => {
                let head = self.news(change.group, commit);
                head.metadata = (!tail.is_empty()).then(|| tail.into());
            }
            Change::Dissolve(dissolve) => {
                let head = self.news(dissolve.group, commit);
                head.tip.dissolved = true;
                // Nothing of this can be seen any more.
                (head.amended, head.trims, head.alerts, head.metadata) = (None, None, None, None);
                head.roster = Some(Box::default());
            }
            Change::AddUser(change) => self.person_mut(change.user).exists_since = commit.version,
            Change::Name(name) => {
                self.names.insert(name.kind, name.id, tail);
                if name.appears {
                    self.person_mut(UserId(name.id)).exists_since = commit.version;
                }
            }
            Change::FreeName(name) => self.names.remove(name.kind, name.id, tail),
            Change::Forget(forget) => self.apply_forget(forget, commit),
            Change::RemoveUser(change) => {
                self.person_mut(change.user).exists_since = 0;
                if let Some(name) = self.names.name(NameKind::User, change.user.0).cloned() {
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
        let slot = self.slot_or_insert(timeline, GroupSettings::default(), version);
        let head = &mut self.heads[slot as usize];
        let timestamp = append.timestamp;
        head.tip = Tip { last: seq, last_timestamp: timestamp, ordinal, version, time, opens: false, ..head.tip };
        head.newest = version;
        head.places.push(place);
        if let Timeline::Broadcast(_) = timeline {
            head.sent.push((version, ordinal));
        }
        if append.alerts != 0 {
            let alerts = Arc::make_mut(head.alerts.get_or_insert_default());
            kinds(append.alerts).for_each(|kind| alerts.0[kind].push(seq));
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
                    self.person_mut(user).exists_since = version;
                }
                if session {
                    let row = self.row_or_insert(user, slot);
                    *row = row.opened(seq - 1, version, time);
                }
            }
        }
        if opens.sender_appears {
            self.person_mut(sender).exists_since = version;
        }
        if !sender.is_none() {
            let row = self.row_or_insert(sender, slot);
            row.send(seq, ordinal, moves_marks, version, time);
            if moves_marks {
                let seat = row.seat;
                if let Some(roster) = &mut self.heads[slot as usize].roster
                    && let Some(seat) = roster.seat_mut(seat, sender)
                {
                    (seat.read_max, seat.delivered_max) = (seq, seq);
                }
            }
        }
        if append.mention_bytes > 0 {
            let mentions = tail.get(..append.mention_bytes.into()).and_then(decode_mentions).unwrap_or_default();
            for mentioned in mentions.iter().filter(|mentioned| mentioned.has_row) {
                self.row_or_insert(mentioned.user, slot);
                self.person_mut(mentioned.user).notes_mut(slot).1.mentions.push(seq);
            }
        }
        let window = self.settings().dedup_window_micros();
        if !append.client_id.is_none() && window > 0 {
            let hash = self.dedup.hash(timeline, sender, append.client_id);
            self.dedup.insert(hash, slot, seq, time, self.dedup_window_max);
        }
    }

    fn apply_group(&mut self, group: &SetGroup, commit: Commit) {
        let slot = self.slot_or_insert(Timeline::Group(group.group), group.settings, commit.version);
        let tip = &mut self.heads[slot as usize].tip;
        (tip.settings, tip.settings_by) = (group.settings, commit.version);
    }

    fn apply_join(&mut self, join: &Join, commit: Commit) {
        let Commit { version, time } = commit;
        let slot = self.slot_or_insert(Timeline::Group(join.group), GroupSettings::default(), version);
        if join.appears {
            self.person_mut(join.user).exists_since = version;
        }
        let row = self.row_or_insert(join.user, slot);
        // What was once read stays read for receipts, and own messages stay own.
        let (last, floor) = ((join.joined_at, join.joined_ordinal), (join.floor, join.floor_ordinal));
        *row = row.joined(last, floor, version, time);
        let Row { read_max, delivered_max, has_notes, .. } = *row;
        if has_notes {
            let (_, notes) = self.person_mut(join.user).notes_mut(slot);
            notes.data = None;
            notes.forget_mentions(join.floor);
        }
        self.take_seat(slot, Seat { user: join.user, joined_at: join.joined_at, read_max, delivered_max });
    }

    fn apply_leave(&mut self, leave: &Leave, commit: Commit) {
        let slot = self.slot_or_insert(Timeline::Group(leave.group), GroupSettings::default(), commit.version);
        let row = self.row_or_insert(leave.user, slot);
        let last = (leave.ceiling, leave.ceiling_ordinal);
        *row = row.left(last, leave.ceiling_timestamp, commit.version, commit.time);
        if row.has_notes {
            self.person_mut(leave.user).notes_mut(slot).1.data = None;
        }
        self.leave_seat(slot, leave.user);
    }

    fn apply_mark(&mut self, mark: &Mark, commit: Commit) {
        self.row_set(&mark.row, commit, |row| {
            row.read = mark.read;
            row.read_ordinal = mark.read_ordinal;
            row.read_max = mark.read_max;
            row.delivered_max = mark.delivered_max;
            row.flags.marked_unread = mark.marked_unread;
        });
        if !mark.receipts {
            return;
        }
        let Some(slot) = self.slot(mark.row.timeline) else { return };
        let head = &mut self.heads[slot as usize];
        if let Some(side) = head.side_mut(mark.row.user) {
            side.read_max = mark.read_max;
            side.delivered_max = mark.delivered_max;
            side.version = commit.version;
            side.time = commit.time;
            head.newest = commit.version;
        } else if let Some(row) = self.row(mark.row.user, slot).copied()
            && let Some(roster) = &mut self.heads[slot as usize].roster
            && let Some(seat) = roster.seat_mut(row.seat, mark.row.user)
        {
            seat.read_max = mark.read_max;
            seat.delivered_max = mark.delivered_max;
        }
    }

    fn apply_clear(&mut self, clear: &Clear, commit: Commit) {
        self.row_set(&clear.row, commit, |row| {
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
        if let Some(notes) = self.notes_if_any(clear.row.user, clear.row.timeline) {
            notes.forget_mentions(clear.floor);
            if clear.removes {
                notes.metadata = None;
            }
        }
    }

    fn apply_metadata(&mut self, key: &RowKey, metadata: &[u8], commit: Commit) {
        self.row_set(key, commit, |row| row.has_metadata = !metadata.is_empty());
        if let Some(slot) = self.slot(key.timeline) {
            let (_, notes) = self.person_mut(key.user).notes_mut(slot);
            notes.metadata = (!metadata.is_empty()).then(|| metadata.into());
        }
    }

    fn apply_hide(&mut self, key: &RowKey, tail: &[u8], commit: Commit) {
        let Commit { version, time } = commit;
        self.row_set(key, commit, |_| ());
        if let Some(slot) = self.slot(key.timeline) {
            let (_, notes) = self.person_mut(key.user).notes_mut(slot);
            for hidden in decode_hides(tail).unwrap_or_default() {
                let crate::change::Hidden { seq, ordinal, counts, alerts } = hidden;
                notes.hidden.entry(seq).or_insert(member::Hide { version, time, ordinal, counts, alerts });
            }
        }
    }

    fn apply_member(&mut self, member: &SetMember, tail: &[u8], commit: Commit) {
        let key = RowKey { timeline: Timeline::Group(member.group), user: member.user, opening: None, appears: false };
        self.row_set(&key, commit, |row| {
            row.role = member.role.unwrap_or(row.role);
            row.silenced_until = member.silenced_until.unwrap_or(row.silenced_until);
        });
        if let Some(slot) = self.slot(key.timeline).filter(|_| member.data) {
            let (_, notes) = self.person_mut(member.user).notes_mut(slot);
            notes.data = (!tail.is_empty()).then(|| tail.into());
        }
    }

    fn apply_amend(&mut self, amend: &Amend, place: Place, commit: Commit) {
        let Some(slot) = self.slot(amend.timeline) else { return };
        let Commit { version, time } = commit;
        let head = &mut self.heads[slot as usize];
        head.newest = version;
        head.tip.news_version = version;
        head.tip.news_time = time;
        let edit = (!amend.recalls).then_some(place);
        let amendment = Amendment { version, time, by: amend.by, edit };
        let counting = amend.counts.then_some(amend.ordinal);
        head.amended.get_or_insert_default().insert(amend.seq, amendment, counting);
        if let Some(alerts) = head.alerts.as_mut().filter(|_| amend.recalls && amend.alerts != 0) {
            let alerts = Arc::make_mut(alerts);
            for kind in kinds(amend.alerts) {
                if let Ok(index) = alerts.0[kind].binary_search(&amend.seq) {
                    alerts.0[kind].remove(index);
                }
            }
        }
    }

    fn apply_trim(&mut self, trim: &Trim, commit: Commit) {
        let Some(slot) = self.slot(trim.timeline) else { return };
        let Commit { version, time } = commit;
        let head = &mut self.heads[slot as usize];
        head.tip.trimmed = trim.trim;
        head.tip.trimmed_ordinal = trim.trim_ordinal;
        head.tip.trimmed_by = version;
        head.tip.age_day = trim.age_day;
        if trim.counts() {
            head.newest = version;
            head.tip.news_version = version;
            head.tip.news_time = time;
            let counting = CountingTrim { ordinal_before: trim.ordinal_before, version, time };
            head.trims.get_or_insert_default().push(counting, self.horizon);
        }
        if let Some(amended) = &mut head.amended {
            amended.trim(trim.trim);
        }
        if let Some(alerts) = &mut head.alerts {
            for seqs in &mut Arc::make_mut(alerts).0 {
                seqs.drain(..seqs.partition_point(|seq| *seq <= trim.trim));
            }
        }
    }

    fn apply_forget(&mut self, forget: &Forget, commit: Commit) {
        let Some(slot) = self.slot(forget.timeline) else { return };
        let row = self.row_or_insert(forget.user, slot);
        *row = row.forgotten((forget.floor, forget.floor_ordinal), commit.version, commit.time);
        self.person_mut(forget.user).drop_notes(slot);
        self.heads[slot as usize].tip.opens = true;
        self.leave_seat(slot, forget.user);
    }

    /// Sets a row's own values, opening the session first if the change does.
    fn row_set(&mut self, key: &RowKey, commit: Commit, set: impl FnOnce(&mut Row)) {
        let Commit { version, time } = commit;
        let slot = self.slot_or_insert(key.timeline, GroupSettings::default(), version);
        if key.appears {
            self.person_mut(key.user).exists_since = version;
        }
        let row = self.row_or_insert(key.user, slot);
        if let Some(opening) = key.opening {
            let (floor, floor_ordinal) = (opening.floor, opening.floor_ordinal);
            *row = match key.timeline {
                Timeline::Broadcast(_) => Row::of_broadcast(slot, floor, floor_ordinal),
                _ => Row { floor, floor_ordinal, ..row.opened(floor, version, time) },
            };
        }
        set(row);
        row.version = version;
        row.time = time;
        if let (Some(opening), Timeline::Broadcast(_)) = (key.opening, key.timeline) {
            self.take_seat(slot, Seat { user: key.user, joined_at: opening.floor, read_max: 0, delivered_max: 0 });
        }
    }

    /// Gives a user a seat in the roster, which its row remembers.
    fn take_seat(&mut self, slot: u32, seat: Seat) {
        let index = self.heads[slot as usize].roster.get_or_insert_default().insert(seat);
        self.row_or_insert(seat.user, slot).seat = index;
    }

    /// Takes a user's seat away; who moves there remembers it.
    fn leave_seat(&mut self, slot: u32, user: UserId) {
        let moved = self.heads[slot as usize].roster.as_mut().and_then(|roster| roster.remove(user));
        if let Some((user, index)) = moved {
            self.row_or_insert(user, slot).seat = index;
        }
    }

    /// The head of a group about which there is news for all who are in it.
    fn news(&mut self, group: GroupId, commit: Commit) -> &mut Head {
        let slot = self.slot_or_insert(Timeline::Group(group), GroupSettings::default(), commit.version);
        let head = &mut self.heads[slot as usize];
        head.newest = commit.version;
        head.tip.news_version = commit.version;
        head.tip.news_time = commit.time;
        head
    }

    fn slot_or_insert(&mut self, timeline: Timeline, settings: GroupSettings, version: u64) -> u32 {
        if let Some(slot) = self.slots.get(&timeline) {
            return *slot;
        }
        let slot = self.heads.len() as u32;
        self.slots.insert(timeline, slot);
        self.heads.push(Head::new(timeline, Tip::new(settings, version)));
        if let Some(source) = timeline.source() {
            let is_broadcast = matches!(timeline, Timeline::Broadcast(_));
            self.sources.insert(source, is_broadcast);
            if is_broadcast {
                self.broadcasts.push(slot);
            }
        }
        slot
    }

    fn person_mut(&mut self, user: UserId) -> &mut Person {
        let index = *self.users.entry(user).or_insert_with(|| {
            self.people.push(Person::default());
            (self.people.len() - 1) as u32
        });
        &mut self.people[index as usize]
    }

    fn row_or_insert(&mut self, user: UserId, slot: u32) -> &mut Row {
        self.person_mut(user).row_or_insert(slot, || Row::outside(slot))
    }

    fn notes_if_any(&mut self, user: UserId, timeline: Timeline) -> Option<&mut member::Notes> {
        let slot = self.slot(timeline)?;
        let has_notes = self.row(user, slot).is_some_and(|row| row.has_notes);
        has_notes.then(|| self.person_mut(user).notes_mut(slot).1)
    }
}
