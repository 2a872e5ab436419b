//! Rows that lead astray although no byte of them is damaged.
//! Owns: a store whose rows say of an edit that it lies elsewhere. May touch: the handle, its state.
//! Never: damages a file.

use super::*;
use crate::change::{Amend, Commit};
use crate::storage::SimStorage;
use crate::{Draft, ManualClock, Options, Seq, Threads, Timestamp, UserId};

const ONE: UserId = UserId(1);
const TWO: UserId = UserId(2);

/// Where the rows say that the first of two edits lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    There,
    Nowhere,
    ToTheOther,
}

fn check(leads: Leads) {
    let storage = SimStorage::new(4);
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let options = Options::default().threads(Threads::Inline).journal_bytes(64 << 10).clock(clock);
    let store = Store::open_on(storage.clone(), options).unwrap();
    let timeline = Timeline::direct(ONE, TWO);
    for seq in 1..=2 {
        store.append(Draft::direct(ONE, TWO, b"body")).wait().unwrap();
        store.edit(ONE, timeline, Seq(seq), b"better").wait().unwrap();
    }
    {
        let mut state = store.pipeline.state_mut();
        let slot = state.slot(timeline).unwrap();
        let [edit, other] = [1, 2].map(|seq| *state.head(slot).amended.as_ref().unwrap().get(seq).unwrap());
        let place = match leads {
            Leads::There => edit.edit.unwrap(),
            Leads::Nowhere => Place::new(77, 4_200),
            Leads::ToTheOther => other.edit.unwrap(),
        };
        let amend = Amend { timeline, seq: 1, by: ONE, recalls: false, ordinal: 1, counts: true, alerts: 0 };
        state.apply_place(&Change::Amend(amend), place, Commit { version: edit.version, time: edit.time });
    }
    store.seal().unwrap();
    let judge = |found: Verification| {
        let expected: Vec<&str> = found.damage.iter().map(|damage| &*damage.expected).collect();
        let first = format!("the message of {timeline} with seq=1");
        let want = if leads == Leads::There { vec![] } else { vec![&*first] };
        assert_eq!(expected, want, "{leads:?}: {found:?}");
    };
    judge(store.verify().unwrap());
    store.close().unwrap();
    judge(Store::verify_on(storage).unwrap());
}

#[test]
fn an_edit_whose_place_leads_nowhere_or_to_another_is_found() {
    [Leads::There, Leads::Nowhere, Leads::ToTheOther].into_iter().for_each(check);
}
