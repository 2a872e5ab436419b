//! Holds the sources to what goodwill alone does not keep: one direction, one noun a file, a reason a dependency.
//! Owns: reading the repository's own files. May touch: nothing else.
//! Never: judges what the compiler, the formatter or clippy judges already.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// No file is larger. One that comes near has a second noun in it.
const FILE_BYTES_MAX: u64 = 40_000;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "misc", "inner", "helper", "helpers", "stuff"];
/// Where sources are. Those that a published package leaves out may be absent.
const SOURCES: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"];
/// The two that know each other: a body keeps the mapping it points into, and the mapping hands out bodies.
const KNOW_EACH_OTHER: [(&str, &str); 1] = [("storage::body", "real")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder, as paths from the root of the repository, sorted.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    SOURCES.into_iter().flat_map(rust_files).collect()
}

/// The modules of the crate: what each declares, in order, and which names it takes from which of them.
#[derive(Default)]
struct Module {
    children: Vec<String>,
    taken: BTreeMap<String, String>,
    /// Its text without comments, up to its own tests.
    text: String,
}

/// By path from the crate's root: `[]`, `["journal"]`, `["journal", "frame"]`.
fn modules() -> BTreeMap<Vec<String>, Module> {
    let mut modules = BTreeMap::new();
    for file in rust_files("src") {
        let mut path: Vec<String> = file.with_extension("").iter().skip(1).map(text_of).collect();
        if path.last().is_some_and(|last| last == "mod" || last == "lib") {
            path.pop();
        }
        // Tests beside a module too long for them are no module of the story.
        if path.last().is_none_or(|last| last != "tests") {
            modules.insert(path, module(&read(&file)));
        }
    }
    modules
}

fn text_of(part: &std::ffi::OsStr) -> String {
    part.to_str().expect("names are UTF-8").to_owned()
}

fn module(source: &str) -> Module {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut module = Module::default();
    for line in text.lines() {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            module.children.push(name.to_owned());
        }
    }
    for statement in text.split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or("");
        let Some((child, names)) = statement.split_once("::") else { continue };
        if module.children.iter().any(|name| name == child) {
            for name in words(names) {
                module.taken.insert(name, child.to_owned());
            }
        }
    }
    module.text = text;
    module
}

fn words(text: &str) -> Vec<String> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.split(|character| !is_part(character)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Every name that a text takes by `start::name` or `start::{name, …}`.
fn names_after<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    text.match_indices(start).filter_map(move |(index, _)| {
        let is_word = text[..index].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == ':');
        let rest = &text[index + start.len()..];
        if is_word {
            return None;
        }
        Some(match rest.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or("")
                .split(',')
                .filter_map(|item| words(item).into_iter().next())
                .collect(),
            None => words(rest.lines().next().unwrap_or("")).into_iter().take(1).collect(),
        })
    })
}

#[test]
fn modules_use_only_those_above_them() {
    let modules = modules();
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for (path, module) in &modules {
        // By `crate::` and by any number of `super::`: the names of an ancestor, seen from one of its children.
        for depth in 0..path.len() {
            let mut starts = vec!["super::".repeat(path.len() - depth)];
            if depth == 0 {
                starts.push("crate::".to_owned());
            }
            let Some(ancestor) = modules.get(&path[..depth]) else { panic!("no file for {:?}", &path[..depth]) };
            let place = |name: &str| ancestor.children.iter().position(|child| child == name);
            let own = place(&path[depth]).unwrap_or_else(|| panic!("{path:?} is not declared by its parent"));
            for name in starts.iter().flat_map(|start| names_after(&module.text, start)).flatten() {
                if name == "super" {
                    continue;
                }
                // What an ancestor declares itself, as the trait of all storages, is for all its children.
                let child = if place(&name).is_some() { Some(&name) } else { ancestor.taken.get(&name) };
                let Some(child) = child else { continue };
                looked_at += 1;
                let is_known = KNOW_EACH_OTHER.contains(&(path.join("::").as_str(), child));
                if place(child) > Some(own) && !is_known {
                    wrong.push(format!("{} uses {name} of {child}, which is below it", path.join("::")));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(looked_at > 150, "the sources are not read as they are written any more: looked_at={looked_at}");
}

#[test]
fn every_file_is_a_module() {
    let modules = modules();
    for (path, module) in &modules {
        let mut child_path = path.clone();
        for child in &module.children {
            child_path.push(child.clone());
            assert!(modules.contains_key(&child_path), "{child_path:?} is declared and has no file");
            child_path.pop();
        }
        if let Some((name, parent)) = path.split_last() {
            let is_declared = modules.get(parent).is_some_and(|parent| parent.children.contains(name));
            assert!(is_declared, "{path:?} is an orphan: nothing declares it");
        }
    }
}

#[test]
fn files_say_what_they_own_and_never_do() {
    for file in sources() {
        let source = read(&file);
        let header: Vec<&str> = source.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(!header.is_empty(), "{} does not begin with what it is for", file.display());
        if file == Path::new("src/lib.rs") {
            // Its header is the first page of the documentation.
            continue;
        }
        let header = header.join("\n");
        for statement in ["Owns:", "May touch:", "Never:"] {
            assert!(header.contains(statement), "the header of {} lacks \"{statement}\"", file.display());
        }
    }
}

#[test]
fn files_are_small_and_named_for_what_is_inside() {
    for file in sources() {
        let bytes = fs::metadata(root().join(&file)).unwrap().len();
        assert!(bytes <= FILE_BYTES_MAX, "{} is too large: limit={FILE_BYTES_MAX} got={bytes}", file.display());
        for part in file.with_extension("").iter() {
            let is_empty = EMPTY_NAMES.iter().any(|name| part == *name);
            assert!(!is_empty, "{} says nothing about what is inside", file.display());
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // Written in pieces, so that this file does not find itself.
    let left = [concat!("to", "do!("), concat!("un", "implemented!("), concat!("db", "g!("), concat!("#[ig", "nore")];
    for file in sources() {
        for (index, line) in read(&file).lines().enumerate() {
            let line = line.trim();
            let place = format!("{}:{}: {line}", file.display(), index + 1);
            assert!(!left.iter().any(|text| line.contains(text)), "unfinished: {place}");
            let is_thrown_away = line.starts_with(concat!("match", "es!(")) && line.ends_with(");");
            assert!(!is_thrown_away, "an answer that nobody looks at: {place}");
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let reasons = read("docs/dependencies.md");
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once('=')
        {
            names.push(name.trim());
        }
    }
    assert!(names.len() > 5, "the manifest is not read as it is written any more: {names:?}");
    let listed: Vec<&str> = reasons
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(_, reason)| reason.len() > 20)
        .map(|(name, _)| name)
        .collect();
    for name in &names {
        assert!(listed.contains(name), "docs/dependencies.md does not say why {name} is needed");
    }
    for name in &listed {
        assert!(names.contains(name), "docs/dependencies.md gives a reason for {name}, which is not used");
    }
}
