//! The rows of a timeline: its head, and the parts of it that have rows of their own.
//! Owns: their values and the ends of their keys. May touch: the rest of `state`, `numbers`, `varint`.
//! Never: sees the rows of two timelines at once.

use super::numbers::{far, near, put_numbers, take_numbers};
use super::{CORE, Entries, be, put_ascending, take_ascending, take_byte, timeline_prefix};
use crate::id::{Timeline, UserId};
use crate::journal::Place;
use crate::settings::{GroupSettings, Retention};
use crate::state::amended::{AmendedMessages, Amendment, Step};
use crate::state::lost::{LostRun, LostRuns};
use crate::state::roster::{Roster, Seat};
use crate::state::timeline::{Head, PART_SEQS, Part, Side, Tip};
use crate::state::trims::CountingTrim;
use crate::varint::{put, take};
use std::sync::Arc;

const AMENDED: u8 = 1;
const ALERTS: u8 = 2;
const SEAT: u8 = 3;
const SENT: u8 = 4;
const METADATA: u8 = 5;

/// Writes a head, but for its parts. `unit` and `indexed` are what an index will know of it.
pub(crate) fn add_head(entries: &mut Entries, head: &Head, newest: u64, indexed: u64, unit: u64) {
    let mut key = timeline_prefix(head.timeline);
    let prefix = key.len();
    key.push(CORE);
    let mut value = Vec::with_capacity(64);
    put_tip(&mut value, &head.tip);
    let Tip { last, version, time, .. } = head.tip;
    let [low, high] = head.sides;
    put_numbers(
        &mut value,
        [
            near(newest, version),
            near(indexed, last),
            unit,
            near(low.read_max, last),
            near(high.read_max, last),
            near(low.delivered_max, last),
            near(high.delivered_max, last),
            near(low.version, version),
            near(low.time, time),
            near(high.version, version),
            near(high.time, time),
        ],
    );
    let trims = head.trims.as_ref().map_or(&[][..], |trims| trims.all());
    put(&mut value, trims.len() as u64);
    for trim in trims {
        [trim.ordinal_before, trim.version, trim.time].iter().for_each(|field| put(&mut value, *field));
    }
    // What became of messages that are trimmed is in no part any more.
    let steps: Vec<Step> = head.amended.iter().flat_map(|amended| amended.steps_up_to(head.tip.trim())).collect();
    put(&mut value, steps.len() as u64);
    for step in steps {
        [step.seq, step.version, step.time].iter().for_each(|field| put(&mut value, *field));
    }
    let lost = head.lost.as_ref().map_or(&[][..], |lost| lost.all());
    put(&mut value, lost.len() as u64);
    for LostRun { first, last, ordinal_before, ordinal_after } in lost {
        [first, last, ordinal_before, ordinal_after].iter().for_each(|field| put(&mut value, **field));
    }
    entries.add(&key, prefix, Some(&value));
}

/// Writes parts of a head as they are now; those that are there no more are taken away.
pub(crate) fn add_parts(entries: &mut Entries, head: &Head, parts: &[Part]) {
    let prefix = timeline_prefix(head.timeline);
    let mut value = Vec::new();
    for part in parts {
        let mut key = prefix.clone();
        value.clear();
        let is_there = match *part {
            Part::Amended(seq) => {
                key.push(AMENDED);
                key.extend_from_slice(&seq.to_be_bytes());
                put_amendment(&mut value, head, seq)
            }
            Part::Alerts(kind, chunk) => {
                key.extend_from_slice(&[ALERTS, kind]);
                key.extend_from_slice(&chunk.to_be_bytes());
                let seqs = head.alerts.as_ref().map_or(&[][..], |alerts| &alerts.0[usize::from(kind)]);
                let first = seqs.partition_point(|seq| *seq / PART_SEQS < chunk);
                put_ascending(&mut value, seqs[first..].iter().take_while(|seq| *seq / PART_SEQS == chunk))
            }
            Part::Seat(user) => {
                key.push(SEAT);
                key.extend_from_slice(&user.0.to_be_bytes());
                let seat = head.roster.as_ref().and_then(|roster| roster.get(user));
                seat.is_some_and(|seat| {
                    [seat.joined_at, seat.read_max, seat.delivered_max].iter().for_each(|mark| put(&mut value, *mark));
                    true
                })
            }
            Part::Sent(chunk) => {
                key.push(SENT);
                key.extend_from_slice(&chunk.to_be_bytes());
                let sent = head.sent.iter().skip((chunk * PART_SEQS) as usize).take(PART_SEQS as usize);
                for (version, ordinal) in sent {
                    put(&mut value, *version);
                    put(&mut value, *ordinal);
                }
                !value.is_empty()
            }
            Part::Metadata => {
                key.push(METADATA);
                value.extend_from_slice(head.metadata.as_deref().unwrap_or_default());
                !value.is_empty()
            }
        };
        entries.add(&key, prefix.len(), is_there.then_some(&value));
    }
}

fn put_amendment(value: &mut Vec<u8>, head: &Head, seq: u64) -> bool {
    let Some(amended) = &head.amended else { return false };
    let Some(Amendment { version, time, by, edit }) = amended.get(seq) else { return false };
    let recalled = amended.recalled();
    let counting = recalled.binary_search_by_key(&seq, |one| one.seq).ok().map(|index| recalled[index].ordinal);
    [*version, *time, by.0].iter().for_each(|field| put(value, *field));
    put(value, edit.map_or(0, |place| place.file_id()));
    put(value, edit.map_or(0, |place| place.offset()));
    put(value, counting.map_or(0, |ordinal| ordinal + 1));
    true
}

/// Puts a head together from the rows of its timeline, which come in order.
#[derive(Debug)]
pub(crate) struct HeadRows {
    timeline: Timeline,
    newest: u64,
    head: Option<Head>,
    amended: Vec<(u64, Amendment, Option<u64>)>,
    /// Of messages that are trimmed.
    steps: Vec<Step>,
}

impl HeadRows {
    pub fn new(timeline: Timeline) -> HeadRows {
        HeadRows { timeline, newest: 0, head: None, amended: Vec::new(), steps: Vec::new() }
    }

    /// Takes one row; `rest` is its key behind the timeline.
    pub fn take(&mut self, rest: &[u8], mut value: &[u8]) -> Option<()> {
        let (&tag, rest) = rest.split_first()?;
        let value = &mut value;
        if tag == CORE {
            let mut head = Head::new(self.timeline, take_tip(value)?);
            let Tip { last, version, time, .. } = head.tip;
            let [newest, indexed, unit, marks @ .., low_version, low_time, high_version, high_time] =
                take_numbers::<11>(value)?;
            self.newest = far(newest, version)?;
            (head.indexed, head.unit) = (far(indexed, last)?, unit);
            let [low_read, high_read, low_delivered, high_delivered] = marks;
            let side = |read, delivered, changed, at| {
                let (read_max, delivered_max) = (far(read, last)?, far(delivered, last)?);
                Some(Side { read_max, delivered_max, version: far(changed, version)?, time: far(at, time)? })
            };
            head.sides = [
                side(low_read, low_delivered, low_version, low_time)?,
                side(high_read, high_delivered, high_version, high_time)?,
            ];
            for _ in 0..take(value)? {
                let (ordinal_before, version, time) = (take(value)?, take(value)?, take(value)?);
                head.trims.get_or_insert_default().put(CountingTrim { ordinal_before, version, time });
            }
            for _ in 0..take(value)? {
                self.steps.push(Step { seq: take(value)?, version: take(value)?, time: take(value)? });
            }
            let mut lost = Vec::new();
            for _ in 0..take(value)? {
                let (first, last) = (take(value)?, take(value)?);
                lost.push(LostRun { first, last, ordinal_before: take(value)?, ordinal_after: take(value)? });
            }
            if !lost.is_empty() {
                head.lost = Some(Arc::new(LostRuns::new(lost)?));
            }
            (rest.is_empty() && value.is_empty() && head.indexed <= head.tip.last).then_some(())?;
            self.head = Some(head);
            return Some(());
        }
        let head = self.head.as_mut()?;
        match tag {
            AMENDED => {
                let seq = be(rest)?;
                let (version, time, by) = (take(value)?, take(value)?, UserId(take(value)?));
                let (file_id, offset) = (take(value)?, take(value)?);
                let edit = if file_id == 0 { None } else { Some(Place::checked(file_id, offset)?) };
                let counting = take(value)?.checked_sub(1);
                (value.is_empty() && seq <= head.tip.last).then_some(())?;
                self.amended.push((seq, Amendment { version, time, by, edit }, counting));
            }
            ALERTS => {
                let (&kind, rest) = rest.split_first()?;
                be(rest)?;
                let alerts = Arc::make_mut(head.alerts.get_or_insert_default());
                take_ascending(value, alerts.0.get_mut(usize::from(kind))?)?;
            }
            SEAT => {
                let user = UserId(be(rest)?);
                let (joined_at, read_max, delivered_max) = (take(value)?, take(value)?, take(value)?);
                value.is_empty().then_some(())?;
                head.roster.get_or_insert_default().insert(Seat { user, joined_at, read_max, delivered_max });
            }
            SENT => {
                be(rest)?;
                while !value.is_empty() {
                    head.sent.push((take(value)?, take(value)?));
                }
            }
            METADATA => {
                rest.is_empty().then_some(())?;
                head.metadata = Some((*value).into());
            }
            _ => return None,
        }
        Some(())
    }

    /// The head and its newest version; `None` if there is no such timeline.
    pub fn finish(mut self) -> Option<(Head, u64)> {
        let mut head = self.head?;
        if !self.amended.is_empty() || !self.steps.is_empty() {
            self.amended.sort_unstable_by_key(|(seq, amendment, _)| (amendment.version, *seq));
            let mut amended = AmendedMessages::default();
            for (seq, amendment, counting) in self.amended {
                amended.insert(seq, amendment, counting);
            }
            amended.add_steps(self.steps);
            head.amended = Some(Box::new(amended));
        }
        if let Some(alerts) = head.alerts.as_mut() {
            Arc::make_mut(alerts).0.iter_mut().for_each(|seqs| seqs.sort_unstable());
        }
        if let (Timeline::Group(_) | Timeline::Broadcast(_), None) = (self.timeline, &head.roster) {
            head.roster = Some(Box::<Roster>::default());
        }
        Some((head, self.newest))
    }
}

/// A head without its parts.
pub(crate) fn core_of(timeline: Timeline, value: &[u8]) -> Option<Head> {
    let mut head = HeadRows::new(timeline);
    head.take(&[CORE], value)?;
    head.head
}

const DISSOLVED: u8 = 1;
const OPENS: u8 = 1 << 1;
const SHOWS_HISTORY: u8 = 1 << 2;
const MEMBERS_ONLY: u8 = 1 << 3;
const RETENTION: u8 = 1 << 4;
const TRIMMED: u8 = 1 << 5;

fn put_tip(value: &mut Vec<u8>, tip: &Tip) {
    let bits = [
        (tip.dissolved, DISSOLVED),
        (tip.opens, OPENS),
        (tip.settings.shows_history, SHOWS_HISTORY),
        (tip.settings.members_only, MEMBERS_ONLY),
        (tip.settings.retention.is_some(), RETENTION),
        (tip.trimmed_by > 0, TRIMMED),
    ];
    value.push(bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
    let Tip { last, last_timestamp, ordinal, version, time, news_version, news_time, created, .. } = *tip;
    put_numbers(
        value,
        [
            last,
            near(ordinal, last),
            version,
            time,
            near(last_timestamp, time),
            near(created, version),
            near(news_version, version),
            near(news_time, time),
            near(tip.settings_by, version),
        ],
    );
    if let Some(Retention { age_secs, count, body_bytes, .. }) = tip.settings.retention {
        [age_secs, count, body_bytes].iter().for_each(|bound| put(value, *bound));
    }
    if tip.trimmed_by > 0 {
        [tip.trimmed, tip.trimmed_ordinal, tip.trimmed_by, tip.age_day].iter().for_each(|field| put(value, *field));
    }
}

fn take_tip(value: &mut &[u8]) -> Option<Tip> {
    let bits = take_byte(value)?;
    (bits < 1 << 6).then_some(())?;
    let has = |bit| bits & bit != 0;
    let settings = GroupSettings::default().shows_history(has(SHOWS_HISTORY)).members_only(has(MEMBERS_ONLY));
    let [last, ordinal, version, time, last_timestamp, created, news_version, news_time, settings_by] =
        take_numbers::<9>(value)?;
    let mut tip = Tip {
        last,
        ordinal: far(ordinal, last)?,
        version,
        time,
        last_timestamp: far(last_timestamp, time)?,
        news_version: far(news_version, version)?,
        news_time: far(news_time, time)?,
        settings_by: far(settings_by, version)?,
        ..Tip::new(settings, far(created, version)?)
    };
    (tip.dissolved, tip.opens) = (has(DISSOLVED), has(OPENS));
    if has(RETENTION) {
        let (age_secs, count, body_bytes) = (take(value)?, take(value)?, take(value)?);
        tip.settings.retention = Some(Retention { age_secs, count, body_bytes });
    }
    if has(TRIMMED) {
        (tip.trimmed, tip.trimmed_ordinal) = (take(value)?, take(value)?);
        (tip.trimmed_by, tip.age_day) = (take(value)?, take(value)?);
    }
    Some(tip)
}
