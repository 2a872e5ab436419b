//! Every limit of the store, each one constant, checked before anything is written.
//! Owns: the numbers and the check. May touch: `error`.
//! Never: depends on what is in a store.
//!
//! | limit | value | what is above it |
//! |---|---|---|
//! | [`BODY_BYTES_MAX`], settable up to [`BODY_BYTES_LIMIT`] | 1 MiB, 4 MiB | `LimitExceeded`; also never above a quarter of a journal file |
//! | [`MENTIONS_MAX`] | 128 | `LimitExceeded`; settable lower |
//! | [`HIDE_SEQS_MAX`] | 256 | `LimitExceeded` |
//! | [`METADATA_BYTES_MAX`], [`MEMBER_BYTES_MAX`] | 4 KiB, 64 | `LimitExceeded` |
//! | [`NAME_BYTES_MAX`] | 255 | `LimitExceeded` |
//! | [`BROADCAST_SOURCES_MAX`] | 1,024 | `LimitExceeded` |
//! | [`AMENDMENTS_MAX`], [`MEMBERS_MAX`] | 1,000, 10,000 | `LimitExceeded` |
//! | [`DEDUP_WINDOW_SECS_MAX`], [`LATEST_BYTES_LIMIT`] | 30 days, 64 KiB | `LimitExceeded` |
//! | [`RETENTION_AGE_SECS_MAX`], [`RETENTION_COUNT_MAX`], [`RETENTION_BODY_BYTES_MAX`] | 100 years, 2⁴⁰, 1 PiB | `LimitExceeded` |
//! | [`BATCH_MESSAGES_MAX`] | 4,096 | `LimitExceeded` |
//! | [`JOIN_USERS_MAX`] | 50,000 | `LimitExceeded` |
//! | [`PAGE_MESSAGES_MAX`], [`PAGE_BYTES_MAX`] | 1,000, 16 MiB | `LimitExceeded` |
//! | [`LIST_ENTRIES_MAX`], [`LATEST_MESSAGES_MAX`] | 1,000, 20 | `LimitExceeded` |
//! | [`CATCH_UP_MESSAGES_MAX`], [`CATCH_UP_BYTES_MAX`] | 10,000, 64 MiB | `LimitExceeded` |
//! | [`JOURNAL_BYTES_MIN`] to [`JOURNAL_BYTES_MAX`] | 64 KiB to 1 GiB | `LimitExceeded` above, `InvalidInput` below |
//! | [`SYNC_DELAY_MS_MAX`] | 10,000 | `LimitExceeded` |
//! | [`MEMORY_BYTES_MIN`] | 64 KiB | `InvalidInput` below |
//! | [`MERGE_FAN_IN_MAX`] | 64 | `LimitExceeded`; `InvalidInput` below 2 |
//! | [`PURGE_DAYS_MAX`] | 7 | what nobody may see leaves the files within so many days |
//! | [`MENTIONS_COUNTED_MAX`], [`ENTRY_AMENDMENTS_MAX`] | 1,000, 32 | a flag says that there is more |
//! | [`HORIZON_MICROS`], [`CLOCK_STEP_MICROS`] | 90 days, an hour | `ResetRequired`; a clock that is not followed |
//! | [`EPOCHS_MAX`], [`EVIDENCE_FILES_MAX`] | 1,024, 4 | the oldest are forgotten, or removed |
//!
//! A limit of 0 in a question gives an empty page. A batch or a bulk join is one frame of the journal,
//! so it must also fit a quarter of a journal file: `LimitExceeded` if not.

use crate::error::{Error, ErrorKind, Result};

/// Least that [`crate::Options::memory_bytes_max`] can be: 64 KiB.
pub const MEMORY_BYTES_MIN: u64 = 64 << 10;
/// Most files that one merge makes one of.
pub const MERGE_FAN_IN_MAX: usize = 64;
/// After so many days at most, what was recalled, edited away or trimmed is in no file of the store any more.
pub const PURGE_DAYS_MAX: u64 = 7;
/// Most bytes of a message body, unless [`crate::Settings`] say otherwise.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Most that [`crate::Settings::body_bytes_max`] can be.
pub const BODY_BYTES_LIMIT: usize = 4 << 20;
/// Most users one message can mention.
pub const MENTIONS_MAX: usize = 128;
/// A badge counts so many mentions and then says that there are more.
pub const MENTIONS_COUNTED_MAX: usize = 1_000;
/// Most messages one call can hide.
pub const HIDE_SEQS_MAX: usize = 256;
/// Most bytes of a session's or a group's metadata.
pub const METADATA_BYTES_MAX: usize = 4 << 10;
/// Most bytes a server can keep with a member.
pub const MEMBER_BYTES_MAX: usize = 64;
/// Most bytes of a name; at least one.
pub const NAME_BYTES_MAX: usize = 255;
/// Most sources of broadcasts.
pub const BROADCAST_SOURCES_MAX: usize = 1_024;
/// Most amendments a page can be asked for.
pub const AMENDMENTS_MAX: usize = 1_000;
/// Most amendments an entry of a session list holds.
pub const ENTRY_AMENDMENTS_MAX: usize = 32;
/// Most members, receipts or groups a page can be asked for.
pub const MEMBERS_MAX: usize = 10_000;
/// Most that [`crate::Settings::dedup_window_secs`] can be: 30 days.
pub const DEDUP_WINDOW_SECS_MAX: u64 = 30 * 24 * 3_600;
/// Most that [`crate::Settings::latest_bytes_max`] can be.
pub const LATEST_BYTES_LIMIT: usize = 64 << 10;
/// Most that [`crate::Retention::age_secs`] can be: 100 years of 365 days.
pub const RETENTION_AGE_SECS_MAX: u64 = 100 * 365 * 24 * 3_600;
/// Most that [`crate::Retention::count`] can be.
pub const RETENTION_COUNT_MAX: u64 = 1 << 40;
/// Most that [`crate::Retention::body_bytes`] can be: 1 PiB.
pub const RETENTION_BODY_BYTES_MAX: u64 = 1 << 50;
/// How long tombstones and amendments are told to old cursors, in microseconds: 90 days.
pub const HORIZON_MICROS: u64 = 90 * 24 * 3_600 * 1_000_000;
/// A clock that steps further than this is not followed, in microseconds: an hour.
pub const CLOCK_STEP_MICROS: u64 = 3_600 * 1_000_000;
/// Most messages of one atomic batch.
pub const BATCH_MESSAGES_MAX: usize = 4_096;
/// Most users of one bulk join.
pub const JOIN_USERS_MAX: usize = 50_000;
/// Most messages a history page can be asked for.
pub const PAGE_MESSAGES_MAX: usize = 1_000;
/// Most body bytes a history page can be asked for.
pub const PAGE_BYTES_MAX: usize = 16 << 20;
/// Most entries a page of a session list can be asked for.
pub const LIST_ENTRIES_MAX: usize = 1_000;
/// Most latest messages an entry of a session list can be asked for.
pub const LATEST_MESSAGES_MAX: usize = 20;
/// Most body bytes of the latest messages of one entry, unless [`crate::Settings`] say otherwise; what is
/// above it is cut, with a flag.
pub const LATEST_BYTES_MAX: usize = 4 << 10;
/// Most messages one `catch_up` page can be asked for.
pub const CATCH_UP_MESSAGES_MAX: usize = 10_000;
/// Most body bytes one `catch_up` page can be asked for.
pub const CATCH_UP_BYTES_MAX: usize = 64 << 20;
/// Smallest journal file.
pub const JOURNAL_BYTES_MIN: u64 = 64 << 10;
/// Largest journal file; offsets in it are 32 bits wide on disk.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;
/// A batch may take this part of a journal file: one quarter.
pub const BATCH_PART_OF_JOURNAL: u64 = 4;
/// Longest that a `Buffered` call in a `Sync` store may stay invisible, in milliseconds.
pub const SYNC_DELAY_MS_MAX: u64 = 10_000;
/// How long a client id is taken unless [`crate::Settings`] say otherwise, in microseconds: seven days.
pub const DEDUP_WINDOW_MICROS: u64 = 7 * 24 * 3_600 * 1_000_000;
/// Most ends of epochs that are remembered; older cursors are answered with `ResetRequired`.
pub const EPOCHS_MAX: usize = 1_024;
/// Most evidence files (`*.evidence`: what recovery set aside) that are kept.
pub const EVIDENCE_FILES_MAX: usize = 4;

/// Checks `value` against `limit`.
pub(crate) fn check(name: &str, value: usize, limit: usize) -> Result<()> {
    if value <= limit {
        return Ok(());
    }
    Err(Error::new(ErrorKind::LimitExceeded, format!("{name} is above its limit: limit={limit} got={value}")))
}
