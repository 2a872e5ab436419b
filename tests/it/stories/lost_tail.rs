//! The power goes in a store that shows changes before they are synced.
//! Owns: the story `lost_tail_resets_only_those_who_saw_it`. May touch: `scene`.
//! Never: looks behind the public interface.

use restante::{Cursor, Draft, Durability, ErrorKind, ListQuery, Loss, Seq, Version};

use crate::scene::{Scene, texts, user, with};

const ANN: u64 = 1;
const BOB: u64 = 2;
const CAT: u64 = 3;

/// One walk to its end.
fn walk(scene: &Scene, id: u64, cursor: Option<&Cursor>) -> Cursor {
    scene.store.changed(user(id), cursor, &ListQuery::new()).unwrap().next
}

#[test]
fn lost_tail_resets_only_those_who_saw_it() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    let (ann, bob, cat) = (user(ANN), user(BOB), user(CAT));
    for number in 0..4 {
        scene.send(Draft::direct(bob, ann, format!("kept {number}").as_bytes()));
        scene.send(Draft::direct(cat, ann, format!("kept {number}").as_bytes()));
    }

    // Ann's phone logs in; then the disk catches up, and her tablet logs in, at just what is synced.
    let phone = walk(&scene, ANN, None);
    scene.send(Draft::direct(bob, ann, b"kept 4"));
    scene.store.sync().unwrap();
    let synced = scene.store.version();
    let tablet = walk(&scene, ANN, None);
    // Her watch is in the middle of a walk.
    let page = scene.store.changed(ann, None, &ListQuery::new().limit(1)).unwrap();
    assert!(page.more);
    let watch = page.next;

    // More comes, is shown, and is never synced: her computer sees it, so does Bob's.
    scene.send(Draft::direct(bob, ann, b"lost 1"));
    scene.send(Draft::direct(cat, ann, b"lost 2"));
    let computer = walk(&scene, ANN, Some(&tablet));
    let bobs = walk(&scene, BOB, None);
    // Her television only asks whether there is something new: nothing was shown to it.
    let page = scene.store.changed(ann, Some(&phone), &ListQuery::new().limit(0)).unwrap();
    assert!(page.more);
    let television = page.next;
    let first_epoch = scene.store.epoch();

    // The power goes.
    let scene = scene.after_crash(Loss::All);
    assert!(scene.store.recovery().new_epoch && !scene.store.recovery().clean);
    assert_eq!(scene.store.version(), synced);
    assert_ne!(scene.store.epoch(), first_epoch);
    assert_eq!(texts(&scene.entry(ann, with(BOB)).latest), ["kept 4"]);
    // Life goes on, under the very versions and seqs that were lost.
    let sent = scene.send(Draft::direct(bob, ann, b"new 1"));
    assert_eq!((sent.seq, sent.version), (Seq(6), Version(synced.0 + 1)));
    scene.send(Draft::direct(cat, ann, b"new 2"));
    scene.send(Draft::direct(cat, ann, b"new 3"));
    scene.store.sync().unwrap();

    // Who saw what was lost begins again, although the versions it knows exist by now.
    for (id, cursor) in [(ANN, &computer), (BOB, &bobs)] {
        let error = scene.store.changed(user(id), Some(cursor), &ListQuery::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResetRequired);
        let seen = synced.0 + 2;
        assert_eq!(
            error.to_string(),
            format!("the cursor is beyond the end of its epoch: end={} got={seen}", synced.0)
        );
        let error = scene.store.catch_up(user(id), Some(cursor), &crate::scene::whole()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResetRequired);
        // From nothing it learns where the lost epoch ended, and drops what it holds above.
        let list = scene.store.changed(user(id), None, &ListQuery::new()).unwrap();
        let ends: Vec<_> = list.epoch_ends.iter().map(|end| (end.epoch, end.end)).collect();
        assert_eq!(ends, [(first_epoch, synced)]);
        assert_eq!(list.epoch, scene.store.epoch());
    }

    // The others go on where they are, and miss nothing of the new.
    for (name, cursor) in [("phone", &phone), ("tablet", &tablet), ("watch", &watch), ("television", &television)] {
        let list = scene.store.changed(ann, Some(cursor), &ListQuery::new()).unwrap();
        let found: Vec<_> = list.entries.iter().map(|entry| (entry.peer, texts(&entry.latest).remove(0))).collect();
        assert_eq!(found, [(with(BOB), "new 1".to_owned()), (with(CAT), "new 3".to_owned())], "{name}");
        assert_eq!(list.entries.iter().map(|entry| entry.unread).collect::<Vec<_>>(), [6, 6], "{name}");
        let ends: Vec<_> = list.epoch_ends.iter().map(|end| (end.epoch, end.end)).collect();
        assert_eq!(ends, [(first_epoch, synced)], "{name} is told where the old epoch ended");
        let next = scene.store.changed(ann, Some(&list.next), &ListQuery::new()).unwrap();
        assert_eq!((next.entries.len(), next.epoch_ends.len()), (0, 0), "{name} is told once");
    }
    // The power goes once more. The phone, which slept through both, learns of both ends.
    let second_epoch = scene.store.epoch();
    let kept = scene.store.version();
    let awake = walk(&scene, ANN, Some(&tablet));
    scene.send(Draft::direct(bob, ann, b"lost 3"));
    let scene = scene.after_crash(Loss::All);
    assert_eq!(scene.store.version(), kept);
    let list = scene.store.changed(ann, Some(&phone), &ListQuery::new()).unwrap();
    let ends: Vec<_> = list.epoch_ends.iter().map(|end| (end.epoch, end.end)).collect();
    assert_eq!(ends, [(first_epoch, synced), (second_epoch, kept)]);
    let list = scene.store.changed(ann, Some(&awake), &ListQuery::new()).unwrap();
    let ends: Vec<_> = list.epoch_ends.iter().map(|end| (end.epoch, end.end)).collect();
    assert_eq!((list.entries.len(), ends), (0, vec![(second_epoch, kept)]));
    // What was beyond its end stays so.
    let error = scene.store.changed(ann, Some(&computer), &ListQuery::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResetRequired);

    // A clean end starts no epoch, and neither does a crash of a store that shows only what is durable.
    let epoch = scene.store.epoch();
    let scene = scene.reopened();
    assert!(scene.store.recovery().clean && !scene.store.recovery().new_epoch);
    assert_eq!(scene.store.epoch(), epoch);
    let scene = Scene::seeded(2, |options| options);
    scene.send(Draft::direct(bob, ann, b"synced"));
    let cursor = walk(&scene, ANN, None);
    let epoch = scene.store.epoch();
    let scene = scene.after_crash(Loss::All);
    assert!(!scene.store.recovery().new_epoch);
    assert_eq!(scene.store.epoch(), epoch);
    assert_eq!(scene.store.changed(ann, Some(&cursor), &ListQuery::new()).unwrap().entries.len(), 0);
    // A cursor of another store is of an epoch that is unknown here.
    let error = scene.store.changed(ann, Some(&phone), &ListQuery::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResetRequired);
    assert_eq!(error.to_string(), "the cursor's epoch is unknown here");
}
