//! Ten gigabytes under a quarter of one of memory: what appending, memory, disk, opening and pages do meanwhile.
//! Owns: the order of the steps, what is printed. May touch: `options`, `traffic`, `machine`, `pages`.
//! Never: judges a figure; it fails only if the store loses or mixes up messages.
//!
//! `cargo run --release --example soak`; `--bytes 300000000 --timelines 60000 --groups 300` is a minute's look.

mod machine;
mod options;
mod pages;
mod traffic;

use machine::{Probe, directory_bytes, drop_caches, memory};
use options::{BODY_BYTES, GROUP_MEMBERS, Kind, Options, USAGE};
use pages::{Of, quantile};
use restante::{Durability, GroupSettings, Statistics, Store, Version};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use traffic::{Town, Traffic, group};

/// Parts of the run that are printed by themselves.
const PARTS: u64 = 10;
/// Of so many batches in a row the probe writes the first few, too.
const PROBED_BATCHES: u64 = 256;
const PROBE_PART: u64 = 8;
/// A killed child has written bodies of so many bytes, or this part of the run if that is less.
const CHILD_BYTES: u64 = 100 << 20;
const CHILD_PART: u64 = 20;
/// A child says so often how far it is, in batches.
const CHILD_LINE: u64 = 50;
const WARM_PAGES_FACTOR: u64 = 10;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("soak: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = match &options.child {
        Some(path) => append_until_killed(&options, path),
        None => match options.kinds[..] {
            [kind] => soak(&options, kind),
            _ => options.kinds.iter().try_for_each(|kind| soak_apart(*kind)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn town(options: &Options) -> Town {
    Town { timelines: options.timelines, groups: options.groups }
}

fn open(options: &Options, path: &Path) -> restante::Result<Store> {
    let mut how = restante::Options::default().durability(Durability::Buffered).memory_bytes_max(options.memory);
    if let Some(fan_in) = options.fan_in {
        how = how.merge_fan_in(fan_in);
    }
    Store::open(path, how)
}

/// One kind of several, in a process of its own: what an allocator keeps of the one before is none of its memory.
fn soak_apart(kind: Kind) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let status = command.args(std::env::args_os().skip(1)).args(["--traffic", kind.name()]).status()?;
    if status.success() { Ok(()) } else { Err(format!("{} traffic: {status}", kind.name()).into()) }
}

/// All of it, for one kind of traffic.
fn soak(options: &Options, kind: Kind) -> Outcome<()> {
    let directory = options.directory.join(format!("restante-soak-{}-{}", kind.name(), std::process::id()));
    std::fs::create_dir(&directory)?;
    let done = soak_in(options, kind, &directory);
    if options.keep {
        println!("kept: {}", directory.display());
    } else {
        std::fs::remove_dir_all(&directory)?;
    }
    done
}

fn soak_in(options: &Options, kind: Kind, directory: &Path) -> Outcome<()> {
    let path = directory.join("store");
    println!(
        "\n{} traffic: {:.2} GB of bodies in {} messages, {} direct timelines, {} groups, batches of {}, {} MiB",
        kind.name(),
        options.bytes as f64 / 1e9,
        options.messages(),
        options.timelines,
        options.groups,
        options.batch,
        options.memory >> 20
    );
    let store = open(options, &path)?;
    make_groups(&store, options)?;
    write(&store, options, kind, directory)?;

    let version = store.version();
    let started = Instant::now();
    store.seal()?;
    println!("sealed and merged what was due in {:.2} s", started.elapsed().as_secs_f64());
    show_written(&store.statistics(), options, directory_bytes(&path)?);
    show_pages(&store, options, "warm")?;

    let started = Instant::now();
    store.close()?;
    println!("closed in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let store = reopen(options, &path, version, "after a clean close")?;
    store.close()?;
    let version = kill(options, &path)?;
    let store = reopen(options, &path, version, "after a kill")?;
    store.close()?;
    if !options.drop_caches {
        println!("cold pages: not asked for (--drop-caches empties the page cache of the whole machine)");
    } else if drop_caches(&path) {
        let store = reopen(options, &path, version, "with nothing in the page cache")?;
        show_pages(&store, options, "cold")?;
        store.close()?;
    } else {
        println!("cold pages: the page cache cannot be emptied (no permission for /proc/sys/vm/drop_caches)");
    }
    Ok(())
}

fn make_groups(store: &Store, options: &Options) -> Outcome<()> {
    let town = town(options);
    let started = Instant::now();
    for index in 0..options.groups {
        store.create_group(group(index), GroupSettings::default()).wait()?;
        let members: Vec<_> = (0..GROUP_MEMBERS).map(|number| town.member(index, number)).collect();
        store.join_many(group(index), &members).wait()?;
    }
    println!("groups made in {:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Writes all messages, and prints a line for each part.
fn write(store: &Store, options: &Options, kind: Kind, directory: &Path) -> Outcome<()> {
    println!(
        "{:>5} {:>11} {:>11} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>7} {:>6} {:>5} {:>5} {:>6} {:>9} {:>9}",
        "part",
        "append/s",
        "pwrite/s",
        "ratio",
        "slowest",
        "RSS",
        "RssAnon",
        "RssFile",
        "resident",
        "unsealed",
        "seals",
        "merges",
        "runs",
        "units",
        "stalls",
        "loads",
        "disk"
    );
    println!(
        "{:>5} {:>11} {:>11} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>7} {:>6} {:>5} {:>5} {:>6} {:>9} {:>9}",
        "", "", "", "", "ms", "MiB", "MiB", "MiB", "MiB", "MiB", "", "", "", "", "", "", "MiB"
    );
    let mut traffic = Traffic::new(kind, town(options), options.seed);
    let mut letters = Vec::new();
    let mut probe = Probe::new(directory)?;
    let batches = options.messages().div_ceil(options.batch as u64);
    let started_all = Instant::now();
    for part in 0..PARTS {
        let (first, end) = (batches * part / PARTS, batches * (part + 1) / PARTS);
        let mut appending = Tally::default();
        let mut probing = Tally::default();
        let before = store.statistics().written;
        let mut slowest = 0f64;
        for number in first..end {
            traffic.fill(&mut letters, options.batch);
            let drafts: Vec<_> = letters.iter().map(traffic::Letter::draft).collect();
            let started = Instant::now();
            store.append_batch(&drafts).wait()?;
            let took = started.elapsed().as_secs_f64();
            slowest = slowest.max(took);
            appending.add(drafts.len() as u64, took);
            if number % PROBED_BATCHES < PROBED_BATCHES / PROBE_PART {
                // As many bytes as the journal takes for a batch; what that is shows once there were some.
                let now = store_bytes(store, number == first, &before, appending.count);
                let took = probe.write(letters.iter().map(traffic::Letter::body), now * options.batch)?;
                probing.add(drafts.len() as u64, took.as_secs_f64());
            }
        }
        let (memory, statistics) = (memory(), store.statistics());
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        println!(
            "{:>5} {:>11.0} {:>11.0} {:>6.3} {:>8.1} {:>8} {:>8} {:>8} {:>9} {:>9} {:>7} {:>6} {:>5} {:>5} {:>6} {:>9} {:>9}",
            part + 1,
            appending.rate(),
            probing.rate(),
            appending.rate() / probing.rate(),
            slowest * 1e3,
            mib(memory.all),
            mib(memory.anonymous),
            mib(memory.files),
            mib(statistics.memory.resident_bytes),
            mib(statistics.memory.unsealed_bytes),
            statistics.work.seals,
            statistics.work.row_merges + statistics.work.unit_merges,
            statistics.work.row_runs,
            statistics.work.units,
            statistics.work.stalls,
            statistics.cache.loads,
            mib(directory_bytes(&directory.join("store"))?),
        );
        std::io::stdout().flush()?;
    }
    println!("written in {:.1} s, making the messages up and the probe included", started_all.elapsed().as_secs_f64());
    Ok(())
}

/// Bytes that the journal takes for a message, about.
fn store_bytes(store: &Store, is_first: bool, before: &restante::WrittenStatistics, messages: u64) -> usize {
    // Asked for seldom: the statistics look at every file.
    thread_local! { static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(BODY_BYTES + 40) } }
    if !is_first && messages.is_multiple_of(100_000) {
        let written = store.statistics().written.journal_bytes - before.journal_bytes;
        BYTES.set((written / messages).max(BODY_BYTES as u64) as usize);
    }
    BYTES.get()
}

/// How many, in how much time.
#[derive(Default)]
struct Tally {
    count: u64,
    seconds: f64,
}

impl Tally {
    fn add(&mut self, count: u64, seconds: f64) {
        self.count += count;
        self.seconds += seconds;
    }

    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

fn show_written(statistics: &Statistics, options: &Options, disk: u64) {
    let (files, written) = (&statistics.files, &statistics.written);
    let payload = written.payload_bytes as f64;
    let per = |bytes: u64| bytes as f64 / payload;
    println!(
        "written per byte of body: {:.3} (journal {:.3}, sealing {:.3}, merges {:.3}); and zeros of files made ready {:.3}",
        written.amplification(),
        per(written.journal_bytes),
        per(written.sealing_bytes),
        per(written.merging_bytes),
        per(written.prepared_bytes)
    );
    let kinds = [
        ("journals", files.journals),
        ("rows", files.rows),
        ("indexes", files.indexes),
        ("messages", files.messages),
        ("spares", files.spares),
        ("evidence", files.evidence),
        ("pinned", files.pinned),
    ];
    let all: u64 = kinds.iter().take(6).map(|(_, kind)| kind.allotted_bytes).sum();
    println!("disk per byte of body: {:.3} by the directory, {:.3} by the statistics", per(disk), per(all));
    for (name, kind) in kinds.iter().filter(|(_, kind)| kind.count > 0) {
        println!(
            "  {name:9} {:5} files {:10.1} MiB {:7.3} per byte of body",
            kind.count,
            kind.allotted_bytes as f64 / (1 << 20) as f64,
            per(kind.allotted_bytes)
        );
    }
    let (work, syncs) = (&statistics.work, &statistics.syncs);
    println!(
        "{} seals, {} merges of rows, {} of messages, {} stalls; {} syncs, mean {:.1} ms, longest {:.1} ms; {} of {} looks missed",
        work.seals,
        work.row_merges,
        work.unit_merges,
        work.stalls,
        syncs.count,
        syncs.total.as_secs_f64() * 1e3 / syncs.count.max(1) as f64,
        syncs.max.as_secs_f64() * 1e3,
        statistics.cache.misses,
        statistics.cache.hits + statistics.cache.misses
    );
    assert!(files.is_complete, "a file of the store could not be looked at");
    assert!(written.payload_bytes >= options.bytes, "not all bodies were counted");
}

fn show_pages(store: &Store, options: &Options, state: &str) -> Outcome<()> {
    let town = town(options);
    for (number, of) in [Of::Chats, Of::Groups].into_iter().enumerate() {
        let seed = options.seed << 8 | (number as u64) << 1;
        // Timelines that were not looked at before: what the first round has loaded would help the second.
        let fast = pages::read(store, &town, of, options.pages, seed, false)?;
        println!(
            "{state} newest-20 pages, {:6}: {:9.0} a second, {:4.1} messages a page, {:.1}% empty; median {:.1} us, p99 {:.1} us",
            of.name(),
            fast.rate(),
            fast.messages as f64 / fast.pages as f64,
            100.0 * fast.empty as f64 / fast.pages as f64,
            quantile(&fast.micros, 0.5),
            quantile(&fast.micros, 0.99)
        );
        if state == "warm" {
            let again = pages::read(store, &town, of, options.pages * WARM_PAGES_FACTOR, seed, false)?;
            println!("     the same and more of them: {:9.0} a second", again.rate());
            let counted = pages::read(store, &town, of, options.pages, seed, true)?;
            println!(
                "     indexes touched by a page: median {}, p99 {}, most {}",
                quantile(&counted.units, 0.5),
                quantile(&counted.units, 0.99),
                counted.units.last().copied().unwrap_or(0)
            );
        }
    }
    Ok(())
}

/// Opens the store again, in which this version is to be.
fn reopen(options: &Options, path: &Path, version: Version, when: &str) -> Outcome<Store> {
    let started = Instant::now();
    let store = open(options, path)?;
    let took = started.elapsed();
    println!("opened {when} in {:.1} ms, RSS {} MiB", took.as_secs_f64() * 1e3, memory().all >> 20);
    if store.version() < version {
        return Err(format!("lost: version {} of {} is there", store.version().0, version.0).into());
    }
    Ok(store)
}

/// Lets a child append, kills it, and tells what it had by then.
fn kill(options: &Options, path: &Path) -> Outcome<Version> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(path);
    let numbers = [
        ("--timelines", options.timelines),
        ("--groups", options.groups),
        ("--memory", options.memory),
        ("--batch", options.batch as u64),
        ("--seed", options.seed ^ 0x5eed),
    ];
    numbers.iter().for_each(|(flag, number)| {
        command.arg(flag).arg(number.to_string());
    });
    if let Some(fan_in) = options.fan_in {
        command.arg("--fan-in").arg(fan_in.to_string());
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let wanted = CHILD_BYTES.min(options.bytes / CHILD_PART) / BODY_BYTES as u64;
    let (mut version, mut first) = (0, None);
    for line in BufReader::new(child.stdout.take().ok_or("no pipe")?).lines() {
        version = line?.parse()?;
        if version - *first.get_or_insert(version) >= wanted {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    println!("killed after {} messages more", version - first.ok_or("the child wrote nothing")?);
    Ok(Version(version))
}

fn append_until_killed(options: &Options, path: &Path) -> Outcome<()> {
    let store = open(options, path)?;
    let mut traffic = Traffic::new(Kind::Sparse, town(options), options.seed);
    let mut letters = Vec::new();
    for number in 0u64.. {
        traffic.fill(&mut letters, options.batch);
        let drafts: Vec<_> = letters.iter().map(traffic::Letter::draft).collect();
        store.append_batch(&drafts).wait()?;
        if number % CHILD_LINE == 0 {
            println!("{}", store.version().0);
        }
    }
    Ok(())
}
