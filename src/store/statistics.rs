//! What the store counts of its own work.
//! Owns: the counters. May touch: nothing.
//! Never: decides anything by them.

use std::sync::atomic::AtomicU64;

/// Counters since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Things loaded because a look missed them.
    pub loads: AtomicU64,
    /// Journals sealed, and their bytes.
    pub seals: AtomicU64,
    pub sealed_bytes: AtomicU64,
    pub row_merges: AtomicU64,
    pub unit_merges: AtomicU64,
    /// Bytes that merges read.
    pub merged_bytes: AtomicU64,
    /// Calls that waited because sealing could not keep up.
    pub stalls: AtomicU64,
}
