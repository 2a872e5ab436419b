//! What a change must find in memory: all that deciding it looks at and applying it touches.
//! Owns: that knowledge. May touch: `change`, `state`.
//! Never: loads anything.

use crate::change::{Change, decode_mentions};
use crate::id::{NameKind, Timeline, UserId};
use crate::state::{Finding, Head, Need, Needs, PreparedAppend, Row, Sequencer};

/// The needs of a user's session.
pub(super) fn session(user: UserId, timeline: Timeline, needs: &mut Needs<'_>) {
    needs.push(Need::Head(timeline));
    needs.push(Need::Row(user, timeline));
    // A broadcast is seen from the user's first appearance on, and a direct session may be its first.
    if !matches!(timeline, Timeline::Group(_)) {
        needs.push(Need::Person(user));
    }
}

/// The needs of an append, as far as they show: more may show with the head and the sender's row. Most messages
/// open nothing, and then the rows of others do not matter.
pub(super) fn append(sequencer: &Sequencer, item: &PreparedAppend, needs: &mut Needs<'_>) {
    let PreparedAppend { timeline, sender, .. } = *item;
    let mentioned = item.mentioned.iter().map(|(_, user)| *user);
    let (head, row) = needs.head_and_row(timeline, sender);
    // What is decided and not published yet counts: somebody may just have been removed, or have left.
    let opens = match sequencer.overlay.pending_tip(timeline) {
        Some(tip) => tip.opens,
        None => opens(head),
    };
    let is_outside = match sequencer.overlay.pending_row(timeline, sender) {
        Some(row) => !row.is_present(),
        None => is_outside(row),
    };
    message((opens, is_outside), timeline, sender, mentioned, needs);
}

/// Whether a message opens the timeline; not, as long as nobody knows.
fn opens(head: Finding<'_, Head>) -> bool {
    head.is_some_and(|head| head.is_none_or(|head| head.tip.opens))
}

/// Whether a sender is not in the timeline; not, as long as nobody knows.
fn is_outside(row: Finding<'_, Row>) -> bool {
    row.is_some_and(|row| !row.is_some_and(Row::is_present))
}

/// The needs of a message besides its head and its sender's row.
fn message(
    (opens, is_outside): (bool, bool),
    timeline: Timeline,
    sender: UserId,
    mentioned: impl Iterator<Item = UserId>,
    needs: &mut Needs<'_>,
) {
    match timeline {
        Timeline::Direct(_) | Timeline::Inbox(..) => {
            let ends = timeline.ends().into_iter().flat_map(|pair| [pair.low(), pair.high()]);
            if opens {
                needs.extend(ends.clone().flat_map(|user| [Need::Row(user, timeline), Need::Person(user)]));
            }
            let is_end = |user: &UserId| ends.clone().any(|end| end == *user);
            needs.extend(mentioned.filter(is_end).map(|user| Need::Row(user, timeline)));
        }
        Timeline::Group(_) => {
            if opens || is_outside {
                needs.push(Need::Person(sender));
            }
            needs.extend(mentioned.map(|user| Need::Row(user, timeline)));
        }
        Timeline::Broadcast(_) => {}
    }
}

/// The needs of a change that is replayed.
pub(super) fn needs_of_change(change: &Change, tail: &[u8], needs: &mut Needs<'_>) {
    match change {
        Change::Append(append) => {
            let mentions = tail.get(..append.mention_bytes.into()).and_then(decode_mentions).unwrap_or_default();
            let told = mentions.iter().filter(|mentioned| mentioned.has_row).map(|mentioned| mentioned.user);
            let (head, row) = needs.head_and_row(append.timeline, append.sender);
            message((opens(head), is_outside(row)), append.timeline, append.sender, told, needs);
            if append.opens.sender_appears {
                needs.push(Need::Person(append.sender));
            }
        }
        Change::Group(group) => needs.push(Need::Head(Timeline::Group(group.group))),
        Change::Join(join) => member(join.user, Timeline::Group(join.group), needs),
        Change::Leave(leave) => session(leave.user, Timeline::Group(leave.group), needs),
        Change::Mark(mark) => session(mark.row.user, mark.row.timeline, needs),
        Change::Clear(clear) => session(clear.row.user, clear.row.timeline, needs),
        Change::Flags(change) => session(change.row.user, change.row.timeline, needs),
        Change::Metadata(change) => session(change.row.user, change.row.timeline, needs),
        Change::Hide(hide) => session(hide.row.user, hide.row.timeline, needs),
        Change::Member(change) => session(change.user, Timeline::Group(change.group), needs),
        Change::Amend(amend) => needs.push(Need::Head(amend.timeline)),
        Change::GroupMetadata(change) => needs.push(Need::Head(Timeline::Group(change.group))),
        Change::Dissolve(dissolve) => needs.push(Need::Head(Timeline::Group(dissolve.group))),
        Change::AddUser(change) => needs.push(Need::Person(change.user)),
        Change::Name(name) | Change::FreeName(name) => {
            needs.push(Need::Name(name.kind, tail.to_vec()));
            needs.push(Need::NameOf(name.kind, name.id));
            if name.kind == NameKind::User {
                needs.push(Need::Person(UserId(name.id)));
            }
        }
        Change::Forget(forget) => member(forget.user, forget.timeline, needs),
        Change::RemoveUser(change) => removal(change.user, needs),
        Change::Trim(trim) => needs.push(Need::Head(trim.timeline)),
        Change::Settings(_) | Change::Horizon(_) => {}
    }
}

/// The needs of what begins or ends a membership.
pub(super) fn member(user: UserId, timeline: Timeline, needs: &mut Needs<'_>) {
    needs.extend([Need::Head(timeline), Need::Row(user, timeline), Need::Person(user)]);
}

/// The needs of a user's end.
pub(super) fn removal(user: UserId, needs: &mut Needs<'_>) {
    needs.extend([Need::Rows(user), Need::Person(user), Need::NameOf(NameKind::User, user.0)]);
}

#[cfg(test)]
mod tests;
