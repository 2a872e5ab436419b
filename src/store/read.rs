//! Reads messages from where they lie.
//! Owns: `Message` and the way from a place to it. May touch: `journal`, `state`.
//! Never: holds the state's lock while it touches a message's bytes.

use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::id::{ClientId, Seq, Timeline, UserId, Version};
use crate::journal::{FileTable, Place, Stored};
use crate::state::is_within_window;
use crate::storage::Body;
use crate::time::Timestamp;
use std::sync::Arc;

/// A message, as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The timeline it is in.
    pub timeline: Timeline,
    /// Its position there.
    pub seq: Seq,
    /// Its store-wide commit position; its epoch is the one that version was committed in.
    pub version: Version,
    /// Strictly increasing within the timeline.
    pub timestamp: Timestamp,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// Who sent it.
    pub sender: UserId,
    /// The sender's id for it, as long as that is taken.
    pub client_id: Option<ClientId>,
    /// Opaque to the store.
    pub kind: u16,
    /// Whether it counts as unread for others.
    pub counts: bool,
    /// Whether its timestamp was given rather than stamped.
    pub imported: bool,
    /// Opaque to the store, and not copied.
    pub body: Body,
}

/// Reads messages of one moment's files.
pub(super) struct Reader {
    pub files: Arc<FileTable>,
    /// Store time, by which client ids are shown.
    pub time: u64,
}

impl Reader {
    /// Looks at the first byte of each record, so that the memory fetches them all at once; parsing
    /// one after another would wait for each (measured on a page of 20: see docs/testing.md).
    pub fn touch(&self, places: impl Iterator<Item = Place>) {
        let first_bytes = places.map(|place| self.files.get(place).map_or(0, |file| file.first_byte(place.offset())));
        std::hint::black_box(first_bytes.fold(0, |all, byte| all ^ byte));
    }

    pub fn message(&self, place: Place) -> Result<Message> {
        let file = self.files.get(place)?;
        let stored = file.read(place.offset())?;
        let body = file.body(&stored)?;
        Ok(self.build(&stored, body))
    }

    pub fn stored(&self, place: Place) -> Result<Stored> {
        self.files.read(place)
    }

    pub fn body(&self, place: Place, stored: &Stored) -> Result<Body> {
        self.files.get(place)?.body(stored)
    }

    fn build(&self, stored: &Stored, body: Body) -> Message {
        let append = &stored.append;
        let is_shown = !append.client_id.is_none() && is_within_window(stored.commit.time, self.time);
        Message {
            timeline: append.timeline,
            seq: Seq(append.seq),
            version: Version(stored.commit.version),
            timestamp: Timestamp(append.timestamp),
            commit_time: Timestamp(stored.commit.time),
            sender: append.sender,
            client_id: is_shown.then_some(append.client_id),
            kind: append.kind,
            counts: append.counts,
            imported: append.imported,
            body,
        }
    }
}

impl Pipeline {
    /// Where a published message lies. Places never change, so it may be asked for after the moment
    /// in which the rest was gathered.
    pub(super) fn place(&self, slot: u32, seq: u64) -> Result<Place> {
        self.state().head(slot).place(seq).ok_or_else(|| gone(seq))
    }

    /// Reads a published message's record.
    pub(super) fn stored(&self, slot: u32, seq: u64) -> Result<Stored> {
        let (place, files) = {
            let state = self.state();
            (state.head(slot).place(seq).ok_or_else(|| gone(seq))?, state.files.clone())
        };
        files.read(place)
    }

    /// The ordinal of a published message; 0 before the first.
    pub(super) fn ordinal(&self, slot: u32, seq: u64) -> Result<u64> {
        if seq == 0 { Ok(0) } else { Ok(self.stored(slot, seq)?.append.ordinal) }
    }

    /// The first seq of `low..=high + 1` whose record does not hold `is_before`, which holds for a
    /// run at the beginning.
    pub(super) fn first_not(
        &self,
        slot: u32,
        low: u64,
        high: u64,
        mut is_before: impl FnMut(&Stored) -> bool,
    ) -> Result<u64> {
        let (mut low, mut high) = (low, high + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(&self.stored(slot, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// A place that the state must have and has not.
fn gone(seq: u64) -> Error {
    Error::corruption_at(std::path::Path::new("memory"), seq, "the place of a published message", "none")
}
