//! Warnings about entries that the log accepts.

use serde_json::{Value, json};
use treehead::client::{BatchWriter, LogClient, Wait};
use treehead::merkle::Hash;
use treehead::release::{Envelope, Kind, Release, Subject};

use crate::common::log::{Served, batch};
use crate::common::releases::{
    publisher, publisher_toml, release, scanner, signed, signed_withdrawal, withdrawal,
};

const KINDS: [&str; 3] = ["build", "update", "detection-rules"];

fn served() -> Served {
    Served::release(
        &(publisher_toml("vendor", 1, &["pkg:generic/example/*"], &KINDS)
            + &publisher_toml("rival", 2, &["pkg:generic/example/*"], &KINDS)),
    )
}

/// The warning codes in an answer.
fn codes(answer: &Value) -> Vec<&str> {
    let all = answer.get("warnings").map_or(&[][..], |warnings| warnings.as_array().unwrap());
    all.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

fn add(log: &Served, release: &Release) -> Value {
    log.post_json("/add", &signed(release, 1))
}

#[test]
fn the_answer_says_what_the_highest_number_was() {
    let log = served();
    let first = add(&log, &scanner(1));
    assert!(first.get("highest").is_none() && first.get("warnings").is_none(), "{first}");
    assert_eq!(add(&log, &scanner(2))["highest"], 1);
    // Sending the same entry again warns of nothing.
    let again = add(&log, &scanner(2));
    assert!(again["duplicate"] == true && again.get("highest").is_none(), "{again}");
    // Other channels, packages and publishers count separately.
    let beta = Release { channel: "beta".to_owned(), ..scanner(1) };
    assert!(add(&log, &beta).get("highest").is_none());
    assert!(add(&log, &release("pkg:generic/example/engine@1", 1, "e")).get("highest").is_none());
    assert!(log.post_json("/add", &signed(&scanner(1), 2)).get("highest").is_none());
    // Earlier entries of the same batch count as well.
    let entries = [signed(&scanner(3), 1), signed(&scanner(4), 1), signed(&scanner(1), 1), signed(&beta, 1)];
    let answers = log.post_json("/add-batch", &batch(&entries));
    let highest: Vec<Value> = (0..4).map(|at| answers[at]["highest"].clone()).collect();
    assert_eq!(highest, [json!(2), json!(3), json!(null), json!(null)]);
}

#[test]
fn a_number_below_the_highest_is_taken_and_told() {
    let log = served();
    let time = 20_261_128_103_001;
    assert_eq!(codes(&add(&log, &scanner(time))), [""; 0]);
    let answer = add(&log, &scanner(2));
    assert_eq!((codes(&answer), &answer["index"]), (vec!["sequence-below-highest"], &json!(1)));
    assert_eq!(answer["highest"], time);
    let detail = answer["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("2 is below 20261128103001, the highest"), "{detail}");
    // The age of the earlier entry does not matter.
    let entries: Vec<Vec<u8>> = (3..200).map(|n| signed(&scanner(n), 1)).collect();
    let answers = log.post_json("/add-batch", &batch(&entries));
    for answer in answers.as_array().unwrap() {
        assert_eq!((codes(answer), &answer["highest"]), (vec!["sequence-below-highest"], &json!(time)));
    }
    // A plain-text answer has no warnings.
    assert_eq!(log.post("/add", &signed(&scanner(200), 1)).text(), "199");
    assert_eq!(log.post("/add-batch", &batch(&[signed(&scanner(201), 1)])).text(), "200\n");
}

#[test]
fn a_gap_is_told_where_numbers_had_been_dense() {
    let log = served();
    for n in 1..4 {
        assert_eq!(codes(&add(&log, &scanner(n))), [""; 0]);
    }
    let answer = add(&log, &scanner(6));
    assert_eq!(codes(&answer), ["sequence-gap"]);
    assert!(answer["warnings"][0]["detail"].as_str().unwrap().starts_with("6 follows 3"), "{answer}");
    // Timestamps, and numbers that always leave gaps.
    for (package, numbers) in [
        ("times", [20_261_128_103_001, 20_261_128_103_002, 20_261_129_000_000, 20_261_130_000_000]),
        ("tens", [10, 20, 30, 40]),
    ] {
        let entries =
            numbers.map(|n| signed(&release(&format!("pkg:generic/example/{package}@{n}"), n, package), 1));
        for answer in log.post_json("/add-batch", &batch(&entries)).as_array().unwrap() {
            assert_eq!(codes(answer), [""; 0], "{package}");
        }
    }
    // Within one batch.
    let entries = [1, 2, 3, 5, 6].map(|n| signed(&release("pkg:generic/example/b@1", n, "b"), 1));
    let answers = log.post_json("/add-batch", &batch(&entries));
    let told: Vec<Vec<&str>> = (0..5).map(|at| codes(&answers[at])).collect();
    assert_eq!(told, [vec![], vec![], vec![], vec!["sequence-gap"], vec![]]);
}

const PURL: &str = "pkg:generic/example/tool@4.2.0";

#[test]
fn the_same_version_with_other_bytes_is_taken_and_told() {
    let log = served();
    assert_eq!(codes(&add(&log, &release(PURL, 1, "first"))), [""; 0]);
    assert_eq!(codes(&add(&log, &release(PURL, 2, "first"))), [""; 0], "the same bytes");
    let mut renamed = release(PURL, 3, "first");
    renamed.subjects[0].name = "tool-4.2.0.bin".to_owned();
    assert_eq!(codes(&add(&log, &renamed)), [""; 0], "bytes count, not names");
    let answer = add(&log, &release(PURL, 4, "second"));
    assert_eq!((codes(&answer), &answer["index"]), (vec!["version-changed"], &json!(3)));
    let detail = answer["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("leaf 2 released this version with different content"), "{detail}");
    // The log compares with the latest edition; an additional artifact is different content, too.
    assert_eq!(codes(&add(&log, &release(PURL, 5, "second"))), [""; 0]);
    let mut more = release(PURL, 6, "second");
    more.subjects.push(Subject { name: "more".to_owned(), sha256: Hash::digest(b"more") });
    assert_eq!(codes(&add(&log, &more)), ["version-changed"]);
    // The spelling of the purl does not matter.
    assert_eq!(
        codes(&add(&log, &release("PKG:generic/example/%74ool@4.2.0#x", 7, "third"))),
        ["version-changed"]
    );
}

#[test]
fn what_may_have_other_bytes_warns_nobody() {
    let log = served();
    add(&log, &release(PURL, 1, "first"));
    for other in [
        release("pkg:generic/example/tool@4.2.1", 2, "other"),
        release(&format!("{PURL}?os=linux"), 1, "other"),
        Release { channel: "beta".to_owned(), ..release(PURL, 1, "other") },
        Release { kind: Kind::Update, ..release(PURL, 3, "other") },
    ] {
        assert_eq!(codes(&add(&log, &other)), [""; 0], "{}", other.purl);
    }
    // Another publisher's edition does not count.
    assert_eq!(codes(&log.post_json("/add", &signed(&release(PURL, 1, "other"), 2))), [""; 0]);
    // Detection rules change every hour under one version.
    for n in 1..4 {
        let rules = release("pkg:generic/example/rules@1", n, &n.to_string());
        assert_eq!(codes(&add(&log, &Release { kind: Kind::DetectionRules, ..rules })), [""; 0]);
    }
}

#[test]
fn entries_of_one_batch_are_compared_with_each_other() {
    let log = served();
    let first = signed(&release(PURL, 1, "first"), 1);
    let entries = [first.clone(), signed(&release(PURL, 2, "second"), 1), first.clone()];
    let answers = log.post_json("/add-batch", &batch(&entries));
    let told: Vec<Vec<&str>> = (0..3).map(|at| codes(&answers[at])).collect();
    assert_eq!(told, [vec![], vec!["version-changed"], vec![]], "a repeated submission gets no warning");
    assert!(
        answers[1]["warnings"][0]["detail"].as_str().unwrap().contains("an entry before it in this batch")
    );
}

#[test]
fn of_several_signers_each_is_compared_and_all_are_warned_once() {
    let log = served();
    add(&log, &release(PURL, 7, "first"));
    log.post_json("/add", &signed(&release(PURL, 9, "second"), 2));
    let both =
        Envelope::sign(release(PURL, 5, "third").to_payload().unwrap(), &[&publisher(1), &publisher(2)]);
    let answer = log.post_json("/add", &both.unwrap().to_entry());
    assert_eq!(
        (codes(&answer), &answer["highest"]),
        (vec!["version-changed", "sequence-below-highest"], &json!(9))
    );
}

#[test]
fn bytes_that_were_withdrawn_are_taken_again_and_told() {
    let log = served();
    let bad = signed(&release(PURL, 1, "bad"), 1);
    log.add_all(std::slice::from_ref(&bad));
    log.add_all(&[signed_withdrawal(&withdrawal(0, &bad), 1)]);
    let answer = add(&log, &release(PURL, 2, "bad"));
    assert_eq!((codes(&answer), &answer["index"]), (vec!["withdrawn-before"], &json!(2)));
    let detail = answer["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("leaf 1 withdrew these artifacts"), "{detail}");
    // Endpoints accept the bytes under another version, so there is no warning.
    assert_eq!(codes(&add(&log, &release("pkg:generic/example/tool@4.2.1", 3, "bad"))), ["withdrawn-before"]);
    // Other bytes, and the same bytes by a publisher who withdrew nothing.
    assert_eq!(codes(&add(&log, &release("pkg:generic/example/tool@4.2.2", 4, "good"))), [""; 0]);
    assert_eq!(codes(&log.post_json("/add", &signed(&release(PURL, 1, "bad"), 2))), [""; 0]);
    // A duplicate is no new release.
    let again = log.post_json("/add", &bad);
    assert!(again["duplicate"] == true && codes(&again).is_empty(), "{again}");
}

#[test]
fn a_batch_costs_a_bounded_number_of_look_ups() {
    let log = served();
    let tool = |n: u64, sequence, content: &str| {
        signed(&release(&format!("pkg:generic/example/tool-{n}@1"), sequence, content), 1)
    };
    let release_all = |sequence, content: &str| {
        let entries: Vec<Vec<u8>> = (0..300).map(|n| tool(n, sequence, content)).collect();
        log.post_json("/add-batch", &batch(&entries))
    };
    release_all(9, "first");
    let answers = release_all(8, "second");
    let told = |code: &str| {
        let all = answers.as_array().unwrap().iter();
        all.filter(|answer| codes(answer).contains(&code)).count()
    };
    assert_eq!((told("sequence-below-highest"), told("version-changed")), (256, 64));
    assert_eq!(codes(&answers[63]), ["version-changed", "sequence-below-highest"]);
    assert_eq!(codes(&answers[255]), ["sequence-below-highest"]);
    assert_eq!(codes(&answers[256]), [""; 0]);
}

#[test]
fn the_client_reads_what_it_is_told() {
    let log = served();
    let client = LogClient::new(&format!("http://{}/", log.address)).unwrap();
    let entry = |n, content| signed(&release(PURL, n, content), 1);
    let first = client.append(&entry(2, "first"), Wait::Sequenced).unwrap();
    assert_eq!((first.highest, first.warnings.len()), (None, 0));
    let second = client.append(&entry(1, "second"), Wait::Sequenced).unwrap();
    let of =
        |warnings: &[treehead::client::Remark]| warnings.iter().map(|w| w.code.clone()).collect::<Vec<_>>();
    assert_eq!(
        (second.highest, of(&second.warnings)),
        (Some(2), vec!["version-changed".into(), "sequence-below-highest".into()])
    );
    let mut writer = BatchWriter::default();
    writer.push(&entry(3, "second")).unwrap();
    writer.push(&entry(4, "third")).unwrap();
    let answers = client.add_batch(&writer, Wait::Sequenced).unwrap();
    assert_eq!(
        answers.iter().map(|a| (a.highest, of(&a.warnings))).collect::<Vec<_>>(),
        [(Some(2), vec![]), (Some(3), vec!["version-changed".into()]),]
    );
}
