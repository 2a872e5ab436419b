//! One user with two terminals online.
//! Owns: the story `two_terminals`. May touch: `scene`, `terminal`, `replies`.
//! Never: looks behind the public interface.

use restante::{AmendmentKind, ClientId, Draft, Entry, ErrorKind, Outcome, Peer, Seq, SessionState, UserId};

use crate::replies::{amended, changed, unchanged};
use crate::scene::{SECOND, Scene, group, room, seqs, texts, user, with};
use crate::terminal::{Held, Terminal, shown};

const ANN: u64 = 1;
const BOB: u64 = 2;
const CAT: u64 = 3;
const TEAM: u64 = 42;

/// What a walk brought, as far as a list shows it: peer, unread, newest text and its sender.
fn lines(entries: &[Entry]) -> Vec<(Peer, u64, String, u64)> {
    let line = |entry: &Entry| {
        let newest = entry.latest.first();
        let text = newest.map_or(String::new(), |message| String::from_utf8(message.body.to_vec()).unwrap());
        (entry.peer, entry.unread, text, newest.map_or(0, |message| message.sender.0))
    };
    entries.iter().map(line).collect()
}

fn say(scene: &Scene, draft: Draft<'_>) -> Seq {
    scene.clock.advance(SECOND);
    scene.send(draft).seq
}

/// Both terminals show the same, and what the server shows.
fn assert_alike(scene: &Scene, app: &Terminal, web: &Terminal) {
    assert_eq!(app.sessions, web.sessions);
    assert_eq!(app.messages, web.messages);
    assert_eq!(app.messages, shown(scene, user(ANN)));
}

#[test]
fn two_terminals() {
    let scene = Scene::new();
    let (ann, bob, cat) = (user(ANN), user(BOB), user(CAT));
    scene.store.join_many(group(TEAM), &[bob, cat]).wait().unwrap();
    let (mut app, mut web) = (Terminal::new(ann, 1), Terminal::new(ann, 2));
    assert_eq!(app.walk(&scene), []);
    assert_eq!(web.walk(&scene), []);

    // Messages reach both, each by its own cursor: what one has fetched the other still gets.
    say(&scene, Draft::direct(bob, ann, b"are you there?"));
    assert_eq!(lines(&app.walk(&scene)), [(with(BOB), 1, "are you there?".to_owned(), BOB)]);
    say(&scene, Draft::direct(bob, ann, b"hello?"));
    assert_eq!(lines(&app.walk(&scene)), [(with(BOB), 2, "hello?".to_owned(), BOB)]);
    assert_eq!(lines(&web.walk(&scene)), [(with(BOB), 2, "hello?".to_owned(), BOB)]);
    assert_alike(&scene, &app, &web);
    assert_eq!(web.messages.len(), 2, "also the one before it");

    // What she answers on the app reaches the web, under Bob and not under herself, and as read.
    let answer = Draft::direct(ann, bob, b"on my way").client_id(ClientId(7));
    assert_eq!(say(&scene, answer), Seq(3));
    let came = web.walk(&scene);
    assert_eq!(lines(&came), [(with(BOB), 0, "on my way".to_owned(), ANN)]);
    assert_eq!((came[0].read_mark, came[0].goto), (Seq(3), None));
    assert_eq!(lines(&app.walk(&scene)), lines(&came), "the app meets its own message in its place");
    assert_eq!(lines(&scene.list(bob).entries)[1], (with(ANN), 1, "on my way".to_owned(), ANN), "and Bob under Ann");
    // The ack was lost and the app sends again: nobody sees a second one.
    scene.clock.advance(SECOND);
    let retry = scene.send(answer);
    assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, Seq(3)));
    assert_eq!((app.walk(&scene), web.walk(&scene)), (vec![], vec![]));
    // A note to herself on the web is in a session of its own, with no other side.
    assert_eq!(say(&scene, Draft::direct(ann, ann, b"buy milk")), Seq(1));
    let came = app.walk(&scene);
    assert_eq!(lines(&came), [(with(ANN), 0, "buy milk".to_owned(), ANN)]);
    assert_eq!((came[0].other_read, came[0].other_delivered), (Seq::NONE, Seq::NONE));
    web.walk(&scene);
    assert_alike(&scene, &app, &web);

    // She is asked into a group on the app; the web learns it from the join alone, before anybody speaks.
    say(&scene, Draft::group(group(TEAM), bob, b"before her time"));
    scene.clock.advance(SECOND);
    let joined = changed(scene.store.join(group(TEAM), ann));
    let came = web.walk(&scene);
    assert_eq!(lines(&came), [(room(TEAM), 0, String::new(), 0)]);
    assert_eq!((came[0].version, came[0].is_add, came[0].state), (joined, true, SessionState::Member));
    assert_eq!((came[0].first, came[0].last), (Seq(2), Seq(1)));
    app.walk(&scene);
    // Another one who joins or leaves is no command to her terminals.
    scene.store.join(group(TEAM), user(4)).wait().unwrap();
    scene.store.leave(group(TEAM), user(4)).wait().unwrap();
    scene.store.mark_read(cat, room(TEAM), Seq(1)).wait().unwrap();
    assert_eq!((app.walk(&scene), web.walk(&scene)), (vec![], vec![]));
    for text in ["one", "two", "three"] {
        say(&scene, Draft::group(group(TEAM), bob, text.as_bytes()));
    }
    let own = say(&scene, Draft::group(group(TEAM), ann, b"mine"));
    assert_eq!(own, Seq(5));
    say(&scene, Draft::group(group(TEAM), cat, b"four"));
    assert_eq!(lines(&app.walk(&scene)), [(room(TEAM), 1, "four".to_owned(), CAT)]);
    web.walk(&scene);
    assert_alike(&scene, &app, &web);

    // The web sleeps. Bob recalls one of his, Ann takes back one of hers on the app, and hides one for herself.
    assert_eq!(scene.page(ann, room(TEAM), restante::HistoryQuery::newest()).messages.len(), 5);
    changed(scene.store.recall(bob, restante::Timeline::Group(group(TEAM)), Seq(3)));
    changed(scene.store.recall(ann, restante::Timeline::Group(group(TEAM)), own));
    changed(scene.store.hide(ann, room(TEAM), &[Seq(2)]));
    changed(scene.store.recall(bob, restante::Timeline::direct(ann, bob), Seq(1)));
    let came = app.walk(&scene);
    let team = came.iter().rfind(|entry| entry.peer == room(TEAM)).unwrap();
    let recalled = AmendmentKind::Recalled;
    assert_eq!(amended(&team.amendments), [(3, recalled, BOB), (5, recalled, ANN), (2, AmendmentKind::Hidden, ANN)]);
    assert_eq!(team.unread, 1, "what she had read leaves the badge alone");
    let direct = came.iter().rfind(|entry| entry.peer == with(BOB)).unwrap();
    assert_eq!(amended(&direct.amendments), [(1, recalled, BOB)]);
    assert_eq!((app.walk(&scene), app.messages.get(&(with(BOB), Seq(1)))), (vec![], Some(&Held::Recalled)));
    // The web wakes up, by a cursor from before all of it, and is told the same once.
    let came = web.walk(&scene);
    let team = came.iter().rfind(|entry| entry.peer == room(TEAM)).unwrap();
    assert_eq!(amended(&team.amendments), [(3, recalled, BOB), (5, recalled, ANN), (2, AmendmentKind::Hidden, ANN)]);
    assert_eq!(web.messages.get(&(with(BOB), Seq(1))), Some(&Held::Recalled));
    assert_eq!(web.messages.get(&(room(TEAM), Seq(2))), None, "hidden on the app is hidden on the web");
    assert_alike(&scene, &app, &web);
    assert_eq!(web.walk(&scene), []);
    // Hidden by Ann is hidden for nobody else.
    assert_eq!(seqs(&scene.all(cat, room(TEAM))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(texts(&scene.all(cat, room(TEAM))), ["before her time", "one", "", "three", "", "four"]);

    // Opening the chat on the web clears the badge of the app; the other way for "mark as unread".
    changed(scene.store.mark_read(ann, room(TEAM), Seq(6)));
    assert_eq!(lines(&app.walk(&scene)), [(room(TEAM), 0, "four".to_owned(), CAT)]);
    changed(scene.store.mark_unread_from(ann, room(TEAM), Seq(3)));
    web.walk(&scene);
    assert_eq!(web.sessions[&room(TEAM)].unread, 2, "the recalled one and her own are not among them");
    app.walk(&scene);

    // The server restarts between two messages: the cursors of both go on.
    let scene = scene.reopened();
    assert_eq!((app.walk(&scene), web.walk(&scene)), (vec![], vec![]));

    // She leaves on the app: the web keeps the session, frozen; then she removes it there.
    changed(scene.store.leave(group(TEAM), ann));
    say(&scene, Draft::group(group(TEAM), bob, b"behind her back"));
    for terminal in [&mut app, &mut web] {
        let came = terminal.walk(&scene);
        assert_eq!(came.len(), 1);
        assert_eq!((came[0].is_add, came[0].state, came[0].last), (true, SessionState::Left, Seq(6)));
        assert_eq!(texts(&came[0].latest), ["four", ""]);
    }
    let removed = changed(scene.store.remove_session(ann, room(TEAM)));
    let came = web.walk(&scene);
    assert_eq!((came.len(), came[0].is_add, came[0].state), (1, false, SessionState::Left));
    assert_eq!((came[0].version, came[0].unread, came[0].latest.len()), (removed, 0, 0));
    assert!(!web.sessions.contains_key(&room(TEAM)));
    app.walk(&scene);
    assert_alike(&scene, &app, &web);

    // Back in it, and then the group is dissolved while the app is online and the web asleep.
    changed(scene.store.join(group(TEAM), ann));
    say(&scene, Draft::group(group(TEAM), cat, b"welcome back"));
    assert_eq!(lines(&app.walk(&scene)), [(room(TEAM), 1, "welcome back".to_owned(), CAT)]);
    let dissolved = changed(scene.store.dissolve(group(TEAM)));
    for terminal in [&mut app, &mut web] {
        let came = terminal.walk(&scene);
        assert_eq!(came.len(), 1, "the web never hears of what came and went meanwhile");
        assert_eq!((came[0].is_add, came[0].state), (false, SessionState::Dissolved));
        assert_eq!((came[0].version, came[0].peer), (dissolved, room(TEAM)));
    }
    unchanged(&scene, || scene.store.dissolve(group(TEAM)));
    let error = scene.store.append(Draft::group(group(TEAM), ann, b"anybody?")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dissolved);
    assert_eq!((app.walk(&scene), web.walk(&scene)), (vec![], vec![]));
    assert_alike(&scene, &app, &web);

    // A third terminal from nothing has at once what the two came to in all these steps.
    let scene = scene.reopened();
    let mut phone = Terminal::new(ann, 10);
    let came = phone.walk(&scene);
    assert_eq!(came.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [with(ANN), with(BOB)]);
    assert!(came.iter().all(|entry| entry.amendments.is_empty()), "it holds nothing that could be amended");
    assert_alike(&scene, &app, &phone);
    let total = |id: UserId| scene.store.total_unread(id).unwrap().unread;
    assert_eq!((total(ann), total(bob), total(cat)), (0, 1, 0));
}
