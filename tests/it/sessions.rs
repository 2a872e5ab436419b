//! What a user does to its own sessions: flags, metadata, clearing, removing; and the totals over them.
//! Owns: the user's side of a row, call by call. May touch: `scene`, `replies`.
//! Never: tells a story; those are in `stories`.

use restante::limits::METADATA_BYTES_MAX;
use restante::{
    Draft, Edge, Effect, ErrorKind, FlagChange, HistoryQuery, ListQuery, Peer, Seq, SessionState, SystemId, Timeline,
    UserId, Version,
};

use crate::replies::{changed, refused, unchanged};
use crate::scene::{MINUTE, SECOND, START, Scene, group, room, seqs, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);

fn talk(count: u64) -> Scene {
    let scene = Scene::new();
    for number in 1..=count {
        scene.clock.advance(SECOND);
        scene.send(Draft::direct(ANN, BOB, format!("line {number}").as_bytes()));
    }
    scene
}

/// Pinned, muted, marked unread.
fn flags(scene: &Scene, user: UserId, peer: Peer) -> (bool, bool, bool) {
    let flags = scene.entry(user, peer).flags;
    (flags.pinned, flags.muted, flags.marked_unread)
}

fn peers(entries: &[restante::Entry]) -> Vec<Peer> {
    entries.iter().map(|entry| entry.peer).collect()
}

#[test]
fn what_is_not_named_in_a_change_of_flags_stays() {
    let scene = talk(3);
    let set = |change| scene.store.set_flags(BOB, with(1), change);
    assert_eq!(flags(&scene, BOB, with(1)), (false, false, false));
    unchanged(&scene, || set(FlagChange::new()));
    unchanged(&scene, || set(FlagChange::new().pinned(false).muted(false).marked_unread(false)));
    let version = changed(set(FlagChange::new().pinned(true)));
    assert_eq!((scene.entry(BOB, with(1)).version, flags(&scene, BOB, with(1))), (version, (true, false, false)));
    changed(set(FlagChange::new().muted(true)));
    changed(set(FlagChange::new().marked_unread(true)));
    assert_eq!(flags(&scene, BOB, with(1)), (true, true, true));
    unchanged(&scene, || set(FlagChange::new().pinned(true).marked_unread(true)));
    changed(set(FlagChange::new().pinned(false).muted(true)));
    assert_eq!(flags(&scene, BOB, with(1)), (false, true, true));
    assert_eq!(flags(&scene, ANN, with(2)), (false, false, false), "the other side has its own");
    assert_eq!((scene.entry(BOB, with(1)).unread, scene.entry(BOB, with(1)).activity.0), (3, START.0 + 3 * SECOND));
    assert_eq!(flags(&scene.reopened(), BOB, with(1)), (false, true, true));
}

#[test]
fn what_clears_marked_unread() {
    let scene = talk(3);
    let mark = || changed(scene.store.set_flags(BOB, with(1), FlagChange::new().marked_unread(true)));
    let is_marked = || flags(&scene, BOB, with(1)).2;
    // Reading, even what was read: then the flag is all that changes.
    scene.read(BOB, with(1), Seq(3));
    mark();
    assert!(matches!(scene.read(BOB, with(1), Seq(1)), Effect::Changed(_)));
    assert_eq!((is_marked(), scene.entry(BOB, with(1)).read_mark), (false, Seq(3)));
    unchanged(&scene, || scene.store.mark_read(BOB, with(1), Seq(1)));
    mark();
    changed(scene.store.mark_read(BOB, with(1), Seq(0)));
    assert!(!is_marked());
    // Sending what counts, and only that.
    mark();
    scene.send(Draft::direct(BOB, ANN, b"x").counts(false));
    scene.send(Draft::direct(ANN, BOB, b"x"));
    assert!(is_marked());
    scene.send(Draft::direct(BOB, ANN, b"x"));
    assert!(!is_marked());
    // Not what was delivered, not going back, not clearing.
    mark();
    scene.send(Draft::direct(ANN, BOB, b"x"));
    changed(scene.store.mark_delivered(BOB, with(1), Seq(7)));
    changed(scene.store.mark_unread_from(BOB, with(1), Seq(4)));
    changed(scene.store.clear(BOB, with(1), Seq(5)));
    assert!(is_marked());
    changed(scene.store.remove_session(BOB, with(1)));
    scene.send(Draft::direct(ANN, BOB, b"x"));
    assert!(!is_marked());
}

#[test]
fn flags_and_metadata_make_a_session_with_a_user_only() {
    let scene = Scene::new();
    let store = &scene.store;
    scene.clock.advance(MINUTE);
    // Nothing to set is nothing to make.
    unchanged(&scene, || store.set_flags(ANN, with(2), FlagChange::new()));
    unchanged(&scene, || store.set_flags(ANN, with(2), FlagChange::new().pinned(false)));
    unchanged(&scene, || store.set_metadata(ANN, with(2), b""));
    assert!(!store.user_exists(ANN).unwrap());
    let version = changed(store.set_metadata(ANN, with(2), b"a draft"));
    assert!(
        store.user_exists(ANN).unwrap() && !store.user_exists(BOB).unwrap(),
        "the setter exists by it, the named one does not"
    );
    let entry = scene.entry(ANN, with(2));
    assert_eq!((entry.version, entry.state, entry.is_add), (version, SessionState::Member, true));
    assert_eq!((entry.unread, entry.first, entry.last, entry.read_mark), (0, Seq(1), Seq(0), Seq(0)));
    assert_eq!((entry.activity.0, entry.session_timestamp.0), (START.0 + MINUTE, START.0 + MINUTE));
    assert_eq!((entry.latest.len(), entry.other_read), (0, Seq(0)));
    assert_eq!(&entry.metadata[..], b"a draft");
    assert_eq!(scene.list(BOB).entries, []);
    let page = scene.page(ANN, with(2), HistoryQuery::newest());
    assert_eq!((page.messages.len(), page.older, page.newer), (0, Edge::End, Edge::End));
    // The first message, of the other one, finds it there; and the other one's session begins.
    scene.clock.advance(MINUTE);
    scene.send(Draft::direct(BOB, ANN, b"hello"));
    let entry = scene.entry(ANN, with(2));
    assert_eq!((entry.unread, &entry.metadata[..], entry.activity.0), (1, &b"a draft"[..], START.0 + 2 * MINUTE));
    assert_eq!(scene.entry(BOB, with(1)).metadata.len(), 0);
    // With oneself, too.
    changed(store.set_flags(CAT, with(3), FlagChange::new().pinned(true)));
    assert_eq!(flags(&scene, CAT, with(3)), (true, false, false));
    // Nothing else makes a session.
    let nobody = UserId(9);
    for (peer, text) in [
        (room(42), "no such session: group 42 user=9"),
        (Peer::System(SystemId(1)), "no such session: system 1 has sent nothing user=9"),
        (Peer::Business(restante::BusinessId(1)), "no such session: business 1 has sent nothing user=9"),
    ] {
        refused(&scene, ErrorKind::NotFound, text, || {
            store.set_flags(nobody, peer, FlagChange::new().muted(true)).wait()
        });
        refused(&scene, ErrorKind::NotFound, text, || store.set_metadata(nobody, peer, b"x").wait());
        refused(&scene, ErrorKind::NotFound, text, || store.clear(nobody, peer, Seq(1)).wait());
        refused(&scene, ErrorKind::NotFound, text, || store.remove_session(nobody, peer).wait());
        refused(&scene, ErrorKind::NotFound, text, || store.mark_delivered(nobody, peer, Seq(1)).wait());
    }
    let text = "no such session: direct 1-9 user=9";
    refused(&scene, ErrorKind::NotFound, text, || store.clear(nobody, with(1), Seq(1)).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.remove_session(nobody, with(1)).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.mark_read(nobody, with(1), Seq(1)).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.mark_delivered(nobody, with(1), Seq(1)).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.mark_unread_from(nobody, with(1), Seq(1)).wait());
    for (user, peer) in [(UserId::NONE, with(1)), (ANN, with(0)), (ANN, room(0)), (ANN, Peer::System(SystemId(0)))] {
        let text = "id 0 means none";
        refused(&scene, ErrorKind::InvalidInput, text, || store.set_flags(user, peer, FlagChange::new()).wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.set_metadata(user, peer, b"x").wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.clear(user, peer, Seq(1)).wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.remove_session(user, peer).wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.mark_delivered(user, peer, Seq(1)).wait());
    }
    let want = scene.list(ANN).entries;
    let scene = scene.reopened();
    assert_eq!(scene.list(ANN).entries, want);
    assert!(!scene.store.user_exists(nobody).unwrap());
}

#[test]
fn metadata_of_a_session() {
    let scene = talk(1);
    let set = |length: usize| scene.store.set_metadata(BOB, with(1), &vec![7; length]);
    for length in [1, METADATA_BYTES_MAX - 1, METADATA_BYTES_MAX] {
        let version = changed(set(length));
        let entry = scene.entry(BOB, with(1));
        assert_eq!((entry.metadata.len(), entry.version), (length, version));
    }
    unchanged(&scene, || set(METADATA_BYTES_MAX));
    for length in [METADATA_BYTES_MAX + 1, 10_000] {
        let text = format!("metadata bytes is above its limit: limit=4096 got={length}");
        refused(&scene, ErrorKind::LimitExceeded, &text, || set(length).wait());
    }
    changed(set(0));
    assert_eq!(scene.entry(BOB, with(1)).metadata.len(), 0);
    unchanged(&scene, || set(0));
    changed(scene.store.set_metadata(BOB, with(1), b"kept"));
    scene.send(Draft::direct(ANN, BOB, b"x"));
    scene.read(BOB, with(1), Seq(2));
    changed(scene.store.clear(BOB, with(1), Seq(2)));
    assert_eq!(&scene.reopened().entry(BOB, with(1)).metadata[..], b"kept");
}

#[test]
fn clearing_raises_the_floor() {
    let scene = talk(10);
    let clear = |upto: u64| scene.store.clear(BOB, with(1), Seq(upto));
    let before = scene.entry(BOB, with(1));
    let anns = scene.entry(ANN, with(2));
    unchanged(&scene, || clear(0));
    let version = changed(clear(4));
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.version, entry.is_add, entry.unread), (version, true, 6));
    assert_eq!((entry.first, entry.last, entry.read_mark), (Seq(5), Seq(10), Seq(4)));
    assert_eq!((entry.goto.map(|(seq, _)| seq), entry.activity), (Some(Seq(5)), before.activity));
    let page = scene.page(BOB, with(1), HistoryQuery::oldest());
    assert_eq!((seqs(&page.messages), page.covers), ((5..=10).collect(), Some((Seq(5), Seq(10)))));
    assert_eq!((page.older, page.newer), (Edge::NotVisible, Edge::End));
    for upto in [0, 3, 4] {
        unchanged(&scene, || clear(upto));
    }
    // Not beyond the end; the session stays listed, without messages.
    changed(clear(u64::MAX));
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.unread, entry.first, entry.last, entry.read_mark), (0, Seq(11), Seq(10), Seq(10)));
    assert_eq!((entry.latest.len(), entry.goto, entry.activity), (0, None, before.activity));
    unchanged(&scene, || clear(10));
    assert_eq!((scene.entry(ANN, with(2)), scene.all(ANN, with(2)).len()), (anns, 10), "only his own side");
    // A mark cannot go back below it.
    unchanged(&scene, || scene.store.mark_unread_from(BOB, with(1), Seq(1)));
    scene.send(Draft::direct(ANN, BOB, b"new"));
    assert_eq!((scene.entry(BOB, with(1)).unread, seqs(&scene.all(BOB, with(1)))), (1, vec![11]));
    scene.read(BOB, with(1), Seq(11));
    changed(scene.store.mark_unread_from(BOB, with(1), Seq(1)));
    assert_eq!((scene.entry(BOB, with(1)).unread, scene.entry(BOB, with(1)).read_mark), (1, Seq(10)));
    let want = scene.entry(BOB, with(1));
    assert_eq!(scene.reopened().entry(BOB, with(1)), want);
}

/// Leaving and joining again where history is shown goes back to what the user cleared itself, and no further.
#[test]
fn a_join_goes_back_to_the_clear_point() {
    let scene = Scene::new();
    let settings = restante::GroupSettings::default().shows_history(true);
    changed(scene.store.create_group(group(42), settings));
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    let say = |count: u64| {
        for _ in 0..count {
            scene.send(Draft::group(group(42), ANN, b"x"));
        }
    };
    say(5);
    changed(scene.store.clear(BOB, room(42), Seq(3)));
    changed(scene.store.leave(group(42), BOB));
    say(5);
    changed(scene.store.join(group(42), BOB));
    let entry = scene.entry(BOB, room(42));
    assert_eq!((entry.first, entry.last, entry.unread), (Seq(4), Seq(10), 0));
    assert_eq!(seqs(&scene.all(BOB, room(42))), (4..=10).collect::<Vec<_>>());
    // In a session with a ceiling a clear is clamped to it.
    changed(scene.store.leave(group(42), BOB));
    say(5);
    changed(scene.store.clear(BOB, room(42), Seq(15)));
    let entry = scene.entry(BOB, room(42));
    assert_eq!((entry.first, entry.last), (Seq(11), Seq(10)));
    changed(scene.store.join(group(42), BOB));
    assert_eq!(scene.entry(BOB, room(42)).first, Seq(11));
    // A group that does not show its history begins at the join, whatever was cleared.
    changed(scene.store.set_group(group(42), restante::GroupSettings::default()));
    changed(scene.store.leave(group(42), BOB));
    say(5);
    changed(scene.store.join(group(42), BOB));
    assert_eq!(scene.entry(BOB, room(42)).first, Seq(21));
    // The clear point was kept apart from that.
    changed(scene.store.set_group(group(42), settings));
    changed(scene.store.leave(group(42), BOB));
    changed(scene.store.join(group(42), BOB));
    assert_eq!(scene.entry(BOB, room(42)).first, Seq(11));
}

/// Each call decides on what the calls before it will have made of the row, not on what is visible by then.
#[test]
fn calls_that_nobody_waits_for_build_on_each_other() {
    let scene = talk(6);
    let store = &scene.store;
    drop(store.set_flags(BOB, with(1), FlagChange::new().pinned(true)));
    drop(store.set_flags(BOB, with(1), FlagChange::new().marked_unread(true)));
    drop(store.mark_delivered(BOB, with(1), Seq(5)));
    drop(store.mark_read(BOB, with(1), Seq(3)));
    drop(store.set_flags(BOB, with(1), FlagChange::new().muted(true)));
    drop(store.clear(BOB, with(1), Seq(1)));
    drop(store.hide(BOB, with(1), &[Seq(6)]));
    drop(store.set_metadata(BOB, with(1), b"noted"));
    drop(store.mark_unread_from(BOB, with(1), Seq(3)));
    // A session that flags open, and then more of it; and a member of a group that is made on the way.
    drop(store.set_flags(CAT, with(2), FlagChange::new().pinned(true)));
    drop(store.set_metadata(CAT, with(2), b"noted"));
    drop(store.set_flags(CAT, with(2), FlagChange::new().muted(true)));
    for user in [ANN, BOB] {
        drop(store.join(group(42), user));
        drop(store.set_role(group(42), user, 3));
        drop(store.set_member_data(group(42), user, b"data"));
        drop(store.silence(group(42), user, restante::Timestamp(5)));
        drop(store.set_role(group(42), user, 4));
    }
    drop(store.leave(group(42), BOB));
    drop(store.join(group(42), BOB));
    store.sync().unwrap();
    let check = |scene: &Scene| {
        let entry = scene.entry(BOB, with(1));
        assert_eq!(flags(scene, BOB, with(1)), (true, true, false), "reading took the mark away");
        assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), (3, Some(Seq(3))));
        assert_eq!((entry.first, entry.read_mark, &entry.metadata[..]), (Seq(2), Seq(2), &b"noted"[..]));
        assert_eq!(seqs(&scene.all(BOB, with(1))), [2, 3, 4, 5]);
        let entry = scene.entry(ANN, with(2));
        assert_eq!((entry.other_delivered, entry.other_read), (Seq(5), Seq(3)));
        assert_eq!(flags(scene, CAT, with(2)), (true, true, false));
        assert_eq!(&scene.entry(CAT, with(2)).metadata[..], b"noted");
        let members = scene.store.members(group(42), UserId::NONE, 10).unwrap().members;
        let said: Vec<_> =
            members.iter().map(|one| (one.user.0, one.role, one.silenced_until.0, one.data.len())).collect();
        assert_eq!(said, [(1, 4, 5, 4), (2, 0, 5, 0)]);
    };
    check(&scene);
    check(&scene.reopened());
}

#[test]
fn totals_are_over_present_sessions() {
    let scene = Scene::new();
    let totals = |scene: &Scene| {
        let totals = scene.store.total_unread(BOB).unwrap();
        (totals.unread, totals.muted_unread, totals.marked_unread)
    };
    assert_eq!(totals(&scene), (0, 0, 0));
    for (other, count) in [(10, 1), (11, 2), (12, 4), (13, 8)] {
        for _ in 0..count {
            scene.send(Draft::direct(UserId(other), BOB, b"x"));
        }
    }
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    for _ in 0..16 {
        scene.send(Draft::group(group(42), ANN, b"x"));
    }
    assert_eq!(totals(&scene), (31, 0, 0));
    let set = |peer, change| changed(scene.store.set_flags(BOB, peer, change));
    set(with(11), FlagChange::new().muted(true));
    set(with(13), FlagChange::new().muted(true).marked_unread(true));
    set(room(42), FlagChange::new().marked_unread(true));
    // Nobody yet, and marked all the same.
    set(with(99), FlagChange::new().marked_unread(true));
    assert_eq!(totals(&scene), (21, 10, 3));
    changed(scene.store.leave(group(42), BOB));
    assert_eq!(totals(&scene), (21, 10, 3), "counted until read");
    changed(scene.store.remove_session(BOB, with(13)));
    assert_eq!(totals(&scene), (21, 2, 2));
    changed(scene.store.remove_session(BOB, room(42)));
    assert_eq!(totals(&scene), (5, 2, 1));
    // Set while removed: kept, and not counted before it is back.
    set(with(13), FlagChange::new().marked_unread(true));
    assert_eq!(totals(&scene), (5, 2, 1));
    scene.send(Draft::direct(UserId(13), BOB, b"x"));
    assert_eq!(totals(&scene), (5, 3, 2));
    set(with(11), FlagChange::new().muted(false));
    assert_eq!(totals(&scene), (7, 1, 2));
    assert_eq!(totals(&scene.reopened()), (7, 1, 2));
}

#[test]
fn pinned_sessions_are_listed_besides() {
    let scene = Scene::new();
    for other in 10..=19 {
        scene.clock.advance(SECOND);
        scene.send(Draft::direct(UserId(other), BOB, b"x"));
    }
    let pin = |other, is| changed(scene.store.set_flags(BOB, with(other), FlagChange::new().pinned(is)));
    for other in [12, 18, 15] {
        scene.clock.advance(SECOND);
        pin(other, true);
    }
    let query = ListQuery::new().limit(4);
    let first = scene.store.recent(BOB, None, &query).unwrap();
    assert_eq!(peers(&first.pinned), [with(18), with(15), with(12)], "by activity, not by when they were pinned");
    assert_eq!(peers(&first.entries), [19, 18, 17, 16].map(with));
    assert_eq!(first.pinned[0], first.entries[1]);
    assert!(first.pinned.iter().all(|entry| entry.flags.pinned && entry.unread == 1));
    // Once, on the first page; outside its limit.
    let second = scene.store.recent(BOB, first.before.as_ref(), &query).unwrap();
    assert_eq!((peers(&second.entries), second.pinned.len()), ([15, 14, 13, 12].map(with).to_vec(), 0));
    let none = scene.store.recent(BOB, None, &ListQuery::new().limit(0)).unwrap();
    assert_eq!((none.entries.len(), peers(&none.pinned)), (0, peers(&first.pinned)));
    let all = scene.store.recent(BOB, None, &ListQuery::new().latest(0)).unwrap();
    assert!(all.pinned.iter().chain(&all.entries).all(|entry| entry.latest.is_empty() && entry.amendments.is_empty()));
    // A new message moves it among the pinned, too; unpinned and removed ones are not among them.
    scene.clock.advance(SECOND);
    scene.send(Draft::direct(UserId(12), BOB, b"x"));
    pin(18, false);
    let page = scene.store.recent(BOB, None, &query).unwrap();
    assert_eq!(peers(&page.pinned), [with(12), with(15)]);
    changed(scene.store.remove_session(BOB, with(15)));
    assert_eq!(peers(&scene.store.recent(BOB, None, &query).unwrap().pinned), [with(12)]);
    // The cursor of the first page is where `changed` goes on.
    let cursor = scene.store.recent(BOB, None, &query).unwrap().changed.unwrap();
    changed(scene.store.recall(BOB, Timeline::direct(BOB, UserId(12)), Seq(1)));
    let list = scene.store.changed(BOB, Some(&cursor), &ListQuery::new()).unwrap();
    assert_eq!((peers(&list.entries), list.entries[0].amendments.len()), (vec![with(12)], 1));
    let again = scene.store.recent(BOB, None, &query).unwrap();
    assert!(again.entries.iter().chain(&again.pinned).all(|entry| entry.amendments.is_empty()));
    assert_ne!(scene.store.version(), Version::NONE);
}
