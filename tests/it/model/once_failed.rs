//! Short lists of operations that once told store and model apart, kept for good.
//! Owns: the lists, each under a comment that says what was wrong. May touch: `op`, `draw`, the player above.
//! Never: draws anything at random.

use restante::Durability::{self, Buffered};

use super::check;
use super::draw::{Files, Setup};
use super::op::At::Unset;
use super::op::How::Plain;
use super::op::Op::{self, Changed, Restart, Write};
use super::op::Restart::Crash;
use super::op::Write::Append;
use super::op::{Lost, PageSize, Post, Text, To};

fn setup(durability: Durability) -> Setup {
    Setup { seed: 1, durability, files: Files::Simulated }
}

fn post(by: u8, to: To) -> Op {
    Write(Plain, Append(Post { by, to, id: 0, text: Text(0, 3), kind: 0, counts: true, at: Unset }))
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
