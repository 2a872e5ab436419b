//! Entries of an index: where the messages and edits of a timeline lie in one file of records.
//! Owns: their keys and values. May touch: `key`, `varint`.
//! Never: reads a file; says that a message is there because an entry does.
//!
//! | entry | key | value |
//! |---|---|---|
//! | chunk: up to 128 messages that follow one another | `M`, timeline, first seq (8, big-endian) | count (1 byte), previous, before, sum of body bytes, version of the first message, timestamp of the first one, that of the last one minus it, offset of the first record, then for each further one its distance from the one before |
//! | edit | `E`, timeline, seq, version (8 each, big-endian) | offset of its record |
//!
//! Numbers in values are varints unless said. *Previous* is the newest journal of the unit before this one that holds
//! messages of the timeline, 0 if there is none; all chunks of a timeline in one index have the same. *Before* is how many
//! messages of the timeline the chunks before this one have.

use crate::id::Timeline;
use crate::segment::key::{TIMELINE_BYTES_MAX, put_timeline, take_number, take_timeline};
use crate::varint::{put, take};

/// The most messages one entry tells of.
pub(crate) const CHUNK_MESSAGES_MAX: usize = 128;

const CHUNK: u8 = b'M';
const EDIT: u8 = b'E';

/// What an entry of an index is about.
///
/// In the order of the keys' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IndexKey {
    Edit { timeline: Timeline, seq: u64, version: u64 },
    Chunk { timeline: Timeline, first_seq: u64 },
}

impl IndexKey {
    /// The key, into `out`, and how many bytes of it the filter gets: those that name the timeline. Edits are only
    /// looked up where they are, so they need none.
    pub fn encode(self, out: &mut Vec<u8>) -> usize {
        out.clear();
        match self {
            IndexKey::Chunk { timeline, first_seq } => {
                out.push(CHUNK);
                put_timeline(out, timeline);
                let filter_prefix_bytes = out.len();
                out.extend_from_slice(&first_seq.to_be_bytes());
                filter_prefix_bytes
            }
            IndexKey::Edit { timeline, seq, version } => {
                out.push(EDIT);
                put_timeline(out, timeline);
                out.extend_from_slice(&seq.to_be_bytes());
                out.extend_from_slice(&version.to_be_bytes());
                0
            }
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + TIMELINE_BYTES_MAX + 16);
        self.encode(&mut bytes);
        bytes
    }

    /// The key that these bytes are, if they are one.
    pub fn decode(mut bytes: &[u8]) -> Option<IndexKey> {
        let input = &mut bytes;
        let (&kind, rest) = input.split_first()?;
        *input = rest;
        let timeline = take_timeline(input)?;
        let seq = take_number(input).filter(|seq| *seq != 0)?;
        let key = match kind {
            CHUNK => IndexKey::Chunk { timeline, first_seq: seq },
            EDIT => IndexKey::Edit { timeline, seq, version: take_number(input)? },
            _ => return None,
        };
        bytes.is_empty().then_some(key)
    }
}

/// Up to 128 messages of one timeline that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub first_seq: u64,
    pub count: u64,
    pub previous: u64,
    /// How many messages of the timeline lie before it in the file.
    pub before: u64,
    pub body_bytes: u64,
    pub first_version: u64,
    pub first_timestamp: u64,
    pub last_timestamp: u64,
    offsets: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The chunk that begins at `first_seq` and has this value.
    pub fn decode(first_seq: u64, value: &'a [u8]) -> Option<Chunk<'a>> {
        let (&count, mut rest) = value.split_first()?;
        let input = &mut rest;
        (1..=CHUNK_MESSAGES_MAX).contains(&count.into()).then_some(())?;
        first_seq.checked_add(count.into())?;
        let previous = take(input)?;
        let before = take(input).filter(|before| *before < first_seq)?;
        let body_bytes = take(input)?;
        let (first_version, first_timestamp) = (take(input)?, take(input)?);
        let last_timestamp = first_timestamp.checked_add(take(input)?)?;
        Some(Chunk {
            first_seq,
            count: count.into(),
            previous,
            before,
            body_bytes,
            first_version,
            first_timestamp,
            last_timestamp,
            offsets: rest,
        })
    }

    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.count - 1
    }

    pub fn has(&self, seq: u64) -> bool {
        self.first_seq <= seq && seq <= self.last_seq()
    }

    /// Where the record of this seq lies. `None` also if the value is cut short.
    pub fn offset(&self, seq: u64) -> Option<u64> {
        let index = seq.checked_sub(self.first_seq).filter(|index| *index < self.count)?;
        let mut input = self.offsets;
        let mut offset = take(&mut input)?;
        for _ in 0..index {
            offset = offset.checked_add(take(&mut input)?)?;
        }
        is_offset(offset).then_some(offset)
    }

    /// Where all of them lie, ascending; `None` if the value is not of the form that it should have.
    pub fn offsets(&self) -> Option<Vec<u64>> {
        let mut offsets = Vec::with_capacity(self.count as usize);
        let mut input = self.offsets;
        let mut offset = 0u64;
        for index in 0..self.count {
            let distance = take(&mut input).filter(|distance| *distance > 0 || index == 0)?;
            offset = offset.checked_add(distance)?;
            offsets.push(offset);
        }
        (input.is_empty() && is_offset(offset)).then_some(offsets)
    }
}

/// A place has 32 bits for it.
fn is_offset(offset: u64) -> bool {
    offset <= u64::from(u32::MAX)
}

/// What a chunk says about one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indexed {
    pub offset: u64,
    pub version: u64,
    pub timestamp: u64,
    pub body_bytes: u64,
}

/// Collects messages that follow one another, until there are enough for an entry.
#[derive(Debug, Default)]
pub(crate) struct ChunkBuilder {
    first_seq: u64,
    count: u64,
    body_bytes: u64,
    first: Option<Indexed>,
    last: Option<Indexed>,
    offsets: Vec<u8>,
    value: Vec<u8>,
}

impl ChunkBuilder {
    pub fn is_full(&self) -> bool {
        self.count == CHUNK_MESSAGES_MAX as u64
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the message after those before it; its record lies behind theirs and its timestamp is not below.
    pub fn push(&mut self, seq: u64, message: Indexed) {
        assert!(!self.is_full() && (self.is_empty() || seq == self.first_seq + self.count), "seqs follow one another");
        let before = self.last.map_or(0, |last| last.offset);
        put(&mut self.offsets, message.offset - before);
        if self.is_empty() {
            self.first_seq = seq;
            self.first = Some(message);
        }
        self.last = Some(message);
        self.count += 1;
        self.body_bytes += message.body_bytes;
    }

    /// Ends the chunk: its first seq and its value. The next one begins. The messages of its timeline begin in the
    /// file with seq `begins_at`.
    pub fn finish(&mut self, begins_at: u64, previous: u64) -> Option<(u64, &[u8])> {
        let (first, last) = (self.first.take()?, self.last.take()?);
        self.value.clear();
        self.value.push(self.count as u8);
        put(&mut self.value, previous);
        put(&mut self.value, self.first_seq - begins_at);
        put(&mut self.value, self.body_bytes);
        put(&mut self.value, first.version);
        put(&mut self.value, first.timestamp);
        put(&mut self.value, last.timestamp - first.timestamp);
        self.value.extend_from_slice(&self.offsets);
        self.offsets.clear();
        (self.count, self.body_bytes) = (0, 0);
        Some((self.first_seq, &self.value))
    }
}

/// The value of an edit whose record lies at `offset`.
pub(crate) fn encode_edit(offset: u64, out: &mut Vec<u8>) {
    out.clear();
    put(out, offset);
}

/// Where the record of an edit lies.
pub(crate) fn decode_edit(mut value: &[u8]) -> Option<u64> {
    let offset = take(&mut value).filter(|offset| is_offset(*offset))?;
    value.is_empty().then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, UserId};
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_come_back(
            first_seq in 1u64 << 40..u64::MAX / 2,
            previous in 0..1u64 << 31,
            before in 0..1u64 << 40,
            steps in vec((1..30_000_000u64, 1..1u64 << 40, 0..1u64 << 32), 1..=CHUNK_MESSAGES_MAX),
        ) {
            let mut builder = ChunkBuilder::default();
            // A chunk before it leaves nothing behind.
            builder.push(7, Indexed { offset: 5_000, version: 1, timestamp: 9, body_bytes: 3 });
            builder.finish(7, 1);
            let (mut offset, mut timestamp) = (4096, 0);
            let mut offsets = Vec::new();
            for (index, (distance, later, body_bytes)) in steps.iter().enumerate() {
                offset += distance;
                timestamp += later;
                offsets.push(offset);
                let message = Indexed { offset, version: 90 + index as u64, timestamp, body_bytes: *body_bytes };
                builder.push(first_seq + index as u64, message);
            }
            prop_assert_eq!(builder.is_full(), steps.len() == CHUNK_MESSAGES_MAX);
            let (first, value) = builder.finish(first_seq - before, previous).unwrap();
            let value = value.to_vec();
            prop_assert!(builder.is_empty());
            prop_assert_eq!(first, first_seq);
            let chunk = Chunk::decode(first, &value).unwrap();
            prop_assert_eq!((chunk.count, chunk.previous, chunk.before), (steps.len() as u64, previous, before));
            prop_assert_eq!(chunk.first_version, 90);
            prop_assert_eq!(chunk.last_seq(), first_seq + chunk.count - 1);
            prop_assert_eq!(chunk.body_bytes, steps.iter().map(|step| step.2).sum::<u64>());
            prop_assert_eq!((chunk.first_timestamp, chunk.last_timestamp), (steps[0].1, timestamp));
            if offset <= u64::from(u32::MAX) {
                prop_assert_eq!(chunk.offsets(), Some(offsets.clone()));
                for (index, offset) in offsets.iter().enumerate() {
                    prop_assert_eq!(chunk.offset(first_seq + index as u64), Some(*offset));
                }
            } else {
                prop_assert_eq!(chunk.offsets(), None);
            }
            prop_assert_eq!(chunk.offset(first_seq - 1), None);
            prop_assert_eq!(chunk.offset(first_seq + chunk.count), None);
            for cut in 0..value.len() {
                prop_assert!(Chunk::decode(first, &value[..cut]).is_none_or(|chunk| chunk.offsets().is_none()));
            }
            let mut longer = value.clone();
            longer.push(1);
            prop_assert!(Chunk::decode(first, &longer).unwrap().offsets().is_none());
        }

        #[test]
        fn any_bytes_are_read_without_panic(seq in any::<u64>(), bytes in vec(prop_oneof![0..5u8, any::<u8>()], 0..60)) {
            if let Some(chunk) = Chunk::decode(seq, &bytes) {
                prop_assert!(chunk.last_seq() >= seq);
                let _ = (chunk.offsets(), chunk.offset(seq), chunk.offset(chunk.last_seq()));
            }
            if let Some(key) = IndexKey::decode(&bytes) {
                prop_assert_eq!(key.bytes(), bytes.clone());
            }
            if let Some(offset) = decode_edit(&bytes) {
                let mut again = Vec::new();
                encode_edit(offset, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn keys_come_back_and_sort_by_timeline_then_seq_then_version() {
        let (one, two) = (Timeline::direct(UserId(3), UserId(7)), Timeline::Group(GroupId(1)));
        let keys = [
            IndexKey::Edit { timeline: one, seq: 2, version: 9 },
            IndexKey::Edit { timeline: one, seq: 2, version: 300 },
            IndexKey::Edit { timeline: one, seq: 3, version: 5 },
            IndexKey::Edit { timeline: two, seq: 1, version: 5 },
            IndexKey::Chunk { timeline: one, first_seq: 1 },
            IndexKey::Chunk { timeline: one, first_seq: 256 },
            IndexKey::Chunk { timeline: two, first_seq: 1 },
        ];
        for (key, next) in keys.iter().zip(&keys[1..]) {
            assert!(key.bytes() < next.bytes(), "{key:?} {next:?}");
        }
        for key in keys {
            let bytes = key.bytes();
            assert_eq!(IndexKey::decode(&bytes), Some(key));
            for cut in 0..bytes.len() {
                assert_eq!(IndexKey::decode(&bytes[..cut]), None, "{key:?} cut to {cut}");
            }
        }
        assert_eq!(IndexKey::decode(&IndexKey::Chunk { timeline: one, first_seq: 0 }.bytes()), None);
    }

    #[test]
    fn the_entries_in_the_format_document_are_these() {
        let timeline = Timeline::Group(GroupId(5));
        let mut builder = ChunkBuilder::default();
        builder.push(300, Indexed { offset: 4_112, version: 44, timestamp: 1_000_000, body_bytes: 5 });
        builder.push(301, Indexed { offset: 4_160, version: 45, timestamp: 1_000_007, body_bytes: 5 });
        let chunk = builder.finish(172, 2).unwrap().1.to_vec();
        let mut edit = Vec::new();
        encode_edit(4_200, &mut edit);
        let chunk_key = IndexKey::Chunk { timeline, first_seq: 300 }.bytes();
        let edit_key = IndexKey::Edit { timeline, seq: 300, version: 50 }.bytes();
        let lines = [chunk_key, chunk, edit_key, edit]
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
        let example = lines.join("\n");
        assert!(include_str!("../../docs/format.md").contains(&example), "docs/format.md lacks: {example}");
    }
}
