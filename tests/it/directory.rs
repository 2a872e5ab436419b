//! Names to ids and back.
//! Owns: `resolve`, `resolve_or_create`, `name_of`, `free_name`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::limits::NAME_BYTES_MAX;
use restante::{Draft, Durability, ErrorKind, Loss, NameKind, Resolved, Seq, UserId, Version};

use crate::replies::{changed, refused, traceless};
use crate::scene::{Scene, with};

const FIRST: u64 = (1 << 63) + 1;
const KINDS: [NameKind; 4] = [NameKind::User, NameKind::Group, NameKind::System, NameKind::Business];

fn create(scene: &Scene, kind: NameKind, name: &[u8]) -> Resolved {
    scene.store.resolve_or_create(kind, name).wait().expect("resolve or create")
}

#[test]
fn names_get_ids_of_their_kind_in_order() {
    let scene = Scene::new();
    for kind in KINDS {
        for (number, name) in ["ann", "bob", "cat"].iter().enumerate() {
            let made = create(&scene, kind, name.as_bytes());
            assert_eq!((made.id, made.created), (FIRST + number as u64, true), "{kind:?} {name}");
        }
    }
    assert_eq!(scene.store.version(), Version(12), "one change each");
    for kind in KINDS {
        let again = traceless(&scene, || create(&scene, kind, b"bob"));
        assert_eq!((again.id, again.created), (FIRST + 1, false));
        assert_eq!(scene.store.resolve(kind, b"cat").unwrap(), Some(FIRST + 2));
        assert_eq!(scene.store.name_of(kind, FIRST).unwrap(), Some(b"ann".to_vec()));
        for unknown in [&b"Ann"[..], b"ann ", b"an", b"", b"\0", &[0xff; 255], &[0xff; 256]] {
            assert_eq!(traceless(&scene, || scene.store.resolve(kind, unknown).unwrap()), None);
        }
        for id in [0, 1, FIRST - 1, FIRST + 3, u64::MAX] {
            assert_eq!(scene.store.name_of(kind, id).unwrap(), None);
        }
    }
    // A name of a user makes the user; one of a group makes no group.
    assert!(scene.store.user_exists(UserId(FIRST)).unwrap());
    assert_eq!(scene.store.group(restante::GroupId(FIRST)).unwrap_err().kind(), ErrorKind::NotFound);
    scene.send(Draft::broadcast(restante::Source::System(restante::SystemId(1)), b"x"));
    assert_eq!(scene.list(UserId(FIRST)).entries.len(), 1, "it exists for broadcasts, too");
    let check = |scene: &Scene| {
        for kind in KINDS {
            assert_eq!(scene.store.resolve(kind, b"cat").unwrap(), Some(FIRST + 2));
            assert_eq!(scene.store.name_of(kind, FIRST + 1).unwrap(), Some(b"bob".to_vec()));
            assert_eq!(create(scene, kind, b"dan").id, FIRST + 3);
        }
    };
    check(&scene.after_crash(Loss::All));
    check(&scene.reopened());
}

#[test]
fn names_are_bytes_of_a_length() {
    let scene = Scene::new();
    let longest = vec![0xff; NAME_BYTES_MAX];
    for name in [&b"x"[..], b"\0", b"\xff\xfe", &longest[1..], &longest] {
        let made = create(&scene, NameKind::Group, name);
        assert!(made.created);
        assert_eq!(scene.store.name_of(NameKind::Group, made.id).unwrap().as_deref(), Some(name));
        assert_eq!(scene.store.resolve(NameKind::Group, name).unwrap(), Some(made.id));
    }
    let store = &scene.store;
    for length in [256, 257, 10_000] {
        let text = format!("name bytes is above its limit: limit=255 got={length}");
        let name = vec![7; length];
        refused(&scene, ErrorKind::LimitExceeded, &text, || store.resolve_or_create(NameKind::Group, &name).wait());
    }
    refused(&scene, ErrorKind::InvalidInput, "a name has at least one byte", || {
        store.resolve_or_create(NameKind::User, b"").wait()
    });
}

#[test]
fn a_freed_name_may_be_given_again_and_its_id_may_not() {
    let scene = Scene::new();
    let store = &scene.store;
    let (ann, bob) = (create(&scene, NameKind::User, b"ann").id, create(&scene, NameKind::User, b"bob").id);
    create(&scene, NameKind::Group, b"bob");
    changed(store.free_name(NameKind::User, b"bob"));
    assert_eq!(
        (store.resolve(NameKind::User, b"bob").unwrap(), store.name_of(NameKind::User, bob).unwrap()),
        (None, None)
    );
    assert_eq!(store.resolve(NameKind::Group, b"bob").unwrap(), Some(FIRST), "another kind is another directory");
    assert!(store.user_exists(UserId(bob)).unwrap(), "a name is not the user");
    for name in ["bob", "cat", "\n"] {
        let text = format!("no such name: kind=User name={}", name.escape_default());
        refused(&scene, ErrorKind::NotFound, &text, || store.free_name(NameKind::User, name.as_bytes()).wait());
    }
    let text = "a name has at least one byte";
    refused(&scene, ErrorKind::InvalidInput, text, || store.free_name(NameKind::User, b"").wait());
    let again = create(&scene, NameKind::User, b"bob");
    assert_eq!((again.id, again.created), (FIRST + 2, true));
    // The newest id of all is freed, and the store restarted: it is not given again, either.
    changed(store.free_name(NameKind::User, b"bob"));
    let scene = scene.reopened();
    assert_eq!(create(&scene, NameKind::User, b"cat").id, FIRST + 3);
    let scene = scene.after_crash(Loss::All);
    assert_eq!(create(&scene, NameKind::User, b"dan").id, FIRST + 4);
    assert_eq!(scene.store.resolve(NameKind::User, b"ann").unwrap(), Some(ann));
    // Removing a user frees its names and no others.
    let removed = scene.store.remove_user(UserId(ann), false).unwrap();
    assert_eq!((removed.sessions, removed.names), (0, 1));
    assert_eq!(scene.store.resolve(NameKind::User, b"ann").unwrap(), None);
    assert_eq!(scene.store.resolve(NameKind::Group, b"bob").unwrap(), Some(FIRST));
}

/// The first to ask makes it, all others wait for that and get the same id; an answer is never of a name that is lost.
#[test]
fn a_name_is_made_once() {
    let scene = Scene::new();
    let first = scene.store.resolve_or_create(NameKind::User, b"ann");
    assert!(!first.is_done());
    assert_eq!(scene.store.resolve(NameKind::User, b"ann").unwrap(), None, "not durable, so not visible");
    let second = scene.store.resolve_or_create(NameKind::User, b"ann").wait().unwrap();
    assert_eq!((second.id, second.created), (FIRST, false));
    assert_eq!(scene.after_crash(Loss::All).store.resolve(NameKind::User, b"ann").unwrap(), Some(FIRST));
    assert!(first.wait().unwrap().created);
    // A buffered name that a power cut takes leaves no hole that matters, and no wrong answer.
    let buffered = scene.store.at(Durability::Buffered);
    assert_eq!(buffered.resolve_or_create(NameKind::User, b"lost").wait().unwrap().id, FIRST + 1);
    let crashed = scene.after_crash(Loss::All);
    assert_eq!(crashed.store.resolve(NameKind::User, b"lost").unwrap(), None);
    assert_eq!(create(&crashed, NameKind::User, b"other").id, FIRST + 1);
    // What it names can be written to at once, before anybody waited.
    let id = UserId(create(&scene, NameKind::User, b"bob").id);
    assert_eq!(scene.send(Draft::direct(id, UserId(FIRST), b"x")).seq, Seq(1));
    assert_eq!(scene.entry(UserId(FIRST), with(id.0)).unread, 1);

    // From many threads at once: each name once, whoever wins.
    let scene = Scene::with(|options| options.threads(restante::Threads::Background));
    let made: Vec<Resolved> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let store = scene.store.clone();
                let name = |number: u64| format!("name {number}");
                scope.spawn(move || {
                    let tickets =
                        (0..50).map(|number| store.resolve_or_create(NameKind::Group, name(number).as_bytes()));
                    tickets.map(|ticket| ticket.wait().unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| made.created).count(), 50);
    let mut ids: Vec<u64> = made.iter().map(|made| made.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, (0..50).map(|number| FIRST + number).collect::<Vec<_>>());
}
