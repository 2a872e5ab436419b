//! Pages of a timeline as one user sees it.
//! Owns: `HistoryQuery`, `Page`, which seqs a page holds and covers. May touch: `read`, `state`.
//! Never: waits for a writer.

use super::Store;
use super::pipeline::Pipeline;
use super::read::{Message, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, Seq, Timeline, UserId};
use crate::journal::Place;
use crate::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, check};
use crate::state::{Presence, Row, State};
use crate::time::Timestamp;
use std::ops::{Bound, RangeBounds};

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
    /// Perhaps messages, but none that the user may see: from before it joined, or after it left.
    NotVisible,
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
    /// What lies beyond the oldest seq covered.
    pub older: Edge,
    /// What lies beyond the newest seq covered.
    pub newer: Edge,
}

/// What of a timeline a user sees.
#[derive(Clone, Copy)]
struct Window {
    floor: u64,
    end: u64,
    has_ceiling: bool,
}

impl Window {
    fn of(row: &Row, last: u64) -> Window {
        Window { floor: row.floor, end: row.end(last), has_ceiling: row.presence == Presence::Left }
    }

    /// What lies at and below `seq`.
    fn older(&self, seq: u64) -> Edge {
        match () {
            () if seq > self.floor => Edge::More,
            () if self.floor > 0 => Edge::NotVisible,
            () => Edge::End,
        }
    }

    /// What lies above `seq`.
    fn newer(&self, seq: u64) -> Edge {
        match () {
            () if seq < self.end => Edge::More,
            () if self.has_ceiling => Edge::NotVisible,
            () => Edge::End,
        }
    }

    /// A page without messages, between `seq` and the one after it.
    fn empty_page(&self, seq: u64) -> Page {
        Page { messages: Vec::new(), covers: None, older: self.older(seq), newer: self.newer(seq) }
    }
}

impl Store {
    /// A page of the user's session with `peer`.
    ///
    /// Never waits for a writer or a sync. Bodies are not copied.
    ///
    /// # Errors
    /// `NotFound` if the peer is a group and the user never was a member; a `User` peer without
    /// messages gives an empty page. `LimitExceeded`, `InvalidInput` for an id of 0, `Corruption`.
    pub fn history(&self, user: UserId, peer: Peer, query: &HistoryQuery) -> Result<Page> {
        check("messages of a page", query.messages, PAGE_MESSAGES_MAX)?;
        check("bytes of a page", query.bytes, PAGE_BYTES_MAX)?;
        let timeline = Timeline::of(user, peer);
        if user.is_none() || timeline.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "id 0 means none"));
        }
        let (low, high) = match query.bounds {
            Bounds::Seqs(low, high) => (low, high),
            Bounds::Times(low, high) => seqs_of_times(&self.pipeline, timeline, low, high)?,
        };
        let time = self.pipeline.now();
        let state = self.pipeline.state();
        let Some((slot, window)) = window(&state, user, timeline) else {
            return match peer {
                Peer::User(_) => Ok(Window { floor: 0, end: 0, has_ceiling: false }.empty_page(0)),
                Peer::Group(_) => {
                    let message = format!("no such session: {timeline} user={}", user.0);
                    Err(Error::new(ErrorKind::NotFound, message))
                }
            };
        };
        let first = low.max(window.floor + 1);
        let last = high.min(window.end);
        if first > last {
            return Ok(window.empty_page(high.clamp(window.floor, window.end)));
        }
        let count = (query.messages as u64).min(last - first + 1);
        if count == 0 || query.bytes == 0 {
            return Ok(window.empty_page(if query.newest_first { last } else { first - 1 }));
        }
        let places = &state.head(slot).places;
        let places: Vec<Place> = if query.newest_first {
            places[(last - count) as usize..last as usize].iter().rev().copied().collect()
        } else {
            places[first as usize - 1..(first - 1 + count) as usize].to_vec()
        };
        let reader = Reader { files: state.files.clone(), time: time.max(state.time) };
        drop(state);

        reader.touch(places.iter().copied());
        let mut messages = Vec::with_capacity(places.len());
        let mut bytes = 0;
        for place in places {
            let message = reader.message(place)?;
            bytes += message.body.len();
            if bytes > query.bytes && !messages.is_empty() {
                break;
            }
            messages.push(message);
        }
        let reached = messages.len() as u64;
        let (oldest, newest) =
            if query.newest_first { (last - reached + 1, last) } else { (first, first + reached - 1) };
        Ok(Page {
            messages,
            covers: Some((Seq(oldest), Seq(newest))),
            older: window.older(oldest - 1),
            newer: window.newer(newest),
        })
    }
}

/// The part of a timeline that a user sees; `None` if it never had the session.
fn window(state: &State, user: UserId, timeline: Timeline) -> Option<(u32, Window)> {
    let slot = state.slot(timeline)?;
    let row = state.row(user, slot).filter(|row| row.presence != Presence::Outside)?;
    Some((slot, Window::of(row, state.head(slot).tip.last)))
}

/// The seqs whose timestamps lie in a range; timestamps rise with seqs.
fn seqs_of_times(pipeline: &Pipeline, timeline: Timeline, low: u64, high: u64) -> Result<(u64, u64)> {
    let (slot, last) = {
        let state = pipeline.state();
        match state.slot(timeline) {
            Some(slot) => (slot, state.head(slot).tip.last),
            None => return Ok((1, 0)),
        }
    };
    let first = pipeline.first_not(slot, 1, last, |stored| stored.append.timestamp < low)?;
    let after = pipeline.first_not(slot, first, last, |stored| stored.append.timestamp <= high)?;
    Ok((first, after - 1))
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
