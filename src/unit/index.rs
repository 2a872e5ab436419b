//! The index of a sealed journal: one pass over its records, then one sorted run.
//! Owns: collecting where messages lie, checking that they follow one another. May touch: `buffer`, `chunk`, `table`,
//! `change`, `journal`.
//! Never: changes a journal, or keeps more than some bytes of each message.

use super::chunk::{ChunkBuilder, IndexKey, Indexed, encode_edit};
use crate::buffer::Buffer;
use crate::change::{Change, Decoded};
use crate::error::Result;
use crate::id::Timeline;
use crate::journal::{Place, Records};
use crate::segment::{RunPlan, RunWriter, Table};
use crate::storage::Storage;
use ahash::RandomState;
use hashbrown::HashTable;
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the messages and edits of one journal lie, collected in one pass.
#[derive(Debug)]
pub(crate) struct JournalIndex {
    hasher: RandomState,
    /// Finds a timeline among `timelines`.
    numbers: HashTable<u32>,
    timelines: Vec<Run>,
    /// [`Message`]s.
    messages: Buffer,
    edits: Vec<Edit>,
    /// Of the first change in the journal; 0 before there is one.
    first_version: u64,
}

/// The messages of one timeline, which follow one another.
#[derive(Debug)]
struct Run {
    timeline: Timeline,
    first_seq: u64,
    count: u32,
    last_timestamp: u64,
}

/// What is kept of a message until the pass is over; a journal may hold a million.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Message {
    timestamp: U64,
    /// Which timeline: the index in `timelines`.
    timeline: U32,
    offset: U32,
    /// Above the first one in the journal.
    version_delta: U32,
    body_bytes: U32,
}

/// Room for so many that a journal seldom has more; it takes memory as they come.
const MESSAGES_BYTES: usize = size_of::<Message>() << 20;

#[derive(Clone, Copy, Debug)]
struct Edit {
    timeline: Timeline,
    seq: u64,
    version: u64,
    offset: u64,
}

impl JournalIndex {
    /// Goes through a journal and gives every change to `each`.
    pub fn of(records: &Records, each: &mut dyn FnMut(&Decoded<'_>, Place) -> Result<()>) -> Result<JournalIndex> {
        let mut index = JournalIndex {
            hasher: RandomState::new(),
            numbers: HashTable::new(),
            timelines: Vec::new(),
            messages: Buffer::with_capacity(MESSAGES_BYTES),
            edits: Vec::new(),
            first_version: 0,
        };
        records.walk(&mut |record| {
            let decoded = &record.decoded;
            index.add(decoded, record.place).map_err(|expected| records.damage(record.place.offset(), expected))?;
            each(decoded, record.place)
        })?;
        Ok(index)
    }

    fn add(&mut self, decoded: &Decoded<'_>, place: Place) -> std::result::Result<(), &'static str> {
        let version = decoded.commit.version;
        if self.first_version == 0 {
            self.first_version = version;
        }
        match &decoded.change {
            Change::Append(append) => {
                let version_delta = version.checked_sub(self.first_version).and_then(|delta| u32::try_from(delta).ok());
                let body_bytes = decoded.tail.len().checked_sub(append.mention_bytes.into());
                let body_bytes = body_bytes.and_then(|bytes| u32::try_from(bytes).ok());
                let (Some(version_delta), Some(body_bytes)) = (version_delta, body_bytes) else {
                    return Err("a message");
                };
                let timeline = self.number(append.timeline, append.seq);
                let run = &mut self.timelines[timeline as usize];
                if run.first_seq.checked_add(run.count.into()) != Some(append.seq) {
                    return Err("the next seq of its timeline");
                }
                if run.count > 0 && append.timestamp <= run.last_timestamp {
                    return Err("a later timestamp in its timeline");
                }
                run.count += 1;
                run.last_timestamp = append.timestamp;
                let message = Message {
                    timestamp: append.timestamp.into(),
                    timeline: timeline.into(),
                    offset: (place.offset() as u32).into(),
                    version_delta: version_delta.into(),
                    body_bytes: body_bytes.into(),
                };
                self.messages.extend_from_slice(message.as_bytes());
            }
            Change::Amend(amend) if !amend.recalls => {
                let (timeline, seq) = (amend.timeline, amend.seq);
                self.edits.push(Edit { timeline, seq, version, offset: place.offset() });
            }
            _ => {}
        }
        Ok(())
    }

    /// The index of the timeline's run, which begins at `seq` if there is none yet.
    fn number(&mut self, timeline: Timeline, seq: u64) -> u32 {
        let hash = self.hasher.hash_one(timeline);
        let is_it = |number: &u32| self.timelines[*number as usize].timeline == timeline;
        if let Some(number) = self.numbers.find(hash, is_it) {
            return *number;
        }
        let number = self.timelines.len() as u32;
        self.timelines.push(Run { timeline, first_seq: seq, count: 0, last_timestamp: 0 });
        let (timelines, hasher) = (&self.timelines, &self.hasher);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(timelines[*number as usize].timeline));
        number
    }

    /// Writes the index, as the run that `plan` describes. `previous` names, for a timeline, the newest journal of
    /// the unit before this one that holds messages of it, or 0.
    pub fn write(
        mut self,
        storage: &Arc<dyn Storage>,
        plan: RunPlan,
        next_id: &mut dyn FnMut() -> u64,
        previous: &mut dyn FnMut(Timeline) -> Result<u64>,
    ) -> Result<Vec<Arc<Table>>> {
        self.numbers = HashTable::new();
        let mut run = RunWriter::new(storage, plan, next_id);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        self.edits.sort_unstable_by_key(|edit| (edit.timeline, edit.seq, edit.version));
        for Edit { timeline, seq, version, offset } in self.edits.drain(..) {
            let filter_prefix_bytes = IndexKey::Edit { timeline, seq, version }.encode(&mut key);
            encode_edit(offset, &mut value);
            run.add(&key, filter_prefix_bytes, Some(&value))?;
        }
        let mut order: Vec<u32> = (0..self.timelines.len() as u32).collect();
        order.sort_unstable_by_key(|number| self.timelines[*number as usize].timeline);
        let messages = self.messages();
        let mut by_timeline = self.by_timeline(&order).into_iter();
        let mut chunk = ChunkBuilder::default();
        for number in order {
            let Run { timeline, first_seq, count, .. } = self.timelines[number as usize];
            let previous = previous(timeline)?;
            for (index, message) in by_timeline.by_ref().take(count as usize).enumerate() {
                let Message { timestamp, offset, version_delta, body_bytes, .. } = &messages[message as usize];
                let indexed = Indexed {
                    offset: offset.get().into(),
                    version: self.first_version + u64::from(version_delta.get()),
                    timestamp: timestamp.get(),
                    body_bytes: body_bytes.get().into(),
                };
                chunk.push(first_seq + index as u64, indexed);
                if chunk.is_full() {
                    end_chunk(&mut run, &mut chunk, (timeline, first_seq, previous), &mut key)?;
                }
            }
            end_chunk(&mut run, &mut chunk, (timeline, first_seq, previous), &mut key)?;
        }
        run.finish()
    }

    fn messages(&self) -> &[Message] {
        <[Message]>::ref_from_bytes(&self.messages).expect("messages are written whole")
    }

    /// The messages, by their indexes: those of each timeline in the order in which they came, the timelines in
    /// `order`.
    fn by_timeline(&self, order: &[u32]) -> Vec<u32> {
        let mut next = vec![0; order.len()];
        let mut start = 0;
        for number in order {
            next[*number as usize] = start;
            start += self.timelines[*number as usize].count as usize;
        }
        let messages = self.messages();
        let mut sorted = vec![0; messages.len()];
        for (index, message) in messages.iter().enumerate() {
            let place = &mut next[message.timeline.get() as usize];
            sorted[*place] = index as u32;
            *place += 1;
        }
        sorted
    }
}

/// Adds the chunk, if there is one, to the run. Its timeline begins in this file with the seq beside it, and goes on
/// before it in the unit with this journal.
pub(super) fn end_chunk(
    run: &mut RunWriter<'_>,
    chunk: &mut ChunkBuilder,
    (timeline, begins_at, previous): (Timeline, u64, u64),
    key: &mut Vec<u8>,
) -> Result<()> {
    let Some((first_seq, value)) = chunk.finish(begins_at, previous) else { return Ok(()) };
    let filter_prefix_bytes = IndexKey::Chunk { timeline, first_seq }.encode(key);
    run.add(key, filter_prefix_bytes, Some(value))
}

#[cfg(test)]
mod tests;
