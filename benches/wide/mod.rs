//! What is larger than a town has it: one group of all, one user with all sessions, many recalls, many sources.
//! Owns: the store that holds them, each question with its raw probe. May touch: `town`, `probe`.
//! Never: takes a time.
#![allow(dead_code, reason = "each bench uses its own part")]

use crate::probe::{Lists, Marks, Pages, RawFile, Told};
use crate::town::{BATCH, BODY_BYTES, Directory, FEW, is_test};
use restante::{
    AmendmentCursor, Cursor, Draft, Durability, GroupId, GroupSettings, HistoryQuery, ListQuery, Options, Peer, Seq,
    Source, Store, SystemId, Timeline, UserId, limits,
};
use std::cell::RefCell;
use std::hint::black_box;

/// Entries and messages of a page.
const PAGE_ENTRIES: usize = 100;
const PAGE_MESSAGES: usize = 20;
const CROWD: GroupId = GroupId(1);
const RECALLED: GroupId = GroupId(2);
/// Has a session with everyone.
const POPULAR: UserId = UserId(1 << 32);
/// Is in the group with the recalls only, and has read nothing there.
const LATE: UserId = UserId((1 << 32) + 1);
/// Has heard of every source, and of nothing else.
const LISTENER: UserId = UserId((1 << 32) + 2);
/// Raw probes know no kinds of peer.
const RAW_USER: u64 = 1;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    pub members: u64,
    pub sessions: u64,
    /// Of twice as many messages.
    pub recalls: u64,
    pub sources: u64,
}

impl Wide {
    const FULL: Wide =
        Wide { members: 30_000, sessions: 50_000, recalls: 10_000, sources: limits::BROADCAST_SOURCES_MAX as u64 };
    const TINY: Wide = Wide { members: 300, sessions: 500, recalls: 200, sources: 32 };

    pub fn chosen() -> Wide {
        if is_test() { Wide::TINY } else { Wide::FULL }
    }
}

/// A question to the store and the same to raw memory.
pub struct Case<'a> {
    pub name: String,
    pub wanted: &'static str,
    /// Takes so long that it is asked less often.
    pub is_slow: bool,
    pub store: Box<dyn FnMut() + 'a>,
    pub probe: Box<dyn FnMut() + 'a>,
}

/// The store, filled, and what the probes look at.
pub struct World {
    // Closed before its directory goes: fields are dropped in this order.
    store: Store,
    directory: Directory,
    wide: Wide,
    /// Where a client of the popular one and of the listener stood before a few messages came.
    few: Cursor,
    few_sources: Cursor,
    middle: AmendmentCursor,
    raw: Raw,
}

struct Raw {
    marks: Marks,
    sessions: RefCell<Lists>,
    sources: RefCell<Lists>,
    recalled: Pages,
    told: Told,
}

impl World {
    pub fn new(wide: Wide) -> World {
        let directory = Directory::new("wide");
        let options = Options::default().durability(Durability::Buffered);
        let store = Store::open(directory.path().join("store"), options).expect("open a new store");
        let body = [7; BODY_BYTES];
        let raw = Raw::new(&directory, wide);

        // First of all, so that nobody else sees them.
        store.add_user(LISTENER).wait().expect("add");
        for source in sources(wide.sources) {
            store.append(Draft::broadcast(source, &body)).wait().expect("append");
        }
        let few_sources = walk(&store, LISTENER);
        for source in sources(FEW) {
            store.append(Draft::broadcast(source, &body)).wait().expect("append");
        }

        let crowd: Vec<UserId> = (1..=wide.members).map(UserId).collect();
        store.join_many(CROWD, &crowd).wait().expect("join");
        for _ in 0..3 {
            store.append(Draft::group(CROWD, crowd[0], &body)).wait().expect("append");
        }
        for user in &crowd[1..] {
            let (peer, upto) = (Peer::Group(CROWD), Seq(2));
            match user.0 % 4 {
                0 | 1 => store.mark_read(*user, peer, upto).wait().expect("mark"),
                2 => store.mark_delivered(*user, peer, upto).wait().expect("mark"),
                _ => continue,
            };
        }

        let friends: Vec<UserId> = (1..=wide.sessions).map(UserId).collect();
        for friends in friends.chunks(BATCH) {
            let drafts: Vec<_> = friends.iter().map(|friend| Draft::direct(*friend, POPULAR, &body)).collect();
            store.append_batch(&drafts).wait().expect("append");
        }
        let few = walk(&store, POPULAR);
        for friend in &friends[..FEW as usize] {
            store.append(Draft::direct(*friend, POPULAR, &body)).wait().expect("append");
        }

        let settings = GroupSettings::default().shows_history(true);
        store.create_group(RECALLED, settings).wait().expect("create");
        store.join_many(RECALLED, &[UserId(1), LATE]).wait().expect("join");
        for _ in 0..(2 * wide.recalls).div_ceil(BATCH as u64) {
            let drafts = [Draft::group(RECALLED, UserId(1), &body); BATCH];
            store.append_batch(&drafts).wait().expect("append");
        }
        for seq in (1..=wide.recalls).map(|number| Seq(2 * number)) {
            store.recall(UserId(1), Timeline::Group(RECALLED), seq).wait().expect("recall");
        }
        let middle = amendments_up_to(&store, (wide.recalls / 2) as usize);
        store.sync().expect("sync");
        World { store, directory, wide, few, few_sources, middle, raw }
    }

    /// Each thing that is asked, beside its probe.
    pub fn cases(&self) -> Vec<Case<'_>> {
        let Wide { members, sessions, recalls, sources } = self.wide;
        let (store, raw) = (&self.store, &self.raw);
        let mut cases = Vec::new();
        let mut add = |name: String, is_slow, store: Box<dyn FnMut()>, probe: Box<dyn FnMut()>| {
            cases.push(Case { name, wanted: "", is_slow, store, probe });
        };
        assert!(self.directory.path().is_dir(), "the store lies in it");

        let (peer, limit) = (Peer::Group(CROWD), PAGE_ENTRIES);
        let mut listed = Vec::new();
        add(
            format!("receipts of {members} members, {limit} listed / pass over three arrays"),
            true,
            Box::new(move || {
                let receipts = store.receipts(UserId(1), peer, Seq(2), UserId::NONE, limit).expect("receipts");
                assert_eq!((receipts.members, black_box(receipts).receipts.len()), (members - 1, limit));
            }),
            Box::new(move || assert_eq!(black_box(raw.marks.receipts(2, limit, &mut listed)).0, members - 1)),
        );

        let query = ListQuery::new().limit(PAGE_ENTRIES);
        let [few, page] = [FEW as usize, PAGE_ENTRIES];
        for (name, user, count, cursor, lists) in [
            ("few changed", POPULAR, sessions, Some(&self.few), &raw.sessions),
            ("first page of all", POPULAR, sessions, None, &raw.sessions),
            ("few changed", LISTENER, sources, Some(&self.few_sources), &raw.sources),
            ("first page of all", LISTENER, sources, None, &raw.sources),
        ] {
            let changed = if cursor.is_some() { few } else { page.min(count as usize) };
            let (query, mut answer) = (query.clone(), Vec::new());
            let what = if user == POPULAR { "sessions" } else { "broadcast sources" };
            add(
                format!("list of {count} {what}, {name} / two look-ups each"),
                true,
                Box::new(move || {
                    let list = store.changed(user, cursor, &query).expect("list");
                    assert_eq!(black_box(list).entries.len(), changed);
                }),
                Box::new(move || {
                    lists.borrow().list(RAW_USER, changed, BODY_BYTES, &mut answer);
                    assert_eq!(black_box(&answer).len(), changed);
                }),
            );
        }
        let mut answer = Vec::new();
        add(
            format!("recent of {sessions} sessions, first page / look-up each, selection"),
            true,
            Box::new(move || {
                let recent = store.recent(POPULAR, None, &query).expect("list");
                assert_eq!(black_box(recent).entries.len(), page);
            }),
            Box::new(move || {
                raw.sessions.borrow().newest(RAW_USER, page, BODY_BYTES, &mut answer);
                assert_eq!(black_box(&answer).len(), page);
            }),
        );

        let peer = Peer::Group(RECALLED);
        let query = HistoryQuery::newest().limit(PAGE_MESSAGES);
        let mut copied = Vec::new();
        add(
            format!("{recalls} recalls: newest page of {PAGE_MESSAGES} / map, offsets, copies"),
            false,
            Box::new(move || {
                let page = store.history(LATE, peer, &query).expect("page");
                assert_eq!(black_box(page).messages.len(), PAGE_MESSAGES);
            }),
            Box::new(move || {
                let found = raw.recalled.newest(1, PAGE_MESSAGES, BODY_BYTES, &mut copied);
                assert_eq!((found, black_box(&copied).len()), (PAGE_MESSAGES, PAGE_MESSAGES * BODY_BYTES));
            }),
        );
        let query = ListQuery::new().limit(1);
        let last = 2 * recalls;
        add(
            format!("{recalls} recalls: list entry with all unread / two look-ups, a binary search"),
            false,
            Box::new(move || {
                let list = store.changed(LATE, None, &query).expect("list");
                assert_eq!(black_box(list).entries[0].unread, recalls);
            }),
            Box::new(move || assert_eq!(last - black_box(raw.told.count_up_to(last)), recalls)),
        );
        let mut copied = Vec::new();
        add(
            format!("{recalls} recalls: amendments page of {PAGE_ENTRIES} / binary search, copy"),
            false,
            Box::new(move || {
                let page = store.amendments(LATE, peer, Some(&self.middle), PAGE_ENTRIES).expect("page");
                assert_eq!(black_box(page).amendments.len(), PAGE_ENTRIES.min((recalls / 2) as usize));
            }),
            Box::new(move || {
                raw.told.page(recalls / 2, PAGE_ENTRIES, &mut copied);
                assert_eq!(black_box(&copied).len(), PAGE_ENTRIES.min((recalls / 2) as usize));
            }),
        );
        cases
    }
}

impl Raw {
    fn new(directory: &Directory, wide: Wide) -> Raw {
        let file = |name: &str, count: u64| RawFile::new(&directory.path().join(name), count as usize * BODY_BYTES);
        let lists = |name: &str, count: u64| {
            let mut lists = Lists::new(file(name, count));
            (1..=count).for_each(|number| lists.add(RAW_USER, number, 1, &[7; BODY_BYTES]));
            RefCell::new(lists)
        };
        let mut recalled = Pages::new(file("recalled", 2 * wide.recalls));
        (0..2 * wide.recalls).for_each(|_| recalled.append(1, &[7; BODY_BYTES]));
        let mut marks = Marks::default();
        for user in 2..=wide.members {
            // As above: half have read, a quarter has received it.
            marks.add(0, if user % 4 < 3 { 2 } else { 0 }, if user % 4 < 2 { 2 } else { 0 });
        }
        let mut told = Told::default();
        (1..=wide.recalls).for_each(|number| told.add(number, 2 * number));
        Raw {
            marks,
            sessions: lists("sessions", wide.sessions),
            sources: lists("sources", wide.sources),
            recalled,
            told,
        }
    }
}

fn sources(count: u64) -> impl Iterator<Item = Source> {
    (1..=count).map(|id| Source::System(SystemId(id)))
}

/// Walks from nothing to the end.
fn walk(store: &Store, user: UserId) -> Cursor {
    let query = ListQuery::new().limit(limits::LIST_ENTRIES_MAX).latest(0);
    let mut list = store.changed(user, None, &query).expect("list");
    while list.more {
        list = store.changed(user, Some(&list.next), &query).expect("list");
    }
    list.next
}

/// The cursor after the first `count` amendments.
fn amendments_up_to(store: &Store, count: usize) -> AmendmentCursor {
    let peer = Peer::Group(RECALLED);
    let mut page = store.amendments(LATE, peer, None, count.min(limits::AMENDMENTS_MAX)).expect("page");
    let mut listed = page.amendments.len();
    while listed < count {
        let limit = (count - listed).min(limits::AMENDMENTS_MAX);
        page = store.amendments(LATE, peer, Some(&page.next), limit).expect("page");
        listed += page.amendments.len();
    }
    page.next
}
