//! Runs of messages that a repair could not bring back: their seqs are never given again, nobody is shown them, and
//! nobody has them unread.
//! Owns: what is known of such runs. May touch: nothing.
//! Never: knows what was in a lost message.

/// Messages of one timeline that follow one another and are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostRun {
    pub first: u64,
    pub last: u64,
    /// How many messages count up to the one before the run, and up to its last one.
    pub ordinal_before: u64,
    pub ordinal_after: u64,
}

impl LostRun {
    /// The part of it above a trim, if there is one. What was trimmed is not lost.
    pub fn above(&self, trim: u64) -> Option<LostRun> {
        let first = self.first.max(trim + 1);
        let count = (self.last + 1).checked_sub(first).filter(|count| *count > 0)?;
        // Of those that are left no more can count than there are.
        let ordinal_before = self.ordinal_before.max(self.ordinal_after.saturating_sub(count));
        Some(LostRun { first, ordinal_before, ..*self })
    }
}

/// All lost runs of a timeline, ascending; they do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostRuns(Vec<LostRun>);

impl LostRuns {
    /// Runs that ascend and do not overlap; `None` for others.
    pub fn new(runs: Vec<LostRun>) -> Option<LostRuns> {
        let is_run = |run: &LostRun| {
            let count = run.last.checked_sub(run.first).and_then(|count| count.checked_add(1));
            let counting = run.ordinal_after.checked_sub(run.ordinal_before);
            run.first > 0 && counting.is_some() && counting <= count
        };
        let is_good = runs.iter().all(is_run) && runs.is_sorted_by(|one, next| one.last < next.first);
        is_good.then_some(LostRuns(runs))
    }

    /// Takes in more; where they meet, or overlap, they become one.
    pub fn merged(&self, more: &[LostRun]) -> LostRuns {
        let mut all: Vec<LostRun> = self.0.iter().chain(more).copied().collect();
        all.sort_unstable_by_key(|run| run.first);
        let mut runs: Vec<LostRun> = Vec::with_capacity(all.len());
        for run in all {
            match runs.last_mut().filter(|before| run.first <= before.last + 1) {
                Some(before) => {
                    before.last = before.last.max(run.last);
                    before.ordinal_after = before.ordinal_after.max(run.ordinal_after);
                }
                None => runs.push(run),
            }
        }
        LostRuns(runs)
    }

    pub fn all(&self) -> &[LostRun] {
        &self.0
    }

    pub fn has(&self, seq: u64) -> bool {
        let index = self.0.partition_point(|run| run.last < seq);
        self.0.get(index).is_some_and(|run| run.first <= seq)
    }

    /// The parts of them that lie in `first..=last`.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let start = self.0.partition_point(|run| run.last < first);
        let inside = self.0[start..].iter().take_while(move |run| run.first <= last);
        inside.map(move |run| (run.first.max(first), run.last.min(last)))
    }

    /// How many that count lie above `mark` and up to `end`, of which the ordinals are known.
    pub fn counting(&self, (mark, mark_ordinal): (u64, u64), (end, end_ordinal): (u64, u64)) -> u64 {
        let start = self.0.partition_point(|run| run.last <= mark);
        let inside = self.0[start..].iter().take_while(|run| run.first <= end);
        let count =
            |run: &LostRun| run.ordinal_after.min(end_ordinal).saturating_sub(run.ordinal_before.max(mark_ordinal));
        inside.map(count).sum()
    }

    /// The first ordinal from this one on that is of no lost message.
    pub fn ordinal_beyond(&self, ordinal: u64) -> u64 {
        let index = self.0.partition_point(|run| run.ordinal_after < ordinal);
        match self.0.get(index) {
            Some(run) if run.ordinal_before < ordinal => run.ordinal_after + 1,
            _ => ordinal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, last: u64, ordinal_before: u64, ordinal_after: u64) -> LostRun {
        LostRun { first, last, ordinal_before, ordinal_after }
    }

    #[test]
    fn runs_are_found_clipped_counted_and_joined() {
        let runs = LostRuns::new(vec![run(3, 5, 2, 4), run(9, 9, 7, 7), run(12, 20, 9, 18)]).unwrap();
        let has: Vec<u64> = (1..25).filter(|seq| runs.has(*seq)).collect();
        assert_eq!(has, [3, 4, 5, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        assert_eq!(runs.within(4, 14).collect::<Vec<_>>(), [(4, 5), (9, 9), (12, 14)]);
        assert_eq!(runs.within(6, 8).count(), 0);
        assert_eq!(runs.counting((0, 0), (30, 25)), 2 + 9);
        // A mark or an end inside a run has its own ordinal.
        assert_eq!(runs.counting((4, 3), (15, 12)), 1 + 3);
        assert_eq!(runs.counting((20, 18), (30, 25)), 0);
        let beyond = [1, 2, 3, 4, 5, 9, 10, 18, 19].map(|ordinal| runs.ordinal_beyond(ordinal));
        assert_eq!(beyond, [1, 2, 5, 5, 5, 9, 19, 19, 19]);
        let joined = runs.merged(&[run(6, 8, 4, 7), run(30, 31, 20, 21)]);
        assert_eq!(joined.all(), [run(3, 9, 2, 7), run(12, 20, 9, 18), run(30, 31, 20, 21)]);
        assert_eq!(LostRuns::new(vec![run(3, 5, 2, 6)]), None);
        assert_eq!(LostRuns::new(vec![run(3, 5, 2, 3), run(5, 6, 3, 3)]), None);
    }
}
