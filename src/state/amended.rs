//! What became of a timeline's messages after they were sent.
//! Owns: recalls and edits of one timeline, in both orders. May touch: `journal` (places only).
//! Never: knows who hid what; that is in each user's row.

use crate::id::UserId;
use crate::journal::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The newest thing that happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amendment {
    pub version: u64,
    pub time: u64,
    pub by: UserId,
    /// Where the body of an edit lies; none for a recall.
    pub edit: Option<Place>,
}

impl Amendment {
    /// Whether the message was taken back; otherwise it was edited.
    pub fn is_recall(&self) -> bool {
        self.edit.is_none()
    }
}

/// A counting message that was recalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub seq: u64,
    pub ordinal: u64,
}

/// Recalls and edits of one timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct AmendedMessages {
    by_seq: BTreeMap<u64, Amendment>,
    /// Version and seq of each, the newest last.
    order: BTreeSet<(u64, u64)>,
    /// The newest version among all up to a seq, as steps: both rise.
    steps: Vec<Step>,
    /// The counting ones that were recalled, ascending; shared with readers.
    recalled: Arc<Vec<Recalled>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub seq: u64,
    pub version: u64,
    pub time: u64,
}

impl AmendedMessages {
    /// Notes an amendment newer than all others. `counting` has the ordinal of a counting message.
    pub fn insert(&mut self, seq: u64, amendment: Amendment, counting: Option<u64>) {
        let Amendment { version, time, edit, .. } = amendment;
        if let Some(before) = self.by_seq.insert(seq, amendment) {
            self.order.remove(&(before.version, seq));
        }
        self.order.insert((version, seq));
        self.steps.truncate(self.steps.partition_point(|step| step.seq < seq));
        self.steps.push(Step { seq, version, time });
        if let (None, Some(ordinal)) = (edit, counting) {
            let index = self.recalled.partition_point(|recalled| recalled.seq < seq);
            Arc::make_mut(&mut self.recalled).insert(index, Recalled { seq, ordinal });
        }
    }

    /// How many messages were recalled or edited.
    pub fn len(&self) -> usize {
        self.by_seq.len()
    }

    /// Lets go of those at or below `trim`. What they did to the versions of sessions that ended there stays.
    pub fn trim(&mut self, trim: u64) {
        let kept = self.by_seq.split_off(&(trim + 1));
        for (seq, amendment) in std::mem::replace(&mut self.by_seq, kept) {
            self.order.remove(&(amendment.version, seq));
        }
        let trimmed = self.recalled.partition_point(|recalled| recalled.seq <= trim);
        if trimmed > 0 {
            Arc::make_mut(&mut self.recalled).drain(..trimmed);
        }
    }

    /// Forgets what became of these messages.
    pub fn remove(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if let Some(amendment) = self.by_seq.remove(seq) {
                self.order.remove(&(amendment.version, *seq));
            }
        }
        Arc::make_mut(&mut self.recalled).retain(|recalled| !seqs.contains(&recalled.seq));
    }

    /// Whether a message among these was recalled or edited above a version.
    pub fn has_any(&self, seqs: std::ops::Range<u64>, above: u64) -> bool {
        self.by_seq.range(seqs).any(|(_, amendment)| amendment.version > above)
    }

    pub fn get(&self, seq: u64) -> Option<&Amendment> {
        self.by_seq.get(&seq)
    }

    /// An edit's record lies at `place`; false if that is known, or the edit is not the newest.
    pub fn set_place(&mut self, seq: u64, version: u64, place: Place) -> bool {
        let newest = self.by_seq.get_mut(&seq).filter(|amendment| amendment.version == version);
        let edit = newest.and_then(|amendment| amendment.edit.as_mut());
        edit.is_some_and(|edit| std::mem::replace(edit, place) != place)
    }

    pub fn is_recalled(&self, seq: u64) -> bool {
        self.get(seq).is_some_and(Amendment::is_recall)
    }

    /// Version and commit time of the newest amendment at or below `seq`.
    pub fn newest_up_to(&self, seq: u64) -> (u64, u64) {
        let steps = self.steps.partition_point(|step| step.seq <= seq);
        steps.checked_sub(1).map_or((0, 0), |index| (self.steps[index].version, self.steps[index].time))
    }

    /// What is left of the amendments of messages up to a seq in the versions of those who left.
    pub(super) fn steps_up_to(&self, seq: u64) -> impl Iterator<Item = Step> + '_ {
        self.steps.iter().take_while(move |step| step.seq <= seq).copied()
    }

    /// Takes in steps of messages below all that are here.
    pub(super) fn add_steps(&mut self, mut steps: Vec<Step>) {
        // Those above that are no newer say nothing.
        let newest = steps.last().map_or(0, |step| step.version);
        self.steps.retain(|step| step.version > newest);
        steps.append(&mut self.steps);
        self.steps = steps;
    }

    /// All in the order in which they were made, from above this pair of version and seq.
    pub fn after(&self, version: u64, seq: u64) -> impl Iterator<Item = (u64, &Amendment)> {
        let bounds = (std::ops::Bound::Excluded((version, seq)), std::ops::Bound::Unbounded);
        self.order.range(bounds).map(|(_, seq)| (*seq, &self.by_seq[seq]))
    }

    /// All by seq.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Amendment)> {
        self.by_seq.iter().map(|(seq, amendment)| (*seq, amendment))
    }

    /// The counting messages that were recalled, ascending.
    pub fn recalled(&self) -> &Arc<Vec<Recalled>> {
        &self.recalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trim_takes_the_messages_and_leaves_the_versions() {
        let mut amended = AmendedMessages::default();
        for (version, seq) in [(1, 5), (2, 3), (3, 8), (4, 4), (5, 9)] {
            let edit = (seq == 9).then(|| Place::new(1, version));
            amended.insert(seq, Amendment { version, time: version, by: UserId(1), edit }, Some(seq));
        }
        let versions = [0, 3, 4, 7, 8, 20].map(|seq| amended.newest_up_to(seq));
        amended.trim(4);
        assert_eq!([0, 3, 4, 7, 8, 20].map(|seq| amended.newest_up_to(seq)), versions);
        let left: Vec<(u64, u64)> = amended.after(0, 0).map(|(seq, one)| (one.version, seq)).collect();
        assert_eq!(left, [(1, 5), (3, 8), (5, 9)]);
        assert_eq!(amended.recalled().iter().map(|one| one.seq).collect::<Vec<_>>(), [5, 8]);
        assert!(amended.get(3).is_none() && amended.iter().count() == 3);
        amended.trim(100);
        assert!(amended.recalled().is_empty() && amended.iter().count() == 0);
        assert_eq!(amended.newest_up_to(7), versions[3]);
    }

    #[test]
    fn the_newest_up_to_a_seq_is_the_largest_version_there() {
        let mut amended = AmendedMessages::default();
        let mut plain: BTreeMap<u64, u64> = BTreeMap::new();
        for version in 1..500u64 {
            let seq = version * version * 7 % 61 + 1;
            let edit = Some(Place::new(1, version));
            amended.insert(seq, Amendment { version, time: version * 10, by: UserId(1), edit }, Some(seq));
            plain.insert(seq, version);
            for upto in 0..64 {
                let want = plain.range(..=upto).map(|(_, version)| *version).max().unwrap_or(0);
                assert_eq!(amended.newest_up_to(upto), (want, want * 10), "up to {upto} at {version}");
            }
            let mut order: Vec<(u64, u64)> = plain.iter().map(|(seq, version)| (*version, *seq)).collect();
            order.sort_unstable();
            let found: Vec<(u64, u64)> = amended.after(0, 0).map(|(seq, amendment)| (amendment.version, seq)).collect();
            assert_eq!(found, order);
        }
        assert!(amended.recalled().is_empty());
    }
}
