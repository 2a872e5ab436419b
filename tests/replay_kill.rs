//! Kills the replay example at random moments, resumes it, and wants the end an unkilled run has.
//! Owns: the processes it starts and the directories it makes. May touch: the built example.
//! Never: builds anything. A plain `cargo test` builds the examples too; `cargo test --test replay_kill`
//! does not, and runs the one built last.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

// Tests of examples do not run by themselves; those of the line format run here.
#[allow(dead_code, reason = "only its tests are wanted here")]
#[path = "../examples/replay/log.rs"]
mod log;

/// Sets the moments of the kills, to see a failure again as nearly as the machine's pace allows.
const SEED_VARIABLE: &str = "REPLAY_KILL_SEED";
/// How often each chain of runs is killed before it may end.
const KILLS: usize = 3;

#[test]
fn town_killed_and_resumed_ends_the_same() {
    check("town", &["--messages", "6000", "--users", "60", "--crowd", "2000"], 4);
}

#[test]
fn town_killed_and_resumed_ends_the_same_when_synced() {
    check("town-sync", &["--messages", "600", "--users", "30", "--crowd", "300", "--durability", "sync"], 2);
}

#[test]
fn chat_log_killed_and_resumed_ends_the_same() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/ubuntu-irc.tsv.zst");
    if !log.exists() {
        eprintln!("skipped: no chat log: path={}", log.display());
        return;
    }
    check("log", &[log.to_str().unwrap(), "--messages", "20000"], 2);
}

#[test]
fn a_bad_line_leaves_nothing_behind() {
    let directory = Scratch::new("bad-line");
    let (log, store) = (directory.path("log.tsv"), directory.path("store"));
    std::fs::write(&log, "5\troom\tann\thello\t\n6\troom\tbob\twrong \\x\t\n").unwrap();
    let output = replay(&[log.to_str().unwrap()], &store, false).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("log.tsv: line 2: unknown escape"), "{error}");
    assert!(!store.exists());
}

#[test]
fn a_used_directory_is_refused() {
    let directory = Scratch::new("used");
    let precious = directory.path("precious");
    std::fs::write(&precious, "kept").unwrap();
    let output = replay(&["--messages", "10"], &directory.0, false).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}

/// One run to the end, then `chains` times: killed, resumed and killed, …, resumed to the end.
fn check(name: &str, arguments: &[&str], chains: usize) {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var(SEED_VARIABLE).map_or(clock, |seed| seed.parse().unwrap());
    println!("{name}: {SEED_VARIABLE}={seed}");
    let mut random = seed;
    let whole = Scratch::new(&format!("{name}-whole"));
    let began = Instant::now();
    let want = digest(&replay(arguments, &whole.path("store"), false).output().unwrap());
    let whole_time = began.elapsed();

    for chain in 0..chains {
        let directory = Scratch::new(&format!("{name}-{chain}"));
        let store = directory.path("store");
        let mut acknowledged = 0;
        for kill in 0..KILLS {
            let mut run = replay(arguments, &store, kill > 0).spawn().unwrap();
            // A resumed run has less to do, and the last part of each run only checks.
            let part = if kill == 0 { 0.7 } else { 0.4 };
            let moment = whole_time.mul_f64(part * fraction(&mut random));
            std::thread::sleep(moment);
            run.kill().unwrap();
            let (found, reported) = last_words(run);
            println!("{name} {chain}: killed after {moment:?}: found version {found:?}, reported {reported:?}");
            if let Some(found) = found {
                assert!(found >= acknowledged, "lost: acknowledged={acknowledged} found={found}");
            }
            acknowledged = acknowledged.max(found.unwrap_or(0)).max(reported.unwrap_or(0));
        }
        let output = replay(arguments, &store, true).output().unwrap();
        assert_eq!(digest(&output), want, "chain {chain}");
        let text = String::from_utf8(output.stdout).unwrap();
        let found = number_after(&text, "resumed at version ").unwrap();
        assert!(found >= acknowledged, "lost: acknowledged={acknowledged} found={found}");
    }
}

/// The example beside this test: `target/<profile>/deps/<test>` and `target/<profile>/examples/replay`.
fn replay(arguments: &[&str], store: &Path, resume: bool) -> Command {
    let test = std::env::current_exe().unwrap();
    let name = format!("replay{}", std::env::consts::EXE_SUFFIX);
    let example = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(example.exists(), "the example is not built, run `cargo build --example replay`: {}", example.display());
    let mut command = Command::new(example);
    command.args(arguments).arg("--store").arg(store);
    if resume {
        command.arg("--resume");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The digest a run ended with. The run has checked everything else and must have found it right.
fn digest(output: &Output) -> String {
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{text}\n{error}", output.status);
    assert!(text.contains(" unread figures, 0 wrong"), "{text}\n{error}");
    text.lines().find(|line| line.starts_with("digest ")).unwrap().to_owned()
}

/// The version a killed run found in the store, and the newest it reported as acknowledged.
fn last_words(mut run: Child) -> (Option<u64>, Option<u64>) {
    let (mut text, mut error) = (String::new(), String::new());
    run.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    run.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    run.wait().unwrap();
    let reported = error.lines().filter_map(|line| number_after(line, "  version ")).max();
    (number_after(&text, "resumed at version "), reported)
}

fn number_after(text: &str, words: &str) -> Option<u64> {
    let digits = text.split_once(words)?.1;
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// A number from 0 to 1 (splitmix64).
fn fraction(random: &mut u64) -> f64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

/// A directory of a test's own, gone when the test has passed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-kill-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
