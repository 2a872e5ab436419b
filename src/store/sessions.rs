//! The session list: what a device asks for at login.
//! Owns: entries, the walks over them, when a walk must begin again. May touch: `read`, `state`.
//! Never: looks at a message of a session it does not return, or at one that was read.

use super::Store;
use super::cursor::{Cursor, RecentCursor};
use super::pipeline::Pipeline;
use super::read::{Message, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Epoch, Peer, Seq, UserId, Version};
use crate::journal::{EpochEnd, Place, ends_since};
use crate::limits::{
    CATCH_UP_BYTES_MAX, CATCH_UP_MESSAGES_MAX, LATEST_BYTES_MAX, LATEST_MESSAGES_MAX, LIST_ENTRIES_MAX, check,
};
use crate::state::{Presence, Row, State, Tip};
use crate::time::Timestamp;

/// How much of a session list a page is to hold.
#[derive(Clone, Debug)]
pub struct ListQuery {
    limit: usize,
    latest: usize,
}

impl Default for ListQuery {
    fn default() -> ListQuery {
        ListQuery { limit: 100, latest: 1 }
    }
}

impl ListQuery {
    /// 100 entries, each with its latest message.
    pub fn new() -> ListQuery {
        ListQuery::default()
    }

    /// At most so many entries; 0 gives an empty page. At most [`LIST_ENTRIES_MAX`].
    pub fn limit(mut self, entries: usize) -> ListQuery {
        self.limit = entries;
        self
    }

    /// So many of the latest messages with each entry. At most [`LATEST_MESSAGES_MAX`].
    pub fn latest(mut self, messages: usize) -> ListQuery {
        self.latest = messages;
        self
    }

    fn check(&self) -> Result<()> {
        check("entries of a list", self.limit, LIST_ENTRIES_MAX)?;
        check("latest messages", self.latest, LATEST_MESSAGES_MAX)
    }
}

/// How much a page of `catch_up` is to hold.
#[derive(Clone, Debug)]
pub struct CatchUpQuery {
    list: ListQuery,
    messages: usize,
    bytes: usize,
}

impl Default for CatchUpQuery {
    fn default() -> CatchUpQuery {
        CatchUpQuery { list: ListQuery::default(), messages: 1_000, bytes: 1 << 20 }
    }
}

impl CatchUpQuery {
    /// 100 entries, each with its latest message, with up to 1,000 messages or 1 MiB among them.
    pub fn new() -> CatchUpQuery {
        CatchUpQuery::default()
    }

    /// As [`ListQuery::limit`].
    pub fn limit(mut self, entries: usize) -> CatchUpQuery {
        self.list.limit = entries;
        self
    }

    /// As [`ListQuery::latest`].
    pub fn latest(mut self, messages: usize) -> CatchUpQuery {
        self.list.latest = messages;
        self
    }

    /// At most so many messages in all entries together. At most [`CATCH_UP_MESSAGES_MAX`].
    pub fn messages(mut self, messages: usize) -> CatchUpQuery {
        self.messages = messages;
        self
    }

    /// At most so many bytes of their bodies. At most [`CATCH_UP_BYTES_MAX`].
    pub fn bytes(mut self, bytes: usize) -> CatchUpQuery {
        self.bytes = bytes;
        self
    }
}

/// Whether the user is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// It is.
    Member,
    /// It left; the session is frozen where it did.
    Left,
}

/// One session of a user, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The newest change the user sees in it.
    pub version: Version,
    /// With whom.
    pub peer: Peer,
    /// Whether the session is there; otherwise it is a tombstone.
    pub is_add: bool,
    /// Whether the user is in it.
    pub state: SessionState,
    /// Commit time of `version`; for synchronising only.
    pub session_timestamp: Timestamp,
    /// When something last happened in it, to sort by.
    pub activity: Timestamp,
    /// How many messages are unread.
    pub unread: u64,
    /// Seq and timestamp of the oldest unread message, to jump to.
    pub goto: Option<(Seq, Timestamp)>,
    /// The latest messages, newest first.
    pub latest: Vec<Message>,
    /// The first of `latest` is cut to [`LATEST_BYTES_MAX`].
    pub latest_cut: bool,
    /// Up to where the user has read.
    pub read_mark: Seq,
    /// The first seq that is shown; `last + 1` if none is.
    pub first: Seq,
    /// The last seq that is shown.
    pub last: Seq,
    /// Of `catch_up` only: the messages above the walk's base, oldest first.
    pub messages: Vec<Message>,
    /// Of `catch_up` only: there are such messages, and they did not fit.
    pub messages_left_out: bool,
}

/// A page of a session list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct List {
    /// In the order of their versions.
    pub entries: Vec<Entry>,
    /// Where to go on, now or later.
    pub next: Cursor,
    /// Whether more follows now.
    pub more: bool,
    /// The present epoch.
    pub epoch: Epoch,
    /// The ends of epochs that the asker has not seen, oldest first: what it holds of them above
    /// their end was lost, and is to be dropped.
    pub epoch_ends: Vec<EpochEnd>,
}

/// A page of sessions by activity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recent {
    /// The one with the newest activity first.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` if nothing follows.
    pub before: Option<RecentCursor>,
    /// On the first page: from where [`Store::changed`] goes on.
    pub changed: Option<Cursor>,
    /// The present epoch.
    pub epoch: Epoch,
    /// On the first page: all ends of epochs, see [`List::epoch_ends`].
    pub epoch_ends: Vec<EpochEnd>,
}

/// Counts over all sessions of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many messages are unread.
    pub unread: u64,
}

/// What an entry is made from: gathered at one moment, built afterwards.
struct Snapshot {
    row: Row,
    tip: Tip,
    peer: Peer,
    /// Where the latest messages lie, newest first.
    latest: Latest,
    /// Where the message after the read mark lies.
    after_mark: Option<Place>,
}

/// One place needs no memory of its own, and one is what most ask for.
enum Latest {
    One(Place),
    Many(Vec<Place>),
}

impl Latest {
    fn places(&self) -> &[Place] {
        match self {
            Latest::One(place) => std::slice::from_ref(place),
            Latest::Many(places) => places,
        }
    }
}

impl Store {
    /// The user's sessions that changed since `cursor`, in the order in which they did; from nothing,
    /// all of them. Repeat with `next` while there is `more`; keep the last `next` for the next login.
    ///
    /// Each entry is exact at one moment. A session that changes during the walk comes again, and
    /// nothing is left out. Never waits for a writer or a sync.
    ///
    /// # Errors
    /// `ResetRequired` if the cursor does not fit this store any more: begin from nothing, and drop
    /// what `epoch_ends` says was lost. `LimitExceeded`, `InvalidInput` for id 0, `Corruption`.
    pub fn changed(&self, user: UserId, cursor: Option<&Cursor>, query: &ListQuery) -> Result<List> {
        Ok(self.walk(user, Start::of(cursor), query)?.0)
    }

    /// The user's sessions that changed at `since` or later; go on with [`Store::changed`].
    ///
    /// For clients that keep a time and no cursor. It repeats what it gave for the same time, and as
    /// a time names no epoch, it never misses a change only where nothing is published before it is
    /// synced: in a `Buffered` store, after a power cut, prefer cursors.
    ///
    /// # Errors
    /// `LimitExceeded`, `InvalidInput` for id 0, `Corruption`.
    pub fn changed_since(&self, user: UserId, since: Timestamp, query: &ListQuery) -> Result<List> {
        Ok(self.walk(user, Start::At(since), query)?.0)
    }

    /// Like [`Store::changed`], but an entry also carries its messages above the walk's base (all that
    /// are shown, if the user came into the session above it), as long as those of the page stay within
    /// the bounds. From nothing the base is the present, so nothing old is carried: pull it by
    /// [`Store::history`].
    ///
    /// # Errors
    /// As [`Store::changed`].
    pub fn catch_up(&self, user: UserId, cursor: Option<&Cursor>, query: &CatchUpQuery) -> Result<List> {
        check("messages to catch up with", query.messages, CATCH_UP_MESSAGES_MAX)?;
        check("bytes to catch up with", query.bytes, CATCH_UP_BYTES_MAX)?;
        let (mut list, snapshots, base) = self.walk(user, Start::of(cursor), &query.list)?;
        let (mut messages_left, mut bytes_left) = (query.messages as u64, query.bytes);
        for (entry, snapshot) in list.entries.iter_mut().zip(&snapshots) {
            match messages_above(&self.pipeline, snapshot, base, messages_left, bytes_left)? {
                Some(messages) => {
                    messages_left -= messages.len() as u64;
                    bytes_left -= messages.iter().map(|message| message.body.len()).sum::<usize>();
                    entry.messages = messages;
                }
                None => entry.messages_left_out = true,
            }
        }
        Ok(list)
    }

    /// The user's sessions by activity, newest first. Go on with `before`.
    ///
    /// # Errors
    /// `LimitExceeded`, `InvalidInput` for id 0, `Corruption`.
    pub fn recent(&self, user: UserId, before: Option<&RecentCursor>, query: &ListQuery) -> Result<Recent> {
        query.check()?;
        check_user(user)?;
        let pipeline = &self.pipeline;
        let time = pipeline.now();
        let state = pipeline.state();
        let key = |row: &Row| {
            let head = state.head(row.slot);
            head.timeline.peer_of(user).map(|peer| (std::cmp::Reverse(activity(row, &head.tip)), peer))
        };
        let start = before.map(|cursor| (std::cmp::Reverse(cursor.activity.0), cursor.peer));
        let mut found: Vec<_> = sessions(&state, user)
            .filter_map(|row| Some((key(row)?, row)))
            .filter(|(key, _)| start.is_none_or(|start| *key > start))
            .collect();
        let more = found.len() > query.limit;
        if more && query.limit > 0 {
            found.select_nth_unstable_by_key(query.limit, |(key, _)| *key);
        }
        found.truncate(query.limit);
        found.sort_unstable_by_key(|(key, _)| *key);
        let snapshots: Vec<_> = found.iter().map(|(key, row)| snapshot(&state, row, key.1, query.latest)).collect();
        let last =
            found.last().map(|((activity, peer), _)| RecentCursor { activity: Timestamp(activity.0), peer: *peer });
        let published = Version(state.version);
        let reader = Reader { files: state.files.clone(), time: time.max(state.time) };
        drop(state);
        let entries = entries(pipeline, &reader, user, &snapshots)?;
        let epoch = pipeline.epochs.current;
        let is_first = before.is_none();
        Ok(Recent {
            entries,
            before: if more { last.or(before.copied()) } else { None },
            changed: is_first.then_some(Cursor { epoch, base: published, position: published, newest: published }),
            epoch,
            epoch_ends: if is_first { ends_since(&pipeline.epochs, None) } else { Vec::new() },
        })
    }

    /// What is unread in all of the user's sessions together; nothing for a user without any.
    ///
    /// # Errors
    /// `InvalidInput` for id 0, `Corruption`.
    pub fn total_unread(&self, user: UserId) -> Result<Totals> {
        check_user(user)?;
        let rows: Vec<(Row, Tip)> = {
            let state = self.pipeline.state();
            sessions(&state, user).map(|row| (*row, state.head(row.slot).tip)).collect()
        };
        let mut totals = Totals::default();
        for (row, tip) in rows {
            let own = own_above_mark(&self.pipeline, &row, &tip)?;
            totals.unread += unread(&row, &tip, own.len() as u64);
        }
        Ok(totals)
    }

    /// One page of a walk, what its entries were made from, and the walk's base.
    fn walk(&self, user: UserId, start: Start, query: &ListQuery) -> Result<(List, Vec<Snapshot>, u64)> {
        query.check()?;
        check_user(user)?;
        let pipeline = &self.pipeline;
        let epochs = &pipeline.epochs;
        let time = pipeline.now();
        let state = pipeline.state();
        let published = Version(state.version);
        let cursor = match start {
            Start::Nothing => {
                Cursor { epoch: epochs.current, base: published, position: Version::NONE, newest: Version::NONE }
            }
            Start::At(since) => {
                let first = state.first_version_at(since.0).unwrap_or(published.0 + 1);
                let before = Version(first - 1);
                Cursor { epoch: epochs.current, base: before, position: before, newest: Version::NONE }
            }
            Start::After(cursor) => {
                check_cursor(&cursor, published, epochs.current, &epochs.ended)?;
                cursor
            }
        };
        let mut found: Vec<(u64, &Row)> = Vec::new();
        for row in sessions(&state, user) {
            let version = entry_version(row, &state.head(row.slot).tip).0;
            if version > cursor.position.0 {
                found.push((version, row));
            }
        }
        let more = found.len() > query.limit;
        if more && query.limit > 0 {
            found.select_nth_unstable_by_key(query.limit, |(version, _)| *version);
        }
        found.truncate(query.limit);
        found.sort_unstable_by_key(|(version, _)| *version);
        let newest = found.last().map_or(Version::NONE, |(version, _)| Version(*version));
        let snapshots: Vec<Snapshot> = found
            .iter()
            .filter_map(|(_, row)| {
                let peer = state.head(row.slot).timeline.peer_of(user)?;
                Some(snapshot(&state, row, peer, query.latest))
            })
            .collect();
        let reader = Reader { files: state.files.clone(), time: time.max(state.time) };
        drop(state);
        let entries = entries(pipeline, &reader, user, &snapshots)?;
        let epoch = epochs.current;
        let next = if more {
            let position = cursor.position.max(newest);
            // Not only what was handed out: a session that stands above this page because of a change
            // that a crash takes back would fall below it, and the walk would never come to it.
            let newest = if query.limit == 0 { cursor.newest } else { published };
            Cursor { epoch, base: cursor.base, position, newest }
        } else {
            Cursor { epoch, base: published, position: published, newest: published }
        };
        let seen = match start {
            Start::After(cursor) => Some(cursor.epoch),
            Start::Nothing | Start::At(_) => None,
        };
        let list = List { entries, next, more, epoch, epoch_ends: ends_since(epochs, seen) };
        Ok((list, snapshots, cursor.base.0))
    }
}

/// Where a walk begins.
#[derive(Clone, Copy)]
enum Start {
    Nothing,
    At(Timestamp),
    After(Cursor),
}

impl Start {
    fn of(cursor: Option<&Cursor>) -> Start {
        cursor.map_or(Start::Nothing, |cursor| Start::After(*cursor))
    }
}

/// Checks that everything the cursor's client has seen is in this store.
fn check_cursor(cursor: &Cursor, published: Version, current: Epoch, ended: &[EpochEnd]) -> Result<()> {
    let end = match ended.iter().find(|ended| ended.epoch == cursor.epoch) {
        _ if cursor.epoch == current => published,
        Some(ended) => ended.end,
        None => return Err(Error::new(ErrorKind::ResetRequired, "the cursor's epoch is unknown here")),
    };
    if cursor.reach() <= end {
        return Ok(());
    }
    let message = format!("the cursor is beyond the end of its epoch: end={} got={}", end.0, cursor.reach().0);
    Err(Error::new(ErrorKind::ResetRequired, message))
}

fn check_user(user: UserId) -> Result<()> {
    if user.is_none() { Err(Error::new(ErrorKind::InvalidInput, "id 0 means none")) } else { Ok(()) }
}

/// The rows of a user that are sessions.
fn sessions(state: &State, user: UserId) -> impl Iterator<Item = &Row> {
    state.rows(user).iter().filter(|row| row.presence != Presence::Outside)
}

/// The newest change of a session that its user sees, and its commit time.
fn entry_version(row: &Row, tip: &Tip) -> (u64, u64) {
    if row.presence == Presence::Left || row.version >= tip.version {
        (row.version, row.time)
    } else {
        (tip.version, tip.time)
    }
}

fn activity(row: &Row, tip: &Tip) -> u64 {
    let (end, timestamp) = match row.presence {
        Presence::Left => (row.ceiling, row.ceiling_timestamp),
        Presence::Member | Presence::Outside => (tip.last, tip.last_timestamp),
    };
    if end > row.joined_at { timestamp } else { row.joined_time }
}

/// The number of unread messages, given how many of the sender's own are above its mark.
fn unread(row: &Row, tip: &Tip, own: u64) -> u64 {
    let ordinal = if row.presence == Presence::Left { row.ceiling_ordinal } else { tip.ordinal };
    // A floor above the ceiling's messages, or a mark at the end, leaves nothing.
    ordinal.saturating_sub(row.mark_ordinal()).saturating_sub(own)
}

/// The ordinals of the user's own counting messages between mark and end, newest first. Only a mark
/// that moved back, or messages sent from outside, leave any there.
fn own_above_mark(pipeline: &Pipeline, row: &Row, tip: &Tip) -> Result<Vec<u64>> {
    let (mark, end) = (row.mark(), row.end(tip.last));
    let mut own = Vec::new();
    let mut seq = row.own_last;
    while seq > mark {
        let append = pipeline.stored(row.slot, seq)?.append;
        if seq <= end {
            own.push(append.ordinal);
        }
        if append.own_previous >= seq {
            let path = std::path::Path::new("memory");
            return Err(Error::corruption_at(path, seq, "an earlier own message", append.own_previous.to_string()));
        }
        seq = append.own_previous;
    }
    Ok(own)
}

fn snapshot(state: &State, row: &Row, peer: Peer, latest: usize) -> Snapshot {
    let head = state.head(row.slot);
    let end = row.end(head.tip.last);
    let first_latest = end.saturating_sub(latest as u64).max(row.floor).min(end);
    let latest = match &head.places[first_latest as usize..end as usize] {
        [place] => Latest::One(*place),
        places => Latest::Many(places.iter().rev().copied().collect()),
    };
    Snapshot { row: *row, tip: head.tip, peer, latest, after_mark: head.place(row.mark() + 1) }
}

fn entries(pipeline: &Pipeline, reader: &Reader, user: UserId, snapshots: &[Snapshot]) -> Result<Vec<Entry>> {
    reader.touch(snapshots.iter().flat_map(|snapshot| snapshot.latest.places()).copied());
    reader.touch(snapshots.iter().filter_map(|snapshot| snapshot.after_mark));
    snapshots.iter().map(|snapshot| entry(pipeline, reader, user, snapshot)).collect()
}

fn entry(pipeline: &Pipeline, reader: &Reader, user: UserId, snapshot: &Snapshot) -> Result<Entry> {
    let Snapshot { row, tip, .. } = snapshot;
    let (version, time) = entry_version(row, tip);
    let own = own_above_mark(pipeline, row, tip)?;
    let unread = unread(row, tip, own.len() as u64);
    let goto = if unread == 0 { None } else { Some(oldest_unread(pipeline, reader, user, snapshot, &own)?) };
    let (latest, latest_cut) = latest(reader, snapshot.latest.places())?;
    Ok(Entry {
        version: Version(version),
        peer: snapshot.peer,
        is_add: true,
        state: if row.presence == Presence::Left { SessionState::Left } else { SessionState::Member },
        session_timestamp: Timestamp(time),
        activity: Timestamp(activity(row, tip)),
        unread,
        goto,
        latest,
        latest_cut,
        read_mark: Seq(row.mark()),
        first: Seq(row.floor + 1),
        last: Seq(row.end(tip.last)),
        messages: Vec::new(),
        messages_left_out: false,
    })
}

/// The oldest message above the mark that counts and is not the user's own; there is one.
fn oldest_unread(
    pipeline: &Pipeline,
    reader: &Reader,
    user: UserId,
    snapshot: &Snapshot,
    own: &[u64],
) -> Result<(Seq, Timestamp)> {
    if let Some(place) = snapshot.after_mark {
        let append = reader.stored(place)?.append;
        if append.counts && append.sender != user {
            return Ok((Seq(append.seq), Timestamp(append.timestamp)));
        }
    }
    // The first ordinal above the mark that is not of an own message, then the message that has it.
    let row = &snapshot.row;
    let mut ordinal = row.mark_ordinal() + 1;
    for own in own.iter().rev() {
        if *own == ordinal {
            ordinal += 1;
        }
    }
    let end = row.end(snapshot.tip.last);
    let seq = pipeline.first_not(row.slot, row.mark() + 1, end, |stored| stored.append.ordinal < ordinal)?;
    let append = pipeline.stored(row.slot, seq)?.append;
    Ok((Seq(append.seq), Timestamp(append.timestamp)))
}

/// As many whole messages as fit, or the newest one cut.
fn latest(reader: &Reader, places: &[Place]) -> Result<(Vec<Message>, bool)> {
    let mut messages = Vec::with_capacity(places.len());
    let mut bytes = 0;
    for place in places {
        let mut message = reader.message(*place)?;
        bytes += message.body.len();
        if bytes > LATEST_BYTES_MAX {
            if messages.is_empty() {
                message.body = message.body.first(LATEST_BYTES_MAX);
                messages.push(message);
                return Ok((messages, true));
            }
            break;
        }
        messages.push(message);
    }
    Ok((messages, false))
}

/// The messages of a session above `base`, unless they are above the bounds.
fn messages_above(
    pipeline: &Pipeline,
    snapshot: &Snapshot,
    base: u64,
    messages_max: u64,
    bytes_max: usize,
) -> Result<Option<Vec<Message>>> {
    let Snapshot { row, tip, .. } = snapshot;
    let end = row.end(tip.last);
    let first = if row.joined_version > base {
        row.floor + 1
    } else if tip.version <= base {
        end + 1
    } else {
        pipeline.first_not(row.slot, row.floor + 1, end, |stored| stored.commit.version <= base)?
    };
    if first > end {
        return Ok(Some(Vec::new()));
    }
    if end - first + 1 > messages_max {
        return Ok(None);
    }
    let time = pipeline.now();
    let (places, reader) = {
        let state = pipeline.state();
        let places = state.head(row.slot).places[first as usize - 1..end as usize].to_vec();
        (places, Reader { files: state.files.clone(), time: time.max(state.time) })
    };
    let mut messages = Vec::with_capacity(places.len());
    let mut bytes = 0;
    for place in places {
        let message = reader.message(place)?;
        bytes += message.body.len();
        if bytes > bytes_max {
            return Ok(None);
        }
        messages.push(message);
    }
    Ok(Some(messages))
}
