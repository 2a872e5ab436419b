//! The words in which a script tells what happens: one step after the other, each at its time.
//! Owns: `Step`, `Action`, `Post`, names, and the little random numbers scripts are made with.
//! May touch: the store's plain types. Never: calls a store.

use std::fmt;

use restante::{ClientId, Draft, FlagChange, GroupId, GroupSettings, Peer, Seq, Source, Timeline, Timestamp, UserId};

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
    CreateGroup {
        group: GroupId,
        settings: GroupSettings,
    },
    Join {
        group: GroupId,
        user: UserId,
    },
    JoinMany {
        group: GroupId,
        users: Vec<UserId>,
    },
    Leave {
        group: GroupId,
        user: UserId,
    },
    Send(Post),
    SendBatch(Vec<Post>),
    Recall {
        by: UserId,
        timeline: Timeline,
        seq: Seq,
    },
    Edit {
        by: UserId,
        timeline: Timeline,
        seq: Seq,
        body: Vec<u8>,
    },
    Hide {
        user: UserId,
        peer: Peer,
        seqs: Vec<Seq>,
    },
    Read {
        user: UserId,
        peer: Peer,
        upto: Seq,
    },
    UnreadFrom {
        user: UserId,
        peer: Peer,
        seq: Seq,
    },
    Delivered {
        user: UserId,
        peer: Peer,
        upto: Seq,
    },
    Clear {
        user: UserId,
        peer: Peer,
        upto: Seq,
    },
    Remove {
        user: UserId,
        peer: Peer,
    },
    Flag {
        user: UserId,
        peer: Peer,
        flags: Flags,
    },
    /// What a store does once a minute if it is let.
    Maintain,
    Sync {
        device: usize,
    },
}

/// The flags a user sets; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub pinned: Option<bool>,
    pub muted: Option<bool>,
    pub marked_unread: Option<bool>,
}

impl Flags {
    pub fn change(self) -> FlagChange {
        let change = FlagChange::new();
        let change = self.pinned.map_or(change, |pinned| change.pinned(pinned));
        let change = self.muted.map_or(change, |muted| change.muted(muted));
        self.marked_unread.map_or(change, |marked| change.marked_unread(marked))
    }
}

/// A message as its sender has it, kept whole so that it can be sent again.
#[derive(Clone)]
pub struct Post {
    pub timeline: Timeline,
    /// None if a source sends.
    pub sender: UserId,
    pub body: Vec<u8>,
    pub kind: u16,
    pub counts: bool,
    pub mentions: Vec<UserId>,
    pub alerts: u8,
    pub client_id: ClientId,
    /// The time it bears, for imports; otherwise the store stamps it.
    pub timestamp: Option<Timestamp>,
}

impl Post {
    pub fn draft(&self) -> Draft<'_> {
        let draft = Draft::new(self.timeline, self.sender, &self.body)
            .kind(self.kind)
            .counts(self.counts)
            .mentions(&self.mentions)
            .alerts(self.alerts)
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
            Action::Recall { by, timeline, seq } => write!(f, "{by} recalls {seq} of {timeline}"),
            Action::Edit { by, timeline, seq, .. } => write!(f, "{by} edits {seq} of {timeline}"),
            Action::Hide { user, peer, seqs } => write!(f, "{user} hides {seqs:?} of {peer}"),
            Action::Read { user, peer, upto } => write!(f, "{user} reads {peer} up to {upto}"),
            Action::UnreadFrom { user, peer, seq } => write!(f, "{user} marks {peer} unread from {seq}"),
            Action::Delivered { user, peer, upto } => write!(f, "{user} has received {peer} up to {upto}"),
            Action::Clear { user, peer, upto } => write!(f, "{user} clears {peer} up to {upto}"),
            Action::Remove { user, peer } => write!(f, "{user} removes {peer}"),
            Action::Flag { user, peer, flags } => write!(f, "{user} sets {flags:?} on {peer}"),
            Action::Maintain => write!(f, "maintenance"),
            Action::Sync { device } => write!(f, "device {device} syncs"),
        }
    }
}

/// Who has devices that ask what has changed, and the session in which the last scene of a script plays.
#[derive(Clone, Copy)]
pub struct Scene {
    /// Has two devices, numbers 0 and 1.
    pub user: UserId,
    pub peer: Peer,
    /// Each has one, numbers 2 and on.
    pub others: &'static [UserId],
}

/// Where steps come from: the town or a log.
pub trait Script: Iterator<Item = Result<Step>> {
    /// What people and rooms are called; those that have appeared so far.
    fn names(&self) -> &Names;
    /// Whom the devices belong to.
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

/// What ids are called: id n is the n-th name. A directory of the store would allot ids of its own.
#[derive(Default)]
pub struct Names {
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub sources: Vec<(Source, String)>,
}

impl Names {
    pub fn user(&self, user: UserId) -> String {
        self.named(&self.users, user.get()).unwrap_or_else(|| user.to_string())
    }

    pub fn peer(&self, peer: Peer) -> String {
        let name = match peer {
            Peer::User(user) => self.named(&self.users, user.get()),
            Peer::Group(group) => self.named(&self.groups, group.get()),
            peer => self.sources.iter().find(|(source, _)| Peer::from(*source) == peer).map(|(_, name)| name.clone()),
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
