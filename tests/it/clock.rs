//! Store time: clocks that step, the horizon that `maintain` raises, and cursors from before it.
//! Owns: `time`, `accept_clock`, `maintain`. May touch: its submodule, `scene`, `replies`.
//! Never: asks the machine what time it is, but to wait for a thread.

mod horizon;

use std::time::Duration;

use restante::limits::CLOCK_STEP_MICROS;
use restante::{Draft, GroupSettings, Threads, Timestamp, UserId};

use crate::replies::changed;
use crate::scene::{HOUR, MINUTE, SECOND, START, Scene, group};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const DAY: u64 = 24 * HOUR;

fn at(micros: u64) -> Timestamp {
    Timestamp(START.0 + micros)
}

/// Present store time relative to the start, and whether the clock is held to have stepped.
fn now(scene: &Scene) -> (i64, bool) {
    let time = scene.store.time();
    (time.now.0 as i64 - START.0 as i64, time.is_stepped)
}

/// The commit time of a message sent now, relative to the start.
fn sent(scene: &Scene) -> i64 {
    scene.send(Draft::direct(ANN, BOB, b"x"));
    let message = scene.all(BOB, restante::Peer::User(ANN)).pop().unwrap();
    message.commit_time.0 as i64 - START.0 as i64
}

#[test]
fn a_step_of_an_hour_is_taken_and_a_longer_one_is_not() {
    for (step, is_stepped) in
        [(CLOCK_STEP_MICROS - 1, false), (CLOCK_STEP_MICROS, false), (CLOCK_STEP_MICROS + 1, true), (90 * DAY, true)]
    {
        // Forward.
        let scene = Scene::new();
        assert_eq!((now(&scene), sent(&scene)), ((0, false), 0));
        scene.clock.step(at(step));
        let want = if is_stepped { 0 } else { step as i64 };
        assert_eq!((now(&scene), sent(&scene)), ((want, is_stepped), want), "step={step}");
        // Time goes on from where it is.
        scene.clock.advance(MINUTE);
        let want = want + MINUTE as i64;
        assert_eq!((now(&scene), sent(&scene)), ((want, is_stepped), want), "step={step}");
        // Backward: commit times never go back, and while the clock is held to have stepped they go on.
        let scene = Scene::new();
        assert_eq!(sent(&scene), 0);
        scene.clock.step(Timestamp(START.0 - step));
        assert_eq!(now(&scene).1, is_stepped, "step=-{step}");
        assert_eq!(sent(&scene), 0);
        scene.clock.advance(MINUTE);
        assert_eq!(sent(&scene), if is_stepped { MINUTE as i64 } else { 0 }, "step=-{step}");
    }
}

#[test]
fn a_stepped_clock_is_believed_again_when_it_agrees_or_is_accepted() {
    let scene = Scene::new();
    sent(&scene);
    scene.clock.step(at(10 * DAY));
    assert_eq!(now(&scene), (0, true));
    scene.clock.advance(5 * MINUTE);
    // Somebody puts it right again: within an hour of store time.
    scene.clock.step(at(5 * MINUTE + HOUR));
    assert_eq!(now(&scene), ((5 * MINUTE + HOUR) as i64, false));
    assert_eq!(sent(&scene), (5 * MINUTE + HOUR) as i64);
    // Or it was right, and somebody says so.
    scene.clock.step(at(20 * DAY));
    assert_eq!(now(&scene), ((5 * MINUTE + HOUR) as i64, true));
    scene.store.accept_clock();
    assert_eq!((now(&scene), sent(&scene)), (((20 * DAY) as i64, false), (20 * DAY) as i64));
    scene.clock.advance(DAY);
    assert_eq!(now(&scene), ((21 * DAY) as i64, false), "a day that passes on both is no step");
    // Accepting one that does agree is nothing.
    scene.store.accept_clock();
    assert_eq!(now(&scene), ((21 * DAY) as i64, false));
    // One accepted after a step back never takes commit times back.
    scene.clock.step(at(DAY));
    assert!(now(&scene).1);
    scene.store.accept_clock();
    assert!(!scene.store.time().is_stepped);
    assert_eq!(sent(&scene), (20 * DAY) as i64);
    // Small steps that add up are each within an hour of the last agreement.
    let scene = Scene::new();
    for number in 1..=10_u64 {
        scene.clock.step(at(number * 50 * MINUTE));
        assert_eq!(now(&scene), ((number * 50 * MINUTE) as i64, false));
    }
}

#[test]
fn what_follows_store_time_follows_it_through_a_step() {
    let scene = Scene::new();
    let store = &scene.store;
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    changed(store.set_group(group(42), GroupSettings::default().shows_history(true)));
    changed(store.silence(group(42), BOB, at(DAY)));
    let draft = Draft::direct(ANN, BOB, b"x").client_id(restante::ClientId(1));
    scene.send(draft);
    let cursor = scene.list(BOB).next;
    scene.send(Draft::direct(ANN, BOB, b"y"));
    // A clock a year ahead lets nobody speak early, frees no client id, and makes no cursor old.
    scene.clock.step(at(365 * DAY));
    let bob = || store.append(Draft::group(group(42), BOB, b"x")).wait();
    assert_eq!(bob().unwrap_err().kind(), restante::ErrorKind::Refused);
    assert_eq!(scene.send(draft).outcome, restante::Outcome::Duplicate);
    let error = store.append(Draft::direct(ANN, UserId(3), b"x").timestamp(at(SECOND))).wait().unwrap_err();
    assert_eq!(error.kind(), restante::ErrorKind::InvalidInput, "an import from tomorrow");
    let maintained = store.maintain(at(365 * DAY)).wait().unwrap();
    assert_eq!((maintained.horizon, maintained.effect), (restante::Version::NONE, restante::Effect::Unchanged));
    store.changed(BOB, Some(&cursor), &restante::ListQuery::new()).unwrap();
    // Accepted, a year has passed for all of them.
    store.accept_clock();
    bob().unwrap();
    assert_eq!(scene.send(draft).outcome, restante::Outcome::Written);
    let maintained = store.maintain(at(365 * DAY)).wait().unwrap();
    assert!(!maintained.horizon.is_none());
    let error = store.changed(BOB, Some(&cursor), &restante::ListQuery::new()).unwrap_err();
    assert_eq!(error.kind(), restante::ErrorKind::ResetRequired);
}

/// A store that was closed meanwhile has nothing to compare the clock with, but what it wrote itself.
#[test]
fn a_restart_begins_with_the_clock_as_it_is() {
    let scene = Scene::new();
    sent(&scene);
    scene.clock.step(at(30 * DAY));
    assert_eq!(now(&scene), (0, true));
    let scene = scene.reopened();
    assert_eq!(now(&scene), ((30 * DAY) as i64, false));
    assert_eq!(sent(&scene), (30 * DAY) as i64);
    scene.clock.set(at(10 * DAY));
    let scene = scene.reopened();
    assert_eq!(sent(&scene), (30 * DAY) as i64, "commit times do not go back");
}

#[test]
fn a_store_that_is_told_not_to_maintains_nothing_by_itself() {
    let scene = Scene::with(|options| options.threads(Threads::Background).maintain(false));
    sent(&scene);
    scene.clock.advance(91 * DAY);
    sent(&scene);
    let version = scene.store.version();
    // Background work is due every minute of some clock; this one passed many of them.
    for _ in 0..20 {
        scene.clock.advance(10 * MINUTE);
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.store.sync().unwrap();
    assert_eq!(scene.store.version(), version, "nothing was written but what was called");
    let maintained = scene.store.maintain(scene.store.time().now).wait().unwrap();
    assert_eq!(maintained.horizon, restante::Version(1));
    // Nor does one without threads, whatever it is told.
    let scene = Scene::with(|options| options.maintain(true));
    sent(&scene);
    scene.clock.advance(91 * DAY);
    sent(&scene);
    let scene = scene.reopened();
    assert_eq!(scene.store.version(), restante::Version(2));
}
