//! An embeddable message store for IM servers.
//!
//! It keeps every message in timelines, and per user what a login needs: a small session list with
//! exact unread counts, where to jump to, incremental by cursor. See [`Store`] to begin, and the
//! README for an example.
//!
//! The modules stand in the order in which a message meets them; each uses only those above it.

// Names: users, groups, timelines, positions.
mod id;

// Points in time, clocks.
mod time;

// What can go wrong, by what a caller does about it.
mod error;

// What the store does by itself, told to whoever watches.
mod events;

// Every limit, each one constant.
pub mod limits;

// How a group, and the whole store, behaves.
mod settings;

// Integers in few bytes.
mod varint;

// Memory for work that comes and goes.
mod buffer;

// The only way to files; real and simulated.
mod storage;

// The vocabulary: everything that can happen, and its bytes.
mod change;

// What sealed journals become: sorted, immutable files.
mod segment;

// Where changes are written, made durable, and found again after a crash.
mod journal;

// Where the messages of sealed journals lie.
mod unit;

// What the changes add up to, in memory.
mod state;

// What is good to know of the files and costs nothing to forget.
#[allow(
    dead_code,
    unused_imports,
    reason = "positions and scrubs are for the feed and for verifying in the background"
)]
mod catalog;

// The handle whose methods call all these.
mod store;

// How a server uses it: nothing but examples.
pub mod cookbook;

pub use change::Flags;
pub use error::{Corruption, Error, ErrorKind, Result};
pub use id::{
    BusinessId, ClientId, Epoch, GroupId, NameKind, Pair, Peer, Seq, Source, SystemId, Timeline, UserId, Version,
};
pub use journal::{CutTail, EpochEnd, Recovery};
pub use settings::{GroupSettings, Retention, Settings};
pub use state::{Appended, Effect, Joined, Maintained, Outcome, Resolved};
pub use storage::{
    Body, CrashPlan, FailEffect, FileBytes, Loss, REWRITABLE_BYTES, ReadMode, RealStorage, SimStorage, Storage,
    StorageCopy, StorageFile, StorageLock,
};
pub use store::{
    Alert, Amended, Amendment, AmendmentCursor, AmendmentKind, Amendments, Backup, CacheStatistics, CatchUpQuery,
    Cursor, Draft, Durability, Edge, Entry, FileKindStatistics, FileStatistics, FlagChange, GroupInfo, Groups,
    HistoryQuery, List, ListQuery, LookUpStatistics, Member, Members, MemoryStatistics, Mentions, Message, Options,
    Page, Purged, Receipt, Receipts, Recent, RecentCursor, RemovedUser, Repair, SessionState, Statistics, Store,
    StoreTime, SyncStatistics, Threads, Ticket, Totals, Verification, WorkStatistics, WrittenStatistics,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};

/// Keeps the example of the README true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
