//! Whether an index tells of all records of its unit, and of no others.
//! Owns: that comparison. May touch: the rest of `segment`, `change`, `journal`.
//! Never: changes what it looks at, or judges what records say.

use super::chunk::{Chunk, IndexKey};
use super::messages::sort_out;
use super::unite::{read_entry, sweep};
use super::units::Unit;
use crate::change::Change;
use crate::error::{Error, Result};
use crate::id::Timeline;
use std::sync::Arc;

/// The chunks of one timeline so far.
struct Run {
    timeline: Timeline,
    previous: u64,
    count: u64,
    next_seq: u64,
}

/// Reads every byte of a unit's index, every record that it tells of, and every record of its file, and gives `damage`
/// what is wrong. An error means that something could not be read.
pub(crate) fn verify_unit(unit: &Arc<Unit>, damage: &mut dyn FnMut(Error)) -> Result<()> {
    let mut is_damaged = false;
    for table in unit.index.tables() {
        table.verify(&mut |error| {
            is_damaged = true;
            damage(error);
        })?;
    }
    if is_damaged {
        return Ok(());
    }
    match compare(unit) {
        Ok(()) => Ok(()),
        Err(error) => sort_out(error, damage),
    }
}

fn compare(unit: &Arc<Unit>) -> Result<()> {
    let (mut indexed, mut edits) = (0, 0);
    let mut run: Option<Run> = None;
    sweep(std::slice::from_ref(unit), &mut |entry| {
        let mut messages = Vec::new();
        read_entry(&entry, &mut |_, _, whole| {
            let decoded = whole.decoded();
            match decoded.change {
                Change::Append(append) => {
                    let body_bytes = (decoded.tail.len() - usize::from(append.mention_bytes)) as u64;
                    messages.push((decoded.commit.version, append.timestamp, body_bytes));
                }
                _ => edits += 1,
            }
            Ok(())
        })?;
        let IndexKey::Chunk { timeline, first_seq } = entry.key else { return Ok(()) };
        let wrong = || entry.unit.index_damage("a chunk that tells of its messages", format!("{:?}", entry.key));
        let chunk = Chunk::decode(first_seq, entry.value).ok_or_else(wrong)?;
        let before = run.take().filter(|run| run.timeline == timeline);
        let Run { previous, count, next_seq, .. } =
            before.unwrap_or(Run { timeline, previous: chunk.previous, count: 0, next_seq: first_seq });
        let (first, last) = (messages.first().ok_or_else(wrong)?, messages.last().ok_or_else(wrong)?);
        let follows = (chunk.previous, chunk.before, first_seq) == (previous, count, next_seq);
        let tells = chunk.previous < entry.unit.lo
            && (chunk.first_version, chunk.first_timestamp) == (first.0, first.1)
            && chunk.last_timestamp == last.1
            && chunk.body_bytes == messages.iter().map(|message| message.2).sum::<u64>();
        if !follows || !tells {
            return Err(wrong());
        }
        indexed += chunk.count;
        run = Some(Run { timeline, previous, count: count + chunk.count, next_seq: chunk.last_seq() + 1 });
        Ok(())
    })?;
    // What the index names is there, each once; so is everything else if the numbers are the same.
    let (mut messages_found, mut edits_found) = (0, 0);
    unit.records.walk(&mut |record| {
        match record.decoded.change {
            Change::Append(_) => messages_found += 1,
            Change::Amend(amend) if !amend.recalls => edits_found += 1,
            _ => {}
        }
        Ok(())
    })?;
    if (indexed, edits) != (messages_found, edits_found) {
        let found = format!("messages={indexed} edits={edits}");
        let expected = format!("messages={messages_found} edits={edits_found}");
        return Err(unit.index_damage(&expected, found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::JournalIndex;
    use super::super::tests::World;
    use super::*;
    use crate::id::GroupId;
    use crate::journal::Records;
    use crate::segment::Runs;

    fn told(unit: &Arc<Unit>) -> Vec<String> {
        let mut told = Vec::new();
        verify_unit(unit, &mut |error| told.push(error.to_string())).unwrap();
        told
    }

    /// The index of another journal in place of its own.
    fn with_index_of(world: &World, records: &Records, previous: u64, unit: &Unit) -> Arc<Unit> {
        let made = JournalIndex::of(records, &mut |_, _| Ok(())).unwrap();
        let mut id = 800 + 100 * records.id() + 10 * previous;
        let mut next_id = || {
            id += 1;
            id
        };
        let tables = made.write(&world.storage, world.index_plan(0), &mut next_id, &mut |_| Ok(previous)).unwrap();
        Arc::new(Unit { index: Runs::new(tables).unwrap(), ..unit.clone() })
    }

    #[test]
    fn an_index_that_tells_of_other_records_is_damage() {
        let mut world = World::new(7, 16 << 10);
        let timeline = Timeline::Group(GroupId(1));
        for bodies in [[3, 3, 3], [3, 4, 3], [3, 3, 3]] {
            bodies.iter().for_each(|bytes| world.append(timeline, vec![1; *bytes]));
            world.roll();
        }
        let units: Vec<_> = (0..3).map(|index| world.seal(index)).collect();
        units.iter().for_each(|unit| assert_eq!(told(unit), Vec::<String>::new()));
        assert_eq!(told(&with_index_of(&world, &units[0].records, 0, &units[0])).len(), 0);
        assert_eq!(told(&with_index_of(&world, &units[1].records, 0, &units[0])).len(), 1);
        // One that leads to where it stands.
        assert_eq!(told(&with_index_of(&world, &units[0].records, 1, &units[0])).len(), 1);
        let empty = Arc::new(Unit { index: Runs::new(Vec::new()).unwrap(), ..(*units[0]).clone() });
        let told = told(&empty);
        assert!(told.len() == 1 && told[0].ends_with("want=messages=3 edits=0 got=messages=0 edits=0"), "{told:?}");
    }

    #[test]
    fn a_unit_of_random_changes_is_whole() {
        let mut world = World::new(8, 24 << 10);
        world.units(3).iter().for_each(|unit| assert_eq!(told(unit), Vec::<String>::new()));
    }
}
