//! Settings that change answers: they are changes themselves, and act from then on.
//! Owns: `settings`, `set_settings`, what each of them does. May touch: `scene`, `replies`.
//! Never: repeats what `limits` says of the defaults.

use restante::limits::{BODY_BYTES_LIMIT, LATEST_BYTES_LIMIT, MENTIONS_MAX};
use restante::{ClientId, Draft, ErrorKind, Loss, Outcome, Seq, Settings, Timeline, UserId};

use crate::replies::{changed, refused, unchanged};
use crate::scene::{HOUR, SECOND, Scene, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const DAY_SECS: u64 = 24 * 3_600;

#[test]
fn settings_are_kept_and_have_ranges() {
    let scene = Scene::new();
    let default = Settings::default();
    assert_eq!(scene.store.settings(), default);
    unchanged(&scene, || scene.store.set_settings(default));
    let explicit = default.dedup_window_secs(604_800).body_bytes_max(1 << 20).mentions_max(128).latest_bytes_max(4_096);
    unchanged(&scene, || scene.store.set_settings(explicit));
    for settings in [
        default.dedup_window_secs(0),
        default.dedup_window_secs(30 * DAY_SECS - 1),
        default.dedup_window_secs(30 * DAY_SECS),
        default.body_bytes_max(0),
        default.body_bytes_max(BODY_BYTES_LIMIT - 1),
        default.body_bytes_max(BODY_BYTES_LIMIT),
        default.mentions_max(0),
        default.mentions_max(MENTIONS_MAX - 1),
        default.mentions_max(MENTIONS_MAX),
        default.latest_bytes_max(0),
        default.latest_bytes_max(LATEST_BYTES_LIMIT - 1),
        default.latest_bytes_max(LATEST_BYTES_LIMIT),
    ] {
        if settings == scene.store.settings() {
            continue;
        }
        changed(scene.store.set_settings(settings));
        assert_eq!(scene.store.settings(), settings);
        unchanged(&scene, || scene.store.set_settings(settings));
        assert_eq!(scene.after_crash(Loss::All).store.settings(), settings);
    }
    for (settings, text) in [
        (
            default.dedup_window_secs(30 * DAY_SECS + 1),
            "dedup_window_secs is above its limit: limit=2592000 got=2592001",
        ),
        (default.body_bytes_max(BODY_BYTES_LIMIT + 1), "body_bytes_max is above its limit: limit=4194304 got=4194305"),
        (default.mentions_max(MENTIONS_MAX + 1), "mentions_max is above its limit: limit=128 got=129"),
        (default.latest_bytes_max(65_537), "latest_bytes_max is above its limit: limit=65536 got=65537"),
        (
            default.dedup_window_secs(u64::MAX),
            "dedup_window_secs is above its limit: limit=2592000 got=18446744073709551615",
        ),
    ] {
        refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.set_settings(settings).wait());
    }
    let last = scene.store.settings();
    assert_eq!(scene.reopened().store.settings(), last);
}

#[test]
fn the_length_of_bodies() {
    let scene = Scene::with(|options| options.journal_bytes(64 << 20));
    let send = |length: usize| scene.store.append(Draft::direct(ANN, BOB, &vec![7; length])).wait();
    for max in [0, 1, 10, 1 << 20, BODY_BYTES_LIMIT] {
        let _ = scene.store.set_settings(Settings::default().body_bytes_max(max)).wait().unwrap();
        for length in [max.saturating_sub(1), max] {
            send(length).unwrap_or_else(|error| panic!("max={max} length={length}: {error}"));
        }
        let text = format!("body bytes is above its limit: limit={max} got={}", max + 1);
        refused(&scene, ErrorKind::LimitExceeded, &text, || send(max + 1));
    }
    // What is there stays, however long.
    changed(scene.store.set_settings(Settings::default().body_bytes_max(1)));
    let lengths: Vec<usize> = scene
        .page(BOB, with(1), restante::HistoryQuery::newest().limit(2).bytes(16 << 20))
        .messages
        .iter()
        .map(|message| message.body.len())
        .collect();
    assert_eq!(lengths, [BODY_BYTES_LIMIT, BODY_BYTES_LIMIT - 1]);
    // A retry is checked before it is recognised: the limits come first.
    let scene = Scene::new();
    let draft = Draft::direct(ANN, BOB, b"hello").client_id(ClientId(1));
    scene.send(draft);
    changed(scene.store.set_settings(Settings::default().body_bytes_max(4)));
    assert_eq!(scene.store.append(draft).wait().unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn the_window_of_client_ids() {
    let scene = Scene::new();
    let draft = |id: u128| Draft::direct(ANN, BOB, b"x").client_id(ClientId(id));
    let outcome = |scene: &Scene, id| scene.send(draft(id)).outcome;
    let window = |scene: &Scene, secs| {
        let _ = scene.store.set_settings(Settings::default().dedup_window_secs(secs)).wait().unwrap();
    };
    // An id is taken for the window in force when its message was appended: 7 days, then a minute, then none, then 30 days.
    assert_eq!(outcome(&scene, 1), Outcome::Written);
    window(&scene, 60);
    assert_eq!(outcome(&scene, 2), Outcome::Written);
    window(&scene, 0);
    assert_eq!(outcome(&scene, 3), Outcome::Written);
    window(&scene, 30 * DAY_SECS);
    assert_eq!(outcome(&scene, 4), Outcome::Written);
    assert_eq!(outcome(&scene, 3), Outcome::Written, "without a window every retry is new, even at once");
    assert_eq!([1, 2, 4].map(|id| outcome(&scene, id)), [Outcome::Duplicate; 3]);
    let shown = |scene: &Scene| -> Vec<u64> {
        let messages = scene.all(BOB, with(1));
        messages.iter().filter_map(|message| message.client_id).map(|id| id.0 as u64).collect()
    };
    // The second 3 is under the window of 30 days by now.
    assert_eq!(shown(&scene), [1, 2, 4, 3]);
    assert_eq!(outcome(&scene, 3), Outcome::Duplicate);
    scene.clock.advance(60 * SECOND - 1);
    assert_eq!(shown(&scene), [1, 2, 4, 3]);
    assert_eq!(scene.store.find(Timeline::direct(ANN, BOB), ANN, ClientId(2)).unwrap(), Some(Seq(2)));
    scene.clock.advance(1);
    assert_eq!(scene.store.find(Timeline::direct(ANN, BOB), ANN, ClientId(2)).unwrap(), None);
    assert_eq!(shown(&scene), [1, 4, 3]);
    let scene = scene.reopened();
    assert_eq!((outcome(&scene, 2), outcome(&scene, 1)), (Outcome::Written, Outcome::Duplicate));
    // Narrowing it later takes nothing from those who had more; widening it gives nothing to those who had less.
    window(&scene, 1);
    scene.clock.advance(7 * 24 * HOUR - 60 * SECOND - 1);
    let scene = scene.reopened();
    assert_eq!(outcome(&scene, 1), Outcome::Duplicate);
    scene.clock.advance(1);
    assert_eq!(scene.store.find(Timeline::direct(ANN, BOB), ANN, ClientId(1)).unwrap(), None);
    assert_eq!(outcome(&scene, 1), Outcome::Written);
    assert_eq!([2, 4, 3].map(|id| outcome(&scene, id)), [Outcome::Duplicate; 3], "30 days, all of them");
    scene.clock.advance(2 * SECOND);
    assert_eq!(outcome(&scene, 1), Outcome::Written, "its second append was under a second");
}

#[test]
fn the_bytes_of_the_latest_messages() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    for length in [10, 20, 70_000] {
        scene.send(Draft::direct(ANN, BOB, &vec![7; length]));
    }
    scene.send(Draft::direct(ANN, UserId(3), &[7; 30]));
    let latest = |user: UserId| {
        let list = scene.store.changed(user, None, &restante::ListQuery::new().latest(20)).unwrap();
        let entry = list.entries.iter().find(|entry| entry.peer == with(1)).unwrap();
        (entry.latest.iter().map(|message| message.body.len()).collect::<Vec<_>>(), entry.latest_cut)
    };
    for max in [1, 4_095, 4_096, LATEST_BYTES_LIMIT] {
        let _ = scene.store.set_settings(Settings::default().latest_bytes_max(max)).wait().unwrap();
        assert_eq!(latest(BOB), (vec![max], true), "max={max}");
        assert_eq!(latest(UserId(3)), if max < 30 { (vec![max], true) } else { (vec![30], false) });
    }
    changed(scene.store.recall(ANN, Timeline::direct(ANN, BOB), Seq(3)));
    for (max, want) in [(30, (vec![0, 20, 10], false)), (29, (vec![0, 20], false)), (19, (vec![0], false))] {
        changed(scene.store.set_settings(Settings::default().latest_bytes_max(max)));
        assert_eq!(latest(BOB), want, "max={max}");
    }
    // Nothing at all: the newest is there, cut to nothing.
    changed(scene.store.set_settings(Settings::default().latest_bytes_max(0)));
    assert_eq!(latest(UserId(3)), (vec![0], true));
}
