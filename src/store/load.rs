//! Brings into memory what a look at the state missed.
//! Owns: looking again until nothing is missed, what is read for each need. May touch: `pipeline`, `state`,
//! `unit`.
//! Never: changes anything; what is on disk and what is in memory say the same.

use super::pipeline::Pipeline;
use super::statistics::add;
use crate::error::{Error, Result};
use crate::id::{ClientId, NameKind, Timeline, UserId};
use crate::state::stored::{self, Globals, HeadRows};
use crate::state::{CommitTimes, Head, Loaded, Need, State, take_misses};
use crate::unit::Segments;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// So many things are looked at, for each one that is loaded, to let go of some.
const SWEEP_PER_LOAD: usize = 32;

impl Pipeline {
    /// What `look` finds in the state once everything it looks at is in memory. It may be called several
    /// times, under the state's lock.
    pub(super) fn look<T>(&self, mut look: impl FnMut(&State) -> T) -> Result<T> {
        take_misses();
        loop {
            let state = self.state();
            let found = look(&state);
            if state.is_all_here() {
                return Ok(found);
            }
            let misses = take_misses();
            if misses.is_empty() {
                add(&self.statistics.hits.0, 1);
                return Ok(found);
            }
            let segments = state.segments.clone();
            drop(state);
            self.load(&segments, &misses)?;
        }
    }

    /// Loads what was missed while these were the segments. If others have come meanwhile, nothing is taken
    /// in: it may be old.
    pub(super) fn load(&self, segments: &Segments, needs: &[Need]) -> Result<()> {
        let loaded = needs.iter().map(|need| load_one(segments, need)).collect::<Result<Vec<Loaded>>>()?;
        add(&self.statistics.misses, 1);
        add(&self.statistics.loads, loaded.len() as u64);
        let mut state = self.state_mut();
        if state.segments.generation != segments.generation {
            return Ok(());
        }
        // Before they are taken in, or they might go again at once.
        state.evict(SWEEP_PER_LOAD * loaded.len(), self.resident_bytes_max());
        loaded.into_iter().for_each(|loaded| state.install(loaded));
        Ok(())
    }

    /// The messages that may have a client id, by what is on disk, newest first. Another's may be among them.
    pub(super) fn client_id_rows(
        &self,
        segments: &Segments,
        timeline: Timeline,
        sender: UserId,
        id: ClientId,
    ) -> Result<Vec<u64>> {
        let prefix = stored::client_id_prefix(client_id_hash(self.dedup_seed, timeline, sender, id));
        let mut seqs = Vec::new();
        segments.rows.scan(&prefix, prefix.len(), &mut |key, _| {
            seqs.push(stored::client_id_seq(key).ok_or_else(|| damaged(key))?);
            Ok(())
        })?;
        seqs.sort_unstable_by(|one, other| other.cmp(one));
        Ok(seqs)
    }

    /// The first version committed at or after `time`; one above the newest if there is none yet.
    pub(super) fn first_version_at(&self, time: u64) -> Result<u64> {
        let (in_memory, before, segments) = {
            let state = self.state();
            let times = state.commit_times();
            (times.first_at(time).unwrap_or(state.version + 1), times.before(), state.segments.clone())
        };
        // Rows lie at every first version of a step; whose times reach `time` is found by halving.
        let (mut low, mut high) = (1, before + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some((first, times)) = commit_times_at(&segments, middle)? else { break };
            let end = first + times.len() as u64;
            match times.iter().position(|at| *at >= time) {
                Some(0) => high = first,
                Some(index) => return Ok(first + index as u64),
                None => low = end,
            }
        }
        Ok(if low <= before { low } else { in_memory })
    }

    /// The newest version committed at or before `time`; 0 if there is none.
    pub(super) fn last_version_at(&self, time: u64) -> Result<u64> {
        Ok(self.first_version_at(time + 1)? - 1)
    }
}

/// The commit times in the row that has `version`, and their first version.
fn commit_times_at(segments: &Segments, version: u64) -> Result<Option<(u64, Vec<u64>)>> {
    let found = segments.rows.floor(&stored::commit_times_key(version), 1)?;
    let Some((key, value)) = found.filter(|(key, _)| key.first() == Some(&stored::COMMIT_TIMES)) else {
        return Ok(None);
    };
    let first = key[1..].try_into().map(u64::from_be_bytes).map_err(|_| damaged(&key))?;
    Ok(Some((first, CommitTimes::decode(&value).ok_or_else(|| damaged(&key))?)))
}

/// What stands for a client id in rows.
pub(super) fn client_id_hash(seed: u64, timeline: Timeline, sender: UserId, id: ClientId) -> u64 {
    let mut bytes = Vec::with_capacity(48);
    crate::segment::key::put_timeline(&mut bytes, timeline);
    bytes.extend_from_slice(&sender.0.to_le_bytes());
    bytes.extend_from_slice(&id.0.to_le_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

fn load_one(segments: &Segments, need: &Need) -> Result<Loaded> {
    let rows = &segments.rows;
    Ok(match need {
        Need::Head(timeline) => {
            let head = load_head(segments, *timeline)?;
            Loaded::Head(*timeline, head.map(|(head, newest)| (Box::new(head), newest)))
        }
        Need::Person(user) => {
            let key = stored::person_key(*user);
            let since = rows.get_with(&key, stored::USER_PREFIX, stored::take_person)?;
            Loaded::Person(*user, since.map(|since| since.ok_or_else(|| damaged(&key))).transpose()?.unwrap_or(0))
        }
        Need::Row(user, timeline) => {
            let key = stored::row_key(*user, *timeline);
            let row = rows.get_with(&key, stored::USER_PREFIX, stored::take_row)?;
            Loaded::Row(*user, *timeline, row.map(|row| row.ok_or_else(|| damaged(&key))).transpose()?)
        }
        Need::Rows(user) => {
            let (mut since, mut found) = (0, Vec::new());
            let prefix = stored::user_prefix(*user);
            rows.scan(&prefix, stored::USER_PREFIX, &mut |key, value| {
                if stored::is_person_key(key) {
                    since = stored::take_person(value).ok_or_else(|| damaged(key))?;
                } else {
                    let timeline = stored::row_timeline(key).ok_or_else(|| damaged(key))?;
                    let (row, notes) = stored::take_row(value).ok_or_else(|| damaged(key))?;
                    found.push((timeline, row, notes));
                }
                Ok(())
            })?;
            Loaded::Rows(*user, since, found)
        }
        Need::Name(kind, name) => {
            let key = stored::name_key(*kind, name);
            let id = rows.get(&key, key.len())?;
            let id = id.map(|id| id.try_into().map(u64::from_be_bytes).map_err(|_| damaged(&key))).transpose()?;
            Loaded::Name(*kind, name.clone(), id)
        }
        Need::NameOf(kind, id) => {
            let key = stored::name_of_key(*kind, *id);
            Loaded::NameOf(*kind, *id, rows.get(&key, key.len())?)
        }
    })
}

/// A timeline's head with its newest version, as it was sealed.
pub(super) fn load_head(segments: &Segments, timeline: Timeline) -> Result<Option<(Head, u64)>> {
    let prefix = stored::timeline_prefix(timeline);
    let mut head = HeadRows::new(timeline);
    segments.rows.scan(&prefix, prefix.len(), &mut |key, value| {
        head.take(&key[prefix.len()..], value).ok_or_else(|| damaged(key))
    })?;
    Ok(head.finish())
}

/// What a store has one of, and its sources, as they were sealed.
pub(super) fn load_globals(segments: &Segments, state: &mut State) -> Result<Option<u64>> {
    let key = [stored::GLOBALS];
    let Some(globals) = segments.rows.get_with(&key, 1, Globals::take)? else { return Ok(None) };
    let globals = globals.ok_or_else(|| damaged(&key))?;
    let mut sources = Vec::new();
    segments.rows.scan(&[stored::SOURCE], 0, &mut |key, value| {
        sources.push(stored::take_source_row(&key[1..], value).ok_or_else(|| damaged(key))?);
        Ok(())
    })?;
    let seed = globals.dedup_seed;
    state.install_globals(globals, sources);
    for timeline in state.broadcast_timelines() {
        let head = load_head(segments, timeline)?;
        state.install(Loaded::Head(timeline, head.map(|(head, newest)| (Box::new(head), newest))));
        state.keep_broadcast(timeline);
    }
    Ok(Some(seed))
}

/// Loads what is missing of `needs`, for whoever has the state for itself.
pub(super) fn load_into(state: &mut State, needs: &[Need]) -> Result<()> {
    let segments: Arc<Segments> = state.segments.clone();
    for need in needs {
        if !state.has(need) {
            state.install(load_one(&segments, need)?);
        }
    }
    take_misses();
    Ok(())
}

#[cold]
pub(super) fn damaged(key: &[u8]) -> Error {
    Error::corruption_at(Path::new("rows"), 0, "a row of the store", format!("another for key {}", key.escape_ascii()))
}

/// The needs of a name.
pub(super) fn name_need(kind: NameKind, name: &[u8]) -> Need {
    Need::Name(kind, name.to_vec())
}
