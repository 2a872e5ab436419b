//! Tries to make the store answer wrongly, hang, or keep a trace of what it refused.
//! Owns: what was found so, one test each, and the runs that found it. May touch: the public interface, `scene`,
//! `support`.
//! Never: holds a model of the store; it recounts from the store's own answers.

mod bigger;
mod check;
mod combos;
mod crowd;
mod drive;
mod durable;
mod extremes;
mod wakers;

use std::sync::mpsc;
use std::time::Duration;

use restante::{Draft, Effect, ErrorKind, GroupSettings};

use crate::scene::{Scene, group, seqs, user, whole, with};

/// No later answer may rest on a version that the batch did not keep.
#[test]
fn a_refused_batch_leaves_nothing_to_wait_for() {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let scene = Scene::new();
        scene.store.create_group(group(1), GroupSettings::default()).wait().unwrap();
        let batch = [Draft::direct(user(1), user(2), b"x"), Draft::group(group(9), user(1), b"no such group")];
        assert_eq!(scene.store.append_batch(&batch).wait().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(scene.store.set_group(group(1), GroupSettings::default()).wait().unwrap(), Effect::Unchanged);
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(10)).expect("an answer");
}

/// A notice that came while the session was removed is carried once the session is back.
#[test]
fn a_revived_session_is_caught_up_with_its_notices() {
    let scene = Scene::new();
    scene.send(Draft::direct(user(1), user(2), b"one"));
    scene.store.remove_session(user(2), with(1)).wait().unwrap();
    let cursor = scene.store.catch_up(user(2), None, &whole()).unwrap().next;
    scene.send(Draft::direct(user(1), user(2), b"notice").counts(false));
    let cursor = scene.store.catch_up(user(2), Some(&cursor), &whole()).unwrap().next;
    scene.send(Draft::direct(user(1), user(2), b"three"));
    let list = scene.store.catch_up(user(2), Some(&cursor), &whole()).unwrap();
    assert_eq!(seqs(&list.entries[0].messages), [2, 3]);
    assert_eq!(seqs(&scene.all(user(2), with(1))), [2, 3]);
}
