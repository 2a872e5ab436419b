//! A change as it is asked for, and the ticket it is answered with.
//! Owns: `Act`, `Post`, bodies, `Asked`. May touch: the store's public interface.
//! Never: knows what a crash is, draws anything.

use restante::{
    Appended, ClientId, Draft, Effect, Error, ErrorKind, FlagChange, GroupId, GroupSettings, Joined, Maintained,
    NameKind, Peer, RemovedUser, Resolved, Result, Seq, Settings, Store, Ticket, Timeline, Timestamp, UserId,
};

use crate::support::Rng;

/// A message to be appended.
#[derive(Clone, Debug)]
pub struct Post {
    pub timeline: Timeline,
    /// None if a source sends.
    pub sender: UserId,
    /// What the body is made of, and how long it is.
    pub body: (u64, usize),
    pub kind: u16,
    pub counts: bool,
    pub client_id: u128,
    pub mentions: Vec<UserId>,
    pub alerts: u8,
    /// Explicit timestamp: so many microseconds before the clock.
    pub before: Option<u64>,
}

/// One change, asked for in the same words whatever is published: it does the same on every store that
/// went through the same acts before.
#[derive(Clone, Debug)]
pub enum Act {
    Append(Post),
    Batch(Vec<Post>),
    Recall(UserId, Timeline, Seq),
    Edit(UserId, Timeline, Seq, (u64, usize)),
    Hide(UserId, Peer, Vec<Seq>),
    Read(UserId, Peer, Seq),
    Unread(UserId, Peer, Seq),
    Delivered(UserId, Peer, Seq),
    Clear(UserId, Peer, Seq),
    RemoveSession(UserId, Peer),
    Flags(UserId, Peer, [Option<bool>; 3]),
    Metadata(UserId, Peer, (u64, usize)),
    Create(GroupId, GroupSettings),
    SetGroup(GroupId, GroupSettings),
    GroupMetadata(GroupId, (u64, usize)),
    Dissolve(GroupId),
    Join(GroupId, UserId),
    JoinMany(GroupId, Vec<UserId>),
    Leave(GroupId, UserId),
    Role(GroupId, UserId, u8),
    MemberData(GroupId, UserId, (u64, usize)),
    /// Until so many microseconds after the clock; 0 lifts it.
    Silence(GroupId, UserId, u64),
    AddUser(UserId),
    RemoveUser(UserId, bool),
    Resolve(NameKind, u64),
    FreeName(NameKind, u64),
    Settings(Settings),
    Maintain,
}

/// A body of `length` bytes that `salt` chooses.
pub fn bytes((salt, length): (u64, usize)) -> Vec<u8> {
    let mut rng = Rng::new(salt);
    (0..length.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).take(length).collect()
}

fn name(number: u64) -> Vec<u8> {
    format!("name {number}").into_bytes()
}

impl Post {
    fn draft<'a>(&'a self, time: u64, body: &'a [u8]) -> Draft<'a> {
        let draft = Draft::new(self.timeline, self.sender, body).kind(self.kind).counts(self.counts);
        let draft = draft.client_id(ClientId(self.client_id)).mentions(&self.mentions).alerts(self.alerts);
        match self.before {
            Some(before) => draft.timestamp(Timestamp(time - before)),
            None => draft,
        }
    }

    /// Retries have the body of the first append, most of the time.
    fn bytes(&self) -> Vec<u8> {
        match self.client_id {
            0 => bytes(self.body),
            id if self.body.0.is_multiple_of(4) => bytes((id as u64, self.body.1)),
            id => bytes((id as u64, 30)),
        }
    }
}

/// What a change gave: a ticket of any kind.
pub enum Asked {
    One(Ticket<Appended>),
    Many(Ticket<Vec<Appended>>),
    Effect(Ticket<Effect>),
    Joined(Ticket<Joined>),
    Resolved(Ticket<Resolved>),
    Maintained(Ticket<Maintained>),
    /// Is done when it returns; up to which version it vouches.
    Removed(Result<RemovedUser>, u64),
}

/// How many kinds of change there are.
pub const KINDS: usize = 28;

impl Act {
    /// What it is called.
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Whether what it does depends on how much is published when it is asked for, so that everything
    /// must be for it to do the same everywhere.
    pub fn looks_at_published(&self) -> bool {
        matches!(self, Act::RemoveSession(..) | Act::RemoveUser(..))
    }

    /// Asks for the change; the store's clock shows `time`.
    pub fn ask(&self, store: &Store, time: u64) -> Asked {
        Asked::Effect(match self {
            Act::Append(post) => return Asked::One(store.append(post.draft(time, &post.bytes()))),
            Act::Batch(posts) => {
                let bodies: Vec<Vec<u8>> = posts.iter().map(Post::bytes).collect();
                let drafts: Vec<Draft<'_>> =
                    posts.iter().zip(&bodies).map(|(post, body)| post.draft(time, body)).collect();
                return Asked::Many(store.append_batch(&drafts));
            }
            Act::Recall(by, timeline, seq) => store.recall(*by, *timeline, *seq),
            Act::Edit(by, timeline, seq, body) => store.edit(*by, *timeline, *seq, &bytes(*body)),
            Act::Hide(user, peer, seqs) => store.hide(*user, *peer, seqs),
            Act::Read(user, peer, seq) => store.mark_read(*user, *peer, *seq),
            Act::Unread(user, peer, seq) => store.mark_unread_from(*user, *peer, *seq),
            Act::Delivered(user, peer, seq) => store.mark_delivered(*user, *peer, *seq),
            Act::Clear(user, peer, seq) => store.clear(*user, *peer, *seq),
            Act::RemoveSession(user, peer) => store.remove_session(*user, *peer),
            Act::Flags(user, peer, flags) => store.set_flags(*user, *peer, flag_change(*flags)),
            Act::Metadata(user, peer, metadata) => store.set_metadata(*user, *peer, &bytes(*metadata)),
            Act::Create(group, settings) => store.create_group(*group, *settings),
            Act::SetGroup(group, settings) => store.set_group(*group, *settings),
            Act::GroupMetadata(group, metadata) => store.set_group_metadata(*group, &bytes(*metadata)),
            Act::Dissolve(group) => store.dissolve(*group),
            Act::Join(group, user) => store.join(*group, *user),
            Act::JoinMany(group, users) => return Asked::Joined(store.join_many(*group, users)),
            Act::Leave(group, user) => store.leave(*group, *user),
            Act::Role(group, user, role) => store.set_role(*group, *user, *role),
            Act::MemberData(group, user, data) => store.set_member_data(*group, *user, &bytes(*data)),
            Act::Silence(group, user, 0) => store.silence(*group, *user, Timestamp(0)),
            Act::Silence(group, user, after) => store.silence(*group, *user, Timestamp(time + after)),
            Act::AddUser(user) => store.add_user(*user),
            Act::RemoveUser(user, recall_all) => {
                let before = store.version().0;
                let removed = store.remove_user(*user, *recall_all);
                let after = store.version().0;
                return Asked::Removed(removed, if after > before { after } else { 0 });
            }
            Act::Resolve(kind, number) => return Asked::Resolved(store.resolve_or_create(*kind, &name(*number))),
            Act::FreeName(kind, number) => store.free_name(*kind, &name(*number)),
            Act::Settings(settings) => store.set_settings(*settings),
            Act::Maintain => return Asked::Maintained(store.maintain(Timestamp(time))),
        })
    }
}

fn flag_change([pinned, muted, marked_unread]: [Option<bool>; 3]) -> FlagChange {
    let change = FlagChange::new();
    let change = pinned.map_or(change, |pinned| change.pinned(pinned));
    let change = muted.map_or(change, |muted| change.muted(muted));
    marked_unread.map_or(change, |marked_unread| change.marked_unread(marked_unread))
}

impl Asked {
    pub fn is_done(&self) -> bool {
        match self {
            Asked::One(ticket) => ticket.is_done(),
            Asked::Many(ticket) => ticket.is_done(),
            Asked::Effect(ticket) => ticket.is_done(),
            Asked::Joined(ticket) => ticket.is_done(),
            Asked::Resolved(ticket) => ticket.is_done(),
            Asked::Maintained(ticket) => ticket.is_done(),
            Asked::Removed(..) => true,
        }
    }

    /// Waits, and says up to which version the answer vouches; 0 if it names none. A refusal is an answer.
    pub fn wait(self) -> Result<u64> {
        let version = match self {
            Asked::One(ticket) => ticket.wait().map(|appended| appended.version.0),
            Asked::Many(ticket) => {
                ticket.wait().map(|all| all.iter().map(|appended| appended.version.0).max().unwrap_or(0))
            }
            Asked::Effect(ticket) => ticket.wait().map(version_of),
            Asked::Joined(ticket) => ticket.wait().map(|joined| joined.version.0),
            Asked::Resolved(ticket) => ticket.wait().map(|_| 0),
            Asked::Maintained(ticket) => ticket.wait().map(|maintained| version_of(maintained.effect)),
            Asked::Removed(removed, version) => removed.map(|_| version),
        };
        version.or_else(|error| if is_refusal(&error) { Ok(0) } else { Err(error) })
    }
}

fn version_of(effect: Effect) -> u64 {
    match effect {
        Effect::Changed(version) => version.0,
        _ => 0,
    }
}

fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Conflict, Dissolved, InvalidInput, LimitExceeded, NotFound, Refused, Trimmed};
    [Conflict, Dissolved, InvalidInput, LimitExceeded, NotFound, Refused, Trimmed].contains(&error.kind())
}
