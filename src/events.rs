//! Tells whoever watches the server what the store does by itself: the only module that names `tracing`.
//! Owns: the events, their levels and fields. May touch: `error`.
//! Never: does anything without the feature `tracing`, or says what no counter or error says too.
//!
//! All have the target `restante`. Nobody needs them to understand an answer: they are for seeing when things happened.
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "without the feature the events are empty"))]

use crate::error::Error;
use std::path::Path;
use std::time::Duration;

/// A store was opened; `cut_bytes` were the torn end of a crash.
pub(crate) fn opened(path: &Path, version: u64, cut_bytes: u64, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "restante", path = %path.display(), version, cut_bytes, ?took, "opened");
}

/// A journal was sealed.
pub(crate) fn sealed(journal: u64, bytes: u64, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "restante", journal, bytes, ?took, "sealed");
}

/// So many files became fewer.
pub(crate) fn merged(what: &'static str, files_before: usize, files_after: usize, bytes: u64, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "restante", what, files_before, files_after, bytes, ?took, "merged");
}

/// What nobody may see was taken out of so many files.
pub(crate) fn purged(files: u64, bytes: u64, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "restante", files, bytes, ?took, "purged");
}

/// Retention trimmed so many messages.
pub(crate) fn trimmed(messages: u64) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "restante", messages, "trimmed");
}

/// A call waited for sealing.
pub(crate) fn stalled(took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "restante", ?took, "a call waited for sealing");
}

/// The store writes no more.
pub(crate) fn poisoned(error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(target: "restante", %error, "a write or sync failed: the store takes no more changes");
}
