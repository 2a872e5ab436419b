//! Which version was the first to be committed at or after a time.
//! Owns: that index. May touch: `varint`.
//! Never: keeps more than a few bytes a change.

use crate::varint::{put, take};

/// Changes between two entries that are found without decoding.
const STEP: u64 = 256;

/// Commit times of all versions: every 256th in full, the others as differences.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitTimes {
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

    /// The first version committed at or after `time`, if there is one.
    pub fn first_at(&self, time: u64) -> Option<u64> {
        if self.count == 0 || self.last < time {
            return None;
        }
        let marks_before = self.marks.partition_point(|mark| mark.time < time);
        let Some(step) = marks_before.checked_sub(1) else {
            return Some(1);
        };
        let mark = self.marks[step];
        let mut deltas = &self.deltas[mark.deltas_offset..];
        let mut at = mark.time;
        let mut version = step as u64 * STEP + 1;
        while at < time {
            version += 1;
            if version > (step as u64 + 1) * STEP {
                break;
            }
            at += take(&mut deltas).expect("written by push");
        }
        Some(version)
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
    }
}
