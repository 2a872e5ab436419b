//! The trims of a timeline that removed counting messages, for those who left before.
//! Owns: which of them a session that ended sees. May touch: nothing.
//! Never: removes a message.

/// A session that ended takes, of all trims, only those that removed a counting message of its own. That is
/// so for a trim before which fewer messages counted than at the session's end.
///
/// Of the trims at or below the horizon the newest speaks for all of them: no cursor is older, so that
/// whether the others are still here cannot be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trims(Vec<CountingTrim>);

/// A trim that removed a counting message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountingTrim {
    /// How many counting messages were gone before it.
    pub ordinal_before: u64,
    pub version: u64,
    pub time: u64,
}

impl Trims {
    /// Notes a trim newer than all others, and forgets what the horizon has passed.
    pub fn push(&mut self, trim: CountingTrim, horizon: u64) {
        self.0.push(trim);
        let passed = self.passed(horizon);
        if passed > 1 {
            self.0[passed - 1].ordinal_before = self.0[0].ordinal_before;
            self.0.drain(..passed - 1);
        }
    }

    /// Takes one in that was noted before, newer than all others.
    pub fn put(&mut self, trim: CountingTrim) {
        self.0.push(trim);
    }

    /// All, oldest first.
    pub fn all(&self) -> &[CountingTrim] {
        &self.0
    }

    /// Version and commit time of the newest one that took something from a session at whose end so many
    /// messages counted.
    pub fn newest_of(&self, end_ordinal: u64, horizon: u64) -> (u64, u64) {
        let Some(last) = self.0.partition_point(|trim| trim.ordinal_before < end_ordinal).checked_sub(1) else {
            return (0, 0);
        };
        let trim = &self.0[last.max(self.passed(horizon).saturating_sub(1))];
        (trim.version, trim.time)
    }

    /// All that can still be told apart.
    pub fn iter(&self, horizon: u64) -> impl Iterator<Item = CountingTrim> + '_ {
        let passed = self.passed(horizon).saturating_sub(1);
        let first = self.0.first().map_or(0, |trim| trim.ordinal_before);
        let merged = move |(index, trim): (usize, &CountingTrim)| CountingTrim {
            ordinal_before: if index == 0 { first } else { trim.ordinal_before },
            ..*trim
        };
        self.0[passed..].iter().enumerate().map(merged)
    }

    /// How many the horizon has passed.
    fn passed(&self, horizon: u64) -> usize {
        self.0.partition_point(|trim| trim.version <= horizon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The versions 10, 20, .. of the trims, before which 0, 5, .. messages counted.
    fn trims(horizon_at_push: u64) -> Trims {
        let mut trims = Trims::default();
        for number in 0..10 {
            let version = 10 * (number + 1);
            let trim = CountingTrim { ordinal_before: 5 * number, version, time: version + 1 };
            trims.push(trim, horizon_at_push);
        }
        trims
    }

    #[test]
    fn a_session_takes_the_newest_trim_that_took_from_it() {
        let trims = trims(0);
        for (end_ordinal, version) in [(0, 0), (1, 10), (5, 10), (6, 20), (45, 90), (46, 100), (1_000, 100)] {
            let time = if version == 0 { 0 } else { version + 1 };
            assert_eq!(trims.newest_of(end_ordinal, 0), (version, time), "end {end_ordinal}");
            assert_eq!(trims.newest_of(end_ordinal, 9), (version, time));
        }
        // Below the horizon of 45 stands the trim of version 40 for all.
        for (end_ordinal, version) in [(0, 0), (1, 40), (15, 40), (20, 40), (21, 50), (1_000, 100)] {
            assert_eq!(trims.newest_of(end_ordinal, 45).0, version, "end {end_ordinal}");
        }
    }

    #[test]
    fn what_was_forgotten_cannot_be_told() {
        for horizon in 0..120 {
            let (kept, forgotten) = (trims(0), trims(horizon));
            assert!(kept.iter(horizon).eq(forgotten.iter(horizon)), "horizon {horizon}");
            for end_ordinal in 0..60 {
                assert_eq!(kept.newest_of(end_ordinal, horizon), forgotten.newest_of(end_ordinal, horizon));
            }
        }
        assert_eq!(trims(75).0.len(), 4, "one for all up to 70, then 80, 90, 100");
    }
}
