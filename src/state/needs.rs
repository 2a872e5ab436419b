//! What a question or a change must find in memory, and what was missed.
//! Owns: `Need`, and the list of misses of the thread that looks. May touch: `id`.
//! Never: loads anything; `store::load` does.
//!
//! A look at the state that meets something that lies on disk only answers as if it were not there and
//! notes the miss. Whoever looked throws its findings away, has what was missed loaded, and looks again.

use crate::id::{NameKind, Timeline, UserId};
use std::cell::RefCell;

/// Something that must be in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A timeline's head, or that there is none.
    Head(Timeline),
    /// Since when a user exists.
    Person(UserId),
    /// A user's row in a timeline, or that there is none.
    Row(UserId, Timeline),
    /// All rows of a user.
    Rows(UserId),
    /// The id of a name, or that it is free.
    Name(NameKind, Vec<u8>),
    /// The name of an id, or that it has none.
    NameOf(NameKind, u64),
}

thread_local! {
    static MISSES: RefCell<Vec<Need>> = const { RefCell::new(Vec::new()) };
}

/// Notes that something is not in memory.
#[cold]
pub(super) fn missed(need: Need) {
    MISSES.with_borrow_mut(|misses| {
        if misses.last() != Some(&need) {
            misses.push(need);
        }
    });
}

/// What this thread missed since it last asked, each once.
pub(crate) fn take_misses() -> Vec<Need> {
    MISSES.with_borrow_mut(|misses| {
        if misses.is_empty() {
            return Vec::new();
        }
        let mut misses = std::mem::take(misses);
        misses.sort_unstable();
        misses.dedup();
        misses
    })
}
