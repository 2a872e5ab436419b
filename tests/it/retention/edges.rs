//! What is gone and what is left, at the edge between them: marks, pages, amendments, retries.
//! Owns: what each call says about a trimmed message. May touch: `retention`, `scene`, `replies`.
//! Never: asks what is to go.

use restante::{
    AmendmentKind, CatchUpQuery, ClientId, Draft, Edge, ErrorKind, HistoryQuery, ListQuery, Loss, Outcome, Seq,
    Timeline, Timestamp, UserId, Version,
};

use super::{ANN, BOB, CAT, keep, keep_of_users, left, nothing_trimmed, say, trimmed};
use crate::replies::{amended, changed, refused, unchanged};
use crate::scene::{HOUR, MINUTE, SECOND, Scene, seqs, whole, with};

fn chat() -> Timeline {
    Timeline::direct(ANN, BOB)
}

/// Ten messages, a minute apart, of which the first `gone` are trimmed.
fn ten(gone: u64) -> Scene {
    let scene = Scene::new();
    for _ in 0..10 {
        scene.clock.advance(MINUTE);
        say(&scene, &[1]);
    }
    cut(&scene, 10 - gone, gone);
    scene
}

/// Trims down to so many, which takes so many.
#[track_caller]
fn cut(scene: &Scene, kept: u64, gone: u64) {
    keep_of_users(scene, keep().count(kept));
    assert_eq!(trimmed(scene), (u64::from(gone > 0), gone));
}

#[test]
fn marks_of_what_is_gone() {
    let scene = ten(4);
    let entry = || scene.entry(BOB, with(1));
    assert_eq!((entry().unread, entry().read_mark, entry().goto.unwrap().0), (6, Seq(4), Seq(5)));
    let (read, delivered) = (|| scene.entry(ANN, with(2)).other_read.0, || scene.entry(ANN, with(2)).other_delivered.0);
    assert_eq!((read(), delivered()), (0, 0), "a trim is nobody's reading");
    // Reading what is gone tells the other side, and nothing else.
    for upto in [1, 3, 4] {
        changed(scene.store.mark_read(BOB, with(1), Seq(upto)));
        assert_eq!((read(), delivered(), entry().unread, entry().read_mark), (upto, upto, 6, Seq(4)));
        unchanged(&scene, || scene.store.mark_read(BOB, with(1), Seq(upto)));
    }
    changed(scene.store.mark_read(BOB, with(1), Seq(5)));
    assert_eq!((read(), entry().unread, entry().read_mark), (5, 5, Seq(5)));
    // Back no further than to what is left.
    unchanged(&scene, || scene.store.mark_unread_from(BOB, with(1), Seq(6)));
    changed(scene.store.mark_unread_from(BOB, with(1), Seq(2)));
    assert_eq!((read(), entry().unread, entry().read_mark), (5, 6, Seq(4)));
    for seq in [1, 4, 5] {
        unchanged(&scene, || scene.store.mark_unread_from(BOB, with(1), Seq(seq)));
    }
    // What is gone need not be cleared; above it a clear is one.
    for upto in [1, 4] {
        unchanged(&scene, || scene.store.clear(BOB, with(1), Seq(upto)));
    }
    changed(scene.store.clear(BOB, with(1), Seq(6)));
    assert_eq!((entry().unread, entry().first), (4, Seq(7)));
    assert_eq!(scene.page(BOB, with(1), HistoryQuery::newest()).older, Edge::NotVisible, "the clear is above the trim");
    assert_eq!(scene.page(ANN, with(2), HistoryQuery::newest()).older, Edge::Trimmed);
    cut(&scene, 4, 2);
    assert_eq!(scene.page(BOB, with(1), HistoryQuery::newest()).older, Edge::Trimmed, "the trim is at the clear");
}

#[test]
fn a_mark_that_moved_back_below_own_messages() {
    let scene = Scene::new();
    for number in 0..10 {
        let (from, to) = if number % 2 == 0 { (ANN, BOB) } else { (BOB, ANN) };
        scene.send(Draft::direct(from, to, b"x").alerts(1));
    }
    changed(scene.store.mark_unread_from(BOB, with(1), Seq(1)));
    assert_eq!(scene.entry(BOB, with(1)).unread, 5);
    changed(scene.store.recall(ANN, chat(), Seq(3)));
    changed(scene.store.hide(BOB, with(1), &[Seq(5)]));
    for (kept, gone, unread, oldest) in [(9, 1, 2, 7), (7, 2, 2, 7), (4, 3, 2, 7), (3, 1, 1, 9), (1, 2, 0, 0)] {
        cut(&scene, kept, gone);
        let entry = scene.entry(BOB, with(1));
        assert_eq!((entry.unread, entry.goto.map_or(0, |(seq, _)| seq.0)), (unread, oldest), "{kept} are kept");
        let alerts = entry.alerts.first().map_or((0, 0), |alert| (alert.count, alert.oldest.0));
        assert_eq!(alerts, (unread, oldest));
        assert_eq!(scene.after_crash(Loss::All).entry(BOB, with(1)), entry);
    }
}

#[test]
fn pages_by_seq_and_by_time() {
    let scene = ten(4);
    let times: Vec<Timestamp> = scene.all(BOB, with(1)).iter().map(|message| message.timestamp).collect();
    let start = times[0].0 - 4 * MINUTE;
    let page = |query| {
        let page = scene.page(BOB, with(1), query);
        (seqs(&page.messages), page.covers.map(|(first, last)| (first.0, last.0)), page.older, page.newer)
    };
    use Edge::{End, More, Trimmed};
    let (newest, oldest) = (HistoryQuery::newest, HistoryQuery::oldest);
    assert_eq!(page(newest().limit(3)), (vec![10, 9, 8], Some((8, 10)), More, End));
    assert_eq!(page(newest().seqs(..Seq(7))), (vec![6, 5], Some((5, 6)), Trimmed, More));
    assert_eq!(page(oldest().limit(2)), (vec![5, 6], Some((5, 6)), Trimmed, More));
    for low in [1, 4, 5] {
        assert_eq!(page(oldest().seqs(Seq(low)..=Seq(6))), (vec![5, 6], Some((5, 6)), Trimmed, More));
    }
    for high in [0, 1, 4] {
        for query in [newest(), oldest()] {
            assert_eq!(page(query.seqs(..=Seq(high))), (vec![], None, Trimmed, More), "up to {high}");
        }
    }
    // By times: those of what is gone are nobody's.
    let at = |minutes: u64| Timestamp(start + minutes * MINUTE);
    assert_eq!(page(oldest().times(at(0)..=at(5))), (vec![5, 6], Some((5, 6)), Trimmed, More));
    assert_eq!(page(newest().times(at(1)..at(4))), (vec![], None, Trimmed, More));
    assert_eq!(page(newest().times(at(7)..)), (vec![10, 9, 8], Some((8, 10)), More, End));
    // Nothing is left.
    keep_of_users(&scene, keep().body_bytes(1));
    scene.clock.advance(MINUTE);
    say(&scene, &[2]);
    assert_eq!(trimmed(&scene), (1, 7));
    for query in [newest(), oldest(), newest().seqs(..=Seq(3)), oldest().seqs(Seq(3)..), newest().times(at(0)..)] {
        assert_eq!(page(query), (vec![], None, Trimmed, End));
    }
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.first, entry.last, entry.read_mark, entry.unread), (Seq(12), Seq(11), Seq(11), 0));
    assert!(entry.latest.is_empty() && entry.goto.is_none() && entry.is_add);
    assert_eq!(entry.activity.0, scene.store.time().now.0, "of the newest, though it is gone");
    // What comes then is all there is.
    say(&scene, &[1]);
    nothing_trimmed(&scene);
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.first, entry.last, entry.unread, entry.goto.unwrap().0), (Seq(12), Seq(12), 1, Seq(12)));
    assert_eq!(page(newest()), (vec![12], Some((12, 12)), Trimmed, End));
}

#[test]
fn amendments_go_with_their_messages() {
    let scene = ten(0);
    let cursor = scene.list(BOB).next;
    for seq in [2, 4, 7] {
        changed(scene.store.recall(ANN, chat(), Seq(seq)));
        changed(scene.store.edit(ANN, chat(), Seq(seq + 1), b"better"));
    }
    changed(scene.store.hide(BOB, with(1), &[Seq(1), Seq(9)]));
    assert_eq!(scene.entry(BOB, with(1)).unread, 5);
    cut(&scene, 6, 4);
    use AmendmentKind::{Edited, Hidden, Recalled};
    let want = [(5, Edited, 1), (7, Recalled, 1), (8, Edited, 1), (9, Hidden, 2)];
    let page = scene.store.amendments(BOB, with(1), None, 10).unwrap();
    assert_eq!((amended(&page.amendments), page.more), (want.to_vec(), false));
    let news = scene.store.changed(BOB, Some(&cursor), &ListQuery::new()).unwrap();
    assert_eq!(amended(&news.entries[0].amendments), want);
    assert_eq!((news.entries[0].unread, news.entries[0].goto.unwrap().0), (4, Seq(5)));
    let again = scene.after_crash(Loss::All);
    assert_eq!(again.entry(BOB, with(1)), scene.entry(BOB, with(1)));
    // Each call about one that is gone says so, whatever became of it before; nobody can hide it either.
    let text = |seq: u64| format!("the message was trimmed: direct 1-2 seq={seq}");
    for seq in [1, 2, 3, 4] {
        refused(&scene, ErrorKind::Trimmed, &text(seq), || scene.store.recall(ANN, chat(), Seq(seq)).wait());
        refused(&scene, ErrorKind::Trimmed, &text(seq), || scene.store.edit(ANN, chat(), Seq(seq), b"x").wait());
        let text = format!("the message was trimmed: direct 1-2 user=2 seq={seq}");
        refused(&scene, ErrorKind::Trimmed, &text, || scene.store.hide(BOB, with(1), &[Seq(seq), Seq(6)]).wait());
        let receipts = || scene.store.receipts(BOB, with(1), Seq(seq), UserId::NONE, 10);
        refused(&scene, ErrorKind::Trimmed, &text, receipts);
    }
    unchanged(&scene, || scene.store.recall(ANN, chat(), Seq(7)));
    changed(scene.store.hide(BOB, with(1), &[Seq(5)]));
    changed(scene.store.recall(ANN, chat(), Seq(5)));
}

#[test]
fn a_retry_of_what_is_gone_is_a_duplicate() {
    let scene = Scene::new();
    let draft = |id: u128, body: &'static [u8]| Draft::direct(ANN, BOB, body).client_id(ClientId(id));
    let first = scene.send(draft(1, b"one"));
    scene.clock.advance(SECOND);
    scene.send(draft(2, b"two"));
    let conflict = || scene.store.append(draft(1, b"other")).wait().unwrap_err().kind();
    assert_eq!(conflict(), ErrorKind::Conflict);
    cut(&scene, 1, 1);
    let text = "client id is taken by another message: direct 1-2 seq=2";
    for scene in [&scene, &scene.after_crash(Loss::All)] {
        for retry in [draft(1, b"one"), draft(1, b"other"), draft(1, b"one").kind(5)] {
            let again = scene.send(retry);
            assert_eq!((again.outcome, again.seq), (Outcome::Duplicate, Seq(1)));
            assert_eq!((again.timestamp, again.version), (first.timestamp, first.version));
        }
        assert_eq!(scene.store.find(chat(), ANN, ClientId(1)).unwrap(), Some(Seq(1)));
        refused(scene, ErrorKind::Conflict, text, || scene.store.append(draft(2, b"other")).wait());
    }
    // For its window, no longer.
    scene.clock.advance(7 * 24 * HOUR - SECOND - 1);
    assert_eq!(scene.send(draft(1, b"other")).outcome, Outcome::Duplicate);
    scene.clock.advance(1);
    assert_eq!(scene.store.find(chat(), ANN, ClientId(1)).unwrap(), None);
    assert_eq!(scene.store.find(chat(), ANN, ClientId(2)).unwrap(), Some(Seq(2)));
    let again = scene.send(draft(1, b"other"));
    assert_eq!((again.outcome, again.seq), (Outcome::Written, Seq(3)));
}

/// What is on its way when a trim comes, and what comes when a trim is on its way.
#[test]
fn what_is_pending_beside_a_trim() {
    let scene = ten(0);
    keep_of_users(&scene, keep().count(6));
    let before = scene.store.version();
    let recall = scene.store.recall(ANN, chat(), Seq(2));
    let hide = scene.store.hide(BOB, with(1), &[Seq(3), Seq(6)]);
    let round = scene.store.maintain(Timestamp::MAX);
    let again = scene.store.maintain(Timestamp::MAX);
    let read = scene.store.mark_read(BOB, with(1), Seq(3));
    let late = [scene.store.recall(ANN, chat(), Seq(4)), scene.store.edit(ANN, chat(), Seq(2), b"x")];
    let back = scene.store.mark_unread_from(BOB, with(1), Seq(2));
    let late_hide = scene.store.hide(BOB, with(1), &[Seq(2)]);
    assert_eq!(scene.all(BOB, with(1)).len(), 10, "nothing of it is published");
    changed(recall);
    changed(hide);
    assert_eq!(round.wait().unwrap().messages_trimmed, 4);
    let again = again.wait().unwrap();
    assert_eq!((again.timelines_trimmed, again.messages_trimmed), (0, 0));
    changed(read);
    for ticket in late.into_iter().chain([late_hide]) {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Trimmed);
    }
    assert_eq!(back.wait().unwrap(), restante::Effect::Unchanged);
    assert_eq!(scene.store.version(), Version(before.0 + 4), "recalled, hidden, trimmed once, read");
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.unread, entry.read_mark, left(&scene)), (5, Seq(4), vec![5, 7, 8, 9, 10]));
    assert_eq!(scene.after_crash(Loss::All).entry(BOB, with(1)), entry);
}

/// Notices go without a word; what counts does not.
#[test]
fn a_trim_of_notices_raises_no_version() {
    let scene = Scene::new();
    for number in 0..6 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::direct(ANN, BOB, b"x").counts(number >= 3));
    }
    let before = scene.entry(BOB, with(1));
    let cursor = scene.list(BOB).next;
    let news = || scene.store.changed(BOB, Some(&cursor), &ListQuery::new()).unwrap().entries;
    cut(&scene, 4, 2);
    let after = scene.entry(BOB, with(1));
    assert_eq!((after.version, after.session_timestamp), (before.version, before.session_timestamp));
    assert_eq!((after.first, after.read_mark, after.unread), (Seq(3), Seq(2), 3));
    assert_eq!(news(), []);
    scene.clock.advance(HOUR);
    cut(&scene, 2, 2);
    let after = scene.entry(BOB, with(1));
    assert_eq!((after.version, after.session_timestamp), (scene.store.version(), scene.store.time().now));
    assert_eq!(after.activity, before.activity, "nothing was said");
    assert_eq!(news(), [after]);
    // Sorted by what was said, not by what went.
    scene.send(Draft::direct(CAT, BOB, b"x"));
    let peers = || {
        let recent = scene.store.recent(BOB, None, &ListQuery::new()).unwrap();
        recent.entries.iter().map(|entry| entry.peer).collect::<Vec<_>>()
    };
    let order = peers();
    cut(&scene, 1, 1);
    assert_eq!(peers(), order);
}

#[test]
fn a_client_catches_up_over_a_trim() {
    let scene = ten(0);
    let first = scene.store.catch_up(BOB, None, &whole()).unwrap();
    assert_eq!(first.entries[0].messages.len(), 0, "from nothing nothing is carried");
    say(&scene, &[1, 1, 1]);
    cut(&scene, 2, 11);
    let list = scene.store.catch_up(BOB, Some(&first.next), &whole()).unwrap();
    assert_eq!(seqs(&list.entries[0].messages), [12, 13]);
    assert_eq!(list.entries[0].first, Seq(12));
    // A session that was removed, and came back by a message that is gone by now.
    changed(scene.store.remove_session(BOB, with(1)));
    let gone = scene.store.catch_up(BOB, Some(&list.next), &whole()).unwrap();
    assert!(!gone.entries[0].is_add);
    scene.send(Draft::direct(ANN, BOB, b"notice").counts(false));
    let walk = scene.store.catch_up(BOB, Some(&gone.next), &whole()).unwrap();
    scene.send(Draft::direct(ANN, BOB, b"back"));
    scene.send(Draft::direct(ANN, BOB, b"more"));
    let back = scene.store.catch_up(BOB, Some(&walk.next), &whole()).unwrap();
    assert_eq!(seqs(&back.entries[0].messages), [14, 15, 16], "also the notice from before it was back");
    cut(&scene, 1, 4);
    let back = scene.store.catch_up(BOB, Some(&walk.next), &whole()).unwrap();
    assert_eq!((back.entries[0].is_add, seqs(&back.entries[0].messages)), (true, vec![16]));
    let after = scene.store.catch_up(BOB, Some(&back.next), &whole()).unwrap();
    assert!(after.entries.is_empty());
    // Over the bounds, none of what is left.
    let most = CatchUpQuery::new().messages(0);
    let none = scene.store.catch_up(BOB, Some(&walk.next), &most).unwrap();
    assert!(none.entries[0].messages_left_out);
}

/// A session that is removed once all of it is gone is removed, and comes back with what is new.
#[test]
fn removed_when_nothing_is_left() {
    let scene = ten(0);
    keep_of_users(&scene, keep().body_bytes(1));
    say(&scene, &[2]);
    assert_eq!(trimmed(&scene), (1, 11));
    changed(scene.store.remove_session(BOB, with(1)));
    unchanged(&scene, || scene.store.remove_session(BOB, with(1)));
    assert!(!scene.entry_or_tombstone(BOB, with(1)).is_add);
    scene.send(Draft::direct(ANN, BOB, b"").counts(false));
    assert!(!scene.entry_or_tombstone(BOB, with(1)).is_add, "a notice brings nothing back");
    scene.send(Draft::direct(ANN, BOB, b""));
    keep_of_users(&scene, keep().count(1));
    assert_eq!(trimmed(&scene), (1, 1));
    let entry = scene.entry(BOB, with(1));
    assert_eq!((entry.is_add, entry.unread, entry.first), (true, 1, Seq(13)));
    say(&scene, &[3]);
    keep_of_users(&scene, keep().body_bytes(1));
    assert_eq!(trimmed(&scene), (1, 2));
    assert!(scene.entry(BOB, with(1)).is_add, "once revived it stays");
}
