//! What is read while messages are trimmed and their files merged away.
//! Owns: the hook that does so between two looks of a reader. May touch: the handle.
//! Never: looks at a file.

use crate::storage::SimStorage;
use crate::{
    CatchUpQuery, Draft, Durability, ErrorKind, HistoryQuery, ListQuery, ManualClock, Options, Peer, Retention, Seq,
    Settings, Store, Threads, Timestamp, UserId,
};
use std::cell::RefCell;
use std::sync::Arc;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const MESSAGES: u64 = 12;
const KEPT: u64 = 2;

thread_local! {
    static BEFORE_READ: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Does once what is to happen after a reader looked at the state and before it looks for a message.
pub(super) fn before_read() {
    if let Some(act) = BEFORE_READ.take() {
        act();
    }
}

/// Runs `ask` on a store in which all but the last messages are trimmed, and gone from the files, right before it reads
/// the first one. All are Ann's, unread by Bob and above her own mark; the first is recalled.
fn while_trimmed<T>(ask: impl FnOnce(&Store) -> T) -> T {
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let options = Options::default().threads(Threads::Inline).durability(Durability::Buffered).maintain(false);
    let store = Store::open_on(SimStorage::new(1), options.clock(clock)).unwrap();
    for number in 1..=MESSAGES {
        store.append(Draft::direct(ANN, BOB, &[number as u8; 20])).wait().unwrap();
    }
    store.mark_unread_from(ANN, Peer::User(BOB), Seq(1)).wait().unwrap();
    store.recall(ANN, crate::Timeline::direct(ANN, BOB), Seq(1)).wait().unwrap();
    store.seal().unwrap();
    let trimmer = store.clone();
    BEFORE_READ.set(Some(Box::new(move || {
        let keep = Settings::default().retention_user(Retention::default().count(KEPT));
        trimmer.set_settings(keep).wait().unwrap();
        assert_eq!(trimmer.maintain(Timestamp::MAX).wait().unwrap().messages_trimmed, MESSAGES - KEPT);
        assert!(trimmer.purge().unwrap().files > 0);
    })));
    let found = ask(&store);
    assert!(BEFORE_READ.take().is_none(), "no message was looked for");
    found
}

#[test]
fn sessions_are_listed_while_messages_go() {
    let (first, last) = (Seq(MESSAGES - KEPT + 1), Seq(MESSAGES));
    for user in [ANN, BOB] {
        let unread = if user == BOB { KEPT } else { 0 };
        let goto = (user == BOB).then_some(first);
        let check = |entries: Vec<crate::Entry>| {
            let entry = &entries[0];
            assert_eq!((entry.first, entry.last, entry.unread), (first, last, unread), "{user:?}");
            assert_eq!(entry.goto.map(|(seq, _)| seq), goto, "{user:?}");
        };
        check(while_trimmed(|store| store.changed(user, None, &ListQuery::new()).unwrap().entries));
        check(while_trimmed(|store| store.changed_since(user, Timestamp(0), &ListQuery::new()).unwrap().entries));
        check(while_trimmed(|store| store.recent(user, None, &ListQuery::new()).unwrap().entries));
        check(while_trimmed(|store| store.catch_up(user, None, &CatchUpQuery::new()).unwrap().entries));
    }
    assert_eq!(while_trimmed(|store| store.total_unread(ANN).unwrap().unread), 0);
}

#[test]
fn messages_of_a_time_are_found_while_others_go() {
    let query = HistoryQuery::oldest().times(Timestamp(0)..);
    let page = while_trimmed(|store| store.history(BOB, Peer::User(ANN), &query).unwrap());
    let shown: Vec<u64> = page.messages.iter().map(|message| message.seq.0).collect();
    assert_eq!(shown, [MESSAGES - 1, MESSAGES]);
}

#[test]
fn who_asks_for_a_message_that_goes_is_told_so() {
    let peer = Peer::User(BOB);
    let kind = while_trimmed(|store| store.receipts(ANN, peer, Seq(3), UserId(0), 10).unwrap_err().kind());
    assert_eq!(kind, ErrorKind::Trimmed);
    let kind = while_trimmed(|store| store.hide(ANN, peer, &[Seq(3), Seq(12)]).wait().unwrap_err().kind());
    assert_eq!(kind, ErrorKind::Trimmed);
}

#[test]
fn marks_move_and_people_go_while_messages_do() {
    let unread = while_trimmed(|store| {
        store.mark_read(BOB, Peer::User(ANN), Seq(3)).wait().unwrap();
        store.total_unread(BOB).unwrap().unread
    });
    assert_eq!(unread, KEPT);
    let removed = while_trimmed(|store| store.remove_user(ANN, true).unwrap());
    assert_eq!(removed.recalled, KEPT);
}
