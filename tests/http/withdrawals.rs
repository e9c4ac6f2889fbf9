//! Withdrawals by `POST /add` and `POST /add-batch`, and how searches show them.

use serde_json::{Value, json};
use treehead::client::LogClient;
use treehead::merkle::{Hash, LeafIndex, TreeSize};
use treehead::release::{Envelope, Kind, Purl, Release, Withdrawal};
use treehead::server::Profile;

use crate::common::log::{Served, batch, never_publishing, quick};
use crate::common::releases::{
    publisher, publisher_toml, release, scanner, signed, signed_payload, signed_withdrawal, vendor_toml,
    withdrawal,
};

/// `vendor`, and `rival`, who may release the same packages.
fn publishers() -> String {
    vendor_toml() + &publisher_toml("rival", 2, &["pkg:generic/example/*"], &["build"])
}

/// A log with three versions of `vendor`'s scanner, at leaves 0, 1 and 2.
fn log() -> (Served, Vec<Vec<u8>>) {
    let log = Served::release(&publishers());
    let entries: Vec<Vec<u8>> = (0..3).map(|n| signed(&scanner(n), 1)).collect();
    log.add_all(&entries);
    (log, entries)
}

fn rows(log: &Served, query: &str) -> Vec<Value> {
    log.get(&format!("/releases?{query}")).json()["releases"].as_array().expect("rows").clone()
}

fn indices(log: &Served, query: &str) -> Vec<u64> {
    rows(log, query).iter().map(|row| row["index"].as_u64().expect("an index")).collect()
}

/// Posts an entry by both routes; both must refuse it with the same code and append nothing.
fn assert_refused(log: &Served, entry: &[u8], status: u16, code: &str) -> String {
    let size = log.tree_size();
    let detail = log.post("/add", entry).problem(status, code);
    let good = signed(&scanner(99), 1);
    let reply = log.post("/add-batch", &batch(&[good.as_slice(), entry]));
    let in_batch = reply.problem(status, code);
    assert!(in_batch.starts_with("entry 1 of the batch: ") && in_batch.contains(&detail), "{in_batch}");
    assert_eq!(log.tree_size(), size, "nothing was taken");
    detail
}

#[test]
fn a_withdrawn_release_is_found_with_its_withdrawal() {
    let (log, entries) = log();
    let withdrawn = withdrawal(1, &entries[1]);
    let entry = signed_withdrawal(&withdrawn, 1);
    assert_eq!(log.post("/add", &entry).text(), "3");
    let again = log.post_json("/add", &entry);
    assert_eq!((&again["index"], &again["duplicate"]), (&json!(3), &json!(true)));

    let leaf = Hash::leaf(&entries[1]).to_hex();
    let expected = json!([{ "index": 3, "reason": "it crashes on start", "publishers": ["vendor"] }]);
    for row in rows(&log, "kind=build") {
        let there = row.get("withdrawn").cloned();
        assert_eq!(there, (row["index"] == 1).then(|| expected.clone()), "{row}");
        assert_eq!((&row["kind"], &row["channel"]), (&json!("build"), &json!("stable")));
        assert!(row.get("withdraws").is_none() && row.get("reason").is_none(), "{row}");
    }
    let row = &rows(&log, "kind=withdrawal")[0];
    assert_eq!(
        *row,
        json!({
            "index": 3, "leaf_hash": Hash::leaf(&entry).to_hex(), "publishers": ["vendor"],
            "purl": "pkg:generic/example/scanner@1.0", "kind": "withdrawal", "withdraws": 1,
            "reason": "it crashes on start",
            "artifacts": [{ "name": "scanner.bin", "sha256": Hash::digest(b"scanner 1").to_hex() }],
            "proof": format!("/proof/leaf/{}", Hash::leaf(&entry).to_hex()),
        })
    );
    for query in [
        format!("withdraws={leaf}"),
        "kind=withdrawal".to_owned(),
        "kind=withdrawal&publisher=vendor".to_owned(),
        "kind=withdrawal&package=pkg:generic/example/scanner&version=1.0".to_owned(),
        format!("kind=withdrawal&digest={}", Hash::digest(b"scanner 1").to_hex()),
    ] {
        assert_eq!(indices(&log, &query), [3], "{query}");
    }
    assert_eq!(indices(&log, &format!("digest={}", Hash::digest(b"scanner 1").to_hex())), [3, 1]);
    for nothing in [
        format!("withdraws={}", Hash::leaf(&entries[0]).to_hex()),
        "kind=withdrawal&publisher=rival".to_owned(),
        "kind=withdrawal&version=2.0".to_owned(),
    ] {
        assert!(indices(&log, &nothing).is_empty(), "{nothing}");
    }
    log.get("/releases?withdraws=1").problem(400, "malformed");
    // A withdrawal adds a fact; the release remains.
    assert_eq!(log.get(&format!("/proof/leaf/{leaf}")).status, 200);
}

#[test]
fn a_batch_withdraws_so_much_and_no_more() {
    let (log, entries) = log();
    let withdrawals: Vec<Vec<u8>> = (0..65)
        .map(|n| {
            let (reason, leaf) = (format!("reason {n}"), n % 3);
            signed_withdrawal(&Withdrawal { reason, ..withdrawal(leaf as u64, &entries[leaf]) }, 1)
        })
        .collect();
    // At any position in a batch.
    let mut mixed = withdrawals.clone();
    mixed.insert(7, signed(&scanner(99), 1));
    let detail = log.post("/add-batch", &batch(&mixed)).problem(422, "too-many-withdrawals");
    assert!(detail.starts_with("entry 65 of the batch: expected at most 64 withdrawals"), "{detail}");
    assert!(detail.contains("send the rest in further batches"), "{detail}");
    assert_eq!(log.tree_size(), 3, "nothing was taken");
    mixed.pop();
    assert_eq!(log.post("/add-batch", &batch(&mixed)).status, 200);
    assert_eq!(log.post("/add", &withdrawals[64]).text(), "68");
}

#[test]
fn the_newest_withdrawals_of_many_are_shown() {
    let (log, entries) = log();
    let withdrawals: Vec<Vec<u8>> = (0..6)
        .map(|n| {
            let reason = format!("reason {n}");
            signed_withdrawal(&Withdrawal { reason, ..withdrawal(0, &entries[0]) }, 1)
        })
        .collect();
    log.add_all(&withdrawals);
    let shown: Vec<u64> = rows(&log, "version=0.0&kind=build")[0]["withdrawn"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["index"].as_u64().unwrap())
        .collect();
    assert_eq!(shown, [8, 7, 6, 5]);
    let all = format!("withdraws={}", Hash::leaf(&entries[0]).to_hex());
    assert_eq!(indices(&log, &all), [8, 7, 6, 5, 4, 3], "a search finds them all");
}

#[test]
fn a_withdrawal_that_is_not_published_is_not_shown() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("publishers.toml"), publishers()).unwrap();
    let start = |options| Served::start(temp.path(), Profile::Release, options);
    let entry = signed(&scanner(0), 1);
    assert_eq!(start(quick()).post("/add", &entry).text(), "0");
    let withdrawn = signed_withdrawal(&withdrawal(0, &entry), 1);
    let log = start(never_publishing());
    assert_eq!(log.post("/add?wait=sequenced", &withdrawn).text(), "1");
    assert_eq!(indices(&log, ""), [0]);
    assert!(rows(&log, "")[0].get("withdrawn").is_none());
    drop(log);
    assert_eq!(rows(&start(quick()), "")[1]["withdrawn"][0]["index"], 1);
}

#[test]
fn what_is_not_in_the_log_can_t_be_withdrawn() {
    let (log, entries) = log();
    for index in [3, 4, 1_000, (1 << 53) - 1] {
        let entry = signed_withdrawal(&withdrawal(index, &entries[0]), 1);
        let detail = assert_refused(&log, &entry, 422, "withdrawal-unknown-leaf");
        assert!(
            detail.contains(&format!("leaf {index}: ")) && detail.contains("a log of 3 entries"),
            "{detail}"
        );
    }
    // Nor can it name a release in the same batch.
    let new = signed(&scanner(3), 1);
    let its_withdrawal = signed_withdrawal(&withdrawal(3, &new), 1);
    let reply = log.post("/add-batch", &batch(&[&new, &its_withdrawal]));
    reply.problem(422, "withdrawal-unknown-leaf");
    assert_eq!(log.tree_size(), 3);
    assert_eq!(log.post("/add", &new).text(), "3");
    assert_eq!(log.post("/add-batch", &batch(&[its_withdrawal])).text(), "4\n", "a batch may withdraw");
}

#[test]
fn a_withdrawal_repeats_what_the_release_says() {
    let (log, entries) = log();
    let good = withdrawal(1, &entries[1]);
    let leaf = |index| LeafIndex::new(index).unwrap();
    let mut renamed = good.clone();
    renamed.subjects[0].name.push('x');
    let mut more = good.clone();
    more.subjects.push(treehead::release::Subject { name: "b".to_owned(), ..good.subjects[0].clone() });
    let other_purl = Purl::parse("pkg:generic/example/scanner@1.1").unwrap();
    for (bad, expected, seen) in [
        (Withdrawal { index: leaf(0), ..good.clone() }, good.leaf.to_hex(), Hash::leaf(&entries[0]).to_hex()),
        (
            Withdrawal { leaf: Hash::leaf(b"x"), ..good.clone() },
            Hash::leaf(b"x").to_hex(),
            good.leaf.to_hex(),
        ),
        (
            Withdrawal { purl: other_purl, ..good.clone() },
            "expected pkg:generic/example/scanner@1.0".to_owned(),
            "saw pkg:generic/example/scanner@1.1".to_owned(),
        ),
        (renamed, "(\"scanner.bin\")".to_owned(), "(\"scanner.binx\")".to_owned()),
        (more, "expected 1 of them".to_owned(), "(\"b\")".to_owned()),
    ] {
        let detail = assert_refused(&log, &signed_withdrawal(&bad, 1), 422, "withdrawal-mismatch");
        assert!(detail.contains(&expected) && detail.contains(&seen), "{expected} {seen}: {detail}");
    }
    // A withdrawal is no release, and can't be withdrawn.
    let entry = signed_withdrawal(&good, 1);
    assert_eq!(log.post("/add", &entry).text(), "3");
    let of_it = Withdrawal { index: leaf(3), leaf: Hash::leaf(&entry), ..good };
    let detail = assert_refused(&log, &signed_withdrawal(&of_it, 1), 422, "withdrawal-mismatch");
    assert!(detail.contains("leaf 3 can't be withdrawn: expected a release"), "{detail}");
}

#[test]
fn nobody_withdraws_what_another_released() {
    let (log, entries) = log();
    let good = withdrawal(1, &entries[1]);
    let detail = assert_refused(&log, &signed_withdrawal(&good, 2), 403, "withdrawal-not-permitted");
    assert!(detail.contains("rival did not release leaf 1: expected a withdrawal by vendor"), "{detail}");
    let stranger = signed_withdrawal(&good, 3);
    log.post("/add", &stranger).problem(403, "unknown-publisher");
    assert!(indices(&log, "kind=withdrawal").is_empty());
}

#[test]
fn rights_to_attest_are_none_to_withdraw() {
    let attester =
        publisher_toml("attester", 4, &["pkg:generic/example/*"], &["provenance", "verification-summary"]);
    let elsewhere = publisher_toml("elsewhere", 5, &["pkg:generic/other/*"], &["build"]);
    let log = Served::release(&(publishers() + &attester + &elsewhere));
    let entry = signed(&scanner(0), 1);
    assert_eq!(log.post("/add", &entry).text(), "0");
    for seed in [4, 5] {
        let withdrawn = signed_withdrawal(&withdrawal(0, &entry), seed);
        let detail = log.post("/add", &withdrawn).problem(403, "publisher-not-permitted");
        assert!(
            detail.contains("may not make statements of kind withdrawal about pkg:generic/example/scanner"),
            "{detail}"
        );
    }
    // The right to any kind is enough: this publisher released a build as an update.
    let update = Release { kind: Kind::Update, ..scanner(1) };
    let entry = signed(&update, 1);
    assert_eq!(log.post("/add", &entry).text(), "1");
    assert_eq!(log.post("/add", &signed_withdrawal(&withdrawal(1, &entry), 1)).text(), "2");
}

#[test]
fn each_signer_of_a_release_may_withdraw_it_also_with_a_new_key() {
    let rotated =
        vendor_toml() + &format!("[[publisher.key]]\npem = '''\n{}'''\n", publisher(6).public_pem());
    let rival = publisher_toml("rival", 2, &["pkg:generic/example/*"], &["build"]);
    let log = Served::release(&(rotated + &rival));
    let payload = scanner(0).to_payload().unwrap();
    let both = Envelope::sign(payload, &[&publisher(1), &publisher(2)]).unwrap().to_entry();
    assert_eq!(log.post("/add", &both).text(), "0");
    let withdraw = |reason: &str, seed| {
        let withdrawal = Withdrawal { reason: reason.to_owned(), ..withdrawal(0, &both) };
        log.post("/add", &signed_withdrawal(&withdrawal, seed)).text().to_owned()
    };
    for (place, reason, seed) in
        [("1", "it crashes", 1), ("2", "it leaks", 2), ("3", "it leaks and crashes", 6)]
    {
        assert_eq!(withdraw(reason, seed), place, "the key of seed {seed}");
        assert_eq!(withdraw(reason, 1), place, "one payload, one leaf");
    }
}

#[test]
fn a_withdrawal_that_is_malformed_is_422() {
    let (log, entries) = log();
    let payload = withdrawal(1, &entries[1]).to_payload().unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"]["reson"] = json!("typo");
    let entry = signed_payload(serde_json::to_vec(&statement).unwrap(), 1);
    let detail = assert_refused(&log, &entry, 422, "statement");
    assert!(detail.contains("no other field in predicate, saw \"reson\""), "{detail}");
}

/// Queries as endpoints make them. They find the statement whatever characters its purl has.
#[test]
fn a_withdrawal_is_found_by_package_version_and_artifact_together() {
    let log = Served::release(&publishers());
    let purls = [
        "pkg:generic/example/scanner@1.0",
        "pkg:generic/example/scanner@1.0%2Bbuild.7",
        "pkg:generic/example/scanner@1.0?arch=x86_64",
        "pkg:generic/example/scanner@1.0?arch=x86_64&os=linux#lib/core",
        "pkg:generic/example/lib%2B%2B@1%3A2.0~rc1",
    ];
    let client = LogClient::new(&format!("http://{}", log.address)).unwrap();
    for (purl, sequence) in purls.iter().zip(1..) {
        // All releases have the same artifact.
        let entry = signed(&release(purl, sequence, "the same"), 1);
        let index = log.post("/add", &entry).text().parse().unwrap();
        let taken = log.post("/add", &signed_withdrawal(&withdrawal(index, &entry), 1));
        assert_eq!(taken.status, 200, "{purl}: {taken}");
    }
    let digest = Hash::digest(b"the same").to_hex();
    for (at, purl) in purls.iter().enumerate() {
        let purl = Purl::parse(purl).unwrap();
        let package = purl.package();
        let terms = [
            ("package", package.as_str()),
            ("version", purl.version()),
            ("digest", digest.as_str()),
            ("kind", "withdrawal"),
        ];
        let found = client.search(&terms, None, log.head().size).unwrap().expect("a search");
        let indices: Vec<u64> = found.rows.iter().map(|row| row.index.get()).collect();
        assert!(found.is_whole() && indices == [2 * at as u64 + 1], "{purl}: {found:?}");
        assert_eq!(found.rows[0].purl(), Some(purl));
    }
    let later = TreeSize::new(log.head().size.get() + 1).unwrap();
    let error = client.search(&[("kind", "withdrawal")], None, later).unwrap_err();
    assert_eq!(error.code(), "older-answer", "{error}");
}
