//! Looks at every byte of a table.
//! Owns: what a whole file must be. May touch: `block`, `filter`, `footer`, `header`, `storage`.
//! Never: stops at the first damage, or changes anything.

use super::super::header::read_header;
use super::block::{Block, BlockPlace, CRC_BYTES};
use super::filter::{LINE_BYTES, line_check, line_has, line_is_good, line_of, prefix_hash};
use super::footer::{FOOTER_BYTES, Footer};
use super::{Region, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::REWRITABLE_BYTES;
use xxhash_rust::xxh3::Xxh3;

/// What a walk over the blocks has seen so far.
#[derive(Default)]
struct Walk {
    /// Where the next data block and the next index block must begin.
    data_offset: u64,
    index_offset: u64,
    last_key: Vec<u8>,
    data_block_count: u64,
    entry_count: u64,
    tombstone_count: u64,
    prefix_count: u64,
    last_hash: Option<u64>,
    scratch: Vec<u8>,
}

/// Takes an entry: its key, the bytes of it that filters are asked with, its value.
pub(crate) type Salvaged<'a> = dyn FnMut(&[u8], usize, Option<&[u8]>) -> Result<()> + 'a;
/// Takes the ends of a stretch of keys.
pub(crate) type LostKeys<'a> = dyn FnMut(Option<&[u8]>, &[u8]) + 'a;

impl Table {
    /// Tells `damage` of everything in the file that is not as it was written, each with its offset.
    ///
    /// # Errors
    /// Only if the file cannot be read.
    pub fn verify(&self, damage: &mut dyn FnMut(Error)) -> Result<()> {
        self.check_again();
        let mut damage_count = 0;
        let mut note = |error: Error| match error.kind() {
            ErrorKind::Corruption | ErrorKind::Unsupported => {
                damage_count += 1;
                damage(error);
                Ok(())
            }
            _ => Err(error),
        };
        match read_header(&*self.file, &self.path) {
            Ok(header) if header == self.header => {}
            Ok(_) => note(self.damaged(0, "the header that was there"))?,
            Err(error) => note(error)?,
        }
        let footer_offset = self.info.bytes - FOOTER_BYTES as u64;
        match Footer::read(&*self.file, &self.path, self.seed) {
            Ok(footer) if footer == self.footer => {}
            Ok(_) => note(self.damaged(footer_offset, "the footer that was there"))?,
            Err(error) => note(error)?,
        }
        self.verify_padding().or_else(&mut note)?;

        let mut digest = Xxh3::new();
        digest.update(&self.seed.to_le_bytes());
        let mut index_checks = Vec::new();
        let mut walk =
            Walk { data_offset: REWRITABLE_BYTES, index_offset: self.footer.index_offset(), ..Walk::default() };
        for index in 0..self.top.places.len() {
            self.verify_index_block(index, &mut walk, &mut digest, &mut index_checks, &mut note)?;
        }
        for line in 0..self.footer.filter_lines {
            let offset = self.footer.filter_offset() + line * LINE_BYTES as u64;
            let bytes = self.filter_line(offset)?;
            if !line_is_good(&bytes, self.seed, offset) {
                note(self.damaged(offset, "a line of the filter with its checksum"))?;
            }
            digest.update(line_check(&bytes));
        }
        let top_place = self.top_place();
        match self.block_bytes(top_place, &mut walk.scratch).and_then(|_| self.read_top()) {
            Ok(top) if top == self.top => {}
            Ok(_) => note(self.malformed(top_place))?,
            Err(error) => note(error)?,
        }
        digest.update(&index_checks);
        digest.update(&self.stored_check(top_place)?);
        digest.update(&self.footer.digested());

        // Sums of what was found; they say nothing new about a block that could not be read.
        let footer = &self.footer;
        if damage_count == 0 {
            let found = (walk.data_offset, walk.index_offset, walk.data_block_count, self.top.places.len() as u64);
            let expected = (footer.data_end, footer.top_offset, footer.data_block_count, footer.index_block_count);
            let found_counts = (walk.entry_count, walk.tombstone_count, walk.prefix_count);
            let counts = (footer.entry_count, footer.tombstone_count, footer.prefix_count);
            if found != expected || found_counts != counts || walk.last_key != self.last_key() {
                let (expected, found) = (format!("{expected:?} {counts:?}"), format!("{found:?} {found_counts:?}"));
                damage(Error::corruption_at(&self.path, footer_offset, expected, found));
            } else if digest.digest() != footer.digest {
                damage(self.damaged(footer_offset, "the digest of what is there"));
            }
        }
        Ok(())
    }

    /// Gives `each` all entries of good blocks, ascending, and `lost` the ends of each stretch of keys of which a block
    /// is damaged: those above the first and up to the second; none where the table begins.
    pub fn salvage(&self, each: &mut Salvaged<'_>, lost: &mut LostKeys<'_>) -> Result<()> {
        self.check_again();
        let is_damage = |error: &Error| error.kind() == ErrorKind::Corruption;
        let mut before: Option<Vec<u8>> = None;
        for index in 0..self.top.places.len() {
            let place = self.top.places[index];
            let mut data_blocks: Vec<(Vec<u8>, BlockPlace)> = Vec::new();
            let read = self.block(place, &mut Vec::new()).and_then(|block| {
                let checked = block.check(|key, _, value| {
                    let Ok(data_place) = self.place(value, Region::Data, place) else { return false };
                    data_blocks.push((key.to_vec(), data_place));
                    true
                });
                checked.map_err(|_| self.malformed(place))
            });
            match read {
                Err(error) if is_damage(&error) => {
                    lost(before.as_deref(), self.top.key(index + 1));
                    before = Some(self.top.key(index + 1).to_vec());
                    continue;
                }
                read => read?,
            }
            for (last_key, data_place) in data_blocks {
                let mut entries = Vec::new();
                let read = self.block(data_place, &mut Vec::new()).and_then(|block| {
                    let checked = block.check(|key, filter_prefix, value| {
                        entries.push((key.to_vec(), filter_prefix, value.map(<[u8]>::to_vec)));
                        true
                    });
                    checked.map_err(|_| self.malformed(data_place))
                });
                match read {
                    Err(error) if is_damage(&error) => lost(before.as_deref(), &last_key),
                    read => {
                        read?;
                        for (key, filter_prefix, value) in &entries {
                            each(key, *filter_prefix, value.as_deref())?;
                        }
                    }
                }
                before = Some(last_key);
            }
        }
        Ok(())
    }

    fn verify_padding(&self) -> Result<()> {
        let (start, end) = (self.footer.data_end, self.footer.filter_offset());
        let mut bytes = [0; LINE_BYTES];
        let bytes = &mut bytes[..(end - start) as usize];
        self.file.read_at(start, bytes).map_err(|error| Error::io("read", &self.path, error))?;
        match bytes.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(index) => Err(self.damaged(start + index as u64, "0")),
        }
    }

    fn verify_index_block(
        &self,
        index: usize,
        walk: &mut Walk,
        digest: &mut Xxh3,
        index_checks: &mut Vec<u8>,
        note: &mut dyn FnMut(Error) -> Result<()>,
    ) -> Result<()> {
        let place = self.top.places[index];
        if u64::from(place.offset) != walk.index_offset {
            note(self.malformed(place))?;
        }
        walk.index_offset = u64::from(place.offset) + u64::from(place.length);
        index_checks.extend_from_slice(&self.stored_check(place)?);
        let mut data_blocks: Vec<(Vec<u8>, BlockPlace)> = Vec::new();
        let checked = self.block(place, &mut walk.scratch).and_then(|block| {
            let checked = block.check(|key, filter_prefix, value| {
                let Ok(data_place) = self.place(value, Region::Data, place) else { return false };
                data_blocks.push((key.to_vec(), data_place));
                filter_prefix == 0
            });
            let is_last = data_blocks.last().is_some_and(|(key, _)| *key == self.top.key(index + 1));
            if checked.is_ok() && is_last { Ok(()) } else { Err(self.malformed(place)) }
        });
        checked.or_else(&mut *note)?;
        for (last_key, data_place) in data_blocks {
            if u64::from(data_place.offset) != walk.data_offset {
                note(self.malformed(place))?;
            }
            walk.data_offset = u64::from(data_place.offset) + u64::from(data_place.length);
            walk.data_block_count += 1;
            digest.update(&self.stored_check(data_place)?);
            self.verify_data_block(data_place, &last_key, walk).or_else(&mut *note)?;
        }
        Ok(())
    }

    fn verify_data_block(&self, place: BlockPlace, last_key: &[u8], walk: &mut Walk) -> Result<()> {
        let mut scratch = std::mem::take(&mut walk.scratch);
        let block = self.block(place, &mut scratch)?;
        let is_whole = self.check_entries(block, walk)? && walk.last_key == last_key;
        walk.scratch = scratch;
        if is_whole { Ok(()) } else { Err(self.malformed(place)) }
    }

    /// Whether the entries of a data block ascend, and its prefixes are in the filter.
    fn check_entries(&self, block: Block<'_>, walk: &mut Walk) -> Result<bool> {
        let is_first_block = walk.data_block_count == 1;
        let mut is_first = true;
        let mut failed = None;
        let checked = block.check(|key, filter_prefix, value| {
            let is_above = if is_first_block && is_first { key == self.first_key() } else { *walk.last_key < *key };
            is_first = false;
            walk.last_key.clear();
            walk.last_key.extend_from_slice(key);
            walk.entry_count += 1;
            walk.tombstone_count += u64::from(value.is_none());
            let hash = (filter_prefix > 0).then(|| prefix_hash(&key[..filter_prefix]));
            let is_known = match hash.filter(|_| walk.last_hash != hash) {
                None => true,
                Some(hash) => {
                    walk.last_hash = Some(hash);
                    walk.prefix_count += 1;
                    self.is_in_filter(hash).unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
                }
            };
            is_above && is_known
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(checked.is_ok()),
        }
    }

    /// Whether a prefix was added, in a line that is not damaged; one that is, is told of by itself.
    fn is_in_filter(&self, hash: u64) -> Result<bool> {
        if self.footer.filter_lines == 0 {
            return Ok(false);
        }
        let offset = self.footer.filter_offset() + line_of(hash, self.footer.filter_lines) * LINE_BYTES as u64;
        let line = self.filter_line(offset)?;
        Ok(!line_is_good(&line, self.seed, offset) || line_has(&line, hash))
    }

    fn filter_line(&self, offset: u64) -> Result<[u8; LINE_BYTES]> {
        let mut line = [0; LINE_BYTES];
        self.file.read_at(offset, &mut line).map_err(|error| Error::io("read", &self.path, error))?;
        Ok(line)
    }

    /// The checksum of a block as it lies in the file.
    fn stored_check(&self, place: BlockPlace) -> Result<[u8; CRC_BYTES]> {
        let mut check = [0; CRC_BYTES];
        let offset = u64::from(place.offset) + u64::from(place.length) - CRC_BYTES as u64;
        self.file.read_at(offset, &mut check).map_err(|error| Error::io("read", &self.path, error))?;
        Ok(check)
    }
}
