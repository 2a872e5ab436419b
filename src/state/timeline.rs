//! What is kept per timeline: its head, and where its messages lie.
//! Owns: `Head`, `Tip`. May touch: `amended`, `roster`, `trims`, `settings`, `journal` (places only).
//! Never: reads a message.

use super::amended::AmendedMessages;
use super::lost::{LostRun, LostRuns};
use super::roster::Roster;
use super::trims::Trims;
use crate::id::{Timeline, UserId};
use crate::journal::Place;
use crate::settings::{GroupSettings, Retention, Settings};
use std::sync::Arc;

/// The head of a timeline.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Head {
    pub tip: Tip,
    pub timeline: Timeline,
    /// Where messages lie that are in no index yet: those above `indexed`, in order.
    pub places: Vec<Place>,
    /// The newest message that an index knows.
    pub indexed: u64,
    /// The newest journal that holds messages of it and has an index; 0 for none.
    pub unit: u64,
    /// Of a direct timeline: how far each of the two got, the one with the lower id first.
    pub sides: [Side; 2],
    /// What was recalled or edited; `None` while nothing was.
    pub amended: Option<Box<AmendedMessages>>,
    /// Which trims took something that counts; `None` while none did.
    pub trims: Option<Box<Trims>>,
    /// What a repair could not bring back; `None` if nothing was lost. Records without content lie in their places.
    pub lost: Option<Arc<LostRuns>>,
    /// Which messages alert; `None` while none does.
    pub alerts: Option<Arc<Alerts>>,
    /// Of a group its members, of a broadcast those who have a row.
    pub roster: Option<Box<Roster>>,
    /// Of a group: what the server noted about it.
    pub metadata: Option<Arc<[u8]>>,
    /// Of a broadcast: version and ordinal of each message, to find what a user may see.
    pub sent: Vec<(u64, u64)>,
    /// What of it the disk does not have yet.
    pub unsealed: Unsealed,
    /// The parts of it that changed with that.
    pub parts: Vec<Part>,
    /// The bytes that it was reckoned at when it was last looked at.
    pub reckoned_bytes: usize,
}

/// In which sealing a thing goes to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsealed(pub u32);

/// A part of a head that lies on disk by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// What became of a message.
    Amended(u64),
    /// [`PART_SEQS`] seqs that may alert with a kind.
    Alerts(u8, u64),
    /// A member's seat.
    Seat(UserId),
    /// [`PART_SEQS`] messages of a broadcast.
    Sent(u64),
    /// What the server noted about a group.
    Metadata,
}

/// So many seqs go into one part.
pub(crate) const PART_SEQS: u64 = 1_024;

/// Where a message is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// There.
    At(Place),
    /// In the index of the unit that holds this journal, or one before it.
    Indexed(u64),
}

/// The newest end of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tip {
    /// The newest seq; 0 for none.
    pub last: u64,
    pub last_timestamp: u64,
    /// How many messages count.
    pub ordinal: u64,
    /// Version and commit time of the newest message.
    pub version: u64,
    pub time: u64,
    /// Version and commit time of the newest change that is no message and that all who are in it see: an
    /// amendment, metadata, the end of the group, a trim of something that counts.
    pub news_version: u64,
    pub news_time: u64,
    /// The version at which the timeline came to be.
    pub created: u64,
    /// Everything up to it was trimmed, so many counting messages, by the change with this version.
    pub trimmed: u64,
    pub trimmed_ordinal: u64,
    pub trimmed_by: u64,
    /// The day of the newest trim for age, counted from 1 at the Unix epoch; 0 if there was none.
    pub age_day: u64,
    /// Of a group, with the version of the change that set them; of no meaning elsewhere.
    pub settings: GroupSettings,
    pub settings_by: u64,
    /// The group is no more, and everything up to `last` is trimmed.
    pub dissolved: bool,
    /// Someone who had the session from its first message on has it no more: the next message opens it
    /// again. True also while there is no message.
    pub opens: bool,
}

/// How far one of two users got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub read_max: u64,
    pub delivered_max: u64,
    /// Version and commit time of the newest change of these that was no message.
    pub version: u64,
    pub time: u64,
}

/// Which messages alert, per kind, ascending; recalled ones are taken out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alerts(pub [Vec<u64>; 8]);

impl Tip {
    /// A timeline without messages, made by the change with this version.
    pub fn new(settings: GroupSettings, created: u64) -> Tip {
        Tip {
            last: 0,
            last_timestamp: 0,
            ordinal: 0,
            version: 0,
            time: 0,
            news_version: 0,
            news_time: 0,
            created,
            trimmed: 0,
            trimmed_ordinal: 0,
            trimmed_by: 0,
            age_day: 0,
            settings,
            settings_by: created,
            dissolved: false,
            opens: true,
        }
    }

    /// Everything at or below it is gone.
    pub fn trim(&self) -> u64 {
        if self.dissolved { self.last } else { self.trimmed }
    }

    /// How many messages count at or below [`Tip::trim`].
    pub fn trim_ordinal(&self) -> u64 {
        if self.dissolved { self.ordinal } else { self.trimmed_ordinal }
    }

    /// The version of the change that trimmed up to there.
    pub fn trim_version(&self) -> u64 {
        if self.dissolved { self.news_version } else { self.trimmed_by }
    }
}

impl Head {
    pub fn new(timeline: Timeline, tip: Tip) -> Head {
        let roster = match timeline {
            Timeline::Group(_) | Timeline::Broadcast(_) => Some(Box::default()),
            Timeline::Direct(_) | Timeline::Inbox(..) => None,
        };
        Head {
            tip,
            timeline,
            places: Vec::new(),
            indexed: 0,
            unit: 0,
            sides: [Side::default(); 2],
            amended: None,
            trims: None,
            lost: None,
            alerts: None,
            roster,
            metadata: None,
            sent: Vec::new(),
            unsealed: Unsealed::default(),
            parts: Vec::new(),
            reckoned_bytes: 0,
        }
    }

    /// Whether a message is lost.
    #[inline]
    pub fn is_lost(&self, seq: u64) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.has(seq))
    }

    /// Notes that messages are lost, and lets go of what is kept about them.
    pub fn lose(&mut self, runs: &[LostRun]) {
        let lost = self.lost.take().unwrap_or_default().merged(runs);
        if let Some(amended) = &mut self.amended {
            let gone: Vec<u64> = amended.iter().map(|(seq, _)| seq).filter(|seq| lost.has(*seq)).collect();
            self.parts.extend(gone.iter().map(|seq| Part::Amended(*seq)));
            amended.remove(&gone);
        }
        if let Some(alerts) = &mut self.alerts {
            for (kind, seqs) in Arc::make_mut(alerts).0.iter_mut().enumerate() {
                let gone =
                    seqs.iter().filter(|seq| lost.has(**seq)).map(|seq| Part::Alerts(kind as u8, seq / PART_SEQS));
                self.parts.extend(gone);
                seqs.retain(|seq| !lost.has(*seq));
            }
        }
        self.lost = Some(Arc::new(lost));
    }

    /// Where a message lies, if there is one with this seq.
    pub fn whereabouts(&self, seq: u64) -> Option<Whereabouts> {
        if seq > self.indexed {
            let index = usize::try_from(seq - self.indexed - 1).ok()?;
            return self.places.get(index).copied().map(Whereabouts::At);
        }
        (seq > 0).then_some(Whereabouts::Indexed(self.unit))
    }

    /// The places up to and with those in `journal` are in an index now.
    pub fn index_up_to(&mut self, journal: u64) {
        let count = self.places.partition_point(|place| place.file_id() <= journal);
        if let Some(last) = count.checked_sub(1) {
            self.unit = self.places[last].file_id();
            self.indexed += count as u64;
            self.places.drain(..count);
            self.places.shrink_to(count.min(8));
        }
    }

    /// Lets go of what is kept about messages at or below `trim`.
    pub fn trim_parts(&mut self, trim: u64) {
        if let Some(amended) = &mut self.amended {
            self.parts.extend(amended.iter().map_while(|(seq, _)| (seq <= trim).then_some(Part::Amended(seq))));
            amended.trim(trim);
        }
        if let Some(alerts) = &mut self.alerts {
            for (kind, seqs) in Arc::make_mut(alerts).0.iter_mut().enumerate() {
                let trimmed = seqs.partition_point(|seq| *seq <= trim);
                let mut chunks: Vec<u64> = seqs.drain(..trimmed).map(|seq| seq / PART_SEQS).collect();
                chunks.dedup();
                self.parts.extend(chunks.into_iter().map(|chunk| Part::Alerts(kind as u8, chunk)));
            }
        }
    }

    /// Lets go of all that has parts of its own, but for what was sent.
    pub fn part_with_all(&mut self) {
        self.trims = None;
        if let Some(amended) = self.amended.take() {
            self.parts.extend(amended.iter().map(|(seq, _)| Part::Amended(seq)));
        }
        if let Some(alerts) = self.alerts.take() {
            let chunks = |(kind, seqs): (usize, &Vec<u64>)| {
                let chunks = seqs.iter().map(|seq| seq / PART_SEQS).collect::<std::collections::BTreeSet<_>>();
                chunks.into_iter().map(move |chunk| Part::Alerts(kind as u8, chunk))
            };
            self.parts.extend(alerts.0.iter().enumerate().flat_map(chunks));
        }
        if let Some(roster) = &mut self.roster {
            self.parts.extend(roster.seats().iter().map(|seat| Part::Seat(seat.user)));
            **roster = Roster::default();
        }
        if self.metadata.take().is_some() {
            self.parts.push(Part::Metadata);
        }
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let amended = self.amended.as_ref().map_or(0, |amended| amended.len() * 160);
        let alerts = self.alerts.as_ref().map_or(0, |alerts| alerts.0.iter().map(|seqs| seqs.capacity() * 8).sum());
        let roster = self.roster.as_ref().map_or(0, |roster| 64 + roster.len() * 80);
        let metadata = self.metadata.as_ref().map_or(0, |metadata| metadata.len());
        let lists = self.places.capacity() * 8 + self.sent.capacity() * 16 + self.parts.capacity() * 16;
        size_of::<Head>() + lists + amended + alerts + roster + metadata
    }

    /// What of the timeline is kept, in a store with these settings.
    pub fn retention(&self, settings: &Settings) -> Retention {
        self.tip.settings.retention.unwrap_or_else(|| settings.retention(self.timeline))
    }

    /// How far the other one of a direct timeline got; `None` where there is no other.
    pub fn other_side(&self, user: UserId) -> Option<&Side> {
        match self.timeline {
            Timeline::Direct(pair) if pair.low() != pair.high() => Some(&self.sides[usize::from(pair.low() == user)]),
            _ => None,
        }
    }

    /// How far this user got in a direct timeline.
    pub fn side_mut(&mut self, user: UserId) -> Option<&mut Side> {
        match self.timeline {
            Timeline::Direct(pair) => Some(&mut self.sides[usize::from(pair.low() != user)]),
            _ => None,
        }
    }

    /// The part of a broadcast that was there before the version: seq and ordinal of its last message.
    pub fn sent_before(&self, version: u64) -> (u64, u64) {
        let seq = self.sent.partition_point(|(sent, _)| *sent <= version);
        (seq as u64, seq.checked_sub(1).map_or(0, |index| self.sent[index].1))
    }
}

/// The kinds of alert in a set.
pub(crate) fn kinds(alerts: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |kind| alerts >> kind & 1 == 1)
}
