//! Recalls, edits and hides of what is not visible yet, and answers that rest on such changes.
//! Owns: amendments between a call and its sync. May touch: `scene`, `replies`.
//! Never: uses a store that has threads of its own: nothing is synced here but by the calls.

use restante::{AmendmentKind, Draft, Durability, Effect, ErrorKind, Loss, Seq, Timeline, UserId, Version};

use super::{ANN, BOB, chat, talk};
use crate::replies::{amended, changed};
use crate::scene::{Scene, group, room, seqs, texts, with};

#[test]
fn a_recall_waits_for_the_message_it_recalls() {
    for level in [Durability::Buffered, Durability::Sync] {
        let scene = Scene::new();
        let store = scene.store.at(level);
        scene.send(Draft::direct(ANN, BOB, b"visible"));
        let pending = store.append(Draft::direct(ANN, BOB, b"pending"));
        assert_eq!(scene.store.version(), Version(1), "nobody has synced yet");
        // Hiding and marks are judged by what is published; a recall and an edit wait for it.
        let error = store.hide(BOB, with(1), &[Seq(2)]).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let recalled = changed(store.recall(ANN, chat(), Seq(2)));
        assert_eq!(recalled, Version(3));
        assert_eq!(pending.wait().unwrap().version, Version(2));
        store.sync().unwrap();
        assert_eq!(texts(&scene.all(BOB, with(1))), ["visible", ""]);
        assert_eq!((scene.entry(BOB, with(1)).unread, scene.entry(BOB, with(1)).last), (1, Seq(2)));
        assert_eq!(scene.store.version(), Version(3));

        let pending = store.append(Draft::direct(ANN, BOB, b"mispelt"));
        changed(store.edit(ANN, chat(), Seq(3), b"misspelt"));
        assert_eq!(pending.wait().unwrap().seq, Seq(3));
        store.sync().unwrap();
        assert_eq!(texts(&scene.all(BOB, with(1))), ["visible", "", "misspelt"]);
        // One above what is sequenced is not there, however long one waits.
        assert_eq!(store.recall(ANN, chat(), Seq(4)).wait().unwrap_err().kind(), ErrorKind::NotFound);
        let crashed = scene.after_crash(Loss::All);
        assert_eq!(crashed.list(BOB).entries, scene.list(BOB).entries);
    }
}

#[test]
fn a_recall_that_is_not_durable_is_not_seen_and_not_kept() {
    let scene = talk(3);
    let store = scene.store.at(Durability::Buffered);
    let before = (scene.entry(BOB, with(1)), scene.all(BOB, with(1)));
    let version = changed(store.recall(ANN, chat(), Seq(2)));
    changed(store.edit(ANN, chat(), Seq(3), b"edited"));
    changed(store.hide(BOB, with(1), &[Seq(1)]));
    if scene.store.version() < version {
        assert_eq!((scene.entry(BOB, with(1)), scene.all(BOB, with(1))), before, "not durable, so not seen");
        let crashed = scene.after_crash(Loss::All);
        assert_eq!((crashed.entry(BOB, with(1)), crashed.all(BOB, with(1))), before, "not durable, so not kept");
    }
    // The operating system has it, so the end of the process alone does not lose it.
    let killed = scene.after_crash(Loss::Nothing);
    assert_eq!(texts(&killed.all(BOB, with(1))), ["", "edited"]);
    scene.store.sync().unwrap();
    assert_eq!(texts(&scene.all(BOB, with(1))), ["", "edited"]);
    assert_eq!(scene.entry(BOB, with(1)).unread, 1);
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.entry(BOB, with(1)), scene.entry(BOB, with(1)));
}

#[test]
fn answers_that_rest_on_a_pending_amendment_wait_for_it() {
    type Call = fn(&restante::Store) -> restante::Ticket<Effect>;
    let cases: [(&str, Call, Call); 4] = [
        ("recalled", |store| store.recall(ANN, chat(), Seq(2)), |store| store.recall(BOB, chat(), Seq(2))),
        ("edited", |store| store.edit(ANN, chat(), Seq(2), b"new"), |store| store.edit(ANN, chat(), Seq(2), b"new")),
        ("hidden", |store| store.hide(BOB, with(1), &[Seq(2)]), |store| store.hide(BOB, with(1), &[Seq(2), Seq(2)])),
        ("cleared", |store| store.clear(BOB, with(1), Seq(2)), |store| store.clear(BOB, with(1), Seq(2))),
    ];
    for (name, first, second) in cases {
        let scene = talk(3);
        let version = scene.store.version();
        drop(first(&scene.store));
        let effect = second(&scene.store).wait().unwrap();
        assert_eq!(effect, Effect::Unchanged, "{name}");
        assert_eq!(scene.store.version().0, version.0 + 1, "{name}: what the answer rests on is visible");
        let crashed = scene.after_crash(Loss::All);
        assert_eq!(crashed.store.version().0, version.0 + 1, "{name}: and durable");
        assert_eq!(crashed.list(BOB).entries, scene.list(BOB).entries, "{name}");
    }
    // Refused for the sake of a recall that nobody has waited for: then the recall is durable.
    let scene = talk(3);
    drop(scene.store.recall(ANN, chat(), Seq(2)));
    let error = scene.store.edit(ANN, chat(), Seq(2), b"new").wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(scene.after_crash(Loss::All).all(BOB, with(1))[1].recalled.is_some());
}

/// A buffered store shows recalls before they are synced, and a power cut takes them back: a cursor that saw them is refused,
/// and one that did not goes on.
#[test]
fn a_cursor_that_saw_a_lost_recall_is_refused() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    for _ in 0..4 {
        scene.send(Draft::direct(ANN, BOB, b"x"));
    }
    changed(scene.store.recall(ANN, chat(), Seq(1)));
    scene.store.sync().unwrap();
    let page = |scene: &Scene, since| scene.store.amendments(BOB, with(1), since, 10);
    let kept = page(&scene, None).unwrap();
    assert_eq!(amended(&kept.amendments), [(1, AmendmentKind::Recalled, 1)]);
    changed(scene.store.recall(ANN, chat(), Seq(2)));
    let lost = page(&scene, Some(&kept.next)).unwrap();
    assert_eq!(amended(&lost.amendments), [(2, AmendmentKind::Recalled, 1)]);
    let scene = scene.after_crash(Loss::All);
    assert!(scene.store.recovery().new_epoch);
    // Other changes take the versions that were lost.
    changed(scene.store.edit(ANN, chat(), Seq(3), b"y"));
    changed(scene.store.recall(ANN, chat(), Seq(4)));
    let error = page(&scene, Some(&lost.next)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResetRequired);
    assert_eq!(error.to_string(), "the cursor is beyond the end of its epoch: end=5 got=6");
    let rest = page(&scene, Some(&kept.next)).unwrap();
    let want = [(3, AmendmentKind::Edited, 1), (4, AmendmentKind::Recalled, 1)];
    assert_eq!(amended(&rest.amendments), want);
    assert_eq!(texts(&scene.all(BOB, with(1))), ["", "x", "y", ""]);
}

/// A message that was edited twice stands where the second edit puts it. When a crash takes that back it stands below a page
/// that was handed out meanwhile, and whoever goes on from there would never hear of the first edit.
#[test]
fn a_page_that_a_lost_edit_was_kept_from_is_refused() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    for _ in 0..2 {
        scene.send(Draft::direct(ANN, BOB, b"x"));
    }
    changed(scene.store.edit(ANN, chat(), Seq(1), b"kept"));
    changed(scene.store.edit(ANN, chat(), Seq(2), b"kept"));
    scene.store.sync().unwrap();
    changed(scene.store.edit(ANN, chat(), Seq(1), b"lost"));
    let page = scene.store.amendments(BOB, with(1), None, 1).unwrap();
    assert_eq!((amended(&page.amendments), page.more), (vec![(2, AmendmentKind::Edited, 1)], true));
    let scene = scene.after_crash(Loss::All);
    let error = scene.store.amendments(BOB, with(1), Some(&page.next), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResetRequired);
    assert_eq!(error.to_string(), "the cursor is beyond the end of its epoch: end=4 got=5");
    let all = scene.store.amendments(BOB, with(1), None, 10).unwrap();
    assert_eq!(amended(&all.amendments), [(1, AmendmentKind::Edited, 1), (2, AmendmentKind::Edited, 1)]);
}

/// Many calls, none waited for: the badge is that of a recount once all are visible, in whatever order they came.
#[test]
fn a_badge_is_exact_when_recalls_marks_and_messages_are_pending_together() {
    let scene = Scene::new();
    let (team, cat) = (Timeline::Group(group(42)), UserId(3));
    scene.store.join_many(group(42), &[ANN, BOB, cat]).wait().unwrap();
    let buffered = scene.store.at(Durability::Buffered);
    for _ in 0..10 {
        drop(buffered.append(Draft::group(group(42), ANN, b"x")));
    }
    scene.store.sync().unwrap();
    for number in 0..10_u64 {
        drop(buffered.append(Draft::group(group(42), ANN, b"y").mentions(&[BOB])));
        drop(buffered.recall(ANN, team, Seq(number + 1)));
        drop(buffered.mark_read(BOB, room(42), Seq(number / 2)));
        if number % 3 == 0 {
            drop(buffered.hide(cat, room(42), &[Seq(number + 1)]));
            drop(buffered.recall(ANN, team, Seq(11 + number)));
        }
    }
    scene.store.sync().unwrap();
    // 1 to 10 are recalled, and of 11 to 20 those after 0, 3, 6 and 9.
    let entry = scene.entry(BOB, room(42));
    assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq), entry.read_mark), (6, Some(Seq(12)), Seq(4)));
    assert_eq!((entry.mentions.count, entry.mentions.oldest), (6, Some(Seq(12))));
    let entry = scene.entry(cat, room(42));
    assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), (6, Some(Seq(12))));
    assert_eq!(seqs(&scene.all(cat, room(42))), [2, 3, 5, 6, 8, 9].into_iter().chain(11..=20).collect::<Vec<_>>());
    let hidden: Vec<_> = amended(&scene.store.amendments(cat, room(42), None, 100).unwrap().amendments)
        .into_iter()
        .filter(|(_, kind, _)| *kind == AmendmentKind::Hidden)
        .map(|(seq, ..)| seq)
        .collect();
    assert_eq!(hidden, [1, 4, 7, 10]);
    let want = (scene.list(BOB).entries, scene.list(cat).entries);
    let scene = scene.reopened();
    assert_eq!((scene.list(BOB).entries, scene.list(cat).entries), want);
}
