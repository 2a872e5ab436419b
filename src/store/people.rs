//! Users: added, removed.
//! Owns: the checks of these calls, the steps by which a user is removed. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::needs;
use super::visible::Sessions;
use super::{Store, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NameKind, Timeline, UserId};
use crate::state::{AmendFound, AmendPlan, Effect, Need, Needs, Sequencer};

/// What removing a user did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedUser {
    /// How many sessions were dropped.
    pub sessions: u64,
    /// How many messages were recalled.
    pub recalled: u64,
    /// How many names were freed.
    pub names: u64,
}

impl Store {
    /// Lets a user exist who has done nothing yet: broadcasts from here on are for it, too. Everyone who
    /// sends, receives, joins or is named exists without this. One who does stays (`Unchanged`).
    ///
    /// # Errors
    /// `InvalidInput` for id 0, `Full`, `Poisoned`, `Closed`.
    pub fn add_user(&self, user: UserId) -> Ticket<Effect> {
        self.checked(
            check_user(user),
            |all| all.push(Need::Person(user)),
            |sequencer, state, now| sequencer.add_user(state, now, user),
        )
    }

    /// Whether the user exists, by what is published.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    pub fn user_exists(&self, user: UserId) -> Result<bool> {
        self.pipeline.look(|state| state.exists_since(user) > 0)
    }

    /// Removes a user: it leaves its groups, its sessions are dropped and its name is free. What it sent
    /// stays, unless `recall_all` asks to recall that, too. If the user appears again it begins anew, but
    /// what it could not see any more it does not see then.
    ///
    /// One change for each session and each message recalled, then one that ends the user's existence.
    /// Blocks until all are as durable as this handle says. If it is cut short, call it again.
    ///
    /// # Errors
    /// `InvalidInput` for id 0, `Full` once the reserve is used up, `Corruption`, `Io`, `Unknown`, `Poisoned`,
    /// `Closed`.
    pub fn remove_user(&self, user: UserId, recall_all: bool) -> Result<RemovedUser> {
        check_user(user)?;
        let mut removed = RemovedUser::default();
        if !self.user_exists(user)? {
            // Its removal may be on its way; the answer rests on it.
            return self.end_user(user).map(|_| removed);
        }
        loop {
            let forget = |timeline| {
                let needs = move |(): &(), _: &Sequencer, all: &mut Needs<'_>| needs::member(user, timeline, all);
                self.ticket((), needs, move |(), sequencer, state, now| sequencer.forget(state, now, timeline, user))
            };
            // All are on their way before the first is waited for, so that they share a sync.
            let forgotten: Vec<Ticket<Effect>> = self.sessions_of(user)?.into_iter().map(forget).collect();
            for ticket in forgotten {
                removed.sessions += u64::from(ticket.wait()? != Effect::Unchanged);
            }
            if recall_all {
                removed.recalled += self.recall_everything_of(user)?;
            }
            let had_name = self.name_of(NameKind::User, user.0)?.is_some();
            if let Some(effect) = self.end_user(user)? {
                removed.names += u64::from(had_name && effect != Effect::Unchanged);
                return Ok(removed);
            }
        }
    }

    /// Ends a user's existence; `None` if it has a session again.
    fn end_user(&self, user: UserId) -> Result<Option<Effect>> {
        self.ticket(
            (),
            |(), _, all| needs::removal(user, all),
            |(), sequencer, state, now| sequencer.remove_user(state, now, user),
        )
        .wait()
    }

    /// The timelines in which the user has a session, in order.
    fn sessions_of(&self, user: UserId) -> Result<Vec<Timeline>> {
        self.pipeline.look(|state| {
            let sessions = Sessions::of(state, user);
            let rows = sessions.iter().filter(|row| row.is_session());
            let mut timelines: Vec<Timeline> = rows.map(|row| state.timeline_at(row.slot)).collect();
            timelines.sort_unstable();
            timelines
        })
    }

    fn recall_everything_of(&self, user: UserId) -> Result<u64> {
        let sent: Vec<(Timeline, u64, u64)> = self.pipeline.look(|state| {
            let rows = state.rows(user).iter().filter(|row| row.own_last > 0).map(|row| (row, state.head(row.slot)));
            let sent = rows.map(|(row, head)| (head.timeline, row.own_last, head.tip.trim()));
            let mut sent: Vec<_> = sent.filter(|(_, own_last, trim)| own_last > trim).collect();
            sent.sort_unstable();
            sent
        })?;
        let mut recalled = 0;
        let mut tickets: Vec<Ticket<Effect>> = Vec::new();
        for (timeline, mut seq, trim) in sent {
            while seq > trim {
                let append = match self.pipeline.stored(timeline, seq) {
                    Ok(stored) => stored.append,
                    // Trimmed meanwhile, as is all before it.
                    Err(error) if error.kind() == ErrorKind::Trimmed => break,
                    Err(error) => return Err(error),
                };
                let (ordinal, counts, alerts) = (append.ordinal, append.counts, append.alerts);
                let found = Some(AmendFound { ordinal, counts, alerts, body_version: 0, is_same: false });
                let plan = AmendPlan { timeline, seq, by: UserId::NONE, recalls: true, found };
                let needs = |plan: &AmendPlan, _: &Sequencer, all: &mut Needs<'_>| all.push(Need::Head(plan.timeline));
                tickets.push(
                    self.ticket(plan, needs, |plan, sequencer, state, now| sequencer.amend(state, now, plan, &[])),
                );
                if tickets.len() == RECALLS_PER_WAIT {
                    recalled += wait_all(&mut tickets)?;
                }
                seq = append.own_previous;
            }
        }
        recalled += wait_all(&mut tickets)?;
        Ok(recalled)
    }
}

/// So many recalls are on their way before they are waited for, all with one sync.
const RECALLS_PER_WAIT: usize = 1_024;

/// Waits for recalls, and counts those that took something back.
fn wait_all(tickets: &mut Vec<Ticket<Effect>>) -> Result<u64> {
    let mut recalled = 0;
    for ticket in tickets.drain(..) {
        match ticket.wait() {
            Ok(effect) => recalled += u64::from(effect != Effect::Unchanged),
            // It was trimmed meanwhile, or the group dissolved and its messages with it.
            Err(error) if error.kind() == ErrorKind::Trimmed => {}
            Err(error) => return Err(error),
        }
    }
    Ok(recalled)
}

fn check_user(user: UserId) -> Result<()> {
    if user.is_none() { Err(Error::new(ErrorKind::InvalidInput, "id 0 means none")) } else { Ok(()) }
}
