//! Asks a store everything there is to ask.
//! Owns: the questions, and the recount that answers are held against. May touch: the public interface.
//! Never: changes the store.

use restante::{
    CatchUpQuery, Cursor, Entry, ErrorKind, GroupId, HistoryQuery, ListQuery, Message, Peer, Result, Store, UserId,
};

/// Users and groups of all stores here have ids from 1 up to these.
pub const USERS: u64 = 6;
pub const GROUPS: u64 = 3;

pub fn users() -> impl Iterator<Item = UserId> {
    (1..=USERS).map(UserId)
}

/// Reads every answer of a store whose bytes may have been made to mislead: errors are fine, panics are not.
pub fn read_all(store: &Store) -> Result<u64> {
    for user in users() {
        let mut cursor: Option<Cursor> = None;
        loop {
            let list = match store.changed(user, cursor.as_ref(), &ListQuery::new().limit(2).latest(3)) {
                Ok(list) => list,
                Err(_) => break,
            };
            if !list.more {
                break;
            }
            cursor = Some(list.next);
        }
        let _ = store.catch_up(user, cursor.as_ref(), &CatchUpQuery::new().messages(50));
        let _ = store.recent(user, None, &ListQuery::new().limit(3));
        let _ = store.total_unread(user);
        let peers = users().map(Peer::User).chain((1..=GROUPS).map(|id| Peer::Group(GroupId(id))));
        for peer in peers {
            let _ = store.history(user, peer, &HistoryQuery::newest().limit(1_000));
            let _ = store.history(user, peer, &HistoryQuery::oldest().limit(7));
        }
    }
    store.state_digest()
}

/// Reads every answer of a sound store and holds it against a recount of the history.
pub fn recount_all(store: &Store) -> Result<()> {
    for user in users() {
        recount(store, user)?;
    }
    Ok(())
}

fn recount(store: &Store, user: UserId) -> Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut cursor = None;
    loop {
        let list = store.changed(user, cursor.as_ref(), &ListQuery::new().limit(2))?;
        entries.extend(list.entries);
        cursor = Some(list.next);
        if !list.more {
            break;
        }
        assert!(entries.len() <= (USERS + GROUPS) as usize, "a walk ends when nobody writes");
    }
    assert!(entries.is_sorted_by_key(|entry| entry.version), "in the order of versions");
    let again = store.changed(user, cursor.as_ref(), &ListQuery::new())?;
    assert!(again.entries.is_empty(), "nothing changed since");
    let recent = store.recent(user, None, &ListQuery::new())?;
    assert_eq!(recent.entries.len(), entries.len(), "both lists hold all sessions");
    assert!(recent.entries.is_sorted_by(|one, next| one.activity >= next.activity), "by activity");
    let mut total = 0;
    for entry in &entries {
        assert!(recent.entries.contains(entry), "both lists say the same");
        let messages = all_messages(store, user, entry.peer)?;
        let seqs: Vec<u64> = messages.iter().map(|message| message.seq.0).collect();
        let expected: Vec<u64> = (entry.first.0..=entry.last.0).collect();
        assert_eq!(seqs, expected, "seqs are dense: user={user} peer={}", entry.peer);
        assert!(messages.is_sorted_by(|one, next| one.timestamp < next.timestamp), "timestamps increase");
        assert!(messages.is_sorted_by(|one, next| one.version < next.version), "versions increase");
        let unread: Vec<&Message> = messages
            .iter()
            .filter(|message| message.seq > entry.read_mark && message.counts && message.sender != user)
            .collect();
        assert_eq!(entry.unread, unread.len() as u64, "unread: user={user} peer={}", entry.peer);
        let goto = unread.first().map(|message| (message.seq, message.timestamp));
        assert_eq!(entry.goto, goto, "goto: user={user} peer={}", entry.peer);
        assert_eq!(entry.latest.first().map(|latest| latest.seq), messages.last().map(|last| last.seq));
        total += entry.unread;
    }
    assert_eq!(store.total_unread(user)?.unread, total, "total: user={user}");
    Ok(())
}

/// The whole history, in pages of an odd size.
fn all_messages(store: &Store, user: UserId, peer: Peer) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let after = messages.last().map_or(0, |last| last.seq.0);
        let query = HistoryQuery::oldest().seqs(restante::Seq(after + 1)..).limit(7);
        let page = store.history(user, peer, &query)?;
        if page.messages.is_empty() {
            return Ok(messages);
        }
        messages.extend(page.messages);
    }
}

/// Whether an error says that the disk is to blame, which only injected faults and damage explain.
pub fn is_disk_error(kind: ErrorKind) -> bool {
    use ErrorKind::{Corruption, Full, Io, Poisoned, Unknown};
    [Io, Full, Poisoned, Unknown, Corruption].contains(&kind)
}
