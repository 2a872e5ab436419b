//! Nothing is true only in the catalogue: whatever happens to its files, the store answers as before.
//! Owns: nothing. May touch: the public interface, the files of its own store's catalogue.
//! Never: damages a file of the store itself.
//!
//! Not every byte of every file is damaged: an opening that begins a catalogue anew takes tens of milliseconds. The
//! seal, which all else is judged by, is damaged in every byte; the others in their first and last bytes and
//! at random between, for each run anew (the seed is printed, `RESTANTE_CATALOG_SEED` sets it).

use crate::support::{Rng, TempDir, number_from_env};
use restante::{Draft, Durability, HistoryQuery, ListQuery, Options, Peer, Seq, Store, Threads, UserId};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const USER: UserId = UserId(1);
const FRIENDS: u64 = 5;
/// Bytes damaged of a file other than the seal, and lengths that each file is cut to.
const BYTES: usize = 80;
const CUTS: usize = 16;

fn open(store: &Path) -> Store {
    let options = Options::default().threads(Threads::Inline).durability(Durability::Buffered);
    Store::open(store, options.journal_bytes(64 << 10).memory_bytes_max(64 << 10)).unwrap()
}

/// All files below a directory, as paths from there, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = PathBuf::from(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).into_iter().map(|path| name.join(path))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir(target).unwrap();
    for entry in fs::read_dir(source).unwrap().map(Result::unwrap) {
        let target = target.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

struct Scene {
    directory: TempDir,
    digest: u64,
}

impl Scene {
    /// A store with sealed files, all verified, and a copy of its catalogue.
    fn new(subject: &str) -> Scene {
        let directory = TempDir::new(subject);
        let path = directory.path().join("store");
        let store = open(&path);
        for number in 0..300u64 {
            let body = [number as u8; 600];
            store.append(Draft::direct(USER, UserId(2 + number % FRIENDS), &body)).wait().unwrap();
        }
        store.seal().unwrap();
        assert!(store.verify().unwrap().is_whole());
        let statistics = store.statistics();
        assert!(statistics.verified_files >= 3 && statistics.damaged_files == 0, "{statistics:?}");
        let digest = store.state_digest().unwrap();
        store.close().unwrap();
        copy(&path.join("catalog"), &directory.path().join("saved"));
        Scene { directory, digest }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn catalog(&self) -> PathBuf {
        self.store().join("catalog")
    }

    /// The store after something was done to the catalogue as it was saved: its answers are the same, and it began the
    /// catalogue anew so often.
    fn check(&self, rebuilds: u64, what: &str, damage: impl FnOnce(&Path)) {
        fs::remove_dir_all(self.catalog()).unwrap();
        copy(&self.directory.path().join("saved"), &self.catalog());
        damage(&self.catalog());
        let store = open(&self.store());
        let statistics = store.statistics();
        assert_eq!(statistics.catalog_rebuilds, rebuilds, "{what}");
        assert_eq!(statistics.verified_files > 0, rebuilds == 0 && self.catalog().exists(), "{what}");
        assert_eq!(store.state_digest().unwrap(), self.digest, "{what}");
        for friend in 2..2 + FRIENDS {
            let page = store.history(USER, Peer::User(UserId(friend)), &HistoryQuery::oldest().limit(100)).unwrap();
            assert_eq!(page.messages.len(), 60, "{what}");
            assert_eq!(page.covers, Some((Seq(1), Seq(60))), "{what}");
        }
        assert_eq!(store.changed(USER, None, &ListQuery::new()).unwrap().entries.len(), FRIENDS as usize, "{what}");
        store.close().unwrap();
        assert!(files(&self.catalog()).len() > 1, "{what}: the catalogue was not saved again");
    }
}

#[test]
fn a_sound_catalogue_is_remembered() {
    let scene = Scene::new("catalog-sound");
    scene.check(0, "nothing", |_| ());
    scene.check(0, "forgotten", |catalog| fs::remove_dir_all(catalog).unwrap());
}

#[test]
fn no_damage_to_the_catalogue_is_felt() {
    let scene = Scene::new("catalog-damage");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seed = number_from_env("RESTANTE_CATALOG_SEED").unwrap_or(now.as_nanos() as u64);
    println!("RESTANTE_CATALOG_SEED={seed}");
    let mut random = Rng::new(seed);
    let all = files(&scene.catalog());
    assert!(all.len() >= 3, "{all:?}");
    for name in all {
        let whole = fs::read(scene.directory.path().join("saved").join(&name)).unwrap();
        let is_seal = name == Path::new("seal");
        let count = if is_seal { whole.len() } else { BYTES.min(whole.len()) };
        for number in 0..count {
            let offset = match number {
                _ if is_seal => number,
                0..8 => number.min(whole.len() - 1),
                8..12 => whole.len().saturating_sub(number - 7),
                _ => random.below(whole.len() as u64) as usize,
            };
            let mut bytes = whole.clone();
            bytes[offset] ^= 1 << random.below(8);
            let what = format!("{} offset={offset} {:02x} for {:02x}", name.display(), bytes[offset], whole[offset]);
            scene.check(1, &what, |catalog| fs::write(catalog.join(&name), bytes).unwrap());
        }
        for number in 0..CUTS.min(whole.len()) {
            let length = if number == 0 { 0 } else { random.below(whole.len() as u64) as usize };
            let what = format!("{} cut to {length}", name.display());
            scene.check(1, &what, |catalog| fs::write(catalog.join(&name), &whole[..length]).unwrap());
        }
        let what = format!("{} grown", name.display());
        let longer = [&whole[..], &[0]].concat();
        scene.check(1, &what, |catalog| fs::write(catalog.join(&name), longer).unwrap());
        let what = format!("{} gone", name.display());
        scene.check(1, &what, |catalog| fs::remove_file(catalog.join(&name)).unwrap());
    }
    scene.check(1, "a file in its place", |catalog| {
        fs::remove_dir_all(catalog).unwrap();
        fs::write(catalog, "what is this").unwrap();
    });
    scene.check(1, "sled's directory gone", |catalog| fs::remove_dir_all(catalog.join("sled")).unwrap());
}
