//! Any sequence of public operations, ends of the process and power cuts: answers add up, nothing acknowledged goes.
//! Owns: how an input becomes operations, and a light model. May touch: the public interface, simulated storage.
//! Never: looks inside; tests/it/model is the strict one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use restante::{
    ClientId, CrashPlan, Draft, Durability, Error, ErrorKind, FailEffect, GroupId, GroupSettings, Loss, ManualClock,
    Outcome, Peer, Seq, SimStorage, Store, Ticket, Timestamp, UserId, limits,
};
use restante_fuzz::input::Input;
use restante_fuzz::reading::{GROUPS, USERS, is_disk_error, recount_all};
use restante_fuzz::seed::options;
use std::collections::BTreeMap;
use std::sync::Arc;

const OPERATIONS_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut run = Run::new(if input.flag() { Durability::Sync } else { Durability::Buffered });
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.check();
    run.end(End::PowerCut(CrashPlan { seed: 1, loss: Loss::Random }));
    run.check();
});

struct Run {
    storage: Arc<SimStorage>,
    clock: Arc<ManualClock>,
    /// How the store is open, and how it will be opened next.
    durability: Durability,
    next_durability: Durability,
    store: Store,
    /// The digest at each version that was published when it was asked for.
    digests: BTreeMap<u64, u64>,
    /// The newest version acknowledged as synced, and the newest one acknowledged at all.
    synced: u64,
    written: u64,
    /// A fault was injected, and perhaps is still ahead.
    is_faulty: bool,
}

/// How a run of the store ends.
enum End {
    Close,
    Kill,
    PowerCut(CrashPlan),
}

impl Run {
    fn new(durability: Durability) -> Run {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let storage = SimStorage::new(5);
        let store = Store::open_on(storage.clone(), options(durability, &clock)).expect("a new store");
        let digests = BTreeMap::new();
        let mut run = Run {
            storage,
            clock,
            durability,
            next_durability: durability,
            store,
            digests,
            synced: 0,
            written: 0,
            is_faulty: false,
        };
        run.note();
        run
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let store = match what & 0xc0 {
            0x40 => self.store.at(Durability::Sync),
            0x80 => self.store.at(Durability::Buffered),
            _ => self.store.clone(),
        };
        let durability = match what & 0xc0 {
            0x40 => Durability::Sync,
            0x80 => Durability::Buffered,
            _ => self.durability,
        };
        let (user, group) = (draw_user(input), GroupId(1 + input.below(GROUPS as usize) as u64));
        match what & 0x1f {
            0..8 => {
                let body = vec![input.byte(); body_bytes(input)];
                let draft = draw_draft(input, user, group, &body, self.clock_now());
                let answer = self.settle(durability, store.append(draft), |appended| appended.version.0);
                assert!(answer.is_none_or(|appended| !appended.seq.is_none()), "messages count from 1");
            }
            8..10 => {
                let body = vec![input.byte(); body_bytes(input) % 200];
                let now = self.clock_now();
                let drafts: Vec<Draft<'_>> =
                    (0..input.below(5)).map(|_| draw_draft(input, user, group, &body, now)).collect();
                let count = drafts.len();
                let newest = |answers: &Vec<restante::Appended>| {
                    let written = answers.iter().filter(|appended| appended.outcome == Outcome::Written);
                    written.map(|appended| appended.version.0).max().unwrap_or(0)
                };
                let answer = self.settle(durability, store.append_batch(&drafts), newest);
                assert!(answer.is_none_or(|answers| answers.len() == count), "one answer per draft");
            }
            10 => {
                let settings = GroupSettings::default().shows_history(input.flag()).members_only(input.flag());
                self.settle(durability, store.create_group(group, settings), version_of_effect);
            }
            11..13 => drop(self.settle(durability, store.join(group, user), version_of_effect)),
            13 => {
                let users: Vec<UserId> = (0..input.below(5)).map(|_| draw_user(input)).collect();
                self.settle(durability, store.join_many(group, &users), |joined| joined.version.0);
            }
            14 => drop(self.settle(durability, store.leave(group, user), version_of_effect)),
            15..18 => {
                let (peer, seq) = (draw_peer(input, group), Seq(input.byte().into()));
                self.settle(durability, store.mark_read(user, peer, seq), version_of_effect);
            }
            18..20 => {
                let (peer, seq) = (draw_peer(input, group), Seq(input.byte().into()));
                self.settle(durability, store.mark_unread_from(user, peer, seq), version_of_effect);
            }
            20 => {
                let result = store.sync();
                match result {
                    Ok(()) => self.synced = self.synced.max(self.written).max(self.store.version().0),
                    Err(error) => self.blame(&error),
                }
            }
            21 => {
                const HOUR: u64 = 3_600 * 1_000_000;
                self.clock
                    .advance([1, HOUR, limits::DEDUP_WINDOW_MICROS / 2, limits::DEDUP_WINDOW_MICROS][input.below(4)]);
            }
            22 => self.clock.set(Timestamp(self.clock_now().0.saturating_sub(input.word().into()))),
            23 => self.check(),
            24 => self.end(End::Close),
            25 => self.end(End::Kill),
            26 | 27 => {
                let loss = [Loss::All, Loss::Random, Loss::Nothing][input.below(3)];
                self.end(End::PowerCut(CrashPlan { seed: input.byte().into(), loss }));
            }
            28 => {
                let kind = [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull][input.below(2)];
                let effect = [FailEffect::Nothing, FailEffect::Part, FailEffect::All][input.below(3)];
                self.storage.fail_operation(input.below(8) as u64, kind, effect);
                self.is_faulty = true;
            }
            29 => {
                self.storage.set_full(input.flag());
                self.is_faulty = true;
            }
            30 => self.next_durability = [Durability::Sync, Durability::Buffered][input.below(2)],
            _ => drop(store.append(Draft::direct(user, draw_user(input), b"not waited for"))),
        }
        self.note();
    }

    fn clock_now(&self) -> Timestamp {
        use restante::Clock;
        self.clock.now()
    }

    /// Waits, remembers what was acknowledged, and gives the answer.
    fn settle<T>(&mut self, durability: Durability, ticket: Ticket<T>, version: impl Fn(&T) -> u64) -> Option<T> {
        match ticket.wait() {
            Ok(answer) => {
                self.written = self.written.max(version(&answer));
                if durability == Durability::Sync {
                    self.synced = self.synced.max(version(&answer));
                }
                Some(answer)
            }
            Err(error) => {
                self.blame(&error);
                None
            }
        }
    }

    fn blame(&self, error: &Error) {
        assert!(self.is_faulty || !is_disk_error(error.kind()), "no fault was injected: {error}");
        assert!(!matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Locked), "nothing was damaged: {error}");
    }

    /// Remembers what this version looks like.
    fn note(&mut self) {
        let version = self.store.version().0;
        if !self.digests.contains_key(&version) {
            self.digests.insert(version, self.store.state_digest().expect("readable"));
        }
    }

    fn check(&mut self) {
        recount_all(&self.store).expect("readable");
        let version = self.store.version().0;
        let digest = self.store.state_digest().expect("readable");
        let noted = *self.digests.entry(version).or_insert(digest);
        assert_eq!(noted, digest, "the same version is the same state: version={version}");
    }

    /// Ends this run of the store and begins the next one.
    fn end(&mut self, end: End) {
        let version = self.store.version().0;
        let storage = match end {
            End::Close => {
                match self.store.clone().close() {
                    Ok(()) => self.synced = self.synced.max(self.written).max(version),
                    Err(error) => self.blame(&error),
                }
                self.storage.deep_clone()
            }
            End::Kill => self.storage.deep_clone(),
            End::PowerCut(plan) => self.storage.crash_at(self.storage.operations(), plan),
        };
        // Only a crash leaves the faults that are still ahead behind.
        self.is_faulty &= !matches!(end, End::PowerCut(_));
        let survives_kill = if matches!(end, End::PowerCut(_)) { self.synced } else { self.synced.max(self.written) };
        // The old store closes when it is dropped: it must not write to what the next one opens.
        self.storage.power_off();
        self.storage = storage;
        self.storage.set_full(false);
        self.durability = self.next_durability;
        let opened = Store::open_on(self.storage.clone(), options(self.durability, &self.clock));
        let opened = opened.or_else(|error| {
            // A fault that was still ahead struck while opening. What it left must open.
            self.blame(&error);
            let plan = CrashPlan { seed: 2, loss: Loss::Nothing };
            self.storage = self.storage.crash_at(self.storage.operations(), plan);
            self.is_faulty = false;
            Store::open_on(self.storage.clone(), options(self.durability, &self.clock))
        });
        self.store = opened.unwrap_or_else(|error| panic!("the store must open: {error}"));
        let found = self.store.version().0;
        assert!(found >= survives_kill, "acknowledged changes are gone: found={found} acknowledged={survives_kill}");
        self.digests.split_off(&(found + 1));
        (self.synced, self.written) = (found, found);
        self.check();
    }
}

fn version_of_effect(effect: &restante::Effect) -> u64 {
    match effect {
        restante::Effect::Changed(version) => version.0,
        restante::Effect::Unchanged => 0,
    }
}

fn draw_user(input: &mut Input<'_>) -> UserId {
    UserId(1 + input.below(USERS as usize) as u64)
}

fn draw_peer(input: &mut Input<'_>, group: GroupId) -> Peer {
    if input.flag() { Peer::Group(group) } else { Peer::User(draw_user(input)) }
}

fn draw_draft<'a>(input: &mut Input<'_>, sender: UserId, group: GroupId, body: &'a [u8], now: Timestamp) -> Draft<'a> {
    let flags = input.byte();
    let draft =
        if flags & 1 == 0 { Draft::direct(sender, draw_user(input), body) } else { Draft::group(group, sender, body) };
    let draft = draft.counts(flags & 2 == 0).kind((flags >> 6).into());
    let draft = if flags & 4 != 0 { draft.client_id(ClientId(input.below(4) as u128 + 1)) } else { draft };
    let draft = if flags & 8 != 0 { draft.client_id(ClientId(input.word().into())) } else { draft };
    if flags & 16 != 0 { draft.timestamp(Timestamp(now.0.saturating_sub(input.word().into()))) } else { draft }
}

/// Mostly short; now and then so long that journal files fill up.
fn body_bytes(input: &mut Input<'_>) -> usize {
    match input.byte() {
        short @ 0..=199 => (short % 20).into(),
        long => usize::from(long - 200) * 280,
    }
}
