//! Cosignatures, compared with those of other implementations: `fixtures/cosignatures`.

use std::collections::BTreeMap;

use serde::Deserialize;
use treehead::checkpoint::cosignature::{cosign, cosign_subtree, verify_subtree};
use treehead::checkpoint::{Checkpoint, Origin};
use treehead::merkle::Hash;
use treehead::note::{Note, NoteError, NoteKey, NoteSigner, SignatureType};

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "case")]
    title: String,
    algorithm: String,
    valid: bool,
    vkey: String,
    signer: String,
    checkpoint: Option<String>,
    origin: String,
    start: Option<u64>,
    end: Option<u64>,
    root: String,
    timestamp: u64,
    signed: Option<String>,
    signed_with: Option<String>,
    context: Option<String>,
    #[serde(default)]
    spoilt: bool,
    line: String,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/cosignatures/known_answers.json"))
        .expect("a list of cases")
}

/// Whether our verifier accepts a case's line under exactly the key that the case names.
fn accepts(case: &Case) -> bool {
    let key = NoteKey::parse(&case.vkey).expect(&case.title);
    if let Some(checkpoint) = &case.checkpoint {
        let note = Note::parse(format!("{checkpoint}\n{}\n", case.line).as_bytes()).expect(&case.title);
        return match note.verify(&[key]) {
            Ok(_) => true,
            Err(NoteError::BadSignature { .. } | NoteError::Unsigned { .. }) => false,
            Err(e) => panic!("{}: {e}", case.title),
        };
    }
    // A subtree has no checkpoint of its own: any note carries the line.
    let note = Note::parse(format!("text\n\n{}\n", case.line).as_bytes()).expect(&case.title);
    let line = &note.signatures()[0];
    let origin = Origin::new(&case.origin).expect(&case.title);
    let root = Hash::from_hex(&case.root).expect(&case.title);
    let leaves = (case.start.expect(&case.title), case.end.expect(&case.title));
    line.names(&key) && verify_subtree(&key, &origin, leaves, &root, line.bytes())
}

#[test]
fn verdicts_are_those_of_other_implementations() {
    let mut seen: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for case in cases() {
        assert_eq!(accepts(&case), case.valid, "{}", case.title);
        *seen.entry((case.algorithm, case.valid)).or_default() += 1;
    }
    assert_eq!(seen.len(), 4, "both algorithms, good and bad");
    assert!(seen.values().all(|count| *count >= 10), "{seen:?}");
}

#[test]
fn signatures_are_those_of_other_implementations_byte_for_byte() {
    let mut made = BTreeMap::new();
    for case in cases() {
        let signer = NoteSigner::parse(&case.signer).expect(&case.title);
        assert_eq!(signer.public().to_string(), case.vkey, "{}", case.title);
        let otherwise =
            case.signed.is_some() || case.signed_with.is_some() || case.context.is_some() || case.spoilt;
        // Deterministic signers give one answer. Our signer does not make lines that were altered on purpose.
        if otherwise || !case.valid {
            continue;
        }
        let ours = if let Some(checkpoint) = &case.checkpoint {
            cosign(&Checkpoint::parse(checkpoint).expect(&case.title), &signer, case.timestamp)
        } else if case.timestamp == 0 {
            let leaves = (case.start.expect(&case.title), case.end.expect(&case.title));
            let origin = Origin::new(&case.origin).expect(&case.title);
            cosign_subtree(&origin, leaves, &Hash::from_hex(&case.root).expect(&case.title), &signer)
        } else {
            continue;
        };
        assert_eq!(ours.to_string(), format!("{}\n", case.line), "{}", case.title);
        *made.entry(signer.public().kind() == SignatureType::CosignatureMlDsa44).or_insert(0) += 1;
    }
    assert!(made.len() == 2 && made.values().all(|count| *count >= 8), "{made:?}");
}
