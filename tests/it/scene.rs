//! A store set up for a test: simulated files, a clock that stands still, short words for common calls.
//! Owns: `Scene`. May touch: the public interface.
//! Never: checks anything but that a call succeeds.

use std::sync::Arc;

use restante::{
    Appended, CatchUpQuery, Clock, CrashPlan, Draft, Effect, Entry, GroupId, HistoryQuery, List, ListQuery, Loss,
    ManualClock, Message, Options, Page, Peer, Seq, SimStorage, Store, Threads, Timestamp, UserId,
};

/// Friday, 20 November 2026, 17:00:00 UTC: where the clock of every scene starts.
pub const START: Timestamp = Timestamp::from_secs(1_795_194_000);

pub const SECOND: u64 = 1_000_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;

/// A store in simulated files. Without threads of its own unless the options say so.
pub struct Scene {
    pub storage: Arc<SimStorage>,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    options: Options,
}

impl Scene {
    /// A new store: durable, `Threads::Inline`, journal files of 1 MiB.
    pub fn new() -> Scene {
        Scene::with(|options| options)
    }

    /// The same with some options changed.
    pub fn with(change: impl FnOnce(Options) -> Options) -> Scene {
        Scene::seeded(1, change)
    }

    /// The same with other random numbers from the machine: another store, other epochs.
    pub fn seeded(seed: u64, change: impl FnOnce(Options) -> Options) -> Scene {
        let clock = Arc::new(ManualClock::new(START));
        let options = Options::default().threads(Threads::Inline).journal_bytes(1 << 20).clock(clock.clone());
        Scene::on(SimStorage::new(seed), clock, change(options))
    }

    fn on(storage: Arc<SimStorage>, clock: Arc<ManualClock>, options: Options) -> Scene {
        let store = Store::open_on(storage.clone(), options.clone()).expect("open");
        Scene { storage, clock, store, options }
    }

    pub fn options(&self) -> Options {
        self.options.clone()
    }

    /// What the machine finds when the power goes right now and comes back. This scene goes on untouched.
    pub fn after_crash(&self, loss: Loss) -> Scene {
        let plan = CrashPlan { seed: 7, loss };
        let storage = self.storage.crash_at(self.storage.operations(), plan);
        Scene::on(storage, self.clock.clone(), self.options.clone())
    }

    /// Closes the store and opens it again.
    pub fn reopened(self) -> Scene {
        let Scene { storage, clock, store, options } = self;
        store.close().expect("close");
        Scene::on(storage, clock, options)
    }

    /// Appends and waits.
    pub fn send(&self, draft: Draft<'_>) -> Appended {
        self.store.append(draft).wait().expect("append")
    }

    /// Reads up to a seq and waits.
    pub fn read(&self, user: UserId, peer: Peer, upto: Seq) -> Effect {
        self.store.mark_read(user, peer, upto).wait().expect("mark")
    }

    /// All sessions of a user, by one walk from nothing.
    pub fn list(&self, user: UserId) -> List {
        self.store.changed(user, None, &ListQuery::new().limit(1_000)).expect("list")
    }

    /// One session of a user; it has it.
    pub fn entry(&self, user: UserId, peer: Peer) -> Entry {
        let found = self.list(user).entries.into_iter().find(|entry| entry.peer == peer);
        found.unwrap_or_else(|| panic!("{user} has no session with {peer}"))
    }

    /// What a list says of a session, also that it is there no more.
    pub fn entry_or_tombstone(&self, user: UserId, peer: Peer) -> Entry {
        let since = self.store.changed_since(user, Timestamp(0), &ListQuery::new().limit(1_000)).expect("list");
        let found = since.entries.into_iter().find(|entry| entry.peer == peer);
        found.unwrap_or_else(|| panic!("{user} never had a session with {peer}"))
    }

    /// The wall clock.
    pub fn clock_time(&self) -> u64 {
        self.clock.now().0
    }

    /// A page of history.
    pub fn page(&self, user: UserId, peer: Peer, query: HistoryQuery) -> Page {
        self.store.history(user, peer, &query).expect("history")
    }

    /// All that a user may see of a session, oldest first.
    pub fn all(&self, user: UserId, peer: Peer) -> Vec<Message> {
        self.page(user, peer, HistoryQuery::oldest().limit(1_000).bytes(16 << 20)).messages
    }
}

pub fn user(id: u64) -> UserId {
    UserId(id)
}

pub fn group(id: u64) -> GroupId {
    GroupId(id)
}

/// The peer that is a user.
pub fn with(id: u64) -> Peer {
    Peer::User(UserId(id))
}

/// The peer that is a group.
pub fn room(id: u64) -> Peer {
    Peer::Group(GroupId(id))
}

/// The seqs of messages, in their order.
pub fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

/// The bodies of messages as text, in their order.
pub fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.body.to_vec()).expect("text")).collect()
}

/// A catch-up page as large as it can be.
pub fn whole() -> CatchUpQuery {
    CatchUpQuery::new().limit(1_000).messages(10_000).bytes(64 << 20)
}
