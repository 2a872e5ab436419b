//! The end of the journal, of which something is lost, made into segments: what is left of its changes is applied, in the
//! order of their versions, to what the rows say.
//! Owns: what is lost of messages and versions there, what becomes of changes that rest on lost ones. May touch: `stretch`,
//! `rebuild`, `mend`, `open`, `needs`, `rows`, `journal`, `segment`, `state`.
//! Never: makes up a change that nothing tells of.
//!
//! A journal with a hole cannot be replayed, so that none of these stays one. A seq below one that anything names (a later
//! message, a mark, a join, a row) was given: it is lost, and never given again. Whether a timeline had more behind all that is
//! left nobody knows.

use super::super::needs::needs_of_change;
use super::super::open::Opening;
use super::super::rows::{client_id_hash, load_into};
use super::rebuild::Tip;
use super::stretch::{End, LeftChanges};
use super::{Work, take_id};
use crate::change::{self, Change, Commit, Decoded, Forget, Join, Opening as RowOpening, RowKey};
use crate::error::{Error, Result};
use crate::id::{NameKind, Seq, Timeline, UserId, Version};
use crate::journal::{
    Found as JournalsFound, Manifest, Place, ReplayTarget, Replayed, SealedJournal, Unreplayable, open_sealed_journal,
};
use crate::segment::{PART_BYTES, RunPlan, RunWriter, SegmentInfo, SegmentKind};
use crate::state::stored::{self, Entries};
use crate::state::{CommitTimes, Need, Needs, State};
use std::collections::BTreeMap;

/// Something to apply: by its version, records without content first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    version: u64,
    is_found: bool,
    /// The stand-in, or the stretch.
    index: usize,
    offset: u64,
    length: usize,
}

impl Work<'_> {
    /// Finds out which messages the journals at the end must have held.
    pub(super) fn hold_end(&mut self, tips: &mut BTreeMap<Timeline, Tip>) -> Result<()> {
        let mut ends: BTreeMap<Timeline, u64> = BTreeMap::new();
        for stretch in self.stretches.iter().filter(|stretch| stretch.is_unsealed) {
            ends.extend(stretch.left.messages.keys().map(|timeline| (*timeline, 0)));
            for (timeline, seq, ordinal) in stretch.left.named.iter().copied() {
                ends.insert(timeline, 0);
                raise(tips, timeline, seq, ordinal);
            }
        }
        if !self.repair.rows_lost.is_empty() {
            self.hold_by_rows(tips)?;
        }
        ends.extend(tips.keys().map(|timeline| (*timeline, 0)));
        for (timeline, end) in &mut ends {
            *end = tips.get(timeline).map_or(0, |tip| tip.indexed);
            for stretch in self.stretches.iter().filter(|stretch| !stretch.is_unsealed) {
                let held = stretch.held.iter().filter(|(held, ..)| held == timeline).map(|(.., last)| *last).max();
                let known = stretch.extent(*timeline)?.map(|(_, last, _)| last);
                *end = (*end).max(held.unwrap_or(0)).max(known.unwrap_or(0));
            }
        }
        for (timeline, mut end) in ends {
            let mut last_stretch = None;
            for stretch in self.stretches.iter_mut().filter(|stretch| stretch.is_unsealed) {
                if let Some(messages) = stretch.left.messages.get_mut(&timeline) {
                    messages.retain(|seq, _| *seq > end);
                    if let Some(last) = messages.keys().next_back().copied() {
                        stretch.held.push((timeline, end + 1, last));
                        end = last;
                    }
                }
                last_stretch = Some(stretch);
            }
            let last = tips.get(&timeline).map_or(0, |tip| tip.last);
            if let Some(stretch) = last_stretch.filter(|_| last > end) {
                match stretch.held.iter_mut().find(|(held, ..)| *held == timeline) {
                    Some(held) => held.2 = last,
                    None => stretch.held.push((timeline, end + 1, last)),
                }
            }
        }
        Ok(())
    }

    /// The rows of users name messages, too: of a timeline whose head is lost nothing else may.
    fn hold_by_rows(&mut self, tips: &mut BTreeMap<Timeline, Tip>) -> Result<()> {
        let mut sessions = Vec::new();
        self.rows.walk(&[stored::USER], &mut |key, value| {
            if let (Some(stored::Owner::User(user)), Some(timeline)) = (stored::owner(key), stored::row_timeline(key))
                && let Some((row, _)) = stored::take_row(value)
            {
                sessions.push((user, timeline));
                let reached = row.read_max.max(row.delivered_max).max(row.own_last).max(row.joined_at);
                let seq = reached.max(row.read).max(row.floor).max(row.ceiling);
                let ordinal = row.read_ordinal.max(row.floor_ordinal).max(row.ceiling_ordinal);
                raise(tips, timeline, seq, ordinal);
            }
            Ok(key.first() == Some(&stored::USER))
        })?;
        self.end.sessions = sessions;
        Ok(())
    }

    /// Applies what is left to what the rows say, and writes down what comes of it as rows. `manifest` is as it will be.
    pub(super) fn take_in_end(&mut self, manifest: &Manifest, live: &[SegmentInfo]) -> Result<Vec<SegmentInfo>> {
        let uuids = &self.examined.uuids;
        let rows_are_whole = self.repair.rows_lost.is_empty();
        let mut before = manifest.clone();
        before.journals.retain(|file| file.file_id <= self.end.sealed_through);
        before.segments = live.to_vec();
        (before.sealed_through, before.sealed_version) = (self.end.sealed_through, self.end.sealed_version);
        let sealed = before.sealed().iter().map(|file| open_sealed_journal(&**self.storage, file, uuids));
        let sealed = sealed.collect::<Result<Vec<SealedJournal>>>()?;
        let mut opening = Opening::new(self.storage);
        opening.takes_all = true;
        opening.begin(&JournalsFound { manifest: &before, sealed: &sealed, uuids })?;
        let rows_version = opening.state.version;
        let seed = opening.dedup_seed.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_64(&uuids[0]));

        let mut kept = Kept { seed, ..Kept::default() };
        let end = std::mem::take(&mut self.end);
        for (user, timeline) in end.sessions.iter().copied() {
            load_into(&mut opening.state, &[Need::Head(timeline), Need::Row(user, timeline)])?;
            opening.state.house(user, timeline, rows_version);
        }
        for event in events(&end) {
            if !event.is_found {
                let (journal, append, commit) = &end.stand_ins[event.index];
                load_into(&mut opening.state, &[Need::Head(append.timeline)])?;
                opening.state.apply_stand_in(append, Place::new(*journal, 0), *commit);
                continue;
            }
            let LeftChanges { stretch, file, .. } = &end.left[event.index];
            let Some(file) = file else { continue };
            let journal = self.stretches[*stretch].lo;
            let path = self.storage.path(&crate::journal::journal_name(journal));
            let mut bytes = vec![0; event.length];
            file.read_at(event.offset, &mut bytes).map_err(|error| Error::io("read", &path, error))?;
            let mut rest = &bytes[..];
            let Some(decoded) = change::decode_length(&mut rest).and_then(|_| change::decode(rest)) else { continue };
            if decoded.commit.version > end.last_version || !kept.note(&decoded, end.sealed_version) {
                continue;
            }
            let place = Place::new(journal, event.offset);
            let told = take(&mut opening, decoded, place, rows_version)?;
            self.repair.rows_lost.extend(told);
        }
        for (timeline, runs) in &end.lost {
            load_into(&mut opening.state, &[Need::Head(*timeline)])?;
            for run in opening.state.lose(*timeline, runs) {
                self.repair.messages_lost.push((*timeline, Seq(run.first), Seq(run.last)));
            }
        }
        opening.state.house_all(end.last_version);
        // What the rows know is not lost, whatever became of the records.
        let known = if rows_are_whole { rows_version } else { end.sealed_version };
        self.repair.versions_lost = kept.holes(end.sealed_version.max(known), end.last_version);
        self.epoch_end = self.repair.versions_lost.first().map_or(end.last_version, |(first, _)| first.0 - 1);

        let state = &mut opening.state;
        let newest = state.segments.rows.tables().map(|table| table.header().first).max();
        state.version = end.last_version;
        state.freeze(manifest.sealed_through, seed);
        while state.write_down(usize::MAX) {}
        let mut entries = state.take_entries();
        kept.add(&mut entries);
        entries.sort();
        let plan = RunPlan {
            kind: SegmentKind::Rows,
            level: 0,
            uuid: uuids[0],
            first: newest.unwrap_or(0) + 1,
            last: 0,
            first_version: (end.sealed_version + 1).min(end.last_version),
            last_version: end.last_version,
            part_bytes: PART_BYTES,
        };
        self.end = end;
        let next_segment = &mut self.next_segment;
        let mut next_id = || take_id(next_segment);
        let mut run = RunWriter::new(self.storage, plan, &mut next_id);
        for (key, prefix, value) in entries.iter() {
            run.add(key, prefix, value)?;
        }
        Ok(run.finish()?.iter().map(|table| table.info()).collect())
    }
}

/// Notes that a message was there, up to and with which so many count.
fn raise(tips: &mut BTreeMap<Timeline, Tip>, timeline: Timeline, seq: u64, ordinal: u64) {
    let new = Tip { timeline, trim: 0, trim_ordinal: 0, last: 0, ordinal: 0, indexed: 0, unit: 0 };
    let tip = tips.entry(timeline).or_insert(new);
    tip.last = tip.last.max(seq);
    tip.ordinal = tip.ordinal.max(ordinal);
}

fn events(end: &End) -> Vec<Event> {
    let stand_ins = end.stand_ins.iter().enumerate().map(|(index, (_, append, commit))| Event {
        version: commit.version,
        is_found: false,
        index,
        offset: append.seq,
        length: 0,
    });
    let found = end.left.iter().enumerate().flat_map(|(index, left)| {
        left.changes.iter().map(move |(version, offset, length)| Event {
            version: *version,
            is_found: true,
            index,
            offset: *offset,
            length: *length,
        })
    });
    let mut events: Vec<Event> = stand_ins.chain(found).collect();
    // Of a run the versions may be guesses, but rise with the seqs.
    events.sort_unstable();
    events
}

/// What single changes leave behind but in the state: their times, their client ids; and which there were.
#[derive(Default)]
struct Kept {
    seed: u64,
    times: Vec<(u64, u64)>,
    client_ids: Vec<(u64, u64, u64)>,
}

impl Kept {
    /// False if the change was there already, or is in segments.
    fn note(&mut self, decoded: &Decoded<'_>, sealed_version: u64) -> bool {
        let Commit { version, time } = decoded.commit;
        let (last, last_time) = self.times.last().copied().unwrap_or((sealed_version, 0));
        if version <= last {
            return false;
        }
        self.times.push((version, time.max(last_time)));
        if let Change::Append(append) = &decoded.change
            && !append.client_id.is_none()
        {
            let hash = client_id_hash(self.seed, append.timeline, append.sender, append.client_id);
            self.client_ids.push((hash, append.seq, time));
        }
        true
    }

    /// The versions above `known`, up to the last one, of which nothing is left.
    fn holes(&self, known: u64, last_version: u64) -> Vec<(Version, Version)> {
        let mut holes = Vec::new();
        let mut next = known + 1;
        for version in self.times.iter().map(|(version, _)| *version).chain([last_version + 1]) {
            if version > next {
                holes.push((Version(next), Version(version - 1)));
            }
            next = next.max(version + 1);
        }
        holes
    }

    fn add(&self, entries: &mut Entries) {
        for run in self.times.chunk_by(|one, next| one.0 + 1 == next.0) {
            let mut times = CommitTimes::after(run[0].0 - 1);
            run.iter().for_each(|(_, time)| times.push(*time));
            for (version, value) in times.encode() {
                entries.add(&stored::commit_times_key(version), 1, Some(&value));
            }
        }
        for (hash, seq, time) in &self.client_ids {
            stored::add_client_id(entries, *hash, *seq, *time);
        }
    }
}

/// Applies a change, with what it shows of lost ones before it; tells if it cannot be.
fn take(opening: &mut Opening, decoded: Decoded<'_>, place: Place, rows_version: u64) -> Result<Option<String>> {
    let Decoded { change, commit, tail } = decoded;
    // Times do not go back, whatever the records say.
    let commit = Commit { time: commit.time.max(opening.state.time), ..commit };
    if commit.version > rows_version {
        for _ in 0..2 {
            let mut needs = Needs::new(&opening.state);
            needs_of_change(&change, tail, &mut needs);
            needs.extend(more_needs(&change));
            let missing = needs.into_missing();
            load_into(&mut opening.state, &missing)?;
        }
        if let Change::RemoveUser(change) = &change {
            let state = &opening.state;
            let heads = state.rows(change.user).iter().map(|row| Need::Head(state.timeline_at(row.slot)));
            let heads: Vec<Need> = heads.collect();
            load_into(&mut opening.state, &heads)?;
        }
    }
    if let Change::Append(append) = &change {
        load_into(&mut opening.state, &[Need::Head(append.timeline)])?;
        let head = opening.state.head_of(append.timeline);
        let next = head.map_or(1, |head| head.indexed + head.places.len() as u64 + 1);
        if append.seq != next {
            // There already, by an index or an older copy of the record.
            return Ok(None);
        }
    }
    let change = match (commit.version > rows_version).then(|| mend(&mut opening.state, change, tail, place, commit)) {
        None => change,
        Some(Ok(change)) => change,
        Some(Err(told)) => return Ok(Some(format!("version {}: {told}", commit.version))),
    };
    match opening.apply(Replayed { decoded: Decoded { change, commit, tail }, place }) {
        Err(Unreplayable::Failed(error)) => Err(error),
        _ => Ok(None),
    }
}

/// What is looked at to see whether a change rests on a lost one, beyond what it needs by itself.
fn more_needs(change: &Change) -> Vec<Need> {
    match change {
        Change::Append(append) => {
            let timeline = append.timeline;
            let ends = timeline.ends().into_iter().flat_map(|pair| [pair.low(), pair.high()]);
            let users = ends.chain([append.sender]).filter(|user| !user.is_none());
            users.flat_map(|user| [Need::Row(user, timeline), Need::Person(user)]).collect()
        }
        Change::RemoveUser(change) => vec![Need::Rows(change.user)],
        _ => Vec::new(),
    }
}

/// The change as it is to be applied where changes before it may be lost; an error says what cannot be.
fn mend(
    state: &mut State,
    mut change: Change,
    tail: &[u8],
    place: Place,
    commit: Commit,
) -> std::result::Result<Change, String> {
    match &mut change {
        Change::Append(append) => {
            let (timeline, sender) = (append.timeline, append.sender);
            if let Some(pair) = timeline.ends() {
                // Whoever is an end has had the session since the first message.
                let lacks = |state: &State, user| state.row_of(user, timeline).is_none_or(|row| row.version == 0);
                let exists = |state: &State, user| state.exists_since(user) > 0;
                append.opens.low_session |= lacks(state, pair.low());
                append.opens.low_appears |= !exists(state, pair.low());
                if pair.low() != pair.high() {
                    append.opens.high_session |= lacks(state, pair.high());
                    append.opens.high_appears |= !exists(state, pair.high());
                }
            } else if !sender.is_none() {
                append.opens.sender_appears |= state.exists_since(sender) == 0;
            }
            let is_present = state.row_of(sender, timeline).is_some_and(|row| row.is_present());
            if let (Timeline::Group(group), true, false) = (timeline, append.sender_present, is_present) {
                // Its joining is lost; that it is a member is not.
                let last = state.head_of(timeline).map_or((0, 0), |head| (head.tip.last, head.tip.ordinal));
                let join = Join {
                    group,
                    user: sender,
                    creates: false,
                    appears: append.opens.sender_appears,
                    joined_at: last.0,
                    joined_ordinal: last.1,
                    floor: last.0,
                    floor_ordinal: last.1,
                };
                state.apply_before(&Change::Join(join), &[], place, commit);
            }
        }
        Change::Leave(leave) => {
            let row = state.row_of(leave.user, Timeline::Group(leave.group));
            if !row.is_some_and(|row| row.is_present()) {
                return Err(format!("user {} left group {} and is in no list of it", leave.user.0, leave.group.0));
            }
        }
        Change::Mark(mark) => open_row(state, &mut mark.row)?,
        Change::Clear(clear) => open_row(state, &mut clear.row)?,
        Change::Flags(flags) => open_row(state, &mut flags.row)?,
        Change::Metadata(metadata) => open_row(state, &mut metadata.row)?,
        Change::Hide(hide) => open_row(state, &mut hide.row)?,
        Change::Member(member) => {
            let row = state.row_of(member.user, Timeline::Group(member.group));
            if !row.is_some_and(|row| row.is_session()) {
                return Err(format!("user {} is in no list of group {}", member.user.0, member.group.0));
            }
        }
        Change::Name(name) => {
            if let Some(older) = state.name_id(name.kind, tail) {
                // That it was freed is lost.
                let free = change::Name { kind: name.kind, id: older, appears: false };
                state.apply_before(&Change::FreeName(free), tail, place, commit);
            }
            if name.kind == NameKind::User && state.exists_since(UserId(name.id)) == 0 {
                name.appears = true;
            }
        }
        Change::FreeName(name) if state.name_id(name.kind, tail) != Some(name.id) => {
            return Err(format!("the name {} was freed and is not known", tail.escape_ascii()));
        }
        Change::Forget(forget) => {
            let slot = state.slot(forget.timeline);
            if slot.and_then(|slot| state.session(forget.user, slot)).is_none() {
                return Err(format!("user {} has no session in {}", forget.user.0, forget.timeline));
            }
        }
        Change::RemoveUser(change) => {
            let user = change.user;
            let rows = state.rows(user).iter().filter(|row| row.is_session()).copied().collect::<Vec<_>>();
            for row in rows {
                let (timeline, tip) = (state.timeline_at(row.slot), state.head(row.slot).tip);
                let (floor, floor_ordinal) = (row.end(tip.last), row.end_ordinal(&tip));
                let forget = Forget { timeline, user, floor, floor_ordinal };
                state.apply_before(&Change::Forget(forget), &[], place, commit);
            }
        }
        _ => {}
    }
    Ok(change)
}

/// Opens the session that a change of a row rests on, if that can only have been there.
fn open_row(state: &State, key: &mut RowKey) -> std::result::Result<(), String> {
    let has = |session: bool| session || key.opening.is_some();
    let slot = state.slot(key.timeline);
    if has(slot.and_then(|slot| state.session(key.user, slot)).is_some()) {
        return Ok(());
    }
    match key.timeline {
        Timeline::Direct(_) | Timeline::Inbox(..) => {
            key.opening = Some(RowOpening { floor: 0, floor_ordinal: 0 });
            key.appears |= state.exists_since(key.user) == 0;
            Ok(())
        }
        Timeline::Group(_) | Timeline::Broadcast(_) => {
            Err(format!("what user {} set in {}: its session is lost", key.user.0, key.timeline))
        }
    }
}
