//! Pages of a timeline as one user sees it.
//! Owns: `HistoryQuery`, `Page`, which seqs a page holds and covers. May touch: `read`,
//! `visible`, `state`.
//! Never: waits for a writer.

use super::Store;
use super::pipeline::Pipeline;
use super::read::{Message, Reader, Spot};
use super::visible::hidden;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, Seq, Timeline, UserId};
use crate::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, check};
use crate::state::{Head, LostRuns, Presence, Row, State};
use crate::time::Timestamp;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Which messages a page is to hold.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    newest_first: bool,
    bounds: Bounds,
    messages: usize,
    bytes: usize,
}

/// Inclusive bounds; empty if the low one is above the high one.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    Seqs(u64, u64),
    Times(u64, u64),
}

impl HistoryQuery {
    /// The newest messages, newest first: 20 of them, or 1 MiB.
    pub fn newest() -> HistoryQuery {
        HistoryQuery { newest_first: true, bounds: Bounds::Seqs(0, u64::MAX), messages: 20, bytes: 1 << 20 }
    }

    /// The oldest messages, oldest first: 20 of them, or 1 MiB.
    pub fn oldest() -> HistoryQuery {
        HistoryQuery { newest_first: false, ..HistoryQuery::newest() }
    }

    /// Only messages whose seq lies in `range`. Replaces any bound given before.
    pub fn seqs(mut self, range: impl RangeBounds<Seq>) -> HistoryQuery {
        let (low, high) = inclusive(range.start_bound().map(|seq| seq.0), range.end_bound().map(|seq| seq.0));
        self.bounds = Bounds::Seqs(low, high);
        self
    }

    /// Only messages whose timestamp lies in `range`. Replaces any bound given before.
    pub fn times(mut self, range: impl RangeBounds<Timestamp>) -> HistoryQuery {
        let (low, high) = inclusive(range.start_bound().map(|time| time.0), range.end_bound().map(|time| time.0));
        self.bounds = Bounds::Times(low, high);
        self
    }

    /// At most so many messages; 0 gives an empty page. At most [`PAGE_MESSAGES_MAX`].
    pub fn limit(mut self, messages: usize) -> HistoryQuery {
        self.messages = messages;
        self
    }

    /// At most so many bytes of bodies, but at least one message; 0 gives an empty page. At most
    /// [`PAGE_BYTES_MAX`].
    pub fn bytes(mut self, bytes: usize) -> HistoryQuery {
        self.bytes = bytes;
        self
    }
}

/// What lies beyond a side of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edge {
    /// Messages that the user may see.
    More,
    /// Perhaps messages, but none that the user may see: from before it joined, cleared by it, or from
    /// after it left.
    NotVisible,
    /// Messages that were there and are gone for everyone.
    Trimmed,
    /// Nothing but messages that are lost: the store was damaged, and repairing it did not bring them back.
    Lost,
    /// Nothing.
    End,
}

/// A run of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The messages, in the direction asked for.
    pub messages: Vec<Message>,
    /// The first and last seq about which this page says everything: a seq in between that is not
    /// among the messages is not shown to this user. `None` for a page that says nothing.
    pub covers: Option<(Seq, Seq)>,
    /// Runs of messages among those covered, first and last seq of each, that are lost.
    pub lost: Vec<(Seq, Seq)>,
    /// What lies beyond the oldest seq covered.
    pub older: Edge,
    /// What lies beyond the newest seq covered.
    pub newer: Edge,
}

/// What of a timeline a user sees.
struct Window {
    floor: u64,
    trim: u64,
    end: u64,
    has_ceiling: bool,
    /// What the user hid between them and is not lost, ascending.
    hidden: Vec<u64>,
    lost: Option<Arc<LostRuns>>,
}

impl Window {
    /// Of a timeline without messages.
    fn empty() -> Window {
        Window { floor: 0, trim: 0, end: 0, has_ceiling: false, hidden: Vec::new(), lost: None }
    }

    fn of(state: &State, head: &Head, user: UserId, row: &Row) -> Window {
        let floor = row.floor(&head.tip);
        // After the end of a group its members' ceilings lie below what is trimmed.
        let end = row.end(head.tip.last).max(floor);
        let hidden = match hidden(state, user, row) {
            Some(hidden) if floor < end => {
                hidden.range(floor + 1..=end).map(|(seq, _)| *seq).filter(|seq| !head.is_lost(*seq)).collect()
            }
            _ => Vec::new(),
        };
        let (trim, has_ceiling) = (head.tip.trim(), row.presence == Presence::Left);
        Window { floor, trim, end, has_ceiling, hidden, lost: head.lost.clone() }
    }

    fn is_hidden(&self, seq: u64) -> bool {
        (!self.hidden.is_empty() && self.hidden.binary_search(&seq).is_ok())
            || self.lost.as_ref().is_some_and(|lost| lost.has(seq))
    }

    /// Whether a message is shown among `low..=high`, which lie between floor and end.
    fn shows_any(&self, low: u64, high: u64) -> bool {
        if low > high {
            return false;
        }
        let hidden = self.hidden.partition_point(|seq| *seq <= high) - self.hidden.partition_point(|seq| *seq < low);
        hidden as u64 + self.lost_within(low, high).map(|(first, last)| last - first + 1).sum::<u64>() < high - low + 1
    }

    fn lost_within(&self, low: u64, high: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.lost.iter().flat_map(move |lost| lost.within(low, high))
    }

    /// What lies at and below `seq`.
    fn older(&self, seq: u64) -> Edge {
        match () {
            () if self.shows_any(self.floor + 1, seq) => Edge::More,
            () if self.lost_within(self.floor + 1, seq).next().is_some() => Edge::Lost,
            () if self.floor == 0 => Edge::End,
            () if self.trim >= self.floor => Edge::Trimmed,
            () => Edge::NotVisible,
        }
    }

    /// What lies above `seq`.
    fn newer(&self, seq: u64) -> Edge {
        match () {
            () if self.shows_any(seq + 1, self.end) => Edge::More,
            () if self.lost_within(seq + 1, self.end).next().is_some() => Edge::Lost,
            () if self.has_ceiling => Edge::NotVisible,
            () => Edge::End,
        }
    }

    /// A page without messages, between `seq` and the one after it.
    fn empty_page(&self, seq: u64) -> Page {
        Page { messages: Vec::new(), covers: None, lost: Vec::new(), older: self.older(seq), newer: self.newer(seq) }
    }
}

impl Store {
    /// A page of the user's session with `peer`.
    ///
    /// Never waits for a writer or a sync. Bodies are not copied. What the user hid is left out, what was
    /// recalled is there as a notice.
    ///
    /// # Errors
    /// `NotFound` if the user never had a session with the group or source, or was removed; a `User` peer
    /// without messages gives an empty page. `LimitExceeded`, `InvalidInput` for an id of 0, `Corruption`.
    pub fn history(&self, user: UserId, peer: Peer, query: &HistoryQuery) -> Result<Page> {
        check("messages of a page", query.messages, PAGE_MESSAGES_MAX)?;
        check("bytes of a page", query.bytes, PAGE_BYTES_MAX)?;
        let timeline = self.session_timeline(user, peer)?;
        let (low, high) = match query.bounds {
            Bounds::Seqs(low, high) => (low, high),
            Bounds::Times(low, high) => seqs_of_times(&self.pipeline, timeline, low, high)?,
        };
        let now = self.pipeline.now();
        let found = self.pipeline.look(|state| gather(state, user, timeline, (low, high), query, now))?;
        let Some(Gathered { window, first, last, mut spots, reader }) = found else {
            return match peer {
                Peer::User(_) => Ok(Window::empty().empty_page(0)),
                _ => {
                    let message = format!("no such session: {timeline} user={}", user.0);
                    Err(Error::new(ErrorKind::NotFound, message))
                }
            };
        };
        if first > last {
            return Ok(window.empty_page(high.clamp(window.floor, window.end)));
        }
        if query.messages == 0 || query.bytes == 0 {
            return Ok(window.empty_page(if query.newest_first { last } else { first - 1 }));
        }
        reader.files().resolve(timeline, &mut spots)?;
        reader.touch(spots.iter().map(|spot| spot.at));
        let mut messages: Vec<Message> = Vec::with_capacity(spots.len());
        let mut bytes = 0;
        for spot in spots {
            let message = reader.message(timeline, spot)?;
            bytes += message.body.len();
            if bytes > query.bytes && !messages.is_empty() {
                break;
            }
            messages.push(message);
        }
        // Where nothing more is shown within the bounds, the page speaks for all up to there.
        let reached = messages.last().map(|message| message.seq.0);
        let (oldest, newest) = if query.newest_first {
            (reached.filter(|seq| window.shows_any(first, seq - 1)).unwrap_or(first), last)
        } else {
            (first, reached.filter(|seq| window.shows_any(seq + 1, last)).unwrap_or(last))
        };
        Ok(Page {
            messages,
            covers: Some((Seq(oldest), Seq(newest))),
            lost: window.lost_within(oldest, newest).map(|(first, last)| (Seq(first), Seq(last))).collect(),
            older: window.older(oldest - 1),
            newer: window.newer(newest),
        })
    }
}

/// What a page is made from, of one moment.
struct Gathered {
    window: Window,
    /// The seqs within bounds and window; none if they cross.
    first: u64,
    last: u64,
    spots: Vec<Spot>,
    reader: Reader,
}

/// Gathers a page; `None` if the user has no such session.
fn gather(
    state: &State,
    user: UserId,
    timeline: Timeline,
    (low, high): (u64, u64),
    query: &HistoryQuery,
    now: u64,
) -> Option<Gathered> {
    let row = state.slot(timeline).and_then(|slot| state.session(user, slot))?;
    let head = state.head(row.slot);
    let window = Window::of(state, head, user, &row);
    let first = low.max(window.floor + 1);
    let last = high.min(window.end);
    let spot = |seq: u64| Spot::of(head, seq);
    let shown = (first..=last).filter(|seq| !window.is_hidden(*seq));
    let count = if query.bytes == 0 { 0 } else { query.messages };
    let spots = if query.newest_first {
        shown.rev().take(count).map(spot).collect()
    } else {
        shown.take(count).map(spot).collect()
    };
    Some(Gathered { window, first, last, spots, reader: Reader::of(state, now) })
}

/// The seqs whose timestamps lie in a range; timestamps rise with seqs.
fn seqs_of_times(pipeline: &Pipeline, timeline: Timeline, low: u64, high: u64) -> Result<(u64, u64)> {
    pipeline.of_one_moment(|| {
        let tip = pipeline.look(|state| state.head_of(timeline).map(|head| head.tip))?;
        let Some(tip) = tip else { return Ok((1, 0)) };
        let (trim, last) = (tip.trim(), tip.last);
        let first = pipeline.first_not(timeline, trim + 1, last, |stored| stored.append.timestamp < low)?;
        let after = pipeline.first_not(timeline, first, last, |stored| stored.append.timestamp <= high)?;
        Ok((first, after - 1))
    })
}

fn inclusive(start: Bound<u64>, end: Bound<u64>) -> (u64, u64) {
    let (low, nothing_from_below) = match start {
        Bound::Included(low) => (low, false),
        Bound::Excluded(low) => (low.saturating_add(1), low == u64::MAX),
        Bound::Unbounded => (0, false),
    };
    let (high, nothing_from_above) = match end {
        Bound::Included(high) => (high, false),
        Bound::Excluded(high) => (high.saturating_sub(1), high == 0),
        Bound::Unbounded => (u64::MAX, false),
    };
    // What no number can say is said by crossing the bounds, each as near to its place as can be.
    (if nothing_from_above { low.max(1) } else { low }, if nothing_from_below { high.min(u64::MAX - 1) } else { high })
}
