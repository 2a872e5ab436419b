//! Which version was the first to be committed at or after a time.
//! Owns: that index. May touch: `varint`.
//! Never: keeps more than a few bytes a change.

use crate::varint::{put, take};

/// Changes between two entries that are found without decoding.
const STEP: u64 = 256;

/// Commit times of all versions from one on: every 256th in full, the others as differences.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitTimes {
    /// The version before the first.
    before: u64,
    marks: Vec<Mark>,
    deltas: Vec<u8>,
    count: u64,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    time: u64,
    deltas_offset: usize,
}

impl CommitTimes {
    /// Those of the versions after `before`, of which there are none yet.
    pub fn after(before: u64) -> CommitTimes {
        CommitTimes { before, ..CommitTimes::default() }
    }

    /// The version before the first.
    pub fn before(&self) -> u64 {
        self.before
    }

    /// Notes the commit time of the next version; never before the one of the last.
    pub fn push(&mut self, time: u64) {
        if self.count.is_multiple_of(STEP) {
            self.marks.push(Mark { time, deltas_offset: self.deltas.len() });
        } else {
            put(&mut self.deltas, time - self.last);
        }
        self.last = time;
        self.count += 1;
    }

    /// The first version committed at or after `time`, if there is one here. It is the first of all only
    /// if those before these are older.
    pub fn first_at(&self, time: u64) -> Option<u64> {
        if self.count == 0 || self.last < time {
            return None;
        }
        let marks_before = self.marks.partition_point(|mark| mark.time < time);
        let Some(step) = marks_before.checked_sub(1) else {
            return Some(self.before + 1);
        };
        let end = (step as u64 + 1) * STEP;
        let index = self.times(step).position(|at| at >= time);
        Some(self.before + 1 + index.map_or(end, |index| step as u64 * STEP + index as u64))
    }

    /// The times from a mark on.
    fn times(&self, step: usize) -> impl Iterator<Item = u64> + '_ {
        let Mark { time, deltas_offset } = self.marks[step];
        let mut deltas = &self.deltas[deltas_offset..];
        let count = (self.count - step as u64 * STEP).min(STEP);
        let mut at = time;
        (0..count).map(move |index| {
            if index > 0 {
                at += take(&mut deltas).expect("written by push");
            }
            at
        })
    }

    /// Forgets those up to a version.
    pub fn forget_up_to(&mut self, version: u64) {
        let mut left = CommitTimes::after(version);
        let all = (0..self.marks.len()).flat_map(|step| self.times(step));
        all.skip(version.saturating_sub(self.before) as usize).for_each(|time| left.push(time));
        *self = left;
    }

    /// As a row: the times of up to [`STEP`] versions. Gives the rows with the first version of each.
    pub fn encode(&self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        (0..self.marks.len()).map(|step| {
            let mut value = Vec::new();
            let mut before = 0;
            for time in self.times(step) {
                put(&mut value, time - before);
                before = time;
            }
            (self.before + 1 + step as u64 * STEP, value)
        })
    }

    /// The times in a row.
    pub fn decode(mut value: &[u8]) -> Option<Vec<u64>> {
        let mut times = Vec::new();
        let mut at = 0u64;
        while !value.is_empty() {
            at = at.checked_add(take(&mut value)?)?;
            times.push(at);
        }
        (!times.is_empty()).then_some(times)
    }

    /// About how many bytes they take in memory.
    pub fn bytes(&self) -> usize {
        self.deltas.capacity() + self.marks.capacity() * size_of::<Mark>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_version_at_every_time() {
        let times: Vec<u64> = (0..2_000u64).map(|index| index / 3 * 5 + index / 700 * 1_000).collect();
        let mut index = CommitTimes::default();
        assert_eq!(index.first_at(0), None);
        times.iter().for_each(|time| index.push(*time));
        for time in 0..times[1_999] + 2 {
            let want = times.iter().position(|other| *other >= time).map(|position| position as u64 + 1);
            assert_eq!(index.first_at(time), want, "at {time}");
        }
        let rows: Vec<u64> = index.encode().flat_map(|(_, value)| CommitTimes::decode(&value).unwrap()).collect();
        assert_eq!(rows, times);
        for forgotten in [0, 1, 255, 256, 257, 1_000, 1_999, 2_000] {
            let mut left = index.clone();
            left.forget_up_to(forgotten as u64);
            for time in (0..times[1_999] + 2).step_by(7) {
                let want = (forgotten..2_000).find(|at| times[*at] >= time).map(|at| at as u64 + 1);
                assert_eq!(left.first_at(time), want, "at {time} without {forgotten}");
            }
        }
    }
}
