//! Which client ids are taken: a hash of each, and the message it belongs to.
//! Owns: the table and its forgetting. May touch: `id`.
//! Never: says that an id *is* taken; it names messages that may have it, and whoever asks reads them.

use crate::id::{ClientId, Timeline, UserId};
use ahash::RandomState;
use hashbrown::HashTable;

/// Tables, so that none is ever so large that growing it stops the writer for long.
const SHARDS: usize = 64;

/// Which client ids are taken.
#[derive(Clone, Debug)]
pub(crate) struct Dedup {
    hasher: RandomState,
    shards: Vec<HashTable<Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    seq: u64,
    /// The journal that the message lies in.
    file_id: u32,
    /// Commit time, in whole seconds.
    seconds: u32,
}

const MICROS_PER_SECOND: u64 = 1_000_000;

impl Dedup {
    pub fn new() -> Dedup {
        Dedup { hasher: RandomState::new(), shards: vec![HashTable::new(); SHARDS] }
    }

    /// What stands for an id of a sender in a timeline, in this process.
    pub fn hash(&self, timeline: Timeline, sender: UserId, id: ClientId) -> u64 {
        self.hasher.hash_one((timeline, sender, id))
    }

    /// Notes a message. `time` is its commit time, the newest there is; `window` the longest for which an
    /// id was ever taken.
    pub fn insert(&mut self, hash: u64, seq: u64, file_id: u64, time: u64, window: u64) {
        let shard = &mut self.shards[shard_of(hash)];
        if shard.len() == shard.capacity() {
            // Before growing, forget what is outside the window; seconds are rounded to its favour.
            let oldest = time.saturating_sub(window) / MICROS_PER_SECOND;
            shard.retain(|entry| u64::from(entry.seconds) >= oldest);
        }
        let seconds = u32::try_from(time / MICROS_PER_SECOND).unwrap_or(u32::MAX);
        shard.insert_unique(hash, Entry { hash, seq, file_id: file_id as u32, seconds }, |entry| entry.hash);
    }

    /// The messages that may have the id, newest first. Another timeline's may be among them.
    pub fn candidates(&self, hash: u64) -> Vec<u64> {
        let shard = &self.shards[shard_of(hash)];
        let found = shard.iter_hash(hash).filter(|entry| entry.hash == hash);
        let mut seqs: Vec<u64> = found.map(|entry| entry.seq).collect();
        seqs.sort_unstable_by(|one, other| other.cmp(one));
        seqs
    }

    /// Forgets the messages that lie in this journal or an older one: rows on disk know them now.
    pub fn forget_up_to(&mut self, file_id: u64) {
        for shard in &mut self.shards {
            shard.retain(|entry| u64::from(entry.file_id) > file_id);
            if shard.len() * 4 < shard.capacity() {
                shard.shrink_to(shard.len() * 2, |entry| entry.hash);
            }
        }
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.capacity() * (size_of::<Entry>() + 1)).sum()
    }
}

fn shard_of(hash: u64) -> usize {
    // The table uses the top seven bits and the low ones; take some between.
    (hash >> 48) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEDUP_WINDOW_MICROS;

    #[test]
    fn forgets_only_what_is_outside_the_window() {
        let mut dedup = Dedup::new();
        let day = DEDUP_WINDOW_MICROS / 7;
        // Spread as a hash is.
        let hash = |id: u64| id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for id in 1..=40_000u64 {
            dedup.insert(hash(id), id, id / 1_000, id * day / 1_000, DEDUP_WINDOW_MICROS);
        }
        for id in 33_001..=40_000 {
            assert_eq!(dedup.candidates(hash(id)), [id]);
        }
        let kept: usize = dedup.shards.iter().map(|shard| shard.len()).sum();
        assert!(kept < 20_000, "{kept} are kept of 7,000 in the window");
        dedup.forget_up_to(39);
        assert!(dedup.candidates(hash(39_999)).is_empty());
        assert_eq!(dedup.candidates(hash(40_000)), [40_000]);
    }
}
