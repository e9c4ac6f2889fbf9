use proptest::prelude::*;

use super::*;
use crate::checkpoint;
use crate::format::FormatError;
use crate::merkle::{Hash, TreeSize};
use crate::note::{NoteSignature, NoteSigner, SignatureType};

mod keys;
mod quorums;

fn signer(name: &str, kind: SignatureType, seed: usize) -> NoteSigner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(seed as u64).to_be_bytes());
    NoteSigner::from_seed(KeyName::new(name).unwrap(), kind, &bytes)
}

fn log(seed: usize) -> NoteSigner {
    signer("example.com/log", SignatureType::Ed25519, 1_000 + seed)
}

fn witness(seed: usize) -> NoteSigner {
    signer(&format!("witness.example/{seed}"), SignatureType::CosignatureEd25519, seed)
}

/// Replaces `$L0` and `$W0` by the vkeys of log 0 and witness 0, and so on to 9.
fn fill(template: &str) -> String {
    (0..10).fold(template.to_owned(), |text, at| {
        text.replace(&format!("$L{at}"), &log(at).public().to_string())
            .replace(&format!("$W{at}"), &witness(at).public().to_string())
    })
}

fn parse(template: &str) -> Result<Policy, FormatError> {
    Policy::parse(fill(template).as_bytes())
}

/// The example policy of c2sp.org/tlog-policy, with keys.
const SPEC_EXAMPLE: &str = "\
log $L0

witness X1 $W0
witness X2 $W1
witness X3 $W2
group X-witnesses 2 X1 X2 X3

witness Y1 $W3
witness Y2 $W4
witness Y3 $W5
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
";

#[test]
fn the_specification_s_example_is_read() {
    let policy = parse(SPEC_EXAMPLE).unwrap();
    assert_eq!(policy.log_keys(), [log(0).public().clone().into()]);
    let names: Vec<&[u8]> = policy.witnesses().iter().map(|w| w.name.as_slice()).collect();
    assert_eq!(names, [b"X1", b"X2", b"X3", b"Y1", b"Y2", b"Y3"]);
    assert_eq!(policy.witnesses()[4].key, *witness(4).public());
    assert_eq!(policy.quorum_in_words(), "2 of (2 of (X1, X2, X3), 1 of (Y1, Y2, Y3))");
    assert_eq!(parse("quorum none\n").unwrap().quorum_in_words(), "no witnesses");
}

#[test]
fn everything_the_specification_allows_is_read() {
    let policy = parse(
        "\t # a comment after white space\n#\n\n \t \n\
         \t log \t $L0   https://log.example/ \t\n\
         log $L1\n\
         witness all $W0\n\
         witness #sharp $W1 https://w.example/\n\
         group any 1 all\n\
         group 2 any any\n\
         quorum #sharp\n\
         witness later $W2 # \n",
    )
    .unwrap();
    assert_eq!(policy.logs()[0].url.as_deref(), Some("https://log.example/"));
    assert_eq!((policy.logs()[1].url.as_deref(), policy.logs().len()), (None, 2));
    assert_eq!(policy.witnesses()[1].name, b"#sharp", "only a line that begins with # is a comment");
    assert_eq!(policy.witnesses()[2].url.as_deref(), Some("#"));
    assert_eq!(policy.quorum_in_words(), "#sharp");
}

#[test]
fn names_are_opaque_octets() {
    let line = |name: &[u8], key: usize| {
        [b"witness ", name, b" ", witness(key).public().to_string().as_bytes(), b"\n"].concat()
    };
    // "the name 0x4B is different from the name 0xE2 0x84 0xAA". Composed and decomposed é are two names, too. Single
    // octets above 0x7f are not UTF-8, but still names.
    let names: [&[u8]; 6] =
        [b"K", b"\xe2\x84\xaa", "é".as_bytes(), "e\u{301}".as_bytes(), b"\xe9", b"\xff\x80"];
    let mut file: Vec<u8> = names.iter().enumerate().flat_map(|(at, name)| line(name, at)).collect();
    file.extend(b"# a comment in Latin-1: \xe9\ngroup \xfe all K \xe2\x84\xaa \xe9\nquorum \xfe\n");
    let policy = Policy::parse(&file).unwrap();
    assert_eq!(policy.witnesses().iter().map(|w| w.name.as_slice()).collect::<Vec<_>>(), names);
    assert_eq!(policy.quorum_in_words(), "3 of (K, \u{212a}, \u{fffd})");
    let unknown = [line(b"K", 0), b"quorum \xe2\x84\xaa\n".to_vec()].concat();
    let error = Policy::parse(&unknown).unwrap_err().to_string();
    assert!(
        error.contains("at line 2: expected the name of a witness or group on an earlier line"),
        "{error}"
    );
    // The same for URLs: nobody can fetch from one that is not UTF-8, but an offline policy still works.
    let url = [b"log ", log(0).public().to_string().as_bytes(), b" http://\xe9/\nquorum none\n"].concat();
    assert_eq!(Policy::parse(&url).unwrap().logs()[0].url.as_deref(), Some("http://\u{fffd}/"));
    // Only space and tab are white space: U+00A0 and U+2003 are part of the name.
    assert!(parse("witness a\u{a0}b $W0\nquorum a\u{a0}b\n").is_ok());
    assert!(parse("witness a\u{2003}b $W0\nquorum a\n").is_err());
}

#[test]
fn everything_the_specification_does_not_allow_is_refused() {
    let twin_log = signer("example.com/twin", SignatureType::Ed25519, 1_000);
    let twin_witness = signer("witness.example/twin", SignatureType::CosignatureEd25519, 0);
    let member = "expected the name of a witness or group on an earlier line, saw ";
    let vkey = fill("$W0");
    for (bad, line, why) in [
        // Exactly one quorum line.
        ("", 0, "each line to end in a newline"),
        ("log $L0\n", 0, "expected a quorum line"),
        ("\n# quorum none\n", 0, "expected a quorum line"),
        ("quorum none\nquorum none\n", 2, "expected one quorum line"),
        ("witness a $W0\nquorum a\nquorum none\n", 3, "expected one quorum line"),
        ("quorum\n", 1, "a log, witness, group or quorum line"),
        ("quorum none none\n", 1, "a log, witness, group or quorum line"),
        ("witness a $W0\nquorum a # comment\n", 2, "a log, witness, group or quorum line"),
        // Duplicates share a public key, whatever their names and IDs.
        ("log $L0\nlog $L0\nquorum none\n", 2, "each log key once"),
        (&format!("log $L0\nlog {}\nquorum none\n", twin_log.public()), 2, "each log key once"),
        ("witness a $W0\nwitness b $W0\nquorum a\n", 2, "each witness key once"),
        (
            &format!("witness a $W0\nwitness b {}\nquorum a\n", twin_witness.public()),
            2,
            "each witness key once",
        ),
        // One name space, each name once, none predefined.
        ("witness a $W0\nwitness a $W1\nquorum a\n", 2, "a name that is not defined yet, saw \"a\""),
        ("witness a $W0\nwitness b $W1\ngroup a all b\nquorum a\n", 3, "a name that is not defined yet"),
        (
            "witness a $W0\nwitness b $W1\ngroup g all a\ngroup g all b\nquorum g\n",
            4,
            "a name that is not defined yet",
        ),
        ("witness none $W0\nquorum none\n", 1, "a name other than none"),
        ("witness a $W0\ngroup none all a\nquorum none\n", 2, "a name other than none"),
        // Groups and the quorum refer only to earlier lines.
        ("quorum a\n", 1, &format!("{member}\"a\"")),
        ("quorum a\nwitness a $W0\n", 1, member),
        ("quorum NONE\n", 1, member),
        ("group g all a\nwitness a $W0\nquorum g\n", 1, member),
        ("witness a $W0\ngroup g all a b\nquorum g\n", 2, &format!("{member}\"b\"")),
        ("witness a $W0\ngroup g any a g\nquorum g\n", 2, &format!("{member}\"g\"")),
        ("witness a $W0\ngroup g any a none\nquorum g\n", 2, &format!("{member}\"none\"")),
        ("witness a $W0\ngroup g all A\nquorum g\n", 2, &format!("{member}\"A\"")),
        ("witness a $W0\nquorum witness.example/0\n", 2, member),
        // Each name is a member at most once.
        ("witness a $W0\ngroup g 1 a a\nquorum g\n", 2, "each name as a group member once, saw \"a\""),
        (
            "witness a $W0\nwitness b $W1\ngroup g all a\ngroup h all a b\nquorum h\n",
            4,
            "each name as a group member once",
        ),
        (
            "witness a $W0\ngroup g all a\ngroup h all g\ngroup i all g\nquorum h\n",
            4,
            "each name as a group member once",
        ),
        // 1 <= k <= n, in decimal.
        ("witness a $W0\ngroup g 0 a\nquorum g\n", 2, "all, any or a number from 1 to 1, saw \"0\""),
        ("witness a $W0\ngroup g 2 a\nquorum g\n", 2, "all, any or a number from 1 to 1, saw \"2\""),
        ("witness a $W0\ngroup g 01 a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g +1 a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g -1 a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g 1.0 a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g ALL a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g a a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        ("witness a $W0\ngroup g 18446744073709551617 a\nquorum g\n", 2, "all, any or a number from 1 to 1"),
        // n >= 1.
        ("group g all\nquorum g\n", 1, "at least one group member"),
        ("group g any\nquorum g\n", 1, "at least one group member"),
        ("group g 1\nquorum g\n", 1, "at least one group member"),
        ("group g\nquorum g\n", 1, "group <name> all|any|<k> <name>..."),
        ("group\nquorum none\n", 1, "group <name> all|any|<k> <name>..."),
        // Keys fit their use.
        ("log $W0\nquorum none\n", 1, "a log key (signature type 0x01 or 0x06)"),
        ("witness a $L0\nquorum a\n", 1, "a witness key (signature type 0x04 or 0x06)"),
        ("log x\nquorum none\n", 1, "a verifier key is malformed"),
        ("log\nquorum none\n", 1, "log <vkey> [<url>]"),
        ("log $L0 url extra\nquorum none\n", 1, "log <vkey> [<url>]"),
        ("witness a\nquorum none\n", 1, "witness <name> <vkey> [<url>]"),
        ("witness\nquorum none\n", 1, "witness <name> <vkey> [<url>]"),
        ("witness $W0\nquorum none\n", 1, "witness <name> <vkey> [<url>]"),
        ("witness a $W0 url extra\nquorum a\n", 1, "witness <name> <vkey> [<url>]"),
        ("witness $W0 a\nquorum none\n", 1, "a verifier key is malformed"),
        // Lines, characters.
        ("quorum none", 0, "each line to end in a newline"),
        ("log $L0\nquorum none\n# no newline", 0, "each line to end in a newline"),
        ("quorum none\r\n", 1, "CRLF line ends are not allowed), saw byte 0x0d"),
        ("# comment\r\nquorum none\n", 1, "saw byte 0x0d"),
        ("quorum none\n\x0b\n", 2, "saw byte 0x0b"),
        ("quorum none\n# \x7f\n", 2, "saw byte 0x7f"),
        ("quorum none\n# \0\n", 2, "saw byte 0x00"),
        ("Quorum none\n", 1, "a log, witness, group or quorum line"),
        ("quorum\u{a0}none\n", 1, "a log, witness, group or quorum line"),
        ("\u{feff}quorum none\n", 1, "UTF-8 without a byte order mark, saw a UTF-8 byte order mark"),
        ("threshold 1\nquorum none\n", 1, "a log, witness, group or quorum line"),
    ] {
        let error = parse(bad).expect_err(bad).to_string();
        let place =
            if line == 0 { "a policy is malformed: ".to_owned() } else { format!(" at line {line}: ") };
        assert!(error.contains(why) && error.contains(&place), "{bad:?}: {line}, {why:?} in {error:?}");
    }
    for byte in (0..0x20).filter(|b| !matches!(b, b'\t' | b'\n')) {
        let error = Policy::parse(&[b"quorum none\n#", [byte].as_slice(), b"\n"].concat()).unwrap_err();
        assert!(error.to_string().contains(&format!("saw byte {byte:#04x}")), "{error}");
    }
    // A log line's vkey must be UTF-8, like every key name.
    let bad = [b"log ", vkey.as_bytes(), b"\xff\nquorum none\n"].concat();
    assert!(Policy::parse(&bad).unwrap_err().to_string().contains("expected UTF-8"));
}

#[test]
fn limits_are_where_they_say() {
    let logs = |n: usize| -> String { (0..n).map(|i| format!("log {}\n", log(i).public())).collect() };
    let witnesses =
        |n: usize| -> String { (0..n).map(|i| format!("witness w{i} {}\n", witness(i).public())).collect() };
    // Each name can be in only one group, so the groups make a chain.
    let groups = |n: usize| -> String {
        let chain = (1..n).map(|i| format!("group g{i} all g{}\n", i - 1));
        format!("witness w {}\ngroup g0 all w\n{}", witness(0).public(), chain.collect::<String>())
    };
    for (what, text) in
        [("logs", &logs as &dyn Fn(usize) -> String), ("witnesses", &witnesses), ("groups", &groups)]
    {
        assert!(Policy::parse(format!("{}quorum none\n", text(256)).as_bytes()).is_ok(), "256 {what}");
        let error = Policy::parse(format!("{}quorum none\n", text(257)).as_bytes()).unwrap_err();
        let expected = format!("a policy is too large: expected at most 256 {what}, saw 257");
        assert_eq!(error.to_string(), expected);
    }
    let deep = Policy::parse(format!("{}quorum g255\n", groups(256)).as_bytes()).unwrap();
    assert!(deep.quorum_reached(&[true]) && !deep.quorum_reached(&[false]), "256 groups deep");

    let filled = |total: usize| format!("quorum none\n#{}\n", "x".repeat(total - 14));
    assert!(Policy::parse(filled(MAX_POLICY_BYTES).as_bytes()).is_ok());
    let error = Policy::parse(filled(MAX_POLICY_BYTES + 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("expected at most 1048576 bytes, saw 1048577"), "{error}");
}

/// A checkpoint of log 0 with the cosignatures of the first ten witnesses.
fn head() -> (Note, Vec<NoteSignature>) {
    let key = log(0);
    let origin = key.public().name().clone();
    let head = Checkpoint::new(origin, TreeSize::new(7).unwrap(), Hash::EMPTY_ROOT);
    let cosignatures = (0..10).map(|at| cosignature::cosign(&head, &witness(at), 100 + at as u64)).collect();
    (head.sign(&key), cosignatures)
}

fn with(note: &Note, signatures: &[&NoteSignature]) -> LogSigned<Checkpoint> {
    let mut note = note.clone();
    signatures.iter().for_each(|signature| note.push((*signature).clone()));
    checkpoint::open(note.to_string().as_bytes(), &[log(0).public().clone()]).unwrap()
}

/// Whether the quorum rule refers to a witness: by its name, or through a group.
fn rules_count(rules: &str, name: &str) -> bool {
    let quorum = rules.lines().find_map(|line| line.strip_prefix("quorum ")).unwrap();
    let mut open = vec![quorum];
    while let Some(next) = open.pop() {
        if next == name {
            return true;
        }
        let group = rules.lines().find_map(|line| line.strip_prefix(&format!("group {next} ")));
        open.extend(group.into_iter().flat_map(|group| group.split(' ').skip(1)));
    }
    false
}

/// A cosignature of a witness with one key.
fn alone(name: &str, time: u64) -> WitnessedBy {
    WitnessedBy { witness: name.to_owned(), cosigner: name.to_owned(), time }
}

#[test]
fn quorums_agree_with_their_truth_tables() {
    let define =
        "log $L0\nwitness A $W0\nwitness B $W1\nwitness C $W2\nwitness D $W3\nwitness E $W4\nwitness F $W5\n";
    let count = |of: &[bool]| of.iter().filter(|seen| **seen).count();
    type Oracle<'a> = &'a dyn Fn(&[bool]) -> bool;
    let tables: [(&str, Oracle); 10] = [
        ("group X 2 A B C\ngroup Y any D E F\ngroup Q all X Y\nquorum Q\n", &|s| {
            count(&s[..3]) >= 2 && (s[3] || s[4] || s[5])
        }),
        ("group X 2 A B C\ngroup Y any D E F\ngroup Q any X Y\nquorum Q\n", &|s| {
            count(&s[..3]) >= 2 || (s[3] || s[4] || s[5])
        }),
        ("group X all A B\ngroup Y 2 X C D\ngroup Q all Y E\nquorum Q\n", &|s| {
            count(&[s[0] && s[1], s[2], s[3]]) >= 2 && s[4]
        }),
        ("group X all F E D\ngroup Y 1 C B A\ngroup Q 1 Y X\nquorum Y\n", &|s| s[0] || s[1] || s[2]),
        ("group Q 4 A B C D E F\nquorum Q\n", &|s| count(s) >= 4),
        ("group Q 6 A B C D E F\nquorum Q\n", &|s| count(s) == 6),
        ("group Q any A B C D E F\nquorum Q\n", &|s| count(s) >= 1),
        ("group Q all D\nquorum Q\n", &|s| s[3]),
        ("group Q all A B\nquorum C\n", &|s| s[2]),
        ("group Q all A B\nquorum none\n", &|_| true),
    ];
    let (note, cosignatures) = head();
    for (rules, oracle) in tables {
        let policy = parse(&format!("{define}{rules}")).unwrap();
        for subset in 0..64_u32 {
            let seen: Vec<bool> = (0..6).map(|at| subset >> at & 1 == 1).collect();
            let chosen: Vec<usize> = (0..6).filter(|at| seen[*at]).collect();
            let lines: Vec<&NoteSignature> = chosen.iter().map(|at| &cosignatures[*at]).collect();
            let names: Vec<&str> = chosen.iter().map(|at| &"ABCDEF"[*at..=*at]).collect();
            match policy.check(&with(&note, &lines)) {
                Ok(cosigned) => {
                    assert!(oracle(&seen), "{rules}: {names:?} must not be enough");
                    let expected = chosen.iter().zip(&names);
                    let expected: Vec<WitnessedBy> =
                        expected.map(|(at, name)| alone(name, 100 + *at as u64)).collect();
                    assert_eq!(cosigned.cosignatures(), expected);
                }
                Err(QuorumError::NotReached { expected, seen: by, missing }) => {
                    assert!(!oracle(&seen), "{rules}: {names:?} must be enough");
                    assert_eq!(expected, policy.quorum_in_words());
                    let counted = |name: &&str| rules_count(rules, name);
                    let absent: Vec<&str> =
                        (0..6).filter(|at| !seen[*at]).map(|at| &"ABCDEF"[at..=at]).collect();
                    assert_eq!(
                        missing,
                        absent.into_iter().filter(counted).collect::<Vec<_>>().join(", "),
                        "{rules}"
                    );
                    assert_eq!(by, if names.is_empty() { "nobody".to_owned() } else { names.join(", ") });
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_false_cosignature_by_a_known_witness_is_refused_even_where_the_quorum_is_reached() {
    let policy = parse("log $L0\nwitness A $W0\nwitness B $W1\ngroup Q any A B\nquorum Q\n").unwrap();
    let (note, lines) = head();
    let (good, unknown) = (&lines[0], &lines[5]);
    assert!(policy.check(&with(&note, &[good, unknown])).is_ok());
    let key = witness(1).public().clone();
    let named = |bytes: Vec<u8>| NoteSignature::new(key.name().clone(), key.id(), bytes);
    let other = Checkpoint::new(log(0).public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    let elsewhere = cosignature::cosign(&other, &witness(1), 7);
    for bad in [
        named(lines[0].bytes().to_vec()),
        named(lines[1].bytes()[..71].to_vec()),
        named(lines[1].bytes()[8..].to_vec()),
        named([0x80; 72].to_vec()),
        elsewhere,
    ] {
        for order in [[good, &bad], [&bad, good]] {
            let refused = policy.check(&with(&note, &order)).unwrap_err();
            assert_eq!(refused, QuorumError::BadCosignature { name: key.name().clone(), id: key.id() });
        }
    }
    // A line with an unknown name or ID is ignored, and doesn't count.
    let stranger = NoteSignature::new(KeyName::new("witness.example/x").unwrap(), key.id(), vec![0; 72]);
    let same_name = NoteSignature::new(key.name().clone(), KeyId([0; 4]), lines[1].bytes().to_vec());
    assert!(policy.check(&with(&note, &[good, &stranger, &same_name])).is_ok());
    let refused = policy.check(&with(&note, &[&stranger, &same_name, unknown])).unwrap_err();
    let expected = "expected 1 of (A, B), saw cosignatures by nobody; missing A, B";
    assert!(refused.to_string().ends_with(expected), "{refused}");
}

#[test]
fn whoever_cosigned_is_named_whatever_else_is_on_the_note() {
    let policy = parse("log $L0\nwitness A $W0\nwitness B $W1\nwitness C $W2\nquorum C\n").unwrap();
    let (note, lines) = head();
    let key = witness(1).public().clone();
    let bad = NoteSignature::new(key.name().clone(), key.id(), lines[0].bytes().to_vec());
    let later = cosignature::cosign(&Checkpoint::parse(note.text()).unwrap(), &witness(0), 500);
    let signed = with(&note, &[&lines[5], &later, &bad, &lines[0]]);
    assert!(policy.check(&signed).is_err());
    assert_eq!(
        policy.witnesses_of(&signed),
        [alone("A", 500)],
        "a false line and a missing quorum spoil nothing"
    );
    let signed = with(&note, &[&bad, &lines[2], &lines[1]]);
    assert_eq!(policy.witnesses_of(&signed), [alone("B", 101), alone("C", 102)]);
}

#[test]
fn a_witness_counts_once_and_its_later_time_is_kept() {
    let policy = parse("log $L0\nwitness A $W0\nwitness B $W1\ngroup Q 2 A B\nquorum Q\n").unwrap();
    let (note, lines) = head();
    let later = cosignature::cosign(&Checkpoint::parse(note.text()).unwrap(), &witness(0), 500);
    let refused = policy.check(&with(&note, &[&lines[0], &later])).unwrap_err();
    assert!(matches!(refused, QuorumError::NotReached { seen, .. } if seen == "A"));
    let cosigned = policy.check(&with(&note, &[&later, &lines[0], &lines[1]])).unwrap();
    let expected = [("A", 500), ("B", 101)].map(|(name, time)| alone(name, time));
    assert_eq!(cosigned.cosignatures(), expected);
    assert_eq!((cosigned.get().size.get(), cosigned.note().signatures().len()), (7, 4));
}

proptest! {
    /// Lines that are nearly valid, so that many files parse. A file that parses has one quorum line, which the
    /// cosignatures of all witnesses satisfy: no rule is impossible.
    #[test]
    fn noise_never_panics(
        lines in prop::collection::vec(
            (0..6_usize, "[ab]", "[ab]", "all|any|[0-3]", "\t|  | ").prop_map(|(at, a, b, k, gap)| match at {
                0 => format!("log{gap}$L{}", a == "a"),
                1 | 2 => format!("witness{gap}{a} $W{}", b == "a"),
                3 => format!("{gap}group g{a} {k} {a} {b}"),
                4 => format!("group h{gap}{k}{gap}{a}"),
                _ => format!("quorum {}", if k == "all" { "none" } else { &a }),
            }),
            0..8,
        ),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = Policy::parse(&bytes);
        let text = format!("{}\n", lines.join("\n")).replace("$Ltrue", "$L0").replace("$Lfalse", "$L1")
            .replace("$Wtrue", "$W0").replace("$Wfalse", "$W1");
        if let Ok(policy) = parse(&text) {
            prop_assert_eq!(text.matches("quorum").count(), 1);
            prop_assert!(policy.quorum_reached(&vec![true; policy.witnesses().len()]));
            let nobody = policy.quorum_reached(&vec![false; policy.witnesses().len()]);
            prop_assert_eq!(nobody, text.contains("quorum none"));
            let again = Policy::parse(&policy.rule_lines(true)).unwrap();
            prop_assert_eq!(again, Policy { logs: Vec::new(), ..policy });
        }
    }
}

#[test]
fn a_log_is_not_its_own_witness() {
    let both = signer("example.com/log", SignatureType::CosignatureMlDsa44, 7);
    let key = both.public();
    for lines in [format!("log {key}\nwitness w {key}\n"), format!("witness w {key}\nlog {key}\n")] {
        let error = parse(&format!("{lines}quorum w\n")).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("not both"), "{error}");
    }
    // Of another signature type.
    let twin = signer("example.com/log", SignatureType::CosignatureEd25519, 1_000);
    assert!(parse(&format!("log $L0\nwitness a {}\nquorum a\n", twin.public())).is_err());
    // The same key under another name is the same key.
    let other = signer("witness.example/w", SignatureType::CosignatureMlDsa44, 7);
    let error = parse(&format!("log {key}\nwitness w {}\nquorum w\n", other.public())).unwrap_err();
    assert!(error.to_string().contains("not both"), "{error}");
}

#[test]
fn two_witnesses_with_equal_name_and_key_id_are_refused() {
    // Two ML-DSA-44 keys that differ only in their first bytes, and whose key IDs collide.
    let vkey = |first: u32| {
        let mut material = vec![6];
        material.extend_from_slice(&first.to_be_bytes());
        material.resize(1 + 1_312, 0);
        format!("w.example+4d4e7a21+{}", crate::format::base64_encode(&material))
    };
    let (one, two) = (vkey(99_382), vkey(104_616));
    assert!(parse(&format!("witness a {one}\nquorum none\n")).is_ok());
    assert!(parse(&format!("witness a {two}\nquorum none\n")).is_ok());
    let error = parse(&format!("witness a {one}\nwitness b {two}\nquorum none\n")).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("differ in name or key ID"), "{error}");
}

#[test]
fn other_limits_can_be_set() {
    let text = fill("log $L0\nlog $L1\nlog $L2\nquorum none\n");
    let limits = |bytes, items| Policy::parse_within(text.as_bytes(), PolicyLimits { bytes, items });
    assert_eq!(limits(text.len(), 3), Policy::parse(text.as_bytes()));
    assert!(limits(text.len(), 2).is_err() && limits(text.len() - 1, 3).is_err());
}

#[test]
fn an_origin_line_names_the_log_of_the_line_before() {
    let origins = |text: &str| -> Vec<String> {
        parse(text).unwrap().logs().iter().map(|log| log.origin.to_string()).collect()
    };
    let name = parse("log $L0\nquorum none\n").unwrap().logs()[0].key.name().to_string();
    let text = "log $L0 https://a\n\torigin  go.sum  database tree \nlog $L1\nquorum none\n";
    assert_eq!(origins(text)[0], "go.sum  database tree");
    assert_eq!(origins("log $L1\nlog $L0\nquorum none\n")[1], name, "the key's name, without");
    for (line, origin) in
        [("%20a%20", " a "), ("%25", "%"), ("a%2Bb+c", "a+b+c"), ("%c3%a9é", "éé"), ("#", "#")]
    {
        assert_eq!(origins(&format!("log $L0\norigin {line}\nquorum none\n")), [origin]);
    }
    for bad in [
        "origin a\nlog $L0\n",
        "log $L0\norigin\n",
        "log $L0\norigin a\norigin b\n",
        "log $L0\n\norigin a\n",
        "log $L0\nwitness w $W0\norigin a\n",
        "log $L0\norigin %\n",
        "log $L0\norigin %2\n",
        "log $L0\norigin %zz\n",
        "log $L0\norigin a%0ab\n",
        "log $L0\norigin %ff\n",
    ] {
        assert!(parse(&format!("{bad}quorum none\n")).is_err(), "{bad}");
    }
}
