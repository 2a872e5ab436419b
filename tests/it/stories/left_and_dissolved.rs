//! A group that some have left is dissolved.
//! Owns: the story `left_and_dissolved`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{
    ClientId, Cursor, Draft, Edge, Entry, ErrorKind, FlagChange, GroupSettings, HistoryQuery, ListQuery, Loss, Outcome,
    Seq, SessionState, Timeline, Timestamp, UserId, Version,
};

use crate::replies::{changed, refused, unchanged};
use crate::scene::{MINUTE, Scene, group, room, seqs, user};

/// Stays to the end.
const ANN: u64 = 1;
/// Leaves, and keeps the session.
const BOB: u64 = 2;
/// Leaves, and removes the session.
const CAT: u64 = 3;
/// Stays, and has removed the session.
const DAN: u64 = 4;
/// Never was in it.
const EVE: u64 = 5;
const TEAM: u64 = 42;

fn say(scene: &Scene, sender: u64, count: u64) {
    for number in 0..count {
        scene.clock.advance(MINUTE);
        scene.send(Draft::group(group(TEAM), user(sender), format!("line {number}").as_bytes()));
    }
}

/// What is new to a terminal in this group.
fn news(scene: &Scene, id: u64, cursor: &Cursor) -> Vec<Entry> {
    let entries = scene.store.changed(user(id), Some(cursor), &ListQuery::new()).unwrap().entries;
    entries.into_iter().filter(|entry| entry.peer == room(TEAM)).collect()
}

/// A tombstone says that it is one, and nothing else.
fn assert_tombstone(entry: &Entry, state: SessionState, version: Version, at: Timestamp) {
    assert_eq!((entry.peer, entry.is_add, entry.state), (room(TEAM), false, state));
    assert_eq!((entry.version, entry.session_timestamp), (version, at));
    assert_eq!((entry.unread, entry.goto, entry.latest.len(), entry.latest_cut), (0, None, 0, false));
    assert_eq!((entry.read_mark, entry.first, entry.last), (Seq::NONE, Seq::NONE, Seq::NONE));
    assert_eq!((entry.activity, entry.mentions.count, entry.mentions.oldest), (Timestamp(0), 0, None));
    assert!(entry.alerts.is_empty() && entry.amendments.is_empty() && entry.amendments_more.is_none());
    assert!(entry.metadata.is_empty());
    assert_eq!((entry.flags.pinned, entry.flags.muted, entry.flags.marked_unread), (false, false, false));
}

#[test]
fn left_and_dissolved() {
    let scene = Scene::new();
    let [ann, bob, cat, dan, eve] = [ANN, BOB, CAT, DAN, EVE].map(UserId);
    let timeline = Timeline::Group(group(TEAM));
    let settings = GroupSettings::default().members_only(false);
    changed(scene.store.create_group(group(TEAM), settings));
    scene.store.join_many(group(TEAM), &[ann, bob, cat, dan]).wait().unwrap();
    changed(scene.store.set_group_metadata(group(TEAM), b"the team"));
    say(&scene, ANN, 10);
    scene.read(bob, room(TEAM), Seq(3));
    changed(scene.store.set_metadata(bob, room(TEAM), b"draft of an answer"));
    changed(scene.store.set_flags(bob, room(TEAM), FlagChange::new().pinned(true).muted(true)));

    // Bob leaves after ten, having read three: frozen there, readable, counted until he reads it.
    changed(scene.store.leave(group(TEAM), bob));
    let left = scene.entry(bob, room(TEAM));
    assert_eq!((left.is_add, left.state, left.unread, left.last), (true, SessionState::Left, 7, Seq(10)));
    assert_eq!(left.goto.map(|(seq, _)| seq), Some(Seq(4)));
    say(&scene, ANN, 5);
    assert_eq!(scene.entry(bob, room(TEAM)), left, "what is said without him is not his");
    changed(scene.store.mark_read(bob, room(TEAM), Seq(6)));
    let left = scene.entry(bob, room(TEAM));
    assert_eq!((left.unread, left.read_mark, left.goto.map(|(seq, _)| seq)), (4, Seq(6), Some(Seq(7))));
    assert_eq!(scene.store.total_unread(bob).unwrap().muted_unread, 4);
    assert_eq!(seqs(&scene.all(bob, room(TEAM))), (1..=10).collect::<Vec<_>>());
    assert_eq!(scene.page(bob, room(TEAM), HistoryQuery::newest()).newer, Edge::NotVisible);
    // A recall below his end reaches him, one above it does not.
    let cursor = scene.list(bob).next;
    changed(scene.store.recall(ann, timeline, Seq(12)));
    assert_eq!(news(&scene, BOB, &cursor), []);
    changed(scene.store.recall(ann, timeline, Seq(9)));
    let came = news(&scene, BOB, &cursor);
    assert_eq!((came.len(), came[0].unread, came[0].amendments.len()), (1, 3, 1));
    // Where outsiders may write he may, too; it gives him nothing, and moves no mark of his.
    let own = scene.send(Draft::group(group(TEAM), bob, b"from outside").client_id(ClientId(5)));
    assert_eq!(own.seq, Seq(16));
    assert_eq!((scene.entry(bob, room(TEAM)).unread, scene.entry(bob, room(TEAM)).last), (3, Seq(10)));
    assert_eq!(scene.entry(ann, room(TEAM)).unread, 1, "for Ann it is one more");
    // Cat leaves and removes it: gone from her list, and nothing said there brings it back.
    let cursor = scene.list(cat).next;
    changed(scene.store.leave(group(TEAM), cat));
    let removed = changed(scene.store.remove_session(cat, room(TEAM)));
    let gone = scene.store.changed(cat, Some(&cursor), &ListQuery::new()).unwrap().entries;
    assert_tombstone(&gone[0], SessionState::Left, removed, scene.store.time().now);
    say(&scene, ANN, 1);
    assert_eq!(scene.list(cat).entries, []);
    // Dan, a member still, removes it as well.
    changed(scene.store.remove_session(dan, room(TEAM)));

    // Everybody's terminals are here, when Ann dissolves it.
    let scene = scene.reopened();
    let cursors = [ANN, BOB, CAT, DAN, EVE].map(|id| scene.list(user(id)).next);
    let before = scene.group_of_four();
    assert_eq!(before, (2, vec![ANN, DAN], vec![TEAM]));
    scene.clock.advance(MINUTE);
    let dissolved = changed(scene.store.dissolve(group(TEAM)));
    assert_eq!(dissolved.0, scene.store.version().0, "one change, however many had it");
    let at = scene.store.time().now;
    for (id, cursor) in [ANN, BOB, CAT, DAN].iter().zip(&cursors) {
        let came = news(&scene, *id, cursor);
        assert_eq!(came.len(), 1, "user {id}");
        assert_tombstone(&came[0], SessionState::Dissolved, dissolved, at);
        assert_eq!(scene.list(user(*id)).entries, [], "a terminal from nothing never hears of it");
        assert_eq!(scene.store.recent(user(*id), None, &ListQuery::new()).unwrap().entries, []);
        let totals = scene.store.total_unread(user(*id)).unwrap();
        assert_eq!((totals.unread, totals.muted_unread, totals.marked_unread), (0, 0, 0));
        for query in [HistoryQuery::newest(), HistoryQuery::oldest(), HistoryQuery::oldest().seqs(Seq(4)..)] {
            let page = scene.page(user(*id), room(TEAM), query);
            assert_eq!((page.messages.len(), page.older), (0, Edge::Trimmed), "user {id}");
            assert!(page.newer != Edge::More);
        }
    }
    assert_eq!(news(&scene, EVE, &cursors[4]), []);
    let text = "no such session: group 42 user=5";
    refused(&scene, ErrorKind::NotFound, text, || scene.store.history(eve, room(TEAM), &HistoryQuery::newest()));
    assert_eq!(scene.group_of_four(), (0, vec![], vec![]));

    // Nothing more can be done with it, by anybody; also not after a power cut.
    let crashed = scene.after_crash(Loss::All);
    let scene = scene.reopened();
    for scene in [&scene, &crashed] {
        let store = &scene.store;
        let dead = |what: &str, call: &dyn Fn() -> Result<(), restante::Error>| {
            let error = crate::replies::traceless(scene, call).expect_err(what);
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::Dissolved, "the group was dissolved: group 42"),
                "{what}"
            );
        };
        dead("append", &|| store.append(Draft::group(group(TEAM), ann, b"x")).wait().map(drop));
        dead("append from outside", &|| store.append(Draft::group(group(TEAM), bob, b"x")).wait().map(drop));
        dead("join", &|| store.join(group(TEAM), eve).wait().map(drop));
        dead("join again", &|| store.join(group(TEAM), bob).wait().map(drop));
        dead("create_group", &|| store.create_group(group(TEAM), settings).wait().map(drop));
        dead("set_group", &|| store.set_group(group(TEAM), settings).wait().map(drop));
        dead("set_group_metadata", &|| store.set_group_metadata(group(TEAM), b"x").wait().map(drop));
        dead("set_role", &|| store.set_role(group(TEAM), ann, 1).wait().map(drop));
        dead("set_member_data", &|| store.set_member_data(group(TEAM), ann, b"x").wait().map(drop));
        dead("silence", &|| store.silence(group(TEAM), ann, Timestamp(1)).wait().map(drop));
        dead("edit", &|| store.edit(ann, timeline, Seq(1), b"x").wait().map(drop));
        for id in [ANN, BOB, CAT, DAN] {
            unchanged(scene, || store.leave(group(TEAM), user(id)));
            unchanged(scene, || store.mark_read(user(id), room(TEAM), Seq(17)));
            unchanged(scene, || store.mark_delivered(user(id), room(TEAM), Seq(17)));
            unchanged(scene, || store.mark_unread_from(user(id), room(TEAM), Seq(1)));
            unchanged(scene, || store.clear(user(id), room(TEAM), Seq(17)));
            unchanged(scene, || store.remove_session(user(id), room(TEAM)));
        }
        unchanged(scene, || store.dissolve(group(TEAM)));
        for call in [store.leave(group(TEAM), eve), store.mark_read(eve, room(TEAM), Seq(1))] {
            assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::NotFound, "Eve never had it");
        }
        for seq in [1, 12, 17] {
            assert_eq!(store.recall(ann, timeline, Seq(seq)).wait().unwrap_err().kind(), ErrorKind::Trimmed);
            let hide = store.hide(ann, room(TEAM), &[Seq(seq)]).wait();
            assert_eq!(hide.unwrap_err().kind(), ErrorKind::Trimmed);
        }
        assert_eq!(store.recall(ann, timeline, Seq(18)).wait().unwrap_err().kind(), ErrorKind::NotFound);
        // A retry of what was sent in time still gets its answer, though its body is gone.
        for body in [&b"from outside"[..], b"another"] {
            let draft = Draft::group(group(TEAM), bob, body).client_id(ClientId(5));
            let retry = crate::replies::traceless(scene, || store.append(draft).wait().unwrap());
            assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, Seq(16)));
        }
        assert_eq!(store.find(timeline, bob, ClientId(5)).unwrap(), Some(Seq(16)));
    }

    // Flags and metadata are the user's own: they work, and bring nothing back.
    let cursor = scene.list(ann).next;
    let flagged = changed(scene.store.set_flags(ann, room(TEAM), FlagChange::new().pinned(true)));
    let came = news(&scene, ANN, &cursor);
    assert_eq!((came.len(), came[0].version, came[0].is_add), (1, flagged, false));
    assert_eq!((came[0].state, came[0].flags.pinned), (SessionState::Dissolved, false));
    assert_eq!(scene.store.recent(ann, None, &ListQuery::new()).unwrap().pinned, []);
    // Another group is another group.
    scene.store.join(group(TEAM + 1), ann).wait().unwrap();
    scene.send(Draft::group(group(TEAM + 1), ann, b"here instead"));
    assert_eq!(scene.list(ann).entries.len(), 1);
}

impl Scene {
    /// Members of the group by number and by name, and the groups of Dan.
    fn group_of_four(&self) -> (u64, Vec<u64>, Vec<u64>) {
        let members = self.store.members(group(TEAM), UserId::NONE, 100).unwrap();
        assert!(!members.more);
        let groups = self.store.groups_of(user(DAN), restante::GroupId::NONE, 100).unwrap();
        let info = self.store.group(group(TEAM)).unwrap();
        assert_eq!((info.dissolved, info.last), (info.members == 0, Seq(17)));
        let ids = members.members.iter().map(|member| member.user.0).collect();
        (info.members, ids, groups.groups.iter().map(|group| group.0).collect())
    }
}
