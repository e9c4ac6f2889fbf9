//! Comparisons of streams against a slow oracle, of files and folders, and the summaries of their results.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::allow::parts;
use super::content::{self, Compared, Part};
use super::*;
use crate::merkle::Hash;
use crate::release::{Resource, Statement, VerificationResult};

/// A reader that gives a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 3 + 1;
        let count = self.1.min(into.len()).min(self.0.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn run(artifact: &[u8], rebuilt: &[u8], parts: &[Part], buffer: usize) -> Compared {
    let buffers = &mut [vec![0; buffer], vec![0; buffer]];
    let mut last = 0;
    let mut read = |bytes| last = bytes;
    let compared = content::compare(Slow(artifact, 0), Slow(rebuilt, 1), parts, buffers, &mut read).unwrap();
    assert_eq!(last, artifact.len() as u64);
    compared
}

/// One byte of each, as they belong together; what is allowed to differ is left out, and breaks a run.
#[derive(Clone, Copy)]
enum Pair {
    Bytes(Option<u8>, Option<u8>, Place),
    Break,
}

/// The slow oracle: puts the bytes of both files beside each other, and counts.
fn oracle(artifact: &[u8], rebuilt: &[u8], parts: &[Part]) -> (u64, u64, Option<Place>, Vec<usize>) {
    let mut pairs = Vec::new();
    let (mut a, mut b, mut used) = (0, 0, Vec::new());
    for part in parts {
        match *part {
            Part::Same(length) => {
                for _ in 0..length {
                    let place = Place { artifact: a as u64, rebuilt: b.min(rebuilt.len()) as u64 };
                    pairs.push(Pair::Bytes(Some(artifact[a]), rebuilt.get(b).copied(), place));
                    (a, b) = (a + 1, b + 1);
                }
            }
            Part::Allowed { rule, artifact: x, rebuilt: y } => {
                let (x, y) = (usize::try_from(x).unwrap(), usize::try_from(y).unwrap());
                let theirs = &artifact[a..a + x];
                let ours = &rebuilt[b.min(rebuilt.len())..(b + y).min(rebuilt.len())];
                if theirs != ours || x != y {
                    used.push(rule);
                }
                pairs.push(Pair::Break);
                (a, b) = (a + x, b + y);
                for _ in ours.len()..y {
                    let place = Place { artifact: a as u64, rebuilt: rebuilt.len() as u64 };
                    pairs.push(Pair::Bytes(Some(0), None, place));
                }
                pairs.push(Pair::Break);
            }
        }
    }
    for (at, byte) in rebuilt.iter().enumerate().skip(b) {
        let place = Place { artifact: a as u64, rebuilt: at as u64 };
        pairs.push(Pair::Bytes(None, Some(*byte), place));
    }
    let differs = |pair: &Pair| matches!(pair, Pair::Bytes(a, b, _) if a != b);
    let bytes = pairs.iter().filter(|pair| differs(pair)).count() as u64;
    let begins = |at: &usize| differs(&pairs[*at]) && (*at == 0 || !differs(&pairs[at - 1]));
    let places = (0..pairs.len()).filter(begins).count() as u64;
    let first = pairs.iter().find(|pair| differs(pair)).map(|pair| match pair {
        Pair::Bytes(_, _, place) => *place,
        Pair::Break => unreachable!("it is no difference"),
    });
    (bytes, places, first, used)
}

prop_compose! {
    /// Ranges that follow each other: gap, length in the artifact, length in the rebuilt file.
    fn layouts()(steps in prop::collection::vec((0_u64..6, 0_u64..5, 0_u64..5), 0..4), rest in 0_u64..8)
        -> (Vec<(usize, Range)>, u64)
    {
        let (mut at, mut ranges) = (0, Vec::new());
        for (gap, length, rebuilt_length) in steps {
            // Two ranges at one offset have no order.
            let start = at + gap + 1;
            let range = Range { start: Start::Offset(start), length: length.max(u64::from(rebuilt_length == 0)), rebuilt_length };
            at = start + range.length;
            ranges.push((ranges.len(), range));
        }
        (ranges, at + rest)
    }
}

proptest! {
    #[test]
    fn a_comparison_finds_what_the_oracle_finds(
        (ranges, length) in layouts(),
        bytes in prop::collection::vec(0_u8..2, 64),
        other in prop::collection::vec(0_u8..2, 64),
        flips in prop::collection::vec(0_usize..64, 0..4),
        cut in -6_i64..6,
        buffer in 1_usize..9,
    ) {
        let length = usize::try_from(length).unwrap();
        let artifact = &bytes[..length];
        let parts = parts(&ranges, length as u64).unwrap();
        // What the rebuilt file should be, then with some flips, and of another length.
        let (mut rebuilt, mut at) = (Vec::new(), 0);
        for part in &parts {
            match *part {
                Part::Same(n) => {
                    let n = usize::try_from(n).unwrap();
                    rebuilt.extend(&artifact[at..at + n]);
                    at += n;
                }
                Part::Allowed { artifact, rebuilt: n, .. } => {
                    rebuilt.extend(&other[..usize::try_from(n).unwrap()]);
                    at += usize::try_from(artifact).unwrap();
                }
            }
        }
        let exact = run(artifact, &rebuilt, &parts, buffer);
        prop_assert_eq!(exact.differing.bytes, 0, "nothing differs but what is allowed");
        for flip in flips.into_iter().filter(|flip| *flip < rebuilt.len()).collect::<Vec<_>>() {
            rebuilt[flip] ^= 1;
        }
        let wanted = usize::try_from(i64::try_from(rebuilt.len()).unwrap() + cut).unwrap_or_default();
        rebuilt.resize(wanted, 7);
        let seen = run(artifact, &rebuilt, &parts, buffer);
        let (bytes, places, first, used) = oracle(artifact, &rebuilt, &parts);
        prop_assert_eq!((seen.differing.bytes, seen.differing.places), (bytes, places));
        prop_assert_eq!(seen.differing.first, first);
        prop_assert_eq!(seen.used, used);
        prop_assert_eq!(seen.artifact, (Hash::digest(artifact), artifact.len() as u64));
        prop_assert_eq!(seen.rebuilt, (Hash::digest(&rebuilt), rebuilt.len() as u64));
    }

    #[test]
    fn the_parts_of_a_file_are_all_of_it((ranges, length) in layouts(), shuffle in any::<u64>()) {
        let mut shuffled = ranges.clone();
        shuffled.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(shuffle | 1));
        let split = parts(&shuffled, length).unwrap();
        prop_assert_eq!(&split, &parts(&ranges, length).unwrap());
        let sizes = split.iter().map(|part| match part {
            Part::Same(n) | Part::Allowed { artifact: n, .. } => *n,
        });
        prop_assert_eq!(sizes.sum::<u64>(), length);
    }
}

#[test]
fn a_range_fits_its_file_and_no_other_range() {
    let at = |start, length| Range { start, length, rebuilt_length: 1 };
    let (begin, end) = (Start::Offset, Start::FromEnd);
    for (ranges, wrong) in [
        (vec![at(begin(0), 10)], None),
        (vec![at(begin(0), 5), at(end(5), 5)], None),
        (vec![at(begin(10), 0)], None),
        (vec![at(begin(3), 4), at(begin(7), 0)], None),
        (vec![at(begin(0), 11)], Some((0, "expected a range within its 10 bytes, saw 11 bytes at 0"))),
        (vec![at(end(11), 1)], Some((0, "saw 1 bytes, 11 bytes before the end"))),
        (vec![at(end(2), 3)], Some((0, "within its 10 bytes"))),
        (vec![at(begin(u64::MAX), 2)], Some((0, "within its 10 bytes"))),
        (vec![at(begin(0), 6), at(end(5), 5)], Some((1, "overlap, saw that of rule 1"))),
        (vec![at(end(5), 5), at(begin(0), 6)], Some((1, "overlap, saw that of rule 1"))),
        (vec![at(begin(4), 0), at(begin(4), 2)], Some((1, "overlap, saw that of rule 1"))),
    ] {
        let ranges: Vec<(usize, Range)> = ranges.into_iter().enumerate().collect();
        match (parts(&ranges, 10), wrong) {
            (Ok(_), None) => {}
            (Err((rule, why)), Some((expected, says))) => {
                assert!(rule == expected && why.contains(says), "{ranges:?}: {why}");
            }
            (seen, _) => panic!("{ranges:?}: {seen:?}"),
        }
    }
}

const LIST: &str = "\
[[allow]]
reason = \"the PE checksum\"
offset = 2
length = 4

[[allow]]
reason = \"the signature\"
from_end = 8
length = 8
rebuilt_length = 0
";

fn list(text: &str) -> AllowList {
    AllowList::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_list_is_strict() {
    assert_eq!(list(LIST).rules().len(), 2);
    assert_eq!(list(LIST).sha256(), &Hash::digest(LIST.as_bytes()));
    for (from, to, says) in [
        ("\"the PE checksum\"", "\"\"", "at line 2, `reason` of allow 1: expected 1 to 256 bytes of text"),
        ("\"the PE checksum\"", "\"a\\u202eb\"", "`reason` of allow 1"),
        ("reason = \"the PE checksum\"\n", "", "missing field `reason`"),
        ("offset = 2\n", "", "at line 3, `length` of allow 1: expected offset or from_end, saw neither"),
        ("length = 4\n", "", "at line 1, allow 1: expected the length of the range"),
        ("length = 4\n", "length = 4\nfrom_end = 3\n", "expected offset or from_end, saw both"),
        ("length = 4", "length = 0", "expected a range of at least one byte"),
        ("length = 4", "length = -4", "at line 4, `length` of allow 1"),
        ("length = 4", "length = 4\nlenght = 5", "unknown field `lenght`"),
        ("offset = 2\nlength = 4\n", "", "expected a range, or a file of a folder, saw neither"),
        ("offset = 2\nlength = 4", "rebuilt_length = 4", "`rebuilt_length` of allow 1"),
        ("offset = 2\nlength = 4", "file = \"../a\"", "at line 3, `file` of allow 1: "),
        ("offset = 2\nlength = 4", "file = \"a\"\nonly_in = \"both\"", "expected artifact or rebuilt"),
        ("length = 4", "length = 4\nfile = \"a\"\nonly_in = \"rebuilt\"", "expected a rule for a whole file"),
    ] {
        let wrong = LIST.replacen(from, to, 1);
        assert_ne!(wrong, LIST, "{from}");
        let error = AllowList::parse(wrong.as_bytes()).expect_err(&wrong).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    let twice = "[[allow]]\nreason = \"x\"\nfile = \"a\"\n[[allow]]\nreason = \"y\"\nfile = \"a\"\noffset = 1\nlength = 1\n";
    let error = AllowList::parse(twice.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("expected one rule for a whole file, saw \"a\" in rule 1 as well"), "{error}");
    let many = "[[allow]]\nreason = \"x\"\noffset = 1\nlength = 1\n".repeat(MAX_RULES + 1);
    assert!(AllowList::parse(many.as_bytes()).unwrap_err().to_string().contains("64 rules"));
    assert!(AllowList::parse(&vec![b'\n'; MAX_ALLOW_BYTES + 1]).is_err());
    assert!(AllowList::parse(b"").is_err(), "an empty list is no list: leave it out");
}

/// A folder with `a` and `b`, files or folders.
struct World(TempDir);

impl World {
    fn files(artifact: &[u8], rebuilt: &[u8]) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        world.write("a", artifact);
        world.write("b", rebuilt);
        world
    }

    fn folders(files: &[(&str, &[u8])]) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, content)| world.write(name, content));
        world
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), content).unwrap();
    }

    fn compare(&self, allow: &AllowList) -> Result<Comparison, RebuildError> {
        compare(&self.at("a"), &self.at("b"), allow, &|done, total| assert!(done <= total))
    }

    fn error(&self, allow: &AllowList) -> String {
        self.compare(allow).unwrap_err().to_string()
    }
}

const PROGRAM: &[u8] = b"MZ\x01\x02\x03\x04program code and dataSIGNATUR";

#[test]
fn what_a_list_allows_may_differ_and_nothing_else() {
    let none = AllowList::default();
    let same = World::files(PROGRAM, PROGRAM).compare(&none).unwrap();
    assert!(same.is_identical() && same.matches() && same.artifact == same.rebuilt);
    let rebuilt = b"MZ\0\0\0\0program code and data";
    let seen = World::files(PROGRAM, PROGRAM).compare(&list(LIST)).unwrap();
    assert!(seen.is_identical() && seen.unused == [0, 1], "whatever the list says");
    let world = World::files(PROGRAM, rebuilt);
    let seen = world.compare(&list(LIST)).unwrap();
    assert!(seen.matches() && !seen.is_identical());
    let told: Vec<_> = seen.allowed.iter().map(|a| (a.rule, a.reason.as_str(), a.bytes)).collect();
    assert_eq!(told, [(0, "the PE checksum", 4), (1, "the signature", 8)]);
    assert_eq!((seen.allowed_bytes(), seen.artifact.bytes, seen.rebuilt.bytes), (12, 35, 27));
    // Without the list, and with a change outside of it.
    let seen = world.compare(&none).unwrap();
    let Seen::Content { bytes, places, first, artifact, rebuilt } = &seen.differences[0].seen else {
        panic!("{seen:?}")
    };
    assert_eq!((*bytes, *places, first.artifact), (12, 2, 2));
    assert_eq!(artifact, &Around { before: b"MZ".into(), at: Some(1), after: b"\x02\x03\x04progr".into() });
    assert_eq!(rebuilt, &Around { before: b"MZ".into(), at: Some(0), after: b"\0\0\0progr".into() });
    let world = World::files(PROGRAM, b"MZ\0\0\0\0program c0de and data");
    let seen = world.compare(&list(LIST)).unwrap();
    let Seen::Content { bytes: 1, places: 1, first, artifact, .. } = &seen.differences[0].seen else {
        panic!("{seen:?}")
    };
    assert_eq!((first.artifact, first.rebuilt, artifact.at), (15, 15, Some(b'o')));
    // A rule that was not needed, and the end of a file.
    let seen = World::files(PROGRAM, &PROGRAM[..27]).compare(&list(LIST)).unwrap();
    assert_eq!((seen.unused.as_slice(), seen.matches()), ([0].as_slice(), true));
    let seen = World::files(b"abc", b"abcd").compare(&none).unwrap();
    let Seen::Content { bytes: 1, artifact, rebuilt, .. } = &seen.differences[0].seen else {
        panic!("{seen:?}")
    };
    assert_eq!((artifact.at, rebuilt.at), (None, Some(b'd')));
}

#[test]
fn what_can_not_be_compared_is_an_error_that_says_why() {
    let none = AllowList::default();
    let world = World::files(PROGRAM, PROGRAM);
    let error = compare(&world.at("a"), &world.at("a"), &none, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("are the same: expected an artifact and another one"), "{error}");
    fs::hard_link(world.at("a"), world.at("link")).unwrap();
    let error = compare(&world.at("a"), &world.at("link"), &none, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("are the same"), "{error}");
    let error = compare(&world.at("a"), world.0.path(), &none, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("expected two files or two folders, saw the file "), "{error}");
    let error = compare(&world.at("a"), &world.at("c"), &none, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("could not read "), "{error}");
    let error = compare(&world.at("a"), Path::new("/dev/null"), &none, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("/dev/null: no regular file"), "{error}");
    let short = World::files(b"MZ", b"MZ");
    assert!(short.error(&list(LIST)).contains("rule 1 does not fit: expected a range within its 2 bytes"));
    let all = list("[[allow]]\nreason = \"x\"\noffset = 0\nlength = 2\n");
    assert_eq!(World::files(b"MZ", b"XY").error(&all), RebuildError::NothingCompared.to_string());
    assert!(World::files(b"MZ", b"MZ").compare(&all).is_ok(), "it was not needed");
    let named = list("[[allow]]\nreason = \"x\"\nfile = \"a\"\n");
    assert!(
        short.error(&named).contains("rule 1 does not fit: expected a byte range"),
        "a file is no folder"
    );
    let folders = World::folders(&[("a/x", b"1"), ("b/x", b"1")]);
    assert!(folders.error(&all).contains("expected a rule with `file`"));
    let range = list("[[allow]]\nreason = \"x\"\nfile = \"x\"\noffset = 1\nlength = 1\n");
    assert!(folders.error(&range).contains("rule 1 does not fit x: expected a range within its 1 bytes"));
    symlink("x", folders.at("b/link")).unwrap();
    assert!(folders.error(&none).contains("b/link is a symbolic link"));
    let empty = World::folders(&[("a/x", b"1")]);
    fs::create_dir(empty.at("b")).unwrap();
    assert!(empty.error(&none).contains("at least one file"));
    let nothing = World::folders(&[("a/x", b"1"), ("b/x", b"2")]);
    assert_eq!(
        nothing.error(&list("[[allow]]\nreason = \"x\"\nfile = \"x\"\n")),
        RebuildError::NothingCompared.to_string()
    );
}

#[test]
fn folders_are_compared_file_by_file() {
    let files: [(&str, &[u8]); 9] = [
        ("a/bin/tool", b"code 2026"),
        ("b/bin/tool", b"code 1970"),
        ("a/same", b"same"),
        ("b/same", b"same"),
        ("a/META/V.RSA", b"signature"),
        ("a/extra", b"?"),
        ("b/new", b"?"),
        ("a/report", b"one"),
        ("b/report", b"another"),
    ];
    let world = World::folders(&files);
    let seen = world.compare(&AllowList::default()).unwrap();
    let told: Vec<_> = seen.differences.iter().map(|d| d.file.as_deref().unwrap()).collect();
    assert_eq!(told, ["META/V.RSA", "bin/tool", "extra", "new", "report"]);
    assert_eq!(seen.differences[0].seen, Seen::OnlyIn(Side::Artifact));
    assert_eq!(seen.differences[3].seen, Seen::OnlyIn(Side::Rebuilt));
    let manifest = crate::endpoint::manifest_of_folder(&world.at("a")).unwrap();
    assert_eq!(seen.artifact.sha256, Hash::digest(manifest.to_string().as_bytes()));
    assert_eq!((seen.artifact.files, seen.rebuilt.files, seen.artifact.bytes), (Some(5), Some(4), 26));
    let allow = list(
        "[[allow]]\nreason = \"year\"\nfile = \"bin/tool\"\noffset = 5\nlength = 4\n\
         [[allow]]\nreason = \"signature\"\nfile = \"META/V.RSA\"\nonly_in = \"artifact\"\n\
         [[allow]]\nreason = \"names its builder\"\nfile = \"report\"\n\
         [[allow]]\nreason = \"of old versions\"\nfile = \"old\"\n\
         [[allow]]\nreason = \"the wrong side\"\nfile = \"new\"\nonly_in = \"artifact\"\n",
    );
    let seen = world.compare(&allow).unwrap();
    let told: Vec<_> = seen.differences.iter().map(|d| d.file.as_deref().unwrap()).collect();
    assert_eq!(told, ["extra", "new"]);
    let told: Vec<_> = seen.allowed.iter().map(|a| (a.rule, a.file.as_deref().unwrap(), a.bytes)).collect();
    assert_eq!(told, [(0, "bin/tool", 4), (1, "META/V.RSA", 9), (2, "report", 3)]);
    assert_eq!(seen.unused, [3, 4]);
    fs::remove_file(world.at("a/extra")).unwrap();
    fs::remove_file(world.at("b/new")).unwrap();
    assert!(world.compare(&allow).unwrap().matches());
}

#[test]
fn a_summary_says_what_was_compared_and_is_one() {
    let about = About {
        verifier: "https://rebuilder.example.com",
        resource: "pkg:generic/example/scanner@4.2.0",
        policy: POLICY_IDENTICAL,
        time: 1_769_860_800,
    };
    let allow = list(LIST);
    let subject = |sha256: &Hash| {
        vec![Resource {
            name: Some("a".into()),
            uri: None,
            digests: vec![("sha256".into(), sha256.to_hex())],
        }]
    };
    for (rebuilt, allow, result, level) in [
        (PROGRAM, &AllowList::default(), VerificationResult::Passed, LEVEL_IDENTICAL),
        (b"MZ\0\0\0\0program code and data", &allow, VerificationResult::Passed, LEVEL_ALLOWED),
        (b"MZ\0\0\0\0program c0de and data", &allow, VerificationResult::Failed, "FAILED"),
    ] {
        let seen = World::files(PROGRAM, rebuilt).compare(allow).unwrap();
        let predicate = seen.predicate(allow, &about);
        assert_eq!(rebuilt_artifact(&predicate), Some(Hash::digest(PROGRAM)));
        assert_eq!(predicate["timeVerified"], "2026-01-31T12:00:00Z");
        let sha256 = predicate["policy"]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(sha256, allow.sha256().to_hex());
        let details = &predicate[REBUILD_FIELD];
        assert_eq!(details["rebuilt"]["sha256"], Hash::digest(rebuilt).to_hex());
        if level == "FAILED" {
            assert_eq!(details["differences"], serde_json::json!({ "files": 1, "first": { "offset": 15 } }));
        }
        if allow.rules().len() == 2 {
            assert_eq!(details["allowed"][0]["reason"], "the PE checksum");
        }
        let text = predicate.to_string();
        let payload = Statement::attestation(
            "https://slsa.dev/verification_summary/v1",
            text.as_bytes(),
            &subject(&Hash::digest(PROGRAM)),
        );
        let Statement::Summary(summary) = Statement::parse(&payload.unwrap()).unwrap() else {
            panic!("it is a summary")
        };
        assert_eq!((summary.result, summary.levels.as_slice()), (result, [level.to_owned()].as_slice()));
        assert_eq!((summary.verifier.as_str(), summary.policy.as_str()), (about.verifier, POLICY_IDENTICAL));
        assert!(summary.purls()[0].as_str().ends_with("scanner@4.2.0"));
    }
    assert_eq!(rebuilt_artifact(&serde_json::json!({ "verifier": {} })), None);
}

/// The longest list with the longest reasons still fits into an entry.
#[test]
fn a_summary_with_every_rule_fits_into_an_entry() {
    let reason = "\\\"".repeat(MAX_REASON_BYTES);
    let rules: String = (0..MAX_RULES)
        .map(|at| format!("[[allow]]\nreason = \"{reason}\"\noffset = {}\nlength = 1\n", 2 * at))
        .collect();
    let allow = list(&rules);
    let seen = World::files(&[0; 2 * MAX_RULES], &[0; 2 * MAX_RULES - 1].map(|_: u8| 1)).compare(&allow);
    let predicate = seen
        .unwrap()
        .predicate(&allow, &About { verifier: "https://x", resource: "urn:x", policy: "urn:x", time: 0 });
    // In base64, with room for subjects and signatures.
    assert!(predicate.to_string().len() * 4 / 3 < 60_000, "{}", predicate.to_string().len());
}
