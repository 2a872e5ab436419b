//! Any sequence of public operations, ends of the process and power cuts: answers add up, nothing acknowledged goes.
//! Owns: how an input becomes operations, and a light model. May touch: the public interface, simulated storage.
//! Never: looks inside; tests/it/model is the strict one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use restante::{
    ClientId, CrashPlan, Draft, Durability, Error, ErrorKind, FailEffect, FlagChange, GroupId, GroupSettings, Loss,
    ManualClock, NameKind, Options, Outcome, Peer, Retention, Seq, Settings, SimStorage, Store, Ticket, Timeline,
    Timestamp, UserId, limits,
};
use restante_fuzz::input::Input;
use restante_fuzz::reading::{GROUPS, SOURCES, USERS, is_disk_error, recount_all};
use restante_fuzz::seed::options;
use std::collections::BTreeMap;
use std::sync::Arc;

const OPERATIONS_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let how = input.byte();
    let durability = if how & 1 == 0 { Durability::Sync } else { Durability::Buffered };
    let mut run = Run::new(durability, how & 6 == 6);
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
    /// There is so little memory that most of the state lies on disk.
    is_tight: bool,
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
    fn new(durability: Durability, is_tight: bool) -> Run {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let storage = SimStorage::new(5);
        let store = Store::open_on(storage.clone(), opening(durability, &clock, is_tight)).expect("a new store");
        let digests = BTreeMap::new();
        let mut run = Run {
            storage,
            clock,
            is_tight,
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
        match what & 0x3f {
            0..8 | 55..58 => {
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
            31 => drop(store.append(Draft::direct(user, draw_user(input), b"not waited for"))),
            32..53 => self.amend_or_set(input, what & 0x3f, &store, durability, user, group),
            53 | 54 => {
                let body = vec![input.byte(); body_bytes(input) % 400];
                let source = SOURCES[input.below(SOURCES.len())];
                let timeline = if what & 1 == 0 { Timeline::Broadcast(source) } else { Timeline::Inbox(source, user) };
                let draft = Draft::new(timeline, UserId::NONE, &body);
                let draft = draft.alerts(input.byte() & 5).mentions(draw_called(input));
                self.settle(durability, store.append(draft), |appended| appended.version.0);
            }
            58 => self.clock.step(Timestamp(self.clock_now().0.saturating_add(u64::from(input.word()) << 20))),
            59 => self.store.accept_clock(),
            60 => self.clock.advance(limits::HORIZON_MICROS),
            61 => self.turn_over(input),
            // A purpose may be found for these; until then they say things.
            _ => drop(self.settle(durability, store.append(Draft::group(group, user, b"hm")), |sent| sent.version.0)),
        }
        self.note();
    }

    /// What a store does with its files, done on purpose; nobody can tell.
    fn turn_over(&mut self, input: &mut Input<'_>) {
        let turned = match input.below(4) {
            0 => self.store.seal(),
            1 => self.store.purge().map(drop),
            2 => self.store.verify().map(|verified| assert!(verified.is_whole(), "nothing was damaged: {verified:?}")),
            _ => {
                self.store.pause_merges(input.flag());
                Ok(())
            }
        };
        match turned {
            Ok(()) => self.check(),
            Err(error) => self.blame(&error),
        }
    }

    /// What was done about messages, sessions, groups, people, names and settings.
    fn amend_or_set(
        &mut self,
        input: &mut Input<'_>,
        what: u8,
        store: &Store,
        durability: Durability,
        user: UserId,
        group: GroupId,
    ) {
        let ticket = match what {
            32 | 33 => {
                let timeline = draw_timeline(input, user, group);
                let seq = Seq(input.byte().into());
                match what {
                    32 => store.recall(user, timeline, seq),
                    _ => store.edit(user, timeline, seq, &vec![input.byte(); body_bytes(input)]),
                }
            }
            34 => {
                let peer = draw_peer(input, group);
                let seqs: Vec<Seq> = (0..input.below(5)).map(|_| Seq(input.byte().into())).collect();
                store.hide(user, peer, &seqs)
            }
            35 => store.mark_delivered(user, draw_peer(input, group), Seq(input.byte().into())),
            36 => store.clear(user, draw_peer(input, group), Seq(input.byte().into())),
            37 => store.remove_session(user, draw_peer(input, group)),
            38 => {
                let (peer, bits) = (draw_peer(input, group), input.byte());
                let change = FlagChange::new();
                let change = if bits & 1 != 0 { change.pinned(bits & 8 != 0) } else { change };
                let change = if bits & 2 != 0 { change.muted(bits & 16 != 0) } else { change };
                store.set_flags(user, peer, if bits & 4 != 0 { change.marked_unread(bits & 32 != 0) } else { change })
            }
            39 => store.set_metadata(user, draw_peer(input, group), &vec![input.byte(); input.below(9)]),
            40 => {
                let settings = GroupSettings::default().shows_history(input.flag()).members_only(input.flag());
                store.set_group(group, settings.retention(input.flag().then(|| draw_retention(input))))
            }
            41 => store.set_group_metadata(group, &vec![input.byte(); input.below(9)]),
            42 => store.dissolve(group),
            43 => store.set_role(group, user, input.byte()),
            44 => store.set_member_data(group, user, &vec![input.byte(); input.below(limits::MEMBER_BYTES_MAX + 2)]),
            45 => {
                let after = u64::from(input.word()) << 12;
                store.silence(group, user, Timestamp(if after == 0 { 0 } else { self.clock_now().0 + after }))
            }
            46 => store.add_user(UserId(user.0 + input.below(2) as u64 * USERS)),
            47 => {
                // Many changes, each of which may already be visible if a later one fails.
                match store.remove_user(user, input.flag()) {
                    Ok(_) => {
                        let version = self.store.version().0;
                        self.written = self.written.max(version);
                        if self.durability == Durability::Sync {
                            self.synced = self.synced.max(version);
                        }
                    }
                    Err(error) => self.blame(&error),
                }
                return;
            }
            48 | 49 => {
                let kinds = [NameKind::User, NameKind::Group, NameKind::System, NameKind::Business];
                let (kind, name) = (kinds[input.below(4)], [b'a' + input.below(4) as u8]);
                if what == 48 {
                    let answer = self.settle(durability, store.resolve_or_create(kind, &name), |_| 0);
                    assert!(answer.is_none_or(|resolved| resolved.id > 1 << 63), "ids given here have the top bit set");
                    return;
                }
                store.free_name(kind, &name)
            }
            50 => {
                let settings = Settings::default().dedup_window_secs(input.word().into());
                let settings = settings.body_bytes_max(input.word().into()).mentions_max(input.below(4));
                let settings = settings.retention_user(draw_retention(input)).retention_group(draw_retention(input));
                let settings = settings.retention_system(draw_retention(input));
                store.set_settings(settings.latest_bytes_max(1 + usize::from(input.word())))
            }
            _ => {
                let now = Timestamp(self.clock_now().0.saturating_add(u64::from(input.word()) << 24));
                self.settle(durability, store.maintain(now), |maintained| version_of_effect(&maintained.effect));
                return;
            }
        };
        self.settle(durability, ticket, version_of_effect);
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
        let opened = Store::open_on(self.storage.clone(), opening(self.durability, &self.clock, self.is_tight));
        let opened = opened.or_else(|error| {
            // A fault that was still ahead struck while opening. What it left must open.
            self.blame(&error);
            let plan = CrashPlan { seed: 2, loss: Loss::Nothing };
            self.storage = self.storage.crash_at(self.storage.operations(), plan);
            self.is_faulty = false;
            Store::open_on(self.storage.clone(), opening(self.durability, &self.clock, self.is_tight))
        });
        self.store = opened.unwrap_or_else(|error| panic!("the store must open: {error}"));
        let found = self.store.version().0;
        assert!(found >= survives_kill, "acknowledged changes are gone: found={found} acknowledged={survives_kill}");
        self.digests.split_off(&(found + 1));
        (self.synced, self.written) = (found, found);
        self.check();
    }
}

/// `is_tight`: with little memory and merges of few files, which takes time: each step asks for all there is.
fn opening(durability: Durability, clock: &Arc<ManualClock>, is_tight: bool) -> Options {
    let options = options(durability, clock);
    if is_tight { options.memory_bytes_max(64 << 10).merge_fan_in(2) } else { options }
}

fn version_of_effect(effect: &restante::Effect) -> u64 {
    match effect {
        restante::Effect::Changed(version) => version.0,
        restante::Effect::Unchanged => 0,
    }
}

/// Mostly nothing, else little.
fn draw_retention(input: &mut Input<'_>) -> Retention {
    let bounds = input.byte();
    let retention = Retention::default().count(if bounds & 1 != 0 { input.below(6) as u64 } else { 0 });
    let retention = retention.body_bytes(if bounds & 2 != 0 { input.word().into() } else { 0 });
    retention.age_secs(if bounds & 4 != 0 { u64::from(input.word()) << 4 } else { 0 })
}

fn draw_user(input: &mut Input<'_>) -> UserId {
    UserId(1 + input.below(USERS as usize) as u64)
}

/// Whom a message calls: some, one twice, one whom nobody knows, nobody.
fn draw_called(input: &mut Input<'_>) -> &'static [UserId] {
    const CALLED: [UserId; 5] = [UserId(1), UserId(2), UserId(2), UserId(3), UserId(99)];
    &CALLED[input.below(5)..]
}

fn draw_peer(input: &mut Input<'_>, group: GroupId) -> Peer {
    match input.byte() {
        source @ 250.. => SOURCES[usize::from(source) % SOURCES.len()].into(),
        even if even.is_multiple_of(2) => Peer::Group(group),
        _ => Peer::User(draw_user(input)),
    }
}

fn draw_timeline(input: &mut Input<'_>, user: UserId, group: GroupId) -> Timeline {
    match draw_peer(input, group) {
        Peer::User(other) => Timeline::direct(user, other),
        Peer::Group(group) => Timeline::Group(group),
        source => {
            let source = SOURCES.into_iter().find(|known| Peer::from(*known) == source).expect("drawn from these");
            if input.flag() { Timeline::Inbox(source, user) } else { Timeline::Broadcast(source) }
        }
    }
}

fn draw_draft<'a>(input: &mut Input<'_>, sender: UserId, group: GroupId, body: &'a [u8], now: Timestamp) -> Draft<'a> {
    let flags = input.byte();
    let draft =
        if flags & 1 == 0 { Draft::direct(sender, draw_user(input), body) } else { Draft::group(group, sender, body) };
    let draft = draft.counts(flags & 2 == 0).kind((flags >> 6).into());
    let draft = if flags & 32 != 0 { draft.alerts(input.byte()).mentions(draw_called(input)) } else { draft };
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
