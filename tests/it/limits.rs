//! Every limit at, below and above its number: what passes, which error the rest gets, and that it leaves no trace.
//! Owns: the limits of `restante::limits` as a caller meets them. May touch: `scene`.
//! Never: repeats a number that `restante::limits` has, but in texts of errors.

use restante::limits::*;
use restante::{
    CatchUpQuery, ClientId, Draft, Durability, Error, ErrorKind, HistoryQuery, ListQuery, Options, Outcome, SimStorage,
    Store, Threads, Timestamp, UserId,
};

use crate::scene::{Scene, group, room, user, whole, with};

/// A call passes below and at its limit; above it, it is refused with this text and changes nothing.
fn check<T>(scene: &Scene, limit: usize, text: &str, mut call: impl FnMut(usize) -> Result<T, Error>) {
    for value in [limit - 1, limit] {
        if let Err(error) = call(value) {
            panic!("limit={limit} value={value}: {error}");
        }
    }
    let before = (scene.store.version(), scene.store.state_digest().unwrap());
    for value in [limit + 1, limit + 2, 2 * limit] {
        let error = call(value).err().unwrap_or_else(|| panic!("limit={limit} value={value}: passed"));
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert_eq!(error.to_string(), text.replace("{}", &value.to_string()));
    }
    assert_eq!((scene.store.version(), scene.store.state_digest().unwrap()), before, "a refused call leaves no trace");
}

/// The largest value that passes, when all up to some value do.
fn largest(mut low: usize, mut high: usize, mut passes: impl FnMut(usize) -> bool) -> usize {
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if passes(middle) { low = middle } else { high = middle }
    }
    low
}

fn roomy() -> Scene {
    Scene::with(|options| options.journal_bytes(64 << 20))
}

#[test]
fn body_bytes() {
    let scene = roomy();
    let send = |bytes| scene.store.append(Draft::direct(user(1), user(2), &vec![7; bytes])).wait();
    check(&scene, BODY_BYTES_MAX, "body bytes is above its limit: limit=1048576 got={}", send);
    let bodies: Vec<usize> = scene.all(user(2), with(1)).iter().map(|message| message.body.len()).collect();
    assert_eq!(bodies, [BODY_BYTES_MAX - 1, BODY_BYTES_MAX]);
    // In a batch the item is named.
    let large = vec![7; BODY_BYTES_MAX + 1];
    let drafts = [Draft::direct(user(1), user(2), b"fits"), Draft::direct(user(1), user(2), &large)];
    let error = scene.store.append_batch(&drafts).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::LimitExceeded, Some(1)));
    assert_eq!(error.to_string(), "body bytes is above its limit: limit=1048576 got=1048577: item=1");
    assert_eq!(scene.all(user(2), with(1)).len(), 2);
}

#[test]
fn a_message_takes_a_quarter_of_a_journal_file() {
    let scene = Scene::with(|options| options.journal_bytes(JOURNAL_BYTES_MIN));
    let quarter = (JOURNAL_BYTES_MIN / BATCH_PART_OF_JOURNAL) as usize;
    let send = |bytes: usize| scene.store.append(Draft::direct(user(1), user(2), &vec![7; bytes])).wait();
    let bytes_max = largest(0, quarter, |bytes| send(bytes).is_ok());
    assert!(quarter - 256 < bytes_max && bytes_max < quarter, "all but what the store adds: {bytes_max}");
    let version = scene.store.version();
    let error = send(bytes_max + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let text = error.to_string();
    assert!(text.starts_with("bytes of a message in the journal is above its limit: limit=16384 got="), "{text}");
    assert_eq!(scene.store.version(), version);
    // What is refused here would fit a store with longer files.
    assert_eq!(roomy().send(Draft::direct(user(1), user(2), &vec![7; bytes_max + 1])).seq.0, 1);
    // All that passed is there, over several files, also after reopening.
    let digest = scene.store.state_digest().unwrap();
    let scene = scene.reopened();
    assert_eq!(scene.store.state_digest().unwrap(), digest);
    assert_eq!(scene.entry(user(2), with(1)).last.0, version.0);
}

#[test]
fn messages_of_a_batch() {
    let scene = roomy();
    let text = "messages in a batch is above its limit: limit=4096 got={}";
    check(&scene, BATCH_MESSAGES_MAX, text, |count| {
        let drafts = vec![Draft::direct(user(1), user(2), b"x"); count];
        let appended = scene.store.append_batch(&drafts).wait()?;
        assert_eq!(appended.len(), count);
        Ok(())
    });
    assert_eq!(scene.entry(user(2), with(1)).last.0, 2 * BATCH_MESSAGES_MAX as u64 - 1);
    // None at all is no change.
    let version = scene.store.version();
    assert_eq!(scene.store.append_batch(&[]).wait().unwrap(), []);
    assert_eq!(scene.store.version(), version);
}

#[test]
fn bytes_of_a_batch() {
    let scene = Scene::with(|options| options.journal_bytes(JOURNAL_BYTES_MIN));
    let quarter = (JOURNAL_BYTES_MIN / BATCH_PART_OF_JOURNAL) as usize;
    let body = [7; 100];
    let send = |count| scene.store.append_batch(&vec![Draft::direct(user(1), user(2), &body); count]).wait();
    let count_max = largest(1, quarter, |count| send(count).is_ok());
    assert!(count_max * body.len() <= quarter && count_max >= quarter / 400, "count_max={count_max}");
    let before = (scene.store.version(), scene.store.state_digest().unwrap());
    let error = send(count_max + 1).unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::LimitExceeded, None), "no one item is to blame");
    let text = error.to_string();
    assert!(text.starts_with("bytes of a batch in the journal is above its limit: limit=16384 got="), "{text}");
    // One item that could not be written even alone is named.
    let large = vec![7; quarter];
    let drafts = [Draft::direct(user(1), user(2), b"x"), Draft::direct(user(1), user(2), &large)];
    let error = scene.store.append_batch(&drafts).wait().unwrap_err();
    assert_eq!((error.kind(), error.item()), (ErrorKind::LimitExceeded, Some(1)));
    assert_eq!((scene.store.version(), scene.store.state_digest().unwrap()), before);
    // However long the journal files are, 8 MiB is the most.
    let large = vec![7; BODY_BYTES_MAX];
    let send = |count| roomy().store.append_batch(&vec![Draft::direct(user(1), user(2), &large); count]).wait();
    assert_eq!(send(7).unwrap().len(), 7);
    let text = send(8).unwrap_err().to_string();
    assert!(text.starts_with("bytes of a batch in the journal is above its limit: limit=8388608 got="), "{text}");
}

#[test]
fn users_of_a_bulk_join() {
    let scene = roomy();
    let users: Vec<UserId> = (1..=2 * JOIN_USERS_MAX as u64).map(UserId).collect();
    let mut next = 0;
    check(&scene, JOIN_USERS_MAX, "users of a bulk join is above its limit: limit=50000 got={}", |count| {
        next += 1;
        let joined = scene.store.join_many(group(next), &users[..count]).wait()?;
        assert_eq!((joined.joined, joined.unchanged), (count, 0));
        Ok(())
    });
    let last = users[JOIN_USERS_MAX - 1];
    assert_eq!(scene.list(last).entries.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [room(2)]);
    assert_eq!(scene.list(users[0]).entries.len(), 2, "the refused calls made no group");
    // None at all makes no group.
    let joined = scene.store.join_many(group(9), &[]).wait().unwrap();
    assert_eq!((joined.joined, joined.unchanged, joined.version.0), (0, 0, 0));
    assert_eq!(
        scene.store.append(Draft::group(group(9), user(1), b"x")).wait().unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // A bulk join is one frame, too.
    let scene = Scene::with(|options| options.journal_bytes(JOURNAL_BYTES_MIN));
    let mut next = 0;
    let mut join = |count: usize| {
        next += 1;
        scene.store.join_many(group(next), &users[..count]).wait()
    };
    let count_max = largest(1, 16_384, |count| join(count).is_ok());
    assert!(count_max > 150, "count_max={count_max}");
    let version = scene.store.version();
    let error = join(count_max + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().starts_with("bytes of a bulk join is above its limit: limit=16384 got="), "{error}");
    assert_eq!(scene.store.version(), version);
}

#[test]
fn messages_and_bytes_of_a_page() {
    let scene = roomy();
    for _ in 0..6 {
        scene.store.append_batch(&vec![Draft::direct(user(1), user(2), b"x"); 200]).wait().unwrap();
    }
    for query in [HistoryQuery::newest(), HistoryQuery::oldest()] {
        let text = "messages of a page is above its limit: limit=1000 got={}";
        check(&scene, PAGE_MESSAGES_MAX, text, |count| {
            let page = scene.store.history(user(2), with(1), &query.clone().limit(count))?;
            assert_eq!(page.messages.len(), count);
            Ok(())
        });
        let text = "bytes of a page is above its limit: limit=16777216 got={}";
        check(&scene, PAGE_BYTES_MAX, text, |bytes| scene.store.history(user(2), with(1), &query.clone().bytes(bytes)));
        // The check comes before anything is looked at.
        let error = scene.store.history(user(8), room(9), &query.clone().limit(1_001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        for empty in [query.clone().limit(0), query.clone().bytes(0), query.clone().limit(0).bytes(0)] {
            let page = scene.page(user(2), with(1), empty);
            assert_eq!((page.messages.len(), page.covers), (0, None));
        }
    }
    // What the bytes cut: 17 bodies of 1 MiB are one above the largest page.
    let scene = roomy();
    let large = vec![7; BODY_BYTES_MAX];
    for _ in 0..17 {
        scene.send(Draft::direct(user(1), user(2), &large));
    }
    let page = |bytes| scene.page(user(2), with(1), HistoryQuery::oldest().bytes(bytes)).messages.len();
    assert_eq!(page(PAGE_BYTES_MAX), 16);
    assert_eq!(page(PAGE_BYTES_MAX - 1), 15);
    assert_eq!(page(1), 1, "one message is always there, however long it is");
}

#[test]
fn entries_and_latest_messages_of_a_list() {
    let scene = roomy();
    // 1,001 sessions with one message each, and one with 25.
    for id in 0..1_001 {
        scene.store.append(Draft::direct(user(10 + id), user(1), b"x")).wait().unwrap();
    }
    scene.store.append_batch(&[Draft::direct(user(2), user(1), b"x"); 25]).wait().unwrap();
    let cursor = scene.store.changed(user(5), None, &ListQuery::new()).unwrap().next;
    let since = Timestamp(0);
    let store = &scene.store;

    type Ask<'a> = Box<dyn Fn(usize, usize) -> Result<Vec<restante::Entry>, Error> + 'a>;
    let asks: [(&str, Ask<'_>); 4] = [
        (
            "changed",
            Box::new(|limit, latest| {
                Ok(store.changed(user(1), None, &ListQuery::new().limit(limit).latest(latest))?.entries)
            }),
        ),
        (
            "changed_since",
            Box::new(|limit, latest| {
                Ok(store.changed_since(user(1), since, &ListQuery::new().limit(limit).latest(latest))?.entries)
            }),
        ),
        (
            "recent",
            Box::new(|limit, latest| {
                Ok(store.recent(user(1), None, &ListQuery::new().limit(limit).latest(latest))?.entries)
            }),
        ),
        (
            "catch_up",
            Box::new(|limit, latest| {
                Ok(store.catch_up(user(1), None, &CatchUpQuery::new().limit(limit).latest(latest))?.entries)
            }),
        ),
    ];
    for (name, ask) in &asks {
        check(&scene, LIST_ENTRIES_MAX, "entries of a list is above its limit: limit=1000 got={}", |limit| {
            assert_eq!(ask(limit, 1)?.len(), limit, "{name}");
            Ok(())
        });
        check(&scene, LATEST_MESSAGES_MAX, "latest messages is above its limit: limit=20 got={}", |latest| {
            let entries = ask(LIST_ENTRIES_MAX, latest)?;
            let longest = entries.iter().map(|entry| entry.latest.len()).max();
            // The session with 25 is the newest: the last page of a walk, the first of `recent`.
            assert_eq!(longest, Some(if *name == "recent" { latest } else { 1 }), "{name}");
            Ok(())
        });
        assert!(ask(10, 0).unwrap().iter().all(|entry| entry.latest.is_empty() && entry.unread > 0), "{name}");
        assert_eq!(ask(0, 1).unwrap(), [], "{name}");
        assert_eq!(ask(0, 0).unwrap(), [], "{name}");
    }
    // An empty page says that something follows, and does not move on.
    let list = store.changed(user(1), None, &ListQuery::new().limit(0)).unwrap();
    assert!(list.more);
    let list = store.changed(user(1), Some(&list.next), &ListQuery::new().limit(1)).unwrap();
    assert_eq!(list.entries[0].peer, with(10));
    let list = store.changed(user(5), Some(&cursor), &ListQuery::new().limit(0)).unwrap();
    assert!(!list.more);
    assert_eq!(store.changed(user(2), None, &ListQuery::new().latest(20)).unwrap().entries[0].latest.len(), 20);
}

#[test]
fn bytes_of_the_latest_messages() {
    let scene = Scene::new();
    let mut peer = 10;
    let mut latest = |lengths: &[usize]| {
        peer += 1;
        for length in lengths {
            scene.send(Draft::direct(user(peer), user(1), &vec![7; *length]));
        }
        let list = scene.store.changed(user(1), None, &ListQuery::new().limit(1_000).latest(20)).unwrap();
        let entry = list.entries.into_iter().find(|entry| entry.peer == with(peer)).unwrap();
        (entry.latest.iter().map(|message| message.body.len()).collect::<Vec<_>>(), entry.latest_cut)
    };
    const MAX: usize = LATEST_BYTES_MAX;
    // One message: whole below and at the bound, cut and flagged above it.
    assert_eq!(latest(&[MAX - 1]), (vec![MAX - 1], false));
    assert_eq!(latest(&[MAX]), (vec![MAX], false));
    assert_eq!(latest(&[MAX + 1]), (vec![MAX], true));
    assert_eq!(latest(&[3 * MAX]), (vec![MAX], true));
    // More of them: as many whole ones as fit, newest first; only the newest is ever cut.
    assert_eq!(latest(&[96, MAX - 96]), (vec![MAX - 96, 96], false));
    assert_eq!(latest(&[97, MAX - 96]), (vec![MAX - 96], false));
    assert_eq!(latest(&[1, 5_000, 10]), (vec![10], false), "the first that does not fit ends it");
    assert_eq!(latest(&[10, MAX + 1]), (vec![MAX], true));
    assert_eq!(latest(&[0, 0, MAX, 0]), (vec![0, MAX, 0, 0], false));
    // The history has it whole.
    assert_eq!(scene.all(user(1), with(13))[0].body.len(), MAX + 1);
}

#[test]
fn messages_and_bytes_to_catch_up_with() {
    let scene = Scene::with(|options| options.journal_bytes(64 << 20).durability(Durability::Buffered));
    let start = scene.store.changed(user(2), None, &ListQuery::new()).unwrap().next;
    for _ in 0..100 {
        scene.store.append_batch(&[Draft::direct(user(1), user(2), b"12345"); 100]).wait().unwrap();
    }
    let ask = |query: &CatchUpQuery| {
        let list = scene.store.catch_up(user(2), Some(&start), query)?;
        let entry = &list.entries[0];
        Ok::<_, Error>((entry.messages.len(), entry.messages_left_out))
    };
    let text = "messages to catch up with is above its limit: limit=10000 got={}";
    check(&scene, CATCH_UP_MESSAGES_MAX, text, |count| {
        let fits = count >= 10_000;
        assert_eq!(ask(&whole().messages(count))?, (if fits { 10_000 } else { 0 }, !fits), "all or none");
        Ok(())
    });
    let text = "bytes to catch up with is above its limit: limit=67108864 got={}";
    check(&scene, CATCH_UP_BYTES_MAX, text, |bytes| ask(&whole().bytes(bytes)));
    check(&scene, LIST_ENTRIES_MAX, "entries of a list is above its limit: limit=1000 got={}", |limit| {
        ask(&whole().limit(limit))
    });
    for (bytes, want) in [(49_999, (0, true)), (50_000, (10_000, false)), (50_001, (10_000, false)), (0, (0, true))] {
        assert_eq!(ask(&whole().bytes(bytes)).unwrap(), want, "bytes={bytes}");
    }
    assert_eq!(ask(&whole().messages(0)).unwrap(), (0, true));
    // One more than any page can carry.
    scene.send(Draft::direct(user(1), user(2), b"12345"));
    assert_eq!(ask(&whole()).unwrap(), (0, true));
    // A smaller session behind a large one may still fit.
    scene.send(Draft::direct(user(3), user(2), b"hi"));
    let list = scene.store.catch_up(user(2), Some(&start), &whole()).unwrap();
    let found: Vec<_> = list.entries.iter().map(|entry| (entry.messages.len(), entry.messages_left_out)).collect();
    assert_eq!(found, [(0, true), (1, false)]);
}

#[test]
fn options_out_of_range() {
    let open = |change: &dyn Fn(Options) -> Options| {
        let storage = SimStorage::new(1);
        let options = change(Options::default().threads(Threads::Inline));
        let result = Store::open_on(storage.clone(), options);
        if result.is_err() {
            assert_eq!(storage.operations(), 0, "nothing is made");
            assert_eq!(storage.names(), [""; 0]);
        }
        result.map(drop)
    };
    let least = JOURNAL_BYTES_MIN;
    for bytes in [least, least + 1, 1 << 20, JOURNAL_BYTES_MAX - 1, JOURNAL_BYTES_MAX] {
        open(&|options| options.journal_bytes(bytes)).unwrap_or_else(|error| panic!("journal_bytes={bytes}: {error}"));
    }
    for bytes in [least - 1, 1, 0] {
        let error = open(&|options| options.journal_bytes(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("journal_bytes is too small: least=65536 got={bytes}"));
    }
    for bytes in [JOURNAL_BYTES_MAX + 1, u64::MAX] {
        let error = open(&|options| options.journal_bytes(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(error.to_string(), format!("journal_bytes is above its limit: limit=1073741824 got={bytes}"));
    }
    for delay in [0, 1, SYNC_DELAY_MS_MAX - 1, SYNC_DELAY_MS_MAX] {
        open(&|options| options.sync_delay_ms(delay)).unwrap_or_else(|error| panic!("sync_delay_ms={delay}: {error}"));
    }
    for delay in [SYNC_DELAY_MS_MAX + 1, u64::MAX] {
        let error = open(&|options| options.sync_delay_ms(delay)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(error.to_string(), format!("sync_delay_ms is above its limit: limit=10000 got={delay}"));
    }
    // The same before a directory is touched.
    let directory = crate::support::TempDir::new("options");
    let path = directory.path().join("store");
    assert_eq!(Store::open(&path, Options::default().journal_bytes(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!path.exists());
}

#[test]
fn a_client_id_is_taken_for_seven_days() {
    for (passed, outcome) in [
        (0, Outcome::Duplicate),
        (DEDUP_WINDOW_MICROS - 1, Outcome::Duplicate),
        (DEDUP_WINDOW_MICROS, Outcome::Written),
        (DEDUP_WINDOW_MICROS + 1, Outcome::Written),
    ] {
        let scene = Scene::new();
        let draft = Draft::direct(user(1), user(2), b"hello").client_id(ClientId(5));
        let first = scene.send(draft);
        scene.clock.advance(passed);
        let shown = scene.all(user(2), with(1))[0].client_id;
        assert_eq!(shown, (outcome == Outcome::Duplicate).then_some(ClientId(5)), "passed={passed}");
        let scene = scene.reopened();
        let again = scene.send(draft);
        assert_eq!(again.outcome, outcome, "passed={passed}");
        assert_eq!(again.seq == first.seq, outcome == Outcome::Duplicate);
        assert_eq!(scene.all(user(2), with(1)).len(), if outcome == Outcome::Duplicate { 1 } else { 2 });
    }
}

#[test]
fn ids_of_zero_are_refused_everywhere() {
    let scene = Scene::new();
    let store = &scene.store;
    let none = UserId::NONE;
    let errors = [
        store.append(Draft::direct(none, user(1), b"x")).wait().err(),
        store.append(Draft::direct(user(1), none, b"x")).wait().err(),
        store.append(Draft::group(group(0), user(1), b"x")).wait().err(),
        store.append(Draft::group(group(1), none, b"x")).wait().err(),
        store.append_batch(&[Draft::group(group(0), user(1), b"x")]).wait().err(),
        store.create_group(group(0), Default::default()).wait().err(),
        store.join(group(0), user(1)).wait().err(),
        store.join(group(1), none).wait().err(),
        store.join_many(group(1), &[user(1), none]).wait().err(),
        store.leave(group(0), user(1)).wait().err(),
        store.leave(group(1), none).wait().err(),
        store.mark_read(none, with(1), restante::Seq(1)).wait().err(),
        store.mark_read(user(1), with(0), restante::Seq(1)).wait().err(),
        store.mark_unread_from(user(1), room(0), restante::Seq(1)).wait().err(),
        store.mark_unread_from(user(1), room(1), restante::Seq(0)).wait().err(),
        store.history(none, with(1), &HistoryQuery::newest()).err(),
        store.history(user(1), room(0), &HistoryQuery::newest()).err(),
        store.changed(none, None, &ListQuery::new()).err(),
        store.changed_since(none, Timestamp(0), &ListQuery::new()).err(),
        store.recent(none, None, &ListQuery::new()).err(),
        store.catch_up(none, None, &CatchUpQuery::new()).err(),
        store.total_unread(none).err(),
        // A sender who is not in the direct timeline.
        store.append(Draft::new(restante::Timeline::direct(user(1), user(2)), user(3), b"x")).wait().err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {number} passed"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "call {number}: {error}");
        assert!(
            ["id 0 means none", "seq 0 means none", "the sender is not one"]
                .iter()
                .any(|text| error.to_string().starts_with(text)),
            "{error}"
        );
    }
    let error = store.join_many(group(1), &[user(1), none]).wait().unwrap_err();
    assert_eq!(error.item(), Some(1));
    assert!(store.version().is_none(), "no trace");
}
