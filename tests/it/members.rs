//! Groups and who is in them: settings, roles, silence, pages of members.
//! Owns: the calls on groups and members. May touch: `scene`, `replies`.
//! Never: tells a story; those are in `stories`.

use restante::limits::{MEMBER_BYTES_MAX, MEMBERS_MAX, METADATA_BYTES_MAX};
use restante::{
    Draft, Effect, ErrorKind, FlagChange, GroupId, GroupSettings, ListQuery, Loss, Seq, Timestamp, UserId, Version,
};

use crate::replies::{changed, refused, traceless, unchanged};
use crate::scene::{HOUR, MINUTE, START, Scene, group, room};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAT: UserId = UserId(3);
const TEAM: GroupId = GroupId(42);

fn team() -> Scene {
    let scene = Scene::new();
    scene.store.join_many(TEAM, &[ANN, BOB]).wait().unwrap();
    scene
}

fn member(scene: &Scene, user: UserId) -> restante::Member {
    let before = UserId(user.0 - 1);
    let found = scene.store.members(TEAM, before, 1).unwrap().members.remove(0);
    assert_eq!(found.user, user);
    found
}

fn say(scene: &Scene, sender: UserId) -> Result<Seq, restante::Error> {
    scene.store.append(Draft::group(TEAM, sender, b"x")).wait().map(|appended| appended.seq)
}

#[test]
fn settings_of_a_group() {
    let scene = team();
    let store = &scene.store;
    let default = GroupSettings::default();
    let info = store.group(TEAM).unwrap();
    assert_eq!((info.settings, info.metadata.len(), info.members, info.last), (default, 0, 2, Seq(0)));
    assert!(!info.dissolved);
    unchanged(&scene, || store.create_group(TEAM, default.shows_history(true)));
    assert_eq!(store.group(TEAM).unwrap().settings, default, "one that exists stays as it is");
    unchanged(&scene, || store.set_group(TEAM, default));
    let open = default.members_only(false).shows_history(true);
    changed(store.set_group(TEAM, open));
    assert_eq!(store.group(TEAM).unwrap().settings, open);
    unchanged(&scene, || store.set_group(TEAM, open));
    // Each acts on what comes later: outsiders may write, newcomers see it.
    assert_eq!(say(&scene, CAT).unwrap(), Seq(1));
    assert!(store.user_exists(CAT).unwrap() && scene.list(CAT).entries.is_empty());
    changed(store.join(TEAM, UserId(4)));
    assert_eq!(scene.all(UserId(4), room(42)).len(), 1);
    changed(store.set_group(TEAM, default));
    let error = say(&scene, CAT).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Refused, "only members may send here: group 42 sender=3")
    );
    changed(store.join(TEAM, UserId(5)));
    assert_eq!(scene.all(UserId(5), room(42)).len(), 0);
    assert_eq!(scene.all(UserId(4), room(42)).len(), 1, "who sees it goes on seeing it");
    let text = "no such group: group 43";
    refused(&scene, ErrorKind::NotFound, text, || store.set_group(group(43), open).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.group(group(43)));
    refused(&scene, ErrorKind::NotFound, text, || store.dissolve(group(43)).wait());
    refused(&scene, ErrorKind::NotFound, text, || store.set_group_metadata(group(43), b"x").wait());
    refused(&scene, ErrorKind::NotFound, text, || store.members(group(43), UserId::NONE, 1));
    let text = "id 0 means none";
    refused(&scene, ErrorKind::InvalidInput, text, || store.set_group(group(0), open).wait());
    refused(&scene, ErrorKind::InvalidInput, text, || store.dissolve(group(0)).wait());
    refused(&scene, ErrorKind::InvalidInput, text, || store.set_group_metadata(group(0), b"x").wait());
    refused(&scene, ErrorKind::InvalidInput, text, || store.group(group(0)));
    refused(&scene, ErrorKind::InvalidInput, text, || store.members(group(0), UserId::NONE, 1));
    refused(&scene, ErrorKind::InvalidInput, text, || store.groups_of(UserId::NONE, group(0), 1));
    let info = store.group(TEAM).unwrap();
    let scene = scene.reopened();
    assert_eq!(scene.store.group(TEAM).unwrap(), info);
}

#[test]
fn metadata_of_a_group_is_news_to_every_member() {
    let scene = team();
    scene.store.join(TEAM, CAT).wait().unwrap();
    changed(scene.store.leave(TEAM, CAT));
    let cursor = scene.list(ANN).next;
    let set = |length: usize| scene.store.set_group_metadata(TEAM, &vec![7; length]);
    unchanged(&scene, || set(0));
    let activity = scene.entry(ANN, room(42)).activity;
    scene.clock.advance(MINUTE);
    let version = changed(set(1));
    for user in [ANN, BOB] {
        let list = scene.store.changed(user, Some(&cursor), &ListQuery::new()).unwrap();
        assert_eq!((list.entries[0].version, list.entries[0].activity), (version, activity));
        assert_eq!((list.entries[0].unread, list.entries[0].metadata.len()), (0, 0), "the group's is not the user's");
    }
    assert_eq!(scene.store.changed(CAT, Some(&cursor), &ListQuery::new()).unwrap().entries, [], "she has left");
    for length in [METADATA_BYTES_MAX - 1, METADATA_BYTES_MAX] {
        changed(set(length));
        assert_eq!(scene.store.group(TEAM).unwrap().metadata.len(), length);
    }
    let text = "metadata bytes is above its limit: limit=4096 got=4097";
    refused(&scene, ErrorKind::LimitExceeded, text, || set(METADATA_BYTES_MAX + 1).wait());
    changed(set(0));
    assert_eq!(scene.reopened().store.group(TEAM).unwrap().metadata.len(), 0);
}

#[test]
fn roles_and_bytes_of_a_member() {
    let scene = team();
    let store = &scene.store;
    let anns = scene.entry(ANN, room(42));
    unchanged(&scene, || store.set_role(TEAM, BOB, 0));
    unchanged(&scene, || store.set_member_data(TEAM, BOB, b""));
    changed(store.set_role(TEAM, BOB, 255));
    for length in [1, MEMBER_BYTES_MAX - 1, MEMBER_BYTES_MAX] {
        changed(store.set_member_data(TEAM, BOB, &vec![7; length]));
        unchanged(&scene, || store.set_member_data(TEAM, BOB, &vec![7; length]));
        assert_eq!(member(&scene, BOB).data.len(), length);
    }
    unchanged(&scene, || store.set_role(TEAM, BOB, 255));
    let found = member(&scene, BOB);
    assert_eq!(
        (found.role, found.silenced_until, found.joined_at, found.joined_time),
        (255, Timestamp(0), Seq(0), START)
    );
    assert_eq!(scene.entry(ANN, room(42)), anns, "others are not told of it");
    let text = "bytes of a member is above its limit: limit=64 got=65";
    refused(&scene, ErrorKind::LimitExceeded, text, || store.set_member_data(TEAM, BOB, &[7; 65]).wait());
    for (id, user, text) in [(42, CAT, "no such session: group 42 user=3"), (43, BOB, "no such group: group 43")] {
        let id = group(id);
        refused(&scene, ErrorKind::NotFound, text, || store.set_role(id, user, 1).wait());
        refused(&scene, ErrorKind::NotFound, text, || store.set_member_data(id, user, b"x").wait());
        refused(&scene, ErrorKind::NotFound, text, || store.silence(id, user, START).wait());
    }
    for (id, user) in [(group(0), BOB), (TEAM, UserId::NONE)] {
        let text = "id 0 means none";
        refused(&scene, ErrorKind::InvalidInput, text, || store.set_role(id, user, 1).wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.set_member_data(id, user, b"x").wait());
        refused(&scene, ErrorKind::InvalidInput, text, || store.silence(id, user, START).wait());
    }
    // Neither survives leaving; flags, metadata, hides and marks do.
    for _ in 0..3 {
        say(&scene, ANN).unwrap();
    }
    changed(store.set_flags(BOB, room(42), FlagChange::new().muted(true)));
    changed(store.set_metadata(BOB, room(42), b"mine"));
    changed(store.leave(TEAM, BOB));
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=2", || store.set_role(TEAM, BOB, 1).wait());
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=2", || {
        store.set_member_data(TEAM, BOB, b"x").wait()
    });
    scene.clock.advance(MINUTE);
    changed(store.join(TEAM, BOB));
    let found = member(&scene, BOB);
    assert_eq!((found.role, found.data.len(), found.joined_at), (0, 0, Seq(3)));
    assert_eq!(found.joined_time, Timestamp(START.0 + MINUTE));
    let entry = scene.entry(BOB, room(42));
    assert_eq!((entry.flags.muted, &entry.metadata[..]), (true, &b"mine"[..]));
    changed(store.set_role(TEAM, BOB, 7));
    let found = member(&scene, BOB);
    assert_eq!(member(&scene.reopened(), BOB), found);
}

#[test]
fn the_silenced_may_not_speak_until_their_time() {
    let scene = team();
    let store = &scene.store;
    let until = Timestamp(START.0 + HOUR);
    unchanged(&scene, || store.silence(TEAM, BOB, Timestamp(0)));
    changed(store.silence(TEAM, BOB, until));
    unchanged(&scene, || store.silence(TEAM, BOB, until));
    assert_eq!(member(&scene, BOB).silenced_until, until);
    let bob = Draft::group(TEAM, BOB, b"x");
    refused(&scene, ErrorKind::Refused, "the sender is silenced: group 42 sender=2", || store.append(bob).wait());
    refused(&scene, ErrorKind::Refused, "the sender is silenced: group 42 sender=2", || {
        store.append(bob.counts(false)).wait()
    });
    let error = store.append_batch(&[Draft::group(TEAM, ANN, b"x"), bob]).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::Refused, Some(1)));
    assert_eq!(scene.entry(ANN, room(42)).last, Seq(0), "the whole batch is refused");
    // He reads, marks and leaves as ever; and speaks elsewhere.
    scene.send(Draft::group(TEAM, ANN, b"x"));
    assert_eq!(scene.entry(BOB, room(42)).unread, 1);
    scene.send(Draft::direct(BOB, ANN, b"x"));
    // One microsecond before its end, and at its end, also across a restart.
    let scene = scene.reopened();
    scene.clock.set(Timestamp(until.0 - 1));
    assert_eq!(say(&scene, BOB).unwrap_err().kind(), ErrorKind::Refused);
    scene.clock.set(until);
    assert_eq!(say(&scene, BOB).unwrap(), Seq(2));
    // Store time counts, not the clock: once passed it is passed.
    scene.clock.set(START);
    assert_eq!(say(&scene, BOB).unwrap(), Seq(3));
    // It outlives leaving, where outsiders may speak, and coming back.
    let store = &scene.store;
    let far = Timestamp(until.0 + 24 * HOUR);
    changed(store.set_group(TEAM, GroupSettings::default().members_only(false)));
    changed(store.silence(TEAM, BOB, far));
    changed(store.leave(TEAM, BOB));
    refused(&scene, ErrorKind::Refused, "the sender is silenced: group 42 sender=2", || store.append(bob).wait());
    changed(store.silence(TEAM, BOB, Timestamp(far.0 + 1)));
    assert_eq!(say(&scene, CAT).unwrap(), Seq(4), "others may");
    changed(store.join(TEAM, BOB));
    assert_eq!(member(&scene, BOB).silenced_until, Timestamp(far.0 + 1));
    assert_eq!(say(&scene, BOB).unwrap_err().kind(), ErrorKind::Refused);
    changed(store.silence(TEAM, BOB, Timestamp(0)));
    assert_eq!(say(&scene, BOB).unwrap(), Seq(5));
    // An outsider who merely wrote has never been a member.
    refused(&scene, ErrorKind::NotFound, "no such session: group 42 user=3", || store.silence(TEAM, CAT, far).wait());
}

#[test]
fn pages_of_members_and_of_groups() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    let users: Vec<UserId> = (1..=10_100).map(|number| UserId(number * 3)).collect();
    // In no order, and some twice.
    let mut shuffled: Vec<UserId> = users.iter().rev().copied().collect();
    shuffled.extend(&users[..10]);
    let joined = scene.store.join_many(TEAM, &shuffled).wait().unwrap();
    assert_eq!((joined.joined, joined.unchanged), (10_100, 10));
    let ask = |scene: &Scene, after: u64, limit: usize| {
        let page = scene.store.members(TEAM, UserId(after), limit).unwrap();
        (page.members.iter().map(|member| member.user.0).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(scene.store.group(TEAM).unwrap().members, 10_100);
    assert_eq!(ask(&scene, 0, 0), (vec![], true));
    assert_eq!(ask(&scene, 0, 3), (vec![3, 6, 9], true));
    assert_eq!(ask(&scene, 9, 2), (vec![12, 15], true));
    assert_eq!(ask(&scene, 10, 2), (vec![12, 15], true), "after any id, a member's or not");
    assert_eq!(ask(&scene, 30_294, 5), (vec![30_297, 30_300], false));
    assert_eq!(ask(&scene, 30_294, 2), (vec![30_297, 30_300], false));
    assert_eq!(ask(&scene, 30_294, 1), (vec![30_297], true));
    assert_eq!(ask(&scene, 30_300, 5), (vec![], false));
    assert_eq!(ask(&scene, 30_300, 0), (vec![], false));
    assert_eq!(ask(&scene, u64::MAX, 5), (vec![], false));
    for limit in [MEMBERS_MAX - 1, MEMBERS_MAX] {
        let (page, more) = ask(&scene, 0, limit);
        assert_eq!((page.len(), more), (limit, true));
    }
    for limit in [MEMBERS_MAX + 1, usize::MAX] {
        let text = format!("members of a page is above its limit: limit=10000 got={limit}");
        refused(&scene, ErrorKind::LimitExceeded, &text, || scene.store.members(TEAM, UserId::NONE, limit));
    }
    // Leaving takes one out, coming back puts it in its place; walking all of them finds each once.
    changed(scene.store.leave(TEAM, UserId(6)));
    changed(scene.store.leave(TEAM, UserId(9)));
    changed(scene.store.join(TEAM, UserId(7)));
    changed(scene.store.join(TEAM, UserId(9)));
    let check = |scene: &Scene| {
        assert_eq!(ask(scene, 0, 4), (vec![3, 7, 9, 12], true));
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let (page, more) = ask(scene, after, 777);
            after = page.last().copied().unwrap_or(after);
            found.extend(page);
            if !more {
                break;
            }
        }
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((found.len() as u64, scene.store.group(TEAM).unwrap().members), (10_100, 10_100));
    };
    check(&scene);
    let scene = scene.reopened();
    check(&scene);

    // The groups of one user, in order.
    let scene = Scene::new();
    for id in (1..=50).rev() {
        scene.store.join(group(id * 2), ANN).wait().unwrap();
    }
    let ask = |scene: &Scene, after: u64, limit: usize| {
        let page = scene.store.groups_of(ANN, group(after), limit).unwrap();
        (page.groups.iter().map(|group| group.0).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(ask(&scene, 0, 100), ((1..=50).map(|id| id * 2).collect(), false));
    assert_eq!(ask(&scene, 5, 2), (vec![6, 8], true));
    assert_eq!(ask(&scene, 96, 2), (vec![98, 100], false));
    assert_eq!(ask(&scene, 0, 0), (vec![], true));
    changed(scene.store.leave(group(4), ANN));
    changed(scene.store.dissolve(group(6)));
    changed(scene.store.remove_session(ANN, room(8)));
    scene.send(Draft::direct(ANN, BOB, b"x"));
    assert_eq!(ask(&scene, 0, 3), (vec![2, 8, 10], true), "one it left or that is no more is not among them");
    let text = "groups of a page is above its limit: limit=10000 got=10001";
    refused(&scene, ErrorKind::LimitExceeded, text, || scene.store.groups_of(ANN, group(0), 10_001));
    // Of one who is in none, or does not exist: none.
    for user in [BOB, UserId(77)] {
        let page = traceless(&scene, || scene.store.groups_of(user, group(0), 10).unwrap());
        assert_eq!((page.groups.len(), page.more), (0, false));
    }
    assert_eq!(ask(&scene.reopened(), 0, 3), (vec![2, 8, 10], true));
}

#[test]
fn a_dissolved_group_leaves_everything_at_once() {
    let scene = Scene::with(|options| options.journal_bytes(8 << 20));
    let users: Vec<UserId> = (1..=3_000).map(UserId).collect();
    scene.store.join_many(TEAM, &users).wait().unwrap();
    for _ in 0..20 {
        say(&scene, ANN).unwrap();
    }
    let (version, operations) = (scene.store.version(), scene.storage.operations());
    let dissolved = changed(scene.store.dissolve(TEAM));
    assert_eq!(dissolved, Version(version.0 + 1));
    assert!(scene.storage.operations() - operations <= 4, "one small frame and its sync");
    assert_eq!(scene.store.members(TEAM, UserId::NONE, 10).unwrap().members, []);
    assert!(!scene.store.members(TEAM, UserId::NONE, 0).unwrap().more);
    assert_eq!(scene.store.groups_of(ANN, GroupId::NONE, 10).unwrap().groups, []);
    let info = scene.store.group(TEAM).unwrap();
    assert_eq!((info.dissolved, info.last), (true, Seq(20)));
    // A group that nobody is in can be dissolved, and its id is not used again.
    changed(scene.store.create_group(group(43), GroupSettings::default()));
    changed(scene.store.dissolve(group(43)));
    let joined = scene.store.join_many(group(43), &[ANN]).wait().unwrap_err();
    assert_eq!(joined.kind(), ErrorKind::Dissolved);
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.store.join(TEAM, ANN).wait().unwrap_err().kind(), ErrorKind::Dissolved);
    assert_eq!(crashed.store.leave(TEAM, ANN).wait().unwrap(), Effect::Unchanged);
}
