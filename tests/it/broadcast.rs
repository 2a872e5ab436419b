//! What sources send: to one user's inbox, or to everyone.
//! Owns: inbox and broadcast timelines. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::limits::BROADCAST_SOURCES_MAX;
use restante::{
    BusinessId, ClientId, Draft, Edge, ErrorKind, FlagChange, HistoryQuery, ListQuery, Loss, Outcome, Peer, Seq,
    SessionState, Source, SystemId, Timeline, UserId,
};

use crate::replies::{changed, refused, traceless, unchanged};
use crate::scene::{MINUTE, Scene, seqs, texts, with};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);
const NEWS: Source = Source::System(SystemId(5));
const SHOP: Source = Source::Business(BusinessId(5));

fn peers(scene: &Scene, user: UserId) -> Vec<Peer> {
    scene.list(user).entries.iter().map(|entry| entry.peer).collect()
}

#[test]
fn an_inbox_is_between_a_source_and_one_user() {
    let scene = Scene::new();
    let send = |user, text: &str| scene.send(Draft::inbox(NEWS, user, text.as_bytes()));
    assert_eq!((send(ANN, "a1").seq, send(BOB, "b1").seq, send(ANN, "a2").seq), (Seq(1), Seq(1), Seq(2)));
    assert!(scene.store.user_exists(ANN).unwrap() && scene.store.user_exists(BOB).unwrap());
    let entry = scene.entry(ANN, NEWS.into());
    assert_eq!((entry.peer, entry.unread, entry.state), (Peer::System(SystemId(5)), 2, SessionState::Member));
    assert_eq!((entry.first, entry.last, entry.goto.map(|(seq, _)| seq)), (Seq(1), Seq(2), Some(Seq(1))));
    assert_eq!((entry.other_read, entry.other_delivered), (Seq(0), Seq(0)));
    assert_eq!(texts(&scene.all(ANN, NEWS.into())), ["a1", "a2"]);
    assert_eq!(texts(&scene.all(BOB, NEWS.into())), ["b1"]);
    let message = &scene.all(ANN, NEWS.into())[0];
    assert_eq!((message.sender, message.timeline), (UserId::NONE, Timeline::Inbox(NEWS, ANN)));
    assert_eq!(message.timeline.peer_of(ANN), Some(NEWS.into()));
    assert_eq!(message.timeline.peer_of(BOB), None);
    // System 5 and Business 5 are two.
    scene.send(Draft::inbox(SHOP, ANN, b"s1"));
    assert_eq!(peers(&scene, ANN), [NEWS.into(), SHOP.into()]);
    // All that can be done with a session can be done with it.
    scene.read(ANN, NEWS.into(), Seq(1));
    assert_eq!(scene.entry(ANN, NEWS.into()).unread, 1);
    changed(scene.store.recall(UserId::NONE, Timeline::Inbox(NEWS, ANN), Seq(2)));
    assert_eq!(scene.entry(ANN, NEWS.into()).unread, 0);
    changed(scene.store.mark_unread_from(ANN, NEWS.into(), Seq(1)));
    changed(scene.store.set_flags(ANN, NEWS.into(), FlagChange::new().muted(true)));
    changed(scene.store.edit(UserId::NONE, Timeline::Inbox(NEWS, BOB), Seq(1), b"b one"));
    changed(scene.store.remove_session(ANN, SHOP.into()));
    assert_eq!(peers(&scene, ANN), [NEWS.into()]);
    scene.send(Draft::inbox(SHOP, ANN, b"s2"));
    let entries = scene.list(ANN).entries;
    assert_eq!((entries[0].unread, entries[0].flags.muted, entries[1].unread), (1, true, 1));
    // A client id is the source's own.
    let draft = Draft::inbox(NEWS, CAT, b"c1").client_id(ClientId(1));
    assert_eq!(scene.send(draft).outcome, Outcome::Written);
    assert_eq!(scene.send(draft).outcome, Outcome::Duplicate);
    assert_eq!(scene.send(Draft::inbox(NEWS, BOB, b"b2").client_id(ClientId(1))).outcome, Outcome::Written);
    let error = scene.store.append(Draft::inbox(NEWS, CAT, b"c2").client_id(ClientId(1))).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(scene.store.find(Timeline::Inbox(NEWS, CAT), UserId::NONE, ClientId(1)).unwrap(), Some(Seq(1)));
    let want = [ANN, BOB, CAT].map(|user| scene.list(user).entries);
    let scene = scene.reopened();
    assert_eq!([ANN, BOB, CAT].map(|user| scene.list(user).entries), want);
}

#[test]
fn a_source_is_one_thing_or_the_other() {
    let scene = Scene::new();
    let store = &scene.store;
    let kind = ErrorKind::InvalidInput;
    scene.send(Draft::inbox(NEWS, ANN, b"x"));
    scene.send(Draft::broadcast(SHOP, b"x"));
    refused(&scene, kind, "the source sends to inboxes: system 5", || {
        store.append(Draft::broadcast(NEWS, b"x")).wait()
    });
    refused(&scene, kind, "the source sends a broadcast: business 5", || {
        store.append(Draft::inbox(SHOP, ANN, b"x")).wait()
    });
    // Also within one batch, of which nothing is written then.
    let fresh = Source::System(SystemId(6));
    let drafts = [Draft::broadcast(fresh, b"x"), Draft::inbox(fresh, ANN, b"x")];
    let error = traceless(&scene, || store.append_batch(&drafts).wait().unwrap_err());
    assert_eq!((error.kind(), error.item()), (kind, Some(1)));
    scene.send(Draft::inbox(fresh, ANN, b"x"));
    refused(&scene, kind, "the source sends to inboxes: system 6", || {
        store.append(Draft::broadcast(fresh, b"x")).wait()
    });
    // Users do not send there, and a source sends nowhere else.
    for timeline in [Timeline::Inbox(NEWS, ANN), Timeline::Broadcast(SHOP)] {
        let text = format!("only the source sends here: {timeline} sender=1");
        refused(&scene, kind, &text, || store.append(Draft::new(timeline, ANN, b"x")).wait());
    }
    refused(&scene, kind, "id 0 means none: inbox of user 0 from system 5 sender=0", || {
        store.append(Draft::inbox(NEWS, UserId::NONE, b"x")).wait()
    });
    refused(&scene, kind, "id 0 means none: inbox of user 1 from system 0 sender=0", || {
        store.append(Draft::inbox(Source::System(SystemId(0)), ANN, b"x")).wait()
    });
    refused(&scene, kind, "id 0 means none: broadcast from business 0 sender=0", || {
        store.append(Draft::broadcast(Source::Business(BusinessId(0)), b"x")).wait()
    });
    // Refused long before it was anything: then it is still free.
    let free = Source::Business(BusinessId(9));
    let _ = store.append(Draft::broadcast(free, &vec![0; 2 << 20])).wait().unwrap_err();
    let _ = store.append(Draft::broadcast(free, b"x").counts(false).alerts(1)).wait().unwrap_err();
    scene.send(Draft::inbox(free, ANN, b"x"));
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.store.append(Draft::broadcast(NEWS, b"x")).wait().unwrap_err().kind(), kind);
    assert_eq!(crashed.store.append(Draft::inbox(SHOP, BOB, b"x")).wait().unwrap_err().kind(), kind);
}

#[test]
fn a_broadcast_is_seen_by_those_who_were_there() {
    let scene = Scene::new();
    changed(scene.store.add_user(ANN));
    assert_eq!(scene.list(ANN).entries, []);
    let error = scene.store.history(ANN, NEWS.into(), &HistoryQuery::newest()).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "no such session: system 5 has sent nothing user=1")
    );
    let send = |text: &str| {
        scene.clock.advance(MINUTE);
        scene.send(Draft::broadcast(NEWS, text.as_bytes()))
    };
    let first = send("one");
    send("two");
    changed(scene.store.add_user(BOB));
    send("three");
    scene.send(Draft::direct(CAT, ANN, b"x"));
    send("four");
    // Each sees what came after it did, and nobody who does not exist sees any.
    for (user, from) in [(ANN, 1), (BOB, 3), (CAT, 4)] {
        let entry = scene.entry(user, NEWS.into());
        let page = scene.page(user, NEWS.into(), HistoryQuery::oldest());
        assert_eq!(seqs(&page.messages), (from..=4).collect::<Vec<_>>());
        assert_eq!((entry.first, entry.last, entry.unread), (Seq(from), Seq(4), 5 - from));
        assert_eq!((entry.read_mark, entry.goto.map(|(seq, _)| seq)), (Seq(from - 1), Some(Seq(from))));
        assert_eq!(page.older, if from == 1 { Edge::End } else { Edge::NotVisible });
        assert_eq!((entry.state, texts(&entry.latest)), (SessionState::Member, vec!["four".to_owned()]));
        assert_eq!(page.messages[0].sender, UserId::NONE);
    }
    traceless(&scene, || {
        assert_eq!(scene.list(UserId(9)).entries, []);
        let error = scene.store.history(UserId(9), NEWS.into(), &HistoryQuery::newest()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(scene.store.total_unread(UserId(9)).unwrap().unread, 0);
    });
    assert_eq!(scene.store.total_unread(ANN).unwrap().unread, 5, "with the one that Cat sent");
    assert_eq!(first.seq, Seq(1));
    // One mark, one hide, one clear: each of its own user alone.
    scene.read(ANN, NEWS.into(), Seq(2));
    changed(scene.store.hide(BOB, NEWS.into(), &[Seq(3)]));
    assert_eq!(scene.entry(ANN, NEWS.into()).unread, 2);
    assert_eq!((scene.entry(BOB, NEWS.into()).unread, seqs(&scene.all(BOB, NEWS.into()))), (1, vec![4]));
    assert_eq!(scene.entry(CAT, NEWS.into()).unread, 1);
    refused(&scene, ErrorKind::NotFound, "the message is not there: broadcast from system 5 user=3 seq=3", || {
        scene.store.hide(CAT, NEWS.into(), &[Seq(3)]).wait()
    });
    changed(scene.store.mark_unread_from(ANN, NEWS.into(), Seq(1)));
    assert_eq!(scene.entry(ANN, NEWS.into()).unread, 4);
    unchanged(&scene, || scene.store.mark_unread_from(BOB, NEWS.into(), Seq(1)));
    changed(scene.store.remove_session(CAT, NEWS.into()));
    assert_eq!(peers(&scene, CAT), [with(1)]);
    let recalled = changed(scene.store.recall(UserId::NONE, Timeline::Broadcast(NEWS), Seq(3)));
    assert_eq!(scene.entry(ANN, NEWS.into()).version, recalled);
    assert_eq!((scene.entry(ANN, NEWS.into()).unread, scene.entry(BOB, NEWS.into()).unread), (3, 1));
    let scene = scene.reopened();
    assert_eq!((scene.entry(ANN, NEWS.into()).unread, scene.entry(BOB, NEWS.into()).unread), (3, 1));
    assert_eq!(peers(&scene, CAT), [with(1)]);
    scene.send(Draft::broadcast(NEWS, b"five"));
    assert_eq!(scene.entry(CAT, NEWS.into()).first, Seq(5), "it revives the session for her, too");
}

#[test]
fn a_broadcast_costs_no_row_of_anybody() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    let users: Vec<UserId> = (1..=5_000).map(UserId).collect();
    scene.store.join_many(restante::GroupId(1), &users).wait().unwrap();
    let (version, operations) = (scene.store.version(), scene.storage.operations());
    let cursor = scene.list(UserId(4_000)).next;
    let sent = scene.send(Draft::broadcast(NEWS, b"to all five thousand"));
    assert_eq!(sent.version.0, version.0 + 1);
    assert!(scene.storage.operations() - operations <= 4, "one small frame and its sync");
    for user in [1, 2_500, 4_000, 5_000].map(UserId) {
        assert_eq!(scene.store.total_unread(user).unwrap().unread, 1);
        let list = scene.store.changed(user, Some(&cursor), &ListQuery::new()).unwrap();
        assert_eq!((list.entries.len(), list.entries[0].peer), (1, NEWS.into()));
        assert_eq!((list.entries[0].version, list.entries[0].activity), (sent.version, sent.timestamp));
    }
    // It takes part in walks by pages, in `recent` and in `catch_up` as every session does.
    scene.send(Draft::direct(UserId(1), UserId(2), b"x"));
    let list = scene.store.catch_up(UserId(2), Some(&cursor), &crate::scene::whole()).unwrap();
    let carried: Vec<_> = list.entries.iter().map(|entry| (entry.peer, texts(&entry.messages))).collect();
    assert_eq!(carried, [(NEWS.into(), vec!["to all five thousand".to_owned()]), (with(1), vec!["x".to_owned()])]);
    let recent = scene.store.recent(UserId(2), None, &ListQuery::new()).unwrap();
    let order: Vec<Peer> = recent.entries.iter().map(|entry| entry.peer).collect();
    assert_eq!(order, [with(1), Peer::Group(restante::GroupId(1)), NEWS.into()], "all at one time: by peer");
}

#[test]
fn how_many_sources_broadcast() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    changed(scene.store.add_user(ANN));
    let source = |number: u64| {
        if number.is_multiple_of(2) { Source::System(SystemId(number)) } else { Source::Business(BusinessId(number)) }
    };
    for number in 1..=BROADCAST_SOURCES_MAX as u64 {
        drop(scene.store.append(Draft::broadcast(source(number), b"x")));
    }
    scene.store.sync().unwrap();
    assert_eq!(scene.store.total_unread(ANN).unwrap().unread, BROADCAST_SOURCES_MAX as u64);
    let one_more = source(BROADCAST_SOURCES_MAX as u64 + 1);
    refused(&scene, ErrorKind::LimitExceeded, "sources of broadcasts is above its limit: limit=1024 got=1025", || {
        scene.store.append(Draft::broadcast(one_more, b"x")).wait()
    });
    // Those that are there go on; inboxes are not counted, and what was refused may be one.
    scene.send(Draft::broadcast(source(1), b"y"));
    scene.send(Draft::inbox(one_more, ANN, b"x"));
    scene.send(Draft::inbox(Source::System(SystemId(1 << 40)), ANN, b"x"));
    let scene = scene.reopened();
    let last = Source::System(SystemId(1 << 41));
    let error = scene.store.append(Draft::broadcast(last, b"x")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    // A batch that would go above is refused whole, and names the item.
    let scene = Scene::new();
    let drafts: Vec<Draft<'_>> =
        (1..=BROADCAST_SOURCES_MAX as u64 + 1).map(|number| Draft::broadcast(source(number), b"")).collect();
    let error = scene.store.append_batch(&drafts).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::LimitExceeded, Some(BROADCAST_SOURCES_MAX)));
    assert!(scene.store.version().is_none());
    scene.store.append_batch(&drafts[1..]).wait().unwrap();
}
