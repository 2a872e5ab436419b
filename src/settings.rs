//! How a group, and the whole store, behaves: everything that can change an answer.
//! Owns: the settings and their ranges. May touch: `id`, `limits`.
//! Never: holds what belongs to one machine; that is in the options of opening.

use crate::error::Result;
use crate::id::{Source, Timeline};
use crate::limits::{
    BODY_BYTES_LIMIT, BODY_BYTES_MAX, DEDUP_WINDOW_MICROS, DEDUP_WINDOW_SECS_MAX, LATEST_BYTES_LIMIT, LATEST_BYTES_MAX,
    MENTIONS_MAX, RETENTION_AGE_SECS_MAX, RETENTION_BODY_BYTES_MAX, RETENTION_COUNT_MAX, check,
};

/// What of a timeline is kept. The oldest messages beyond any of the three bounds are trimmed by
/// [`crate::Store::maintain`]: gone for everyone. The default keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// How long messages are kept, in seconds, by their own timestamps; a timeline is trimmed for age at
    /// most once a day (UTC). 0 for ever; at most [`RETENTION_AGE_SECS_MAX`].
    pub age_secs: u64,
    /// How many messages are kept. Once a timeline has more than a sixteenth above it, it is trimmed down to
    /// it. 0 for all; at most [`RETENTION_COUNT_MAX`].
    pub count: u64,
    /// How many bytes of bodies are kept: of an edited message its newest body weighs, a recalled one weighs
    /// nothing. Once a timeline has more than a sixteenth above it, it is trimmed down to it, if need be to
    /// nothing. 0 for all; at most [`RETENTION_BODY_BYTES_MAX`].
    pub body_bytes: u64,
}

impl Retention {
    /// The same with [`Retention::age_secs`] as given.
    pub fn age_secs(mut self, seconds: u64) -> Retention {
        self.age_secs = seconds;
        self
    }

    /// The same with [`Retention::count`] as given.
    pub fn count(mut self, messages: u64) -> Retention {
        self.count = messages;
        self
    }

    /// The same with [`Retention::body_bytes`] as given.
    pub fn body_bytes(mut self, bytes: u64) -> Retention {
        self.body_bytes = bytes;
        self
    }

    /// Whether it bounds anything.
    pub(crate) fn is_bounded(&self) -> bool {
        *self != Retention::default()
    }

    pub(crate) fn check(&self) -> Result<()> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        check("retention age_secs", size(self.age_secs), size(RETENTION_AGE_SECS_MAX))?;
        check("retention count", size(self.count), size(RETENTION_COUNT_MAX))?;
        check("retention body_bytes", size(self.body_bytes), size(RETENTION_BODY_BYTES_MAX))
    }
}

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
    /// What is kept of this group, instead of all that [`Settings::retention_group`] says; `Some` of the
    /// default keeps everything.
    pub retention: Option<Retention>,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings { shows_history: false, members_only: true, retention: None }
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

    /// The same with [`GroupSettings::retention`] as given.
    pub fn retention(mut self, retention: Option<Retention>) -> GroupSettings {
        self.retention = retention;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.retention.map_or(Ok(()), |retention| retention.check())
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
    /// What is kept of chats between users. Default: everything, as of all kinds of peer.
    pub retention_user: Retention,
    /// What is kept of groups that have no [`GroupSettings::retention`] of their own.
    pub retention_group: Retention,
    /// What is kept of what system sources send, to inboxes and as broadcasts.
    pub retention_system: Retention,
    /// What is kept of what business sources send.
    pub retention_business: Retention,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dedup_window_secs: DEDUP_WINDOW_MICROS / MICROS_PER_SECOND,
            body_bytes_max: BODY_BYTES_MAX,
            mentions_max: MENTIONS_MAX,
            latest_bytes_max: LATEST_BYTES_MAX,
            retention_user: Retention::default(),
            retention_group: Retention::default(),
            retention_system: Retention::default(),
            retention_business: Retention::default(),
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

    /// The same with [`Settings::retention_user`] as given.
    pub fn retention_user(mut self, retention: Retention) -> Settings {
        self.retention_user = retention;
        self
    }

    /// The same with [`Settings::retention_group`] as given.
    pub fn retention_group(mut self, retention: Retention) -> Settings {
        self.retention_group = retention;
        self
    }

    /// The same with [`Settings::retention_system`] as given.
    pub fn retention_system(mut self, retention: Retention) -> Settings {
        self.retention_system = retention;
        self
    }

    /// The same with [`Settings::retention_business`] as given.
    pub fn retention_business(mut self, retention: Retention) -> Settings {
        self.retention_business = retention;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let seconds = usize::try_from(self.dedup_window_secs).unwrap_or(usize::MAX);
        check("dedup_window_secs", seconds, DEDUP_WINDOW_SECS_MAX as usize)?;
        check("body_bytes_max", self.body_bytes_max, BODY_BYTES_LIMIT)?;
        check("mentions_max", self.mentions_max, MENTIONS_MAX)?;
        check("latest_bytes_max", self.latest_bytes_max, LATEST_BYTES_LIMIT)?;
        self.retentions().iter().try_for_each(Retention::check)
    }

    /// Of users, groups, systems and businesses.
    pub(crate) fn retentions(&self) -> [Retention; 4] {
        [self.retention_user, self.retention_group, self.retention_system, self.retention_business]
    }

    /// What is kept of a timeline that has no retention of its own.
    pub(crate) fn retention(&self, timeline: Timeline) -> Retention {
        match timeline {
            Timeline::Direct(_) => self.retention_user,
            Timeline::Group(_) => self.retention_group,
            Timeline::Inbox(Source::System(_), _) | Timeline::Broadcast(Source::System(_)) => self.retention_system,
            Timeline::Inbox(Source::Business(_), _) | Timeline::Broadcast(Source::Business(_)) => {
                self.retention_business
            }
        }
    }

    pub(crate) fn dedup_window_micros(&self) -> u64 {
        self.dedup_window_secs * MICROS_PER_SECOND
    }
}
