//! What a recall does to badges, and to which it does nothing.
//! Owns: the story `recall_and_badge`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use restante::{Draft, FlagChange, ListQuery, Seq, Timeline, UserId};

use crate::replies::{changed, unchanged};
use crate::scene::{MINUTE, Scene, group, room, seqs, user};

const ANN: u64 = 1;
/// Has read nothing.
const BOB: u64 = 2;
/// Has read up to 6.
const CAT: u64 = 3;
/// Has hidden 3 and 8.
const DAN: u64 = 4;
/// Left after 5, having read nothing.
const EVE: u64 = 5;
/// Has muted the group and read nothing.
const FAY: u64 = 6;
const TEAM: u64 = 42;

const EVERYONE: u8 = 0;
const TRANSFER: u8 = 3;

/// The badge of each, and the seq each would jump to (0: none).
fn badges(scene: &Scene) -> [(u64, u64); 5] {
    [BOB, CAT, DAN, EVE, FAY].map(|id| {
        let entry = scene.entry(user(id), room(TEAM));
        (entry.unread, entry.goto.map_or(0, |(seq, _)| seq.0))
    })
}

/// Mentions (count, oldest) and alerts (kind, count, oldest) of one.
type Calls = ((u64, u64), Vec<(u8, u64, u64)>);

fn calls(scene: &Scene, id: u64) -> Calls {
    let entry = scene.entry(user(id), room(TEAM));
    assert!(!entry.mentions.saturated);
    let alerts = entry.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest.0)).collect();
    ((entry.mentions.count, entry.mentions.oldest.map_or(0, |seq| seq.0)), alerts)
}

/// Ten messages of Ann. The second and the fourth mention Bob and Dan, the third and the eighth are for everyone, and the
/// eighth carries a transfer as well.
fn ten_messages(scene: &Scene) {
    let named = [user(BOB), user(DAN), user(ANN), user(BOB), user(99)];
    for number in 1..=10_u64 {
        scene.clock.advance(MINUTE);
        let text = format!("line {number}");
        let draft = Draft::group(group(TEAM), user(ANN), text.as_bytes());
        let draft = match number {
            2 | 4 => draft.mentions(&named),
            3 => draft.alerts(1 << EVERYONE),
            8 => draft.alerts(1 << EVERYONE | 1 << TRANSFER),
            _ => draft,
        };
        scene.send(draft);
        if number == 5 {
            changed(scene.store.leave(group(TEAM), user(EVE)));
        }
    }
}

#[test]
fn recall_and_badge() {
    let scene = Scene::new();
    let (ann, bob, cat, dan) = (user(ANN), user(BOB), user(CAT), user(DAN));
    let everyone = [ANN, BOB, CAT, DAN, EVE, FAY].map(UserId);
    scene.store.join_many(group(TEAM), &everyone).wait().unwrap();
    ten_messages(&scene);
    scene.read(cat, room(TEAM), Seq(6));
    changed(scene.store.hide(dan, room(TEAM), &[Seq(3), Seq(8)]));
    changed(scene.store.set_flags(user(FAY), room(TEAM), FlagChange::new().muted(true)));
    let recall = |seq| scene.store.recall(ann, Timeline::Group(group(TEAM)), Seq(seq));
    let totals = |id| {
        let totals = scene.store.total_unread(user(id)).unwrap();
        (totals.unread, totals.muted_unread)
    };

    assert_eq!(badges(&scene), [(10, 1), (4, 7), (8, 1), (5, 1), (10, 1)]);
    let everyone_and_transfer = vec![(EVERYONE, 2, 3), (TRANSFER, 1, 8)];
    assert_eq!(calls(&scene, BOB), ((2, 2), everyone_and_transfer.clone()));
    assert_eq!(calls(&scene, CAT), ((0, 0), vec![(EVERYONE, 1, 8), (TRANSFER, 1, 8)]), "the first she has read");
    assert_eq!(calls(&scene, DAN), ((2, 2), vec![]), "hidden alerts call nobody");
    assert_eq!(calls(&scene, EVE), ((0, 0), vec![(EVERYONE, 1, 3)]), "what came after she left is not hers");
    assert_eq!(calls(&scene, FAY), ((0, 0), everyone_and_transfer));
    assert_eq!(calls(&scene, ANN), ((0, 0), vec![]), "nobody is called by what she says herself");

    // 3, an alert: down for those who had it unread; Cat had read it and Dan had hidden it.
    changed(recall(3));
    assert_eq!(badges(&scene), [(9, 1), (4, 7), (8, 1), (4, 1), (9, 1)]);
    assert_eq!(calls(&scene, BOB), ((2, 2), vec![(EVERYONE, 1, 8), (TRANSFER, 1, 8)]));
    assert_eq!((calls(&scene, EVE).1, calls(&scene, DAN).1), (vec![], vec![]));
    // 8, two alerts: not there for Eve, so not even her entry moves.
    let eve = scene.entry(user(EVE), room(TEAM));
    changed(recall(8));
    assert_eq!(badges(&scene), [(8, 1), (3, 7), (8, 1), (4, 1), (8, 1)]);
    assert_eq!((calls(&scene, BOB).1, calls(&scene, CAT).1), (vec![], vec![]), "it takes its alerts along");
    assert_eq!(scene.entry(user(EVE), room(TEAM)), eve);
    assert_eq!((totals(BOB), totals(DAN), totals(FAY)), ((8, 0), (8, 0), (0, 8)));
    // 2, a mention, then 1: where to jump moves to what is left.
    changed(recall(2));
    assert_eq!(calls(&scene, BOB).0, (1, 4));
    assert_eq!(calls(&scene, DAN).0, (1, 4));
    changed(recall(1));
    assert_eq!(badges(&scene), [(6, 4), (3, 7), (6, 4), (2, 4), (6, 4)]);
    let goto = scene.entry(bob, room(TEAM)).goto.unwrap();
    assert_eq!(goto.1, scene.all(bob, room(TEAM))[3].timestamp);
    // Again is nothing, for anybody.
    unchanged(&scene, || recall(8));
    assert_eq!(badges(&scene), [(6, 4), (3, 7), (6, 4), (2, 4), (6, 4)]);
    // Dan hides what is recalled already: his badge had let go of it.
    changed(scene.store.hide(dan, room(TEAM), &[Seq(1), Seq(2)]));
    assert_eq!(badges(&scene)[2], (6, 4));
    assert_eq!(seqs(&scene.all(dan, room(TEAM))), [4, 5, 6, 7, 9, 10]);

    // Cat goes back to the first: 1, 2, 3 and 8 do not come again, read or not.
    changed(scene.store.mark_unread_from(cat, room(TEAM), Seq(1)));
    assert_eq!(badges(&scene)[1], (6, 4));
    // Partial reads lower the badge by what is left of the part.
    for (upto, unread, goto) in [(3, 6, 4), (4, 5, 5), (7, 2, 9), (8, 2, 9), (9, 1, 10), (10, 0, 0)] {
        scene.read(cat, room(TEAM), Seq(upto));
        assert_eq!(badges(&scene)[1], (unread, goto), "upto={upto}");
    }
    // Restarted, all of it is as it was.
    let want = badges(&scene);
    assert_eq!(want, [(6, 4), (0, 0), (6, 4), (2, 4), (6, 4)]);
    let entries = [ANN, BOB, CAT, DAN, EVE, FAY].map(|id| scene.entry(user(id), room(TEAM)));
    let scene = scene.reopened();
    assert_eq!(badges(&scene), want);
    assert_eq!([ANN, BOB, CAT, DAN, EVE, FAY].map(|id| scene.entry(user(id), room(TEAM))), entries);
    // Recalling the rest leaves nothing on any badge, and ten notices in the history.
    for seq in [10, 4, 9, 5, 7, 6] {
        changed(scene.store.recall(ann, Timeline::Group(group(TEAM)), Seq(seq)));
    }
    assert_eq!(badges(&scene), [(0, 0); 5]);
    assert_eq!(calls(&scene, BOB), ((0, 0), vec![]));
    let notices = scene.all(bob, room(TEAM));
    assert_eq!(seqs(&notices), (1..=10).collect::<Vec<_>>());
    assert!(notices.iter().all(|message| message.recalled.is_some() && message.body.is_empty()));
    assert!(notices.iter().all(|message| message.mentions.is_empty() && message.alerts == 0));
}

/// A message that is several of own, hidden, recalled and not counting is left out of the badge once, not twice.
#[test]
fn recall_and_badge_of_what_did_not_count_anyway() {
    let scene = Scene::new();
    let (ann, bob) = (user(ANN), user(BOB));
    let timeline = Timeline::direct(ann, bob);
    let peer = restante::Peer::User(ann);
    // Odd ones are Ann's; 4 and 8 are Bob's; 2, 6 and 10 are notices of Ann's.
    for number in 1..=10_u64 {
        let sender = if number % 4 == 0 { bob } else { ann };
        scene.send(Draft::direct(sender, user(ANN + BOB - sender.0), b"x").counts(number % 4 != 2));
    }
    let unread = || scene.entry(bob, peer).unread;
    assert_eq!(unread(), 1, "his own 8 read all before it; 9 came after, 10 does not count");
    changed(scene.store.mark_unread_from(bob, peer, Seq(1)));
    assert_eq!(unread(), 5, "1, 3, 5, 7, 9");

    // A notice and an own message, recalled and hidden in both orders.
    for (seq, hide_first) in [(2, true), (4, true), (6, false), (8, false)] {
        let hide = || changed(scene.store.hide(bob, peer, &[Seq(seq)]));
        let recall = || changed(scene.store.recall(ann, timeline, Seq(seq)));
        if hide_first {
            hide();
            recall();
        } else {
            recall();
            hide();
        }
        assert_eq!(unread(), 5, "seq={seq}");
        assert_eq!(scene.store.total_unread(bob).unwrap().unread, 5);
    }
    // The same with what does count: once.
    for (seq, hide_first, left) in [(1, true, 4), (9, false, 3)] {
        if hide_first {
            changed(scene.store.hide(bob, peer, &[Seq(seq)]));
        }
        changed(scene.store.recall(bob, timeline, Seq(seq)));
        if !hide_first {
            changed(scene.store.hide(bob, peer, &[Seq(seq)]));
        }
        assert_eq!(unread(), left, "seq={seq}");
    }
    assert_eq!(scene.entry(bob, peer).goto.map(|(seq, _)| seq), Some(Seq(3)));
    assert_eq!(seqs(&scene.all(bob, peer)), [3, 5, 7, 10]);
    // At every mark, up and down, the badge is a recount of what the history shows.
    let recount = |mark: u64| {
        let shown = scene.all(bob, peer);
        let counts = |message: &&restante::Message| {
            message.seq.0 > mark && message.counts && message.recalled.is_none() && message.sender != bob
        };
        shown.iter().filter(counts).count() as u64
    };
    for mark in (0..10).chain((0..9).rev()) {
        if scene.entry(bob, peer).read_mark.0 < mark {
            scene.read(bob, peer, Seq(mark));
        } else if scene.entry(bob, peer).read_mark.0 > mark {
            changed(scene.store.mark_unread_from(bob, peer, Seq(mark + 1)));
        }
        assert_eq!((scene.entry(bob, peer).read_mark, unread()), (Seq(mark), recount(mark)));
    }
    let list = scene.store.changed(bob, None, &ListQuery::new()).unwrap();
    let scene = scene.reopened();
    assert_eq!(scene.store.changed(bob, None, &ListQuery::new()).unwrap().entries, list.entries);
}
