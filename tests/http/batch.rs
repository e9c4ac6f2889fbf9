//! `POST /add-batch`.

use serde_json::{Value, json};
use treehead::merkle::Hash;
use treehead::sequencer::Options;

use crate::common::http::{exchange, request};
use crate::common::log::{Served, batch, numbered, quick};
use crate::common::releases::{release, scanner, signed, signed_payload, vendor_toml};

#[test]
fn answers_come_in_the_order_of_the_entries() {
    let log = Served::opaque();
    let entries = numbered(300);
    let reply = log.post("/add-batch", &batch(&entries));
    let lines: String = (0..300).map(|index| format!("{index}\n")).collect();
    assert_eq!((reply.status, reply.text()), (200, lines.as_str()));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    // The same in reverse order, with one new entry.
    let mut reversed: Vec<Vec<u8>> = entries.into_iter().rev().collect();
    reversed.insert(150, b"new".to_vec());
    let answers = log.post_json("/add-batch", &batch(&reversed));
    for (at, (answer, entry)) in answers.as_array().unwrap().iter().zip(&reversed).enumerate() {
        let expected = match at {
            0..150 => 299 - at,
            150 => 300,
            _ => 300 - at,
        };
        assert_eq!(answer["index"], expected, "{at}");
        assert_eq!(answer["leaf_hash"], Hash::leaf(entry).to_hex());
        assert_eq!(answer["duplicate"], at != 150);
        assert_eq!(answer["tree_size"], 301);
    }
}

#[test]
fn a_duplicate_inside_a_batch_gets_the_first_one_s_index() {
    let log = Served::opaque();
    assert_eq!(log.post("/add-batch", &batch(&["a", "b", "a", "c", "b", "a"])).text(), "0\n1\n0\n2\n1\n0\n");
    let answers = log.post_json("/add-batch?wait=sequenced", &batch(&["d", "d", "a"]));
    let seen: Vec<(&Value, &Value)> =
        answers.as_array().unwrap().iter().map(|a| (&a["index"], &a["duplicate"])).collect();
    assert_eq!(seen, [(&json!(3), &json!(false)), (&json!(3), &json!(true)), (&json!(0), &json!(true))]);
    assert_eq!(log.tree_size(), 4);
}

#[test]
fn a_conflict_is_told_of_its_entry_alone() {
    let log = Served::release(&vendor_toml());
    let conflicting = release("pkg:generic/example/scanner@2.0", 2, "another scanner 2");
    let entries = [
        signed(&scanner(1), 1),
        signed(&scanner(2), 1),
        signed(&conflicting, 1), // with the one before it in the same batch
        signed(&scanner(3), 1),
    ];
    assert_eq!(log.post("/add-batch", &batch(&entries)).text(), "0\n1\nerror sequence-taken\n2\n");
    let answers = log.post_json("/add-batch", &batch(&entries[1..]));
    assert_eq!((&answers[0]["index"], &answers[2]["index"]), (&1.into(), &2.into()));
    assert_eq!((answers[1].get("index"), answers[1].get("duplicate")), (None, None));
    assert_eq!(answers[1]["leaf_hash"], Hash::leaf(&entries[2]).to_hex());
    assert_eq!(answers[1]["error"]["code"], "sequence-taken");
    assert!(answers[1]["error"]["detail"].as_str().unwrap().contains("use the next number"));
    // Every entry conflicts, so there is no publication to wait for.
    assert_eq!(log.post("/add-batch", &batch(&entries[2..3])).text(), "error sequence-taken\n");
    assert_eq!(log.tree_size(), 3);
}

#[test]
fn one_bad_entry_refuses_the_whole_batch_and_is_named_by_its_place() {
    let log = Served::release(&vendor_toml());
    let good: Vec<Vec<u8>> = (1..=3).map(|n| signed(&scanner(n), 1)).collect();
    let elsewhere = release("pkg:generic/other/scanner@1.0", 1, "x");
    let cases: [(Vec<u8>, u16, &str); 6] = [
        (b"no JSON".to_vec(), 400, "malformed"),
        (Vec::new(), 400, "malformed"),
        (good[0][..good[0].len() - 1].to_vec(), 400, "malformed"),
        (signed(&scanner(4), 9), 403, "unknown-publisher"),
        (signed(&elsewhere, 1), 403, "publisher-not-permitted"),
        (signed_payload(b"{}".to_vec(), 1), 422, "statement"),
    ];
    for (bad, status, code) in cases {
        for at in 0..=good.len() {
            let mut entries = good.clone();
            entries.insert(at, bad.clone());
            let reply = log.post("/add-batch", &batch(&entries));
            let detail = reply.problem(status, code);
            let problem: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(problem["entry"], at, "for machines");
            assert!(detail.starts_with(&format!("entry {at} of the batch: ")), "{detail}");
            assert!(detail.ends_with("; nothing of the batch was taken"), "{detail}");
        }
    }
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn batches_that_are_empty_or_cut_short_are_refused() {
    let log = Served::opaque();
    let detail = log.post("/add-batch", b"").problem(400, "malformed");
    assert!(detail.contains("at least one entry, saw none"), "{detail}");
    let whole = batch(&["first", "second"]);
    for end in (1..whole.len()).filter(|end| *end != 7) {
        let detail = log.post("/add-batch", &whole[..end]).problem(400, "malformed");
        assert!(detail.contains(&format!("entry {}", usize::from(end > 7))), "{end}: {detail}");
    }
    assert_eq!(log.tree_size(), 0);
    assert_eq!(log.post("/add-batch", &whole[..7]).text(), "0\n", "that is one whole entry");
}

#[test]
fn a_batch_holds_4096_entries_and_8_mib() {
    let log = Served::opaque();
    let entries = numbered(4_097);
    log.post("/add-batch", &batch(&entries)).problem(413, "too-large");
    let large = |last: usize| {
        let mut entries: Vec<Vec<u8>> = (0..128).map(|n| vec![n; 65_533]).collect();
        entries.push(vec![200; last]);
        batch(&entries)
    };
    // 128 entries with their length prefixes leave 128 bytes of the 8 MiB.
    let fits = large(126);
    assert_eq!(fits.len(), 8 * 1024 * 1024);
    let detail = log.post("/add-batch", &large(127)).problem(413, "too-large");
    assert!(detail.contains("8388608 bytes"), "{detail}");
    assert_eq!(log.tree_size(), 0);
    assert_eq!(log.post("/add-batch", &batch(&entries[..4_096])).text().lines().count(), 4_096);
    assert_eq!(log.post("/add-batch", &fits).text().lines().next_back(), Some("4224"));
}

#[test]
fn a_proof_is_no_answer_to_a_batch() {
    let log = Served::opaque();
    let bytes = request("POST", "/add-batch", &[("Accept", "text/x-tlog-proof")], &batch(&["a"]));
    let detail = exchange(log.address, &bytes).problem(406, "not-acceptable");
    assert!(detail.contains("text/plain, application/json,"), "{detail}");
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn a_full_log_takes_nothing_of_a_batch_and_says_when_to_come_back() {
    let log = Served::opaque_with(Options { pool_entries: 2, ..quick() });
    let reply = log.post("/add-batch", &batch(&["a", "b", "c"]));
    reply.problem(429, "full");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(log.tree_size(), 0, "nothing half-accepted");
    assert_eq!(log.post("/add-batch", &batch(&["a", "b"])).text(), "0\n1\n");
}
