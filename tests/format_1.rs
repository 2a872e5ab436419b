//! A store written in format 1 is opened and read for good.
//! Owns: `fixtures/format-1`, a store with files of every kind, and what is in it. May touch: the public interface.
//! Never: writes the fixture but when asked to; a change of format gets a fixture of its own beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use restante::{
    ClientId, Draft, GroupId, GroupSettings, HistoryQuery, ListQuery, ManualClock, NameKind, Options, Peer, Retention,
    Seq, Source, Store, SystemId, Threads, Timeline, Timestamp, UserId,
};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const TEAM: GroupId = GroupId(7);
/// 2026-11-22, noon.
const NOON: u64 = 1_795_348_800_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

fn options(now: u64) -> Options {
    let clock = Arc::new(ManualClock::new(Timestamp(now)));
    Options::default().journal_bytes(64 << 10).merge_fan_in(2).threads(Threads::Inline).clock(clock)
}

/// Makes a store with everything in it that a file can hold.
fn write(path: &Path) -> (u64, u64) {
    let store = Store::open(path, options(NOON)).unwrap();
    store
        .create_group(TEAM, GroupSettings::default().shows_history(true).retention(Some(Retention::default().count(4))))
        .wait()
        .unwrap();
    store.join_many(TEAM, &[ANN, BOB]).wait().unwrap();
    for number in 1..=6u8 {
        store.append(Draft::group(TEAM, ANN, &[b'a' + number; 30]).client_id(ClientId(number.into()))).wait().unwrap();
    }
    store.append(Draft::group(TEAM, BOB, b"look, ann").mentions(&[ANN]).alerts(1)).wait().unwrap();
    for number in 1..=3u8 {
        store.append(Draft::direct(ANN, BOB, &[b'0' + number; 12])).wait().unwrap();
    }
    store.append(Draft::inbox(Source::System(SystemId(5)), BOB, b"welcome")).wait().unwrap();
    store.append(Draft::broadcast(Source::System(SystemId(6)), b"news")).wait().unwrap();
    store.resolve_or_create(NameKind::User, b"carol").wait().unwrap();
    store.seal().unwrap();
    let chat = Timeline::direct(ANN, BOB);
    store.recall(ANN, chat, Seq(1)).wait().unwrap();
    store.edit(ANN, chat, Seq(2), b"edited").wait().unwrap();
    store.hide(BOB, Peer::User(ANN), &[Seq(3)]).wait().unwrap();
    store.mark_read(BOB, Peer::Group(TEAM), Seq(5)).wait().unwrap();
    assert_eq!(store.maintain(Timestamp(NOON)).wait().unwrap().messages_trimmed, 3);
    store.seal().unwrap();
    store.append(Draft::direct(BOB, ANN, b"sealed in the third file")).wait().unwrap();
    store.seal().unwrap();
    store.append(Draft::direct(BOB, ANN, b"in the journal")).wait().unwrap();
    let found = (store.version().0, store.state_digest().unwrap());
    store.close().unwrap();
    found
}

/// Writes the fixture anew if `RESTANTE_WRITE_FIXTURE` is set, which only a new format has reason to.
fn write_if_asked() {
    if std::env::var_os("RESTANTE_WRITE_FIXTURE").is_none() {
        return;
    }
    let path = fixture();
    let _ = fs::remove_dir_all(&path);
    let (version, digest) = write(&path);
    let _ = fs::remove_dir_all(path.join("catalog"));
    let _ = fs::remove_file(path.join("next.spare"));
    fs::write(path.with_extension("txt"), format!("{version} {digest:016x}\n")).unwrap();
}

#[test]
fn a_store_of_format_1_is_read() {
    write_if_asked();
    let path = std::env::temp_dir().join(format!("restante-format-1-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    let mut kinds = Vec::new();
    for entry in fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
        kinds.extend(entry.path().extension().map(|kind| kind.to_owned()));
    }
    for kind in ["journal", "index", "messages", "rows"] {
        assert!(kinds.iter().any(|found| found == kind), "the fixture has no file of this kind: {kind}");
    }
    let store = Store::open(&path, options(NOON + 1)).unwrap();
    let said = fs::read_to_string(fixture().with_extension("txt")).unwrap();
    assert_eq!(format!("{} {:016x}\n", store.version().0, store.state_digest().unwrap()), said);
    let page = store.history(BOB, Peer::User(ANN), &HistoryQuery::oldest()).unwrap();
    let bodies: Vec<&[u8]> = page.messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, [&b""[..], b"edited", b"sealed in the third file", b"in the journal"]);
    assert!(page.messages[0].recalled.is_some() && page.messages[1].edited.is_some());
    let list = store.changed(BOB, None, &ListQuery::new()).unwrap();
    let team = list.entries.iter().find(|entry| entry.peer == Peer::Group(TEAM)).unwrap();
    assert_eq!((team.unread, team.first, team.last), (0, Seq(4), Seq(7)), "who sent the last one has read");
    let mentions = store.changed(ANN, None, &ListQuery::new()).unwrap();
    let team = mentions.entries.iter().find(|entry| entry.peer == Peer::Group(TEAM)).unwrap();
    assert_eq!((team.mentions.count, team.alerts.len()), (1, 1));
    assert_eq!(store.find(Timeline::Group(TEAM), ANN, ClientId(2)).unwrap(), Some(Seq(2)), "trimmed, and still taken");
    assert!(store.resolve(NameKind::User, b"carol").unwrap().is_some());
    // It goes on.
    store.append(Draft::direct(ANN, BOB, b"more")).wait().unwrap();
    store.seal().unwrap();
    assert!(store.verify().unwrap().is_whole());
    drop(store);
    fs::remove_dir_all(&path).unwrap();
}
