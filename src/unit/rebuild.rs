//! A unit made anew of the records that are left of a damaged one.
//! Owns: what an index says of a timeline as a whole, making the unit. May touch: `chunk`, `index`, `unite`, `journal`.
//! Never: decides which records are left, or what stands in the place of those that are not.

use super::chunk::{Chunk, IndexKey};
use super::index::JournalIndex;
use super::unite::{Fate, Judge, MergePlan, merge_units};
use super::units::Unit;
use crate::change::{Append, Commit};
use crate::error::{Error, Result};
use crate::id::Timeline;
use crate::journal::Records;
use crate::segment::{PART_BYTES, RunPlan, Runs, SegmentKind, segment_name};
use crate::storage::Storage;
use std::path::Path;
use std::sync::Arc;

/// Which messages of a timeline an index knows: the first and the last seq, and the newest journal of those before.
pub(crate) fn extent(index: &Runs, timeline: Timeline) -> Result<Option<(u64, u64, u64)>> {
    let mut key = Vec::new();
    let prefix = IndexKey::Chunk { timeline, first_seq: 0 }.encode(&mut key);
    let Some(first) = index.ceiling(&key, prefix)? else { return Ok(None) };
    let prefix = IndexKey::Chunk { timeline, first_seq: u64::MAX }.encode(&mut key);
    let Some(last) = index.floor(&key, prefix)? else { return Ok(None) };
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| match IndexKey::decode(key) {
        Some(IndexKey::Chunk { first_seq, .. }) => {
            Chunk::decode(first_seq, value).map(|chunk| (first_seq, chunk.last_seq(), chunk.previous))
        }
        _ => None,
    };
    match (read(&first), read(&last)) {
        (Some((first, _, previous)), Some((_, last, _))) => Ok(Some((first, last, previous))),
        _ => Err(Error::corruption_at(Path::new("index"), 0, "an entry of an index", format!("{key:02x?}"))),
    }
}

/// All timelines of an index, each with its first and its last seq.
pub(crate) fn extents(index: &Runs) -> Result<Vec<(Timeline, u64, u64)>> {
    let mut extents: Vec<(Timeline, u64, u64)> = Vec::new();
    index.walk(&[], &mut |key, value| {
        if let Some(IndexKey::Chunk { timeline, first_seq }) = IndexKey::decode(key)
            && let Some(chunk) = Chunk::decode(first_seq, value)
        {
            match extents.last_mut().filter(|last| last.0 == timeline) {
                Some(last) => last.2 = chunk.last_seq(),
                None => extents.push((timeline, first_seq, chunk.last_seq())),
            }
        }
        Ok(true)
    })?;
    Ok(extents)
}

struct KeepAll;

impl Judge for KeepAll {
    fn timeline(&mut self, _: Timeline) -> Result<()> {
        Ok(())
    }

    fn message(&mut self, _: &Append, _: Commit) -> Fate {
        Fate::Keep
    }

    fn edit(&mut self, _: u64, _: u64) -> bool {
        true
    }
}

/// Makes a unit of `records`, which lie in the order of their versions, in place of what covered these journals.
pub(crate) fn rebuild_unit(
    storage: &Arc<dyn Storage>,
    records: Records,
    (lo, hi, level): (u64, u64, u8),
    (first_version, last_version): (u64, u64),
    uuid: [u8; 16],
    next_id: &mut dyn FnMut() -> u64,
    previous: &mut dyn FnMut(Timeline) -> Result<u64>,
) -> Result<Unit> {
    let index = JournalIndex::of(&records, &mut |_, _| Ok(()))?;
    let plan = RunPlan {
        kind: SegmentKind::Index,
        level,
        uuid,
        first: lo,
        last: hi,
        first_version,
        last_version,
        part_bytes: PART_BYTES,
    };
    let tables = index.write(storage, plan, next_id, previous)?;
    let names: Vec<String> = tables.iter().map(|table| segment_name(SegmentKind::Index, table.info().id)).collect();
    let index = Runs::new(tables)?;
    let records = Arc::new(records);
    let unit = Unit { lo, hi, first_version, last_version, level, records, messages: None, index };
    let made = merge_units(storage, &[Arc::new(unit)], MergePlan::new(uuid), next_id, &mut KeepAll, &mut |_| Ok(()))?;
    for name in names {
        storage.remove(&name).map_err(|error| Error::io("remove", &storage.path(&name), error))?;
    }
    Ok(made)
}
