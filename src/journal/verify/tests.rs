//! The zeros behind the newest frames: every bit of them, flipped, is told, however the journal is looked at.
//! Owns: a journal of one small file, the sweep over its end. May touch: every journal module, the simulated directory.
//! Never: leaves out a bit, or flips two at once.

use super::super::commit::{CommitPoint, LocalSync};
use super::super::recover::{RecoverOptions, recover};
use super::super::scan::{PIECE_BYTES, Replayed};
use super::super::write::Writer;
use super::*;
use crate::change::{Change, Commit, SetGroupMetadata};
use crate::id::GroupId;
use crate::storage::{CrashPlan, Loss, SimStorage};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// So many bytes are tried on one copy of the directory, which remembers all that is done to it.
const PLACES_OF_A_COPY: usize = 128;

/// Room for changes in a file that is shorter than any a store may be told to make, so that there is time to look at it
/// once for each of its bits.
const SHORT: u64 = 8 << 10;

/// A journal of one file, as a store leaves it that was closed, or that lost power; and where its frames end.
fn journal(journal_bytes: u64, is_closed: bool) -> (Arc<SimStorage>, u64) {
    let sim = SimStorage::new(5);
    let storage: Arc<dyn Storage> = sim.clone();
    let options = RecoverOptions { journal_bytes, unsynced: false };
    let recovered = recover(&storage, &options, &mut |_: Replayed<'_>| Ok(())).unwrap();
    let mut writer = Writer::new(storage, recovered.end);
    let sync = |writer: &mut Writer| {
        let point = writer.sync_point();
        LocalSync.commit(&point).unwrap();
        writer.synced(&point).unwrap();
    };
    for version in 1..=3 {
        let change = Change::GroupMetadata(SetGroupMetadata { group: GroupId(1) });
        writer.push(&change, &[7; 100], Commit { version, time: 1_000 }, false);
        writer.flush().unwrap();
        sync(&mut writer);
    }
    if is_closed {
        writer.write_close_mark().unwrap();
        sync(&mut writer);
        LocalSync.commit(&writer.sync_point()).unwrap();
    }
    let end = writer.position();
    let image = sim.crash_at(sim.operations(), CrashPlan { seed: 1, loss: Loss::All });
    (image, end)
}

/// All bytes behind `end` of a journal of one file, all of which are zero.
fn zeros_behind(storage: &SimStorage, end: u64) -> Vec<u64> {
    let bytes = storage.bytes(&journal_name(1)).unwrap();
    let (frames, zeros) = bytes.split_at(end as usize);
    assert!(zeros.iter().all(|byte| *byte == 0));
    assert!(frames[frames.len() - frame::FRAME_HEADER_BYTES..].iter().any(|byte| *byte != 0));
    assert!(zeros.len() > 20 * STEP_BYTES, "many steps are looked at: {}", zeros.len());
    (end..bytes.len() as u64).collect()
}

/// Flips each bit of these bytes of the newest journal, on two threads, and hands the directory and the byte's place to
/// `check` each time.
fn each_flip(storage: &SimStorage, places: &[u64], check: &(dyn Fn(&Arc<SimStorage>, u64) + Sync)) {
    let name = journal_name(1);
    let parts = Mutex::new(places.chunks(PLACES_OF_A_COPY));
    let tried = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(part) = parts.lock().unwrap().next() else { break };
                    let image = storage.deep_clone();
                    for (at, bit) in part.iter().flat_map(|at| (0..8).map(|bit| (*at, bit))) {
                        image.corrupt(&name, at, 1 << bit);
                        check(&image, at);
                        image.corrupt(&name, at, 1 << bit);
                        tried.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(tried.into_inner(), 8 * places.len());
}

/// What is wrong with the file by itself.
fn damage_of(storage: &SimStorage, end_now: Option<&dyn Fn() -> u64>) -> Vec<(PathBuf, u64)> {
    let name = journal_name(1);
    let (handle, path) = (storage.open(&name).unwrap(), storage.path(&name));
    let still = |act: &mut dyn FnMut() -> Result<()>| act();
    let subject =
        JournalSubject { handle: &*handle, path: &path, file_id: 1, uuids: &[], listed: None, end_now, still: &still };
    let mut damage = Vec::new();
    let mut note = |error: Error| {
        let corruption = error.corruption().unwrap();
        damage.push((corruption.file.clone(), corruption.offset));
    };
    subject.verify(&mut note).unwrap();
    damage
}

/// In an open store: the flipped byte is named.
#[test]
fn every_flipped_bit_behind_the_frames_of_an_open_journal_is_named() {
    let (storage, end) = journal(SHORT, false);
    let path = storage.path(&journal_name(1));
    assert_eq!(damage_of(&storage, Some(&|| end)), []);
    each_flip(&storage, &zeros_behind(&storage, end), &|image, at| {
        assert_eq!(damage_of(image, Some(&|| end)), [(path.clone(), at)]);
    });
}

/// Where nothing says how far the frames go, bytes behind them may be a frame: where it would begin is named.
#[test]
fn every_flipped_bit_behind_the_frames_of_a_journal_in_no_list_is_found() {
    let (storage, end) = journal(SHORT, true);
    let path = storage.path(&journal_name(1));
    assert_eq!(damage_of(&storage, None), []);
    each_flip(&storage, &zeros_behind(&storage, end), &|image, _| {
        assert_eq!(damage_of(image, None), [(path.clone(), end)]);
    });
}

/// What an opening would cut of the journal.
fn cut(storage: &SimStorage, end: u64) -> Option<CutTail> {
    let examined = examine(storage, &mut |error| panic!("no damage: {error}")).unwrap().unwrap();
    assert_eq!(examined.newest_file().end, end);
    examined.cut
}

/// In a store that is not open: what would be cut begins where the frames end and ends with the flipped byte.
fn check_cut(storage: &SimStorage, end: u64, places: &[u64]) {
    assert_eq!(cut(storage, end), None);
    let file = storage.path(&journal_name(1));
    each_flip(storage, places, &|image, at| {
        let bytes = at + 1 - end;
        assert_eq!(cut(image, end), Some(CutTail { file: file.clone(), offset: end, bytes }));
    });
}

#[test]
fn every_flipped_bit_behind_the_frames_of_a_journal_that_is_not_open_would_be_cut() {
    for is_closed in [true, false] {
        let (storage, end) = journal(SHORT, is_closed);
        check_cut(&storage, end, &zeros_behind(&storage, end));
    }
}

/// A file that is read in several pieces, near the ends of each.
#[test]
fn a_flipped_bit_between_two_pieces_of_a_journal_would_be_cut() {
    let (storage, end) = journal(5 * PIECE_BYTES as u64 / 2, true);
    let zeros = zeros_behind(&storage, end);
    let piece_bytes = PIECE_BYTES as u64;
    let is_near = |at: &u64| (at + 4) % piece_bytes < 8 || at + 4 >= end + zeros.len() as u64;
    let near: Vec<u64> = zeros.iter().copied().filter(is_near).collect();
    assert_eq!(near.len(), 8 + 8 + 4);
    check_cut(&storage, end, &near);
}
