//! `POST /sign-subtree`.

use treehead::checkpoint::cosignature::{cosign, cosign_subtree, verify_subtree};
use treehead::merkle::{Hash, LeafIndex, Subtree};
use treehead::note::{Note, NoteSignature, NoteSigner};
use treehead::proof::wire::{SignSubtree, parse_signatures};

use super::world::{Served, TestLog, ed25519_key, size, time_of, witness_keys};
use crate::common::http::{Reply, post};
use crate::common::log::root_of;

fn ml_dsa_key() -> NoteSigner {
    witness_keys().pop().unwrap()
}

/// `SUBTREE_PROOF` of the draft's section 4.4.1, word for word: from the whole tree down to the subtree.
fn subtree_proof(start: usize, end: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if start == 0 && end == leaves.len() {
        return if known { Vec::new() } else { vec![root_of(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let k = left.len();
    let (mut proof, other) = if end <= k {
        (subtree_proof(start, end, left, known), root_of(right))
    } else if k <= start {
        (subtree_proof(start - k, end - k, right, known), root_of(left))
    } else {
        // start is zero: the subtree has all of the left part.
        (subtree_proof(0, end - k, right, false), root_of(left))
    };
    proof.push(other);
    proof
}

/// A request under a checkpoint of size `at`, with these lines.
fn request(log: &TestLog, (start, end): (usize, usize), at: usize, lines: &[NoteSignature]) -> SignSubtree {
    let lines: String = lines.iter().map(ToString::to_string).collect();
    let subtree = Subtree::new(LeafIndex::new(start as u64).unwrap(), size(end)).unwrap();
    let (hash, proof) = if end <= at {
        (root_of(&log.leaves[start..end]), subtree_proof(start, end, &log.leaves[..at], true))
    } else {
        (Hash::leaf(b"out of range"), vec![])
    };
    let checkpoint = Note::parse(format!("{}\n{lines}", log.head(at)).as_bytes()).unwrap();
    SignSubtree { subtree, hash, proof, checkpoint }
}

fn ask(witness: &Served, request: &impl ToString) -> Reply {
    post(witness.address, "/sign-subtree", request.to_string().as_bytes())
}

#[test]
fn each_subtree_of_a_cosigned_checkpoint_is_signed() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::new(&[&log]);
    let lines = witness.cosigns(&log, 0, 14);
    let key = ml_dsa_key();
    let mut signed = 0;
    for start in 0..14 {
        for end in start + 1..=14_usize {
            if !start.is_multiple_of((end - start).next_power_of_two()) {
                continue;
            }
            let request = request(&log, (start, end), 14, &lines);
            let hash = request.hash;
            let reply = ask(&witness, &request);
            assert_eq!(reply.status, 200, "[{start}, {end}): {reply}");
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
            let [line] = &parse_signatures(&reply.body).unwrap()[..] else { panic!("ML-DSA-44 alone") };
            assert!(line.names(key.public()) && time_of(line) == 0);
            let leaves = (start as u64, end as u64);
            assert!(verify_subtree(key.public(), &log.origin(), leaves, &hash, line.bytes()));
            signed += 1;
        }
    }
    assert!(signed > 30, "{signed}");
    witness.is_unmoved(&log, 14);
}

#[test]
fn what_is_no_request_is_malformed() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::new(&[&log]);
    let lines = witness.cosigns(&log, 0, 14);
    let good = request(&log, (8, 13), 14, &lines).to_string();
    assert_eq!(ask(&witness, &good).status, 200);
    for range in
        ["8 8", "13 8", "4 13", "3 5", "08 13", "8 013", "8", "8  13", "-8 13", "8 9223372036854775808"]
    {
        ask(&witness, &good.replacen("8 13", range, 1)).problem(400, "malformed");
    }
    let mut many = request(&log, (8, 13), 14, &lines);
    many.proof = vec![Hash::leaf(b"x"); 64];
    ask(&witness, &many).problem(400, "malformed");
    for bad in [good.replace('\n', "\r\n"), good.trim_end().to_owned(), good.replacen("\n\n", "\n", 1)] {
        ask(&witness, &bad).problem(400, "malformed");
    }
    // "end MUST be less than or equal to the checkpoint size"
    ask(&witness, &request(&log, (12, 15), 14, &lines)).problem(400, "subtree-range");
    ask(&witness, &request(&log, (16, 17), 14, &lines)).problem(400, "subtree-range");
    witness.is_unmoved(&log, 14);
}

#[test]
fn a_subtree_that_is_not_proven_is_refused() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::new(&[&log]);
    let lines = witness.cosigns(&log, 0, 14);
    for leaves in [(8, 13), (0, 5), (4, 8), (0, 14), (13, 14)] {
        let good = request(&log, leaves, 14, &lines);
        let mut other = good.clone();
        other.hash = Hash::leaf(b"another");
        ask(&witness, &other).problem(422, "unproven");
        for at in 0..good.proof.len() {
            let (mut shorter, mut changed, mut longer) = (good.clone(), good.clone(), good.clone());
            shorter.proof.remove(at);
            changed.proof[at] = Hash::leaf(b"changed");
            longer.proof.insert(at, good.proof[at]);
            for bad in [shorter, changed, longer] {
                ask(&witness, &bad).problem(422, "unproven");
            }
        }
        let long = SignSubtree { proof: vec![Hash::leaf(b"x"); 63], ..good };
        ask(&witness, &long).problem(422, "unproven");
    }
    witness.is_unmoved(&log, 14);
}

#[test]
fn only_a_checkpoint_that_this_witness_cosigned_with_ml_dsa_will_do() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::new(&[&log]);
    let lines = witness.cosigns(&log, 0, 14);
    let (ed25519, ml_dsa) = (lines[0].clone(), lines[1].clone());
    let refused = |lines: &[NoteSignature]| {
        ask(&witness, &request(&log, (8, 13), 14, lines)).problem(403, "not-cosigned");
    };
    refused(std::slice::from_ref(&ed25519));
    refused(&[log.signed(14).signatures()[0].clone()]);
    let mut bytes = ml_dsa.bytes().to_vec();
    bytes[100] ^= 1;
    let forged = NoteSignature::new(ml_dsa.name().clone(), ml_dsa.id(), bytes);
    refused(std::slice::from_ref(&forged));
    refused(&[ml_dsa.clone(), forged]);
    // Of another tree of this log, and of a subtree.
    refused(&[cosign(&log.forked(3, 14, "other ").head(14), &ml_dsa_key(), 7)]);
    refused(&[cosign_subtree(&log.origin(), (8, 13), &root_of(&log.leaves[8..13]), &ml_dsa_key())]);
    // Its other key is named, and did not make the line.
    let bad = NoteSignature::new(ed25519.name().clone(), ed25519.id(), vec![7; 72]);
    refused(&[ml_dsa.clone(), bad]);
    // Every other line is ignored.
    let all = [ml_dsa, ed25519, log.signed(14).signatures()[0].clone()];
    assert_eq!(ask(&witness, &request(&log, (8, 13), 14, &all)).status, 200);
    witness.is_unmoved(&log, 14);
}

#[test]
fn an_unknown_origin_is_not_found() {
    let (log, stranger) = (TestLog::new("log.example/a", 14), TestLog::new("log.example/b", 14));
    let witness = Served::new(&[&log]);
    // Not even with its own cosignature.
    let lines = [cosign(&stranger.head(14), &ml_dsa_key(), 7)];
    ask(&witness, &request(&stranger, (8, 13), 14, &lines)).problem(404, "unknown-origin");
}

#[test]
fn a_log_that_was_taken_off_the_list_is_not_found() {
    let (log, other) = (TestLog::new("log.example/a", 14), TestLog::new("log.example/b", 14));
    let witness = Served::new(&[&log]);
    let good = request(&log, (8, 13), 14, &witness.cosigns(&log, 0, 14));
    assert_eq!(ask(&witness, &good).status, 200);
    std::fs::write(witness.dir.join("logs.policy"), format!("log {}\nquorum none\n", other.vkey())).unwrap();
    crate::common::log::eventually("the list is read again", || ask(&witness, &good).status == 404);
    ask(&witness, &good).problem(404, "unknown-origin");
}

#[test]
fn a_reference_that_is_no_checkpoint_is_malformed() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::new(&[&log]);
    let lines = witness.cosigns(&log, 0, 14);
    let good = request(&log, (8, 13), 14, &lines).to_string();
    // Whatever key is named, and whether the origin is known.
    for origin in ["log.example/a", "log.example/b"] {
        let bad = good.replacen("log.example/a\n14\n", &format!("{origin}\n014\n"), 1);
        assert_ne!(bad, good);
        ask(&witness, &bad).problem(400, "malformed");
    }
}

#[test]
fn a_witness_without_ml_dsa_signs_no_subtrees() {
    let log = TestLog::new("log.example/a", 14);
    let witness = Served::with_keys(&[&log], vec![ed25519_key()]);
    let lines = witness.cosigns(&log, 0, 14);
    assert_eq!(lines.len(), 1);
    ask(&witness, &request(&log, (8, 13), 14, &lines)).problem(404, "no-subtrees");
    witness.is_unmoved(&log, 14);
}
