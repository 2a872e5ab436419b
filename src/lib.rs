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

// Every limit, each one constant.
pub mod limits;

// Integers in few bytes.
mod varint;

// The only way to files; real and simulated.
mod storage;

// The vocabulary: everything that can happen, and its bytes.
mod change;

// Where changes are written, made durable, and found again after a crash.
mod journal;

// What the changes add up to, in memory.
mod state;

// The handle whose methods call all these.
mod store;

pub use change::GroupSettings;
pub use error::{Corruption, Error, ErrorKind, Result};
pub use id::{ClientId, Epoch, GroupId, Pair, Peer, Seq, Timeline, UserId, Version};
pub use journal::{CutTail, EpochEnd, Recovery};
pub use state::{Appended, Effect, Joined, Outcome};
pub use storage::{
    Body, CrashPlan, FailEffect, Loss, REWRITABLE_BYTES, ReadMode, RealStorage, SimStorage, Storage, StorageFile,
    StorageLock,
};
pub use store::{
    CatchUpQuery, Cursor, Draft, Durability, Edge, Entry, HistoryQuery, List, ListQuery, Message, Options, Page,
    Recent, RecentCursor, SessionState, Store, Threads, Ticket, Totals,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};

/// Keeps the example of the README true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
