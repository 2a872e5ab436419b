//! One entry of a session list: gathered at one moment, built afterwards.
//! Owns: `Snapshot` and what is read to make an entry of it. May touch: `read`, `unread`, `visible`, `state`.
//! Never: holds the state's lock while it reads a message.

use super::cursor::AmendmentCursor;
use super::list::{Entry, SessionState};
use super::pipeline::Pipeline;
use super::read::{Message, Reader, Spot};
use super::unread::{Own, Range};
use super::visible::{Amendment, activity, amendments_after, entry_version, hidden};
use crate::change::Flags;
use crate::error::Result;
use crate::id::{Epoch, Peer, Seq, Timeline, UserId, Version};
use crate::limits::ENTRY_AMENDMENTS_MAX;
use crate::state::{Presence, Row, State, Whereabouts};
use crate::storage::Body;
use crate::time::Timestamp;
use std::sync::Arc;

/// What an entry is made from.
pub(super) struct Snapshot {
    pub user: UserId,
    pub peer: Peer,
    pub range: Range,
    version: u64,
    time: u64,
    is_tombstone: bool,
    /// Where the latest messages lie, newest first.
    latest: Latest,
    /// Where the message after the read mark lies.
    after_mark: Option<Whereabouts>,
    metadata: Option<Arc<[u8]>>,
    other_read: u64,
    other_delivered: u64,
    amendments: Vec<Amendment>,
    more_amendments: bool,
    /// The newest version at the moment of all this.
    published: u64,
}

/// One place needs no memory of its own, and one is what most ask for.
enum Latest {
    One(Spot),
    Many(Vec<Spot>),
}

impl Latest {
    fn spots(&self) -> &[Spot] {
        match self {
            Latest::One(spot) => std::slice::from_ref(spot),
            Latest::Many(spots) => spots,
        }
    }
}

impl Snapshot {
    /// Gathers what an entry needs, with so many of the latest messages, and the amendments above `base`
    /// if there is one.
    pub fn of(state: &State, user: UserId, peer: Peer, row: &Row, latest: usize, base: Option<u64>) -> Snapshot {
        let head = state.head(row.slot);
        let tip = &head.tip;
        let (version, time) = entry_version(row, head, user, state.horizon);
        let is_tombstone = row.is_tombstone(tip);
        let mut snapshot = Snapshot {
            user,
            peer,
            range: Range::of(state, head, user, row),
            version,
            time,
            is_tombstone,
            latest: Latest::Many(Vec::new()),
            after_mark: None,
            metadata: None,
            other_read: 0,
            other_delivered: 0,
            amendments: Vec::new(),
            more_amendments: false,
            published: state.version,
        };
        if is_tombstone {
            return snapshot;
        }
        let (floor, mark, end) = (row.floor(tip), row.mark(tip), row.end(tip.last));
        let hidden = hidden(state, user, row);
        snapshot.latest = match hidden {
            _ if head.lost.is_some() => {
                let is_shown =
                    |seq: &u64| !head.is_lost(*seq) && !hidden.is_some_and(|hidden| hidden.contains_key(seq));
                let shown = (floor + 1..=end).rev().filter(is_shown);
                Latest::Many(shown.take(latest).map(|seq| Spot::of(head, seq)).collect())
            }
            None if latest == 1 && end > floor => Latest::One(Spot::of(head, end)),
            None => {
                let first = end.saturating_sub(latest as u64).max(floor) + 1;
                Latest::Many((first..=end).rev().map(|seq| Spot::of(head, seq)).collect())
            }
            Some(hidden) => {
                let shown = (floor + 1..=end).rev().filter(|seq| !hidden.contains_key(seq));
                Latest::Many(shown.take(latest).map(|seq| Spot::of(head, seq)).collect())
            }
        };
        snapshot.after_mark = if mark < end { head.whereabouts(mark + 1) } else { None };
        if row.has_notes {
            snapshot.metadata = state.notes(user, row).and_then(|notes| notes.metadata.clone());
        }
        if let Some(other) = head.other_side(user) {
            (snapshot.other_read, snapshot.other_delivered) = (other.read_max, other.delivered_max);
        }
        if let Some(base) = base.filter(|base| *base < version && (head.amended.is_some() || row.has_notes)) {
            let limit = ENTRY_AMENDMENTS_MAX;
            (snapshot.amendments, snapshot.more_amendments) =
                amendments_after(state, head, user, row, base, u64::MAX, limit);
        }
        snapshot
    }

    fn entry(&self, pipeline: &Pipeline, reader: &Reader, epoch: Epoch) -> Result<Entry> {
        let Range { row, tip, .. } = &self.range;
        let mut entry = Entry {
            version: Version(self.version),
            peer: self.peer,
            is_add: !self.is_tombstone,
            state: match row.presence {
                _ if tip.dissolved => SessionState::Dissolved,
                Presence::Left | Presence::Gone => SessionState::Left,
                Presence::Member | Presence::Outside => SessionState::Member,
            },
            session_timestamp: Timestamp(self.time),
            activity: Timestamp(0),
            unread: 0,
            goto: None,
            latest: Vec::new(),
            latest_cut: false,
            read_mark: Seq::NONE,
            first: Seq::NONE,
            last: Seq::NONE,
            flags: Flags::default(),
            metadata: Body::empty(),
            mentions: Default::default(),
            alerts: Vec::new(),
            other_read: Seq(self.other_read),
            other_delivered: Seq(self.other_delivered),
            amendments: self.amendments.clone(),
            amendments_more: None,
            messages: Vec::new(),
            messages_left_out: false,
        };
        if self.is_tombstone {
            return Ok(entry);
        }
        let own = self.range.own(pipeline)?;
        entry.activity = Timestamp(activity(row, tip));
        entry.unread = self.range.unread(&own);
        if entry.unread > 0 {
            entry.goto = Some(self.oldest_unread(pipeline, reader, &own)?);
            entry.mentions = self.range.mentions;
            entry.alerts = self.range.alerts(&own);
        }
        (entry.latest, entry.latest_cut) = latest(reader, self.range.timeline, self.latest.spots())?;
        entry.last = Seq(row.end(tip.last));
        // A trim above a ceiling is not told to those who left.
        entry.read_mark = Seq(row.mark(tip)).min(entry.last);
        entry.first = Seq((row.floor(tip) + 1).min(entry.last.0 + 1));
        entry.flags = row.flags;
        entry.metadata = self.metadata.clone().map_or_else(Body::empty, Body::shared);
        if let Some(last) = self.amendments.last().filter(|_| self.more_amendments) {
            let newest = Version(self.published);
            entry.amendments_more = Some(AmendmentCursor { epoch, version: last.version, seq: last.seq, newest });
        }
        Ok(entry)
    }

    /// The oldest unread message; there is one.
    fn oldest_unread(&self, pipeline: &Pipeline, reader: &Reader, own: &Own) -> Result<(Seq, Timestamp)> {
        let Range { row, tip, .. } = &self.range;
        if let Some(place) = self.after_mark.filter(|_| self.range.is_plain_after_mark()) {
            let append = reader.files().read(self.range.timeline, row.mark(tip) + 1, place)?.append;
            if append.counts && append.sender != self.user {
                return Ok((Seq(append.seq), Timestamp(append.timestamp)));
            }
        }
        let ordinal = self.range.oldest_ordinal(own);
        let end = row.end(tip.last);
        let timeline = self.range.timeline;
        let seq = pipeline.first_not(timeline, row.mark(tip) + 1, end, |stored| stored.append.ordinal < ordinal)?;
        let append = pipeline.stored(timeline, seq)?.append;
        Ok((Seq(append.seq), Timestamp(append.timestamp)))
    }

    /// Whether a message above `base` brought the removed session back. Who walks knew it as a tombstone
    /// until then, and what does not count and came in between was never carried. If that message was trimmed,
    /// the first one left stands for it: it is above `base` only if all that is left is.
    fn is_revived_above(&self, pipeline: &Pipeline, base: u64, end: u64) -> Result<bool> {
        let Range { row, tip, .. } = &self.range;
        let Some(removed_at) = row.removed_at else {
            return Ok(false);
        };
        let (timeline, left) = (self.range.timeline, tip.trim() + 1);
        let revival = pipeline.first_not(timeline, left, end, |stored| stored.append.ordinal <= removed_at)?;
        Ok(revival <= end && pipeline.stored(timeline, revival)?.commit.version > base)
    }

    /// The messages of the session above `base` that the user is shown, unless they are above the bounds.
    pub fn messages_above(
        &self,
        pipeline: &Pipeline,
        base: u64,
        messages_max: u64,
        bytes_max: usize,
    ) -> Result<Option<Vec<Message>>> {
        let Range { row, tip, timeline, .. } = &self.range;
        let timeline = *timeline;
        let (floor, end) = (row.floor(tip), row.end(tip.last));
        let first = if self.is_tombstone {
            end + 1
        } else if row.joined_version > base {
            floor + 1
        } else if tip.version <= base {
            end + 1
        } else {
            let first = pipeline.first_not(timeline, floor + 1, end, |stored| stored.commit.version <= base)?;
            if self.is_revived_above(pipeline, base, end)? { floor + 1 } else { first }
        };
        if first > end {
            return Ok(Some(Vec::new()));
        }
        let now = pipeline.now();
        let gather = |state: &State| {
            let slot = state.slot(timeline)?;
            let head = state.head(slot);
            // This is a later moment: what the user lost meanwhile it is not shown, nor what was trimmed,
            // hidden or recalled, though the entry does not say so yet.
            let row = state.session(self.user, slot).filter(|row| !row.is_tombstone(&head.tip))?;
            let first = first.max(row.floor(&head.tip) + 1);
            let hidden = hidden(state, self.user, &row);
            let is_hidden = |seq: &u64| hidden.is_some_and(|hidden| hidden.contains_key(seq));
            let is_shown = |seq: &u64| !is_hidden(seq) && !head.is_lost(*seq);
            // One more than may be there shows that there are too many.
            let shown = (first..=end).filter(is_shown).take(usize::try_from(messages_max).unwrap_or(usize::MAX) + 1);
            let spots: Vec<Spot> = shown.map(|seq| Spot::of(head, seq)).collect();
            Some((spots, Reader::of(state, now)))
        };
        let Some((mut spots, reader)) = pipeline.look(gather)? else {
            return Ok(Some(Vec::new()));
        };
        if spots.len() as u64 > messages_max {
            return Ok(None);
        }
        reader.files().resolve(timeline, &mut spots)?;
        let mut messages = Vec::with_capacity(spots.len());
        let mut bytes = 0;
        for spot in spots {
            let message = reader.message(timeline, spot)?;
            bytes += message.body.len();
            if bytes > bytes_max {
                return Ok(None);
            }
            messages.push(message);
        }
        Ok(Some(messages))
    }
}

/// Builds the entries, reading what they show.
pub(super) fn entries(pipeline: &Pipeline, reader: &Reader, snapshots: &[Snapshot]) -> Result<Vec<Entry>> {
    reader.touch(snapshots.iter().flat_map(|snapshot| snapshot.latest.spots()).map(|spot| spot.at));
    reader.touch(snapshots.iter().filter_map(|snapshot| snapshot.after_mark));
    let epoch = pipeline.epochs.current;
    // Entries are wide: a collection that did not know how many come would copy them again and again.
    let mut entries = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        entries.push(snapshot.entry(pipeline, reader, epoch)?);
    }
    Ok(entries)
}

/// As many whole messages as fit, or the newest one cut.
fn latest(reader: &Reader, timeline: Timeline, spots: &[Spot]) -> Result<(Vec<Message>, bool)> {
    let mut messages = Vec::with_capacity(spots.len());
    let mut bytes = 0;
    for spot in spots {
        let mut message = reader.message(timeline, *spot)?;
        bytes += message.body.len();
        if bytes > reader.latest_bytes_max() {
            if messages.is_empty() {
                message.body = message.body.first(reader.latest_bytes_max());
                messages.push(message);
                return Ok((messages, true));
            }
            break;
        }
        messages.push(message);
    }
    Ok((messages, false))
}
