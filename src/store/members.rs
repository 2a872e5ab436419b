//! Members of groups: what the server says about them, who has read what.
//! Owns: the checks of these calls, the pages of members and receipts. May touch: `pipeline`, `state`.
//! Never: reads a message but the one that receipts are asked for.

use super::groups::{check_id, no_group};
use super::needs;
use super::{Store, Ticket};
use crate::change::SetMember;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, Peer, Seq, Timeline, UserId};
use crate::limits::{MEMBER_BYTES_MAX, MEMBERS_MAX, check};
use crate::state::{Effect, Seat, State};
use crate::storage::Body;
use crate::time::Timestamp;

/// A present member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Its role, in the server's own numbers; 0 at first.
    pub role: u8,
    /// It may not send before this time.
    pub silenced_until: Timestamp,
    /// The newest message when it joined.
    pub joined_at: Seq,
    /// When it joined.
    pub joined_time: Timestamp,
    /// What the server keeps with it.
    pub data: Body,
}

/// A page of members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// By id.
    pub members: Vec<Member>,
    /// Whether more follows.
    pub more: bool,
}

/// A page of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Groups {
    /// By id.
    pub groups: Vec<GroupId>,
    /// Whether more follows.
    pub more: bool,
}

/// Who has got a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipts {
    /// How many could: present members who joined before it, without its sender.
    pub members: u64,
    /// To how many of them it was delivered.
    pub delivered: u64,
    /// How many of them have read it.
    pub read: u64,
    /// To whom it was delivered, by id.
    pub receipts: Vec<Receipt>,
    /// Whether more follows.
    pub more: bool,
}

/// One who has got a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Who.
    pub user: UserId,
    /// Whether it has also read it.
    pub read: bool,
}

impl Store {
    /// Sets a member's role, in the server's own numbers. It ends with the membership.
    ///
    /// # Errors
    /// `NotFound` if the user is no member now; `Dissolved`; `InvalidInput` for an id of 0, `Full`,
    /// `Poisoned`, `Closed`.
    pub fn set_role(&self, group: GroupId, user: UserId, role: u8) -> Ticket<Effect> {
        let member = SetMember { group, user, role: Some(role), silenced_until: None, data: false };
        self.set_member(Ok(()), member, &[])
    }

    /// Replaces the bytes that the server keeps with a member, at most [`MEMBER_BYTES_MAX`]. They end with
    /// the membership.
    ///
    /// # Errors
    /// As [`Store::set_role`]; `LimitExceeded`.
    pub fn set_member_data(&self, group: GroupId, user: UserId, data: &[u8]) -> Ticket<Effect> {
        let member = SetMember { group, user, role: None, silenced_until: None, data: true };
        self.set_member(check("bytes of a member", data.len(), MEMBER_BYTES_MAX), member, data)
    }

    /// Refuses what the user sends to the group with a commit time before `until`; 0 lifts that. It holds
    /// also for one who left, and if it comes back.
    ///
    /// # Errors
    /// `NotFound` if the user never was a member; as [`Store::set_role`].
    pub fn silence(&self, group: GroupId, user: UserId, until: Timestamp) -> Ticket<Effect> {
        let silenced_until = Some(until.min(Timestamp::MAX).0);
        let member = SetMember { group, user, role: None, silenced_until, data: false };
        self.set_member(Ok(()), member, &[])
    }

    fn set_member(&self, checked: Result<()>, member: SetMember, data: &[u8]) -> Ticket<Effect> {
        let checked = checked.and_then(|()| check_id(member.group.is_none() || member.user.is_none()));
        self.checked(
            checked,
            |all| needs::session(member.user, Timeline::Group(member.group), all),
            |sequencer, state, now| sequencer.set_member(state, now, member, data),
        )
    }

    /// The members of a group with ids above `after`, at most `limit`, at most [`MEMBERS_MAX`]. Of a
    /// dissolved group, none.
    ///
    /// # Errors
    /// `NotFound`, `LimitExceeded`, `InvalidInput` for id 0.
    pub fn members(&self, group: GroupId, after: UserId, limit: usize) -> Result<Members> {
        check("members of a page", limit, MEMBERS_MAX)?;
        check_id(group.is_none())?;
        let found = self.pipeline.look(|state| {
            let head = state.head_of(Timeline::Group(group))?;
            let mut seats = head.roster.iter().flat_map(|roster| roster.after(after));
            let members = seats.by_ref().take(limit).filter_map(|seat| member(state, group, seat)).collect();
            Some(Members { members, more: seats.next().is_some() })
        })?;
        found.ok_or_else(|| no_group(group))
    }

    /// The groups in which the user is now, with ids above `after`, at most `limit`, at most
    /// [`MEMBERS_MAX`].
    ///
    /// # Errors
    /// `LimitExceeded`, `InvalidInput` for id 0.
    pub fn groups_of(&self, user: UserId, after: GroupId, limit: usize) -> Result<Groups> {
        check("groups of a page", limit, MEMBERS_MAX)?;
        check_id(user.is_none())?;
        let mut groups: Vec<GroupId> = self.pipeline.look(|state| {
            let rows = state.rows(user).iter().filter(|row| row.is_present());
            rows.map(|row| state.head(row.slot))
                .filter(|head| !head.tip.dissolved)
                .filter_map(|head| if let Timeline::Group(group) = head.timeline { Some(group) } else { None })
                .filter(|group| *group > after)
                .collect()
        })?;
        groups.sort_unstable();
        let more = groups.len() > limit;
        groups.truncate(limit);
        Ok(Groups { groups, more })
    }

    /// Who has got a message that the user sees: how many, and, by id above `after`, which, at most
    /// `limit`, at most [`MEMBERS_MAX`].
    ///
    /// Counts present members who joined before the message, without its sender; what they cleared or saw
    /// trimmed does not count as read. Takes time in proportion to the members (some thirty microseconds for
    /// 30,000, see docs/testing.md), and nothing was ever written for each of them.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session, or is not shown the message; `Trimmed`; `LimitExceeded`;
    /// `InvalidInput` for an id of 0; `Corruption`, `Io`.
    pub fn receipts(&self, user: UserId, peer: Peer, seq: Seq, after: UserId, limit: usize) -> Result<Receipts> {
        check("receipts of a page", limit, MEMBERS_MAX)?;
        let timeline = self.session_timeline(user, peer)?;
        self.pipeline.look(|state| {
            let Some(row) = state.slot(timeline).and_then(|slot| state.session(user, slot)) else {
                let message = format!("no such session: {timeline} user={}", user.0);
                return Err(Error::new(ErrorKind::NotFound, message));
            };
            let head = state.head(row.slot);
            let tip = &head.tip;
            if seq.0 <= row.floor(tip) || seq.0 > row.end(tip.last) || head.is_lost(seq.0) {
                let is_trimmed = !seq.is_none() && seq.0 <= tip.trim();
                let kind = if is_trimmed { ErrorKind::Trimmed } else { ErrorKind::NotFound };
                let what = if is_trimmed { "was trimmed" } else { "is not there" };
                let message = format!("the message {what}: {timeline} user={} seq={}", user.0, seq.0);
                return Err(Error::new(kind, message));
            }
            Ok(())
        })??;
        let sender = self.pipeline.stored(timeline, seq.0)?.append.sender;
        self.pipeline.look(|state| receipts(state, timeline, seq, sender, after, limit))
    }
}

/// What the seats of a timeline say about a message.
fn receipts(state: &State, timeline: Timeline, seq: Seq, sender: UserId, after: UserId, limit: usize) -> Receipts {
    let mut found = Receipts { members: 0, delivered: 0, read: 0, receipts: Vec::new(), more: false };
    let Some(slot) = state.slot(timeline) else { return found };
    let head = state.head(slot);
    let could = |seat: &Seat| seat.joined_at < seq.0 && seat.user != sender;
    let receipt = |seat: &Seat| Receipt { user: seat.user, read: seat.read_max >= seq.0 };
    let has_got = |seat: &Seat| could(seat) && seat.delivered_max >= seq.0;
    let mut count = |seats: &[Seat]| {
        for seat in seats {
            let could = could(seat);
            found.members += u64::from(could);
            found.delivered += u64::from(could && seat.delivered_max >= seq.0);
            found.read += u64::from(could && seat.read_max >= seq.0);
        }
    };
    if let Some(roster) = &head.roster {
        count(roster.seats());
        let mut listed = roster.after(after).filter(|seat| has_got(seat));
        found.receipts = listed.by_ref().take(limit).map(receipt).collect();
        found.more = listed.next().is_some();
    } else {
        let seats = ends(state, timeline, slot);
        count(&seats);
        let mut listed = seats.iter().filter(|seat| seat.user > after && has_got(seat));
        found.receipts = listed.by_ref().take(limit).map(receipt).collect();
        found.more = listed.next().is_some();
    }
    found
}

fn member(state: &State, group: GroupId, seat: &Seat) -> Option<Member> {
    let row = state.row_of(seat.user, Timeline::Group(group))?;
    let data = state.notes(seat.user, row).and_then(|notes| notes.data.clone());
    Some(Member {
        user: seat.user,
        role: row.role,
        silenced_until: Timestamp(row.silenced_until),
        joined_at: Seq(row.joined_at),
        joined_time: Timestamp(row.joined_time),
        data: data.map_or_else(Body::empty, Body::shared),
    })
}

/// Those at the ends of a direct timeline or an inbox, as if they had seats.
fn ends(state: &State, timeline: Timeline, slot: u32) -> Vec<Seat> {
    let Some(pair) = timeline.ends() else { return Vec::new() };
    let mut users = vec![pair.low(), pair.high()];
    users.dedup();
    let rows = users.into_iter().filter_map(|user| Some((user, state.row(user, slot)?)));
    rows.filter(|(_, row)| row.is_present())
        .map(|(user, row)| Seat {
            user,
            joined_at: row.joined_at,
            read_max: row.read_max,
            delivered_max: row.delivered_max,
        })
        .collect()
}
