//! Which messages are unread: those above the mark and up to the end that count, are not recalled, not
//! hidden by the user, and not its own.
//! Owns: counting them without looking at them, and finding the oldest. May touch: `pipeline`, `state`.
//! Never: scans a timeline; it takes time in proportion to the user's own and hidden messages above its mark.

use super::pipeline::Pipeline;
use super::visible::hidden;
use crate::error::{Error, Result};
use crate::id::{Seq, Timeline, UserId};
use crate::limits::MENTIONS_COUNTED_MAX;
use crate::state::{Alerts, Head, Hide, LostRuns, Recalled, Row, State, Tip, kinds};
use std::sync::Arc;

/// The messages of one kind of alert that are unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// The kind, from 0 to 7.
    pub kind: u8,
    /// How many.
    pub count: u64,
    /// The oldest of them.
    pub oldest: Seq,
}

/// The unread messages that mention the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mentions {
    /// How many, at most [`MENTIONS_COUNTED_MAX`].
    pub count: u64,
    /// There are more than that.
    pub saturated: bool,
    /// The oldest of them.
    pub oldest: Option<Seq>,
}

/// What is needed of a session to count, of one moment.
pub(super) struct Range {
    user: UserId,
    pub timeline: Timeline,
    pub row: Row,
    pub tip: Tip,
    /// The counting messages that were recalled; of the whole timeline.
    recalled: Option<Arc<Vec<Recalled>>>,
    alerts: Option<Arc<Alerts>>,
    lost: Option<Arc<LostRuns>>,
    /// Between mark and end: hidden by the user, counting, of others, not recalled.
    hidden: Vec<(u64, Hide)>,
    pub mentions: Mentions,
}

/// The user's own messages between mark and end that count and were not recalled, newest first.
pub(super) struct Own(Vec<OwnMessage>);

struct OwnMessage {
    seq: u64,
    ordinal: u64,
    alerts: u8,
}

impl Range {
    pub fn of(state: &State, head: &Head, user: UserId, row: &Row) -> Range {
        let tip = head.tip;
        let (mark, end) = (row.mark(&tip), row.end(tip.last));
        let recalled = head.amended.as_ref().map(|amended| amended.recalled().clone());
        let mut range = Range {
            user,
            timeline: head.timeline,
            row: *row,
            tip,
            recalled,
            alerts: head.alerts.clone(),
            lost: head.lost.clone(),
            hidden: Vec::new(),
            mentions: Mentions::default(),
        };
        if row.has_notes && mark < end {
            let hides = hidden(state, user, row);
            for (seq, hide) in hides.into_iter().flat_map(|hides| hides.range(mark + 1..=end)) {
                if hide.counts && !range.is_recalled(*seq) && !range.is_lost(*seq) {
                    range.hidden.push((*seq, *hide));
                }
            }
            let mentions = state.notes(user, row).map_or(&[][..], |notes| &notes.mentions);
            let first = mentions.partition_point(|seq| *seq <= mark);
            let is_hidden = |seq: &u64| hides.is_some_and(|hides| hides.contains_key(seq));
            let unread = mentions[first..].iter().take_while(|seq| **seq <= end);
            let is_out = |seq: &u64| range.is_recalled(*seq) || range.is_lost(*seq) || is_hidden(seq);
            let mut unread = unread.filter(|seq| !is_out(seq));
            let oldest = unread.next().map(|seq| Seq(*seq));
            let further = unread.by_ref().take(MENTIONS_COUNTED_MAX - 1).count();
            let saturated = unread.next().is_some();
            range.mentions = Mentions { count: oldest.map_or(0, |_| 1 + further as u64), saturated, oldest };
        }
        range
    }

    fn is_recalled(&self, seq: u64) -> bool {
        self.recalled.as_ref().is_some_and(|recalled| recalled.binary_search_by_key(&seq, |one| one.seq).is_ok())
    }

    fn is_lost(&self, seq: u64) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.has(seq))
    }

    /// Reads the user's own messages above its mark. Only a mark that moved back, or messages sent from
    /// outside, leave any there.
    pub fn own(&self, pipeline: &Pipeline) -> Result<Own> {
        let (mark, end) = (self.row.mark(&self.tip), self.row.end(self.tip.last));
        let mut own = Vec::new();
        let mut seq = self.row.own_last;
        while seq > mark {
            if self.is_lost(seq) {
                // Which one was before it was lost with it.
                seq -= 1;
                while seq > mark && (self.is_lost(seq) || !self.is_own(pipeline, seq)?) {
                    seq -= 1;
                }
                continue;
            }
            let append = pipeline.stored(self.timeline, seq)?.append;
            if seq <= end && append.counts && !self.is_recalled(seq) {
                own.push(OwnMessage { seq, ordinal: append.ordinal, alerts: append.alerts });
            }
            if append.own_previous >= seq {
                let path = std::path::Path::new("memory");
                return Err(Error::corruption_at(path, seq, "an earlier own message", append.own_previous.to_string()));
            }
            seq = append.own_previous;
        }
        Ok(Own(own))
    }

    fn is_own(&self, pipeline: &Pipeline, seq: u64) -> Result<bool> {
        Ok(pipeline.stored(self.timeline, seq)?.append.sender == self.user)
    }

    /// How many messages are unread.
    pub fn unread(&self, own: &Own) -> u64 {
        let (mark, end) = (self.row.mark(&self.tip), self.row.end(self.tip.last));
        let recalled = self.recalled.as_ref().map_or(0, |recalled| {
            let upto = |seq: u64| recalled.partition_point(|recalled| recalled.seq <= seq);
            upto(end).saturating_sub(upto(mark))
        });
        let (mark_ordinal, end_ordinal) = (self.row.mark_ordinal(&self.tip), self.row.end_ordinal(&self.tip));
        let lost = self.lost.as_ref().map_or(0, |lost| lost.counting((mark, mark_ordinal), (end, end_ordinal)));
        let counting = end_ordinal.saturating_sub(mark_ordinal).saturating_sub(lost);
        counting.saturating_sub((recalled + own.0.len() + self.hidden.len()) as u64)
    }

    /// Whether the message right after the mark is neither recalled nor hidden.
    pub fn is_plain_after_mark(&self) -> bool {
        let seq = self.row.mark(&self.tip) + 1;
        !self.is_recalled(seq) && !self.is_lost(seq) && self.hidden.first().is_none_or(|(hidden, _)| *hidden != seq)
    }

    /// The ordinal of the oldest unread message, given that there is one: the first above the mark that
    /// belongs to none that is left out.
    pub fn oldest_ordinal(&self, own: &Own) -> u64 {
        let mut left_out: Vec<u64> = own.0.iter().map(|own| own.ordinal).collect();
        left_out.extend(self.hidden.iter().map(|(_, hide)| hide.ordinal));
        left_out.sort_unstable();
        let recalled: &[Recalled] = self.recalled.as_ref().map_or(&[], |recalled| recalled);
        let mut left_out = left_out.into_iter().peekable();
        let mut ordinal = self.row.mark_ordinal(&self.tip) + 1;
        loop {
            ordinal += recalled_run(recalled, ordinal);
            if let Some(beyond) = self.lost.as_ref().map(|lost| lost.ordinal_beyond(ordinal)).filter(|at| *at > ordinal)
            {
                ordinal = beyond;
                continue;
            }
            while left_out.next_if(|left_out| *left_out < ordinal).is_some() {}
            if left_out.next_if_eq(&ordinal).is_none() {
                return ordinal;
            }
            ordinal += 1;
        }
    }

    /// The kinds of alert among the unread messages.
    pub fn alerts(&self, own: &Own) -> Vec<Alert> {
        let Some(alerts) = &self.alerts else { return Vec::new() };
        let (mark, end) = (self.row.mark(&self.tip), self.row.end(self.tip.last));
        let mut found = Vec::new();
        for kind in kinds(u8::MAX) {
            let seqs = &alerts.0[kind];
            let first = seqs.partition_point(|seq| *seq <= mark);
            let seqs = &seqs[first..first.max(seqs.partition_point(|seq| *seq <= end))];
            if seqs.is_empty() {
                continue;
            }
            let has_kind = |alerts: u8| alerts >> kind & 1 == 1;
            let own = || own.0.iter().filter(|own| has_kind(own.alerts)).map(|own| own.seq);
            let hidden = || self.hidden.iter().filter(|(_, hide)| has_kind(hide.alerts)).map(|(seq, _)| *seq);
            let left_out: Vec<u64> = own().chain(hidden()).collect();
            let count = (seqs.len() as u64).saturating_sub(left_out.len() as u64);
            if let Some(oldest) = seqs.iter().find(|seq| !left_out.contains(seq)) {
                found.push(Alert { kind: kind as u8, count, oldest: Seq(*oldest) });
            }
        }
        found
    }
}

/// How many recalled messages follow one another from this ordinal on. Ordinals rise by at least one, so
/// those of a run are the only ones that keep their distance from their places.
fn recalled_run(recalled: &[Recalled], ordinal: u64) -> u64 {
    let first = recalled.partition_point(|recalled| recalled.ordinal < ordinal);
    let (mut low, mut high) = (0, recalled.len() - first);
    while low < high {
        let middle = low + (high - low) / 2;
        if recalled[first + middle].ordinal == ordinal + middle as u64 {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_recalled_messages_ends_at_the_first_gap() {
        let recalled = |ordinals: &[u64]| -> Vec<Recalled> {
            ordinals.iter().map(|ordinal| Recalled { seq: ordinal * 2, ordinal: *ordinal }).collect()
        };
        let messages = recalled(&[3, 4, 5, 7, 8, 12]);
        for (ordinal, run) in [(1, 0), (2, 0), (3, 3), (4, 2), (5, 1), (6, 0), (7, 2), (8, 1), (9, 0), (12, 1), (13, 0)]
        {
            assert_eq!(recalled_run(&messages, ordinal), run, "from {ordinal}");
        }
        assert_eq!(recalled_run(&[], 1), 0);
    }
}
