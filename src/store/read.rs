//! Reads messages from where they lie.
//! Owns: `Message` and the way from a place to it. May touch: `journal`, `state`.
//! Never: holds the state's lock while it touches a message's bytes.

use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClientId, Seq, Timeline, UserId, Version};
use crate::journal::{FileTable, Place, Stored};
use crate::settings::Settings;
use crate::state::{Amendment, Head, State, Whereabouts, dedup_window, is_within_window};
use crate::storage::Body;
use crate::time::Timestamp;
use crate::unit::Segments;
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
    pub seq: u64,
    pub at: Whereabouts,
    pub amendment: Option<Amendment>,
}

impl Spot {
    /// Of a message that is there.
    pub fn of(head: &Head, seq: u64) -> Spot {
        let amendment = head.amended.as_ref().and_then(|amended| amended.get(seq).copied());
        Spot { seq, at: head.whereabouts(seq).unwrap_or(Whereabouts::Indexed(head.unit)), amendment }
    }
}

/// Reads messages of one moment's files.
pub(super) struct Reader {
    files: Files,
    /// Store time, by which client ids are shown.
    time: u64,
    settings: Arc<Vec<(u64, Settings)>>,
}

/// The files of one moment.
#[derive(Clone)]
pub(super) struct Files {
    table: Arc<FileTable>,
    segments: Arc<Segments>,
}

impl Files {
    pub fn of(state: &State) -> Files {
        Files { table: state.files.clone(), segments: state.segments.clone() }
    }

    /// Where a message that was published lies.
    #[inline]
    pub fn place(&self, timeline: Timeline, seq: u64, at: Whereabouts) -> Result<Place> {
        match at {
            Whereabouts::At(place) => Ok(place),
            Whereabouts::Indexed(unit) => {
                let place = self.segments.units.place(unit, timeline, seq)?;
                place.ok_or_else(|| missing(timeline, seq))
            }
        }
    }

    /// Whether a message that was published is still there.
    pub fn has(&self, timeline: Timeline, seq: u64, at: Whereabouts) -> Result<bool> {
        match at {
            Whereabouts::At(_) => Ok(true),
            Whereabouts::Indexed(unit) => Ok(self.segments.units.place(unit, timeline, seq)?.is_some()),
        }
    }

    /// Finds out where messages lie, those that lie beside one another at once.
    pub fn resolve(&self, timeline: Timeline, spots: &mut [Spot]) -> Result<()> {
        let indexed = |spot: &Spot| matches!(spot.at, Whereabouts::Indexed(_));
        let mut seqs = spots.iter().filter(|spot| indexed(spot)).map(|spot| spot.seq);
        let Some(one) = seqs.next() else { return Ok(()) };
        let (first, last, count) =
            seqs.fold((one, one, 1), |(first, last, count), seq| (first.min(seq), last.max(seq), count + 1));
        if last - first >= 2 * count {
            for spot in spots {
                spot.at = Whereabouts::At(self.place(timeline, spot.seq, spot.at)?);
            }
            return Ok(());
        }
        let mut places = Vec::with_capacity((last - first + 1) as usize);
        for spot in spots {
            let Whereabouts::Indexed(unit) = spot.at else { continue };
            if places.is_empty() {
                self.segments.units.places(unit, timeline, first, last, &mut places)?;
            }
            // They end at the last one, and begin as far down as the files go.
            let index = (spot.seq + places.len() as u64).checked_sub(last + 1);
            let place = index.and_then(|index| places.get(index as usize));
            spot.at = Whereabouts::At(*place.ok_or_else(|| missing(timeline, spot.seq))?);
        }
        Ok(())
    }

    pub fn read(&self, timeline: Timeline, seq: u64, at: Whereabouts) -> Result<Stored> {
        let stored = self.table.read(self.place(timeline, seq, at)?)?;
        if stored.append.timeline != timeline || stored.append.seq != seq {
            return Err(missing(timeline, seq));
        }
        Ok(stored)
    }

    /// The message with its body.
    pub fn body(&self, timeline: Timeline, seq: u64, at: Whereabouts) -> Result<(Stored, Body)> {
        let place = self.place(timeline, seq, at)?;
        let file = self.table.get(place)?;
        let stored = file.read(place.offset())?;
        let body = file.body(&stored)?;
        Ok((stored, body))
    }

    /// The body of an edit, of which the journal it was written to is known.
    pub fn edited_body(&self, timeline: Timeline, seq: u64, version: u64, edit: Place) -> Result<Body> {
        let place = self.segments.units.edit_place(edit, timeline, seq, version)?;
        let place = place.ok_or_else(|| missing(timeline, seq))?;
        self.table.get(place)?.edited_body(place.offset())
    }
}

#[cold]
fn missing(timeline: Timeline, seq: u64) -> Error {
    let expected = format!("the message of {timeline} with seq={seq}");
    Error::corruption_at(std::path::Path::new("index"), seq, expected, "none or another")
}

#[cold]
fn trimmed(timeline: Timeline, seq: u64) -> Error {
    Error::new(ErrorKind::Trimmed, format!("the message was trimmed: {timeline} seq={seq}"))
}

impl Reader {
    /// Of the moment of `state`. `now` is the clock.
    pub fn of(state: &State, now: u64) -> Reader {
        Reader { files: Files::of(state), time: now.max(state.time), settings: state.settings_log().clone() }
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Looks at the first byte of each record, so that the memory fetches them all at once; parsing
    /// one after another would wait for each (measured on a page of 20: see docs/testing.md).
    pub fn touch(&self, spots: impl Iterator<Item = Whereabouts>) {
        let first_bytes = spots.map(|at| match at {
            Whereabouts::At(place) => self.files.table.get(place).map_or(0, |file| file.first_byte(place.offset())),
            Whereabouts::Indexed(_) => 0,
        });
        std::hint::black_box(first_bytes.fold(0, |all, byte| all ^ byte));
    }

    #[inline]
    pub fn message(&self, timeline: Timeline, spot: Spot) -> Result<Message> {
        let place = self.files.place(timeline, spot.seq, spot.at)?;
        let file = self.files.table.get(place)?;
        let stored = file.read(place.offset())?;
        let append = &stored.append;
        if append.timeline != timeline || append.seq != spot.seq {
            return Err(missing(timeline, spot.seq));
        }
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
                    Some(edit) => (self.files.edited_body(timeline, spot.seq, version, edit)?, None, amended),
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
}

impl Pipeline {
    /// Reads a published message's record, as of now. `Trimmed` if it is gone: whoever saw it at an earlier moment
    /// looks again, see [`Pipeline::of_one_moment`].
    pub(super) fn stored(&self, timeline: Timeline, seq: u64) -> Result<Stored> {
        #[cfg(test)]
        tests::before_read();
        let (at, trim, files) = self.look(|state| {
            let head = state.head_of(timeline);
            let trim = head.map_or(0, |head| head.tip.trim());
            (head.and_then(|head| head.whereabouts(seq)), trim, Files::of(state))
        })?;
        match files.read(timeline, seq, at.ok_or_else(|| missing(timeline, seq))?) {
            Err(_) if seq <= trim => Err(trimmed(timeline, seq)),
            read => read,
        }
    }

    /// What `read` finds that looks at the state and then, at later moments, for messages: once more for as long as
    /// one that it saw was trimmed meanwhile. It must begin with a look of its own.
    pub(super) fn of_one_moment<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match read() {
                Err(error) if error.kind() == ErrorKind::Trimmed => {}
                found => return found,
            }
        }
    }

    /// The ordinal of a published message; 0 before the first. Of a trimmed one, which no mark or floor can
    /// stand on any more, one that is not below it.
    pub(super) fn ordinal(&self, timeline: Timeline, seq: u64) -> Result<u64> {
        self.of_one_moment(|| {
            let tip = self.look(|state| state.head_of(timeline).map(|head| head.tip))?;
            match tip {
                Some(tip) if seq <= tip.trim() => Ok(tip.trim_ordinal().min(seq)),
                None => Ok(0),
                Some(_) => Ok(self.stored(timeline, seq)?.append.ordinal),
            }
        })
    }

    /// The first seq of `low..=high + 1` whose record does not hold `is_before`, which holds for a
    /// run at the beginning.
    pub(super) fn first_not(
        &self,
        timeline: Timeline,
        low: u64,
        high: u64,
        mut is_before: impl FnMut(&Stored) -> bool,
    ) -> Result<u64> {
        let (mut low, mut high) = (low, high + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(&self.stored(timeline, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests;
