//! What one user sees of a timeline.
//! Owns: which sessions there are, their versions, what is hidden, which amendments show. May touch: `state`.
//! Never: reads a message.

use crate::id::{Seq, UserId, Version};
use crate::state::{Head, Hide, Presence, Row, State, Tip};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// What became of a message, as one user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amendment {
    /// Of which message.
    pub seq: Seq,
    /// The commit position of the newest amendment of this message.
    pub version: Version,
    /// Its commit time.
    pub at: Timestamp,
    /// Who did it; none for the server itself.
    pub by: UserId,
    /// What it did.
    pub kind: AmendmentKind,
}

/// What an amendment did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmendmentKind {
    /// The message is taken back, for everyone.
    Recalled,
    /// It has another body.
    Edited,
    /// The user who asks hid it from itself, for good.
    Hidden,
}

/// The sessions of a user: its rows, and the broadcasts that it sees without one.
pub(super) struct Sessions<'a> {
    rows: &'a [Row],
    broadcasts: Vec<Row>,
}

impl<'a> Sessions<'a> {
    pub fn of(state: &'a State, user: UserId) -> Sessions<'a> {
        let rows = state.rows(user);
        let exists_since = if state.broadcasts().is_empty() { 0 } else { state.exists_since(user) };
        let broadcasts = state.broadcasts().iter().filter_map(|slot| match state.row(user, *slot) {
            Some(row) if row.is_session() => None,
            row => state.broadcast_since(*slot, row, exists_since),
        });
        Sessions { rows, broadcasts: broadcasts.collect() }
    }

    /// All of them, tombstones included.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        let is_shown_otherwise = |row: &Row| {
            row.presence == Presence::Gone && self.broadcasts.iter().any(|broadcast| broadcast.slot == row.slot)
        };
        let rows = self.rows.iter().filter(move |row| row.presence != Presence::Outside && !is_shown_otherwise(row));
        rows.chain(&self.broadcasts)
    }
}

/// The newest change of a session that its user sees, and its commit time. `horizon` is the present one.
pub(super) fn entry_version(row: &Row, head: &Head, user: UserId, horizon: u64) -> (u64, u64) {
    let tip = &head.tip;
    let own = (row.version, row.time);
    if row.is_tombstone(tip) {
        let end = if tip.dissolved { (tip.news_version, tip.news_time) } else { (0, 0) };
        return own.max(end);
    }
    if row.presence == Presence::Left {
        let amended = head.amended.as_ref().map_or((0, 0), |amended| amended.newest_up_to(row.ceiling));
        let trimmed = head.trims.as_ref().map_or((0, 0), |trims| trims.newest_of(row.ceiling_ordinal, horizon));
        return own.max(amended).max(trimmed);
    }
    let newest = own.max((tip.version, tip.time)).max((tip.news_version, tip.news_time));
    newest.max(head.other_side(user).map_or((0, 0), |side| (side.version, side.time)))
}

/// When something last happened in a session, to sort by.
pub(super) fn activity(row: &Row, tip: &Tip) -> u64 {
    let (end, timestamp) = match row.presence {
        Presence::Left => (row.ceiling, row.ceiling_timestamp),
        Presence::Member | Presence::Outside | Presence::Gone => (tip.last, tip.last_timestamp),
    };
    if end > row.joined_at { timestamp } else { row.joined_time }
}

/// The messages that the user hid from itself.
pub(super) fn hidden<'a>(state: &'a State, user: UserId, row: &Row) -> Option<&'a BTreeMap<u64, Hide>> {
    state.notes(user, row).map(|notes| &notes.hidden).filter(|hidden| !hidden.is_empty())
}

/// What became of the messages that the user sees, in the order in which it did, from above this pair of
/// version and seq; and whether there is more than `limit`.
pub(super) fn amendments_after(
    state: &State,
    head: &Head,
    user: UserId,
    row: &Row,
    version: u64,
    seq: u64,
    limit: usize,
) -> (Vec<Amendment>, bool) {
    let hidden = hidden(state, user, row);
    let (floor, end) = (row.floor(&head.tip), row.end(head.tip.last));
    let is_seen = |seq: u64| floor < seq && seq <= end;
    let amended = head.amended.iter().flat_map(|amended| amended.after(version, seq));
    let amended = amended.filter(|(seq, _)| is_seen(*seq) && !hidden.is_some_and(|hidden| hidden.contains_key(seq)));
    let mut found: Vec<Amendment> = amended
        .take(limit + 1)
        .map(|(seq, amendment)| Amendment {
            seq: Seq(seq),
            version: Version(amendment.version),
            at: Timestamp(amendment.time),
            by: amendment.by,
            kind: if amendment.is_recall() { AmendmentKind::Recalled } else { AmendmentKind::Edited },
        })
        .collect();
    let hides = hidden.into_iter().flatten().filter(|(hidden, _)| is_seen(**hidden));
    found.extend(hides.filter(|(hidden, hide)| (hide.version, **hidden) > (version, seq)).map(|(seq, hide)| {
        Amendment {
            seq: Seq(*seq),
            version: Version(hide.version),
            at: Timestamp(hide.time),
            by: user,
            kind: AmendmentKind::Hidden,
        }
    }));
    found.sort_unstable_by_key(|amendment| (amendment.version, amendment.seq));
    let more = found.len() > limit;
    found.truncate(limit);
    (found, more)
}
