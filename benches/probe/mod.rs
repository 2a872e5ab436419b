//! Raw files: what the machine gives for the same bytes without a store. The limit to measure against.
//! Owns: one preallocated file, written in each of the ways a store could. May touch: the file system.
//! Never: checks, indexes or recovers anything, except where a probe says so.
#![allow(dead_code, reason = "each bench uses its own part")]

use ahash::AHashMap;
use memmap2::MmapMut;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};

/// A file of zeros that were written and synced, as a store prepares it.
pub struct RawFile {
    file: File,
    map: MmapMut,
    offset: usize,
}

impl RawFile {
    pub fn new(path: &Path, bytes: usize) -> RawFile {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("make a raw file");
        let zeros = vec![0; 1 << 20];
        for offset in (0..bytes).step_by(zeros.len()) {
            let part = zeros.len().min(bytes - offset);
            file.write_all_at(&zeros[..part], offset as u64).expect("fill the raw file");
        }
        file.sync_all().expect("sync the raw file");
        // SAFETY: the file was just made, in a directory of this process, and nobody truncates it.
        let map = unsafe { MmapMut::map_mut(&file).expect("map the raw file") };
        RawFile { file, map, offset: 0 }
    }

    /// Appends by a system call; starts over at the end of the file.
    pub fn pwrite(&mut self, bytes: &[u8]) {
        let offset = self.advance(bytes.len());
        self.file.write_all_at(bytes, offset as u64).expect("write");
    }

    /// Appends by a copy into the shared mapping; starts over at the end of the file.
    pub fn copy(&mut self, bytes: &[u8]) -> usize {
        let offset = self.advance(bytes.len());
        self.map[offset..offset + bytes.len()].copy_from_slice(bytes);
        offset
    }

    pub fn mapped(&self, offset: usize, length: usize) -> &[u8] {
        &self.map[offset..offset + length]
    }

    fn advance(&mut self, length: usize) -> usize {
        if self.offset + length > self.map.len() {
            self.offset = 0;
        }
        let offset = self.offset;
        self.offset += length;
        offset
    }
}

/// The least that an append must update in memory: a head by timeline, a mark by user and timeline.
#[derive(Default)]
pub struct TwoMaps {
    heads: AHashMap<u64, (u64, usize)>,
    marks: AHashMap<(u64, u64), u64>,
}

impl TwoMaps {
    pub fn note(&mut self, timeline: u64, user: u64, offset: usize) {
        let head = self.heads.entry(timeline).or_default();
        *head = (head.0 + 1, offset);
        self.marks.insert((user, timeline), head.0);
    }
}

/// Where messages lie, by timeline, and their mapped bytes: the least a history page needs.
pub struct Pages {
    pub file: RawFile,
    offsets: AHashMap<u64, Vec<usize>>,
}

impl Pages {
    pub fn new(file: RawFile) -> Pages {
        Pages { file, offsets: AHashMap::new() }
    }

    pub fn append(&mut self, timeline: u64, bytes: &[u8]) {
        let offset = self.file.copy(bytes);
        self.offsets.entry(timeline).or_default().push(offset);
    }

    /// Copies the newest bodies out and says how many there were.
    pub fn newest(&self, timeline: u64, count: usize, body_bytes: usize, page: &mut Vec<u8>) -> usize {
        page.clear();
        let offsets = self.offsets.get(&timeline).map_or(&[][..], Vec::as_slice);
        let newest = offsets.iter().rev().take(count);
        newest.map(|offset| page.extend_from_slice(self.file.mapped(*offset, body_bytes))).count()
    }
}

/// A list of sessions at its barest: per session two look-ups, an unread figure and the latest body.
pub struct Lists {
    sessions: AHashMap<u64, Vec<u64>>,
    marks: AHashMap<(u64, u64), u64>,
    heads: AHashMap<u64, (u64, usize)>,
    file: RawFile,
}

impl Lists {
    pub fn new(file: RawFile) -> Lists {
        Lists { sessions: AHashMap::new(), marks: AHashMap::new(), heads: AHashMap::new(), file }
    }

    pub fn add(&mut self, user: u64, timeline: u64, ordinal: u64, bytes: &[u8]) {
        let offset = self.file.copy(bytes);
        self.sessions.entry(user).or_default().push(timeline);
        self.marks.insert((user, timeline), 0);
        self.heads.insert(timeline, (ordinal, offset));
    }

    /// Looks at every session; gives the unread figure and the latest body of the first `changed` ones.
    pub fn list(&self, user: u64, changed: usize, body_bytes: usize, answer: &mut Vec<(u64, Vec<u8>)>) {
        answer.clear();
        let sessions = self.sessions.get(&user).map_or(&[][..], Vec::as_slice);
        for (index, timeline) in sessions.iter().enumerate() {
            let (ordinal, offset) = self.heads[timeline];
            let unread = ordinal - self.marks[&(user, *timeline)];
            if index < changed && unread > 0 {
                answer.push((unread, self.file.mapped(offset, body_bytes).to_vec()));
            }
        }
    }

    /// Looks at every session for its newest message; gives the newest `count` of them with their bodies.
    pub fn newest(&self, user: u64, count: usize, body_bytes: usize, answer: &mut Vec<(u64, Vec<u8>)>) {
        answer.clear();
        let sessions = self.sessions.get(&user).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<(usize, u64)> =
            sessions.iter().map(|timeline| (self.heads[timeline].1, *timeline)).collect();
        let count = count.min(found.len());
        if count < found.len() {
            found.select_nth_unstable_by(count, |one, other| other.cmp(one));
        }
        let newest = &mut found[..count];
        newest.sort_unstable_by(|one, other| other.cmp(one));
        answer.extend(newest.iter().map(|(offset, timeline)| {
            let unread = self.heads[timeline].0 - self.marks[&(user, *timeline)];
            (unread, self.file.mapped(*offset, body_bytes).to_vec())
        }));
    }
}

/// The marks of a group's members, side by side: the least that counting receipts needs.
#[derive(Default)]
pub struct Marks {
    joined_at: Vec<u64>,
    delivered: Vec<u64>,
    read: Vec<u64>,
}

impl Marks {
    pub fn add(&mut self, joined_at: u64, delivered: u64, read: u64) {
        self.joined_at.push(joined_at);
        self.delivered.push(delivered.max(read));
        self.read.push(read);
    }

    /// How many there are, received it and read it; lists the first who received it.
    pub fn receipts(&self, seq: u64, limit: usize, listed: &mut Vec<(usize, bool)>) -> (u64, u64, u64) {
        listed.clear();
        let (mut members, mut delivered, mut read) = (0, 0, 0);
        for index in 0..self.joined_at.len() {
            let is_delivered = self.delivered[index] >= seq;
            let is_read = self.read[index] >= seq;
            members += u64::from(self.joined_at[index] < seq);
            delivered += u64::from(is_delivered);
            read += u64::from(is_read);
            if is_delivered && listed.len() < limit {
                listed.push((index, is_read));
            }
        }
        (members, delivered, read)
    }
}

/// What was told about which seqs, in the order of versions, and the seqs by themselves.
#[derive(Default)]
pub struct Told {
    by_version: Vec<(u64, u64)>,
    seqs: Vec<u64>,
}

impl Told {
    /// Versions and seqs rise.
    pub fn add(&mut self, version: u64, seq: u64) {
        self.by_version.push((version, seq));
        self.seqs.push(seq);
    }

    pub fn count_up_to(&self, seq: u64) -> u64 {
        self.seqs.partition_point(|told| *told <= seq) as u64
    }

    pub fn page(&self, since: u64, limit: usize, page: &mut Vec<(u64, u64)>) {
        let start = self.by_version.partition_point(|(version, _)| *version <= since);
        page.clear();
        page.extend(self.by_version[start..].iter().take(limit));
    }
}

/// Group commit without refinement: whoever finds nobody syncing writes what is pending and syncs it.
pub struct GroupCommit {
    file: File,
    group: Mutex<Group>,
    synced: Condvar,
    file_bytes: u64,
}

#[derive(Default)]
struct Group {
    pending: Vec<u8>,
    offset: u64,
    queued: u64,
    synced: u64,
    is_led: bool,
}

impl GroupCommit {
    pub fn new(path: &Path, bytes: usize) -> GroupCommit {
        let raw = RawFile::new(path, bytes);
        GroupCommit {
            file: raw.file,
            group: Mutex::new(Group::default()),
            synced: Condvar::new(),
            file_bytes: bytes as u64,
        }
    }

    /// Returns once the bytes are durable.
    pub fn commit(&self, bytes: &[u8]) {
        let mut group = self.group.lock().expect("no thread panicked");
        group.pending.extend_from_slice(bytes);
        group.queued += 1;
        let mine = group.queued;
        while group.synced < mine {
            if group.is_led {
                group = self.synced.wait(group).expect("no thread panicked");
                continue;
            }
            group.is_led = true;
            let pending = std::mem::take(&mut group.pending);
            let queued = group.queued;
            if group.offset + pending.len() as u64 > self.file_bytes {
                group.offset = 0;
            }
            let offset = group.offset;
            group.offset += pending.len() as u64;
            drop(group);
            self.file.write_all_at(&pending, offset).expect("write");
            self.file.sync_data().expect("sync");
            group = self.group.lock().expect("no thread panicked");
            group.synced = queued;
            group.is_led = false;
            self.synced.notify_all();
        }
    }
}
