//! Answers that rest on a change which is not durable yet: given only once it is as durable as asked.
//! Owns: one table of such answers. May touch: `scene`.
//! Never: has a thread that could sync behind its back.

use restante::{
    ClientId, CrashPlan, Draft, Durability, Effect, Error, ErrorKind, GroupSettings, Loss, Outcome, Seq, Store, Ticket,
    Timestamp,
};

use crate::scene::{START, Scene, group, room, user, with};

/// What an answer says, in words.
type Answer = Result<String, Error>;

/// A first call that nobody waits for, and a second one whose answer rests on it.
struct Case {
    name: &'static str,
    before: fn(&Store),
    first: fn(&Store),
    second: fn(&Store) -> Box<dyn Pending>,
    answer: &'static str,
}

/// A ticket of any kind.
trait Pending {
    fn is_done(&self) -> bool;
    fn wait(self: Box<Self>) -> Answer;
}

impl<T: std::fmt::Debug> Pending for Ticket<T> {
    fn is_done(&self) -> bool {
        Ticket::is_done(self)
    }

    fn wait(self: Box<Self>) -> Answer {
        Ticket::wait(*self).map(|answer| format!("{answer:?}"))
    }
}

fn dropped<T>(ticket: Ticket<T>) {
    drop(ticket);
}

fn with_id(body: &[u8]) -> Draft<'_> {
    Draft::direct(user(1), user(2), body).client_id(ClientId(7))
}

const CASES: &[Case] = &[
    Case {
        name: "a duplicate",
        before: |_| (),
        first: |store| dropped(store.append(with_id(b"hello"))),
        second: |store| Box::new(store.append(with_id(b"hello"))),
        answer: "outcome: Duplicate, seq: Seq(1)",
    },
    Case {
        name: "a duplicate in a batch",
        before: |_| (),
        first: |store| dropped(store.append(with_id(b"hello"))),
        second: |store| Box::new(store.append_batch(&[with_id(b"hello"), with_id(b"hello")])),
        answer: "outcome: Duplicate, seq: Seq(1)",
    },
    Case {
        name: "a conflict",
        before: |_| (),
        first: |store| dropped(store.append(with_id(b"hello"))),
        second: |store| Box::new(store.append(with_id(b"other"))),
        answer: "Conflict",
    },
    Case {
        name: "refused to one who left",
        before: |store| {
            store.join(group(1), user(1)).wait().unwrap();
        },
        first: |store| dropped(store.leave(group(1), user(1))),
        second: |store| Box::new(store.append(Draft::group(group(1), user(1), b"hello"))),
        answer: "Refused",
    },
    Case {
        name: "refused in a group that was just made",
        before: |_| (),
        first: |store| dropped(store.create_group(group(1), GroupSettings::default())),
        second: |store| Box::new(store.append(Draft::group(group(1), user(1), b"hello"))),
        answer: "Refused",
    },
    Case {
        name: "an explicit timestamp below the last",
        before: |_| (),
        first: |store| dropped(store.append(Draft::direct(user(1), user(2), b"hello"))),
        second: |store| {
            Box::new(store.append(Draft::direct(user(1), user(2), b"old").timestamp(Timestamp(START.0 - 1))))
        },
        answer: "InvalidInput",
    },
    Case {
        name: "a group that exists",
        before: |_| (),
        first: |store| dropped(store.create_group(group(1), GroupSettings::default())),
        second: |store| Box::new(store.create_group(group(1), GroupSettings::default())),
        answer: "Unchanged",
    },
    Case {
        name: "a member",
        before: |_| (),
        first: |store| dropped(store.join(group(1), user(1))),
        second: |store| Box::new(store.join(group(1), user(1))),
        answer: "Unchanged",
    },
    Case {
        name: "members",
        before: |_| (),
        first: |store| dropped(store.join_many(group(1), &[user(1), user(2)])),
        second: |store| Box::new(store.join_many(group(1), &[user(2), user(2)])),
        answer: "joined: 0, unchanged: 2",
    },
    Case {
        name: "one who left",
        before: |store| {
            store.join(group(1), user(1)).wait().unwrap();
        },
        first: |store| dropped(store.leave(group(1), user(1))),
        second: |store| Box::new(store.leave(group(1), user(1))),
        answer: "Unchanged",
    },
    Case {
        name: "read",
        before: |store| {
            store.append(Draft::direct(user(1), user(2), b"hello")).wait().unwrap();
        },
        first: |store| dropped(store.mark_read(user(2), with(1), Seq(1))),
        second: |store| Box::new(store.mark_read(user(2), with(1), Seq(1))),
        answer: "Unchanged",
    },
    Case {
        name: "unread",
        before: |store| {
            store.append(Draft::direct(user(1), user(2), b"hello")).wait().unwrap();
            store.mark_read(user(2), with(1), Seq(1)).wait().unwrap();
        },
        first: |store| dropped(store.mark_unread_from(user(2), with(1), Seq(1))),
        second: |store| Box::new(store.mark_unread_from(user(2), with(1), Seq(1))),
        answer: "Unchanged",
    },
    Case {
        name: "read in a session that is not visible yet",
        before: |_| (),
        first: |store| dropped(store.append(Draft::direct(user(1), user(2), b"hello"))),
        second: |store| Box::new(store.mark_read(user(2), with(1), Seq(1))),
        answer: "Unchanged",
    },
    Case {
        name: "unread from a message that is not visible yet",
        before: |store| {
            store.join(group(1), user(1)).wait().unwrap();
        },
        first: |store| dropped(store.append(Draft::group(group(1), user(1), b"hello"))),
        second: |store| Box::new(store.mark_unread_from(user(1), room(1), Seq(1))),
        answer: "InvalidInput",
    },
];

fn said(answer: Answer) -> String {
    match answer {
        Ok(text) => text,
        Err(error) => format!("{:?} {error}", error.kind()),
    }
}

#[test]
fn answers_wait_for_what_they_rest_on() {
    for Case { name, before, first, second, answer } in CASES {
        // Two stores at once: `Sync` calls, then `Buffered` ones in a `Sync` store.
        let scene = Scene::new();
        before(&scene.store);
        let version = scene.store.version();
        first(&scene.store);
        let ticket = second(&scene.store);
        assert!(!ticket.is_done(), "{name}: answered before what it rests on is durable");
        let versions = |loss| scene.after_crash(loss).store.version();
        assert_eq!(versions(Loss::All), version, "{name}: durable before anybody waited");
        let text = said(ticket.wait());
        assert!(text.contains(answer), "{name}: {text}");
        let changed = scene.store.version();
        assert!(changed > version, "{name}: what the answer rests on is visible");
        assert_eq!(versions(Loss::All), changed, "{name}: what the answer rests on is durable");

        let scene = Scene::new();
        before(&scene.store);
        first(&scene.store);
        let ticket = second(&scene.store.at(Durability::Buffered));
        assert!(ticket.is_done(), "{name}: the operating system has what it rests on");
        assert!(said(ticket.wait()).contains(answer), "{name}");
        let versions = |loss| scene.after_crash(loss).store.version();
        assert_eq!(versions(Loss::Nothing), changed, "{name}: survives the end of the process");
        assert_eq!(versions(Loss::All), version, "{name}: nobody asked for a sync");
    }
}

#[test]
fn answers_that_rest_on_nothing_pending_are_given_at_once() {
    let scene = Scene::new();
    let store = &scene.store;
    let operations = scene.storage.operations();
    let done = |ticket: Box<dyn Pending>| {
        assert!(ticket.is_done());
        said(ticket.wait())
    };
    assert!(done(Box::new(store.append(Draft::group(group(1), user(1), b"x")))).starts_with("NotFound"));
    assert!(done(Box::new(store.leave(group(1), user(1)))).starts_with("NotFound"));
    assert!(done(Box::new(store.mark_read(user(1), with(2), Seq(1)))).starts_with("NotFound"));
    assert!(done(Box::new(store.join(group(0), user(1)))).starts_with("InvalidInput"));
    assert!(done(Box::new(store.append_batch(&[]))).starts_with("[]"));
    assert_eq!(scene.storage.operations(), operations, "none of it touched a file");
    // Durable long since: the same answers as above, at once.
    scene.send(with_id(b"hello"));
    let operations = scene.storage.operations();
    assert!(done(Box::new(store.append(with_id(b"hello")))).contains("Duplicate"));
    assert!(done(Box::new(store.append(with_id(b"other")))).starts_with("Conflict"));
    assert_eq!(done(Box::new(store.mark_read(user(1), with(2), Seq(1)))), "Unchanged");
    assert_eq!(scene.storage.operations(), operations);
}

#[test]
fn a_retry_after_a_lost_first_answer_finds_it_or_writes_it() {
    // The server crashes at any moment of an append and its client retries: the message is there once.
    let scene = Scene::new();
    let started = scene.storage.operations();
    let first = scene.send(with_id(b"hello"));
    for operation in started..=scene.storage.operations() {
        for loss in [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random] {
            for seed in 0..4 {
                let storage = scene.storage.crash_at(operation, CrashPlan { seed, loss });
                let options = restante::Options::default().threads(restante::Threads::Inline);
                let store = Store::open_on(storage, options.clock(scene.clock.clone())).unwrap();
                let retry = store.append(with_id(b"hello")).wait().unwrap();
                assert_eq!((retry.seq, retry.version), (first.seq, first.version), "operation={operation} {loss:?}");
                let third = store.append(with_id(b"hello")).wait().unwrap();
                assert_eq!((third.outcome, third.seq), (Outcome::Duplicate, Seq(1)));
                let error = store.append(with_id(b"other")).wait().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert_eq!(store.mark_read(user(2), with(1), Seq(0)).wait().unwrap(), Effect::Unchanged);
                assert_eq!(store.version().0, 1);
            }
        }
    }
}
