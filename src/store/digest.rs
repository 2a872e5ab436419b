//! One number for all that an answer can show.
//! Owns: what goes into it, and in which order. May touch: `read`, `state`.
//! Never: lets a file, an offset, an epoch, a map's order or the clock into it.

use super::Store;
use super::pipeline::Pipeline;
use super::read::{Message, Reader, Spot};
use crate::error::Result;
use crate::id::{NameKind, Source, Timeline, UserId};
use crate::settings::Retention;
use crate::state::stored::{self, Owner};
use crate::state::{Head, Notes, Presence, Row, State};
use std::collections::BTreeSet;
use xxhash_rust::xxh3::Xxh3;

impl Store {
    /// A digest over everything that an answer can show at the newest commit time. Two stores that went
    /// through the same changes have the same, on any machine, whatever became of their files.
    ///
    /// Reads every message: for tests and comparisons, not for serving.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    pub fn state_digest(&self) -> Result<u64> {
        loop {
            let (version, digest) = self.digest_once()?;
            // What was gathered piece by piece is of one moment only if nothing happened meanwhile.
            if version == self.pipeline.state().version {
                return Ok(digest);
            }
        }
    }

    fn digest_once(&self) -> Result<(u64, u64)> {
        let pipeline = &self.pipeline;
        let mut digest = Xxh3::new();
        let version = {
            let state = pipeline.state();
            put(&mut digest, &[state.version, state.time, state.horizon]);
            put(&mut digest, &[state.settings_log().len() as u64]);
            for (version, settings) in state.settings_log().iter() {
                let sizes = [settings.body_bytes_max, settings.mentions_max, settings.latest_bytes_max];
                put(&mut digest, &[*version, settings.dedup_window_secs]);
                put(&mut digest, &sizes.map(|size| size as u64));
                settings.retentions().iter().for_each(|retention| put_retention(&mut digest, retention));
            }
            for (kind, id) in state.names().newest_ids() {
                put(&mut digest, &[name_kind(kind), id]);
            }
            state.version
        };
        let everyone = Everyone::of(pipeline)?;
        for (kind, id) in everyone.named {
            if let Some(name) = pipeline.look(|state| state.name_of(kind, id).cloned())? {
                put(&mut digest, &[name_kind(kind), id]);
                put_bytes(&mut digest, &name);
            }
        }
        for timeline in everyone.timelines {
            let head = pipeline.look(|state| {
                let head = state.head_of(timeline)?;
                let mut digest = Xxh3::new();
                put_head(&mut digest, head, state.horizon);
                let kept = (head.tip.trim() + 1..=head.tip.last).filter(|seq| !head.is_lost(*seq));
                let spots: Vec<Spot> = kept.map(|seq| Spot::of(head, seq)).collect();
                Some((digest.digest(), spots, Reader::of(state, 0)))
            })?;
            let Some((head, mut spots, reader)) = head else { continue };
            put(&mut digest, &[head]);
            reader.files().resolve(timeline, &mut spots)?;
            for spot in spots {
                put_message(&mut digest, &reader.message(timeline, spot)?);
            }
        }
        for user in everyone.users {
            let rows = pipeline.look(|state| put_rows(state, user))?;
            if let Some(rows) = rows {
                put(&mut digest, &[user.0, rows]);
            }
        }
        Ok((version, digest.digest()))
    }
}

/// All timelines, users and named ids there are, in order.
struct Everyone {
    timelines: Vec<Timeline>,
    users: Vec<UserId>,
    named: Vec<(NameKind, u64)>,
}

impl Everyone {
    fn of(pipeline: &Pipeline) -> Result<Everyone> {
        let (mut timelines, mut users, mut named, segments) = {
            let state = pipeline.state();
            let named = state.names().iter().map(|(kind, id, _)| (kind, id)).collect::<BTreeSet<_>>();
            let timelines: BTreeSet<Timeline> = state.timelines_here().collect();
            let users: BTreeSet<UserId> = state.users_here().collect();
            (timelines, users, named, state.segments.clone())
        };
        segments.rows.walk(&[], &mut |key, _| {
            match stored::owner(key) {
                Some(Owner::Timeline(timeline)) => drop(timelines.insert(timeline)),
                Some(Owner::User(user)) => drop(users.insert(user)),
                Some(Owner::Name(kind, id)) => drop(named.insert((kind, id))),
                None => {}
            }
            Ok(true)
        })?;
        let (timelines, users) = (timelines.into_iter().collect(), users.into_iter().collect());
        Ok(Everyone { timelines, users, named: named.into_iter().collect() })
    }
}

/// The digest of a user with its rows; `None` if there is nothing of it.
fn put_rows(state: &State, user: UserId) -> Option<u64> {
    let mut digest = Xxh3::new();
    let all = state.rows(user).iter().filter(|row| !row.is_blank());
    let mut rows: Vec<(Timeline, &Row)> = all.map(|row| (state.timeline_at(row.slot), row)).collect();
    rows.sort_unstable_by_key(|(timeline, _)| *timeline);
    let exists_since = state.exists_since(user);
    put(&mut digest, &[exists_since, rows.len() as u64]);
    let is_nobody = exists_since == 0 && rows.is_empty();
    for (timeline, row) in rows {
        put_timeline(&mut digest, timeline);
        put_row(&mut digest, row);
        if let Some(notes) = state.notes(user, row) {
            put_notes(&mut digest, notes, state.head(row.slot).tip.trim());
        }
    }
    (!is_nobody).then(|| digest.digest())
}

fn put_head(digest: &mut Xxh3, head: &Head, horizon: u64) {
    let tip = &head.tip;
    put_timeline(digest, head.timeline);
    put(digest, &[tip.last, tip.news_version, tip.news_time, tip.created, tip.dissolved.into()]);
    put(digest, &[tip.settings.shows_history.into(), tip.settings.members_only.into()]);
    put(digest, &[tip.settings.retention.is_some().into(), tip.trim(), tip.trim_ordinal(), tip.age_day]);
    put_retention(digest, &tip.settings.retention.unwrap_or_default());
    for trim in head.trims.iter().flat_map(|trims| trims.iter(horizon)) {
        put(digest, &[trim.ordinal_before, trim.version, trim.time]);
    }
    put_bytes(digest, head.metadata.as_deref().unwrap_or_default());
    for side in &head.sides {
        put(digest, &[side.read_max, side.delivered_max, side.version, side.time]);
    }
    for (seq, amendment) in head.amended.iter().flat_map(|amended| amended.iter()) {
        put(digest, &[seq, amendment.version, amendment.time, amendment.by.0, amendment.is_recall().into()]);
    }
    for run in head.lost.iter().flat_map(|lost| lost.all()).filter(|run| run.last > tip.trim()) {
        put(digest, &[run.first.max(tip.trim() + 1), run.last, run.ordinal_after]);
    }
    put(digest, &[tip.last_timestamp, tip.version, tip.time, tip.ordinal]);
}

/// What a retry shows.
fn put_sent(digest: &mut Xxh3, message: &Message) {
    put(digest, &[message.seq.0, message.version.0, message.timestamp.0, message.commit_time.0, message.sender.0]);
    digest.update(&message.client_id.map_or(0, |id| id.0).to_le_bytes());
}

fn put_message(digest: &mut Xxh3, message: &Message) {
    put_sent(digest, message);
    put(digest, &[message.kind.into(), message.counts.into(), message.imported.into(), message.alerts.into()]);
    put(digest, &[message.mentions.len() as u64]);
    message.mentions.iter().for_each(|user| put(digest, &[user.0]));
    put_bytes(digest, &message.body);
}

fn put_timeline(digest: &mut Xxh3, timeline: Timeline) {
    match timeline {
        Timeline::Direct(pair) => put(digest, &[1, pair.low().0, pair.high().0]),
        Timeline::Group(group) => put(digest, &[2, group.0]),
        Timeline::Inbox(source, user) => {
            put(digest, &[3, user.0]);
            put_source(digest, source);
        }
        Timeline::Broadcast(source) => {
            put(digest, &[4]);
            put_source(digest, source);
        }
    }
}

fn put_source(digest: &mut Xxh3, source: Source) {
    match source {
        Source::System(system) => put(digest, &[1, system.0]),
        Source::Business(business) => put(digest, &[2, business.0]),
    }
}

fn put_row(digest: &mut Xxh3, row: &Row) {
    let presence = match row.presence {
        Presence::Outside => 0,
        Presence::Member => 1,
        Presence::Left => 2,
        Presence::Gone => 3,
    };
    put(digest, &[presence, row.read, row.read_max, row.delivered_max, row.floor, row.cleared, row.ceiling]);
    put(digest, &[row.joined_at, row.joined_time, row.joined_version, row.own_last, row.version, row.time]);
    put(digest, &[row.flags.pinned.into(), row.flags.muted.into(), row.flags.marked_unread.into()]);
    put(digest, &[row.removed_at.map_or(0, |removed_at| removed_at + 1), row.role.into(), row.silenced_until]);
}

/// What was trimmed is shown to nobody.
fn put_notes(digest: &mut Xxh3, notes: &Notes, trim: u64) {
    let mentions = &notes.mentions[notes.mentions.partition_point(|seq| *seq <= trim)..];
    put(digest, &[mentions.len() as u64, notes.hidden.range(trim + 1..).count() as u64]);
    put(digest, mentions);
    for (seq, hide) in notes.hidden.range(trim + 1..) {
        put(digest, &[*seq, hide.version, hide.time, hide.counts.into()]);
    }
    put_bytes(digest, notes.metadata.as_deref().unwrap_or_default());
    put_bytes(digest, notes.data.as_deref().unwrap_or_default());
}

fn put_retention(digest: &mut Xxh3, retention: &Retention) {
    put(digest, &[retention.age_secs, retention.count, retention.body_bytes]);
}

fn put_bytes(digest: &mut Xxh3, bytes: &[u8]) {
    put(digest, &[bytes.len() as u64]);
    digest.update(bytes);
}

fn put(digest: &mut Xxh3, values: &[u64]) {
    values.iter().for_each(|value| digest.update(&value.to_le_bytes()));
}

fn name_kind(kind: NameKind) -> u64 {
    match kind {
        NameKind::User => 0,
        NameKind::Group => 1,
        NameKind::System => 2,
        NameKind::Business => 3,
    }
}
