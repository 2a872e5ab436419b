//! Rows made of what is left elsewhere: heads of their messages, what a store has one of.
//! Owns: what of the rows can be had again. May touch: `stretch`, `rows`, `state`, `unit`.
//! Never: makes up a session or a mark.

use super::super::rows::load_head;
use super::Work;
use super::rebuild::Tip;
use super::stretch::Facts;
use crate::error::Result;
use crate::id::{Seq, Timeline};
use crate::state::stored::{self, Entries, Globals};
use crate::state::{Head, LostRun, PART_SEQS, Part as HeadPart, Tip as HeadTip};
use crate::unit::{Segments, extents};
use std::collections::BTreeMap;

impl Work<'_> {
    /// A message whose newest body was an edit that is lost is lost with it.
    pub(super) fn lose_edits(&mut self, segments: &Segments) -> Result<()> {
        for tip in self.heads()? {
            let Some((head, _)) = load_head(segments, tip.timeline)? else { continue };
            for (seq, amendment) in head.amended.iter().flat_map(|amended| amended.iter()) {
                let Some(edit) = amendment.edit else { continue };
                // The end that is left as it is has it, and is replayed.
                let is_replayed = !self.takes_in_end && edit.file_id() > self.end.sealed_through;
                let place = match segments.units.covering(edit.file_id()) {
                    None if !is_replayed => None,
                    _ => segments.units.edit_place(edit, tip.timeline, seq, amendment.version)?,
                };
                let is_known = self
                    .lost
                    .get(&tip.timeline)
                    .is_some_and(|runs| runs.iter().any(|run| run.first <= seq && seq <= run.last));
                if place.is_some() || is_known {
                    continue;
                }
                let Some(facts) = self.facts(tip.timeline, seq)? else { continue };
                let (ordinal_before, ordinal_after) = (facts.ordinal_before, facts.ordinal);
                let run = LostRun { first: seq, last: seq, ordinal_before, ordinal_after };
                self.lost.entry(tip.timeline).or_default().push(run);
                self.repair.messages_lost.push((tip.timeline, Seq(seq), Seq(seq)));
            }
        }
        Ok(())
    }
}

/// Heads that are lost, or older than their messages, made of what the newest of these says.
pub(super) fn mend_heads(
    segments: &Segments,
    unsealed: &BTreeMap<Timeline, (u64, Facts)>,
    tips: &[Tip],
    entries: &mut Entries,
) -> Result<BTreeMap<Timeline, (Head, u64)>> {
    let mut ends: BTreeMap<Timeline, (u64, u64)> = BTreeMap::new();
    let mut firsts: BTreeMap<Timeline, u64> = BTreeMap::new();
    for unit in segments.units.iter() {
        for (timeline, first, last) in extents(&unit.index)? {
            firsts.entry(timeline).or_insert(first);
            ends.insert(timeline, (last, unit.hi));
        }
    }
    for timeline in unsealed.keys() {
        ends.entry(*timeline).or_default();
    }
    let mut mended = BTreeMap::new();
    for tip in tips.iter().filter(|tip| tip.trim < tip.indexed && !ends.contains_key(&tip.timeline)) {
        // Nothing of it is left in any unit: a head that is lost said that it was trimmed.
        let Some((mut head, newest)) = load_head(segments, tip.timeline)? else { continue };
        (head.tip.trimmed, head.tip.trimmed_ordinal) = (head.indexed, head.tip.ordinal.min(head.indexed));
        head.tip.trimmed_by = head.tip.version;
        mended.insert(tip.timeline, (head, newest));
    }
    for (timeline, (indexed, unit)) in ends {
        if let Some(source) = timeline.source() {
            stored::add_source(entries, source, matches!(timeline, Timeline::Broadcast(_)));
        }
        let known = load_head(segments, timeline)?;
        let newest_known = unsealed.get(&timeline);
        let last = newest_known.map_or(indexed, |(seq, _)| *seq);
        // What is before the first one that is left was trimmed.
        let first = firsts.get(&timeline).copied().unwrap_or(1);
        let is_good = |head: &Head| head.indexed == indexed && head.tip.last >= last && first <= head.tip.trim() + 1;
        if known.as_ref().is_some_and(|(head, _)| is_good(head)) {
            continue;
        }
        let read = |seq: u64| -> Result<Option<Facts>> {
            let Some(place) = segments.units.place(unit, timeline, seq)? else { return Ok(None) };
            let Some(unit) = segments.units.iter().find(|unit| unit.records.id() == place.file_id()) else {
                return Ok(None);
            };
            let stored = unit.records.read(place.offset())?;
            Ok(Some(Facts::of(&stored.append, stored.commit)))
        };
        let facts = match newest_known {
            Some((_, facts)) => Some(*facts),
            None => read(indexed)?,
        };
        let Some(facts) = facts else { continue };
        let (mut head, newest) =
            known.unwrap_or_else(|| (Head::new(timeline, HeadTip::new(Default::default(), 1)), facts.version));
        head.tip = HeadTip {
            last,
            last_timestamp: facts.timestamp,
            ordinal: facts.ordinal,
            version: facts.version,
            time: facts.time,
            opens: false,
            ..head.tip
        };
        (head.indexed, head.unit) = (indexed, unit);
        if first > head.tip.trim() + 1 {
            let facts = read(first)?.unwrap_or(facts);
            (head.tip.trimmed, head.tip.trimmed_ordinal) = (first - 1, facts.ordinal_before);
            head.tip.trimmed_by = facts.version;
        }
        if let Timeline::Broadcast(_) = timeline {
            for seq in head.sent.len() as u64 + 1..=indexed {
                head.sent.push(read(seq)?.map_or((0, 0), |facts| (facts.version, facts.ordinal)));
                head.parts.push(HeadPart::Sent((seq - 1) / PART_SEQS));
            }
            head.parts.dedup();
        }
        mended.insert(timeline, (head, newest.max(facts.version)));
    }
    Ok(mended)
}

/// What a store has one of, if that is lost or older than the rows.
pub(super) fn mend_globals(
    segments: &Segments,
    version: u64,
    uuid: [u8; 16],
    heads: &BTreeMap<Timeline, (Head, u64)>,
    entries: &mut Entries,
) -> Result<()> {
    let found = segments.rows.get_with(&[stored::GLOBALS], 1, Globals::take)?.flatten();
    if found.as_ref().is_some_and(|globals| globals.version >= version) {
        return Ok(());
    }
    let mut globals =
        found.unwrap_or_else(|| Globals { dedup_seed: xxhash_rust::xxh3::xxh3_64(&uuid), ..Globals::default() });
    globals.version = version;
    let newest = heads.values().map(|(head, _)| head.tip.time).max().unwrap_or(0);
    globals.time = globals.time.max(newest);
    segments.rows.walk(&[stored::NAME_OF], &mut |key, _| {
        let Some(stored::Owner::Name(kind, id)) = stored::owner(key) else { return Ok(key[0] == stored::NAME_OF) };
        globals.newest_names.retain(|(other, newest)| *other != kind || *newest > id);
        if !globals.newest_names.iter().any(|(other, _)| *other == kind) {
            globals.newest_names.push((kind, id));
        }
        Ok(true)
    })?;
    globals.add(entries);
    Ok(())
}
