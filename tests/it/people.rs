//! Users who come to exist, and who are removed.
//! Owns: `add_user`, `user_exists`, `remove_user`. May touch: its submodule, `scene`, `replies`.
//! Never: looks behind the public interface.

mod crashes;

use restante::{
    Draft, Edge, ErrorKind, FlagChange, GroupSettings, HistoryQuery, ListQuery, NameKind, Seq, SessionState, Source,
    SystemId, Timeline, UserId,
};

use crate::replies::{changed, refused, traceless, unchanged};
use crate::scene::{MINUTE, Scene, group, room, seqs, texts, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);
const NEWS: Source = Source::System(SystemId(1));

#[test]
fn who_exists() {
    let scene = Scene::new();
    let store = &scene.store;
    let exists = |id: u64| store.user_exists(UserId(id)).unwrap();
    let version = changed(store.add_user(UserId(10)));
    assert_eq!((version, exists(10)), (restante::Version(1), true));
    unchanged(&scene, || store.add_user(UserId(10)));
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || store.add_user(UserId::NONE).wait());
    assert!(!exists(0));
    // Sender, recipient, member, one who sends into an open group, who receives from a source, who has a name.
    scene.send(Draft::direct(UserId(11), UserId(12), b"x"));
    changed(store.join(group(1), UserId(13)));
    changed(store.create_group(group(2), GroupSettings::default().members_only(false)));
    scene.send(Draft::group(group(2), UserId(14), b"x").counts(false));
    scene.send(Draft::inbox(NEWS, UserId(15), b"x"));
    let name = store.resolve_or_create(NameKind::User, b"dan").wait().unwrap().id;
    assert!((10..=15).chain([name]).all(exists));
    // Who is merely named, asked about or refused does not.
    scene.send(Draft::group(group(1), UserId(13), b"x").mentions(&[UserId(20)]));
    let _ = store.append(Draft::group(group(1), UserId(21), b"x")).wait().unwrap_err();
    let _ = store.append(Draft::direct(UserId(22), UserId(23), &vec![0; 2 << 20])).wait().unwrap_err();
    let _ = store.leave(group(1), UserId(24)).wait().unwrap_err();
    let _ = store.mark_read(UserId(25), with(11), Seq(1)).wait().unwrap_err();
    changed(store.recall(UserId(26), Timeline::direct(UserId(11), UserId(12)), Seq(1)));
    unchanged(&scene, || store.set_flags(UserId(27), with(28), FlagChange::new()));
    traceless(&scene, || {
        assert_eq!(store.changed(UserId(29), None, &ListQuery::new()).unwrap().entries, []);
        assert_eq!(store.history(UserId(29), with(11), &HistoryQuery::newest()).unwrap().messages, []);
        store.total_unread(UserId(29)).unwrap();
    });
    assert!(!(20..=29).any(exists));
    let scene = scene.reopened();
    assert!((10..=15).chain([name]).all(|id| scene.store.user_exists(UserId(id)).unwrap()));
    assert!(!(20..=29).any(|id| scene.store.user_exists(UserId(id)).unwrap()));
}

/// A draft of an answer, kept on a terminal that was offline when its user was removed: it makes the user exist again, and
/// brings none of the old messages back.
#[test]
fn a_removed_user_who_notes_something_begins_anew() {
    let scene = busy();
    scene.store.remove_user(BOB, false).unwrap();
    scene.clock.advance(MINUTE);
    let version = changed(scene.store.set_metadata(BOB, with(1), b"a draft"));
    assert!(scene.store.user_exists(BOB).unwrap());
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.version, entry.is_add, entry.state), (version, true, SessionState::Member));
    assert_eq!((entry.unread, entry.first, entry.last, &entry.metadata[..]), (0, Seq(7), Seq(6), &b"a draft"[..]));
    assert_eq!((entry.latest.len(), scene.all(BOB, with(1)).len(), scene.list(BOB).entries.len()), (0, 0, 1));
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=2", || {
        scene.store.set_metadata(BOB, room(42), b"x").wait()
    });
    scene.send(Draft::direct(ANN, BOB, b"welcome back"));
    let want = scene.entry(BOB, with(1));
    assert_eq!((want.unread, want.goto.map(|(seq, _)| seq)), (1, Some(Seq(7))));
    assert_eq!(scene.reopened().entry(BOB, with(1)), want);
}

/// Bob in some of everything: two groups, one of which he left, two chats, a note to himself, an inbox, a broadcast.
fn busy() -> Scene {
    let scene = Scene::new();
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    scene.store.join_many(group(43), &[ANN, BOB]).wait().unwrap();
    for number in 1..=6_u64 {
        scene.clock.advance(MINUTE);
        let sender = if number % 2 == 0 { BOB } else { ANN };
        let other = if sender == ANN { BOB } else { ANN };
        let text = format!("line {number}");
        for id in [42, 43] {
            scene.send(Draft::group(group(id), sender, text.as_bytes()));
        }
        scene.send(Draft::direct(sender, other, text.as_bytes()));
    }
    scene.send(Draft::group(group(42), BOB, b"bob came").counts(false));
    scene.send(Draft::direct(BOB, BOB, b"note"));
    scene.send(Draft::direct(BOB, CAT, b"hello"));
    scene.send(Draft::inbox(NEWS, BOB, b"for bob"));
    scene.send(Draft::broadcast(Source::System(SystemId(2)), b"for all"));
    changed(scene.store.leave(group(43), BOB));
    changed(scene.store.recall(BOB, Timeline::Group(group(42)), Seq(2)));
    scene
}

#[test]
fn a_removed_user_is_gone_and_its_messages_stay() {
    let scene = busy();
    let store = &scene.store;
    let id = store.resolve_or_create(NameKind::User, b"bob").wait().unwrap().id;
    changed(store.set_flags(BOB, with(1), FlagChange::new().pinned(true)));
    // A broadcast that he has touched has a row of his.
    changed(store.mark_read(BOB, restante::Peer::System(SystemId(2)), Seq(1)));
    let before = scene.list(BOB);
    assert_eq!(before.entries.len(), 7);
    let cursor = before.next;
    let anns = store.changed(ANN, None, &ListQuery::new()).unwrap().next;
    let shown = (scene.all(ANN, room(42)), scene.all(ANN, with(2)));

    let removed = store.remove_user(BOB, false).unwrap();
    assert_eq!((removed.sessions, removed.recalled, removed.names), (7, 0, 0), "the name is another user's: {id}");
    assert!(!store.user_exists(BOB).unwrap());
    // His terminals are told: every session of his is a tombstone, as of one who left.
    let list = store.changed(BOB, Some(&cursor), &ListQuery::new()).unwrap();
    assert!(list.entries.iter().all(|entry| !entry.is_add && entry.state == SessionState::Left), "{:?}", list.entries);
    assert_eq!(list.entries.len(), 7);
    assert_eq!(scene.list(BOB).entries, []);
    assert_eq!(store.total_unread(BOB).unwrap(), Default::default());
    assert_eq!(store.groups_of(BOB, group(0), 10).unwrap().groups, []);
    let members = store.members(group(42), UserId::NONE, 10).unwrap().members;
    assert_eq!(members.iter().map(|member| member.user).collect::<Vec<_>>(), [ANN]);
    // As if he had never had them.
    assert_eq!(store.history(BOB, room(42), &HistoryQuery::newest()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.history(BOB, NEWS.into(), &HistoryQuery::newest()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.history(BOB, with(1), &HistoryQuery::newest()).unwrap().messages, []);
    assert_eq!(store.mark_read(BOB, with(1), Seq(1)).wait().unwrap_err().kind(), ErrorKind::NotFound);
    // For Ann nothing is gone.
    assert_eq!((scene.all(ANN, room(42)), scene.all(ANN, with(2))), shown);
    assert_eq!(store.changed(ANN, Some(&anns), &ListQuery::new()).unwrap().entries.len(), 0, "nor is anything new");
    // Again is nothing, and so is one who never was.
    for user in [BOB, UserId(99)] {
        let removed = traceless(&scene, || store.remove_user(user, true).unwrap());
        assert_eq!((removed.sessions, removed.recalled, removed.names), (0, 0, 0));
    }
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || store.remove_user(UserId::NONE, false));
    let scene = scene.reopened();
    assert!(!scene.store.user_exists(BOB).unwrap());
    assert_eq!(scene.list(BOB).entries, []);

    // Ann writes to him once more: he exists again, and what was before stays away.
    scene.send(Draft::direct(ANN, BOB, b"bob?"));
    assert!(scene.store.user_exists(BOB).unwrap());
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.unread, entry.first, entry.last, entry.state), (1, Seq(7), Seq(7), SessionState::Member));
    assert!(!entry.flags.pinned);
    assert_eq!(seqs(&scene.all(BOB, with(1))), [7]);
    assert_eq!(scene.page(BOB, with(1), HistoryQuery::newest()).older, Edge::NotVisible);
    assert_eq!(scene.list(BOB).entries.len(), 1, "neither groups nor the old broadcast come back");
    // His inbox goes on where he could not see any more.
    scene.send(Draft::inbox(NEWS, BOB, b"for bob again"));
    let inbox = scene.entry(BOB, NEWS.into());
    assert_eq!((inbox.unread, inbox.first, inbox.last), (1, Seq(2), Seq(2)));
    // A newer broadcast is his; a join begins anew, also where history is shown.
    scene.send(Draft::broadcast(Source::System(SystemId(2)), b"for all again"));
    assert_eq!(texts(&scene.all(BOB, restante::Peer::System(SystemId(2)))), ["for all again"]);
    changed(scene.store.set_group(group(42), GroupSettings::default().shows_history(true)));
    changed(scene.store.join(group(42), BOB));
    assert_eq!(scene.all(BOB, room(42)), [], "his removal cleared it");
    assert_eq!(scene.entry(BOB, room(42)).first, Seq(8));
}

#[test]
fn all_that_a_removed_user_said_is_recalled() {
    let scene = busy();
    let store = &scene.store;
    let dan = UserId(store.resolve_or_create(NameKind::User, b"dan").wait().unwrap().id);
    store.resolve_or_create(NameKind::User, b"daniel").wait().unwrap();
    changed(store.join(group(42), dan));
    scene.send(Draft::group(group(42), dan, b"from dan"));
    // Dissolved with him in it: there is nothing to recall there, and his session goes like the others.
    store.join_many(group(44), &[ANN, BOB]).wait().unwrap();
    scene.send(Draft::group(group(44), BOB, b"gone"));
    changed(store.dissolve(group(44)));
    let cursor = scene.list(ANN).next;
    // 3 each in two groups and one chat, a notice, a note, one to Cat; one in the group was recalled before.
    let removed = store.remove_user(BOB, true).unwrap();
    // Two groups, the dissolved one, two chats, his notes, his inbox, and a broadcast that he saw and never touched.
    assert_eq!((removed.sessions, removed.recalled, removed.names), (8, 11, 0));
    let texts_of = |peer| texts(&scene.all(ANN, peer));
    assert_eq!(texts_of(room(42)), ["line 1", "", "line 3", "", "line 5", "", "", "from dan"]);
    assert_eq!(texts_of(room(43)), ["line 1", "", "line 3", "", "line 5", ""]);
    assert_eq!(texts_of(with(2)), ["line 1", "", "line 3", "", "line 5", ""]);
    assert_eq!(texts(&scene.all(CAT, with(2))), [""]);
    assert_eq!(scene.entry(CAT, with(2)).unread, 0);
    let by: Vec<_> = scene.all(ANN, room(42)).iter().filter_map(|is| is.recalled.as_ref()).map(|is| is.by.0).collect();
    assert_eq!(by, [2, 0, 0, 0], "what he had recalled himself is still his");
    let list = store.changed(ANN, Some(&cursor), &ListQuery::new()).unwrap();
    let told: usize = list.entries.iter().map(|entry| entry.amendments.len()).sum();
    assert_eq!(told, 9, "three in each of the three that she shares with him");
    // A user with a name: it is free again, and its id is not given again.
    let removed = store.remove_user(dan, false).unwrap();
    assert_eq!((removed.sessions, removed.names), (1, 1));
    assert!(!store.user_exists(dan).unwrap());
    assert_eq!(store.resolve(NameKind::User, b"dan").unwrap(), None);
    let again = store.resolve_or_create(NameKind::User, b"dan").wait().unwrap();
    assert!(again.created && again.id != dan.0);
    assert_eq!(texts_of(room(42)).last().map(String::as_str), Some("from dan"));
    let want = scene.list(ANN).entries;
    assert_eq!(scene.reopened().list(ANN).entries, want);
}
