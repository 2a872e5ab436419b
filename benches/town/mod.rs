//! The chat that is measured: users, groups, messages, and the store that holds them.
//! Owns: its sizes, the drafts, the directory on the disk. May touch: the public interface, `probe`.
//! Never: takes a time.
#![allow(dead_code, reason = "each bench uses its own part")]

#[path = "../../tests/it/support.rs"]
mod support;

use crate::probe::{Lists, Pages, RawFile};
use restante::{ClientId, Cursor, Draft, Durability, GroupId, ListQuery, Options, Peer, Seq, Store, Timeline, UserId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
pub use support::Rng;

/// Bytes of every message body.
pub const BODY_BYTES: usize = 120;
/// Sessions of a busy user, and how many of them change before a login with few changes.
pub const BUSY_SESSIONS: u64 = 300;
pub const FEW: u64 = 5;
/// Messages of a batch.
pub const BATCH: usize = 100;
/// Where bodies are cut out of.
const POOL_BYTES: usize = 64 << 10;

/// Whether the program is run as a test: tiny, only to see that it works.
pub fn is_test() -> bool {
    // As criterion has it: `cargo bench` says `--bench`, `cargo test --benches` says nothing.
    std::env::args().any(|argument| argument == "--test") || !std::env::args().any(|argument| argument == "--bench")
}

/// How large the town is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub users: u64,
    /// Groups of `members`; one more has all users.
    pub groups: u64,
    pub members: u64,
    pub messages: u64,
    /// Users with [`BUSY_SESSIONS`] sessions each.
    pub busy: u64,
}

impl Size {
    const FULL: Size = Size { users: 30_000, groups: 1_000, members: 50, messages: 1_200_000, busy: 64 };
    const TINY: Size = Size { users: 600, groups: 10, members: 50, messages: 4_000, busy: 2 };

    /// The full town, or the tiny one in a test.
    pub fn chosen() -> Size {
        if is_test() { Size::TINY } else { Size::FULL }
    }
}

/// A directory of this process, removed with the value. `RESTANTE_BENCH_DIR` says where it is made.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(subject: &str) -> Directory {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let base = std::env::var_os("RESTANTE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("restante-bench-{subject}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make a directory to measure in");
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Who writes where.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    pub timeline: Timeline,
    pub sender: UserId,
    pub client_id: ClientId,
}

/// The store, filled.
pub struct Town {
    // Closed before its directory goes: fields are dropped in this order.
    pub store: Store,
    pub directory: Directory,
    pub size: Size,
    pub rng: Rng,
    pool: Vec<u8>,
    letters: u64,
}

impl Town {
    /// A town with members and no message.
    pub fn quiet(subject: &str, size: Size, durability: Durability) -> Town {
        let directory = Directory::new(subject);
        let store = Store::open(directory.path().join("store"), Options::default().durability(durability))
            .expect("open a new store");
        let mut rng = Rng::new(1);
        // No zeros, so that the end of what was written can be told in the file.
        let pool = (0..POOL_BYTES + BODY_BYTES).map(|_| rng.between(1, 255) as u8).collect();
        let town = Town { store, directory, size, rng, pool, letters: 0 };
        let quick = town.store.at(Durability::Buffered);
        for group in 1..=size.groups {
            let members: Vec<UserId> = (0..size.members).map(|index| town.member(group, index)).collect();
            quick.join_many(GroupId(group), &members).wait().expect("join");
        }
        let all: Vec<UserId> = (1..=size.users).map(UserId).collect();
        quick.join_many(town.big_group(), &all).wait().expect("join");
        quick.join_many(town.small_group(), &all[..2]).wait().expect("join");
        town.store.sync().expect("sync");
        town
    }

    /// A town in which much has been said.
    pub fn lively(subject: &str, size: Size) -> Town {
        let mut town = Town::quiet(subject, size, Durability::Buffered);
        for _ in 0..size.messages / BATCH as u64 {
            let letters: Vec<Letter> = (0..BATCH).map(|_| town.letter()).collect();
            town.send_all(&letters);
        }
        for busy in 0..size.busy {
            for friend in 1..=BUSY_SESSIONS {
                let letters = [1, 2, 3].map(|_| town.direct_letter(UserId(friend), town.busy_user(busy)));
                town.send_all(&letters);
            }
        }
        town.store.sync().expect("sync");
        town
    }

    pub fn member(&self, group: u64, index: u64) -> UserId {
        UserId(1 + (group * 31 + index * 599) % self.size.users)
    }

    pub fn busy_user(&self, index: u64) -> UserId {
        UserId(self.size.users + 1 + index)
    }

    /// The group of all users.
    pub fn big_group(&self) -> GroupId {
        GroupId(self.size.groups + 1)
    }

    /// The group of two: users 1 and 2.
    pub fn small_group(&self) -> GroupId {
        GroupId(self.size.groups + 2)
    }

    /// A group of `members` and one of its members, drawn.
    pub fn draw_session(&mut self) -> (UserId, Peer) {
        let group = self.rng.between(1, self.size.groups);
        let index = self.rng.below(self.size.members);
        (self.member(group, index), Peer::Group(GroupId(group)))
    }

    /// The next letter: half are direct ones to one of two friends, one in twenty goes to all.
    pub fn letter(&mut self) -> Letter {
        let user = self.rng.between(1, self.size.users);
        match self.rng.below(100) {
            0..50 => {
                let friend = (user + self.rng.pick(&[0, 6])) % self.size.users + 1;
                let (one, other) = (UserId(user), UserId(friend));
                let (sender, recipient) = if self.rng.percent(50) { (one, other) } else { (other, one) };
                self.direct_letter(sender, recipient)
            }
            50..95 => {
                let (sender, peer) = self.draw_session();
                let Peer::Group(group) = peer else { unreachable!("sessions are drawn from groups") };
                self.group_letter(sender, group)
            }
            _ => self.group_letter(UserId(user), self.big_group()),
        }
    }

    pub fn direct_letter(&mut self, sender: UserId, recipient: UserId) -> Letter {
        self.letter_to(Timeline::direct(sender, recipient), sender)
    }

    pub fn group_letter(&mut self, sender: UserId, group: GroupId) -> Letter {
        self.letter_to(Timeline::Group(group), sender)
    }

    fn letter_to(&mut self, timeline: Timeline, sender: UserId) -> Letter {
        self.letters += 1;
        let client_id = ClientId(u128::from(self.rng.next()) << 64 | u128::from(self.letters));
        Letter { timeline, sender, client_id }
    }

    /// The letter with its body and its client id.
    pub fn draft(&self, letter: &Letter) -> Draft<'_> {
        let start = letter.client_id.0 as usize % POOL_BYTES;
        let body = &self.pool[start..start + BODY_BYTES];
        Draft::new(letter.timeline, letter.sender, body).client_id(letter.client_id)
    }

    pub fn send_all(&self, letters: &[Letter]) {
        let drafts: Vec<Draft<'_>> = letters.iter().map(|letter| self.draft(letter)).collect();
        self.store.append_batch(&drafts).wait().expect("append a batch");
    }

    /// Where a client of this user stands now.
    pub fn cursor(&self, user: UserId) -> Cursor {
        let query = ListQuery::new().limit(BUSY_SESSIONS as usize);
        let list = self.store.changed(user, None, &query).expect("list");
        assert!(!list.more && list.entries.len() == BUSY_SESSIONS as usize, "one page holds all sessions");
        list.next
    }

    /// The cursor of a busy user in whose sessions a few letters have come in since.
    pub fn cursor_before_few(&mut self, user: UserId) -> Cursor {
        let cursor = self.cursor(user);
        for friend in 1..=FEW {
            let letter = self.direct_letter(UserId(friend), user);
            self.send_all(&[letter]);
        }
        cursor
    }

    /// A letter to a group of which users 1 and 2 are members, from one of them in turn.
    pub fn letter_of_two(&mut self, number: u64, group: GroupId) -> Letter {
        self.group_letter(UserId(1 + number % 2), group)
    }

    /// User 1 writes to all; nobody else has read it.
    pub fn new_in_big_group(&mut self) -> Seq {
        let letter = self.group_letter(UserId(1), self.big_group());
        self.store.append(self.draft(&letter)).wait().expect("append").seq
    }
}

/// A number for a timeline, for probes that know no better.
pub fn key(timeline: Timeline) -> u64 {
    match timeline {
        Timeline::Group(group) => group.0,
        Timeline::Direct(pair) => 1 << 63 | pair.low().0 << 32 | pair.high().0,
        _ => unreachable!("there are two kinds of timelines here"),
    }
}

pub fn key_of(user: UserId, peer: Peer) -> u64 {
    match peer {
        Peer::User(other) => key(Timeline::direct(user, other)),
        Peer::Group(group) => key(Timeline::Group(group)),
        _ => unreachable!("there are two kinds of peers here"),
    }
}

/// The raw probe for pages: as many messages as the town has, spread in the same way.
pub fn raw_pages(town: &mut Town, directory: &Path) -> Pages {
    let message = town.pool[..BODY_BYTES].to_vec();
    let mut pages = Pages::new(RawFile::new(&directory.join("pages"), town.size.messages as usize * BODY_BYTES));
    for _ in 0..town.size.messages {
        let letter = town.letter();
        pages.append(key(letter.timeline), &message);
    }
    pages
}

/// The raw probe for session lists: the busy users' sessions with three messages each.
pub fn raw_lists(town: &Town, directory: &Path) -> Lists {
    let sessions = (town.size.busy * BUSY_SESSIONS) as usize;
    let mut lists = Lists::new(RawFile::new(&directory.join("lists"), sessions * BODY_BYTES));
    for busy in 0..town.size.busy {
        let user = town.busy_user(busy);
        for friend in 1..=BUSY_SESSIONS {
            lists.add(user.0, key_of(user, Peer::User(UserId(friend))), 3, &town.pool[..BODY_BYTES]);
        }
    }
    lists
}

/// Bytes of frames in the journal files of a closed store.
pub fn journal_bytes_used(directory: &Path) -> u64 {
    let mut used = 0;
    for entry in std::fs::read_dir(directory).expect("list the store").map(|entry| entry.expect("list the store")) {
        if entry.path().extension().is_some_and(|extension| extension == "journal") {
            let bytes = std::fs::read(entry.path()).expect("read a journal file");
            // The header page is not counted: one a file, whatever is in it.
            used += bytes[4096..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        }
    }
    used
}
