//! What is kept per timeline: its head, and where its messages lie.
//! Owns: `Head`, `Tip`. May touch: `amended`, `roster`, `trims`, `settings`, `journal` (places only).
//! Never: reads a message.

use super::amended::AmendedMessages;
use super::roster::Roster;
use super::trims::Trims;
use crate::id::{Timeline, UserId};
use crate::journal::Place;
use crate::settings::{GroupSettings, Retention, Settings};
use std::sync::Arc;

/// The head of a timeline. What a walk over all of a user's sessions looks at comes first, in one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// The version of the newest change that any user could see here, but for those of rows.
    pub newest: u64,
    pub tip: Tip,
    pub timeline: Timeline,
    /// Where message `seq` lies, at `seq - 1`.
    pub places: Vec<Place>,
    /// Of a direct timeline: how far each of the two got, the one with the lower id first.
    pub sides: [Side; 2],
    /// What was recalled or edited; `None` while nothing was.
    pub amended: Option<Box<AmendedMessages>>,
    /// Which trims took something that counts; `None` while none did.
    pub trims: Option<Box<Trims>>,
    /// Which messages alert; `None` while none does.
    pub alerts: Option<Arc<Alerts>>,
    /// Of a group its members, of a broadcast those who have a row.
    pub roster: Option<Box<Roster>>,
    /// Of a group: what the server noted about it.
    pub metadata: Option<Arc<[u8]>>,
    /// Of a broadcast: version and ordinal of each message, to find what a user may see.
    pub sent: Vec<(u64, u64)>,
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
            newest: tip.created,
            tip,
            timeline,
            places: Vec::new(),
            sides: [Side::default(); 2],
            amended: None,
            trims: None,
            alerts: None,
            roster,
            metadata: None,
            sent: Vec::new(),
        }
    }

    /// What of the timeline is kept, in a store with these settings.
    pub fn retention(&self, settings: &Settings) -> Retention {
        self.tip.settings.retention.unwrap_or_else(|| settings.retention(self.timeline))
    }

    pub fn place(&self, seq: u64) -> Option<Place> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.places.get(index).copied()
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
