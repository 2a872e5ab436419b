//! One journal file: its name, its header, its newest end; and the table of all files that hold records.
//! Owns: names, the first look at a file, the table. May touch: `frame`, `header`, `records`, `storage`.
//! Never: knows what a frame means; that is the writer's and the scan's work.

pub(super) use super::frame::digest_frame;
use super::header::{BadHeader, FRAMES_OFFSET, FileHeader, FirstPage, Stamp, UUID_OFFSET, read_page};
pub(super) use super::records::Place;
use super::records::{MESSAGES_BIT, Records, Sealed, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{REWRITABLE_BYTES, Storage, StorageFile};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

const SUFFIX: &str = ".journal";

/// The name of the journal file with this id.
pub(crate) fn journal_name(file_id: u64) -> String {
    format!("{file_id:016x}{SUFFIX}")
}

/// The id in the name of a journal file; `None` for any other name, however similar.
pub(crate) fn journal_id(name: &str) -> Option<u64> {
    let id = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (id != 0 && journal_name(id) == name).then_some(id)
}

/// A journal file that is open for reading, and for writing if it is the newest.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub header: FileHeader,
    records: Arc<Records>,
}

impl JournalFile {
    /// `end` is where the frames end that are already there, all of them known to be good.
    pub fn new(storage: &dyn Storage, header: FileHeader, handle: Arc<dyn StorageFile>, end: u64) -> JournalFile {
        let path = storage.path(&journal_name(header.file_id));
        let records = Records::trusted(handle, path, header.file_id, header.seed(), end);
        JournalFile { header, records: Arc::new(records) }
    }

    /// What it holds, for readers.
    #[cfg(test)]
    pub fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// Writes frames behind the present end and lets readers see them.
    pub fn append(&self, frames: &[u8]) -> Result<()> {
        let end = self.end();
        self.handle.write_at(end, frames).map_err(|error| Error::io("write", &self.path, error))?;
        self.extend(end + frames.len() as u64);
        Ok(())
    }

    /// Makes all frames durable.
    pub fn sync(&self) -> Result<()> {
        self.handle.sync().map_err(|error| Error::io("sync", &self.path, error))
    }

    /// Notes how far the file is synced. The note itself is not synced.
    pub fn stamp(&self, stamp: Stamp) -> Result<()> {
        stamp.write(&*self.handle, self.seed).map_err(|error| Error::io("write", &self.path, error))
    }
}

impl Deref for JournalFile {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}

/// Reads and judges the first page of what should be the journal file with this id.
pub(super) fn load_first_page(handle: &dyn StorageFile, path: &Path, file_id: u64) -> Result<FirstPage> {
    let page = read_page(handle).map_err(|error| Error::io("read", path, error))?;
    judge_first_page(page.as_ref(), handle.length(), path, file_id)
}

/// Judges what stands in the first page of a file of this length; a shorter file has none.
pub(super) fn judge_first_page(
    page: Option<&[u8; REWRITABLE_BYTES as usize]>,
    length: u64,
    path: &Path,
    file_id: u64,
) -> Result<FirstPage> {
    let Some(page) = page else {
        return Err(Error::corruption_at(path, length, "a header page", "the end of the file"));
    };
    let page = FileHeader::decode(page).map_err(|bad| match bad {
        BadHeader::Damaged { offset, expected, found } => Error::corruption_at(path, offset, expected, found),
        BadHeader::Unsupported { format, features } => Error::new(
            ErrorKind::Unsupported,
            format!("written by a newer version: file={} format={format} features={features:x}", path.display()),
        ),
    })?;
    let header = &page.header;
    if header.file_id != file_id {
        let (want, got) = (format!("file id {file_id}"), format!("file id {}", header.file_id));
        return Err(Error::corruption_at(path, 32, want, got));
    }
    if header.file_bytes != length || header.file_bytes > u64::from(u32::MAX) {
        let want = format!("{} bytes", header.file_bytes);
        return Err(Error::corruption_at(path, length, want, format!("{length} bytes")));
    }
    Ok(page)
}

/// Opens a journal that is complete and that this process has not gone through: only its header is read,
/// the rest is checked when it is first needed. `uuids` are those the store has had.
pub(crate) fn open_sealed(
    storage: &dyn Storage,
    file_id: u64,
    sealed: Sealed,
    uuids: &[[u8; 16]],
) -> Result<JournalFile> {
    let name = journal_name(file_id);
    let path = storage.path(&name);
    let handle = storage.open(&name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::corruption_at(&path, 0, "a live file", "no such file"),
        _ => Error::io("open", &path, error),
    })?;
    let FirstPage { header, .. } = load_first_page(&*handle, &path, file_id)?;
    if !uuids.contains(&header.uuid) {
        return Err(Error::corruption_at(&path, UUID_OFFSET, "a file of this store", "a file of another store"));
    }
    if !(FRAMES_OFFSET..=header.file_bytes).contains(&sealed.end) {
        let found = format!("{} bytes", header.file_bytes);
        return Err(Error::corruption_at(&path, sealed.end, "frames up to here", found));
    }
    let records = Records::sealed(handle, path, file_id, header.seed(), sealed);
    Ok(JournalFile { header, records: Arc::new(records) })
}

/// Reads every byte of a journal that is complete, up to its end, and gives `damage` what is wrong. An error means that
/// it could not be read.
#[cfg(test)]
pub(super) fn verify_journal(records: &Records, damage: &mut dyn FnMut(Error)) -> Result<()> {
    let looked = load_first_page(&*records.handle, &records.path, records.id()).and_then(|page| {
        if page.header.seed() != records.seed {
            return Err(Error::corruption_at(&records.path, 0, "the header that was read before", "another one"));
        }
        records.walk(&mut |_| Ok(()))
    });
    match looked {
        Err(error) if error.kind() == ErrorKind::Corruption => {
            damage(error);
            Ok(())
        }
        looked => looked,
    }
}

/// The live files of records, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileTable {
    /// Those of journals first, since their ids are lower; each kind ascending.
    files: Vec<(u64, Arc<Records>)>,
    /// Where the newest journal stands among them.
    newest: usize,
}

impl FileTable {
    /// Adds a journal.
    pub fn add(&mut self, file: Arc<JournalFile>) {
        self.insert(file.records.clone());
    }

    /// Adds a file, or puts it in place of the one with its id.
    pub fn insert(&mut self, records: Arc<Records>) {
        let id = records.id();
        match self.files.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(index) => self.files[index].1 = records,
            Err(index) => self.files.insert(index, (id, records)),
        }
        self.find_newest();
    }

    /// Takes a file away; false if it is not there.
    pub fn remove(&mut self, file_id: u64) -> bool {
        let Ok(index) = self.files.binary_search_by_key(&file_id, |(id, _)| *id) else { return false };
        self.files.remove(index);
        self.find_newest();
        true
    }

    fn find_newest(&mut self) {
        self.newest = self.files.partition_point(|(id, _)| *id < MESSAGES_BIT).saturating_sub(1);
    }

    pub fn get(&self, place: Place) -> Result<&Arc<Records>> {
        let id = place.file_id();
        // Journals mostly have ids that follow one another, so the newest is a good mark to count from.
        if let Some((newest, records)) = self.files.get(self.newest) {
            if *newest == id {
                return Ok(records);
            }
            let guess = newest.checked_sub(id).and_then(|back| self.newest.checked_sub(back as usize));
            if let Some((_, records)) = guess.map(|index| &self.files[index]).filter(|(guessed, _)| *guessed == id) {
                return Ok(records);
            }
        }
        match self.files.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(index) => Ok(&self.files[index].1),
            Err(_) => Err(not_live(place)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Records>> {
        self.files.iter().map(|(_, records)| records)
    }

    /// Reads the message at `place`.
    pub fn read(&self, place: Place) -> Result<Stored> {
        self.get(place)?.read(place.offset())
    }
}

#[cold]
fn not_live(place: Place) -> Error {
    let id = place.file_id();
    let name = if id < MESSAGES_BIT { journal_name(id) } else { format!("{:016x}.messages", id & !MESSAGES_BIT) };
    Error::corruption_at(Path::new(&name), place.offset(), "a live file", "no such file")
}

#[cfg(test)]
mod tests {
    use super::super::header::FILE_ID_MAX;
    use super::*;
    use crate::storage::SimStorage;

    #[test]
    fn only_exact_names_are_journal_files() {
        assert_eq!(journal_id("000000000000000a.journal"), Some(10));
        assert_eq!(journal_name(10), "000000000000000a.journal");
        for name in ["000000000000000A.journal", "a.journal", "+00000000000000a.journal", "0000000000000000.journal"] {
            assert_eq!(journal_id(name), None, "{name}");
        }
        for name in ["000000000000000a.journal.tmp", "000000000000000a.spare", "LOCK", ""] {
            assert_eq!(journal_id(name), None, "{name}");
        }
    }

    fn table_of(ids: &[u64]) -> FileTable {
        let storage = SimStorage::new(1);
        let mut table = FileTable::default();
        for id in ids {
            let handle = storage.create(&format!("{id}-{}", table.iter().count()), 8192).unwrap();
            table.insert(Arc::new(Records::trusted(handle, "file".into(), *id, 7, FRAMES_OFFSET)));
        }
        table
    }

    #[test]
    fn every_file_is_found_by_its_id_and_no_other() {
        let sets: [&[u64]; 5] =
            [&[], &[4], &[3, 4, 5, 9, 10], &[MESSAGES_BIT | 1], &[7, MESSAGES_BIT | 1, 8, MESSAGES_BIT | 6, 2]];
        for ids in sets {
            let mut table = table_of(ids);
            for id in (0..12).chain((0..12).map(|id| id | MESSAGES_BIT)) {
                let found = table.get(Place::new(id, 0)).map(|file| file.id()).ok();
                assert_eq!(found, ids.contains(&id).then_some(id), "{ids:?}");
            }
            for (index, id) in ids.iter().enumerate() {
                assert!(table.remove(*id) && !table.remove(*id));
                for id in ids {
                    let is_left = ids[index + 1..].contains(id);
                    assert_eq!(table.get(Place::new(*id, 0)).is_ok(), is_left, "{ids:?} {id}");
                }
            }
        }
    }

    #[test]
    fn a_file_put_in_anew_takes_the_place_of_the_old_one() {
        let mut table = table_of(&[3, 4]);
        let other = table_of(&[3]).files[0].1.clone();
        table.insert(other.clone());
        assert!(Arc::ptr_eq(table.get(Place::new(3, 0)).unwrap(), &other));
        assert_eq!(table.iter().count(), 2);
    }

    #[test]
    fn a_place_keeps_file_and_offset() {
        let place = Place::new(FILE_ID_MAX, 1 << 30);
        assert_eq!((place.file_id(), place.offset()), (FILE_ID_MAX, 1 << 30));
        let place = Place::new(FILE_ID_MAX | MESSAGES_BIT, u32::MAX.into());
        assert_eq!((place.file_id(), place.offset()), (FILE_ID_MAX | MESSAGES_BIT, u32::MAX.into()));
    }
}
