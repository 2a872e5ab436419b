//! What the store should hold, counted again from the script alone, in the plainest way there is.
//! Owns: the rooms, who exists since when, what each step should be answered. May touch: `steps`, `room`.
//! Never: asks the store, shares an idea with how the store counts.

mod room;

use std::collections::{BTreeMap, HashMap};

use restante::limits::{DEDUP_WINDOW_MICROS, HORIZON_MICROS};
use restante::{
    BusinessId, ClientId, ErrorKind, GroupId, Pair, Peer, Seq, Source, SystemId, Timeline, Timestamp, UserId, Version,
};

pub use self::room::{Change, Room, Row, Session, Told};
use crate::steps::{Action, Flags, Post, Step};

#[derive(Default)]
pub struct Recount {
    rooms: Vec<Room>,
    by_timeline: HashMap<Timeline, usize>,
    /// The rooms in which a user has a row; those of broadcasts are not among them.
    sessions: BTreeMap<UserId, Vec<(Peer, usize)>>,
    broadcasts: Vec<usize>,
    /// Since which version a user exists.
    existing: BTreeMap<UserId, u64>,
    taken: HashMap<(usize, UserId, ClientId), Taken>,
    /// When the change of version n was made: at index n - 1.
    commit_times: Vec<u64>,
    /// The time a change gets that is made now.
    now: u64,
    horizon: u64,
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
    Maintained { horizon: Version, version: Option<Version> },
    Refused(ErrorKind),
    Nothing,
}

/// Of what is done to a row: whether that changes it.
type Done = Result<bool, ErrorKind>;

impl Recount {
    /// Takes a step and says what the store should answer to it.
    pub fn apply(&mut self, step: &Step) -> Expected {
        self.now = step.time.get().max(self.commit_times.last().copied().unwrap_or(0));
        match &step.action {
            Action::CreateGroup { group, settings } => match self.by_timeline.contains_key(&Timeline::Group(*group)) {
                true => Expected::Effect(None),
                false => {
                    let index = self.room_made(Timeline::Group(*group));
                    let room = &mut self.rooms[index];
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
            Action::Leave { group, user } => self.change_row(*user, Peer::Group(*group), |row, room| {
                let was_present = row.ceiling.is_none();
                row.ceiling = row.ceiling.or(Some(room.last()));
                Ok(was_present)
            }),
            Action::Send(post) => self.send(std::slice::from_ref(post)),
            Action::SendBatch(posts) => self.send(posts),
            Action::Recall { by, timeline, seq } => self.amend(*by, *timeline, *seq, None),
            Action::Edit { by, timeline, seq, body } => self.amend(*by, *timeline, *seq, Some(hash(body))),
            Action::Hide { user, peer, seqs } => self.hide(*user, *peer, seqs),
            Action::Read { user, peer, upto } => self.change_row(*user, *peer, |row, room| {
                let target = upto.get().min(row.end(room));
                let changes = target > row.read || row.marked_unread;
                row.marked_unread = false;
                row.read = row.read.max(target);
                row.read_max = row.read_max.max(target);
                row.delivered_max = row.delivered_max.max(row.read_max);
                Ok(changes)
            }),
            Action::UnreadFrom { user, peer, seq } => self.change_row(*user, *peer, |row, room| {
                if seq.get() > row.end(room) {
                    return Err(ErrorKind::InvalidInput);
                }
                let target = (seq.get() - 1).max(row.floor);
                let changes = target < row.mark();
                row.read = if changes { target } else { row.read };
                Ok(changes)
            }),
            Action::Delivered { user, peer, upto } => self.change_row(*user, *peer, |row, room| {
                let target = upto.get().min(row.end(room));
                let changes = target > row.delivered_max;
                row.delivered_max = row.delivered_max.max(target);
                Ok(changes)
            }),
            Action::Clear { user, peer, upto } => self.change_row(*user, *peer, |row, room| {
                let target = upto.get().min(row.end(room));
                let changes = target > row.floor;
                if changes {
                    (row.floor, row.clear_point) = (target, target);
                }
                Ok(changes)
            }),
            Action::Remove { user, peer } => self.change_row(*user, *peer, |row, room| {
                let target = row.end(room);
                let changes = !row.is_removed(room) || row.pinned || row.marked_unread || target > row.floor;
                (row.pinned, row.marked_unread, row.removed) = (false, false, Some(target));
                (row.floor, row.clear_point) = (row.floor.max(target), row.clear_point.max(target));
                Ok(changes)
            }),
            Action::Flag { user, peer, flags } => self.flag(*user, *peer, *flags),
            Action::Maintain => {
                let past = |time: &u64| *time + HORIZON_MICROS <= self.now;
                let target = self.commit_times.partition_point(past) as u64;
                let version = (target > self.horizon).then(|| self.stamp());
                self.horizon = self.horizon.max(target);
                Expected::Maintained { horizon: Version(self.horizon), version }
            }
            Action::Sync { .. } => Expected::Nothing,
        }
    }

    fn join(&mut self, group: GroupId, user: UserId) -> Option<Version> {
        let index = *self.by_timeline.get(&Timeline::Group(group))?;
        let known = self.rooms[index].rows.get(&user).cloned();
        if known.as_ref().is_some_and(|row| row.ceiling.is_none()) {
            return None;
        }
        let version = self.stamp();
        let room = &mut self.rooms[index];
        let last = room.last();
        let mut row = known.unwrap_or_default();
        row.floor = if room.shows_history { row.clear_point } else { last };
        (row.read, row.joined_at, row.ceiling, row.removed) = (last, last, None, None);
        (row.version, row.joined_time) = (version.get(), self.now);
        self.row_set(user, index, row, version);
        Some(version)
    }

    /// All of them or, if one is refused, none.
    fn send(&mut self, posts: &[Post]) -> Expected {
        if let Some(kind) = posts.iter().find_map(|post| self.refusal(post)) {
            return Expected::Refused(kind);
        }
        Expected::Written(posts.iter().map(|post| self.write(post)).collect())
    }

    fn refusal(&self, post: &Post) -> Option<ErrorKind> {
        let Timeline::Group(_) = post.timeline else {
            return None;
        };
        let Some(index) = self.by_timeline.get(&post.timeline) else {
            return Some(ErrorKind::NotFound);
        };
        let room = &self.rooms[*index];
        let may = !room.members_only || room.is_present(post.sender);
        let known = self.duplicate(*index, post).is_some();
        (!may && !known).then_some(ErrorKind::Refused)
    }

    fn duplicate(&self, room: usize, post: &Post) -> Option<Written> {
        let taken = self.taken.get(&(room, post.sender, post.client_id))?;
        let held = self.now < taken.commit_time + DEDUP_WINDOW_MICROS;
        (held && !post.client_id.is_none()).then_some(Written { duplicate: true, ..taken.written })
    }

    fn write(&mut self, post: &Post) -> Written {
        let index = self.room_made(post.timeline);
        if let Some(written) = self.duplicate(index, post) {
            return written;
        }
        let version = self.stamp();
        for user in [post.sender].into_iter().chain(owners(post.timeline)).filter(|user| !user.is_none()) {
            self.existing.entry(user).or_insert(version.get());
        }
        for user in owners(post.timeline) {
            if !self.rooms[index].rows.contains_key(&user) {
                self.row_set(user, index, Row { joined_time: self.now, ..Row::default() }, version);
            }
        }
        let room = &mut self.rooms[index];
        let time = room.add(post, version.get(), self.now);
        let seq = room.last();
        if let Some(row) = room.rows.get_mut(&post.sender)
            && row.ceiling.is_none()
            && post.counts
        {
            (row.read, row.version, row.marked_unread) = (seq, version.get(), false);
            row.read_max = row.read_max.max(seq);
            row.delivered_max = row.delivered_max.max(row.read_max);
        }
        let written = Written { duplicate: false, seq: Seq(seq), timestamp: Timestamp(time), version };
        self.taken.insert((index, post.sender, post.client_id), Taken { commit_time: self.now, written });
        written
    }

    /// A recall, or an edit to a body of this hash.
    fn amend(&mut self, by: UserId, timeline: Timeline, seq: Seq, body: Option<u64>) -> Expected {
        let index = self.by_timeline.get(&timeline).copied();
        let Some(index) = index.filter(|index| 1 <= seq.get() && seq.get() <= self.rooms[*index].last()) else {
            return Expected::Refused(ErrorKind::NotFound);
        };
        let room = &self.rooms[index];
        match (room.recalled.contains_key(&seq.get()), body) {
            (true, None) => return Expected::Effect(None),
            (true, Some(_)) => return Expected::Refused(ErrorKind::Refused),
            (false, Some(body)) if body == room.body_hashes[seq.get() as usize - 1] => return Expected::Effect(None),
            (false, _) => {}
        }
        let version = self.stamp();
        let told = Told { by, at: self.now, version: version.get() };
        let room = &mut self.rooms[index];
        match body {
            None => room.recall(seq.get(), told),
            Some(body) => room.edit(seq.get(), told, body),
        }
        Expected::Effect(Some(version))
    }

    fn hide(&mut self, user: UserId, peer: Peer, seqs: &[Seq]) -> Expected {
        let told = Told { by: user, at: self.now, version: self.version().get() + 1 };
        self.change_row(user, peer, |row, room| {
            let is_shown = |seq: &Seq| row.floor < seq.get() && seq.get() <= row.end(room);
            if !seqs.iter().all(is_shown) {
                return Err(ErrorKind::NotFound);
            }
            let before = row.hidden.len();
            for seq in seqs {
                row.hidden.entry(seq.get()).or_insert(told);
            }
            Ok(row.hidden.len() > before)
        })
    }

    /// Flags on a user make a session with it for the one who sets them, if there is something to set.
    fn flag(&mut self, user: UserId, peer: Peer, flags: Flags) -> Expected {
        let is_set = |flag: Option<bool>| flag == Some(true);
        if let Peer::User(other) = peer
            && self.room_of(user, peer).is_none_or(|index| !self.rooms[index].rows.contains_key(&user))
            && [flags.pinned, flags.muted, flags.marked_unread].into_iter().any(is_set)
        {
            let index = self.room_made(Timeline::direct(user, other));
            let version = self.stamp();
            let row = Row {
                pinned: is_set(flags.pinned),
                muted: is_set(flags.muted),
                marked_unread: is_set(flags.marked_unread),
                joined_time: self.now,
                version: version.get(),
                ..Row::default()
            };
            self.row_set(user, index, row, version);
            return Expected::Effect(Some(version));
        }
        if self.row_of(user, peer).is_none() && matches!(peer, Peer::User(_)) {
            return Expected::Effect(None);
        }
        self.change_row(user, peer, |row, _| {
            let before = (row.pinned, row.muted, row.marked_unread);
            row.pinned = flags.pinned.unwrap_or(row.pinned);
            row.muted = flags.muted.unwrap_or(row.muted);
            row.marked_unread = flags.marked_unread.unwrap_or(row.marked_unread);
            Ok(before != (row.pinned, row.muted, row.marked_unread))
        })
    }

    /// Does something to a row, and tells the other side of a direct chat if its marks for receipts rise.
    fn change_row(&mut self, user: UserId, peer: Peer, change: impl FnOnce(&mut Row, &Room) -> Done) -> Expected {
        let Some((index, mut row)) = self.row_of(user, peer) else {
            return Expected::Refused(ErrorKind::NotFound);
        };
        let before = (row.read_max, row.delivered_max);
        match change(&mut row, &self.rooms[index]) {
            Err(kind) => return Expected::Refused(kind),
            Ok(false) => return Expected::Effect(None),
            Ok(true) => {}
        }
        let version = self.stamp();
        row.version = version.get();
        let rows = &mut self.rooms[index].rows;
        if let Peer::User(other) = peer
            && before != (row.read_max, row.delivered_max)
            && let Some(other) = rows.get_mut(&other)
        {
            other.version = version.get();
        }
        rows.insert(user, row);
        Expected::Effect(Some(version))
    }

    fn row_set(&mut self, user: UserId, index: usize, row: Row, version: Version) {
        let room = &mut self.rooms[index];
        if room.rows.insert(user, row).is_none() {
            let peer = room.timeline.peer_of(user).expect("who has a row has a name for the room");
            self.sessions.entry(user).or_default().push((peer, index));
        }
        self.existing.entry(user).or_insert(version.get());
    }

    fn stamp(&mut self) -> Version {
        self.commit_times.push(self.now);
        self.version()
    }

    fn room_made(&mut self, timeline: Timeline) -> usize {
        *self.by_timeline.entry(timeline).or_insert_with(|| {
            self.rooms.push(Room::new(timeline));
            if matches!(timeline, Timeline::Broadcast(_)) {
                self.broadcasts.push(self.rooms.len() - 1);
            }
            self.rooms.len() - 1
        })
    }

    /// A source of broadcasts has no inboxes.
    fn room_of(&self, user: UserId, peer: Peer) -> Option<usize> {
        let of_source = |source| [Timeline::Inbox(source, user), Timeline::Broadcast(source)];
        let timelines = match peer {
            Peer::User(other) => [Timeline::direct(user, other); 2],
            Peer::Group(group) => [Timeline::Group(group); 2],
            Peer::System(SystemId(id)) => of_source(Source::System(SystemId(id))),
            Peer::Business(BusinessId(id)) => of_source(Source::Business(BusinessId(id))),
            _ => return None,
        };
        timelines.iter().find_map(|timeline| self.by_timeline.get(timeline)).copied()
    }

    /// The room and what is kept for the user there; of a broadcast it is what it would be, until the
    /// user has done something about it.
    fn row_of(&self, user: UserId, peer: Peer) -> Option<(usize, Row)> {
        let index = self.room_of(user, peer)?;
        let room = &self.rooms[index];
        let row = room.rows.get(&user).cloned();
        let row = row.or_else(|| room.row_of_broadcast(*self.existing.get(&user)?))?;
        Some((index, row))
    }

    /// How many changes the steps so far make.
    pub fn version(&self) -> Version {
        Version(self.commit_times.len() as u64)
    }

    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// Everyone who exists.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.existing.keys().copied()
    }

    pub fn session_count(&self, user: UserId) -> usize {
        self.rows(user).len()
    }

    /// All sessions of a user, each counted anew.
    pub fn sessions(&self, user: UserId) -> BTreeMap<Peer, Session> {
        let rows = self.rows(user).into_iter();
        rows.map(|(peer, room, row)| (peer, room.session(user, &row))).collect()
    }

    /// All amendments of all sessions of a user.
    pub fn changes(&self, user: UserId) -> BTreeMap<Peer, Vec<Change>> {
        self.rows(user).into_iter().map(|(peer, room, row)| (peer, room.changes(&row))).collect()
    }

    /// What a user sees of a room, and may ask about it; `None` without a session.
    pub fn row(&self, user: UserId, room: &Room) -> Option<Row> {
        room.timeline.peer_of(user).and_then(|peer| self.row_of(user, peer)).map(|(_, row)| row)
    }

    /// The sessions that are there: not those a user has removed.
    fn rows(&self, user: UserId) -> Vec<(Peer, &Room, Row)> {
        let named = self.sessions.get(&user).into_iter().flatten().copied();
        let broadcast = |index: &usize| Some((self.rooms[*index].timeline.peer_of(user)?, *index));
        let all = named.chain(self.broadcasts.iter().filter_map(broadcast)).filter_map(|(peer, index)| {
            let (_, row) = self.row_of(user, peer)?;
            Some((peer, &self.rooms[index], row))
        });
        all.filter(|(_, room, row)| !row.is_removed(room)).collect()
    }
}

/// Whose session a message makes.
fn owners(timeline: Timeline) -> impl Iterator<Item = UserId> {
    let [one, other] = match timeline {
        Timeline::Direct(pair) => both(pair),
        Timeline::Inbox(_, recipient) => [Some(recipient), None],
        _ => [None, None],
    };
    [one, other].into_iter().flatten()
}

fn both(pair: Pair) -> [Option<UserId>; 2] {
    [Some(pair.low()), Some(pair.high()).filter(|high| *high != pair.low())]
}

/// Tells bodies apart (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
