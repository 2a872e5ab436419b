//! Decides what a call does, in one order for all: validates, stamps, and queues the change.
//! Owns: the next version, the pending values, the room reserved in the journal; one file below for each
//! kind of call. May touch: `state`, `change`.
//! Never: does I/O, encodes, or waits; what it misses it sends its caller back out to fetch.

mod append;

mod groups;

mod sessions;

mod amend;

mod people;

mod directory;

mod maintain;

mod trim;

pub(crate) use amend::{AmendFound, AmendPlan};
pub use append::{Appended, Outcome};
pub(crate) use append::{Known, PreparedAppend};
pub use directory::Resolved;
pub use groups::Joined;
pub use maintain::Maintained;
pub(crate) use sessions::{ClearPlan, FlagsPlan, HidePlan, MarkPlan, UnreadPlan};
pub(crate) use trim::TrimPlan;

use super::overlay::{Busy, Overlay};
use super::{Row, State, Tip};
use crate::change::{Change, Commit, Opening, RowKey};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NameKind, Timeline, UserId, Version};
use crate::settings::Settings;
use std::collections::BTreeMap;

/// Whether a call changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did, as this version.
    Changed(Version),
    /// What it asks for was already so.
    Unchanged,
}

/// A change on its way to the journal.
#[derive(Debug)]
pub(crate) struct Sequenced {
    pub change: Change,
    pub tail: Vec<u8>,
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
    /// Another change of the same thing is to be published first, the one with this version.
    Pending(u64),
    /// Something it looks at is not in memory.
    Missing,
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
    /// The newest settings, and the version that set them.
    settings: (u64, Settings),
    /// The newest horizon, and the version that raised it.
    horizon: (u64, u64),
    /// The newest ids of the directory.
    newest_names: BTreeMap<NameKind, u64>,
}

/// A session that a change is about: its row, and how it begins if it has none of its own.
#[derive(Clone, Copy, Debug)]
struct Session {
    row: Row,
    opening: Option<Opening>,
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
            settings: state.settings_log().last().copied().unwrap_or_default(),
            horizon: (0, state.horizon),
            newest_names: state.names().newest_ids().collect(),
        }
    }

    /// The newest version that was given out.
    pub fn last_version(&self) -> u64 {
        self.next_version - 1
    }

    /// The session of a user in a timeline, if it has it or had it.
    fn session(&self, state: &State, timeline: Timeline, user: UserId) -> Option<Session> {
        let row = self.overlay.row(state, timeline, user);
        if let Some(row) = row.filter(Row::is_session) {
            return Some(Session { row, opening: None });
        }
        if !matches!(timeline, Timeline::Broadcast(_)) {
            return None;
        }
        let exists_since = self.overlay.exists_since(user).unwrap_or_else(|| state.exists_since(user));
        let row = state.broadcast_since(state.slot(timeline)?, row.as_ref(), exists_since)?;
        Some(Session { row, opening: Some(Opening { floor: row.floor, floor_ordinal: row.floor_ordinal }) })
    }

    /// Whether the user exists, or will with what is pending.
    fn exists(&self, state: &State, user: UserId) -> bool {
        self.overlay.exists_since(user).unwrap_or_else(|| state.exists_since(user)) > 0
    }

    /// The group's tip; the refusal if there is no such group, or no more, or nothing is taken any more.
    fn group(&self, state: &State, timeline: Timeline) -> std::result::Result<Tip, Decided<Effect>> {
        if let Some(refusal) = self.refused() {
            return Err(refusal);
        }
        match self.overlay.tip(state, timeline) {
            None => Err(Decided::refused(no_group(timeline), 0)),
            Some(tip) if tip.dissolved => Err(Decided::refused(dissolved(timeline), tip.news_version)),
            Some(tip) => Ok(tip),
        }
    }

    /// Sends the caller to wait if another change of the same thing is pending.
    fn wait_for(&self, thing: &Busy) -> std::result::Result<(), Stale> {
        self.overlay.busy(thing).map_or(Ok(()), |version| Err(Stale::Pending(version)))
    }

    /// Queues a change of a row whose pending value is `row`.
    fn queue_row(&mut self, now: u64, key: RowKey, row: Row, change: Change, tail: Vec<u8>) -> Decided<Effect> {
        let (version, time) = (self.next_version, now.max(self.last_time));
        if key.appears {
            self.overlay.set_exists_since(key.user, version, version);
        }
        self.overlay.set_row(key.timeline, key.user, Row { version, time, ..row }, version);
        self.queue_one(change, tail, now)
    }

    /// Queues a change for which room was reserved.
    fn queue_one(&mut self, change: Change, tail: Vec<u8>, now: u64) -> Decided<Effect> {
        self.last_time = now.max(self.last_time);
        let version = self.next_version;
        let bytes_max = change_bytes_max(tail.len());
        self.queue(change, tail, self.last_time, false, bytes_max);
        Decided { result: Ok(Effect::Changed(Version(version))), rests_on: version }
    }

    fn queue(&mut self, change: Change, tail: Vec<u8>, time: u64, joined: bool, bytes_max: u64) {
        let rolls = std::mem::take(&mut self.rolls);
        let commit = Commit { version: self.next_version, time };
        self.next_version += 1;
        self.forming.push(Sequenced { change, tail, commit, joined, rolls, bytes_max });
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

    /// What is queued from now on goes to the next file, which is ready; the caller writes what is queued and goes on there
    /// at once. False if it is not ready, or what is queued goes there already.
    pub fn rolls_now(&mut self) -> bool {
        if self.forming.iter().any(|queued| queued.rolls) {
            return false;
        }
        if !self.rolls {
            let Some(room) = self.next_room.take() else { return false };
            self.room = room;
            self.file_number += 1;
        }
        self.rolls = false;
        true
    }

    /// Gives back what was reserved and not written, if it was in the file that is still filled.
    pub fn written(&mut self, file_number: u64, unused: u64) {
        if file_number == self.file_number {
            self.room += unused;
        }
    }
}

impl<T> Decided<T> {
    /// A refusal that rests on a version.
    fn refused(error: Error, rests_on: u64) -> Decided<T> {
        Decided { result: Err(error), rests_on }
    }
}

impl Decided<Effect> {
    /// It is so already, by a version.
    fn unchanged(rests_on: u64) -> Decided<Effect> {
        Decided { result: Ok(Effect::Unchanged), rests_on }
    }
}

impl Session {
    fn key(&self, timeline: Timeline, user: UserId) -> RowKey {
        RowKey { timeline, user, opening: self.opening, appears: false }
    }
}

/// Whether a client id that was committed at `first` is taken at `time`.
pub(crate) fn is_within_window(first: u64, time: u64, window: u64) -> bool {
    time < first + window
}

/// What a change with a tail of this length takes at most, in a frame of its own.
pub(crate) const fn change_bytes_max(tail_bytes: usize) -> u64 {
    crate::journal::change_bytes_max(tail_bytes)
}

/// What a bulk join takes at most, in one frame.
pub(crate) const fn join_bytes_max(users: usize) -> u64 {
    /// Length, kind, flags, version, time, group, user, four positions.
    const JOIN_BYTES_MAX: u64 = 2 + 2 + 8 * 10;
    change_bytes_max(0) + users as u64 * JOIN_BYTES_MAX
}

fn no_session(timeline: Timeline, user: UserId) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such session: {timeline} user={}", user.0))
}

fn no_group(timeline: Timeline) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such group: {timeline}"))
}

fn dissolved(timeline: Timeline) -> Error {
    Error::new(ErrorKind::Dissolved, format!("the group was dissolved: {timeline}"))
}
