//! One store, two processes: who may open it when.
//! Owns: the processes it starts (itself, in another role) and the directories it makes. May touch: the public interface.
//! Never: ends a process it did not start.
//!
//! The other process is this test binary again, told by the environment to play `the_other_process`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use restante::{Draft, Durability, ErrorKind, HistoryQuery, Options, Peer, ReadMode, Store, UserId};

/// The directory of the store, for the other process.
const STORE_VARIABLE: &str = "RESTANTE_TWO_PROCESSES_STORE";
const READ_MODES: [ReadMode; 2] = [ReadMode::Mapped, ReadMode::Pread];

#[test]
fn the_second_process_is_refused() {
    for read_mode in READ_MODES {
        let scratch = Scratch::new("refused");
        let path = scratch.0.join("store");
        // The other one has it: this one is refused, and leaves everything as it is.
        let mut other = Other::start(&path);
        assert_eq!(other.ask("open mapped"), "opened 0");
        assert_eq!(other.ask("append sync"), "appended 1");
        let before = files(&path);
        let error = open(&path, read_mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(error.to_string(), format!("another process has the store open: path={}/", path.display()));
        assert_eq!(files(&path), before);
        assert_eq!(other.ask("append sync"), "appended 2");
        // It closes it, lives on, and is refused in turn.
        assert_eq!(other.ask("close"), "closed");
        let store = open(&path, read_mode).unwrap();
        assert!(store.recovery().clean);
        assert_eq!((append(&store), messages(&store)), (3, 3));
        for how in ["open mapped", "open pread"] {
            let answer = other.ask(how);
            assert!(answer.starts_with("Locked another process has the store open: path="), "{answer}");
        }
        // Dropping the last handle is closing.
        drop(store);
        assert_eq!(other.ask("open pread"), "opened 3");
        assert_eq!(other.ask("drop"), "dropped");
        assert_eq!(messages(&open(&path, read_mode).unwrap()), 3);
        other.end();
    }
}

#[test]
fn a_killed_process_leaves_no_lock_and_loses_nothing() {
    for (read_mode, level) in READ_MODES.into_iter().zip(["append sync", "append buffered"]) {
        let scratch = Scratch::new("killed");
        let path = scratch.0.join("store");
        let mut other = Other::start(&path);
        assert_eq!(other.ask(if level == "append sync" { "open mapped" } else { "open pread" }), "opened 0");
        for number in 1..=50 {
            assert_eq!(other.ask(level), format!("appended {number}"));
        }
        assert_eq!(open(&path, read_mode).unwrap_err().kind(), ErrorKind::Locked);
        other.kill();
        let store = open(&path, read_mode).unwrap();
        assert!(!store.recovery().clean && !store.recovery().created);
        assert_eq!(messages(&store), 50, "{level}: acknowledged is there");
        assert_eq!(append(&store), 51);
        check_modes(&path);
        store.close().unwrap();
        assert!(open(&path, read_mode).unwrap().recovery().clean);
        check_modes(&path);
    }
}

#[test]
fn a_child_of_the_owner_does_not_keep_the_lock() {
    let scratch = Scratch::new("inherited");
    let path = scratch.0.join("store");
    let store = open(&path, ReadMode::Mapped).unwrap();
    append(&store);
    // Started while the store is open: whatever it inherits, the lock is not among it.
    let child = Other::start(&path);
    store.close().unwrap();
    let store = open(&path, ReadMode::Mapped).unwrap();
    assert_eq!(messages(&store), 1);
    child.end();
    assert_eq!(open(&path, ReadMode::Mapped).unwrap_err().kind(), ErrorKind::Locked, "nor takes it away by ending");
}

/// Does what it is told, line by line, when it is started by the tests above; alone it has nothing to do.
#[test]
fn the_other_process() {
    let Some(path) = std::env::var_os(STORE_VARIABLE) else { return };
    let mut store: Option<Store> = None;
    // Whatever the harness writes stands before this.
    tell("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let answer = match line.as_str() {
            "open mapped" | "open pread" => {
                let read_mode = if line == "open mapped" { ReadMode::Mapped } else { ReadMode::Pread };
                match open(Path::new(&path), read_mode) {
                    Ok(opened) => {
                        let count = messages(&opened);
                        store = Some(opened);
                        format!("opened {count}")
                    }
                    Err(error) => format!("{:?} {error}", error.kind()),
                }
            }
            "append sync" => format!("appended {}", append(store.as_ref().unwrap())),
            "append buffered" => format!("appended {}", append(&store.as_ref().unwrap().at(Durability::Buffered))),
            "close" => {
                store.take().unwrap().close().unwrap();
                "closed".to_owned()
            }
            "drop" => {
                drop(store.take());
                "dropped".to_owned()
            }
            "end" => return,
            _ => panic!("unknown: {line}"),
        };
        tell(&answer);
    }
}

/// A line that the harness's own output cannot be taken for.
fn tell(answer: &str) {
    println!("\n> {answer}");
    std::io::stdout().flush().unwrap();
}

fn open(path: &Path, read_mode: ReadMode) -> restante::Result<Store> {
    Store::open(path, Options::default().read_mode(read_mode).journal_bytes(1 << 20))
}

fn append(store: &Store) -> u64 {
    store.append(Draft::direct(UserId(1), UserId(2), b"hello")).wait().unwrap().seq.0
}

fn messages(store: &Store) -> usize {
    let query = HistoryQuery::newest().limit(1_000);
    store.history(UserId(2), Peer::User(UserId(1)), &query).unwrap().messages.len()
}

/// Names and lengths.
fn files(path: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    // The next file is prepared in the background, and comes and changes its name at any moment.
    let entries = entries.filter(|entry| !entry.file_name().to_str().unwrap().starts_with("next.spare"));
    let mut files: Vec<_> = entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect();
    files.sort();
    files
}

fn check_modes(path: &Path) {
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(path), 0o700);
    for (path, _) in files(path) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// This binary in its other role.
struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(path: &Path) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture", "--test-threads=1"])
            .env(STORE_VARIABLE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut other = Other { child, input, output };
        assert_eq!(other.hear(), "ready");
        other
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
        self.hear()
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the other process ended early");
            if let Some(answer) = line.strip_prefix("> ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Lets it end by itself.
    fn end(mut self) {
        writeln!(self.input, "end").unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it as a power cut ends nothing: without a last word.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // After a failed test it must not wait for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of a test's own, gone when the test has passed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("two-processes-{}-{number}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
