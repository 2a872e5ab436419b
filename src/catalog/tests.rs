//! What the catalogue keeps, and what damage to it leads to.
//! Owns: those tests. May touch: `catalog`, and files of its own.
//! Never: is part of the crate that others link.

use super::*;
use crate::time::Timestamp;

fn file(number: u64) -> FileRow {
    let verified =
        (!number.is_multiple_of(3)).then_some(Verified { at: Timestamp(number * 1000), is_sound: number % 3 == 1 });
    FileRow { kind: (number % 4) as u8, bytes: number << 20, digest: number.wrapping_mul(u64::MAX / 7), verified }
}

fn name(number: u64) -> String {
    format!("{number:016x}.journal")
}

/// Puts what `check` finds.
fn fill(catalog: &Catalog) {
    (1..9).for_each(|number| catalog.put_file(&name(number), &file(number)));
    catalog.set_scrub(Some(&Scrub { file: name(3), offset: 4096 }));
    catalog.set_position("billing", Version(77));
}

fn check(catalog: &Catalog) {
    assert_eq!(catalog.files(), (1..9).map(|number| (name(number), file(number))).collect::<Vec<_>>());
    assert_eq!(catalog.file(&name(5)), Some(file(5)));
    assert_eq!(catalog.scrub(), Some(Scrub { file: name(3), offset: 4096 }));
    assert_eq!((catalog.position("billing"), catalog.position("bill")), (Some(Version(77)), None));
}

fn check_empty(catalog: &Catalog) {
    assert_eq!((catalog.files(), catalog.scrub(), catalog.position("billing")), (vec![], None, None));
}

#[test]
fn rows_are_kept_in_memory() {
    let catalog = Catalog::in_memory();
    check_empty(&catalog);
    fill(&catalog);
    check(&catalog);
    catalog.put_file(&name(5), &file(6));
    assert_eq!(catalog.file(&name(5)), Some(file(6)));
    (1..9).for_each(|number| catalog.remove_file(&name(number)));
    catalog.remove_file("absent");
    catalog.set_scrub(None);
    assert_eq!((catalog.files(), catalog.scrub(), catalog.file(&name(5))), (vec![], None, None));
    assert_eq!(catalog.position("billing"), Some(Version(77)));
    assert_eq!((catalog.flush(), catalog.rebuilds()), (false, 0));
}

#[cfg(not(feature = "catalog"))]
#[test]
fn without_the_feature_nothing_is_saved() {
    let catalog = Catalog::open(Path::new("absent"));
    fill(&catalog);
    check(&catalog);
    assert_eq!((catalog.flush(), catalog.rebuilds()), (false, 0));
    assert!(!Path::new("absent").exists());
}

#[cfg(feature = "catalog")]
mod on_disk {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    /// The directory of a store, gone with the value.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("restante-catalog-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        /// One with a catalogue that was written to several times.
        fn filled() -> Directory {
            let directory = Directory::new();
            let catalog = Catalog::open(&directory.0);
            catalog.put_file(&name(5), &file(6));
            catalog.put_file("gone", &file(1));
            assert!(catalog.flush());
            catalog.remove_file("gone");
            fill(&catalog);
            assert!(catalog.flush());
            assert_eq!(catalog.rebuilds(), 0);
            directory
        }

        fn catalog(&self) -> PathBuf {
            self.0.join("catalog")
        }

        fn broken(&self) -> PathBuf {
            self.0.join("catalog.broken")
        }

        /// All files of the catalogue.
        fn files(&self) -> Vec<PathBuf> {
            let (mut found, mut directories) = (Vec::new(), vec![self.catalog()]);
            while let Some(directory) = directories.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() { directories.push(path) } else { found.push(path) }
                }
            }
            found.sort();
            found
        }

        /// Opens what was damaged: it is set aside, and the catalogue empty.
        fn check_set_aside(&self, what: &dyn std::fmt::Debug) {
            let catalog = Catalog::open(&self.0);
            assert_eq!(catalog.rebuilds(), 1, "{what:?}");
            check_empty(&catalog);
            assert!(self.broken().exists() && !self.catalog().exists(), "{what:?}");
        }

        /// As before the damage.
        fn put_back(&self) {
            fs::rename(self.broken(), self.catalog()).unwrap();
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn rows_are_found_again() {
        let directory = Directory::filled();
        for round in 0..3 {
            let catalog = Catalog::open(&directory.0);
            check(&catalog);
            catalog.put_file("never saved", &file(round));
        }
        let catalog = Catalog::open(&directory.0);
        catalog.remove_file(&name(1));
        catalog.set_scrub(None);
        assert!(catalog.flush() && catalog.flush());
        drop(catalog);
        let catalog = Catalog::open(&directory.0);
        assert_eq!((catalog.files().len(), catalog.scrub(), catalog.rebuilds()), (7, None, 0));
        assert!(!directory.broken().exists());
    }

    #[test]
    fn every_damaged_byte_sets_the_catalogue_aside() {
        let directory = Directory::filled();
        let mut flips = 0;
        for path in directory.files() {
            let bytes = fs::read(&path).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            for (offset, byte) in bytes.iter().enumerate() {
                file.write_all_at(&[byte ^ 1 << (offset % 8)], offset as u64).unwrap();
                directory.check_set_aside(&(&path, offset));
                directory.put_back();
                file.write_all_at(&[*byte], offset as u64).unwrap();
                flips += 1;
            }
        }
        assert!(flips > 1000, "too little was found to damage: {flips}");
        check(&Catalog::open(&directory.0));
    }

    #[test]
    fn every_cut_or_missing_file_sets_the_catalogue_aside() {
        let directory = Directory::filled();
        for path in directory.files() {
            let bytes = fs::read(&path).unwrap();
            let mut renamed = path.to_str().unwrap().to_owned();
            renamed.pop();
            renamed.push('~');
            fs::rename(&path, &renamed).unwrap();
            directory.check_set_aside(&(&path, "renamed"));
            directory.put_back();
            fs::rename(&renamed, &path).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            for length in (0..bytes.len()).rev() {
                file.set_len(length as u64).unwrap();
                directory.check_set_aside(&(&path, length));
                directory.put_back();
            }
            fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
            directory.check_set_aside(&(&path, "longer"));
            directory.put_back();
            fs::remove_file(&path).unwrap();
            directory.check_set_aside(&(&path, "removed"));
            directory.put_back();
            fs::create_dir(&path).unwrap();
            directory.check_set_aside(&(&path, "a directory"));
            directory.put_back();
            fs::remove_dir(&path).unwrap();
            fs::write(directory.0.join("same"), &bytes).unwrap();
            std::os::unix::fs::symlink(directory.0.join("same"), &path).unwrap();
            directory.check_set_aside(&(&path, "a link"));
            directory.put_back();
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let files = directory.catalog().join("sled");
        fs::write(files.join("more"), b"").unwrap();
        directory.check_set_aside(&"one more");
        directory.put_back();
        fs::remove_file(files.join("more")).unwrap();
        check(&Catalog::open(&directory.0));

        fs::remove_dir_all(directory.catalog()).unwrap();
        fs::write(directory.catalog(), b"no directory").unwrap();
        directory.check_set_aside(&"a file");
    }

    #[test]
    fn what_was_set_aside_is_begun_anew() {
        let directory = Directory::filled();
        for round in 0..2 {
            fs::write(directory.catalog().join("seal"), [round]).unwrap();
            let catalog = Catalog::open(&directory.0);
            assert_eq!(fs::read(directory.broken().join("seal")).unwrap(), [round], "the newest is kept");
            assert_eq!(catalog.rebuilds(), 1, "round={round}");
            fill(&catalog);
            assert!(catalog.flush());
            check(&Catalog::open(&directory.0));
        }

        // Damage that comes while the store is open: all there is, is saved anew.
        let catalog = Catalog::open(&directory.0);
        catalog.put_file("late", &file(1));
        fs::remove_file(directory.catalog().join("sled").join("db")).unwrap();
        assert!(catalog.flush());
        assert_eq!((catalog.rebuilds(), catalog.files().len()), (1, 9));
        let catalog = Catalog::open(&directory.0);
        assert_eq!((catalog.rebuilds(), catalog.files().len()), (0, 9));
    }

    #[test]
    fn where_nothing_can_be_saved_rows_stay_in_memory() {
        let directory = Directory::new();
        let catalog = Catalog::open(&directory.0.join("absent"));
        fill(&catalog);
        for _ in 0..2 {
            assert!(!catalog.flush());
            check(&catalog);
            catalog.set_scrub(None);
            catalog.set_scrub(Some(&Scrub { file: name(3), offset: 4096 }));
        }
        assert_eq!(catalog.rebuilds(), 1);
    }
}
