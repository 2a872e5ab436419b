//! Judges whether a change read from a journal can follow what is applied.
//! Owns: what each kind of change takes for granted. May touch: the rest of `state`, `change`.
//! Never: refuses what the sequencer makes, or changes anything.
//!
//! The sequencer makes no other changes, so bytes that say otherwise are damaged, whatever their checksum
//! says. What is checked here is what the rest of the crate relies on: above all that every position is
//! one of a message that exists.

use super::member::{Presence, Row};
use super::names::ALLOTTED;
use super::timeline::Tip;
use super::{State, names};
use crate::change::{Append, Change, Commit, Mark, Opens, RowKey, Trim, decode_hides, decode_mentions};
use crate::id::{GroupId, Timeline, UserId};
use crate::limits::{
    BODY_BYTES_LIMIT, BROADCAST_SOURCES_MAX, HIDE_SEQS_MAX, MEMBER_BYTES_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX,
};
use crate::settings::GroupSettings;

type Judgement = Result<(), &'static str>;

impl State {
    /// Whether a change can follow what is applied; if not, what it should be.
    pub fn admits(&self, change: &Change, tail: &[u8], commit: Commit) -> Judgement {
        expect(commit.version == self.version + 1, "the next version")?;
        expect(commit.time >= self.time, "a commit time that does not go back")?;
        match change {
            Change::Append(append) => self.admits_append(append, tail, commit),
            Change::Group(group) => {
                let before = self.tip(Timeline::Group(group.group));
                expect(before.is_none() == group.creates, "a group made once")?;
                expect(before.is_none_or(|tip| !tip.dissolved), "a group that was not dissolved")
            }
            Change::Join(join) => {
                let before = self.tip(Timeline::Group(join.group));
                expect(before.is_none() == join.creates, "a join that creates its group if it is new")?;
                expect(before.is_none_or(|tip| !tip.dissolved), "a group that was not dissolved")?;
                let last = before.map_or((0, 0), |tip| (tip.last, tip.ordinal));
                expect((join.joined_at, join.joined_ordinal) == last, "a join at the newest message")?;
                self.admits_appearance(join.user, join.appears)?;
                let row = self.row_of(join.user, Timeline::Group(join.group));
                expect(row.is_none_or(|row| !row.is_present()), "one who is no member")?;
                let cleared = row.map_or((0, 0), |row| (row.cleared, row.cleared_ordinal));
                let floor = (join.floor, join.floor_ordinal);
                expect(floor == last || floor == cleared, "a floor at the join, or where the user cleared")
            }
            Change::Leave(leave) => {
                let before = self.group(leave.group)?;
                let row = self.row_of(leave.user, Timeline::Group(leave.group)).copied();
                expect(row.is_some_and(|row| row.presence == Presence::Member), "a member who leaves")?;
                let ceiling = (leave.ceiling, leave.ceiling_ordinal, leave.ceiling_timestamp);
                expect(ceiling == (before.last, before.ordinal, before.last_timestamp), "a leave at the newest message")
            }
            Change::Mark(mark) => self.admits_mark(mark),
            Change::Clear(clear) => {
                let (row, tip) = self.admits_row(&clear.row)?;
                let end = row.end(tip.last);
                expect(row.floor <= clear.floor && clear.floor <= end, "a floor that rises and is not above the end")?;
                expect(clear.floor_ordinal <= clear.floor.min(tip.ordinal), "an ordinal not above its seq")
            }
            Change::Flags(change) => self.admits_row(&change.row).map(|_| ()),
            Change::Metadata(change) => {
                expect(tail.len() <= METADATA_BYTES_MAX, "metadata within their limit")?;
                self.admits_row(&change.row).map(|_| ())
            }
            Change::Hide(change) => {
                let (row, tip) = self.admits_row(&change.row)?;
                let hides = decode_hides(tail).ok_or("a list of messages")?;
                expect(hides.len() <= HIDE_SEQS_MAX, "no more messages than one call can hide")?;
                let (floor, end) = (row.floor(&tip), row.end(tip.last));
                let are_seen =
                    hides.iter().all(|hidden| floor < hidden.seq && hidden.seq <= end && hidden.ordinal <= hidden.seq);
                expect(are_seen, "messages that the user sees")
            }
            Change::Member(member) => {
                expect(tail.len() <= MEMBER_BYTES_MAX, "bytes of a member within their limit")?;
                self.group(member.group)?;
                let row = self.row_of(member.user, Timeline::Group(member.group)).copied();
                let is_for_members = member.role.is_some() || member.data;
                expect(row.is_some_and(|row| row.is_session() && (row.is_present() || !is_for_members)), "a member")
            }
            Change::Amend(amend) => {
                let head = self.head_of(amend.timeline).ok_or("a timeline that exists")?;
                expect(head.tip.trim() < amend.seq && amend.seq <= head.tip.last, "a message that exists")?;
                expect(amend.ordinal <= amend.seq.min(head.tip.ordinal), "an ordinal not above its seq")?;
                expect(tail.len() <= BODY_BYTES_LIMIT, "a body within its limit")?;
                let is_recalled = head.amended.as_ref().is_some_and(|amended| amended.is_recalled(amend.seq));
                expect(!is_recalled, "a message that was not recalled")
            }
            Change::GroupMetadata(change) => {
                expect(tail.len() <= METADATA_BYTES_MAX, "metadata within their limit")?;
                self.group(change.group).map(|_| ())
            }
            Change::Dissolve(change) => self.group(change.group).map(|_| ()),
            Change::AddUser(change) => self.admits_appearance(change.user, true),
            Change::Name(name) => {
                expect((1..=NAME_BYTES_MAX).contains(&tail.len()), "a name within its limits")?;
                expect(self.name_id(name.kind, tail).is_none(), "a name that is free")?;
                expect(name.id > ALLOTTED && name.id > self.names.newest(name.kind), "an id that was not given")?;
                expect(!name.appears || name.kind == names::PEOPLE, "only a user comes to exist by its name")?;
                self.admits_appearance(UserId(name.id), name.appears)
            }
            Change::FreeName(name) => expect(self.name_id(name.kind, tail) == Some(name.id), "a name that is taken"),
            Change::Forget(forget) => {
                let tip = self.tip(forget.timeline).ok_or("a timeline that exists")?;
                let session = self.slot(forget.timeline).and_then(|slot| self.session(forget.user, slot));
                let row = session.ok_or("a session that exists")?;
                let end = (row.end(tip.last), row.end_ordinal(&tip));
                expect((forget.floor, forget.floor_ordinal) == end, "a floor at the session's end")
            }
            Change::RemoveUser(change) => {
                expect(self.exists_since(change.user) > 0, "a user who exists")?;
                let has_session = self.rows(change.user).iter().any(Row::is_session);
                expect(!has_session, "a user without sessions")
            }
            Change::Settings(_) => Ok(()),
            Change::Horizon(horizon) => {
                expect(self.horizon < horizon.version && horizon.version <= self.version, "a horizon that rises")
            }
            Change::Trim(trim) => self.admits_trim(trim),
        }
    }

    fn admits_append(&self, append: &Append, tail: &[u8], commit: Commit) -> Judgement {
        let Append { timeline, sender, opens, timestamp, .. } = *append;
        let version = commit.version;
        let before = self.tip(timeline);
        if before.is_none() {
            let fixed = timeline.source().and_then(|source| self.sources.get(&source));
            let is_broadcast = matches!(timeline, Timeline::Broadcast(_));
            expect(fixed.is_none_or(|fixed| *fixed == is_broadcast), "a source that stays what it is")?;
            expect(!is_broadcast || self.broadcasts.len() < BROADCAST_SOURCES_MAX, "no more sources of broadcasts")?;
        }
        let made = || (!matches!(timeline, Timeline::Group(_))).then(|| Tip::new(GroupSettings::default(), version));
        let before = before.or_else(made).ok_or("a message to a group that exists")?;
        expect(!before.dissolved, "a group that was not dissolved")?;
        expect(append.seq == before.last + 1, "the next seq")?;
        expect(append.ordinal == before.ordinal + u64::from(append.counts), "the next ordinal")?;
        expect(timestamp > before.last_timestamp, "a later timestamp")?;
        let stamped = commit.time.max(before.last_timestamp + 1);
        expect(
            if append.imported { timestamp <= commit.time } else { timestamp == stamped },
            "the timestamp of its rule",
        )?;
        expect(append.counts || (append.alerts == 0 && append.mention_bytes == 0), "a notice without alerts")?;
        let row = |user| self.row_of(user, timeline);
        let own_last = if sender.is_none() { 0 } else { row(sender).map_or(0, |row| row.own_last) };
        expect(append.own_previous == own_last, "the sender's message before")?;
        let is_present = match timeline {
            Timeline::Direct(_) => true,
            Timeline::Group(_) => row(sender).is_some_and(Row::is_present),
            Timeline::Inbox(..) | Timeline::Broadcast(_) => false,
        };
        expect(append.sender_present == is_present, "a sender who is there, or is not")?;
        expect(tail.len() >= append.mention_bytes.into(), "mentions")?;
        expect(tail.len() - usize::from(append.mention_bytes) <= BODY_BYTES_LIMIT, "a body within its limit")?;
        if append.mention_bytes > 0 {
            let mentions = decode_mentions(&tail[..append.mention_bytes.into()]).ok_or("mentions")?;
            let mut told: Vec<UserId> = mentions.iter().filter(|one| one.has_row).map(|one| one.user).collect();
            told.sort_unstable();
            expect(told.windows(2).all(|pair| pair[0] != pair[1]), "each user told once")?;
        }
        match timeline.ends() {
            Some(pair) => {
                let ends = [
                    (pair.low(), opens.low_session, opens.low_appears),
                    (pair.high(), opens.high_session, opens.high_appears),
                ];
                // Where nothing opens both have their sessions since the message that opened them.
                for (user, session, appears) in ends.into_iter().filter(|_| before.opens || opens != Opens::default()) {
                    let is_both = pair.low() == pair.high() && opens.low_session;
                    let has_session = row(user).is_some_and(Row::is_session);
                    expect(has_session != (session || is_both), "sessions for both ends")?;
                    expect(!appears || self.exists_since(user) == 0, "a user who comes to exist once")?;
                }
                expect(!opens.sender_appears, "no third user")
            }
            None => {
                expect(opens == Opens { sender_appears: opens.sender_appears, ..Opens::default() }, "no ends")?;
                self.admits_appearance(sender, opens.sender_appears)
            }
        }
    }

    fn admits_mark(&self, mark: &Mark) -> Judgement {
        let (_, tip) = self.admits_row(&mark.row)?;
        let highest = mark.read.max(mark.read_max).max(mark.delivered_max);
        expect(highest <= tip.last, "marks on messages that exist")?;
        expect(mark.read_ordinal <= mark.read.min(tip.ordinal), "an ordinal not above its seq")
    }

    fn admits_trim(&self, trim: &Trim) -> Judgement {
        let tip = self.tip(trim.timeline).ok_or("a timeline that exists")?;
        expect(!tip.dissolved, "a group that was not dissolved")?;
        expect(tip.trimmed < trim.trim && trim.trim <= tip.last, "a trim that rises and is not above the end")?;
        expect(trim.ordinal_before == tip.trimmed_ordinal, "the counting messages that were gone")?;
        expect(tip.age_day <= trim.age_day, "a day that does not go back")?;
        // Of the messages that a trim takes, and of those it leaves, no more can count than there are.
        let taken = trim.trim_ordinal.checked_sub(tip.trimmed_ordinal);
        let left = tip.ordinal.checked_sub(trim.trim_ordinal);
        expect(
            taken.is_some_and(|taken| taken <= trim.trim - tip.trimmed),
            "no more counting messages than were taken",
        )?;
        expect(left.is_some_and(|left| left <= tip.last - trim.trim), "no more counting messages than are left")
    }

    /// The row as it is, or as the change opens it, and the tip of its timeline.
    fn admits_row(&self, key: &RowKey) -> Result<(Row, Tip), &'static str> {
        self.admits_appearance(key.user, key.appears)?;
        let row = self.row_of(key.user, key.timeline).filter(|row| row.is_session()).copied();
        let tip = self.tip(key.timeline);
        let Some(opening) = key.opening else {
            let (row, tip) = row.zip(tip).ok_or("a session that exists")?;
            return Ok((row, tip));
        };
        expect(row.is_none(), "a session that does not exist")?;
        let tip = match key.timeline {
            Timeline::Direct(pair) => {
                expect(pair.other(key.user).is_some(), "one of the two users")?;
                tip.unwrap_or(Tip::new(GroupSettings::default(), self.version + 1))
            }
            Timeline::Broadcast(_) => tip.ok_or("a broadcast that exists")?,
            Timeline::Group(_) | Timeline::Inbox(..) => return Err("a session that only joining or a message opens"),
        };
        let before = self.row_of(key.user, key.timeline).map_or(0, |row| row.floor);
        expect(before <= opening.floor && opening.floor <= tip.last, "a floor that rises, not above the end")?;
        expect(opening.floor_ordinal <= opening.floor.min(tip.ordinal), "an ordinal not above its seq")?;
        let row = Row::of_broadcast(0, opening.floor, opening.floor_ordinal);
        Ok((row, tip))
    }

    fn admits_appearance(&self, user: UserId, appears: bool) -> Judgement {
        expect(!appears || (!user.is_none() && self.exists_since(user) == 0), "a user who comes to exist once")
    }

    fn tip(&self, timeline: Timeline) -> Option<Tip> {
        self.head_of(timeline).map(|head| head.tip)
    }

    fn group(&self, group: GroupId) -> Result<Tip, &'static str> {
        let tip = self.tip(Timeline::Group(group)).ok_or("a group that exists")?;
        expect(!tip.dissolved, "a group that was not dissolved")?;
        Ok(tip)
    }
}

fn expect(holds: bool, what: &'static str) -> Judgement {
    if holds { Ok(()) } else { Err(what) }
}
