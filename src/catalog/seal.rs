//! Whether the files of a directory are those that were left there, byte for byte.
//! Owns: the seal: what it covers and its bytes. May touch: nothing.
//! Never: follows a link, or reads more than it was told that there may be.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | "rstn.cat" |
/// | 8 | 4 | format, 1 |
/// | 12 | 4 | zero |
/// | 16 | 16 | XXH3 of every file: length of its path, path, length, bytes |
pub(super) const SEAL_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"rstn.cat";
const FORMAT: u32 = 1;
/// sled's own directory and one below it.
const DEPTH_MAX: usize = 2;

/// The seal of a directory as it is. An error if it holds more than `bytes_max`, or anything that is neither a
/// file nor a directory.
pub(super) fn of(directory: &Path, bytes_max: u64) -> io::Result<[u8; SEAL_BYTES]> {
    let mut digest = Xxh3::new();
    let mut bytes_left = bytes_max;
    add(&mut digest, directory, &mut OsString::new(), DEPTH_MAX, &mut bytes_left)?;
    let mut seal = [0; SEAL_BYTES];
    seal[..8].copy_from_slice(&MAGIC);
    seal[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    seal[16..].copy_from_slice(&digest.digest128().to_le_bytes());
    Ok(seal)
}

fn add(digest: &mut Xxh3, directory: &Path, path: &mut OsString, depth: usize, bytes_left: &mut u64) -> io::Result<()> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
    }
    names.sort_unstable();
    for name in names {
        let file = directory.join(&name);
        let length_before = path.len();
        path.push("/");
        path.push(&name);
        let metadata = fs::symlink_metadata(&file)?;
        if metadata.is_dir() {
            if depth == 1 {
                return refuse("too deep");
            }
            add(digest, &file, path, depth - 1, bytes_left)?;
        } else if metadata.is_file() {
            let mut length = 0;
            let mut contents = Xxh3::new();
            let mut file = File::open(&file)?.take(bytes_left.saturating_add(1));
            let mut part = [0; 16 << 10];
            loop {
                let count = match file.read(&mut part) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                contents.update(&part[..count]);
                length += count as u64;
            }
            let Some(left) = bytes_left.checked_sub(length) else { return refuse("too large") };
            *bytes_left = left;
            digest.update(&(path.len() as u64).to_le_bytes());
            digest.update(path.as_bytes());
            digest.update(&length.to_le_bytes());
            digest.update(&contents.digest128().to_le_bytes());
        } else {
            return refuse("neither a file nor a directory");
        }
        *path = OsString::from(std::ffi::OsStr::from_bytes(&path.as_bytes()[..length_before]));
    }
    Ok(())
}
