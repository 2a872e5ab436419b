//! What a crash leaves of the directories.
//! Owns: `CrashPlan`, `Loss`, and the choice of what is lost, torn and reordered. May touch: `disk`, `pages`, `random`.
//! Never: loses what was synced.

use super::disk::{Change, Directory, Disk, FileId, FileState, HOME, Names, OUTSIDE, Standing, Write};
use super::pages::Pages;
use super::random::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a device writes whole.
const SECTOR_BYTES: u64 = 512;

/// One way to crash. The same plan on the same run leaves the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPlan {
    /// Chooses among all that `loss` allows.
    pub seed: u64,
    /// What may be lost.
    pub loss: Loss,
}

/// What a crash may lose of the changes that were not synced. What was synced always survives.
///
/// The operation in flight has not returned, so each variant may show it done, not begun, or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the process ended, the machine did not. A write in flight stops at any byte.
    Nothing,
    /// All of it. A file that was never synced, but whose name was, holds zeros or garbage.
    All,
    /// All after some point in time. A write at that point is cut at a sector.
    Prefix,
    /// Any of it. Each write is kept, dropped, or torn into sectors of 512 bytes that are each kept or
    /// dropped; a sector written several times may hold any of these versions. Each change of a name
    /// is kept or dropped, where those before it that concern the same name are kept.
    Random,
}

impl Disk {
    /// What is found after a crash within the operation `in_flight`, which has the number `operation`.
    pub(super) fn crashed(mut self, operation: u64, in_flight: Option<&Change>, plan: CrashPlan) -> Disk {
        let random = &mut Random::new(&[plan.seed, operation]);
        // A sync in flight adds no state of its own: what it gets through could have got through anyway.
        let in_flight = match in_flight {
            Some(Change::Write { file, offset, bytes }) if plan.loss == Loss::Nothing => {
                let bytes = bytes[..random.below(bytes.len() as u64 + 1) as usize].into();
                Some(Change::Write { file: *file, offset: *offset, bytes })
            }
            Some(change) if change.is_of_names() && plan.loss == Loss::Nothing && random.chance(4) => None,
            Some(change @ Change::Write { .. }) => Some(change.clone()),
            Some(change) if change.is_of_names() => Some(change.clone()),
            _ => None,
        };
        if let Some(change) = in_flight {
            self.apply(operation, &change);
        }

        let cut = match plan.loss {
            Loss::Nothing => None,
            Loss::All => Some(Cut::Everything),
            Loss::Prefix => {
                let operations = self.unsynced_operations();
                let operation = operations.get(random.below(operations.len() as u64 + 1) as usize);
                Some(Cut::At(operation.copied().unwrap_or(u64::MAX), random.next()))
            }
            Loss::Random => Some(Cut::Anywhere { kept_eighths: [1, 4, 7][random.below(3) as usize] }),
        };
        let mut found = Disk { next_id: self.next_id, ..Disk::default() };
        self.save(HOME, cut, &mut found, random);
        for id in self.save_names(OUTSIDE, cut, &mut found, random) {
            self.save(id, cut, &mut found, random);
        }
        found
    }

    /// Puts what survives of a directory and of the files in it into `found`.
    fn save(&self, directory: FileId, cut: Option<Cut>, found: &mut Disk, random: &mut Random) {
        for id in self.save_names(directory, cut, found, random) {
            // A file that has a name elsewhere too survives once.
            let files: &mut BTreeMap<_, _> = &mut found.files;
            files.entry(id).or_insert_with(|| {
                let file: &FileState = &self.files[&id];
                let pages = cut.map_or_else(|| file.current.clone(), |cut| file.surviving_bytes(cut, random));
                Arc::new(FileState::durable(pages, file.other_names))
            });
        }
    }

    /// As `save`, for the names alone; gives what they stand for.
    fn save_names(
        &self,
        directory: FileId,
        cut: Option<Cut>,
        found: &mut Disk,
        random: &mut Random,
    ) -> impl Iterator<Item = FileId> + use<> {
        let names = match cut {
            None => self.names(directory).clone(),
            Some(cut) => self.directories[&directory].surviving_names(cut, random),
        };
        let ids: Vec<FileId> = names.values().copied().collect();
        found.directories.insert(directory, Directory::durable(names));
        ids.into_iter()
    }

    fn unsynced_operations(&self) -> Vec<u64> {
        let writes = self.files.values().flat_map(|file| &file.writes);
        let writes = writes.filter(|write| write.standing != Standing::Firm).map(|write| write.operation);
        let name_changes = self.directories.values().flat_map(|directory| &directory.name_changes);
        let mut operations: Vec<u64> = writes.chain(name_changes.map(|change| change.operation)).collect();
        operations.sort_unstable();
        operations.dedup();
        operations
    }
}

impl Change {
    /// Whether it is one that a directory takes whole or not at all.
    fn is_of_names(&self) -> bool {
        matches!(
            self,
            Change::Create { .. }
                | Change::CreateDirectory { .. }
                | Change::Link { .. }
                | Change::Rename { .. }
                | Change::Remove { .. }
        )
    }
}

impl Directory {
    fn surviving_names(&self, cut: Cut, random: &mut Random) -> Names {
        let mut names = self.durable_names.clone();
        let mut lost = Vec::new();
        for change in &self.name_changes {
            let is_kept = match cut {
                Cut::Everything => false,
                Cut::At(operation, _) => change.operation < operation,
                Cut::Anywhere { kept_eighths } => {
                    random.chance(kept_eighths) && !change.touched().any(|name| lost.contains(&name))
                }
            };
            if is_kept {
                change.apply(&mut names);
            } else {
                lost.extend(change.touched());
            }
        }
        names
    }
}

/// Which unsynced changes are lost.
#[derive(Clone, Copy)]
enum Cut {
    Everything,
    /// Those after the operation; of a write at it all but some first sectors, chosen by the number that follows.
    At(u64, u64),
    /// Each by itself, kept whole with this likelihood.
    Anywhere {
        kept_eighths: u64,
    },
}

/// What becomes of one write.
#[derive(Clone, Copy)]
enum Fate {
    Kept,
    Dropped,
    /// Each sector by itself.
    Torn,
    /// The sectors below this one.
    CutAt(u64),
}

impl FileState {
    fn surviving_bytes(&self, cut: Cut, random: &mut Random) -> Pages {
        if self.writes.is_empty() {
            return self.durable.clone();
        }
        let fates: Vec<Fate> = self.writes.iter().map(|write| write.fate(cut, random)).collect();
        let mut pages = match fates[0] {
            Fate::Kept => self.durable.clone(),
            _ if self.is_virgin && random.chance(4) => Pages::garbage(self.durable.length(), random),
            _ => self.durable.clone(),
        };

        // A device writes a sector as the cache has it at that time. So what it may hold is the
        // durable version, or the one after any of the writes that touch it.
        let mut touches = self.touches();
        touches.sort_unstable();
        for touches in touches.chunk_by(|(sector, _), (other, _)| sector == other) {
            let sector = touches[0].0;
            let is_kept: Vec<bool> = touches.iter().map(|(_, index)| fates[*index].keeps(sector, random)).collect();
            let mut version = is_kept.iter().rposition(|is_kept| *is_kept).map_or(0, |newest| newest + 1);
            if matches!(cut, Cut::Anywhere { .. }) && touches.len() > 1 && random.chance(2) {
                version = random.below(touches.len() as u64 + 1) as usize;
            }

            let start = sector * SECTOR_BYTES;
            let mut bytes = [0; SECTOR_BYTES as usize];
            let bytes = &mut bytes[..(pages.length() - start).min(SECTOR_BYTES) as usize];
            pages.read(start, bytes);
            let mut is_changed = false;
            for (place, (_, index)) in touches.iter().enumerate() {
                let write = &self.writes[*index];
                let survives = match write.standing {
                    Standing::Firm => true,
                    Standing::Unsynced => place < version,
                    // Its page may have been dropped from the cache and read again before later writes.
                    Standing::Suspect => place < version && is_kept[place],
                };
                if survives {
                    write.copy_to(start, bytes);
                    is_changed = true;
                }
            }
            if is_changed {
                pages.write(start, bytes);
            }
        }
        pages
    }

    /// Every sector of every write, as sector number and place in `writes`.
    fn touches(&self) -> Vec<(u64, usize)> {
        let sectors = |(index, write): (usize, &Write)| {
            (write.offset / SECTOR_BYTES..write.end().div_ceil(SECTOR_BYTES)).map(move |sector| (sector, index))
        };
        self.writes.iter().enumerate().flat_map(sectors).collect()
    }
}

impl Write {
    fn fate(&self, cut: Cut, random: &mut Random) -> Fate {
        match cut {
            _ if self.standing == Standing::Firm => Fate::Kept,
            Cut::Everything => Fate::Dropped,
            Cut::At(operation, _) if self.operation < operation => Fate::Kept,
            Cut::At(operation, choice) if self.operation == operation => {
                let (first, end) = (self.offset / SECTOR_BYTES, self.end().div_ceil(SECTOR_BYTES));
                Fate::CutAt(first + Random::new(&[choice]).below(end - first + 1))
            }
            Cut::At(..) => Fate::Dropped,
            Cut::Anywhere { kept_eighths } if random.chance(kept_eighths) => Fate::Kept,
            Cut::Anywhere { .. } if random.chance(4) => Fate::Dropped,
            Cut::Anywhere { .. } => Fate::Torn,
        }
    }
}

impl Fate {
    fn keeps(self, sector: u64, random: &mut Random) -> bool {
        match self {
            Fate::Kept => true,
            Fate::Dropped => false,
            Fate::Torn => random.chance(4),
            Fate::CutAt(end) => sector < end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{SimStorage, Storage, StorageFile};
    use super::super::FailEffect;
    use super::*;
    use std::collections::BTreeSet;
    use std::io::ErrorKind;

    const LENGTH: u64 = 16 << 10;
    /// As the contract has it, not as the code does.
    const SECTOR: usize = 512;
    const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random];

    /// A storage with one durable file.
    fn with_file() -> (Arc<SimStorage>, Arc<dyn StorageFile>) {
        let storage = SimStorage::new(1);
        let file = storage.create("letters", LENGTH).unwrap();
        file.sync().unwrap();
        storage.sync_directory().unwrap();
        (storage, file)
    }

    /// What is left after all operations so far.
    fn crashed(storage: &SimStorage, seed: u64, loss: Loss) -> Arc<SimStorage> {
        storage.crash_at(storage.operations(), CrashPlan { seed, loss })
    }

    /// All that `look` sees over many seeds.
    fn outcomes<T: Ord>(storage: &SimStorage, loss: Loss, look: impl Fn(&SimStorage) -> T) -> BTreeSet<T> {
        (0..300).map(|seed| look(&crashed(storage, seed, loss))).collect()
    }

    /// The bytes of a file, one for each sector.
    fn sectors(storage: &SimStorage, name: &str, count: usize) -> Vec<u8> {
        let bytes = storage.bytes(name).unwrap();
        let sectors = bytes.chunks(SECTOR).take(count);
        sectors
            .inspect(|sector| assert!(sector.iter().all(|byte| *byte == sector[0])))
            .map(|sector| sector[0])
            .collect()
    }

    #[test]
    fn synced_bytes_survive_and_unsynced_ones_need_not() {
        let (storage, file) = with_file();
        file.write_at(0, b"synced").unwrap();
        file.sync().unwrap();
        file.write_at(6, b" and not").unwrap();
        let found = |seed, loss| crashed(&storage, seed, loss).bytes("letters").unwrap()[..14].to_vec();
        assert_eq!(found(0, Loss::Nothing), b"synced and not");
        assert_eq!(found(0, Loss::All), b"synced\0\0\0\0\0\0\0\0");
        for (seed, loss) in (0..50).flat_map(|seed| LOSSES.map(|loss| (seed, loss))) {
            assert_eq!(&found(seed, loss)[..6], b"synced", "seed={seed} loss={loss:?}");
        }
    }

    #[test]
    fn a_write_tears_at_sectors() {
        let (storage, file) = with_file();
        file.write_at(0, &[1; 3 * SECTOR]).unwrap();
        let all: BTreeSet<Vec<u8>> = (0..8).map(|bits| (0..3).map(|sector| bits >> sector & 1).collect()).collect();
        assert_eq!(outcomes(&storage, Loss::Random, |image| sectors(image, "letters", 3)), all);
        let prefixes = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]].map(Vec::from);
        assert_eq!(outcomes(&storage, Loss::Prefix, |image| sectors(image, "letters", 3)), prefixes.into());
        assert_eq!(outcomes(&storage, Loss::Nothing, |image| sectors(image, "letters", 3)), [vec![1; 3]].into());
        assert_eq!(outcomes(&storage, Loss::All, |image| sectors(image, "letters", 3)), [vec![0; 3]].into());
    }

    #[test]
    fn a_sector_holds_any_version_since_the_last_sync() {
        let (storage, file) = with_file();
        file.write_at(0, &[1; SECTOR]).unwrap();
        file.sync().unwrap();
        for version in 2..10 {
            file.write_at(0, &[version; SECTOR]).unwrap();
        }
        let versions = |loss| outcomes(&storage, loss, |image| sectors(image, "letters", 1)[0]);
        assert_eq!(versions(Loss::Random), (1..10).collect());
        assert_eq!(versions(Loss::Prefix), (1..10).collect());
        for version in 10..40 {
            file.write_at(0, &[version; SECTOR]).unwrap();
        }
        assert!(versions(Loss::Random).contains(&1), "an old version stays likely enough to be met");

        // A version has all that was written into the sector before it.
        let (storage, file) = with_file();
        for place in 0..4 {
            file.write_at(place, &[1]).unwrap();
        }
        let whole = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]].map(Vec::from);
        let start = |image: &SimStorage| image.bytes("letters").unwrap()[..4].to_vec();
        assert_eq!(outcomes(&storage, Loss::Random, start), whole.into());
    }

    #[test]
    fn writes_reorder_only_where_everything_may_be_lost() {
        let (storage, file) = with_file();
        let other = storage.create("other", LENGTH).unwrap();
        other.sync().unwrap();
        storage.sync_directory().unwrap();
        file.write_at(0, &[1; SECTOR]).unwrap();
        other.write_at(0, &[1; SECTOR]).unwrap();
        let both = |image: &SimStorage| (sectors(image, "letters", 1)[0], sectors(image, "other", 1)[0]);
        assert_eq!(outcomes(&storage, Loss::Random, both), [(0, 0), (0, 1), (1, 0), (1, 1)].into());
        assert_eq!(outcomes(&storage, Loss::Prefix, both), [(0, 0), (1, 0), (1, 1)].into());
    }

    #[test]
    fn an_operation_in_flight_may_be_done_in_part() {
        let (storage, file) = with_file();
        let start = storage.operations();
        file.write_at(0, &[1; 2 * SECTOR]).unwrap();
        file.sync().unwrap();
        storage.create("new", 8).unwrap();
        storage.rename("letters", "old").unwrap();
        let images =
            |operation, loss| (0..300).map(move |seed| CrashPlan { seed, loss }).map(move |plan| (operation, plan));
        let found = |(operation, plan)| storage.crash_at(operation, plan);
        let torn = |loss| images(start, loss).map(found).map(|image| image.bytes("letters").unwrap()).collect();
        let torn: [BTreeSet<Vec<u8>>; 4] = LOSSES.map(torn);
        let [killed, all, prefix, random] = torn.map(|found| found.len());
        assert!(killed > 100, "{killed} of 1025 byte prefixes");
        assert_eq!((all, prefix, random), (1, 3, 4));
        // The sync in flight: as any time before it.
        let synced = images(start + 1, Loss::Random).map(found).map(|image| sectors(&image, "letters", 2));
        assert_eq!(synced.collect::<BTreeSet<_>>().len(), 4);
        for loss in [Loss::Nothing, Loss::Prefix, Loss::Random] {
            let made: BTreeSet<_> = images(start + 2, loss).map(found).map(|image| image.names()).collect();
            assert_eq!(made.len(), 2, "loss={loss:?} {made:?}");
        }
        for image in images(start + 3, Loss::Random).map(found) {
            assert_eq!(image.names().iter().filter(|name| *name == "letters" || *name == "old").count(), 1);
            assert_eq!(image.operations(), 0);
        }
    }

    #[test]
    fn names_change_whole_and_in_order() {
        let (storage, file) = with_file();
        file.write_at(0, b"letters").unwrap();
        file.sync().unwrap();
        let before = storage.deep_clone();
        storage.rename("letters", "old").unwrap();
        storage.create("letters", 8).unwrap();
        storage.create("new", 8).unwrap();
        storage.remove("new").unwrap();
        let names = |image: &SimStorage| image.names().join(" ");
        let whole = ["letters", "old", "letters old", "letters new", "new old", "letters new old"].map(String::from);
        assert_eq!(outcomes(&storage, Loss::Random, names), whole.into());
        let prefixes = ["letters", "old", "letters old", "letters new old"].map(String::from);
        assert_eq!(outcomes(&storage, Loss::Prefix, names), prefixes.into());
        assert_eq!(names(&crashed(&storage, 0, Loss::Nothing)), "letters old");
        assert_eq!(names(&crashed(&storage, 0, Loss::All)), "letters");
        for seed in 0..50 {
            let image = crashed(&storage, seed, Loss::Random);
            let name = if image.names().contains(&"old".into()) { "old" } else { "letters" };
            assert_eq!(&image.bytes(name).unwrap()[..7], b"letters", "bytes follow the file: seed={seed}");
        }
        storage.sync_directory().unwrap();
        assert_eq!(outcomes(&storage, Loss::Random, names), ["letters old".to_owned()].into());

        before.open("letters").unwrap().write_at(0, b"LET").unwrap();
        before.open("letters").unwrap().sync().unwrap();
        before.remove("letters").unwrap();
        let found = outcomes(&before, Loss::Random, |image| image.bytes("letters").map(|bytes| bytes[..7].to_vec()));
        assert_eq!(found, [None, Some(b"LETters".to_vec())].into());
    }

    #[test]
    fn a_file_never_synced_holds_anything() {
        let storage = SimStorage::new(1);
        storage.create("letters", LENGTH).unwrap();
        storage.sync_directory().unwrap();
        let look = |image: &SimStorage| image.bytes("letters").unwrap().iter().all(|byte| *byte == 0);
        for loss in [Loss::All, Loss::Prefix, Loss::Random] {
            assert_eq!(outcomes(&storage, loss, look), [false, true].into(), "loss={loss:?}");
        }
        storage.open("letters").unwrap().sync().unwrap();
        assert_eq!(outcomes(&storage, Loss::Random, look), [true].into());
    }

    #[test]
    fn no_later_sync_vouches_for_what_a_failed_one_left() {
        let (storage, file) = with_file();
        file.write_at(0, &[1; SECTOR]).unwrap();
        storage.fail_operation(0, ErrorKind::Other, FailEffect::Nothing);
        file.sync().unwrap_err();
        file.write_at(SECTOR as u64 / 2, &[2; SECTOR]).unwrap();
        file.sync().unwrap();
        let look = |image: &SimStorage| {
            let bytes = image.bytes("letters").unwrap();
            assert_eq!(bytes[SECTOR / 2..SECTOR * 3 / 2], [2; SECTOR], "synced since");
            bytes[0]
        };
        assert_eq!(outcomes(&storage, Loss::Random, look), [0, 1].into());
        assert_eq!(outcomes(&storage, Loss::All, look), [0].into());
        assert_eq!(outcomes(&storage, Loss::Nothing, look), [1].into());

        for (effect, found) in [(FailEffect::All, vec![1]), (FailEffect::Part, vec![0, 1])] {
            let found_now: BTreeSet<u8> = (0..20)
                .map(|seed| {
                    let storage = SimStorage::new(seed);
                    storage.replace("letters", vec![0; SECTOR]);
                    let file = storage.open("letters").unwrap();
                    file.write_at(0, &[1; SECTOR]).unwrap();
                    storage.fail_operation(0, ErrorKind::Other, effect);
                    file.sync().unwrap_err();
                    file.sync().unwrap();
                    sectors(&crashed(&storage, 0, Loss::All), "letters", 1)[0]
                })
                .collect();
            assert_eq!(found_now, found.into_iter().collect(), "effect={effect:?}");
        }
    }

    #[test]
    fn a_failed_sync_of_names_leaves_them_suspect() {
        let (storage, _) = with_file();
        storage.create("a", 8).unwrap();
        storage.create("b.tmp", 8).unwrap();
        storage.fail_operation(0, ErrorKind::Other, FailEffect::Nothing);
        storage.sync_directory().unwrap_err();
        storage.rename("b.tmp", "b").unwrap();
        storage.sync_directory().unwrap();
        let names = outcomes(&storage, Loss::Random, |image| image.names().join(" "));
        assert_eq!(names, ["a b letters", "b letters"].map(String::from).into());
    }

    #[test]
    fn one_run_gives_the_image_of_every_operation() {
        // Enough operations for several checkpoints; every image is held against a run that ends there.
        let run = |storage: &SimStorage, operation_count: u64| {
            storage.replace("letters", vec![0; LENGTH as usize]);
            let file = storage.open("letters").unwrap();
            for number in 0..operation_count {
                match number % 5 {
                    0 => drop(storage.create(&format!("file {number}"), 512).unwrap()),
                    3 => file.sync().unwrap(),
                    4 => storage.sync_directory().unwrap(),
                    _ => file.write_at(number * 100 % LENGTH, &[number as u8; 100]).unwrap(),
                }
            }
        };
        let content = |image: &SimStorage| -> Vec<_> {
            image.names().into_iter().map(|name| (image.bytes(&name).unwrap(), name)).collect()
        };
        let long = SimStorage::new(1);
        run(&long, 150);
        for operation in 0..150 {
            let short = SimStorage::new(1);
            run(&short, operation);
            let plan = CrashPlan { seed: operation, loss: Loss::All };
            assert_eq!(content(&long.crash_at(operation, plan)), content(&short.crash_at(operation, plan)));
            let plan = CrashPlan { seed: operation, loss: Loss::Random };
            assert_eq!(content(&long.crash_at(operation, plan)), content(&long.crash_at(operation, plan)));
            assert_eq!(content(&long.crash_at(operation, plan)), content(&long.deep_clone().crash_at(operation, plan)));
        }
    }
}
