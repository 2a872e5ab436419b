//! A full disk: what frees or marks works from the reserve, what adds is refused.
//! Owns: which calls are of which kind. May touch: the simulated directory, `scene`, `replies`.
//! Never: fills the reserve; how much there is of it is not promised.

use restante::{
    Draft, ErrorKind, FlagChange, GroupSettings, NameKind, Retention, Seq, Settings, Source, SystemId, Timestamp,
    UserId,
};

use super::{ANN, BOB, CAT, chat};
use crate::replies::{changed, refused};
use crate::scene::{HOUR, Scene, group, room, with};

#[test]
fn a_full_disk_refuses_what_adds_and_takes_what_frees() {
    let scene = Scene::with(|options| options.journal_bytes(64 << 10));
    let store = &scene.store;
    for id in [41, 42] {
        store.join_many(group(id), &[ANN, BOB, CAT]).wait().unwrap();
        scene.send(Draft::group(group(id), ANN, b"x"));
    }
    for _ in 0..4 {
        scene.send(Draft::direct(ANN, BOB, b"x"));
    }
    store.resolve_or_create(NameKind::Group, b"team").wait().unwrap();
    let one = Retention::default().count(1);
    changed(store.set_settings(Settings::default().retention_system(one)));
    for _ in 0..3 {
        scene.send(Draft::inbox(Source::System(SystemId(2)), BOB, b"x"));
    }
    scene.clock.advance(91 * 24 * HOUR);
    scene.storage.set_full(true);
    let error = loop {
        match store.append(Draft::direct(ANN, CAT, &[7; 1_000])).wait() {
            Ok(_) => continue,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    // The last bytes before the reserve, too, so that not even the smallest change has room.
    while store.append(Draft::direct(ANN, CAT, b"")).wait().is_ok() {}

    let text = error.to_string();
    let full = |call: &dyn Fn() -> Result<(), restante::Error>| refused(&scene, ErrorKind::Full, &text, call);
    full(&|| store.append(Draft::group(group(42), ANN, b"x")).wait().map(drop));
    full(&|| store.append(Draft::broadcast(Source::System(SystemId(1)), b"x")).wait().map(drop));
    full(&|| store.edit(ANN, chat(), Seq(1), b"y").wait().map(drop));
    full(&|| store.join(group(42), UserId(9)).wait().map(drop));
    full(&|| store.create_group(group(43), GroupSettings::default()).wait().map(drop));
    full(&|| store.set_group(group(42), GroupSettings::default().shows_history(true)).wait().map(drop));
    full(&|| store.set_group_metadata(group(42), b"x").wait().map(drop));
    full(&|| store.set_metadata(BOB, with(1), b"x").wait().map(drop));
    full(&|| store.add_user(UserId(9)).wait().map(drop));
    full(&|| store.resolve_or_create(NameKind::Group, b"other").wait().map(drop));
    full(&|| store.set_settings(Settings::default().mentions_max(1)).wait().map(drop));
    assert!(!store.user_exists(UserId(9)).unwrap());

    changed(store.recall(ANN, chat(), Seq(1)));
    changed(store.hide(BOB, with(1), &[Seq(2)]));
    changed(store.mark_delivered(BOB, with(1), Seq(4)));
    changed(store.mark_read(BOB, with(1), Seq(3)));
    changed(store.mark_unread_from(BOB, with(1), Seq(2)));
    assert_eq!(scene.entry(BOB, with(1)).unread, 2);
    changed(store.clear(BOB, with(1), Seq(3)));
    changed(store.remove_session(BOB, with(1)));
    changed(store.leave(group(41), CAT));
    changed(store.remove_session(CAT, room(41)));
    changed(store.dissolve(group(41)));
    changed(store.free_name(NameKind::Group, b"team"));
    let maintained = store.maintain(Timestamp(u64::MAX)).wait().unwrap();
    assert!(maintained.horizon > restante::Version(6));
    assert_eq!((maintained.timelines_trimmed, maintained.messages_trimmed), (1, 2));
    let removed = store.remove_user(BOB, true).unwrap();
    assert_eq!((removed.sessions, removed.recalled), (4, 0));

    // There is room again, and nothing was lost.
    scene.storage.set_full(false);
    changed(store.edit(ANN, chat(), Seq(2), b"y"));
    changed(store.set_flags(ANN, with(2), FlagChange::new().pinned(true)));
    let (digest, version) = (store.state_digest().unwrap(), store.version());
    let scene = scene.reopened();
    assert_eq!((scene.store.state_digest().unwrap(), scene.store.version()), (digest, version));
    assert!(scene.all(ANN, with(2))[0].recalled.is_some());
    assert_eq!(scene.store.history(ANN, room(41), &restante::HistoryQuery::newest()).unwrap().messages, []);
    assert!(!scene.store.user_exists(BOB).unwrap());
    assert_eq!(scene.entry(ANN, room(42)).last, Seq(1));
}
