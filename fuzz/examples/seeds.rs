//! Writes the committed corpus: a few inputs per target that reach each kind of step.
//! Owns: fuzz/corpus/*/seed-*. May touch: nothing else.
//! Never: is needed to run a target; `cargo run --example seeds` in this directory makes the same files again.

use restante_fuzz::frames::{HEADER_BYTES, PAGE_BYTES};
use restante_fuzz::seed::Seed;
use std::path::Path;

/// Fix header, frames and versions, as `raw_files` has its flags.
const FIX_ALL: u8 = 7;
const STAMP: u8 = 8;

fn main() {
    open_journal();
    raw_files();
    operations();
}

fn open_journal() {
    let count = Seed::all().len() as u8;
    for seed in 0..count {
        write("open_journal", &format!("sound-{seed}"), &[seed]);
    }
    // Each kind of damage, in the part where the frames are.
    for what in 0..8 {
        write("open_journal", &format!("damage-{what}"), &[what % count, what, 0, 0x40 + what, 0x10, 3, 1, 2, 4, 8]);
    }
    write("open_journal", "several", &[2, 0, 1, 0, 17, 0, 1, 1, 2, 9, 0, 0, 5, 0, 1, 7, 1, 0, 4]);
}

fn raw_files() {
    for seed in Seed::all() {
        let mut whole = Vec::new();
        let journals = seed.files.iter().filter(|(name, _)| name.ends_with(".journal"));
        for (number, (_, bytes)) in journals.enumerate() {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(PAGE_BYTES, |last| last + 1);
            let frames = &bytes[PAGE_BYTES..used.clamp(PAGE_BYTES, PAGE_BYTES + 6_000)];
            let content = [&bytes[..HEADER_BYTES], frames].concat();
            whole.extend([number as u8, FIX_ALL, 16]);
            whole.extend((content.len() as u16).to_le_bytes());
            whole.extend(&content);
        }
        if seed.subject != "buffered-files" {
            write("raw_files", seed.subject, &whole);
        }
        whole[1] |= STAMP;
        if seed.subject == "closed" {
            write("raw_files", "stamped", &whole);
            whole[1] = 0;
            write("raw_files", "as-they-are", &whole);
        }
    }
}

fn operations() {
    // Groups, joins, messages to both kinds of timelines, marks, then each way to end.
    let talk = [
        [10, 0, 0, 0, 0].as_slice(),
        &[13, 0, 0, 4, 0, 1, 2, 3],
        &[0, 0, 1, b'a', 9, 0, 2],
        &[0, 1, 0, b'b', 9, 1],
        &[0, 0, 0, b'c', 255, 1],
        &[8, 2, 0, b'd', 7, 3, 1, 5, 1, 3],
        &[15, 1, 0, 0, 2],
        &[18, 1, 0, 0, 1],
        &[14, 2, 0],
        &[31, 3, 0, 4],
        &[1, 0, 0, b'm', 9, 0x20, 3, 5, 1],
        &[32, 0, 0, 0, 1],
        &[33, 1, 0, 0, 2, b'n', 9],
        &[34, 1, 0, 0, 2, 1, 3],
        &[35, 2, 0, 0, 9],
        &[36, 2, 0, 0, 1],
        &[37, 3, 0, 1, 4],
        &[38, 1, 0, 0, 0x3f],
        &[39, 1, 0, 0, 7, 3],
        &[40, 0, 0, 0, 1],
        &[41, 0, 0, 7, 3],
        &[43, 1, 0, 2],
        &[44, 1, 0, 2, 5],
        &[45, 1, 0, 1, 0],
        &[46, 1, 0, 1],
        &[48, 0, 0, 0, 1],
        &[49, 0, 0, 0, 1],
        &[54, 0, 0, b'o', 9, 0, 1, 2],
        &[53, 2, 0, b'p', 9, 1, 1, 2],
        &[23, 0, 0],
    ]
    .concat();
    let ends: [(&str, &[u8]); 10] = [
        ("close", &[24, 0, 0]),
        ("kill", &[25, 0, 0]),
        ("power", &[26, 0, 0, 1, 7]),
        ("fault", &[28, 0, 0, 0, 1, 2]),
        ("full", &[29, 0, 0, 0]),
        ("week", &[21, 0, 0, 3]),
        ("dissolve", &[42, 0, 0]),
        ("remove", &[47, 1, 0, 0, 47, 0, 0, 1]),
        ("settings", &[50, 0, 0, 60, 0, 8, 0, 2, 5, 0]),
        ("horizon", &[60, 0, 0, 51, 0, 0, 0, 0, 58, 0, 0, 1, 0, 59, 0, 0]),
    ];
    for durability in [0, 1] {
        for (name, end) in ends {
            let large = [0, 0, 0, b'e', 255, 1].repeat(12);
            let input = [&[durability], talk.as_slice(), end, &talk, &large, &talk, end].concat();
            write("operations", &format!("{name}-{durability}"), &input);
        }
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&directory).expect("make the corpus directory");
    std::fs::write(directory.join(format!("seed-{name}")), bytes).expect("write an input");
}
