//! What sealing must not forget, seen from outside.
//! Owns: nothing. May touch: the handle.
//! Never: looks at a file.

use super::super::sealing::Job;
use crate::state::{Need, State, take_misses};
use crate::storage::{CrashPlan, Loss, SimStorage, Storage};
use crate::{
    Draft, Durability, FlagChange, HistoryQuery, ManualClock, Options, Peer, Seq, Store, Threads, Timeline, Timestamp,
    UserId,
};
use std::sync::Arc;

const BODY_BYTES: usize = 900;
const CHATS: u64 = 300;
const MESSAGES: u64 = 2_400;

fn open(storage: &Arc<dyn Storage>) -> Store {
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let options = Options::default().threads(Threads::Inline).durability(Durability::Buffered).clock(clock);
    Store::open_on(storage.clone(), options.journal_bytes(64 << 10).memory_bytes_max(64 << 10)).unwrap()
}

fn check_all(store: &Store, sent: &[Vec<u64>]) {
    for (chat, numbers) in sent.iter().enumerate() {
        let query = HistoryQuery::oldest().limit(1_000).bytes(1 << 20);
        let page = store.history(UserId(1), Peer::User(UserId(2 + chat as u64)), &query).unwrap();
        let shown = page.messages.iter().map(|message| u64::from_le_bytes(*message.body.first_chunk().unwrap()));
        assert!(shown.eq(numbers.iter().copied()), "chat {chat} shows other messages than {numbers:?}");
    }
}

/// A journal is sealed when the next one already has messages. A timeline that had one in both, and none in the one
/// after, kept its place in memory for good, and later indexes led past that journal.
#[test]
fn a_timeline_that_pauses_is_found_in_every_journal() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let mut store = open(&storage);
    let mut sent = vec![Vec::new(); CHATS as usize];
    let mut random = 1u64;
    for number in 0..MESSAGES {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chat = (random >> 33) % CHATS;
        let mut body = [7; BODY_BYTES];
        body[..8].copy_from_slice(&number.to_le_bytes());
        store.append(Draft::direct(UserId(1), UserId(2 + chat), &body)).wait().unwrap();
        sent[chat as usize].push(number);
        if number == MESSAGES / 2 {
            check_all(&store, &sent);
            store.close().unwrap();
            store = open(&storage);
        }
    }
    check_all(&store, &sent);
    assert!(store.statistics().work.seals > 8, "the journals were not sealed");
    store.close().unwrap();
    check_all(&open(&storage), &sent);
}

/// A look that asked where a timeline stands, and then misses a row, was given back a state without the timeline, and so on
/// for ever.
#[test]
fn what_was_asked_for_survives_a_sweep() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let store = open(&storage);
    for other in 2..6 {
        store.append(Draft::direct(UserId(1), UserId(other), b"hello")).wait().unwrap();
    }
    store.seal().unwrap();
    let timeline = Timeline::direct(UserId(1), UserId(2));
    let need = Need::Head(timeline);
    let looks: [fn(&State, &Need, Timeline); 2] =
        [|state, _, timeline| assert!(state.slot(timeline).is_some()), |state, need, _| assert!(state.has(need))];
    for look in looks {
        store.pipeline.look(|state| state.head_of(timeline).map(|head| head.tip.last)).unwrap();
        let mut state = store.pipeline.state_mut();
        let sweep = |state: &mut State| state.evict(state.sweep_length(), 0);
        // Whatever was used before is used no more.
        sweep(&mut state);
        look(&state, &need, timeline);
        sweep(&mut state);
        assert!(state.head_if_here(timeline).is_some());
        sweep(&mut state);
        sweep(&mut state);
        assert!(!state.has(&need), "nobody used it any more");
    }
    take_misses();
}

/// What is loaded, grows, is let go of: the sum stays that of what is there, and within its bound.
#[test]
fn memory_is_reckoned_as_it_comes_and_goes() {
    let storage: Arc<dyn Storage> = SimStorage::new(5);
    let store = open(&storage);
    for number in 0..MESSAGES {
        let (one, other) = (UserId(1 + number % 700), UserId(1_000 + number % 300));
        store.append(Draft::direct(one, other, &[1; BODY_BYTES])).wait().unwrap();
        if number % 5 == 0 {
            store.set_flags(one, Peer::User(other), FlagChange::new().pinned(true)).wait().unwrap();
        }
        if number % 100 == 0 {
            let state = store.pipeline.state();
            assert_eq!(state.resident_bytes(), state.resident_bytes_summed(), "after {number}");
        }
    }
    let statistics = store.statistics();
    assert!(statistics.work.seals > 8 && statistics.cache.loads > 1_000, "{statistics:?}");
    store.seal().unwrap();
    store.pipeline.let_go();
    assert!(store.pipeline.state().resident_bytes() <= 64 << 10);
}

/// The file that recovery makes is short; what does not fit into it goes to the next one.
#[test]
fn a_batch_that_does_not_fit_the_file_of_recovery_is_taken() {
    let storage = SimStorage::new(6);
    let open = |storage: Arc<dyn Storage>| {
        let options = Options::default().threads(Threads::Inline).durability(Durability::Buffered);
        Store::open_on(storage, options).unwrap()
    };
    let store = open(storage.clone());
    store.append(Draft::direct(UserId(1), UserId(2), b"before")).wait().unwrap();
    let killed = storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::Nothing });
    let store = open(killed.clone());
    let body = vec![5; 60_000];
    let drafts: Vec<Draft<'_>> = (0..139).map(|_| Draft::direct(UserId(1), UserId(2), &body)).collect();
    // Some of the room is taken, and the largest batch does not fit into the rest of it.
    store.append_batch(&drafts[..20]).wait().unwrap();
    let before = store.statistics().files.journals.count;
    let sent = store.append_batch(&drafts).wait().unwrap();
    assert_eq!(sent.last().unwrap().seq, Seq(160));
    assert!(store.statistics().files.journals.count > before, "the batch went to the next file");
    store.close().unwrap();
    let store = open(killed);
    let page = store.history(UserId(2), Peer::User(UserId(1)), &HistoryQuery::newest()).unwrap();
    assert_eq!(page.messages.first().unwrap().seq, Seq(160));
}

/// Of a timeline that is only on disk, an append to it loads the head and the sender's row. The other one's row
/// matters only to a message that opens the session.
#[test]
fn an_append_loads_no_more_than_it_needs() {
    let storage: Arc<dyn Storage> = SimStorage::new(4);
    let store = open(&storage);
    let say = |store: &Store, body: &[u8]| store.append(Draft::direct(UserId(1), UserId(2), body)).wait().unwrap();
    say(&store, b"opens");
    say(&store, b"goes on");
    store.seal().unwrap();
    store.close().unwrap();
    let store = open(&storage);
    let before = store.statistics().cache.loads;
    say(&store, b"after");
    assert_eq!(store.statistics().cache.loads - before, 2);
    let shown = store.history(UserId(2), Peer::User(UserId(1)), &HistoryQuery::oldest()).unwrap();
    assert_eq!(shown.messages.len(), 3);
}

/// What was decided while all was in memory had pinned nothing. The first sealing then let its timelines go, or took
/// one that was not there yet for one on disk, before the change was published.
#[test]
fn what_is_decided_before_the_first_sealing_is_applied_after_it() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let options = Options::default().threads(Threads::Inline).clock(clock).memory_bytes_max(64 << 10);
    let store = Store::open_on(storage, options).unwrap();
    let say = |by: u64, to: u64| store.append(Draft::direct(UserId(by), UserId(to), &[by as u8; BODY_BYTES]));
    for user in 10..2_000 {
        drop(say(user, 2));
    }
    say(1, 2).wait().unwrap();
    let pipeline = &store.pipeline;
    pipeline.roll_now().unwrap();
    let journal = pipeline.unsealed()[0];
    let mut job = pipeline.write_down(journal);
    let (to_old, to_new) = (say(1, 2), say(3, 4));
    let muted = store.set_flags(UserId(11), Peer::User(UserId(2)), FlagChange::new().muted(true));
    pipeline.write_segments(&mut job).unwrap();
    assert!(store.statistics().memory.resident_bytes > 64 << 10, "nothing goes before they are published");
    assert_eq!(to_old.wait().unwrap().seq.0, 2);
    assert_eq!(to_new.wait().unwrap().seq.0, 1);
    muted.wait().unwrap();
    let digest = store.state_digest().unwrap();
    pipeline.let_go();
    assert_eq!(store.state_digest().unwrap(), digest);
    assert_eq!(say(1, 2).wait().unwrap().seq.0, 3);
    assert_eq!(say(3, 4).wait().unwrap().seq.0, 2);
}

/// What is written down of an edit names its place, though its journal is not sealed: recovery may copy that journal to
/// another file, and the edit was sought where it had been.
#[test]
fn an_edit_that_recovery_copied_is_found() {
    let (ann, bob) = (UserId(1), UserId(2));
    let storage = SimStorage::new(1);
    let shared: Arc<dyn Storage> = storage.clone();
    let store = open(&shared);
    for body in ["first", "second"] {
        store.append(Draft::direct(ann, bob, body.as_bytes())).wait().unwrap();
    }
    store.sync().unwrap();
    store.pipeline.roll_now().unwrap();
    store.edit(ann, Timeline::direct(ann, bob), Seq(1), b"edited").wait().unwrap();
    assert!(store.pipeline.seal_next().unwrap());
    let journals =
        |storage: &SimStorage| storage.names().into_iter().filter(|name| name.ends_with(".journal")).collect();
    let before: Vec<String> = journals(&storage);
    let storage = storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::All });
    let shared: Arc<dyn Storage> = storage.clone();
    let store = open(&shared);
    assert_ne!(journals(&storage), before, "recovery copied nothing");
    for round in 0..3 {
        let page = store.history(bob, Peer::User(ann), &HistoryQuery::oldest()).unwrap();
        let shown: Vec<&[u8]> = page.messages.iter().map(|message| &*message.body).collect();
        assert_eq!(shown, [&b"edited"[..], b"second"], "round {round}");
        // Also once the edit has an index, and once it was merged.
        if round == 0 { store.seal().unwrap() } else { store.purge().map(|_| ()).unwrap() }
    }
}

/// A sealing writes down the state of one moment, little by little. What changes before its turn is written down just
/// before it does: later changes are replayed on top of that, and the older ones are in no journal that is replayed.
#[test]
fn what_changes_while_it_is_written_down_is_written_down_before() {
    let storage = SimStorage::new(1);
    let shared: Arc<dyn Storage> = storage.clone();
    let store = open(&shared);
    let say = |by: u64, text: &[u8]| {
        store.append(Draft::direct(UserId(by), UserId(2), text)).wait().unwrap();
    };
    let peer = Peer::User(UserId(2));
    for user in 10..40 {
        say(user, b"one");
        say(user, b"two");
        store.edit(UserId(user), Timeline::direct(UserId(user), UserId(2)), Seq(1), b"ONE").wait().unwrap();
        store.set_metadata(UserId(user), peer, b"friend").wait().unwrap();
        store.mark_delivered(UserId(user), peer, Seq(2)).wait().unwrap();
    }
    store.sync().unwrap();
    let pipeline = &store.pipeline;
    pipeline.roll_now().unwrap();
    let journal = pipeline.unsealed()[0];
    pipeline.state_mut().freeze(journal.file_id, pipeline.dedup_seed);
    let version = store.version().0;
    // The turn of some has come, of others not.
    assert!(pipeline.state_mut().write_down(20));
    for user in 10..40 {
        say(user, b"three");
        store.set_flags(UserId(user), peer, FlagChange::new().pinned(true)).wait().unwrap();
    }
    while pipeline.state_mut().write_down(1) {}
    let entries = pipeline.state_mut().take_entries();
    pipeline.write_segments(&mut Job { journal, version, entries, is_indexed: false }).unwrap();

    let digest = store.state_digest().unwrap();
    let image: Arc<dyn Storage> = storage.deep_clone();
    let reopened = open(&image);
    assert_eq!(reopened.state_digest().unwrap(), digest);
    let page = reopened.history(UserId(17), peer, &HistoryQuery::oldest()).unwrap();
    let shown: Vec<&[u8]> = page.messages.iter().map(|message| &*message.body).collect();
    assert_eq!(shown, [&b"ONE"[..], b"two", b"three"]);
}
