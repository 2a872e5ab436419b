//! What people do about messages after they were sent: take them back, put them right, put them away.
//! Owns: how often, how much later, and what waits for its time. May touch: `steps`.
//! Never: asks whether what it draws still makes sense; refusals are part of the play.

use std::collections::BTreeMap;

use restante::{Peer, Seq, UserId};

use crate::steps::{Action, Flags, Post, Random};

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// How far back somebody looks to hide or receive.
const LOOKS_BACK: u64 = 25;

/// What will be done, by when.
#[derive(Default)]
pub struct Afterthoughts {
    waiting: BTreeMap<(u64, u64), Action>,
    count: u64,
}

impl Afterthoughts {
    /// A message was sent at `now` and has this seq: some are taken back or changed later on.
    pub fn think(&mut self, random: &mut Random, post: &Post, seq: Seq, now: u64) {
        let (by, timeline) = (post.sender, post.timeline);
        if random.once_in(30) {
            let due = now + delay(random);
            self.wait(due, Action::Recall { by, timeline, seq });
            match random.below(8) {
                // Pressed twice; changed after all; taken back by the server itself.
                0 => self.wait(due + SECOND, Action::Recall { by, timeline, seq }),
                1 => self.wait(due + SECOND, Action::Edit { by, timeline, seq, body: b"too late".to_vec() }),
                2 => self.wait(due.saturating_sub(SECOND), Action::Recall { by: UserId::NONE, timeline, seq }),
                _ => {}
            }
        }
        if random.once_in(20) {
            let due = now + delay(random);
            let body = [&post.body[..], b" (edited)"].concat();
            if random.once_in(10) {
                // The same once more changes nothing; something else does.
                self.wait(due + SECOND, Action::Edit { by, timeline, seq, body: body.clone() });
                self.wait(due + 2 * SECOND, Action::Edit { by, timeline, seq, body: b"never mind".to_vec() });
            }
            self.wait(due, Action::Edit { by, timeline, seq, body });
        }
    }

    /// The next thing whose time has come.
    pub fn due(&mut self, now: u64) -> Option<Action> {
        let (key, _) = self.waiting.first_key_value()?;
        if key.0 > now { None } else { self.waiting.pop_first().map(|(_, action)| action) }
    }

    fn wait(&mut self, due: u64, action: Action) {
        self.count += 1;
        self.waiting.insert((due, self.count), action);
    }
}

/// Mostly soon, now and then days later.
fn delay(random: &mut Random) -> u64 {
    if random.once_in(12) { random.below(6 * DAY) } else { random.below(HOUR / 2) }
}

/// What a user does in a session with `last` messages besides reading it: what it has received; hiding,
/// clearing and removing; flags. What is asked of messages it does not see is refused.
pub fn housekeeping(random: &mut Random, user: UserId, peer: Peer, last: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    let back = |random: &mut Random| Seq(last - random.below(last.min(LOOKS_BACK)));
    if random.once_in(4) {
        actions.push(Action::Delivered { user, peer, upto: back(random) });
    }
    if random.once_in(12) {
        let count = 1 + random.below(3);
        let seqs = (0..count).map(|_| back(random)).collect();
        actions.push(Action::Hide { user, peer, seqs });
    }
    if random.once_in(60) {
        actions.push(Action::Clear { user, peer, upto: back(random) });
    }
    if random.once_in(100) {
        actions.push(Action::Remove { user, peer });
    }
    if random.once_in(20) {
        let flag = Some(!random.once_in(3));
        let flags = match random.below(3) {
            0 => Flags { pinned: flag, ..Flags::default() },
            1 => Flags { muted: flag, ..Flags::default() },
            _ => Flags { marked_unread: flag, ..Flags::default() },
        };
        actions.push(Action::Flag { user, peer, flags });
    }
    actions
}
