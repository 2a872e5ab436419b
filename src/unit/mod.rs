//! Units: where the messages of sealed journals lie, and the files that merges make of them.
//! Owns: indexes, files of messages, the way from a seq to a place. May touch: `segment`, `journal`, `change`.
//! Never: decides which files are live, or what became of a message.

// The entries of an index.
mod chunk;

// The index of one journal.
mod index;

// Files of messages.
mod messages;

// Files of records with their indexes; from a seq to a place.
mod units;

// Adjacent units made into one.
mod unite;

// An index against its records.
mod verify;

// A unit made of what is left of a damaged one.
mod rebuild;

pub(crate) use chunk::IndexKey;
pub(crate) use index::JournalIndex;
pub(crate) use messages::{messages_info, open_messages, verify_messages};
pub(crate) use rebuild::{extent, extents, rebuild_unit};
pub(crate) use unite::{Fate, Judge, MergePlan, merge_units};
pub(crate) use units::{Unit, Units};
pub(crate) use verify::verify_unit;

#[cfg(test)]
mod tests;

use crate::segment::Runs;

/// All that sealing and merging have made, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    pub rows: Runs,
    pub units: Units,
    /// Rises whenever the files change.
    pub generation: u64,
}
