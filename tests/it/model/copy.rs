//! The end of a run: everything is asked and sent again, and another store is made from the same changes.
//! Owns: the copy of a store made from its changes, what is checked last. May touch: `run`, `ask`, `change`.
//! Never: asks for a change in the store under test that would be made.

use std::sync::Arc;

use restante::limits::HORIZON_MICROS;
use restante::{
    AmendmentCursor, Cursor, Durability, ErrorKind, ListQuery, ManualClock, Peer, RecentCursor, Seq, SimStorage, Store,
    Timeline, Timestamp, UserId,
};

use super::answer::{Plain, Written, plain, plain_effect};
use super::change::{Change, Letter, What};
use super::judge::Said;
use super::run::{Checked, Run, hold, options, same};
use super::state::State;
use super::word::{Flagging, KINDS, NAMES, USERS};
use super::write::{dressed, real_flags, real_rules, real_settings};

impl Run<'_> {
    /// Sends everything with a client id again: each is known, another kind under it is a conflict unless
    /// its body is no longer what it was, and nothing changes.
    fn send_all_again(&mut self) -> Checked {
        let all = self.world.seen().state.lines.values().flat_map(|line| &line.messages);
        let sent: Vec<Arc<Letter>> = all.map(|message| message.letter.clone()).collect();
        for letter in sent.into_iter().filter(|letter| letter.client_id != 0) {
            if self.world.seen().taken(letter.timeline, letter.sender, letter.client_id).is_none() {
                continue;
            }
            for kind in [letter.kind, letter.kind ^ 1] {
                let letter = Arc::new(Letter { kind, ..(*letter).clone() });
                let decision = self.world.judge().append(&letter);
                hold(!decision.changes(), || format!("the model wrote again: {letter:?}"))?;
                let store = plain(self.store().append(dressed(&letter)).wait(), |it| Said::Written(Written::from(it)));
                same(&format!("sent again: {letter:?}"), &store, &decision.result)?;
            }
        }
        same("version after retries", &self.store().version().get(), &self.world.published())
    }

    /// What is checked when all operations are played.
    pub fn finish(&mut self) -> Checked {
        self.sync()?;
        self.compare_all()?;
        for by in 1..USERS.len() as u8 {
            self.follow(by, 2, (3, 5_000), true)?;
        }
        self.send_all_again()?;
        self.ask_for_what_is_so()?;
        self.close_and_open(true)?;
        self.send_all_again()?;
        self.find_all()?;
        let copy = if self.world.was_call_cut { None } else { copy_of(&self.world.log)? };
        if let Some(copy) = copy {
            let digests = (self.store().state_digest(), copy.state_digest());
            let digests = (plain(digests.0, |digest| digest), plain(digests.1, |digest| digest));
            same("digest of a store with the same changes", &digests.0, &digests.1)?;
            // A cursor of another store is of an unknown epoch.
            let list = copy.changed(UserId(1), None, &ListQuery::new()).map_err(|error| format!("copy: {error:?}"))?;
            let foreign = self.store().changed(UserId(1), Some(&list.next), &ListQuery::new());
            let kind = foreign.map(|list| list.entries.len()).map_err(|error| error.kind());
            same("a cursor of another store", &kind, &Err(ErrorKind::ResetRequired))?;
            self.traps.hit("list: an unknown epoch");
        }
        for bytes in [&[0; 31][..], &[0; 33], &[]] {
            let kind = Cursor::from_bytes(bytes).map_err(|error| error.kind());
            same("a cursor of wrong length", &kind.err(), &Some(ErrorKind::InvalidInput))?;
        }
        for bytes in [&[0; 16][..], &[0; 18], &[]] {
            let kind = RecentCursor::from_bytes(bytes).map_err(|error| error.kind());
            same("a recent cursor of wrong length", &kind.err(), &Some(ErrorKind::InvalidInput))?;
        }
        for bytes in [&[0; 31][..], &[0; 33], &[]] {
            let kind = AmendmentCursor::from_bytes(bytes).map_err(|error| error.kind());
            same("an amendment cursor of wrong length", &kind.err(), &Some(ErrorKind::InvalidInput))?;
        }
        self.verify()?;
        self.drop_copies()?;
        self.note_work();
        self.note_end();
        Ok(())
    }
}

/// Another store to which the same changes are made, one by one, each at its commit time; `None` if a
/// session was removed up to what was published while there was more, which takes the same moment.
fn copy_of(log: &[Change]) -> Checked<Option<Store>> {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let storage = SimStorage::new(0x00c0_97ed);
    let store = Store::open_on(storage, options(Durability::Buffered, &clock)).map_err(|error| format!("{error:?}"))?;
    let mut before = State::new();
    let mut made = 0;
    for (index, change) in log.iter().enumerate() {
        clock.set(Timestamp(change.commit_time));
        if let What::Removed { user, timeline, upto } = &change.what
            && before.row(*user, *timeline).is_some_and(|row| row.end(before.last_seq(*timeline)) != *upto)
        {
            return Ok(None);
        }
        if change.version > made {
            // Removing a user is one call with many changes; the first of them says how many.
            let call = &log[index..change.call_end as usize];
            let version = again(&store, &before, change, call);
            made = if is_of_removal(call) || is_of_maintenance(call) { change.call_end } else { change.version };
            same(&format!("made again: {change:?}"), &version, &Ok(made))?;
        }
        before.apply(change);
    }
    Ok(Some(store))
}

/// Whether changes are those of removing a user.
fn is_of_removal(call: &[Change]) -> bool {
    matches!(call.last(), Some(Change { what: What::Ended { .. }, .. }))
}

/// Whether changes are those of a round of maintenance that trimmed something.
fn is_of_maintenance(call: &[Change]) -> bool {
    matches!(call.last(), Some(Change { what: What::Trimmed { .. }, .. }))
}

/// Makes a change by the call that makes it, and gives the version it got.
fn again(store: &Store, before: &State, change: &Change, call: &[Change]) -> Plain<u64> {
    let peer = |timeline: Timeline, user: UserId| -> Peer { timeline.peer_of(user).expect("it has the session") };
    if let (true, Some(Change { what: What::Ended { user }, .. })) = (is_of_removal(call), call.last()) {
        let recall_all = call.iter().any(|change| matches!(change.what, What::Recalled { .. }));
        return plain(store.remove_user(*user, recall_all), |_| store.version().get());
    }
    if let Some(Change { what: What::Trimmed { now, .. }, .. }) = call.last() {
        return plain(store.maintain(Timestamp(*now)).wait(), |_| store.version().get());
    }
    let ticket = match &change.what {
        What::Sent { letter, .. } => {
            return plain(store.append(dressed(letter)).wait(), |appended| appended.version.get());
        }
        What::Named { kind, name, .. } => {
            let ticket = store.resolve_or_create(KINDS[*kind as usize], NAMES[*name as usize]);
            return plain(ticket.wait(), |_| store.version().get());
        }
        What::Horizon { version } => {
            let now = Timestamp(before.time_of(*version) + HORIZON_MICROS);
            return plain(store.maintain(now).wait(), |it| plain_effect(it.effect));
        }
        What::Recalled { timeline, seq, by } => store.recall(*by, *timeline, Seq(*seq)),
        What::Edited { timeline, seq, by, body } => store.edit(*by, *timeline, Seq(*seq), &body.0),
        What::Hidden { user, timeline, seqs } => {
            let seqs: Vec<Seq> = seqs.iter().copied().map(Seq).collect();
            store.hide(*user, peer(*timeline, *user), &seqs)
        }
        What::Read { user, timeline, upto } => store.mark_read(*user, peer(*timeline, *user), Seq(*upto)),
        What::MarkedBack { user, timeline, read } => {
            store.mark_unread_from(*user, peer(*timeline, *user), Seq(*read + 1))
        }
        What::Delivered { user, timeline, upto } => store.mark_delivered(*user, peer(*timeline, *user), Seq(*upto)),
        What::Cleared { user, timeline, upto } => store.clear(*user, peer(*timeline, *user), Seq(*upto)),
        What::Removed { user, timeline, .. } => store.remove_session(*user, peer(*timeline, *user)),
        What::Flagged { user, timeline, flags } => {
            let flags = Flagging {
                pinned: Some(flags.pinned),
                muted: Some(flags.muted),
                marked_unread: Some(flags.marked_unread),
            };
            store.set_flags(*user, peer(*timeline, *user), real_flags(flags))
        }
        What::Noted { user, timeline, metadata } => store.set_metadata(*user, peer(*timeline, *user), &metadata.0),
        What::Created { group, settings } => store.create_group(*group, real_settings(*settings)),
        What::Set { group, settings } => store.set_group(*group, real_settings(*settings)),
        What::GroupNoted { group, metadata } => store.set_group_metadata(*group, &metadata.0),
        What::Dissolved { group } => store.dissolve(*group),
        What::Joined { group, user } => store.join(*group, *user),
        What::Left { group, user } => store.leave(*group, *user),
        What::Role { group, user, role } => store.set_role(*group, *user, *role),
        What::MemberData { group, user, data } => store.set_member_data(*group, *user, &data.0),
        What::Silenced { group, user, until } => store.silence(*group, *user, Timestamp(*until)),
        What::Added { user } => store.add_user(*user),
        What::Freed { kind, name } => store.free_name(KINDS[*kind as usize], NAMES[*name as usize]),
        What::Ruled { rules } => store.set_settings(real_rules(*rules)),
        What::Dropped { .. } | What::Ended { .. } | What::Trimmed { .. } => {
            unreachable!("these come from calls that make several changes")
        }
    };
    plain(ticket.wait(), plain_effect)
}
