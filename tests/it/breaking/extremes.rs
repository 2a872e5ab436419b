//! Times, numbers, cursors and bounds at their ends; one client id from many threads.
//! Owns: those tests. May touch: the public interface, `scene`, `support`.
//! Never: needs long, or much memory.

use std::ops::Bound;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use restante::limits::*;
use restante::{
    Appended, CatchUpQuery, ClientId, Cursor, Draft, Durability, Effect, Entry, ErrorKind, HistoryQuery, List,
    ListQuery, Loss, Message, Options, Outcome, Peer, RecentCursor, Seq, SessionState, Store, Timestamp, UserId,
    Version,
};

use crate::scene::{Scene, group, room, seqs, user, whole, with};
use crate::support::{Rng, TempDir};

/// Bodies say who sent them, and the rest follows from that.
pub fn text(sender: UserId, number: u64, length: usize) -> Vec<u8> {
    let mut body = format!("{} {number} ", sender.0).into_bytes();
    while body.len() < length {
        body.push(b'a' + (body.len() as u64 + number) as u8 % 26);
    }
    body
}

pub fn check_body(message: &Message) {
    let string = std::str::from_utf8(&message.body).expect("text");
    let mut parts = string.split(' ');
    assert_eq!(parts.next(), Some(message.sender.0.to_string().as_str()), "{message:?}");
    let number: u64 = parts.next().unwrap().parse().unwrap();
    assert_eq!(*message.body, *text(message.sender, number, message.body.len()), "seq={}", message.seq);
}

/// Checks an entry against the messages it rests on. Messages never change, so this holds also while others write.
pub fn check_entry(store: &Store, reader: UserId, entry: &Entry) {
    let what = format!("reader={reader} entry={entry:?}");
    let below_first = Seq(entry.first.0 - 1);
    assert!(entry.read_mark >= below_first && entry.first.0 <= entry.last.0 + 1, "{what}");
    let above_mark = visible(store, reader, entry.peer, Seq(entry.read_mark.0 + 1), entry.last);
    let now = store.changed(reader, None, &ListQuery::new().limit(1_000)).unwrap().entries;
    if now.iter().find(|it| it.peer == entry.peer).is_none_or(|it| it.first != entry.first) {
        return; // The user left and joined again meanwhile, so these messages are not to be seen any more.
    }
    let unread: Vec<&Message> = above_mark.iter().filter(|it| it.counts && it.sender != reader).collect();
    assert_eq!(entry.unread, unread.len() as u64, "{what}");
    assert_eq!(entry.goto, unread.first().map(|it| (it.seq, it.timestamp)), "{what}");
    assert_eq!(entry.latest.first().map(|it| it.seq), (entry.first <= entry.last).then_some(entry.last), "{what}");
    for pair in entry.latest.windows(2) {
        assert_eq!(pair[0].seq.0, pair[1].seq.0 + 1, "{what}");
    }
    if let Some(newest) = entry.latest.first() {
        assert!(newest.version <= entry.version, "{what}");
        assert!(newest.commit_time <= entry.session_timestamp, "{what}");
        assert!(entry.activity >= newest.timestamp || entry.state == SessionState::Member, "{what}");
        for message in &entry.latest {
            check_body(message);
        }
    }
}

/// All that one user may see of a session within some seqs, oldest first.
pub fn visible(store: &Store, reader: UserId, peer: Peer, first: Seq, last: Seq) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut next = first;
    while next <= last {
        let query = HistoryQuery::oldest().seqs(next..=last).limit(1_000).bytes(16 << 20);
        let page = store.history(reader, peer, &query).expect("history");
        let Some(newest) = page.messages.last() else { break };
        next = Seq(newest.seq.0 + 1);
        messages.extend(page.messages);
    }
    messages
}

/// Runs the work on a thread of its own and fails if it hangs.
pub fn within<T: Send + 'static>(seconds: u64, what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(Duration::from_secs(seconds)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!(),
        },
    }
}

#[test]
fn the_ends_of_time() {
    let scene = Scene::with(|options| options);
    let (store, clock) = (&scene.store, &scene.clock);
    let draft = || Draft::direct(user(1), user(2), b"x");
    let kind = |timestamp| store.append(draft().timestamp(Timestamp(timestamp))).wait().map_err(|it| it.kind());
    clock.set(Timestamp(0));
    for refused in [0, 1, u64::MAX, Timestamp::MAX.0, Timestamp::MAX.0 + 1] {
        assert_eq!(kind(refused), Err(ErrorKind::InvalidInput), "{refused}");
    }
    assert_eq!(store.version(), Version::NONE);
    let first = scene.send(draft().client_id(ClientId(u128::MAX)).kind(u16::MAX));
    assert_eq!((first.seq, first.timestamp), (Seq(1), Timestamp(1)));
    let list = store.changed_since(user(2), Timestamp(0), &ListQuery::new()).unwrap();
    assert_eq!(list.entries.len(), 1);
    assert_eq!(list.entries[0].session_timestamp, Timestamp(0));
    // The window ends exactly.
    clock.set(Timestamp(DEDUP_WINDOW_MICROS - 1));
    assert_eq!(scene.send(draft().client_id(ClientId(u128::MAX)).kind(u16::MAX)).outcome, Outcome::Duplicate);
    assert_eq!(scene.all(user(2), with(1))[0].client_id, Some(ClientId(u128::MAX)));
    clock.set(Timestamp(DEDUP_WINDOW_MICROS));
    assert_eq!(scene.all(user(2), with(1))[0].client_id, None);
    assert_eq!(scene.send(draft().client_id(ClientId(u128::MAX)).kind(0)).outcome, Outcome::Written);
    assert_eq!(kind(DEDUP_WINDOW_MICROS), Err(ErrorKind::InvalidInput), "not above the last");
    // Above the end of time the clock stands at it, and seqs go on.
    clock.set(Timestamp(u64::MAX));
    let written = scene.send(draft().client_id(ClientId(5)));
    assert_eq!(written.timestamp, Timestamp::MAX);
    assert_eq!(kind(u64::MAX), Err(ErrorKind::InvalidInput));
    assert_eq!(scene.send(draft()).timestamp, Timestamp(Timestamp::MAX.0 + 1));
    assert_eq!(scene.send(draft().client_id(ClientId(5))).outcome, Outcome::Duplicate);
    assert_eq!(kind(Timestamp::MAX.0), Err(ErrorKind::InvalidInput));
    let other = Draft::direct(user(3), user(2), b"x");
    assert_eq!(store.append(other.timestamp(Timestamp(u64::MAX))).wait().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(scene.send(other.timestamp(Timestamp::MAX)).timestamp, Timestamp::MAX);
    assert_eq!(scene.send(other).timestamp, Timestamp(Timestamp::MAX.0 + 1));
    clock.set(Timestamp(7));
    assert_eq!(scene.send(draft()).timestamp, Timestamp(Timestamp::MAX.0 + 2), "store time never goes back");
    let all = scene.all(user(2), with(1));
    assert_eq!(seqs(&all), [1, 2, 3, 4, 5]);
    let digest = store.state_digest().unwrap();
    let scene = scene.reopened();
    assert_eq!(scene.store.state_digest().unwrap(), digest);
    assert_eq!(scene.all(user(2), with(1)), all);
    let at = |query: HistoryQuery| seqs(&scene.page(user(2), with(1), query).messages);
    let end = Timestamp::MAX.0;
    let at_end = Timestamp(end);
    assert_eq!(at(HistoryQuery::oldest().times(..)), [1, 2, 3, 4, 5]);
    assert_eq!(at(HistoryQuery::oldest().times(at_end..)), [3, 4, 5]);
    assert_eq!(at(HistoryQuery::oldest().times(..Timestamp(u64::MAX))), [1, 2, 3, 4, 5]);
    assert_eq!(at(HistoryQuery::oldest().times(..=Timestamp(u64::MAX))), [1, 2, 3, 4, 5]);
    assert_eq!(at(HistoryQuery::newest().times(Timestamp(u64::MAX)..)), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().times(..Timestamp(0))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().times(Timestamp(0)..=Timestamp(0))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().times((Bound::Excluded(at_end), Bound::Excluded(Timestamp(end + 2))))), [4]);
    let above = (Bound::Excluded(Timestamp(u64::MAX)), Bound::Unbounded);
    assert_eq!(at(HistoryQuery::newest().times(above)), [0; 0]);
    assert_eq!(at(HistoryQuery::oldest().times(above)), [0; 0]);
    let backwards = (Bound::Included(Timestamp(u64::MAX)), Bound::Excluded(Timestamp(0)));
    for query in [HistoryQuery::oldest(), HistoryQuery::newest()] {
        if let Ok(page) = scene.store.history(user(2), with(1), &query.times(backwards)) {
            assert!(page.messages.is_empty() && page.covers.is_none());
        }
    }
    for since in [Timestamp(0), at_end, Timestamp(end + 1), Timestamp(u64::MAX)] {
        let list = scene.store.changed_since(user(2), since, &ListQuery::new()).unwrap();
        assert_eq!(list.entries.len(), if since <= at_end { 2 } else { 0 }, "{since}");
        assert!(scene.store.changed(user(2), Some(&list.next), &ListQuery::new()).unwrap().entries.is_empty());
    }
}

#[test]
fn the_ends_of_every_number() {
    let scene = Scene::new();
    let store = &scene.store;
    let (low, high, crowd) = (user(1), user(u64::MAX), group(u64::MAX));
    scene.send(Draft::direct(high, low, b"a").client_id(ClientId(u128::MAX)));
    assert_eq!(scene.send(Draft::direct(high, high, b"self").client_id(ClientId(1))).seq, Seq(1));
    store.join(crowd, high).wait().unwrap();
    store.join(crowd, low).wait().unwrap();
    scene.send(Draft::group(crowd, high, b"b").kind(u16::MAX).client_id(ClientId(u128::MAX)));
    assert_eq!(scene.send(Draft::direct(high, low, b"a").client_id(ClientId(u128::MAX))).outcome, Outcome::Duplicate);
    // The sender is part of the key.
    assert_eq!(scene.send(Draft::direct(low, high, b"c").client_id(ClientId(u128::MAX))).outcome, Outcome::Written);
    assert_eq!(scene.entry(high, Peer::User(high)).unread, 0);
    assert_eq!(scene.entry(low, Peer::Group(crowd)).unread, 1);
    let peer = Peer::User(high);
    let unread = |seq| store.mark_unread_from(low, peer, Seq(seq)).wait().map_err(|it| it.kind());
    assert_eq!(unread(u64::MAX), Err(ErrorKind::InvalidInput));
    assert_eq!(unread(3), Err(ErrorKind::InvalidInput));
    assert_eq!(unread(0), Err(ErrorKind::InvalidInput));
    assert!(matches!(unread(1), Ok(Effect::Changed(_))));
    assert_eq!(scene.entry(low, peer).unread, 1);
    assert!(matches!(scene.read(low, peer, Seq(u64::MAX)), Effect::Changed(_)));
    assert_eq!(scene.entry(low, peer).read_mark, Seq(2));
    assert_eq!(scene.read(low, peer, Seq(u64::MAX)), Effect::Unchanged);
    let top = Seq(u64::MAX);
    let at = |query: HistoryQuery| seqs(&scene.page(low, peer, query).messages);
    assert_eq!(at(HistoryQuery::oldest().seqs(Seq(0)..top)), [1, 2]);
    assert_eq!(at(HistoryQuery::newest().seqs(Seq(0)..=top)), [2, 1]);
    assert_eq!(at(HistoryQuery::newest().seqs(top..)), [0; 0]);
    assert_eq!(at(HistoryQuery::oldest().seqs(top..)), [0; 0]);
    assert_eq!(at(HistoryQuery::oldest().seqs((Bound::Excluded(top), Bound::Unbounded))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().seqs((Bound::Excluded(top), Bound::Excluded(Seq(0))))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().seqs(..Seq(0))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().seqs(..=Seq(0))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().seqs((Bound::Excluded(Seq(1)), Bound::Excluded(Seq(2))))), [0; 0]);
    assert_eq!(at(HistoryQuery::newest().bytes(1)), [2], "one at least");
    assert_eq!(at(HistoryQuery::newest().limit(1)), [2]);
    // Nobody, and what was never there.
    assert_eq!(store.total_unread(user(77)).unwrap().unread, 0);
    assert!(store.changed(user(77), None, &ListQuery::new()).unwrap().entries.is_empty());
    assert!(store.recent(user(77), None, &ListQuery::new()).unwrap().entries.is_empty());
    assert!(store.history(user(77), with(78), &HistoryQuery::newest()).unwrap().messages.is_empty());
    for peer in [Peer::Group(crowd), room(77)] {
        let error = store.history(user(77), peer, &HistoryQuery::newest()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(store.mark_read(user(77), peer, Seq(1)).wait().unwrap_err().kind(), ErrorKind::NotFound);
    }
    let before = (store.version(), store.state_digest().unwrap());
    assert!(store.append_batch(&[]).wait().unwrap().is_empty());
    assert_eq!(store.leave(group(77), user(1)).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.leave(crowd, user(77)).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((store.version(), store.state_digest().unwrap()), before);
    let digest = store.state_digest().unwrap();
    assert_eq!(scene.reopened().store.state_digest().unwrap(), digest);
}

#[test]
fn one_client_id_is_written_once() {
    for round in 0..30 {
        let directory = TempDir::new("breaker");
        let durability = if round % 3 == 0 { Durability::Sync } else { Durability::Buffered };
        let store = Store::open(directory.path(), Options::default().durability(durability)).unwrap();
        store.join(group(1), user(1)).wait().unwrap();
        let barrier = Barrier::new(16);
        let differ = round % 2 == 1;
        let results: Vec<Result<Appended, ErrorKind>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16u8)
                .map(|number| {
                    let (store, barrier) = (&store, &barrier);
                    scope.spawn(move || {
                        let body = if differ { vec![number % 2] } else { vec![7] };
                        barrier.wait();
                        let draft = Draft::group(group(1), user(1), &body).client_id(ClientId(u128::MAX - 1));
                        let own = [draft, draft, Draft::group(group(1), user(1), b"more")];
                        if number % 5 == 4 {
                            let batch = store.append_batch(&own).wait().map_err(|it| it.kind())?;
                            assert_eq!(batch[1].outcome, Outcome::Duplicate);
                            assert_eq!(batch[0].version, batch[1].version);
                            Ok(batch[0])
                        } else {
                            store.append(draft).wait().map_err(|it| it.kind())
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let good: Vec<Appended> = results.iter().filter_map(|it| it.ok()).collect();
        assert_eq!(good.iter().filter(|it| it.outcome == Outcome::Written).count(), 1, "{results:?}");
        assert!(
            good.iter()
                .all(|it| (it.seq, it.version, it.timestamp) == (good[0].seq, good[0].version, good[0].timestamp))
        );
        assert_eq!(good.len(), if differ { 8 } else { 16 }, "{results:?}");
        assert!(results.iter().all(|it| matches!(it, Ok(_) | Err(ErrorKind::Conflict))));
    }
}

#[test]
fn cursors_of_others_and_from_nowhere() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    for number in 0..30 {
        scene.send(Draft::direct(user(1 + number % 3), user(10 + number % 7), b"x"));
    }
    let store = &scene.store;
    let good = store.changed(user(10), None, &ListQuery::new().limit(1)).unwrap().next;
    let is_expected = |result: restante::Result<List>| match result {
        Ok(list) => Some(list),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ResetRequired, "{error}");
            None
        }
    };
    let mut rng = Rng::new(4);
    let try_bytes = |bytes: &[u8]| match Cursor::from_bytes(bytes) {
        Ok(cursor) => {
            assert_eq!(cursor.to_bytes()[..], *bytes);
            for reader in [user(10), user(1), user(u64::MAX)] {
                is_expected(store.changed(reader, Some(&cursor), &ListQuery::new()));
                is_expected(store.catch_up(reader, Some(&cursor), &whole()));
            }
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
    };
    for length in [0, 1, 16, 17, 31, 33, 64, 4_096] {
        assert_eq!(Cursor::from_bytes(&vec![0; length]).unwrap_err().kind(), ErrorKind::InvalidInput);
        if length != 17 {
            assert_eq!(RecentCursor::from_bytes(&vec![0; length]).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
    try_bytes(&[0; 32]);
    try_bytes(&[255; 32]);
    for bit in 0..256 {
        let mut bytes = good.to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        try_bytes(&bytes);
    }
    for _ in 0..2_000 {
        let mut bytes = good.to_bytes();
        for byte in &mut bytes[8..] {
            *byte = if rng.percent(70) { rng.below(40) as u8 * (rng.below(3) == 0) as u8 } else { rng.next() as u8 };
        }
        try_bytes(&bytes);
        let mut bytes = [0; 17];
        bytes.iter_mut().for_each(|it| *it = rng.next() as u8);
        bytes[rng.below(17) as usize] = rng.below(3) as u8;
        match RecentCursor::from_bytes(&bytes) {
            Ok(cursor) => {
                assert_eq!(cursor.to_bytes(), bytes);
                store.recent(user(10), Some(&cursor), &ListQuery::new()).map(drop).unwrap();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        }
    }
    // Another user's cursor is a position in the same store.
    assert!(is_expected(store.changed(user(11), Some(&good), &ListQuery::new())).is_some());
    // Another store knows nothing of it.
    let other = Scene::seeded(2, |options| options);
    for number in 0..40 {
        other.send(Draft::direct(user(1), user(10 + number % 7), b"x"));
    }
    assert!(is_expected(other.store.changed(user(10), Some(&good), &ListQuery::new())).is_none());
    // From the future: this machine lost what the cursor has seen.
    store.sync().unwrap();
    let durable = store.changed(user(10), None, &ListQuery::new()).unwrap().next;
    let at = store.version();
    scene.send(Draft::direct(user(1), user(10), b"to be lost"));
    let future = store.changed(user(10), None, &ListQuery::new()).unwrap().next;
    let partial = store.changed(user(10), None, &ListQuery::new().limit(1)).unwrap();
    assert!(partial.more);
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.store.version(), at);
    assert_ne!(crashed.store.epoch(), store.epoch());
    for cursor in [future, partial.next] {
        assert!(is_expected(crashed.store.changed(user(10), Some(&cursor), &ListQuery::new())).is_none());
    }
    let list = is_expected(crashed.store.changed(user(10), Some(&durable), &ListQuery::new())).unwrap();
    assert_eq!(list.epoch, crashed.store.epoch());
    assert_eq!(list.epoch_ends.len(), 1);
    assert_eq!((list.epoch_ends[0].epoch, list.epoch_ends[0].end), (store.epoch(), at));
    // New versions take the numbers of the lost ones: still refused.
    for _ in 0..5 {
        crashed.send(Draft::direct(user(2), user(10), b"anew"));
    }
    assert!(is_expected(crashed.store.changed(user(10), Some(&future), &ListQuery::new())).is_none());
    let list = is_expected(crashed.store.changed(user(10), Some(&durable), &ListQuery::new())).unwrap();
    assert_eq!(list.entries.len(), 1);
}

#[test]
fn catch_up_stays_within_its_bounds() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered));
    let store = &scene.store;
    let mut rng = Rng::new(6);
    let start = store.changed(user(1), None, &ListQuery::new()).unwrap().next;
    for number in 0..400 {
        let other = user(2 + rng.below(12));
        let body = text(other, number, rng.below(300) as usize);
        scene.send(Draft::direct(other, user(1), &body));
    }
    for _ in 0..200 {
        let (messages, bytes) = (rng.below(500) as usize, rng.below(80_000) as usize);
        let query = CatchUpQuery::new().limit(1 + rng.below(14) as usize).messages(messages).bytes(bytes);
        let (mut cursor, mut peers) = (start, 0);
        loop {
            let list = store.catch_up(user(1), Some(&cursor), &query).unwrap();
            let count: usize = list.entries.iter().map(|it| it.messages.len()).sum();
            let sum: usize = list.entries.iter().flat_map(|it| &it.messages).map(|it| it.body.len()).sum();
            assert!(count <= messages && sum <= bytes, "{count} {sum}");
            for entry in &list.entries {
                let all = visible(store, user(1), entry.peer, Seq(1), entry.last);
                if entry.messages_left_out {
                    let more: usize = all.iter().map(|it| it.body.len()).sum();
                    assert!(entry.messages.is_empty());
                    assert!(count + all.len() > messages || sum + more > bytes, "would have fitted");
                } else {
                    assert_eq!(entry.messages, all);
                }
            }
            peers += list.entries.len();
            cursor = list.next;
            if !list.more {
                break;
            }
        }
        assert_eq!(peers, 12);
    }
}
