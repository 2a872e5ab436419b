//! Random calls as values, so that two stores can be given the same.
//! Owns: what is drawn, and how often. May touch: the public interface, `support`.
//! Never: judges an answer.

use crate::support::Rng;
use restante::*;

pub const USERS: u64 = 5;
pub const GROUPS: u64 = 4;

/// A call with its arguments.
#[derive(Clone, Debug)]
pub enum Op {
    Send {
        timeline: Timeline,
        sender: UserId,
        body: Vec<u8>,
        counts: bool,
        mentions: Vec<UserId>,
        alerts: u8,
        client: u128,
        kind: u16,
    },
    Batch(Vec<Op>),
    Recall(UserId, Timeline, Seq),
    Edit(UserId, Timeline, Seq, Vec<u8>),
    Hide(UserId, Peer, Vec<Seq>),
    Clear(UserId, Peer, Seq),
    Remove(UserId, Peer),
    Flags(UserId, Peer, u8, u8),
    Metadata(UserId, Peer, Vec<u8>),
    Read(UserId, Peer, Seq),
    Delivered(UserId, Peer, Seq),
    Unread(UserId, Peer, Seq),
    Create(GroupId, bool, bool),
    Set(GroupId, bool, bool),
    GroupMeta(GroupId, Vec<u8>),
    Dissolve(GroupId),
    Join(GroupId, Vec<UserId>),
    Leave(GroupId, UserId),
    Role(GroupId, UserId, u8),
    Data(GroupId, UserId, Vec<u8>),
    Silence(GroupId, UserId, Timestamp),
    AddUser(UserId),
    RemoveUser(UserId, bool),
    Name(NameKind, Vec<u8>),
    Free(NameKind, Vec<u8>),
    Settings(Settings),
    Maintain(Timestamp),
}

/// Draws calls; most of them about what there is.
pub struct Drive {
    pub rng: Rng,
    pub last: u64,
    pub now: u64,
    pub rare: u64,
}

impl Drive {
    pub fn user(&mut self) -> UserId {
        UserId(1 + self.rng.below(USERS))
    }
    pub fn group(&mut self) -> GroupId {
        GroupId(1 + self.rng.below(GROUPS))
    }
    pub fn source(&mut self) -> Source {
        match self.rng.below(4) {
            0 => Source::System(SystemId(1)),
            1 => Source::Business(BusinessId(1)),
            2 => Source::System(SystemId(2)),
            _ => Source::Business(BusinessId(2)),
        }
    }
    pub fn peer(&mut self) -> Peer {
        match self.rng.below(6) {
            0..=1 => Peer::User(self.user()),
            2..=4 if self.rng.percent(70) => Peer::Group(self.group()),
            _ => self.source().into(),
        }
    }
    pub fn timeline(&mut self) -> Timeline {
        match self.rng.below(10) {
            0..=3 => Timeline::direct(self.user(), self.user()),
            4..=7 => Timeline::Group(self.group()),
            _ => match self.source() {
                Source::System(SystemId(2)) | Source::Business(BusinessId(2)) if self.rng.percent(97) => {
                    Timeline::Inbox(self.source2(), self.user())
                }
                source => Timeline::Broadcast(source),
            },
        }
    }
    fn source2(&mut self) -> Source {
        if self.rng.percent(50) { Source::System(SystemId(2)) } else { Source::Business(BusinessId(2)) }
    }
    pub fn seq(&mut self) -> Seq {
        // Mostly near what there is.
        match self.rng.below(30) {
            0 => Seq(u64::MAX),
            1 => Seq(0),
            _ => Seq(1 + self.rng.below(self.last.max(3))),
        }
    }
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let n = self.rng.below(most + 1);
        (0..n).map(|_| b'a' + self.rng.below(26) as u8).collect()
    }
    fn send(&mut self) -> Op {
        let timeline = self.timeline();
        let sender = match timeline {
            Timeline::Direct(pair) => {
                if self.rng.percent(50) {
                    pair.low()
                } else {
                    pair.high()
                }
            }
            Timeline::Group(_) => self.user(),
            _ => UserId::NONE,
        };
        let counts = !self.rng.percent(20);
        let mut mentions = Vec::new();
        let mut alerts = 0;
        if counts && self.rng.percent(40) {
            for _ in 0..self.rng.below(4) {
                mentions.push(UserId(1 + self.rng.below(USERS + 1)));
            }
        }
        if counts && self.rng.percent(30) {
            alerts = 1 << self.rng.below(8) | self.rng.below(4) as u8;
        }
        let client = if self.rng.percent(25) { 1 + self.rng.below(6) as u128 } else { 0 };
        let body = if client > 0 { vec![b'x'; self.rng.below(2) as usize] } else { self.bytes(12) };
        Op::Send {
            timeline,
            sender,
            body,
            counts,
            mentions,
            alerts,
            client,
            kind: if client > 0 { 0 } else { self.rng.below(3) as u16 },
        }
    }
    pub fn next(&mut self) -> Op {
        let kind = [NameKind::User, NameKind::Group, NameKind::System, NameKind::Business][self.rng.below(4) as usize];
        match self.rng.below(100) {
            0..=27 => self.send(),
            28..=29 => {
                let n = 1 + self.rng.below(4);
                Op::Batch((0..n).map(|_| self.send()).collect())
            }
            30..=36 => {
                Op::Recall(if self.rng.percent(20) { UserId::NONE } else { self.user() }, self.timeline(), self.seq())
            }
            37..=42 => Op::Edit(self.user(), self.timeline(), self.seq(), self.bytes(3)),
            43..=48 => {
                let n = 1 + self.rng.below(3);
                Op::Hide(self.user(), self.peer(), (0..n).map(|_| self.seq()).collect())
            }
            49..=52 => Op::Clear(self.user(), self.peer(), self.seq()),
            53..=56 => Op::Remove(self.user(), self.peer()),
            57..=59 => Op::Flags(self.user(), self.peer(), self.rng.below(8) as u8, self.rng.below(8) as u8),
            60..=61 => Op::Metadata(self.user(), self.peer(), self.bytes(2)),
            62..=66 => Op::Read(self.user(), self.peer(), self.seq()),
            67..=68 => Op::Delivered(self.user(), self.peer(), self.seq()),
            69..=73 => Op::Unread(self.user(), self.peer(), self.seq()),
            74 => Op::Create(self.group(), self.rng.percent(50), self.rng.percent(50)),
            75..=76 => Op::Set(self.group(), self.rng.percent(60), self.rng.percent(50)),
            77 => Op::GroupMeta(self.group(), self.bytes(2)),
            78 if self.rng.percent(self.rare) => Op::Dissolve(self.group()),
            78..=84 => {
                let n = 1 + self.rng.below(3);
                Op::Join(self.group(), (0..n).map(|_| self.user()).collect())
            }
            85..=88 => Op::Leave(self.group(), self.user()),
            89 => Op::Role(self.group(), self.user(), self.rng.below(3) as u8),
            90 => Op::Data(self.group(), self.user(), self.bytes(2)),
            91 => {
                let until = self.now + self.rng.below(5_000_000);
                let until = if self.rng.percent(30) { 0 } else { until };
                Op::Silence(self.group(), self.user(), Timestamp(until))
            }
            92 => Op::AddUser(self.user()),
            93 if self.rng.percent(self.rare) => Op::RemoveUser(self.user(), self.rng.percent(40)),
            93..=94 => Op::Name(kind, self.bytes(1)),
            95 => Op::Free(kind, self.bytes(1)),
            96 if self.rng.percent(30) => Op::Settings(Settings::default().dedup_window_secs(self.rng.below(3) * 10)),
            97 if self.rng.percent(30) => Op::Maintain(Timestamp(self.now)),
            _ => self.send(),
        }
    }
}

/// Makes the call and says what came of it, in words that two stores share.
pub fn apply(store: &Store, op: &Op, out: &mut Vec<Appended>) -> String {
    fn show<T: std::fmt::Debug>(result: Result<T>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error {:?} item={:?}", error.kind(), error.item()),
        }
    }
    fn settings(history: bool, members: bool) -> GroupSettings {
        GroupSettings::default().shows_history(history).members_only(members)
    }
    fn draft(op: &Op) -> Draft<'_> {
        let Op::Send { timeline, sender, body, counts, mentions, alerts, client, kind } = op else { unreachable!() };
        let mut draft =
            Draft::new(*timeline, *sender, body).counts(*counts).mentions(mentions).alerts(*alerts).kind(*kind);
        if *client > 0 {
            draft = draft.client_id(ClientId(*client));
        }
        draft
    }
    match op {
        Op::Send { .. } => show(store.append(draft(op)).wait().inspect(|it| out.push(*it))),
        Op::Batch(ops) => {
            let drafts: Vec<_> = ops.iter().map(draft).collect();
            show(store.append_batch(&drafts).wait().inspect(|it| out.extend(it.iter().copied())))
        }
        Op::Recall(by, timeline, seq) => show(store.recall(*by, *timeline, *seq).wait()),
        Op::Edit(by, timeline, seq, body) => show(store.edit(*by, *timeline, *seq, body).wait()),
        Op::Hide(user, peer, seqs) => show(store.hide(*user, *peer, seqs).wait()),
        Op::Clear(user, peer, seq) => show(store.clear(*user, *peer, *seq).wait()),
        Op::Remove(user, peer) => show(store.remove_session(*user, *peer).wait()),
        Op::Flags(user, peer, mask, values) => {
            let mut change = FlagChange::new();
            if mask & 1 > 0 {
                change = change.pinned(values & 1 > 0);
            }
            if mask & 2 > 0 {
                change = change.muted(values & 2 > 0);
            }
            if mask & 4 > 0 {
                change = change.marked_unread(values & 4 > 0);
            }
            show(store.set_flags(*user, *peer, change).wait())
        }
        Op::Metadata(user, peer, bytes) => show(store.set_metadata(*user, *peer, bytes).wait()),
        Op::Read(user, peer, seq) => show(store.mark_read(*user, *peer, *seq).wait()),
        Op::Delivered(user, peer, seq) => show(store.mark_delivered(*user, *peer, *seq).wait()),
        Op::Unread(user, peer, seq) => show(store.mark_unread_from(*user, *peer, *seq).wait()),
        Op::Create(group, history, members) => show(store.create_group(*group, settings(*history, *members)).wait()),
        Op::Set(group, history, members) => show(store.set_group(*group, settings(*history, *members)).wait()),
        Op::GroupMeta(group, bytes) => show(store.set_group_metadata(*group, bytes).wait()),
        Op::Dissolve(group) => show(store.dissolve(*group).wait()),
        Op::Join(group, users) => show(store.join_many(*group, users).wait()),
        Op::Leave(group, user) => show(store.leave(*group, *user).wait()),
        Op::Role(group, user, role) => show(store.set_role(*group, *user, *role).wait()),
        Op::Data(group, user, bytes) => show(store.set_member_data(*group, *user, bytes).wait()),
        Op::Silence(group, user, until) => show(store.silence(*group, *user, *until).wait()),
        Op::AddUser(user) => show(store.add_user(*user).wait()),
        Op::RemoveUser(user, recalls) => show(store.remove_user(*user, *recalls)),
        Op::Name(kind, name) => show(store.resolve_or_create(*kind, name).wait()),
        Op::Free(kind, name) => show(store.free_name(*kind, name).wait()),
        Op::Settings(settings) => show(store.set_settings(*settings).wait()),
        Op::Maintain(now) => show(store.maintain(*now).wait()),
    }
}
