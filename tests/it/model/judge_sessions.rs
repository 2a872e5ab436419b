//! What a user's own acts on a session do: marks, clears, removals, flags, hides.
//! Owns: these decisions. May touch: `judge`, `state`.
//! Never: makes a change.

use restante::limits::{HIDE_SEQS_MAX, METADATA_BYTES_MAX};
use restante::{ErrorKind, Peer, Timeline, UserId};

use super::answer::Bytes;
use super::change::{Marks, What};
use super::judge::{Decision, Judge};
use super::row::Row;
use super::word::Flagging;
use super::world::is_none;

impl Judge<'_> {
    /// The session that a user means, if it has it.
    fn session(&self, user: UserId, peer: Peer) -> Result<(Timeline, Row), Decision> {
        if user.is_none() || is_none(peer) {
            return Err(Decision::refused(ErrorKind::InvalidInput));
        }
        let timeline = self.state.timeline(user, peer);
        let row = timeline.and_then(|timeline| self.state.row(user, timeline));
        timeline.zip(row).ok_or(Decision::refused(ErrorKind::NotFound))
    }

    /// The same where a dissolved group ends the matter.
    fn living(&self, user: UserId, peer: Peer) -> Result<(Timeline, Row), Decision> {
        let (timeline, row) = self.session(user, peer)?;
        match self.state.line(timeline).dissolved() {
            Some(version) => Err(Decision::unchanged(version)),
            None => Ok((timeline, row)),
        }
    }

    /// The end of a session for those who only know what is published.
    fn seen_end(&self, timeline: Timeline, row: &Row) -> u64 {
        row.end(self.seen.last_seq(timeline))
    }

    pub fn mark_read(&self, user: UserId, peer: Peer, upto: u64) -> Decision {
        let (timeline, row) = match self.living(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        // A mark is clamped to what is published when the call is made.
        let upto = upto.min(self.seen_end(timeline, &row));
        if upto <= row.read && !row.flags.marked_unread {
            return Decision::unchanged(row.made.read.max(row.made.flags));
        }
        self.changed(What::Read { user, timeline, upto })
    }

    pub fn mark_unread_from(&self, user: UserId, peer: Peer, seq: u64) -> Decision {
        if seq == 0 {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        let (timeline, row) = match self.living(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        if seq > self.seen_end(timeline, &row) {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        let line = self.state.line(timeline);
        let read = (seq - 1).max(row.floor(line));
        if read >= row.mark(line) {
            // But for a trim it might have moved.
            let trimmed = if seq <= row.read { line.gone(row.read).unwrap_or(0) } else { 0 };
            return Decision::unchanged(row.made.read.max(row.made.floor).max(trimmed));
        }
        self.changed(What::MarkedBack { user, timeline, read })
    }

    pub fn mark_delivered(&self, user: UserId, peer: Peer, upto: u64) -> Decision {
        let (timeline, row) = match self.living(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let upto = upto.min(self.seen_end(timeline, &row));
        if upto <= row.delivered_max {
            return Decision::unchanged(row.made.delivered);
        }
        self.changed(What::Delivered { user, timeline, upto })
    }

    pub fn clear(&self, user: UserId, peer: Peer, upto: u64) -> Decision {
        let (timeline, row) = match self.living(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let upto = upto.min(self.seen_end(timeline, &row));
        let line = self.state.line(timeline);
        if upto <= row.floor {
            return Decision::unchanged(row.made.floor);
        }
        // What went need not be cleared.
        if upto <= line.trim() {
            return Decision::unchanged(line.gone(upto).unwrap_or(0));
        }
        self.changed(What::Cleared { user, timeline, upto })
    }

    pub fn remove_session(&self, user: UserId, peer: Peer) -> Decision {
        let (timeline, row) = match self.living(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let upto = self.seen_end(timeline, &row);
        let holds = row.flags.pinned || row.flags.marked_unread || !row.metadata.0.is_empty();
        let line = self.state.line(timeline);
        if row.is_removed(line) && !holds && upto <= row.floor(line) {
            return Decision::unchanged(row.made.floor.max(row.made.flags).max(row.made.metadata));
        }
        self.changed(What::Removed { user, timeline, upto })
    }

    /// The session to note something about; a `User` peer need not have one.
    fn notable(&self, user: UserId, peer: Peer) -> Result<(Timeline, Option<Row>), Decision> {
        match (self.session(user, peer), peer) {
            (Ok((timeline, row)), _) => Ok((timeline, Some(row))),
            (Err(decision), Peer::User(other)) if decision.is_not_found() => Ok((Timeline::direct(user, other), None)),
            (Err(decision), _) => Err(decision),
        }
    }

    pub fn set_flags(&self, user: UserId, peer: Peer, flagging: Flagging) -> Decision {
        let (timeline, row) = match self.notable(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let (before, made) = row.map_or((Marks::default(), 0), |row| (row.flags, row.made.flags));
        let flags = Marks {
            pinned: flagging.pinned.unwrap_or(before.pinned),
            muted: flagging.muted.unwrap_or(before.muted),
            marked_unread: flagging.marked_unread.unwrap_or(before.marked_unread),
        };
        if flags == before {
            return Decision::unchanged(made);
        }
        self.changed(What::Flagged { user, timeline, flags })
    }

    pub fn set_metadata(&self, user: UserId, peer: Peer, metadata: Bytes) -> Decision {
        if metadata.0.len() > METADATA_BYTES_MAX {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        let (timeline, row) = match self.notable(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let (before, made) = row.map_or((Bytes::default(), 0), |row| (row.metadata, row.made.metadata));
        if before == metadata {
            return Decision::unchanged(made);
        }
        self.changed(What::Noted { user, timeline, metadata })
    }

    pub fn hide(&self, user: UserId, peer: Peer, seqs: &[u64]) -> Decision {
        if seqs.len() > HIDE_SEQS_MAX {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        let (timeline, row) = match self.session(user, peer) {
            Ok(session) => session,
            Err(decision) => return decision,
        };
        let line = self.state.line(timeline);
        let end = self.seen_end(timeline, &row);
        // Which fault of several is told is open: that of the lowest seq.
        let mut seqs = seqs.to_vec();
        seqs.sort();
        seqs.dedup();
        for seq in &seqs {
            if *seq > 0 && *seq <= line.trim() {
                return Decision::refused_for(ErrorKind::Trimmed, line.gone(*seq).unwrap_or(0));
            }
            if *seq <= row.floor || *seq > end {
                return Decision::refused(ErrorKind::NotFound);
            }
        }
        let newest = seqs.iter().filter_map(|seq| row.hidden.get(seq)).map(|(version, _)| *version).max();
        seqs.retain(|seq| !row.hidden.contains_key(seq));
        if seqs.is_empty() {
            return Decision::unchanged(newest.unwrap_or(0));
        }
        self.changed(What::Hidden { user, timeline, seqs })
    }
}
