//! The same calls give the same answers, however the store was opened.
//! Owns: a mixed workload, and everything it can be asked. May touch: `support`, `scene`.
//! Never: compares what tells stores apart on purpose: epochs and cursors.

use std::fmt::Write;
use std::sync::Arc;

use restante::{
    CatchUpQuery, ClientId, Draft, Durability, GroupSettings, HistoryQuery, ListQuery, ManualClock, Options, Peer,
    ReadMode, Seq, SimStorage, Store, Threads, Timestamp, UserId,
};

use crate::scene::{HOUR, MINUTE, START, group, room, user, with};
use crate::support::{Rng, TempDir, number_from_env};

const CALLS: usize = 600;
const USERS: u64 = 6;
const GROUPS: u64 = 4;

/// One way to open a store.
#[derive(Clone, Copy, Debug)]
struct Way {
    files: Files,
    durability: Durability,
    threads: Threads,
    journal_bytes: u64,
    /// Closed and opened again so often on the way.
    reopens: usize,
}

#[derive(Clone, Copy, Debug)]
enum Files {
    Simulated,
    Directory(ReadMode),
}

/// What a workload came to.
#[derive(PartialEq, Eq)]
struct Outcome {
    digest: u64,
    /// The answers of all changes, then of all questions.
    transcript: String,
}

#[test]
fn answers_do_not_depend_on_how_the_store_was_opened() {
    let seed = number_from_env("RESTANTE_OPENING_SEED").unwrap_or(1);
    println!("RESTANTE_OPENING_SEED={seed}");
    use Durability::{Buffered, Sync};
    use Files::{Directory, Simulated};
    use ReadMode::{Mapped, Pread};
    use Threads::{Background, Inline};
    let way =
        |files, durability, threads, journal_bytes, reopens| Way { files, durability, threads, journal_bytes, reopens };
    let first = way(Simulated, Sync, Inline, 1 << 20, 0);
    let want = play(seed, first);
    assert!(want.transcript.len() > 100_000, "the workload says little: {} bytes", want.transcript.len());
    for other in [
        way(Directory(Mapped), Sync, Inline, 64 << 10, 0),
        way(Directory(Pread), Sync, Inline, 64 << 10, 0),
        way(Directory(Mapped), Buffered, Background, 64 << 20, 0),
        way(Directory(Pread), Buffered, Background, 1 << 20, 3),
        way(Directory(Mapped), Sync, Background, 64 << 10, 5),
        way(Simulated, Buffered, Inline, 64 << 10, 1),
        way(Simulated, Sync, Background, 96 << 10, 20),
        way(Simulated, Buffered, Background, (64 << 10) + 1, 0),
    ] {
        let got = play(seed, other);
        if let Some((one, two)) = want.transcript.lines().zip(got.transcript.lines()).find(|(want, got)| want != got) {
            panic!("{first:?} and {other:?} answer differently:\n{one}\n{two}");
        }
        assert_eq!(got.transcript.len(), want.transcript.len(), "{other:?}");
        assert_eq!(got.digest, want.digest, "{other:?}");
    }
    // The digest does depend on what was done.
    assert_ne!(play(seed + 1, first).digest, want.digest);
}

/// Plays the workload of a seed on a store opened that way.
fn play(seed: u64, way: Way) -> Outcome {
    let clock = Arc::new(ManualClock::new(START));
    let options = Options::default().durability(way.durability).threads(way.threads).journal_bytes(way.journal_bytes);
    let options = options.clock(clock.clone());
    let directory = TempDir::new("answers");
    let storage = SimStorage::new(seed);
    let open = || match way.files {
        Files::Simulated => Store::open_on(storage.clone(), options.clone()),
        Files::Directory(read_mode) => {
            Store::open(directory.path().join("store"), options.clone().read_mode(read_mode))
        }
    };
    let mut store = open().unwrap();
    let mut rng = Rng::new(seed);
    let mut transcript = String::new();
    for call in 0..CALLS {
        if way.reopens > 0 && call % (CALLS / way.reopens) == CALLS / way.reopens / 2 {
            store.close().unwrap();
            store = open().unwrap();
            assert!(store.recovery().clean, "{way:?}");
        }
        let answer = change(&store, &clock, &mut rng);
        writeln!(transcript, "{call}: {answer}").unwrap();
    }
    ask(&store, &mut transcript);
    Outcome { digest: store.state_digest().unwrap(), transcript }
}

/// One call, waited for, and its answer in words.
fn change(store: &Store, clock: &ManualClock, rng: &mut Rng) -> String {
    if rng.percent(30) {
        clock.advance(rng.below(HOUR));
    }
    let (someone, some_group) = (user(rng.between(1, USERS)), group(rng.between(1, GROUPS)));
    let peer = if rng.percent(50) { with(rng.between(1, USERS)) } else { Peer::Group(some_group) };
    match rng.below(20) {
        0 => format!("{:?}", store.create_group(some_group, settings(rng)).wait()),
        1 | 2 => format!("{:?}", store.join(some_group, someone).wait()),
        3 => {
            let users: Vec<UserId> = (1..=USERS).filter(|_| rng.percent(50)).map(UserId).collect();
            format!("{:?}", store.join_many(some_group, &users).wait())
        }
        4 => format!("{:?}", store.leave(some_group, someone).wait()),
        5..=7 => format!("{:?}", store.mark_read(someone, peer, Seq(rng.below(80))).wait()),
        8 => format!("{:?}", store.mark_unread_from(someone, peer, Seq(rng.below(80))).wait()),
        9 | 10 => {
            let bodies: Vec<Vec<u8>> = (0..rng.below(6)).map(|_| body(rng)).collect();
            let drafts: Vec<Draft<'_>> = bodies.iter().map(|body| draft(rng, someone, peer, clock, body)).collect();
            format!("{:?}", store.append_batch(&drafts).wait())
        }
        _ => {
            let body = body(rng);
            format!("{:?}", store.append(draft(rng, someone, peer, clock, &body)).wait())
        }
    }
}

fn settings(rng: &mut Rng) -> GroupSettings {
    GroupSettings::default().shows_history(rng.percent(50)).members_only(rng.percent(70))
}

fn body(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.percent(10) { rng.below(6_000) } else { rng.below(200) };
    (0..length).map(|_| rng.next() as u8).collect()
}

fn draft<'a>(rng: &mut Rng, sender: UserId, peer: Peer, clock: &ManualClock, body: &'a [u8]) -> Draft<'a> {
    let mut draft = Draft::new(crate::support::timeline_of(sender, peer), sender, body).kind(rng.below(3) as u16);
    draft = draft.counts(!rng.percent(10));
    if rng.percent(40) {
        draft = draft.client_id(ClientId(u128::from(rng.between(1, 40))));
    }
    if rng.percent(5) {
        let now = restante::Clock::now(clock);
        draft = draft.timestamp(Timestamp(now.0 - rng.below(MINUTE)));
    }
    draft
}

/// Everything that can be asked, in words.
fn ask(store: &Store, transcript: &mut String) {
    writeln!(transcript, "{:?}", store.version()).unwrap();
    for id in 1..=USERS {
        let someone = user(id);
        writeln!(transcript, "{:?}", store.total_unread(someone).unwrap()).unwrap();
        let query = ListQuery::new().limit(3).latest(4);
        let mut cursor = None;
        loop {
            let list = store.changed(someone, cursor.as_ref(), &query).unwrap();
            list.entries.iter().for_each(|entry| writeln!(transcript, "{entry:?}").unwrap());
            cursor = Some(list.next);
            if !list.more {
                break;
            }
        }
        let since = store.changed_since(someone, Timestamp(START.0 + 20 * HOUR), &query).unwrap();
        writeln!(transcript, "{:?} {}", since.entries, since.more).unwrap();
        let caught = store.catch_up(someone, Some(&since.next), &CatchUpQuery::new().messages(50)).unwrap();
        caught.entries.iter().for_each(|entry| writeln!(transcript, "{entry:?}").unwrap());
        let mut before = None;
        loop {
            let page = store.recent(someone, before.as_ref(), &query).unwrap();
            page.entries.iter().for_each(|entry| writeln!(transcript, "{:?} {}", entry.activity, entry.peer).unwrap());
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        let peers = (1..=USERS).map(with).chain((1..=GROUPS).map(room));
        for peer in peers {
            for query in [
                HistoryQuery::newest().limit(30),
                HistoryQuery::oldest().bytes(2_000),
                HistoryQuery::newest().seqs(Seq(5)..Seq(9)),
                HistoryQuery::oldest().times(Timestamp(START.0 + HOUR)..=Timestamp(START.0 + 9 * HOUR)),
                HistoryQuery::newest().limit(0),
            ] {
                writeln!(transcript, "{:?}", store.history(someone, peer, &query)).unwrap();
            }
        }
    }
}
