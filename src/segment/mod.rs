//! Immutable files of sorted entries: rows, and where messages lie.
//! Owns: the first page of every segment file, tables, runs of tables, their merging. May touch: `storage`, `varint`,
//! `error`, `id`.
//! Never: knows what a row means, decides which files are live, or changes a file that has its name.

#![allow(dead_code, unused_imports, reason = "sealing and merging, which call it, come with the store's use of it")]

// The first page, names, what the journal says of a file.
mod header;

// How timelines stand in keys.
pub(crate) mod key;

// One file: blocks, filter, index, footer.
mod table;

// Several sorted runs read as one.
mod union;

// Sorted runs of tables, newest wins.
mod runs;

// Adjacent runs made into one.
mod merge;

pub(crate) use header::{
    SEGMENT_ID_MAX, SegmentHeader, SegmentInfo, SegmentKind, checksum, read_header, read_uuid, segment_id, segment_name,
};
pub(crate) use merge::merge_runs;
pub(crate) use runs::{Each, RUNS_MAX, Runs};
pub(crate) use table::{Found, KEY_BYTES_MAX, PART_BYTES, RunPlan, RunWriter, Table, TableCursor, VALUE_BYTES_MAX};

#[cfg(test)]
mod tests;
