//! Many threads append at once: everyone gets its answer, and nobody sees what could still be lost.
//! Owns: these threads. May touch: `scene`, `support`.
//! Never: depends on which thread is faster.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use restante::{Appended, ClientId, Draft, Durability, HistoryQuery, Loss, Outcome, Seq, Threads, Timeline};

use super::block_on;
use crate::scene::{Scene, group, room, user};
use crate::support::Rng;

const THREADS: u64 = 16;
const APPENDS: u64 = 150;
const ROOMS: u64 = 3;
/// Of what is seen or acknowledged, so much is compared with what a power cut would leave.
const IMAGES: u64 = 60;

/// What each append was answered, and its body.
type Answers = BTreeMap<(Timeline, Seq), (String, Appended)>;

#[test]
fn sixteen_threads_append_and_all_are_acknowledged_once() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let scene = Scene::with(|options| options.durability(durability).threads(Threads::Background));
        let members: Vec<_> = (1..=THREADS).map(user).collect();
        for id in 1..=ROOMS {
            scene.store.join_many(group(id), &members).wait().unwrap();
        }
        let start = scene.store.version().0;
        let answers: Mutex<Answers> = Mutex::default();
        let images = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (1..=THREADS)
                .map(|id| {
                    let (scene, answers, images) = (&scene, &answers, &images);
                    scope.spawn(move || write(scene, id, durability, answers, images))
                })
                .collect();
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| look(&scene, durability, &is_over))).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            is_over.store(true, Ordering::Release);
            let seen: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            println!("{durability:?}: {seen} looks, {} images of acknowledged", images.load(Ordering::Relaxed));
        });

        // All there, once, dense, as they were answered; in the order in which they were given versions.
        let answers = answers.into_inner().unwrap();
        assert_eq!(answers.len() as u64, THREADS * APPENDS);
        let versions: BTreeMap<u64, ()> = answers.values().map(|(_, answer)| (answer.version.0, ())).collect();
        let want: Vec<u64> = (start + 1..=start + THREADS * APPENDS).collect();
        assert_eq!(versions.into_keys().collect::<Vec<_>>(), want, "versions are dense");
        scene.store.sync().unwrap();
        for scene in [scene.after_crash(Loss::All), scene] {
            let mut count = 0;
            for id in 1..=ROOMS {
                let messages = scene.all(user(1), room(id));
                for (index, message) in messages.iter().enumerate() {
                    let (body, answer) = &answers[&(message.timeline, message.seq)];
                    assert_eq!(message.seq.0, index as u64 + 1, "seqs are dense");
                    assert_eq!((message.timestamp, message.version), (answer.timestamp, answer.version));
                    assert_eq!(&*message.body, body.as_bytes());
                }
                assert!(messages.windows(2).all(|pair| pair[0].version < pair[1].version));
                assert!(messages.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
                assert!(messages.windows(2).all(|pair| pair[0].commit_time <= pair[1].commit_time));
                count += messages.len() as u64;
            }
            assert_eq!(count, THREADS * APPENDS);
        }
    }
}

/// Appends, by turns waiting, awaiting, retrying and keeping several tickets open.
fn write(scene: &Scene, id: u64, durability: Durability, answers: &Mutex<Answers>, images: &AtomicU64) {
    let mut rng = Rng::new(id);
    let mut open = Vec::new();
    for number in 1..=APPENDS {
        let room = rng.between(1, ROOMS);
        let body = format!("{id}/{number}");
        let draft = Draft::group(group(room), user(id), body.as_bytes()).client_id(ClientId(number.into()));
        let ticket = scene.store.append(draft);
        match rng.below(4) {
            0 => {
                let retry = scene.store.append(draft);
                let (first, retry) = (ticket.wait().unwrap(), retry.wait().unwrap());
                assert_eq!((first.outcome, retry.outcome), (Outcome::Written, Outcome::Duplicate));
                assert_eq!((first.seq, first.timestamp), (retry.seq, retry.timestamp));
                open.push((room, body.clone(), first));
            }
            1 => open.push((room, body.clone(), block_on(ticket).unwrap())),
            _ => open.push((room, body.clone(), ticket.wait().unwrap())),
        }
        let appended = open.last().unwrap().2;
        // Acknowledged is visible to every thread, and in a `Sync` store durable.
        assert!(scene.store.version() >= appended.version);
        let query = HistoryQuery::newest().seqs(appended.seq..=appended.seq);
        let page = scene.page(user(id), crate::scene::room(room), query);
        assert_eq!(&*page.messages[0].body, body.as_bytes());
        if durability == Durability::Sync && rng.percent(5) && images.fetch_add(1, Ordering::Relaxed) < IMAGES {
            assert!(scene.after_crash(Loss::All).store.version() >= appended.version, "{body} was lost");
        }
    }
    let mut answers = answers.lock().unwrap();
    for (room, body, appended) in open {
        let before = answers.insert((Timeline::Group(group(room)), appended.seq), (body, appended));
        assert!(before.is_none(), "a seq was given twice: {before:?}");
    }
}

/// Looks what is visible; of a `Sync` store a power cut right then must leave all of it.
fn look(scene: &Scene, durability: Durability, is_over: &AtomicBool) -> u64 {
    let mut count = 0;
    let mut before = 0;
    while !is_over.load(Ordering::Acquire) {
        let version = scene.store.version();
        assert!(version.0 >= before, "versions went back");
        before = version.0;
        let page = scene.page(user(1), room(1 + count % ROOMS), HistoryQuery::newest().limit(5));
        let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq.0).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] == pair[1] + 1), "a hole: {seqs:?}");
        let newest = page.messages.iter().map(|message| message.version).max().unwrap_or(version);
        if durability == Durability::Sync && count < IMAGES {
            let image = scene.after_crash(Loss::All);
            assert!(image.store.version() >= newest.max(version), "a reader saw what could still be lost");
        }
        count += 1;
        std::thread::yield_now();
    }
    count
}
