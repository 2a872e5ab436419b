//! Verifying: every bit of a small store with files of every kind, flipped, is found; reading never lies.
//! Owns: that store, the sweeps over it. May touch: the simulated directory.
//! Never: leaves out a byte that carries something or is to be zero, but where it says that another test has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use restante::{
    BusinessId, ClientId, CrashPlan, Draft, ErrorKind, GroupId, GroupSettings, HistoryQuery, ListQuery, Loss,
    ManualClock, Options, Peer, Seq, SimStorage, Source, Store, SystemId, Threads, Timeline, Timestamp, UserId,
    Verification,
};

const START: u64 = 1_700_000_000_000_000;
/// The zeros behind the frames of a journal are told of sector by sector.
const SECTOR: usize = 512;
const USERS: u64 = 4;

fn options() -> Options {
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    Options::default().threads(Threads::Inline).journal_bytes(64 << 10).merge_fan_in(2).maintain(false).clock(clock)
}

fn open(storage: &Arc<SimStorage>) -> restante::Result<Store> {
    Store::open_on(storage.clone(), options())
}

fn talk(store: &Store, round: u64) {
    let [one, two, three] = [1, 2, 3].map(UserId);
    let (group, pair) = (GroupId(9), Timeline::direct(one, two));
    for index in 0..5 {
        let body = format!("direct {round} {index}");
        let id = ClientId(u128::from(round * 100 + index + 1));
        store.append(Draft::direct(one, two, body.as_bytes()).client_id(id)).wait().unwrap();
    }
    if round == 0 {
        store.create_group(group, GroupSettings::default()).wait().unwrap();
        store.join_many(group, &[one, two, three]).wait().unwrap();
        store.resolve_or_create(restante::NameKind::User, b"somebody").wait().unwrap();
        store.set_group_metadata(group, b"a group").wait().unwrap();
    }
    let mentioned = [two];
    store.append(Draft::group(group, three, b"to all").mentions(&mentioned).alerts(2)).wait().unwrap();
    store.append(Draft::group(group, one, b"also")).wait().unwrap();
    store.append(Draft::inbox(Source::Business(BusinessId(5)), two, b"offer")).wait().unwrap();
    store.append(Draft::broadcast(Source::System(SystemId(6)), b"news")).wait().unwrap();
    store.edit(one, pair, Seq(round * 5 + 1), format!("edited {round}").as_bytes()).wait().unwrap();
    store.recall(one, pair, Seq(round * 5 + 2)).wait().unwrap();
    store.hide(two, Peer::User(one), &[Seq(round * 5 + 3)]).wait().unwrap();
    store.mark_read(two, Peer::Group(group), Seq(round + 1)).wait().unwrap();
    store.set_metadata(three, Peer::Group(group), b"mine").wait().unwrap();
}

/// A closed store: one file of messages, one sealed journal, one that is not, rows and indexes.
fn small() -> Arc<SimStorage> {
    let storage = SimStorage::new(77);
    let store = open(&storage).unwrap();
    for round in 0..3 {
        talk(&store, round);
        store.seal().unwrap();
    }
    talk(&store, 3);
    store.close().unwrap();
    storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::All })
}

fn is_live(name: &str) -> bool {
    [".journal", ".messages", ".index", ".rows"].iter().any(|suffix| name.ends_with(suffix))
}

fn live(storage: &SimStorage) -> BTreeMap<String, Vec<u8>> {
    let names = storage.names().into_iter().filter(|name| is_live(name));
    names.map(|name| (name.clone(), storage.bytes(&name).unwrap())).collect()
}

fn verify(storage: &Arc<SimStorage>) -> Verification {
    Store::verify_on(storage.clone()).expect("damage is no error")
}

/// Runs `check` for all of `0..count` on two threads; panics with what it says.
fn on_two_threads(name: &str, count: usize, check: &(dyn Fn(usize) -> Result<(), String> + Sync)) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let start = next.fetch_add(64, Ordering::Relaxed);
                    if start >= count || failures.lock().unwrap().len() > 5 {
                        return;
                    }
                    for index in start..count.min(start + 64) {
                        if let Err(error) = check(index) {
                            failures.lock().unwrap().push(error);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{name}: {}", failures.join("\n"));
}

/// Where the bytes begin of which any number may be wrong without one hiding another: the zeros behind a journal's
/// frames. Sectors of them are told one by one.
fn zeros_from(name: &str, bytes: &[u8]) -> usize {
    if !name.ends_with(".journal") {
        return bytes.len();
    }
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    end.next_multiple_of(SECTOR).min(bytes.len())
}

/// Which byte of each file to flip, so that all files are damaged at once, and none twice where one damage hides another.
fn flips(name: &str, bytes: &[u8], round: usize) -> Vec<(usize, u8)> {
    let (byte, mask) = (round / 8, 1 << (round % 8));
    let zeros = zeros_from(name, bytes);
    let mut flips = Vec::new();
    if byte < zeros {
        flips.push((byte, mask));
    } else if byte - zeros < SECTOR {
        flips.extend((byte..bytes.len()).step_by(SECTOR).map(|at| (at, mask)));
    }
    flips
}

/// Every bit of every file but the newest journal; in each round one of each file. Files are looked at one by one, so
/// what is wrong in one hides nothing in another.
#[test]
fn every_flipped_bit_of_an_older_file_is_found_where_it_is() {
    let storage = small();
    let files = live(&storage);
    let newest = files.keys().rfind(|name| name.ends_with(".journal")).unwrap().clone();
    let kinds: BTreeSet<&str> = files.keys().map(|name| name.split_once('.').unwrap().1).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let older: Vec<(&String, &Vec<u8>)> = files.iter().filter(|(name, _)| **name != newest).collect();
    assert!(older.len() >= 6, "{:?}", files.keys());
    let whole = verify(&storage);
    assert!(whole.is_whole() && whole.files == files.len() as u64, "{whole:?}");
    assert_eq!(whole.bytes, files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let rounds = older.iter().map(|(name, bytes)| 8 * bytes.len().min(zeros_from(name, bytes) + SECTOR)).max().unwrap();
    let tried = AtomicUsize::new(0);
    on_two_threads("older files", rounds, &|round| {
        let image = storage.deep_clone();
        let mut wanted = BTreeSet::new();
        for (name, bytes) in &older {
            for (at, mask) in flips(name, bytes, round) {
                image.corrupt(name, at as u64, mask);
                wanted.insert(((*name).clone(), at));
            }
        }
        tried.fetch_add(wanted.len(), Ordering::Relaxed);
        let found = verify(&image);
        for (name, at) in &wanted {
            let of_file = || found.damage.iter().filter(|damage| damage.file.ends_with(name));
            // Damage is told where what its checksum covers begins, or where the byte is.
            let is_zero = *at >= zeros_from(name, &files[name]);
            let is_named =
                |offset: u64| if is_zero { offset == *at as u64 } else { offset <= files[name].len() as u64 };
            if !of_file().any(|damage| is_named(damage.offset)) {
                return Err(format!("not found: {name} at {at}, round {round}: {found:?}"));
            }
        }
        let flipped: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
        match found.damage.iter().find(|damage| !flipped.iter().any(|name| damage.file.ends_with(name))) {
            Some(other) => Err(format!("nothing is wrong there: {other:?}, round {round}")),
            None => Ok(()),
        }
    });
    let bits: usize = older.iter().map(|(_, bytes)| 8 * bytes.len()).sum();
    assert_eq!(tried.into_inner(), bits, "every bit was flipped once");
}

/// Every bit of the newest journal, one at a time; of the zeros behind its frames one in 61, but all at their ends. All
/// bits of those zeros are tried in `src/journal/verify/tests.rs`. What lies behind its last frame is what an opening
/// would cut: verifying says so, and where.
#[test]
fn every_flipped_bit_of_the_newest_journal_is_found() {
    let storage = small();
    let files = live(&storage);
    let (newest, bytes) = files.iter().rfind(|(name, _)| name.ends_with(".journal")).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    on_two_threads("newest journal", 8 * bytes.len(), &|round| {
        let (at, mask) = (round / 8, 1 << (round % 8));
        // To look at a whole store takes too long to do it for each of them.
        let is_inside = end + 64 < at && at + 64 < bytes.len();
        if is_inside && round % 61 != 0 {
            return Ok(());
        }
        let image = storage.deep_clone();
        image.corrupt(newest, at as u64, mask);
        let found = verify(&image);
        let is_cut = found.cut.as_ref().is_some_and(|cut| {
            cut.file.ends_with(newest) && cut.offset == end as u64 && cut.offset + cut.bytes > at as u64
        });
        let is_damage = found.damage.iter().any(|damage| damage.file.ends_with(newest));
        match if at < end { is_damage } else { is_cut } {
            true => Ok(()),
            false => Err(format!("not found: {newest} at {at} mask {mask}, frames end at {end}: {found:?}")),
        }
    });
}

/// What users see: lists, pages, and a digest over all.
fn answers(store: &Store) -> restante::Result<Vec<String>> {
    let mut answers = Vec::new();
    for user in (1..=USERS).map(UserId) {
        let list = store.changed(user, None, &ListQuery::new().latest(3))?;
        for entry in &list.entries {
            let page = store.history(user, entry.peer, &HistoryQuery::newest().limit(50))?;
            answers.push(format!("{user:?} {entry:?} {page:?}"));
        }
        answers.push(format!("{:?}", store.total_unread(user)?));
    }
    answers.push(format!("{:?}", store.state_digest()?));
    Ok(answers)
}

/// After any flip: the store is refused, or an answer is an error, or it is right. Never another.
#[test]
fn reading_a_damaged_store_gives_an_error_or_what_is_right() {
    let storage = small();
    let files = live(&storage);
    let right = answers(&open(&storage.deep_clone()).unwrap()).unwrap();
    let mut places = Vec::new();
    for (name, bytes) in &files {
        let zeros = zeros_from(name, bytes);
        let at = (0..zeros).filter(|at| bytes[*at] != 0 || at % 16 == 3);
        places.extend(at.map(|at| (name, at)));
    }
    let errors = AtomicUsize::new(0);
    on_two_threads("reading", 8 * places.len(), &|index| {
        let ((name, at), mask) = (places[index / 8], 1 << (index % 8));
        let image = storage.deep_clone();
        image.corrupt(name, at as u64, mask);
        let read = open(&image).and_then(|store| answers(&store));
        match read {
            Ok(read) if read == right => Ok(()),
            Err(error) if error.kind() == ErrorKind::Corruption => {
                errors.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(read) => {
                let other = read.iter().zip(&right).find(|(one, other)| one != other);
                Err(format!("{name} at {at} mask {mask}: other data: {other:?}"))
            }
            Err(error) => Err(format!("{name} at {at} mask {mask}: {error:?}")),
        }
    });
    let errors = errors.into_inner();
    assert!(errors > 4 * places.len(), "errors={errors} of {}", 8 * places.len());
}

/// An open store is verified while it is written to, and nothing that is on its way is taken for damage.
#[test]
fn an_open_store_is_verified_while_it_works() {
    let storage = SimStorage::new(3);
    let store =
        Store::open_on(storage.clone(), options().threads(Threads::Background).memory_bytes_max(64 << 10)).unwrap();
    let writes = |store: &Store, from: u64| {
        for number in from..from + 400 {
            let body = vec![number as u8; 200 + (number % 7 * 100) as usize];
            store.append(Draft::direct(UserId(number % 5 + 1), UserId(6), &body)).wait().unwrap();
        }
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| writes(&store, 0));
        loop {
            let found = store.verify().unwrap();
            assert!(found.is_whole(), "{found:?}");
            if writer.is_finished() {
                break;
            }
        }
    });
    store.seal().unwrap();
    assert!(store.verify().unwrap().files > 3);
    let victim = storage.names().into_iter().rfind(|name| name.ends_with(".rows")).unwrap();
    storage.corrupt(&victim, 4200, 4);
    let newest = storage.names().into_iter().rfind(|name| name.ends_with(".journal")).unwrap();
    let length = storage.bytes(&newest).unwrap().len() as u64;
    storage.corrupt(&newest, length - 9, 4);
    let found = store.verify().unwrap();
    let names: Vec<(String, u64)> = found
        .damage
        .iter()
        .map(|damage| (damage.file.file_name().unwrap().to_string_lossy().into_owned(), damage.offset))
        .collect();
    assert!(names.contains(&(victim.clone(), 4096)), "{found:?}");
    assert!(names.contains(&(newest.clone(), length - 9)), "{found:?}");
    let error = Store::verify_on(storage).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
}

/// Files that are gone, too short, or another store's.
#[test]
fn missing_and_foreign_files_are_found() {
    let storage = small();
    let other = {
        let storage = SimStorage::new(78);
        let store = open(&storage).unwrap();
        (0..3).for_each(|round| {
            talk(&store, round);
            store.seal().unwrap();
        });
        store.close().unwrap();
        storage
    };
    for name in live(&storage).keys() {
        let image = storage.deep_clone();
        image.remove_file(name);
        let found = verify(&image);
        assert!(
            found.damage.iter().any(|damage| damage.file.ends_with(name) && damage.offset == 0),
            "{name} {found:?}"
        );
        let image = storage.deep_clone();
        let mut bytes = image.bytes(name).unwrap();
        bytes.truncate(bytes.len() - 8);
        image.replace(name, bytes);
        let found = verify(&image);
        assert!(found.damage.iter().any(|damage| damage.file.ends_with(name)), "{name} cut: {found:?}");
        if let Some(bytes) = other.bytes(name) {
            let image = storage.deep_clone();
            image.replace(name, bytes);
            let found = verify(&image);
            // Whose store it is says the newest journal: if that is another's, all others are.
            let is_newest = live(&storage).keys().rfind(|name| name.ends_with(".journal")) == Some(name);
            let is_found = found.damage.iter().any(|damage| damage.file.ends_with(name) != is_newest);
            assert!(is_found, "{name} foreign: {found:?}");
        }
    }
}
