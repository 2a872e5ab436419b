//! Short lists of operations that once told store and model apart, kept for good.
//! Owns: the lists, each under a comment that says what was wrong. May touch: `op`, `draw`, the player above.
//! Never: draws anything at random.

use std::ops::Bound::{self, Excluded, Included};

use restante::Durability::{self, Buffered, Sync};

use super::check;
use super::draw::{Files, Setup};
use super::op::How::Plain;
use super::op::Op::{self, Changed, History, Restart, Write};
use super::op::Write::{Append, Batch, Create, Join, JoinMany, Leave, Read, SetGroup, UnreadFrom};
use super::turnover::Sizes;
use super::word::At::{Last, Unset};
use super::word::Restart::Crash;
use super::word::{Ask, Lost, Near, PageSize, Post, Text, To, With, Within};

const POST: Post =
    Post { by: 1, to: To::User(2), id: 0, text: Text(0, 3), kind: 0, counts: true, at: Unset, mentions: 0, alerts: 0 };

fn setup(durability: Durability) -> Setup {
    Setup { seed: 1, durability, files: Files::Simulated, sizes: Sizes::LARGE }
}

fn post(by: u8, to: To) -> Op {
    Write(Plain, Append(Post { by, to, ..POST }))
}

/// A change raised an entry above the page of a walk, and a crash took that change: the entry fell back
/// below the walk's position, whose own pages had all survived. A cursor that only knew what its walk had
/// handed out went on and never listed it; it must know what was published when its page was made.
#[test]
fn a_walk_does_not_pass_over_what_a_crash_puts_back_behind_it() {
    let page = Changed { by: 1, slot: 0, page: PageSize { limit: Some(1), latest: None }, through_bytes: true };
    let ops = [
        page.clone(),
        post(2, To::User(1)),
        post(1, To::User(1)),
        Op::Sync,
        post(1, To::User(2)),
        page.clone(),
        Restart(Crash(Lost::All, 1)),
        page.clone(),
        page.clone(),
        page,
    ];
    check(&setup(Buffered), &ops);
}

/// A batch was refused because of one of its own earlier items. The answer was to wait until that item's
/// version was durable, which was given back and never came: the call went round for ever.
#[test]
fn a_batch_refused_for_its_own_item_answers() {
    let at_last = Post { at: Last(1), ..POST };
    check(&setup(Sync), &[Write(Plain, Batch(vec![at_last, at_last]))]);
    let with_id = Post { id: 1, ..POST };
    check(&setup(Sync), &[Write(Plain, Batch(vec![with_id, Post { kind: 1, ..with_id }]))]);
}

/// A body that no journal file can take was refused without saying which item of the batch it was.
#[test]
fn a_batch_names_the_item_that_is_too_long() {
    let long = Post { text: Text(0, 17_000), ..POST };
    check(&setup(Sync), &[Write(Plain, Batch(vec![POST, long]))]);
}

/// Calls about one user named the first item of a batch when its id was 0.
#[test]
fn only_batches_name_an_item() {
    let ops = [Join { group: 1, by: 0 }, Leave { group: 1, by: 0 }, JoinMany { group: 1, users: vec![2, 0] }];
    check(&setup(Sync), &ops.map(|write| Write(Plain, write)));
}

/// Bounds that exclude the largest or the smallest value forgot their other side: an empty page lay at
/// the start of the session instead of at its upper bound, or before the lower bound of time.
#[test]
fn bounds_at_the_ends_of_numbers_keep_their_other_side() {
    fn ask(within: Within) -> Op {
        History { by: 1, with: With::User(2), ask: Ask { newest: true, within, limit: None, bytes: None } }
    }
    let above_all: (Bound<u64>, Bound<u64>) = (Excluded(u64::MAX), Included(10));
    let ops = [
        Write(Plain, Append(Post { at: Last(1), ..POST })),
        post(1, To::User(2)),
        ask(Within::Seqs(above_all.0, above_all.1)),
        ask(Within::Times(Included(Near(2, 0)), Excluded(Near(1, -1)))),
    ];
    check(&setup(Buffered), &ops);
}

/// A batch was refused and its changes taken back, but not the count of what was on its way: an answer
/// that something is as it is rested on a version that nobody was going to have, and never came.
#[test]
fn what_a_refused_batch_took_back_is_not_waited_for() {
    let group = |group, post| Post { to: To::Group(group), ..post };
    let ops = [
        Create { group: 2, shows_history: true, members_only: false, keep: None },
        Batch(vec![POST, group(1, POST)]),
        SetGroup { group: 2, shows_history: true, members_only: false, keep: None },
    ];
    check(&setup(Sync), &ops.map(|write| Write(Plain, write)));
}

/// Reading what was sent to everyone before the reader came to exist was a change, though it could
/// neither be seen nor be read.
#[test]
fn reading_below_the_beginning_of_a_broadcast_is_no_change() {
    let source = super::op::SENDING[0];
    let sent = Post { by: 0, to: To::Broadcast(source), ..POST };
    let read = |upto| Read { by: 2, with: With::Source(source), upto: super::word::Point::Seq(upto) };
    let ops = [Append(sent), Append(POST), Append(sent), read(1), read(2)];
    check(&setup(Sync), &ops.map(|write| Write(Plain, write)));
}

/// Who rejoined a group that shows no history, and later one that does, was told of an old mention again in
/// the model, though nobody keeps what a floor has passed.
#[test]
fn a_mention_is_forgotten_once_a_floor_passes_it() {
    let set = |shows_history| SetGroup { group: 1, shows_history, members_only: true, keep: None };
    let (leave, join) = (Leave { group: 1, by: 2 }, Join { group: 1, by: 2 });
    let back = UnreadFrom { by: 2, with: With::Group(1), seq: super::word::Point::Seq(1) };
    let mention = Append(Post { to: To::Group(1), mentions: 2, ..POST });
    let join_both = JoinMany { group: 1, users: vec![1, 2] };
    let ops = [join_both, mention, leave.clone(), join.clone(), set(true), leave, join, back];
    check(&setup(Sync), &ops.map(|write| Write(Plain, write)));
}
