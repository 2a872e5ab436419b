//! Immutable, sorted files that the store makes of sealed journals.
//! Owns: these files. May touch: `storage`, `id`, `varint`.
//! Never: decides which of them are live; the journal says so.

mod header;

pub(crate) use header::{SegmentInfo, SegmentKind, segment_id, segment_name};
