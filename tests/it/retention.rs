//! What is kept of timelines: each bound at its edge, who is told, what stays as it was.
//! Owns: `Retention`, what `maintain` trims. May touch: `scene`, `replies`.
//! Never: repeats the story `retention_and_badge`.

mod edges;

mod people;

use restante::limits::{CLOCK_STEP_MICROS, RETENTION_AGE_SECS_MAX, RETENTION_BODY_BYTES_MAX, RETENTION_COUNT_MAX};
use restante::{
    BusinessId, Draft, ErrorKind, GroupSettings, Peer, Retention, Seq, Settings, Source, SystemId, Timeline, Timestamp,
    UserId,
};

use crate::replies::{changed, refused, traceless, unchanged};
use crate::scene::{HOUR, SECOND, Scene, group, room, seqs, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);
const DAY: u64 = 24 * HOUR;

fn keep() -> Retention {
    Retention::default()
}

/// Maintains the store now: how many timelines were trimmed, and how many messages that took.
#[track_caller]
fn trimmed(scene: &Scene) -> (u64, u64) {
    let maintained = scene.store.maintain(Timestamp::MAX).wait().unwrap();
    (maintained.timelines_trimmed, maintained.messages_trimmed)
}

/// Nothing is trimmed, and that leaves no trace.
#[track_caller]
fn nothing_trimmed(scene: &Scene) {
    assert_eq!(traceless(scene, || trimmed(scene)), (0, 0));
}

fn keep_of_users(scene: &Scene, retention: Retention) {
    changed(scene.store.set_settings(Settings::default().retention_user(retention)));
}

/// Ann writes to Bob.
fn say(scene: &Scene, bodies: &[usize]) {
    for length in bodies {
        scene.send(Draft::direct(ANN, BOB, &vec![7; *length]));
    }
}

/// What Bob still sees of Ann.
fn left(scene: &Scene) -> Vec<u64> {
    seqs(&scene.all(BOB, with(1)))
}

#[test]
fn a_retention_has_limits() {
    let scene = Scene::new();
    let at = keep().age_secs(RETENTION_AGE_SECS_MAX).count(RETENTION_COUNT_MAX).body_bytes(RETENTION_BODY_BYTES_MAX);
    let below = keep()
        .age_secs(RETENTION_AGE_SECS_MAX - 1)
        .count(RETENTION_COUNT_MAX - 1)
        .body_bytes(RETENTION_BODY_BYTES_MAX - 1);
    for (number, retention) in [below, at].into_iter().enumerate() {
        let own = GroupSettings::default().retention(Some(retention));
        let settings = Settings::default()
            .retention_user(retention)
            .retention_group(retention)
            .retention_system(retention)
            .retention_business(retention);
        changed(scene.store.set_settings(settings));
        unchanged(&scene, || scene.store.set_settings(settings));
        let group = group(number as u64 + 1);
        changed(scene.store.create_group(group, own));
        unchanged(&scene, || scene.store.set_group(group, own));
        assert_eq!((scene.store.settings(), scene.store.group(group).unwrap().settings), (settings, own));
        let scene = scene.after_crash(restante::Loss::All);
        assert_eq!((scene.store.settings(), scene.store.group(group).unwrap().settings), (settings, own));
    }
    let above = [
        (
            at.age_secs(RETENTION_AGE_SECS_MAX + 1),
            "retention age_secs is above its limit: limit=3153600000 got=3153600001",
        ),
        (
            at.count(RETENTION_COUNT_MAX + 1),
            "retention count is above its limit: limit=1099511627776 got=1099511627777",
        ),
        (
            at.body_bytes(u64::MAX),
            "retention body_bytes is above its limit: limit=1125899906842624 got=18446744073709551615",
        ),
    ];
    for (retention, text) in above {
        let own = GroupSettings::default().retention(Some(retention));
        for settings in [
            Settings::default().retention_user(retention),
            Settings::default().retention_group(retention),
            Settings::default().retention_system(retention),
            Settings::default().retention_business(retention),
        ] {
            refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.set_settings(settings).wait());
        }
        refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.create_group(group(9), own).wait());
        refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.set_group(group(1), own).wait());
    }
    // No bound is none, and is not the same as what a group has of its kind.
    changed(scene.store.set_group(group(1), GroupSettings::default().retention(Some(keep()))));
    changed(scene.store.set_group(group(1), GroupSettings::default()));
    changed(scene.store.set_settings(Settings::default()));
}

#[test]
fn a_message_goes_once_it_is_older_and_not_before() {
    let scene = Scene::new();
    keep_of_users(&scene, keep().age_secs(3_600));
    say(&scene, &[1]);
    scene.clock.advance(SECOND);
    say(&scene, &[1, 1]);
    scene.clock.advance(HOUR - SECOND);
    nothing_trimmed(&scene);
    scene.clock.advance(1);
    // By the moment it is told, if that is not in the future.
    let before = scene.store.time().now;
    assert_eq!(scene.store.maintain(Timestamp(before.0 - 1)).wait().unwrap().messages_trimmed, 0);
    assert_eq!(trimmed(&scene), (1, 1));
    assert_eq!(left(&scene), [2, 3]);
    // No more that day, of that timeline; the day ends at midnight, UTC.
    scene.send(Draft::direct(ANN, CAT, b"x"));
    scene.clock.advance(6 * HOUR - 2);
    assert_eq!(trimmed(&scene), (1, 1), "of another timeline");
    assert_eq!((left(&scene), scene.all(CAT, with(1)).len()), (vec![2, 3], 0));
    let scene = scene.reopened();
    nothing_trimmed(&scene);
    assert_eq!(scene.store.time().now.0 / DAY, before.0 / DAY, "still that day");
    scene.clock.advance(DAY - scene.store.time().now.0 % DAY - 1);
    nothing_trimmed(&scene);
    scene.clock.advance(1);
    assert_eq!(trimmed(&scene), (1, 2));
    assert!(left(&scene).is_empty());
}

#[test]
fn a_timestamp_given_counts_as_its_age() {
    let scene = Scene::new();
    let now = scene.store.time().now;
    keep_of_users(&scene, keep().age_secs(10));
    for seconds in [30, 20, 10, 0] {
        scene.send(Draft::direct(ANN, BOB, b"x").timestamp(Timestamp(now.0 - seconds * SECOND)));
    }
    assert_eq!(trimmed(&scene), (1, 2));
    assert_eq!(left(&scene), [3, 4], "ten seconds are not more than ten");
}

#[test]
fn a_count_is_kept_once_it_is_exceeded_by_more_than_a_sixteenth() {
    let scene = Scene::new();
    keep_of_users(&scene, keep().count(32));
    say(&scene, &[1; 34]);
    nothing_trimmed(&scene);
    say(&scene, &[1]);
    assert_eq!(trimmed(&scene), (1, 3));
    assert_eq!(left(&scene), (4..=35).collect::<Vec<_>>());
    nothing_trimmed(&scene);
    say(&scene, &[1; 2]);
    nothing_trimmed(&scene);
    // Notices are messages.
    scene.send(Draft::direct(ANN, BOB, b"x").counts(false));
    assert_eq!(trimmed(&scene), (1, 3));
    // As often a day as it takes, whatever the age said that day.
    keep_of_users(&scene, keep().count(1).age_secs(1));
    assert_eq!(trimmed(&scene), (1, 31));
    assert_eq!(left(&scene), [38]);
    say(&scene, &[1]);
    assert_eq!((trimmed(&scene), left(&scene)), ((1, 1), vec![39]));
}

#[test]
fn bytes_are_kept_once_they_are_exceeded_by_more_than_a_sixteenth() {
    // Once with what is remembered between the rounds, once without.
    for reopens in [false, true] {
        let mut scene = Scene::new();
        let next = |scene: Scene| if reopens { scene.reopened() } else { scene };
        keep_of_users(&scene, keep().body_bytes(320));
        say(&scene, &[100, 40, 0, 200]);
        scene = next(scene);
        nothing_trimmed(&scene);
        scene = next(scene);
        say(&scene, &[1]);
        assert_eq!(trimmed(&scene), (1, 1), "341 bytes: more than 340");
        assert_eq!(left(&scene), [2, 3, 4, 5]);
        // What was recalled weighs nothing, what was edited as much as it says now.
        let chat = Timeline::direct(ANN, BOB);
        changed(scene.store.recall(ANN, chat, Seq(4)));
        changed(scene.store.edit(ANN, chat, Seq(5), &[7; 250]));
        scene = next(scene);
        nothing_trimmed(&scene);
        say(&scene, &[50]);
        scene = next(scene);
        nothing_trimmed(&scene);
        say(&scene, &[1]);
        assert_eq!(trimmed(&scene), (1, 1), "forty, and those that weigh nothing stay");
        assert_eq!(left(&scene), [3, 4, 5, 6, 7]);
        // One that is too heavy by itself goes, too.
        say(&scene, &[10, 341]);
        scene = next(scene);
        assert_eq!(trimmed(&scene), (1, 7));
        assert!(left(&scene).is_empty());
        say(&scene, &[320]);
        scene = next(scene);
        nothing_trimmed(&scene);
        // With another bound beside it what is remembered must not go stale.
        keep_of_users(&scene, keep().count(1));
        say(&scene, &[300, 20]);
        assert_eq!(trimmed(&scene), (1, 2));
        keep_of_users(&scene, keep().count(3).body_bytes(320));
        say(&scene, &[100, 100, 100]);
        scene = next(scene);
        assert_eq!(trimmed(&scene), (1, 1), "by the count");
        say(&scene, &[20]);
        scene = next(scene);
        assert_eq!(trimmed(&scene), (1, 1), "by the count");
        say(&scene, &[300]);
        scene = next(scene);
        assert_eq!(trimmed(&scene), (1, 2), "by the bytes");
        assert_eq!(left(&scene), [16, 17]);
    }
}

#[test]
fn each_kind_of_peer_has_its_own() {
    let sent = |scene: &Scene| {
        for number in 0..4 {
            let body = [number];
            scene.send(Draft::direct(ANN, BOB, &body));
            scene.send(Draft::direct(BOB, BOB, &body));
            scene.send(Draft::group(group(7), ANN, &body));
            scene.send(Draft::inbox(Source::System(SystemId(1)), BOB, &body));
            scene.send(Draft::broadcast(Source::System(SystemId(2)), &body));
            scene.send(Draft::inbox(Source::Business(BusinessId(1)), BOB, &body));
            scene.send(Draft::broadcast(Source::Business(BusinessId(2)), &body));
        }
    };
    let (system, business) = (|id| Peer::System(SystemId(id)), |id| Peer::Business(BusinessId(id)));
    let peers = [with(1), with(2), room(7), system(1), system(2), business(1), business(2)];
    let two = keep().count(2);
    for (settings, want) in [
        (Settings::default(), [4; 7]),
        (Settings::default().retention_user(two), [2, 2, 4, 4, 4, 4, 4]),
        (Settings::default().retention_group(two), [4, 4, 2, 4, 4, 4, 4]),
        (Settings::default().retention_system(two), [4, 4, 4, 2, 2, 4, 4]),
        (Settings::default().retention_business(two), [4, 4, 4, 4, 4, 2, 2]),
    ] {
        let scene = Scene::new();
        changed(scene.store.add_user(BOB));
        scene.store.join_many(group(7), &[ANN, BOB]).wait().unwrap();
        let _ = scene.store.set_settings(settings).wait().unwrap();
        sent(&scene);
        let gone = want.iter().map(|left| 4 - left).sum::<u64>();
        assert_eq!(trimmed(&scene).1, gone, "{settings:?}");
        assert_eq!(peers.map(|peer| scene.all(BOB, peer).len() as u64), want, "{settings:?}");
    }
}

#[test]
fn a_group_has_its_own_instead_of_all_of_its_kind() {
    let scene = Scene::new();
    changed(scene.store.set_settings(Settings::default().retention_group(keep().count(2).body_bytes(100))));
    let own = [None, Some(keep()), Some(keep().count(3)), Some(keep().body_bytes(2))];
    for (id, retention) in (1..).zip(own) {
        changed(scene.store.create_group(group(id), GroupSettings::default().retention(retention)));
        scene.store.join_many(group(id), &[ANN, BOB]).wait().unwrap();
        for _ in 0..5 {
            scene.send(Draft::group(group(id), ANN, &[7; 30]));
        }
    }
    assert_eq!(trimmed(&scene), (3, 3 + 2 + 5));
    let kept = |scene: &Scene| [1, 2, 3, 4].map(|id| scene.all(BOB, room(id)).len());
    assert_eq!(kept(&scene), [2, 5, 3, 0]);
    // What is set holds from the next round on, and brings nothing back.
    changed(scene.store.set_group(group(1), GroupSettings::default().retention(Some(keep()))));
    changed(scene.store.set_group(group(2), GroupSettings::default()));
    changed(scene.store.set_group(group(3), GroupSettings::default().retention(Some(keep().count(1)))));
    assert_eq!(kept(&scene), [2, 5, 3, 0]);
    assert_eq!(trimmed(&scene), (2, 3 + 2));
    assert_eq!(kept(&scene), [2, 2, 1, 0]);
}

#[test]
fn nothing_goes_for_its_age_while_the_clock_is_in_doubt() {
    let scene = Scene::new();
    keep_of_users(&scene, keep().age_secs(3_600).count(3));
    say(&scene, &[1; 3]);
    scene.clock.step(Timestamp(scene.clock_time() + 10 * DAY));
    scene.clock.advance(2 * HOUR);
    assert!(scene.store.time().is_stepped);
    nothing_trimmed(&scene);
    say(&scene, &[1]);
    assert_eq!((trimmed(&scene), left(&scene)), ((1, 1), vec![2, 3, 4]), "a count needs no clock");
    scene.clock.step(Timestamp(scene.clock_time() - 10 * DAY + CLOCK_STEP_MICROS));
    assert!(!scene.store.time().is_stepped);
    assert_eq!((trimmed(&scene), left(&scene)), ((1, 2), vec![4]), "they agree, and two are old enough");
    scene.clock.step(Timestamp(scene.clock_time() + 10 * DAY));
    nothing_trimmed(&scene);
    scene.store.accept_clock();
    assert_eq!((trimmed(&scene), left(&scene)), ((1, 1), vec![]), "somebody looked, and it is right");
}

/// More timelines than are looked at, and more trims than are waited for, at once.
#[test]
fn a_round_goes_over_all_timelines() {
    let scene = Scene::with(|options| options.journal_bytes(4 << 20));
    keep_of_users(&scene, keep().count(1));
    let store = scene.store.at(restante::Durability::Buffered);
    for id in 10..2_600 {
        for _ in 0..2 {
            let _ = store.append(Draft::direct(ANN, UserId(id), b"x")).wait().unwrap();
        }
    }
    scene.store.sync().unwrap();
    assert_eq!(trimmed(&scene), (2_590, 2_590));
    nothing_trimmed(&scene);
    let digest = scene.store.state_digest().unwrap();
    let scene = scene.after_crash(restante::Loss::All);
    assert_eq!(scene.store.state_digest().unwrap(), digest, "what was waited for is there");
    assert_eq!(scene.entry(UserId(2_599), with(1)).unread, 1);
}

/// Two rounds at once do not trim twice, nor beyond what either saw.
#[test]
fn rounds_at_once_come_to_the_same() {
    let scene = Scene::with(|options| options.threads(restante::Threads::Background).maintain(false));
    keep_of_users(&scene, keep().count(1));
    for _ in 0..20 {
        say(&scene, &[1, 1, 1]);
        let messages: u64 = std::thread::scope(|threads| {
            let rounds = [0; 3].map(|_| threads.spawn(|| trimmed(&scene).1));
            rounds.into_iter().map(|round| round.join().unwrap()).sum()
        });
        let first = scene.entry(BOB, with(1)).first.0;
        assert_eq!(left(&scene), [first]);
        assert!(messages == 3 || (messages == 2 && first == 3), "{messages}");
    }
}
