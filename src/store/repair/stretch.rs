//! The records of a stretch of journals, and what is left of them.
//! Owns: `Stretch`, `Left`, `End`, what is known of single messages. May touch: `journal`, `segment`, `unit`.
//! Never: decides what becomes of a stretch.

use crate::change::{self, Append, Change, Commit, Decoded, decode_hides};
use crate::error::{Error, Result};
use crate::id::{Timeline, UserId};
use crate::journal::{LiveFile, Records, Sealed, SealedJournal, open_sealed_journal};
use crate::segment::{Runs, SegmentInfo, Table};
use crate::state::LostRun;
use crate::storage::{Storage, StorageFile};
use crate::unit::{Unit, extent, open_messages};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The records of a stretch of journals, whole or not.
pub(super) struct Stretch {
    pub lo: u64,
    pub hi: u64,
    pub level: u8,
    pub first_version: u64,
    pub last_version: u64,
    /// What the manifest says of it.
    pub journal: Option<LiveFile>,
    pub messages: Option<SegmentInfo>,
    /// What of its index is whole.
    pub index: Vec<Arc<Table>>,
    /// If all of it is.
    pub unit: Option<Arc<Unit>>,
    /// What is left of it, if not.
    pub left: Left,
    /// The timelines that it held, and from which seq to which.
    pub held: Vec<(Timeline, u64, u64)>,
    /// Nobody knows what it held but by what is missing elsewhere.
    pub is_blind: bool,
    /// Something of its records is damaged or missing.
    pub is_damaged: bool,
    /// It is a journal that was not in segments: what is left of it is to be applied, too.
    pub is_unsealed: bool,
}

/// Records that were found in a damaged stretch.
#[derive(Default)]
pub(super) struct Left {
    pub file: Option<Arc<dyn StorageFile>>,
    pub messages: BTreeMap<Timeline, BTreeMap<u64, Found>>,
    /// By timeline, seq and version.
    pub edits: Vec<(Timeline, u64, Found)>,
    /// All changes, if they are to be applied: version, offset, length.
    pub changes: Vec<(u64, u64, usize)>,
    /// The messages that changes of other kinds name: the seq, and how many messages up to it count.
    pub named: Vec<(Timeline, u64, u64)>,
}

/// A record that was found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub offset: u64,
    pub length: usize,
    pub facts: Facts,
}

/// What is left of the end of the journal, gathered while its stretches are made anew.
#[derive(Default)]
pub(super) struct End {
    /// Up to where the journal was in segments before: the journal and its last version.
    pub sealed_through: u64,
    pub sealed_version: u64,
    /// The version of the newest change that may have been made.
    pub last_version: u64,
    /// Records without content, with the journal they lie in now.
    pub stand_ins: Vec<(u64, Append, Commit)>,
    pub lost: BTreeMap<Timeline, Vec<LostRun>>,
    pub left: Vec<LeftChanges>,
    /// The sessions by the rows that are left, if others are lost.
    pub sessions: Vec<(UserId, Timeline)>,
}

/// What is left of a stretch to be applied.
pub(super) struct LeftChanges {
    pub stretch: usize,
    pub file: Option<Arc<dyn StorageFile>>,
    /// Version, offset and length of each.
    pub changes: Vec<(u64, u64, usize)>,
}

/// What is to be known of a message beside a lost one.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub version: u64,
    pub time: u64,
    pub timestamp: u64,
    /// How many messages count before it, and with it.
    pub ordinal_before: u64,
    pub ordinal: u64,
}

impl Facts {
    pub(super) fn of(append: &Append, commit: Commit) -> Facts {
        Facts {
            version: commit.version,
            time: commit.time,
            timestamp: append.timestamp,
            ordinal_before: append.ordinal.saturating_sub(append.counts.into()),
            ordinal: append.ordinal,
        }
    }
}

impl Stretch {
    pub(super) fn new((lo, hi): (u64, u64), (first_version, last_version): (u64, u64), level: u8) -> Stretch {
        Stretch {
            lo,
            hi,
            level,
            first_version,
            last_version,
            journal: None,
            messages: None,
            index: Vec::new(),
            unit: None,
            left: Left::default(),
            held: Vec::new(),
            is_blind: false,
            is_damaged: false,
            is_unsealed: false,
        }
    }

    /// The unit; its records are whole.
    pub(super) fn open(&self, storage: &dyn Storage, uuids: &[[u8; 16]], index: Runs) -> Result<Unit> {
        let Stretch { lo, hi, level, first_version, last_version, messages, .. } = *self;
        let records: Arc<Records> = match (&self.journal, &messages) {
            (Some(journal), _) => {
                let SealedJournal { file, digest, .. } = open_sealed_journal(storage, journal, uuids)?;
                let sealed = Sealed { end: journal.end, digest };
                let (handle, path, id, seed) = (file.handle.clone(), file.path.clone(), file.id(), file.seed);
                Arc::new(Records::sealed(handle, path, id, seed, sealed))
            }
            (None, Some(info)) => open_messages(storage, info, uuids)?.0,
            (None, None) => return Err(Error::corruption_at(&storage.path(""), 0, "records", "none")),
        };
        Ok(Unit { lo, hi, first_version, last_version, level, records, messages, index })
    }

    /// Which messages of a timeline it has: the first and last seq, the newest journal before.
    pub(super) fn extent(&self, timeline: Timeline) -> Result<Option<(u64, u64, u64)>> {
        match &self.unit {
            Some(unit) => extent(&unit.index, timeline),
            None if !self.is_blind => extent(&Runs::new(self.index.clone())?, timeline),
            None => Ok(self
                .left
                .messages
                .get(&timeline)
                .and_then(|messages| Some((*messages.keys().next()?, *messages.keys().next_back()?, 0)))),
        }
    }
}

impl Left {
    /// Reads what the records say that were found; all changes if `takes_all`.
    pub(super) fn read(
        &mut self,
        file: Arc<dyn StorageFile>,
        path: &Path,
        records: &[(u64, usize)],
        takes_all: bool,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        for (offset, length) in records.iter().copied() {
            bytes.resize(length, 0);
            file.read_at(offset, &mut bytes).map_err(|error| Error::io("read", path, error))?;
            let mut rest = &bytes[..];
            let Some(decoded) = change::decode_length(&mut rest).and_then(|_| change::decode(rest)) else { continue };
            if takes_all {
                self.changes.push((decoded.commit.version, offset, length));
                self.named.extend(named(&decoded));
            }
            match &decoded.change {
                Change::Append(append) => {
                    let facts = Facts::of(append, decoded.commit);
                    let messages = self.messages.entry(append.timeline).or_default();
                    messages.insert(append.seq, Found { offset, length, facts });
                }
                Change::Amend(amend) if !amend.recalls => {
                    let Commit { version, time } = decoded.commit;
                    let facts = Facts { version, time, timestamp: 0, ordinal_before: 0, ordinal: 0 };
                    self.edits.push((amend.timeline, amend.seq, Found { offset, length, facts }));
                }
                _ => {}
            }
        }
        self.file = Some(file);
        Ok(())
    }
}

/// The newest message that a change of another kind says there is.
fn named(decoded: &Decoded<'_>) -> Option<(Timeline, u64, u64)> {
    Some(match &decoded.change {
        Change::Join(join) => (Timeline::Group(join.group), join.joined_at, join.joined_ordinal),
        Change::Leave(leave) => (Timeline::Group(leave.group), leave.ceiling, leave.ceiling_ordinal),
        Change::Mark(mark) => {
            let highest = mark.read.max(mark.read_max).max(mark.delivered_max);
            (mark.row.timeline, highest, mark.read_ordinal)
        }
        Change::Clear(clear) => (clear.row.timeline, clear.floor, clear.floor_ordinal),
        Change::Hide(hide) => {
            let hidden = decode_hides(decoded.tail)?;
            let last = hidden.iter().max_by_key(|hidden| hidden.seq)?;
            (hide.row.timeline, last.seq, last.ordinal)
        }
        Change::Amend(amend) => (amend.timeline, amend.seq, amend.ordinal),
        Change::Forget(forget) => (forget.timeline, forget.floor, forget.floor_ordinal),
        Change::Trim(trim) => (trim.timeline, trim.trim, trim.trim_ordinal),
        _ => return None,
    })
}
