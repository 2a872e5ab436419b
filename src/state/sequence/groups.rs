//! Groups and their members: made, set, joined, left, dissolved.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: touches a row but those of the users named.

use super::super::overlay::Busy;
use super::{
    Answer, Class, Decided, Effect, Sequencer, Stale, change_bytes_max, dissolved, join_bytes_max, no_group, no_session,
};
use crate::change::{Change, Dissolve, Join, Leave, RowKey, SetGroup, SetGroupMetadata, SetMember};
use crate::id::{GroupId, Timeline, UserId, Version};
use crate::settings::GroupSettings;
use crate::state::{Row, State, Tip};

/// What a bulk join did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// How many became members.
    pub joined: usize,
    /// How many were members already, or named twice.
    pub unchanged: usize,
    /// The version of the last one who joined; 0 if nobody did.
    pub version: Version,
}

impl Sequencer {
    /// Makes a group.
    pub fn create_group(&mut self, state: &State, now: u64, group: GroupId, settings: GroupSettings) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let timeline = Timeline::Group(group);
        match self.overlay.tip(state, timeline) {
            Some(tip) if tip.dissolved => return Ok(Decided::refused(dissolved(timeline), tip.news_version)),
            Some(tip) => return Ok(Decided::unchanged(tip.created)),
            None => {}
        }
        self.reserve(change_bytes_max(0), Class::Adds)?;
        let version = self.next_version;
        self.overlay.set_tip(timeline, Tip::new(settings, version), version);
        Ok(self.queue_one(Change::Group(SetGroup { group, creates: true, settings }), Vec::new(), now))
    }

    /// Changes how a group behaves.
    pub fn set_group(&mut self, state: &State, now: u64, group: GroupId, settings: GroupSettings) -> Answer<Effect> {
        let timeline = Timeline::Group(group);
        let tip = match self.group(state, timeline) {
            Ok(tip) => tip,
            Err(refusal) => return Ok(refusal),
        };
        if tip.settings == settings {
            // Which change set them is not kept.
            return Ok(Decided::unchanged(self.overlay.newest().max(state.version)));
        }
        self.reserve(change_bytes_max(0), Class::Adds)?;
        let settings_by = self.next_version;
        self.overlay.set_tip(timeline, Tip { settings, settings_by, ..tip }, settings_by);
        Ok(self.queue_one(Change::Group(SetGroup { group, creates: false, settings }), Vec::new(), now))
    }

    /// Changes what the server noted about a group.
    pub fn set_group_metadata(&mut self, state: &State, now: u64, group: GroupId, metadata: &[u8]) -> Answer<Effect> {
        let timeline = Timeline::Group(group);
        let tip = match self.group(state, timeline) {
            Ok(tip) => tip,
            Err(refusal) => return Ok(refusal),
        };
        self.wait_for(&Busy::Group(group))?;
        let before = state.head_of(timeline).and_then(|head| head.metadata.as_deref()).unwrap_or_default();
        if before == metadata {
            return Ok(Decided::unchanged(tip.news_version.max(tip.created)));
        }
        self.reserve(change_bytes_max(metadata.len()), Class::Adds)?;
        let version = self.next_version;
        self.overlay.set_busy(Busy::Group(group), version);
        self.set_news(timeline, tip, now);
        Ok(self.queue_one(Change::GroupMetadata(SetGroupMetadata { group }), metadata.to_vec(), now))
    }

    /// Ends a group for good.
    pub fn dissolve(&mut self, state: &State, now: u64, group: GroupId) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let timeline = Timeline::Group(group);
        let tip = match self.overlay.tip(state, timeline) {
            None => return Ok(Decided::refused(no_group(timeline), 0)),
            Some(tip) if tip.dissolved => return Ok(Decided::unchanged(tip.news_version)),
            Some(tip) => tip,
        };
        self.reserve(change_bytes_max(0), Class::Frees)?;
        self.set_news(timeline, Tip { dissolved: true, ..tip }, now);
        Ok(self.queue_one(Change::Dissolve(Dissolve { group }), Vec::new(), now))
    }

    /// The pending value of a tip about which there is news.
    pub(super) fn set_news(&mut self, timeline: Timeline, tip: Tip, now: u64) {
        let (news_version, news_time) = (self.next_version, now.max(self.last_time));
        self.overlay.set_tip(timeline, Tip { news_version, news_time, ..tip }, news_version);
    }

    /// Makes members of all of `users` who are none.
    pub fn join(&mut self, state: &State, now: u64, group: GroupId, users: &[UserId]) -> Answer<Joined> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let time = now.max(self.last_time);
        let timeline = Timeline::Group(group);
        if let Some(tip) = self.overlay.tip(state, timeline).filter(|tip| tip.dissolved) {
            return Ok(Decided::refused(dissolved(timeline), tip.news_version));
        }
        let mut joined = Joined { joined: 0, unchanged: 0, version: Version::NONE };
        let mut rests_on = 0;
        for user in users {
            let row = self.overlay.row(state, timeline, *user);
            if let Some(row) = row.filter(|row| row.is_present()) {
                rests_on = rests_on.max(row.version);
                joined.unchanged += 1;
                continue;
            }
            if joined.joined == 0 {
                self.reserve(join_bytes_max(users.len()), Class::Adds)?;
            }
            let version = self.next_version;
            let before = self.overlay.tip(state, timeline);
            let tip = before.unwrap_or(Tip::new(GroupSettings::default(), version));
            let row = row.unwrap_or(Row::outside(0));
            // Where history is shown, only what the user itself cleared stays away.
            let (floor, floor_ordinal) =
                if tip.settings.shows_history { (row.cleared, row.cleared_ordinal) } else { (tip.last, tip.ordinal) };
            let appears = !self.exists(state, *user);
            let change = Join {
                group,
                user: *user,
                creates: before.is_none(),
                appears,
                joined_at: tip.last,
                joined_ordinal: tip.ordinal,
                floor,
                floor_ordinal,
            };
            if before.is_none() {
                self.overlay.set_tip(timeline, tip, version);
            }
            if appears {
                self.overlay.set_exists_since(*user, version, version);
            }
            let row = row.joined((tip.last, tip.ordinal), (floor, floor_ordinal), version, time);
            self.overlay.set_row(timeline, *user, row, version);
            let bytes_max = if joined.joined == 0 { join_bytes_max(users.len()) } else { 0 };
            self.queue(Change::Join(change), Vec::new(), time, joined.joined > 0, bytes_max);
            joined.joined += 1;
            joined.version = Version(version);
        }
        if joined.joined > 0 {
            self.last_time = time;
            rests_on = joined.version.0;
        }
        Ok(Decided { result: Ok(joined), rests_on })
    }

    /// Ends a membership at the newest message.
    pub fn leave(&mut self, state: &State, now: u64, group: GroupId, user: UserId) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let timeline = Timeline::Group(group);
        let tip = self.overlay.tip(state, timeline);
        let row = self.overlay.row(state, timeline, user).filter(Row::is_session);
        let (Some(tip), Some(row)) = (tip, row) else {
            return Ok(Decided::refused(no_session(timeline, user), 0));
        };
        if tip.dissolved {
            return Ok(Decided::unchanged(tip.news_version));
        }
        if !row.is_present() {
            return Ok(Decided::unchanged(row.version));
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        let (version, time) = (self.next_version, now.max(self.last_time));
        let change = Leave {
            group,
            user,
            ceiling: tip.last,
            ceiling_ordinal: tip.ordinal,
            ceiling_timestamp: tip.last_timestamp,
        };
        let row = row.left((tip.last, tip.ordinal), tip.last_timestamp, version, time);
        self.overlay.set_row(timeline, user, row, version);
        Ok(self.queue_one(Change::Leave(change), Vec::new(), now))
    }

    /// Sets what the server says about a member: its role, its data, or until when it is silenced.
    pub fn set_member(&mut self, state: &State, now: u64, member: SetMember, data: &[u8]) -> Answer<Effect> {
        let SetMember { group, user, role, silenced_until, .. } = member;
        let timeline = Timeline::Group(group);
        if let Err(refusal) = self.group(state, timeline) {
            return Ok(refusal);
        }
        let is_for_members = role.is_some() || member.data;
        let row = self.overlay.row(state, timeline, user);
        let Some(row) = row.filter(|row| row.is_session() && (row.is_present() || !is_for_members)) else {
            return Ok(Decided::refused(no_session(timeline, user), row.map_or(0, |row| row.version)));
        };
        let after =
            Row { role: role.unwrap_or(row.role), silenced_until: silenced_until.unwrap_or(row.silenced_until), ..row };
        let mut is_same = after == row;
        if member.data {
            self.wait_for(&Busy::Notes(timeline, user))?;
            // A pending leave or join drops the bytes.
            if row.version > state.version {
                return Err(Stale::Pending(row.version));
            }
            is_same = member_data(state, timeline, user) == data;
        }
        if is_same {
            return Ok(Decided::unchanged(row.version));
        }
        self.reserve(change_bytes_max(data.len()), Class::Adds)?;
        if member.data {
            self.overlay.set_busy(Busy::Notes(timeline, user), self.next_version);
        }
        let key = RowKey { timeline, user, opening: None, appears: false };
        Ok(self.queue_row(now, key, after, Change::Member(member), data.to_vec()))
    }
}

fn member_data(state: &State, timeline: Timeline, user: UserId) -> &[u8] {
    let row = state.row_of(user, timeline);
    row.and_then(|row| state.notes(user, row)?.data.as_deref()).unwrap_or_default()
}
