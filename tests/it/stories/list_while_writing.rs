//! Devices page through their list while everybody writes.
//! Owns: the story `list_while_writing`. May touch: `scene`, `support`.
//! Never: depends on which thread is faster; what must hold, holds on every page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use restante::{Cursor, Draft, Durability, Entry, ListQuery, Peer, Threads, UserId, Version};

use crate::scene::{Scene, group, room, user, with};
use crate::support::Rng;

const OWNER: UserId = UserId(9527);
/// Groups 1 to 20, and users 101 to 120.
const SESSIONS: u64 = 20;
const WRITERS: u64 = 3;
/// Every timeline only ever gets batches of so many messages, so an entry that cuts one in two shows.
const BATCH: u64 = 5;
const BATCHES_EACH: u64 = 400;
/// A batch covers so many timelines at once.
const WIDTH: u64 = 2;

type Sessions = BTreeMap<Peer, Entry>;

#[test]
fn list_while_writing() {
    for durability in [Durability::Buffered, Durability::Sync] {
        let scene =
            Scene::with(|options| options.durability(durability).threads(Threads::Background).journal_bytes(256 << 10));
        let writers: Vec<UserId> = (1..=WRITERS).map(UserId).collect();
        for id in 1..=SESSIONS {
            scene.store.join_many(group(id), &writers).wait().unwrap();
            scene.store.join(group(id), OWNER).wait().unwrap();
        }
        let is_over = AtomicBool::new(false);
        let written = AtomicU64::new(0);
        let (pages, walks) = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=WRITERS)
                .map(|writer| {
                    scope.spawn({
                        let (scene, written) = (&scene, &written);
                        move || write(scene, writer, written)
                    })
                })
                .collect();
            let walker = scope.spawn(|| walk(&scene, &is_over, &written));
            let looker = scope.spawn(|| look_by_activity(&scene, &is_over));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            is_over.store(true, Ordering::Release);
            (walker.join().unwrap(), looker.join().unwrap())
        });
        println!("{durability:?}: {pages} pages of `changed`, {walks} walks of `recent` while it was written");

        // Nothing was lost on the way to here.
        let list = scene.list(OWNER);
        let total: u64 = list.entries.iter().map(|entry| entry.unread).sum();
        assert_eq!(total, WRITERS * BATCHES_EACH * WIDTH * BATCH);
        assert_eq!(scene.store.total_unread(OWNER).unwrap().unread, total);
    }
}

/// Writes batches to random sessions of the owner. A direct chat belongs to one writer alone.
fn write(scene: &Scene, writer: u64, written: &AtomicU64) {
    let mut rng = Rng::new(writer);
    for batch in 0..BATCHES_EACH {
        let body = format!("{writer}/{batch}");
        let first = rng.below(SESSIONS);
        let mut drafts = Vec::new();
        for number in 0..WIDTH {
            let id = 1 + (first + number) % SESSIONS;
            // The messages of the timelines are mixed within the batch, as they may be.
            for _ in 0..BATCH {
                drafts.push(match id % 2 {
                    0 => Draft::group(group(id), user(writer), body.as_bytes()),
                    _ => Draft::direct(user(100 + id * WRITERS + writer), OWNER, body.as_bytes()),
                });
            }
        }
        if rng.percent(50) {
            drafts.reverse();
        }
        let appended = scene.store.append_batch(&drafts).wait().unwrap();
        let last = appended.iter().map(|appended| appended.version.0).max().unwrap();
        written.fetch_max(last, Ordering::AcqRel);
        std::thread::yield_now();
    }
}

/// A device that pages `changed`, three entries at a time, and keeps what it gets. At the end it must
/// hold exactly what a walk from nothing gives.
fn walk(scene: &Scene, is_over: &AtomicBool, written: &AtomicU64) -> u64 {
    let mut held = Sessions::new();
    let mut cursor: Option<Cursor> = None;
    let mut pages = 0;
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let acknowledged = written.load(Ordering::Acquire);
        let list = scene.store.changed(OWNER, cursor.as_ref(), &ListQuery::new().limit(3).latest(6)).unwrap();
        pages += u64::from(!was_over);
        assert!(list.entries.windows(2).all(|pair| pair[0].version < pair[1].version));
        for entry in &list.entries {
            check_whole(entry);
            take(&mut held, entry);
        }
        if !list.more {
            // Whatever was acknowledged before the walk's last call is in what the device holds.
            let newest = held.values().map(|entry| entry.version).max().unwrap_or(Version::NONE);
            assert!(newest.0 >= acknowledged, "acknowledged={acknowledged} newest={newest}");
            if was_over {
                break;
            }
        }
        cursor = Some(list.next);
        if list.entries.is_empty() {
            // On few cores, who only asks would keep the writers waiting for their turn.
            std::thread::yield_now();
        }
    }
    compare(scene, &held);
    pages
}

/// A device that pages `recent` to its end, and then `changed` from the first page's cursor.
fn look_by_activity(scene: &Scene, is_over: &AtomicBool) -> u64 {
    let mut walks = 0;
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let mut held = Sessions::new();
        let query = ListQuery::new().limit(3).latest(6);
        let first = scene.store.recent(OWNER, None, &query).unwrap();
        let cursor = first.changed.expect("the first page has it");
        let mut page = first;
        loop {
            for entry in &page.entries {
                check_whole(entry);
                take(&mut held, entry);
            }
            let Some(before) = page.before else { break };
            page = scene.store.recent(OWNER, Some(&before), &query).unwrap();
        }
        // What moved up during the walk, past its position, is newer than the cursor.
        let mut cursor = cursor;
        loop {
            let list = scene.store.changed(OWNER, Some(&cursor), &query).unwrap();
            list.entries.iter().for_each(|entry| take(&mut held, entry));
            cursor = list.next;
            if !list.more {
                break;
            }
        }
        assert!(held.len() >= SESSIONS as usize, "every group at least: {}", held.len());
        if was_over {
            compare(scene, &held);
            return walks;
        }
        walks += 1;
    }
}

/// Each entry is exact at one moment, and a batch is in it whole or not at all.
fn check_whole(entry: &Entry) {
    let peer = entry.peer;
    assert_eq!(entry.last.0 % BATCH, 0, "{peer}: a batch was cut: {entry:?}");
    assert_eq!((entry.unread, entry.read_mark.0), (entry.last.0, 0), "{peer}: all are others' messages, none is read");
    if entry.last.0 == 0 {
        return;
    }
    assert_eq!(entry.goto.map(|(seq, _)| seq.0), Some(1), "{peer}");
    let latest: Vec<u64> = entry.latest.iter().map(|message| message.seq.0).collect();
    assert_eq!(latest, (1..=entry.last.0).rev().take(6).collect::<Vec<_>>(), "{peer}");
    assert_eq!(entry.version, entry.latest[0].version, "{peer}");
    assert_eq!(entry.activity, entry.latest[0].timestamp, "{peer}");
    let is_one = entry.latest[..BATCH as usize].iter().all(|message| message.body == entry.latest[0].body);
    assert!(is_one, "{peer}: batches are mixed: {:?}", entry.latest);
}

/// A newer entry replaces an older one; an older one never comes after a newer one.
fn take(held: &mut Sessions, entry: &Entry) {
    if let Some(before) = held.insert(entry.peer, entry.clone()) {
        assert!(before.version <= entry.version, "{} went back", entry.peer);
    }
}

fn compare(scene: &Scene, held: &Sessions) {
    let list = scene.store.changed(OWNER, None, &ListQuery::new().limit(1_000).latest(6)).unwrap();
    let want: Sessions = list.entries.into_iter().map(|entry| (entry.peer, entry)).collect();
    assert!(want.contains_key(&room(1)) && want.keys().any(|peer| *peer > with(0)));
    assert_eq!(*held, want);
}
