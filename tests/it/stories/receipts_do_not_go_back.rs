//! What was once received or read stays so for the sender, whatever the reader does with its own badge.
//! Owns: the story `receipts_do_not_go_back`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{Draft, FlagChange, ListQuery, Seq, Timeline, UserId};

use crate::replies::{changed, unchanged};
use crate::scene::{MINUTE, Scene, group, room, user, with};

const ANN: u64 = 1;
const BOB: u64 = 2;
const CAT: u64 = 3;
const DAN: u64 = 4;
const TEAM: u64 = 42;

/// How far Bob has received and read, as Ann's list shows it.
fn ticks(scene: &Scene) -> (u64, u64) {
    let entry = scene.entry(user(ANN), with(BOB));
    (entry.other_delivered.0, entry.other_read.0)
}

/// Members counted, how many received and read, and who has: `(user, read)`.
type Receipts = (u64, u64, u64, Vec<(u64, bool)>);

fn receipts(scene: &Scene, seq: u64) -> Receipts {
    let found = scene.store.receipts(user(ANN), room(TEAM), Seq(seq), UserId::NONE, 100).unwrap();
    assert!(!found.more);
    let who = found.receipts.iter().map(|receipt| (receipt.user.0, receipt.read)).collect();
    (found.members, found.delivered, found.read, who)
}

#[test]
fn receipts_do_not_go_back() {
    let scene = Scene::new();
    let (ann, bob) = (user(ANN), user(BOB));
    for number in 1..=10_u64 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::direct(ann, bob, format!("line {number}").as_bytes()));
    }
    assert_eq!(ticks(&scene), (0, 0));
    let cursor = scene.list(ann).next;
    let news = || scene.store.changed(ann, Some(&cursor), &ListQuery::new()).unwrap().entries.len();

    // Delivered, then read: Ann's terminals learn each rise by her own list.
    let delivered = changed(scene.store.mark_delivered(bob, with(ANN), Seq(4)));
    assert_eq!((ticks(&scene), news()), ((4, 0), 1));
    assert_eq!(scene.entry(ann, with(BOB)).version, delivered);
    assert_eq!(scene.entry(bob, with(ANN)).unread, 10, "what was delivered is not read");
    let read = changed(scene.store.mark_read(bob, with(ANN), Seq(6)));
    assert_eq!(ticks(&scene), (6, 6), "what is read was delivered");
    assert_eq!((scene.entry(ann, with(BOB)).version, scene.entry(bob, with(ANN)).unread), (read, 4));
    unchanged(&scene, || scene.store.mark_delivered(bob, with(ANN), Seq(6)));
    unchanged(&scene, || scene.store.mark_delivered(bob, with(ANN), Seq(2)));
    unchanged(&scene, || scene.store.mark_read(bob, with(ANN), Seq(5)));
    changed(scene.store.mark_delivered(bob, with(ANN), Seq(u64::MAX)));
    assert_eq!(ticks(&scene), (10, 6), "no further than there are messages");
    // Her own marks say nothing about his.
    assert_eq!(scene.entry(bob, with(ANN)).other_read, Seq(10), "she read what she sent");

    // "Mark as unread" is between Bob and his badge: the ticks stay, and Ann's terminals are not woken.
    let before = scene.entry(ann, with(BOB));
    changed(scene.store.mark_unread_from(bob, with(ANN), Seq(2)));
    assert_eq!((scene.entry(bob, with(ANN)).unread, scene.entry(bob, with(ANN)).read_mark), (9, Seq(1)));
    assert_eq!(scene.entry(ann, with(BOB)), before);
    // Reading again what was read before is news for the badge and none for the ticks.
    changed(scene.store.mark_read(bob, with(ANN), Seq(3)));
    assert_eq!(scene.entry(ann, with(BOB)), before);
    // Nor do flags, metadata or hiding; nor clearing, which is not reading.
    changed(scene.store.set_flags(bob, with(ANN), FlagChange::new().marked_unread(true)));
    changed(scene.store.set_metadata(bob, with(ANN), b"x"));
    changed(scene.store.hide(bob, with(ANN), &[Seq(9)]));
    changed(scene.store.clear(bob, with(ANN), Seq(8)));
    assert_eq!(scene.entry(ann, with(BOB)), before);
    assert_eq!((scene.entry(bob, with(ANN)).unread, scene.entry(bob, with(ANN)).read_mark), (1, Seq(8)));
    // Below what he cleared he may still say that he had read it: that is for Ann alone.
    changed(scene.store.mark_read(bob, with(ANN), Seq(7)));
    assert_eq!(ticks(&scene), (10, 7));
    assert_eq!((scene.entry(bob, with(ANN)).unread, scene.entry(bob, with(ANN)).read_mark), (1, Seq(8)));

    // Removed and revived: the ticks are where they were.
    changed(scene.store.remove_session(bob, with(ANN)));
    assert_eq!(ticks(&scene), (10, 7));
    scene.clock.advance(MINUTE);
    scene.send(Draft::direct(ann, bob, b"still there?"));
    assert_eq!((ticks(&scene), scene.entry(bob, with(ANN)).unread), ((10, 7), 1));
    let scene = scene.reopened();
    assert_eq!((ticks(&scene), scene.entry(bob, with(ANN)).unread), ((10, 7), 1));
    // An answer is reading. One that does not count is not.
    scene.send(Draft::direct(bob, ann, b"bob changed his picture").counts(false));
    assert_eq!(ticks(&scene), (10, 7));
    let answer = scene.send(Draft::direct(bob, ann, b"yes"));
    assert_eq!((ticks(&scene), answer.seq), ((13, 13), Seq(13)));
    changed(scene.store.mark_unread_from(bob, with(ANN), Seq(13)));
    assert_eq!(ticks(&scene), (13, 13));
    // Recalling what was read un-reads nothing.
    changed(scene.store.recall(bob, Timeline::direct(ann, bob), Seq(13)));
    assert_eq!(ticks(&scene), (13, 13));
    assert_eq!(scene.reopened().entry(ann, with(BOB)).other_read, Seq(13));
}

#[test]
fn receipts_do_not_go_back_in_a_group() {
    let scene = Scene::new();
    let [ann, bob, cat, dan] = [ANN, BOB, CAT, DAN].map(UserId);
    let team = |user, seq| scene.store.mark_read(user, room(TEAM), Seq(seq));
    scene.store.join_many(group(TEAM), &[ann, bob, cat]).wait().unwrap();
    for number in 1..=6_u64 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::group(group(TEAM), ann, format!("line {number}").as_bytes()));
        if number == 4 {
            changed(scene.store.join(group(TEAM), dan));
        }
    }
    // Two of Bob and Cat could read 4, three from 5 on.
    assert_eq!(receipts(&scene, 4), (2, 0, 0, vec![]));
    assert_eq!(receipts(&scene, 5), (3, 0, 0, vec![]));
    changed(team(bob, 5));
    changed(scene.store.mark_delivered(cat, room(TEAM), Seq(6)));
    assert_eq!(receipts(&scene, 4), (2, 2, 1, vec![(BOB, true), (CAT, false)]));
    assert_eq!(receipts(&scene, 6), (3, 1, 0, vec![(CAT, false)]), "a join is not a receipt");
    let want = receipts(&scene, 5);
    assert_eq!(want, (3, 2, 1, vec![(BOB, true), (CAT, false)]));

    // None of this takes any back, nor adds one.
    changed(scene.store.mark_unread_from(bob, room(TEAM), Seq(1)));
    changed(scene.store.clear(cat, room(TEAM), Seq(6)));
    changed(scene.store.remove_session(bob, room(TEAM)));
    changed(scene.store.hide(dan, room(TEAM), &[Seq(5)]));
    assert_eq!((receipts(&scene, 5), receipts(&scene, 6)), (want.clone(), (3, 1, 0, vec![(CAT, false)])));
    // Who leaves is no member to be counted; who comes back came after these messages.
    changed(scene.store.leave(group(TEAM), bob));
    assert_eq!(receipts(&scene, 5), (2, 1, 0, vec![(CAT, false)]));
    changed(scene.store.join(group(TEAM), bob));
    assert_eq!(receipts(&scene, 5), (2, 1, 0, vec![(CAT, false)]));
    // What he had read before he left is still read; a message after his return he has not read.
    scene.clock.advance(MINUTE);
    scene.send(Draft::group(group(TEAM), ann, b"line 7"));
    assert_eq!(receipts(&scene, 7), (3, 0, 0, vec![]));
    changed(team(dan, 7));
    scene.send(Draft::group(group(TEAM), bob, b"line 8"));
    assert_eq!(receipts(&scene, 7), (3, 2, 2, vec![(BOB, true), (DAN, true)]));
    assert_eq!(receipts(&scene, 8), (3, 0, 0, vec![]), "the sender is not among them");
    let scene = scene.reopened();
    assert_eq!(receipts(&scene, 7), (3, 2, 2, vec![(BOB, true), (DAN, true)]));
}
