//! Opens what sealing made, and replays into it what is not sealed.
//! Owns: `Opening`. May touch: `load`, `needs`, `journal`, `segment`, `unit`, `state`.
//! Never: writes anything; an error leaves the store as it is.

use super::needs::needs_of_change;
use super::rows::{load_globals, load_into};
use crate::change::{Change, Decoded};
use crate::error::{Error, Result};
use crate::journal::{
    FileTable, Found, Manifest, Records, ReplayTarget, Replayed, Sealed, SealedJournal, Unreplayable,
};
use crate::segment::{Runs, SegmentInfo, SegmentKind, Table};
use crate::state::{CommitTimes, Need, Needs, State};
use crate::storage::Storage;
use crate::unit::{Segments, Unit, Units, open_messages};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state on its way back.
pub(super) struct Opening {
    storage: Arc<dyn Storage>,
    pub state: State,
    /// What the rows say is as of this version.
    rows_version: u64,
    /// What the hashes of client ids begin with, if rows know.
    pub dedup_seed: Option<u64>,
    /// Changes are not held against what is there: a repair has not all of that.
    pub takes_all: bool,
}

impl Opening {
    pub fn new(storage: &Arc<dyn Storage>) -> Opening {
        Opening { storage: storage.clone(), state: State::new(), rows_version: 0, dedup_seed: None, takes_all: false }
    }
}

impl ReplayTarget for Opening {
    fn begin(&mut self, found: &Found<'_>) -> Result<()> {
        let segments = open_segments(&*self.storage, found.manifest, found.sealed, found.uuids)?;
        let mut files = FileTable::default();
        segments.units.iter().for_each(|unit| files.insert(unit.records.clone()));
        self.state.files = Arc::new(files);
        if found.manifest.sealed_through > 0 {
            let segments = Arc::new(segments);
            self.state.segments = segments.clone();
            self.state.set_rows_on_disk(CommitTimes::after(found.manifest.sealed_version));
            self.dedup_seed = load_globals(&segments, &mut self.state)?;
            self.rows_version = self.state.version;
            if self.dedup_seed.is_none() || self.rows_version < found.manifest.sealed_version {
                let want = format!("rows of version {}", found.manifest.sealed_version);
                let got = format!("version {}", self.rows_version);
                return Err(Error::corruption_at(&self.storage.path(""), 0, want, got));
            }
        }
        Ok(())
    }

    fn apply(&mut self, replayed: Replayed<'_>) -> std::result::Result<(), Unreplayable> {
        let Replayed { decoded: Decoded { change, commit, tail }, place } = replayed;
        let state = &mut self.state;
        if commit.version <= self.rows_version {
            match &change {
                Change::Append(append) => load_into(state, &[Need::Head(append.timeline)])?,
                Change::Amend(amend) => load_into(state, &[Need::Head(amend.timeline)])?,
                _ => {}
            }
            state.apply_place(&change, place, commit);
            return Ok(());
        }
        if !state.is_all_here() {
            // Whom it is about may show only with the head.
            for _ in 0..2 {
                let mut needs = Needs::new(state);
                needs_of_change(&change, tail, &mut needs);
                let missing = needs.into_missing();
                load_into(state, &missing)?;
            }
        }
        if !self.takes_all {
            state.admits(&change, tail, commit)?;
        }
        state.apply(&change, tail, place, commit);
        Ok(())
    }
}

/// Opens the live segments.
pub(super) fn open_segments(
    storage: &dyn Storage,
    manifest: &Manifest,
    sealed: &[SealedJournal],
    uuids: &[[u8; 16]],
) -> Result<Segments> {
    let of_kind = |kind| manifest.segments.iter().filter(move |segment| segment.kind == kind);
    let open = |segment: &SegmentInfo| Table::open(storage, segment, uuids);
    let rows = Runs::new(of_kind(SegmentKind::Rows).map(open).collect::<Result<_>>()?)?;
    // An index and its records cover the same journals.
    let mut indexes: BTreeMap<(u64, u64), Vec<Arc<Table>>> = BTreeMap::new();
    for segment in of_kind(SegmentKind::Index) {
        let table = open(segment)?;
        let header = table.header();
        indexes.entry((header.first, header.last)).or_default().push(table);
    }
    let mut units = Vec::new();
    for SealedJournal { file, last_version, digest } in sealed {
        let id = file.id();
        let end = file.end();
        let sealed = Sealed { end, digest: *digest };
        let records = Records::sealed(file.handle.clone(), file.path.clone(), id, file.seed, sealed);
        units.push(Unit {
            lo: id,
            hi: id,
            first_version: file.header.first_version,
            last_version: *last_version,
            level: 0,
            records: Arc::new(records),
            messages: None,
            index: Runs::new(indexes.remove(&(id, id)).unwrap_or_default())?,
        });
    }
    for segment in of_kind(SegmentKind::Messages) {
        let (records, header) = open_messages(storage, segment, uuids)?;
        units.push(Unit {
            lo: header.first,
            hi: header.last,
            first_version: header.first_version,
            last_version: header.last_version,
            level: header.level,
            records,
            messages: Some(*segment),
            index: Runs::new(indexes.remove(&(header.first, header.last)).unwrap_or_default())?,
        });
    }
    if let Some(((lo, hi), tables)) = indexes.pop_first() {
        let path = tables.first().map_or(storage.path(""), |table| table.path().to_path_buf());
        return Err(Error::corruption_at(&path, 48, "the index of live records", format!("of journals {lo} to {hi}")));
    }
    units.sort_by_key(|unit| unit.lo);
    Ok(Segments { rows, units: Units::new(units.into_iter().map(Arc::new).collect())?, generation: 1 })
}
