//! Damage that is proven: something later says that the bytes had been synced.
//! Owns: one test for each kind of proof, and for what only looks like one. May touch: the helpers above.
//! Never: expects a cut where a proof is left.

use restante::Durability::{Buffered, Sync};

use super::layout::{CLOSE, FRAMES, File, edit, frame, journal, journals, wipe_stamps};
use super::{LARGE, Subject, at, is_cut, is_whole, last, open, refused};

fn flip(id: u64, offset: usize) -> impl Fn(&restante::SimStorage) {
    move |storage| storage.corrupt(&journal(id), offset as u64, 0x10)
}

/// Row `stamp`: the file's own stamp lies beyond the damage.
#[test]
fn damage_below_the_stamp_is_refused() {
    let mut subject = Subject::new(1, Sync);
    subject.say_some(8, 50);
    let file = File::load(&subject.storage, 1);
    assert_eq!(file.frames.len(), 9, "one frame each behind the list of files");
    for frame in &file.frames {
        for offset in [frame.offset, frame.offset + 4, frame.offset + 5, frame.offset + 20, frame.end - 1] {
            let image = subject.killed();
            flip(1, offset)(&image);
            refused(&image, 1, frame.offset);
        }
    }
    is_whole(&subject.killed(), last(&subject.digests));
}

/// Row `synced-up-to`: no stamp is left, but a later frame was written when the damaged one was synced.
#[test]
fn damage_below_a_later_synced_up_to_is_refused() {
    let mut subject = Subject::new(2, Sync);
    subject.say_some(6, 50);
    let frames = File::load(&subject.storage, 1).frames;
    for (index, frame) in frames.iter().enumerate() {
        let image = subject.killed();
        wipe_stamps(&image, 1);
        flip(1, frame.offset + 17)(&image);
        if index + 1 < frames.len() {
            assert!(frames[index + 1].synced_up_to as usize >= frame.end || index == 0);
            refused(&image, 1, frame.offset);
        } else {
            // Row `no proof`: what was committed last cannot be told from a torn write.
            let bytes = File::load(&image, 1).written_from(frame.offset);
            is_cut(&image, 1, frame.offset, bytes, at(&subject.digests, 5));
        }
    }
    let image = subject.killed();
    wipe_stamps(&image, 1);
    is_whole(&image, last(&subject.digests));
}

/// Row `close mark`: everything before it was synced, also without stamps.
#[test]
fn damage_below_a_close_mark_is_refused() {
    let mut subject = Subject::new(3, Buffered);
    subject.say_some(6, 50);
    let (storage, _) = subject.closed();
    let frames = File::load(&storage, 1).frames;
    assert_eq!(frames.last().map(|frame| frame.kind), Some(CLOSE));
    for frame in &frames[..frames.len() - 1] {
        let image = storage.deep_clone();
        wipe_stamps(&image, 1);
        flip(1, frame.offset + 17)(&image);
        refused(&image, 1, frame.offset);
    }
}

/// Row `stamp`, no bytes at all: synced frames are gone and zeros stand there.
#[test]
fn zeros_below_the_stamp_are_refused() {
    let mut subject = Subject::new(4, Sync);
    subject.say_some(5, 50);
    for frame in File::load(&subject.storage, 1).frames {
        let image = subject.killed();
        edit(&image, 1, |bytes| bytes[frame.offset..].fill(0));
        refused(&image, 1, frame.offset);
    }
}

/// Row `older file`: all but the newest two are believed by the digest their successors list, or not at all.
#[test]
fn damage_in_an_older_file_is_refused() {
    let mut subject = Subject::new(5, Sync);
    subject.say_some(20, LARGE);
    let (storage, digests) = subject.closed();
    let ids = journals(&storage);
    assert!(ids.len() >= 5, "{ids:?}");
    for id in &ids {
        let file = File::load(&storage, *id);
        for frame in file.frames.iter().filter(|frame| frame.kind != super::layout::CLOSING) {
            let image = storage.deep_clone();
            flip(*id, (frame.offset + frame.end) / 2)(&image);
            refused(&image, *id, frame.offset);
        }
    }
    // Cut where a frame ends, it still is not what was listed.
    let file = File::load(&storage, ids[1]);
    let image = storage.deep_clone();
    edit(&image, ids[1], |bytes| bytes[file.frames[2].offset..].fill(0));
    refused(&image, ids[1], file.frames[2].offset);
    is_whole(&storage, last(&digests));
}

/// Row `older file`: frames that are whole, but not those that were listed. Only someone who knows the
/// file's salt can make them.
#[test]
fn other_frames_in_an_older_file_are_refused() {
    let mut subject = Subject::new(6, Sync);
    subject.say_some(12, LARGE);
    let (storage, _) = subject.closed();
    let file = File::load(&storage, 1);
    let second = file.frames[1];
    let length = u32::from_le_bytes([
        file.bytes[second.offset + 5],
        file.bytes[second.offset + 6],
        file.bytes[second.offset + 7],
        0,
    ]);
    let mut payload = file.bytes[second.offset + 16..second.offset + 16 + length as usize].to_vec();
    *payload.last_mut().unwrap() ^= 1;
    let forged = frame(file.seed, second.offset, second.kind, 0, second.synced_up_to, &payload);
    assert_eq!(forged.len(), second.end - second.offset);
    edit(&storage, 1, |bytes| bytes[second.offset..second.end].copy_from_slice(&forged));
    refused(&storage, 1, FRAMES);
}

/// Row `not a frame of this place`: a body may hold copies of real frames, also of those that prove much;
/// none is taken for a frame, whole or where a torn tail is searched.
#[test]
fn copied_frames_in_a_body_prove_nothing() {
    let mut subject = Subject::new(7, Buffered);
    subject.say_some(4, 60);
    let (storage, _) = subject.closed();
    let mut subject = Subject::on(storage, Buffered);
    subject.say(b"synced");
    subject.sync();
    let kept = last(&subject.digests);
    let file = File::load(&subject.storage, 1);
    let close = *file.frames.iter().find(|frame| frame.kind == CLOSE).expect("was closed once");
    let mut body = Vec::new();
    for copied in [close, file.frames[2], file.last()] {
        // Every alignment, as where the body begins is not known.
        for gap in 0..9 {
            body.extend_from_slice(file.slice(copied));
            body.resize(body.len() + gap, 0);
        }
    }
    // A made one that would prove everything, were it not at another place than it says.
    for offset in [0, FRAMES, file.end()] {
        let synced = file.end() as u32 + 8;
        body.extend_from_slice(&frame(file.seed, offset, 1, 5, synced, b"12345678"));
        body.extend_from_slice(&frame(file.seed, offset, CLOSE, 5, synced, b""));
    }
    subject.say(&body);
    let after = last(&subject.digests);
    is_whole(&subject.killed(), after);

    let torn = File::load(&subject.storage, 1).last();
    let image = subject.killed();
    image.corrupt(&journal(1), torn.offset as u64, 1);
    let bytes = File::load(&image, 1).written_from(torn.offset);
    is_cut(&image, 1, torn.offset, bytes, kept);
}

/// Row `no proof`: whatever a torn body looks like, here as if encrypted, it is no reason to refuse a store.
#[test]
fn a_torn_body_of_random_bytes_is_cut() {
    let storage = restante::SimStorage::new(8);
    let options = || super::options(Buffered).journal_bytes(16 << 20);
    let store = restante::Store::open_on(storage.clone(), options()).unwrap();
    let say = |body: &[u8]| {
        let draft = restante::Draft::direct(restante::UserId(1), restante::UserId(2), body);
        store.append(draft).wait().unwrap()
    };
    say(b"synced");
    store.sync().unwrap();
    let mut rng = crate::support::Rng::new(8);
    let body: Vec<u8> = (0..1 << 17).flat_map(|_| rng.next().to_le_bytes()).collect();
    say(&body);
    let torn = File::load(&storage, 1).last();
    let image = storage.crash_at(storage.operations(), restante::CrashPlan { seed: 1, loss: restante::Loss::Nothing });
    image.corrupt(&journal(1), torn.offset as u64 + 100, 1);
    let store = restante::Store::open_on(image, options()).expect("a torn tail is cut");
    assert_eq!(store.version().0, 1);
    assert_eq!(store.recovery().cut.as_ref().map(|cut| cut.offset), Some(torn.offset as u64));
}

/// Row `stale bytes`: what an older file held, or this one elsewhere, is never taken for frames of this one.
#[test]
fn stale_frames_behind_the_end_are_cut() {
    let mut subject = Subject::new(9, Sync);
    subject.say_some(6, LARGE);
    let ids = journals(&subject.storage);
    let (older, newest) = (File::load(&subject.storage, ids[0]), File::load(&subject.storage, *ids.last().unwrap()));
    let end = newest.end();
    for stale in [&older, &newest] {
        // At the very place where they stood, and right behind the end.
        for (from, to) in [(end, end), (FRAMES, end)] {
            let length = (stale.end() - from.min(stale.end())).min(newest.bytes.len() - to);
            let bytes = &stale.bytes[from..from + length];
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            let image = subject.killed();
            let id = *ids.last().unwrap();
            edit(&image, id, |file| file[to..to + length].copy_from_slice(bytes));
            let written = File::load(&image, id).written_from(end);
            is_cut(&image, id, end, written, last(&subject.digests));
        }
    }
    assert!(open(&subject.killed(), Sync).unwrap().recovery().cut.is_none());
}
