//! Client ids: what is found by them, and what becomes of retries when the first message is changed or gone.
//! Owns: `find`, duplicates and conflicts after amendments. May touch: `scene`, `replies`.
//! Never: measures the window of client ids; that is in `settings` and `limits`.

use restante::{ClientId, Draft, ErrorKind, GroupSettings, Loss, Outcome, Seq, Timeline, UserId};

use crate::replies::{changed, refused, traceless};
use crate::scene::{Scene, group};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);

fn chat() -> Timeline {
    Timeline::direct(ANN, BOB)
}

fn note(id: u128, body: &[u8]) -> Draft<'_> {
    Draft::direct(ANN, BOB, body).client_id(ClientId(id))
}

#[test]
fn a_message_is_found_by_timeline_sender_and_id() {
    let scene = Scene::new();
    let find = |timeline, sender, id| traceless(&scene, || scene.store.find(timeline, sender, ClientId(id)).unwrap());
    assert_eq!(find(chat(), ANN, 1), None);
    scene.send(note(1, b"one"));
    scene.send(note(u128::MAX, b"two"));
    scene.send(Draft::direct(BOB, ANN, b"three").client_id(ClientId(1)));
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    scene.send(Draft::group(group(42), ANN, b"four").client_id(ClientId(1)));
    assert_eq!(
        (find(chat(), ANN, 1), find(chat(), ANN, u128::MAX), find(chat(), BOB, 1)),
        (Some(Seq(1)), Some(Seq(2)), Some(Seq(3)))
    );
    assert_eq!(find(Timeline::Group(group(42)), ANN, 1), Some(Seq(1)));
    for (timeline, sender, id) in [
        (chat(), BOB, u128::MAX),
        (chat(), CAT, 1),
        (Timeline::direct(ANN, CAT), ANN, 1),
        (Timeline::Group(group(42)), BOB, 1),
        (Timeline::Group(group(43)), ANN, 1),
    ] {
        assert_eq!(find(timeline, sender, id), None, "{timeline} {sender} {id}");
    }
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || scene.store.find(chat(), ANN, ClientId::NONE));
    // What nobody has synced is not found yet.
    let pending = scene.store.append(note(5, b"pending"));
    assert_eq!(scene.store.find(chat(), ANN, ClientId(5)).unwrap(), None);
    let seq = pending.wait().unwrap().seq;
    assert_eq!(scene.store.find(chat(), ANN, ClientId(5)).unwrap(), Some(seq));
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.store.find(chat(), ANN, ClientId(5)).unwrap(), Some(seq));
}

#[test]
fn a_retry_conflicts_until_the_first_body_is_gone() {
    let scene = Scene::new();
    for id in 1..=4_u128 {
        scene.send(note(id, b"first"));
    }
    let store = &scene.store;
    let text = |seq: u64| format!("client id is taken by another message: direct 1-2 seq={seq}");
    let check = |id: u128, is_gone: bool| {
        let same = traceless(&scene, || store.append(note(id, b"first")).wait().unwrap());
        assert_eq!((same.outcome, same.seq.0), (Outcome::Duplicate, id as u64));
        for other in [note(id, b"other"), note(id, b""), note(id, b"first").kind(7)] {
            if is_gone {
                let retry = traceless(&scene, || store.append(other).wait().unwrap());
                assert_eq!((retry.outcome, retry.seq, retry.timestamp), (Outcome::Duplicate, same.seq, same.timestamp));
            } else {
                refused(&scene, ErrorKind::Conflict, &text(id as u64), || store.append(other).wait());
            }
        }
    };
    (1..=4).for_each(|id| check(id, false));
    // Hidden, cleared, removed: the first body is there still, for others.
    changed(store.hide(BOB, restante::Peer::User(ANN), &[Seq(1)]));
    changed(store.remove_session(BOB, restante::Peer::User(ANN)));
    changed(store.remove_session(ANN, restante::Peer::User(BOB)));
    (1..=4).for_each(|id| check(id, false));
    changed(store.recall(ANN, chat(), Seq(1)));
    changed(store.edit(ANN, chat(), Seq(2), b"edited"));
    // Edited back to what it was: the digest of the first body was dropped all the same.
    changed(store.edit(ANN, chat(), Seq(3), b"edited"));
    changed(store.edit(ANN, chat(), Seq(3), b"first"));
    for (id, is_gone) in [(1, true), (2, true), (3, true), (4, false)] {
        check(id, is_gone);
    }
}

/// That it is no conflict rests on the recall: once that is answered, the recall is durable.
#[test]
fn a_retry_that_rests_on_a_pending_recall_waits_for_it() {
    let scene = Scene::new();
    scene.send(note(1, b"first"));
    drop(scene.store.recall(ANN, chat(), Seq(1)));
    let retry = scene.store.append(note(1, b"other")).wait().unwrap();
    assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, Seq(1)));
    let scene = scene.after_crash(Loss::All);
    let retry = scene.send(note(1, b"other"));
    assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, Seq(1)));
}

#[test]
fn a_retry_gets_its_first_result_whatever_became_of_its_sender() {
    let scene = Scene::new();
    let store = &scene.store;
    changed(store.create_group(group(42), GroupSettings::default()));
    store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    let draft = Draft::group(group(42), BOB, b"x").client_id(ClientId(1));
    let first = scene.send(draft);
    let retry = || {
        let retry = traceless(&scene, || store.append(draft).wait().unwrap());
        assert_eq!((retry.outcome, retry.seq, retry.version), (Outcome::Duplicate, first.seq, first.version));
    };
    changed(store.silence(group(42), BOB, restante::Timestamp(u64::MAX / 8)));
    retry();
    changed(store.leave(group(42), BOB));
    retry();
    store.remove_user(BOB, false).unwrap();
    retry();
    assert!(!store.user_exists(BOB).unwrap(), "a retry lets nobody exist");
    changed(store.dissolve(group(42)));
    retry();
    // In a batch the retry is reported and the rest is written.
    let batch = store.append_batch(&[draft, Draft::direct(ANN, CAT, b"y"), draft]).wait().unwrap();
    let outcomes: Vec<Outcome> = batch.iter().map(|appended| appended.outcome).collect();
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Written, Outcome::Duplicate]);
}
