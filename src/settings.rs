//! How a group, and the whole store, behaves: everything that can change an answer.
//! Owns: the settings and their ranges. May touch: `limits`.
//! Never: holds what belongs to one machine; that is in the options of opening.

use crate::error::Result;
use crate::limits::{
    BODY_BYTES_LIMIT, BODY_BYTES_MAX, DEDUP_WINDOW_MICROS, DEDUP_WINDOW_SECS_MAX, LATEST_BYTES_LIMIT, LATEST_BYTES_MAX,
    MENTIONS_MAX, check,
};

/// How a group behaves.
///
/// The default is that of a group made by its first join: newcomers do not see what was said before
/// them, and only members may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSettings {
    /// Whether those who join see the messages from before they did.
    pub shows_history: bool,
    /// Whether only present members may append.
    pub members_only: bool,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings { shows_history: false, members_only: true }
    }
}

impl GroupSettings {
    /// The same with [`GroupSettings::shows_history`] as given.
    pub fn shows_history(mut self, shows_history: bool) -> GroupSettings {
        self.shows_history = shows_history;
        self
    }

    /// The same with [`GroupSettings::members_only`] as given.
    pub fn members_only(mut self, members_only: bool) -> GroupSettings {
        self.members_only = members_only;
        self
    }
}

/// How the whole store behaves. A change of it is journalled like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How long a client id is taken, in seconds of commit time; the one in force when the message was
    /// appended. 0 takes none. Default 604,800 (seven days), at most [`DEDUP_WINDOW_SECS_MAX`].
    pub dedup_window_secs: u64,
    /// Most bytes of a message body. Default [`BODY_BYTES_MAX`], at most [`BODY_BYTES_LIMIT`].
    pub body_bytes_max: usize,
    /// Most users one message can mention. Default and largest [`MENTIONS_MAX`].
    pub mentions_max: usize,
    /// Most body bytes of the latest messages of one entry of a list. Default [`LATEST_BYTES_MAX`], at
    /// most [`LATEST_BYTES_LIMIT`].
    pub latest_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dedup_window_secs: DEDUP_WINDOW_MICROS / MICROS_PER_SECOND,
            body_bytes_max: BODY_BYTES_MAX,
            mentions_max: MENTIONS_MAX,
            latest_bytes_max: LATEST_BYTES_MAX,
        }
    }
}

const MICROS_PER_SECOND: u64 = 1_000_000;

impl Settings {
    /// The same with [`Settings::dedup_window_secs`] as given.
    pub fn dedup_window_secs(mut self, seconds: u64) -> Settings {
        self.dedup_window_secs = seconds;
        self
    }

    /// The same with [`Settings::body_bytes_max`] as given.
    pub fn body_bytes_max(mut self, bytes: usize) -> Settings {
        self.body_bytes_max = bytes;
        self
    }

    /// The same with [`Settings::mentions_max`] as given.
    pub fn mentions_max(mut self, users: usize) -> Settings {
        self.mentions_max = users;
        self
    }

    /// The same with [`Settings::latest_bytes_max`] as given.
    pub fn latest_bytes_max(mut self, bytes: usize) -> Settings {
        self.latest_bytes_max = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let seconds = usize::try_from(self.dedup_window_secs).unwrap_or(usize::MAX);
        check("dedup_window_secs", seconds, DEDUP_WINDOW_SECS_MAX as usize)?;
        check("body_bytes_max", self.body_bytes_max, BODY_BYTES_LIMIT)?;
        check("mentions_max", self.mentions_max, MENTIONS_MAX)?;
        check("latest_bytes_max", self.latest_bytes_max, LATEST_BYTES_LIMIT)
    }

    pub(crate) fn dedup_window_micros(&self) -> u64 {
        self.dedup_window_secs * MICROS_PER_SECOND
    }
}
