//! One number for all that an answer can show.
//! Owns: what goes into it, and in which order. May touch: `read`, `state`.
//! Never: lets a file, an offset, an epoch, a map's order or the clock into it.

use super::Store;
use super::read::Reader;
use crate::error::Result;
use crate::id::{ClientId, Timeline, UserId};
use crate::journal::Stored;
use crate::state::{Head, Presence, Row, State, is_within_window};
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
        let state: State = self.pipeline.state().clone();
        let reader = Reader { files: state.files.clone(), time: state.time };
        let mut digest = Xxh3::new();
        put(&mut digest, &[state.version, state.time]);
        let mut heads: Vec<&Head> = state.heads().iter().collect();
        heads.sort_unstable_by_key(|head| head.timeline);
        for head in heads {
            put_timeline(&mut digest, head.timeline);
            let settings = head.tip.settings;
            put(&mut digest, &[head.tip.last, u64::from(settings.shows_history), u64::from(settings.members_only)]);
            for place in &head.places {
                let stored = reader.stored(*place)?;
                let body = reader.body(*place, &stored)?;
                put_message(&mut digest, &stored, state.time);
                put(&mut digest, &[body.len() as u64]);
                digest.update(&body);
            }
        }
        let mut users: Vec<UserId> = state.users().collect();
        users.sort_unstable();
        for user in users {
            let mut rows: Vec<(Timeline, &Row)> =
                state.rows(user).iter().map(|row| (state.head(row.slot).timeline, row)).collect();
            rows.sort_unstable_by_key(|(timeline, _)| *timeline);
            put(&mut digest, &[user.0, rows.len() as u64]);
            for (timeline, row) in rows {
                put_timeline(&mut digest, timeline);
                put_row(&mut digest, row);
            }
        }
        Ok(digest.digest())
    }
}

fn put_timeline(digest: &mut Xxh3, timeline: Timeline) {
    match timeline {
        Timeline::Direct(pair) => put(digest, &[1, pair.low().0, pair.high().0]),
        Timeline::Group(group) => put(digest, &[2, group.0]),
    }
}

fn put_message(digest: &mut Xxh3, stored: &Stored, time: u64) {
    let append = &stored.append;
    let is_shown = is_within_window(stored.commit.time, time);
    let client_id = if is_shown { append.client_id } else { ClientId::NONE };
    put(digest, &[stored.commit.version, stored.commit.time, append.sender.0, append.seq, append.timestamp]);
    put(digest, &[append.kind.into(), append.counts.into(), append.imported.into()]);
    digest.update(&client_id.0.to_le_bytes());
}

fn put_row(digest: &mut Xxh3, row: &Row) {
    let presence = match row.presence {
        Presence::Outside => 0,
        Presence::Member => 1,
        Presence::Left => 2,
    };
    put(digest, &[presence, row.read, row.read_max, row.floor, row.ceiling, row.joined_at, row.joined_time]);
    put(digest, &[row.joined_version, row.own_last, row.version, row.time]);
}

fn put(digest: &mut Xxh3, values: &[u64]) {
    values.iter().for_each(|value| digest.update(&value.to_le_bytes()));
}
