//! What calls answer, in words short enough to compare.
//! Owns: refusals, changes and calls without a trace, how amendments are written down. May touch: `scene`.
//! Never: knows what an answer should be.

use std::fmt::Debug;

use restante::{Amendment, AmendmentKind, Effect, Error, ErrorKind, Ticket, Version};

use crate::scene::Scene;

/// Waits for a call that must change something, and gives the version of the change.
#[track_caller]
pub fn changed(ticket: Ticket<Effect>) -> Version {
    match ticket.wait() {
        Ok(Effect::Changed(version)) => version,
        other => panic!("nothing changed: {other:?}"),
    }
}

/// Makes a call that must leave no trace, and gives its answer.
#[track_caller]
pub fn traceless<T>(scene: &Scene, call: impl FnOnce() -> T) -> T {
    let before = (scene.store.version(), scene.store.state_digest().unwrap());
    let answer = call();
    let after = (scene.store.version(), scene.store.state_digest().unwrap());
    assert!(before == after, "a trace: {} and {}", before.0, after.0);
    answer
}

/// Makes a call that asks for what is so already: nothing changes, and it says so.
#[track_caller]
pub fn unchanged(scene: &Scene, call: impl FnOnce() -> Ticket<Effect>) {
    let effect = traceless(scene, || call().wait());
    assert!(matches!(effect, Ok(Effect::Unchanged)), "{effect:?}");
}

/// Makes a call that must be refused with this kind and text, and without a trace.
#[track_caller]
pub fn refused<T: Debug>(scene: &Scene, kind: ErrorKind, text: &str, call: impl FnOnce() -> Result<T, Error>) {
    let error = match traceless(scene, call) {
        Err(error) => error,
        Ok(answer) => panic!("passed: {answer:?}, want={kind:?} {text}"),
    };
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
}

/// The seq, the kind and who did it, of each.
pub fn amended(amendments: &[Amendment]) -> Vec<(u64, AmendmentKind, u64)> {
    amendments.iter().map(|amendment| (amendment.seq.0, amendment.kind, amendment.by.0)).collect()
}
