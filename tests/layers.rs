//! Imports go down only, and the core stands alone: `ARCHITECTURE.md`, "Layers".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer of each module of `src`. A new module has to be given one here.
const LAYERS: [(&str, u8); 25] = [
    ("format", 0),
    ("checksum", 0),
    ("merkle", 0),
    ("note", 0),
    ("checkpoint", 0),
    ("cosignature", 0),
    ("policy", 0),
    ("release", 0),
    ("proof_file", 0),
    ("bundle", 0),
    ("wire", 0),
    ("state", 0),
    ("verify", 0),
    ("evidence", 0),
    ("store", 1),
    ("evidence_dir", 1),
    ("sequencer", 2),
    ("server", 3),
    ("client", 3),
    ("feeder", 4),
    ("witness", 4),
    ("monitor", 4),
    ("mirror", 4),
    ("load", 4),
    ("cli", 5),
];
/// The program itself; it may use everything.
const TOP: u8 = 5;
/// No runtime, database, files, network, clock or log in the core.
const NOT_IN_THE_CORE: [&[&str]; 8] = [
    &["tokio"],
    &["axum"],
    &["sled"],
    &["ureq"],
    &["tracing"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "time"],
];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Identifiers and single punctuation marks; comments, strings and characters are left out.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let starts = |i: usize, text: &str| text.chars().enumerate().all(|(j, c)| at(i + j) == c);
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        if starts(i, "//") {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if starts(i, "/*") {
            let mut depth = 0;
            loop {
                if starts(i, "/*") {
                    depth += 1;
                    i += 2;
                } else if starts(i, "*/") || i >= chars.len() {
                    depth -= 1;
                    i += 2;
                } else {
                    i += 1;
                }
                if depth <= 0 {
                    break;
                }
            }
        } else if at(i) == '"' {
            // The word just read may be a raw string's prefix.
            let raw = matches!(out.last().map(String::as_str), Some("r" | "br")) && i > 0 && at(i - 1) == 'r';
            i = if raw { end_of_raw_string(&chars, i, 0) } else { end_of_string(&chars, i) };
        } else if at(i) == '#' && i > 0 && at(i - 1) == 'r' && matches!(at(i + 1), '#' | '"') {
            let hashes = (i..).take_while(|j| at(*j) == '#').count();
            i = end_of_raw_string(&chars, i + hashes, hashes);
        } else if at(i) == '\'' {
            // A character ends in a quote; a lifetime does not.
            if at(i + 1) == '\\' {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else {
                i += if at(i + 2) == '\'' { 3 } else { 1 };
            }
        } else if is_word(at(i)) {
            let end = (i..).find(|j| !is_word(at(*j))).expect("the text ends");
            out.push(chars[i..end].iter().collect());
            i = end;
        } else {
            if !at(i).is_whitespace() {
                out.push(at(i).to_string());
            }
            i += 1;
        }
    }
    out
}

fn end_of_string(chars: &[char], open: usize) -> usize {
    let mut i = open + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn end_of_raw_string(chars: &[char], open: usize, hashes: usize) -> usize {
    let mut i = open + 1;
    let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|j| chars.get(i + j) == Some(&'#'));
    while i < chars.len() && !closes(i) {
        i += 1;
    }
    i + 1 + hashes
}

fn is(tokens: &[String], at: usize, expected: &[&str]) -> bool {
    expected.iter().enumerate().all(|(i, text)| tokens.get(at + i).is_some_and(|token| token == text))
}

/// The first token past the item at `at`: after its `;`, or after its braces.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0_i32;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(tokens[at - 1].as_str(), ";" | "}") {
            break;
        }
    }
    at
}

/// Takes items under `#[cfg(test)]` away, and says which modules in other files are among them.
fn without_tests(tokens: &[String]) -> (Vec<String>, BTreeSet<String>) {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut test_modules) = (Vec::new(), BTreeSet::new());
    let mut at = 0;
    while at < tokens.len() {
        if is(tokens, at, &CFG_TEST) {
            let end = end_of_item(tokens, at + CFG_TEST.len());
            let item = &tokens[at..end];
            if let Some(i) = item.iter().position(|token| token == "mod")
                && is(item, i + 2, &[";"])
            {
                test_modules.insert(item[i + 1].clone());
            }
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    (kept, test_modules)
}

/// The paths that begin at `at`, flattened: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tokens: &[String], at: &mut usize) -> Vec<Vec<String>> {
    if is(tokens, *at, &["{"]) {
        *at += 1;
        let mut all = Vec::new();
        while *at < tokens.len() && !is(tokens, *at, &["}"]) {
            let before = *at;
            all.extend(paths(tokens, at));
            if is(tokens, *at, &["as"]) {
                *at += 2;
            }
            if is(tokens, *at, &[","]) || *at == before {
                *at += 1;
            }
        }
        *at += 1;
        return all;
    }
    let is_word =
        |token: &String| token.starts_with(|c: char| c.is_alphanumeric() || c == '_') || token == "*";
    let Some(word) = tokens.get(*at).filter(|token| is_word(token)).cloned() else { return Vec::new() };
    *at += 1;
    if is(tokens, *at, &[":", ":"]) {
        let mut next = *at + 2;
        let rest = paths(tokens, &mut next);
        if !rest.is_empty() {
            *at = next;
            return rest.into_iter().map(|path| [vec![word.clone()], path].concat()).collect();
        }
    }
    vec![vec![word]]
}

fn all_paths(tokens: &[String]) -> Vec<Vec<String>> {
    let (mut at, mut all) = (0, Vec::new());
    while at < tokens.len() {
        let before = at;
        // Braces that are not a part of a path are code: look inside.
        if !is(tokens, at, &["{"]) {
            all.extend(paths(tokens, &mut at));
        }
        at = at.max(before + 1);
    }
    all
}

/// What a file of `module` breaks; `depth` is how many `super` lead to the crate's root.
fn violations(module: &str, depth: usize, source: &str) -> Vec<String> {
    let own = layer(module).unwrap_or(TOP);
    let (kept, _) = without_tests(&tokens(source));
    let mut wrong = Vec::new();
    for path in all_paths(&kept) {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let supers = words.iter().take_while(|word| **word == "super").count();
        let from_root = match words[..] {
            ["crate" | "treehead", ref rest @ ..] if !rest.is_empty() => Some(rest[0]),
            _ if supers > 0 && supers == depth => words.get(supers).copied(),
            _ => None,
        };
        if let Some(target) = from_root {
            match layer(target) {
                None => wrong.push(format!("{target} has no layer: add it to LAYERS in tests/layers.rs")),
                Some(layer) if layer > own => wrong.push(format!("{} goes up", path.join("::"))),
                Some(layer) if module == "client" && layer > 0 && target != "client" => {
                    wrong.push(format!("{}: the client may import the core only", path.join("::")));
                }
                Some(_) => {}
            }
        }
        if own == 0 && NOT_IN_THE_CORE.iter().any(|banned| words.starts_with(banned)) {
            wrong.push(format!("{} is not for the core", path.join("::")));
        }
    }
    wrong
}

/// Every source file under `folder` that is not a test: its module, depth and text.
fn sources(
    folder: &Path,
    module: Option<&str>,
    depth: usize,
    out: &mut Vec<(PathBuf, String, usize, String)>,
) {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    let stem = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut read = Vec::new();
    let mut tests: BTreeSet<PathBuf> = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let root = matches!(stem(&path).as_str(), "mod" | "lib" | "main");
        let children = if root { folder.to_owned() } else { folder.join(stem(&path)) };
        tests.extend(without_tests(&tokens(&text)).1.iter().map(|name| children.join(name)));
        read.push((path, text, root));
    }
    for (path, text, root) in read {
        if tests.contains(&path.with_extension("")) {
            continue;
        }
        let module = module.map_or_else(|| stem(&path), str::to_owned);
        out.push((path, module, if root { depth } else { depth + 1 }, text));
    }
    for path in folders {
        // `a/tests.rs` is declared by `a.rs`, one folder up.
        let declared_by = path.with_extension("rs");
        let own = std::fs::read_to_string(&declared_by).unwrap_or_default();
        let mut inner = Vec::new();
        sources(&path, Some(module.unwrap_or(&stem(&path))), depth + 1, &mut inner);
        let hidden: Vec<PathBuf> =
            without_tests(&tokens(&own)).1.iter().map(|name| path.join(name)).collect();
        inner.retain(|(file, ..)| {
            !hidden
                .iter()
                .chain(&tests)
                .any(|test| file.with_extension("") == *test || file.starts_with(test))
        });
        out.extend(inner);
    }
}

#[test]
fn imports_go_down_only() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, 0, &mut files);
    let modules: BTreeSet<&str> = files.iter().map(|(_, module, ..)| module.as_str()).collect();
    for (module, _) in LAYERS.iter().filter(|(_, layer)| *layer == 0) {
        assert!(modules.contains(module), "the detector did not find {module}: {modules:?}");
    }
    assert!(!files.iter().any(|(path, ..)| path.ends_with("tests.rs")), "tests may import anything");
    let mut wrong = Vec::new();
    for (path, module, depth, text) in &files {
        if !matches!(module.as_str(), "lib" | "main") && layer(module).is_none() {
            wrong.push(format!("{}: {module} has no layer: add it to LAYERS", path.display()));
        }
        let found = violations(module, *depth, text);
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(wrong.is_empty(), "imports that go up:\n{}", wrong.join("\n"));
}

#[test]
fn the_detector_detects() {
    for (module, depth, source, expected) in [
        ("note", 1, "use crate::store::Store;", "crate::store::Store goes up"),
        ("note", 2, "use crate::{format, store::{Store, x}};", "crate::store::Store goes up"),
        ("note", 2, "use crate::{\n  format::cap, // store\n  server as s,\n};", "crate::server goes up"),
        ("note", 2, "pub(crate) use crate::sequencer::*;", "crate::sequencer::* goes up"),
        ("note", 2, "fn f() { let x = crate::cli::run(); }", "crate::cli::run goes up"),
        ("note", 2, "fn f() -> Option<crate::client::Client> { None }", "crate::client::Client goes up"),
        ("note", 2, "use super::super::store::Store;", "super::super::store::Store goes up"),
        ("note", 1, "use super::store::Store;", "super::store::Store goes up"),
        ("note", 1, "use crate::elsewhere::X;", "elsewhere has no layer"),
        ("note", 1, "use std::fs::File;", "std::fs::File is not for the core"),
        ("note", 1, "use std::{fmt, time::Instant};", "std::time::Instant is not for the core"),
        ("note", 1, "fn f() { std::net::lookup(); }", "std::net::lookup is not for the core"),
        ("note", 1, "fn f() { tracing::info!(\"x\"); }", "tracing::info is not for the core"),
        ("merkle", 1, "use tokio::sync::Mutex;", "tokio::sync::Mutex is not for the core"),
        ("merkle", 1, "use sled;", "sled is not for the core"),
        ("merkle", 1, "type A = axum::Router; type B = ureq::Agent;", "ureq::Agent is not for the core"),
        ("store", 2, "use crate::sequencer::Pool;", "crate::sequencer::Pool goes up"),
        ("sequencer", 2, "use crate::server;", "crate::server goes up"),
        ("server", 2, "use crate::cli::Args;", "crate::cli::Args goes up"),
        (
            "client",
            1,
            "use crate::server::Reply;",
            "crate::server::Reply: the client may import the core only",
        ),
        ("client", 1, "use crate::store::Store;", "the client may import the core only"),
        ("client", 1, "use crate::sequencer::Pool;", "the client may import the core only"),
        (
            "client",
            1,
            "#[cfg(test)] mod tests; use crate::store::Store;",
            "the client may import the core only",
        ),
        (
            "note",
            1,
            "#[cfg(test)] mod tests { use crate::cli; } use crate::store::S;",
            "crate::store::S goes up",
        ),
        (
            "note",
            1,
            "const A: &str = r#\"\"quoted\"\"#; const B: char = '\"'; use crate::store;",
            "crate::store goes up",
        ),
    ] {
        let found = violations(module, depth, source);
        assert!(found.iter().any(|what| what.contains(expected)), "{source}: {found:?}");
    }
    for (module, depth, source) in [
        (
            "note",
            2,
            "use crate::format::{cap, quote}; use super::key::KeyName; use crate::checkpoint::cosignature;",
        ),
        ("note", 2, "// use crate::store::Store;\n/* crate::server /* nested */ crate::cli */ fn f() {}"),
        ("note", 2, "const A: &str = \"crate::store \\\" crate::cli\"; const B: &str = r#\"crate::store\"#;"),
        ("note", 2, "#[cfg(test)] mod tests { use crate::store::Store; fn f() { std::fs::read(\"x\"); } }"),
        (
            "note",
            2,
            "#[cfg(test)] use crate::store::Store; pub(crate) fn f<'a>(x: &'a str) -> char { '\\'' }",
        ),
        ("note", 2, "use std::fmt; use std::time_machine; fn tokio_like() { let sled_name = 1; }"),
        ("store", 2, "use crate::merkle::Hash; use std::fs::File; use sled::Db; use super::super::note;"),
        ("server", 2, "use crate::{sequencer::Pool, store::Store, verify}; use tokio::net;"),
        ("client", 1, "use crate::endpoint::verify; use crate::client::cache; use std::time::Duration;"),
        ("cli", 2, "use crate::{client, server, store}; use treehead::sequencer;"),
        ("main", 0, "fn main() { treehead::cli::main() }"),
    ] {
        assert_eq!(violations(module, depth, source), Vec::<String>::new(), "{source}");
    }
    let declared =
        without_tests(&tokens("#[cfg(test)]\nmod reference;\n#[cfg(test)] pub(crate) mod tests; mod a;")).1;
    assert_eq!(declared.into_iter().collect::<Vec<_>>(), ["reference", "tests"]);
}

#[test]
fn the_core_builds_without_runtime_database_and_network() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--no-default-features", "-e", "normal", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    for expected in ["treehead", "rs_merkle", "ed25519-dalek"] {
        assert!(crates.contains(expected), "the tree names {expected}, or it was not read: {text}");
    }
    for banned in ["tokio", "sled", "axum", "ureq", "clap", "hyper", "tower-http", "tracing", "getrandom"] {
        assert!(!crates.contains(banned), "{banned} is in the tree of the core:\n{text}");
    }
}
