//! A session is taken off the list, and what brings it back.
//! Owns: the story `removed_and_revived`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{
    Cursor, Draft, Edge, Entry, FlagChange, HistoryQuery, ListQuery, Peer, Seq, SessionState, Timeline, UserId,
};

use crate::replies::{changed, unchanged};
use crate::scene::{MINUTE, Scene, group, room, seqs, texts, user, with};

const ANN: u64 = 1;
const BOB: u64 = 2;
const TEAM: u64 = 42;

fn is_listed(scene: &Scene, id: u64, peer: Peer) -> bool {
    scene.store.recent(user(id), None, &ListQuery::new()).unwrap().entries.iter().any(|entry| entry.peer == peer)
}

/// What is new since a cursor, which moves on.
fn news(scene: &Scene, id: UserId, cursor: &mut Cursor) -> Vec<Entry> {
    let list = scene.store.changed(id, Some(cursor), &ListQuery::new()).unwrap();
    *cursor = list.next;
    list.entries
}

#[test]
fn removed_and_revived() {
    let scene = Scene::new();
    let (ann, bob, peer, chat) = (user(ANN), user(BOB), with(ANN), Timeline::direct(user(ANN), user(BOB)));
    let say = |sender: UserId, text: &str, counts: bool| {
        scene.clock.advance(MINUTE);
        let other = if sender == ann { bob } else { ann };
        scene.send(Draft::direct(sender, other, text.as_bytes()).counts(counts)).seq
    };
    for number in 1..=5_u64 {
        say(ann, &format!("line {number}"), true);
    }
    scene.read(bob, peer, Seq(2));
    let flags = FlagChange::new().pinned(true).muted(true).marked_unread(true);
    changed(scene.store.set_flags(bob, peer, flags));
    changed(scene.store.set_metadata(bob, peer, b"half an answer"));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.flags.pinned, entry.flags.muted, entry.flags.marked_unread), (3, true, true, true));
    assert_eq!(&entry.metadata[..], b"half an answer");
    let mut tablet = scene.list(bob).next;

    // Removed, unread as it is: his other terminal takes it off, nobody else notices.
    let anns = scene.entry(ann, with(BOB));
    let removed = changed(scene.store.remove_session(bob, peer));
    let came = news(&scene, bob, &mut tablet);
    assert_eq!(came.len(), 1);
    assert_eq!((came[0].peer, came[0].is_add, came[0].state), (peer, false, SessionState::Member));
    assert_eq!((came[0].version, came[0].unread, came[0].metadata.len()), (removed, 0, 0));
    assert_eq!((scene.list(bob).entries.len(), is_listed(&scene, BOB, peer)), (0, false));
    let totals = scene.store.total_unread(bob).unwrap();
    assert_eq!((totals.unread, totals.muted_unread, totals.marked_unread), (0, 0, 0));
    assert_eq!(scene.entry(ann, with(BOB)), anns);
    let page = scene.page(bob, peer, HistoryQuery::newest());
    assert_eq!((page.messages.len(), page.older, page.newer), (0, Edge::NotVisible, Edge::End));
    assert_eq!(seqs(&scene.all(ann, with(BOB))), [1, 2, 3, 4, 5]);
    unchanged(&scene, || scene.store.remove_session(bob, peer));

    // None of these brings it back, nor wakes his terminals: notices, recalls, edits, the other side's marks.
    assert_eq!(say(ann, "ann changed her picture", false), Seq(6));
    assert_eq!(say(bob, "bob changed his picture", false), Seq(7));
    changed(scene.store.recall(ann, chat, Seq(3)));
    changed(scene.store.edit(ann, chat, Seq(4), b"line four"));
    changed(scene.store.recall(ann, chat, Seq(6)));
    changed(scene.store.set_flags(ann, with(BOB), FlagChange::new().pinned(true)));
    assert_eq!((news(&scene, bob, &mut tablet), is_listed(&scene, BOB, peer)), (vec![], false));
    // History shows what came above the point where he removed it, for those who ask.
    assert_eq!(seqs(&scene.all(bob, peer)), [6, 7]);
    // His own doings are kept and bring nothing back, either.
    changed(scene.store.mark_read(bob, peer, Seq(6)));
    changed(scene.store.set_flags(bob, peer, FlagChange::new().pinned(true)));
    changed(scene.store.set_metadata(bob, peer, b"set while away"));
    changed(scene.store.hide(bob, peer, &[Seq(7)]));
    assert!(!is_listed(&scene, BOB, peer));
    let scene = scene.reopened();
    assert!(!is_listed(&scene, BOB, peer));
    let came = news(&scene, bob, &mut tablet);
    assert_eq!(came.len(), 1);
    assert_eq!((came[0].is_add, came[0].flags.pinned, came[0].metadata.len()), (false, false, 0));
    assert_eq!(scene.store.recent(bob, None, &ListQuery::new()).unwrap().pinned, []);

    // A message that counts does: with what was kept and what was set, without what was dropped.
    let say = |sender: UserId, text: &str| {
        scene.clock.advance(MINUTE);
        let other = if sender == ann { bob } else { ann };
        scene.send(Draft::direct(sender, other, text.as_bytes())).seq
    };
    assert_eq!(say(ann, "are you back?"), Seq(8));
    let came = news(&scene, bob, &mut tablet);
    assert_eq!((came.len(), came[0].is_add, came[0].state), (1, true, SessionState::Member));
    assert_eq!((came[0].unread, came[0].goto.map(|(seq, _)| seq)), (1, Some(Seq(8))));
    assert_eq!((came[0].first, came[0].last, came[0].read_mark), (Seq(6), Seq(8), Seq(6)));
    let flags = came[0].flags;
    assert_eq!((flags.pinned, flags.muted, flags.marked_unread), (true, true, false), "muted was never lifted");
    assert_eq!(&came[0].metadata[..], b"set while away");
    assert_eq!(texts(&scene.all(bob, peer)), ["", "are you back?"], "what he removed stays away, 7 is hidden");
    assert!(is_listed(&scene, BOB, peer));
    assert_eq!(scene.store.total_unread(bob).unwrap().muted_unread, 1);
    // Once back it stays, also when that message is recalled and read.
    changed(scene.store.recall(ann, chat, Seq(8)));
    scene.read(bob, peer, Seq(8));
    assert!(is_listed(&scene, BOB, peer));
    let scene = scene.reopened();
    assert!(is_listed(&scene, BOB, peer));
    assert_eq!(scene.entry(bob, peer).unread, 0);

    // Removed again, and this time his own message brings it back.
    changed(scene.store.remove_session(bob, peer));
    assert!(!is_listed(&scene, BOB, peer));
    assert!(!news(&scene, bob, &mut tablet)[0].is_add);
    let sent = scene.send(Draft::direct(bob, ann, b"i am"));
    assert_eq!(sent.seq, Seq(9));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.first, entry.last, entry.read_mark), (0, Seq(9), Seq(9), Seq(9)));
    assert_eq!((entry.flags.pinned, entry.flags.muted, entry.metadata.len()), (false, true, 0));
    assert_eq!(scene.entry(ann, with(BOB)).unread, 1);
    assert!(news(&scene, bob, &mut tablet)[0].is_add);
}

/// A group: membership outlives the removal, a ceiling does not let in what lies above it, a join brings it back.
#[test]
fn removed_and_revived_in_a_group() {
    let scene = Scene::new();
    let (ann, bob, peer) = (user(ANN), user(BOB), room(TEAM));
    let settings = restante::GroupSettings::default().members_only(false).shows_history(true);
    changed(scene.store.create_group(group(TEAM), settings));
    scene.store.join_many(group(TEAM), &[ann, bob]).wait().unwrap();
    let say = |scene: &Scene, sender: UserId| {
        scene.clock.advance(MINUTE);
        scene.send(Draft::group(group(TEAM), sender, b"x")).seq
    };
    for _ in 0..4 {
        say(&scene, ann);
    }
    // A member who has removed it is one still: it comes back with the next message.
    changed(scene.store.remove_session(bob, peer));
    assert_eq!(scene.store.group(group(TEAM)).unwrap().members, 2);
    assert_eq!(scene.store.groups_of(bob, restante::GroupId::NONE, 10).unwrap().groups, [group(TEAM)]);
    unchanged(&scene, || scene.store.join(group(TEAM), bob));
    assert!(!is_listed(&scene, BOB, peer), "joining while a member changes nothing");
    changed(scene.store.set_group_metadata(group(TEAM), b"renamed"));
    assert!(!is_listed(&scene, BOB, peer));
    assert_eq!(say(&scene, ann), Seq(5));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.first, entry.state), (1, Seq(5), SessionState::Member));

    // Left and removed: what is said above the ceiling is not his, even when he says it.
    changed(scene.store.leave(group(TEAM), bob));
    changed(scene.store.remove_session(bob, peer));
    let cursor = scene.list(bob).next;
    say(&scene, ann);
    assert_eq!(say(&scene, bob), Seq(7), "the group is open");
    changed(scene.store.recall(ann, Timeline::Group(group(TEAM)), Seq(5)));
    assert_eq!(scene.store.changed(bob, Some(&cursor), &ListQuery::new()).unwrap().entries, []);
    let scene = scene.reopened();
    assert!(!is_listed(&scene, BOB, peer));
    // Joining does bring it back, before anybody speaks; shown from where he had cleared it.
    let joined = changed(scene.store.join(group(TEAM), bob));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.version, entry.state, entry.unread), (joined, SessionState::Member, 0));
    assert_eq!((entry.first, entry.last, entry.read_mark), (Seq(6), Seq(7), Seq(7)));
    assert_eq!(seqs(&scene.all(bob, peer)), [6, 7]);

    // Left with unread messages, not removed: there. Removing it then, and again, is final until a join.
    say(&scene, ann);
    changed(scene.store.leave(group(TEAM), bob));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.state, entry.unread, entry.last), (SessionState::Left, 1, Seq(8)));
    changed(scene.store.remove_session(bob, peer));
    unchanged(&scene, || scene.store.remove_session(bob, peer));
    unchanged(&scene, || scene.store.leave(group(TEAM), bob));
    changed(scene.store.set_flags(bob, peer, FlagChange::new().pinned(true)));
    assert!(!is_listed(&scene, BOB, peer));
    assert_eq!(scene.store.recent(bob, None, &ListQuery::new()).unwrap().pinned, []);
    // What was set while it was away is something to drop.
    changed(scene.store.remove_session(bob, peer));
    changed(scene.store.join(group(TEAM), bob));
    assert!(!scene.entry(bob, peer).flags.pinned);
    assert_eq!(scene.reopened().entry(bob, peer).first, Seq(9));
}
