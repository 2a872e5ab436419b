//! The words in which a script tells what happens: one step after the other, each at its time.
//! Owns: `Step`, `Action`, `Post`, names, and the little random numbers scripts are made with.
//! May touch: the store's plain types. Never: calls a store.

use std::fmt;

use restante::{ClientId, Draft, GroupId, GroupSettings, Peer, Seq, Timeline, Timestamp, UserId};

/// What goes wrong in a replay, told to the person who started it.
pub type Failure = Box<dyn std::error::Error>;
/// The result of a part of a replay.
pub type Result<T> = std::result::Result<T, Failure>;

/// One thing that happens, and the time the store's clock shows then. The k-th step is the same in
/// every run over the same input: that is what lets a killed run be taken up again.
pub struct Step {
    pub time: Timestamp,
    pub action: Action,
}

/// What happens: the store's own calls, and a device asking what has changed, which changes nothing.
pub enum Action {
    CreateGroup { group: GroupId, settings: GroupSettings },
    Join { group: GroupId, user: UserId },
    JoinMany { group: GroupId, users: Vec<UserId> },
    Leave { group: GroupId, user: UserId },
    Send(Post),
    SendBatch(Vec<Post>),
    Read { user: UserId, peer: Peer, upto: Seq },
    UnreadFrom { user: UserId, peer: Peer, seq: Seq },
    Sync { device: usize },
}

/// A message as its sender has it, kept whole so that it can be sent again.
#[derive(Clone)]
pub struct Post {
    pub timeline: Timeline,
    pub sender: UserId,
    pub body: Vec<u8>,
    pub kind: u16,
    pub counts: bool,
    pub client_id: ClientId,
    /// The time it bears, for imports; otherwise the store stamps it.
    pub timestamp: Option<Timestamp>,
}

impl Post {
    pub fn draft(&self) -> Draft<'_> {
        let draft = Draft::new(self.timeline, self.sender, &self.body)
            .kind(self.kind)
            .counts(self.counts)
            .client_id(self.client_id);
        match self.timestamp {
            Some(timestamp) => draft.timestamp(timestamp),
            None => draft,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::CreateGroup { group, .. } => write!(f, "create {group}"),
            Action::Join { group, user } => write!(f, "{user} joins {group}"),
            Action::JoinMany { group, users } => write!(f, "{} users join {group}", users.len()),
            Action::Leave { group, user } => write!(f, "{user} leaves {group}"),
            Action::Send(post) => write!(f, "{} sends {} to {}", post.sender, post.client_id, post.timeline),
            Action::SendBatch(posts) => write!(f, "a batch of {} messages", posts.len()),
            Action::Read { user, peer, upto } => write!(f, "{user} reads {peer} up to {upto}"),
            Action::UnreadFrom { user, peer, seq } => write!(f, "{user} marks {peer} unread from {seq}"),
            Action::Sync { device } => write!(f, "device {device} syncs"),
        }
    }
}

/// The two devices of one user, and the session in which the last scene of a script plays.
#[derive(Clone, Copy)]
pub struct Scene {
    pub user: UserId,
    pub peer: Peer,
}

/// Where steps come from: the town or a log.
pub trait Script: Iterator<Item = Result<Step>> {
    /// What people and rooms are called; those that have appeared so far.
    fn names(&self) -> &Names;
    /// Whom the two devices belong to.
    fn scene(&self) -> Scene;
}

/// The last scene, a minute between its steps: both devices sync, the first one reads everything,
/// both sync again.
pub fn last_scene(time: Timestamp, scene: Scene, upto: Seq) -> impl Iterator<Item = Step> {
    let read = Action::Read { user: scene.user, peer: scene.peer, upto };
    let sync = |device| Action::Sync { device };
    let minutes = (1..).map(move |minute| Timestamp(time.get() + minute * 60_000_000));
    minutes.zip([sync(0), sync(1), read, sync(0), sync(1)]).map(|(time, action)| Step { time, action })
}

/// What ids are called. The store keeps no names yet, so the replay does: id n is the n-th name.
#[derive(Default)]
pub struct Names {
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

impl Names {
    pub fn user(&self, user: UserId) -> String {
        self.named(&self.users, user.get()).unwrap_or_else(|| user.to_string())
    }

    pub fn peer(&self, peer: Peer) -> String {
        let name = match peer {
            Peer::User(user) => self.named(&self.users, user.get()),
            Peer::Group(group) => self.named(&self.groups, group.get()),
            _ => None,
        };
        name.unwrap_or_else(|| peer.to_string())
    }

    fn named(&self, names: &[String], id: u64) -> Option<String> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        names.get(index).cloned()
    }
}

/// Numbers that look random and are the same on every machine (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// Whether something that happens once in `times` happens now.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, if there is any.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        items.get(index as usize)
    }
}
