//! Store and raw probe in turn, within one run, and a table of how they compare: the figures we report.
//! Owns: the rounds, the medians, the table. May touch: `town`, `wide`, `probe`.
//! Never: asserts a time, or compares figures of two runs.
//!
//! `cargo bench --bench ratios`; `RESTANTE_BENCH_DIR` says on which disk.

mod probe;
mod town;
mod wide;

use probe::{GroupCommit, RawFile, TwoMaps};
use restante::{Cursor, Durability, HistoryQuery, ListQuery, Peer, UserId};
use std::hint::black_box;
use std::time::Instant;
use town::{
    BATCH, BODY_BYTES, BUSY_SESSIONS, Directory, FEW, Letter, Size, Town, is_test, journal_bytes_used, key, key_of,
    raw_lists, raw_pages,
};
use wide::{Wide, World};

/// How wide the first column is.
const ITEM: usize = 78;
const THREADS: [usize; 3] = [1, 16, 64];

/// How much is done per round, and how many rounds.
struct Plan {
    rounds: usize,
    messages: usize,
    pages: usize,
    lists: usize,
    /// Per thread, for each of [`THREADS`].
    durable: [usize; 3],
}

impl Plan {
    fn chosen() -> Plan {
        if is_test() {
            Plan { rounds: 2, messages: 1_000, pages: 100, lists: 5, durable: [3, 2, 2] }
        } else {
            Plan { rounds: 7, messages: 100_000, pages: 20_000, lists: 500, durable: [400, 150, 100] }
        }
    }
}

/// One line of the table: seconds an operation took, per round.
struct Row {
    item: String,
    store: Vec<f64>,
    probe: Vec<f64>,
    /// How a figure is shown: what changes the store by its rate, what reads it by its time.
    figure: fn(f64) -> String,
    wanted: &'static str,
}

impl Row {
    /// Runs both in turn; each is given the number of the round and says how long an operation took.
    fn measure(
        item: impl Into<String>,
        figure: fn(f64) -> String,
        wanted: &'static str,
        plan: &Plan,
        mut store: impl FnMut(usize) -> f64,
        mut probe: impl FnMut(usize) -> f64,
    ) -> Row {
        let mut row = Row { item: item.into(), store: Vec::new(), probe: Vec::new(), figure, wanted };
        for round in 0..plan.rounds {
            // Who goes first changes, so that neither always finds the other's dirty pages.
            if round % 2 == 0 {
                row.store.push(store(round));
                row.probe.push(probe(round));
            } else {
                row.probe.push(probe(round));
                row.store.push(store(round));
            }
        }
        eprintln!("  {}", row.item);
        row
    }

    fn print(&self) {
        let ratios = self.store.iter().zip(&self.probe).map(|(store, probe)| probe / store).collect();
        let (store, probe) = (median(self.store.clone()), median(self.probe.clone()));
        let ratio = median(ratios);
        let figure = self.figure;
        println!("{:<ITEM$} {:>12} {:>12} {:>6.2}  {}", self.item, figure(store), figure(probe), ratio, self.wanted);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds per operation, as thousands of operations a second.
fn rate(seconds: f64) -> String {
    format!("{:.1} k/s", 1e-3 / seconds)
}

/// Seconds per operation, as a time.
fn time(seconds: f64) -> String {
    format!("{:.2} us", 1e6 * seconds)
}

/// Seconds per operation.
fn timed(operations: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() / operations as f64
}

fn main() {
    let (plan, size) = (Plan::chosen(), Size::chosen());
    eprintln!("bytes in the journal");
    let singles = own_bytes(size, Traffic::Singles);
    let batches = own_bytes(size, Traffic::Batches);
    let groups = own_bytes(size, Traffic::Threads(64));
    eprintln!("durable appends");
    let mut rows = durable(&plan, size, BODY_BYTES + groups.round() as usize);
    eprintln!("filling the town: {} messages", size.messages);
    let mut town = Town::lively("ratios", size);
    let directory = Directory::new("ratios-raw");
    rows.extend(pages(&plan, &mut town, &directory));
    rows.extend(lists(&plan, &mut town, &directory));
    rows.push(marks(&plan, &mut town, &directory));
    rows.extend(appends(&plan, &mut town, &directory, [singles, batches].map(|own| BODY_BYTES + own.round() as usize)));
    let fan_out = fan_out(&plan, &mut town);
    drop(town);
    eprintln!("filling what is wide: {:?}", Wide::chosen());
    rows.extend(wide(&plan));

    println!("{:?}", Wide::chosen());
    println!("{size:?}, bodies of {BODY_BYTES} bytes, medians of {} rounds", plan.rounds);
    println!("ratio: speed of the store over speed of the probe in the same round; 1 is as fast as the raw file\n");
    println!("{:<ITEM$} {:>12} {:>12} {:>6}  wanted", "", "store", "probe", "ratio");
    rows.iter().for_each(Row::print);
    println!("\n{:<ITEM$} {:>12} {:>12} {:>6}  wanted", "", "all members", "2 members", "times");
    let times = fan_out.store.iter().zip(&fan_out.probe).map(|(all, two)| all / two).collect();
    let (all, two) = (median(fan_out.store.clone()), median(fan_out.probe.clone()));
    println!("{:<ITEM$} {:>12} {:>12} {:>6.2}  {}", fan_out.item, rate(all), rate(two), median(times), fan_out.wanted);
    println!("\nbytes of our own per message in the journal (wanted: 48 at most)");
    for (item, own) in [
        ("one at a time, with client id", singles),
        ("batches of 100, with client id", batches),
        ("64 threads, synced in groups, with client id", groups),
    ] {
        println!("{item:<ITEM$} {own:>12.1}");
    }
}

fn appends(plan: &Plan, town: &mut Town, directory: &Directory, bytes: [usize; 2]) -> Vec<Row> {
    let count = plan.messages;
    // Every round of every probe writes where nothing was written before, as the store does.
    let raw = |name: &str, message_bytes: usize| {
        RawFile::new(&directory.path().join(name), message_bytes * count * plan.rounds)
    };
    let (message, batch) = (vec![7; bytes[0]], vec![7; bytes[1] * BATCH]);
    let mut letters = |rounds: usize| -> Vec<Vec<Letter>> {
        (0..rounds).map(|_| (0..count).map(|_| town.letter()).collect()).collect()
    };
    let [by_pwrite, by_copy, in_batches] = [(); 3].map(|()| letters(plan.rounds));
    let town = &*town;
    let one_by_one = |letters: &[Letter]| {
        timed(count, || {
            for letter in letters {
                town.store.append(town.draft(letter)).wait().expect("append");
            }
        })
    };
    let mut rows = Vec::new();
    let mut file = raw("pwrite", bytes[0]);
    rows.push(Row::measure(
        "append one, buffered / pwrite",
        rate,
        ">= 0.8 M/s",
        plan,
        |round| one_by_one(&by_pwrite[round]),
        |_| timed(count, || (0..count).for_each(|_| file.pwrite(&message))),
    ));
    let mut file = raw("copy", bytes[0]);
    let mut maps = TwoMaps::default();
    rows.push(Row::measure(
        "append one, buffered / mapped copy, two hash maps",
        rate,
        ">= 0.8 M/s",
        plan,
        |round| one_by_one(&by_copy[round]),
        |round| {
            timed(count, || {
                for letter in &by_copy[round] {
                    let offset = file.copy(&message);
                    maps.note(key(letter.timeline), letter.sender.0, offset);
                }
            })
        },
    ));
    let mut file = raw("batches", bytes[1]);
    rows.push(Row::measure(
        "append in batches of 100, buffered / pwrite of 100",
        rate,
        ">= 1 M/s",
        plan,
        |round| timed(count, || in_batches[round].chunks(BATCH).for_each(|letters| town.send_all(letters))),
        |_| timed(count, || (0..count / BATCH).for_each(|_| file.pwrite(&batch))),
    ));
    rows
}

fn durable(plan: &Plan, size: Size, message_bytes: usize) -> Vec<Row> {
    let mut town = Town::quiet("ratios-durable", size, Durability::Sync);
    let directory = Directory::new("ratios-durable-raw");
    let message = vec![7; message_bytes];
    let wanted = ["ratio >= 0.85", "ratio >= 0.9", "ratio >= 1.0"];
    let mut rows = Vec::new();
    for ((threads, each), wanted) in THREADS.into_iter().zip(plan.durable).zip(wanted) {
        let raw_bytes = (threads * each * plan.rounds * message_bytes).max(1 << 20);
        let raw = GroupCommit::new(&directory.path().join(format!("{threads}")), raw_bytes);
        let letters: Vec<Vec<Letter>> =
            (0..plan.rounds).map(|_| (0..threads * each).map(|_| town.letter()).collect()).collect();
        let town = &town;
        rows.push(Row::measure(
            format!("append durable, {threads} threads / naive group commit"),
            rate,
            wanted,
            plan,
            |round| timed(threads * each, || send_at_once(town, &letters[round], threads)),
            |_| {
                timed(threads * each, || {
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| (0..each).for_each(|_| raw.commit(&message)));
                        }
                    });
                })
            },
        ));
    }
    rows
}

/// Each thread waits for each of its letters to be as durable as the store is.
fn send_at_once(town: &Town, letters: &[Letter], threads: usize) {
    std::thread::scope(|scope| {
        for letters in letters.chunks(letters.len().div_ceil(threads).max(1)) {
            scope.spawn(move || {
                for letter in letters {
                    town.store.append(town.draft(letter)).wait().expect("append");
                }
            });
        }
    });
}

fn pages(plan: &Plan, town: &mut Town, directory: &Directory) -> Vec<Row> {
    let raw = raw_pages(town, directory.path());
    let sessions: Vec<Vec<(UserId, Peer)>> =
        (0..plan.rounds).map(|_| (0..plan.pages).map(|_| town.draw_session()).collect()).collect();
    let mut page = Vec::new();
    [(20, ""), (12, "<= 0.8 us")]
        .into_iter()
        .map(|(count, wanted)| {
            let query = HistoryQuery::newest().limit(count);
            Row::measure(
                format!("newest page of {count} / map, offsets, {count} copies"),
                time,
                wanted,
                plan,
                |round| {
                    timed(plan.pages, || {
                        for (user, peer) in &sessions[round] {
                            let page = town.store.history(*user, *peer, &query).expect("page");
                            assert_eq!(black_box(page).messages.len(), count);
                        }
                    })
                },
                |round| {
                    timed(plan.pages, || {
                        for (user, peer) in &sessions[round] {
                            let found = raw.newest(key_of(*user, *peer), count, BODY_BYTES, &mut page);
                            black_box(&page);
                            assert_eq!(found, count);
                        }
                    })
                },
            )
        })
        .collect()
}

fn lists(plan: &Plan, town: &mut Town, directory: &Directory) -> Vec<Row> {
    let raw = raw_lists(town, directory.path());
    let busy: Vec<UserId> = (0..town.size.busy).map(|index| town.busy_user(index)).collect();
    let few: Vec<Cursor> = busy.iter().map(|user| town.cursor_before_few(*user)).collect();
    let query = ListQuery::new().limit(BUSY_SESSIONS as usize);
    let mut answer = Vec::new();
    let cases = [
        ("all changed, warm", 1, BUSY_SESSIONS, "<= 40 us"),
        ("all changed, users in turn", busy.len(), BUSY_SESSIONS, ""),
        ("few changed, warm", 1, FEW, "<= 10 us"),
        ("few changed, users in turn", busy.len(), FEW, ""),
    ];
    let mut rows = Vec::new();
    for (name, users, changed, wanted) in cases {
        rows.push(Row::measure(
            format!("login list of {BUSY_SESSIONS}, {name} / two look-ups each"),
            time,
            wanted,
            plan,
            |_| {
                timed(plan.lists, || {
                    for index in (0..users).cycle().take(plan.lists) {
                        let cursor = (changed == FEW).then_some(&few[index]);
                        let list = town.store.changed(busy[index], cursor, &query).expect("list");
                        assert_eq!(black_box(list).entries.len() as u64, changed);
                    }
                })
            },
            |_| {
                timed(plan.lists, || {
                    for index in (0..users).cycle().take(plan.lists) {
                        raw.list(busy[index].0, changed as usize, BODY_BYTES, &mut answer);
                        assert_eq!(black_box(&answer).len() as u64, changed);
                    }
                })
            },
        ));
    }
    rows
}

fn marks(plan: &Plan, town: &mut Town, directory: &Directory) -> Row {
    /// About what a mark takes in the journal: a frame, a time, a record.
    const MARK_BYTES: usize = 40;
    let readers: Vec<UserId> = (2..=town.size.users).map(UserId).collect();
    let peer = Peer::Group(town.big_group());
    let mut raw = RawFile::new(&directory.path().join("marks"), readers.len() * MARK_BYTES * plan.rounds);
    Row::measure(
        "mark_read, buffered / pwrite of 40 bytes",
        rate,
        ">= 1 M/s",
        plan,
        |_| {
            let upto = town.new_in_big_group();
            timed(readers.len(), || {
                for user in &readers {
                    town.store.mark_read(*user, peer, upto).wait().expect("mark");
                }
            })
        },
        |_| timed(readers.len(), || readers.iter().for_each(|_| raw.pwrite(&[7; MARK_BYTES]))),
    )
}

fn wide(plan: &Plan) -> Vec<Row> {
    let world = World::new(Wide::chosen());
    let measure = |case: wide::Case<'_>| {
        let wide::Case { name, wanted, is_slow, mut store, mut probe } = case;
        let count = if is_slow { plan.lists.div_ceil(5) } else { plan.lists };
        let many = |work: &mut dyn FnMut()| timed(count, || (0..count).for_each(|_| work()));
        Row::measure(name, time, wanted, plan, |_| many(&mut *store), |_| many(&mut *probe))
    };
    world.cases().into_iter().map(measure).collect()
}

/// Both sides are the store: in the place of the probe stands the group of two.
fn fan_out(plan: &Plan, town: &mut Town) -> Row {
    let (all, two) = (town.big_group(), town.small_group());
    let mut letters = |group| -> Vec<Vec<Letter>> {
        (0..plan.rounds).map(|_| (0..plan.messages as u64).map(|at| town.letter_of_two(at, group)).collect()).collect()
    };
    let (to_all, to_two) = (letters(all), letters(two));
    let append = |letters: &[Letter]| {
        timed(letters.len(), || {
            for letter in letters {
                town.store.append(town.draft(letter)).wait().expect("append");
            }
        })
    };
    let item = format!("append one, buffered, to {} members", town.size.users);
    Row::measure(item, rate, "times <= 1.1", plan, |round| append(&to_all[round]), |round| append(&to_two[round]))
}

/// How messages come in.
#[derive(Clone, Copy)]
enum Traffic {
    Singles,
    Batches,
    Threads(usize),
}

/// What a message takes in the journal besides its body.
fn own_bytes(size: Size, traffic: Traffic) -> f64 {
    let durability = if matches!(traffic, Traffic::Threads(_)) { Durability::Sync } else { Durability::Buffered };
    let used = |count: usize| {
        let mut town = Town::quiet("bytes", size, durability);
        let letters: Vec<Letter> = (0..count).map(|_| town.letter()).collect();
        match traffic {
            Traffic::Singles => letters.iter().for_each(|letter| {
                town.store.append(town.draft(letter)).wait().expect("append");
            }),
            Traffic::Batches => letters.chunks(BATCH).for_each(|letters| town.send_all(letters)),
            Traffic::Threads(threads) => send_at_once(&town, &letters, threads),
        }
        town.store.clone().close().expect("close");
        journal_bytes_used(&town.directory.path().join("store"))
    };
    let count = if is_test() { 640 } else { 25_600 };
    (used(count) - used(0)) as f64 / count as f64 - BODY_BYTES as f64
}
