//! What is pending counts for what an append needs.
//! Owns: nothing. May touch: the handle.
//! Never: looks at a file.

use super::member;
use crate::storage::SimStorage;
use crate::{
    Draft, GroupId, GroupSettings, ListQuery, ManualClock, Options, Peer, Source, Store, SystemId, Threads, Timeline,
    Timestamp, UserId,
};
use std::sync::Arc;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const SYSTEM: SystemId = SystemId(9);

/// A store in which both have been since before the first broadcast, opened anew, so that nobody is in memory. It
/// publishes what is waited for.
fn store() -> Store {
    let storage = SimStorage::new(1);
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let open = || {
        let options = Options::default().threads(Threads::Inline).clock(clock.clone());
        Store::open_on(storage.clone(), options).unwrap()
    };
    let store = open();
    store.append(Draft::direct(ANN, BOB, b"hello")).wait().unwrap();
    store.create_group(GroupId(1), GroupSettings::default().members_only(false)).wait().unwrap();
    for user in [ANN, BOB] {
        store.join(GroupId(1), user).wait().unwrap();
    }
    store.append(Draft::group(GroupId(1), ANN, b"welcome")).wait().unwrap();
    store.append(Draft::broadcast(Source::System(SYSTEM), b"to all")).wait().unwrap();
    store.seal().unwrap();
    store.close().unwrap();
    open()
}

fn sees_broadcast(store: &Store, user: UserId) -> bool {
    let list = store.changed(user, None, &ListQuery::new()).unwrap();
    list.entries.iter().any(|entry| entry.peer == Peer::System(SYSTEM) && entry.is_add)
}

/// One who is leaving sends to an open group: the message must not let it exist as if from now on.
#[test]
fn an_append_of_one_who_is_leaving_knows_that_it_exists() {
    let store = store();
    let left = store.leave(GroupId(1), BOB);
    let sent = store.append(Draft::group(GroupId(1), BOB, b"bye"));
    left.wait().unwrap();
    sent.wait().unwrap();
    assert!(sees_broadcast(&store, BOB));
}

/// One of two is being removed, so that the next message opens the session again: for the one who stays it must not
/// seem to open.
#[test]
fn an_append_while_the_other_is_removed_knows_that_its_sender_exists() {
    let store = store();
    let timeline = Timeline::direct(ANN, BOB);
    let forgotten = store.ticket(
        (),
        |(), _, all| member(BOB, timeline, all),
        |(), sequencer, state, now| sequencer.forget(state, now, timeline, BOB),
    );
    let sent = store.append(Draft::direct(ANN, BOB, b"again"));
    forgotten.wait().unwrap();
    sent.wait().unwrap();
    for user in [ANN, BOB] {
        assert!(sees_broadcast(&store, user), "{user:?}");
    }
}
