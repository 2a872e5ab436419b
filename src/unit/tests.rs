//! Journals full of random changes, written by the journal's own writer, and what is in them.
//! Owns: `World`, for the tests of units and their parts. May touch: `journal`, `change`, all of `unit`, `segment`.
//! Never: is part of the crate.

use super::*;
use crate::change::{AddUser, Amend, Append, Change, Commit, Mentioned, Opens, encode_mentions};
use crate::id::{BusinessId, ClientId, GroupId, Source, SystemId, Timeline, UserId};
use crate::journal::frame::{decode, digest_frame};
use crate::journal::{
    FileTable, JournalFile, Place, Records, RecoverOptions, Replayed, Sealed, Writer, open_sealed, prepare_spare,
    recover,
};
use crate::segment::{RunPlan, SegmentKind};
use crate::storage::{SimStorage, Storage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers that look random, by a seed.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A message as it was appended, and what became of it since.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub append: Append,
    pub commit: Commit,
    pub mentions: Vec<Mentioned>,
    pub body: Vec<u8>,
    /// Where it was written, which it leaves with the first merge.
    pub place: Place,
}

pub(super) struct Edited {
    pub body: Vec<u8>,
    pub place: Place,
}

/// A journal that is complete.
pub(super) struct Closed {
    pub id: u64,
    pub sealed: Sealed,
    pub first_version: u64,
    pub last_version: u64,
}

#[derive(Clone, Copy, Default)]
struct Head {
    last: u64,
    ordinal: u64,
    timestamp: u64,
}

pub(super) struct World {
    pub sim: Arc<SimStorage>,
    pub storage: Arc<dyn Storage>,
    pub uuid: [u8; 16],
    pub random: Random,
    pub sent: BTreeMap<(Timeline, u64), Sent>,
    /// By timeline, seq, version.
    pub edits: BTreeMap<(Timeline, u64, u64), Edited>,
    /// All changes, in order.
    pub changes: Vec<(Change, Place)>,
    pub closed: Vec<Closed>,
    pub newest: BTreeMap<Timeline, u64>,
    pub next_segment: u64,
    heads: BTreeMap<Timeline, Head>,
    writer: Writer,
    current: Arc<JournalFile>,
    journal_bytes: u64,
    version: u64,
    first_version: u64,
}

pub(super) fn timelines() -> Vec<Timeline> {
    let user = UserId;
    let (system, business) = (Source::System(SystemId(4)), Source::Business(BusinessId(4)));
    let mut all = vec![
        Timeline::direct(user(1), user(1)),
        Timeline::direct(user(1), user(2)),
        Timeline::Inbox(system, user(300)),
        Timeline::Inbox(business, user(1)),
        Timeline::Broadcast(Source::System(SystemId(9))),
        Timeline::Broadcast(Source::Business(BusinessId(9))),
    ];
    all.extend((1..8).map(|id| Timeline::Group(GroupId(id))));
    all.extend((0..6).map(|id| Timeline::direct(user(9), user(u64::MAX - id))));
    all
}

impl World {
    pub fn new(seed: u64, journal_bytes: u64) -> World {
        let sim = SimStorage::new(seed);
        World::on(sim.clone(), sim, seed, journal_bytes)
    }

    /// On a storage of its own, and `sim` unused beside it.
    pub fn on(storage: Arc<dyn Storage>, sim: Arc<SimStorage>, seed: u64, journal_bytes: u64) -> World {
        let options = RecoverOptions { journal_bytes, unsynced: false };
        let recovered = recover(&storage, &options, &mut |_: Replayed<'_>| Ok(())).unwrap();
        let current = recovered.end.current.clone();
        World {
            uuid: current.header.uuid,
            sim,
            writer: Writer::new(storage.clone(), recovered.end),
            storage,
            random: Random(seed),
            sent: BTreeMap::new(),
            edits: BTreeMap::new(),
            changes: Vec::new(),
            closed: Vec::new(),
            newest: BTreeMap::new(),
            next_segment: 0,
            heads: BTreeMap::new(),
            current,
            journal_bytes,
            version: 0,
            first_version: 1,
        }
    }

    fn push(&mut self, change: Change, tail: &[u8]) -> (Commit, Place) {
        self.version += 1;
        let commit = Commit { version: self.version, time: 1_000 * self.version };
        let joined = self.random.below(3) > 0;
        let place = self.writer.push(&change, tail, commit, joined && self.version > self.first_version);
        self.changes.push((change, place));
        (commit, place)
    }

    /// Appends a message with `body` to a timeline.
    pub fn append(&mut self, timeline: Timeline, body: Vec<u8>) {
        let head = self.heads.entry(timeline).or_default();
        head.last += 1;
        let counts = self.random.below(8) > 0;
        head.ordinal += u64::from(counts);
        head.timestamp += 1 + self.random.below(3_000);
        let Head { last, ordinal, timestamp } = *head;
        let sender = match timeline {
            Timeline::Direct(pair) => pair.low(),
            Timeline::Group(_) => UserId(1 + self.random.below(3)),
            Timeline::Inbox(..) | Timeline::Broadcast(_) => UserId::NONE,
        };
        let mention_count = if counts && self.random.below(4) == 0 { 1 + self.random.below(9) } else { 0 };
        let mentions: Vec<Mentioned> = (0..mention_count)
            .map(|id| Mentioned { user: UserId(70 + 90 * id), has_row: self.random.below(2) == 0 })
            .collect();
        let mut tail = Vec::new();
        encode_mentions(&mentions, &mut tail);
        let mention_bytes = tail.len() as u16;
        tail.extend_from_slice(&body);
        let append = Append {
            timeline,
            sender,
            seq: last,
            ordinal,
            own_previous: self.random.below(last),
            timestamp,
            kind: self.random.below(700) as u16,
            counts,
            imported: self.random.below(9) == 0,
            sender_present: self.random.below(2) == 0,
            client_id: ClientId(u128::from(self.random.below(2) * self.random.below(u64::MAX))),
            opens: Opens { low_session: last == 1, ..Opens::default() },
            alerts: if counts { (self.random.below(5) / 4 * self.random.below(256)) as u8 } else { 0 },
            mention_bytes,
        };
        let (commit, place) = self.push(Change::Append(append), &tail);
        self.sent.insert((timeline, last), Sent { append, commit, mentions, body, place });
    }

    /// Edits a message, or recalls it, which leaves a record that no index has.
    pub fn amend(&mut self, timeline: Timeline, seq: u64, body: Option<Vec<u8>>) {
        let append = self.sent[&(timeline, seq)].append;
        let Append { ordinal, counts, alerts, .. } = append;
        let amend = Amend { timeline, seq, by: UserId(1), recalls: body.is_none(), ordinal, counts, alerts };
        let (commit, place) = self.push(Change::Amend(amend), body.as_deref().unwrap_or_default());
        if let Some(body) = body {
            self.edits.insert((timeline, seq, commit.version), Edited { body, place });
        }
    }

    fn body(&mut self) -> Vec<u8> {
        let length = match self.random.below(40) {
            0 => 0,
            1 => 300 + self.random.below(400),
            _ => self.random.below(60),
        };
        (0..length).map(|_| self.random.below(256) as u8).collect()
    }

    /// Fills the journal with random changes and goes on to the next one.
    pub fn fill(&mut self, timelines: &[Timeline]) {
        while self.writer.room() > 3_000 {
            let timeline = timelines[self.random.below(timelines.len() as u64) as usize];
            // Some timelines get much, some little.
            let timeline = if self.random.below(3) > 0 { timelines[0] } else { timeline };
            let last = self.heads.get(&timeline).map_or(0, |head| head.last);
            match self.random.below(12) {
                0 if last > 0 => {
                    let (seq, body) = (1 + self.random.below(last), self.body());
                    self.amend(timeline, seq, Some(body));
                }
                1 if last > 0 => {
                    let seq = 1 + self.random.below(last);
                    self.amend(timeline, seq, None);
                }
                2 => _ = self.push(Change::AddUser(AddUser { user: UserId(7_000 + self.version) }), &[]),
                _ => {
                    let body = self.body();
                    self.append(timeline, body);
                }
            }
            if self.random.below(20) == 0 {
                self.writer.flush().unwrap();
            }
        }
        self.roll();
    }

    pub fn roll(&mut self) {
        self.writer.flush().unwrap();
        let point = self.writer.sync_point();
        point.files.iter().for_each(|file| file.sync().unwrap());
        self.writer.synced(&point).unwrap();
        let end = self.writer.position();
        let id = self.current.id();
        let digest = digest_of(&self.current, end);
        let spare = prepare_spare(&*self.storage, self.writer.next_length(self.journal_bytes)).unwrap();
        let next = self.writer.roll(spare).unwrap();
        self.current = next;
        let (first_version, last_version) = (self.first_version, self.version);
        self.first_version = self.version + 1;
        self.closed.push(Closed { id, sealed: Sealed { end, digest }, first_version, last_version });
    }

    /// The closed journal, as a later process opens it.
    pub fn open(&self, index: usize) -> Arc<Records> {
        let Closed { id, sealed, .. } = &self.closed[index];
        open_sealed(&*self.storage, *id, *sealed, &[self.uuid]).unwrap().records().clone()
    }

    pub fn index_plan(&self, index: usize) -> RunPlan {
        let Closed { id, first_version, last_version, .. } = self.closed[index];
        RunPlan {
            kind: SegmentKind::Index,
            level: 0,
            uuid: self.uuid,
            first: id,
            last: id,
            first_version,
            last_version,
            part_bytes: 6_000,
        }
    }

    /// Indexes a closed journal; those before it are indexed already.
    pub fn seal(&mut self, index: usize) -> Arc<Unit> {
        let records = self.open(index);
        let mut seen = Vec::new();
        let made = JournalIndex::of(&records, &mut |decoded, place| {
            if let Change::Append(append) = &decoded.change {
                seen.push(append.timeline);
            }
            assert_eq!(self.changes[decoded.commit.version as usize - 1], (decoded.change, place));
            Ok(())
        });
        let (plan, newest) = (self.index_plan(index), &self.newest);
        let next_segment = &mut self.next_segment;
        let mut next_id = || {
            *next_segment += 1;
            *next_segment
        };
        let previous = &mut |timeline| Ok(newest.get(&timeline).copied().unwrap_or(0));
        let tables = made.unwrap().write(&self.storage, plan.clone(), &mut next_id, previous).unwrap();
        self.newest.extend(seen.into_iter().map(|timeline| (timeline, plan.first)));
        Arc::new(Unit {
            lo: plan.first,
            hi: plan.first,
            first_version: plan.first_version,
            last_version: plan.last_version,
            level: 0,
            records,
            messages: None,
            index: Runs::new(tables).unwrap(),
        })
    }

    /// Journals full of changes, all sealed.
    pub fn units(&mut self, count: usize) -> Units {
        let all = timelines();
        for _ in 0..count {
            // Which timelines are alive changes.
            let first = self.random.below(all.len() as u64) as usize;
            let alive: Vec<Timeline> = (first..first + 7).map(|index| all[index % all.len()]).collect();
            self.fill(&alive);
        }
        Units::new((0..count).map(|index| self.seal(index)).collect()).unwrap()
    }

    /// The units' files by id.
    pub fn files(units: &Units) -> FileTable {
        let mut files = FileTable::default();
        units.iter().for_each(|unit| files.insert(unit.records.clone()));
        files
    }

    /// The newest sealed journal that holds the timeline.
    pub fn newest(&self, timeline: Timeline) -> u64 {
        self.newest.get(&timeline).copied().unwrap_or(0)
    }
}

fn digest_of(file: &JournalFile, end: u64) -> u64 {
    let mut bytes = vec![0; file.handle.length() as usize];
    file.handle.read_at(0, &mut bytes).unwrap();
    let (mut offset, mut digest) = (4096, 0);
    while offset < end {
        let rest = &bytes[offset as usize..];
        let (header, _) = decode(rest, file.seed, offset).unwrap();
        digest = digest_frame(digest, rest);
        offset += header.frame_bytes() as u64;
    }
    assert_eq!(offset, end);
    digest
}

/// Checks what lies at a place against what was sent, bare of what a merge took away.
pub(super) fn assert_stored(records: &Records, offset: u64, sent: &Sent, is_stub: bool, has_client_id: bool) {
    let stored = records.read(offset).unwrap();
    let mut expected = sent.append;
    if is_stub {
        (expected.alerts, expected.mention_bytes) = (0, 0);
    }
    if !has_client_id {
        expected.client_id = ClientId::NONE;
    }
    assert_eq!(stored.append, expected);
    assert_eq!(stored.commit, sent.commit);
    let (body, mentions) = if is_stub { (&[][..], &[][..]) } else { (&sent.body[..], &sent.mentions[..]) };
    assert_eq!(&*records.body(&stored).unwrap(), body);
    assert_eq!(records.mentions(&stored).unwrap(), mentions);
    assert_eq!(stored.body_bytes(), body.len());
}
