//! A busy group keeps a week: what goes is nobody's to read, and every badge says so.
//! Owns: the story `retention_and_badge`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{
    ClientId, Draft, Edge, Effect, ErrorKind, GroupSettings, HistoryQuery, ListQuery, Loss, Outcome, Retention, Seq,
    Settings, Timeline, Timestamp, UserId,
};

use crate::replies::{changed, refused, unchanged};
use crate::scene::{HOUR, MINUTE, Scene, group, room, seqs, texts, user};

const ANN: UserId = UserId(1);
/// Has read nothing.
const BOB: UserId = UserId(2);
/// Has read up to the sixth.
const CAT: UserId = UserId(3);
/// Left after the fourth.
const DAN: UserId = UserId(4);
const TEAM: u64 = 42;
const DAY: u64 = 24 * HOUR;

fn trimmed(scene: &Scene) -> (u64, u64) {
    let maintained = scene.store.maintain(Timestamp::MAX).wait().unwrap();
    assert_eq!(maintained.effect, Effect::Unchanged, "the horizon is far away");
    (maintained.timelines_trimmed, maintained.messages_trimmed)
}

#[test]
fn retention_and_badge() {
    let scene = Scene::new();
    let timeline = Timeline::Group(group(TEAM));
    let team = room(TEAM);
    let week = Retention::default().age_secs(7 * 24 * 3_600);
    changed(scene.store.set_settings(Settings::default().retention_group(week).dedup_window_secs(30 * 24 * 3_600)));
    changed(scene.store.create_group(group(TEAM), GroupSettings::default().shows_history(true)));
    scene.store.join_many(group(TEAM), &[ANN, BOB, CAT, DAN]).wait().unwrap();

    // A message a day, the fifth a notice, the sixth mentions Bob, the third is recalled, and Dan leaves.
    for number in 1..=8u64 {
        let text = format!("day {number}");
        let draft = Draft::group(group(TEAM), ANN, text.as_bytes()).client_id(ClientId(number.into()));
        let sent = match number {
            5 => scene.send(draft.counts(false)),
            6 => scene.send(draft.mentions(&[BOB]).alerts(1)),
            2 => scene.send(draft.mentions(&[BOB]).alerts(1)),
            _ => scene.send(draft),
        };
        assert_eq!(sent.seq, Seq(number));
        if number == 4 {
            changed(scene.store.recall(ANN, timeline, Seq(3)));
            changed(scene.store.leave(group(TEAM), DAN));
        }
        scene.clock.advance(DAY);
    }
    scene.read(CAT, team, Seq(6));
    let activity = scene.entry(BOB, team).activity;
    let bob = scene.entry(BOB, team);
    assert_eq!((bob.unread, bob.goto.map(|goto| goto.0), bob.mentions.count), (6, Some(Seq(1)), 2));
    assert_eq!((bob.alerts[0].count, bob.alerts[0].oldest), (2, Seq(2)));
    let phones = [BOB, CAT, DAN].map(|user| scene.list(user).next);

    // Nothing goes before it is a week old; what is, goes for all at once.
    let due = scene.store.maintain(Timestamp(scene.store.time().now.0 - 3 * DAY)).wait().unwrap();
    assert_eq!(due.messages_trimmed, 0);
    assert_eq!(trimmed(&scene), (1, 1));
    scene.clock.advance(DAY);
    assert_eq!(trimmed(&scene), (1, 1), "the second; the third is a week old to the microsecond");
    scene.clock.advance(MINUTE);
    assert_eq!(trimmed(&scene), (0, 0), "once a day");
    scene.clock.advance(2 * DAY);
    assert_eq!(trimmed(&scene), (1, 3), "the recalled one, one that Cat read, the notice");

    // Six, seven, eight are left: the sixth mentions Bob.
    let bob = scene.entry(BOB, team);
    assert_eq!((bob.unread, bob.goto.map(|goto| goto.0), bob.mentions.count), (3, Some(Seq(6)), 1));
    assert_eq!((bob.mentions.oldest, bob.alerts[0].count, bob.alerts[0].oldest), (Some(Seq(6)), 1, Seq(6)));
    assert_eq!((bob.first, bob.last, bob.read_mark), (Seq(6), Seq(8), Seq(5)));
    assert_eq!(bob.activity, activity, "nothing was said");
    assert_eq!(scene.store.total_unread(BOB).unwrap().unread, 3);
    let cat = scene.entry(CAT, team);
    assert_eq!((cat.unread, cat.read_mark, cat.first), (2, Seq(6), Seq(6)));

    // Every phone learns it, also Dan's, whose session is empty now and stays on the list.
    for (user, cursor) in [BOB, CAT, DAN].iter().zip(&phones) {
        let news = scene.store.changed(*user, Some(cursor), &ListQuery::new()).unwrap();
        let entry = news.entries.iter().find(|entry| entry.peer == team).unwrap();
        assert!(entry.is_add && entry.amendments.is_empty(), "{entry:?}");
    }
    let dan = scene.entry(DAN, team);
    assert_eq!((dan.unread, dan.goto, dan.latest.len(), dan.first, dan.last), (0, None, 0, Seq(5), Seq(4)));
    let page = scene.page(DAN, team, HistoryQuery::newest());
    assert_eq!((page.messages.len(), page.older, page.newer), (0, Edge::Trimmed, Edge::NotVisible));

    // Pages end where the rest was.
    let page = scene.page(BOB, team, HistoryQuery::newest());
    assert_eq!((seqs(&page.messages), page.covers), (vec![8, 7, 6], Some((Seq(6), Seq(8)))));
    assert_eq!((page.older, page.newer), (Edge::Trimmed, Edge::End));
    let from_trimmed = scene.page(BOB, team, HistoryQuery::oldest().seqs(Seq(2)..));
    assert_eq!(seqs(&from_trimmed.messages), [6, 7, 8]);
    let below = scene.page(BOB, team, HistoryQuery::newest().seqs(..=Seq(3)));
    assert_eq!((below.messages.len(), below.older, below.newer), (0, Edge::Trimmed, Edge::More));

    // What was there is told from what never was.
    let trimmed_text = "the message was trimmed: group 42 seq=4";
    refused(&scene, ErrorKind::Trimmed, trimmed_text, || scene.store.recall(ANN, timeline, Seq(4)).wait());
    refused(&scene, ErrorKind::Trimmed, trimmed_text, || scene.store.edit(ANN, timeline, Seq(4), b"x").wait());
    let hidden = || scene.store.hide(BOB, team, &[Seq(7), Seq(4)]).wait();
    refused(&scene, ErrorKind::Trimmed, "the message was trimmed: group 42 user=2 seq=4", hidden);
    let receipts = scene.store.receipts(BOB, team, Seq(4), UserId::NONE, 10).unwrap_err();
    assert_eq!(receipts.kind(), ErrorKind::Trimmed);

    // A trim is nobody's reading: receipts rise only once Bob reads, even what is not there any more.
    let read = |seq| scene.store.receipts(ANN, team, Seq(seq), UserId::NONE, 10).unwrap().read;
    assert_eq!(read(6), 1);
    unchanged(&scene, || scene.store.clear(BOB, team, Seq(5)));
    scene.read(BOB, team, Seq(4));
    assert_eq!((scene.entry(BOB, team).unread, scene.entry(BOB, team).read_mark), (3, Seq(5)));
    scene.read(BOB, team, Seq(6));
    assert_eq!((scene.entry(BOB, team).unread, read(6)), (2, 2));
    changed(scene.store.mark_unread_from(BOB, team, Seq(1)));
    assert_eq!((scene.entry(BOB, team).unread, scene.entry(BOB, team).read_mark), (3, Seq(5)));
    unchanged(&scene, || scene.store.mark_unread_from(BOB, team, Seq(3)));

    // A retry of what is gone is one, whatever it says; to who joins, what is left is shown.
    let retry = |number: u64, text: &[u8]| {
        scene.send(Draft::group(group(TEAM), ANN, text).client_id(ClientId(number.into())).kind(9))
    };
    assert_eq!(scene.store.find(timeline, ANN, ClientId(5)).unwrap(), Some(Seq(5)));
    let again = retry(5, b"another text");
    assert_eq!((again.outcome, again.seq), (Outcome::Duplicate, Seq(5)));
    changed(scene.store.join(group(TEAM), user(9)));
    assert_eq!(texts(&scene.all(user(9), team)), ["day 6", "day 7", "day 8"]);
    changed(scene.store.join(group(TEAM), DAN));
    let dan = scene.entry(DAN, team);
    assert_eq!((dan.first, dan.last, dan.unread), (Seq(6), Seq(8), 0));

    // All of it is so after a crash, too.
    let (digest, bob) = (scene.store.state_digest().unwrap(), scene.entry(BOB, team));
    let scene = scene.after_crash(Loss::All);
    assert_eq!((scene.store.state_digest().unwrap(), scene.entry(BOB, team)), (digest, bob));
}
