//! Clocks may jump; commit times never go back, and timestamps always rise.
//! Owns: the rules of time. May touch: `scene`.
//! Never: asks the machine what time it is.

use restante::{Draft, ErrorKind, Loss, Message, Timestamp};

use crate::scene::{HOUR, SECOND, START, Scene, group, room, user, with};

fn at(micros: u64) -> Timestamp {
    Timestamp(START.0 + micros)
}

fn draft(body: &[u8]) -> Draft<'_> {
    Draft::direct(user(1), user(2), body)
}

fn times(messages: &[Message]) -> Vec<(u64, u64)> {
    messages.iter().map(|message| (message.timestamp.0 - START.0, message.commit_time.0 - START.0)).collect()
}

#[test]
fn a_clock_that_goes_back_takes_nothing_with_it() {
    let scene = Scene::new();
    scene.send(draft(b"at 0"));
    scene.clock.set(at(HOUR));
    scene.send(draft(b"an hour later"));
    scene.clock.set(at(SECOND));
    scene.send(draft(b"the clock was set back"));
    scene.clock.set(Timestamp(0));
    scene.send(draft(b"to 1970"));
    // Other timelines and other changes take part: there is one store time.
    scene.store.create_group(group(1), Default::default()).wait().unwrap();
    scene.store.join(group(1), user(2)).wait().unwrap();
    assert_eq!(scene.entry(user(2), room(1)).session_timestamp, at(HOUR));
    scene.read(user(2), with(1), restante::Seq(1));
    assert_eq!(scene.entry(user(2), with(1)).session_timestamp, at(HOUR));
    scene.store.leave(group(1), user(2)).wait().unwrap();
    assert_eq!(scene.entry(user(2), room(1)).session_timestamp, at(HOUR));
    scene.send(Draft::direct(user(1), user(3), b"elsewhere"));
    assert_eq!(times(&scene.all(user(3), with(1))), [(HOUR, HOUR)]);
    // Across a restart and a crash, too.
    let scene = scene.reopened();
    scene.send(draft(b"reopened in 1970"));
    let scene = scene.after_crash(Loss::All);
    scene.send(draft(b"crashed in 1970"));
    let want = [(0, 0), (HOUR, HOUR), (HOUR + 1, HOUR), (HOUR + 2, HOUR), (HOUR + 3, HOUR), (HOUR + 4, HOUR)];
    assert_eq!(times(&scene.all(user(2), with(1))), want);
    // Once it has caught up, it counts again.
    scene.clock.set(at(2 * HOUR));
    scene.send(draft(b"two hours"));
    assert_eq!(times(&scene.all(user(2), with(1))).last(), Some(&(2 * HOUR, 2 * HOUR)));
}

#[test]
fn timestamps_rise_while_the_clock_stands_still() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.send(draft(b"single"));
    }
    scene.store.append_batch(&[draft(b"batch"); 3]).wait().unwrap();
    scene.clock.advance(2);
    scene.send(draft(b"later, but not late enough"));
    scene.clock.advance(10);
    scene.send(draft(b"late enough"));
    let want = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 2), (12, 12)];
    assert_eq!(times(&scene.all(user(2), with(1))), want);
    // They are unique in a timeline, not in the store.
    let other = scene.send(Draft::direct(user(1), user(3), b"elsewhere"));
    assert_eq!(other.timestamp, at(12));
}

#[test]
fn imported_messages_keep_their_own_timestamps() {
    let scene = Scene::new();
    let text = |error: restante::Error| (error.kind(), error.to_string());
    let refused = |last: u64, time: Timestamp, got: Timestamp| {
        let head = "explicit timestamp is not above the timeline's last or above store time";
        (ErrorKind::InvalidInput, format!("{head}: last={last} time={} got={}", time.0, got.0))
    };
    let send = |time: Timestamp| scene.store.append(draft(b"imported").timestamp(time)).wait();

    // Long ago is fine in an empty timeline, as long as it rises.
    assert_eq!(send(Timestamp(5)).unwrap().timestamp, Timestamp(5));
    assert_eq!(send(Timestamp(6)).unwrap().timestamp, Timestamp(6));
    assert_eq!(text(send(Timestamp(6)).unwrap_err()), refused(6, START, Timestamp(6)));
    assert_eq!(text(send(Timestamp(0)).unwrap_err()), refused(6, START, Timestamp(0)));
    // Up to now, and not beyond.
    assert_eq!(text(send(at(1)).unwrap_err()), refused(6, START, at(1)));
    assert_eq!(text(send(Timestamp(u64::MAX)).unwrap_err()), refused(6, START, Timestamp(u64::MAX)));
    let before = scene.store.version();
    assert_eq!(send(START).unwrap().timestamp, START);
    assert_eq!(scene.store.version().0, before.0 + 1, "the refused ones left no trace");
    // An import says so, and its commit time is when it was made.
    let messages = scene.all(user(2), with(1));
    let found: Vec<_> = messages.iter().map(|message| (message.imported, message.commit_time)).collect();
    assert_eq!(found, [(true, START); 3]);

    // Store time is the later of the clock and the last commit: the clock may have gone back since.
    scene.clock.set(Timestamp(0));
    let other = |time| scene.store.append(Draft::direct(user(1), user(3), b"x").timestamp(time)).wait();
    assert_eq!(text(other(at(1)).unwrap_err()), refused(0, START, at(1)));
    assert_eq!(other(START).unwrap().timestamp, START);
    // A stamped message after imports is stamped above them, and importing never moved store time.
    let stamped = scene.send(draft(b"stamped"));
    assert_eq!(stamped.timestamp, at(1));
    scene.clock.set(at(HOUR));
    let stamped = scene.send(draft(b"stamped"));
    assert_eq!(stamped.timestamp, at(HOUR));
    assert!(!scene.all(user(2), with(1)).last().unwrap().imported);
}

#[test]
fn a_batch_is_held_to_the_order_within_itself() {
    let scene = Scene::new();
    let import = |micros: u64| draft(b"imported").timestamp(Timestamp(micros));
    let error = scene.store.append_batch(&[import(10), import(11), import(11), import(12)]).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::InvalidInput, Some(2)));
    // A stamped one before them leaves no room below now.
    let error = scene.store.append_batch(&[draft(b"now"), import(10)]).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::InvalidInput, Some(1)));
    assert!(scene.store.version().is_none(), "all or none");
    scene.store.append_batch(&[import(10), import(11), draft(b"now"), draft(b"now")]).wait().unwrap();
    let found: Vec<u64> = scene.all(user(2), with(1)).iter().map(|message| message.timestamp.0).collect();
    assert_eq!(found, [10, 11, START.0, START.0 + 1]);
}

#[test]
fn a_clock_beyond_all_time_is_the_end_of_time() {
    let scene = Scene::new();
    scene.clock.set(Timestamp(u64::MAX));
    assert_eq!(scene.send(draft(b"one")).timestamp, Timestamp::MAX);
    assert_eq!(scene.send(draft(b"two")).timestamp, Timestamp(Timestamp::MAX.0 + 1));
    let scene = scene.reopened();
    assert_eq!(scene.send(draft(b"three")).timestamp, Timestamp(Timestamp::MAX.0 + 2));
    scene.clock.set(START);
    assert_eq!(scene.all(user(2), with(1)).len(), 3);
    assert_eq!(scene.entry(user(2), with(1)).session_timestamp, Timestamp::MAX);
}
