//! Opening, sharing and closing a store; what must not depend on how it was opened.
//! Owns: locks and modes as far as one process sees them, handles, equality of answers. May touch: `scene`, `support`.
//! Never: starts a process; `tests/two_processes.rs` does.

mod answers;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use restante::{
    Appended, Body, Cursor, Draft, Durability, Effect, Error, ErrorKind, GroupSettings, HistoryQuery, ListQuery, Loss,
    Options, Outcome, ReadMode, Seq, SimStorage, Store, Threads, Ticket,
};

use crate::scene::{Scene, group, texts, user, whole, with};
use crate::support::TempDir;

fn hello(store: &Store) -> Appended {
    store.append(Draft::direct(user(1), user(2), b"hello")).wait().expect("append")
}

#[test]
fn handles_go_to_any_thread() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    fn check_sent<T: Send + 'static>() {}
    check::<Store>();
    check::<Options>();
    check::<Body>();
    check::<Error>();
    check::<Cursor>();
    check_sent::<Ticket<Appended>>();
    check_sent::<Ticket<Effect>>();
}

#[test]
fn a_second_handle_is_refused_until_the_first_goes() {
    // In a directory, whatever the way it is read by; `check` opens it.
    let directory = TempDir::new("lock");
    let path = directory.path().join("store");
    check_lock(&format!("another process has the store open: path={}", path.display()), |number| {
        let read_mode = if number % 2 == 0 { ReadMode::Mapped } else { ReadMode::Pread };
        Store::open(&path, Options::default().read_mode(read_mode))
    });
    // And in simulated files.
    let storage = SimStorage::new(1);
    check_lock("another process has the store open: path=sim", |_| {
        Store::open_on(storage.clone(), Options::default().threads(Threads::Inline))
    });
}

fn check_lock(text: &str, open: impl Fn(u32) -> restante::Result<Store>) {
    let first = open(0).unwrap();
    hello(&first);
    for number in 1..3 {
        let error = open(number).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(error.to_string().trim_end_matches('/'), text);
    }
    // Being refused changed nothing for the one who has it.
    hello(&first);
    // It goes with `close`, while other handles are still about,
    let other = first.clone();
    first.close().unwrap();
    let second = open(3).unwrap();
    assert!(second.recovery().clean);
    hello(&second);
    assert_eq!(hello_error(&other), ErrorKind::Closed);
    drop(other);
    assert_eq!(open(4).unwrap_err().kind(), ErrorKind::Locked, "an old handle takes nobody else's lock with it");
    // and with the last handle.
    let clone = second.at(Durability::Buffered);
    drop(second);
    assert_eq!(open(5).unwrap_err().kind(), ErrorKind::Locked);
    drop(clone);
    let third = open(6).unwrap();
    assert!(third.recovery().clean);
    assert_eq!(third.history(user(2), with(1), &HistoryQuery::newest()).unwrap().messages.len(), 3);
}

fn hello_error(store: &Store) -> ErrorKind {
    store.append(Draft::direct(user(1), user(2), b"hello")).wait().unwrap_err().kind()
}

#[test]
fn files_are_for_their_owner_alone() {
    let directory = TempDir::new("modes");
    let path = directory.path().join("store");
    let options = || Options::default().journal_bytes(64 << 10).durability(Durability::Buffered);
    let store = Store::open(&path, options()).unwrap();
    // Over several files, so that those that are prepared and rolled to are among them.
    for _ in 0..40 {
        store.append(Draft::direct(user(1), user(2), &[7; 8_000])).wait().unwrap();
    }
    let names = check_modes(&path);
    assert!(names.iter().filter(|name| name.ends_with(".journal")).count() > 3, "{names:?}");
    assert!(names.contains(&"LOCK".to_owned()));
    store.close().unwrap();
    drop(Store::open(&path, options()).unwrap());
    check_modes(&path);
}

#[test]
fn nothing_is_written_after_the_close() {
    // The call was refused, and yet its level of durability was noted in a journal that by then may be
    // another process's.
    let scene = Scene::new();
    hello(&scene.store);
    let epoch = scene.store.epoch();
    let late = scene.store.at(Durability::Buffered);
    scene.store.clone().close().unwrap();
    let next = Store::open_on(scene.storage.clone(), Options::default().threads(Threads::Inline)).unwrap();
    hello(&next);
    let operations = scene.storage.operations();
    assert_eq!(hello_error(&late), ErrorKind::Closed);
    assert_eq!(scene.storage.operations(), operations);
    hello(&next);
    drop(next);
    let again = Store::open_on(scene.storage.clone(), Options::default().threads(Threads::Inline)).unwrap();
    assert!(again.recovery().clean, "{:?}", again.recovery());
    assert_eq!((again.epoch(), again.version().0), (epoch, 3));
}

#[test]
fn no_file_is_prepared_after_the_close() {
    // A thread of the closed store went on preparing the next journal file, beside the new owner.
    for round in 0..100 {
        let storage = SimStorage::new(round);
        let options = || Options::default().journal_bytes(16 << 20);
        let store = Store::open_on(storage.clone(), options()).unwrap();
        let handle = store.clone();
        // At once, while the thread has its hands full.
        store.close().unwrap();
        let operations = storage.operations();
        std::thread::sleep(std::time::Duration::from_micros(round * 20));
        assert_eq!(storage.operations(), operations, "round={round}: {:?}", storage.names());
        assert_eq!(hello_error(&handle), ErrorKind::Closed);
    }
}

#[test]
fn rolling_and_preparing_do_not_meet() {
    // The preparing thread took the file that the journal was about to go on in for one left over.
    for (durability, threads) in [(Durability::Buffered, 1), (Durability::Buffered, 4), (Durability::Sync, 4)] {
        let options = Options::default().journal_bytes(64 << 10).durability(durability);
        for round in 0..6 {
            let directory = TempDir::new("rolling");
            let open = || Store::open(directory.path().join("store"), options.clone());
            let store = open().unwrap();
            std::thread::scope(|scope| {
                for sender in 1..=threads {
                    let store = &store;
                    scope.spawn(move || {
                        for _ in 0..80 / threads {
                            let draft = Draft::direct(user(sender), user(9), &[7; 12_000]);
                            if let Err(error) = store.append(draft).wait() {
                                panic!("{durability:?} threads={threads} round={round}: {error}");
                            }
                        }
                    });
                }
            });
            let digest = store.state_digest().unwrap();
            store.close().unwrap();
            let store = open().unwrap();
            assert_eq!(store.state_digest().unwrap(), digest, "{durability:?} threads={threads} round={round}");
        }
    }
}

/// All names in the directory.
fn check_modes(path: &Path) -> Vec<String> {
    let mode = |path: &Path| Some(std::fs::symlink_metadata(path).ok()?.permissions().mode() & 0o7777);
    assert_eq!(mode(path), Some(0o700));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match mode(&entry.path()) {
            // A file that is being made gets another name at any moment.
            None => assert!(name.starts_with("next.spare") || name.ends_with(".tmp"), "{name} is gone"),
            Some(mode) => assert_eq!(mode, if name == "catalog" { 0o700 } else { 0o600 }, "{name}"),
        }
        names.push(name);
    }
    names
}

#[test]
fn the_last_handle_closes_cleanly() {
    for (durability, threads) in [
        (Durability::Sync, Threads::Inline),
        (Durability::Sync, Threads::Background),
        (Durability::Buffered, Threads::Inline),
        (Durability::Buffered, Threads::Background),
    ] {
        let storage = SimStorage::new(1);
        let open = |storage: &Arc<SimStorage>| {
            Store::open_on(storage.clone(), Options::default().durability(durability).threads(threads)).unwrap()
        };
        let store = open(&storage);
        assert!(store.recovery().created);
        let epoch = store.epoch();
        hello(&store);
        let buffered = store.at(Durability::Buffered);
        hello(&buffered);
        // Nobody waits for this one; the ticket outlives the store.
        let ticket = store.append(Draft::direct(user(1), user(2), b"dropped with the store"));
        let clones = [store.clone(), store, buffered];
        let digest_of = |store: &Store| store.state_digest().unwrap();
        drop(clones);
        assert_eq!(ticket.wait().unwrap().seq, Seq(3), "closing made it durable");

        // All of it is durable: the power may go now.
        let plan = restante::CrashPlan { seed: 3, loss: Loss::All };
        for storage in [storage.crash_at(storage.operations(), plan), storage] {
            let store = open(&storage);
            let recovery = store.recovery();
            assert!(recovery.clean && !recovery.created && !recovery.new_epoch, "{recovery:?}");
            assert_eq!((recovery.cut.as_ref(), recovery.changes), (None, 3));
            assert_eq!(store.epoch(), epoch);
            let digest = digest_of(&store);
            // Opened and closed without a change, it stays as it is.
            drop(store);
            let store = open(&storage);
            assert!(store.recovery().clean);
            assert_eq!(digest_of(&store), digest);
        }
    }
}

#[test]
fn a_store_that_was_not_closed_says_so() {
    let scene = Scene::new();
    hello(&scene.store);
    let crashed = scene.after_crash(Loss::Nothing);
    assert!(!crashed.store.recovery().clean);
    assert_eq!((crashed.store.recovery().changes, crashed.store.recovery().cut.as_ref()), (1, None));
}

#[test]
fn a_closed_store_takes_no_changes_and_answers_on() {
    for threads in [Threads::Inline, Threads::Background] {
        let scene = Scene::with(|options| options.threads(threads));
        let store = scene.store.clone();
        store.create_group(group(1), GroupSettings::default()).wait().unwrap();
        store.join_many(group(1), &[user(1), user(2)]).wait().unwrap();
        store.append(Draft::group(group(1), user(1), b"hello all")).wait().unwrap();
        hello(&store);
        let cursor = store.changed(user(2), None, &ListQuery::new().limit(1)).unwrap().next;
        let version = store.version();
        let digest = store.state_digest().unwrap();
        let page = store.history(user(2), with(1), &HistoryQuery::newest()).unwrap();
        let list = store.changed(user(2), None, &ListQuery::new()).unwrap();
        scene.store.clone().close().unwrap();
        // From here on the files may be another process's.
        let operations = scene.storage.operations();

        let kinds = [
            store.append(Draft::direct(user(1), user(2), b"x")).wait().err(),
            store.append_batch(&[Draft::direct(user(1), user(2), b"x")]).wait().err(),
            store.create_group(group(1), GroupSettings::default()).wait().err(),
            store.create_group(group(2), GroupSettings::default()).wait().err(),
            store.join(group(1), user(1)).wait().err(),
            store.join_many(group(1), &[user(3)]).wait().err(),
            store.leave(group(1), user(1)).wait().err(),
            store.mark_read(user(2), with(1), Seq(1)).wait().err(),
            store.mark_unread_from(user(2), with(1), Seq(1)).wait().err(),
            store.at(Durability::Buffered).append(Draft::direct(user(1), user(2), b"x")).wait().err(),
            store.sync().err(),
        ];
        for (number, error) in kinds.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("call {number} passed"));
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Closed, "the store was closed"));
        }
        // Reads go on, and show what was there.
        assert_eq!((store.version(), store.state_digest().unwrap()), (version, digest));
        assert_eq!(store.history(user(2), with(1), &HistoryQuery::newest()).unwrap(), page);
        assert_eq!(store.changed(user(2), None, &ListQuery::new()).unwrap(), list);
        assert_eq!(store.changed(user(2), Some(&cursor), &ListQuery::new()).unwrap().entries.len(), 1);
        assert_eq!(store.recent(user(2), None, &ListQuery::new()).unwrap().entries.len(), 2);
        assert_eq!(store.catch_up(user(2), None, &whole()).unwrap().entries.len(), 2);
        assert_eq!(store.total_unread(user(2)).unwrap().unread, 2);
        // Closing again is no error: it is closed.
        store.clone().close().unwrap();
        assert_eq!(scene.storage.operations(), operations, "{threads:?}: nothing is written after the close");
        // A body outlives all of it.
        let body = page.messages[0].body.clone();
        drop((page, list, store, scene));
        assert_eq!(&*body, b"hello");
    }
}

#[test]
fn bodies_lie_in_the_mapped_file_or_in_memory() {
    let directory = TempDir::new("mapped");
    for (read_mode, is_mapped) in [(ReadMode::Mapped, true), (ReadMode::Pread, false), (ReadMode::Mapped, true)] {
        let path = directory.path().join("store");
        let store = Store::open(&path, Options::default().read_mode(read_mode)).unwrap();
        hello(&store);
        let messages = store.history(user(2), with(1), &HistoryQuery::newest()).unwrap().messages;
        assert!(messages.iter().all(|message| message.body.is_mapped() == is_mapped), "{read_mode:?}");
        let latest = store.changed(user(2), None, &ListQuery::new()).unwrap().entries.remove(0).latest;
        assert_eq!(latest[0].body.is_mapped(), is_mapped);
        // Both live on without the store, also the mapped one, whose file may even be gone.
        store.close().unwrap();
        assert!(texts(&messages).iter().all(|text| text == "hello"));
    }
    let path = directory.path().join("store");
    let store = Store::open(&path, Options::default()).unwrap();
    let messages = store.history(user(2), with(1), &HistoryQuery::newest()).unwrap().messages;
    drop(store);
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(texts(&messages), ["hello", "hello", "hello"]);
}

#[test]
fn a_directory_that_holds_other_things_is_refused() {
    let directory = TempDir::new("foreign");
    let path = directory.path().join("store");
    // A parent that is not there is not made.
    let error = Store::open(path.join("deeper"), Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().starts_with("cannot open directory: path="), "{error}");
    assert!(!path.exists());
    // A file is no directory.
    std::fs::write(&path, b"precious").unwrap();
    assert_eq!(Store::open(&path, Options::default()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    // An empty directory that somebody made before is taken.
    std::fs::create_dir(&path).unwrap();
    let store = Store::open(&path, Options::default()).unwrap();
    assert!(store.recovery().created);
    assert_eq!(hello(&store).outcome, Outcome::Written);
}
