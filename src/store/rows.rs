//! Reads rows of the state from segments.
//! Owns: what is read for each need, for a head, for what a store has one of. May touch: `state`, `segment`, `unit`.
//! Never: changes anything, or takes a lock.

use crate::error::{Error, Result};
use crate::id::{ClientId, Timeline, UserId};
use crate::state::stored::{self, Globals, HeadRows};
use crate::state::{CommitTimes, Head, Loaded, Need, State, take_misses};
use crate::unit::Segments;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The commit times in the row that has `version`, and their first version.
pub(super) fn commit_times_at(segments: &Segments, version: u64) -> Result<Option<(u64, Vec<u64>)>> {
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

pub(super) fn load_one(segments: &Segments, need: &Need) -> Result<Loaded> {
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
