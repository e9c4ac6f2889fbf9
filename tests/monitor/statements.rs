//! Honest logs: the monitor reports every statement, in order, once, and what is suspicious about it.

use std::fs;

use treehead::monitor::{Start, Watch};
use treehead::release::{PurlPattern, Release};

use crate::common::http::get;
use crate::common::liar::Liar;
use crate::common::log::{ORIGIN, eventually};
use crate::common::releases::{
    publisher_toml, release, scanner, signed, signed_withdrawal, vendor_toml, withdrawal,
};
use crate::world::{Log, World};

/// A monitor of a log with these entries, whose only publisher is the vendor.
pub fn follow(entries: Vec<Vec<u8>>) -> (Liar, World) {
    let log = Liar::serve(entries);
    let mut world = World::new(Vec::new());
    let publishers = world.temp.path().join("publishers.toml");
    fs::write(&publishers, vendor_toml()).unwrap();
    world.logs.push(Log::release(&log.url(), &log.policy(), &publishers));
    (log, world)
}

fn scanners(count: u64) -> Vec<Vec<u8>> {
    (1..=count).map(|n| signed(&scanner(n), 1)).collect()
}

fn indices(world: &World) -> Vec<u64> {
    world.output.of("release").iter().map(|event| event["index"].as_u64().unwrap()).collect()
}

#[test]
fn every_statement_is_told_once_and_in_order_across_restarts() {
    let (log, world) = follow(scanners(700));
    let once = world.once();
    assert_eq!((once.alerts_told, once.not_followed), (0, 0), "{:#?}", world.output.alerts());
    assert_eq!(indices(&world), (0..700).collect::<Vec<_>>());
    assert_eq!(world.output.of("head").len(), 1);
    world.once();
    assert_eq!(indices(&world).len(), 700, "nothing is told again");
    let more: Vec<Vec<u8>> = (701..=1_000).map(|n| signed(&scanner(n), 1)).collect();
    log.append("", &more);
    world.once();
    assert_eq!(indices(&world), (0..1_000).collect::<Vec<_>>());
    let head = world.output.of("head").pop().unwrap();
    assert_eq!(head["size"], 1_000);
    assert_eq!(head["root"], log.branch("").head_at(1_000, &signer()).root.to_base64());
    let started = world.output.of("started");
    assert_eq!(started.len(), 1);
    assert!(
        started[0]["message"].as_str().unwrap().contains("from its beginning; not checked: nothing is known")
    );
    // `once` reports no start of a log that is known already; `run` does.
    let _running = world.run();
    eventually("it has said so", || world.output.of("started").len() == 2);
    assert!(
        world.output.of("started")[1]["message"].as_str().unwrap().ends_with("is followed from entry 1000")
    );
}

fn signer() -> treehead::checkpoint::LogSigner {
    crate::common::log::log_signer().into()
}

/// A publisher that has to sign with keys of two families, and signed with one.
#[test]
fn a_statement_without_all_required_signatures_is_told() {
    let entry = signed(&scanner(1), 1);
    let log = Liar::serve(vec![entry]);
    let mut world = World::new(Vec::new());
    let publishers = world.temp.path().join("publishers.toml");
    let quantum = fs::read_to_string("fixtures/keys/ml-dsa-44.pem").unwrap();
    let both = "require_signatures = [\"ed25519\", \"ml-dsa-44\"]\n\n[[publisher.key]]";
    let toml = vendor_toml().replacen("\n[[publisher.key]]", both, 1);
    fs::write(&publishers, format!("{toml}[[publisher.key]]\npem = '''\n{quantum}'''\n")).unwrap();
    world.logs.push(Log::release(&log.url(), &log.policy(), &publishers));
    world.once();
    let [alert] = &world.output.of("untrusted-statement")[..] else { panic!("{:#?}", world.output.events()) };
    let message = alert["message"].as_str().unwrap();
    let says = "needs a valid signature of each of ed25519 and ml-dsa-44: expected all of them, saw ed25519";
    assert!(message.contains(says), "{alert:#}");
    assert_eq!(alert["index"], 0, "{alert:#}");
    assert_eq!(indices(&world), [] as [u64; 0], "it is no release of anybody's");
}

#[test]
fn a_start_at_the_head_says_that_the_rest_is_never_looked_at() {
    let (log, mut world) = follow(scanners(300));
    world.logs[0].start = Start::Head;
    world.once();
    assert_eq!(indices(&world), Vec::<u64>::new());
    assert_eq!(world.output.of("head")[0]["size"], 300);
    log.append("", &[signed(&scanner(301), 1)]);
    world.once();
    assert_eq!(indices(&world), [300]);
    let heads = world.output.of("head");
    let messages: Vec<&str> = heads.iter().map(|head| head["message"].as_str().unwrap()).collect();
    assert!(
        messages[0].ends_with("is followed from size 300, with no look at the entries below"),
        "{messages:?}"
    );
    assert!(messages[1].contains(" from 300 up to 301 is in the tree"), "{messages:?}");
    let running = world.run();
    let page = get(running.address, "/");
    assert!(page.text().contains("<p>1 of 301 entries re-hashed."), "{}", page.text());
    drop(running);
    let said: Vec<String> = world
        .output
        .of("started")
        .iter()
        .map(|event| event["not_checked"][0].as_str().unwrap().to_owned())
        .collect();
    assert!(said[0].contains("its entries up to its present head are never looked at"), "{said:?}");
    assert_eq!(said[1], "the entries below 300 were never looked at");
    let asked = log.counts();
    assert!(!asked.keys().any(|path| path == "tile/entries/000"), "nothing below was fetched: {asked:?}");
}

#[test]
fn suspicions_are_told_with_the_entry_that_raised_them() {
    let mut special = release("pkg:generic/example/scanner@2.0-special", 1, "for one");
    (special.channel, special.audience) = ("special".to_owned(), Some("one customer".to_owned()));
    let mut other = scanner(4);
    other.subjects[0].name = "other.bin".to_owned();
    let entries = vec![
        signed(&scanner(1), 1),
        signed(&special, 1),
        signed(&scanner(4), 1),
        signed(&other, 1),
        signed(&scanner(2), 1),
        // A key that nobody knows.
        signed(&scanner(5), 9),
        b"no statement".to_vec(),
    ];
    let (_log, world) = follow(entries);
    let once = world.once();
    let expected = [
        "limited-audience",
        "sequence-gap",
        "sequence-repeated",
        "sequence-regressed",
        "untrusted-statement",
        "unreadable-entry",
    ];
    assert_eq!(world.output.alerts(), expected);
    assert_eq!(once.alerts_told, expected.len() as u64);
    let places: Vec<u64> =
        expected.iter().map(|code| world.output.of(code)[0]["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.output.of("limited-audience")[0]["audience"], "one customer");
    assert_eq!(world.output.of("sequence-gap")[0]["previous"], 1);
    assert_eq!(world.output.of("sequence-repeated")[0]["first_index"], 2);
    assert_eq!(world.output.of("sequence-regressed")[0]["highest"], 4);
}

#[test]
fn without_publishers_statements_are_read_and_their_signatures_are_said_to_be_unchecked() {
    let (_log, mut world) = follow(vec![signed(&scanner(1), 9)]);
    world.logs[0].publishers = None;
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    assert_eq!(world.output.of("release")[0]["signatures"], "not checked");
    let unchecked = &world.output.of("started")[0]["not_checked"];
    assert!(
        unchecked[1].as_str().unwrap().contains("signatures of statements are not checked"),
        "{unchecked}"
    );
}

/// An honest log refuses a statement about another log; a log that lies may hold one.
#[test]
fn a_statement_for_another_log_is_not_to_be_believed_whether_signatures_are_checked_or_not() {
    let for_log = |n: u64, log: &str| signed(&Release { log: Some(log.to_owned()), ..scanner(n) }, 1);
    for checked in [true, false] {
        let (_log, mut world) = follow(vec![for_log(1, ORIGIN), for_log(2, "staging.example/releases")]);
        if !checked {
            world.logs[0].publishers = None;
        }
        world.once();
        assert_eq!(indices(&world), [0], "the other is no release here");
        assert_eq!(world.output.alerts(), ["untrusted-statement"]);
        let event = &world.output.of("untrusted-statement")[0];
        assert_eq!((&event["index"], &event["purl"]), (&1.into(), &"pkg:generic/example/scanner@2.0".into()));
        let message = event["message"].as_str().unwrap();
        assert!(
            message.contains("expected log.example/releases, saw \"staging.example/releases\""),
            "{message}"
        );
    }
}

#[test]
fn a_key_is_not_used_outside_its_validity_as_far_as_the_time_of_an_entry_is_known() {
    let (log, world) = follow(vec![signed(&scanner(1), 1)]);
    let path = world.logs[0].publishers.clone().unwrap();
    let valid = |when: &str| {
        let file = vendor_toml().replace("[[publisher.key]]\n", &format!("[[publisher.key]]\n{when}\n"));
        fs::write(&path, file).unwrap();
        // The file is read when it is opened.
    };
    valid("not_before = \"2026-09-21T00:00:00Z\"");
    // The log has no witnesses, so the monitor's own clock says by when the entry was there.
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new(), "it is that day");
    valid("not_after = \"2026-09-20T00:00:00Z\"");
    log.append("", &[signed(&scanner(2), 1)]);
    world.once();
    assert_eq!(world.output.alerts(), ["key-outside-validity"]);
    let event = &world.output.of("key-outside-validity")[0];
    assert_eq!(event["index"], 1);
}

#[test]
fn watched_events_name_their_watches() {
    let (_log, mut world) = follow(scanners(3));
    let pattern = |text: &str| PurlPattern::parse(text).unwrap();
    let watch = |name: &str| Watch { name: name.to_owned(), ..Watch::default() };
    world.logs[0].watches = vec![
        Watch { packages: vec![pattern("pkg:generic/example/*")], ..watch("all") },
        Watch { packages: vec![pattern("pkg:generic/other/*")], ..watch("other") },
        Watch { digests: vec![scanner(2).subjects[0].sha256], ..watch("second") },
        Watch { channels: vec!["beta".to_owned()], ..watch("beta") },
        Watch { publishers: vec!["vendor".to_owned()], kinds: vec!["build".to_owned()], ..watch("builds") },
        Watch { publishers: vec!["vendor".to_owned()], kinds: vec!["update".to_owned()], ..watch("updates") },
    ];
    world.once();
    let names: Vec<String> =
        world.output.of("release").iter().map(|event| event["watches"].to_string()).collect();
    assert_eq!(names, ["[\"all\",\"builds\"]", "[\"all\",\"second\",\"builds\"]", "[\"all\",\"builds\"]"]);
    assert!(world.output.of("release").iter().all(|event| event["severity"] == "watch"));
}

fn line(n: u64) -> String {
    let release = scanner(n);
    format!(
        "{{\"purl\":\"{}\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":{n},\"artifacts\":[{{\"name\":\"scanner.bin\",\"sha256\":\"{}\"}}]}}\n",
        release.purl,
        release.subjects[0].sha256.to_hex()
    )
}

#[test]
fn releases_are_compared_with_the_manifest_in_both_directions() {
    let (log, mut world) = follow(scanners(3));
    let manifest = world.temp.path().join("ci.jsonl");
    fs::write(&manifest, line(1) + &line(2) + &line(4)).unwrap();
    world.logs[0].expect = Some(manifest);
    world.once();
    assert_eq!(world.output.alerts(), ["unexpected-release"]);
    assert_eq!(world.output.of("unexpected-release")[0]["index"], 2);
    world.pass(3_600);
    world.once();
    assert_eq!(world.output.alerts(), ["unexpected-release", "missing-release"]);
    assert_eq!(world.output.of("missing-release")[0]["line"], 3);
    assert_eq!(world.output.of("ended"), Vec::<serde_json::Value>::new());
    log.append("", &[signed(&scanner(4), 1)]);
    world.once();
    assert_eq!(world.output.alerts().len(), 2, "the fourth was expected");
    let missing = world.output.of("missing-release")[0]["id"].clone();
    assert_eq!(world.output.of("ended")[0]["alert"], missing);
}

#[test]
fn a_withdrawal_counts_if_it_is_by_who_released_it() {
    let first = signed(&scanner(1), 1);
    let mut wrong = withdrawal(0, &first);
    wrong.reason = "for another reason".to_owned();
    let entries = vec![
        first.clone(),
        signed_withdrawal(&withdrawal(0, &first), 1),
        signed_withdrawal(&wrong, 2),
        signed_withdrawal(&withdrawal(0, &signed(&scanner(2), 1)), 1),
    ];
    let (_log, world) = follow(entries);
    let both = vendor_toml() + &publisher_toml("rival", 2, &["pkg:generic/example/*"], &["build"]);
    fs::write(world.logs[0].publishers.as_ref().unwrap(), both).unwrap();
    world.once();
    assert_eq!(world.output.alerts(), ["withdrawn", "false-withdrawal", "false-withdrawal"]);
    let withdrawn = &world.output.of("withdrawn")[0];
    assert_eq!((withdrawn["index"].as_u64(), withdrawn["withdraws"].as_u64()), (Some(1), Some(0)));
    let why: Vec<String> = world
        .output
        .of("false-withdrawal")
        .iter()
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    assert!(why[0].ends_with("it was released by vendor, and withdrawn by rival"), "{why:?}");
    assert!(why[1].ends_with("leaf 0 has another hash than it says"), "{why:?}");
}

#[test]
fn a_log_that_stalls_is_told_once_and_when_it_goes_on() {
    let (log, mut world) = follow(scanners(2));
    world.logs[0].patience.stalled = 3_600;
    world.once();
    world.pass(3_600);
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    world.pass(1);
    world.once();
    world.once();
    assert_eq!(world.output.alerts(), ["log-stalled"]);
    log.append("", &[signed(&scanner(3), 1)]);
    world.once();
    assert_eq!(world.output.of("ended")[0]["alert"], world.output.of("log-stalled")[0]["id"]);
    world.pass(3_601);
    world.once();
    let stalls = world.output.of("log-stalled");
    assert!(stalls.len() == 2 && stalls[0]["id"] != stalls[1]["id"], "{stalls:?}");
}

#[test]
fn a_damaged_state_is_not_guessed_at() {
    let (_log, world) = follow(scanners(2));
    world.once();
    let state = fs::read_dir(world.dir().join("logs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&state).unwrap();
    bytes[100] ^= 1;
    fs::write(&state, &bytes).unwrap();
    let progress: treehead::monitor::OnProgress = std::sync::Arc::new(|_, _, _| ());
    let error = world.open().once(&progress).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("put it back from a backup"), "{error}");
}

#[test]
fn a_second_monitor_on_one_directory_is_refused() {
    let (_log, world) = follow(scanners(1));
    let _first = world.open();
    let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.open()));
    assert!(second.is_err());
}
