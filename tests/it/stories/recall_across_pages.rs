//! Messages are recalled while a terminal is in the middle of a walk.
//! Owns: the story `recall_across_pages`. May touch: `scene`, `terminal`, `replies`, random numbers.
//! Never: looks behind the public interface.

use restante::{Draft, Peer, Seq, Timeline, UserId};

use crate::replies::{amended, changed};
use crate::scene::{SECOND, Scene, group, room, user, with};
use crate::support::{Rng, number_from_env};
use crate::terminal::{Held, Terminal, shown};

const ANN: u64 = 1;

fn chat(other: u64) -> Timeline {
    Timeline::direct(user(ANN), user(other))
}

fn say(scene: &Scene, other: u64, text: &str) {
    scene.clock.advance(SECOND);
    scene.send(Draft::direct(user(other), user(ANN), text.as_bytes()));
}

#[test]
fn recall_across_pages() {
    let scene = Scene::new();
    let ann = user(ANN);
    for other in 2..=6 {
        for number in 1..=3 {
            say(&scene, other, &format!("{other}: {number}"));
        }
    }
    let mut tablet = Terminal::new(ann, 1);
    assert_eq!(tablet.walk(&scene).len(), 5);

    // While it sleeps 2, 3 and 4 say something, and 4 takes back an old message *before* 2 and 3 speak.
    changed(scene.store.recall(user(4), chat(4), Seq(1)));
    for other in [2, 3, 4] {
        say(&scene, other, &format!("{other}: new"));
    }
    // First page: 2.
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, more), (with(2), true));
    assert!(page[0].amendments.is_empty());
    // Between the pages: 2, who was handed out just now, takes back both an old and the new message;
    // 5, who was no news at all, takes one back; and 3, who comes next, takes back an old one.
    changed(scene.store.recall(user(2), chat(2), Seq(2)));
    changed(scene.store.recall(user(2), chat(2), Seq(4)));
    changed(scene.store.recall(user(5), chat(5), Seq(3)));
    changed(scene.store.recall(user(3), chat(3), Seq(1)));
    // The next page is 4: its recall is *below* the position that the walk has come to, and still told.
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, more), (with(4), true));
    assert_eq!(amended(&page[0].amendments), [(1, restante::AmendmentKind::Recalled, 4)]);
    // The server restarts, and the terminal goes on with the bytes of its cursor.
    let scene = scene.reopened();
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, more), (with(2), true), "it comes again, for the sake of the recalls");
    assert_eq!(page[0].amendments.iter().map(|amendment| amendment.seq.0).collect::<Vec<_>>(), [2, 4]);
    assert_eq!((page[0].unread, page[0].goto.map(|(seq, _)| seq)), (2, Some(Seq(1))));
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, page[0].amendments.len(), more), (with(5), 1, true));
    // On the way to the last page one more of 5's is recalled: it is handed out again, with both.
    changed(scene.store.recall(user(5), chat(5), Seq(1)));
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, page[0].amendments.len(), more), (with(3), 1, true));
    let (page, more) = tablet.step(&scene);
    assert_eq!((page[0].peer, more), (with(5), false));
    assert_eq!(page[0].amendments.iter().map(|amendment| amendment.seq.0).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(tablet.messages, shown(&scene, ann));
    assert_eq!(tablet.messages[&(with(2), Seq(4))], Held::Recalled);
    assert_eq!(tablet.messages.values().filter(|held| **held == Held::Recalled).count(), 6);
    // All is told: the next walk is empty, and one recall more is one entry with one amendment.
    assert_eq!(tablet.step(&scene), (vec![], false));
    changed(scene.store.recall(UserId::NONE, chat(5), Seq(2)));
    let (page, more) = tablet.step(&scene);
    assert_eq!((page.len(), page[0].amendments.len(), more), (1, 1, false));
    assert_eq!(tablet.messages, shown(&scene, ann));

    // A walk from nothing is held to the version at which it began: what is recalled between its pages is told.
    let mut phone = Terminal::new(ann, 2);
    let (first, more) = phone.step(&scene);
    assert!(more && first.iter().all(|entry| entry.amendments.is_empty()));
    let handed_out = first[0].peer;
    let Peer::User(other) = handed_out else { panic!("only direct chats: {handed_out}") };
    let kept = Seq(3);
    assert!(matches!(phone.messages[&(handed_out, kept)], Held::Text(_)));
    changed(scene.store.recall(other, Timeline::direct(ann, other), kept));
    let came = phone.walk(&scene);
    let again = came.iter().find(|entry| entry.peer == handed_out).expect("handed out again");
    assert_eq!(again.amendments.iter().map(|amendment| amendment.seq).collect::<Vec<_>>(), [kept]);
    assert_eq!(phone.messages, shown(&scene, ann));
}

/// Ever more is sent, recalled, edited and hidden between any two pages, until the terminal has caught up: then it holds
/// what the server shows. Had the walk ever told an amendment by its position instead of its base, it would not.
#[test]
fn recall_across_pages_at_random() {
    let one = number_from_env("RESTANTE_PAGES_SEED");
    for seed in one.map_or(1..=60, |seed| seed..=seed) {
        let mut random = Rng::new(seed);
        let mut scene = Scene::new();
        let ann = user(ANN);
        let others: Vec<u64> = (2..=6).collect();
        for team in [41, 42] {
            let all: Vec<UserId> = (1..=6).map(UserId).collect();
            scene.store.join_many(group(team), &all).wait().unwrap();
        }
        let mut terminals = [Terminal::new(ann, 1), Terminal::new(ann, 2), Terminal::new(ann, 3)];
        for round in 0..12 {
            for _ in 0..random.between(3, 60) {
                something_happens(&scene, &mut random, &others);
                let terminal = random.below(4) as usize;
                if terminal < 3 && random.percent(30) {
                    terminals[terminal].step(&scene);
                }
            }
            if random.percent(20) {
                scene = scene.reopened();
            }
            for terminal in &mut terminals {
                if random.percent(60) || round == 11 {
                    terminal.walk(&scene);
                    assert_eq!(terminal.messages, shown(&scene, ann), "RESTANTE_PAGES_SEED={seed} round={round}");
                }
            }
        }
        assert!(terminals[0].messages.values().any(|held| *held == Held::Recalled), "RESTANTE_PAGES_SEED={seed}");
    }
}

fn something_happens(scene: &Scene, random: &mut Rng, others: &[u64]) {
    let ann = user(ANN);
    let other = user(random.pick(others));
    let (timeline, peer) = match random.below(3) {
        0 => (Timeline::Group(group(41)), room(41)),
        1 => (Timeline::Group(group(42)), room(42)),
        _ => (Timeline::direct(ann, other), Peer::User(other)),
    };
    let last = scene.list(ann).entries.iter().find(|entry| entry.peer == peer).map_or(0, |entry| entry.last.0);
    scene.clock.advance(SECOND);
    let sender = if random.percent(25) { ann } else { other };
    if last == 0 || random.percent(40) {
        let text = format!("{}", random.below(1_000));
        scene.send(Draft::new(timeline, sender, text.as_bytes()));
        return;
    }
    let seq = Seq(random.between(1, last));
    // Most of these are refused now and then: recalled twice, edited when recalled, hidden twice. That is part of it.
    let _ = match random.below(10) {
        0..=4 => scene.store.recall(sender, timeline, seq).wait(),
        5..=7 => scene.store.edit(sender, timeline, seq, format!("edited {}", random.below(1_000)).as_bytes()).wait(),
        _ => scene.store.hide(ann, peer, &[seq]).wait(),
    };
}
