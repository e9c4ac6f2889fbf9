//! `GET /sequence`: the highest sequence number so far.

use std::thread;

use serde_json::json;
use treehead::client::{HighestSequence, LogClient};
use treehead::merkle::{Hash, LeafIndex};
use treehead::release::Release;

use crate::common::log::{Served, never_publishing};
use crate::common::releases::{publisher, publisher_toml, release, scanner, signed, vendor_toml};

const SCANNER: &str = "pkg:generic/example/scanner";

fn publishers() -> String {
    vendor_toml() + &publisher_toml("rival", 2, &["pkg:generic/example/*"], &["build"])
}

fn beta(sequence: u64) -> Release {
    Release { channel: "beta".to_owned(), ..scanner(sequence) }
}

#[test]
fn the_highest_number_is_of_one_publisher_package_and_channel() {
    let log = Served::release(&publishers());
    let engine = release("pkg:generic/example/engine@1.0", 70, "engine");
    let of_url = release(&format!("{SCANNER}@1.0?url=https://example.com"), 80, "url");
    log.add_all(&[
        signed(&scanner(2), 1),
        signed(&scanner(41), 1),
        signed(&scanner(7), 1), // later, and lower
        signed(&beta(50), 1),
        signed(&scanner(60), 2),
        signed(&engine, 1),
        signed(&of_url, 1),
    ]);
    let key = publisher(1).keyid().to_hex();
    let ask = |who: &str, package: &str, channel: &str| {
        log.get(&format!("/sequence?publisher={who}&package={package}&channel={channel}")).json()
    };
    assert_eq!(
        ask("vendor", SCANNER, "stable"),
        json!({
            "publisher": "vendor", "package": SCANNER, "channel": "stable",
            "tree_size": 7, "highest": 41, "index": 1,
        })
    );
    assert_eq!(
        ask(&key, SCANNER, "stable"),
        ask("vendor", SCANNER, "stable"),
        "whoever knows a key knows enough"
    );
    for (who, package, channel, highest) in [
        ("vendor", SCANNER, "beta", json!(50)),
        ("rival", SCANNER, "stable", json!(60)),
        ("vendor", "pkg:generic/example/engine", "stable", json!(70)),
        ("vendor", "pkg:generic/example/scanner?url=https://example.com", "stable", json!(80)),
        ("vendor", SCANNER, "nightly", json!(null)),
        ("rival", SCANNER, "beta", json!(null)),
        ("vendor", "pkg:generic/example/other", "stable", json!(null)),
    ] {
        assert_eq!(ask(who, package, channel)["highest"], highest, "{who} {package} {channel}");
    }
    let reply = log.get(&format!("/sequence?publisher=vendor&package={SCANNER}&channel=stable"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[test]
fn malformed_questions_are_explained() {
    let log = Served::release(&publishers());
    let problem = |query: &str, status, code| log.get(&format!("/sequence?{query}")).problem(status, code);
    let detail = problem("package=pkg:generic/a&channel=stable", 400, "malformed");
    assert!(
        detail.contains("publisher (its name, or the hex keyid of one of its keys), package and"),
        "{detail}"
    );
    problem("publisher=vendor&package=pkg:generic/a/../b&channel=stable", 400, "malformed");
    problem("publisher=vendor&package=pkg:generic/a@1&channel=stable", 400, "malformed");
    problem("publisher=vendor&package=pkg:generic/a&channel=stable&x=1", 400, "malformed");
    let unknown = Hash::digest(b"nobody's").to_hex();
    for who in ["nobody", &unknown] {
        let detail =
            problem(&format!("publisher={who}&package=pkg:generic/a&channel=stable"), 404, "not-found");
        assert!(detail.contains(&who[..6]), "{detail}");
    }
    let log = Served::opaque();
    log.get("/sequence?publisher=vendor&package=pkg:generic/a&channel=stable").problem(404, "not-found");
}

#[test]
fn a_number_counts_as_soon_as_it_is_durable() {
    let log = Served::release_with(&publishers(), never_publishing());
    log.post("/add?wait=sequenced", &signed(&scanner(9), 1)).text();
    let client = LogClient::new(&format!("http://{}/", log.address)).unwrap();
    let (key, index) = (publisher(1).keyid().to_hex(), LeafIndex::new(0).unwrap());
    assert_eq!(
        client.highest_sequence(&key, SCANNER, "stable").unwrap(),
        Some(HighestSequence { sequence: 9, index })
    );
    assert_eq!(client.highest_sequence(&key, SCANNER, "beta").unwrap(), None);
    assert!(client.highest_sequence("nobody", SCANNER, "beta").unwrap_err().to_string().contains("404"));
}

#[test]
fn of_many_who_take_the_next_number_each_gets_one_of_its_own() {
    let log = Served::release(&publishers());
    log.add_all(&[signed(&scanner(10), 1)]);
    let key = publisher(1).keyid().to_hex();
    let publish = |content: &str| {
        let client = LogClient::new(&format!("http://{}/", log.address)).unwrap();
        loop {
            let next = client
                .highest_sequence(&key, SCANNER, "stable")
                .unwrap()
                .map_or(1, |highest| highest.sequence + 1);
            let entry = signed(&release(&format!("{SCANNER}@1.{content}"), next, content), 1);
            let reply = log.post("/add", &entry);
            if reply.status == 200 {
                return next;
            }
            reply.problem(409, "sequence-taken");
        }
    };
    let mut taken: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || publish(&n.to_string()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (11..19).collect::<Vec<_>>());
}
