//! Damaged stretches made anew: what is left, and records without content in the places of what is not.
//! Owns: what must have been in a stretch, what is known of lost messages. May touch: `stretch`, `journal`, `unit`,
//! `state`.
//! Never: takes what is left of one message for another.

use super::stretch::{Facts, LeftChanges};
use super::{Work, take_id};
use crate::change::{self, Append, Change, Commit, Opens};
use crate::error::{Error, Result};
use crate::id::{ClientId, Seq, Timeline, UserId};
use crate::journal::{records_bytes_max, write_records};
use crate::state::LostRun;
use crate::state::stored;
use crate::unit::{Units, extent, rebuild_unit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a head says.
pub(super) struct Tip {
    pub timeline: Timeline,
    pub trim: u64,
    pub trim_ordinal: u64,
    pub last: u64,
    pub ordinal: u64,
    pub indexed: u64,
    pub unit: u64,
}

/// What goes into a stretch that is made anew.
enum Planned {
    Found(u64, usize),
    Lost(Append, Commit),
}

impl Planned {
    fn bytes_max(&self) -> u64 {
        match self {
            Planned::Found(_, length) => *length as u64,
            Planned::Lost(..) => change::RECORD_BYTES_MAX as u64,
        }
    }
}

impl Work<'_> {
    /// Makes what is damaged anew, and finds out what is lost.
    pub(super) fn rebuild(&mut self) -> Result<()> {
        let rows_version = self.rows_version();
        if self.takes_in_end {
            let unsealed = self.stretches.iter().filter(|stretch| stretch.is_unsealed);
            for (timeline, messages) in unsealed.flat_map(|stretch| &stretch.left.messages) {
                let mut known = messages.iter().rev();
                if let Some((seq, found)) = known.find(|(_, found)| found.facts.version <= rows_version) {
                    self.unsealed_known.insert(*timeline, (*seq, found.facts));
                }
            }
            return self.rebuild_stretches();
        }
        let (unsealed, known) = (&mut self.unsealed, &mut self.unsealed_known);
        self.examined.unsealed(&**self.storage, &mut |replayed| {
            if let Change::Append(append) = &replayed.decoded.change {
                let first = (append.seq, Facts::of(append, replayed.decoded.commit));
                unsealed.entry(append.timeline).or_insert(first);
                if replayed.decoded.commit.version <= rows_version {
                    known.insert(append.timeline, first);
                }
            }
        })?;
        self.rebuild_stretches()
    }

    fn rebuild_stretches(&mut self) -> Result<()> {
        let heads = self.heads()?;
        if self.stretches.iter().any(|stretch| stretch.is_blind && !stretch.is_unsealed) {
            for head in &heads {
                self.guess(head)?;
            }
            self.hold_headless()?;
        }
        let mut tips: BTreeMap<Timeline, Tip> = heads.into_iter().map(|tip| (tip.timeline, tip)).collect();
        if self.takes_in_end {
            self.hold_end(&mut tips)?;
        }
        for index in 0..self.stretches.len() {
            if self.stretches[index].unit.is_none() {
                self.rebuild_stretch(index, &tips)?;
            }
        }
        Ok(())
    }

    /// What the heads say, by the rows that are left.
    pub(super) fn heads(&self) -> Result<Vec<Tip>> {
        let mut heads = Vec::new();
        self.rows.walk(&[stored::TIMELINE], &mut |key, value| {
            let Some((timeline, rest)) = stored::head_of_key(key) else { return Ok(key[0] == stored::TIMELINE) };
            if rest == [0]
                && let Some(head) = stored::core_of(timeline, value)
            {
                heads.push(Tip {
                    timeline,
                    trim: head.tip.trim(),
                    trim_ordinal: head.tip.trim_ordinal(),
                    last: head.tip.last,
                    ordinal: head.tip.ordinal,
                    indexed: head.indexed,
                    unit: head.unit,
                });
            }
            Ok(true)
        })?;
        Ok(heads)
    }

    /// What a timeline must have had in stretches of which nobody says it: what is nowhere else.
    pub(super) fn guess(&mut self, tip: &Tip) -> Result<()> {
        let timeline = tip.timeline;
        let (mut upper, mut pointer) = (tip.indexed, tip.unit);
        // A head may be an older one, if the newest is lost; an index is not.
        let mut is_bounded = false;
        for index in (0..self.stretches.len()).rev() {
            if self.stretches[index].is_unsealed {
                continue;
            }
            if !self.stretches[index].is_blind {
                if let Some((first, _, previous)) = self.stretches[index].extent(timeline)? {
                    (upper, pointer, is_bounded) = (first - 1, previous, true);
                }
                continue;
            }
            let (lo, hi) = (self.stretches[index].lo, self.stretches[index].hi);
            let found = self.stretches[index].left.messages.get(&timeline);
            if !(lo..=hi).contains(&pointer) && found.is_none() {
                continue;
            }
            let found_first = found.and_then(|found| found.keys().next().copied());
            if let Some(last) = found.and_then(|found| found.keys().next_back().copied()).filter(|_| !is_bounded) {
                upper = upper.max(last);
            }
            let mut older = (0, 0);
            for stretch in self.stretches[..index].iter().rev() {
                if let Some((_, last, _)) = stretch.extent(timeline)? {
                    older = (last, stretch.hi);
                    break;
                }
            }
            let mut low = older.0.max(tip.trim) + 1;
            if let Some(first) = found_first.filter(|first| *first < low && older.0 < *first) {
                low = first;
            }
            if low <= upper {
                self.stretches[index].held.push((timeline, low, upper));
                (upper, is_bounded) = (low - 1, true);
            }
            pointer = older.1;
        }
        Ok(())
    }

    /// Where neither an index nor a head tells, what was found tells.
    fn hold_headless(&mut self) -> Result<()> {
        for index in 0..self.stretches.len() {
            let stretch = &self.stretches[index];
            if !stretch.is_blind || stretch.is_unsealed {
                continue;
            }
            let mut held = Vec::new();
            for (timeline, messages) in &stretch.left.messages {
                let ends = messages.keys().next().copied().zip(messages.keys().next_back().copied());
                let Some((first, last)) = ends else { continue };
                if stretch.held.iter().any(|(held, ..)| held == timeline) {
                    continue;
                }
                let mut older = 0;
                for stretch in &self.stretches[..index] {
                    let held = stretch.held.iter().filter(|(held, ..)| held == timeline).map(|(.., last)| *last).max();
                    let known = stretch.extent(*timeline)?.map_or(0, |(_, last, _)| last);
                    older = older.max(known).max(held.unwrap_or(0));
                }
                let is_before_lost = self.stretches[..=index].iter().any(|stretch| stretch.is_damaged);
                // Nothing is missing where nothing is damaged: what was before was trimmed.
                let low = if older > 0 || is_before_lost { older + 1 } else { first };
                if low <= last {
                    held.push((*timeline, low, last));
                }
            }
            self.stretches[index].held.extend(held);
        }
        Ok(())
    }

    /// What is known of a message, if it is there.
    pub(super) fn facts(&self, timeline: Timeline, seq: u64) -> Result<Option<Facts>> {
        for stretch in &self.stretches {
            if let Some(found) = stretch.left.messages.get(&timeline).and_then(|messages| messages.get(&seq)) {
                return Ok(Some(found.facts));
            }
            let Some(unit) = &stretch.unit else { continue };
            let units = Units::new(vec![unit.clone()])?;
            if let Some(place) = units.place(unit.hi, timeline, seq)? {
                let stored = unit.records.read(place.offset())?;
                if stored.append.seq == seq && stored.append.timeline == timeline {
                    return Ok(Some(Facts::of(&stored.append, stored.commit)));
                }
            }
        }
        Ok(self.unsealed.get(&timeline).filter(|(first, _)| *first == seq).map(|(_, facts)| *facts))
    }

    /// Makes one stretch anew: what is left, and in the places of what is not, records without content.
    pub(super) fn rebuild_stretch(&mut self, index: usize, tips: &BTreeMap<Timeline, Tip>) -> Result<()> {
        let mut left = std::mem::take(&mut self.stretches[index].left);
        if self.stretches[index].is_unsealed {
            let (file, changes) = (left.file.clone(), std::mem::take(&mut left.changes));
            self.end.left.push(LeftChanges { stretch: index, file, changes });
        }
        let held = std::mem::take(&mut self.stretches[index].held);
        // Looked up by others' facts, too.
        self.stretches[index].left.messages = left.messages.clone();
        let mut plan: Vec<(u64, u64, Planned)> = Vec::new();
        for (timeline, first, last) in held {
            let empty = BTreeMap::new();
            let messages = left.messages.get(&timeline).unwrap_or(&empty);
            let mut seq = first;
            while seq <= last {
                if let Some(found) = messages.get(&seq) {
                    plan.push((found.facts.version, seq, Planned::Found(found.offset, found.length)));
                    seq += 1;
                    continue;
                }
                let end = messages.range(seq..).next().map_or(last, |(next, _)| (next - 1).min(last));
                let before = if seq > 1 { self.facts(timeline, seq - 1)? } else { None };
                let after = match messages.get(&(end + 1)) {
                    Some(found) => Some((end + 1, found.facts)),
                    None => self.next_facts(index, timeline, end + 1)?,
                };
                let run = self.lost_run(tips.get(&timeline), (seq, end), before, after);
                let is_unsealed = self.stretches[index].is_unsealed;
                for seq in seq..=end {
                    let (append, commit) = stand_in(timeline, seq, &run, before, after);
                    if is_unsealed {
                        self.end.stand_ins.push((self.stretches[index].lo, append, commit));
                    }
                    plan.push((commit.version, seq, Planned::Lost(append, commit)));
                }
                let trim = tips.get(&timeline).map_or(0, |tip| tip.trim);
                if is_unsealed {
                    // How far it was trimmed shows only with the changes that are left.
                    self.end.lost.entry(timeline).or_default().push(run);
                } else if let Some(run) = run.above(trim) {
                    self.lost.entry(timeline).or_default().push(run);
                    self.repair.messages_lost.push((timeline, Seq(run.first), Seq(run.last)));
                }
                seq = end + 1;
            }
        }
        for (_, seq, found) in &left.edits {
            plan.push((found.facts.version, *seq, Planned::Found(found.offset, found.length)));
        }
        if plan.is_empty() {
            return Ok(());
        }
        plan.sort_by_key(|(version, seq, _)| (*version, *seq));
        let bytes: u64 = plan.iter().map(|(_, _, planned)| planned.bytes_max()).sum();
        let (lo, hi, level) = (self.stretches[index].lo, self.stretches[index].hi, self.stretches[index].level);
        let (count, mut planned) = (plan.len() as u64, plan.into_iter());
        let path = self.storage.path("");
        let records = write_records(self.storage, lo, records_bytes_max(count, bytes), &mut |out| {
            let Some((_, _, planned)) = planned.next() else { return Ok(false) };
            match (planned, &left.file) {
                (Planned::Found(offset, length), Some(file)) => {
                    let start = out.len();
                    out.resize(start + length, 0);
                    file.read_at(offset, &mut out[start..]).map_err(|error| Error::io("read", &path, error))?;
                }
                (Planned::Lost(append, commit), _) => change::encode(&Change::Append(append), &[], commit, out),
                (Planned::Found(..), None) => {}
            }
            Ok(true)
        })?;
        let temporary = records.path.clone();
        let versions = (self.stretches[index].first_version, self.stretches[index].last_version);
        let (older, next_segment) = (&self.stretches[..index], &mut self.next_segment);
        let mut previous = |timeline: Timeline| {
            for stretch in older.iter().rev() {
                if stretch.extent(timeline)?.is_some() {
                    return Ok(stretch.hi);
                }
            }
            Ok(0)
        };
        let uuid = self.examined.uuids[0];
        let mut next_id = || take_id(next_segment);
        let unit = rebuild_unit(self.storage, records, (lo, hi, level), versions, uuid, &mut next_id, &mut previous)?;
        if let Some(name) = temporary.file_name().and_then(|name| name.to_str()) {
            self.storage.remove(name).map_err(|error| Error::io("remove", &temporary, error))?;
        }
        let stretch = &mut self.stretches[index];
        stretch.is_blind = false;
        stretch.left.messages.clear();
        stretch.unit = Some(Arc::new(unit));
        Ok(())
    }

    /// The first message from `seq` on that is left behind a stretch, and its seq.
    pub(super) fn next_facts(&self, index: usize, timeline: Timeline, seq: u64) -> Result<Option<(u64, Facts)>> {
        for stretch in &self.stretches[index + 1..] {
            let next = match &stretch.unit {
                Some(unit) => extent(&unit.index, timeline)?.map(|(first, ..)| first),
                None => stretch.left.messages.get(&timeline).and_then(|messages| messages.keys().next().copied()),
            };
            if let Some(next) = next.filter(|next| *next >= seq)
                && let Some(facts) = self.facts(timeline, next)?
            {
                return Ok(Some((next, facts)));
            }
        }
        Ok(self.unsealed.get(&timeline).copied().filter(|(first, _)| *first >= seq))
    }

    /// What is known of the messages `first..=last`, which are lost. Others that follow them may be, too.
    pub(super) fn lost_run(
        &self,
        tip: Option<&Tip>,
        (first, last): (u64, u64),
        before: Option<Facts>,
        after: Option<(u64, Facts)>,
    ) -> LostRun {
        let start = || tip.filter(|tip| tip.trim + 1 == first).map(|tip| tip.trim_ordinal);
        let (next, ordinal_next) = match (&after, tip) {
            (Some((next, facts)), _) => (*next, Some(facts.ordinal_before)),
            (None, Some(tip)) => (tip.last + 1, Some(tip.ordinal)),
            (None, None) => (last + 1, None),
        };
        let ordinal_before = before.map(|facts| facts.ordinal).or_else(start);
        let ordinal_before =
            ordinal_before.unwrap_or_else(|| ordinal_next.map_or(0, |ordinal| ordinal.saturating_sub(next - first)));
        let ordinal_next = ordinal_next.unwrap_or(ordinal_before).max(ordinal_before);
        LostRun { first, last, ordinal_before, ordinal_after: ordinal_next.min(ordinal_before + last - first + 1) }
    }
}

/// A record without content for a lost message, which fits between those beside the run.
fn stand_in(
    timeline: Timeline,
    seq: u64,
    run: &LostRun,
    before: Option<Facts>,
    after: Option<(u64, Facts)>,
) -> (Append, Commit) {
    let from_start = seq - run.first + 1;
    // Timestamps and versions rise by at least one with each message, so there is room.
    let between = |value: fn(&Facts) -> u64| match (&before, &after) {
        (Some(before), _) => value(before) + from_start,
        (None, Some((next, after))) => value(after).saturating_sub(next - seq).max(from_start),
        (None, None) => from_start,
    };
    let ordinal = (run.ordinal_before + from_start).min(run.ordinal_after);
    // A record names a sender where users send; whose it was nobody knows, and nobody is told.
    let sender = match timeline {
        Timeline::Direct(pair) => pair.low(),
        Timeline::Group(_) => UserId(u64::MAX),
        Timeline::Inbox(..) | Timeline::Broadcast(_) => UserId::NONE,
    };
    let append = Append {
        timeline,
        sender,
        seq,
        ordinal,
        own_previous: 0,
        timestamp: between(|facts| facts.timestamp),
        kind: 0,
        counts: run.ordinal_before + from_start <= run.ordinal_after,
        imported: false,
        sender_present: false,
        client_id: ClientId::NONE,
        opens: Opens::default(),
        alerts: 0,
        mention_bytes: 0,
    };
    let time = before.or(after.map(|(_, facts)| facts)).map_or(0, |facts| facts.time);
    (append, Commit { version: between(|facts| facts.version), time })
}
