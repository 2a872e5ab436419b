//! Decides what a call does, in one order for all: validates, stamps, and queues the change.
//! Owns: the next version, the pending values, the room reserved in the journal. May touch: `state`,
//! `change`.
//! Never: does I/O, encodes, or waits; what it misses it sends its caller back out to fetch.

use super::overlay::Taken;
use super::{Overlay, Row, State, Tip};
use crate::change::{Append, Change, Commit, CreateGroup, GroupSettings, Join, Leave, Mark};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClientId, GroupId, Seq, Timeline, UserId, Version};
use crate::limits::DEDUP_WINDOW_MICROS;
use crate::time::Timestamp;

/// Whether an append wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is new.
    Written,
    /// The client id was taken, by the message that is named.
    Duplicate,
}

/// The message that an append wrote, or that it turned out to be a retry of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Which of the two.
    pub outcome: Outcome,
    /// Its position in the timeline.
    pub seq: Seq,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its commit position.
    pub version: Version,
}

/// Whether a call changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did, as this version.
    Changed(Version),
    /// What it asks for was already so.
    Unchanged,
}

/// What a bulk join did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// How many became members.
    pub joined: usize,
    /// How many were members already, or named twice.
    pub unchanged: usize,
    /// The version of the last one who joined; 0 if nobody did.
    pub version: Version,
}

/// An append that is ready to be stamped.
#[derive(Debug)]
pub(crate) struct PreparedAppend {
    pub timeline: Timeline,
    pub sender: UserId,
    pub kind: u16,
    pub counts: bool,
    pub client_id: ClientId,
    pub timestamp: Option<Timestamp>,
    pub body: Vec<u8>,
    pub body_digest: u128,
    pub hash: u64,
    /// What the messages that may have the client id say, newest first.
    pub known: Vec<Known>,
}

/// A published message that may have a client id, as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// It has this very id, from this very sender.
    pub is_same: bool,
    pub message: Taken,
}

/// A read mark that is ready to be moved: clamped to what is published, with the ordinal there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub target: u64,
    pub ordinal: u64,
}

/// A read mark that is ready to be moved back before `seq`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub seq: u64,
    /// The newest published seq that the session shows.
    pub end: u64,
    /// The ordinal of the message before `seq`.
    pub ordinal_before: u64,
}

/// A change on its way to the journal.
#[derive(Debug)]
pub(crate) struct Sequenced {
    pub change: Change,
    pub body: Vec<u8>,
    pub commit: Commit,
    /// It stays in one frame with the change before it.
    pub joined: bool,
    /// The journal goes on in the next file before it.
    pub rolls: bool,
    /// What was reserved for it.
    pub bytes_max: u64,
}

/// What a call comes to, and the version whose commit it rests on.
#[derive(Debug)]
pub(crate) struct Decided<T> {
    pub result: Result<T>,
    pub rests_on: u64,
}

pub(crate) type Answer<T> = std::result::Result<Decided<T>, Stale>;

/// Why a caller must come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// What it found out before is not so any more.
    Recheck,
    /// The next journal file is not ready.
    NeedsRoom,
}

/// What a change is to the reserve of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// It adds to the store; a full disk refuses it.
    Adds,
    /// It marks or frees; it works also when no next file can be made.
    Frees,
}

/// Decides and stamps, one call after another.
#[derive(Debug)]
pub(crate) struct Sequencer {
    pub overlay: Overlay,
    /// Changes that are stamped and not yet written.
    pub forming: Vec<Sequenced>,
    /// Set when a write or sync failed, or the store was closed: nothing is sequenced any more.
    pub refuses: Option<Error>,
    next_version: u64,
    last_time: u64,
    /// Bytes of the file that the newest pending change goes to.
    room: u64,
    /// Of them, what only [`Class::Frees`] may use while no next file is ready.
    reserve: u64,
    /// Counts the files, so that room is given back to the right one.
    file_number: u64,
    /// The room of the next file, if it is ready.
    next_room: Option<u64>,
    rolls: bool,
}

impl Sequencer {
    /// Goes on behind `state`, with `room` bytes left in the present file.
    pub fn new(state: &State, room: u64, reserve: u64) -> Sequencer {
        Sequencer {
            overlay: Overlay::default(),
            forming: Vec::new(),
            refuses: None,
            next_version: state.version + 1,
            last_time: state.time,
            room,
            reserve,
            file_number: 0,
            next_room: None,
            rolls: false,
        }
    }

    /// The newest version that was given out.
    pub fn last_version(&self) -> u64 {
        self.next_version - 1
    }

    /// Appends all of `items` or none. What is written takes its body along.
    /// In a batch the refused one is named.
    pub fn append(
        &mut self,
        state: &State,
        now: u64,
        items: &mut [PreparedAppend],
        is_batch: bool,
    ) -> Answer<Vec<Appended>> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let time = now.max(self.last_time);
        let bytes_max = items.iter().map(|item| append_bytes_max(item.body.len())).sum();
        let forming = self.forming.len();
        let (room, version, file_number, next_room) = (self.room, self.next_version, self.file_number, self.next_room);
        let mut appended = Vec::with_capacity(items.len());
        let mut rests_on = 0;
        let mut written = Vec::new();
        if is_batch {
            self.overlay.begin_batch();
        }
        for (index, item) in items.iter_mut().enumerate() {
            let reserve = (self.forming.len() == forming).then_some(bytes_max);
            let refusal = match self.append_one(state, time, item, reserve, &mut rests_on) {
                Ok(Ok(message)) => {
                    if is_batch && message.outcome == Outcome::Written {
                        written.push(index);
                    }
                    appended.push(message);
                    continue;
                }
                // What the batch itself would have written is no reason to wait: it is not written.
                Ok(Err(error)) => Ok(Decided {
                    result: Err(if is_batch { error.with_item(index) } else { error }),
                    rests_on: rests_on.min(version - 1),
                }),
                Err(stale) => Err(stale),
            };
            // A single item that is refused has changed nothing.
            if is_batch {
                self.overlay.undo_batch();
                // Bodies go back to their items: the caller may come again with them.
                for (index, queued) in written.into_iter().zip(self.forming.drain(forming..)) {
                    items[index].body = queued.body;
                }
                (self.room, self.next_version, self.file_number, self.next_room) =
                    (room, version, file_number, next_room);
                self.rolls = false;
            }
            return refusal;
        }
        if is_batch {
            self.overlay.keep_batch();
        }
        if self.forming.len() > forming {
            self.last_time = time;
            rests_on = self.last_version();
            // What duplicates did not need is free again.
            let used: u64 = self.forming[forming..].iter().map(|queued| queued.bytes_max).sum();
            self.room += bytes_max - used;
        }
        Ok(Decided { result: Ok(appended), rests_on })
    }

    fn append_one(
        &mut self,
        state: &State,
        time: u64,
        item: &mut PreparedAppend,
        reserve: Option<u64>,
        rests_on: &mut u64,
    ) -> std::result::Result<Result<Appended>, Stale> {
        let PreparedAppend { timeline, sender, .. } = *item;
        if let Some(first) = self.first_with_id(state, time, item)? {
            *rests_on = (*rests_on).max(first.version);
            if (first.kind, first.body_digest) != (item.kind, item.body_digest) {
                let message = format!("client id is taken by another message: {timeline} seq={}", first.seq);
                return Ok(Err(Error::new(ErrorKind::Conflict, message)));
            }
            return Ok(Ok(Appended {
                outcome: Outcome::Duplicate,
                seq: Seq(first.seq),
                timestamp: Timestamp(first.timestamp),
                version: Version(first.version),
            }));
        }
        let is_direct = matches!(timeline, Timeline::Direct(_));
        let tip = match self.overlay.tip(state, timeline) {
            Some(tip) => tip,
            None if is_direct => Tip::new(GroupSettings::default(), self.next_version),
            None => return Ok(Err(Error::new(ErrorKind::NotFound, format!("no such group: {timeline}")))),
        };
        let row = self.overlay.row(state, timeline, sender);
        let sender_present = is_direct || row.is_some_and(|row| row.is_present());
        if tip.settings.members_only && !sender_present {
            *rests_on = (*rests_on).max(row.map_or(0, |row| row.version)).max(tip.created);
            let message = format!("only members may send here: {timeline} sender={}", sender.0);
            return Ok(Err(Error::new(ErrorKind::Refused, message)));
        }
        let timestamp = match item.timestamp {
            None => time.max(tip.last_timestamp + 1),
            Some(Timestamp(at)) if at > tip.last_timestamp && at <= time => at,
            Some(Timestamp(at)) => {
                *rests_on = (*rests_on).max(tip.version);
                let message = format!(
                    "explicit timestamp is not above the timeline's last or above store time: last={} time={time} got={at}",
                    tip.last_timestamp
                );
                return Ok(Err(Error::new(ErrorKind::InvalidInput, message)));
            }
        };
        if let Some(bytes) = reserve {
            self.reserve(bytes, Class::Adds)?;
        }
        let version = self.next_version;
        let seq = tip.last + 1;
        let ordinal = tip.ordinal + u64::from(item.counts);
        let append = Append {
            timeline,
            sender,
            seq,
            ordinal,
            own_previous: row.map_or(0, |row| row.own_last),
            timestamp,
            kind: item.kind,
            counts: item.counts,
            imported: item.timestamp.is_some(),
            sender_present,
            client_id: item.client_id,
        };
        let tip = Tip { last: seq, last_timestamp: timestamp, ordinal, version, time, ..tip };
        self.overlay.set_tip(timeline, tip, version);
        if let (Timeline::Direct(pair), 1) = (timeline, seq) {
            self.overlay.set_row(timeline, pair.low(), Row::member(0, version, time), version);
            self.overlay.set_row(timeline, pair.high(), Row::member(0, version, time), version);
        }
        if item.counts {
            let row = self.overlay.row(state, timeline, sender).unwrap_or(Row::outside(0));
            let row = if sender_present {
                Row { read: seq, read_ordinal: ordinal, read_max: seq, own_last: seq, version, time, ..row }
            } else {
                Row { own_last: seq, ..row }
            };
            self.overlay.set_row(timeline, sender, row, version);
        }
        if !item.client_id.is_none() {
            let (kind, body_digest) = (item.kind, item.body_digest);
            let taken = Taken { seq, timestamp, version, time, kind, body_digest };
            self.overlay.set_taken(timeline, sender, item.client_id, taken);
        }
        let body = std::mem::take(&mut item.body);
        let joined = reserve.is_none();
        let bytes_max = append_bytes_max(body.len());
        self.queue(Change::Append(append), body, time, joined, bytes_max);
        let (seq, timestamp, version) = (Seq(seq), Timestamp(timestamp), Version(version));
        Ok(Ok(Appended { outcome: Outcome::Written, seq, timestamp, version }))
    }

    /// The message that has the item's client id, if it was committed within the window before `time`.
    fn first_with_id(
        &self,
        state: &State,
        time: u64,
        item: &PreparedAppend,
    ) -> std::result::Result<Option<Taken>, Stale> {
        if item.client_id.is_none() {
            return Ok(None);
        }
        if let Some(taken) = self.overlay.taken(item.timeline, item.sender, item.client_id) {
            return Ok(is_within_window(taken.time, time).then_some(*taken));
        }
        let candidates = state.dedup_candidates(item.hash, item.timeline);
        if !candidates.iter().copied().eq(item.known.iter().map(|known| known.message.seq)) {
            return Err(Stale::Recheck);
        }
        let first = item.known.iter().find(|known| known.is_same && is_within_window(known.message.time, time));
        Ok(first.map(|known| known.message))
    }

    /// Makes a group.
    pub fn create_group(&mut self, state: &State, now: u64, group: GroupId, settings: GroupSettings) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let timeline = Timeline::Group(group);
        if let Some(tip) = self.overlay.tip(state, timeline) {
            return Ok(Decided { result: Ok(Effect::Unchanged), rests_on: tip.created });
        }
        self.reserve(RECORD_AND_FRAME_BYTES_MAX, Class::Adds)?;
        let version = self.next_version;
        self.overlay.set_tip(timeline, Tip::new(settings, version), version);
        let change = Change::CreateGroup(CreateGroup { group, settings });
        Ok(self.queue_one(change, now))
    }

    /// Makes members of all of `users` who are none.
    pub fn join(&mut self, state: &State, now: u64, group: GroupId, users: &[UserId]) -> Answer<Joined> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let time = now.max(self.last_time);
        let timeline = Timeline::Group(group);
        let mut joined = Joined { joined: 0, unchanged: 0, version: Version::NONE };
        let mut rests_on = 0;
        for user in users {
            let row = self.overlay.row(state, timeline, *user);
            if let Some(row) = row.filter(|row| row.is_present()) {
                rests_on = rests_on.max(row.version);
                joined.unchanged += 1;
                continue;
            }
            if joined.joined == 0 {
                self.reserve(join_bytes_max(users.len()), Class::Adds)?;
            }
            let version = self.next_version;
            let before = self.overlay.tip(state, timeline);
            let tip = before.unwrap_or(Tip::new(GroupSettings::default(), version));
            let shows_history = tip.settings.shows_history;
            let change = Join {
                group,
                user: *user,
                creates: before.is_none(),
                joined_at: tip.last,
                joined_ordinal: tip.ordinal,
                floor: if shows_history { 0 } else { tip.last },
                floor_ordinal: if shows_history { 0 } else { tip.ordinal },
            };
            let row = Row {
                read: change.joined_at,
                read_ordinal: change.joined_ordinal,
                read_max: row.map_or(0, |row| row.read_max),
                own_last: row.map_or(0, |row| row.own_last),
                floor: change.floor,
                floor_ordinal: change.floor_ordinal,
                joined_at: change.joined_at,
                ..Row::member(0, version, time)
            };
            if before.is_none() {
                self.overlay.set_tip(timeline, tip, version);
            }
            self.overlay.set_row(timeline, *user, row, version);
            let bytes_max = if joined.joined == 0 { join_bytes_max(users.len()) } else { 0 };
            self.queue(Change::Join(change), Vec::new(), time, joined.joined > 0, bytes_max);
            joined.joined += 1;
            joined.version = Version(version);
        }
        if joined.joined > 0 {
            self.last_time = time;
            rests_on = joined.version.0;
        }
        Ok(Decided { result: Ok(joined), rests_on })
    }

    /// Ends a membership at the newest message.
    pub fn leave(&mut self, state: &State, now: u64, group: GroupId, user: UserId) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let timeline = Timeline::Group(group);
        let tip = self.overlay.tip(state, timeline);
        let row = self.overlay.row(state, timeline, user).filter(|row| row.presence != super::Presence::Outside);
        let (Some(tip), Some(row)) = (tip, row) else {
            return Ok(no_session(timeline, user));
        };
        if !row.is_present() {
            return Ok(Decided { result: Ok(Effect::Unchanged), rests_on: row.version });
        }
        self.reserve(RECORD_AND_FRAME_BYTES_MAX, Class::Frees)?;
        let (version, time) = (self.next_version, now.max(self.last_time));
        let change = Leave {
            group,
            user,
            ceiling: tip.last,
            ceiling_ordinal: tip.ordinal,
            ceiling_timestamp: tip.last_timestamp,
        };
        let row = Row {
            presence: super::Presence::Left,
            ceiling: change.ceiling,
            ceiling_ordinal: change.ceiling_ordinal,
            ceiling_timestamp: change.ceiling_timestamp,
            version,
            time,
            ..row
        };
        self.overlay.set_row(timeline, user, row, version);
        Ok(self.queue_one(Change::Leave(change), now))
    }

    /// Moves a read mark forward.
    pub fn mark_read(&mut self, state: &State, now: u64, plan: &MarkPlan) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let Some(row) = self.session(state, plan.timeline, plan.user) else {
            return Ok(no_session(plan.timeline, plan.user));
        };
        if plan.target <= row.mark() {
            return Ok(Decided { result: Ok(Effect::Unchanged), rests_on: row.version });
        }
        let read_max = row.read_max.max(plan.target);
        self.move_mark(
            now,
            plan.timeline,
            plan.user,
            Row { read: plan.target, read_ordinal: plan.ordinal, read_max, ..row },
        )
    }

    /// Moves a read mark back.
    pub fn mark_unread_from(&mut self, state: &State, now: u64, plan: &UnreadPlan) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let Some(row) = self.session(state, plan.timeline, plan.user) else {
            return Ok(no_session(plan.timeline, plan.user));
        };
        if plan.seq > plan.end {
            let message = format!("no such message to begin unread with: end={} got={}", plan.end, plan.seq);
            return Ok(Decided { result: Err(Error::new(ErrorKind::InvalidInput, message)), rests_on: row.version });
        }
        let (read, read_ordinal) =
            if plan.seq - 1 > row.floor { (plan.seq - 1, plan.ordinal_before) } else { (row.floor, row.floor_ordinal) };
        if read >= row.mark() {
            return Ok(Decided { result: Ok(Effect::Unchanged), rests_on: row.version });
        }
        self.move_mark(now, plan.timeline, plan.user, Row { read, read_ordinal, ..row })
    }

    fn move_mark(&mut self, now: u64, timeline: Timeline, user: UserId, row: Row) -> Answer<Effect> {
        self.reserve(RECORD_AND_FRAME_BYTES_MAX, Class::Frees)?;
        let (version, time) = (self.next_version, now.max(self.last_time));
        self.overlay.set_row(timeline, user, Row { version, time, ..row }, version);
        let Row { read, read_ordinal, read_max, .. } = row;
        Ok(self.queue_one(Change::Mark(Mark { timeline, user, read, read_ordinal, read_max }), now))
    }

    /// The row of a user who has the session, or had it.
    fn session(&self, state: &State, timeline: Timeline, user: UserId) -> Option<Row> {
        self.overlay.row(state, timeline, user).filter(|row| row.presence != super::Presence::Outside)
    }

    fn queue_one(&mut self, change: Change, now: u64) -> Decided<Effect> {
        self.last_time = now.max(self.last_time);
        let version = self.next_version;
        self.queue(change, Vec::new(), self.last_time, false, RECORD_AND_FRAME_BYTES_MAX);
        Decided { result: Ok(Effect::Changed(Version(version))), rests_on: version }
    }

    fn queue(&mut self, change: Change, body: Vec<u8>, time: u64, joined: bool, bytes_max: u64) {
        let rolls = std::mem::take(&mut self.rolls);
        let commit = Commit { version: self.next_version, time };
        self.next_version += 1;
        self.forming.push(Sequenced { change, body, commit, joined, rolls, bytes_max });
    }

    fn refused<T>(&self) -> Option<Decided<T>> {
        self.refuses.clone().map(|error| Decided { result: Err(error), rests_on: 0 })
    }

    /// Sets bytes of the journal apart, of the next file if the present one has too few.
    fn reserve(&mut self, bytes: u64, class: Class) -> std::result::Result<(), Stale> {
        let kept = match (class, self.next_room) {
            (Class::Adds, None) => self.reserve,
            _ => 0,
        };
        if bytes + kept <= self.room {
            self.room -= bytes;
            return Ok(());
        }
        match self.next_room {
            Some(room) => {
                assert!(bytes <= room, "limits keep every call below a quarter of a file");
                self.next_room = None;
                self.room = room - bytes;
                self.file_number += 1;
                self.rolls = true;
                Ok(())
            }
            None => Err(Stale::NeedsRoom),
        }
    }

    /// The file with `room` bytes is ready to be the next one.
    pub fn next_file_is_ready(&mut self, room: u64) {
        self.next_room = Some(room);
    }

    /// Gives back what was reserved and not written, if it was in the file that is still filled.
    pub fn written(&mut self, file_number: u64, unused: u64) {
        if file_number == self.file_number {
            self.room += unused;
        }
    }
}

/// Whether a client id that was committed at `first` is taken at `time`.
pub(crate) fn is_within_window(first: u64, time: u64) -> bool {
    time < first + DEDUP_WINDOW_MICROS
}

const RECORD_AND_FRAME_BYTES_MAX: u64 = append_bytes_max(0);

/// What an append takes at most, in a frame of its own.
pub(crate) const fn append_bytes_max(body_bytes: usize) -> u64 {
    crate::journal::change_bytes_max(body_bytes)
}

/// What a bulk join takes at most, in one frame.
pub(crate) const fn join_bytes_max(users: usize) -> u64 {
    /// Length, tag, version, time, group, user, four positions.
    const JOIN_BYTES_MAX: u64 = 2 + 1 + 8 * 10;
    RECORD_AND_FRAME_BYTES_MAX + users as u64 * JOIN_BYTES_MAX
}

fn no_session<T>(timeline: Timeline, user: UserId) -> Decided<T> {
    let message = format!("no such session: {timeline} user={}", user.0);
    Decided { result: Err(Error::new(ErrorKind::NotFound, message)), rests_on: 0 }
}
