//! Every byte of a small store, flipped: noticed, or of no consequence, and never a panic.
//! Owns: which bytes carry what. May touch: the helpers above.
//! Never: leaves a byte of a live file out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use restante::Durability::{Buffered, Sync};
use restante::{ErrorKind, SimStorage};

use super::layout::{CLOSING, FRAMES, File, STAMP_BYTES, STAMPS, SUCCESSION, SUCCESSION_BYTES, journal, journals};
use super::{LARGE, Subject, open};

const MASKS: [u8; 2] = [0x01, 0xa5];

/// What a flipped byte must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    /// The store is refused.
    BeRefused,
    /// The store shows the same; a cut may be reported.
    ChangeNothing,
    /// Nothing proves it: the store is cut at the frame, or shows the same.
    BeCut,
}

struct Swept {
    storage: Arc<SimStorage>,
    digests: BTreeMap<u64, u64>,
    /// Bytes of the newest file from here on are not proven.
    unproven_from: usize,
}

impl Swept {
    fn must(&self, id: u64, newest: u64, file: &File, offset: usize) -> Must {
        let closing = file.frames.iter().find(|frame| frame.kind == CLOSING);
        let frames_end = closing.map_or(file.end(), |closing| closing.offset);
        let is_slot = STAMPS.iter().any(|at| (*at..*at + STAMP_BYTES).contains(&offset))
            || (SUCCESSION..SUCCESSION + SUCCESSION_BYTES).contains(&offset);
        match offset {
            _ if is_slot => Must::ChangeNothing,
            _ if offset < FRAMES => Must::BeRefused,
            // A closing frame is read only when its successor is missing.
            _ if offset >= frames_end => Must::ChangeNothing,
            _ if id == newest && offset >= self.unproven_from => Must::BeCut,
            _ => Must::BeRefused,
        }
    }

    fn check(&self, id: u64, offset: usize, mask: u8, must: Must) -> Result<(), String> {
        let image = self.storage.deep_clone();
        image.corrupt(&journal(id), offset as u64, mask);
        let (newest, digest) = self.digests.iter().next_back().expect("not empty");
        let got = match open(&image, Sync) {
            Err(error) if error.kind() == ErrorKind::Corruption => Must::BeRefused,
            Err(error) => return Err(format!("{error:?}")),
            Ok(store) => {
                let (version, found) = (store.version().0, store.state_digest().map_err(|error| error.to_string())?);
                match (version == *newest && found == *digest, store.recovery().cut.is_some()) {
                    (true, _) => Must::ChangeNothing,
                    (false, true) if self.digests.get(&version) == Some(&found) => Must::BeCut,
                    _ => return Err(format!("silently other data: version {version}: {:?}", store.recovery())),
                }
            }
        };
        let is_fine = got == must || (must == Must::BeCut && got == Must::ChangeNothing);
        if is_fine { Ok(()) } else { Err(format!("{got:?}, must {must:?}")) }
    }
}

fn sweep(name: &str, swept: &Swept) {
    let ids = journals(&swept.storage);
    let newest = *ids.last().unwrap();
    let files: Vec<(u64, File)> = ids.iter().map(|id| (*id, File::load(&swept.storage, *id))).collect();
    let (failures, tried, cuts) = (Mutex::new(Vec::new()), AtomicU64::new(0), AtomicU64::new(0));
    for (id, file) in &files {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(512, Ordering::Relaxed);
                        if start >= file.bytes.len() || failures.lock().unwrap().len() > 5 {
                            return;
                        }
                        for offset in start..file.bytes.len().min(start + 512) {
                            let must = swept.must(*id, newest, file, offset);
                            // The large older file gets one mask a byte, or the sweep takes minutes.
                            let masks = if *id == newest { &MASKS[..] } else { &MASKS[offset % 2..][..1] };
                            for mask in masks.iter().copied() {
                                if let Err(error) = swept.check(*id, offset, mask, must) {
                                    let text = format!("{name}: file={id} offset={offset} mask={mask:#x}: {error}");
                                    failures.lock().unwrap().push(text);
                                }
                                tried.fetch_add(1, Ordering::Relaxed);
                                cuts.fetch_add(u64::from(must == Must::BeCut), Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{name}: {} flips in {} files, {} of them cut", tried.into_inner(), ids.len(), cuts.into_inner());
}

/// After a clean close every byte of every frame is proven.
#[test]
fn every_flipped_byte_of_a_closed_store_is_noticed() {
    let mut subject = Subject::new(51, Sync);
    subject.say_some(3, LARGE);
    subject.say_some(20, 90);
    subject.say_some(2, LARGE);
    subject.say_some(3, 40);
    let (storage, digests) = subject.closed();
    assert_eq!(journals(&storage).len(), 2);
    let unproven_from = usize::MAX;
    let storage = storage.crash_at(storage.operations(), restante::CrashPlan { seed: 1, loss: restante::Loss::All });
    sweep("closed", &Swept { storage, digests, unproven_from });
}

/// After a kill the synced part is refused and the rest is cut where it is bad.
#[test]
fn every_flipped_byte_of_a_killed_store_is_refused_or_cut() {
    let mut subject = Subject::new(52, Buffered);
    subject.say_some(30, 90);
    subject.sync();
    let unproven_from = File::load(&subject.storage, 1).end();
    subject.say_some(15, 60);
    let storage = subject.killed();
    sweep("killed", &Swept { storage, digests: subject.digests.clone(), unproven_from });
}
