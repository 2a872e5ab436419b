//! Notes which traps a run has met in amending, marking, clearing, in groups and among people.
//! Owns: when these traps count as met. May touch: `run`, `judge`, `state`, `trap`.
//! Never: compares with the store, changes anything but the counts.

use restante::{ErrorKind, Timeline, UserId};

use super::change::What;
use super::judge::{Decision, Judge, Said};
use super::note::{Met, is_hidden};
use super::op::Write;
use super::row::{Presence, Row};
use super::run::Run;
use super::state::{Message, Trim};
use super::word::{group, user};

impl Run<'_> {
    pub fn note_amend(&self, write: &Write, decision: &Decision, met: &mut Met) {
        let view = self.world.sequenced();
        let kind = decision.result.as_ref().err().map(|wrong| wrong.kind);
        if let Write::Hide { by, with, seqs } = write {
            let seqs = self.points(*by, *with, seqs);
            return self.note_hide(user(*by), *with, &seqs, decision, met);
        }
        let (Write::Recall { by, to, seq } | Write::Edit { by, to, seq, .. }) = write else { return };
        let is_recall = matches!(write, Write::Recall { .. });
        let timeline = to.timeline(*by);
        let seq = self.point_in(timeline, *seq);
        let line = view.state.line(timeline);
        met.when(kind == Some(ErrorKind::NotFound) && seq == 0, "amend: seq 0");
        met.when(kind == Some(ErrorKind::NotFound) && line.last() > 0 && seq > line.last(), "amend: above the end");
        let is_trimmed = kind == Some(ErrorKind::Trimmed);
        met.when(is_trimmed && line.dissolved().is_some(), "amend: recall in a dissolved group");
        met.when(is_trimmed && line.dissolved().is_none(), "trim: a recall, or an edit, of what is gone");
        met.when(kind == Some(ErrorKind::Dissolved), "amend: edit in a dissolved group");
        met.when(kind == Some(ErrorKind::Refused), "amend: edit of a recalled message");
        let Some(message) = line.message(seq) else { return };
        if !decision.changes() {
            met.when(is_recall && message.recalled.is_some(), "amend: recalled again");
            met.when(!is_recall && kind.is_none(), "amend: edited to what it says");
            return;
        }
        let is_unseen = seq > self.world.seen().state.last_seq(timeline);
        met.when(is_recall && is_unseen, "amend: recall of what is not seen yet");
        met.when(!is_recall && is_unseen, "amend: edit of what is not seen yet");
        met.when(is_recall && message.edited.is_some(), "amend: recall of an edited message");
        met.when(!is_recall && message.edited.is_some(), "amend: edited again");
        met.when(is_recall && is_hidden(view, message), "amend: hidden, then recalled");
        met.when(!is_recall && is_hidden(view, message), "amend: hidden, then edited");
        met.when(is_recall && !message.letter.counts, "amend: recall of a notice");
        met.when(is_recall && by == &0, "amend: recall by the server");
        let by_stranger = !view.state.users.contains_key(&user(*by)) && *by != 0;
        met.when(by_stranger, "amend: by one who does not exist");
        for (reader, row) in view.state.traces_of(timeline) {
            let is_own = message.letter.sender == reader;
            let is_unread = view.unread(reader, timeline, row).iter().any(|it| it.seq == seq);
            let is_above = seq > row.mark(line);
            let is_told = is_unread && message.noted.contains(&reader);
            met.when(is_recall && is_unread, "amend: recall of an unread message");
            met.when(is_recall && !is_above && !is_own, "amend: recall of a read message");
            met.when(is_recall && is_above && is_own, "amend: recall of one's own above the mark");
            met.when(is_recall && is_told, "mention: recalled");
            met.when(is_recall && is_unread && message.letter.alerts != 0, "alert: recalled");
            met.when(!is_recall && is_told, "mention: edited");
            let ceiling = row.ceiling;
            met.when(ceiling.is_some_and(|ceiling| seq <= ceiling), "amend: below a ceiling");
            met.when(ceiling.is_some_and(|ceiling| seq > ceiling), "amend: above a ceiling");
            met.when(seq <= row.floor, "amend: below a floor");
        }
    }

    fn note_hide(&self, by: UserId, with: super::word::With, seqs: &[u64], decision: &Decision, met: &mut Met) {
        let view = self.world.sequenced();
        let kind = decision.result.as_ref().err().map(|wrong| wrong.kind);
        met.when(kind == Some(ErrorKind::LimitExceeded), "hide: too many");
        let Some(timeline) = view.state.timeline(by, with.peer()) else { return };
        let Some(row) = view.state.row(by, timeline) else { return };
        let line = view.state.line(timeline);
        let is_trimmed = kind == Some(ErrorKind::Trimmed);
        met.when(is_trimmed && line.dissolved().is_some(), "hide: in a dissolved group");
        met.when(is_trimmed && line.dissolved().is_none(), "trim: a hide of what is gone");
        let is_below = seqs.iter().any(|seq| *seq > 0 && *seq <= row.floor);
        met.when(kind == Some(ErrorKind::NotFound) && is_below, "hide: below the floor");
        met.when(kind == Some(ErrorKind::NotFound) && seqs.len() > 1, "hide: one of many is not shown");
        met.when(kind.is_none() && !decision.changes() && !seqs.is_empty(), "hide: again");
        met.when(kind.is_none() && seqs.is_empty(), "hide: nothing");
        let Some(What::Hidden { seqs: hidden, .. }) = decision.whats.first() else { return };
        met.when(hidden.len() < seqs.len(), "hide: repeats, or hidden before");
        let is_implied = view.state.trace(by, timeline).is_none_or(|row| row.presence == Presence::Gone);
        met.when(is_implied, "source: a first act in a broadcast");
        let unread = view.unread(by, timeline, &row);
        for message in hidden.iter().filter_map(|seq| line.message(*seq)) {
            let is_unread = unread.iter().any(|it| it.seq == message.seq);
            met.when(message.recalled.is_some(), "amend: recalled, then hidden");
            met.when(message.edited.is_some(), "amend: edited, then hidden");
            met.when(is_unread, "hide: an unread message");
            met.when(message.letter.sender == by && message.seq > row.mark(line), "hide: one's own above the mark");
            met.when(is_unread && message.noted.contains(&by), "mention: hidden");
            met.when(is_unread && message.letter.alerts != 0, "alert: hidden");
            met.when(message.seq <= row.mark(line), "hide: a read message");
        }
    }

    pub fn note_session(&self, write: &Write, decision: &Decision, met: &mut Met) {
        let (by, with) = match write {
            Write::Read { by, with, .. }
            | Write::UnreadFrom { by, with, .. }
            | Write::Delivered { by, with, .. }
            | Write::Clear { by, with, .. }
            | Write::Remove { by, with }
            | Write::Flags { by, with, .. }
            | Write::Metadata { by, with, .. } => (*by, *with),
            _ => return,
        };
        let view = self.world.sequenced();
        let is_noted = matches!(write, Write::Flags { .. } | Write::Metadata { .. });
        let session = view.state.timeline(user(by), with.peer());
        let session = session.and_then(|timeline| Some((timeline, view.state.row(user(by), timeline)?)));
        let Some((timeline, row)) = session else {
            met.when(decision.is_not_found() && !is_noted, "mark: none, no session");
            met.when(decision.is_not_found() && is_noted, "flags: none, no session");
            met.when(is_noted && decision.changes(), "flags: a direct session for the setter only");
            let is_nothing = is_noted && !decision.changes() && decision.result.is_ok();
            met.when(is_nothing, "flags: nothing to note makes no session");
            let setter = user(by);
            met.when(decision.changes() && !view.state.users.contains_key(&setter), "flags: make the setter exist");
            return;
        };
        let line = view.state.line(timeline);
        let is_removed = row.is_removed(line);
        met.when(is_removed && decision.changes() && is_noted, "removed: flags set meanwhile are kept");
        met.when(is_removed && decision.changes() && !is_noted, "removed: marked meanwhile");
        let is_unchanged = decision.result == Ok(Said::Version(0));
        met.when(line.dissolved().is_some() && !is_noted && is_unchanged, "mark: none in a dissolved group");
        met.when(line.dissolved().is_some() && is_noted && decision.changes(), "flags: in a dissolved group");
        let is_implied = view.state.trace(user(by), timeline).is_none_or(|row| row.presence == Presence::Gone);
        met.when(is_implied && decision.changes(), "source: a first act in a broadcast");
        match write {
            Write::Read { upto, .. } => self.note_read(by, with, (timeline, &row), *upto, decision, met),
            Write::UnreadFrom { seq, .. } => {
                let seq = self.point(by, with, *seq);
                let is_own = |it: &&Message| it.letter.sender == user(by) && it.letter.counts;
                let mut own = line.messages.iter().filter(is_own);
                let has_own = own.any(|it| seq <= it.seq && it.seq <= row.mark(line));
                let is_above = seq > row.end(line.last()) && decision.result.is_err();
                met.when(decision.changes() && has_own, "mark: moved back below own messages");
                met.when(seq > 0 && seq - 1 < row.floor && decision.changes(), "mark: back stopped at a floor");
                let is_gone = seq > 0 && seq <= line.trim();
                met.when(is_gone && decision.changes(), "trim: a mark moved back stops at what is left");
                met.when(is_gone && is_unchanged, "trim: a mark cannot move back");
                met.when(is_above, "mark: back above the end is refused");
                let is_below_receipt = decision.changes() && row.read_max >= seq;
                met.when(is_below_receipt, "receipt: a mark moved back leaves it");
            }
            Write::Delivered { .. } => {
                met.when(decision.changes() && row.delivered_max > 0, "receipt: delivered goes up");
                met.when(is_unchanged && line.last() > 0, "receipt: delivered again");
            }
            Write::Clear { upto, .. } => {
                let upto = self.point(by, with, *upto);
                met.when(is_unchanged && line.dissolved().is_none() && row.floor > 0, "clear: at or below the floor");
                let is_gone = row.floor < upto && upto <= line.trim();
                met.when(is_gone && line.dissolved().is_none() && is_unchanged, "trim: what is gone is not cleared");
                met.when(decision.changes() && upto > row.mark(line), "clear: above the mark");
                met.when(decision.changes() && upto < row.mark(line), "clear: below the mark");
                let is_cut = row.ceiling.is_some_and(|ceiling| upto > ceiling);
                met.when(decision.changes() && is_cut, "clear: clamped at a ceiling");
                let has_more = view.state.last_seq(timeline) > self.world.seen().state.last_seq(timeline);
                met.when(decision.changes() && has_more, "clear: clamped to what is published");
                let floor = row.floor;
                let is_told = |it: &&Message| it.noted.contains(&user(by)) && floor < it.seq && it.seq <= upto;
                met.when(decision.changes() && line.messages.iter().any(|it| is_told(&it)), "mention: cleared");
            }
            Write::Remove { .. } => {
                met.when(is_removed && is_unchanged, "removed: again, with nothing left to drop");
                met.when(is_removed && decision.changes(), "removed: again, with something to drop");
                met.when(!is_removed && decision.changes() && row.removed.is_some(), "removed: after it was revived");
                met.when(decision.changes() && row.flags.muted, "removed: stays muted");
                met.when(decision.changes() && row.flags.pinned, "removed: is not pinned any more");
                met.when(decision.changes() && !row.is_member(), "removed: after it was left");
            }
            Write::Flags { .. } => met.when(is_unchanged, "flags: as they are leave no trace"),
            Write::Metadata { .. } => met.when(is_unchanged, "metadata: as it is leaves no trace"),
            _ => {}
        }
    }

    fn note_read(
        &self,
        by: u8,
        with: super::word::With,
        (timeline, row): (Timeline, &Row),
        upto: super::word::Point,
        decision: &Decision,
        met: &mut Met,
    ) {
        let view = self.world.sequenced();
        let line = view.state.line(timeline);
        let upto = self.point(by, with, upto);
        let seen_last = self.world.seen().state.last_seq(timeline);
        let end = row.end(seen_last);
        let is_beyond = row.ceiling.is_some_and(|ceiling| upto > ceiling && ceiling < seen_last);
        met.when(is_beyond, "mark: clamped at a ceiling");
        let is_cut = row.is_member() && upto > seen_last && line.last() > seen_last;
        met.when(is_cut, "mark: clamped to what is published");
        let is_own = |message: &&Message| message.letter.sender == user(by) && message.letter.counts;
        let has_own = line.messages.iter().filter(is_own).any(|it| row.mark(line) < it.seq && it.seq < upto);
        let remains = view.unread(user(by), timeline, row).iter().any(|it| it.seq > upto);
        let is_part = row.mark(line) < upto && upto < end && has_own && remains;
        met.when(is_part, "mark: part of what is unread, own messages between");
        let upto = upto.min(end);
        met.when(decision.changes() && upto <= row.floor && upto > row.read, "mark: read below a floor");
        met.when(decision.changes() && upto <= row.read, "mark: clears marked unread and stays");
        met.when(decision.changes() && upto > row.read && row.flags.marked_unread, "mark: clears marked unread");
        let has_other = matches!(timeline, Timeline::Direct(pair) if pair.low() != pair.high());
        let rises = decision.changes() && upto > row.read && upto > row.read_max;
        met.when(has_other && rises, "receipt: reading is told to the other one");
        let is_old = decision.changes() && upto > row.read && upto <= row.read_max;
        met.when(has_other && is_old, "receipt: reading again what was read is not");
    }

    pub fn note_group(&self, write: &Write, decision: &Decision, met: &mut Met) {
        let view = self.world.sequenced();
        let kind = decision.result.as_ref().err().map(|wrong| wrong.kind);
        let is_unchanged = decision.result == Ok(Said::Version(0));
        match write {
            Write::Create { .. } => met.when(is_unchanged, "group: created twice"),
            Write::SetGroup { .. } => met.when(is_unchanged, "group: settings as they are"),
            Write::GroupMetadata { group: number, .. } => {
                met.when(is_unchanged, "metadata: as it is leaves no trace");
                let has_left = view.state.traces_of(Timeline::Group(group(*number))).any(|(_, it)| !it.is_member());
                met.when(decision.changes() && has_left, "group: metadata that one who left is not told");
            }
            Write::Dissolve { group: number } => {
                met.when(is_unchanged, "group: dissolved twice");
                let timeline = Timeline::Group(group(*number));
                let line = view.state.line(timeline);
                for (_, row) in view.state.traces_of(timeline).filter(|_| decision.changes()) {
                    met.when(row.presence == Presence::Left, "group: dissolved after somebody left");
                    met.when(row.presence == Presence::Gone, "group: dissolved after a user was removed");
                    met.when(row.is_removed(line), "group: dissolved after a session was removed");
                }
                met.when(decision.changes() && line.last() == 0, "group: dissolved without a message");
            }
            Write::Join { group, by } => self.note_join(*group, *by, kind, met),
            Write::JoinMany { group, users } => {
                users.iter().for_each(|by| self.note_join(*group, *by, kind, met));
                if let Ok(Said::Admitted(admitted)) = &decision.result {
                    let is_mixed = admitted.joined > 0 && admitted.unchanged > 0;
                    met.when(is_mixed, "group: bulk join with repeats and members");
                }
            }
            Write::Leave { group: number, by } => {
                met.when(is_unchanged, "group: leave again");
                let row = view.state.row(user(*by), Timeline::Group(group(*number)));
                let holds = row.is_some_and(|row| row.role != 0 || !row.data.0.is_empty());
                met.when(decision.changes() && holds, "group: leaving ends a role");
            }
            Write::Role { group: number, by, .. } | Write::MemberData { group: number, by, .. } => {
                let row = view.state.row(user(*by), Timeline::Group(group(*number)));
                let has_left = row.is_some_and(|row| !row.is_member());
                met.when(decision.is_not_found() && has_left, "group: no role for one who left");
                met.when(is_unchanged, "group: a role as it is");
                met.when(kind == Some(ErrorKind::Dissolved), "group: no role in a dissolved one");
            }
            Write::Silence { group: number, by, .. } => {
                let row = view.state.row(user(*by), Timeline::Group(group(*number)));
                met.when(decision.changes() && row.is_some_and(|row| !row.is_member()), "group: silence after leaving");
            }
            Write::AddUser { by } => {
                met.when(is_unchanged, "people: added twice");
                let is_gone = view.state.traces(user(*by)).any(|(_, row)| row.presence == Presence::Gone);
                met.when(decision.changes() && is_gone, "people: a removed user is added again");
            }
            Write::RemoveUser { by, .. } => {
                let Ok(Said::Dropped { sessions, recalled, names }) = decision.result else { return };
                met.when(!decision.changes(), "people: removed who is not there");
                met.when(sessions > 1, "people: removed from several sessions");
                met.when(recalled > 0, "people: removed, and what was sent is recalled");
                met.when(names > 0, "people: removed, and its name is free");
                let is_second = view.state.traces(user(*by)).any(|(_, row)| row.presence == Presence::Gone);
                met.when(decision.changes() && is_second, "people: removed a second time");
                met.when(self.world.was_call_cut && decision.changes(), "people: removed again after a crash between");
            }
            Write::Resolve { kind: of, name } => {
                let Ok(Said::Named { created, .. }) = decision.result else {
                    return met.when(true, "name: too short or too long");
                };
                met.when(!created, "name: known");
                let names = view.state.names.keys().filter(|(kind, _)| kind == of).count() as u64;
                let given = view.state.allotted.get(of).copied().unwrap_or(0);
                met.when(created && names < given, "name: no id is given again");
                let other = view.state.names.keys().any(|(kind, other)| other == name && kind != of);
                met.when(created && other, "name: of another kind too");
            }
            Write::FreeName { .. } => {
                met.when(decision.changes(), "name: freed");
                met.when(decision.is_not_found(), "name: freed, and was not there");
            }
            Write::Settings(_) => {
                met.when(is_unchanged, "settings: as they are");
                met.when(kind == Some(ErrorKind::LimitExceeded), "settings: above their range");
            }
            Write::Maintain { .. } => {
                let rises = |decision: &Decision| matches!(decision.whats.first(), Some(What::Horizon { .. }));
                met.when(rises(decision), "horizon: rises");
                met.when(!rises(decision), "horizon: stays");
                let unstepped = self.decide(&Judge { is_stepped: false, ..self.world.judge() }, write);
                let is_doubted = self.world.is_stepped;
                met.when(is_doubted && rises(&unstepped), "clock: the horizon would rise and must not");
                let aged = |what: &What| matches!(what, What::Trimmed { age_day: Some(_), .. });
                let would_trim = is_doubted && unstepped.whats.iter().any(aged);
                met.when(would_trim, "clock: a message would be too old and must not");
                for what in &decision.whats {
                    self.note_trim(what, met);
                }
                met.when(decision.whats.len() > 2, "trim: several timelines in one round");
            }
            _ => {}
        }
    }

    fn note_trim(&self, what: &What, met: &mut Met) {
        let What::Trimmed { timeline, upto, age_day, .. } = what else { return };
        let view = self.world.sequenced();
        let (line, keep) = (view.state.line(*timeline), view.state.keep(*timeline));
        let trim = Trim { from: line.trim(), upto: *upto, version: 0 };
        let is_group = matches!(timeline, Timeline::Group(_));
        met.when(age_day.is_some(), "trim: for age");
        met.when(age_day.is_some() && line.age_day > 0, "trim: for age on another day");
        met.when(age_day.is_none() && keep.body_bytes == 0, "trim: down to a count");
        met.when(age_day.is_none() && keep.count == 0, "trim: down to so many bytes");
        met.when(age_day.is_none() && keep.age_secs > 0, "trim: beyond what is too old, or once more that day");
        met.when(trim.from > 0, "trim: again");
        met.when(*upto == line.last(), "trim: of all there is");
        met.when(!line.counts(&trim, u64::MAX), "trim: of nothing that counts");
        let own = line.group.as_ref().is_some_and(|group| group.settings.keep.is_some());
        met.when(own, "trim: by the group's own rule");
        let is_taken = |seq: u64| trim.from < seq && seq <= trim.upto;
        let is_amended = |it: &Message| it.recalled.or(it.edited).is_some();
        met.when(line.messages.iter().any(|it| is_taken(it.seq) && is_amended(it)), "trim: of what was amended");
        for (user, row) in view.state.traces_of(*timeline) {
            let is_shown = row.presence == Presence::Member && !row.is_removed(line);
            let unread = view.unread(user, *timeline, row);
            met.when(is_shown && unread.iter().any(|it| is_taken(it.seq)), "trim: of what is unread");
            let is_told = unread.iter().any(|it| is_taken(it.seq) && it.noted.contains(&user));
            met.when(is_shown && is_told, "trim: of what mentions");
            met.when(is_shown && is_taken(row.read + 1), "trim: over a read mark");
            met.when(is_shown && row.floor > trim.upto, "trim: below a floor");
            met.when(is_taken(row.floor + 1) && row.floor > trim.from, "trim: over a floor");
            met.when(row.hidden.keys().any(|seq| is_taken(*seq)), "trim: of what is hidden");
            let own = line.messages.iter().any(|it| it.letter.sender == user && is_taken(it.seq) && it.seq > row.read);
            met.when(is_shown && own, "trim: of one's own above the mark");
            met.when(row.presence == Presence::Gone, "trim: of what a removed user saw");
            met.when(row.is_removed(line), "trim: under a removed session");
            let Some(ceiling) = row.ceiling.filter(|_| is_group && row.presence == Presence::Left) else { continue };
            met.when(trim.from >= ceiling, "trim: above a ceiling");
            met.when(trim.upto < ceiling, "trim: below a ceiling");
            met.when(is_taken(ceiling) && trim.upto > ceiling, "trim: over a ceiling");
            met.when(
                line.counts(&trim, u64::MAX) && !line.counts(&trim, ceiling),
                "trim: of nothing that counted then",
            );
        }
        let is_untouched = view.state.traces_of(*timeline).next().is_none();
        met.when(matches!(timeline, Timeline::Broadcast(_)) && is_untouched, "trim: of a broadcast nobody touched");
        met.when(matches!(timeline, Timeline::Inbox(..)), "trim: of an inbox");
    }

    fn note_join(&self, number: u8, by: u8, kind: Option<ErrorKind>, met: &mut Met) {
        let view = self.world.sequenced();
        let timeline = Timeline::Group(group(number));
        let line = view.state.line(timeline);
        if kind == Some(ErrorKind::Dissolved) {
            return met.when(true, "group: nobody joins a dissolved one");
        }
        let shows_history = line.group.as_ref().is_some_and(|group| group.settings.shows_history);
        let trace = view.state.trace(user(by), timeline);
        let row = view.state.row(user(by), timeline);
        let sent_outside = line.messages.iter().any(|message| {
            message.letter.sender == user(by) && row.as_ref().is_none_or(|row| row.end(line.last()) < message.seq)
        });
        met.when(trace.is_some() && row.is_none(), "people: a removed user joins again");
        match row {
            Some(row) if row.is_member() => met.when(true, "group: join while a member"),
            Some(row) => {
                met.when(shows_history, "group: rejoin where history is shown");
                met.when(!shows_history, "group: rejoin where it is not");
                met.when(shows_history && row.clear_point > 0, "group: rejoin shows history above a clear point");
                let is_lower = shows_history && row.clear_point < row.floor;
                met.when(is_lower, "group: rejoin lowers a floor");
                met.when(row.is_removed(line), "removed: joining revives it");
                met.when(row.flags.muted || row.flags.pinned, "group: rejoin keeps flags");
                met.when(!row.hidden.is_empty(), "group: rejoin keeps what was hidden");
                met.when(row.read_max > 0, "receipt: rejoin keeps them");
                met.when(sent_outside, "group: one who had sent after leaving joins again");
                let told = line.messages.iter().any(|it| it.noted.contains(&user(by)) && it.seq > row.clear_point);
                met.when(is_lower && told, "mention: comes back with the history");
            }
            None => {
                met.when(sent_outside && shows_history, "group: one who had sent as a stranger joins and sees it");
            }
        }
    }
}
