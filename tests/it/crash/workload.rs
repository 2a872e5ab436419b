//! A run of changes of every kind, drawn from a seed.
//! Owns: what is drawn and how often, what a step points at. May touch: `act`, the store's public interface.
//! Never: knows what a crash is.

use restante::limits::HORIZON_MICROS;
use restante::{
    BusinessId, Durability, GroupId, GroupSettings, HistoryQuery, NameKind, Peer, Seq, Settings, Source, Store,
    SystemId, Timeline, UserId,
};

use super::act::{Act, Post};
use crate::support::Rng;

/// Where every clock starts.
pub const START: u64 = 1_700_000_000_000_000;
/// Small enough that a run fills several files.
pub const JOURNAL_BYTES: u64 = 64 << 10;
const DAY: u64 = 24 * 3_600 * 1_000_000;
const USERS: u64 = 9;
/// Groups that are never dissolved, and all.
const LASTING_GROUPS: u64 = 4;
const GROUPS: u64 = 7;
/// One that announces, one that writes to people, one that tries both.
const SOURCES: [Source; 3] =
    [Source::System(SystemId(1)), Source::Business(BusinessId(1)), Source::System(SystemId(2))];

/// One step of a run.
#[derive(Clone, Debug)]
pub enum Step {
    /// A change; the level, if it is not the store's own, and whether the ticket is waited for at once.
    Ask(Act, Option<Durability>, bool),
    /// Something about a message at this part (of 100) of what its user sees.
    Point {
        user: UserId,
        peer: Peer,
        part: u64,
        what: What,
        level: Option<Durability>,
        wait: bool,
    },
    Sync,
    /// Seals and merges what is due.
    Seal,
    Purge,
    Backup,
    /// Closes and opens again, with this durability.
    Reopen(Durability),
    /// The process is killed and the machine goes on; the next opens with this durability.
    Kill(Durability),
}

/// What is done about a message.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Read,
    Unread,
    Delivered,
    Clear,
    /// It and so many before it.
    Hide(u64),
    Recall,
    Edit((u64, usize)),
}

/// A step and the time at which it is made.
#[derive(Clone, Debug)]
pub struct Timed {
    pub time: u64,
    pub step: Step,
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub first: Durability,
    /// After the clean close, at a third of the run.
    pub second: Durability,
    /// After the kill, at two thirds.
    pub third: Durability,
    pub changes: usize,
    /// Of a hundred calls in a `Sync` store, so many are asked for `Buffered`.
    pub buffered_percent: u64,
    /// After so many of a hundred changes the store is synced. Few let files fill up unsynced.
    pub sync_percent: u64,
    /// So many of a hundred bodies take thousands of bytes.
    pub large_percent: u64,
    /// After so many of a thousand changes the store is sealed, purged or backed up.
    pub seal_permille: u64,
}

/// Draws a run.
pub fn draw(seed: u64, shape: &Shape) -> Vec<Timed> {
    let (mut rng, mut turnover) = (Rng::new(seed), Rng::new(seed ^ 0x5ea1));
    let (mut steps, mut time) = (Vec::new(), START);
    let mut durability = shape.first;
    for index in 0..shape.changes {
        time += rng.between(1, 2_000_000);
        match rng.below(200) {
            // Client ids get free again.
            0 | 1 => time += 4 * DAY,
            // The horizon moves.
            2 => time += HORIZON_MICROS,
            _ => {}
        }
        let reopen = match index {
            _ if index == shape.changes / 3 => Some(Step::Reopen(shape.second)),
            _ if index == shape.changes * 2 / 3 => Some(Step::Kill(shape.third)),
            _ => None,
        };
        if let Some(step) = reopen {
            durability = match step {
                Step::Reopen(next) | Step::Kill(next) => next,
                _ => durability,
            };
            steps.push(Timed { time, step });
        }
        let is_sync = durability == Durability::Sync;
        let level = match durability {
            Durability::Sync if rng.percent(shape.buffered_percent) => Some(Durability::Buffered),
            Durability::Buffered if rng.percent(shape.sync_percent / 2) => Some(Durability::Sync),
            _ => None,
        };
        let wait = !rng.percent(if is_sync { 30 } else { 20 });
        let step = if rng.percent(30) {
            let user = user(&mut rng);
            Step::Point { user, peer: peer(&mut rng), part: rng.below(101), what: what(&mut rng), level, wait }
        } else {
            Step::Ask(act(&mut rng, shape.large_percent), level, wait)
        };
        // Limits are checked against the settings that are published.
        let is_settings = matches!(step, Step::Ask(Act::Settings(_), ..));
        steps.push(Timed { time, step });
        if is_settings || rng.percent(shape.sync_percent) {
            steps.push(Timed { time, step: Step::Sync });
        }
        if turnover.below(1_000) < shape.seal_permille {
            let step = match turnover.below(10) {
                0..7 => Step::Seal,
                7 | 8 => Step::Purge,
                _ => Step::Backup,
            };
            steps.push(Timed { time, step });
        }
    }
    steps
}

fn user(rng: &mut Rng) -> UserId {
    UserId(rng.between(1, USERS))
}

fn group(rng: &mut Rng) -> GroupId {
    let last = if rng.percent(75) { LASTING_GROUPS } else { GROUPS };
    GroupId(rng.between(1, last))
}

fn peer(rng: &mut Rng) -> Peer {
    match rng.below(10) {
        0..5 => Peer::User(user(rng)),
        5..9 => Peer::Group(group(rng)),
        _ => rng.pick(&SOURCES).into(),
    }
}

fn what(rng: &mut Rng) -> What {
    match rng.below(100) {
        0..25 => What::Read,
        25..40 => What::Unread,
        40..52 => What::Delivered,
        52..60 => What::Clear,
        60..72 => What::Hide(rng.below(4)),
        72..86 => What::Recall,
        _ => What::Edit((rng.next(), rng.below(300) as usize)),
    }
}

fn act(rng: &mut Rng, large_percent: u64) -> Act {
    let (group, user) = (group(rng), user(rng));
    let settings =
        |rng: &mut Rng| GroupSettings::default().shows_history(rng.percent(50)).members_only(rng.percent(70));
    let small = |rng: &mut Rng| (rng.next(), rng.below(60) as usize);
    let kind = |rng: &mut Rng| rng.pick(&[NameKind::User, NameKind::Group, NameKind::System, NameKind::Business]);
    match rng.below(1_000) {
        0..480 => Act::Append(post(rng, large_percent)),
        480..560 => {
            Act::Batch((0..rng.between(1, 5)).map(|_| Post { body: (rng.next(), 40), ..post(rng, 0) }).collect())
        }
        560..595 => Act::Create(group, settings(rng)),
        595..655 => Act::Join(group, user),
        655..680 => Act::JoinMany(group, (0..rng.between(1, 6)).map(|_| UserId(rng.between(1, USERS))).collect()),
        680..720 => Act::Leave(group, user),
        720..735 => Act::SetGroup(group, settings(rng)),
        735..750 => Act::GroupMetadata(group, small(rng)),
        750..758 => Act::Dissolve(GroupId(rng.between(LASTING_GROUPS + 1, GROUPS))),
        758..780 => Act::Role(group, user, rng.below(4) as u8),
        780..802 => Act::MemberData(group, user, small(rng)),
        802..824 => Act::Silence(group, user, rng.below(4) * 5_000_000),
        824..850 => Act::RemoveSession(user, peer(rng)),
        850..875 => {
            let flag = |rng: &mut Rng| rng.percent(60).then(|| rng.percent(60));
            Act::Flags(user, peer(rng), [flag(rng), flag(rng), flag(rng)])
        }
        875..898 => Act::Metadata(user, peer(rng), small(rng)),
        898..908 => Act::AddUser(UserId(rng.between(1, USERS + 9))),
        908..920 => Act::RemoveUser(user, rng.percent(50)),
        920..945 => Act::Resolve(kind(rng), rng.below(3)),
        945..970 => Act::FreeName(kind(rng), rng.below(3)),
        970..982 => {
            let settings = Settings::default().dedup_window_secs(rng.pick(&[0, 60, 259_200, 604_800]));
            // Some of the bodies drawn below are longer then, some mentions more.
            Act::Settings(
                settings.body_bytes_max(rng.pick(&[14_000, 1 << 20, 2 << 20])).mentions_max(rng.pick(&[2, 128])),
            )
        }
        _ => Act::Maintain,
    }
}

fn post(rng: &mut Rng, large_percent: u64) -> Post {
    let sender = user(rng);
    let timeline = match rng.below(20) {
        0..10 => Timeline::Group(group(rng)),
        // Now and then to oneself.
        10..17 => Timeline::direct(sender, user(rng)),
        _ => {
            let source = rng.pick(&SOURCES);
            let is_inbox = source == SOURCES[1] || (source == SOURCES[2] && rng.percent(50));
            if is_inbox { Timeline::Inbox(source, sender) } else { Timeline::Broadcast(source) }
        }
    };
    let is_from_source = matches!(timeline, Timeline::Inbox(..) | Timeline::Broadcast(_));
    let length = if rng.percent(large_percent) { rng.between(5_000, 15_000) } else { rng.below(60) };
    let counts = !rng.percent(15);
    let calls = counts && rng.percent(30);
    Post {
        timeline,
        sender: if is_from_source { UserId::NONE } else { sender },
        body: (rng.next(), length as usize),
        kind: rng.below(3) as u16,
        counts,
        client_id: if rng.percent(40) { u128::from(rng.between(1, 12)) } else { 0 },
        mentions: (0..if calls { rng.below(4) } else { 0 }).map(|_| UserId(rng.between(1, USERS + 3))).collect(),
        alerts: if calls { rng.below(8) as u8 } else { 0 },
        before: rng.percent(10).then(|| rng.below(1_000)),
    }
}

/// What a step asks for, in words that do not depend on what is published; `None` if its user sees nothing.
pub fn point(store: &Store, user: UserId, peer: Peer, part: u64, what: What) -> Option<Act> {
    let page = store.history(user, peer, &HistoryQuery::newest().limit(1)).ok()?;
    let newest = page.messages.first()?;
    let timeline = newest.timeline;
    let seq = Seq((newest.seq.0 * part / 100).max(1));
    Some(match what {
        What::Read => Act::Read(user, peer, seq),
        What::Unread => Act::Unread(user, peer, seq),
        What::Delivered => Act::Delivered(user, peer, seq),
        What::Clear => Act::Clear(user, peer, seq),
        What::Hide(count) => {
            Act::Hide(user, peer, (0..=count).map(|back| Seq(seq.0.saturating_sub(back).max(1))).collect())
        }
        What::Recall => Act::Recall(user, timeline, seq),
        What::Edit(body) => Act::Edit(user, timeline, seq, body),
    })
}
