//! Every kind of call at random, most of them not waited for: what is decided on pending values is what a replay finds.
//! Owns: the overlay of pending values against the journal. May touch: `scene`, random numbers.
//! Never: knows what an answer should be; `model` does. It compares a store with what it is after a restart.

use restante::{
    BusinessId, ClientId, Draft, Durability, Entry, FlagChange, GroupSettings, Loss, NameKind, Peer, Seq, Settings,
    Source, Store, SystemId, Threads, Timeline, Timestamp, UserId, Version,
};

use crate::scene::{HOUR, SECOND, START, Scene, group};
use crate::support::{Rng, number_from_env};

const USERS: u64 = 5;

fn source(random: &mut Rng) -> Source {
    match random.below(4) {
        0 => Source::System(SystemId(1)),
        1 => Source::System(SystemId(2)),
        2 => Source::Business(BusinessId(1)),
        _ => Source::Business(BusinessId(2)),
    }
}

fn someone(random: &mut Rng) -> UserId {
    UserId(random.between(1, USERS))
}

fn a_peer(random: &mut Rng) -> Peer {
    match random.below(8) {
        0..=2 => Peer::User(someone(random)),
        3..=5 => Peer::Group(group(random.between(1, 3))),
        _ => source(random).into(),
    }
}

fn a_timeline(random: &mut Rng) -> Timeline {
    match random.below(8) {
        0..=2 => Timeline::direct(someone(random), someone(random)),
        3..=5 => Timeline::Group(group(random.between(1, 3))),
        6 => Timeline::Inbox(source(random), someone(random)),
        _ => Timeline::Broadcast(source(random)),
    }
}

/// Drops the ticket: the change is on its way, and nobody waits for it.
fn on_its_way<T>(ticket: restante::Ticket<T>) {
    drop(ticket);
}

fn call(store: &Store, random: &mut Rng) {
    let user = someone(random);
    let peer = a_peer(random);
    let team = group(random.between(1, 3));
    let seq = Seq(random.between(1, 12));
    match random.below(40) {
        0..=11 => {
            let timeline = a_timeline(random);
            let sender = match timeline {
                Timeline::Direct(pair) if random.percent(50) => pair.low(),
                Timeline::Direct(pair) => pair.high(),
                Timeline::Group(_) => user,
                _ => UserId::NONE,
            };
            let named: Vec<UserId> = (0..random.below(4)).map(|_| someone(random)).collect();
            let mut draft = Draft::new(timeline, sender, b"some body");
            draft = match random.below(4) {
                0 => draft.counts(false),
                1 => draft.mentions(&named),
                2 => draft.alerts(random.below(256) as u8),
                _ => draft,
            };
            if random.percent(30) {
                draft = draft.client_id(ClientId(random.between(1, 9).into()));
            }
            if random.percent(20) {
                on_its_way(store.append_batch(&[draft, draft.kind(1), draft]));
            } else {
                on_its_way(store.append(draft));
            }
        }
        12 | 13 => on_its_way(store.join(team, user)),
        14 => on_its_way(store.join_many(team, &[user, someone(random), someone(random)])),
        15 => on_its_way(store.leave(team, user)),
        16 | 17 => on_its_way(store.mark_read(user, peer, seq)),
        18 => on_its_way(store.mark_unread_from(user, peer, seq)),
        19 => on_its_way(store.mark_delivered(user, peer, seq)),
        20 | 21 => on_its_way(store.recall(user, a_timeline(random), seq)),
        22 => on_its_way(store.edit(user, a_timeline(random), seq, if random.percent(50) { b"one" } else { b"two" })),
        23 => on_its_way(store.hide(user, peer, &[seq, Seq(random.between(1, 6))])),
        24 => on_its_way(store.clear(user, peer, seq)),
        25 => on_its_way(store.remove_session(user, peer)),
        26 | 27 => {
            let change = FlagChange::new().pinned(random.percent(50)).marked_unread(random.percent(50));
            on_its_way(store.set_flags(user, peer, if random.percent(50) { change.muted(true) } else { change }));
        }
        28 => on_its_way(store.set_metadata(user, peer, if random.percent(30) { b"" } else { b"noted" })),
        29 => on_its_way(store.set_role(team, user, random.below(3) as u8)),
        30 => on_its_way(store.set_member_data(team, user, if random.percent(30) { b"" } else { b"data" })),
        31 => on_its_way(store.silence(team, user, Timestamp(START.0 + random.below(9) * HOUR))),
        32 => {
            let settings = GroupSettings::default().shows_history(random.percent(50)).members_only(random.percent(70));
            on_its_way(store.create_group(team, settings));
            on_its_way(store.set_group(team, settings));
        }
        33 => on_its_way(store.set_group_metadata(team, if random.percent(30) { b"" } else { b"about" })),
        34 if random.percent(5) => on_its_way(store.dissolve(team)),
        35 => on_its_way(store.add_user(user)),
        36 => {
            let name = [b'a' + random.below(3) as u8];
            if random.percent(60) {
                on_its_way(store.resolve_or_create(NameKind::User, &name));
            } else {
                on_its_way(store.free_name(NameKind::User, &name));
            }
        }
        37 if random.percent(30) => {
            store.remove_user(user, random.percent(50)).expect("remove a user");
        }
        38 if random.percent(30) => {
            let settings = Settings::default().dedup_window_secs(random.below(3) * 3_600).latest_bytes_max(5);
            on_its_way(store.set_settings(settings));
        }
        _ => on_its_way(store.maintain(Timestamp(u64::MAX))),
    }
}

#[test]
fn what_is_decided_on_pending_values_is_what_a_replay_finds() {
    let one = number_from_env("RESTANTE_SCRAMBLE_SEED");
    let count = number_from_env("RESTANTE_SCRAMBLE_COUNT").unwrap_or(80);
    for seed in one.map_or(1..=count, |seed| seed..=seed) {
        let mut random = Rng::new(seed);
        let durability = if seed % 3 == 0 { Durability::Buffered } else { Durability::Sync };
        let mut scene = Scene::seeded(seed, |options| options.durability(durability));
        for round in 0..6 {
            let levels = [scene.store.at(Durability::Buffered), scene.store.at(Durability::Sync)];
            for _ in 0..random.between(20, 80) {
                let level = if random.percent(80) { 0 } else { 1 };
                call(&levels[level], &mut random);
                if random.percent(20) {
                    scene.clock.advance(random.below(HOUR / 4) + SECOND);
                }
                if random.percent(2) {
                    scene.clock.advance(91 * 24 * HOUR);
                }
            }
            drop(levels);
            let context = format!("RESTANTE_SCRAMBLE_SEED={seed} round={round}");
            scene.store.sync().expect(&context);
            let want = look(&scene);
            assert_eq!(look(&scene.after_crash(Loss::All)), want, "{context}");
            scene = scene.reopened();
            assert_eq!(look(&scene), want, "{context}");
            recount(&scene, &context);
        }
    }
}

/// The same from several threads at once, with a store that syncs by itself.
#[test]
fn what_threads_decide_at_once_is_what_a_replay_finds() {
    let count = number_from_env("RESTANTE_SCRAMBLE_COUNT").unwrap_or(80) / 8;
    for seed in 1..=count {
        let durability = if seed % 2 == 0 { Durability::Buffered } else { Durability::Sync };
        let change = |options: restante::Options| options.durability(durability).threads(Threads::Background);
        let scene = Scene::seeded(seed, |options| change(options).sync_delay_ms(1));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let levels = [scene.store.at(Durability::Buffered), scene.store.at(Durability::Sync)];
                scope.spawn(move || {
                    let mut random = Rng::new(seed * 4 + thread);
                    for _ in 0..150 {
                        call(&levels[usize::from(random.percent(20))], &mut random);
                    }
                });
            }
        });
        let context = format!("seed={seed}, which is no help: threads are never the same");
        scene.store.sync().expect(&context);
        let want = look(&scene);
        recount(&scene, &context);
        let scene = scene.reopened();
        assert_eq!(look(&scene), want, "{context}");
        recount(&scene, &context);
    }
}

/// All that anybody is shown.
fn look(scene: &Scene) -> (Version, String, Vec<Vec<Entry>>) {
    let lists = (1..=USERS).map(|id| scene.list(UserId(id)).entries).collect();
    (scene.store.version(), format!("{:?}", scene.store.state_digest().unwrap()), lists)
}

/// Every badge is a recount of what the history shows, at the mark that the entry reports.
fn recount(scene: &Scene, context: &str) {
    for id in 1..=USERS {
        let user = UserId(id);
        for entry in scene.list(user).entries.iter().filter(|entry| entry.is_add) {
            let messages = scene.all(user, entry.peer);
            let is_unread = |message: &&restante::Message| {
                message.seq > entry.read_mark && message.counts && message.recalled.is_none() && message.sender != user
            };
            let unread: Vec<Seq> = messages.iter().filter(is_unread).map(|message| message.seq).collect();
            let found = (entry.unread, entry.goto.map(|(seq, _)| seq));
            assert_eq!(found, (unread.len() as u64, unread.first().copied()), "{context} {user} {}", entry.peer);
            let named = |message: &restante::Message| message.mentions.contains(&user);
            // Mentions from before the user came count for nobody, so there may be fewer, never more.
            let mentions = messages.iter().filter(is_unread).filter(|message| named(message)).count() as u64;
            assert!(entry.mentions.count <= mentions, "{context} {user} {}", entry.peer);
            for kind in 0..8_u8 {
                let alerts: Vec<Seq> =
                    messages.iter().filter(is_unread).filter(|m| m.alerts >> kind & 1 == 1).map(|m| m.seq).collect();
                let alert = entry.alerts.iter().find(|alert| alert.kind == kind);
                let found = alert.map_or((0, None), |alert| (alert.count, Some(alert.oldest)));
                assert_eq!(found, (alerts.len() as u64, alerts.first().copied()), "{context} {user} {}", entry.peer);
            }
        }
    }
}
