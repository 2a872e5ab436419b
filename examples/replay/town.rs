//! A small town that chats for thirty days: the script used when no log is given.
//! Owns: who lives there, who talks, reads, joins, leaves and sends twice, and when; what the town hall
//! announces and the library asks back.
//! May touch: `steps`, `words`, `afterthoughts`. Never: asks the store anything; the plan decides every step.

use std::collections::{HashSet, VecDeque};

use restante::{
    BusinessId, ClientId, GroupId, GroupSettings, Peer, Seq, Source, SystemId, Timeline, Timestamp, UserId,
};

use crate::afterthoughts::{Afterthoughts, housekeeping};
use crate::steps::{Action, Flags, Names, Post, Random, Result, Scene, Script, Step, last_scene};
use crate::words;

/// When the town starts to chat: 2024-03-01 00:00 UTC, a Friday.
const START: Timestamp = Timestamp::from_secs(1_709_251_200);
const DAYS: u64 = 30;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// How much is said in each hour of a day.
const HOUR_WEIGHTS: [u64; 24] =
    [4, 2, 1, 1, 1, 3, 10, 25, 30, 22, 20, 22, 34, 28, 20, 20, 24, 34, 44, 52, 56, 48, 30, 12];
const DAY_WEIGHT: u64 = 543;
/// Messages that are not said but noted: someone joined, someone left.
const KIND_NOTICE: u16 = 1;
/// A phone that lies in a drawer for so long has outlived the time for which client ids are kept.
const DRAWER: u64 = 9 * 24 * HOUR;
/// How often the two devices sync.
const SYNC_EVERY: [u64; 2] = [2 * HOUR, 23 * HOUR];
/// How often one device of the others syncs.
const OTHER_SYNC_EVERY: u64 = 5 * HOUR;
/// Two devices are Ada's, and the last scene plays among the bakers.
const SCENE: Scene = Scene {
    user: UserId(1),
    peer: Peer::Group(GroupId(1)),
    others: &[UserId(2), UserId(3), UserId(5), UserId(8), UserId(10)],
};
/// Tells everyone something, once in so many days.
const TOWN_HALL: Source = Source::System(SystemId(1));
const DAYS_PER_ANNOUNCEMENT: u64 = 3;
/// Asks for books, of one person at a time.
const LIBRARY: Source = Source::Business(BusinessId(1));
const BOOKS_PER_DAY: u64 = 12;
/// Is called by everyone and reads nothing of what the whole valley says.
const MAYOR: UserId = UserId(4);
/// The kinds of alert: everyone is called, a round of drinks.
const ALERT_EVERYONE: u8 = 1 << 0;
const ALERT_DRINKS: u8 = 1 << 3;
/// Since this day a newcomer moves to the town every morning.
const NEWCOMERS_SINCE: u64 = 4;

/// The size of a town.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Townspeople, who chat: users 1 and on.
    pub people: u64,
    /// Members of the one big group: users 1 and on.
    pub crowd: u64,
    pub messages: u64,
}

/// The steps of a town.
pub struct Town {
    plan: Plan,
    random: Random,
    names: Names,
    /// The small groups, then the notice board, then the crowd, then the direct chats.
    rooms: Vec<Room>,
    group_count: usize,
    now: u64,
    sent: u64,
    client_ids: u128,
    drawer: Option<(u64, usize, Post)>,
    afterthoughts: Afterthoughts,
    /// How much the town hall has announced.
    announced: u64,
    newcomers: u64,
    sync_due: [u64; 2],
    other_sync_due: u64,
    next_other: usize,
    day: u64,
    queue: VecDeque<Step>,
    stage: Stage,
}

enum Stage {
    Founding,
    Chatting,
    Ended,
}

struct Room {
    timeline: Timeline,
    present: Vec<UserId>,
    away: Vec<UserId>,
    settings: GroupSettings,
    last: u64,
}

impl Town {
    pub fn new(plan: Plan) -> Town {
        assert_eq!(HOUR_WEIGHTS.iter().sum::<u64>(), DAY_WEIGHT, "a day is the sum of its hours");
        let mut random = Random::new(plan.seed);
        let mut names = Names::default();
        for index in 0..plan.people.max(plan.crowd) as usize {
            let is_named = (index as u64) < plan.people && index < words::NAME_COUNT;
            names.users.push(if is_named { words::person(index) } else { format!("visitor {}", index + 1) });
        }
        names.users.extend((1..=DAYS).map(|day| format!("newcomer {day}")));
        names.sources = vec![(TOWN_HALL, "town hall".into()), (LIBRARY, "library".into())];
        names.groups =
            words::groups().map(String::from).chain(["notice board".into(), "the whole valley".into()]).collect();
        let group_count = names.groups.len();
        let mut rooms = Vec::new();
        for index in 0..group_count {
            let size = match group_count - index {
                1 => plan.crowd,
                2 => 20.min(plan.people),
                // From 5 to 200 members, each size as likely as its double.
                _ => (5 * 2u64.pow(random.below(6) as u32) + random.below(41)).min(200).min(plan.people),
            };
            let everyone: Vec<UserId> = (1..=plan.people.max(size)).map(UserId).collect();
            let settings =
                GroupSettings::default().shows_history(index % 3 == 1).members_only(group_count - index != 2);
            let timeline = Timeline::Group(GroupId(index as u64 + 1));
            let present = some_of(&mut random, everyone, size, index == 0);
            rooms.push(Room { timeline, present, away: Vec::new(), settings, last: 0 });
        }
        let mut chats = HashSet::new();
        for user in 1..=plan.people {
            // Notes to oneself, and friends who mostly live near.
            let mut friends = if user % 10 == 1 { vec![user] } else { Vec::new() };
            friends.extend((0..4).map(|_| 1 + (user + random.below(12) * random.below(12)) % plan.people));
            for friend in friends {
                let timeline = Timeline::direct(UserId(user), UserId(friend));
                let present = vec![UserId(user), UserId(friend)];
                if chats.insert(timeline) {
                    rooms.push(Room {
                        timeline,
                        present,
                        away: Vec::new(),
                        settings: GroupSettings::default(),
                        last: 0,
                    });
                }
            }
        }
        Town {
            plan,
            random,
            names,
            rooms,
            group_count,
            now: START.get(),
            sent: 0,
            client_ids: 0,
            drawer: None,
            afterthoughts: Afterthoughts::default(),
            announced: 0,
            newcomers: 0,
            other_sync_due: START.get() + OTHER_SYNC_EVERY,
            next_other: 0,
            sync_due: SYNC_EVERY.map(|every| START.get() + every),
            day: 0,
            queue: VecDeque::new(),
            stage: Stage::Founding,
        }
    }

    /// All groups with their first members, each group's in one commit; some ask to join twice.
    fn found(&mut self) {
        for index in 0..self.group_count {
            let Timeline::Group(group) = self.rooms[index].timeline else {
                continue;
            };
            let (settings, users) = (self.rooms[index].settings, self.rooms[index].present.clone());
            let again = users.iter().copied().take(3).collect();
            self.push(Action::CreateGroup { group, settings });
            self.push(Action::JoinMany { group, users });
            self.push(Action::JoinMany { group, users: again });
        }
    }

    /// Some people talk in one room for a while, then some of those who listen read.
    fn chat(&mut self) {
        let room = match self.random.below(100) {
            0..55 => self.group_count + self.random.below((self.rooms.len() - self.group_count) as u64) as usize,
            55..90 => self.random.below(self.group_count as u64 - 1) as usize,
            _ => self.group_count - 1,
        };
        let mut speakers: Vec<UserId> = Vec::new();
        for _ in 0..2 + self.random.below(3) {
            speakers.extend(self.random.pick(&self.rooms[room].present));
        }
        if !self.rooms[room].settings.members_only && self.random.once_in(2) {
            speakers = vec![UserId(1 + self.random.below(self.plan.people))];
        }
        let length = (1 + self.random.below(8)).min(self.plan.messages - self.sent);
        for _ in 0..length {
            let Some(sender) = self.random.pick(&speakers).copied() else {
                return;
            };
            let body = words::say(&mut self.random);
            self.say(room, sender, body);
        }
        self.read_some(room, speakers[0]);
        if room < self.group_count && self.random.once_in(15) {
            self.come_or_go(room);
        }
        self.open_drawer();
        self.open_the_morning();
        while let Some(action) = self.afterthoughts.due(self.now) {
            self.push(action);
        }
        if self.now >= self.other_sync_due {
            self.other_sync_due = self.now + OTHER_SYNC_EVERY;
            self.push(Action::Sync { device: 2 + self.next_other });
            self.next_other = (self.next_other + 1) % SCENE.others.len();
        }
        for (device, every) in SYNC_EVERY.into_iter().enumerate() {
            if self.now >= self.sync_due[device] {
                self.sync_due[device] = self.now + every;
                self.push(Action::Sync { device });
            }
        }
    }

    /// One message at its time of day; now and then the answer gets lost and it is sent again.
    fn say(&mut self, room: usize, sender: UserId, body: String) {
        // Once in a while two messages fall into the same microsecond.
        if !self.random.once_in(50) {
            self.now = self.now.max(time_of(self.sent, self.plan.messages) + self.random.below(SECOND));
        }
        let mut post = self.post(room, sender, body, 0);
        self.call_some(room, &mut post);
        if self.random.once_in(60) {
            self.push(Action::Send(post.clone()));
        }
        if self.drawer.is_none() && self.random.once_in(500) {
            self.drawer = Some((self.now + DRAWER, room, post.clone()));
        }
        self.sent += 1;
        self.rooms[room].last += 1;
        self.afterthoughts.think(&mut self.random, &post, Seq(self.rooms[room].last), self.now);
        self.push(Action::Send(post));
    }

    /// Calls people by name: mostly some who are there, also oneself, one twice, or one who is not there.
    fn call_some(&mut self, room: usize, post: &mut Post) {
        let is_crowd = room == self.group_count - 1;
        if is_crowd && self.random.once_in(8) {
            post.mentions.push(MAYOR);
        }
        if self.random.once_in(if room < self.group_count { 6 } else { 25 }) {
            for _ in 0..1 + self.random.below(3) {
                let called = match self.random.below(8) {
                    0 => Some(UserId(1 + self.random.below(self.plan.people))),
                    1 => Some(post.sender),
                    2 => post.mentions.first().copied(),
                    _ => self.random.pick(&self.rooms[room].present).copied(),
                };
                post.mentions.extend(called);
            }
        }
        if self.random.once_in(120) {
            post.alerts = self
                .random
                .pick(&[ALERT_EVERYONE, ALERT_DRINKS, ALERT_EVERYONE | ALERT_DRINKS])
                .map_or(0, |bits| *bits);
        }
        let names: Vec<String> = post.mentions.iter().map(|user| format!("@{} ", self.names.user(*user))).collect();
        post.body.splice(0..0, names.concat().into_bytes());
    }

    /// Counts for nobody, but is in history.
    fn note(&mut self, room: usize, sender: UserId, text: &str) {
        let post = self.post(room, sender, text.into(), KIND_NOTICE);
        self.rooms[room].last += 1;
        self.push(Action::Send(post));
    }

    fn post(&mut self, room: usize, sender: UserId, body: String, kind: u16) -> Post {
        self.post_to(self.rooms[room].timeline, sender, body, kind)
    }

    fn post_to(&mut self, timeline: Timeline, sender: UserId, body: String, kind: u16) -> Post {
        self.client_ids += 1;
        Post {
            timeline,
            sender,
            body: body.into_bytes(),
            kind,
            counts: kind != KIND_NOTICE,
            mentions: Vec::new(),
            alerts: 0,
            client_id: ClientId(self.client_ids),
            timestamp: None,
        }
    }

    /// In a direct chat the other one mostly reads; of a group a few members do, not all to the end.
    fn read_some(&mut self, room: usize, speaker: UserId) {
        let last = self.rooms[room].last;
        let is_direct = room >= self.group_count;
        let mut readers = Vec::new();
        if is_direct {
            readers.extend(self.rooms[room].present.iter().copied().find(|user| *user != speaker));
        } else {
            for _ in 0..3 {
                readers.extend(self.random.pick(&self.rooms[room].present));
            }
        }
        for user in readers {
            let Some(peer) = self.rooms[room].timeline.peer_of(user) else {
                continue;
            };
            let back = match self.random.below(10) {
                0..5 => 0,
                5..8 => self.random.below(last.min(30)),
                _ => continue,
            };
            let is_crowd = room == self.group_count - 1;
            if (user == SCENE.user && self.random.once_in(2)) || (user == MAYOR && is_crowd) {
                continue;
            }
            let actions = housekeeping(&mut self.random, user, peer, last);
            actions.into_iter().for_each(|action| self.push(action));
            self.push(Action::Read { user, peer, upto: Seq(last - back) });
            if self.random.once_in(25) {
                let seq = Seq(last - self.random.below(last.min(20)));
                self.push(Action::UnreadFrom { user, peer, seq });
            }
        }
    }

    /// Somebody leaves, or comes, or comes back.
    fn come_or_go(&mut self, room: usize) {
        let Timeline::Group(group) = self.rooms[room].timeline else {
            return;
        };
        if self.random.once_in(2) {
            let index = self.random.below(self.rooms[room].present.len() as u64) as usize;
            let Some(user) = self.rooms[room].present.get(index).copied() else {
                return;
            };
            if user == SCENE.user || self.rooms[room].present.len() < 3 {
                return;
            }
            self.note(room, user, "has left");
            self.push(Action::Leave { group, user });
            self.rooms[room].present.swap_remove(index);
            self.rooms[room].away.push(user);
            match self.random.below(6) {
                0 => self.push(Action::Leave { group, user }),
                1 if self.rooms[room].settings.members_only => {
                    // Typed before leaving, sent after: refused.
                    let post = self.post(room, user, "wait, one more thing".into(), 0);
                    self.push(Action::Send(post));
                }
                2 | 3 => self.push(Action::Read { user, peer: Peer::Group(group), upto: Seq(self.rooms[room].last) }),
                _ => {}
            }
            return;
        }
        let away = self.rooms[room].away.len() as u64;
        let user = match self.random.below(2) {
            0 if away > 0 => self.rooms[room].away.swap_remove(self.random.below(away) as usize),
            _ => UserId(1 + self.random.below(self.plan.people)),
        };
        self.push(Action::Join { group, user });
        if !self.rooms[room].present.contains(&user) {
            self.rooms[room].present.push(user);
            self.rooms[room].away.retain(|other| *other != user);
            self.note(room, user, "has joined");
        }
    }

    /// A phone comes out of the drawer and sends what it had: its client id is known no more.
    fn open_drawer(&mut self) {
        if self.drawer.as_ref().is_some_and(|(due, _, _)| *due <= self.now)
            && let Some((_, room, post)) = self.drawer.take()
        {
            let sender = post.sender;
            let may_send = !self.rooms[room].settings.members_only || self.rooms[room].present.contains(&sender);
            self.rooms[room].last += u64::from(may_send);
            self.push(Action::Send(post));
        }
    }

    /// What the sources send in the morning, and who came to town. Some look at it, some put it away.
    fn post_office(&mut self) {
        if self.day % DAYS_PER_ANNOUNCEMENT == 1 {
            let body = format!("To all: {}", words::say(&mut self.random));
            let mut post = self.post_to(Timeline::Broadcast(TOWN_HALL), UserId::NONE, body, 0);
            // Those who are called in a broadcast are shown, but get no badge.
            post.mentions.push(MAYOR);
            post.alerts = if self.random.once_in(4) { ALERT_EVERYONE } else { 0 };
            self.announced += 1;
            self.afterthoughts.think(&mut self.random, &post, Seq(self.announced), self.now);
            self.push(Action::Send(post.clone()));
            self.push(Action::Send(post));
        }
        for _ in 0..BOOKS_PER_DAY {
            let user = UserId(1 + self.random.below(self.plan.people));
            let timeline = Timeline::Inbox(LIBRARY, user);
            let body = words::say(&mut self.random);
            let mut post = self.post_to(timeline, UserId::NONE, body, 0);
            post.mentions.extend(Some(user).filter(|_| self.random.once_in(3)));
            self.push(Action::Send(post));
            if self.random.once_in(9) {
                self.push(Action::Recall { by: UserId::NONE, timeline, seq: Seq(1) });
            }
            let reader = UserId(1 + self.random.below(self.plan.people));
            for source in [TOWN_HALL, LIBRARY] {
                let peer = Peer::from(source);
                // Up to whatever is there.
                self.push(Action::Read { user: reader, peer, upto: Seq(u64::MAX) });
                let actions = housekeeping(&mut self.random, reader, peer, self.announced);
                actions.into_iter().for_each(|action| self.push(action));
            }
        }
        if self.day >= NEWCOMERS_SINCE && self.newcomers < DAYS {
            self.newcomers += 1;
            let user = UserId(self.plan.people.max(self.plan.crowd) + self.newcomers);
            let room = self.random.below(self.group_count as u64 - 2) as usize;
            if let Timeline::Group(group) = self.rooms[room].timeline {
                self.push(Action::Join { group, user });
                self.rooms[room].present.push(user);
                self.note(room, user, "has moved to the town");
            }
            // A friend to be; nothing was said yet.
            let flags = Flags { pinned: Some(true), ..Flags::default() };
            let peer = Peer::User(UserId(1 + self.random.below(self.plan.people)));
            self.push(Action::Flag { user, peer, flags });
        }
        self.push(Action::Maintain);
    }

    /// Once a day a quarter of all small groups' members read everything.
    fn open_the_morning(&mut self) {
        let day = (self.now - START.get()) / (24 * HOUR);
        if day == self.day {
            return;
        }
        self.day = day;
        self.post_office();
        for room in 0..self.group_count - 1 {
            let (timeline, upto) = (self.rooms[room].timeline, Seq(self.rooms[room].last));
            for user in self.rooms[room].present.clone() {
                if self.random.once_in(4)
                    && upto > Seq::NONE
                    && let Some(peer) = timeline.peer_of(user)
                {
                    self.push(Action::Read { user, peer, upto });
                }
            }
        }
    }

    /// The bakers talk without Ada; then her phone reads it, and her laptop learns of it.
    fn end(&mut self) {
        for _ in 0..7 {
            let room = &self.rooms[0];
            let others: Vec<UserId> = room.present.iter().copied().filter(|user| *user != SCENE.user).collect();
            if let Some(sender) = self.random.pick(&others).copied() {
                let body = words::say(&mut self.random);
                let post = self.post(0, sender, body, 0);
                self.rooms[0].last += 1;
                self.now += 20 * SECOND;
                self.push(Action::Send(post));
            }
        }
        self.queue.extend(last_scene(Timestamp(self.now), SCENE, Seq(self.rooms[0].last)));
    }

    fn push(&mut self, action: Action) {
        self.queue.push_back(Step { time: Timestamp(self.now), action });
    }
}

impl Iterator for Town {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        while self.queue.is_empty() {
            match self.stage {
                Stage::Founding => {
                    self.found();
                    self.stage = Stage::Chatting;
                }
                Stage::Chatting if self.sent < self.plan.messages => self.chat(),
                Stage::Chatting => {
                    self.end();
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return None,
            }
        }
        self.queue.pop_front().map(Ok)
    }
}

impl Script for Town {
    fn names(&self) -> &Names {
        &self.names
    }

    fn scene(&self) -> Scene {
        SCENE
    }
}

/// When the message at `index` of `count` is said: the hours of all days, each as long as its weight.
fn time_of(index: u64, count: u64) -> u64 {
    // In millionths of a weight, so that a busy hour is divided finely too.
    let whole = u128::from(DAYS * DAY_WEIGHT) * 1_000_000;
    let position = (whole * u128::from(index) / u128::from(count)) as u64;
    let (day, mut rest) = (position / (DAY_WEIGHT * 1_000_000), position % (DAY_WEIGHT * 1_000_000));
    let mut time = START.get() + day * 24 * HOUR;
    for weight in HOUR_WEIGHTS.map(|weight| weight * 1_000_000) {
        if rest < weight {
            return time + rest * (HOUR / 1_000_000) / (weight / 1_000_000);
        }
        rest -= weight;
        time += HOUR;
    }
    time
}

/// So many of the users, drawn without putting back; with the first one if asked for.
fn some_of(random: &mut Random, mut users: Vec<UserId>, count: u64, with_first: bool) -> Vec<UserId> {
    for index in usize::from(with_first)..(count as usize).min(users.len()) {
        let other = index + random.below((users.len() - index) as u64) as usize;
        users.swap(index, other);
    }
    users.truncate(count as usize);
    users
}
