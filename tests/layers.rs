//! Imports go down only, and the core needs no standard library: `ARCHITECTURE.md`, "Layers".

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use syn::visit::{self, Visit};

/// The rooms of the core, lowest first: each may import those before it.
const CORE: [&str; 7] = ["format", "merkle", "note", "checkpoint", "release", "proof", "endpoint"];
/// The other rooms, and the rooms that each may import besides the core. `endpoint's I/O` means the endpoint's modules
/// behind the feature `client`.
const ROOMS: [(&str, &str); 17] = [
    ("clock", ""),
    ("threads", ""),
    ("disk", "threads"),
    ("http", "clock disk"),
    ("client", "threads"),
    ("bucket", "clock disk threads client"),
    ("store", "clock disk threads bucket"),
    ("sequencer", "clock disk threads store"),
    ("endpoint's I/O", "clock disk threads client"),
    ("feeder", "clock disk threads store sequencer client"),
    ("server", "clock disk http bucket store sequencer"),
    ("witness", "clock disk threads http client"),
    ("monitor", "clock disk threads http client"),
    ("load", "clock disk threads client"),
    ("signing", "threads"),
    ("rebuild", ""),
    (
        "cli",
        "clock disk threads http client bucket store sequencer feeder server witness monitor load signing rebuild",
    ),
];
/// Crates, and types in hash order, that the core does not use. Only with a standard library, it may ask `std::arch` what
/// the processor can do.
const NOT_IN_THE_CORE: [&str; 8] = ["std", "tokio", "axum", "sled", "ureq", "tracing", "HashMap", "HashSet"];

fn may_import(room: &str, target: &str) -> bool {
    let place = |name: &str| CORE.iter().position(|core| *core == name);
    let below = ROOMS.iter().find(|(name, _)| *name == room).map_or("", |(_, below)| below);
    match (place(room), place(target)) {
        (Some(own), other) => other.is_some_and(|other| other <= own),
        (None, other) => other.is_some() || room == target || below.split(' ').any(|name| name == target),
    }
}

/// The paths in a piece of source; of macro calls, those that begin with `crate` or `std`.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
    /// The path to the part of a `use` that is visited.
    prefix: Vec<String>,
}

impl Visit<'_> for Paths {
    fn visit_use_tree(&mut self, tree: &syn::UseTree) {
        let name = match tree {
            syn::UseTree::Path(syn::UsePath { ident, .. })
            | syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => ident.to_string(),
            syn::UseTree::Glob(_) => "*".to_owned(),
            syn::UseTree::Group(_) => return visit::visit_use_tree(self, tree),
        };
        self.prefix.push(name);
        match tree {
            syn::UseTree::Path(part) => self.visit_use_tree(&part.tree),
            _ => self.found.push(self.prefix.clone()),
        }
        self.prefix.pop();
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        let tokens =
            call.tokens.to_string().replace(|c: char| c != ':' && c != '_' && !c.is_alphanumeric(), " ");
        let words: Vec<&str> = tokens.split_whitespace().collect();
        let paths = words.windows(3).filter(|words| matches!(words, ["crate" | "std", "::", _]));
        self.found.extend(paths.map(|words| vec![words[0].to_owned(), words[2].to_owned()]));
        visit::visit_macro(self, call);
    }
}

fn has_cfg(item: &syn::Item, condition: impl Fn(&str) -> bool) -> bool {
    let attrs = match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && condition(&list.tokens.to_string()),
        _ => false,
    })
}

fn is_test(item: &syn::Item) -> bool {
    has_cfg(item, |condition| condition == "test" || condition.starts_with("all (test ,"))
}

/// Calls `found` with each forbidden path of a module and its submodules, without tests.
fn walk(module: &[String], room: &str, items: &[syn::Item], found: &mut dyn FnMut(&str, &[String], String)) {
    for item in items.iter().filter(|item| !is_test(item)) {
        let syn::Item::Mod(inner) = item else {
            let mut paths = Paths::default();
            paths.visit_item(item);
            for path in paths.found {
                let supers = path.iter().take_while(|word| *word == "super").count();
                let is_rooted = path[0] == "crate" || supers > 0 && supers == module.len();
                let target = path.get(supers.max(1)).filter(|_| is_rooted);
                if let Some(target) = target.filter(|target| !may_import(room, target)) {
                    found(room, module, target.clone());
                }
                let asks_processor = path.starts_with(&["std".to_owned(), "arch".to_owned()]);
                let is_banned = path.iter().any(|word| NOT_IN_THE_CORE.contains(&word.as_str()));
                if CORE.contains(&room) && is_banned && !asks_processor {
                    found(room, module, path.join("::"));
                }
            }
            continue;
        };
        let name = inner.ident.to_string();
        let is_room = CORE.contains(&name.as_str()) || ROOMS.iter().any(|(room, _)| *room == name);
        assert!(is_room || !room.is_empty(), "{name} is not listed in CORE or ROOMS");
        let path = [module, std::slice::from_ref(&name)].concat();
        let is_io = room == "endpoint" && has_cfg(item, |condition| condition == "feature = \"client\"");
        let room = if is_io {
            "endpoint's I/O"
        } else if room.is_empty() {
            &name
        } else {
            room
        };
        match &inner.content {
            Some((_, items)) => walk(&path, room, items, found),
            None => walk(&path, room, &read(&path.join("/")), found),
        }
    }
}

fn read(module: &str) -> Vec<syn::Item> {
    let stem = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module);
    let text = std::fs::read_to_string(stem.with_extension("rs"));
    let text = text.or_else(|_| std::fs::read_to_string(stem.join("mod.rs")));
    syn::parse_file(&text.expect(module)).expect(module).items
}

#[test]
fn imports_go_down_only() {
    let items = read("lib");
    for (at, (room, below)) in ROOMS.iter().enumerate() {
        let is_above = |name: &str| ROOMS[..at].iter().any(|(other, _)| *other == name);
        assert!(below.split_whitespace().all(is_above), "{room} imports rooms that stand before it");
    }
    let mut wrong = Vec::new();
    walk(&[], "", &items, &mut |room, module, target| {
        wrong.push(format!("{}: {room} may not import {target}", module.join("::")));
    });
    assert!(wrong.is_empty(), "imports that go up:\n{}", wrong.join("\n"));
}

#[test]
fn the_detector_detects() {
    for (room, source, expected) in [
        ("note", "use crate::{format, store::{Store, x}};", "store store"),
        ("note", "fn f() -> Option<crate::client::Client> { None }", "client"),
        ("note", "fn f() { println!(\"{}\", [crate::server::x()]); }", "server"),
        ("note", "use super::checkpoint::Checkpoint;", "checkpoint"),
        ("note", "use crate::elsewhere::X;", "elsewhere"),
        ("note", "use std::fmt;", "std::fmt"),
        ("note", "fn f() -> bool { std::arch::is_x86_feature_detected!(\"avx2\") }", ""),
        ("note", "fn f() { let m: alloc::HashMap<u8, u8>; }", "alloc::HashMap"),
        ("client", "#[cfg(test)] mod tests { } use crate::disk::Lock;", "disk"),
        ("witness", "use crate::monitor::Rules;", "monitor"),
        ("note", "#[cfg(test)] mod tests { use crate::cli; } use crate::format::{cap, quote};", ""),
        ("note", "/* crate::server */ const A: &str = \"crate::cli\"; // crate::store", ""),
        ("endpoint", "#[cfg(feature = \"client\")] mod dir { use crate::disk::Lock; use std::fs; }", ""),
        ("cli", "use crate::{client, server, store}; use std::fs;", ""),
    ] {
        let (items, mut found) = (syn::parse_file(source).expect(source).items, Vec::new());
        walk(&[room.to_owned()], room, &items, &mut |_, _, target| found.push(target));
        assert_eq!(found.join(" "), expected, "{source}");
    }
}

#[test]
fn the_map_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_file = |name: &&str| name.contains('/') && Path::new(name).extension().is_some_and(|e| e == "rs");
    let map = include_str!("../ARCHITECTURE.md");
    let named: BTreeSet<&str> = map.split('`').skip(1).step_by(2).filter(is_file).collect();
    assert!(named.len() > 20, "the map was not read: {named:?}");
    for name in named {
        assert!(root.join(name).is_file() || root.join("src").join(name).is_file(), "no {name}");
    }
}

#[test]
fn the_core_builds_without_runtime_database_and_network() {
    let args = ["tree", "--no-default-features", "-e", "normal", "--prefix", "none", "--offline"];
    let tree = Command::new(env!("CARGO")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let tree = tree.expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let expected = BTreeSet::from(["treehead", "rs_merkle", "ed25519-dalek"]);
    assert!(crates.is_superset(&expected), "the tree was not read: {text}");
    for banned in ["tokio", "sled", "axum", "ureq", "clap", "hyper", "tower-http", "tracing", "getrandom"] {
        assert!(!crates.contains(banned), "{banned} is in the tree of the core:\n{text}");
    }
}
