//! `POST /add-checkpoint`: every check, status and content type of c2sp.org/tlog-witness.

use std::time::{SystemTime, UNIX_EPOCH};

use treehead::checkpoint::Checkpoint;
use treehead::merkle::Hash;
use treehead::note::{KeyId, Note, NoteSignature, NoteSigner, SignatureType};
use treehead::proof::wire::{AddCheckpoint, parse_signatures};

use super::world::{Served, TestLog, name, public, size, time_of, witness_keys};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A signature line that names this key, but is not made by it.
fn forged(key: &NoteSigner) -> NoteSignature {
    NoteSignature::new(key.public().name().clone(), key.public().id(), vec![7; 64])
}

fn unknown(origin: &str, at: u8) -> NoteSignature {
    NoteSignature::new(name(origin), KeyId([at; 4]), vec![at; 64])
}

#[test]
fn a_log_grows_and_each_head_is_cosigned_with_both_algorithms() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let mut last = 0;
    for next in [0, 1, 2, 7, 8, 8, 33, 40] {
        let before = now();
        let reply = witness.add(&log.request(last, next));
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        // "the client MAY concatenate it to the checkpoint, and use a note verification function".
        let joined = format!("{}{}", log.signed(next), reply.text());
        let note = Note::parse(joined.as_bytes()).unwrap();
        let mut keys = public(&witness_keys());
        keys.push(log.vkey());
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified.signers().len(), 3, "the log and both keys of the witness");
        let lines = parse_signatures(&reply.body).unwrap();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert!((before..=now()).contains(&time_of(&line)), "never zero, and now");
        }
        last = next;
    }
    witness.is_unmoved(&log, 40);
}

#[test]
fn another_old_size_is_answered_by_the_latest_one() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let conflict = |old: usize, new: usize, latest: usize| {
        let reply = witness.add(&log.request(old, new));
        assert_eq!(reply.status, 409, "{reply}");
        assert_eq!(reply.header("content-type"), Some("text/x.tlog.size"));
        assert_eq!(reply.text(), format!("{latest}\n"));
    };
    conflict(1, 9, 0);
    conflict(9, 9, 0);
    witness.cosigns(&log, 0, 9);
    for (old, new) in [(0, 0), (0, 9), (0, 20), (8, 9), (8, 20), (10, 20), (20, 20), (1, 1)] {
        conflict(old, new, 9);
    }
    // Before any check of the proof: its content does not matter yet.
    let mut wrong = log.request(8, 20);
    wrong.proof.pop();
    assert_eq!(witness.add(&wrong).text(), "9\n");
    let fork = log.forked(3, 40, "other ");
    assert_eq!(witness.add(&fork.request(8, 20)).text(), "9\n");
    witness.is_unmoved(&log, 9);
}

#[test]
fn an_old_size_over_the_new_one_is_malformed() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    for (old, new) in [(9, 8), (9, 0), (30, 9), (30, 29)] {
        // The same if the old size is not the latest one.
        witness.add(&log.request(old, new)).problem(400, "old-size");
    }
    let mut request = log.request(9, 9);
    request.old = size(usize::try_from(i64::MAX).unwrap());
    witness.add(&request).problem(400, "old-size");
    witness.is_unmoved(&log, 9);
}

#[test]
fn an_unknown_origin_is_not_found_whatever_else_is_wrong() {
    let (log, stranger) = (TestLog::new("log.example/a", 9), TestLog::new("log.example/b", 9));
    let witness = Served::new(&[&log]);
    witness.add(&stranger.request(0, 9)).problem(404, "unknown-origin");
    witness.add(&stranger.request(9, 3)).problem(404, "unknown-origin");
    let request = |text: &str, by: &TestLog| AddCheckpoint {
        old: size(0),
        proof: vec![],
        checkpoint: by.sign_text(text),
    };
    // No checkpoint at all; and the known log's key under another origin.
    witness.add(&request("log.example/b\nnonsense\n", &stranger)).problem(404, "unknown-origin");
    let text = log.head(3).to_string().replace("log.example/a", "log.example/a ");
    witness.add(&request(&text, &log)).problem(404, "unknown-origin");
    assert_eq!(witness.size_of(&log), 0);
    witness.cosigns(&log, 0, 9);
}

#[test]
fn without_a_good_signature_by_a_trusted_key_nothing_is_said() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let other = NoteSigner::from_seed(log.key_name(), SignatureType::Ed25519, &[8; 32]);
    // A key of the same name that is not trusted.
    let mut request = log.request(9, 20);
    request.checkpoint = log.head(20).sign(&other);
    witness.add(&request.clone()).problem(403, "log-signature");
    // The trusted key is named, but did not make the line; alone, and before and after a good one.
    let good = log.signed(20);
    for lines in [
        vec![forged(log.signer())],
        vec![good.signatures()[0].clone(), forged(log.signer())],
        vec![forged(log.signer()), good.signatures()[0].clone()],
    ] {
        let mut body = log.request(9, 20).to_string();
        body = body.replace(&good.signatures()[0].to_string(), "");
        lines.iter().for_each(|line| body += &line.to_string());
        witness.add(&body).problem(403, "log-signature");
    }
    // Before the sizes are checked: a stranger learns neither.
    let mut request = log.request(20, 9);
    request.checkpoint = log.head(9).sign(&other);
    witness.add(&request).problem(403, "log-signature");
    // The signature is of another head.
    let body = log.request(9, 20).to_string().replace("\n20\n", "\n21\n");
    witness.add(&body).problem(403, "log-signature");
    // The witness's own cosignature is no signature of the log.
    let mut request = log.request(9, 20);
    request.checkpoint = Note::parse(
        format!(
            "{}\n{}",
            log.head(20),
            treehead::checkpoint::cosignature::cosign(&log.head(20), &witness_keys()[0], 7)
        )
        .as_bytes(),
    )
    .unwrap();
    witness.add(&request).problem(403, "log-signature");
    witness.is_unmoved(&log, 9);
}

#[test]
fn signatures_by_unknown_keys_are_ignored_and_not_kept() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    // 17 lines; strangers share the name or the ID, never both.
    let mut request = log.request(0, 9);
    for at in 0..14 {
        request.checkpoint.push(unknown("log.example/a", at));
    }
    request.checkpoint.push(NoteSignature::new(name("other"), log.vkey().id(), vec![1; 64]));
    request.checkpoint.push(unknown("witness.example/v", 9));
    assert_eq!(request.checkpoint.signatures().len(), 17);
    let reply = witness.add(&request);
    assert_eq!(reply.status, 200, "{reply}");
    let kept = Note::parse(&witness.get(&log.path()).body).unwrap();
    assert_eq!(kept.signatures().len(), 3, "{kept}");
    // 65 are more than a note may have.
    let mut request = log.request(9, 20);
    (0..64).for_each(|at| request.checkpoint.push(unknown("other", at)));
    witness.add(&request).problem(400, "malformed");
    witness.is_unmoved(&log, 9);
}

#[test]
fn a_signature_that_was_shown_stays_when_the_text_comes_without_it() {
    let log = TestLog::new("log.example/a", 9);
    let ml_dsa = NoteSigner::from_seed(log.key_name(), SignatureType::CosignatureMlDsa44, &[9; 32]);
    let witness = Served::knowing(&[log.vkey(), ml_dsa.public().clone()]);
    let mut both = log.request(0, 9);
    both.checkpoint.push(treehead::checkpoint::cosignature::cosign(&log.head(9), &ml_dsa, 7));
    assert_eq!(witness.add(&both).status, 200);
    let shown = || Note::parse(&witness.get(&log.path()).body).unwrap();
    let before = shown();
    // A repeated request within a second is answered from memory.
    crate::common::log::eventually("the head is cosigned anew", || {
        assert_eq!(witness.add(&log.request(9, 9)).status, 200);
        shown() != before
    });
    let lines = |by: &NoteSigner| shown().signatures().iter().filter(|line| line.names(by.public())).count();
    assert_eq!((lines(&ml_dsa), lines(log.signer())), (1, 1), "{}", shown());
    let cosigners = witness_keys();
    assert_eq!((shown().signatures().len(), lines(&cosigners[0]), lines(&cosigners[1])), (4, 1, 1));
}

#[test]
fn extension_lines_need_a_signature_that_covers_them() {
    let log = TestLog::new("log.example/a", 9);
    let ml_dsa = NoteSigner::from_seed(log.key_name(), SignatureType::CosignatureMlDsa44, &[9; 32]);
    let witness = Served::knowing(&[log.vkey(), ml_dsa.public().clone()]);
    let line = treehead::checkpoint::cosignature::cosign(&log.head(9), &ml_dsa, 7);
    let mut request = log.request(0, 9);
    let text = format!("{}put in by a stranger\n", log.head(9));
    request.checkpoint = Note::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    witness.add(&request).problem(403, "log-signature");
    assert_eq!(witness.size_of(&log), 0);
    request.checkpoint.push(log.sign_text(&text).signatures()[0].clone());
    assert_eq!(witness.add(&request).status, 200);
}

#[test]
fn what_is_too_long_inside_a_body_that_fits_is_malformed() {
    let log = TestLog::new("log.example/a", 9);
    let witness = Served::new(&[&log]);
    // A long name is an unknown key's, so its line is ignored and nobody has signed.
    let long_name =
        log.request(0, 9).to_string().replace("— log.example/a", &format!("— {}", "x".repeat(300)));
    witness.add(&long_name).problem(403, "log-signature");
    let long_text = AddCheckpoint {
        checkpoint: log.sign_text(&format!("{}{}\n", log.head(9), "x".repeat(17 * 1024))),
        ..log.request(0, 9)
    };
    witness.add(&long_text).problem(400, "malformed");
}

#[test]
fn two_lines_by_one_key_are_one_signature() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let mut request = log.request(0, 9);
    let line = request.checkpoint.signatures()[0].clone();
    (0..20).for_each(|_| request.checkpoint.push(line.clone()));
    assert_eq!(witness.add(&request.clone()).status, 200);
    let kept = Note::parse(&witness.get(&log.path()).body).unwrap();
    assert_eq!(kept.signatures().iter().filter(|line| line.names(&log.vkey())).count(), 1);
    // The key did not make one of these lines.
    request.checkpoint.push(forged(log.signer()));
    witness.add(&request).problem(403, "log-signature");
    witness.is_unmoved(&log, 9);
}

#[test]
fn each_key_of_an_origin_will_do() {
    let log = TestLog::new("log.example/a", 40);
    let second = NoteSigner::from_seed(log.key_name(), SignatureType::Ed25519, &[9; 32]);
    let ml_dsa = NoteSigner::from_seed(log.key_name(), SignatureType::CosignatureMlDsa44, &[9; 32]);
    let witness = Served::new(&[&log]);
    let policy =
        format!("log {}\nlog {}\nlog {}\nquorum none\n", log.vkey(), second.public(), ml_dsa.public());
    std::fs::write(witness.dir.join("logs.policy"), policy).unwrap();
    crate::common::log::eventually("the new keys count", || {
        let mut request = log.request(0, 3);
        request.checkpoint = log.head(3).sign(&second);
        witness.add(&request).status == 200
    });
    // ML-DSA-44 alone, and all three.
    let by_ml_dsa = treehead::checkpoint::cosignature::cosign(&log.head(9), &ml_dsa, now());
    let mut request = log.request(3, 9);
    request.checkpoint = Note::parse(format!("{}\n{by_ml_dsa}", log.head(9)).as_bytes()).unwrap();
    assert_eq!(witness.add(&request.clone()).status, 200);
    request.old = size(9);
    request.proof.clear();
    request.checkpoint.push(log.signed(9).signatures()[0].clone());
    request.checkpoint.push(log.head(9).sign(&second).signatures()[0].clone());
    assert_eq!(witness.add(&request.clone()).status, 200);
    request.checkpoint.push(NoteSignature::new(log.key_name(), ml_dsa.public().id(), vec![0; 2_428]));
    witness.add(&request).problem(403, "log-signature");
    witness.is_unmoved(&log, 9);
}

#[test]
fn the_empty_tree_has_one_root_and_no_proof() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let mut wrong = log.head(0);
    wrong.root = Hash::leaf(b"not empty");
    let request = AddCheckpoint { old: size(0), proof: vec![], checkpoint: wrong.sign(log.signer()) };
    witness.add(&request.clone()).problem(422, "empty-root");
    let mut proven = log.request(0, 0);
    proven.proof.push(Hash::EMPTY_ROOT);
    witness.add(&proven).problem(422, "proof-not-empty");
    let mut proven = log.request(0, 9);
    proven.proof.push(log.leaves[0]);
    witness.add(&proven).problem(422, "proof-not-empty");
    assert_eq!(witness.size_of(&log), 0);
    witness.get(&log.path()).problem(404, "never-cosigned");
    witness.cosigns(&log, 0, 0);
    assert_eq!(witness.get(&log.path()).status, 200, "the empty tree is a tree");
    witness.add(&request).problem(422, "empty-root");
    witness.is_unmoved(&log, 0);
}

#[test]
fn a_proof_that_does_not_verify_is_refused() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let good = log.request(9, 33);
    for at in 0..good.proof.len() {
        let (mut shorter, mut changed, mut longer) = (good.clone(), good.clone(), good.clone());
        shorter.proof.remove(at);
        changed.proof[at] = Hash::leaf(b"changed");
        longer.proof.insert(at, good.proof[at]);
        for bad in [shorter, changed, longer] {
            witness.add(&bad).problem(422, "unproven");
        }
    }
    let proofs = [vec![], vec![Hash::leaf(b"x"); 63], log.request(8, 33).proof, log.request(9, 32).proof];
    for proof in proofs {
        witness.add(&AddCheckpoint { proof, ..good.clone() }).problem(422, "unproven");
    }
    // A note of 64 lines is too long to be parsed.
    let request = AddCheckpoint { proof: vec![Hash::leaf(b"x"); 64], ..good.clone() };
    witness.add(&request).problem(400, "malformed");
    // Another history.
    let fork = log.forked(5, 40, "other ");
    witness.add(&fork.request(9, 33)).problem(422, "unproven");
    witness.is_unmoved(&log, 9);
    assert_eq!(witness.add(&good).status, 200);
}

#[test]
fn the_same_size_is_the_same_tree() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let fork = log.forked(8, 40, "other ");
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    let mut proven = log.request(9, 9);
    proven.proof.push(log.leaves[0]);
    witness.add(&proven).problem(422, "unproven");
    witness.is_unmoved(&log, 9);
}

#[test]
fn what_is_asked_again_within_a_second_is_answered_alike() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let mut before = witness.cosigns(&log, 0, 9);
    let mut alike = 0;
    for _ in 0..20 {
        let again = witness.cosigns(&log, 9, 9);
        assert_eq!(again.len(), 2);
        if time_of(&again[0]) == time_of(&before[0]) {
            assert_eq!(again, before, "the very same: ML-DSA-44 was not asked again");
            alike += 1;
        }
        before = again;
    }
    assert!(alike > 0, "20 requests take less than 20 seconds");
    // Extension lines make another text of the same tree.
    let text = format!("{}extension\n", log.head(9));
    let request = AddCheckpoint { old: size(9), proof: vec![], checkpoint: log.sign_text(&text) };
    let reply = witness.add(&request);
    assert_eq!(reply.status, 200, "{reply}");
    let joined = format!("{}{}", log.sign_text(&text), reply.text());
    let verified = Note::parse(joined.as_bytes()).unwrap().verify(&public(&witness_keys())).unwrap();
    assert_eq!(verified.signers().len(), 2, "over this text");
    assert!(witness.get(&log.path()).text().starts_with(&text));
}

#[test]
fn sizes_near_the_limit_are_taken_and_no_larger_ones() {
    let logs = [TestLog::new("log.example/a", 9), TestLog::new("log.example/b", 9)];
    let witness = Served::new(&[&logs[0], &logs[1]]);
    let text = |log: &TestLog, size: &str| format!("{}\n{size}\n{}\n", log.origin(), Hash::leaf(b"huge"));
    let request =
        |log: &TestLog, old: &str, size: &str| format!("old {old}\n\n{}", log.sign_text(&text(log, size)));
    for too_large in
        ["9223372036854775808", "18446744073709551615", "18446744073709551616", "1e3", "-1", "007"]
    {
        witness.add(&request(&logs[0], "0", too_large)).problem(400, "malformed");
        witness.add(&request(&logs[0], too_large, "9")).problem(400, "malformed");
    }
    assert_eq!(witness.size_of(&logs[0]), 0);
    let largest = "9223372036854775807";
    assert_eq!(witness.add(&request(&logs[0], "0", largest)).status, 200);
    assert_eq!(witness.add(&request(&logs[0], largest, largest)).status, 200);
    assert_eq!(witness.add(&request(&logs[0], "0", largest)).text(), format!("{largest}\n"));
    // From one below it: the proof is wrong, and nothing overflows.
    assert_eq!(witness.add(&request(&logs[1], "0", "9223372036854775806")).status, 200);
    witness.add(&request(&logs[1], "9223372036854775806", largest)).problem(422, "unproven");
    assert_eq!(witness.add(&request(&logs[1], "1", largest)).text(), "9223372036854775806\n");
}

#[test]
fn what_the_log_signed_has_to_be_a_checkpoint() {
    let log = TestLog::new("log.example/a", 9);
    let witness = Served::new(&[&log]);
    let root = log.root(9);
    for text in [
        "log.example/a\n".to_owned(),
        "log.example/a\n9\n".to_owned(),
        format!("log.example/a\n09\n{root}\n"),
        format!("log.example/a\n+9\n{root}\n"),
        format!("log.example/a\n9\n{root}=\n"),
        format!("log.example/a\n9\n{root}\n\nextension\n"),
        format!("log.example/a\n\n9\n{root}\n"),
    ] {
        let body = format!("old 0\n\n{}", log.sign_text(&text));
        witness.add(&body).problem(400, "malformed");
    }
    assert_eq!(witness.size_of(&log), 0);
    witness.cosigns(&log, 0, 9);
}

#[test]
fn what_is_signed_and_kept_is_what_was_parsed() {
    let log = TestLog::new("log.example/a", 9);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let kept = witness.get(&log.path());
    let note = Note::parse(&kept.body).unwrap();
    assert_eq!(note.text(), log.head(9).to_string());
    assert_eq!(Checkpoint::parse(note.text()).unwrap(), log.head(9));
    assert_eq!(note.to_string().as_bytes(), kept.body);
}

/// c2sp.org/tlog-checkpoint: "clients MUST NOT assume that the origin is following this format".
#[test]
fn a_log_may_have_any_origin_and_an_ml_dsa_44_key_alone() {
    let key = |seed, kind| NoteSigner::from_seed(name("sum.example"), kind, &[seed; 32]);
    let (ed25519, ml_dsa) = (SignatureType::Ed25519, SignatureType::CosignatureMlDsa44);
    let logs = [
        TestLog::of("go.sum database tree", key(1, ed25519), 40),
        TestLog::of(" a+b %25\u{7f}", key(2, ed25519), 40),
        TestLog::of("sum.example/pq", key(3, ml_dsa), 40),
        TestLog::of("go.sum database tree/pq", key(4, ml_dsa), 40),
    ];
    let witness = Served::new(&logs.iter().collect::<Vec<_>>());
    for log in &logs {
        witness.cosigns(log, 0, 9);
        witness.cosigns(log, 9, 40);
        assert_eq!(witness.get(&log.path()).status, 200);
        // The key's name is no log's origin.
        let other = TestLog::of("sum.example", key(1, ed25519), 3);
        witness.add(&other.request(0, 3)).problem(404, "unknown-origin");
    }
    // A key signs only for its own log.
    let mixed = TestLog::of("go.sum database tree", key(2, ed25519), 41);
    witness.add(&mixed.request(40, 41)).problem(403, "log-signature");
    let shown = witness.get("/healthz").json();
    for (at, log) in logs.iter().enumerate() {
        assert_eq!(shown["logs"][at]["origin"], log.origin().as_str());
        witness.is_unmoved(log, 40);
    }
}
