//! Every call after every other, by chance: on two stores at once, with clients that follow, closing, crashes.
//! Owns: those runs. May touch: the public interface, `drive`, `check`, `support`.
//! Never: knows what an answer should be; `check` does.

use super::{check::*, drive::*};
use crate::support::{Rng, number_from_env};
use restante::*;
use std::collections::*;
use std::sync::Arc;

fn options(clock: &Arc<ManualClock>) -> Options {
    Options::default().threads(Threads::Inline).clock(clock.clone())
}

pub fn run(seed: u64, steps: u64) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_795_194_000)));
    let mut drive = Drive { rng: Rng::new(seed), last: 6, now: 0, rare: 25 };
    let mut rng = Rng::new(seed ^ 0x55);
    let storage = SimStorage::new(seed);
    let twin_storage = SimStorage::new(seed + 1);
    let mut store = Store::open_on(storage.clone(), options(&clock).journal_bytes(1 << 20)).unwrap();
    let twin_options = options(&clock).journal_bytes(64 << 10).durability(Durability::Buffered);
    let mut twin = Store::open_on(twin_storage.clone(), twin_options.clone()).unwrap();
    let mut track = Track::default();
    let mut followers: Vec<(UserId, Follower)> = Vec::new();
    for user in 1..=USERS {
        for catches_up in [false, true] {
            followers.push((UserId(user), Follower { catches_up, ..Default::default() }));
        }
    }
    let mut last_time = 0;
    for step in 0..steps {
        if rng.percent(60) {
            clock.advance(rng.below(2_000_000));
        }
        if rng.below(400) == 0 {
            clock.advance(60_000_000);
        }
        drive.now = store.time().now.0;
        let op = drive.next();
        let before = (store.version(), store.state_digest().unwrap());
        let members: BTreeMap<u64, BTreeSet<u64>> = (1..=GROUPS)
            .map(|g| {
                (
                    g,
                    store
                        .members(GroupId(g), UserId::NONE, 100)
                        .map(|it| it.members.iter().map(|m| m.user.0).collect())
                        .unwrap_or_default(),
                )
            })
            .collect();
        let existed = matches!(&op, Op::RemoveUser(user, _) if store.user_exists(*user).unwrap());
        let (mut out, mut twin_out) = (Vec::new(), Vec::new());
        let said = apply(&store, &op, &mut out);
        let twin_said = apply(&twin, &op, &mut twin_out);
        let what = format!("seed={seed} step={step} {op:?} -> {said}");
        let _doing = Doing(what.clone());
        assert_eq!(said, twin_said, "{what}");
        last_time = drive.now.max(last_time);
        for version in before.0.0 + 1..=store.version().0 {
            track.times.insert(version, last_time);
        }
        let rose = store.version().0 - before.0.0;
        // What came of it.
        let ops: Vec<&Op> = match &op {
            Op::Batch(ops) => ops.iter().collect(),
            op => vec![op],
        };
        let mut written = 0;
        for (op, appended) in ops.iter().zip(&out) {
            let Op::Send { timeline, sender, body, counts, mentions, alerts, .. } = op else { unreachable!() };
            if appended.outcome != Outcome::Written {
                continue;
            }
            written += 1;
            if let Timeline::Broadcast(source) = timeline {
                track.broadcast.insert(*source);
            }
            let mentioned = mentions
                .iter()
                .map(|it| it.0)
                .filter(|it| *it != sender.0)
                .filter(|it| match timeline {
                    Timeline::Direct(pair) => pair.low().0 == *it || pair.high().0 == *it,
                    Timeline::Group(group) => members[&group.0].contains(it),
                    Timeline::Inbox(_, user) => user.0 == *it,
                    _ => false,
                })
                .collect();
            let log = track.logs.entry(*timeline).or_default();
            log.push(Log {
                ts: appended.timestamp.0,
                sender: sender.0,
                counts: *counts,
                alerts: *alerts,
                mentioned,
                recalled: false,
                edited: false,
                body: body.clone(),
                version: appended.version.0,
            });
            assert_eq!(appended.seq.0, log.len() as u64, "{what}");
            drive.last = log.len() as u64 + 1;
        }
        let is_nothing = said.starts_with("error") || said == "Unchanged" || (!out.is_empty() && written == 0);
        if let Op::RemoveUser(user, _) = &op {
            followers
                .iter_mut()
                .filter(|it| it.0 == *user)
                .for_each(|it| it.1 = Follower { catches_up: it.1.catches_up, ..Default::default() });
        }
        if let Op::Join(group, users) = &op
            && !is_nothing
            && !store.group(*group).unwrap().settings.shows_history
        {
            // The floor passes what was there, and its mentions.
            let joined = users.iter().filter(|it| !members[&group.0].contains(&it.0));
            for user in joined {
                if let Some(log) = track.logs.get_mut(&Timeline::Group(*group)) {
                    log.iter_mut().for_each(|it| {
                        it.mentioned.remove(&user.0);
                    });
                }
            }
        }
        if is_nothing {
            assert_eq!((store.version(), store.state_digest().unwrap()), before, "leaves a trace: {what}");
        } else {
            match &op {
                Op::Send { .. } | Op::Batch(_) => assert_eq!(rose, written, "{what}"),
                Op::Recall(_, timeline, seq) => {
                    assert_eq!(rose, 1);
                    track.logs.get_mut(timeline).unwrap()[seq.0 as usize - 1].recalled = true;
                }
                Op::Edit(_, timeline, seq, body) => {
                    assert_eq!(rose, 1);
                    let log = &mut track.logs.get_mut(timeline).unwrap()[seq.0 as usize - 1];
                    log.edited = true;
                    log.body = body.clone();
                }
                Op::Hide(user, peer, seqs) => {
                    assert_eq!(rose, 1);
                    let timeline = track.timeline(*user, *peer);
                    track.hidden.entry((user.0, timeline)).or_default().extend(seqs.iter().map(|it| it.0));
                }
                Op::RemoveUser(user, true) if existed => track.logs.iter_mut().for_each(|(timeline, logs)| {
                    let dissolved = if let Timeline::Group(group) = timeline {
                        store.group(*group).unwrap().dissolved
                    } else {
                        false
                    };
                    if !dissolved {
                        logs.iter_mut().filter(|it| it.sender == user.0).for_each(|it| it.recalled = true);
                    }
                }),
                Op::RemoveUser(..) | Op::Join(..) | Op::Maintain(_) | Op::Name(..) => {}
                _ => assert_eq!(rose, 1, "{what}"),
            }
        }
        if rng.below(40) == 0 {
            store.close().unwrap();
            store = Store::open_on(storage.clone(), options(&clock).journal_bytes(1 << 20)).unwrap();
            let after = (store.version(), store.state_digest().unwrap());
            assert_eq!(after, (twin.version(), twin.state_digest().unwrap()), "opened again: {what}");
        }
        if rng.below(60) == 0 {
            twin.close().unwrap();
            twin = Store::open_on(twin_storage.clone(), twin_options.clone()).unwrap();
        }
        if rng.below(12) == 0 {
            track.check(if rng.percent(70) { &store } else { &twin }, &mut rng);
        }
        if rng.below(3) == 0 {
            let index = rng.below(followers.len() as u64) as usize;
            let (user, follower) = &mut followers[index];
            let user = *user;
            follower.walk(&store, user, &mut rng);
        }
        if rng.below(50) == 0 {
            assert_eq!(
                (store.version(), store.state_digest().unwrap()),
                (twin.version(), twin.state_digest().unwrap()),
                "{what}"
            );
            let found = storage.crash_at(storage.operations(), CrashPlan { seed: step, loss: Loss::Random });
            let crashed = Store::open_on(found, options(&clock).journal_bytes(1 << 20)).unwrap();
            assert_eq!(
                (store.version(), store.state_digest().unwrap()),
                (crashed.version(), crashed.state_digest().unwrap()),
                "after a crash: {what}"
            );
        }
    }
}
/// Names the step that failed.
struct Doing(String);

impl Drop for Doing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed after: {}", self.0);
        }
    }
}

/// `RESTANTE_BREAK_SEED` and `RESTANTE_BREAK_RUNS` choose other runs.
#[test]
fn every_call_after_every_other() {
    let first = number_from_env("RESTANTE_BREAK_SEED").unwrap_or(1);
    let runs = number_from_env("RESTANTE_BREAK_RUNS").unwrap_or(12);
    for seed in first..first + runs {
        run(seed, 900);
    }
}
