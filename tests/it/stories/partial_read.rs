//! Reading a chat bit by bit.
//! Owns: the story `partial_read`. May touch: `scene`.
//! Never: looks behind the public interface.

use restante::{Draft, Effect, ErrorKind, ListQuery, Message, Seq, UserId};

use crate::scene::{Scene, room, user};

const ANN: u64 = 1;
const BOB: u64 = 2;
const ROOM: u64 = 42;

/// How many are unread with a mark, counted the slow way, and which is the oldest.
fn recount(messages: &[Message], reader: UserId, mark: u64) -> (u64, Option<Seq>) {
    let unread = |message: &&Message| message.seq.0 > mark && message.counts && message.sender != reader;
    (messages.iter().filter(unread).count() as u64, messages.iter().find(unread).map(|message| message.seq))
}

#[test]
fn partial_read() {
    let scene = Scene::new();
    let (ann, bob, peer) = (user(ANN), user(BOB), room(ROOM));
    scene.store.join_many(restante::GroupId(ROOM), &[ann, bob]).wait().unwrap();

    // Ann talks; every fifth message is a notice that does not count.
    for number in 1..=30_u64 {
        let text = format!("line {number}");
        scene.send(Draft::group(restante::GroupId(ROOM), ann, text.as_bytes()).counts(number % 5 != 0));
    }
    assert_eq!(scene.entry(bob, peer).unread, 24);
    let tablet = scene.list(bob).next;

    // Bob reads on the way home. Each mark lowers the count by exactly what was read.
    let messages = scene.all(bob, peer);
    let mut before = scene.entry(bob, peer);
    for mark in 1..=30 {
        assert!(matches!(scene.read(bob, peer, Seq(mark)), Effect::Changed(_)));
        let entry = scene.entry(bob, peer);
        let read = messages[mark as usize - 1].counts;
        assert_eq!(entry.unread, before.unread - u64::from(read), "mark={mark}");
        assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), recount(&messages, bob, mark), "mark={mark}");
        assert_eq!(entry.read_mark, Seq(mark));
        assert!(entry.version > before.version, "other devices must learn of mark={mark}");
        assert_eq!(scene.store.total_unread(bob).unwrap().unread, entry.unread);
        before = entry;
    }

    // The mark goes forward only: an older page that is looked at later changes nothing.
    for mark in [0, 1, 17, 30] {
        let version = scene.store.version();
        assert_eq!(scene.read(bob, peer, Seq(mark)), Effect::Unchanged);
        assert_eq!(scene.store.version(), version, "no trace");
    }
    // Beyond the end is the end.
    assert_eq!(scene.read(bob, peer, Seq(u64::MAX)), Effect::Unchanged);

    // "Mark as unread" from the 11th on; Bob's own answer in between never counts.
    let effect = scene.store.mark_unread_from(bob, peer, Seq(11)).wait().unwrap();
    assert!(matches!(effect, Effect::Changed(_)));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq), entry.read_mark), (16, Some(Seq(11)), Seq(10)));
    assert_eq!(scene.store.mark_unread_from(bob, peer, Seq(12)).wait().unwrap(), Effect::Unchanged);
    let error = scene.store.mark_unread_from(bob, peer, Seq(31)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "no such message to begin unread with: end=30 got=31");

    // Answering is reading: the whole chat is read up to the answer, whatever was unread before.
    let answer = scene.send(Draft::group(restante::GroupId(ROOM), bob, b"ok"));
    let entry = scene.entry(bob, peer);
    assert_eq!((entry.unread, entry.goto, entry.read_mark), (0, None, answer.seq));
    // A notice of one's own is not.
    scene.send(Draft::group(restante::GroupId(ROOM), ann, b"and?"));
    scene.send(Draft::group(restante::GroupId(ROOM), bob, b"bob changed his picture").counts(false));
    assert_eq!(scene.entry(bob, peer).unread, 1);

    // Back to the very first: the own answer in the middle stays out, at each mark on the way up.
    scene.store.mark_unread_from(bob, peer, Seq(1)).wait().unwrap();
    let messages = scene.all(bob, peer);
    for mark in 0..=33 {
        if mark > 0 {
            scene.read(bob, peer, Seq(mark));
        }
        let entry = scene.entry(bob, peer);
        assert_eq!((entry.unread, entry.goto.map(|(seq, _)| seq)), recount(&messages, bob, mark), "mark={mark}");
    }

    // The tablet, asleep all the while, gets the session once, as it is now.
    let list = scene.store.changed(bob, Some(&tablet), &ListQuery::new()).unwrap();
    assert_eq!(list.entries, [scene.entry(bob, peer)]);
    assert_eq!(list.entries[0].unread, 0);
    // And nobody else's badge moved.
    assert_eq!(scene.entry(ann, peer).unread, 0);
    let scene = scene.reopened();
    assert_eq!(list.entries, [scene.entry(bob, peer)]);
}
