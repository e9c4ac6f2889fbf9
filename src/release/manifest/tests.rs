use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::merkle::{manifest_leaf, reference};

fn digest(of: &str) -> Hash {
    Hash::digest(of.as_bytes())
}

fn manifest(paths: &[&str]) -> FileManifest {
    FileManifest::new(paths.iter().map(|path| ((*path).to_owned(), digest(path))).collect()).unwrap()
}

/// The definition: RFC 6962 over `path NUL sha256` lines in byte order.
fn root_by_definition(files: &BTreeMap<String, Hash>) -> Hash {
    let line =
        |(path, digest): (&String, &Hash)| Hash::leaf(format!("{path}\0{}", digest.to_hex()).as_bytes());
    reference::root(&files.iter().map(line).collect::<Vec<_>>())
}

#[test]
fn a_manifest_is_drawn_as_it_is_written() {
    let manifest = manifest(&["net/b.yar", "a.yar", "net.yar"]);
    let hex = |path| digest(path).to_hex();
    let text = format!(
        "treehead-manifest@v1\nfiles 3\n{}  a.yar\n{}  net.yar\n{}  net/b.yar\n",
        hex("a.yar"),
        hex("net.yar"),
        hex("net/b.yar")
    );
    assert_eq!(manifest.to_string(), text);
    assert_eq!(FileManifest::parse(text.as_bytes()), Ok(manifest.clone()));
    assert_eq!(manifest.digest(), digest(&text));
    assert_eq!((manifest.position("net.yar"), manifest.position("net")), (Some(1), None));
    let leaves: Vec<Hash> =
        manifest.files().iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
    assert_eq!(manifest.reference(), ManifestRef { root: reference::root(&leaves), files: 3 });
    assert_eq!(manifest.len_in_bytes() - "1048576".len() + "3".len(), text.len());
}

#[test]
fn every_changed_byte_of_a_manifest_is_another_manifest_or_none() {
    let good = manifest(&["a", "b/é", "b/c.yar"]);
    let bytes = good.to_string().into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(other) = FileManifest::parse(&changed) {
                assert_ne!(other.reference(), good.reference(), "bit {bit} of byte {at}");
                assert_eq!(other.to_string().as_bytes(), changed, "one spelling");
            }
        }
        assert!(FileManifest::parse(&bytes[..at]).is_err(), "cut at {at}");
    }
}

/// Each rule, a path that breaks it, and words of the error.
const BAD_PATHS: [(&str, &str); 41] = [
    ("", "at least one character"),
    ("/etc/passwd", "without a slash at its start"),
    ("//server/share", "without a slash at its start"),
    ("../x", "which could leave"),
    ("a/../../x", "which could leave"),
    ("a/..", "which could leave"),
    ("..", "which could leave"),
    (".", "which could leave"),
    ("./a", "which could leave"),
    ("a/./b", "which could leave"),
    ("a//b", "no empty component"),
    ("a/", "no empty component"),
    ("a\\b", "Windows forbids"),
    ("..\\x", "Windows forbids"),
    ("C:/x", "Windows forbids"),
    ("c:x", "Windows forbids"),
    ("a.txt:stream", "Windows forbids"),
    ("a?", "Windows forbids"),
    ("a*", "Windows forbids"),
    ("a\"", "Windows forbids"),
    ("<a>", "Windows forbids"),
    ("a|b", "Windows forbids"),
    ("a\0b", "invisible characters"),
    ("a\nb", "invisible characters"),
    ("a\u{1b}[2J", "invisible characters"),
    ("a\u{7f}", "invisible characters"),
    ("a\u{202e}b", "invisible characters"),
    ("a\u{200d}b", "invisible characters"),
    ("a\u{ad}b", "invisible characters"),
    ("\u{feff}a", "invisible characters"),
    ("a\u{a0}b", "invisible characters"),
    (" a", "begin nor end with a space"),
    ("a ", "begin nor end with a space"),
    ("a /b", "begin nor end with a space"),
    ("a.", "end with a dot"),
    ("...", "end with a dot"),
    ("nul", "name of a device"),
    ("x/CON.txt", "name of a device"),
    ("Com1.tar.gz", "name of a device"),
    ("lpt9 .x", "name of a device"),
    ("COM²", "name of a device"),
];

#[test]
fn a_path_that_could_leave_its_folder_or_fool_a_reader_is_no_path() {
    for (path, why) in BAD_PATHS {
        let error = check_path(path).unwrap_err().to_string();
        assert!(error.contains(why), "{path:?}: {error}");
        let file = (path.to_owned(), digest("x"));
        assert!(FileManifest::new(vec![file]).is_err(), "{path:?}");
        let text = format!("{MANIFEST_HEADER}\nfiles 1\n{}  {path}\n", digest("x").to_hex());
        assert!(FileManifest::parse(text.as_bytes()).is_err(), "{path:?}");
    }
    let (long, component) = ("a/".repeat(512) + "b", "a".repeat(256));
    assert!(matches!(check_path(&long), Err(FormatError::TooLarge { seen: 1_025, .. })));
    assert!(check_path(&component).unwrap_err().to_string().contains("at most 255 bytes"));
    for good in [
        "a",
        ".hidden",
        "..a",
        "a..b",
        "a b",
        "console",
        "com10",
        "com",
        "nulls.txt",
        "aux-files/x",
        "grün/é.yar",
        "規則/一",
        "e\u{301}",
        "a'b",
        "-rf",
        "~",
        "a=b",
        "$(x)",
        &"a/".repeat(511),
        &component[..255],
    ] {
        assert_eq!(check_path(good.trim_end_matches('/')), Ok(()), "{good:?}");
    }
}

#[test]
fn paths_that_are_one_on_some_system_are_refused() {
    for (one, two, why) in [
        ("a", "a", "each path once"),
        ("Rules/a", "rules/a", "more than case"),
        ("a/B", "A/b", "more than case"),
        ("é", "e\u{301}", "more than case"),
        ("É", "e\u{301}", "more than case"),
        ("straße", "STRASSE", "more than case"),
        ("ΣΑΣ", "σας", "more than case"),
        ("k", "\u{212a}", "more than case"),
        ("ſ", "s", "more than case"),
        ("Å", "\u{212b}", "more than case"),
        ("a", "a/b", "both a file and a folder"),
        ("A", "a/b", "both a file and a folder"),
        ("É", "e\u{301}/b/c", "both a file and a folder"),
    ] {
        // A neighbour in byte order must not hide it.
        let between = [one, "a-b", "a!b", "zz", two];
        let files = between.map(|path| (path.to_owned(), digest(path))).to_vec();
        let error = FileManifest::new(files).unwrap_err().to_string();
        let why = if one == two { "each path once" } else { why };
        assert!(error.contains(why), "{one:?} and {two:?}: {error}");
    }
    let apart = manifest(&["a", "a-b", "a.b", "b/a", "b/A-", "İ", "ab/c"]);
    assert_eq!(apart.files().len(), 7);
}

#[test]
fn a_malformed_manifest_is_told_by_line() {
    let hex = digest("x").to_hex();
    for (text, why) in [
        (String::new(), "end with a newline"),
        ("treehead-manifest@v2\n".into(), "at line 1: expected treehead-manifest@v1"),
        (format!("{MANIFEST_HEADER}\n"), "at line 2"),
        (format!("{MANIFEST_HEADER}\nfiles 01\n{hex}  a\n"), "at line 2"),
        (format!("{MANIFEST_HEADER}\nfiles 1048577\n{hex}  a\n"), "at line 2"),
        (format!("{MANIFEST_HEADER}\nfiles 0\n"), "at least one file"),
        (
            format!("{MANIFEST_HEADER}\nfiles 2\n{hex}  a\n"),
            "expected 2 files, as its second line says, saw 1",
        ),
        (format!("{MANIFEST_HEADER}\nfiles 1\n{hex} a\n"), "at line 3: expected a SHA-256"),
        (format!("{MANIFEST_HEADER}\nfiles 1\n{hex}   a\n"), "at line 3"),
        (format!("{MANIFEST_HEADER}\nfiles 1\n{}  a\n", hex.to_uppercase()), "at line 3"),
        (format!("{MANIFEST_HEADER}\nfiles 2\n{hex}  b\n{hex}  a\n"), "at line 4: expected each path once"),
        (format!("{MANIFEST_HEADER}\nfiles 2\n{hex}  a\n{hex}  a\n"), "at line 4: expected each path once"),
        (format!("{MANIFEST_HEADER}\r\nfiles 1\r\n{hex}  a\r\n"), "at line 1"),
        (format!("{MANIFEST_HEADER}\nfiles 1\n{hex}  a\n\n"), "at line 4"),
    ] {
        let error = FileManifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!(FileManifest::parse(&[0xff, b'\n']).is_err());
}

/// Any delta between two manifests of a few paths.
fn pair() -> (FileManifest, FileManifest) {
    let mut new: Vec<(String, Hash)> = manifest(&["a", "c", "d", "e/é"]).files().to_vec();
    new[1].1 = digest("another");
    (manifest(&["a", "b", "c", "e/é"]), FileManifest::new(new).unwrap())
}

#[test]
fn a_delta_is_drawn_as_it_is_written() {
    let (base, target) = pair();
    let delta = ManifestDelta::between(&base, &target);
    let root = |manifest: &FileManifest| manifest.reference().root.to_hex();
    let text = format!(
        "treehead-manifest-delta@v1\nbase 4 {}\ntarget 4 {}\n- b\n~ {}  c\n+ {}  d\n",
        root(&base),
        root(&target),
        digest("another").to_hex(),
        digest("d").to_hex()
    );
    assert_eq!(delta.to_string(), text);
    assert_eq!(ManifestDelta::parse(text.as_bytes()), Ok(delta.clone()));
    assert_eq!(delta.counts(), (1, 1, 1));
    assert_eq!(delta.apply(&base), Ok(target.clone()));
    let none = ManifestDelta::between(&base, &base);
    assert_eq!((none.changes().len(), none.apply(&base)), (0, Ok(base.clone())));
    assert_eq!(ManifestDelta::parse(none.to_string().as_bytes()), Ok(none));
    let wrong = DeltaError::WrongBase { expected: base.reference(), seen: target.reference() };
    assert_eq!(delta.apply(&target), Err(wrong));
}

#[test]
fn every_changed_byte_of_a_delta_is_refused_by_its_base() {
    let (base, target) = pair();
    let bytes = ManifestDelta::between(&base, &target).to_string().into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let Ok(delta) = ManifestDelta::parse(&changed) else { continue };
            assert_eq!(delta.to_string().as_bytes(), changed, "one spelling");
            let applied = delta.apply(&base);
            assert!(applied.is_err(), "bit {bit} of byte {at}: {delta}");
        }
        let cut = ManifestDelta::parse(&bytes[..at]);
        assert!(cut.is_err() || cut.unwrap().apply(&base).is_err(), "cut at {at}");
    }
}

#[test]
fn a_delta_that_does_not_fit_is_refused() {
    let (base, target) = pair();
    let good = ManifestDelta::between(&base, &target).to_string();
    let (hex, same) = (digest("x").to_hex(), digest("a").to_hex());
    let refuse = |text: &str| match ManifestDelta::parse(text.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(delta) => delta.apply(&base).unwrap_err().to_string(),
    };
    let swap = |from: &str, to: &str| good.replace(from, to);
    for (text, why) in [
        (good.replace("@v1", "@v2"), "at line 1"),
        (good.replace("base 4", "base 5"), "expected a target of 1 files more and 1 less"),
        (swap("base 4 ", "base 0 "), "at line 2"),
        (swap("target ", "target  "), "at line 3"),
        (swap("- b\n", "- bb\n"), "a removed file that was there before, saw \"bb\""),
        (swap("- b\n", ""), "expected a target of"),
        (swap("+ ", "* "), "expected `+`, `~` or `-`"),
        (swap("  d\n", "  e/é\n"), "an added file that was not there before"),
        (swap("  d\n", "  ../d\n"), "which could leave"),
        (swap("  d\n", "  x/../d\n"), "which could leave"),
        (swap("  d\n", "  E\n"), "in byte order"),
        (swap("  d\n", "  f\n"), "leads to another manifest"),
        (swap("~ ", "+ "), "expected a target of"),
        (good.clone() + &format!("~ {hex}  zz\n"), "a changed file that was there"),
        (good.replace("- b\n", &format!("~ {same}  a\n- b\n")), "with another digest, saw \"a\""),
        (
            good.replace(&target.reference().root.to_hex(), &base.reference().root.to_hex()),
            "expected changes if",
        ),
        (good[..good.len() - 1].to_owned(), "end with a newline"),
    ] {
        let error = refuse(&text);
        assert!(error.contains(why), "expected {why:?} for {text:?}: {error}");
    }
    // What it leads to has to be a manifest: here, two files that differ in case.
    let upper = format!(
        "{DELTA_HEADER}\nbase 4 {}\ntarget 5 {}\n+ {hex}  C\n",
        base.reference().root.to_hex(),
        target.reference().root.to_hex()
    );
    let error = refuse(&upper);
    assert!(error.contains("more than case"), "{error}");
}

fn any_files() -> impl Strategy<Value = BTreeMap<String, Hash>> {
    let path = "[a-d]{1,2}(-[0-9]{1,2}(/[x-z])?)?";
    prop::collection::btree_map(path, any::<[u8; 1]>().prop_map(|byte| Hash::digest(&byte)), 1..60).prop_map(
        |files| {
            // A folder's name has a dash too many to be a file's.
            files.into_iter().map(|(path, digest)| (path.replace('/', "-d/"), digest)).collect()
        },
    )
}

proptest! {
    #[test]
    fn the_root_is_the_definitions_and_the_file_reads_back(files in any_files()) {
        let manifest = FileManifest::new(files.clone().into_iter().collect()).unwrap();
        prop_assert_eq!(manifest.reference(), ManifestRef { root: root_by_definition(&files), files: files.len() as u64 });
        prop_assert_eq!(FileManifest::parse(manifest.to_string().as_bytes()), Ok(manifest));
    }

    #[test]
    fn a_delta_leads_from_any_manifest_to_any_other(old in any_files(), new in any_files()) {
        let [base, target] = [&old, &new].map(|files| FileManifest::new(files.clone().into_iter().collect()).unwrap());
        let delta = ManifestDelta::between(&base, &target);
        // The oracle: sets.
        for (path, change) in delta.changes() {
            let expected = match (old.get(path), new.get(path)) {
                (None, Some(digest)) => Change::Added(*digest),
                (Some(_), None) => Change::Removed,
                (Some(before), Some(after)) if before != after => Change::Changed(*after),
                other => panic!("{path}: {other:?}"),
            };
            prop_assert_eq!(*change, expected);
        }
        let differ = old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ = differ.into_iter().filter(|path| old.get(*path) != new.get(*path)).count();
        prop_assert_eq!(delta.changes().len(), differ);
        let parsed = ManifestDelta::parse(delta.to_string().as_bytes());
        prop_assert_eq!(parsed.as_ref(), Ok(&delta));
        prop_assert_eq!(delta.apply(&base), Ok(target));
    }

    #[test]
    fn parsers_are_total(noise in prop::collection::vec(any::<u8>(), 0..200), text in "(files|base|target|[+~-])? ?[0-9a-f]{0,64} {0,2}.{0,20}\n?") {
        for header in ["", MANIFEST_HEADER, DELTA_HEADER] {
            for bytes in [&noise[..], text.as_bytes()] {
                let bytes = [header.as_bytes(), b"\n", bytes].concat();
                if let Ok(manifest) = FileManifest::parse(&bytes) {
                    prop_assert_eq!(manifest.to_string().into_bytes(), bytes.clone());
                }
                if let Ok(delta) = ManifestDelta::parse(&bytes) {
                    prop_assert_eq!(delta.to_string().into_bytes(), bytes);
                }
            }
        }
    }
}
