//! Appends: retries, policy, stamps.
//! Owns: what a message comes to. May touch: the sequencer, `state`, `change`.
//! Never: compares bodies; digests of them were taken before.

use super::super::overlay::{Busy, Taken};
use super::{Class, Decided, Sequencer, Stale, change_bytes_max, dissolved, is_within_window, no_group};
use crate::change::{Append, Change, Opens};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClientId, Seq, Timeline, UserId, Version};
use crate::limits::BROADCAST_SOURCES_MAX;
use crate::settings::GroupSettings;
use crate::state::{Answer, Row, State, Tip};
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

/// An append that is ready to be stamped.
#[derive(Debug)]
pub(crate) struct PreparedAppend {
    pub timeline: Timeline,
    pub sender: UserId,
    pub kind: u16,
    pub counts: bool,
    pub client_id: ClientId,
    pub timestamp: Option<Timestamp>,
    pub alerts: u8,
    /// The users who may get a mention row: not the sender, each once; by their place among the mentions.
    pub mentioned: Vec<(usize, UserId)>,
    /// How many users are mentioned, and how much of the tail that takes.
    pub mention_count: usize,
    pub mention_bytes: u16,
    /// Mentions, then body.
    pub tail: Vec<u8>,
    pub body_digest: u128,
    pub hash: u64,
    /// The messages that may have the client id and are in no index, and the generation of the files that have
    /// the others, as they were looked up.
    pub candidates: Vec<u64>,
    pub generation: u64,
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

impl Sequencer {
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
        let bytes_max = items.iter().map(|item| change_bytes_max(item.tail.len())).sum();
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
                // Tails go back to their items: the caller may come again with them.
                for (index, queued) in written.into_iter().zip(self.forming.drain(forming..)) {
                    items[index].tail = queued.tail;
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
            let is_other = (first.kind, first.body_digest) != (item.kind, item.body_digest);
            let amended = if is_other { self.amended_at(state, timeline, first.seq) } else { Some(0) };
            *rests_on = (*rests_on).max(amended.unwrap_or(0));
            if amended.is_none() {
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
        let tip = match self.overlay.tip(state, timeline) {
            Some(tip) if tip.dissolved => {
                *rests_on = (*rests_on).max(tip.news_version);
                return Ok(Err(dissolved(timeline)));
            }
            Some(tip) => tip,
            None if matches!(timeline, Timeline::Group(_)) => return Ok(Err(no_group(timeline))),
            None => match self.check_source(state, timeline) {
                Ok(()) => Tip::new(GroupSettings::default(), self.next_version),
                Err(error) => {
                    *rests_on = (*rests_on).max(self.overlay.newest().max(state.version));
                    return Ok(Err(error));
                }
            },
        };
        let row = if sender.is_none() { None } else { self.overlay.row(state, timeline, sender) };
        let sender_present = match timeline {
            Timeline::Direct(_) => true,
            Timeline::Group(_) => row.is_some_and(|row| row.is_present()),
            Timeline::Inbox(..) | Timeline::Broadcast(_) => false,
        };
        let policy = match row {
            _ if tip.settings.members_only && !sender_present && matches!(timeline, Timeline::Group(_)) => {
                Some("only members may send here")
            }
            Some(row) if row.silenced_until > time => Some("the sender is silenced"),
            _ => None,
        };
        if let Some(policy) = policy {
            // Which change set the group's settings is not kept.
            *rests_on = (*rests_on).max(self.overlay.newest()).max(state.version);
            let message = format!("{policy}: {timeline} sender={}", sender.0);
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
        let is_stranger = matches!(timeline, Timeline::Group(_)) && !sender_present;
        let opens = if tip.opens || is_stranger { self.opens(state, timeline, sender) } else { Opens::default() };
        self.pick_mentioned(state, item);
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
            opens,
            alerts: item.alerts,
            mention_bytes: item.mention_bytes,
        };
        let is_new = tip.last == 0;
        let tip = Tip { last: seq, last_timestamp: timestamp, ordinal, version, time, opens: false, ..tip };
        self.overlay.set_tip(timeline, tip, version);
        let mut row = row.unwrap_or(Row::outside(0));
        if opens != Opens::default() || is_new {
            self.open(state, &append, version, time);
            if !sender.is_none() {
                row = self.overlay.row(state, timeline, sender).unwrap_or(row);
            }
        }
        if !sender.is_none() {
            row.send(seq, ordinal, item.counts && sender_present, version, time);
            self.overlay.set_row(timeline, sender, row, version);
        }
        let window = self.settings.1.dedup_window_micros();
        if !item.client_id.is_none() && window > 0 {
            let (kind, body_digest) = (item.kind, item.body_digest);
            let taken = Taken { seq, timestamp, version, time, window, kind, body_digest };
            self.overlay.set_taken(timeline, sender, item.client_id, taken);
        }
        let tail = std::mem::take(&mut item.tail);
        let joined = reserve.is_none();
        let bytes_max = change_bytes_max(tail.len());
        self.queue(Change::Append(append), tail, time, joined, bytes_max);
        let (seq, timestamp, version) = (Seq(seq), Timestamp(timestamp), Version(version));
        Ok(Ok(Appended { outcome: Outcome::Written, seq, timestamp, version }))
    }

    /// The version at which the first body of a message went: recalled, edited away or trimmed.
    fn amended_at(&self, state: &State, timeline: Timeline, seq: u64) -> Option<u64> {
        let published = || state.head_of(timeline)?.amended.as_ref()?.get(seq).map(|amendment| amendment.version);
        let trimmed =
            || self.overlay.tip(state, timeline).filter(|tip| seq <= tip.trim()).map(|tip| tip.trim_version());
        self.overlay.busy(&Busy::Message(timeline, seq)).or_else(published).or_else(trimmed)
    }

    /// The first message of a source fixes what it is; there are so many broadcasts.
    fn check_source(&self, state: &State, timeline: Timeline) -> Result<()> {
        let Some(source) = timeline.source() else { return Ok(()) };
        let is_broadcast = matches!(timeline, Timeline::Broadcast(_));
        let fixed = self.overlay.is_broadcast(source).or_else(|| state.is_broadcast(source));
        if let Some(fixed) = fixed.filter(|fixed| *fixed != is_broadcast) {
            let sends = if fixed { "a broadcast" } else { "to inboxes" };
            return Err(Error::new(ErrorKind::InvalidInput, format!("the source sends {sends}: {source}")));
        }
        let broadcasts = state.broadcasts().len() + self.overlay.broadcasts(state);
        if is_broadcast && broadcasts >= BROADCAST_SOURCES_MAX {
            let message = format!(
                "sources of broadcasts is above its limit: limit={BROADCAST_SOURCES_MAX} got={}",
                broadcasts + 1
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    /// Who gets a session by a message to this timeline, and who comes to exist.
    fn opens(&self, state: &State, timeline: Timeline, sender: UserId) -> Opens {
        let Some(pair) = timeline.ends() else {
            let sender_appears = !sender.is_none() && !self.exists(state, sender);
            return Opens { sender_appears, ..Opens::default() };
        };
        let lacks = |user| !self.overlay.row(state, timeline, user).is_some_and(|row| row.is_session());
        let is_one = pair.low() == pair.high();
        Opens {
            low_session: lacks(pair.low()),
            high_session: !is_one && lacks(pair.high()),
            low_appears: !self.exists(state, pair.low()),
            high_appears: !is_one && !self.exists(state, pair.high()),
            sender_appears: false,
        }
    }

    /// The pending values of what a message opens.
    fn open(&mut self, state: &State, append: &Append, version: u64, time: u64) {
        let Append { timeline, sender, opens, seq, .. } = *append;
        if let Some(source) = timeline.source().filter(|_| seq == 1) {
            self.overlay.set_source(source, matches!(timeline, Timeline::Broadcast(_)), version);
        }
        if opens.sender_appears {
            self.overlay.set_exists_since(sender, version, version);
        }
        let Some(pair) = timeline.ends() else { return };
        for (user, session, appears) in
            [(pair.low(), opens.low_session, opens.low_appears), (pair.high(), opens.high_session, opens.high_appears)]
        {
            if session {
                let row = self.overlay.row(state, timeline, user).unwrap_or(Row::outside(0));
                self.overlay.set_row(timeline, user, row.opened(seq - 1, version, time), version);
            }
            if appears {
                self.overlay.set_exists_since(user, version, version);
            }
        }
    }

    /// Marks, among the mentions, who gets a row: who is in the timeline now.
    fn pick_mentioned(&self, state: &State, item: &mut PreparedAppend) {
        if item.mention_bytes == 0 {
            return;
        }
        let bits_offset = usize::from(item.mention_bytes) - item.mention_count.div_ceil(8);
        let is_here = |user| match item.timeline {
            Timeline::Direct(pair) => pair.other(user).is_some(),
            Timeline::Inbox(_, recipient) => recipient == user,
            Timeline::Group(_) => self.overlay.row(state, item.timeline, user).is_some_and(|row| row.is_present()),
            Timeline::Broadcast(_) => false,
        };
        item.tail[bits_offset..item.mention_bytes.into()].fill(0);
        for (index, user) in &item.mentioned {
            item.tail[bits_offset + index / 8] |= u8::from(is_here(*user)) << (index % 8);
        }
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
            return Ok(is_within_window(taken.time, time, taken.window).then_some(*taken));
        }
        let candidates = state.dedup_candidates(item.hash);
        // Those on disk stay the same as long as the files do.
        if candidates != item.candidates || state.segments_generation() != item.generation {
            return Err(Stale::Recheck);
        }
        let is_taken = |taken: &Taken| is_within_window(taken.time, time, taken.window);
        let first = item.known.iter().find(|known| known.is_same && is_taken(&known.message));
        Ok(first.map(|known| known.message))
    }
}
