//! Journals with segments, crashed at every operation and damaged by hand.
//! Owns: the judgement of what recovery finds. May touch: `scene`, the simulated directory.
//! Never: looks into a segment further than at its length; what is in one is of no matter here.

use super::super::header::UUID_OFFSET;
use super::super::manifest::LiveFile;
use super::super::scan::Opened;
use super::super::scene::{Dice, Marks, Promise, Scene, damage, marks, open};
use super::*;
use crate::segment::{SegmentInfo, SegmentKind, segment_name};
use crate::storage::{CrashPlan, Loss, SimStorage};

const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random];

/// Holds what is found against what was promised; gives back the version.
fn check(found: &Arc<SimStorage>, promise: &Promise, history: &[Marks], loss: Loss) -> (Recovered, u64) {
    let (recovered, shown) = open(found).unwrap_or_else(|error| panic!("open: {error}"));
    let floor = if loss == Loss::Nothing { promise.written } else { promise.synced };
    let manifest = &recovered.end.manifest;
    let version = recovered.end.last_version;
    assert!(floor <= version, "version {version}, promised {floor}");
    let now = marks(manifest);
    let known = history.iter().position(|marks| *marks == now).unwrap_or_else(|| panic!("no such list: {manifest:?}"));
    assert!(promise.installed <= known && known <= promise.installing, "list {known}: {promise:?}");
    // Everything that is not sealed is replayed, once, in order, and nothing else is.
    assert!(shown.versions.iter().copied().eq(manifest.sealed_version + 1..=version), "{:?}", shown.versions);
    assert_eq!(recovered.report.changes, shown.versions.len() as u64);
    let begun = shown.manifest.expect("begun");
    assert_eq!(marks(&begun), now);
    let ids = |files: &[LiveFile]| files.iter().map(|file| file.file_id).collect::<Vec<_>>();
    assert_eq!(shown.sealed, ids(manifest.sealed()));
    assert_eq!(recovered.sealed.iter().map(|sealed| sealed.file.id()).collect::<Vec<_>>(), shown.sealed);
    // What lies in the directory is what is live, and what may lie beside it.
    let mut live: Vec<String> = manifest.journals.iter().map(|file| journal_name(file.file_id)).collect();
    live.push(journal_name(recovered.end.current.id()));
    live.extend(manifest.segments.iter().map(|segment| segment_name(segment.kind, segment.id)));
    live.sort();
    let names = found.names().into_iter().filter(|name| name != SPARE_NAME && !is_evidence(name));
    assert_eq!(names.collect::<Vec<_>>(), live);
    for segment in &manifest.segments {
        let bytes = found.bytes(&segment_name(segment.kind, segment.id)).expect("is live");
        assert!(bytes == vec![segment.id as u8; segment.bytes as usize], "{segment:?}");
    }
    (recovered, version)
}

/// A run in which everything happens that installs, removes or leaves a file.
fn play(seed: u64) -> Scene {
    let mut dice = Dice(seed);
    let mut scene = Scene::new(seed);
    for _ in 0..60 {
        match dice.below(11) {
            0..=3 => {
                scene.say(dice.below(12_000) as usize);
            }
            4 => scene.sync(),
            5 => scene.roll(),
            6 | 7 => {
                // Half of the time a crash finds the record not synced for long.
                if scene.seal() && dice.below(2) == 0 {
                    scene.sync();
                }
            }
            8 => {
                scene.sync();
                if let Some(installed) = scene.merge() {
                    scene.say(50);
                    scene.sync();
                    scene.take_away(&installed);
                }
            }
            9 => {
                // Rests on what was synced before, while the file before may be in doubt.
                let mut installed = scene.writer.manifest().change();
                installed.added.push(scene.make(SegmentKind::Rows, installed.next_segment, 4096, true));
                installed.next_segment += 1;
                scene.install(&installed);
            }
            _ => {
                // What a crash leaves of making segments.
                let id = scene.writer.manifest().next_segment + 1_000;
                for (name, is_finished) in [(id, true), (id + 1, false)] {
                    let kind = [SegmentKind::Index, SegmentKind::Rows][dice.below(2) as usize];
                    let name = name + scene.storage.operations();
                    scene.make(kind, name, 4096, is_finished);
                }
            }
        }
    }
    scene
}

#[test]
fn installs_survive_a_crash_at_every_operation() {
    let (mut images, mut known, mut cut_back) = (0, 0, 0);
    for seed in 1..=8 {
        let scene = play(seed);
        let mut dice = Dice(seed);
        let promised = |operation| {
            let past = scene.promises.iter().rev().find(|promise| promise.operation <= operation);
            *past.unwrap_or(&scene.promises[0])
        };
        for operation in scene.promises[0].operation..=scene.storage.operations() {
            let promise = promised(operation);
            for loss in LOSSES {
                let plan = CrashPlan { seed: dice.below(1_000), loss };
                let found = scene.storage.crash_at(operation, plan);
                let context = Context(format!("seed={seed} operation={operation} {plan:?}"));
                let (recovered, version) = check(&found, &promise, &scene.history, loss);
                images += 1;
                known += usize::from(!recovered.end.manifest.segments.is_empty());
                cut_back += usize::from(promise.installing > promise.installed);
                if images % 50 == 0 {
                    // Recovery itself is cut short.
                    for operation in 0..found.operations() {
                        let plan = CrashPlan { seed: dice.below(1_000), loss: LOSSES[dice.below(4) as usize] };
                        let context = Context(format!("then operation={operation} {plan:?}"));
                        let again = found.crash_at(operation, plan);
                        let (_, found) = check(&again, &promise, &scene.history, Loss::All);
                        assert_eq!(found, version);
                        drop(context);
                    }
                }
                if images % 10 == 0 {
                    // What is shown at open survives, and work goes on.
                    go_on(&found);
                }
                drop(context);
            }
        }
    }
    println!("images={images} known={known} cut_back={cut_back}");
    assert!(images > 5_000 && known > images / 3 && cut_back > images / 20);
}

fn go_on(found: &Arc<SimStorage>) {
    let mut scene = Scene::on(found.crash_at(found.operations(), CrashPlan { seed: 1, loss: Loss::All }));
    scene.say(100);
    scene.sync();
    scene.roll();
    assert!(scene.seal());
    scene.sync();
    let promise = *scene.promises.last().expect("one");
    for loss in LOSSES {
        check(&scene.crashed(loss), &promise, &scene.history, loss);
    }
}

/// A record that is torn is as if it never was: what it would have installed is taken away.
#[test]
fn a_torn_install_never_was() {
    let mut scene = Scene::new(21);
    scene.say(9_000);
    scene.roll();
    let end = scene.writer.position();
    assert!(scene.seal());
    let written = scene.crashed(Loss::Nothing);
    let promise = *scene.promises.last().unwrap();
    assert_eq!((promise.installed, promise.installing), (0, 1));
    let (whole, _) = check(&written.deep_clone(), &promise, &scene.history, Loss::Nothing);
    assert_eq!((whole.end.manifest.segments.len(), whole.end.manifest.sealed_through), (2, 1));
    for (offset, mask) in [(0, 1), (4, 2), (17, 0x80), (40, 1)] {
        let torn = written.deep_clone();
        torn.corrupt(&journal_name(2), end + offset, mask);
        let (recovered, _) = check(&torn, &promise, &scene.history, Loss::Nothing);
        assert!(recovered.end.manifest.segments.is_empty() && recovered.sealed.is_empty());
        assert_eq!(recovered.report.cut.map(|cut| cut.offset), Some(end));
    }
}

/// What is installed and not proven to be synced keeps its meaning in the file that recovery goes on in.
#[test]
fn an_install_that_recovery_copies_keeps_its_meaning() {
    let mut scene = Scene::sealed(22);
    let installed = scene.merge().unwrap();
    let found = scene.crashed(Loss::Nothing);
    let want = scene.writer.manifest();
    let (recovered, shown) = open(&found).unwrap();
    let end = &recovered.end;
    assert_eq!((end.current.id(), end.current.header.is_cut), (4, true), "it goes on in another file");
    assert_eq!(marks(&end.manifest), marks(want));
    assert_eq!(shown.versions, [2, 3]);
    let loaded = Opened::open(&*found, 4).unwrap().load().unwrap();
    let scan = loaded.scan(None).unwrap();
    assert_eq!(marks(&scan.files.manifest), marks(want), "it is in the list");
    assert!(scan.frames.iter().all(|frame| frame.header.kind != FrameKind::Installed));
    // The journal that was merged is gone and has left no evidence; it never held what is not in segments.
    let gone = installed.removed_journals.iter().map(|id| format!("{id:016x}"));
    let gone = gone.chain(installed.removed_segments.iter().map(|(kind, id)| segment_name(*kind, *id)));
    for gone in gone {
        assert!(found.names().iter().all(|name| !name.starts_with(&gone)), "{gone}: {:?}", found.names());
    }
}

/// A sealed journal is opened and not read: damage in it is found by who reads it. Its first page is read.
#[test]
fn of_a_sealed_journal_only_the_first_page_is_read() {
    let storage = Scene::sealed(23).close();
    let damaged = storage.deep_clone();
    damaged.corrupt(&journal_name(1), 6_000, 1);
    let (recovered, shown) = open(&damaged).unwrap();
    let [sealed] = &recovered.sealed[..] else { panic!("one is sealed") };
    let listed = recovered.end.manifest.sealed()[0];
    assert_eq!((sealed.file.end(), sealed.last_version, sealed.digest), (listed.end, 1, listed.digest));
    assert_eq!(shown.versions, [2, 3]);
    assert!(recovered.report.clean && recovered.files.iter().map(|file| file.id()).eq([2, 3]));
    let scan = Opened::open(&*storage, 1).unwrap().load().unwrap().scan(Some(listed.end)).unwrap();
    assert_eq!(scan.digest_at(listed.end), Some(listed.digest), "what it is to be checked against");
    for offset in [0, 17, 33, 49, 90] {
        let damaged = storage.deep_clone();
        damaged.corrupt(&journal_name(1), offset, 1);
        assert!(damage(&damaged).1.contains("0000000000000001.journal"), "offset {offset}");
    }
    // The second is not sealed: each of its frames is.
    let damaged = storage.deep_clone();
    damaged.corrupt(&journal_name(2), 6_000, 1);
    assert!(damage(&damaged).1.contains("0000000000000002.journal"));
}

/// How much a sealed journal holds costs nothing at open.
#[test]
fn opening_reads_one_page_of_what_is_sealed() {
    let reads = |journals: u64| {
        let mut scene = Scene::new(24);
        for _ in 0..journals {
            for _ in 0..40 {
                scene.say(1_000);
            }
            scene.roll();
            assert!(scene.seal());
        }
        let storage = scene.close();
        let before = storage.reads();
        drop(open(&storage).unwrap());
        storage.reads() - before
    };
    // Each journal more is opened and read once; of its two segments only the length is asked for.
    assert_eq!(reads(9) - reads(4), 5 * 2);
}

#[test]
fn a_missing_segment_and_one_of_another_length_are_named() {
    let storage = Scene::sealed(25).close();
    let (recovered, _) = open(&storage.deep_clone()).unwrap();
    for segment in recovered.end.manifest.segments {
        let name = segment_name(segment.kind, segment.id);
        let image = storage.deep_clone();
        image.remove_file(&name);
        let (_, text) = damage(&image);
        assert_eq!(text, format!("store damaged: file=sim/{name} offset=0 want=a live file got=no such file"));
        for bytes in [segment.bytes - 1, segment.bytes + 1, 0] {
            image.replace(&name, vec![0; bytes as usize]);
            let (damage, text) = damage(&image);
            assert_eq!(damage.offset, bytes.min(segment.bytes));
            assert!(text.ends_with(&format!("want={} bytes got={bytes} bytes", segment.bytes)), "{text}");
        }
    }
    let image = storage.deep_clone();
    (1..=3).for_each(|id| image.remove_file(&journal_name(id)));
    assert!(damage(&image).1.ends_with("want=a journal file beside it got=none"));
    let image = storage.deep_clone();
    image.remove_file(&journal_name(1));
    assert!(damage(&image).1.ends_with("0000000000000001.journal offset=0 want=a live file got=no such file"));
}

/// A journal that a record removed is unlinked, one that is none of the store's is kept, one of another store refused.
#[test]
fn a_merged_journal_that_is_still_there_is_unlinked() {
    let mut scene = Scene::sealed(26);
    let merged = scene.storage.bytes(&journal_name(1)).unwrap();
    let installed = scene.merge().unwrap();
    scene.sync();
    scene.take_away(&installed);
    let storage = scene.close();
    let foreign = Scene::sealed(27).close().bytes(&journal_name(1)).unwrap();
    let evidence = "0000000000000001.evidence";
    let reads = |image: &Arc<SimStorage>| {
        open(image).unwrap();
        image.reads()
    };
    let without = reads(&storage.deep_clone());
    for (bytes, is_kept) in [(merged.clone(), false), (vec![7; 100], true), (vec![7; 9_000], true), (Vec::new(), true)]
    {
        let image = storage.deep_clone();
        image.replace(&journal_name(1), bytes);
        let (recovered, _) = open(&image).unwrap();
        assert_eq!(recovered.end.manifest.journals.len(), 1);
        assert!(!image.names().contains(&journal_name(1)));
        assert_eq!(image.names().contains(&evidence.to_owned()), is_kept);
    }
    let image = storage.deep_clone();
    image.replace(&journal_name(1), merged);
    assert_eq!(reads(&image), without + 2, "it is opened, and its first page read");
    storage.replace(&journal_name(1), foreign);
    assert_eq!(damage(&storage).0.offset, UUID_OFFSET);
}

/// Segments are made of what is synced, so a journal that lacks it has lost something.
#[test]
fn segments_that_know_more_than_the_journal_are_refused() {
    let mut scene = Scene::sealed(28);
    let mut installed = scene.writer.manifest().change();
    scene.sync();
    installed.added.push(scene.make(SegmentKind::Rows, installed.next_segment, 4096, true));
    installed.next_segment += 1;
    scene.install(&installed);
    scene.roll();
    scene.sync();
    assert_eq!(installed.added[0].last_version, 3);
    // The list of journal 4 has the rows; the change they rest on is taken out of journal 3, and its proof with it.
    let image = scene.crashed(Loss::All);
    assert_eq!(open(&image.deep_clone()).unwrap().1.versions, [2, 3]);
    let first = Opened::open(&*image, 3).unwrap().load().unwrap().scan(None).unwrap().frames[0].end();
    for id in [3, 4] {
        let mut bytes = image.bytes(&journal_name(id)).unwrap();
        bytes[1024..1056].fill(0);
        bytes[2048..2080].fill(0);
        if id == 3 {
            bytes[first as usize..].fill(0);
        }
        image.replace(&journal_name(id), bytes);
    }
    let (damage, text) = damage(&image);
    assert!(damage.file.ends_with(journal_name(4)), "{text}");
    assert!(text.ends_with("want=changes up to version 3 got=version 2"), "{text}");
}

/// Records that are whole and cannot be.
#[test]
fn an_install_that_makes_no_sense_is_refused() {
    let scene = Scene::sealed(33);
    let (end, image) = (scene.writer.position(), scene.crashed(Loss::Nothing));
    let file = scene.writer.sync_point().files.pop().unwrap();
    let mut wrong = vec![scene.writer.manifest().change(); 4];
    wrong[0].purged_version = 4;
    (wrong[1].sealed_through, wrong[1].sealed_version) = (3, 3);
    wrong[2].added = scene.writer.manifest().segments.clone();
    wrong[3].removed_journals = vec![2];
    let wants = [
        "files made of what came before",
        "files made of what came before",
        "added files with ids of their own",
        "removed journals that are sealed",
        "installed files",
    ];
    for (index, want) in wants.into_iter().enumerate() {
        let mut bytes = Vec::new();
        frame::begin(&mut bytes);
        match wrong.get(index) {
            Some(installed) => installed.encode(&mut bytes),
            None => bytes.push(7),
        }
        let delta = (4 - file.header.first_version) as u32;
        frame::finish(&mut bytes, 0, FrameKind::Installed, file.seed, end, delta, 0);
        let image = image.deep_clone();
        let mut whole = image.bytes(&journal_name(3)).unwrap();
        whole[end as usize..end as usize + bytes.len()].copy_from_slice(&bytes);
        image.replace(&journal_name(3), whole);
        let (damage, text) = damage(&image);
        assert_eq!((damage.offset, damage.file.ends_with(journal_name(3))), (end, true), "{text}");
        assert!(text.contains(want), "{text}");
    }
}

/// A store that was made of a copy of another may hold its files.
#[test]
fn files_of_an_ancestor_are_taken_for_own() {
    let ancestor = Scene::sealed(29).close();
    let (recovered, _) = open(&ancestor).unwrap();
    let JournalEnd { current, mut manifest, open: mark, last_version, digest, .. } = recovered.end;
    let file = LiveFile { file_id: 3, end: current.end(), last_version, digest };
    manifest.journals.push(file);
    for lineage in [vec![current.header.uuid], vec![*b"of someone else."]] {
        let storage = ancestor.deep_clone();
        manifest.lineage = lineage.clone();
        let next = NextFile {
            uuid: *b"0123456789abcdef",
            file_id: 4,
            first_version: last_version + 1,
            is_cut: true,
            stamped_version: Some(last_version),
            files: Files { open: mark.clone(), manifest: manifest.clone() },
        };
        let handle = storage.create("next.spare", 70_000).unwrap();
        let shared: Arc<dyn Storage> = storage.clone();
        create_file(&shared, &next, handle, "next.spare", |_, _, _| {}).unwrap();
        if lineage == [current.header.uuid] {
            // It goes on as its own, in this file and in those that recovery makes.
            let mut scene = Scene::on(storage);
            scene.say(100);
            scene.roll();
            assert_eq!(scene.writer.manifest().lineage, lineage);
            let (recovered, shown) = open(&scene.crashed(Loss::Nothing)).unwrap();
            assert_eq!(recovered.end.current.header.uuid, next.uuid);
            assert_eq!((recovered.end.manifest.lineage, shown.versions), (lineage, vec![2, 3, 4]));
        } else {
            assert_eq!(damage(&storage).0.offset, UUID_OFFSET);
        }
    }
}

/// Records that install have room of their own, which changes cannot take, and the next file's room is promised
/// with regard to them.
#[test]
fn installs_have_room_of_their_own() {
    let mut scene = Scene::sealed(30);
    scene.sync();
    let mut rolled = 0;
    for _ in 0..300 {
        let mut installed = scene.writer.manifest().change();
        for _ in 0..3 {
            let rows = scene.make(SegmentKind::Rows, installed.next_segment, 4096, true);
            installed.added.push(rows);
            installed.next_segment += 1;
        }
        let before = (scene.writer.room(), scene.writer.manifest().journals.len());
        scene.install(&installed);
        if scene.writer.manifest().journals.len() > before.1 {
            rolled += 1;
            // A file that is filled to its last byte takes its installs all the same.
            while scene.writer.room() > 600 {
                scene.say(500);
            }
            scene.sync();
        } else {
            assert_eq!(scene.writer.room(), before.0);
        }
    }
    assert!(rolled > 3, "rolled {rolled} times");
}

#[test]
#[should_panic(expected = "segments are made of what is synced, and of synced journals")]
fn a_journal_that_is_not_synced_is_not_sealed() {
    let mut scene = Scene::new(31);
    scene.say(9_000);
    scene.sync();
    scene.roll();
    let mut installed = scene.writer.manifest().change();
    (installed.sealed_through, installed.sealed_version) = (1, 1);
    scene.install(&installed);
}

#[test]
#[should_panic(expected = "segments are made of what is synced")]
fn rows_of_changes_that_are_not_synced_are_not_installed() {
    let mut scene = Scene::sealed(32);
    let mut installed = scene.writer.manifest().change();
    let rows = scene.make(SegmentKind::Rows, installed.next_segment, 4096, true);
    installed.added.push(SegmentInfo { last_version: 3, ..rows });
    installed.next_segment += 1;
    scene.install(&installed);
}

/// Says where a check failed.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}
