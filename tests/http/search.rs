//! `GET /releases`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use treehead::merkle::Hash;
use treehead::proof::ProofFile;
use treehead::release::{Kind, Release};

use crate::common::log::{Served, never_publishing};
use crate::common::releases::{
    publisher_toml, release, scanner, signed, signed_statement, signed_withdrawal, statement, vendor_toml,
    withdrawal,
};

fn publishers() -> String {
    vendor_toml()
        + &publisher_toml("rules-team", 2, &["pkg:generic/example/*"], &["detection-rules", "build"])
}

/// Thirty releases by two publishers: three packages in four versions. Row `i` of a search is
/// `releases()[i]`.
fn releases() -> Vec<(Release, u8)> {
    let make = |at: u64| {
        let seed = if at.is_multiple_of(3) { 2 } else { 1 };
        let package =
            ["example/scanner", "example/engine", "example/rules"][usize::try_from(at % 3).unwrap()];
        let purl = format!("pkg:generic/{package}@{}.0", at % 4);
        let kind = if seed == 2 && at.is_multiple_of(2) { Kind::DetectionRules } else { Kind::Build };
        (Release { kind, ..release(&purl, at, &format!("content {}", at / 2)) }, seed)
    };
    (0..30).map(make).collect()
}

fn log() -> Served {
    let log = Served::release(&publishers());
    let entries: Vec<Vec<u8>> = releases().iter().map(|(release, seed)| signed(release, *seed)).collect();
    log.add_all(&entries);
    log
}

fn name(seed: u8) -> &'static str {
    if seed == 1 { "vendor" } else { "rules-team" }
}

/// The leaf indices of a page, and the `next` cursor.
fn page(log: &Served, query: &str) -> (Vec<u64>, Option<u64>) {
    let page = log.get(&format!("/releases?{query}")).json();
    let index = |row: &Value| row["index"].as_u64().expect("an index");
    (page["releases"].as_array().expect("rows").iter().map(index).collect(), page["next"].as_u64())
}

fn matching(matches: impl Fn(&Release, u8) -> bool) -> Vec<u64> {
    let all = releases();
    (0..30).rev().filter(|at| matches(&all[*at].0, all[*at].1)).map(|at| at as u64).collect()
}

#[test]
fn a_release_is_found_by_each_field_and_by_two_at_once() {
    let log = log();
    let digest = Hash::digest(b"content 4");
    let has = |release: &Release| release.subjects[0].sha256 == digest;
    let cases: Vec<(String, Vec<u64>)> = vec![
        (String::new(), matching(|_, _| true)),
        (
            "package=pkg:generic/example/scanner".to_owned(),
            matching(|r, _| r.purl.package() == "pkg:generic/example/scanner"),
        ),
        (
            "package=pkg%3Ageneric%2Fexample%2Fengine".to_owned(),
            matching(|r, _| r.purl.package() == "pkg:generic/example/engine"),
        ),
        ("version=3.0".to_owned(), matching(|r, _| r.purl.version() == "3.0")),
        (format!("digest={}", digest.to_hex()), matching(|r, _| has(r))),
        (format!("digest=sha256:{}", digest.to_hex()), matching(|r, _| has(r))),
        ("publisher=rules-team".to_owned(), matching(|_, seed| seed == 2)),
        ("channel=stable".to_owned(), matching(|_, _| true)),
        ("channel=beta".to_owned(), vec![]),
        ("name=scan".to_owned(), matching(|r, _| r.purl.package() == "pkg:generic/example/scanner")),
        (
            "name=example/e&channel=stable&publisher=vendor&kind=build&version=1.0".to_owned(),
            matching(|r, seed| seed == 1 && r.purl.package().contains("engine") && r.purl.version() == "1.0"),
        ),
        ("kind=detection-rules".to_owned(), matching(|r, _| r.kind == Kind::DetectionRules)),
        (
            "publisher=vendor&version=1.0".to_owned(),
            matching(|r, seed| seed == 1 && r.purl.version() == "1.0"),
        ),
        (
            "kind=build&package=pkg:generic/example/scanner".to_owned(),
            matching(|r, _| r.kind == Kind::Build && r.purl.package() == "pkg:generic/example/scanner"),
        ),
        (format!("digest={}&publisher=vendor", digest.to_hex()), matching(|r, s| has(r) && s == 1)),
        ("kind=update".to_owned(), vec![]),
        ("publisher=vendor&kind=detection-rules".to_owned(), vec![]),
        ("version=3".to_owned(), vec![]),
        ("package=pkg:generic/example".to_owned(), vec![]),
        (format!("digest={}", Hash::digest(b"nothing").to_hex()), vec![]),
    ];
    for (query, expected) in cases {
        let found = page(&log, format!("{query}&limit=100").trim_start_matches('&'));
        assert_eq!(found, (expected, None), "{query}");
    }
}

#[test]
fn a_package_is_found_however_it_is_spelt() {
    let log = Served::release(&publishers());
    let purl = "pkg:generic/example/scanner@1.0+2?url=https://example.com/a";
    log.add_all(&[signed(&release(purl, 1, "1"), 1), signed(&scanner(2), 1)]);
    let row = log.get("/releases?limit=1&before=1").json()["releases"][0].clone();
    assert_eq!(row["purl"], "pkg:generic/example/scanner@1.0%2B2?url=https:%2F%2Fexample.com%2Fa");
    // In a query, % is %25 and + is %2B.
    for query in [
        "package=PKG:generic/example/scanner?url=https://example.com/a",
        "package=pkg:generic/example/scanner?url=https:%252F%252Fexample.com%252Fa",
        "version=1.0%2B2",
        "version=1.0%252B2",
        "version=1.0%252b2",
    ] {
        assert_eq!(page(&log, query), (vec![0], None), "{query}");
    }
    for (query, expected) in [
        ("package=pkg:generic/example/../scanner", "not `.` or `..`"),
        ("package=pkg:generic/example%252Fscanner", "without slash"),
        ("package=pkg:generic/example/scanner%250A", "control character"),
        ("package=pkg:generic/example/scanner@1.0", "the version goes into `version`"),
        ("package=pkg:generic/example/scanner%23src", "without version and subpath"),
        ("package=scanner", "pkg:<type>/<name>"),
        ("version=..", "not `.` or `..`"),
    ] {
        let detail = log.get(&format!("/releases?{query}")).problem(400, "malformed");
        assert!(detail.contains(expected), "{query}: {detail}");
    }
}

#[test]
fn a_row_says_what_the_entry_says_and_leads_to_its_proof() {
    let log = log();
    let found = log.get("/releases?limit=3").json();
    assert_eq!(found["tree_size"], 30);
    for row in found["releases"].as_array().unwrap() {
        let index = usize::try_from(row["index"].as_u64().unwrap()).unwrap();
        let (release, seed) = &releases()[index];
        let entry = signed(release, *seed);
        assert_eq!(row["leaf_hash"], Hash::leaf(&entry).to_hex());
        assert_eq!(row["publishers"], serde_json::json!([name(*seed)]));
        assert_eq!(
            (&row["purl"], &row["kind"]),
            (&release.purl.as_str().into(), &release.kind.as_str().into())
        );
        assert_eq!((&row["channel"], &row["sequence"]), (&"stable".into(), &release.sequence.into()));
        assert_eq!(row["artifacts"][0]["name"], "scanner.bin");
        assert_eq!(row["artifacts"][0]["sha256"], release.subjects[0].sha256.to_hex());
        let proof = log.get(row["proof"].as_str().unwrap());
        assert_eq!(ProofFile::parse(&proof.body).unwrap().extra, Some(entry));
    }
}

#[test]
fn pages_visit_every_release_once_newest_first() {
    let log = log();
    for (filter, expected) in [
        ("", matching(|_, _| true)),
        ("publisher=vendor", matching(|_, seed| seed == 1)),
        ("publisher=vendor&version=1.0", matching(|r, seed| seed == 1 && r.purl.version() == "1.0")),
        ("kind=build&version=2.0", matching(|r, _| r.kind == Kind::Build && r.purl.version() == "2.0")),
    ] {
        for limit in [1_usize, 2, 3, 7, 29, 30, 100] {
            let (mut seen, mut before) = (Vec::new(), None);
            for pages in 0.. {
                assert!(pages <= 31, "{filter} by {limit}: pages without an end");
                let from = before.map_or(String::new(), |before| format!("&before={before}"));
                let query = format!("{filter}&limit={limit}{from}");
                let (found, next) = page(&log, query.trim_start_matches('&'));
                assert!(found.len() <= limit, "{query}");
                assert!(
                    next.is_none_or(|next| before.is_none_or(|before| next < before)),
                    "{query}: {next:?}"
                );
                seen.extend(found);
                before = next;
                if next.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{filter} by {limit}");
        }
    }
}

#[test]
fn releases_that_arrive_between_two_pages_do_not_shift_them() {
    let log = log();
    let (first, next) = page(&log, "limit=10");
    log.post("/add", &signed(&release("pkg:generic/example/scanner@9.9", 99, "new"), 1));
    let (second, _) = page(&log, &format!("limit=10&before={}", next.unwrap()));
    assert_eq!([first, second].concat(), (10..30).rev().collect::<Vec<u64>>());
    assert_eq!(page(&log, "limit=1").0, [30]);
}

#[test]
fn a_name_is_found_by_its_beginning() {
    let log = Served::release(
        &(vendor_toml() + &publisher_toml("others", 3, &["pkg:generic/*", "pkg:npm/*"], &["build"])),
    );
    let purls = [
        "pkg:generic/example/scanner@1",
        "pkg:generic/example/scanner-rules@1",
        "pkg:generic/example/Scan@1",
        "pkg:npm/%40example/scanner@1",
        "pkg:npm/unscanned@1",
        "pkg:generic/exam/ple/scanner@1",
        "pkg:generic/c%2B%2B@1",
        "pkg:generic/s@1",
    ];
    let entry = |(at, purl): (usize, &&str)| signed(&release(purl, 1, &at.to_string()), 3);
    log.add_all(&purls.iter().enumerate().map(entry).collect::<Vec<_>>());
    for (name, expected) in [
        ("scan", vec![5, 3, 2, 1, 0]),
        ("SCANNER", vec![5, 3, 1, 0]),
        ("scanner-", vec![1]),
        ("scanner-rules", vec![1]),
        ("scanner-rules2", vec![]),
        ("s", vec![7, 5, 3, 2, 1, 0]),
        ("un", vec![4]),
        ("c%2B%2B", vec![6]),
        ("c%2b", vec![6]),
        ("example/scan", vec![2, 1, 0]),
        ("@example/scan", vec![3]),
        ("exam/ple/s", vec![5]),
        ("ample/scan", vec![]),
        ("example/", vec![2, 1, 0]),
        ("example", vec![]),
        ("%00", vec![]),
        ("\u{e4}", vec![]),
    ] {
        let name = name.replace('\u{e4}', "%C3%A4");
        assert_eq!(page(&log, &format!("name={name}")), (expected, None), "{name}");
    }
    assert_eq!(
        page(&log, "name=scan&publisher=others&kind=build&channel=stable&version=1&limit=2").0,
        [5, 3]
    );
    assert_eq!(page(&log, "name=scan&package=pkg:npm/%2540example/scanner"), (vec![3], None));
    for query in ["name=", "name=a&name=b", &format!("name={}", "x".repeat(1_025))] {
        assert!((400..=413).contains(&log.get(&format!("/releases?{query}")).status), "{query}");
    }
}

#[test]
fn a_beginning_of_very_many_names_is_found_page_by_page() {
    let log = Served::release(&vendor_toml());
    let purl = |at: usize| match at % 3 {
        0 => format!("pkg:generic/example/lib{at:04}@1"),
        _ => format!("pkg:generic/example/other@{at}"),
    };
    let entries: Vec<Vec<u8>> =
        (0..1_200).map(|at| signed(&release(&purl(at), at as u64, &at.to_string()), 1)).collect();
    log.add_all(&entries);
    for (name, step) in [("lib", 3), ("lib0", 3), ("l", 3), ("lib00", 3)] {
        let (mut seen, mut before) = (Vec::new(), String::new());
        loop {
            let (found, next) = page(&log, &format!("name={name}&limit=100{before}"));
            seen.extend(found);
            let Some(next) = next else { break };
            before = format!("&before={next}");
        }
        let expected = (0..1_200_u64).rev().filter(|at| at % step == 0);
        let begins = |at: &u64| format!("lib{at:04}").starts_with(name);
        assert_eq!(seen, expected.filter(begins).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_search_can_be_of_an_earlier_tree_and_bring_the_entries() {
    let log = log();
    let page = log.get("/releases?size=12&limit=100&entries=true").json();
    assert_eq!(page["tree_size"], 12);
    let rows = page["releases"].as_array().unwrap();
    let indices: Vec<u64> = rows.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..12).rev().collect::<Vec<_>>());
    for (row, index) in rows.iter().zip(indices) {
        let (release, seed) = &releases()[usize::try_from(index).unwrap()];
        assert_eq!(STANDARD.decode(row["entry"].as_str().unwrap()).unwrap(), signed(release, *seed));
    }
    // What was withdrawn later was not withdrawn then.
    let (one, seed) = &releases()[1];
    let taken_back = withdrawal(1, &signed(one, *seed));
    assert_eq!(log.post("/add", &signed_withdrawal(&taken_back, *seed)).status, 200);
    let row =
        |size: u64| log.get(&format!("/releases?size={size}&before=2&limit=1")).json()["releases"][0].clone();
    assert_eq!((row(30).get("withdrawn"), row(31)["withdrawn"][0]["index"].as_u64()), (None, Some(30)));
    assert_eq!(row(31).get("entry"), None);
    log.get("/releases?size=32").problem(404, "not-found");
    for query in ["size=x", "size=", "size=-1", "entries=1", "entries=", "size=1&size=1"] {
        log.get(&format!("/releases?{query}")).problem(400, "malformed");
    }
}

#[test]
fn a_page_with_large_entries_ends_early() {
    let log = Served::release(&vendor_toml());
    let large = |at: u64| {
        let mut statement = statement(&scanner(at));
        statement["padding"] = "x".repeat(40_000).into();
        signed_statement(&statement, 1)
    };
    log.add_all(&(1..=40).map(large).collect::<Vec<_>>());
    let page = |query: &str| {
        let page = log.get(&format!("/releases?limit=100{query}")).json();
        (page["releases"].as_array().unwrap().len(), page["next"].as_u64())
    };
    assert_eq!(page(""), (40, None));
    let (rows, next) = page("&entries=true");
    assert!((10..30).contains(&rows), "{rows}");
    assert_eq!(next, Some(40 - rows as u64));
    assert_eq!(page(&format!("&before={}", next.unwrap())), (40 - rows, None));
}

#[test]
fn limits_are_clamped_and_other_garbage_is_malformed() {
    let log = log();
    assert_eq!(page(&log, "limit=0").0.len(), 1);
    assert_eq!(page(&log, "").0.len(), 20, "unless asked for another number");
    assert_eq!(page(&log, "limit=9223372036854775806").0.len(), 30);
    assert_eq!(page(&log, "before=0"), (vec![], None));
    assert_eq!(page(&log, "before=9223372036854775806&limit=100").0.len(), 30);
    for query in [
        "limit=-1",
        "limit=",
        "limit=1.5",
        "limit=007",
        "limit=ten",
        "limit=9223372036854775808",
        "before=+1",
        "before=x",
        "before=",
        "digest=abc",
        "digest=sha512:00",
        "digest=",
        "pakage=x",
        "version=1&version=2",
        "limit=1&limit=1",
        "%ff=1",
        "q",
    ] {
        log.get(&format!("/releases?{query}")).problem(400, "malformed");
    }
    let upper = Hash::digest(b"content 4").to_hex().to_uppercase();
    log.get(&format!("/releases?digest={upper}")).problem(400, "malformed");
}

#[test]
fn an_opaque_log_has_nothing_to_search() {
    let log = Served::opaque();
    let detail = log.get("/releases").problem(404, "not-found");
    assert!(detail.contains("profile = \"opaque\""), "{detail}");
}

#[test]
fn a_release_is_found_as_soon_as_it_is_published_and_not_before() {
    let log = Served::release_with(&publishers(), never_publishing());
    let (one, seed) = &releases()[0];
    assert_eq!(log.post("/add?wait=sequenced", &signed(one, *seed)).text(), "0");
    assert_eq!(page(&log, ""), (vec![], None));
    assert_eq!(page(&log, "publisher=rules-team"), (vec![], None));
    let log = Served::release(&publishers());
    for (at, (release, seed)) in releases().iter().enumerate() {
        log.post("/add?wait=published", &signed(release, *seed));
        assert_eq!(page(&log, &format!("limit=1&publisher={}", name(*seed))).0, [at as u64]);
    }
}

#[test]
fn a_release_stays_searchable_by_key_when_its_publisher_is_gone() {
    let temp = tempfile::tempdir().unwrap();
    let toml = temp.path().join("publishers.toml");
    std::fs::write(&toml, publishers()).unwrap();
    let start =
        || Served::start(temp.path(), treehead::server::Profile::Release, crate::common::log::quick());
    let (one, seed) = &releases()[0];
    assert_eq!(start().post("/add", &signed(one, *seed)).status, 200);
    std::fs::write(&toml, vendor_toml()).unwrap();
    let found = start().get("/releases?version=0.0").json();
    let keyid = crate::common::releases::publisher(*seed).keyid().to_hex();
    assert_eq!(found["releases"][0]["publishers"], serde_json::json!([keyid]));
}
