//! What the store should hold, counted again from the script alone, in the plainest way there is.
//! Owns: per room the senders in order, per user and room one row; counts by looking at every message.
//! May touch: `steps`. Never: asks the store, shares an idea with how the store counts.

use std::collections::{BTreeMap, HashMap};

use restante::limits::DEDUP_WINDOW_MICROS;
use restante::{ClientId, ErrorKind, GroupId, Peer, Seq, Timeline, Timestamp, UserId, Version};

use crate::steps::{Action, Post, Step};

#[derive(Default)]
pub struct Recount {
    rooms: Vec<Room>,
    by_timeline: HashMap<Timeline, usize>,
    sessions: BTreeMap<UserId, Vec<(Peer, usize)>>,
    taken: HashMap<(usize, UserId, ClientId), Taken>,
    version: u64,
    commit_time: u64,
}

/// One conversation. The message with seq n is at index n - 1.
pub struct Room {
    pub timeline: Timeline,
    pub senders: Vec<u32>,
    pub times: Vec<u64>,
    pub body_hashes: Vec<u64>,
    pub rows: BTreeMap<UserId, Row>,
    shows_history: bool,
    members_only: bool,
    /// The senders once more, but 0 where the message does not count.
    counted: Vec<u32>,
    newest_version: u64,
}

/// What is kept for a user in a room.
#[derive(Clone, Copy)]
pub struct Row {
    pub read: u64,
    pub floor: u64,
    pub ceiling: Option<u64>,
    version: u64,
}

struct Taken {
    commit_time: u64,
    written: Written,
}

/// What the store should answer for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub duplicate: bool,
    pub seq: Seq,
    pub timestamp: Timestamp,
    pub version: Version,
}

/// What the store should answer to a step: the version of an effect is none if nothing changes, and a
/// question expects nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    Written(Vec<Written>),
    Effect(Option<Version>),
    Joined { joined: usize, unchanged: usize, version: Version },
    Refused(ErrorKind),
    Nothing,
}

/// What the store should show of a session.
#[derive(Debug, PartialEq, Eq)]
pub struct Session {
    pub unread: u64,
    pub goto: Option<(Seq, Timestamp)>,
    pub read_mark: Seq,
    pub first: Seq,
    pub last: Seq,
    pub is_left: bool,
    pub version: Version,
}

impl Recount {
    /// Takes a step and says what the store should answer to it.
    pub fn apply(&mut self, step: &Step) -> Expected {
        let commit_time = step.time.get().max(self.commit_time);
        let before = self.version;
        let expected = match &step.action {
            Action::CreateGroup { group, settings } => match self.by_timeline.contains_key(&Timeline::Group(*group)) {
                true => Expected::Effect(None),
                false => {
                    let room = self.room_made(Timeline::Group(*group));
                    (room.shows_history, room.members_only) = (settings.shows_history, settings.members_only);
                    Expected::Effect(Some(self.stamp()))
                }
            },
            Action::Join { group, user } => Expected::Effect(self.join(*group, *user)),
            Action::JoinMany { group, users } => {
                let versions: Vec<Version> = users.iter().filter_map(|user| self.join(*group, *user)).collect();
                Expected::Joined {
                    joined: versions.len(),
                    unchanged: users.len() - versions.len(),
                    version: versions.last().copied().unwrap_or_default(),
                }
            }
            Action::Leave { group, user } => self.leave(*group, *user),
            Action::Send(post) => self.send(std::slice::from_ref(post), commit_time),
            Action::SendBatch(posts) => self.send(posts, commit_time),
            Action::Read { user, peer, upto } => self.mark(*user, *peer, |mark, _, end| mark.max(upto.get().min(end))),
            Action::UnreadFrom { user, peer, seq } => {
                self.mark(*user, *peer, |mark, floor, _| mark.min((seq.get() - 1).max(floor)))
            }
            Action::Sync { .. } => Expected::Nothing,
        };
        if self.version > before {
            self.commit_time = commit_time;
        }
        expected
    }

    fn join(&mut self, group: GroupId, user: UserId) -> Option<Version> {
        let index = *self.by_timeline.get(&Timeline::Group(group))?;
        let room = &mut self.rooms[index];
        let known = room.rows.get(&user);
        if known.is_some_and(|row| row.ceiling.is_none()) {
            return None;
        }
        if known.is_none() {
            self.sessions.entry(user).or_default().push((Peer::Group(group), index));
        }
        self.version += 1;
        let last = room.senders.len() as u64;
        let floor = if room.shows_history { 0 } else { last };
        room.rows.insert(user, Row { read: last, floor, ceiling: None, version: self.version });
        Some(Version(self.version))
    }

    fn leave(&mut self, group: GroupId, user: UserId) -> Expected {
        let version = self.version + 1;
        let Some(room) = self.by_timeline.get(&Timeline::Group(group)).map(|index| &mut self.rooms[*index]) else {
            return Expected::Refused(ErrorKind::NotFound);
        };
        let last = room.senders.len() as u64;
        match room.rows.get_mut(&user) {
            None => Expected::Refused(ErrorKind::NotFound),
            Some(row) if row.ceiling.is_some() => Expected::Effect(None),
            Some(row) => {
                (row.ceiling, row.version) = (Some(last), version);
                Expected::Effect(Some(self.stamp()))
            }
        }
    }

    /// All of them or, if one is refused, none.
    fn send(&mut self, posts: &[Post], commit_time: u64) -> Expected {
        if let Some(kind) = posts.iter().find_map(|post| self.refusal(post, commit_time)) {
            return Expected::Refused(kind);
        }
        Expected::Written(posts.iter().map(|post| self.write(post, commit_time)).collect())
    }

    fn refusal(&self, post: &Post, commit_time: u64) -> Option<ErrorKind> {
        let Timeline::Group(_) = post.timeline else {
            return None;
        };
        let Some(index) = self.by_timeline.get(&post.timeline) else {
            return Some(ErrorKind::NotFound);
        };
        let room = &self.rooms[*index];
        let may = !room.members_only || room.rows.get(&post.sender).is_some_and(|row| row.ceiling.is_none());
        let known = self.duplicate(*index, post, commit_time).is_some();
        (!may && !known).then_some(ErrorKind::Refused)
    }

    fn duplicate(&self, room: usize, post: &Post, commit_time: u64) -> Option<Written> {
        let taken = self.taken.get(&(room, post.sender, post.client_id))?;
        let held = commit_time < taken.commit_time + DEDUP_WINDOW_MICROS;
        (held && !post.client_id.is_none()).then_some(Written { duplicate: true, ..taken.written })
    }

    fn write(&mut self, post: &Post, commit_time: u64) -> Written {
        self.room_made(post.timeline);
        let index = self.by_timeline[&post.timeline];
        if let Some(written) = self.duplicate(index, post, commit_time) {
            return written;
        }
        let version = self.stamp();
        let room = &mut self.rooms[index];
        let following = room.times.last().map_or(0, |last| last + 1);
        let time = post.timestamp.map_or(commit_time.max(following), Timestamp::get);
        let sender = u32::try_from(post.sender.get()).expect("scripts number their users from 1");
        room.senders.push(sender);
        room.counted.push(if post.counts { sender } else { 0 });
        room.times.push(time);
        room.body_hashes.push(hash(&post.body));
        room.newest_version = version.get();
        let seq = room.senders.len() as u64;
        if let Timeline::Direct(pair) = post.timeline {
            for user in [pair.low(), pair.high()] {
                room.rows.entry(user).or_insert_with(|| {
                    let peer = post.timeline.peer_of(user).expect("one of the pair");
                    self.sessions.entry(user).or_default().push((peer, index));
                    Row { read: 0, floor: 0, ceiling: None, version: version.get() }
                });
            }
        }
        if let Some(row) = room.rows.get_mut(&post.sender)
            && row.ceiling.is_none()
            && post.counts
        {
            (row.read, row.version) = (seq, version.get());
        }
        let written = Written { duplicate: false, seq: Seq(seq), timestamp: Timestamp(time), version };
        self.taken.insert((index, post.sender, post.client_id), Taken { commit_time, written });
        written
    }

    /// Moves a mark to where `target` says, given the mark, the floor and the end; if it is elsewhere.
    fn mark(&mut self, user: UserId, peer: Peer, target: impl Fn(u64, u64, u64) -> u64) -> Expected {
        let version = self.version + 1;
        let index = timeline_of(user, peer).and_then(|timeline| self.by_timeline.get(&timeline)).copied();
        let Some(room) = index.map(|index| &mut self.rooms[index]) else {
            return Expected::Refused(ErrorKind::NotFound);
        };
        let last = room.senders.len() as u64;
        let Some(row) = room.rows.get_mut(&user) else {
            return Expected::Refused(ErrorKind::NotFound);
        };
        let mark = row.read.max(row.floor);
        let moved = target(mark, row.floor, row.ceiling.unwrap_or(last));
        if moved == mark {
            return Expected::Effect(None);
        }
        (row.read, row.version) = (moved, version);
        Expected::Effect(Some(self.stamp()))
    }

    fn stamp(&mut self) -> Version {
        self.version += 1;
        Version(self.version)
    }

    fn room_made(&mut self, timeline: Timeline) -> &mut Room {
        let index = *self.by_timeline.entry(timeline).or_insert_with(|| {
            self.rooms.push(Room {
                timeline,
                senders: Vec::new(),
                times: Vec::new(),
                body_hashes: Vec::new(),
                rows: BTreeMap::new(),
                shows_history: false,
                members_only: true,
                counted: Vec::new(),
                newest_version: 0,
            });
            self.rooms.len() - 1
        });
        &mut self.rooms[index]
    }

    /// How many changes the steps so far make.
    pub fn version(&self) -> Version {
        Version(self.version)
    }

    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// Everyone who has a session.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.sessions.keys().copied()
    }

    pub fn session_count(&self, user: UserId) -> usize {
        self.sessions.get(&user).map_or(0, Vec::len)
    }

    /// All sessions of a user, each counted anew.
    pub fn sessions(&self, user: UserId) -> BTreeMap<Peer, Session> {
        let sessions = self.sessions.get(&user).map_or(&[][..], Vec::as_slice);
        sessions.iter().map(|(peer, index)| (*peer, self.rooms[*index].session(user))).collect()
    }
}

impl Room {
    pub fn last(&self) -> u64 {
        self.senders.len() as u64
    }

    /// Counts by looking at every message after the mark.
    fn session(&self, user: UserId) -> Session {
        let row = &self.rows[&user];
        let mark = row.read.max(row.floor);
        let end = row.ceiling.unwrap_or(self.last());
        let own = user.get() as u32;
        let after_mark = &self.counted[mark as usize..end.max(mark) as usize];
        let unread = after_mark.iter().filter(|sender| **sender != 0 && **sender != own).count();
        let oldest = after_mark.iter().position(|sender| *sender != 0 && *sender != own);
        let newest_version = if row.ceiling.is_some() { 0 } else { self.newest_version };
        Session {
            unread: unread as u64,
            goto: oldest.map(|offset| (Seq(mark + offset as u64 + 1), Timestamp(self.times[mark as usize + offset]))),
            read_mark: Seq(mark),
            first: Seq(row.floor + 1),
            last: Seq(end),
            is_left: row.ceiling.is_some(),
            version: Version(row.version.max(newest_version)),
        }
    }
}

/// Tells bodies apart (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn timeline_of(user: UserId, peer: Peer) -> Option<Timeline> {
    match peer {
        Peer::User(other) => Some(Timeline::direct(user, other)),
        Peer::Group(group) => Some(Timeline::Group(group)),
        _ => None,
    }
}
