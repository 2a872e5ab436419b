//! Immutable files of sorted entries: rows, and where messages lie.
//! Owns: the first page of every segment file, tables, runs of tables, their merging. May touch: `storage`, `varint`,
//! `error`, `id`.
//! Never: knows what a row means, decides which files are live, or changes a file that has its name.

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
    SegmentHeader, SegmentInfo, SegmentKind, checksum, read_header, read_uuid, segment_id, segment_name, stored_seed,
};
pub(crate) use merge::merge_runs;
#[cfg(test)]
pub(crate) use runs::RUNS_MAX;
pub(crate) use runs::Runs;
pub(crate) use table::{PART_BYTES, RunPlan, RunWriter, Table, TableCursor};

#[cfg(test)]
mod tests;
