//! Who is called by a message: mentions by name, alerts by kind.
//! Owns: what a draft may carry, what an entry counts of it. May touch: `scene`, `replies`.
//! Never: recalls anything; that is in `stories` and `amendments`.

use restante::limits::MENTIONS_MAX;
use restante::{Draft, Entry, ErrorKind, Loss, Seq, Settings, Source, SystemId, Timeline, UserId};

use crate::replies::{changed, refused};
use crate::scene::{Scene, group, room, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);

fn team(body: &[u8]) -> Draft<'_> {
    Draft::group(group(42), ANN, body)
}

/// A group of Ann, Bob and Cat.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.store.join_many(group(42), &[ANN, BOB, CAT]).wait().unwrap();
    scene
}

/// Count, saturated, oldest.
fn mentions(entry: &Entry) -> (u64, bool, u64) {
    (entry.mentions.count, entry.mentions.saturated, entry.mentions.oldest.map_or(0, |seq| seq.0))
}

fn alerts(entry: &Entry) -> Vec<(u8, u64, u64)> {
    entry.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest.0)).collect()
}

#[test]
fn how_many_may_be_mentioned() {
    let scene = scene();
    let names: Vec<UserId> = (2..=200).map(UserId).collect();
    for count in [0, 1, MENTIONS_MAX - 1, MENTIONS_MAX] {
        let sent = scene.send(team(b"x").mentions(&names[..count]));
        let message = scene.all(ANN, room(42)).pop().unwrap();
        assert_eq!((message.seq, &message.mentions[..]), (sent.seq, &names[..count]), "as they were given");
    }
    for count in [MENTIONS_MAX + 1, 199] {
        let text = format!("mentions is above its limit: limit=128 got={count}");
        let draft = team(b"x").mentions(&names[..count]);
        refused(&scene, ErrorKind::LimitExceeded, &text, || scene.store.append(draft).wait());
    }
    // Repeats are counted as they are given; so the limit is on the list, not on the people.
    let repeats = vec![BOB; MENTIONS_MAX + 1];
    let error = scene.store.append(team(b"x").mentions(&repeats)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    // The setting lowers it, for what is sent from then on.
    changed(scene.store.set_settings(Settings::default().mentions_max(2)));
    scene.send(team(b"x").mentions(&names[..2]));
    let text = "mentions is above its limit: limit=2 got=3";
    refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.append(team(b"x").mentions(&names[..3])).wait());
    let drafts = [team(b"x"), team(b"x").mentions(&names[..3])];
    let error = scene.store.append_batch(&drafts).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::LimitExceeded, Some(1)));
    changed(scene.store.set_settings(Settings::default().mentions_max(0)));
    scene.send(team(b"x").mentions(&[]));
    let error = scene.store.append(team(b"x").mentions(&names[..1])).wait().unwrap_err();
    assert_eq!(error.to_string(), "mentions is above its limit: limit=0 got=1");
    assert_eq!(mentions(&scene.entry(BOB, room(42))), (4, false, 2), "one with 1, 127, 128 and 2 names each");
}

#[test]
fn what_a_draft_may_not_say() {
    let scene = scene();
    let store = &scene.store;
    let none = [BOB, UserId::NONE];
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none: group 42 sender=1", || {
        store.append(team(b"x").mentions(&none)).wait()
    });
    refused(
        &scene,
        ErrorKind::InvalidInput,
        "a message that does not count cannot mention or alert: group 42 sender=1",
        || store.append(team(b"x").counts(false).mentions(&[BOB])).wait(),
    );
    refused(
        &scene,
        ErrorKind::InvalidInput,
        "a message that does not count cannot mention or alert: group 42 sender=1",
        || store.append(team(b"x").alerts(1).counts(false)).wait(),
    );
    // Nothing to call with is fine for a notice.
    let sent = scene.send(team(b"x").counts(false).mentions(&[]).alerts(0));
    assert_eq!((sent.seq, scene.entry(BOB, room(42)).unread), (Seq(1), 0));
}

#[test]
fn who_is_called_by_a_mention() {
    let scene = scene();
    scene.store.join(group(42), UserId(5)).wait().unwrap();
    scene.store.leave(group(42), UserId(5)).wait().unwrap();
    let entry = |user: UserId| scene.entry(user, room(42));
    // Repeats, the sender, one who left, a stranger: they stand in the message and call nobody but Bob, once.
    let named = [BOB, BOB, ANN, UserId(5), UserId(99), BOB];
    scene.send(team(b"hello").mentions(&named));
    assert_eq!(scene.all(CAT, room(42))[0].mentions, named);
    assert_eq!(mentions(&entry(BOB)), (1, false, 1));
    assert_eq!((mentions(&entry(ANN)), mentions(&entry(CAT))), ((0, false, 0), (0, false, 0)));
    assert_eq!((entry(UserId(5)).unread, mentions(&entry(UserId(5)))), (0, (0, false, 0)));
    assert!(!scene.store.user_exists(UserId(99)).unwrap(), "to be named is not to exist");
    assert!(scene.list(UserId(99)).entries.is_empty());
    // The stranger joins, the one who left comes back: what was before is not theirs.
    scene.store.join_many(group(42), &[UserId(99), UserId(5)]).wait().unwrap();
    assert_eq!((mentions(&entry(UserId(99))), mentions(&entry(UserId(5)))), ((0, false, 0), (0, false, 0)));
    scene.send(team(b"welcome").mentions(&[UserId(99), UserId(5)]));
    assert_eq!((mentions(&entry(UserId(99))), mentions(&entry(UserId(5)))), ((1, false, 2), (1, false, 2)));
    // In a direct chat the two count as the group; notes to oneself call nobody.
    scene.send(Draft::direct(ANN, BOB, b"you").mentions(&[BOB, CAT, ANN]));
    assert_eq!(mentions(&scene.entry(BOB, with(1))), (1, false, 1));
    assert_eq!(mentions(&scene.entry(ANN, with(2))), (0, false, 0));
    assert_eq!(scene.list(CAT).entries.len(), 1, "Cat is named there, and has no part in it");
    scene.send(Draft::direct(ANN, ANN, b"me").mentions(&[ANN]));
    assert_eq!(mentions(&scene.entry(ANN, with(1))), (0, false, 0));
    // In an inbox the recipient is the group; in a broadcast mentions call nobody, alerts do.
    let source = Source::System(SystemId(1));
    scene.send(Draft::inbox(source, BOB, b"for you").mentions(&[BOB, CAT]).alerts(1));
    let inbox = scene.entry(BOB, source.into());
    assert_eq!((mentions(&inbox), alerts(&inbox)), ((1, false, 1), vec![(0, 1, 1)]));
    let source = Source::System(SystemId(2));
    scene.send(Draft::broadcast(source, b"to all").mentions(&[BOB]).alerts(0x80));
    let broadcast = scene.entry(BOB, source.into());
    assert_eq!((mentions(&broadcast), alerts(&broadcast)), ((0, false, 0), vec![(7, 1, 1)]));
    assert_eq!(scene.all(BOB, source.into())[0].mentions, [BOB]);
}

#[test]
fn mentions_go_with_what_is_unread() {
    let scene = scene();
    let entry = || scene.entry(BOB, room(42));
    for number in 1..=9_u64 {
        let draft = team(b"x");
        scene.send(if number % 3 == 0 { draft.mentions(&[BOB]).alerts(0b11) } else { draft });
    }
    let all = vec![(0, 3, 3), (1, 3, 3)];
    assert_eq!((mentions(&entry()), alerts(&entry())), ((3, false, 3), all));
    for (upto, count, oldest) in [(2, 3, 3), (3, 2, 6), (5, 2, 6), (6, 1, 9), (9, 0, 0)] {
        scene.read(BOB, room(42), Seq(upto));
        let want = if count > 0 { vec![(0, count, oldest), (1, count, oldest)] } else { vec![] };
        assert_eq!((mentions(&entry()), alerts(&entry())), ((count, false, oldest), want), "upto={upto}");
    }
    // Back, and they are there again, as long as the floor is below.
    changed(scene.store.mark_unread_from(BOB, room(42), Seq(4)));
    assert_eq!(mentions(&entry()), (2, false, 6));
    changed(scene.store.hide(BOB, room(42), &[Seq(6)]));
    assert_eq!((mentions(&entry()), alerts(&entry())), ((1, false, 9), vec![(0, 1, 9), (1, 1, 9)]));
    changed(scene.store.clear(BOB, room(42), Seq(9)));
    assert_eq!((mentions(&entry()), alerts(&entry())), ((0, false, 0), vec![]));
    // An edit changes the body, not whom the message calls.
    scene.send(team(b"@bob").mentions(&[BOB]).alerts(4));
    changed(scene.store.edit(ANN, Timeline::Group(group(42)), Seq(10), b"@cat"));
    assert_eq!((mentions(&entry()), alerts(&entry())), ((1, false, 10), vec![(2, 1, 10)]));
    // Leaving freezes them: counted until read.
    changed(scene.store.leave(group(42), BOB));
    scene.send(team(b"@bob").mentions(&[BOB]).alerts(4));
    assert_eq!((mentions(&entry()), alerts(&entry())), ((1, false, 10), vec![(2, 1, 10)]));
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(mentions(&crashed.entry(BOB, room(42))), (1, false, 10));
    assert_eq!(alerts(&crashed.entry(BOB, room(42))), [(2, 1, 10)]);
}

#[test]
fn more_than_a_thousand_mentions_are_a_thousand_and_more() {
    let scene = scene();
    let batch = |count: usize| {
        scene.store.append_batch(&vec![team(b"x").mentions(&[BOB]).alerts(1); count]).wait().unwrap();
        mentions(&scene.entry(BOB, room(42)))
    };
    assert_eq!(batch(999), (999, false, 1));
    assert_eq!(batch(1), (1_000, false, 1));
    assert_eq!(batch(1), (1_000, true, 1));
    assert_eq!(batch(99), (1_000, true, 1));
    assert_eq!(alerts(&scene.entry(BOB, room(42))), [(0, 1_100, 1)], "alerts are counted to the end");
    for (upto, want) in [(99, (1_000, true, 100)), (100, (1_000, false, 101)), (101, (999, false, 102))] {
        scene.read(BOB, room(42), Seq(upto));
        assert_eq!(mentions(&scene.entry(BOB, room(42))), want, "upto={upto}");
    }
    assert_eq!(mentions(&scene.reopened().entry(BOB, room(42))), (999, false, 102));
}

#[test]
fn all_eight_kinds_of_alert() {
    let scene = scene();
    scene.send(team(b"all").alerts(0xff));
    scene.send(team(b"odd").alerts(0b1010_1010));
    scene.send(team(b"none").alerts(0));
    let want: Vec<_> = (0..8).map(|kind| (kind, if kind % 2 == 1 { 2 } else { 1 }, 1)).collect();
    assert_eq!(alerts(&scene.entry(BOB, room(42))), want);
    assert_eq!(alerts(&scene.entry(ANN, room(42))), [], "the sender is not called");
    let shown: Vec<u8> = scene.all(BOB, room(42)).iter().map(|message| message.alerts).collect();
    assert_eq!(shown, [0xff, 0b1010_1010, 0]);
    scene.read(BOB, room(42), Seq(1));
    let odd: Vec<_> = [1, 3, 5, 7].map(|kind| (kind, 1, 2)).to_vec();
    assert_eq!(alerts(&scene.entry(BOB, room(42))), odd);
    assert_eq!(alerts(&scene.reopened().entry(BOB, room(42))), odd);
}
