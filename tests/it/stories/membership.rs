//! Coming and going in a group.
//! Owns: the story `join_leave_rejoin`. May touch: `scene`.
//! Never: looks behind the public interface.

use restante::{Draft, Edge, Effect, ErrorKind, GroupSettings, HistoryQuery, ListQuery, Seq, SessionState};

use crate::scene::{SECOND, Scene, group, room, seqs, user};

const ANN: u64 = 1;
const BOB: u64 = 2;

/// Ann says so many things in a group.
fn talk(scene: &Scene, id: u64, count: u64) {
    for number in 0..count {
        scene.clock.advance(SECOND);
        scene.send(Draft::group(group(id), user(ANN), format!("line {number}").as_bytes()));
    }
}

#[test]
fn join_leave_rejoin() {
    let scene = Scene::new();
    let (ann, bob, peer) = (user(ANN), user(BOB), room(42));
    assert!(matches!(scene.store.join(group(42), ann).wait().unwrap(), Effect::Changed(_)));
    talk(&scene, 42, 10);

    // Before he joins, the group is nothing to Bob: he can neither read, mark, leave nor write.
    let error = scene.store.history(bob, peer, &HistoryQuery::newest()).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "no such session: group 42 user=2"));
    assert_eq!(scene.store.mark_read(bob, peer, Seq(1)).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(scene.store.leave(group(42), bob).wait().unwrap_err().kind(), ErrorKind::NotFound);
    let error = scene.store.append(Draft::group(group(42), bob, b"hello?")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "only members may send here: group 42 sender=2");
    assert_eq!(scene.list(bob).entries, []);

    // He joins after 10 messages and sees none of them.
    scene.clock.advance(SECOND);
    let Effect::Changed(joined) = scene.store.join(group(42), bob).wait().unwrap() else { panic!("he was not in it") };
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.version, entry.state, entry.unread, entry.goto), (joined, SessionState::Member, 0, None));
    assert_eq!((entry.first, entry.last, entry.read_mark), (Seq(11), Seq(10), Seq(10)));
    assert_eq!(entry.activity, entry.session_timestamp, "nothing was said since he came");
    assert_eq!(entry.latest, []);
    let page = scene.page(bob, peer, HistoryQuery::newest());
    assert_eq!((page.messages.len(), page.older, page.newer), (0, Edge::NotVisible, Edge::End));
    // Again is nothing.
    let version = scene.store.version();
    assert_eq!(scene.store.join(group(42), bob).wait().unwrap(), Effect::Unchanged);
    assert_eq!(scene.store.version(), version);

    // Five more, of which he reads two.
    talk(&scene, 42, 5);
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), (5, Some(Seq(11))));
    scene.read(bob, peer, Seq(12));
    assert_eq!(scene.entry(bob, peer).unread, 3);

    // He leaves: the session is frozen there, still readable, still counted.
    assert!(matches!(scene.store.leave(group(42), bob).wait().unwrap(), Effect::Changed(_)));
    assert_eq!(scene.store.leave(group(42), bob).wait().unwrap(), Effect::Unchanged);
    let left = scene.entry(bob, peer);
    assert_eq!((left.state, left.unread, left.last), (SessionState::Left, 3, Seq(15)));
    let tablet = scene.list(bob).next;
    talk(&scene, 42, 7);
    assert_eq!(scene.entry(bob, peer), left, "what is said without him is not his");
    assert_eq!(scene.store.changed(bob, Some(&tablet), &ListQuery::new()).unwrap().entries, []);
    assert_eq!(
        scene.store.append(Draft::group(group(42), bob, b"wait")).wait().unwrap_err().kind(),
        ErrorKind::Refused
    );
    let page = scene.page(bob, peer, HistoryQuery::newest());
    assert_eq!(seqs(&page.messages), [15, 14, 13, 12, 11]);
    assert_eq!((page.older, page.newer), (Edge::NotVisible, Edge::NotVisible));
    // A mark far beyond stops at the end of what he sees.
    scene.read(bob, peer, Seq(22));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.read_mark, entry.state), (0, Seq(15), SessionState::Left));

    // He comes back: it begins anew, read, and without what was said before.
    let Effect::Changed(rejoined) = scene.store.join(group(42), bob).wait().unwrap() else { panic!("he had left") };
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.version, entry.state, entry.unread), (rejoined, SessionState::Member, 0));
    assert_eq!((entry.first, entry.last, entry.read_mark), (Seq(23), Seq(22), Seq(22)));
    talk(&scene, 42, 1);
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), (1, Some(Seq(23))));
    assert_eq!(seqs(&scene.all(bob, peer)), [23]);
    // The tablet that slept through it all gets the session as it is now.
    assert_eq!(scene.store.changed(bob, Some(&tablet), &ListQuery::new()).unwrap().entries, [entry]);

    // The same in a group that shows its history: all of it is there for the newcomer, and read.
    let open = room(43);
    scene.store.create_group(group(43), GroupSettings::default().shows_history(true)).wait().unwrap();
    scene.store.join(group(43), ann).wait().unwrap();
    talk(&scene, 43, 10);
    scene.store.join(group(43), bob).wait().unwrap();
    let entry = scene.entry(bob, open);
    assert_eq!((entry.unread, entry.first, entry.last, entry.read_mark), (0, Seq(1), Seq(10), Seq(10)));
    assert_eq!(entry.latest[0].seq, Seq(10));
    assert_eq!(seqs(&scene.all(bob, open)), (1..=10).collect::<Vec<_>>());
    // From there he may mark all of it unread, but for what he wrote himself.
    let own = scene.send(Draft::group(group(43), bob, b"hello"));
    assert_eq!(own.seq, Seq(11));
    scene.store.mark_unread_from(bob, open, Seq(1)).wait().unwrap();
    assert_eq!(scene.entry(bob, open).unread, 10);
    scene.store.leave(group(43), bob).wait().unwrap();
    talk(&scene, 43, 4);
    assert_eq!(scene.entry(bob, open).unread, 10);
    scene.store.join(group(43), bob).wait().unwrap();
    let entry = scene.entry(bob, open);
    assert_eq!((entry.unread, entry.first, entry.last, entry.read_mark), (0, Seq(1), Seq(15), Seq(15)));
    assert_eq!(seqs(&scene.all(bob, open)), (1..=15).collect::<Vec<_>>());

    // Ann, who was there all along, has nothing unread and sees everything.
    assert_eq!(scene.entry(ann, peer).unread, 0);
    assert_eq!(seqs(&scene.all(ann, peer)), (1..=23).collect::<Vec<_>>());
    let want = (scene.list(ann).entries, scene.list(bob).entries);
    let scene = scene.reopened();
    assert_eq!((scene.list(ann).entries, scene.list(bob).entries), want);
}
