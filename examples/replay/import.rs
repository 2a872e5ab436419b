//! Turns a chat log into steps: rooms are groups, senders are users, the clock is the log's.
//! Owns: ids by first appearance, who is in which room, batches, and who reads when.
//! May touch: `log`, `steps`, `afterthoughts`. Never: asks the store anything; the steps depend on the log alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use restante::{ClientId, GroupId, GroupSettings, Peer, Seq, Timeline, Timestamp, UserId};

use crate::afterthoughts::{Afterthoughts, housekeeping};
use crate::log::{Line, Log};
use crate::steps::{Action, Names, Post, Random, Result, Scene, Script, Step, last_scene};

/// Most messages that go into the store in one call.
const BATCH_MESSAGES: usize = 64;
/// Every so many batches, one is sent twice, as by a client that did not get the answer.
const BATCHES_PER_RETRY: u64 = 50;
/// Every so many batches the first and the second device sync.
const BATCHES_PER_SYNC: [u64; 2] = [40, 997];
/// Every so many batches one device of the others syncs.
const BATCHES_PER_OTHER_SYNC: u64 = 23;
/// Every so many batches the store is maintained; between some of them years go by.
const BATCHES_PER_MAINTENANCE: u64 = 61;
/// The first sender has the two devices; the last scene plays in the first room.
const SCENE: Scene = Scene {
    user: UserId(1),
    peer: Peer::Group(GroupId(1)),
    others: &[UserId(2), UserId(3), UserId(5), UserId(8), UserId(13), UserId(21)],
};

/// The steps of a log.
pub struct Import {
    log: Log,
    names: Names,
    users: HashMap<String, UserId>,
    rooms: HashMap<String, usize>,
    room_states: Vec<Room>,
    time: u64,
    batch: Vec<Post>,
    batch_count: u64,
    line_count: u128,
    random: Random,
    afterthoughts: Afterthoughts,
    queue: VecDeque<Step>,
    ended: bool,
}

#[derive(Default)]
struct Room {
    members: Vec<UserId>,
    is_member: HashSet<UserId>,
    last: u64,
}

impl Import {
    /// Opens the log at `path` and takes at most `limit` lines of it.
    pub fn open(path: &Path, limit: u64) -> Result<Import> {
        Ok(Import {
            log: Log::open(path, limit)?,
            names: Names::default(),
            users: HashMap::new(),
            rooms: HashMap::new(),
            room_states: Vec::new(),
            time: 0,
            batch: Vec::new(),
            batch_count: 0,
            line_count: 0,
            random: Random::new(1),
            afterthoughts: Afterthoughts::default(),
            queue: VecDeque::new(),
            ended: false,
        })
    }

    /// A sender joins a room with its first message there, so what it sees begins with that message:
    /// the batch so far goes first.
    fn take(&mut self, line: Line) {
        let room = match self.rooms.get(&line.room) {
            Some(room) => *room,
            None => {
                self.send();
                let room = self.room_states.len();
                self.rooms.insert(line.room.clone(), room);
                self.room_states.push(Room::default());
                self.names.groups.push(line.room);
                self.time = self.time.max(line.time);
                self.push(Action::CreateGroup { group: group_of(room), settings: GroupSettings::default() });
                room
            }
        };
        let sender = self.user(line.sender);
        // Some are called who have not spoken yet: ids they have, but they exist only once they join.
        let mentions: Vec<UserId> = line.mentions.into_iter().map(|name| self.user(name)).collect();
        if !self.room_states[room].is_member.contains(&sender) {
            self.send();
            self.time = self.time.max(line.time);
            self.push(Action::Join { group: group_of(room), user: sender });
            self.room_states[room].members.push(sender);
            self.room_states[room].is_member.insert(sender);
        }
        self.time = self.time.max(line.time);
        self.line_count += 1;
        self.room_states[room].last += 1;
        let post = Post {
            timeline: Timeline::Group(group_of(room)),
            sender,
            body: line.text.into_bytes(),
            kind: 0,
            counts: true,
            mentions,
            alerts: 0,
            client_id: ClientId(self.line_count),
            timestamp: Some(Timestamp(line.time)),
        };
        let seq = Seq(self.room_states[room].last);
        self.afterthoughts.think(&mut self.random, &post, seq, self.time);
        self.batch.push(post);
        if self.batch.len() == BATCH_MESSAGES {
            self.send();
        }
    }

    fn user(&mut self, name: String) -> UserId {
        if let Some(user) = self.users.get(&name) {
            return *user;
        }
        let user = UserId(self.users.len() as u64 + 1);
        self.users.insert(name.clone(), user);
        self.names.users.push(name);
        user
    }

    /// The store's clock shows the time of the batch's last message; each message brings its own.
    fn send(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let Some(Timeline::Group(group)) = batch.last().map(|post| post.timeline) else {
            return;
        };
        self.batch_count += 1;
        let again = self.batch_count.is_multiple_of(BATCHES_PER_RETRY).then(|| batch.clone());
        self.push(Action::SendBatch(batch));
        if let Some(batch) = again {
            self.push(Action::SendBatch(batch));
        }
        self.read_some(group);
        // What was said is in the store now, so it can be taken back.
        while let Some(action) = self.afterthoughts.due(self.time) {
            self.push(action);
        }
        let (batch, others) = (self.batch_count, SCENE.others.len() as u64);
        if batch.is_multiple_of(BATCHES_PER_OTHER_SYNC) {
            let device = 2 + (batch / BATCHES_PER_OTHER_SYNC % others) as usize;
            self.push(Action::Sync { device });
        }
        if batch.is_multiple_of(BATCHES_PER_MAINTENANCE) {
            self.push(Action::Maintain);
        }
        for (device, batches) in BATCHES_PER_SYNC.into_iter().enumerate() {
            if self.batch_count.is_multiple_of(batches) {
                self.push(Action::Sync { device });
            }
        }
    }

    /// Two members look in: to the end, or part of the way; now and then one marks a room unread.
    fn read_some(&mut self, group: GroupId) {
        let room = &self.room_states[group.get() as usize - 1];
        let peer = Peer::Group(group);
        let mut actions = Vec::new();
        for _ in 0..2 {
            let Some(user) = self.random.pick(&room.members).copied() else {
                continue;
            };
            let back = if self.random.once_in(3) { 0 } else { self.random.below(room.last.min(500)) };
            actions.push(Action::Read { user, peer, upto: Seq(room.last - back) });
            actions.extend(housekeeping(&mut self.random, user, peer, room.last));
        }
        if self.random.once_in(20)
            && let Some(user) = self.random.pick(&room.members).copied()
        {
            actions.push(Action::UnreadFrom { user, peer, seq: Seq(room.last - self.random.below(room.last.min(60))) });
        }
        for action in actions {
            self.push(action);
        }
    }

    fn end(&mut self) {
        self.send();
        self.ended = true;
        if let Some(room) = self.room_states.first() {
            self.queue.extend(last_scene(Timestamp(self.time), SCENE, Seq(room.last)));
        }
    }

    fn push(&mut self, action: Action) {
        self.queue.push_back(Step { time: Timestamp(self.time), action });
    }
}

impl Iterator for Import {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        while self.queue.is_empty() && !self.ended {
            match self.log.next() {
                Some(Ok(line)) => self.take(line),
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
                None => self.end(),
            }
        }
        self.queue.pop_front().map(Ok)
    }
}

impl Script for Import {
    fn names(&self) -> &Names {
        &self.names
    }

    fn scene(&self) -> Scene {
        SCENE
    }
}

fn group_of(room: usize) -> GroupId {
    GroupId(room as u64 + 1)
}
