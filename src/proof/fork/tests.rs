use proptest::prelude::*;

use super::*;
use crate::checkpoint::cosignature::cosign;
use crate::merkle::reference;
use crate::merkle::tests::Definition;
use crate::note::{KeyName, NoteKey};
use crate::note::{NoteSigner, SignatureType};

const ORIGIN: &str = "log.example.com/releases";

fn signer(name: &str, kind: SignatureType, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32])
}

fn log() -> NoteSigner {
    signer(ORIGIN, SignatureType::Ed25519, 1)
}

fn keys() -> Vec<NoteKey> {
    vec![log().public().clone()]
}

fn size(n: usize) -> TreeSize {
    TreeSize::new(n as u64).unwrap()
}

/// The leaves of one of two histories, which differ from leaf `parts_at` on.
fn leaves(n: usize, parts_at: usize, history: &str) -> Vec<Hash> {
    let leaf = |at| if at < parts_at { format!("{at}") } else { format!("{history} {at}") };
    (0..n).map(|at| Hash::leaf(leaf(at).as_bytes())).collect()
}

fn head(size_of: usize, root: Hash) -> Note {
    Checkpoint::new(KeyName::new(ORIGIN).unwrap(), size(size_of), root).sign(&log())
}

/// Evidence about histories that differ from `parts_at` on, with heads of `small` and `large` leaves.
fn fork(small: usize, large: usize, parts_at: usize) -> ForkEvidence {
    let (one, other) = (leaves(small, parts_at, "one"), leaves(large, parts_at, "other"));
    let (a, b) = (head(small, reference::root(&one)), head(large, reference::root(&other)));
    if small == large {
        return ForkEvidence::same_size(a, b);
    }
    ForkEvidence::unequal(a, b, reference::root(&other[..small]), reference::proof(small, &other))
}

fn refused(evidence: ForkEvidence) -> EvidenceError {
    evidence.judge(&keys()).expect_err("it proves nothing")
}

#[test]
fn the_layout_of_the_document() {
    let evidence = fork(3, 5, 1);
    let other = leaves(5, 1, "other");
    let lines: Vec<String> = reference::proof(3, &other).iter().map(Hash::to_base64).collect();
    let [a, b] = evidence.notes();
    let prefix = reference::root(&other[..3]).to_base64();
    let expected = format!("treehead-fork@v1\nprefix {prefix}\n{}\n\n{a}\n{b}", lines.join("\n"));
    assert_eq!(evidence.to_string(), expected);
    assert_eq!(ForkEvidence::parse(expected.as_bytes()).unwrap(), evidence);
    let equal = fork(4, 4, 1);
    let [a, b] = equal.notes();
    assert_eq!(equal.to_string(), format!("treehead-fork@v1\n\n{a}\n{b}"));
}

#[test]
fn every_fork_of_small_trees_is_proven_and_nothing_else() {
    for large in 0..20 {
        for small in 0..=large {
            for parts_at in 0..=large {
                if small == 0 && large > 0 {
                    continue;
                }
                let evidence = fork(small, large, parts_at);
                let read = ForkEvidence::parse(evidence.to_string().as_bytes()).unwrap();
                assert_eq!(read, evidence);
                let judged = read.judge(&keys());
                if parts_at >= small {
                    let code = judged.expect_err("one history so far").code().as_str();
                    assert_eq!(code, if small == large { "same-tree" } else { "continues" });
                    continue;
                }
                let proven = judged.unwrap_or_else(|e| panic!("{small}, {large} from {parts_at}: {e}"));
                assert_eq!((proven.smaller().size, proven.larger().size), (size(small), size(large)));
                assert_ne!(proven.other_root(), proven.smaller().root);
                assert_eq!(proven.to_string(), evidence.to_string());
            }
        }
    }
}

#[test]
fn a_false_root_of_the_empty_tree_is_a_second_history() {
    let grown = leaves(7, 0, "one");
    let (other, good) = (head(0, Hash::leaf(b"not empty")), head(7, reference::root(&grown)));
    let evidence = ForkEvidence::unequal(other.clone(), good.clone(), Hash::EMPTY_ROOT, vec![]);
    assert_eq!(evidence.judge(&keys()).unwrap().other_root(), Hash::EMPTY_ROOT);
    // No tree extends the other.
    let evidence = ForkEvidence::unequal(other.clone(), good.clone(), Hash::leaf(b"neither"), vec![]);
    assert_eq!(refused(evidence).code().as_str(), "fork-unproven");
    let evidence = ForkEvidence::unequal(head(0, Hash::EMPTY_ROOT), good, Hash::EMPTY_ROOT, vec![]);
    assert_eq!(refused(evidence).code().as_str(), "continues");
    assert!(ForkEvidence::same_size(other, head(0, Hash::EMPTY_ROOT)).judge(&keys()).is_ok());
}

#[test]
fn two_equal_heads_are_in_one_order() {
    let (a, b) = (head(4, Hash::leaf(b"a")), head(4, Hash::leaf(b"b")));
    let evidence = ForkEvidence::same_size(a.clone(), b.clone());
    assert_eq!(evidence, ForkEvidence::same_size(b.clone(), a.clone()));
    let [first, second] = evidence.notes();
    assert!(first.to_string() < second.to_string());
    let swapped = format!("{HEADER}\n\n{second}\n{first}");
    let error = ForkEvidence::parse(swapped.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("in the order of their bytes"), "{error}");
    // The same head twice is well-formed, and proves nothing.
    let twice = ForkEvidence::parse(format!("{HEADER}\n\n{a}\n{a}").as_bytes()).unwrap();
    assert_eq!(refused(twice).code().as_str(), "same-tree");
}

#[test]
fn what_is_put_together_wrongly_is_refused_by_the_judge_too() {
    let (a, b) = (head(3, Hash::leaf(b"a")), head(5, Hash::leaf(b"b")));
    let no_checkpoint = Note::sign("just a line\n".to_owned(), &[&log()]);
    for (evidence, why) in [
        (ForkEvidence::unequal(b.clone(), a.clone(), Hash::leaf(b"c"), vec![]), "the smaller tree first"),
        (ForkEvidence::same_size(a.clone(), b.clone()), "expected a prefix line where the sizes differ"),
        (ForkEvidence::unequal(a.clone(), a.clone(), Hash::leaf(b"c"), vec![]), "expected no prefix line"),
        (ForkEvidence::same_size(a.clone(), no_checkpoint), "at least three lines"),
    ] {
        let text = evidence.to_string();
        let parsed = ForkEvidence::parse(text.as_bytes()).expect_err("not read either").to_string();
        let error = refused(evidence);
        assert_eq!((error.code().as_str(), error.to_string()), ("evidence-malformed", parsed.clone()));
        assert!(parsed.contains(why), "expected {why:?} in {parsed:?}");
    }
}

#[test]
fn only_a_trusted_log_convicts_itself() {
    let evidence = fork(3, 5, 1);
    let [a, b] = evidence.notes();
    let stranger = signer("log.example.org/other", SignatureType::Ed25519, 2);
    let judge = |keys: &[NoteKey]| evidence.clone().judge(keys).unwrap_err().code().as_str();
    assert_eq!(judge(&[stranger.public().clone()]), "unknown-log");
    assert_eq!(judge(&[]), "unknown-log");
    let impostor = signer(ORIGIN, SignatureType::Ed25519, 3);
    assert_eq!(judge(&[impostor.public().clone()]), "checkpoint-signature");
    // One head of the log, the other of somebody else.
    let forged = Checkpoint::parse(b.text()).unwrap().sign(&impostor);
    let evidence = ForkEvidence { larger: forged, ..evidence.clone() };
    assert_eq!(refused(evidence).code().as_str(), "checkpoint-signature");
    // Two trusted logs have two histories.
    let name = stranger.public().name().clone();
    let other = Checkpoint::new(name, size(3), Hash::leaf(b"x")).sign(&stranger);
    let both = [log().public().clone(), stranger.public().clone()];
    let error = ForkEvidence::same_size(a.clone(), other).judge(&both).unwrap_err();
    assert_eq!(error.code().as_str(), "two-logs");
    // A witness's signature is not the log's.
    let witness = signer(ORIGIN, SignatureType::CosignatureEd25519, 4);
    let mut cosigned = Note::unsigned(a.text().to_owned());
    cosigned.push(cosign(&Checkpoint::parse(a.text()).unwrap(), &witness, 7));
    let evidence = ForkEvidence::same_size(cosigned, head(3, Hash::leaf(b"x")));
    let error = evidence.judge(&[log().public().clone(), witness.public().clone()]).unwrap_err();
    assert_eq!(error.code().as_str(), "checkpoint-signature");
}

#[test]
fn either_key_of_a_log_convicts_it() {
    let post_quantum = signer(ORIGIN, SignatureType::CosignatureMlDsa44, 5);
    let checkpoint = Checkpoint::new(KeyName::new(ORIGIN).unwrap(), size(4), Hash::leaf(b"pq"));
    let mut note = Note::unsigned(checkpoint.to_string());
    note.push(cosign(&checkpoint, &post_quantum, 0));
    let evidence = ForkEvidence::same_size(note, head(4, Hash::leaf(b"classic")));
    let keys = [log().public().clone(), post_quantum.public().clone()];
    let read = ForkEvidence::parse(evidence.to_string().as_bytes()).unwrap();
    assert!(read.judge(&keys).is_ok());
    assert_eq!(evidence.judge(&keys[..1]).unwrap_err().code().as_str(), "checkpoint-signature");
}

#[test]
fn a_proof_with_any_hash_missing_added_or_changed_proves_nothing() {
    for (small, large) in [(1, 2), (3, 7), (4, 8), (6, 17), (8, 11), (16, 17)] {
        let good = fork(small, large, 0);
        let Some(Prefix { root, proof }) = good.prefix().cloned() else { panic!("the sizes differ") };
        let with = |root, proof| {
            let [smaller, larger] = good.notes();
            refused(ForkEvidence::unequal(smaller.clone(), larger.clone(), root, proof)).code().as_str()
        };
        assert_eq!(with(Hash::leaf(b"another"), proof.clone()), "fork-unproven");
        for at in 0..proof.len() {
            let (mut changed, mut shorter, mut longer) = (proof.clone(), proof.clone(), proof.clone());
            changed[at] = Hash::leaf(b"changed");
            shorter.remove(at);
            longer.insert(at, proof[at]);
            for bad in [changed, shorter, longer] {
                assert_eq!(with(root, bad), "fork-unproven", "{small} to {large}, hash {at}");
            }
        }
    }
}

#[test]
fn a_file_with_any_byte_changed_proves_nothing() {
    for good in [fork(3, 5, 1), fork(4, 5, 0), fork(4, 4, 2)] {
        let bytes = good.to_string().into_bytes();
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let judged = ForkEvidence::parse(&bad).map(|evidence| evidence.judge(&keys()).is_ok());
                assert_ne!(judged, Ok(true), "byte {at}: {}", String::from_utf8_lossy(&bad));
            }
        }
        for end in 0..bytes.len() {
            assert!(ForkEvidence::parse(&bytes[..end]).is_err(), "truncated to {end} bytes");
        }
    }
}

#[test]
fn malformed_files_are_refused() {
    let good = fork(3, 5, 1).to_string();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?}");
        good.replacen(from, to, 1)
    };
    let prefix = good.lines().nth(1).unwrap();
    let hash = good.lines().nth(2).unwrap();
    let (four, header) = ("expected four empty lines", "at line 1: expected treehead-fork@v1, saw");
    for (bad, why) in [
        (String::new(), header),
        ("treehead-fork@v1\n".to_owned(), four),
        ("\n\n\n\n\n\n\n\n".to_owned(), header),
        (with("@v1", "@v2"), header),
        (with("@v1", "@v1 "), header),
        (with("treehead", "\u{feff}treehead"), header),
        (format!("\n{good}"), header),
        (format!("\n\n{good}"), header),
        (with("prefix ", "Prefix "), "at line 2: expected prefix and a hash"),
        (with("prefix ", "prefix"), "at line 2: expected prefix and a hash"),
        (with("prefix ", "prefix  "), "a hash is malformed at line 2"),
        (with(&format!("{prefix}\n"), ""), "at line 2: expected prefix and a hash"),
        (with(prefix, &format!("{prefix}\n{prefix}")), "a hash is malformed at line 3"),
        (with(hash, &hash[..43]), "a hash is malformed at line 3"),
        (with(hash, &format!("{hash} ")), "a hash is malformed at line 3"),
        (with(hash, &format!("{hash}\n")), four),
        (good.replace('\n', "\r\n"), header),
        (with("\n\nlog.", "\n\n\nlog."), "at line 1: expected a line that is not empty"),
        (with("\n\n\u{2014}", "\n\n\n\u{2014}"), "a line that is not empty"),
        (good.trim_end().to_owned(), "a signature line that ends in a newline"),
        (format!("{good}\n"), four),
        (format!("{good}x\n"), "expected a signature line"),
        (with("\n3\n", "\n03\n"), "at line 2: expected a decimal tree size"),
        (with("\n3\n", "\n6\n"), "expected the smaller tree first, saw sizes 6 and 5"),
        (with("\n3\n", "\n5\n"), "expected no prefix line where the sizes are equal"),
    ] {
        let error = ForkEvidence::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad:?}: expected {why:?} in {error:?}");
    }
    let mut bytes = good.into_bytes();
    bytes[20] = 0xff;
    assert!(ForkEvidence::parse(&bytes).unwrap_err().to_string().contains("an invalid byte at offset 20"));
}

#[test]
fn limits_are_where_they_say() {
    // The longest proof and two of the largest notes still make a file.
    let fill = |mut note: Note| {
        let line = cosign(
            &Checkpoint::parse(note.text()).unwrap(),
            &signer("w", SignatureType::CosignatureMlDsa44, 9),
            1,
        );
        while note.to_string().len() + line.to_string().len() <= MAX_NOTE_BYTES
            && note.signatures().len() < crate::note::MAX_NOTE_SIGNATURES
        {
            note.push(line.clone());
        }
        note
    };
    let (a, b) = (fill(head(3, Hash::leaf(b"a"))), fill(head(5, Hash::leaf(b"b"))));
    let with = |n| ForkEvidence::unequal(a.clone(), b.clone(), Hash::EMPTY_ROOT, vec![Hash::EMPTY_ROOT; n]);
    assert_eq!(ForkEvidence::parse(with(64).to_string().as_bytes()), Ok(with(64)));
    let error = ForkEvidence::parse(with(65).to_string().as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "fork evidence is too large: expected at most 64 hashes, saw 65");
    let head_of = with(64).to_string().len() - a.to_string().len() - b.to_string().len();
    assert!(head_of + 2 * MAX_NOTE_BYTES <= MAX_FORK_BYTES);
    let error = ForkEvidence::parse(&vec![b'\n'; MAX_FORK_BYTES + 1]).unwrap_err().to_string();
    assert!(error.starts_with("fork evidence is too large: expected at most "), "{error}");
    let error = ForkEvidence::parse(&vec![b'\n'; MAX_FORK_BYTES]).unwrap_err().to_string();
    assert!(error.contains("at line 1"), "one byte fewer is looked at: {error}");
}

#[test]
fn heads_are_compared_by_the_tiles_of_the_larger_one() {
    let open = |note: Note| checkpoint::open_note(note, &keys()).unwrap();
    let signed = |of: &[Hash]| open(head(of.len(), reference::root(of)));
    for large in 0..18 {
        for small in 0..=large {
            for parts_at in 0..=large {
                let (one, other) = (leaves(small, parts_at, "one"), leaves(large, parts_at, "other"));
                let (a, b) = (signed(&one), signed(&other));
                let compared = compare_heads(&Definition(&other), &a, &b).unwrap().unwrap();
                assert_eq!(compared.is_some(), parts_at < small, "{small}, {large} from {parts_at}");
                if let Some(evidence) = compared {
                    evidence.judge(&keys()).expect("it holds");
                }
                // Tiles of another tree prove nothing about the log.
                if 0 < small && small < large && parts_at < large {
                    let strange = leaves(large, parts_at, "strange");
                    let compared = compare_heads(&Definition(&strange), &a, &b).unwrap();
                    assert!(matches!(compared, Err(ProofError::RootMismatch { .. })));
                }
            }
        }
    }
    let (a, b) = (signed(&leaves(3, 3, "")), signed(&leaves(5, 5, "")));
    let reversed = compare_heads(&Definition(&[]), &b, &a).unwrap().unwrap_err();
    assert_eq!(reversed, ProofError::SizesReversed { old: size(5), new: size(3) });
    let false_empty = open(head(0, Hash::leaf(b"not empty")));
    let evidence = compare_heads(&Definition(&[]), &false_empty, &a).unwrap().unwrap().unwrap();
    assert!(evidence.judge(&keys()).is_ok());
}

#[test]
fn one_fork_has_one_name() {
    let name = |evidence: ForkEvidence| evidence.judge(&keys()).unwrap().file_name();
    let plain = name(fork(3, 5, 1));
    let of_log = &Hash::digest(ORIGIN.as_bytes()).to_hex()[..16];
    assert!(plain.starts_with(&format!("{of_log}-3-5-")) && plain.ends_with(".tlog-fork"), "{plain}");
    assert_eq!(plain.len(), 16 + "-3-5-".len() + 8 + ".tlog-fork".len());
    let witness = signer("w.example", SignatureType::CosignatureEd25519, 6);
    let mut cosigned = fork(3, 5, 1);
    cosigned.larger.push(cosign(&Checkpoint::parse(cosigned.larger.text()).unwrap(), &witness, 9));
    assert_eq!(name(cosigned), plain, "cosignatures don't count");
    let mut extended = fork(3, 5, 1);
    let mut checkpoint = Checkpoint::parse(extended.larger.text()).unwrap();
    checkpoint.extensions.push("one more line".to_owned());
    extended.larger = checkpoint.sign(&log());
    assert_eq!(name(extended), plain, "nor do extension lines");
    assert_ne!(name(fork(3, 5, 0)), plain, "other roots are another fork");
    assert_ne!(name(fork(4, 5, 1)), plain);
}

proptest! {
    /// All evidence that parses prints as it was read: it has one spelling.
    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        patch in "[a-zA-Z0-9+/= \\n—]{0,12}",
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        equal: bool,
    ) {
        let _ = ForkEvidence::parse(&bytes);
        let mut text = if equal { fork(4, 4, 1) } else { fork(3, 5, 1) }.to_string().into_bytes();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, patch.into_bytes());
        if let Ok(evidence) = ForkEvidence::parse(&text) {
            prop_assert_eq!(evidence.to_string().into_bytes(), text);
        }
    }
}
