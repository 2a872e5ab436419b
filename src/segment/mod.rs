//! Immutable files: rows and where messages lie, in sorted tables, and messages that a merge brought together.
//! Owns: the first page of every segment file, tables, runs of tables, units of messages, their merging. May touch:
//! `storage`, `varint`, `error`, `id`, `change`, `journal`.
//! Never: knows what a row means, decides which files are live, or changes a file that has its name.

#![allow(dead_code, unused_imports, reason = "sealing and merging, which call it, come with the store's use of it")]

// The first page, names, what the journal says of a file.
mod header;

// One file: blocks, filter, index, footer.
mod table;

// Several sorted runs read as one.
mod union;

// Sorted runs of tables, newest wins.
mod runs;

// Adjacent runs made into one.
mod merge;

// How a key names a timeline.
mod key;

// Where messages lie: the entries of an index.
mod chunk;

// The index of a sealed journal.
mod index;

// Files of records with their indexes; from a seq to a place.
mod units;

// A file of messages.
mod messages;

// Adjacent units made into one.
mod unite;

// An index against its records.
mod verify;

pub(crate) use chunk::IndexKey;
pub(crate) use header::{
    SEGMENT_ID_MAX, SegmentHeader, SegmentInfo, SegmentKind, checksum, read_header, segment_id, segment_name,
};
pub(crate) use index::JournalIndex;
pub(crate) use key::{TIMELINE_BYTES_MAX, put_timeline, take_number, take_timeline};
pub(crate) use merge::merge_runs;
pub(crate) use messages::{MESSAGES_BYTES_MAX, open_messages, verify_messages};
pub(crate) use runs::{RUNS_MAX, Runs};
pub(crate) use table::{Found, KEY_BYTES_MAX, PART_BYTES, RunPlan, RunWriter, Table, TableCursor, VALUE_BYTES_MAX};
pub(crate) use unite::{Fate, Judge, MergePlan, merge_units};
pub(crate) use units::{Unit, UnitStatistics, Units};
pub(crate) use verify::verify_unit;

#[cfg(test)]
mod tests;
