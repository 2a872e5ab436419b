//! Recalls, edits and hides: what each does, to whom it is told, what is refused and why.
//! Owns: `recall`, `edit`, `hide`, `amendments` call by call. May touch: its submodules, `scene`, `replies`.
//! Never: tells a story; those are in `stories`.

mod full_disk;
mod pending;

use restante::limits::{AMENDMENTS_MAX, BODY_BYTES_LIMIT, HIDE_SEQS_MAX};
use restante::{
    AmendmentCursor, AmendmentKind, ClientId, Draft, Edge, ErrorKind, HistoryQuery, Loss, Outcome, Seq, Settings,
    Timeline, Timestamp, UserId,
};

use crate::replies::{amended, changed, refused, unchanged};
use crate::scene::{MINUTE, SECOND, START, Scene, group, room, seqs, texts, user, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);

fn chat() -> Timeline {
    Timeline::direct(ANN, BOB)
}

/// So many messages of Ann to Bob.
fn talk(count: u64) -> Scene {
    let scene = Scene::new();
    more_talk(&scene, count);
    scene
}

fn more_talk(scene: &Scene, count: u64) {
    for number in 1..=count {
        scene.clock.advance(SECOND);
        scene.send(Draft::direct(ANN, BOB, format!("line {number}").as_bytes()));
    }
}

#[test]
fn what_cannot_be_recalled_or_edited() {
    let scene = talk(3);
    let store = &scene.store;
    changed(store.create_group(group(42), Default::default()));
    let elsewhere = Timeline::direct(ANN, CAT);
    for seq in [0, 4, u64::MAX] {
        let text = format!("no such message: direct 1-2 seq={seq}");
        refused(&scene, ErrorKind::NotFound, &text, || store.recall(ANN, chat(), Seq(seq)).wait());
        refused(&scene, ErrorKind::NotFound, &text, || store.edit(ANN, chat(), Seq(seq), b"x").wait());
    }
    refused(&scene, ErrorKind::NotFound, "no such message: direct 1-3 seq=1", || {
        store.recall(ANN, elsewhere, Seq(1)).wait()
    });
    refused(&scene, ErrorKind::NotFound, "no such message: direct 1-3 seq=1", || {
        store.edit(ANN, elsewhere, Seq(1), b"x").wait()
    });
    refused(&scene, ErrorKind::NotFound, "no such message: group 42 seq=1", || {
        store.recall(ANN, Timeline::Group(group(42)), Seq(1)).wait()
    });
    refused(&scene, ErrorKind::NotFound, "no such message: group 43 seq=1", || {
        store.recall(ANN, Timeline::Group(group(43)), Seq(1)).wait()
    });
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || {
        store.recall(ANN, Timeline::Group(group(0)), Seq(1)).wait()
    });
    let none = Timeline::direct(ANN, UserId::NONE);
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || store.edit(ANN, none, Seq(1), b"x").wait());
    // Who may is the server's affair: anybody is taken at their word, and nobody comes to exist by it.
    changed(store.recall(UserId(77), chat(), Seq(1)));
    changed(store.edit(UserId(78), chat(), Seq(2), b"x"));
    changed(store.recall(UserId::NONE, chat(), Seq(2)));
    changed(store.edit(UserId::NONE, chat(), Seq(3), b"x"));
    assert!(![77, 78].iter().any(|id| store.user_exists(UserId(*id)).unwrap()));
    let by: Vec<_> =
        scene.all(BOB, with(1)).iter().map(|message| message.recalled.as_ref().map(|is| is.by.0)).collect();
    assert_eq!(by, [Some(77), Some(0), None]);
    assert_eq!(scene.all(BOB, with(1))[2].edited.as_ref().map(|edited| edited.by), Some(UserId::NONE));
}

#[test]
fn an_edit_changes_the_body_and_nothing_else() {
    let scene = Scene::new();
    let team = Timeline::Group(group(42));
    scene.store.join_many(group(42), &[ANN, BOB]).wait().unwrap();
    let draft = Draft::group(group(42), ANN, b"frist").kind(9).mentions(&[BOB]).alerts(0b101).client_id(ClientId(5));
    let sent = scene.send(draft);
    let before = (scene.entry(BOB, room(42)), scene.all(BOB, room(42)).remove(0));
    let cursor = scene.list(BOB).next;
    scene.clock.advance(MINUTE);
    let version = changed(scene.store.edit(ANN, team, Seq(1), b"first"));
    let (entry, message) = (scene.entry(BOB, room(42)), scene.all(BOB, room(42)).remove(0));
    assert_eq!(&message.body[..], b"first");
    let edited = message.edited.expect("it says that it was edited");
    assert_eq!((edited.by, edited.at), (ANN, Timestamp(START.0 + MINUTE)));
    let (mut want, body) = (before.1, message.body.clone());
    (want.body, want.edited) = (body, Some(edited));
    assert_eq!(message, want, "all else is as it was: version and timestamp, too");
    assert_eq!((message.version, message.timestamp), (sent.version, sent.timestamp));
    assert_eq!(message.mentions, [BOB]);
    // The entry: another version and latest, the same badge, the same place in the list.
    assert_eq!((entry.version, entry.session_timestamp), (version, Timestamp(START.0 + MINUTE)));
    assert_eq!((entry.unread, entry.goto, entry.activity), (1, before.0.goto, before.0.activity));
    assert_eq!((&entry.mentions, &entry.alerts, entry.alerts.len()), (&before.0.mentions, &before.0.alerts, 2));
    assert_eq!(texts(&entry.latest), ["first"]);
    let list = scene.store.changed(BOB, Some(&cursor), &restante::ListQuery::new()).unwrap();
    assert_eq!(amended(&list.entries[0].amendments), [(1, AmendmentKind::Edited, 1)]);

    // To what it is now: nothing. To what it once was: a change like any other.
    unchanged(&scene, || scene.store.edit(BOB, team, Seq(1), b"first"));
    let second = changed(scene.store.edit(BOB, team, Seq(1), b"frist"));
    assert_eq!(texts(&scene.all(ANN, room(42))), ["frist"]);
    changed(scene.store.edit(ANN, team, Seq(1), b""));
    assert!(scene.all(ANN, room(42))[0].recalled.is_none(), "an empty body is a body");
    let last = changed(scene.store.edit(ANN, team, Seq(1), b"1st"));
    // One amendment a message: the newest.
    let all = scene.store.amendments(BOB, room(42), None, 10).unwrap();
    assert_eq!(
        all.amendments.iter().map(|one| (one.seq, one.version, one.kind)).collect::<Vec<_>>(),
        [(Seq(1), last, AmendmentKind::Edited)]
    );
    assert!(second < last);
    // Once edited the id is taken whatever a retry carries.
    for body in [&b"frist"[..], b"1st", b"other"] {
        let retry = scene.send(Draft::group(group(42), ANN, body).kind(9).client_id(ClientId(5)));
        assert_eq!((retry.outcome, retry.seq, retry.timestamp), (Outcome::Duplicate, Seq(1), sent.timestamp));
    }
    let scene = scene.reopened();
    assert_eq!(texts(&scene.all(BOB, room(42))), ["1st"]);
    // Recalled at last: no body, no trace of the edits but that it is gone.
    changed(scene.store.recall(ANN, team, Seq(1)));
    let message = scene.all(BOB, room(42)).remove(0);
    assert_eq!((message.body.len(), message.edited, message.mentions.len(), message.alerts), (0, None, 0, 0));
    let all = scene.store.amendments(BOB, room(42), None, 10).unwrap();
    assert_eq!(amended(&all.amendments), [(1, AmendmentKind::Recalled, 1)]);
    let scene = scene.after_crash(Loss::All);
    assert!(scene.all(BOB, room(42))[0].recalled.is_some());
}

#[test]
fn bodies_of_edits_are_limited_like_those_of_messages() {
    let scene = Scene::with(|options| options.journal_bytes(64 << 20));
    scene.send(Draft::direct(ANN, BOB, b""));
    let max = 1 << 20;
    for length in [1, max - 1, max] {
        changed(scene.store.edit(ANN, chat(), Seq(1), &vec![7; length]));
        assert_eq!(scene.all(BOB, with(1))[0].body.len(), length);
    }
    let text = "body bytes is above its limit: limit=1048576 got=1048577";
    refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.edit(ANN, chat(), Seq(1), &vec![7; max + 1]).wait());
    // The setting moves the limit, for edits, too.
    changed(scene.store.set_settings(Settings::default().body_bytes_max(BODY_BYTES_LIMIT)));
    changed(scene.store.edit(ANN, chat(), Seq(1), &vec![7; BODY_BYTES_LIMIT]));
    assert_eq!(scene.all(BOB, with(1))[0].body.len(), BODY_BYTES_LIMIT);
    let text = "body bytes is above its limit: limit=4194304 got=4194305";
    refused(&scene, ErrorKind::LimitExceeded, text, || {
        scene.store.edit(ANN, chat(), Seq(1), &vec![7; BODY_BYTES_LIMIT + 1]).wait()
    });
    changed(scene.store.set_settings(Settings::default().body_bytes_max(3)));
    changed(scene.store.edit(ANN, chat(), Seq(1), b"abc"));
    let text = "body bytes is above its limit: limit=3 got=4";
    refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.edit(ANN, chat(), Seq(1), b"abcd").wait());
    // An edit is one frame of the journal.
    let scene = Scene::with(|options| options.journal_bytes(64 << 10));
    scene.send(Draft::direct(ANN, BOB, b""));
    changed(scene.store.edit(ANN, chat(), Seq(1), &[7; 16_000]));
    let error = scene.store.edit(ANN, chat(), Seq(1), &[7; 16_384]).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("limit=16384 got="), "{error}");
}

#[test]
fn hiding_is_all_or_nothing_and_for_one_user() {
    let scene = talk(10);
    let hide = |seqs: &[u64]| {
        let seqs: Vec<Seq> = seqs.iter().map(|seq| Seq(*seq)).collect();
        scene.store.hide(BOB, with(1), &seqs).wait()
    };
    let anns = scene.entry(ANN, with(2));
    unchanged(&scene, || scene.store.hide(BOB, with(1), &[]));
    for seq in [0, 11, u64::MAX] {
        let text = format!("the message is not there: direct 1-2 user=2 seq={seq}");
        refused(&scene, ErrorKind::NotFound, &text, || hide(&[1, seq, 2]));
    }
    assert_eq!(seqs(&scene.all(BOB, with(1))).len(), 10, "the sound ones among them are not hidden, either");
    // Three of them with repeats, in any order: one change.
    let version = scene.store.version();
    let hidden = changed(scene.store.hide(BOB, with(1), &[Seq(7), Seq(2), Seq(7), Seq(3), Seq(2)]));
    assert_eq!(hidden.0, version.0 + 1);
    assert_eq!(seqs(&scene.all(BOB, with(1))), [1, 4, 5, 6, 8, 9, 10]);
    assert_eq!(scene.entry(BOB, with(1)).unread, 7);
    let found = scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments;
    assert_eq!(
        found.iter().map(|one| (one.seq.0, one.version)).collect::<Vec<_>>(),
        [(2, hidden), (3, hidden), (7, hidden)]
    );
    unchanged(&scene, || scene.store.hide(BOB, with(1), &[Seq(3), Seq(2)]));
    let more = changed(scene.store.hide(BOB, with(1), &[Seq(2), Seq(8)]));
    let found = scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments;
    assert_eq!(found.last().map(|one| (one.seq.0, one.version)), Some((8, more)));
    assert_eq!(found.len(), 4, "2 is told as hidden when it was");
    // Ann sees all ten, and is told nothing.
    assert_eq!(scene.entry(ANN, with(2)), anns);
    assert_eq!(scene.all(ANN, with(2)).len(), 10);
    assert_eq!(scene.store.amendments(ANN, with(2), None, 10).unwrap().amendments, []);
    // Hidden wins for good: an edit or a recall of it changes nothing for him, and is news to Ann.
    changed(scene.store.edit(ANN, chat(), Seq(2), b"x"));
    changed(scene.store.recall(ANN, chat(), Seq(7)));
    let bobs = scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments;
    assert_eq!(bobs, found);
    let anns = scene.store.amendments(ANN, with(2), None, 10).unwrap().amendments;
    assert_eq!(amended(&anns), [(2, AmendmentKind::Edited, 1), (7, AmendmentKind::Recalled, 1)]);
    // What was amended before it is hidden is hidden from then on.
    changed(scene.store.recall(ANN, chat(), Seq(1)));
    let at = changed(scene.store.hide(BOB, with(1), &[Seq(1)]));
    let last = scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments.pop().unwrap();
    assert_eq!((last.seq, last.kind, last.version, last.by), (Seq(1), AmendmentKind::Hidden, at, BOB));

    // What he cleared is not shown, so it cannot be hidden; and of what was hidden there nothing is told any more.
    changed(scene.store.clear(BOB, with(1), Seq(3)));
    let text = "the message is not there: direct 1-2 user=2 seq=3";
    refused(&scene, ErrorKind::NotFound, text, || hide(&[4, 3]));
    let found = scene.store.amendments(BOB, with(1), None, 10).unwrap().amendments;
    assert_eq!(amended(&found), [(7, AmendmentKind::Hidden, 2), (8, AmendmentKind::Hidden, 2)]);
    // Without a session there is nothing to hide.
    refused(&scene, ErrorKind::NotFound, "no such session: direct 2-3 user=2", || {
        scene.store.hide(BOB, with(3), &[Seq(1)]).wait()
    });
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=2", || {
        scene.store.hide(BOB, room(42), &[Seq(1)]).wait()
    });
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || {
        scene.store.hide(UserId::NONE, with(1), &[Seq(1)]).wait()
    });
    let scene = scene.reopened();
    assert_eq!(seqs(&scene.all(BOB, with(1))), [4, 5, 6, 9, 10]);
    assert_eq!(scene.entry(BOB, with(1)).unread, 5);
}

#[test]
fn how_many_are_hidden_at_once() {
    let scene = Scene::new();
    scene.store.append_batch(&vec![Draft::direct(ANN, BOB, b"x"); 600]).wait().unwrap();
    let seqs = |count: usize| (1..=count as u64).map(Seq).collect::<Vec<_>>();
    for count in [HIDE_SEQS_MAX + 1, HIDE_SEQS_MAX + 2, 600] {
        let text = format!("messages to hide is above its limit: limit=256 got={count}");
        refused(&scene, ErrorKind::LimitExceeded, &text, || scene.store.hide(BOB, with(1), &seqs(count)).wait());
    }
    let repeats = vec![Seq(1); HIDE_SEQS_MAX + 1];
    let error = scene.store.hide(BOB, with(1), &repeats).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "the list is counted as it is given");
    changed(scene.store.hide(BOB, with(1), &seqs(HIDE_SEQS_MAX - 1)));
    assert_eq!(scene.entry(BOB, with(1)).unread, 345);
    changed(scene.store.hide(BOB, with(1), &seqs(HIDE_SEQS_MAX)));
    assert_eq!(scene.entry(BOB, with(1)).unread, 344);

    // One change that amends many is paged by seq: the cursor stands within the version.
    let page = |since: Option<&AmendmentCursor>, limit| {
        let page = scene.store.amendments(BOB, with(1), since, limit).unwrap();
        let pairs: Vec<_> = page.amendments.iter().map(|one| (one.seq.0, one.version.0)).collect();
        (pairs, page.more, page.next)
    };
    let all: Vec<_> = (1..=256).map(|seq| (seq, if seq <= 255 { 601 } else { 602 })).collect();
    let (found, more, next) = page(None, 254);
    assert_eq!((&found[..], more), (&all[..254], true));
    let (found, more, next) = page(Some(&next), 1);
    assert_eq!((&found[..], more), (&all[254..255], true));
    let (found, more, next) = page(Some(&next), 1);
    assert_eq!((&found[..], more), (&all[255..], false));
    assert_eq!(page(Some(&next), 1_000), (vec![], false, next));
    assert_eq!(page(None, 256).0, all);
    // The list carries 32 of them inline, and the pair of the last one.
    let empty = scene.list(CAT).next;
    changed(scene.store.hide(BOB, with(1), &(300..=340).map(Seq).collect::<Vec<_>>()));
    let list = scene.store.changed(BOB, Some(&empty), &restante::ListQuery::new()).unwrap();
    let entry = &list.entries[0];
    let inline: Vec<u64> = entry.amendments.iter().map(|one| one.seq.0).collect();
    assert_eq!(inline, (300..=331).collect::<Vec<_>>());
    let since = entry.amendments_more.unwrap();
    let rest = scene.store.amendments(BOB, with(1), Some(&since), 1_000).unwrap().amendments;
    assert_eq!(rest.iter().map(|one| one.seq.0).collect::<Vec<_>>(), (332..=340).collect::<Vec<_>>());
}

#[test]
fn pages_of_amendments() {
    let scene = Scene::new();
    scene.store.append_batch(&vec![Draft::direct(ANN, BOB, b"x"); 1_100]).wait().unwrap();
    let ask = |limit: usize| scene.store.amendments(BOB, with(1), None, limit);
    let page = ask(10).unwrap();
    assert_eq!((page.amendments.len(), page.more), (0, false));
    for seq in 1..=1_100 {
        drop(scene.store.recall(ANN, chat(), Seq(seq)));
    }
    scene.store.sync().unwrap();
    for limit in [1, AMENDMENTS_MAX - 1, AMENDMENTS_MAX] {
        let page = ask(limit).unwrap();
        assert_eq!((page.amendments.len(), page.more), (limit, true));
    }
    for limit in [AMENDMENTS_MAX + 1, usize::MAX] {
        let text = format!("amendments of a page is above its limit: limit=1000 got={limit}");
        refused(&scene, ErrorKind::LimitExceeded, &text, || ask(limit));
    }
    // An empty page says that more follows, and does not move on.
    let page = ask(0).unwrap();
    assert_eq!((page.amendments.len(), page.more), (0, true));
    let first = ask(500).unwrap();
    let still = scene.store.amendments(BOB, with(1), Some(&first.next), 0).unwrap();
    assert_eq!((still.amendments.len(), still.more, still.next), (0, true, first.next));
    let rest = scene.store.amendments(BOB, with(1), Some(&first.next), 600).unwrap();
    assert_eq!((rest.amendments.len(), rest.more, rest.amendments[0].seq), (600, false, Seq(501)));
    // The bytes of a cursor, and no others.
    let bytes = first.next.to_bytes();
    assert_eq!(AmendmentCursor::from_bytes(&bytes).unwrap(), first.next);
    for length in [0, bytes.len() - 1, bytes.len() + 1] {
        let error = AmendmentCursor::from_bytes(&vec![0; length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("not a cursor: want={} bytes got={length} bytes", bytes.len()));
    }
    // One that points above what there is, or of a store that this is not.
    let mut above = first.next.to_bytes();
    above[8..16].copy_from_slice(&(scene.store.version().0 + 1).to_le_bytes());
    let above = AmendmentCursor::from_bytes(&above).unwrap();
    let text = "the cursor is beyond the end of its epoch: end=2200 got=2201";
    refused(&scene, ErrorKind::ResetRequired, text, || scene.store.amendments(BOB, with(1), Some(&above), 1));
    let other = Scene::seeded(2, |options| options);
    other.send(Draft::direct(ANN, BOB, b"x"));
    let foreign = other.store.amendments(BOB, with(1), None, 1).unwrap().next;
    let text = "the cursor's epoch is unknown here";
    refused(&scene, ErrorKind::ResetRequired, text, || scene.store.amendments(BOB, with(1), Some(&foreign), 1));
    refused(&scene, ErrorKind::InvalidInput, "id 0 means none", || {
        scene.store.amendments(UserId::NONE, with(1), None, 1)
    });
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=2", || {
        scene.store.amendments(BOB, room(42), None, 1)
    });
    // The order is that of the changes, newest recall last, whatever the seqs.
    let scene = scene.reopened();
    let again = scene.store.amendments(BOB, with(1), Some(&first.next), 600).unwrap();
    assert_eq!(again.amendments, rest.amendments);
}

#[test]
fn pages_of_history_leave_out_what_is_hidden() {
    let scene = talk(20);
    let hidden: Vec<Seq> = [1, 2, 6, 7, 8, 9, 12, 19, 20].map(Seq).to_vec();
    changed(scene.store.hide(BOB, with(1), &hidden));
    let page = |query: HistoryQuery| {
        let page = scene.page(BOB, with(1), query);
        let covers = page.covers.map(|(first, last)| (first.0, last.0));
        (seqs(&page.messages), covers, page.older, page.newer)
    };
    // A full page ends at its last message; one that comes to the edge covers to the edge.
    assert_eq!(page(HistoryQuery::newest().limit(2)), (vec![18, 17], Some((17, 20)), Edge::More, Edge::End));
    assert_eq!(page(HistoryQuery::oldest().limit(3)), (vec![3, 4, 5], Some((1, 5)), Edge::End, Edge::More));
    assert_eq!(page(HistoryQuery::oldest().limit(4)), (vec![3, 4, 5, 10], Some((1, 10)), Edge::End, Edge::More));
    assert_eq!(
        page(HistoryQuery::newest()),
        (vec![18, 17, 16, 15, 14, 13, 11, 10, 5, 4, 3], Some((1, 20)), Edge::End, Edge::End)
    );
    assert_eq!(page(HistoryQuery::newest().limit(11)), page(HistoryQuery::newest()), "only hidden ones are left below");
    // A range of nothing but hidden ones is covered all the same.
    assert_eq!(page(HistoryQuery::oldest().seqs(Seq(6)..=Seq(9))), (vec![], Some((6, 9)), Edge::More, Edge::More));
    assert_eq!(page(HistoryQuery::newest().seqs(Seq(19)..)), (vec![], Some((19, 20)), Edge::More, Edge::End));
    assert_eq!(page(HistoryQuery::newest().seqs(..Seq(3))), (vec![], Some((1, 2)), Edge::End, Edge::More));
    // `more` is said of what the user may see, not of the bounds, nor of what is hidden.
    assert_eq!(page(HistoryQuery::oldest().seqs(Seq(3)..=Seq(4))), (vec![3, 4], Some((3, 4)), Edge::End, Edge::More));
    assert_eq!(
        page(HistoryQuery::newest().seqs(Seq(12)..=Seq(18)).limit(2)),
        (vec![18, 17], Some((17, 18)), Edge::More, Edge::End)
    );
    assert_eq!(page(HistoryQuery::oldest().seqs(Seq(5)..Seq(8))), (vec![5], Some((5, 7)), Edge::More, Edge::More));
    let (found, covers, ..) = page(HistoryQuery::newest().limit(0));
    assert_eq!((found, covers), (vec![], None));
    // Recalled ones are notices in their place, also when all of a page is.
    for seq in [3, 4, 5, 10] {
        changed(scene.store.recall(ANN, chat(), Seq(seq)));
    }
    assert_eq!(page(HistoryQuery::oldest().limit(4)), (vec![3, 4, 5, 10], Some((1, 10)), Edge::End, Edge::More));
    // The latest of an entry leave hidden ones out and go on below them.
    let list = scene.store.changed(BOB, None, &restante::ListQuery::new().latest(8)).unwrap();
    assert_eq!(seqs(&list.entries[0].latest), [18, 17, 16, 15, 14, 13, 11, 10]);
    assert_eq!((list.entries[0].first, list.entries[0].last), (Seq(1), Seq(20)));
    assert_eq!(list.entries[0].unread, 7);
    assert_eq!(user(2), BOB);
}
