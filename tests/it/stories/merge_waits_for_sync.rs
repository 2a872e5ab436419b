//! What was seen is not yet what stays: a merge between a recall and the power cut that takes the recall back.
//! Owns: the story `merge_waits_for_sync`. May touch: `scene`, `replies`.
//! Never: looks behind the public interface.

use std::sync::Arc;

use restante::{
    CrashPlan, Draft, Durability, GroupSettings, HistoryQuery, Loss, Retention, Seq, SimStorage, Store, Timeline,
    Timestamp, UserId,
};

use crate::replies::changed;
use crate::scene::{Scene, group, room};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const TEAM: u64 = 42;

/// What Bob sees of the first three messages: bodies, `None` for what is recalled; nothing of what is trimmed.
fn seen(store: &Store) -> Vec<(u64, Option<String>)> {
    let page = store.history(BOB, room(TEAM), &HistoryQuery::oldest().seqs(..=Seq(3))).unwrap();
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    page.messages.iter().map(|it| (it.seq.0, it.recalled.is_none().then(|| text(&it.body)))).collect()
}

/// Sends until files were merged so many times more.
fn send_until_merged(scene: &Scene, more: u64) {
    let merges = |scene: &Scene| scene.store.statistics().work.unit_merges;
    let wanted = merges(scene) + more;
    for number in 0..200_u64 {
        if merges(scene) >= wanted {
            return;
        }
        let filler = vec![number as u8; 10_000];
        scene.store.append(Draft::direct(UserId(7), UserId(8), &filler)).wait().unwrap();
    }
    panic!("nothing was merged");
}

#[test]
fn merge_waits_for_sync() {
    let small = |options: restante::Options| {
        options.durability(Durability::Buffered).journal_bytes(64 << 10).memory_bytes_max(64 << 10).merge_fan_in(2)
    };
    let scene = Scene::with(small);
    let timeline = Timeline::Group(group(TEAM));
    changed(scene.store.create_group(group(TEAM), GroupSettings::default().shows_history(true)));
    scene.store.join_many(group(TEAM), &[ANN, BOB]).wait().unwrap();
    for text in ["the wrong photo", "a slip of the pen", "yesterday's paper"] {
        scene.send(Draft::group(group(TEAM), ANN, text.as_bytes()));
        scene.store.seal().unwrap();
    }
    let all = |texts: [Option<&str>; 3]| -> Vec<(u64, Option<String>)> {
        (1..).zip(texts.map(|text| text.map(str::to_owned))).collect()
    };
    let whole = all([Some("the wrong photo"), Some("a slip of the pen"), Some("yesterday's paper")]);
    assert_eq!(seen(&scene.store), whole);

    // Recalled, edited, and in the end trimmed: all of it is seen at once, none of it is synced. Files are sealed and
    // merged in between, by what others write.
    let mut views = vec![(scene.store.version(), whole)];
    let mut note = |scene: &Scene, view| {
        assert_eq!(seen(&scene.store), view);
        views.push((scene.store.version(), view));
    };
    let from = scene.storage.operations();
    changed(scene.store.recall(ANN, timeline, Seq(1)));
    note(&scene, all([None, Some("a slip of the pen"), Some("yesterday's paper")]));
    send_until_merged(&scene, 2);
    changed(scene.store.edit(ANN, timeline, Seq(2), b"a slip of the tongue"));
    note(&scene, all([None, Some("a slip of the tongue"), Some("yesterday's paper")]));
    send_until_merged(&scene, 2);
    let keeps_one = GroupSettings::default().shows_history(true).retention(Some(Retention::default().count(1)));
    changed(scene.store.set_group(group(TEAM), keeps_one));
    scene.store.maintain(Timestamp::MAX).wait().unwrap();
    note(&scene, vec![(3, Some("yesterday's paper".to_owned()))]);
    send_until_merged(&scene, 2);
    let purged_from = scene.storage.operations();
    scene.store.purge().unwrap();

    // Wherever the power goes, what is left of the changes says what is left of the messages, to the byte.
    let mut met = [0; 4];
    for operation in from..=scene.storage.operations() {
        for (number, loss) in [Loss::All, Loss::Prefix, Loss::Random].into_iter().enumerate() {
            let plan = CrashPlan { seed: operation * 3 + number as u64, loss };
            let image: Arc<SimStorage> = scene.storage.crash_at(operation, plan);
            let store = Store::open_on(image, small(scene.options())).unwrap();
            let view = views.iter().rposition(|(version, _)| *version <= store.version()).unwrap();
            assert_eq!(seen(&store), views[view].1, "power cut within operation {operation}, {plan:?}");
            met[view] += 1;
        }
    }
    assert!(met.iter().all(|count| *count > 0), "some state was never left by a power cut: {met:?}");
    assert!(purged_from > from);
}
