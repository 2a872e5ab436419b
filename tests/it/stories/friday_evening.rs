//! A user comes back online and finds what was said meanwhile.
//! Owns: the story `friday_evening`. May touch: `scene`.
//! Never: looks behind the public interface.

use restante::{Cursor, Draft, Edge, HistoryQuery, ListQuery, Peer, Seq};

use crate::scene::{HOUR, MINUTE, SECOND, START, Scene, seqs, texts, user, with};

/// Who goes offline at 18:00.
const TRAVELLER: u64 = 9527;
/// Who sends 5 messages.
const COLLEAGUE: u64 = 3306;
/// Who sends 33 messages, the last of them with the room number.
const FRIEND: u64 = 5672;

#[test]
fn friday_evening() {
    let scene = Scene::new();
    let traveller = user(TRAVELLER);

    // Until 18:00 everybody is at work: some chats, all of them read, and one that stays quiet tonight.
    for (other, count) in [(COLLEAGUE, 3), (FRIEND, 12), (7001, 4)] {
        for number in 0..count {
            scene.clock.advance(SECOND);
            scene.send(Draft::direct(user(other), traveller, format!("work {number}").as_bytes()));
        }
        scene.read(traveller, with(other), Seq(count));
    }
    // The phone and the computer both know all this, and remember where they are.
    let first_login = scene.list(traveller);
    assert_eq!(first_login.entries.len(), 3);
    assert!(first_login.entries.iter().all(|entry| entry.unread == 0 && entry.goto.is_none()));
    let computer: Cursor = first_login.next;
    assert_eq!(scene.store.total_unread(traveller).unwrap().unread, 0);

    // 18:00: 9527 goes offline. The others go on.
    scene.clock.set(START);
    scene.clock.advance(HOUR);
    let six_o_clock = restante::Timestamp(START.0 + HOUR);
    for number in 1..=5 {
        scene.clock.advance(MINUTE);
        scene.send(Draft::direct(user(COLLEAGUE), traveller, format!("report {number}").as_bytes()));
    }
    let mut first_of_33 = None;
    for number in 1..=33 {
        scene.clock.advance(MINUTE);
        let text = if number == 33 { "房号是0520".to_owned() } else { format!("trip {number}") };
        let sent = scene.send(Draft::direct(user(FRIEND), traveller, text.as_bytes()));
        first_of_33.get_or_insert((sent.seq, sent.timestamp));
    }

    // Login since 18:00: two sessions, not the quiet one, and no body but the latest of each.
    let login = scene.store.changed_since(traveller, six_o_clock, &ListQuery::new()).unwrap();
    assert!(!login.more);
    let [colleague, friend] = &login.entries[..] else {
        panic!("two sessions changed: {:?}", login.entries);
    };
    assert_eq!((colleague.peer, colleague.unread), (with(COLLEAGUE), 5));
    assert_eq!(texts(&colleague.latest), ["report 5"]);
    assert_eq!(colleague.goto.map(|(seq, _)| seq), Some(Seq(4)));
    assert_eq!((friend.peer, friend.unread), (with(FRIEND), 33));
    assert_eq!(texts(&friend.latest), ["房号是0520"]);
    assert_eq!(friend.goto, first_of_33, "jump to the first of the 33");
    assert_eq!((friend.first, friend.last, friend.read_mark), (Seq(1), Seq(45), Seq(12)));
    assert_eq!(scene.store.total_unread(traveller).unwrap().unread, 38);

    // 9527 opens the chat: a page of the 10 newest, then the 10 before them.
    let peer: Peer = with(FRIEND);
    let newest = scene.page(traveller, peer, HistoryQuery::newest().limit(10));
    assert_eq!(seqs(&newest.messages), (36..=45).rev().collect::<Vec<_>>());
    assert_eq!(texts(&newest.messages)[0], "房号是0520");
    assert_eq!((newest.covers, newest.older, newest.newer), (Some((Seq(36), Seq(45))), Edge::More, Edge::End));
    let older = scene.page(traveller, peer, HistoryQuery::newest().seqs(..Seq(36)).limit(10));
    assert_eq!(seqs(&older.messages), (26..=35).rev().collect::<Vec<_>>());
    assert_eq!((older.covers, older.older, older.newer), (Some((Seq(26), Seq(35))), Edge::More, Edge::More));

    // Then jumps to the first unread one and reads upward until the pages meet.
    let (goto, _) = friend.goto.unwrap();
    let from_goto = scene.page(traveller, peer, HistoryQuery::oldest().seqs(goto..).limit(10));
    assert_eq!(seqs(&from_goto.messages), (13..=22).collect::<Vec<_>>());
    assert_eq!(texts(&from_goto.messages)[0], "trip 1");
    assert_eq!((from_goto.covers, from_goto.older), (Some((Seq(13), Seq(22))), Edge::More));
    let up = scene.page(traveller, peer, HistoryQuery::oldest().seqs(Seq(23)..Seq(26)).limit(10));
    assert_eq!(seqs(&up.messages), [23, 24, 25]);
    assert_eq!((up.covers, up.older, up.newer), (Some((Seq(23), Seq(25))), Edge::More, Edge::More));
    let mut held: Vec<u64> = [&newest, &older, &from_goto, &up].iter().flat_map(|page| seqs(&page.messages)).collect();
    held.sort_unstable();
    assert_eq!(held, (13..=45).collect::<Vec<_>>(), "all 33 are there, each once");

    // Opening a chat reads it: the badge goes, the other one stays.
    scene.read(traveller, peer, Seq(45));
    assert_eq!(scene.store.total_unread(traveller).unwrap().unread, 5);
    let after = scene.store.changed(traveller, Some(&login.next), &ListQuery::new()).unwrap();
    assert_eq!(after.entries.len(), 1, "the mark alone changed since the login");
    assert_eq!((after.entries[0].unread, after.entries[0].goto), (0, None));

    // The computer, asleep since before 18:00, sees both chats, and that one of them was read elsewhere.
    let second = scene.store.changed(traveller, Some(&computer), &ListQuery::new()).unwrap();
    let seen: Vec<_> = second.entries.iter().map(|entry| (entry.peer, entry.unread, entry.read_mark)).collect();
    assert_eq!(seen, [(with(COLLEAGUE), 5, Seq(3)), (with(FRIEND), 0, Seq(45))]);
    assert_eq!(texts(&second.entries[1].latest), ["房号是0520"]);

    // All of it survives a night without power, with the same answers.
    let morning = scene.after_crash(restante::Loss::All);
    let again = morning.store.changed(traveller, Some(&computer), &ListQuery::new()).unwrap();
    assert_eq!(again.entries, second.entries);
    let scene = scene.reopened();
    let again = scene.store.changed(traveller, Some(&computer), &ListQuery::new()).unwrap();
    assert_eq!(again.entries, second.entries);
}
