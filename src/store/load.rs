//! Brings into memory what a look at the state missed.
//! Owns: looking again until nothing is missed. May touch: `pipeline`, `rows`, `state`, `unit`.
//! Never: changes anything; what is on disk and what is in memory say the same.

use super::pipeline::Pipeline;
use super::rows::{client_id_hash, commit_times_at, damaged, load_one};
use super::statistics::add;
use crate::error::Result;
use crate::id::{ClientId, Timeline, UserId};
use crate::state::stored;
use crate::state::{Loaded, Need, State, take_misses};
use crate::unit::Segments;

/// So many things are looked at, for each one that is loaded, to let go of some.
const SWEEP_PER_LOAD: usize = 32;

impl Pipeline {
    /// What `look` finds in the state once everything it looks at is in memory. It may be called several
    /// times, under the state's lock.
    pub(super) fn look<T>(&self, mut look: impl FnMut(&State) -> T) -> Result<T> {
        take_misses();
        loop {
            let state = self.state();
            let found = look(&state);
            if state.is_all_here() {
                return Ok(found);
            }
            let misses = take_misses();
            if misses.is_empty() {
                add(&self.statistics.hits.0, 1);
                return Ok(found);
            }
            let segments = state.segments.clone();
            drop(state);
            self.load(&segments, &misses)?;
        }
    }

    /// Loads what was missed while these were the segments. If others have come meanwhile, nothing is taken
    /// in: it may be old.
    pub(super) fn load(&self, segments: &Segments, needs: &[Need]) -> Result<()> {
        let loaded = needs.iter().map(|need| load_one(segments, need)).collect::<Result<Vec<Loaded>>>()?;
        add(&self.statistics.misses, 1);
        add(&self.statistics.loads, loaded.len() as u64);
        let mut state = self.state_mut();
        if state.segments.generation != segments.generation {
            return Ok(());
        }
        // Before they are taken in, or they might go again at once.
        // At most once round: what this look has used already must survive, or it would never come to its end.
        let count = (SWEEP_PER_LOAD * loaded.len()).min(state.sweep_length());
        state.evict(count, self.resident_bytes_max());
        loaded.into_iter().for_each(|loaded| state.install(loaded));
        Ok(())
    }

    /// The messages that may have a client id, by what is on disk, newest first. Another's may be among them.
    pub(super) fn client_id_rows(
        &self,
        segments: &Segments,
        timeline: Timeline,
        sender: UserId,
        id: ClientId,
    ) -> Result<Vec<u64>> {
        let prefix = stored::client_id_prefix(client_id_hash(self.dedup_seed, timeline, sender, id));
        let mut seqs = Vec::new();
        segments.rows.scan(&prefix, prefix.len(), &mut |key, _| {
            seqs.push(stored::client_id_seq(key).ok_or_else(|| damaged(key))?);
            Ok(())
        })?;
        seqs.sort_unstable_by(|one, other| other.cmp(one));
        Ok(seqs)
    }

    /// The first version committed at or after `time`; one above the newest if there is none yet.
    pub(super) fn first_version_at(&self, time: u64) -> Result<u64> {
        let (in_memory, before, segments) = {
            let state = self.state();
            let times = state.commit_times();
            (times.first_at(time).unwrap_or(state.version + 1), times.before(), state.segments.clone())
        };
        // Rows lie at every first version of a step; whose times reach `time` is found by halving.
        let (mut low, mut high) = (1, before + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some((first, times)) = commit_times_at(&segments, middle)? else { break };
            let end = first + times.len() as u64;
            match times.iter().position(|at| *at >= time) {
                Some(0) => high = first,
                Some(index) => return Ok(first + index as u64),
                // Versions that a repair told as lost have no times.
                None => low = end.max(middle + 1),
            }
        }
        Ok(if low <= before { low } else { in_memory })
    }

    /// The newest version committed at or before `time`; 0 if there is none.
    pub(super) fn last_version_at(&self, time: u64) -> Result<u64> {
        Ok(self.first_version_at(time + 1)? - 1)
    }
}
