//! Makes a change in the store and in the model of a run and compares what both say of it.
//! Owns: which call of the store an operation is, tickets. May touch: `run`, `judge`, `op`, `trap`.
//! Never: decides what is right; that is the model's work.

use std::sync::Arc;

use restante::{
    ClientId, Draft, Durability, FlagChange, GroupSettings, Retention, Seq, Store, Ticket, Timeline, Timestamp, UserId,
};

use super::answer::{Admitted, Bytes, Plain, Written, plain, plain_effect};
use super::change::{Letter, Settings};
use super::judge::{Decision, Judge, Said, is_nameless};
use super::op::{How, Write};
use super::row::Row;
use super::run::{Checked, Run, same};
use super::word::{At, Flagging, KINDS, Keep, NAMES, Point, Post, Rules, To, With, group, mentions, user};

/// Three bodies of so many bytes are more than a batch may hold, and one is not.
const TOO_LONG_BYTES: usize = 6_000;

/// A change that was asked for and not yet waited for.
pub struct Kept {
    pub level: Durability,
    pub rests_on: u64,
    pub changed: bool,
    pub label: String,
    pub check: Box<dyn FnOnce() -> Checked>,
}

impl Run<'_> {
    pub fn write(&mut self, how: How, write: &Write) -> Checked {
        self.settle_for(write)?;
        if self.is_twice_wrong(write) {
            return Ok(());
        }
        let level = match how {
            How::Synced => Durability::Sync,
            How::Buffered => Durability::Buffered,
            _ => self.setup.durability,
        };
        self.note_level(level);
        let store = match how {
            How::Synced | How::Buffered => self.store().at(level),
            _ => self.store().clone(),
        };
        let decision = self.decide(&self.world.judge(), write);
        self.note_write(write, &decision);
        let kept = self.call(&store, level, write, &decision);
        self.world.carry_out(&decision);
        match how {
            How::Later => self.kept.push(kept),
            How::Dropped => drop(kept),
            _ => self.acknowledge(kept)?,
        }
        Ok(())
    }

    /// Makes what is sequenced and unseen visible first, where it would leave open what the answer is:
    /// marks and the like are clamped to what is published, what is not there may be answered from what
    /// is published, and limits are those in force.
    fn settle_for(&mut self, write: &Write) -> Checked {
        if self.world.is_settled() {
            return Ok(());
        }
        let (seen, sequenced) = (self.world.seen().state, self.world.sequenced().state);
        let mut is_open = seen.rules != sequenced.rules;
        if let Some((by, with)) = session_of(write) {
            let timeline = |view: &super::state::State| view.timeline(user(by), with.peer());
            let row = |view: &super::state::State| timeline(view).and_then(|it| view.row(user(by), it));
            let last = |view: &super::state::State| timeline(view).map(|it| view.last_seq(it));
            let needs_end = matches!(write, Write::UnreadFrom { .. } | Write::Hide { .. });
            // Where the session begins and ends is looked up in what is published; what it holds is not.
            let bounds = |row: Option<Row>| row.map(|row| (row.presence, row.ceiling, row.joined_version));
            let is_implied = matches!(timeline(sequenced), Some(Timeline::Broadcast(_)));
            is_open |= bounds(row(seen)) != bounds(row(sequenced)) || (is_implied && row(seen) != row(sequenced));
            is_open |= needs_end && last(seen) != last(sequenced);
            is_open |= timeline(seen).and_then(|it| seen.line(it).dissolved())
                != timeline(sequenced).and_then(|it| sequenced.line(it).dissolved());
        }
        let (early, late) = (self.decide(&self.world.judge_seen(), write), self.decide(&self.world.judge(), write));
        // Recalls and edits wait for what is sequenced.
        let waits = matches!(write, Write::Recall { .. } | Write::Edit { .. });
        is_open |= !waits && early.is_not_found() != late.is_not_found();
        // What is removed, and what is older than a moment, is looked up in what is published.
        is_open |= matches!(write, Write::RemoveUser { .. } | Write::Maintain { .. });
        if is_open { self.sync() } else { Ok(()) }
    }

    /// Whether something is above a limit and faulty too: which of the two is told first is open.
    fn is_twice_wrong(&self, write: &Write) -> bool {
        let judge = self.world.judge();
        let letters = match write {
            Write::Append(post) => vec![self.letter(post)],
            Write::Batch(posts) => posts.iter().map(|post| self.letter(post)).collect(),
            Write::Edit { by, to, text, .. } => {
                return is_nameless(to.timeline(*by)) && judge.is_long(text.1);
            }
            _ => return false,
        };
        letters.iter().any(|letter| judge.is_above(letter)) && letters.iter().any(|letter| judge.is_faulty(letter))
    }

    pub fn decide(&self, judge: &Judge<'_>, write: &Write) -> Decision {
        match write {
            Write::Append(post) => judge.append(&self.letter(post)),
            Write::Batch(posts) => {
                let letters: Vec<Letter> = posts.iter().map(|post| self.letter(post)).collect();
                judge.append_batch(&letters)
            }
            Write::TooLong { .. } => judge.too_long(TOO_LONG_BYTES),
            Write::Recall { by, to, seq } => {
                let timeline = to.timeline(*by);
                judge.recall(user(*by), timeline, self.point_in(timeline, *seq))
            }
            Write::Edit { by, to, seq, text } => {
                let timeline = to.timeline(*by);
                judge.edit(user(*by), timeline, self.point_in(timeline, *seq), Bytes(text.bytes()))
            }
            Write::Hide { by, with, seqs } => judge.hide(user(*by), with.peer(), &self.points(*by, *with, seqs)),
            Write::Read { by, with, upto } => judge.mark_read(user(*by), with.peer(), self.point(*by, *with, *upto)),
            Write::UnreadFrom { by, with, seq } => {
                judge.mark_unread_from(user(*by), with.peer(), self.point(*by, *with, *seq))
            }
            Write::Delivered { by, with, upto } => {
                judge.mark_delivered(user(*by), with.peer(), self.point(*by, *with, *upto))
            }
            Write::Clear { by, with, upto } => judge.clear(user(*by), with.peer(), self.point(*by, *with, *upto)),
            Write::Remove { by, with } => judge.remove_session(user(*by), with.peer()),
            Write::Flags { by, with, flags } => judge.set_flags(user(*by), with.peer(), *flags),
            Write::Metadata { by, with, text } => judge.set_metadata(user(*by), with.peer(), Bytes(text.bytes())),
            Write::Create { group: number, shows_history, members_only, keep: kept } => {
                judge.create_group(group(*number), settings(*shows_history, *members_only, *kept))
            }
            Write::SetGroup { group: number, shows_history, members_only, keep: kept } => {
                judge.set_group(group(*number), settings(*shows_history, *members_only, *kept))
            }
            Write::GroupMetadata { group: number, text } => {
                judge.set_group_metadata(group(*number), Bytes(text.bytes()))
            }
            Write::Dissolve { group: number } => judge.dissolve(group(*number)),
            Write::Join { group: number, by } => judge.join(group(*number), user(*by)),
            Write::JoinMany { group: number, users } => {
                let users: Vec<UserId> = users.iter().map(|number| user(*number)).collect();
                judge.join_many(group(*number), &users)
            }
            Write::Leave { group: number, by } => judge.leave(group(*number), user(*by)),
            Write::Role { group: number, by, role } => judge.set_role(group(*number), user(*by), *role),
            Write::MemberData { group: number, by, text } => {
                judge.set_member_data(group(*number), user(*by), Bytes(text.bytes()))
            }
            Write::Silence { group: number, by, micros } => {
                judge.silence(group(*number), user(*by), self.until(*micros))
            }
            Write::AddUser { by } => judge.add_user(user(*by)),
            Write::RemoveUser { by, recall_all } => judge.remove_user(user(*by), *recall_all),
            Write::Resolve { kind, name } => judge.resolve_or_create(*kind, *name),
            Write::FreeName { kind, name } => judge.free_name(*kind, *name),
            Write::Settings(rules) => judge.set_settings(*rules),
            Write::Maintain { offset } => judge.maintain(self.moment(*offset)),
        }
    }

    /// The call of the store; the model has not made the change yet.
    fn call(&mut self, store: &Store, level: Durability, write: &Write, decision: &Decision) -> Kept {
        let keep = Keeper { label: format!("{write:?}"), level, decision };
        match write {
            Write::Append(post) => {
                let letter = self.letter(post);
                self.note_bytes(post.text.1);
                keep.ticket(store.append(draft(post, &letter)), |it| Said::Written(Written::from(it)))
            }
            Write::Batch(posts) => {
                let letters: Vec<Letter> = posts.iter().map(|post| self.letter(post)).collect();
                self.note_bytes(posts.iter().map(|post| post.text.1).sum());
                let drafts: Vec<Draft<'_>> = posts.iter().zip(&letters).map(|(post, it)| draft(post, it)).collect();
                let ticket = store.append_batch(&drafts);
                keep.ticket(ticket, |all| Said::All(all.into_iter().map(Written::from).collect()))
            }
            Write::TooLong { by, to } => {
                let body = [7; TOO_LONG_BYTES];
                let drafts = [Draft::direct(user(*by), user(*to), &body); 3];
                let ticket = store.append_batch(&drafts);
                keep.ticket(ticket, |all| Said::All(all.into_iter().map(Written::from).collect()))
            }
            Write::Recall { by, to, seq } => {
                let timeline = to.timeline(*by);
                let seq = self.point_in(timeline, *seq);
                keep.effect(store.recall(user(*by), timeline, Seq(seq)))
            }
            Write::Edit { by, to, seq, text } => {
                let timeline = to.timeline(*by);
                let seq = self.point_in(timeline, *seq);
                keep.effect(store.edit(user(*by), timeline, Seq(seq), &text.bytes()))
            }
            Write::Hide { by, with, seqs } => {
                let seqs: Vec<Seq> = self.points(*by, *with, seqs).into_iter().map(Seq).collect();
                keep.effect(store.hide(user(*by), with.peer(), &seqs))
            }
            Write::Read { by, with, upto } => {
                keep.effect(store.mark_read(user(*by), with.peer(), Seq(self.point(*by, *with, *upto))))
            }
            Write::UnreadFrom { by, with, seq } => {
                keep.effect(store.mark_unread_from(user(*by), with.peer(), Seq(self.point(*by, *with, *seq))))
            }
            Write::Delivered { by, with, upto } => {
                keep.effect(store.mark_delivered(user(*by), with.peer(), Seq(self.point(*by, *with, *upto))))
            }
            Write::Clear { by, with, upto } => {
                keep.effect(store.clear(user(*by), with.peer(), Seq(self.point(*by, *with, *upto))))
            }
            Write::Remove { by, with } => keep.effect(store.remove_session(user(*by), with.peer())),
            Write::Flags { by, with, flags } => {
                keep.effect(store.set_flags(user(*by), with.peer(), real_flags(*flags)))
            }
            Write::Metadata { by, with, text } => {
                keep.effect(store.set_metadata(user(*by), with.peer(), &text.bytes()))
            }
            Write::Create { group: number, shows_history, members_only, keep: kept } => keep.effect(
                store.create_group(group(*number), real_settings(settings(*shows_history, *members_only, *kept))),
            ),
            Write::SetGroup { group: number, shows_history, members_only, keep: kept } => keep
                .effect(store.set_group(group(*number), real_settings(settings(*shows_history, *members_only, *kept)))),
            Write::GroupMetadata { group: number, text } => {
                keep.effect(store.set_group_metadata(group(*number), &text.bytes()))
            }
            Write::Dissolve { group: number } => keep.effect(store.dissolve(group(*number))),
            Write::Join { group: number, by } => keep.effect(store.join(group(*number), user(*by))),
            Write::JoinMany { group: number, users } => {
                let users: Vec<UserId> = users.iter().map(|number| user(*number)).collect();
                keep.ticket(store.join_many(group(*number), &users), |it| Said::Admitted(Admitted::from(it)))
            }
            Write::Leave { group: number, by } => keep.effect(store.leave(group(*number), user(*by))),
            Write::Role { group: number, by, role } => keep.effect(store.set_role(group(*number), user(*by), *role)),
            Write::MemberData { group: number, by, text } => {
                keep.effect(store.set_member_data(group(*number), user(*by), &text.bytes()))
            }
            Write::Silence { group: number, by, micros } => {
                keep.effect(store.silence(group(*number), user(*by), Timestamp(self.until(*micros))))
            }
            Write::AddUser { by } => keep.effect(store.add_user(user(*by))),
            Write::RemoveUser { by, recall_all } => {
                let removed = store.remove_user(user(*by), *recall_all);
                keep.answer(plain(removed, |it| Said::Dropped {
                    sessions: it.sessions,
                    recalled: it.recalled,
                    names: it.names,
                }))
            }
            Write::Resolve { kind, name } => {
                let ticket = store.resolve_or_create(KINDS[*kind as usize], NAMES[*name as usize]);
                keep.ticket(ticket, |it| Said::Named { id: it.id, created: it.created })
            }
            Write::FreeName { kind, name } => {
                keep.effect(store.free_name(KINDS[*kind as usize], NAMES[*name as usize]))
            }
            Write::Settings(rules) => keep.effect(store.set_settings(real_rules(*rules))),
            Write::Maintain { offset } => {
                let ticket = store.maintain(Timestamp(self.moment(*offset)));
                keep.ticket(ticket, |it| Said::Maintained {
                    horizon: it.horizon.get(),
                    version: plain_effect(it.effect),
                    timelines: it.timelines_trimmed,
                    messages: it.messages_trimmed,
                })
            }
        }
    }

    pub fn letter(&self, post: &Post) -> Letter {
        let timeline = post.timeline();
        let view = self.world.sequenced();
        let last = view.state.last_timestamp(timeline);
        let timestamp = match post.at {
            At::Unset => None,
            At::Last(offset) => Some(last.saturating_add_signed(offset).max(1)),
            At::Store(offset) => Some(view.store_time().saturating_add_signed(offset).max(1)),
        };
        Letter {
            timeline,
            sender: user(post.by),
            body: Bytes(post.text.bytes()),
            kind: post.kind,
            counts: post.counts,
            client_id: u128::from(post.id),
            timestamp,
            mentions: mentions(post.mentions),
            alerts: post.alerts,
        }
    }

    /// A seq of a user's session.
    pub fn point(&self, by: u8, with: With, point: Point) -> u64 {
        let state = self.world.sequenced().state;
        let timeline = state.timeline(user(by), with.peer());
        let last = timeline.map_or(0, |timeline| state.last_seq(timeline));
        let row = timeline.and_then(|timeline| state.row(user(by), timeline));
        let end = row.map_or(last, |row| row.end(last));
        match point {
            Point::Seq(seq) => seq,
            Point::End(offset) => end.saturating_add_signed(offset),
        }
    }

    pub fn points(&self, by: u8, with: With, points: &[Point]) -> Vec<u64> {
        points.iter().map(|point| self.point(by, with, *point)).collect()
    }

    /// A seq of a timeline.
    pub fn point_in(&self, timeline: Timeline, point: Point) -> u64 {
        match point {
            Point::Seq(seq) => seq,
            Point::End(offset) => self.world.sequenced().state.last_seq(timeline).saturating_add_signed(offset),
        }
    }

    fn until(&self, micros: Option<u64>) -> u64 {
        micros.map_or(0, |micros| self.world.sequenced().store_time() + micros)
    }

    fn moment(&self, offset: i64) -> u64 {
        self.world.sequenced().store_time().saturating_add_signed(offset)
    }
}

/// The session that a call is about, where it is about one.
fn session_of(write: &Write) -> Option<(u8, With)> {
    match write {
        Write::Read { by, with, .. }
        | Write::UnreadFrom { by, with, .. }
        | Write::Delivered { by, with, .. }
        | Write::Clear { by, with, .. }
        | Write::Remove { by, with }
        | Write::Hide { by, with, .. }
        | Write::Flags { by, with, .. }
        | Write::Metadata { by, with, .. } => Some((*by, *with)),
        _ => None,
    }
}

/// Turns the answer of the store into a check against the model's.
struct Keeper<'d> {
    label: String,
    level: Durability,
    decision: &'d Decision,
}

impl Keeper<'_> {
    fn effect(self, ticket: Ticket<restante::Effect>) -> Kept {
        self.ticket(ticket, |effect| Said::Version(plain_effect(effect)))
    }

    fn ticket<T: 'static>(self, ticket: Ticket<T>, into: impl FnOnce(T) -> Said + 'static) -> Kept {
        let model = self.decision.result.clone();
        let label = self.label.clone();
        self.kept(move || same(&label, &plain(ticket.wait(), into), &model))
    }

    fn answer(self, store: Plain<Said>) -> Kept {
        let model = self.decision.result.clone();
        let label = self.label.clone();
        self.kept(move || same(&label, &store, &model))
    }

    fn kept(self, check: impl FnOnce() -> Checked + 'static) -> Kept {
        let Keeper { level, decision, label } = self;
        Kept { level, rests_on: decision.rests_on, changed: decision.changes(), label, check: Box::new(check) }
    }
}

pub fn settings(shows_history: bool, members_only: bool, keep: Option<Keep>) -> Settings {
    Settings { shows_history, members_only, keep }
}

pub fn real_settings(settings: Settings) -> GroupSettings {
    GroupSettings::default()
        .shows_history(settings.shows_history)
        .members_only(settings.members_only)
        .retention(settings.keep.map(real_keep))
}

fn real_keep(keep: Keep) -> Retention {
    Retention::default().age_secs(keep.age_secs).count(keep.count).body_bytes(keep.body_bytes)
}

pub fn real_rules(rules: Rules) -> restante::Settings {
    restante::Settings::default()
        .dedup_window_secs(rules.dedup_window_secs)
        .body_bytes_max(rules.body_bytes_max)
        .mentions_max(rules.mentions_max)
        .latest_bytes_max(rules.latest_bytes_max)
        .retention_user(real_keep(rules.keeps[0]))
        .retention_group(real_keep(rules.keeps[1]))
        .retention_system(real_keep(rules.keeps[2]))
        .retention_business(real_keep(rules.keeps[3]))
}

pub fn real_flags(flags: Flagging) -> FlagChange {
    let mut change = FlagChange::new();
    if let Some(pinned) = flags.pinned {
        change = change.pinned(pinned);
    }
    if let Some(muted) = flags.muted {
        change = change.muted(muted);
    }
    if let Some(marked_unread) = flags.marked_unread {
        change = change.marked_unread(marked_unread);
    }
    change
}

/// What the store is given for a letter; by the short constructors where they can say it.
fn draft<'l>(post: &Post, letter: &'l Letter) -> Draft<'l> {
    let body = &letter.body.0;
    let draft = match (post.to, letter.timeline) {
        (To::User(number), _) => Draft::direct(letter.sender, user(number), body),
        (To::Group(number), _) => Draft::group(group(number), letter.sender, body),
        (To::Inbox(..), Timeline::Inbox(source, recipient)) if letter.sender.is_none() => {
            Draft::inbox(source, recipient, body)
        }
        (To::Broadcast(source), _) if letter.sender.is_none() => Draft::broadcast(source.source(), body),
        _ => Draft::new(letter.timeline, letter.sender, body),
    };
    dress(draft, letter)
}

pub fn dress<'l>(draft: Draft<'l>, letter: &'l Letter) -> Draft<'l> {
    let draft = draft.kind(letter.kind).counts(letter.counts).client_id(ClientId(letter.client_id));
    let draft = draft.mentions(&letter.mentions).alerts(letter.alerts);
    match letter.timestamp {
        Some(timestamp) => draft.timestamp(Timestamp(timestamp)),
        None => draft,
    }
}

/// For making the same log again.
pub fn dressed<'l>(letter: &'l Arc<Letter>) -> Draft<'l> {
    dress(Draft::new(letter.timeline, letter.sender, &letter.body.0), letter)
}
