//! Reads messages from where they lie.
//! Owns: `Message` and the way from a place to it. May touch: `journal`, `state`.
//! Never: holds the state's lock while it touches a message's bytes.

use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::id::{ClientId, Seq, Timeline, UserId, Version};
use crate::journal::{FileTable, Place, Stored};
use crate::settings::Settings;
use crate::state::{Amendment, Head, State, dedup_window, is_within_window};
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
    /// Who sent it; none in an inbox or a broadcast, where the timeline names the source.
    pub sender: UserId,
    /// The sender's id for it, as long as that is taken: for the window that was in force when the message
    /// was appended.
    pub client_id: Option<ClientId>,
    /// Opaque to the store.
    pub kind: u16,
    /// Whether it counts as unread for others.
    pub counts: bool,
    /// Whether its timestamp was given rather than stamped.
    pub imported: bool,
    /// Whom it mentions, as its sender said; nobody once it is recalled.
    pub mentions: Vec<UserId>,
    /// Its alerts, one bit for each kind; none once it is recalled.
    pub alerts: u8,
    /// The newest body, opaque to the store, and not copied; empty once it is recalled.
    pub body: Body,
    /// Who recalled it, if someone did.
    pub recalled: Option<Amended>,
    /// Who edited it last, if someone did and it was not recalled.
    pub edited: Option<Amended>,
}

/// Who changed a message after it was sent, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amended {
    /// Who; none for the server itself.
    pub by: UserId,
    /// The commit time.
    pub at: Timestamp,
    /// The commit position. Who holds a message whose epoch ended below this pulls it again.
    pub version: Version,
}

/// Where a message lies, and what became of it.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub place: Place,
    pub amendment: Option<Amendment>,
}

impl Spot {
    /// Of a message that is there.
    pub fn of(head: &Head, seq: u64) -> Spot {
        let amendment = head.amended.as_ref().and_then(|amended| amended.get(seq).copied());
        Spot { place: head.places[seq as usize - 1], amendment }
    }
}

/// Reads messages of one moment's files.
pub(super) struct Reader {
    files: Arc<FileTable>,
    /// Store time, by which client ids are shown.
    time: u64,
    settings: Arc<Vec<(u64, Settings)>>,
}

impl Reader {
    /// Of the moment of `state`. `now` is the clock.
    pub fn of(state: &State, now: u64) -> Reader {
        Reader { files: state.files.clone(), time: now.max(state.time), settings: state.settings_log().clone() }
    }

    /// Looks at the first byte of each record, so that the memory fetches them all at once; parsing
    /// one after another would wait for each (measured on a page of 20: see docs/testing.md).
    pub fn touch(&self, places: impl Iterator<Item = Place>) {
        let first_bytes = places.map(|place| self.files.get(place).map_or(0, |file| file.first_byte(place.offset())));
        std::hint::black_box(first_bytes.fold(0, |all, byte| all ^ byte));
    }

    #[inline]
    pub fn message(&self, spot: Spot) -> Result<Message> {
        let file = self.files.get(spot.place)?;
        let stored = file.read(spot.place.offset())?;
        let append = &stored.append;
        let is_shown = !append.client_id.is_none() && {
            let window = dedup_window(&self.settings, stored.commit.version);
            is_within_window(stored.commit.time, self.time, window)
        };
        let (body, recalled, edited) = match spot.amendment {
            None => (file.body(&stored)?, None, None),
            Some(amendment) => {
                let Amendment { version, time, by, edit } = amendment;
                let amended = Some(Amended { by, at: Timestamp(time), version: Version(version) });
                match edit {
                    None => (Body::empty(), amended, None),
                    Some(place) => (self.files.get(place)?.edited_body(place.offset())?, None, amended),
                }
            }
        };
        let mentions = match recalled {
            None if append.mention_bytes > 0 => {
                file.mentions(&stored)?.iter().map(|mentioned| mentioned.user).collect()
            }
            _ => Vec::new(),
        };
        Ok(Message {
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
            mentions,
            alerts: if recalled.is_some() { 0 } else { append.alerts },
            body,
            recalled,
            edited,
        })
    }

    /// Most body bytes of an entry's latest messages.
    pub fn latest_bytes_max(&self) -> usize {
        self.settings.last().map_or_else(Settings::default, |(_, settings)| *settings).latest_bytes_max
    }

    pub fn stored(&self, place: Place) -> Result<Stored> {
        self.files.read(place)
    }
}

impl Pipeline {
    /// Reads a published message's record. Places never change, so it may be asked for after the moment
    /// in which the rest was gathered.
    pub(super) fn stored(&self, slot: u32, seq: u64) -> Result<Stored> {
        let (place, files) = self.place(slot, seq)?;
        files.read(place)
    }

    /// Where a published message lies, and the files it is in.
    pub(super) fn place(&self, slot: u32, seq: u64) -> Result<(Place, Arc<FileTable>)> {
        let state = self.state();
        let place = state.head(slot).place(seq);
        let gone =
            || Error::corruption_at(std::path::Path::new("memory"), seq, "the place of a published message", "none");
        Ok((place.ok_or_else(gone)?, state.files.clone()))
    }

    /// The ordinal of a published message; 0 before the first. Of a trimmed one, which no mark or floor can
    /// stand on any more, one that is not below it.
    pub(super) fn ordinal(&self, slot: u32, seq: u64) -> Result<u64> {
        let tip = self.state().head(slot).tip;
        if seq <= tip.trim() { Ok(tip.trim_ordinal().min(seq)) } else { Ok(self.stored(slot, seq)?.append.ordinal) }
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
