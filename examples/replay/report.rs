//! Prints what a run did and what a phone would show.
//! Owns: how numbers, times and lines look. May touch: the store's reads, `recount` to find a busy user.
//! Never: changes the store, judges what it shows; that is for `check`.

use std::collections::BTreeSet;

use restante::{
    Edge, Entry, HistoryQuery, ListQuery, Message, Page, Peer, Seq, SessionState, Store, Timestamp, UserId,
};

use crate::recount::Recount;
use crate::run::Run;
use crate::steps::{Names, Result, Scene};

const LINE_CHARACTERS: usize = 60;
const LIST_ENTRIES: usize = 12;
const PAGE_MESSAGES: usize = 10;
/// How often the devices sync in the last scene: half of it before the first one reads.
const SCENE_SYNCS: usize = 4;
/// How many users are looked at to find one with something unread.
const CANDIDATES: usize = 200;

/// What was done, and how fast.
pub fn totals(run: &Run) {
    let tally = &run.tally;
    if tally.steps_skipped > 0 {
        println!(
            "passed over {} steps that the store held already, {} messages among them",
            grouped(tally.steps_skipped),
            grouped(tally.messages_skipped)
        );
    }
    let seconds = run.elapsed.as_secs_f64();
    println!(
        "{} messages of {} users in {} timelines: {seconds:.2} s, {} messages/s ({:.2} s of it in the store)",
        grouped(tally.messages),
        grouped(run.recount.users().count() as u64),
        grouped(run.recount.rooms().len() as u64),
        grouped((tally.messages as f64 / seconds.max(1e-9)) as u64),
        run.in_store.as_secs_f64(),
    );
    println!(
        "{} batches, {} duplicates told apart, {} mentions, {} from sources; {} recalled, {} edited, {} times hidden",
        grouped(tally.batches),
        grouped(tally.duplicates),
        grouped(tally.mentions),
        grouped(tally.from_sources),
        grouped(tally.recalls),
        grouped(tally.edits),
        grouped(tally.hides),
    );
    println!(
        "{} marks moved, {} flags set, {} sessions cleared, {} removed, {} joins, {} leaves",
        grouped(tally.marks),
        grouped(tally.flags),
        grouped(tally.cleared),
        grouped(tally.removed),
        grouped(tally.joins),
        grouped(tally.leaves),
    );
    println!("{} times refused, {} times nothing to do", grouped(tally.refused), grouped(tally.unchanged));
}

/// What devices did that only ask for changes, and how the second one of a user learns that the first has read.
pub fn devices(run: &Run, scene: Scene, names: &Names) {
    println!("\ndevices, and the two of {} in {}:", names.user(scene.user), names.peer(scene.peer));
    for device in &run.devices.devices {
        println!(
            "  {:8}{:16}{:>5} syncs, {} entries, {} amendments, {} resets, {} sessions",
            device.name,
            cut(&names.user(device.user), 15),
            grouped(device.sync_count),
            grouped(device.entry_count),
            grouped(device.amendment_count),
            device.reset_count,
            device.shown.len()
        );
    }
    let sightings = &run.devices.sightings;
    let last = &sightings[sightings.len().saturating_sub(SCENE_SYNCS)..];
    for (index, (time, device, badge)) in last.iter().enumerate() {
        let before = if last.len() - index == SCENE_SYNCS / 2 { ", after the phone read to the end" } else { "" };
        println!("  {}  {device:8}shows badge {badge}{before}", when(*time));
    }
}

/// The session list of a busy user, the newest page of its fullest session, and the jump to the
/// oldest unread message there.
pub fn phone(store: &Store, recount: &Recount, names: &Names) -> Result<()> {
    let Some(user) = busy_user(recount) else {
        return Ok(());
    };
    let totals = store.total_unread(user)?;
    println!(
        "\nthe phone of {}, {} unread in all, {} in muted sessions, {} sessions marked unread:",
        names.user(user),
        grouped(totals.unread),
        grouped(totals.muted_unread),
        grouped(totals.marked_unread)
    );
    let recent = store.recent(user, None, &ListQuery::new().limit(LIST_ENTRIES))?;
    for entry in &recent.pinned {
        println!("* {}", list_line(entry, names));
    }
    for entry in &recent.entries {
        println!("  {}", list_line(entry, names));
    }
    if recent.before.is_some() {
        println!("  ... of {} sessions", recount.session_count(user));
    }
    let Some(entry) = recent.entries.iter().max_by_key(|entry| entry.unread) else {
        return Ok(());
    };
    let name = names.peer(entry.peer);
    let newest = store.history(user, entry.peer, &HistoryQuery::newest().limit(PAGE_MESSAGES))?;
    println!("\nthe newest page of {name}, {}:", covered(&newest));
    newest.messages.iter().for_each(|message| println!("  {}", message_line(message, names)));
    if let Some((goto, timestamp)) = entry.goto {
        let query = HistoryQuery::oldest().seqs(goto..).limit(PAGE_MESSAGES);
        let page = store.history(user, entry.peer, &query)?;
        println!("\nthe jump to the oldest unread, {} of {}, {}:", goto, when(timestamp), covered(&page));
        page.messages.iter().for_each(|message| println!("  {}", message_line(message, names)));
    }
    Ok(())
}

/// The user with most sessions; among equals the first one with something unread.
fn busy_user(recount: &Recount) -> Option<UserId> {
    let by_sessions: BTreeSet<_> =
        recount.users().map(|user| (usize::MAX - recount.session_count(user), user)).collect();
    let mut candidates = by_sessions.iter().map(|(_, user)| *user).take(CANDIDATES);
    let first = candidates.clone().next();
    candidates.find(|user| recount.sessions(*user).values().any(|session| session.unread > 0)).or(first)
}

fn list_line(entry: &Entry, names: &Names) -> String {
    let badge = if entry.unread == 0 { String::new() } else { grouped(entry.unread) };
    let name = cut(&names.peer(entry.peer), 18);
    let latest = entry.latest.first().map_or(String::new(), |message| match entry.peer {
        Peer::Group(_) => format!("{}: {}", names.user(message.sender), text_of(message)),
        _ => text_of(message),
    });
    let left = if entry.state == SessionState::Left { "(left) " } else { "" };
    let mentions = match &entry.mentions {
        mentions if mentions.count == 0 => String::new(),
        mentions => format!("@{}{}", mentions.count, if mentions.saturated { "+" } else { "" }),
    };
    let time = when(entry.activity);
    format!("{badge:>7} {mentions:5}  {name:18}  {time}  {left}{}", cut(&latest, LINE_CHARACTERS))
}

fn message_line(message: &Message, names: &Names) -> String {
    let sender = if message.sender.is_none() { String::new() } else { names.user(message.sender) + ": " };
    let text = sender + &text_of(message);
    format!("{:>7}  {}  {}", message.seq.get(), when(message.timestamp), cut(&text, LINE_CHARACTERS))
}

fn text_of(message: &Message) -> String {
    if message.recalled.is_some() {
        return "(recalled)".into();
    }
    String::from_utf8_lossy(&message.body).into_owned()
}

fn covered(page: &Page) -> String {
    let edge = |edge| match edge {
        Edge::More => "more",
        Edge::NotVisible => "not visible",
        Edge::End => "end",
        _ => "?",
    };
    let seqs = |(first, last): (Seq, Seq)| format!("seqs {} to {}", first.get(), last.get());
    let covers = page.covers.map_or("nothing".into(), seqs);
    format!("{covers}, older: {}, newer: {}", edge(page.older), edge(page.newer))
}

/// At most so many characters, on one line, without control characters.
fn cut(text: &str, characters: usize) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    if text.chars().count() <= characters {
        return text.chars().map(plain).collect();
    }
    text.chars().map(plain).take(characters - 1).chain(['…']).collect()
}

/// A number with a comma at every third digit.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as date and time of day, UTC. The date is found by counting in 400-year cycles that begin
/// on 1 March, so that the leap day is the last of its year.
pub fn when(time: Timestamp) -> String {
    let seconds = time.get() / 1_000_000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}
