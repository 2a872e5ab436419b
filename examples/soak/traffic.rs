//! Who writes to whom, when: dense and sparse traffic, the same for the same seed.
//! Owns: the town's numbers, `Traffic`, what a body says. May touch: `options`.
//! Never: calls a store.

use super::options::{BODY_BYTES, GROUP_MEMBERS, Kind};
use restante::{ClientId, Draft, GroupId, Peer, Timeline, UserId};

/// Users have so many direct timelines with users of a higher id.
const FRIENDS: u64 = 4;
/// Chats that go on at the same time in dense traffic.
const CHATS: usize = 2_000;
/// A chat ends after a message with this chance, one of so many.
const CHAT_MESSAGES: u64 = 20;

/// Numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Where messages go.
#[derive(Clone, Copy)]
pub enum Target {
    Direct(u64),
    Group(u64),
}

impl Target {
    /// Someone who sees it, and what this user calls it.
    pub fn viewed(self, town: &Town) -> (UserId, Peer) {
        match self {
            Target::Direct(index) => {
                let (low, high) = pair(index);
                (low, Peer::User(high))
            }
            Target::Group(index) => (town.member(index, 0), Peer::Group(group(index))),
        }
    }

    /// What the bodies of its messages begin with.
    pub fn mark(self) -> u64 {
        match self {
            Target::Direct(index) => mix(index << 1),
            Target::Group(index) => mix(index << 1 | 1),
        }
    }
}

/// The users of a direct timeline.
fn pair(index: u64) -> (UserId, UserId) {
    let low = index / FRIENDS + 1;
    (UserId(low), UserId(low + 1 + index % FRIENDS))
}

pub fn group(index: u64) -> GroupId {
    GroupId(index + 1)
}

/// How many there are of everything.
#[derive(Clone, Copy)]
pub struct Town {
    pub timelines: u64,
    pub groups: u64,
}

impl Town {
    fn users(&self) -> u64 {
        self.timelines / FRIENDS + FRIENDS + 1
    }

    /// A group's member; all of a group are different where there are users enough.
    pub fn member(&self, group: u64, number: u64) -> UserId {
        UserId((mix(group) % self.users() + number * 7) % self.users() + 1)
    }
}

/// A message on its way.
#[derive(Clone)]
pub struct Letter {
    timeline: Timeline,
    sender: UserId,
    client_id: ClientId,
    body: [u8; BODY_BYTES],
}

impl Letter {
    pub fn draft(&self) -> Draft<'_> {
        Draft::new(self.timeline, self.sender, &self.body).client_id(self.client_id)
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What is sent, one message after another.
pub struct Traffic {
    kind: Kind,
    town: Town,
    random: Random,
    chats: Vec<u64>,
    client_id: u128,
}

impl Traffic {
    pub fn new(kind: Kind, town: Town, seed: u64) -> Traffic {
        let mut random = Random(mix(seed));
        let chats = (0..CHATS).map(|_| random.below(town.timelines)).collect();
        // Client ids of two runs must not be the same.
        let client_id = u128::from(random.next()) << 64 | 1;
        Traffic { kind, town, random, chats, client_id }
    }

    /// Where the next message goes.
    fn target(&mut self) -> Target {
        let Town { timelines, groups } = self.town;
        match self.kind {
            Kind::Dense if self.random.below(2) == 0 => {
                // The hundredth part of the groups has the fifth part of the messages.
                let draw = self.random.below(1 << 20) as f64 / (1 << 20) as f64;
                Target::Group((draw * draw * draw * groups as f64) as u64)
            }
            Kind::Dense => {
                let chat = self.random.below(CHATS as u64) as usize;
                let index = self.chats[chat];
                if self.random.below(CHAT_MESSAGES) == 0 {
                    self.chats[chat] = self.random.below(timelines);
                }
                Target::Direct(index)
            }
            Kind::Sparse if self.random.below(32) == 0 => Target::Group(self.random.below(groups)),
            Kind::Sparse => Target::Direct(self.random.below(timelines)),
        }
    }

    /// The next messages.
    pub fn fill(&mut self, letters: &mut Vec<Letter>, count: usize) {
        letters.clear();
        for _ in 0..count {
            let target = self.target();
            let word = self.random.next();
            let (timeline, sender) = match target {
                Target::Direct(index) => {
                    let (low, high) = pair(index);
                    (Timeline::direct(low, high), if word & 1 == 0 { low } else { high })
                }
                Target::Group(index) => (Timeline::Group(group(index)), self.town.member(index, word % GROUP_MEMBERS)),
            };
            self.client_id += 1;
            let mut body = [0; BODY_BYTES];
            body[..8].copy_from_slice(&target.mark().to_le_bytes());
            let mut noise = Random(word);
            body[8..].chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&noise.next().to_le_bytes()));
            letters.push(Letter { timeline, sender, client_id: ClientId(self.client_id), body });
        }
    }
}
