//! What a segment file is called, and what the manifest says of one.
//! Owns: names and `SegmentInfo`. May touch: nothing.
//! Never: opens a file.

/// What a segment file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentKind {
    /// Where each timeline's messages lie in one record file.
    Index = 2,
    /// Records, in the order of their timelines.
    Messages = 3,
    /// A part of a sorted run of rows.
    Rows = 4,
}

impl SegmentKind {
    fn suffix(self) -> &'static str {
        match self {
            SegmentKind::Index => ".index",
            SegmentKind::Messages => ".messages",
            SegmentKind::Rows => ".rows",
        }
    }
}

/// What the manifest says of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentInfo {
    pub kind: SegmentKind,
    pub id: u64,
    pub bytes: u64,
    pub last_version: u64,
    /// The digest in its footer.
    pub digest: u64,
}

/// The name of the segment file with this id.
pub(crate) fn segment_name(kind: SegmentKind, id: u64) -> String {
    format!("{id:016x}{}", kind.suffix())
}

/// What the name of a segment file says; `None` for any other name, however similar.
pub(crate) fn segment_id(name: &str) -> Option<(SegmentKind, u64)> {
    let (stem, _) = name.split_once('.')?;
    let id = u64::from_str_radix(stem, 16).ok()?;
    let kinds = [SegmentKind::Index, SegmentKind::Messages, SegmentKind::Rows];
    let kind = kinds.into_iter().find(|kind| segment_name(*kind, id) == name)?;
    (id != 0).then_some((kind, id))
}
