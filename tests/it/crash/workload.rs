//! A run of changes of every kind, drawn from a seed, and how each is asked for.
//! Owns: what is drawn, bodies, playing one act on a store. May touch: the store's public interface.
//! Never: knows what a crash is.

use restante::{
    Appended, ClientId, Draft, Durability, Effect, Error, ErrorKind, GroupId, GroupSettings, HistoryQuery, Joined,
    Peer, Result, Seq, Store, Ticket, Timeline, Timestamp, UserId,
};

use crate::support::Rng;

/// Where every clock starts.
pub const START: u64 = 1_700_000_000_000_000;
/// Small enough that a run fills several files.
pub const JOURNAL_BYTES: u64 = 64 << 10;
const USERS: u64 = 9;
const GROUPS: u64 = 4;

/// A message to be appended.
#[derive(Clone, Debug)]
pub struct Post {
    timeline: Timeline,
    sender: UserId,
    /// What the body is made of, and how long it is.
    body: (u64, usize),
    kind: u16,
    counts: bool,
    client_id: u128,
    /// Explicit timestamp: so many microseconds before the clock.
    before: Option<u64>,
}

/// One change, asked for in the same words whatever is published: it does the same on every store that
/// went through the same acts before.
#[derive(Clone, Debug)]
pub enum Act {
    Append(Post),
    Batch(Vec<Post>),
    Create(GroupId, GroupSettings),
    Join(GroupId, UserId),
    JoinMany(GroupId, Vec<UserId>),
    Leave(GroupId, UserId),
    Read(UserId, Peer, Seq),
    Unread(UserId, Peer, Seq),
}

/// One step of a run.
#[derive(Clone, Debug)]
pub enum Step {
    /// A change; the level, if it is not the store's own, and whether the ticket is waited for at once.
    Ask(Act, Option<Durability>, bool),
    /// A mark, at this part (of 100) of what its user sees.
    Mark {
        user: UserId,
        peer: Peer,
        part: u64,
        back: bool,
        level: Option<Durability>,
        wait: bool,
    },
    Sync,
    /// Closes and opens again, with this durability.
    Reopen(Durability),
    /// The process is killed and the machine goes on; the next opens with this durability.
    Kill(Durability),
}

/// A step and the time at which it is made.
#[derive(Clone, Debug)]
pub struct Timed {
    pub time: u64,
    pub step: Step,
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub first: Durability,
    /// After the clean close, at a third of the run.
    pub second: Durability,
    /// After the kill, at two thirds.
    pub third: Durability,
    pub changes: usize,
    /// Of a hundred calls in a `Sync` store, so many are asked for `Buffered`.
    pub buffered_percent: u64,
    /// After so many of a hundred changes the store is synced. Few let files fill up unsynced.
    pub sync_percent: u64,
    /// So many of a hundred bodies take thousands of bytes.
    pub large_percent: u64,
}

/// Draws a run.
pub fn draw(seed: u64, shape: &Shape) -> Vec<Timed> {
    let mut rng = Rng::new(seed);
    let (mut steps, mut time) = (Vec::new(), START);
    let mut durability = shape.first;
    for index in 0..shape.changes {
        time += rng.between(1, 2_000_000);
        if rng.percent(1) {
            // Client ids get free again.
            time += 4 * 24 * 3_600 * 1_000_000;
        }
        let reopen = match index {
            _ if index == shape.changes / 3 => Some(Step::Reopen(shape.second)),
            _ if index == shape.changes * 2 / 3 => Some(Step::Kill(shape.third)),
            _ => None,
        };
        if let Some(step) = reopen {
            durability = match step {
                Step::Reopen(next) | Step::Kill(next) => next,
                _ => durability,
            };
            steps.push(Timed { time, step });
        }
        let is_sync = durability == Durability::Sync;
        let level = match durability {
            Durability::Sync if rng.percent(shape.buffered_percent) => Some(Durability::Buffered),
            Durability::Buffered if rng.percent(shape.sync_percent / 2) => Some(Durability::Sync),
            _ => None,
        };
        let wait = !rng.percent(if is_sync { 30 } else { 20 });
        let step = if rng.percent(22) {
            let user = UserId(rng.between(1, USERS));
            let peer = match rng.percent(50) {
                true => Peer::User(UserId(rng.between(1, USERS))),
                false => Peer::Group(GroupId(rng.between(1, GROUPS))),
            };
            Step::Mark { user, peer, part: rng.below(101), back: rng.percent(30), level, wait }
        } else {
            Step::Ask(act(&mut rng, shape.large_percent), level, wait)
        };
        steps.push(Timed { time, step });
        if rng.percent(shape.sync_percent) {
            steps.push(Timed { time, step: Step::Sync });
        }
    }
    steps
}

fn act(rng: &mut Rng, large_percent: u64) -> Act {
    let group = GroupId(rng.between(1, GROUPS));
    let user = UserId(rng.between(1, USERS));
    match rng.below(100) {
        0..55 => Act::Append(post(rng, large_percent)),
        55..70 => Act::Batch((0..rng.between(1, 5)).map(|_| Post { body: (rng.next(), 40), ..post(rng, 0) }).collect()),
        70..76 => {
            let settings = GroupSettings::default().shows_history(rng.percent(50)).members_only(rng.percent(70));
            Act::Create(group, settings)
        }
        76..86 => Act::Join(group, user),
        86..91 => Act::JoinMany(group, (0..rng.between(1, 6)).map(|_| UserId(rng.between(1, USERS))).collect()),
        _ => Act::Leave(group, user),
    }
}

fn post(rng: &mut Rng, large_percent: u64) -> Post {
    let sender = UserId(rng.between(1, USERS));
    let timeline = match rng.below(10) {
        0..5 => Timeline::Group(GroupId(rng.between(1, GROUPS))),
        // Now and then to oneself.
        _ => Timeline::direct(sender, UserId(rng.between(1, USERS))),
    };
    let length = if rng.percent(large_percent) { rng.between(5_000, 15_000) } else { rng.below(60) };
    Post {
        timeline,
        sender,
        body: (rng.next(), length as usize),
        kind: rng.below(3) as u16,
        counts: !rng.percent(15),
        client_id: if rng.percent(40) { u128::from(rng.between(1, 12)) } else { 0 },
        before: rng.percent(10).then(|| rng.below(1_000)),
    }
}

/// A body of `length` bytes that `salt` chooses.
pub fn body(salt: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(salt);
    (0..length.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).take(length).collect()
}

impl Post {
    fn draft<'a>(&self, time: u64, body: &'a [u8]) -> Draft<'a> {
        let draft = Draft::new(self.timeline, self.sender, body).kind(self.kind).counts(self.counts);
        let draft = draft.client_id(ClientId(self.client_id));
        match self.before {
            Some(before) => draft.timestamp(Timestamp(time - before)),
            None => draft,
        }
    }

    /// Retries have the body of the first append, most of the time.
    fn bytes(&self) -> Vec<u8> {
        match self.client_id {
            0 => body(self.body.0, self.body.1),
            id if self.body.0.is_multiple_of(4) => body(id as u64, self.body.1),
            id => body(id as u64, 30),
        }
    }
}

/// What a change gave: a ticket of any kind.
pub enum Asked {
    One(Ticket<Appended>),
    Many(Ticket<Vec<Appended>>),
    Effect(Ticket<Effect>),
    Joined(Ticket<Joined>),
}

impl Act {
    /// Asks for the change; the store's clock shows `time`.
    pub fn ask(&self, store: &Store, time: u64) -> Asked {
        match self {
            Act::Append(post) => Asked::One(store.append(post.draft(time, &post.bytes()))),
            Act::Batch(posts) => {
                let bodies: Vec<Vec<u8>> = posts.iter().map(Post::bytes).collect();
                let drafts: Vec<Draft<'_>> =
                    posts.iter().zip(&bodies).map(|(post, body)| post.draft(time, body)).collect();
                Asked::Many(store.append_batch(&drafts))
            }
            Act::Create(group, settings) => Asked::Effect(store.create_group(*group, *settings)),
            Act::Join(group, user) => Asked::Effect(store.join(*group, *user)),
            Act::JoinMany(group, users) => Asked::Joined(store.join_many(*group, users)),
            Act::Leave(group, user) => Asked::Effect(store.leave(*group, *user)),
            Act::Read(user, peer, seq) => Asked::Effect(store.mark_read(*user, *peer, *seq)),
            Act::Unread(user, peer, seq) => Asked::Effect(store.mark_unread_from(*user, *peer, *seq)),
        }
    }
}

impl Asked {
    pub fn is_done(&self) -> bool {
        match self {
            Asked::One(ticket) => ticket.is_done(),
            Asked::Many(ticket) => ticket.is_done(),
            Asked::Effect(ticket) => ticket.is_done(),
            Asked::Joined(ticket) => ticket.is_done(),
        }
    }

    /// Waits, and says up to which version the answer vouches; 0 if it names none. A refusal is an answer.
    pub fn wait(self) -> Result<u64> {
        let version = match self {
            Asked::One(ticket) => ticket.wait().map(|appended| appended.version.0),
            Asked::Many(ticket) => {
                ticket.wait().map(|all| all.iter().map(|appended| appended.version.0).max().unwrap_or(0))
            }
            Asked::Effect(ticket) => ticket.wait().map(|effect| match effect {
                Effect::Changed(version) => version.0,
                _ => 0,
            }),
            Asked::Joined(ticket) => ticket.wait().map(|joined| joined.version.0),
        };
        version.or_else(|error| if is_refusal(&error) { Ok(0) } else { Err(error) })
    }
}

fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Conflict, InvalidInput, NotFound, Refused};
    [Conflict, InvalidInput, NotFound, Refused].contains(&error.kind())
}

/// What a mark asks for, in words that do not depend on what is published; `None` if its user sees nothing.
pub fn mark(store: &Store, user: UserId, peer: Peer, part: u64, back: bool) -> Option<Act> {
    let page = store.history(user, peer, &HistoryQuery::newest().limit(1)).ok()?;
    let newest = page.messages.first()?.seq.0;
    let seq = Seq((newest * part / 100).max(1));
    Some(if back { Act::Unread(user, peer, seq) } else { Act::Read(user, peer, seq) })
}
