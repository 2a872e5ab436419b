//! Takes a script through the store, step by step, and holds every answer against the recount.
//! Owns: the store's clock, the tickets under way, where a resumed run takes up.
//! May touch: `steps`, `recount`, `devices`, `progress`. Never: reads what the store holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante::{Appended, Effect, Error, ManualClock, Outcome, Store, Ticket, Version};

use crate::devices::Devices;
use crate::progress::Progress;
use crate::recount::{Expected, Recount, Written};
use crate::steps::{Action, Post, Result, Script, Step};

/// Single messages in a row whose tickets may be open at the same time, so that they share a sync.
const TICKETS_MAX: usize = 64;

/// What a run did.
pub struct Run {
    pub recount: Recount,
    pub devices: Devices,
    pub tally: Tally,
    pub elapsed: Duration,
    pub in_store: Duration,
}

#[derive(Default)]
pub struct Tally {
    pub steps_skipped: u64,
    pub messages: u64,
    pub messages_skipped: u64,
    pub batches: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub recalls: u64,
    pub edits: u64,
    pub hides: u64,
    pub marks: u64,
    pub flags: u64,
    pub cleared: u64,
    pub removed: u64,
    pub mentions: u64,
    pub from_sources: u64,
    pub joins: u64,
    pub leaves: u64,
    pub unchanged: u64,
}

struct Runner<'a> {
    store: &'a Store,
    devices: Devices,
    tally: Tally,
    progress: Progress,
    in_store: Duration,
    tickets: VecDeque<(u64, Ticket<Appended>, Expected)>,
}

/// Plays `script`. What the store holds already, by its version, is passed over: the recount says
/// how many changes each step makes, and a step is in the store whole or not at all.
pub fn run(script: &mut dyn Script, store: &Store, clock: &Arc<ManualClock>, progress: Progress) -> Result<Run> {
    let start = store.version();
    let mut recount = Recount::default();
    let mut runner = Runner {
        store,
        devices: Devices::new(script.scene()),
        tally: Tally::default(),
        progress,
        in_store: Duration::ZERO,
        tickets: VecDeque::new(),
    };
    let began = Instant::now();
    let mut number = 0;
    for step in &mut *script {
        let step = step?;
        number += 1;
        clock.set(step.time);
        let before = recount.version();
        let expected = recount.apply(&step);
        if before >= start {
            runner.take(number, &step, expected).map_err(|error| format!("step {number}: {}: {error}", step.action))?;
        } else if recount.version() <= start {
            runner.pass_over(&expected, &recount);
        } else {
            let message = "the store ends inside a step: it was not made from this input";
            return Err(
                format!("{message}: step={number} store={} got={}", start.get(), recount.version().get()).into()
            );
        }
    }
    runner.settle()?;
    if store.version() != recount.version() {
        let message = "the store is not at the end of this input";
        return Err(format!("{message}: want={} got={}", recount.version().get(), store.version().get()).into());
    }
    let timed = Instant::now();
    store.sync()?;
    runner.in_store += timed.elapsed();
    runner.progress.finish();
    let Runner { devices, tally, in_store, .. } = runner;
    Ok(Run { recount, devices, tally, elapsed: began.elapsed(), in_store })
}

impl Runner<'_> {
    fn pass_over(&mut self, expected: &Expected, recount: &Recount) {
        self.tally.steps_skipped += 1;
        if let Expected::Written(written) = expected {
            let messages = written.iter().filter(|written| !written.duplicate).count() as u64;
            self.tally.messages_skipped += messages;
            self.progress.advance(messages, recount.version());
        }
    }

    fn take(&mut self, number: u64, step: &Step, expected: Expected) -> Result<()> {
        let posts = match &step.action {
            Action::Send(post) => std::slice::from_ref(post),
            Action::SendBatch(posts) => posts,
            _ => &[],
        };
        if let Expected::Written(written) = &expected {
            for (post, _) in posts.iter().zip(written).filter(|(_, written)| !written.duplicate) {
                self.tally.mentions += post.mentions.len() as u64;
                self.tally.from_sources += u64::from(post.sender.is_none());
            }
        }
        if let Action::Send(post) = &step.action {
            return self.send(number, post, expected);
        }
        // The answer to everything else may rest on the messages under way being visible.
        self.settle()?;
        if let Action::Sync { device } = step.action {
            return self.devices.sync(device, self.store, step.time);
        }
        let timed = Instant::now();
        let got = match &step.action {
            Action::CreateGroup { group, settings } => {
                self.store.create_group(*group, *settings).wait().map(expected_effect)
            }
            Action::Join { group, user } => self.store.join(*group, *user).wait().map(expected_effect),
            Action::JoinMany { group, users } => self.store.join_many(*group, users).wait().map(|joined| {
                Expected::Joined { joined: joined.joined, unchanged: joined.unchanged, version: joined.version }
            }),
            Action::Leave { group, user } => self.store.leave(*group, *user).wait().map(expected_effect),
            Action::SendBatch(posts) => {
                let drafts: Vec<_> = posts.iter().map(Post::draft).collect();
                self.store.append_batch(&drafts).wait().map(expected_written)
            }
            Action::Recall { by, timeline, seq } => self.store.recall(*by, *timeline, *seq).wait().map(expected_effect),
            Action::Edit { by, timeline, seq, body } => {
                self.store.edit(*by, *timeline, *seq, body).wait().map(expected_effect)
            }
            Action::Hide { user, peer, seqs } => self.store.hide(*user, *peer, seqs).wait().map(expected_effect),
            Action::Delivered { user, peer, upto } => {
                self.store.mark_delivered(*user, *peer, *upto).wait().map(expected_effect)
            }
            Action::Clear { user, peer, upto } => self.store.clear(*user, *peer, *upto).wait().map(expected_effect),
            Action::Remove { user, peer } => self.store.remove_session(*user, *peer).wait().map(expected_effect),
            Action::Flag { user, peer, flags } => {
                self.store.set_flags(*user, *peer, flags.change()).wait().map(expected_effect)
            }
            Action::Maintain => self.store.maintain(step.time).wait().map(|maintained| Expected::Maintained {
                horizon: maintained.horizon,
                version: version_of(maintained.effect),
            }),
            Action::Read { user, peer, upto } => self.store.mark_read(*user, *peer, *upto).wait().map(expected_effect),
            Action::UnreadFrom { user, peer, seq } => {
                self.store.mark_unread_from(*user, *peer, *seq).wait().map(expected_effect)
            }
            Action::Send(_) | Action::Sync { .. } => unreachable!("taken above"),
        };
        self.in_store += timed.elapsed();
        self.count(&step.action, &expected);
        self.compare(got, &expected)
    }

    fn send(&mut self, number: u64, post: &Post, expected: Expected) -> Result<()> {
        let timed = Instant::now();
        let ticket = self.store.append(post.draft());
        self.in_store += timed.elapsed();
        self.tickets.push_back((number, ticket, expected));
        if self.tickets.len() > TICKETS_MAX {
            self.settle_one()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        while !self.tickets.is_empty() {
            self.settle_one()?;
        }
        Ok(())
    }

    fn settle_one(&mut self) -> Result<()> {
        let Some((number, ticket, expected)) = self.tickets.pop_front() else {
            return Ok(());
        };
        let timed = Instant::now();
        let got = ticket.wait();
        self.in_store += timed.elapsed();
        let got = got.map(|appended| expected_written(vec![appended]));
        self.compare(got, &expected).map_err(|error| format!("message of step {number}: {error}").into())
    }

    /// Holds an answer against the recount; counts the messages it acknowledges.
    fn compare(&mut self, got: std::result::Result<Expected, Error>, want: &Expected) -> Result<()> {
        match got {
            Ok(got) if got == *want => {}
            Ok(got) => return Err(format!("wrong answer: want={want:?} got={got:?}").into()),
            Err(error) if *want == Expected::Refused(error.kind()) => {}
            Err(error) => return Err(format!("wrong answer: want={want:?} got={error}").into()),
        }
        match want {
            Expected::Written(written) => {
                let messages = written.iter().filter(|written| !written.duplicate).count() as u64;
                self.tally.messages += messages;
                self.tally.duplicates += written.len() as u64 - messages;
                if let Some(last) = written.iter().rev().find(|written| !written.duplicate) {
                    self.progress.advance(messages, last.version);
                }
            }
            Expected::Effect(None) | Expected::Maintained { version: None, .. } => self.tally.unchanged += 1,
            Expected::Refused(_) => self.tally.refused += 1,
            Expected::Effect(_) | Expected::Joined { .. } | Expected::Maintained { .. } | Expected::Nothing => {}
        }
        Ok(())
    }

    fn count(&mut self, action: &Action, expected: &Expected) {
        let tally = &mut self.tally;
        let counter = match (action, expected) {
            (Action::SendBatch(_), _) => &mut tally.batches,
            (_, Expected::Joined { joined, .. }) => {
                tally.joins += *joined as u64;
                return;
            }
            (Action::Read { .. } | Action::UnreadFrom { .. } | Action::Delivered { .. }, Expected::Effect(Some(_))) => {
                &mut tally.marks
            }
            (Action::Recall { .. }, Expected::Effect(Some(_))) => &mut tally.recalls,
            (Action::Edit { .. }, Expected::Effect(Some(_))) => &mut tally.edits,
            (Action::Hide { .. }, Expected::Effect(Some(_))) => &mut tally.hides,
            (Action::Clear { .. }, Expected::Effect(Some(_))) => &mut tally.cleared,
            (Action::Remove { .. }, Expected::Effect(Some(_))) => &mut tally.removed,
            (Action::Flag { .. }, Expected::Effect(Some(_))) => &mut tally.flags,
            (Action::Join { .. }, Expected::Effect(Some(_))) => &mut tally.joins,
            (Action::Leave { .. }, Expected::Effect(Some(_))) => &mut tally.leaves,
            _ => return,
        };
        *counter += 1;
    }
}

fn expected_effect(effect: Effect) -> Expected {
    Expected::Effect(version_of(effect))
}

fn version_of(effect: Effect) -> Option<Version> {
    match effect {
        Effect::Changed(version) => Some(version),
        Effect::Unchanged => None,
    }
}

fn expected_written(appended: Vec<Appended>) -> Expected {
    let written = appended.into_iter().map(|appended| Written {
        duplicate: appended.outcome == Outcome::Duplicate,
        seq: appended.seq,
        timestamp: appended.timestamp,
        version: appended.version,
    });
    Expected::Written(written.collect())
}
