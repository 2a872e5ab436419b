//! A message is taken back long after it was sent.
//! Owns: the story `late_recall`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{
    AmendmentCursor, AmendmentKind, ClientId, Cursor, Draft, Entry, ErrorKind, HistoryQuery, ListQuery, Loss, Outcome,
    Seq, Timeline, Timestamp,
};

use crate::replies::{amended, changed, refused, unchanged};
use crate::scene::{HOUR, MINUTE, START, Scene, group, room, seqs, texts, user, with};

const ANN: u64 = 1;
const BOB: u64 = 2;
const CAT: u64 = 3;
const DAY: u64 = 24 * HOUR;

/// What a terminal is told by its cursor: it moves on.
fn walk(scene: &Scene, id: u64, cursor: &mut Cursor) -> Vec<Entry> {
    let list = scene.store.changed(user(id), Some(cursor), &ListQuery::new()).unwrap();
    assert!(!list.more);
    *cursor = list.next;
    list.entries
}

#[test]
fn late_recall() {
    let scene = Scene::new();
    let (ann, bob) = (user(ANN), user(BOB));
    let chat = Timeline::direct(ann, bob);
    let wrong = Draft::direct(ann, bob, b"the wrong photo").client_id(ClientId(77));
    for number in 1..=4_u64 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::direct(bob, ann, format!("before {number}").as_bytes()));
    }
    assert_eq!(scene.send(wrong).seq, Seq(5));
    // Bob's phone and tablet fetch it and he reads it. Then much else is said, and read.
    let mut phone = scene.list(bob).next;
    assert_eq!(texts(&scene.all(bob, with(ANN)))[4], "the wrong photo");
    for number in 1..=200_u64 {
        scene.clock.advance(HOUR / 2);
        scene.send(Draft::direct(ann, bob, format!("after {number}").as_bytes()));
    }
    scene.read(bob, with(ANN), Seq(205));
    let mut tablet = scene.list(bob).next;
    let mut anns = scene.list(ann).next;
    // Cat hears nothing of any of it, now or later.
    scene.clock.advance(MINUTE);
    scene.send(Draft::direct(user(CAT), bob, b"unrelated"));
    let mut cats = scene.list(user(CAT)).next;
    walk(&scene, BOB, &mut tablet);
    let before = scene.entry(bob, with(ANN));

    // Four days on she takes it back. No terminal of Bob will ever pull that page again.
    scene.clock.advance(HOUR);
    let at = Timestamp(START.0 + 5 * MINUTE + 101 * HOUR);
    let recalled = changed(scene.store.recall(ann, chat, Seq(5)));
    let came = walk(&scene, BOB, &mut tablet);
    assert_eq!(came.len(), 1);
    let entry = &came[0];
    assert_eq!((entry.peer, entry.version, entry.session_timestamp), (with(ANN), recalled, at));
    let [amendment] = &entry.amendments[..] else { panic!("one amendment: {:?}", entry.amendments) };
    assert_eq!((amendment.seq, amendment.version, amendment.at), (Seq(5), recalled, at));
    assert_eq!((amendment.by, amendment.kind), (ann, AmendmentKind::Recalled));
    assert!(entry.amendments_more.is_none());
    // It is no news otherwise: nothing unread, nothing to jump to, not moved up in the list, the same latest.
    assert_eq!((entry.unread, entry.goto, entry.read_mark), (0, None, Seq(205)));
    assert_eq!((entry.activity, &entry.latest), (before.activity, &before.latest));
    assert_eq!(scene.store.recent(bob, None, &ListQuery::new()).unwrap().entries[0].peer, with(CAT));
    assert_eq!(walk(&scene, BOB, &mut tablet), [], "told once");
    // Her own other terminal learns it just so, and Cat does not.
    let came = walk(&scene, ANN, &mut anns);
    assert_eq!(came.len(), 1);
    assert_eq!((came[0].peer, amended(&came[0].amendments)), (with(BOB), vec![(5, AmendmentKind::Recalled, ANN)]));
    assert_eq!(walk(&scene, CAT, &mut cats), []);

    // Whoever does pull the page finds a notice in its place, and the seqs stay dense.
    let page = scene.page(bob, with(ANN), HistoryQuery::oldest().seqs(Seq(4)..=Seq(6)));
    assert_eq!((seqs(&page.messages), texts(&page.messages)), (vec![4, 5, 6], texts_of(["before 4", "", "after 1"])));
    let notice = &page.messages[1];
    assert_eq!((notice.sender, notice.counts, notice.edited), (ann, true, None));
    assert_eq!(notice.recalled.as_ref().map(|recalled| (recalled.by, recalled.at)), Some((ann, at)));
    assert!(page.messages[0].recalled.is_none() && page.messages[2].recalled.is_none());
    // The client id is taken still: a retry that comes late gets the first answer, whatever it carries.
    for body in [&b"the wrong photo"[..], b"something else"] {
        let retry = scene.send(Draft::direct(ann, bob, body).client_id(ClientId(77)));
        assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, Seq(5)));
    }
    assert_eq!(scene.store.find(chat, ann, ClientId(77)).unwrap(), Some(Seq(5)));
    // Again, by whomever, is nothing; and what was taken back cannot be put right.
    unchanged(&scene, || scene.store.recall(ann, chat, Seq(5)));
    unchanged(&scene, || scene.store.recall(bob, chat, Seq(5)));
    let text = "the message was recalled: direct 1-2 seq=5";
    refused(&scene, ErrorKind::Refused, text, || scene.store.edit(ann, chat, Seq(5), b"better").wait());

    // The power goes. The phone, which slept since before the first of the 200, learns it by its next walk.
    let crashed = scene.after_crash(Loss::All);
    let scene = scene.reopened();
    for scene in [&crashed, &scene] {
        let mut cursor = phone;
        let came = walk(scene, BOB, &mut cursor);
        assert_eq!(came.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [with(CAT), with(ANN)]);
        assert_eq!(came[1].amendments, entry.amendments);
        assert_eq!(came[1].last, Seq(205));
    }
    walk(&scene, BOB, &mut phone);

    // A terminal from nothing holds nothing, so it is told of nothing; its pages show the notice. It may ask all the same.
    let fresh = scene.list(bob);
    assert!(fresh.entries.iter().all(|entry| entry.amendments.is_empty() && entry.amendments_more.is_none()));
    let all = scene.store.amendments(bob, with(ANN), None, 10).unwrap();
    assert_eq!((all.amendments, all.more), (entry.amendments.clone(), false));

    // The end of the list: a notice is what the list shows, while the badge forgets what was never read.
    scene.clock.advance(MINUTE);
    scene.send(Draft::direct(ann, bob, b"oops"));
    assert_eq!(walk(&scene, BOB, &mut tablet)[0].unread, 1);
    changed(scene.store.recall(ann, chat, Seq(206)));
    let came = walk(&scene, BOB, &mut tablet);
    assert_eq!((came[0].unread, came[0].goto, came[0].last), (0, None, Seq(206)));
    assert!(came[0].latest[0].seq == Seq(206) && came[0].latest[0].recalled.is_some());
    assert!(came[0].latest[0].body.is_empty());
    assert_eq!(came[0].activity, scene.all(bob, with(ANN))[205].timestamp, "a recalled message is activity still");
}

/// More at once than an entry carries: the rest is paged, in the order in which it happened.
#[test]
fn late_recall_of_many() {
    let scene = Scene::new();
    let (ann, bob, cat) = (user(ANN), user(BOB), user(CAT));
    let timeline = Timeline::Group(group(42));
    scene.store.join_many(group(42), &[ann, bob]).wait().unwrap();
    for number in 1..=100_u64 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::group(group(42), ann, format!("line {number}").as_bytes()));
        if number == 50 {
            scene.store.join(group(42), cat).wait().unwrap();
        }
    }
    let tablets: Vec<Cursor> = [bob, cat].into_iter().map(|id| scene.list(id).next).collect();
    // The last of the hundred first: 100, 98, … 2, by the server itself.
    for seq in (1..=50_u64).map(|number| 102 - 2 * number) {
        scene.clock.advance(MINUTE);
        changed(scene.store.recall(restante::UserId::NONE, timeline, Seq(seq)));
    }
    let recalls = |first: u64, last: u64| -> Vec<_> {
        (last..=first).rev().step_by(2).map(|seq| (seq, AmendmentKind::Recalled, 0)).collect()
    };
    let scene = scene.reopened();
    scene.clock.advance(80 * DAY);
    // Bob, who slept for 80 days, gets the 32 oldest, and by their last the other 18.
    let list = scene.store.changed(bob, Some(&tablets[0]), &ListQuery::new()).unwrap();
    let entry = &list.entries[0];
    assert_eq!((entry.unread, amended(&entry.amendments)), (50, recalls(100, 38)));
    assert_eq!(entry.amendments.len(), 32);
    let since = entry.amendments_more.expect("there are more");
    let since = AmendmentCursor::from_bytes(&since.to_bytes()).unwrap();
    let rest = scene.store.amendments(bob, room(42), Some(&since), 1_000).unwrap();
    assert_eq!((amended(&rest.amendments), rest.more), (recalls(36, 2), false));
    let (mut found, mut cursor) = (entry.amendments.clone(), since);
    for page in 1..=6 {
        let next = scene.store.amendments(bob, room(42), Some(&cursor), 3).unwrap();
        assert_eq!((next.amendments.len(), next.more), (3, page < 6));
        found.extend(next.amendments);
        cursor = next.next;
    }
    assert_eq!(amended(&found), recalls(100, 2));
    assert!(found.windows(2).all(|pair| pair[0].version < pair[1].version));
    let next = scene.store.amendments(bob, room(42), Some(&cursor), 3).unwrap();
    assert_eq!((next.amendments.len(), next.more, next.next), (0, false, cursor));
    // Cat came after the fiftieth: the 25 above it fit, and of those below she hears nothing.
    let list = scene.store.changed(cat, Some(&tablets[1]), &ListQuery::new()).unwrap();
    assert_eq!((list.entries[0].unread, amended(&list.entries[0].amendments)), (25, recalls(100, 52)));
    assert!(list.entries[0].amendments_more.is_none());
    let all = scene.store.amendments(cat, room(42), None, 1_000).unwrap();
    assert_eq!(amended(&all.amendments), recalls(100, 52));
}

fn texts_of<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}
