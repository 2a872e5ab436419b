//! Reads chat logs: one message a line, five fields between tabs, plain or zstd-compressed.
//! Owns: the format of a line and the errors that name one. May touch: files, read only.
//! Never: skips a line it cannot read, knows the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Longest line taken, in bytes: a body of the largest size, every byte of it escaped, and the rest.
const LINE_BYTES_MAX: u64 = (2 << 20) + (64 << 10);
/// Largest body taken, in bytes, as in the store.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Largest time taken, in microseconds since the Unix epoch, as in the store.
const TIME_MAX: u64 = u64::MAX / 4;

/// One message of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Microseconds since the Unix epoch.
    pub time: u64,
    pub room: String,
    pub sender: String,
    pub text: String,
    /// Whom it addresses.
    pub mentions: Vec<String>,
}

/// The messages of a log, in its order. Ends after the first error.
pub struct Log {
    source: Box<dyn BufRead>,
    name: String,
    number: u64,
    limit: u64,
    ended: bool,
    bytes: Vec<u8>,
    last_times: HashMap<String, u64>,
}

impl Log {
    /// Opens a log: zstd-compressed if its name ends in `.zst`. Reads at most `limit` lines.
    pub fn open(path: &Path, limit: u64) -> Result<Log, String> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("cannot open log: path={name}: {error}"))?;
        let file = BufReader::with_capacity(1 << 16, file);
        let source: Box<dyn BufRead> = match path.extension() {
            Some(extension) if extension == "zst" => {
                Box::new(BufReader::with_capacity(1 << 16, Frames { source: Some(file), decoder: None }))
            }
            _ => Box::new(file),
        };
        Ok(Log::new(source, name, limit))
    }

    fn new(source: Box<dyn BufRead>, name: String, limit: u64) -> Log {
        Log { source, name, number: 0, limit, ended: false, bytes: Vec::new(), last_times: HashMap::new() }
    }

    /// How many messages a log has. Reads it whole, so an unreadable line is found before anything is loaded.
    pub fn count(path: &Path, limit: u64) -> Result<u64, String> {
        let mut count = 0;
        for line in Log::open(path, limit)? {
            line?;
            count += 1;
        }
        Ok(count)
    }

    fn read(&mut self) -> Result<Option<Line>, String> {
        self.bytes.clear();
        let read = self.source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes);
        match read.map_err(|error| format!("cannot read: {error}"))? {
            0 => return Ok(None),
            read if read as u64 == LINE_BYTES_MAX => return Err(format!("line is longer than {LINE_BYTES_MAX} bytes")),
            _ => {}
        }
        let line = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let line = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let line = parse(line)?;
        match self.last_times.get_mut(&line.room) {
            Some(last) if line.time <= *last => {
                return Err(format!("time does not rise in its room: last={last} got={}", line.time));
            }
            Some(last) => *last = line.time,
            None => drop(self.last_times.insert(line.room.clone(), line.time)),
        }
        Ok(Some(line))
    }
}

impl Iterator for Log {
    type Item = Result<Line, String>;

    fn next(&mut self) -> Option<Result<Line, String>> {
        if self.ended || self.number == self.limit {
            return None;
        }
        self.number += 1;
        let line = self.read().map_err(|error| format!("{}: line {}: {error}", self.name, self.number)).transpose();
        self.ended = !matches!(line, Some(Ok(_)));
        line
    }
}

/// Reads one line, without its line end.
pub fn parse(line: &str) -> Result<Line, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [time, room, sender, text, mentions] = fields[..] else {
        return Err(format!("want 5 fields between tabs, got {}", fields.len()));
    };
    if time.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("time is not a number of microseconds: got={time:?}"));
    }
    let time = match time.parse() {
        Ok(time) if 0 < time && time <= TIME_MAX => time,
        _ => return Err(format!("time is out of range: want=1..={TIME_MAX} got={time}")),
    };
    let (room, sender, text) = (unescape(room)?, unescape(sender)?, unescape(text)?);
    if room.is_empty() || sender.is_empty() {
        return Err("room and sender must not be empty".into());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("text is too long: limit={TEXT_BYTES_MAX} got={}", text.len()));
    }
    let mentions = mentions.split(',').filter(|name| !name.is_empty()).map(unescape).collect::<Result<_, _>>()?;
    Ok(Line { time, room, sender, text, mentions })
}

/// Turns `\\`, `\t`, `\n`, `\r` back into the characters they stand for.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match characters.next() {
            Some('\\') => '\\',
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some(other) => return Err(format!("unknown escape: want=\\\\, \\t, \\n or \\r got=\\{other}")),
            None => return Err("escape is cut off at the end of the field".into()),
        });
    }
    Ok(plain)
}

/// All frames of a zstd file, one after the other. The decoder itself reads one and checks no checksum.
struct Frames {
    source: Option<BufReader<File>>,
    decoder: Option<StreamingDecoder<BufReader<File>, FrameDecoder>>,
}

impl Read for Frames {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let read = decoder.read(bytes)?;
                if read > 0 || bytes.is_empty() {
                    return Ok(read);
                }
                let frame = &decoder.decoder;
                let (want, got) = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
                if want.is_some() && want != got {
                    return Err(io::Error::other(format!("zstd checksum mismatch: want={want:08x?} got={got:08x?}")));
                }
                self.source = self.decoder.take().map(StreamingDecoder::into_inner);
            }
            let Some(mut source) = self.source.take() else {
                return Ok(0);
            };
            if source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.decoder = Some(StreamingDecoder::new(source).map_err(io::Error::other)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &'static str, limit: u64) -> Vec<Result<Line, String>> {
        Log::new(Box::new(text.as_bytes()), "log".into(), limit).collect()
    }

    #[test]
    fn a_line_is_five_fields() {
        let line = parse("1100521081856691\t#town\t|ann|\tusual, quite stable  :)\tbob,cid").unwrap();
        assert_eq!(line.time, 1_100_521_081_856_691);
        assert_eq!((&*line.room, &*line.sender, &*line.text), ("#town", "|ann|", "usual, quite stable  :)"));
        assert_eq!(line.mentions, ["bob", "cid"]);
        let line = parse("1\tr\ts\t\t").unwrap();
        assert_eq!((&*line.text, line.mentions.len()), ("", 0), "text and mentions may be empty");
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"C:\\new\ttab\nline\rend").unwrap(), "C:\\new\ttab\nline\rend");
        assert_eq!(unescape("žluťoučký 🐎").unwrap(), "žluťoučký 🐎");
        assert_eq!(parse("1\tr\ts\tone\\ttwo\t").unwrap().text, "one\ttwo");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (line, message) in [
            ("", "want 5 fields between tabs, got 1"),
            ("1\tr\ts\ttext", "want 5 fields between tabs, got 4"),
            ("1\tr\ts\ta\tb\tc", "want 5 fields between tabs, got 6"),
            ("+1\tr\ts\ttext\t", "time is not a number of microseconds: got=\"+1\""),
            ("\tr\ts\ttext\t", "time is not a number of microseconds: got=\"\""),
            ("0\tr\ts\ttext\t", "time is out of range: want=1..=4611686018427387903 got=0"),
            (
                "99999999999999999999\tr\ts\ttext\t",
                "time is out of range: want=1..=4611686018427387903 got=99999999999999999999",
            ),
            ("1\t\ts\ttext\t", "room and sender must not be empty"),
            ("1\tr\t\ttext\t", "room and sender must not be empty"),
            ("1\tr\ts\tte\\xt\t", "unknown escape: want=\\\\, \\t, \\n or \\r got=\\x"),
            ("1\tr\ts\ttext\tbob,\\a", "unknown escape: want=\\\\, \\t, \\n or \\r got=\\a"),
            ("1\tr\ts\ttext\\\t", "escape is cut off at the end of the field"),
        ] {
            assert_eq!(parse(line).unwrap_err(), message, "{line:?}");
        }
    }

    #[test]
    fn errors_name_the_line_and_end_the_log() {
        let read = read_all("1\tr\ts\tone\t\n2\tr\ts\ttwo\t\nthree\n4\tr\ts\tfour\t\n", 9);
        assert_eq!(read.len(), 3);
        assert_eq!(read[2], Err("log: line 3: want 5 fields between tabs, got 1".into()));
    }

    #[test]
    fn time_rises_in_each_room_by_itself() {
        let read = read_all("5\tone\ts\t\t\n5\ttwo\ts\t\t\n6\tone\ts\t\t\n5\ttwo\ts\t\t", 9);
        assert!(read[..3].iter().all(Result::is_ok));
        assert_eq!(read[3], Err("log: line 4: time does not rise in its room: last=5 got=5".into()));
    }

    #[test]
    fn the_last_line_needs_no_end_and_the_limit_is_kept() {
        assert_eq!(read_all("1\tr\ts\tone\t\n2\tr\ts\ttwo\t", 9).len(), 2);
        assert_eq!(read_all("1\tr\ts\tone\t\nbad", 1).len(), 1);
        assert_eq!(read_all("", 9).len(), 0);
    }
}
