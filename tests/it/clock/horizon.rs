//! The horizon: how far back a cursor may lie.
//! Owns: `maintain`, and cursors around the horizon. May touch: `scene`, `replies`.
//! Never: moves a clock but forward.

use restante::limits::HORIZON_MICROS;
use restante::{
    AmendmentCursor, CatchUpQuery, Draft, Effect, ErrorKind, ListQuery, Loss, Seq, Timeline, Timestamp, Version,
};

use super::{ANN, BOB, DAY, at};
use crate::replies::{changed, refused, traceless};
use crate::scene::{SECOND, Scene, with};

/// One message a day, on days 0 to 9; the clock stands at day 9.
fn ten_days() -> Scene {
    let scene = Scene::new();
    for day in 0..10_u64 {
        scene.clock.set(at(day * DAY));
        scene.send(Draft::direct(ANN, BOB, b"x"));
    }
    scene
}

fn maintain(scene: &Scene, now: Timestamp) -> (u64, bool) {
    let done = scene.store.maintain(now).wait().unwrap();
    (done.horizon.0, matches!(done.effect, Effect::Changed(_)))
}

#[test]
fn maintain_raises_the_horizon_to_ninety_days_ago() {
    assert_eq!(HORIZON_MICROS, 90 * DAY);
    let scene = ten_days();
    // Not later than store time, whatever is said.
    assert_eq!(maintain(&scene, at(1_000 * DAY)), (0, false));
    scene.clock.set(at(HORIZON_MICROS - 1));
    assert_eq!(maintain(&scene, at(1_000 * DAY)), (0, false));
    scene.clock.set(at(HORIZON_MICROS));
    assert_eq!(maintain(&scene, at(HORIZON_MICROS - 1)), (0, false), "as of a moment before");
    assert_eq!(maintain(&scene, at(HORIZON_MICROS)), (1, true), "committed exactly ninety days ago");
    assert_eq!(scene.store.version(), Version(11), "it is a change itself");
    // Again is nothing, and so is an earlier time.
    traceless(&scene, || {
        assert_eq!(maintain(&scene, at(HORIZON_MICROS)), (1, false));
        assert_eq!(maintain(&scene, Timestamp(0)), (1, false));
    });
    scene.clock.set(at(HORIZON_MICROS + 4 * DAY + SECOND));
    assert_eq!(maintain(&scene, at(HORIZON_MICROS + 2 * DAY)), (3, true), "as of the time that is given");
    assert_eq!(maintain(&scene, scene.store.time().now), (5, true));
    // It is kept, and never lowered.
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(maintain(&crashed, Timestamp(0)), (5, false));
    let scene = scene.reopened();
    assert_eq!(maintain(&scene, at(HORIZON_MICROS)), (5, false));
    // The changes of `maintain` itself are changes, and pass the horizon like others.
    scene.clock.set(at(2 * HORIZON_MICROS + 30 * DAY));
    assert_eq!(maintain(&scene, scene.store.time().now), (13, true));
    assert_eq!(scene.store.version(), Version(14));
}

#[test]
fn cursors_from_before_the_horizon_begin_again() {
    let scene = ten_days();
    let early = scene.list(BOB).next;
    let early_amendment = scene.store.amendments(BOB, with(1), None, 10).unwrap().next;
    scene.send(Draft::direct(ANN, BOB, b"x"));
    let chat = Timeline::direct(ANN, BOB);
    changed(scene.store.recall(ANN, chat, Seq(2)));
    let since = scene.store.amendments(BOB, with(1), None, 1).unwrap().next;
    let late = scene.list(BOB).next;
    let page = scene.store.changed(BOB, None, &ListQuery::new().limit(0)).unwrap().next;
    // Ninety days and nine after the first: the horizon is the recall.
    scene.clock.advance(HORIZON_MICROS);
    scene.send(Draft::direct(ANN, BOB, b"today"));
    assert_eq!(maintain(&scene, scene.store.time().now), (12, true));
    let scene = scene.reopened();
    let kind = ErrorKind::ResetRequired;
    let text = "what was removed since the cursor is forgotten: horizon=12 got=10";
    refused(&scene, kind, text, || scene.store.changed(BOB, Some(&early), &ListQuery::new()));
    refused(&scene, kind, text, || scene.store.catch_up(BOB, Some(&early), &CatchUpQuery::new()));
    // Amendments are kept as long as their messages, so a place among them is never too old.
    let kept = scene.store.amendments(BOB, with(1), Some(&early_amendment), 10).unwrap();
    assert_eq!(kept.amendments.iter().map(|amendment| amendment.seq).collect::<Vec<_>>(), [Seq(2)]);
    // At the horizon and above: they go on.
    for cursor in [late, page] {
        let list = scene.store.changed(BOB, Some(&cursor), &ListQuery::new()).unwrap();
        assert_eq!((list.entries.len(), list.entries[0].amendments.len()), (1, 0));
    }
    assert_eq!(scene.store.amendments(BOB, with(1), Some(&since), 10).unwrap().amendments, []);
    // A time from before it is as old; at it and later is fine; from nothing always is.
    let oldest = at(9 * DAY);
    let ask = |time: Timestamp| scene.store.changed_since(BOB, time, &ListQuery::new());
    assert_eq!(ask(Timestamp(oldest.0 - 1)).unwrap_err().kind(), kind);
    assert_eq!(ask(Timestamp(0)).unwrap_err().kind(), kind);
    assert_eq!(ask(Timestamp(oldest.0 + 1)).unwrap().entries.len(), 1);
    assert_eq!(ask(scene.store.time().now).unwrap().entries.len(), 1);
    assert_eq!(scene.list(BOB).entries.len(), 1);
    assert_eq!(scene.store.recent(BOB, None, &ListQuery::new()).unwrap().entries.len(), 1);
    // Nothing but cursors is old: messages, badges and amendments from the beginning are all there.
    assert_eq!((scene.all(BOB, with(1)).len(), scene.entry(BOB, with(1)).unread), (12, 11));
    assert_eq!(scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments.len(), 1);
    let unused = AmendmentCursor::from_bytes(&since.to_bytes()).unwrap();
    assert_eq!(unused, since);
}

/// Amendments are kept as long as their messages, so from the beginning they can be paged through, however old they are.
#[test]
fn old_amendments_are_paged_from_the_beginning() {
    let scene = ten_days();
    let chat = Timeline::direct(ANN, BOB);
    for seq in 1..=5 {
        changed(scene.store.recall(ANN, chat, Seq(seq)));
    }
    scene.clock.advance(HORIZON_MICROS + DAY);
    scene.send(Draft::direct(ANN, BOB, b"today"));
    assert_eq!(maintain(&scene, scene.store.time().now), (15, true));
    changed(scene.store.recall(ANN, chat, Seq(6)));
    let (mut since, mut found) = (None, Vec::new());
    loop {
        let page = scene.store.amendments(BOB, with(1), since.as_ref(), 2).unwrap();
        found.extend(page.amendments.iter().map(|amendment| amendment.seq.0));
        since = Some(page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(found, [1, 2, 3, 4, 5, 6]);
}

/// A walk that takes longer than the horizon is old: it began long ago. One page later than its first is not.
#[test]
fn a_walk_is_as_old_as_its_base() {
    let scene = Scene::new();
    for other in 10..=12_u64 {
        scene.send(Draft::direct(restante::UserId(other), BOB, b"x"));
    }
    let query = ListQuery::new().limit(1);
    let first = scene.store.changed(BOB, None, &query).unwrap();
    assert!(first.more);
    scene.clock.advance(HORIZON_MICROS + DAY);
    // The base of the walk is the third message; only what is older than that is before the horizon.
    assert_eq!(maintain(&scene, scene.store.time().now), (3, true));
    let second = scene.store.changed(BOB, Some(&first.next), &query).unwrap();
    assert_eq!(second.entries[0].peer, with(11));
    scene.send(Draft::direct(restante::UserId(13), BOB, b"x"));
    scene.clock.advance(HORIZON_MICROS + DAY);
    assert_eq!(maintain(&scene, scene.store.time().now), (5, true));
    let error = scene.store.changed(BOB, Some(&second.next), &query).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResetRequired);
}
