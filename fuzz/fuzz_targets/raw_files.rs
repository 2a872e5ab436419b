//! Any bytes as the files of a store: no panic, no endless loop, no allocation beyond their size.
//! Owns: how an input becomes files. May touch: simulated storage.
//! Never: expects that anything opens; whoever can write a checksum can write any state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use restante::{ClientId, Draft, Durability, GroupId, ManualClock, Peer, Seq, SimStorage, Store, Timestamp, UserId};
use restante_fuzz::frames::{HEADER_BYTES, PAGE_BYTES, fix_frames, fix_header, write_stamp};
use restante_fuzz::input::Input;
use restante_fuzz::reading::{read_all, users};
use restante_fuzz::seed::options;
use std::sync::Arc;

const FILES_MAX: usize = 6;
const PAGES_MAX: usize = 20;

// What is made right after an input's bytes are in place.
const FIX_HEADER: u8 = 1;
const FIX_FRAMES: u8 = 2;
const FIX_VERSIONS: u8 = 4;
const STAMP: u8 = 8;

// An input is files, each: name (1 byte), flags (1 byte), pages (1 byte), count (2 bytes), then so many
// bytes: first those of the header, then those of the frames.
fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let storage = SimStorage::new(3);
    for _ in 0..FILES_MAX {
        if input.is_empty() {
            break;
        }
        let (name, bytes) = file(&mut input);
        storage.replace(&name, bytes);
    }
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_001_000)));
    let Ok(store) = Store::open_on(storage.clone(), options(Durability::Sync, &clock)) else { return };
    let _ = read_all(&store);
    go_on(&store);
    let _ = read_all(&store);
    // Errors are fine: bytes made to mislead may promise any message.
    let _ = store.close();
    let _ = Store::open_on(storage.deep_clone(), options(Durability::Buffered, &clock));
});

fn file(input: &mut Input<'_>) -> (String, Vec<u8>) {
    let number = input.byte();
    let name = match number {
        0..=199 => format!("{:016x}.journal", 1 + u64::from(number) % 8),
        200..=219 => format!("{:016x}.journal", u64::MAX - u64::from(number - 200)),
        220..=229 => "next.spare".to_owned(),
        230..=239 => format!("{:016x}.evidence", number - 230),
        240..=249 => format!("{:016x}.journal.tmp", number - 240),
        250 => "LOCK".to_owned(),
        _ => format!("{number}.JOURNAL"),
    };
    let flags = input.byte();
    let pages = 1 + input.below(PAGES_MAX);
    let count = input.word().into();
    let bytes = input.bytes(count);
    if flags & FIX_HEADER == 0 {
        // As they are, in a file of whatever length.
        return (name, bytes.to_vec());
    }
    let (header, frames) = bytes.split_at(bytes.len().min(HEADER_BYTES));
    let mut file = vec![0; (pages * PAGE_BYTES).max(PAGE_BYTES + frames.len())];
    file[..header.len()].copy_from_slice(header);
    file[PAGE_BYTES..PAGE_BYTES + frames.len()].copy_from_slice(frames);
    let file_id = u64::from_str_radix(name.get(..16).unwrap_or("1"), 16).unwrap_or(1);
    fix_header(&mut file, file_id);
    if flags & FIX_FRAMES != 0 {
        let end = fix_frames(&mut file, flags & FIX_VERSIONS != 0);
        if flags & STAMP != 0 {
            write_stamp(&mut file, end as u64, u64::from(flags >> 4));
        }
    }
    (name, file)
}

/// A change of each kind, on top of whatever state the bytes led to.
fn go_on(store: &Store) {
    for user in users() {
        let other = UserId(user.0 % 6 + 1);
        let group = GroupId(user.0 % 3 + 1);
        let _ = store.append(Draft::direct(user, other, b"on").client_id(ClientId(user.0.into()))).wait();
        let _ = store.append(Draft::group(group, user, b"on")).wait();
        let _ = store.mark_unread_from(user, Peer::Group(group), Seq(1)).wait();
        let _ = store.mark_read(user, Peer::User(other), Seq(u64::MAX)).wait();
        let _ = store.leave(group, user).wait();
        let _ = store.join(group, user).wait();
    }
}
