//! The whole company writes while one user is on a plane.
//! Owns: the story `tsunami`. May touch: `scene`.
//! Never: asserts how long anything takes; it counts what an answer holds and what it reads.

use restante::{CatchUpQuery, Cursor, Draft, Durability, Entry, GroupId, List, ListQuery, Message, UserId};

use crate::scene::{SECOND, Scene, group, room, user, with};

/// The company: everybody is in group 1.
const PEOPLE: u64 = 30_000;
/// Groups 2 to 8 have so many members.
const SMALLER: [(u64, u64); 7] = [(2, 5_000), (3, 1_000), (4, 500), (5, 200), (6, 50), (7, 50), (8, 10)];
const TRAVELLER: UserId = UserId(77);
/// Of 100 messages, so many go to the company group; the others to the smaller groups, and one to 77 alone.
const TO_ALL: u64 = 60;

#[test]
fn tsunami() {
    let scene = Scene::with(|options| options.durability(Durability::Buffered).journal_bytes(16 << 20));
    let everybody: Vec<UserId> = (1..=PEOPLE).map(UserId).collect();
    let joined = scene.store.join_many(group(1), &everybody).wait().unwrap();
    assert_eq!(joined.joined, PEOPLE as usize, "30,000 in one commit");
    for (id, count) in SMALLER {
        let mut members = everybody[..count as usize].to_vec();
        members.push(TRAVELLER);
        scene.store.join_many(group(id), &members).wait().unwrap();
    }
    let before = scene.list(TRAVELLER).next;

    // The plane takes off. 5,000 messages later, and 50,000 messages later, the phone asks what is new.
    let mut sent = Sent::default();
    sent.storm(&scene, 5_000);
    let small = login(&scene, &before, &sent);
    sent.storm(&scene, 45_000);
    let large = login(&scene, &before, &sent);

    assert_eq!(large.entries, SMALLER.len() + 2, "the groups and the chat with the boss");
    assert_eq!(large, small, "neither what the answer holds nor what it reads grows with the messages");
    assert!(large.bytes <= large.entries * 2_048, "one latest message a session: {large:?}");

    // Somebody else, with another part of the groups, has the same badge for what all got.
    let other = scene.entry(user(20_001), room(1));
    assert_eq!(other.unread, sent.to_group(1));
    // Who wrote it all has nothing unread.
    assert_eq!(scene.entry(user(1), room(1)).unread, 0);

    // The phone that wants bodies at once gets what fits its bounds, and flags for the rest.
    let query = CatchUpQuery::new().messages(2_000).bytes(256 << 10);
    let list = scene.store.catch_up(TRAVELLER, Some(&before), &query).unwrap();
    let carried: Vec<&Message> = list.entries.iter().flat_map(|entry| &entry.messages).collect();
    assert!(!carried.is_empty() && carried.len() <= 2_000);
    assert!(carried.iter().map(|message| message.body.len()).sum::<usize>() <= 256 << 10);
    for entry in &list.entries {
        let is_whole = entry.messages.len() as u64 == entry.unread;
        assert_eq!(entry.messages_left_out, !is_whole, "{}: {}", entry.peer, entry.unread);
    }
    assert!(list.entries.iter().any(|entry| entry.messages_left_out));

    // Reading the loudest group is one mark, whatever it covers.
    let loudest = scene.entry(TRAVELLER, room(1));
    let version = scene.store.version();
    scene.read(TRAVELLER, room(1), loudest.last);
    assert_eq!(scene.store.version().0, version.0 + 1);
    assert_eq!(scene.store.total_unread(TRAVELLER).unwrap().unread, sent.total() - sent.to_group(1));
}

/// How many messages went where.
#[derive(Default)]
struct Sent {
    groups: [u64; 9],
    alone: u64,
    count: u64,
}

impl Sent {
    /// User 1, who is in all groups, writes so many messages, in batches of 100.
    fn storm(&mut self, scene: &Scene, count: u64) {
        let body = [b'x'; 120];
        for _ in 0..count / 100 {
            scene.clock.advance(SECOND);
            let drafts: Vec<Draft<'_>> = (0..100)
                .map(|number| {
                    self.count += 1;
                    if number < TO_ALL {
                        self.groups[1] += 1;
                        Draft::group(GroupId(1), UserId(1), &body)
                    } else if number < 99 {
                        let id = 2 + number % SMALLER.len() as u64;
                        self.groups[id as usize] += 1;
                        Draft::group(GroupId(id), UserId(1), &body)
                    } else {
                        self.alone += 1;
                        Draft::direct(UserId(1), TRAVELLER, &body)
                    }
                })
                .collect();
            scene.store.append_batch(&drafts).wait().unwrap();
        }
    }

    fn to_group(&self, id: u64) -> u64 {
        self.groups[id as usize]
    }

    fn total(&self) -> u64 {
        self.count
    }
}

/// What a login answer costs.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    entries: usize,
    /// As many as the answer takes in memory, bodies included.
    bytes: usize,
    /// Calls to the files.
    reads: u64,
}

/// Asks for the list, checks that it is exact, and says what it cost.
fn login(scene: &Scene, cursor: &Cursor, sent: &Sent) -> Cost {
    let reads = scene.storage.reads();
    let list = scene.store.changed(TRAVELLER, Some(cursor), &ListQuery::new()).unwrap();
    let reads = scene.storage.reads() - reads;
    assert!(!list.more);
    for entry in &list.entries {
        let want = if entry.peer == with(1) {
            sent.alone
        } else {
            (1..=8).find(|id| entry.peer == room(*id)).map(|id| sent.to_group(id)).unwrap()
        };
        assert_eq!(entry.unread, want, "{}", entry.peer);
        assert_eq!(entry.goto.map(|(seq, _)| seq.0), Some(1), "{}", entry.peer);
        assert_eq!(entry.latest.len(), 1);
        assert_eq!(entry.latest[0].seq, entry.last);
    }
    assert_eq!(scene.store.total_unread(TRAVELLER).unwrap().unread, sent.total());
    Cost { entries: list.entries.len(), bytes: bytes(&list), reads }
}

fn bytes(list: &List) -> usize {
    let message = |message: &Message| size_of::<Message>() + message.body.len();
    let entry =
        |entry: &Entry| size_of::<Entry>() + entry.latest.iter().chain(&entry.messages).map(message).sum::<usize>();
    size_of::<List>() + list.entries.iter().map(entry).sum::<usize>()
}
