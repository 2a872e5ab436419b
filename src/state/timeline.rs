//! What is kept per timeline: its head, and where its messages lie.
//! Owns: `Head`. May touch: `change`, `journal` (places only).
//! Never: reads a message.

use crate::change::GroupSettings;
use crate::id::Timeline;
use crate::journal::Place;

/// The head of a timeline.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub timeline: Timeline,
    pub tip: Tip,
    /// Where message `seq` lies, at `seq - 1`.
    pub places: Vec<Place>,
}

/// The newest end of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The newest seq; 0 for none.
    pub last: u64,
    pub last_timestamp: u64,
    /// How many messages count.
    pub ordinal: u64,
    /// Version and commit time of the newest message.
    pub version: u64,
    pub time: u64,
    /// The version at which the timeline came to be.
    pub created: u64,
    /// Of a group; of no meaning in direct timelines.
    pub settings: GroupSettings,
}

impl Tip {
    /// A timeline without messages, made by the change with this version.
    pub fn new(settings: GroupSettings, created: u64) -> Tip {
        Tip { last: 0, last_timestamp: 0, ordinal: 0, version: 0, time: 0, created, settings }
    }
}

impl Head {
    pub fn place(&self, seq: u64) -> Option<Place> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.places.get(index).copied()
    }
}
