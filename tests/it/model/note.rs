//! Notes which traps a run has met in writing, from what the model knew before and what it answered.
//! Owns: when a trap of appending counts as met. May touch: `run`, `judge`, `state`, `trap`.
//! Never: compares with the store, changes anything but the counts.

use restante::{ErrorKind, Outcome, Timeline, UserId};

use super::change::Letter;
use super::judge::{Decision, Said};
use super::op::Write;
use super::row::{Presence, Row};
use super::run::Run;
use super::state::{Line, Message, RULES};
use super::world::{View, window_end};

/// Traps that one step met.
#[derive(Default)]
pub struct Met(pub Vec<&'static str>);

impl Met {
    pub fn when(&mut self, is_met: bool, name: &'static str) {
        if is_met {
            self.0.push(name);
        }
    }
}

impl Run<'_> {
    /// Before the change is made.
    pub fn note_write(&mut self, write: &Write, decision: &Decision) {
        let mut met = Met::default();
        match write {
            Write::Append(post) => {
                let letter = self.letter(post);
                match &decision.result {
                    Ok(Said::Written(written)) if written.outcome == Outcome::Duplicate => {
                        self.note_duplicate(&letter, &mut met);
                    }
                    Ok(_) => self.note_sent(&letter, &mut met),
                    Err(wrong) => self.note_refused(&letter, wrong.kind, &mut met),
                }
            }
            Write::Batch(posts) => {
                let letters: Vec<Letter> = posts.iter().map(|post| self.letter(post)).collect();
                self.note_batch(&letters, decision, &mut met);
            }
            Write::TooLong { .. } => met.when(true, "batch: too long for a journal file"),
            Write::Recall { .. } | Write::Edit { .. } | Write::Hide { .. } => {
                self.note_amend(write, decision, &mut met);
            }
            Write::Read { .. }
            | Write::UnreadFrom { .. }
            | Write::Delivered { .. }
            | Write::Clear { .. }
            | Write::Remove { .. }
            | Write::Flags { .. }
            | Write::Metadata { .. } => self.note_session(write, decision, &mut met),
            _ => self.note_group(write, decision, &mut met),
        }
        self.hit_all(met);
    }

    pub fn hit_all(&mut self, met: Met) {
        met.0.into_iter().for_each(|name| self.traps.hit(name));
    }

    fn note_duplicate(&self, letter: &Letter, met: &mut Met) {
        let view = self.world.sequenced();
        let first = view.taken(letter.timeline, letter.sender, letter.client_id).expect("it is a duplicate");
        let end = window_end(first);
        let differs = first.letter.kind != letter.kind || first.letter.body != letter.body;
        let line = view.state.line(letter.timeline);
        let row = view.state.row(letter.sender, letter.timeline);
        met.when(true, "append: a retry is a duplicate");
        let is_free_by_wall = self.world.is_stepped && self.clocks.wall() >= end;
        met.when(is_free_by_wall, "clock: a client id stays taken though the wall is far ahead");
        met.when(row.is_some_and(|row| !row.is_member()), "append: a retry after its sender left is a duplicate");
        met.when(view.store_time() + 1 == end, "append: a retry 1 µs before the end of the window");
        met.when(self.latest_time() >= end, "append: a client id comes back because the clock went back");
        met.when(differs && first.recalled.is_some(), "append: another body under the id of a recalled one");
        met.when(differs && first.edited.is_some(), "append: another body under the id of an edited one");
        met.when(!differs && first.edited.is_some(), "append: a retry of what was edited since");
        met.when(differs && line.dissolved().is_some(), "append: another body under an id of a dissolved group");
        let is_gone = first.seq <= line.trim() && line.dissolved().is_none();
        met.when(is_gone, "trim: a retry of what is gone");
        met.when(
            is_gone && differs && first.first_amended.is_none(),
            "trim: another body under the id of what is gone",
        );
        met.when(letter.sender.is_none(), "append: a source sends again");
        let then = view.state.rules.dedup_window_secs;
        met.when(first.window_secs != then, "append: a client id is taken for the window of its day");
    }

    fn note_sent(&self, letter: &Letter, met: &mut Met) {
        let view = self.world.sequenced();
        let state = view.state;
        let (timeline, sender) = (letter.timeline, letter.sender);
        let line = state.line(timeline);
        let row = state.row(sender, timeline);
        let is_member = row.as_ref().is_some_and(|row| row.is_member());
        let has_left = row.as_ref().is_some_and(|row| !row.is_member());
        let is_group = matches!(timeline, Timeline::Group(_));
        let (last, store_time) = (state.last_timestamp(timeline), view.store_time());
        let timestamp = letter.timestamp.unwrap_or(store_time.max(last + 1));

        met.when(self.world.is_stepped, "clock: sent while it is not followed");
        let first = view.newest_with_id(timeline, sender, letter.client_id);
        let is_at_end = first.is_some_and(|first| window_end(first) == store_time && first.window_secs > 0);
        met.when(is_at_end, "append: a retry at the end of the window is written");
        met.when(first.is_some_and(|first| first.window_secs == 0), "append: settings leave a client id free");
        let unread = row.as_ref().map_or(Vec::new(), |row| view.unread(sender, timeline, row));
        met.when(is_member && !letter.counts && !unread.is_empty(), "append: a notice does not move its sender's mark");
        met.when(is_group && row.is_none(), "append: a stranger sends to an open group");
        met.when(has_left, "append: one who left sends to an open group");
        met.when(
            letter.timestamp.is_some() && timestamp == last + 1,
            "append: timestamp 1 µs above the timeline's last",
        );
        met.when(letter.timestamp == Some(store_time), "append: timestamp at store time");
        met.when(timestamp > store_time, "append: timestamp runs ahead of the commit time");
        met.when(view.clock < store_time, "append: clock behind store time");
        met.when(line.trim() > 0 && line.trim() == line.last(), "trim: sent where nothing was left");
        met.when(timeline == Timeline::direct(sender, sender), "append: note to oneself");
        met.when(letter.body.0.is_empty(), "append: empty body");
        let silenced_until = row.as_ref().map_or(0, |row| row.silenced_until);
        met.when(silenced_until > 0 && silenced_until == store_time, "append: at the very end of a silence");
        let is_marked = is_member && row.as_ref().is_some_and(|row| row.flags.marked_unread);
        met.when(is_marked && letter.counts, "append: sending clears marked unread");
        met.when(is_marked && !letter.counts, "append: a notice leaves marked unread");
        self.note_mentions(letter, met);
        for (user, row) in state.traces_of(timeline) {
            note_revival(letter, user, row, line, met);
        }
        if let Timeline::Direct(pair) = timeline {
            let other = pair.other(sender).filter(|other| *other != sender);
            let other_row = other.and_then(|other| state.trace(other, timeline));
            let is_gone = |row: Option<&Row>| row.is_some_and(|row| row.presence == Presence::Gone);
            met.when(is_gone(other_row), "people: a removed user comes back by being written to");
            met.when(is_gone(state.trace(sender, timeline)), "people: a removed user comes back by writing");
            met.when(is_gone(other_row) && !letter.counts, "people: a notice brings a removed user back");
        }
        let is_first = line.last() == 0 && state.users.len() > 1;
        let is_broadcast = matches!(timeline, Timeline::Broadcast(_));
        met.when(is_broadcast && is_first, "source: a first broadcast to those who are there");
        met.when(matches!(timeline, Timeline::Inbox(..)) && line.last() == 0, "source: a first inbox message");
    }

    fn note_mentions(&self, letter: &Letter, met: &mut Met) {
        let state = self.world.sequenced().state;
        let mentions = &letter.mentions;
        let (timeline, sender) = (letter.timeline, letter.sender);
        let mut unique = mentions.clone();
        unique.sort();
        unique.dedup();
        met.when(mentions.contains(&sender), "mention: of the sender");
        met.when(unique.len() < mentions.len(), "mention: repeated");
        match timeline {
            Timeline::Group(_) => {
                let is_outside = |user: &UserId| !state.is_member(*user, timeline);
                met.when(mentions.iter().any(is_outside), "mention: of one who is not in the group");
                let has_left = |user: &UserId| state.row(*user, timeline).is_some_and(|row| !row.is_member());
                met.when(mentions.iter().any(has_left), "mention: of one who left");
            }
            Timeline::Direct(_) => {
                let is_third = |user: &UserId| timeline.peer_of(*user).is_none();
                met.when(mentions.iter().any(is_third), "mention: of a third in a direct timeline");
            }
            Timeline::Inbox(_, recipient) => met.when(mentions.contains(&recipient), "mention: in an inbox"),
            _ => met.when(!mentions.is_empty(), "mention: in a broadcast"),
        }
        met.when(letter.alerts != 0 && matches!(timeline, Timeline::Broadcast(_)), "alert: in a broadcast");
        met.when(letter.alerts != 0 && matches!(timeline, Timeline::Inbox(..)), "alert: in an inbox");
    }

    fn note_refused(&self, letter: &Letter, kind: ErrorKind, met: &mut Met) {
        let view = self.world.sequenced();
        let state = view.state;
        let (timeline, sender) = (letter.timeline, letter.sender);
        let row = state.row(sender, timeline);
        let first = view.taken(timeline, sender, letter.client_id);
        let is_same_kind = first.is_some_and(|first| first.letter.kind == letter.kind);
        let is_same_length = first.is_some_and(|first| first.letter.body.0.len() == letter.body.0.len());
        let is_silenced = row.as_ref().is_some_and(|row| view.store_time() < row.silenced_until);
        let is_member = row.as_ref().is_some_and(|row| row.is_member());
        let is_of_source = matches!(timeline, Timeline::Inbox(..) | Timeline::Broadcast(_));
        let rules = state.rules;
        match kind {
            ErrorKind::Conflict => {
                met.when(!is_same_kind, "append: conflict of kind");
                met.when(is_same_kind && is_same_length, "append: conflict of body with equal length");
            }
            ErrorKind::Refused if is_silenced => {
                let came_back = row.as_ref().is_some_and(|row| row.joined_version > row.silenced_version);
                let is_open = match timeline {
                    Timeline::Group(group) => state.group(group).is_some_and(|it| !it.settings.members_only),
                    _ => false,
                };
                met.when(is_member, "append: refused to a silenced member");
                met.when(is_member && came_back, "append: refused to one silenced who left and came back");
                met.when(!is_member && is_open, "append: refused to one silenced who left an open group");
            }
            ErrorKind::Refused => {
                met.when(row.is_some(), "append: refused to one who left");
                met.when(row.is_none(), "append: refused to a stranger");
            }
            ErrorKind::NotFound => met.when(true, "append: unknown group"),
            ErrorKind::Dissolved => {
                met.when(true, "append: refused in a dissolved group");
                met.when(!is_member, "append: a stranger is told that a group is dissolved");
            }
            ErrorKind::LimitExceeded => {
                let is_long = letter.body.0.len() > rules.body_bytes_max;
                met.when(!is_long && letter.body.0.len() > 16_000, "append: body above the limit");
                met.when(is_long, "append: body above what settings allow");
                met.when(letter.mentions.len() > RULES.mentions_max, "mention: more than the limit");
                let is_many = letter.mentions.len() > rules.mentions_max;
                met.when(is_many && rules.mentions_max < RULES.mentions_max, "mention: more than settings allow");
            }
            ErrorKind::InvalidInput => self.note_invalid(letter, is_of_source, met),
            _ => {}
        }
    }

    fn note_invalid(&self, letter: &Letter, is_of_source: bool, met: &mut Met) {
        let view = self.world.sequenced();
        let (timeline, sender) = (letter.timeline, letter.sender);
        let says = letter.alerts != 0 || !letter.mentions.is_empty();
        if !letter.counts && says {
            return met.when(true, "append: a notice with a mention or an alert is refused");
        }
        if letter.mentions.iter().any(|user| user.is_none()) {
            return met.when(true, "mention: of nobody");
        }
        if is_of_source && !sender.is_none() {
            return met.when(true, "source: a user may not send for it");
        }
        match timeline {
            Timeline::Inbox(source, _) if view.state.is_broadcast(source) == Some(true) => {
                return met.when(true, "source: a broadcast has no inbox");
            }
            Timeline::Broadcast(source) if view.state.is_broadcast(source) == Some(false) => {
                return met.when(true, "source: one of inboxes has no broadcast");
            }
            _ => {}
        }
        match letter.timestamp {
            Some(timestamp) if timestamp == view.state.last_timestamp(timeline) => {
                met.when(true, "append: timestamp equal to the timeline's last is refused");
            }
            Some(timestamp) if timestamp > view.store_time() => {
                met.when(true, "append: timestamp above store time is refused");
            }
            None if sender.is_none() || timeline.peer_of(sender).is_some() => met.when(true, "append: id 0"),
            None => met.when(true, "append: sender is neither of the two"),
            Some(_) => {}
        }
    }

    fn note_batch(&self, letters: &[Letter], decision: &Decision, met: &mut Met) {
        let before = self.world.sequenced().state.version();
        match &decision.result {
            Ok(Said::All(written)) => {
                let is_own = |it: &super::answer::Written| it.outcome == Outcome::Duplicate && it.version > before;
                met.when(written.iter().any(is_own), "batch: repeats its own item");
                let is_met = !written.is_empty() && written.iter().all(|it| it.outcome == Outcome::Duplicate);
                met.when(is_met, "batch: only duplicates");
            }
            Ok(_) => {}
            Err(wrong) => {
                let item = wrong.item.unwrap_or(0);
                met.when(item > 0, "batch: refused after good items");
                let letter = &letters[item];
                let view = self.world.sequenced();
                let is_known = view.taken(letter.timeline, letter.sender, letter.client_id).is_some();
                met.when(wrong.kind == ErrorKind::Conflict && !is_known, "batch: contradicts its own item");
                let is_mixed = letters[..item].iter().any(|earlier| {
                    earlier.timeline != letter.timeline
                        && source_of(earlier).is_some_and(|it| Some(it) == source_of(letter))
                });
                let is_met = wrong.kind == ErrorKind::InvalidInput && is_mixed;
                met.when(is_met, "batch: makes a source two things");
            }
        }
    }
}

fn source_of(letter: &Letter) -> Option<restante::Source> {
    match letter.timeline {
        Timeline::Inbox(source, _) | Timeline::Broadcast(source) => Some(source),
        _ => None,
    }
}

/// What a message does to a session that was removed.
fn note_revival(letter: &Letter, user: UserId, row: &Row, line: &Line, met: &mut Met) {
    if row.presence == Presence::Gone || !row.is_removed(line) {
        return;
    }
    match row.presence {
        Presence::Left => met.when(letter.counts, "removed: nothing revives one that was left"),
        _ if !letter.counts => met.when(true, "removed: a notice does not revive it"),
        _ if letter.sender == user => met.when(true, "removed: a message of its own revives it"),
        _ => met.when(true, "removed: a message of another revives it"),
    }
}

/// Whether a message was hidden by anyone.
pub fn is_hidden(view: View<'_>, message: &Message) -> bool {
    let timeline = message.letter.timeline;
    view.state.traces_of(timeline).any(|(_, row)| row.hidden.contains_key(&message.seq))
}
