//! `POST /add` to a log of releases accepts only signed statements by registered publishers.

use std::fs;

use serde_json::{Value, json};
use treehead::merkle::Hash;
use treehead::release::{Envelope, Kind, Purl, Release, Subject, Withdrawal};

use crate::common::http::Reply;
use crate::common::log::{ORIGIN, Served, batch, eventually, vkey};
use crate::common::releases::{
    publisher, publisher_toml, raw_envelope, release, scanner, signed, signed_payload, signed_statement,
    signed_withdrawal, statement, subject, vendor_toml, withdrawal,
};

fn log() -> Served {
    Served::release(&vendor_toml())
}

/// Posts a statement that `spoil` has changed, with a valid signature.
fn post_spoilt(log: &Served, spoil: impl FnOnce(&mut Value)) -> Reply {
    let mut statement = statement(&scanner(1));
    spoil(&mut statement);
    log.post("/add", &signed_statement(&statement, 1))
}

#[test]
fn one_statement_has_one_leaf_however_it_was_sent() {
    let log = log();
    let entry = signed(&scanner(1), 1);
    assert_eq!(log.post("/add", &entry).text(), "0");
    let envelope: Value = serde_json::from_slice(&entry).unwrap();
    let signature = &envelope["signatures"][0];
    let other_order = format!(
        "\n{{ \"signatures\" : [ {{\"sig\":{},\t\"keyid\":{}}} ],\r\n\"payloadType\":\"application\\/vnd.in-toto\\u002bjson\",\"payload\":{} }} \n",
        signature["sig"], signature["keyid"], envelope["payload"]
    );
    for body in [serde_json::to_string_pretty(&envelope).unwrap(), other_order] {
        let answer = log.post_json("/add", body.as_bytes());
        assert_eq!((&answer["index"], &answer["duplicate"]), (&0.into(), &true.into()), "{body}");
        assert_eq!(answer["leaf_hash"], Hash::leaf(&entry).to_hex());
    }
    let bundle = log.get("/tile/entries/000.p/1").body;
    assert_eq!(bundle[2..], entry, "the log has the canonical form");
}

#[test]
fn the_proof_of_a_release_convinces_an_endpoint() {
    use treehead::checkpoint::policy::Policy;
    use treehead::endpoint::{Artifact, Freshness, Pins, Question, Trust, VerdictCode, verify};
    use treehead::release::Publishers;
    let log = log();
    let reply = log.post_for_proof("/add", &signed(&scanner(1), 1));
    let policy = Policy::parse(format!("log {}\nquorum none\n", vkey()).as_bytes()).unwrap();
    let publishers = Publishers::parse(vendor_toml().as_bytes()).unwrap();
    let judge = |artifact: &str| {
        let question = Question {
            artifact: Artifact::File { digest: &Hash::digest(artifact.as_bytes()), name: None },
            proof: &reply.body,
            freshness: Freshness { now: 1_770_000_000, max_age: None },
            pins: Pins::default(),
        };
        verify(&question, Trust { policy: &policy, publishers: &publishers, gate: &[] }, None)
    };
    assert_eq!(judge("scanner 1").unwrap().release(), &scanner(1));
    assert_eq!(judge("scanner 2").unwrap_err().code(), VerdictCode::ArtifactMismatch);
}

#[test]
fn a_key_that_is_not_registered_may_not_speak() {
    let log = log();
    let detail = log.post("/add", &signed(&scanner(1), 2)).problem(403, "unknown-publisher");
    assert!(detail.contains(&publisher(2).keyid().to_hex()), "{detail}");
    assert!(detail.contains("the log's operator registers keys"), "what to do next: {detail}");
    assert_eq!(log.tree_size(), 0);
    // Beside a valid signature, the log drops it: strangers can't change how an entry looks.
    let payload = scanner(1).to_payload().unwrap();
    let both = Envelope::sign(payload, &[&publisher(1), &publisher(2)]).unwrap().to_entry();
    let answer = log.post_json("/add", &both);
    assert_eq!(answer["leaf_hash"], Hash::leaf(&signed(&scanner(1), 1)).to_hex());
    assert_eq!(log.get("/tile/entries/000.p/1").body[2..], signed(&scanner(1), 1));
}

#[test]
fn a_signature_that_does_not_verify_is_422() {
    let log = log();
    let (one, two) = (signed(&scanner(1), 1), signed(&scanner(2), 1));
    let (one, two): (Value, Value) =
        (serde_json::from_slice(&one).unwrap(), serde_json::from_slice(&two).unwrap());
    let mut crossed = one.clone();
    crossed["payload"] = two["payload"].clone();
    let detail = log.post("/add", crossed.to_string().as_bytes()).problem(422, "publisher-signature");
    assert!(detail.contains("vendor"), "{detail}");
    let payload = scanner(1).to_payload().unwrap();
    for sig in ["", "AAAA", &"A".repeat(84), &format!("{}==", "A".repeat(86))] {
        log.post("/add", &raw_envelope(&payload, sig, 1)).problem(422, "publisher-signature");
    }
    // The log verifies the signature before it parses the statement.
    log.post("/add", &raw_envelope(b"{", "AAAA", 1)).problem(422, "publisher-signature");
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn a_publisher_speaks_only_for_its_packages_and_kinds() {
    let log = log();
    let elsewhere = release("pkg:generic/other/scanner@1.0", 1, "x");
    let detail = log.post("/add", &signed(&elsewhere, 1)).problem(403, "publisher-not-permitted");
    assert!(detail.contains("vendor") && detail.contains("pkg:generic/other/scanner"), "{detail}");
    let rules = Release { kind: Kind::DetectionRules, ..scanner(1) };
    let detail = log.post("/add", &signed(&rules, 1)).problem(403, "publisher-not-permitted");
    assert!(detail.contains("detection-rules"), "{detail}");
    let update = Release { kind: Kind::Update, ..scanner(1) };
    assert_eq!(log.post("/add", &signed(&update, 1)).text(), "0");
}

#[test]
fn a_key_outside_its_validity_may_not_speak() {
    let timed = |key: &str| {
        let toml = vendor_toml();
        format!("{}\n{key}\n", toml.trim_end())
    };
    for key in ["not_after = \"2001-01-01T00:00:00Z\"", "not_before = \"2999-01-01T00:00:00Z\""] {
        let log = Served::release(&timed(key));
        let detail = log.post("/add", &signed(&scanner(1), 1)).problem(403, "key-not-valid");
        assert!(detail.contains(&key[key.len() - 21..key.len() - 1]), "{detail}");
    }
}

#[test]
fn a_statement_that_is_signed_well_and_says_nonsense_is_422() {
    type Spoil = fn(&mut Value);
    let cases: [(Spoil, &str); 15] = [
        (|s| s["predicate"]["purl"] = json!("pkg:generic/example/scanner"), "a version"),
        (|s| s["predicate"]["purl"] = json!("pkg:generic/example/scanner@"), "a version"),
        (|s| s["predicate"]["purl"] = json!("scanner 4.2.0"), "pkg:"),
        (|s| s["subject"] = json!([]), "at least one subject"),
        (|s| s["subject"] = json!([subject("a"), subject("b"), subject("a")]), "each subject name once"),
        (|s| s["subject"] = json!([{ "name": "a", "digest": { "sha1": "00" } }]), "sha256"),
        (|s| s["subject"] = (0..257).map(|at| subject(&at.to_string())).collect(), "256 subjects, saw 257"),
        (|s| s["_type"] = json!("https://in-toto.io/Statement/v0.2"), "Statement/v1"),
        (|s| s["subject"][0]["digest"] = json!({ "sha512": "00" }), "sha256"),
        (|s| s["predicateType"] = json!("https://slsa.dev/provenance/v0.2"), "predicate.buildType"),
        (|s| s["predicate"]["treehead"]["kind"] = json!("virus"), "build, update, detection-rules or trust"),
        (|s| s["predicate"]["treehead"]["channel"] = json!("Stable"), "channel"),
        (|s| s["predicate"]["treehead"]["sequence"] = json!(-1), "sequence"),
        (|s| s["predicate"]["treehead"]["sequense"] = json!(1), "sequense"),
        (|s| s["predicate"] = json!({ "purl": "pkg:generic/example/scanner@1.0" }), "treehead"),
    ];
    let log = log();
    for (spoil, expected) in cases {
        let detail = post_spoilt(&log, spoil).problem(422, "statement");
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    // JSON that parsers disagree about.
    let good = serde_json::to_string(&statement(&scanner(1))).unwrap();
    let twice = good.replacen("\"predicate\":", "\"predicate\":{},\"predicate\":", 1).into_bytes();
    let detail = log.post("/add", &signed_payload(twice, 1)).problem(422, "statement");
    assert!(detail.contains("the key \"predicate\" twice in one object"), "{detail}");
    let mut latin = good.into_bytes();
    let at = latin.windows(7).position(|w| w == b"scanner").unwrap();
    latin[at] = 0xe9;
    let detail = log.post("/add", &signed_payload(latin, 1)).problem(422, "statement");
    assert!(detail.contains("UTF-8") && detail.contains("offset"), "{detail}");
    assert_eq!(log.tree_size(), 0);
    // in-toto allows unknown fields in its own objects.
    assert_eq!(post_spoilt(&log, |s| s["predicate"]["more"] = json!([1])).text(), "0");
}

#[test]
fn a_release_has_at_most_256_artifacts_and_an_entry_at_most_65535_bytes() {
    let log = log();
    let mut most = scanner(1);
    let named = |at: usize| Subject { name: format!("file {at}"), sha256: Hash::digest(&at.to_be_bytes()) };
    most.subjects = (0..256).map(named).collect();
    assert_eq!(log.post("/add", &signed(&most, 1)).text(), "0");
    let mut statement = statement(&scanner(2));
    statement["subject"] = (0..10_000).map(|at| subject(&format!("file {at}"))).collect();
    let huge = raw_envelope(&serde_json::to_vec(&statement).unwrap(), "AAAA", 1);
    assert!(huge.len() > 1_000_000);
    log.post("/add", &huge).problem(413, "too-large");
    // White space does not count, up to twice an entry's size.
    let spaced = [vec![b' '; 60_000], signed(&scanner(3), 1), vec![b'\n'; 60_000]].concat();
    assert_eq!(log.post("/add", &spaced).text(), "1");
    // An envelope that fits as sent but not as an entry is too large.
    let long = raw_envelope(&vec![b'x'; 60_000], "AAAA", 1);
    let detail = log.post("/add", &long).problem(413, "too-large");
    assert!(detail.contains("65535"), "{detail}");
}

#[test]
fn what_is_no_envelope_is_400() {
    let log = log();
    let entry = signed(&scanner(1), 1);
    let envelope: Value = serde_json::from_slice(&entry).unwrap();
    let text = String::from_utf8(entry.clone()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let sig = envelope["signatures"][0]["sig"].as_str().unwrap();
    let twice = |key: &str| text.replacen('{', &format!("{{\"{key}\":{},", envelope[key]), 1);
    assert!(sig.ends_with("=="), "64 bytes need padding");
    let change = |change: &dyn Fn(&mut Value)| {
        let mut envelope = envelope.clone();
        change(&mut envelope);
        envelope.to_string()
    };
    let one = &envelope["signatures"][0];
    let cases: Vec<(String, &str)> = vec![
        (twice("payload"), "twice in one object"),
        (twice("signatures"), "twice in one object"),
        ("[".repeat(60_000), "nesting deeper"),
        (format!("{}{}", "{\"a\":".repeat(20_000), "1"), "nesting deeper"),
        (text.replace(sig, sig.trim_end_matches('=')), "padded base64"),
        (text.replace(sig, &format!("{sig}\\n")), "padded base64"),
        (text.replace(payload, &payload.replace('e', "*")), "padded base64"),
        (text.replace("vnd.in-toto+json", "json"), "payloadType"),
        (change(&|e| e["signatures"] = json!([])), "at least one signature"),
        (change(&|e| e["signatures"] = json!([one, 7])), "to be an object"),
        (change(&|e| e["signatures"][0]["keyid"] = json!(7)), "to be a string"),
        (change(&|e| e["payload"] = json!(7)), "to be a string"),
        (format!("{text}{text}"), "strict JSON"),
        (format!("\u{feff}{text}"), "strict JSON"),
        ("null".to_owned(), "to be an object"),
        ("1e400".to_owned(), "strict JSON"),
    ];
    for (body, expected) in cases {
        let detail = log.post("/add", body.as_bytes()).problem(400, "malformed");
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    log.post("/add", b"{\"payload\":\"\xff\"}").problem(400, "malformed");
    let too_many: Value =
        (0..9).map(|at| json!({ "keyid": Hash::digest(&[at]).to_hex(), "sig": "" })).collect();
    log.post("/add", change(&|e| e["signatures"] = too_many.clone()).as_bytes()).problem(413, "too-large");
    // Truncated anywhere, it is not valid JSON.
    for end in (1..entry.len()).step_by(7) {
        log.post("/add", &entry[..end]).problem(400, "malformed");
    }
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn a_sequence_number_stands_for_one_set_of_artifacts() {
    let log = log();
    assert_eq!(log.post("/add", &signed(&scanner(7), 1)).text(), "0");
    let other = release("pkg:generic/example/scanner@7.0", 7, "another scanner");
    let detail = log.post("/add", &signed(&other, 1)).problem(409, "sequence-taken");
    assert!(detail.contains("use the next number"), "{detail}");
    // Another version has the same package, channel and number.
    let mut renumbered = other.clone();
    renumbered.purl = Purl::parse("pkg:generic/example/scanner@7.0.1").unwrap();
    log.post("/add", &signed(&renumbered, 1)).problem(409, "sequence-taken");
    assert_eq!(log.tree_size(), 1);
    // So have the same artifacts with a different field that endpoints rely on.
    let same: [fn(&mut Release); 4] = [
        |r| r.purl = Purl::parse("pkg:generic/example/scanner@7.0.1").unwrap(),
        |r| r.kind = Kind::Update,
        |r| r.audience = Some("customer 17".to_owned()),
        |r| r.subjects[0].name = "renamed.bin".to_owned(),
    ];
    for change in same {
        let mut other = scanner(7);
        change(&mut other);
        log.post("/add", &signed(&other, 1)).problem(409, "sequence-taken");
    }
    // Channels and packages count separately.
    let mut beta = other.clone();
    beta.channel = "beta".to_owned();
    assert_eq!(log.post("/add", &signed(&beta, 1)).text(), "1");
    let engine = release("pkg:generic/example/engine@7.0", 7, "an engine");
    assert_eq!(log.post("/add", &signed(&engine, 1)).text(), "2");
    assert_eq!(log.post("/add", &signed(&scanner(7), 1)).text(), "0", "and a duplicate is none");
}

/// Otherwise, anybody could copy statements from a test log.
#[test]
fn a_statement_for_another_log_is_422() {
    let log = log();
    let for_log = |n: u64, log: &str| Release { log: Some(log.to_owned()), ..scanner(n) };
    let staging = signed(&for_log(1, "staging.example/releases"), 1);
    let detail = log.post("/add", &staging).problem(422, "other-log");
    assert!(detail.contains(ORIGIN) && detail.contains("staging.example/releases"), "{detail}");
    let detail = log.post("/add-batch", &batch(&[signed(&scanner(1), 1), staging])).problem(422, "other-log");
    assert!(detail.contains("entry 1 of the batch"), "{detail}");
    assert_eq!(log.tree_size(), 0);
    // A release that names this log and one that names none are the same.
    let ours = signed(&for_log(1, ORIGIN), 1);
    assert_eq!(log.post("/add", &ours).text(), "0");
    let answer = log.post_json("/add", &signed(&scanner(1), 1));
    assert_eq!((&answer["index"], &answer["leaf_hash"]), (&0.into(), &Hash::leaf(&ours).to_hex().into()));
    assert_eq!(log.post("/add", &signed(&scanner(2), 1)).text(), "1");
    // The same holds for withdrawals.
    let of_ours = |log: &str| {
        let withdrawal = Withdrawal { log: Some(log.to_owned()), ..withdrawal(0, &ours) };
        signed_withdrawal(&withdrawal, 1)
    };
    log.post("/add", &of_ours("staging.example/releases")).problem(422, "other-log");
    assert_eq!(log.post("/add", &of_ours(ORIGIN)).text(), "2");
}

#[test]
fn sequence_numbers_are_remembered_across_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("publishers.toml"), vendor_toml()).unwrap();
    let start =
        || Served::start(temp.path(), treehead::server::Profile::Release, crate::common::log::quick());
    assert_eq!(start().post("/add", &signed(&scanner(7), 1)).text(), "0");
    let other = release("pkg:generic/example/scanner@7.0", 7, "another scanner");
    start().post("/add", &signed(&other, 1)).problem(409, "sequence-taken");
}

#[test]
fn publishers_are_taken_up_while_the_log_runs() {
    let log = log();
    let path = log.dir.join("publishers.toml");
    let by_two = |n: u64| signed(&release(&format!("pkg:generic/two/tool@{n}.0"), n, "tool"), 2);
    log.post("/add", &by_two(1)).problem(403, "unknown-publisher");
    let both = vendor_toml() + &publisher_toml("two", 2, &["pkg:generic/two/tool"], &["build"]);
    fs::write(&path, &both).unwrap();
    eventually("the new publisher may speak", || log.post("/add", &by_two(1)).status == 200);
    // A broken file only changes `/healthz`, which says what is wrong.
    for broken in ["[[publisher]]\nname = 7\n", &both.replace("two\"", "vendor\""), ""] {
        if broken.is_empty() {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, broken).unwrap();
        }
        eventually("the log is degraded", || log.get("/healthz").status == 503);
        let health: Value = serde_json::from_slice(&log.get("/healthz").body).unwrap();
        assert_eq!(health["status"], "degraded");
        let faults = health["faults"].as_array().unwrap();
        assert!(faults.len() == 1 && faults[0].as_str().unwrap().contains("publishers.toml"), "{health}");
        assert_eq!(log.post("/add", &by_two(2)).status, 200, "the old publishers stay in force");
    }
    // The fixed file counts again.
    fs::write(&path, &both).unwrap();
    eventually("the log is well", || log.get("/healthz").status == 200);
    assert_eq!(log.post("/add", &by_two(3)).status, 200);
}

#[test]
fn publishers_that_a_file_lists_no_more_are_told_and_count_as_revoked() {
    let two = publisher_toml("two", 2, &["pkg:generic/two/tool"], &["build"]);
    let mut log = Served::release(&(vendor_toml() + &two));
    let path = log.dir.join("publishers.toml");
    let (one, by_two) = (signed(&scanner(1), 1), signed(&release("pkg:generic/two/tool@1.0", 1, "tool"), 2));
    let health = |log: &Served| -> Value { serde_json::from_slice(&log.get("/healthz").body).unwrap() };
    assert!(health(&log).get("warnings").is_none());
    // One publisher is gone: the log continues, and names it.
    fs::write(&path, vendor_toml()).unwrap();
    eventually("the loss is told", || health(&log).get("warnings").is_some());
    let told = health(&log);
    assert_eq!((log.get("/healthz").status, &told["status"]), (200, &"ok".into()));
    let warning = told["warnings"][0].as_str().unwrap();
    let key = format!("key {} of two", publisher(2).keyid().to_hex());
    assert!(warning.contains("publishers.toml: it no longer lists: ") && warning.contains(&key), "{warning}");
    log.post("/add", &by_two).problem(403, "publisher-key-revoked");
    assert_eq!(log.post("/add", &one).status, 200);
    assert_eq!(crate::metrics::metrics(&log).one("treehead_log_warnings"), 1);
    // All publishers are gone: probably an accident.
    fs::write(&path, "").unwrap();
    eventually("the log is degraded", || log.get("/healthz").status == 503);
    let told = health(&log);
    let fault = told["faults"][0].as_str().unwrap();
    assert!(fault.contains("nobody may publish now") && fault.contains(" of vendor"), "{fault}");
    log.post("/add", &signed(&scanner(2), 1)).problem(403, "publisher-key-revoked");
    // After a restore, everything is as before.
    fs::write(&path, vendor_toml() + &two).unwrap();
    eventually("the log is well", || log.get("/healthz").status == 200);
    assert!(health(&log).get("warnings").is_none());
    assert_eq!(log.post("/add", &by_two).status, 200);
    // A restart accepts the file as it is.
    fs::write(&path, vendor_toml()).unwrap();
    log.stop();
    let new = Served::start(&log.dir, treehead::server::Profile::Release, crate::common::log::quick());
    let more = signed(&release("pkg:generic/two/tool@2.0", 2, "tool"), 2);
    new.post("/add", &more).problem(403, "unknown-publisher");
    assert_eq!(new.get("/healthz").status, 200);
}
