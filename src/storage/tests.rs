//! What both storages promise of copies, of reading only, and of what files take.
//! Owns: those tests, and the crashes of the simulated one. May touch: `real`, `sim`.
//! Never: is part of the crate that others link.

use super::*;
use io::ErrorKind::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

const LENGTH: u64 = 2 * REWRITABLE_BYTES;
/// What `small_store` holds.
const NAMES: [&str; 2] = ["letters", "notes"];

/// A directory with what is around it: where copies go, and how they and it are opened.
trait Place {
    fn home(&self) -> Arc<dyn Storage>;
    fn target(&self, name: &str) -> PathBuf;
    fn open(&self, target: &Path, is_read_only: bool) -> Option<Arc<dyn Storage>>;
    fn home_read_only(&self) -> Arc<dyn Storage>;
    /// Puts something at a path.
    fn obstruct(&self, target: &Path);
}

struct RealPlace(PathBuf, ReadMode);

impl Drop for RealPlace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl RealPlace {
    fn new(read_mode: ReadMode) -> RealPlace {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("restante-copies-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        RealPlace(path, read_mode)
    }
}

impl Place for RealPlace {
    fn home(&self) -> Arc<dyn Storage> {
        Arc::new(RealStorage::new(self.0.join("home"), self.1).unwrap())
    }

    fn target(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn open(&self, target: &Path, is_read_only: bool) -> Option<Arc<dyn Storage>> {
        let storage = match is_read_only {
            true => RealStorage::read_only(target, self.1),
            false if !target.exists() => return None,
            false => RealStorage::new(target, self.1),
        };
        storage.ok().map(|storage| Arc::new(storage) as Arc<dyn Storage>)
    }

    fn home_read_only(&self) -> Arc<dyn Storage> {
        Arc::new(RealStorage::read_only(self.0.join("home"), self.1).unwrap())
    }

    fn obstruct(&self, target: &Path) {
        fs::create_dir(target).unwrap();
        fs::write(target.join("not ours"), b"precious").unwrap();
    }
}

impl Place for Arc<SimStorage> {
    fn home(&self) -> Arc<dyn Storage> {
        self.clone()
    }

    fn target(&self, name: &str) -> PathBuf {
        Path::new("/copies").join(name)
    }

    fn open(&self, target: &Path, is_read_only: bool) -> Option<Arc<dyn Storage>> {
        let copy = self.copy_at(target)?;
        Some(if is_read_only { copy.read_only() } else { copy })
    }

    fn home_read_only(&self) -> Arc<dyn Storage> {
        self.read_only()
    }

    fn obstruct(&self, target: &Path) {
        self.begin_copy(target).unwrap().finish().unwrap();
    }
}

/// Runs a test on each storage there is.
fn check(test: impl Fn(&dyn Place)) {
    for read_mode in [ReadMode::Mapped, ReadMode::Pread] {
        test(&RealPlace::new(read_mode));
    }
    test(&SimStorage::new(1));
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("must be refused").kind()
}

/// Two synced files, as what they hold.
fn fill(home: &dyn Storage) -> [Vec<u8>; 2] {
    let contents = NAMES.map(|name| name.repeat(LENGTH as usize / name.len()).into_bytes());
    for (name, content) in NAMES.iter().zip(&contents) {
        let file = home.create(name, content.len() as u64).unwrap();
        file.write_at(0, content).unwrap();
        file.sync().unwrap();
    }
    home.sync_directory().unwrap();
    contents
}

/// Copies the first file by a link, the second one byte by byte.
fn gather(home: &dyn Storage, target: &Path, contents: &[Vec<u8>; 2]) -> io::Result<Box<dyn StorageCopy>> {
    let copy = home.begin_copy(target)?;
    let is_linked = copy.link(NAMES[0])?;
    for (name, content) in NAMES.iter().zip(contents).skip(usize::from(is_linked)) {
        let file = copy.create(name, content.len() as u64)?;
        file.write_at(0, content)?;
        file.sync()?;
    }
    Ok(copy)
}

fn content(storage: &dyn Storage, name: &str) -> Vec<u8> {
    let file = storage.open(name).unwrap();
    let mut bytes = vec![0; file.length() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// What a store sees of a directory: the file that its lock is on is none of its own.
fn names(storage: &dyn Storage) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.retain(|name| name != "LOCK");
    names.sort_unstable();
    names
}

fn is_whole(copy: &dyn Storage, contents: &[Vec<u8>; 2]) -> bool {
    names(copy) == NAMES && NAMES.map(|name| content(copy, name)) == *contents
}

#[test]
fn a_copy_appears_when_it_is_finished() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        let copy = gather(&*home, &target, &contents).unwrap();
        assert_eq!(kind(copy.link("absent")), NotFound);
        assert_eq!(kind(copy.link("letters")), AlreadyExists);
        assert_eq!(kind(copy.create("notes", 1)), AlreadyExists);
        assert!(place.open(&target, false).is_none());
        copy.finish().unwrap();
        assert!(is_whole(&*place.open(&target, false).unwrap(), &contents));
        assert_eq!([home.link_count("letters").unwrap(), home.link_count("notes").unwrap()], [2, 1]);

        // A link keeps the bytes when the name in the store goes, and the rest is a file of its own.
        home.remove("letters").unwrap();
        home.open("notes").unwrap().write_at(0, b"NOTES").unwrap();
        let copy = place.open(&target, false).unwrap();
        assert!(is_whole(&*copy, &contents));
        assert_eq!(copy.link_count("letters").unwrap(), 1);
        assert_eq!(kind(home.begin_copy(&target)), AlreadyExists);

        // A copy can be copied, be written to, and go on as a store of its own.
        gather(&*copy, &place.target("second"), &contents).unwrap().finish().unwrap();
        assert!(is_whole(&*place.open(&place.target("second"), false).unwrap(), &contents));
        copy.create("more", LENGTH).unwrap().write_at(0, b"more").unwrap();
        copy.rename("more", "less").unwrap();
        assert_eq!((names(&*home), names(&*copy).len()), (vec!["notes".to_owned()], 3));
    });
}

#[test]
fn a_copy_given_up_is_gone() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        drop(gather(&*home, &target, &contents).unwrap());
        for path in [target.clone(), place.target("copy.tmp")] {
            assert!(place.open(&path, false).is_none(), "{}", path.display());
        }
        assert_eq!(home.link_count("letters").unwrap(), 1);
        gather(&*home, &target, &contents).unwrap().finish().unwrap();
        assert!(is_whole(&*place.open(&target, false).unwrap(), &contents));
    });
}

#[test]
fn what_an_earlier_attempt_left_is_replaced() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        // As a process leaves it that ends in the middle: nothing is let go of in order.
        let first = gather(&*home, &place.target("copy.tmp"), &contents).unwrap();
        first.create("of the first", 1).unwrap();
        first.finish().unwrap();

        let second = gather(&*home, &target, &contents).unwrap();
        assert_eq!(kind(home.begin_copy(&target)), WouldBlock, "the second is under way");
        second.finish().unwrap();
        assert!(is_whole(&*place.open(&target, false).unwrap(), &contents));
        assert!(place.open(&place.target("copy.tmp"), false).is_none());
        assert_eq!(home.link_count("letters").unwrap(), 2);
    });
}

#[test]
fn nothing_is_put_over_what_is_there() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        let copy = gather(&*home, &target, &contents).unwrap();
        place.obstruct(&place.target("other"));
        assert_eq!(kind(home.begin_copy(&place.target("other"))), AlreadyExists);
        assert_eq!(kind(home.begin_copy(Path::new("/"))), InvalidInput);
        assert_eq!(kind(home.begin_copy(&home.path("within"))), InvalidInput);
        copy.finish().unwrap();
        assert_eq!(names(&*home), NAMES);
    });
}

#[test]
fn a_read_only_storage_changes_nothing() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        gather(&*home, &target, &contents).unwrap().finish().unwrap();
        let copy = place.open(&target, true).unwrap();
        assert!(copy.is_read_only() && !home.is_read_only());
        let listed = copy.list().unwrap();
        let file = copy.open("letters").unwrap();
        for result in [
            file.write_at(0, b"x"),
            file.write_at(REWRITABLE_BYTES, b"x"),
            copy.create("more", 1).map(drop),
            copy.rename("letters", "more"),
            copy.remove("letters"),
        ] {
            assert_eq!(kind(result), PermissionDenied);
        }
        file.sync().unwrap();
        copy.sync_directory().unwrap();
        assert!(is_whole(&*copy, &contents));
        file.settle(LENGTH);
        let body = file.body(REWRITABLE_BYTES, 7).unwrap();
        assert!(file.mapped(REWRITABLE_BYTES, 7).is_none_or(|bytes| bytes == &*body));
        assert_eq!(&*body, &contents[0][4096..4103]);
        drop(file);
        copy.fill_random(&mut [0; 4]).unwrap();
        let _lock = copy.lock().unwrap();
        assert_eq!(copy.list().unwrap(), listed);
        gather(&*copy, &place.target("second"), &contents).unwrap().finish().unwrap();
    });
}

/// A link makes one file of two: the store may go on writing its first page while the copy is read.
#[test]
fn a_file_is_written_through_one_handle_and_read_through_another() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        gather(&*home, &target, &contents).unwrap().finish().unwrap();
        let copy = place.open(&target, true).unwrap();
        let reader = copy.open("letters").unwrap();
        reader.settle(LENGTH);
        let writer = home.open("letters").unwrap();
        writer.write_at(0, b"LETTERS").unwrap();
        let body = reader.body(REWRITABLE_BYTES, 4).unwrap();
        drop((reader, writer));
        assert_eq!(&content(&*copy, "letters")[..7], b"LETTERS");
        assert_eq!(&*body, &contents[0][4096..4100]);
    });
}

#[test]
fn readers_share_the_lock_and_keep_writers_out() {
    check(|place| {
        let (home, target) = (place.home(), place.target("copy"));
        let contents = fill(&*home);
        gather(&*home, &target, &contents).unwrap().finish().unwrap();
        let writer = place.open(&target, false).unwrap();
        let readers = [place.open(&target, true).unwrap(), place.open(&target, true).unwrap()];
        let mut locks = Vec::from(readers.each_ref().map(|reader| reader.lock().unwrap()));
        while let Some(lock) = locks.pop() {
            assert_eq!(kind(writer.lock()), WouldBlock);
            drop(lock);
        }
        let lock = writer.lock().unwrap();
        assert_eq!(kind(readers[0].lock()), WouldBlock);
        let _of_another_directory = home.lock().unwrap();
        assert_eq!(kind(place.home_read_only().lock()), WouldBlock);
        drop(lock);
        readers[0].lock().unwrap();
    });
}

#[test]
fn files_take_what_they_hold() {
    check(|place| {
        let home = place.home();
        home.create("letters", 3 * LENGTH).unwrap();
        let bytes = home.file_bytes("letters").unwrap();
        let allotted = fs::metadata(home.path("letters")).map_or(3 * LENGTH, |metadata| metadata.blocks() * 512);
        assert_eq!((bytes.length, bytes.allotted), (3 * LENGTH, allotted));
        assert_eq!(home.create("none", 0).and_then(|_| home.file_bytes("none")).unwrap().length, 0);
        assert_eq!(kind(home.file_bytes("absent")), NotFound);
        assert_eq!(kind(place.home_read_only().file_bytes("absent")), NotFound);
    });
}

/// Real directories have neighbours.
#[test]
fn what_is_surely_no_copy_is_left_alone() {
    let place = RealPlace::new(ReadMode::Mapped);
    let (home, target, left) = (place.home(), place.target("copy"), place.target("copy.tmp"));
    fill(&*home);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

    place.obstruct(&left);
    mode(&left.join("not ours"), 0o600);
    mode(&left, 0o755);
    assert_eq!(kind(home.begin_copy(&target)), AlreadyExists, "others may look into it");
    mode(&left, 0o700);
    mode(&left.join("not ours"), 0o644);
    assert_eq!(kind(home.begin_copy(&target)), AlreadyExists, "others may read it");
    mode(&left.join("not ours"), 0o600);
    fs::create_dir(left.join("LOCK")).unwrap();
    assert_eq!(kind(home.begin_copy(&target)), AlreadyExists, "a directory in it");
    fs::remove_dir(left.join("LOCK")).unwrap();
    std::os::unix::fs::symlink("not ours", left.join("link")).unwrap();
    assert_eq!(kind(home.begin_copy(&target)), AlreadyExists, "a link in it");
    assert_eq!(fs::read(left.join("not ours")).unwrap(), b"precious");
    fs::remove_dir_all(&left).unwrap();
    fs::write(&left, b"precious").unwrap();
    assert_eq!(kind(home.begin_copy(&target)), AlreadyExists, "a file");
    fs::remove_file(&left).unwrap();

    // What a crash left of a copy, with the lock file or without it.
    for name in ["letters", "LOCK"] {
        fs::create_dir(&left).unwrap();
        mode(&left, 0o700);
        fs::write(left.join(name), b"").unwrap();
        mode(&left.join(name), 0o600);
        drop(home.begin_copy(&target).unwrap());
        assert!(!left.exists(), "{name}");
    }
    assert_eq!(kind(home.begin_copy(&place.target("absent/copy"))), NotFound);
    assert_eq!(kind(RealStorage::read_only(&target, ReadMode::Mapped)), NotFound);
    assert_eq!(kind(RealStorage::read_only(home.path("letters"), ReadMode::Mapped)), NotADirectory);
}

#[test]
fn copies_are_kept_from_others_and_need_no_lock_file_to_be_read() {
    let place = RealPlace::new(ReadMode::Mapped);
    let (home, target) = (place.home(), place.target("copy"));
    let contents = fill(&*home);
    gather(&*home, &target, &contents).unwrap().finish().unwrap();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    let paths = ["", "letters", "notes", "LOCK"].map(|name| target.join(name));
    assert_eq!(paths.each_ref().map(|path| mode(path)), [0o700, 0o600, 0o600, 0o600]);

    fs::remove_file(&paths[3]).unwrap();
    let readers = [(); 2].map(|()| RealStorage::read_only(&target, ReadMode::Mapped).unwrap());
    let _locks = readers.each_ref().map(|reader| reader.lock().unwrap());
    assert!(!paths[3].exists());
}

/// All crashes of a run: the storage as found, for every step, loss and some seeds, with the step's number.
fn crashes(storage: &SimStorage, each: impl Fn(u64, Arc<SimStorage>)) {
    for operation in 0..=storage.operations() {
        for loss in [Loss::Nothing, Loss::All, Loss::Prefix, Loss::Random] {
            for seed in 0..20 {
                each(operation, storage.crash_at(operation, CrashPlan { seed, loss }));
            }
        }
    }
}

#[test]
fn a_crash_leaves_no_copy_or_a_whole_one() {
    for has_links in [true, false] {
        let storage = SimStorage::new(3);
        storage.set_links(has_links);
        let contents = fill(&*storage);
        let filled = storage.operations();
        let target = Path::new("/copies/copy");
        gather(&*storage, target, &contents).unwrap().finish().unwrap();
        let finished = storage.operations();
        assert_eq!(storage.copies(), [target]);

        let seen = std::cell::RefCell::new(BTreeSet::new());
        crashes(&storage, |operation, image| {
            let copy = image.copy_at(target);
            assert!(copy.as_ref().is_none_or(|copy| is_whole(&**copy, &contents)), "operation={operation}");
            assert!(operation < finished || copy.is_some(), "it was finished");
            let unfinished = image.copy_at("/copies/copy.tmp");
            seen.borrow_mut().insert((copy.is_some(), unfinished.map(|copy| copy.names())));
            if operation < filled {
                return;
            }
            assert!(is_whole(&*image, &contents), "the store itself: operation={operation}");
            let linked = image.copies().iter().any(|path| image.copy_at(path).unwrap().bytes(NAMES[0]).is_some());
            let link_count = 1 + u64::from(linked && has_links);
            assert_eq!(image.link_count(NAMES[0]).unwrap(), link_count, "operation={operation}");
            if copy.is_none() {
                gather(&*image, target, &contents).unwrap().finish().unwrap();
                assert!(is_whole(&*image.copy_at(target).unwrap(), &contents));
                assert_eq!(image.copies(), [target]);
            }
        });
        // Not there, there with each set of its names, and finished.
        let states = seen.into_inner().len();
        assert_eq!(states, 6, "has_links={has_links}");
    }
}

#[test]
fn a_copy_that_fails_at_any_step_is_none_or_whole() {
    let target = Path::new("/copies/copy");
    for effect in [FailEffect::Nothing, FailEffect::Part, FailEffect::All] {
        for number in 0..8 {
            let storage = SimStorage::new(number);
            let contents = fill(&*storage);
            storage.fail_operation(number, Other, effect);
            let copied = gather(&*storage, target, &contents).and_then(|copy| copy.finish());
            assert_eq!(kind(copied), Other, "number={number} effect={effect:?}");
            if let Some(copy) = storage.copy_at(target) {
                assert!(is_whole(&*copy, &contents), "number={number} effect={effect:?}");
            } else {
                gather(&*storage, target, &contents).unwrap().finish().unwrap();
            }
            assert!(is_whole(&*storage.copy_at(target).unwrap(), &contents));
            assert!(is_whole(&*storage, &contents));
        }
    }
}

#[test]
fn a_copy_is_a_storage_on_the_same_machine() {
    let storage = SimStorage::new(1);
    let contents = fill(&*storage);
    let target = Path::new("/copies/copy");
    gather(&*storage, target, &contents).unwrap().finish().unwrap();
    let copy = storage.copy_at(target).unwrap();
    assert_eq!(copy.path("letters"), target.join("letters"));
    copy.corrupt("letters", 0, 1);
    copy.replace("notes", b"new".to_vec());
    copy.create("more", 8).unwrap();
    assert_ne!(storage.bytes("letters"), Some(contents[0].clone()), "they are one file");
    assert_eq!(storage.bytes("notes"), Some(contents[1].clone()), "these are two");
    let plan = CrashPlan { seed: 0, loss: Loss::All };
    let image = copy.crash_at(copy.operations(), plan);
    assert_eq!((image.names().len(), image.copy_at(target).unwrap().names().len()), (2, 2));
    assert_eq!(copy.deep_clone().names().len(), 3);
    let storage_image = storage.crash_at(storage.operations(), plan);
    assert_eq!(storage_image.names(), NAMES);

    let copying = storage.begin_copy(Path::new("/copies/late")).unwrap();
    storage.power_off();
    assert_eq!(kind(copying.link("letters")), Other);
    drop(copying);
    assert_eq!(kind(copy.list()), Other);
    assert_eq!(storage.copies(), [target, Path::new("/copies/late.tmp")]);
    let next = storage.deep_clone();
    next.set_full(true);
    assert_eq!(kind(next.begin_copy(Path::new("/copies/late"))), StorageFull);
}
