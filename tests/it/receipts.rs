//! Who has received and read a message: numbers, pages, who may ask.
//! Owns: `receipts`, `mark_delivered`. May touch: `scene`, `replies`.
//! Never: tells a story; `stories` has `receipts_do_not_go_back`.

use restante::limits::MEMBERS_MAX;
use restante::{Draft, ErrorKind, Peer, Seq, Source, SystemId, UserId};

use crate::replies::{changed, refused, unchanged};
use crate::scene::{Scene, group, room, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);

/// Members, delivered, read, and who has read: `(user, read)`; all on one page.
fn receipts(scene: &Scene, user: UserId, peer: Peer, seq: u64) -> (u64, u64, u64, Vec<(u64, bool)>) {
    let found = scene.store.receipts(user, peer, Seq(seq), UserId::NONE, 1_000).unwrap();
    assert!(!found.more);
    let who = found.receipts.iter().map(|receipt| (receipt.user.0, receipt.read)).collect();
    (found.members, found.delivered, found.read, who)
}

#[test]
fn receipts_in_every_kind_of_timeline() {
    let scene = Scene::new();
    // Direct: the other one, and the sender never.
    scene.send(Draft::direct(ANN, BOB, b"one"));
    scene.send(Draft::direct(BOB, ANN, b"two"));
    assert_eq!(receipts(&scene, ANN, with(2), 1), (1, 1, 1, vec![(2, true)]), "who answers has read");
    assert_eq!(receipts(&scene, BOB, with(1), 1), (1, 1, 1, vec![(2, true)]), "both may ask, with one answer");
    assert_eq!(receipts(&scene, BOB, with(1), 2), (1, 0, 0, vec![]));
    changed(scene.store.mark_delivered(ANN, with(2), Seq(2)));
    assert_eq!(receipts(&scene, BOB, with(1), 2), (1, 1, 0, vec![(1, false)]));
    changed(scene.store.mark_read(ANN, with(2), Seq(2)));
    assert_eq!(receipts(&scene, BOB, with(1), 2), (1, 1, 1, vec![(1, true)]));
    // Notes to oneself are read by nobody else.
    scene.send(Draft::direct(ANN, ANN, b"note"));
    assert_eq!(receipts(&scene, ANN, with(1), 1), (0, 0, 0, vec![]));
    // An inbox: its recipient. A broadcast: whoever has touched it.
    let inbox = Source::System(SystemId(1));
    scene.send(Draft::inbox(inbox, ANN, b"x"));
    assert_eq!(receipts(&scene, ANN, inbox.into(), 1), (1, 0, 0, vec![]));
    changed(scene.store.mark_read(ANN, inbox.into(), Seq(1)));
    assert_eq!(receipts(&scene, ANN, inbox.into(), 1), (1, 1, 1, vec![(1, true)]));
    let everyone = Source::System(SystemId(2));
    scene.send(Draft::broadcast(everyone, b"x"));
    assert_eq!(receipts(&scene, ANN, everyone.into(), 1), (0, 0, 0, vec![]));
    changed(scene.store.mark_delivered(ANN, everyone.into(), Seq(1)));
    changed(scene.store.mark_read(BOB, everyone.into(), Seq(1)));
    assert_eq!(receipts(&scene, BOB, everyone.into(), 1), (2, 2, 1, vec![(1, false), (2, true)]));
    // A group: those who were in it before the message, in order of their ids.
    scene.store.join_many(group(42), &[CAT, ANN, BOB]).wait().unwrap();
    scene.send(Draft::group(group(42), BOB, b"x"));
    scene.send(Draft::group(group(42), BOB, b"a notice").counts(false));
    changed(scene.store.mark_read(CAT, room(42), Seq(2)));
    changed(scene.store.mark_delivered(ANN, room(42), Seq(1)));
    assert_eq!(receipts(&scene, BOB, room(42), 1), (2, 2, 1, vec![(1, false), (3, true)]));
    assert_eq!(receipts(&scene, BOB, room(42), 2), (2, 1, 1, vec![(3, true)]));
    let want = receipts(&scene, BOB, room(42), 1);
    assert_eq!(receipts(&scene.reopened(), BOB, room(42), 1), want);
}

#[test]
fn who_may_ask_and_for_what() {
    let scene = Scene::new();
    let store = &scene.store;
    let ask = |user: UserId, peer: Peer, seq: u64| store.receipts(user, peer, Seq(seq), UserId::NONE, 10);
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    for _ in 0..4 {
        scene.send(Draft::group(group(42), ANN, b"x"));
    }
    changed(store.join(group(42), CAT));
    changed(store.clear(BOB, room(42), Seq(1)));
    changed(store.leave(group(42), BOB));
    scene.send(Draft::group(group(42), ANN, b"x"));
    let kind = ErrorKind::NotFound;
    for (user, seq) in [(ANN, 0), (ANN, 6), (BOB, 1), (BOB, 5), (CAT, 4)] {
        let text = format!("the message is not there: group 42 user={} seq={seq}", user.0);
        refused(&scene, kind, &text, || ask(user, room(42), seq));
    }
    for (user, seq) in [(ANN, 1), (ANN, 5), (BOB, 2), (BOB, 4), (CAT, 5)] {
        ask(user, room(42), seq).unwrap();
    }
    assert_eq!(receipts(&scene, BOB, room(42), 4), (0, 0, 0, vec![]), "who left may ask, and is not counted");
    refused(&scene, kind, "no such session: group 42 user=9", || ask(UserId(9), room(42), 1));
    refused(&scene, kind, "no such session: group 43 user=1", || ask(ANN, room(43), 1));
    refused(&scene, kind, "no such session: direct 1-2 user=1", || ask(ANN, with(2), 1));
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || ask(UserId::NONE, room(42), 1));
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || ask(ANN, room(0), 1));
    // A hidden or recalled message was received and read all the same, but a hidden one is not shown.
    changed(store.recall(ANN, restante::Timeline::Group(group(42)), Seq(5)));
    changed(store.mark_read(CAT, room(42), Seq(5)));
    assert_eq!(receipts(&scene, ANN, room(42), 5), (1, 1, 1, vec![(3, true)]));
    changed(store.dissolve(group(42)));
    let text = "the message was trimmed: group 42 user=1 seq=5";
    refused(&scene, ErrorKind::Trimmed, text, || ask(ANN, room(42), 5));
    refused(&scene, ErrorKind::Trimmed, "the message was trimmed: group 42 user=2 seq=1", || ask(BOB, room(42), 1));
}

#[test]
fn pages_of_receipts() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    let users: Vec<UserId> = (1..=10_050).map(UserId).collect();
    scene.store.join_many(group(42), &users).wait().unwrap();
    scene.send(Draft::group(group(42), ANN, b"x"));
    // Every third has received it, and every sixth has read it.
    for user in users.iter().filter(|user| user.0 % 3 == 0) {
        if user.0 % 6 == 0 {
            drop(scene.store.mark_read(*user, room(42), Seq(1)));
        } else {
            drop(scene.store.mark_delivered(*user, room(42), Seq(1)));
        }
    }
    scene.store.sync().unwrap();
    let ask = |after: u64, limit: usize| {
        let page = scene.store.receipts(ANN, room(42), Seq(1), UserId(after), limit).unwrap();
        assert_eq!((page.members, page.delivered, page.read), (10_049, 3_350, 1_675), "on every page");
        (page.receipts.iter().map(|receipt| (receipt.user.0, receipt.read)).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(ask(0, 0), (vec![], true));
    assert_eq!(ask(0, 3), (vec![(3, false), (6, true), (9, false)], true));
    assert_eq!(ask(7, 1), (vec![(9, false)], true));
    assert_eq!(ask(10_044, 2), (vec![(10_047, false), (10_050, true)], false));
    assert_eq!(ask(10_047, 2), (vec![(10_050, true)], false));
    assert_eq!(ask(10_050, 2), (vec![], false));
    let (all, more) = ask(0, MEMBERS_MAX);
    assert_eq!((all.len(), more), (3_350, false));
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(ask(0, 3_350), (all.clone(), false));
    assert_eq!(ask(0, 3_349), (all[..3_349].to_vec(), true));
    for limit in [MEMBERS_MAX + 1, usize::MAX] {
        let text = format!("receipts of a page is above its limit: limit=10000 got={limit}");
        refused(&scene, ErrorKind::LimitExceeded, &text, || {
            scene.store.receipts(ANN, room(42), Seq(1), UserId::NONE, limit)
        });
    }
    // Nothing is written for it, and one who comes or goes moves the numbers.
    changed(scene.store.leave(group(42), UserId(6)));
    changed(scene.store.join(group(42), UserId(20_000)));
    let page = scene.store.receipts(ANN, room(42), Seq(1), UserId::NONE, 1).unwrap();
    assert_eq!((page.members, page.delivered, page.read), (10_048, 3_349, 1_674));
}

#[test]
fn a_delivered_mark() {
    let scene = Scene::new();
    for _ in 0..5 {
        scene.send(Draft::direct(ANN, BOB, b"x"));
    }
    let mark = |seq: u64| scene.store.mark_delivered(BOB, with(1), Seq(seq));
    let seen = |scene: &Scene| {
        let entry = scene.entry(ANN, with(2));
        (entry.other_delivered.0, entry.other_read.0)
    };
    unchanged(&scene, || mark(0));
    let version = changed(mark(2));
    assert_eq!((scene.entry(BOB, with(1)).version, scene.entry(ANN, with(2)).version), (version, version));
    assert_eq!((seen(&scene), scene.entry(BOB, with(1)).unread), ((2, 0), 5));
    unchanged(&scene, || mark(1));
    unchanged(&scene, || mark(2));
    changed(mark(9));
    assert_eq!(seen(&scene), (5, 0), "clamped to what is there");
    unchanged(&scene, || mark(u64::MAX));
    // In a session with a ceiling, to the ceiling.
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    scene.send(Draft::group(group(42), ANN, b"x"));
    changed(scene.store.leave(group(42), BOB));
    scene.send(Draft::group(group(42), ANN, b"x"));
    changed(scene.store.mark_delivered(BOB, room(42), Seq(2)));
    changed(scene.store.join(group(42), BOB));
    scene.send(Draft::group(group(42), ANN, b"x"));
    assert_eq!(receipts(&scene, ANN, room(42), 3), (1, 0, 0, vec![]));
    assert_eq!(receipts(&scene, ANN, room(42), 1), (0, 0, 0, vec![]), "he came back after it");
    assert_eq!(seen(&scene.reopened()), (5, 0));
}
