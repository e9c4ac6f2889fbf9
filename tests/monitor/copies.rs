//! Statements that were logged before: with other signatures, by another key, or spelled differently. They are
//! public, so anybody may submit them again, and a copy must accuse nobody. Also releases that should not have been
//! made.

use std::fs;

use serde_json::Value;
use treehead::release::{Envelope, Kind, Release};

use crate::common::releases::{
    publisher, publisher_toml, release, scanner, signed, signed_payload, signed_withdrawal, vendor_toml,
    withdrawal,
};
use crate::statements::follow;
use crate::world::World;

const PACKAGES: [&str; 1] = ["pkg:generic/example/*"];

/// `vendor` with the keys of seeds 1 and 3, `rival` (2) with a right to the same packages, and `other` (4) without
/// one. The key of seed 9 belongs to nobody.
fn publishers() -> String {
    let second = format!("[[publisher.key]]\npem = '''\n{}'''\n\n", publisher(3).public_pem());
    vendor_toml()
        + &second
        + &publisher_toml("rival", 2, &PACKAGES, &["build"])
        + &publisher_toml("other", 4, &["pkg:generic/other/*"], &["build"])
}

fn world(entries: Vec<Vec<u8>>) -> (crate::common::liar::Liar, World) {
    let (log, world) = follow(entries);
    fs::write(world.logs[0].publishers.as_ref().unwrap(), publishers()).unwrap();
    (log, world)
}

fn by(payload: &[u8], seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| publisher(*seed)).collect();
    Envelope::sign(payload.to_vec(), &keys.iter().collect::<Vec<_>>()).unwrap().to_entry()
}

fn copies(world: &World) -> Vec<(u64, u64)> {
    let events = world.output.events();
    let copy = |event: &Value| Some((event["index"].as_u64()?, event["first_index"].as_u64()?));
    events.iter().filter_map(copy).collect()
}

#[test]
fn another_signature_on_an_old_release_accuses_nobody() {
    let mut special = scanner(2);
    special.audience = Some("one customer".to_owned());
    let (one, two) = (scanner(1).to_payload().unwrap(), special.to_payload().unwrap());
    let originals = vec![by(&one, &[1]), by(&two, &[1]), signed(&scanner(3), 1)];
    let (log, world) = world(originals);
    world.once();
    assert_eq!(world.output.alerts(), ["limited-audience"]);
    log.append(
        "",
        &[
            by(&one, &[1, 2]), // by somebody who may release the same package
            by(&one, &[1, 4]), // by somebody who may not
            by(&one, &[1, 9]), // by nobody who is known
            by(&one, &[9]),
            by(&two, &[1, 2, 4]),
            by(&two, &[3]), // by the publisher's next key
            by(&one, &[1, 3]),
        ],
    );
    world.once();
    assert_eq!(world.output.alerts(), ["limited-audience"], "nothing was added");
    assert_eq!(copies(&world), [(3, 0), (4, 0), (5, 0), (6, 0), (7, 1), (8, 1), (9, 0)]);
    // Alerts about the rival's own statements name the rival; alerts about new statements name their signer.
    log.append("", &[signed(&scanner(5), 2), signed(&scanner(4), 2), signed(&scanner(7), 9)]);
    world.once();
    let alerts = world.output.alerts();
    assert_eq!(alerts[1..], ["sequence-regressed", "untrusted-statement"]);
    assert_eq!(world.output.of("sequence-regressed")[0]["publisher"], "rival");
}

#[test]
fn a_release_in_other_words_is_the_same_claim() {
    let mut reordered = scanner(1);
    reordered.subjects.push(scanner(2).subjects[0].clone());
    reordered.subjects[1].name = "second.bin".to_owned();
    let first = signed(&reordered, 1);
    reordered.subjects.reverse();
    let (_log, world) = world(vec![first, signed(&scanner(2), 1), signed(&reordered, 3)]);
    world.once();
    assert_eq!((world.output.alerts(), copies(&world)), (vec![], vec![(2, 0)]));
}

#[test]
fn three_hundred_releases_by_the_next_key_raise_no_alert() {
    let all = |seed: u8| (1..=300).map(|n| signed(&scanner(n), seed)).collect::<Vec<_>>();
    let (log, mut world) = world(all(1));
    world.once();
    log.append("", &all(3));
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    assert_eq!(copies(&world), (0..300).map(|n| (300 + n, n)).collect::<Vec<_>>());
    // Without publishers, the monitor can't know that both keys belong to one publisher; still no number goes back.
    world.logs[0].publishers = None;
    log.append("", &all(1));
    log.append("", &[by(&scanner(7).to_payload().unwrap(), &[1, 2])]);
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
}

#[test]
fn a_copy_that_was_logged_after_its_key_expired_says_nothing_of_the_key() {
    let (log, world) = world(vec![signed(&scanner(1), 1)]);
    world.once();
    let expired = publishers().replacen(
        "[[publisher.key]]\n",
        "[[publisher.key]]\nnot_after = \"2026-09-20T00:00:00Z\"\n",
        1,
    );
    fs::write(world.logs[0].publishers.as_ref().unwrap(), expired).unwrap();
    log.append("", &[by(&scanner(1).to_payload().unwrap(), &[1, 2])]);
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    log.append("", &[signed(&scanner(2), 1)]);
    world.once();
    assert_eq!(world.output.alerts(), ["key-outside-validity"], "the key itself was used again");
}

#[test]
fn a_withdrawal_goes_by_claim_and_not_by_envelope() {
    let payload = scanner(1).to_payload().unwrap();
    let both = by(&payload, &[1, 2]);
    let alone = by(&payload, &[2]);
    let first = withdrawal(0, &both);
    let entries = vec![
        both.clone(),
        signed_withdrawal(&first, 1),
        alone.clone(), // without the signature of who withdrew it
        by(&first.to_payload().unwrap(), &[1, 2]),
        by(&first.to_payload().unwrap(), &[3]),
        signed_withdrawal(&withdrawal(2, &alone), 1),
    ];
    let (_log, world) = world(entries);
    world.once();
    // Leaf 2 is the vendor's release, whichever signature is left on it.
    assert_eq!(world.output.alerts(), ["withdrawn", "withdrawn"]);
    let told: Vec<u64> =
        world.output.of("withdrawn").iter().map(|event| event["index"].as_u64().unwrap()).collect();
    assert_eq!(told, [1, 5]);
    assert_eq!(copies(&world), [(2, 0), (3, 1), (4, 1)]);
}

#[test]
fn a_withdrawal_that_a_rival_signed_first_is_told_when_the_publisher_does() {
    let first = signed(&scanner(1), 1);
    let payload = withdrawal(0, &first).to_payload().unwrap();
    let (_log, world) = world(vec![first, signed_payload(payload.clone(), 2), signed_payload(payload, 1)]);
    world.once();
    assert_eq!(world.output.alerts(), ["false-withdrawal", "withdrawn"]);
}

const PURL: &str = "pkg:generic/example/tool@4.2.0";

#[test]
fn the_same_version_with_other_bytes_is_told() {
    let rules = |n: u64| Release { kind: Kind::DetectionRules, ..release(PURL, n, &n.to_string()) };
    let beta = Release { channel: "beta".to_owned(), ..release(PURL, 1, "beta") };
    let entries = vec![
        signed(&release(PURL, 1, "first"), 1),
        signed(&release(PURL, 2, "first"), 1),
        signed(&release("pkg:generic/example/tool@4.2.1", 3, "next"), 1),
        signed(&release(&format!("{PURL}?os=linux"), 1, "linux"), 1),
        signed(&beta, 1),
        signed(&release(PURL, 1, "of the rival"), 2),
        signed(&release(PURL, 4, "second"), 1), // not the release before it
        signed(&release(PURL, 5, "second"), 1),
    ];
    let (log, world) = world(entries);
    world.once();
    assert_eq!(world.output.alerts(), ["version-changed"]);
    let event = &world.output.of("version-changed")[0];
    assert_eq!(
        (&event["index"], &event["first_index"], &event["publisher"]),
        (&6.into(), &0.into(), &"vendor".into())
    );
    assert!(event["advice"].as_str().unwrap().contains("have different content"), "{event}");
    // Also after a restart, and not for detection rules.
    let may_rules = publishers().replacen("\"update\"]", "\"update\", \"detection-rules\"]", 1);
    fs::write(world.logs[0].publishers.as_ref().unwrap(), may_rules).unwrap();
    log.append("", &[signed(&release(PURL, 6, "third"), 1), signed(&rules(7), 1), signed(&rules(8), 1)]);
    world.once();
    assert_eq!(world.output.alerts(), ["version-changed", "version-changed"]);
}

#[test]
fn what_was_withdrawn_and_is_released_again_is_told() {
    let bad = signed(&release(PURL, 1, "bad"), 1);
    let entries = vec![
        bad.clone(),
        signed(&release(PURL, 2, "bad"), 2), // the rival withdrew nothing
        signed_withdrawal(&withdrawal(0, &bad), 1),
        signed(&release(PURL, 3, "bad"), 2),
        signed(&release("pkg:generic/example/tool@4.2.1", 2, "bad"), 1), // a version of its own
        signed(&release(PURL, 3, "bad"), 1),
    ];
    let (log, world) = world(entries);
    world.once();
    assert_eq!(world.output.alerts(), ["withdrawn-before", "withdrawn"]);
    let event = &world.output.of("withdrawn-before")[0];
    assert_eq!((&event["index"], &event["withdrawal"]), (&5.into(), &2.into()));
    log.append("", &[signed(&release(PURL, 4, "bad"), 1)]);
    world.once();
    assert_eq!(world.output.of("withdrawn-before").len(), 2, "across a restart");
}

#[test]
fn a_gap_is_told_where_numbers_had_been_dense() {
    let of = |package: &str, numbers: &[u64]| -> Vec<Vec<u8>> {
        let purl = |n: u64| format!("pkg:generic/example/{package}@{n}");
        numbers.iter().map(|n| signed(&release(&purl(*n), *n, &n.to_string()), 1)).collect()
    };
    let times =
        of("times", &[20_261_128_103_001, 20_261_128_103_002, 20_261_129_080_000, 20_261_201_000_000]);
    let days = of("days", &[20_261_129, 20_261_130, 20_261_201, 20_261_202]);
    let tens = of("tens", &[10, 20, 30, 40]);
    let (log, world) = world([times, days, tens].concat());
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    log.append("", &of("dense", &[1, 2, 3, 5, 6, 9]));
    world.once();
    let gaps: Vec<(u64, u64)> = world
        .output
        .of("sequence-gap")
        .iter()
        .map(|event| (event["previous"].as_u64().unwrap(), event["sequence"].as_u64().unwrap()))
        .collect();
    assert_eq!(gaps, [(3, 5), (6, 9)]);
    assert_eq!(world.output.alerts().len(), 2);
}
