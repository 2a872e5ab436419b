//! The session list: what a device asks for at login.
//! Owns: the walks over a user's sessions, when a walk must begin again. May touch: `entry`, `read`,
//! `unread`, `visible`, `state`.
//! Never: looks at a message of a session it does not return, or at one that was read.

use super::Store;
use super::cursor::{Cursor, RecentCursor};
use super::entry::{Snapshot, entries};
use super::list::{CatchUpQuery, List, ListQuery, Recent, Totals};
use super::read::Reader;
use super::since::{check_horizon, check_reach};
use super::unread::Range;
use super::visible::{Sessions, activity, entry_version};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, UserId, Version};
use crate::journal::ends_since;
use crate::limits::{CATCH_UP_BYTES_MAX, CATCH_UP_MESSAGES_MAX, check};
use crate::state::Row;
use crate::time::Timestamp;
use std::cmp::Reverse;

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
        self.pipeline.of_one_moment(|| Ok(self.walk(user, Start::of(cursor), query)?.0))
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
        self.pipeline.of_one_moment(|| Ok(self.walk(user, Start::At(since), query)?.0))
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
        self.pipeline.of_one_moment(|| self.walk_with_messages(user, cursor, query))
    }

    fn walk_with_messages(&self, user: UserId, cursor: Option<&Cursor>, query: &CatchUpQuery) -> Result<List> {
        let (mut list, snapshots, base) = self.walk(user, Start::of(cursor), &query.list)?;
        let (mut messages_left, mut bytes_left) = (query.messages as u64, query.bytes);
        for (entry, snapshot) in list.entries.iter_mut().zip(&snapshots) {
            match snapshot.messages_above(&self.pipeline, base, messages_left, bytes_left)? {
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

    /// The user's sessions by activity, newest first, without tombstones and amendments. Go on with
    /// `before`. The first page also has all pinned sessions, and a cursor for [`Store::changed`].
    ///
    /// # Errors
    /// `LimitExceeded`, `InvalidInput` for id 0, `Corruption`.
    pub fn recent(&self, user: UserId, before: Option<&RecentCursor>, query: &ListQuery) -> Result<Recent> {
        query.check()?;
        check_user(user)?;
        self.pipeline.of_one_moment(|| self.recent_page(user, before, query))
    }

    fn recent_page(&self, user: UserId, before: Option<&RecentCursor>, query: &ListQuery) -> Result<Recent> {
        let pipeline = &self.pipeline;
        let now = pipeline.now();
        let is_first = before.is_none();
        let (pinned, listed, last, more, published, reader) = pipeline.look(|state| {
            let sessions = Sessions::of(state, user);
            let key = |row: &Row| {
                let head = state.head(row.slot);
                let peer = head.timeline.peer_of(user).filter(|_| !row.is_tombstone(&head.tip))?;
                Some((Reverse(activity(row, &head.tip)), peer))
            };
            let start = before.map(|cursor| (Reverse(cursor.activity.0), cursor.peer));
            let all: Vec<_> = sessions.iter().filter_map(|row| Some((key(row)?, row))).collect();
            let mut pinned: Vec<_> = all.iter().filter(|(_, row)| is_first && row.flags.pinned).copied().collect();
            pinned.sort_unstable_by_key(|(key, _)| *key);
            let mut found: Vec<_> = all.into_iter().filter(|(key, _)| start.is_none_or(|start| *key > start)).collect();
            let more = found.len() > query.limit;
            if more && query.limit > 0 {
                found.select_nth_unstable_by_key(query.limit, |(key, _)| *key);
            }
            found.truncate(query.limit);
            found.sort_unstable_by_key(|(key, _)| *key);
            let gather = |found: &[((Reverse<u64>, Peer), &Row)]| -> Vec<Snapshot> {
                found.iter().map(|(key, row)| Snapshot::of(state, user, key.1, row, query.latest, None)).collect()
            };
            let (pinned, listed) = (gather(&pinned), gather(&found));
            let last =
                found.last().map(|((activity, peer), _)| RecentCursor { activity: Timestamp(activity.0), peer: *peer });
            let published = Version(state.version);
            (pinned, listed, last, more, published, Reader::of(state, now))
        })?;
        let epoch = pipeline.epochs.current;
        Ok(Recent {
            entries: entries(pipeline, &reader, &listed)?,
            pinned: entries(pipeline, &reader, &pinned)?,
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
        self.pipeline.of_one_moment(|| self.totals(user))
    }

    fn totals(&self, user: UserId) -> Result<Totals> {
        let ranges: Vec<Range> = self.pipeline.look(|state| {
            let sessions = Sessions::of(state, user);
            let present = sessions.iter().map(|row| (row, state.head(row.slot)));
            let present = present.filter(|(row, head)| !row.is_tombstone(&head.tip));
            present.map(|(row, head)| Range::of(state, head, user, row)).collect()
        })?;
        let mut totals = Totals::default();
        for range in ranges {
            let unread = range.unread(&range.own(&self.pipeline)?);
            let flags = range.row.flags;
            *(if flags.muted { &mut totals.muted_unread } else { &mut totals.unread }) += unread;
            totals.marked_unread += u64::from(flags.marked_unread);
        }
        Ok(totals)
    }

    /// One page of a walk, what its entries were made from, and the walk's base.
    fn walk(&self, user: UserId, start: Start, query: &ListQuery) -> Result<(List, Vec<Snapshot>, u64)> {
        query.check()?;
        check_user(user)?;
        let pipeline = &self.pipeline;
        let epochs = &pipeline.epochs;
        let now = pipeline.now();
        // A time is looked up before: what is committed since is later.
        let since = match start {
            Start::At(since) => Some(pipeline.first_version_at(since.0)?),
            Start::Nothing | Start::After(_) => None,
        };
        let gathered = pipeline.look(|state| {
            let published = Version(state.version);
            let cursor = match start {
                Start::Nothing => {
                    Cursor { epoch: epochs.current, base: published, position: Version::NONE, newest: Version::NONE }
                }
                Start::At(_) => {
                    let before = Version(since.map_or(0, |first| first - 1));
                    check_horizon(state, before)?;
                    Cursor { epoch: epochs.current, base: before, position: before, newest: Version::NONE }
                }
                Start::After(cursor) => {
                    check_reach(state, epochs, cursor.epoch, cursor.reach())?;
                    check_horizon(state, cursor.base)?;
                    cursor
                }
            };
            let sessions = Sessions::of(state, user);
            let mut found: Vec<(u64, &Row)> = Vec::new();
            for row in sessions.iter() {
                // Most sessions of most walks are passed here, with one look at the row and one at the slot.
                if row.version.max(state.newest(row.slot)) <= cursor.position.0 {
                    continue;
                }
                let head = state.head(row.slot);
                let (version, _) = entry_version(row, head, user, state.horizon);
                // What was gone before the walk began, or before the last one, is news to nobody.
                if version > cursor.position.0 && (version > cursor.base.0 || !row.is_tombstone(&head.tip)) {
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
            let mut snapshots = Vec::with_capacity(found.len());
            for (_, row) in &found {
                if let Some(peer) = state.head(row.slot).timeline.peer_of(user) {
                    snapshots.push(Snapshot::of(state, user, peer, row, query.latest, Some(cursor.base.0)));
                }
            }
            Ok((cursor, published, snapshots, more, newest, Reader::of(state, now)))
        })?;
        let (cursor, published, snapshots, more, newest, reader) = gathered?;
        let entries = entries(pipeline, &reader, &snapshots)?;
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

fn check_user(user: UserId) -> Result<()> {
    if user.is_none() { Err(Error::new(ErrorKind::InvalidInput, "id 0 means none")) } else { Ok(()) }
}
