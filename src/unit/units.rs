//! Units: files of records with their indexes, and the way from a seq to a place.
//! Owns: which unit is looked into next. May touch: `chunk`, `runs`, `journal`.
//! Never: asks a unit that its chunks do not lead to; holds the messages of journals that are not sealed.
//!
//! Seqs only grow, so the messages of a timeline lie in its units one after another: a look begins at the newest unit
//! that holds the timeline, which its head knows, and each chunk names the one before.

use super::chunk::{Chunk, IndexKey, decode_edit};
use crate::error::{Error, Result};
use crate::id::Timeline;
use crate::journal::{Place, Records};
use crate::segment::{Runs, SegmentInfo};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The messages of a stretch of journals: a sealed journal itself, or the file that a merge made of several.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The oldest and the newest journal it covers.
    pub lo: u64,
    pub hi: u64,
    pub first_version: u64,
    pub last_version: u64,
    /// How often its oldest content was merged.
    pub level: u8,
    pub records: Arc<Records>,
    /// Of a file of messages; `None` for a journal.
    pub messages: Option<SegmentInfo>,
    pub index: Runs,
}

/// Takes a chunk, the unit it lies in, and the seqs of it that were asked for.
type EachChunk<'a> = dyn FnMut(&Unit, &Chunk<'_>, Range<u64>) -> Result<()> + 'a;

/// A chunk as it was found.
struct FoundChunk {
    first_seq: u64,
    value: Vec<u8>,
}

impl FoundChunk {
    fn chunk(&self) -> Chunk<'_> {
        Chunk::decode(self.first_seq, &self.value).expect("it was decoded when it was found")
    }
}

impl Unit {
    /// Bytes of its records.
    pub fn record_bytes(&self) -> u64 {
        self.messages.map_or_else(|| self.records.end(), |info| info.bytes)
    }

    /// The files of segments it consists of.
    pub fn segments(&self) -> impl Iterator<Item = SegmentInfo> + '_ {
        self.messages.into_iter().chain(self.index.tables().map(|table| table.info()))
    }

    fn place(&self, offset: u64) -> Place {
        Place::new(self.records.id(), offset)
    }

    /// The last chunk of the timeline that begins at or below `seq`.
    fn chunk_below(&self, timeline: Timeline, seq: u64) -> Result<Option<FoundChunk>> {
        let mut key = Vec::new();
        let prefix_bytes = IndexKey::Chunk { timeline, first_seq: seq }.encode(&mut key);
        self.index.floor(&key, prefix_bytes)?.map(|found| self.found(found)).transpose()
    }

    fn first_chunk(&self, timeline: Timeline) -> Result<Option<FoundChunk>> {
        let mut key = Vec::new();
        let prefix_bytes = IndexKey::Chunk { timeline, first_seq: 0 }.encode(&mut key);
        self.index.ceiling(&key, prefix_bytes)?.map(|found| self.found(found)).transpose()
    }

    fn found(&self, (key, value): (Vec<u8>, Vec<u8>)) -> Result<FoundChunk> {
        match IndexKey::decode(&key) {
            // A chunk that leads to this unit or a newer one would be followed for ever.
            Some(IndexKey::Chunk { first_seq, .. })
                if Chunk::decode(first_seq, &value).is_some_and(|chunk| chunk.previous < self.lo) =>
            {
                Ok(FoundChunk { first_seq, value })
            }
            _ => Err(self.index_damage("an entry of an index", format!("{key:02x?}"))),
        }
    }

    pub(super) fn index_damage(&self, expected: &str, found: impl Into<String>) -> Error {
        let path = self.index.tables().next().map_or(Path::new("index"), |table| table.path());
        Error::corruption_at(path, 0, expected, found)
    }
}

/// How much looking up has cost, since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct UnitStatistics {
    pub calls: AtomicU64,
    pub units_touched: AtomicU64,
}

/// All units, oldest first. A clone is of the same moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Units {
    units: Arc<[Arc<Unit>]>,
    statistics: Arc<UnitStatistics>,
}

/// The chunk that has a seq, and the unit it was found in.
struct Hit<'u> {
    unit: &'u Unit,
    found: FoundChunk,
}

impl Units {
    /// Units that cover no journal twice, oldest first.
    pub fn new(units: Vec<Arc<Unit>>) -> Result<Units> {
        let units = Units { units: units.into(), statistics: Arc::default() };
        units.check()?;
        Ok(units)
    }

    fn check(&self) -> Result<()> {
        let mut above = 0;
        for unit in &*self.units {
            if unit.lo <= above || unit.hi < unit.lo {
                let found = format!("journals {} to {} after {above}", unit.lo, unit.hi);
                return Err(Error::corruption_at(&unit.records.path, 0, "units of different journals", found));
            }
            above = unit.hi;
        }
        Ok(())
    }

    /// With a unit that is newer than all.
    pub fn with(&self, unit: Arc<Unit>) -> Result<Units> {
        let units = self.units.iter().cloned().chain([unit]).collect();
        let units = Units { units, statistics: self.statistics.clone() };
        units.check()?;
        Ok(units)
    }

    /// With one unit in place of all that cover the same journals; `None` if there are none, or others.
    pub fn with_merged(&self, unit: Arc<Unit>) -> Option<Units> {
        let first = self.units.iter().position(|old| old.lo == unit.lo)?;
        let last = self.units.iter().position(|old| old.hi == unit.hi).filter(|last| first <= *last)?;
        let (older, newer) = (&self.units[..first], &self.units[last + 1..]);
        let units = older.iter().chain([&unit]).chain(newer).cloned().collect();
        Some(Units { units, statistics: self.statistics.clone() })
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Unit>> + ExactSizeIterator {
        self.units.iter()
    }

    pub fn statistics(&self) -> &UnitStatistics {
        &self.statistics
    }

    /// The unit that covers this journal.
    pub fn covering(&self, journal: u64) -> Option<&Arc<Unit>> {
        let index = self.units.partition_point(|unit| unit.lo <= journal).checked_sub(1)?;
        self.units.get(index).filter(|unit| journal <= unit.hi)
    }

    /// Adjacent units that are worth making one: `fan_in` or more of the lowest level for which there are so many, with
    /// the younger ones between them, as many as fit `bytes_max`.
    pub fn due(&self, fan_in: usize, bytes_max: u64) -> Option<Range<usize>> {
        let levels = self.units.iter().map(|unit| unit.level).max()?;
        (0..=levels)
            .find_map(|level| (0..self.units.len()).find_map(|start| self.due_from(start, level, fan_in, bytes_max)))
    }

    fn due_from(&self, start: usize, level: u8, fan_in: usize, bytes_max: u64) -> Option<Range<usize>> {
        let (mut bytes, mut count, mut end) = (0u64, 0, start);
        for (index, unit) in self.units.iter().enumerate().skip(start) {
            bytes = bytes.saturating_add(unit.record_bytes());
            if unit.level > level || bytes > bytes_max {
                break;
            }
            // The youngest ones at the end wait for more of their own level.
            if unit.level == level {
                (count, end) = (count + 1, index + 1);
            }
        }
        (count >= fan_in.max(2)).then_some(start..end)
    }

    /// Where a message lies, looked for from the unit that covers `newest` on, towards older ones. `None` if it is not
    /// there: trimmed and gone, or never sealed.
    pub fn place(&self, newest: u64, timeline: Timeline, seq: u64) -> Result<Option<Place>> {
        self.counted(|touched| {
            let Some(Hit { unit, found }) = self.find(newest, timeline, seq, touched)? else { return Ok(None) };
            let offset = found.chunk().offset(seq);
            let offset =
                offset.ok_or_else(|| unit.index_damage("the offset of a message", format!("none of {seq}")))?;
            Ok(Some(unit.place(offset)))
        })
    }

    /// Where the messages `first..=last` lie, ascending, added to `places`: the run of them that ends at `last`, as far
    /// as it is there, each chunk read once.
    pub fn places(
        &self,
        newest: u64,
        timeline: Timeline,
        first: u64,
        last: u64,
        places: &mut Vec<Place>,
    ) -> Result<()> {
        let start = places.len();
        self.back_from(newest, timeline, first, last, &mut |unit, chunk, range| {
            let offsets = chunk.offsets();
            let offsets = offsets.ok_or_else(|| unit.index_damage("the offsets of messages", "other bytes"))?;
            let indexes = (range.start - chunk.first_seq) as usize..(range.end - chunk.first_seq) as usize;
            places.extend(offsets[indexes].iter().rev().map(|offset| unit.place(*offset)));
            Ok(())
        })?;
        places[start..].reverse();
        Ok(())
    }

    /// Where the record of an edit lies that lay at `place` when it was made; `None` if it is gone.
    pub fn edit_place(&self, place: Place, timeline: Timeline, seq: u64, version: u64) -> Result<Option<Place>> {
        let Some(unit) = self.covering(place.file_id()) else { return Ok(Some(place)) };
        if unit.records.id() == place.file_id() {
            return Ok(Some(place));
        }
        self.counted(|touched| {
            *touched += 1;
            let key = IndexKey::Edit { timeline, seq, version }.bytes();
            let Some(offset) = unit.index.get_with(&key, 0, decode_edit)? else { return Ok(None) };
            let offset = offset.ok_or_else(|| unit.index_damage("the offset of an edit", "other bytes"))?;
            Ok(Some(unit.place(offset)))
        })
    }

    /// How many bytes the bodies of the messages `first..=last` have, of those that are there: by whole chunks, and by
    /// records at the edges.
    #[cfg(test)]
    pub fn body_bytes(&self, newest: u64, timeline: Timeline, first: u64, last: u64) -> Result<u64> {
        let mut bytes = 0u64;
        self.back_from(newest, timeline, first, last, &mut |unit, chunk, range| {
            if range.start == chunk.first_seq && range.end == chunk.last_seq() + 1 {
                bytes = bytes.saturating_add(chunk.body_bytes);
                return Ok(());
            }
            for seq in range {
                let offset = chunk.offset(seq);
                let offset = offset.ok_or_else(|| unit.index_damage("the offset of a message", "none"))?;
                bytes = bytes.saturating_add(unit.records.read(offset)?.body_bytes() as u64);
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The lowest seq of the timeline that is there.
    #[cfg(test)]
    pub fn oldest_seq(&self, newest: u64, timeline: Timeline) -> Result<Option<u64>> {
        self.counted(|touched| {
            let (mut journal, mut oldest) = (newest, None);
            while let Some(unit) = self.covering(journal) {
                *touched += 1;
                let Some(found) = unit.first_chunk(timeline)? else { break };
                oldest = Some(found.first_seq);
                journal = found.chunk().previous;
            }
            Ok(oldest)
        })
    }

    /// Whether a unit older than the one that covers `journal` has messages of the timeline.
    pub fn has_before(&self, journal: u64, timeline: Timeline) -> Result<bool> {
        for unit in self.iter().rev().skip_while(|unit| unit.hi >= journal) {
            if unit.first_chunk(timeline)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn counted<T>(&self, look: impl FnOnce(&mut u64) -> Result<T>) -> Result<T> {
        let mut touched = 0;
        let found = look(&mut touched);
        self.statistics.calls.fetch_add(1, Ordering::Relaxed);
        self.statistics.units_touched.fetch_add(touched, Ordering::Relaxed);
        found
    }

    /// Gives `each` the chunks that have `first..=last`, newest first, with the part of it that each has.
    fn back_from(
        &self,
        newest: u64,
        timeline: Timeline,
        first: u64,
        last: u64,
        each: &mut EachChunk<'_>,
    ) -> Result<()> {
        let first = first.max(1);
        if last < first {
            return Ok(());
        }
        self.counted(|touched| {
            let mut wanted = last;
            let mut next = self.find(newest, timeline, last, touched)?;
            while let Some(Hit { unit, found }) = next {
                let chunk = found.chunk();
                let start = first.max(chunk.first_seq);
                each(unit, &chunk, start..wanted + 1)?;
                if start == first {
                    return Ok(());
                }
                wanted = start - 1;
                next = if chunk.before > 0 {
                    let before = unit.chunk_below(timeline, wanted)?.filter(|found| found.chunk().has(wanted));
                    let found = before.ok_or_else(|| unit.index_damage("the chunk before", "none"))?;
                    Some(Hit { unit, found })
                } else {
                    self.find(chunk.previous, timeline, wanted, touched)?
                };
            }
            Ok(())
        })
    }

    fn find(&self, newest: u64, timeline: Timeline, seq: u64, touched: &mut u64) -> Result<Option<Hit<'_>>> {
        let Some(unit) = self.covering(newest) else { return Ok(None) };
        *touched += 1;
        if let Some(found) = unit.chunk_below(timeline, seq)? {
            return Ok(found.chunk().has(seq).then_some(Hit { unit, found }));
        }
        let mut above = unit.first_chunk(timeline)?;
        // In older units it is the first chunk that says whether the seq can be there at all.
        while let Some(found) = above {
            let Some(unit) = self.covering(found.chunk().previous) else { return Ok(None) };
            *touched += 1;
            above = unit.first_chunk(timeline)?;
            let Some(first) = above.take_if(|first| first.first_seq <= seq) else { continue };
            let found = if first.chunk().has(seq) { Some(first) } else { unit.chunk_below(timeline, seq)? };
            return Ok(found.filter(|found| found.chunk().has(seq)).map(|found| Hit { unit, found }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
