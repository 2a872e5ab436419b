//! Trims, and those who left, joined, were removed, or never looked.
//! Owns: what a trim does to sessions that end or begin. May touch: `retention`, `scene`, `replies`.
//! Never: asks what is to go.

use restante::{
    Draft, Edge, ErrorKind, GroupSettings, HistoryQuery, ListQuery, Peer, Seq, Settings, Source, SystemId, Timeline,
    Timestamp, UserId, Version,
};

use super::{ANN, BOB, CAT, DAY, keep, nothing_trimmed, trimmed};
use crate::replies::changed;
use crate::scene::{MINUTE, Scene, group, room, seqs, texts};

const TEAM: u64 = 7;

fn keep_of_groups(scene: &Scene, count: u64) {
    changed(scene.store.set_settings(Settings::default().retention_group(keep().count(count))));
}

fn say(scene: &Scene, count: u64) {
    for _ in 0..count {
        scene.clock.advance(MINUTE);
        scene.send(Draft::group(group(TEAM), ANN, b"x"));
    }
}

fn group_of_three(shows_history: bool) -> Scene {
    let scene = Scene::new();
    changed(scene.store.create_group(group(TEAM), GroupSettings::default().shows_history(shows_history)));
    scene.store.join_many(group(TEAM), &[ANN, BOB, CAT]).wait().unwrap();
    scene
}

/// Trims down to so many.
#[track_caller]
fn cut(scene: &Scene, count: u64) -> Version {
    keep_of_groups(scene, count);
    assert_eq!(trimmed(scene).0, 1);
    scene.store.version()
}

/// Bob leaves after the fifth, of which the third was a notice.
fn bob_left() -> Scene {
    let scene = group_of_three(false);
    say(&scene, 2);
    scene.send(Draft::group(group(TEAM), ANN, b"notice").counts(false));
    say(&scene, 2);
    changed(scene.store.mark_read(BOB, room(TEAM), Seq(1)));
    changed(scene.store.leave(group(TEAM), BOB));
    say(&scene, 5);
    scene
}

#[test]
fn one_who_left_is_told_of_trims_up_to_its_end() {
    let scene = bob_left();
    let entry = || scene.entry(BOB, room(TEAM));
    let before = entry();
    assert_eq!((before.unread, before.last), (3, Seq(5)));
    let cut_to = |count| (cut(&scene, count), entry());
    let (version, after) = cut_to(8);
    assert_eq!((after.version, after.unread, after.first, after.read_mark), (version, 2, Seq(3), Seq(2)));
    assert_eq!(after.activity, before.activity);
    // The notice goes unheard.
    let (_, quiet) = cut_to(7);
    assert_eq!((quiet.version, quiet.unread, quiet.first, quiet.read_mark), (version, 2, Seq(4), Seq(3)));
    // Over its end, and what was its own is told.
    let (version, after) = cut_to(3);
    assert_eq!((after.version, after.unread, after.goto, after.latest.len()), (version, 0, None, 0));
    assert_eq!((after.first, after.last, after.read_mark), (Seq(6), Seq(5), Seq(5)));
    assert!(after.is_add);
    let page = scene.page(BOB, room(TEAM), HistoryQuery::newest());
    assert_eq!((page.messages.len(), page.older, page.newer), (0, Edge::Trimmed, Edge::NotVisible));
    // Beyond it is nothing of its own any more: the entry stays as it is.
    let (_, still) = cut_to(1);
    assert_eq!(still, after);
    assert_eq!(scene.entry(CAT, room(TEAM)).version, scene.store.version());
    assert_eq!(scene.after_crash(restante::Loss::All).entry(BOB, room(TEAM)), after);
    // It removes the session like any other.
    changed(scene.store.remove_session(BOB, room(TEAM)));
    assert!(!scene.entry_or_tombstone(BOB, room(TEAM)).is_add);
}

/// What became of messages that are gone by now still stands in the version of those who left.
#[test]
fn an_amendment_of_what_is_gone_was_told() {
    let scene = bob_left();
    let timeline = Timeline::Group(group(TEAM));
    let edit = changed(scene.store.edit(ANN, timeline, Seq(3), b"better notice"));
    assert_eq!(scene.entry(BOB, room(TEAM)).version, edit);
    let trim = cut(&scene, 8);
    assert_eq!(scene.entry(BOB, room(TEAM)).version, trim);
    let edit = changed(scene.store.edit(ANN, timeline, Seq(3), b"best notice"));
    changed(scene.store.recall(ANN, timeline, Seq(8)));
    cut(&scene, 7);
    let entry = scene.entry(BOB, room(TEAM));
    assert_eq!((entry.version, entry.first, entry.amendments.len()), (edit, Seq(4), 0));
    assert_eq!(scene.after_crash(restante::Loss::All).entry(BOB, room(TEAM)), entry);
}

/// Below the horizon the newest trim speaks for all: nobody is told again, and nothing is missed.
#[test]
fn trims_below_the_horizon_become_one() {
    let scene = bob_left();
    let versions = [9, 8, 6, 5, 4].map(|count| cut(&scene, count));
    // The third took the last of Bob's that count but one, the fourth the last.
    assert_eq!(scene.entry(BOB, room(TEAM)).version, versions[3]);
    scene.clock.advance(91 * DAY);
    let reader = scene.list(BOB).next;
    let horizon = scene.store.maintain(Timestamp::MAX).wait().unwrap().horizon;
    assert_eq!(horizon, versions[4]);
    let entry = scene.entry(BOB, room(TEAM));
    assert_eq!(entry.version, versions[4]);
    assert!(scene.store.changed(BOB, Some(&reader), &ListQuery::new()).unwrap().entries.is_empty());
    // The next one, above Bob's end, forgets the others; that cannot be told.
    let digest = scene.store.state_digest().unwrap();
    assert_eq!(scene.after_crash(restante::Loss::All).store.state_digest().unwrap(), digest);
    cut(&scene, 2);
    assert_eq!(scene.entry(BOB, room(TEAM)), entry);
    assert_eq!(scene.after_crash(restante::Loss::All).entry(BOB, room(TEAM)), entry);
}

#[test]
fn who_joins_sees_what_is_left() {
    let scene = group_of_three(true);
    say(&scene, 6);
    changed(scene.store.clear(BOB, room(TEAM), Seq(2)));
    changed(scene.store.leave(group(TEAM), BOB));
    changed(scene.store.clear(CAT, room(TEAM), Seq(5)));
    changed(scene.store.leave(group(TEAM), CAT));
    cut(&scene, 2);
    for user in [BOB, CAT, UserId(9)] {
        changed(scene.store.join(group(TEAM), user));
    }
    let first = |user| {
        let entry = scene.entry(user, room(TEAM));
        assert_eq!((entry.unread, entry.last, entry.read_mark), (0, Seq(6), Seq(6)));
        (entry.first.0, scene.page(user, room(TEAM), HistoryQuery::newest()).older)
    };
    assert_eq!(first(BOB), (5, Edge::Trimmed), "its own clear lies below");
    assert_eq!(first(CAT), (6, Edge::NotVisible), "its own clear lies above");
    assert_eq!(first(UserId(9)), (5, Edge::Trimmed));
    changed(scene.store.mark_unread_from(UserId(9), room(TEAM), Seq(1)));
    assert_eq!(scene.entry(UserId(9), room(TEAM)).unread, 2);
    // Mentions that are gone are nobody's to count.
    scene.send(Draft::group(group(TEAM), ANN, b"look").mentions(&[BOB]).alerts(2));
    scene.send(Draft::group(group(TEAM), ANN, b"look").mentions(&[BOB]).alerts(2));
    let counted = || {
        let entry = scene.entry(BOB, room(TEAM));
        (entry.mentions.count, entry.mentions.oldest, entry.alerts.first().map(|alert| (alert.count, alert.oldest)))
    };
    assert_eq!(counted(), (2, Some(Seq(7)), Some((2, Seq(7)))));
    cut(&scene, 1);
    assert_eq!(counted(), (1, Some(Seq(8)), Some((1, Seq(8)))));
    changed(scene.store.dissolve(group(TEAM)));
    nothing_trimmed(&scene);
}

#[test]
fn receipts_of_what_is_left() {
    let scene = group_of_three(false);
    say(&scene, 4);
    changed(scene.store.mark_read(BOB, room(TEAM), Seq(2)));
    cut(&scene, 1);
    let receipts = |seq| scene.store.receipts(ANN, room(TEAM), Seq(seq), UserId::NONE, 10);
    assert_eq!(receipts(3).unwrap_err().kind(), ErrorKind::Trimmed);
    let got = receipts(4).unwrap();
    assert_eq!((got.members, got.delivered, got.read), (2, 0, 0), "what was trimmed below it was read by nobody");
}

#[test]
fn a_removed_user_recalls_what_is_left() {
    let scene = group_of_three(false);
    for _ in 0..3 {
        scene.send(Draft::group(group(TEAM), BOB, b"x"));
        scene.send(Draft::group(group(TEAM), ANN, b"x"));
    }
    cut(&scene, 3);
    let removed = scene.store.remove_user(BOB, true).unwrap();
    assert_eq!(removed.recalled, 1, "of three two are gone");
    let messages = scene.all(CAT, room(TEAM));
    assert_eq!(messages.iter().map(|it| it.recalled.is_some()).collect::<Vec<_>>(), [false, true, false]);
    // What it could not see any more it does not see when it comes back, and the trim goes on over it.
    changed(scene.store.join(group(TEAM), BOB));
    assert_eq!(scene.all(BOB, room(TEAM)).len(), 0);
    scene.send(Draft::group(group(TEAM), ANN, b"again"));
    cut(&scene, 1);
    assert_eq!(texts(&scene.all(BOB, room(TEAM))), ["again"]);
    assert_eq!(scene.entry(BOB, room(TEAM)).unread, 1);
}

#[test]
fn a_broadcast_that_is_trimmed() {
    let scene = Scene::new();
    let source = Source::System(SystemId(1));
    let news = Peer::System(SystemId(1));
    let send = |count| {
        for _ in 0..count {
            scene.send(Draft::broadcast(source, b"x"));
        }
    };
    let cut = |count, gone| {
        changed(scene.store.set_settings(Settings::default().retention_system(keep().count(count))));
        assert_eq!(trimmed(&scene), (1, gone));
    };
    changed(scene.store.add_user(ANN));
    send(3);
    changed(scene.store.add_user(BOB));
    send(3);
    changed(scene.store.mark_read(ANN, news, Seq(1)));
    cut(4, 2);
    let unread = |user| scene.entry(user, news).unread;
    assert_eq!((unread(ANN), unread(BOB)), (4, 3));
    assert_eq!(scene.page(ANN, news, HistoryQuery::newest()).older, Edge::Trimmed);
    assert_eq!(scene.page(BOB, news, HistoryQuery::newest()).older, Edge::NotVisible);
    cut(1, 3);
    changed(scene.store.add_user(CAT));
    assert_eq!((unread(ANN), unread(BOB), seqs(&scene.all(BOB, news))), (1, 1, vec![6]));
    assert!(scene.list(CAT).entries.is_empty(), "it came after all of it");
    send(1);
    assert_eq!((unread(ANN), unread(CAT), seqs(&scene.all(CAT, news))), (2, 1, vec![7]));
    // All of it gone: those who had it keep it, empty; for others it is not there.
    changed(scene.store.set_settings(Settings::default().retention_system(keep().body_bytes(1))));
    scene.send(Draft::broadcast(source, b"long"));
    changed(scene.store.add_user(UserId(9)));
    assert_eq!(trimmed(&scene), (1, 3));
    for user in [ANN, BOB, CAT] {
        let entry = scene.entry(user, news);
        assert_eq!((entry.unread, entry.first, entry.last, entry.latest.len()), (0, Seq(9), Seq(8), 0));
    }
    assert!(scene.list(UserId(9)).entries.is_empty());
    changed(scene.store.mark_read(BOB, news, Seq(8)));
}
