//! The removal of a user is cut off at any operation, and called again.
//! Owns: `remove_user` and crashes. May touch: the simulated directory, `scene`.
//! Never: waits for anything.

use restante::{CrashPlan, Draft, Durability, Loss, Options, SimStorage, Store, Threads, UserId};

use super::{BOB, busy};
use crate::scene::{Scene, room, texts, with};
use std::sync::Arc;

fn open(storage: Arc<SimStorage>, scene: &Scene) -> Store {
    let options = Options::default().threads(Threads::Inline).journal_bytes(1 << 20).clock(scene.clock.clone());
    Store::open_on(storage, options).expect("open")
}

#[test]
fn a_removal_that_was_cut_off_is_called_again() {
    for recall_all in [false, true] {
        // Two of every three crashes fall between the commits of one removal: the more it says, the more there are.
        let scene = busy();
        for number in 0..40_u64 {
            scene.send(Draft::direct(BOB, UserId(100 + number), b"x"));
        }
        let before = scene.storage.operations();
        let start = scene.store.version();
        let whole = scene.store.remove_user(BOB, recall_all).unwrap();
        assert_eq!(whole.sessions, 47);
        assert_eq!(whole.recalled, if recall_all { 51 } else { 0 });
        let (end, digest) = (scene.store.version(), scene.store.state_digest().unwrap());
        let mut cut = 0;
        for operation in before..=scene.storage.operations() {
            for (seed, loss) in [(1, Loss::Nothing), (2, Loss::All), (3, Loss::Prefix), (4, Loss::Random)] {
                let storage = scene.storage.crash_at(operation, CrashPlan { seed, loss });
                let store = open(storage.clone(), &scene);
                let found = store.version();
                assert!(start <= found && found <= end, "operation={operation} {loss:?}");
                cut += u64::from(start < found && found < end);
                let rest = store.remove_user(BOB, recall_all).unwrap();
                assert!(!store.user_exists(BOB).unwrap());
                assert!(rest.sessions <= whole.sessions && rest.recalled <= whole.recalled);
                if found == end {
                    assert_eq!((rest.sessions, rest.recalled, rest.names), (0, 0, 0));
                }
                // The same changes in the same order, whoever of the two calls made them.
                assert_eq!(store.version(), end, "operation={operation} {loss:?}");
                assert_eq!(store.state_digest().unwrap(), digest, "operation={operation} {loss:?}");
                store.close().unwrap();
                let store = open(storage, &scene);
                assert_eq!(store.state_digest().unwrap(), digest);
            }
        }
        println!("recall_all={recall_all}: {cut} of the crashes left a removal in its middle");
    }
}

/// Killed at every version that a removal passes: a store that buffers writes them one by one.
#[test]
fn a_removal_in_the_middle_shows_each_session_whole() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    scene.store.join_many(restante::GroupId(42), &[UserId(1), BOB]).wait().unwrap();
    for _ in 0..30 {
        scene.send(Draft::group(restante::GroupId(42), BOB, b"x"));
        scene.send(Draft::direct(BOB, UserId(1), b"y"));
    }
    let before = scene.storage.operations();
    scene.store.remove_user(BOB, true).unwrap();
    for operation in before..=scene.storage.operations() {
        let storage = scene.storage.crash_at(operation, CrashPlan { seed: 5, loss: Loss::Nothing });
        let store = open(storage, &scene);
        // Ann's badges are a recount of what her history shows, wherever it was cut off.
        for peer in [room(42), with(2)] {
            let query = restante::HistoryQuery::oldest().limit(1_000);
            let messages = store.history(UserId(1), peer, &query).unwrap().messages;
            let left = messages.iter().filter(|message| message.recalled.is_none()).count() as u64;
            let list = store.changed(UserId(1), None, &restante::ListQuery::new()).unwrap();
            let entry = list.entries.iter().find(|entry| entry.peer == peer).unwrap();
            assert_eq!((messages.len(), entry.unread), (30, left), "operation={operation}");
        }
        let removed = store.remove_user(BOB, true).unwrap();
        assert!(removed.recalled <= 60);
        let all = store.history(UserId(1), with(2), &restante::HistoryQuery::oldest().limit(1_000)).unwrap().messages;
        assert!(texts(&all).iter().all(String::is_empty));
        assert!(!store.user_exists(BOB).unwrap());
    }
}
