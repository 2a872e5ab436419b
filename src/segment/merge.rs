//! Makes one run of adjacent ones.
//! Owns: which entries live on. May touch: `runs`, `union`, `table`.
//! Never: installs what it made, or removes what it read.

use super::runs::Runs;
use super::table::{PART_BYTES, RunPlan, RunWriter, Table};
use super::union::{RunCursor, Union};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use std::sync::Arc;

/// After so many bytes of keys and values read, `pace` is called.
const PACE_BYTES: u64 = 64 << 10;

/// Merges adjacent runs, named by their numbers, into one with the newest's number.
///
/// An entry for which `keep` is false is gone for good: left out if the oldest run takes part, as tombstones are, else a
/// tombstone, so that no older one comes back. `pace` is told how many bytes of entries were read since its last call; if
/// it fails, so does this, and what was made is removed.
pub(crate) fn merge_runs(
    storage: &Arc<dyn Storage>,
    runs: &Runs,
    which: &[u64],
    uuid: [u8; 16],
    next_id: &mut dyn FnMut() -> u64,
    keep: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Arc<Table>>> {
    merge_runs_in_parts(storage, runs, which, uuid, next_id, keep, pace, PART_BYTES)
}

#[expect(clippy::too_many_arguments, reason = "one more than its only caller outside of tests")]
pub(super) fn merge_runs_in_parts(
    storage: &Arc<dyn Storage>,
    runs: &Runs,
    which: &[u64],
    uuid: [u8; 16],
    next_id: &mut dyn FnMut() -> u64,
    keep: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    pace: &mut dyn FnMut(u64) -> Result<()>,
    part_bytes: u64,
) -> Result<Vec<Arc<Table>>> {
    let all = runs.runs();
    let mut which = which.to_vec();
    which.sort_unstable_by(|one, other| other.cmp(one));
    let start = which.first().and_then(|newest| all.iter().position(|run| run.number == *newest));
    let merged = start.and_then(|start| all.get(start..start + which.len()));
    let Some(merged) = merged.filter(|merged| merged.iter().map(|run| run.number).eq(which.iter().copied())) else {
        return Err(Error::new(ErrorKind::InvalidInput, format!("runs to merge are not adjacent: runs={which:?}")));
    };
    let has_oldest = start.is_some_and(|start| start + merged.len() == all.len());
    let headers = || merged.iter().flat_map(|run| &run.parts).map(|part| part.header());
    merged.iter().flat_map(|run| &run.parts).for_each(|part| part.check_again());
    let Some(newest) = headers().next() else { return Ok(Vec::new()) };
    let plan = RunPlan {
        kind: newest.kind,
        level: headers().map(|header| header.level).max().unwrap_or(0).saturating_add(1),
        uuid,
        first: newest.first,
        last: newest.last,
        first_version: headers().map(|header| header.first_version).min().unwrap_or(0),
        last_version: headers().map(|header| header.last_version).max().unwrap_or(0),
        part_bytes,
    };
    let mut writer = RunWriter::new(storage, plan, next_id);
    let mut cursors = Vec::with_capacity(merged.len());
    for run in merged {
        cursors.extend(RunCursor::new(&run.parts, &[], &[])?);
    }
    let mut union = Union::new(cursors);
    let mut read_bytes = 0;
    while let Some(entry) = union.entry() {
        let value = entry.value.filter(|value| keep(entry.key, value));
        if value.is_some() || !has_oldest {
            writer.add(entry.key, entry.filter_prefix_bytes, value)?;
        }
        read_bytes += (entry.key.len() + entry.value.map_or(0, <[u8]>::len)) as u64;
        if read_bytes >= PACE_BYTES {
            pace(read_bytes)?;
            read_bytes = 0;
        }
        union.advance()?;
    }
    if read_bytes > 0 {
        pace(read_bytes)?;
    }
    writer.finish()
}
