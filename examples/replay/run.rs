//! Takes a script through the store, step by step, and holds every answer against the recount.
//! Owns: the store's clock, the tickets under way, where a resumed run takes up.
//! May touch: `steps`, `recount`, `devices`, `progress`. Never: reads what the store holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante::{Appended, Effect, Error, ManualClock, Outcome, Store, Ticket};

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
    pub marks: u64,
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
            Expected::Effect(None) => self.tally.unchanged += 1,
            Expected::Refused(_) => self.tally.refused += 1,
            Expected::Effect(Some(_)) | Expected::Joined { .. } | Expected::Nothing => {}
        }
        Ok(())
    }

    fn count(&mut self, action: &Action, expected: &Expected) {
        match (action, expected) {
            (Action::SendBatch(_), _) => self.tally.batches += 1,
            (Action::Read { .. } | Action::UnreadFrom { .. }, Expected::Effect(Some(_))) => self.tally.marks += 1,
            (Action::Join { .. }, Expected::Effect(Some(_))) => self.tally.joins += 1,
            (Action::Leave { .. }, Expected::Effect(Some(_))) => self.tally.leaves += 1,
            (_, Expected::Joined { joined, .. }) => self.tally.joins += *joined as u64,
            _ => {}
        }
    }
}

fn expected_effect(effect: Effect) -> Expected {
    match effect {
        Effect::Changed(version) => Expected::Effect(Some(version)),
        Effect::Unchanged => Expected::Effect(None),
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
