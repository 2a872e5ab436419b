//! What calls about groups, people, names and the store itself do.
//! Owns: these decisions. May touch: `judge`, `state`.
//! Never: makes a change.

use restante::limits::{
    BODY_BYTES_LIMIT, DEDUP_WINDOW_SECS_MAX, HORIZON_MICROS, LATEST_BYTES_LIMIT, MEMBER_BYTES_MAX, MENTIONS_MAX,
    METADATA_BYTES_MAX, NAME_BYTES_MAX, RETENTION_AGE_SECS_MAX, RETENTION_BODY_BYTES_MAX, RETENTION_COUNT_MAX,
};
use restante::{ErrorKind, GroupId, Timeline, UserId};

use super::answer::{Admitted, Bytes, Wrong};
use super::change::{Settings, What};
use super::judge::{Decision, Judge, Said};
use super::row::Row;
use super::state::{Group, Message};
use super::word::{Keep, NAMES, Rules};
use super::world::with_change;

impl Judge<'_> {
    /// A group that is there and not dissolved.
    fn group(&self, group: GroupId) -> Result<&Group, Decision> {
        if group.is_none() {
            return Err(Decision::refused(ErrorKind::InvalidInput));
        }
        let group = self.state.group(group).ok_or(Decision::refused(ErrorKind::NotFound))?;
        match group.dissolved {
            Some(version) => Err(Decision::refused_for(ErrorKind::Dissolved, version)),
            None => Ok(group),
        }
    }

    pub fn create_group(&self, group: GroupId, settings: Settings) -> Decision {
        if settings.keep.is_some_and(is_above) {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        match self.group(group) {
            Ok(it) => Decision::unchanged(it.created),
            Err(decision) if decision.is_not_found() => self.changed(What::Created { group, settings }),
            Err(decision) => decision,
        }
    }

    pub fn set_group(&self, group: GroupId, settings: Settings) -> Decision {
        if settings.keep.is_some_and(is_above) {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        match self.group(group) {
            Err(decision) => decision,
            Ok(it) if it.settings == settings => Decision::unchanged(it.settings_version),
            Ok(_) => self.changed(What::Set { group, settings }),
        }
    }

    pub fn set_group_metadata(&self, group: GroupId, metadata: Bytes) -> Decision {
        if metadata.0.len() > METADATA_BYTES_MAX {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        match self.group(group) {
            Err(decision) => decision,
            Ok(it) if it.metadata == metadata => Decision::unchanged(it.metadata_version),
            Ok(_) => self.changed(What::GroupNoted { group, metadata }),
        }
    }

    pub fn dissolve(&self, group: GroupId) -> Decision {
        match self.group(group) {
            Err(Decision { result: Err(Wrong { kind: ErrorKind::Dissolved, .. }), rests_on, .. }) => {
                Decision::unchanged(rests_on)
            }
            Err(decision) => decision,
            Ok(_) => self.changed(What::Dissolved { group }),
        }
    }

    pub fn join(&self, group: GroupId, user: UserId) -> Decision {
        if user.is_none() {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        match self.group(group) {
            Err(decision) if !decision.is_not_found() => return decision,
            _ => {}
        }
        match self.state.row(user, Timeline::Group(group)) {
            Some(row) if row.is_member() => Decision::unchanged(row.joined_version),
            _ => self.changed(What::Joined { group, user }),
        }
    }

    pub fn join_many(&self, group: GroupId, users: &[UserId]) -> Decision {
        if group.is_none() {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        if let Some(item) = users.iter().position(|user| user.is_none()) {
            let wrong = Wrong { kind: ErrorKind::InvalidInput, item: Some(item) };
            return Decision { result: Err(wrong), ..Decision::refused(ErrorKind::InvalidInput) };
        }
        if let Err(decision) = self.group(group)
            && !decision.is_not_found()
        {
            return decision;
        }
        let mut state = self.state.clone();
        let mut decision = Decision { is_batch: true, ..Decision::unchanged(0) };
        let mut admitted = Admitted { joined: 0, unchanged: 0, version: 0 };
        for user in users {
            let judge = Judge { state: &state, ..*self };
            let one = judge.join(group, *user);
            decision.rests_on = decision.rests_on.max(one.rests_on);
            match one.whats.into_iter().next() {
                Some(what) => {
                    admitted.joined += 1;
                    admitted.version = with_change(&mut state, self.clock, what.clone());
                    decision.whats.push(what);
                }
                None => admitted.unchanged += 1,
            }
        }
        Decision { result: Ok(Said::Admitted(admitted)), ..decision }
    }

    pub fn leave(&self, group: GroupId, user: UserId) -> Decision {
        if group.is_none() || user.is_none() {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        let timeline = Timeline::Group(group);
        let Some(row) = self.state.row(user, timeline) else { return Decision::refused(ErrorKind::NotFound) };
        if let Some(version) = self.state.line(timeline).dissolved() {
            return Decision::unchanged(version);
        }
        match row.is_member() {
            false => Decision::unchanged(row.left_version),
            true => self.changed(What::Left { group, user }),
        }
    }

    /// One who is or was a member.
    fn member(&self, group: GroupId, user: UserId) -> Result<Row, Decision> {
        if user.is_none() {
            return Err(Decision::refused(ErrorKind::InvalidInput));
        }
        self.group(group)?;
        self.state.row(user, Timeline::Group(group)).ok_or(Decision::refused(ErrorKind::NotFound))
    }

    fn present(&self, group: GroupId, user: UserId) -> Result<Row, Decision> {
        let row = self.member(group, user)?;
        if row.is_member() { Ok(row) } else { Err(Decision::refused(ErrorKind::NotFound)) }
    }

    pub fn set_role(&self, group: GroupId, user: UserId, role: u8) -> Decision {
        match self.present(group, user) {
            Err(decision) => decision,
            Ok(row) if row.role == role => Decision::unchanged(row.made.role),
            Ok(_) => self.changed(What::Role { group, user, role }),
        }
    }

    pub fn set_member_data(&self, group: GroupId, user: UserId, data: Bytes) -> Decision {
        if data.0.len() > MEMBER_BYTES_MAX {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        match self.present(group, user) {
            Err(decision) => decision,
            Ok(row) if row.data == data => Decision::unchanged(row.made.data),
            Ok(_) => self.changed(What::MemberData { group, user, data }),
        }
    }

    pub fn silence(&self, group: GroupId, user: UserId, until: u64) -> Decision {
        match self.member(group, user) {
            Err(decision) => decision,
            Ok(row) if row.silenced_until == until => Decision::unchanged(row.silenced_version),
            Ok(_) => self.changed(What::Silenced { group, user, until }),
        }
    }

    pub fn add_user(&self, user: UserId) -> Decision {
        match self.state.users.get(&user) {
            _ if user.is_none() => Decision::refused(ErrorKind::InvalidInput),
            Some(since) => Decision::unchanged(*since),
            None => self.changed(What::Added { user }),
        }
    }

    /// Every session is dropped, what the user sent is recalled if that is asked, the newest of a timeline
    /// first, then it exists no more.
    pub fn remove_user(&self, user: UserId, recall_all: bool) -> Decision {
        if user.is_none() {
            return Decision::refused(ErrorKind::InvalidInput);
        }
        let mut decision = Decision::unchanged(0);
        let (mut sessions, mut recalled, mut names) = (0, 0, 0);
        if self.state.users.contains_key(&user) {
            for timeline in self.state.lines.keys().copied() {
                if self.state.row(user, timeline).is_some() {
                    sessions += 1;
                    decision.whats.push(What::Dropped { user, timeline });
                }
            }
            if recall_all {
                for (timeline, line) in &self.state.lines {
                    for message in line.messages.iter().rev().filter(|message| message.seq > line.trim()) {
                        if message.letter.sender == user && message.recalled.is_none() {
                            recalled += 1;
                            let by = UserId::NONE;
                            decision.whats.push(What::Recalled { timeline: *timeline, seq: message.seq, by });
                        }
                    }
                }
            }
            names = self.state.names.iter().filter(|((kind, _), (id, _))| *kind == 0 && *id == user.0).count() as u64;
            decision.whats.push(What::Ended { user });
        }
        let rests_on = match decision.changes() {
            true => self.state.version() + decision.whats.len() as u64,
            false => self.state.ended.get(&user).copied().unwrap_or(0),
        };
        Decision { result: Ok(Said::Dropped { sessions, recalled, names }), rests_on, ..decision }
    }

    pub fn resolve_or_create(&self, kind: u8, name: u8) -> Decision {
        if let Some(wrong) = name_fault(name) {
            return Decision::refused(wrong);
        }
        if let Some((id, version)) = self.state.names.get(&(kind, name)) {
            let result = Ok(Said::Named { id: *id, created: false });
            return Decision { result, ..Decision::unchanged(*version) };
        }
        let id = self.state.next_id(kind);
        let result = Ok(Said::Named { id, created: true });
        Decision { result, ..self.changed(What::Named { kind, name, id }) }
    }

    pub fn free_name(&self, kind: u8, name: u8) -> Decision {
        match name_fault(name) {
            Some(wrong) => Decision::refused(wrong),
            None if !self.state.names.contains_key(&(kind, name)) => Decision::refused(ErrorKind::NotFound),
            None => self.changed(What::Freed { kind, name }),
        }
    }

    pub fn set_settings(&self, rules: Rules) -> Decision {
        let is_above = rules.dedup_window_secs > DEDUP_WINDOW_SECS_MAX
            || rules.body_bytes_max > BODY_BYTES_LIMIT
            || rules.mentions_max > MENTIONS_MAX
            || rules.latest_bytes_max > LATEST_BYTES_LIMIT
            || rules.keeps.iter().copied().any(is_above);
        match () {
            () if is_above => Decision::refused(ErrorKind::LimitExceeded),
            () if rules == self.state.rules => Decision::unchanged(self.state.rules_version),
            () => self.changed(What::Ruled { rules }),
        }
    }

    pub fn maintain(&self, now: u64) -> Decision {
        let now = now.min(self.view().store_time());
        let is_old = |time: &&u64| now.checked_sub(HORIZON_MICROS).is_some_and(|before| **time <= before);
        let horizon = self.state.times.iter().filter(is_old).count() as u64;
        let start = self.state.version();
        let mut whats = Vec::new();
        if horizon > self.state.horizon && !self.is_stepped {
            whats.push(What::Horizon { version: horizon });
        }
        let (horizon, version) = if whats.is_empty() { (self.state.horizon, 0) } else { (horizon, start + 1) };
        // Timelines take their turn in the order in which they came to be.
        let mut timelines: Vec<Timeline> = self.state.lines.keys().copied().collect();
        timelines.sort_by_key(|timeline| self.state.line(*timeline).made);
        let mut messages = 0;
        let horizons = whats.len();
        for timeline in timelines {
            if let Some((upto, age_day)) = self.trim(timeline, now) {
                messages += upto - self.state.line(timeline).trim();
                // While the clock is in doubt nothing is too old at any moment.
                let now = if self.is_stepped { 0 } else { now };
                whats.push(What::Trimmed { timeline, upto, age_day, now });
            }
        }
        let timelines = (whats.len() - horizons) as u64;
        let rests_on = if whats.is_empty() { self.state.horizon_version } else { start + whats.len() as u64 };
        let result = Ok(Said::Maintained { horizon, version, timelines, messages });
        Decision { result, rests_on, whats, is_batch: false }
    }

    /// Up to where a timeline is to be trimmed, and the day if it is for age.
    fn trim(&self, timeline: Timeline, now: u64) -> Option<(u64, Option<u64>)> {
        let (line, keep) = (self.state.line(timeline), self.state.keep(timeline));
        if line.dissolved().is_some() {
            return None;
        }
        let kept = || line.messages.iter().filter(|message| message.seq > line.trim());
        let mut upto = line.trim();
        // More than a sixteenth above a bound, and it goes down to the bound.
        let is_much = |amount: u64, bound: u64| bound > 0 && amount > bound && (amount - bound) * 16 > bound;
        if is_much(kept().count() as u64, keep.count) {
            upto = line.last() - keep.count;
        }
        // What was recalled weighs nothing, what was edited as much as it says now.
        let weight = |it: &Message| if it.recalled.is_some() { 0 } else { it.body.0.len() as u64 };
        let bytes_above = |seq: u64| kept().filter(|it| it.seq > seq).map(weight).sum::<u64>();
        if is_much(bytes_above(0), keep.body_bytes) {
            let lightest = (line.trim()..=line.last()).find(|seq| bytes_above(*seq) <= keep.body_bytes);
            upto = upto.max(lightest.expect("nothing weighs nothing"));
        }
        let oldest = now.checked_sub(keep.age_secs * 1_000_000).filter(|_| keep.age_secs > 0 && !self.is_stepped);
        let aged = oldest.and_then(|oldest| kept().rfind(|it| it.timestamp < oldest)).map_or(0, |it| it.seq);
        let day = now / DAY_MICROS + 1;
        match () {
            () if aged > upto && day > line.age_day => Some((aged, Some(day))),
            () if upto > line.trim() => Some((upto, None)),
            () => None,
        }
    }
}

const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;

fn is_above(keep: Keep) -> bool {
    keep.age_secs > RETENTION_AGE_SECS_MAX
        || keep.count > RETENTION_COUNT_MAX
        || keep.body_bytes > RETENTION_BODY_BYTES_MAX
}

fn name_fault(name: u8) -> Option<ErrorKind> {
    match NAMES[name as usize].len() {
        0 => Some(ErrorKind::InvalidInput),
        length if length > NAME_BYTES_MAX => Some(ErrorKind::LimitExceeded),
        _ => None,
    }
}
