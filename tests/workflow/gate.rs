//! `treehead gate`: finds proofs, and decides by rules.

use serde_json::{Value, json};
use treehead::merkle::Hash;

use crate::common::proxy::Proxy;
use crate::online::releases;
use crate::program::{Ran, Server, World};
use crate::withdrawn::{publisher, withdraw};

const TRUST: &str = "policy = 'log/endpoint.policy'\npublishers = 'log/publishers.toml'\nstate = 'state'\n";

/// A rule for these packages.
fn rule(packages: &str, unlogged: &str) -> String {
    format!("[[rule]]\npackages = ['{packages}']\nunlogged = '{unlogged}'\n")
}

fn settings(world: &World, keys: &str, rules: &[String]) {
    world.write("gate.toml", format!("{TRUST}{keys}\n{}", rules.concat()));
}

fn gate(world: &World, what: &str) -> Ran {
    world.run(&format!("gate --config gate.toml {what}"))
}

/// Ruling and code of each answer.
fn rulings(ran: &Ran) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    ran.json_lines().iter().map(|line| (text(line, "ruling"), text(line, "code"))).collect()
}

fn expected(rulings: &[(&str, &str)]) -> Vec<(String, String)> {
    rulings.iter().map(|(ruling, code)| ((*ruling).to_owned(), (*code).to_owned())).collect()
}

/// Two logged artifacts, an unlogged one, and a changed one with the proof of the first.
fn world() -> (World, Server) {
    let (world, server) = releases(2);
    world.write("stray.bin", "not logged");
    world.write("changed.bin", "changed");
    world.write("changed.bin.tlog-proof", world.read("1.bin.tlog-proof"));
    (world, server)
}

#[test]
fn rules_say_what_happens_to_a_package_without_a_proof() {
    let (world, _server) = world();
    settings(&world, "", &[rule("stray*", "warn"), rule("skipped*", "skip")]);
    world.write("skipped.bin", "x");
    let ran = gate(&world, "1.bin stray.bin skipped.bin --json").done();
    assert_eq!(
        rulings(&ran),
        expected(&[("proven", "verified"), ("warned", "no-proof"), ("skipped", "skipped")])
    );
    let ran = gate(&world, "1.bin stray.bin skipped.bin").done();
    assert!(
        ran.stdout.starts_with(
            "proven   1.bin: pkg:generic/example/scanner@1.0 (build, stable, sequence 1) by vendor\n"
        ),
        "{ran:?}"
    );
    assert!(ran.stdout.ends_with("skipped  skipped.bin\n"), "{ran:?}");
    assert!(
        ran.stderr.starts_with("warning: stray.bin is not proven, and the rules let it pass: "),
        "{ran:?}"
    );
    // A proof that is there has to be good, whatever the rule says.
    settings(&world, "", &[rule("*", "warn")]);
    gate(&world, "changed.bin").refused("artifact-mismatch");
    // Without a rule, a proof is required.
    settings(&world, "", &[]);
    gate(&world, "1.bin").done();
    let ran = gate(&world, "stray.bin").refused("no-proof");
    assert!(ran.stderr.contains("stray.bin.tlog-proof"), "it says where it looked: {ran:?}");
    gate(&world, "1.bin missing.bin").failed(3, "missing.bin");
    let ran = gate(&world, "1.bin changed.bin stray.bin --json");
    assert_eq!(
        (ran.exit, rulings(&ran)),
        (1, expected(&[("proven", "verified"), ("stopped", "artifact-mismatch"), ("stopped", "no-proof")]))
    );
    assert_eq!(ran.json_lines()[1]["purl"], "pkg:generic/example/scanner@1.0", "what the proof is of");
}

#[test]
fn proofs_are_found_by_name_and_by_digest_in_folders() {
    let (world, _server) = world();
    settings(&world, "proofs = ['proofs', 'more']", &[]);
    for folder in ["proofs", "more", "downloads"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    world.write("downloads/1.bin", "artifact 1");
    world.write("downloads/tmp123", "artifact 2");
    gate(&world, "downloads/1.bin").refused("no-proof");
    world.write("more/1.bin.tlog-proof", world.read("1.bin.tlog-proof"));
    gate(&world, "downloads/1.bin").done();
    let digest = Hash::digest(b"artifact 2").to_hex();
    world.write(&format!("proofs/{digest}.tlog-proof"), world.read("2.bin.tlog-proof"));
    gate(&world, "downloads/tmp123").done();
    // The digest alone is enough, and a name where there is no digest.
    gate(&world, &format!("--sha256 {digest}")).done();
    let first = Hash::digest(b"artifact 1").to_hex();
    gate(&world, &format!("--sha256 {first}")).refused("no-proof");
    gate(&world, &format!("--sha256 {first} --name x/1.bin")).refused("rollback");
    gate(&world, &format!("--sha256 {first} downloads/1.bin")).refused("rollback");
    // A worthless proof does not hide a good one.
    for worthless in ["noise", &String::from_utf8(world.read("1.bin.tlog-proof")).unwrap()] {
        world.write("downloads/tmp123.tlog-proof", worthless);
        gate(&world, "downloads/tmp123").done();
    }
    let tampered = String::from_utf8(world.read("2.bin.tlog-proof")).unwrap();
    let at = tampered.rfind(' ').unwrap() + 20;
    let other = if tampered.as_bytes()[at] == b'A' { "B" } else { "A" };
    world.write("downloads/tmp123.tlog-proof", [&tampered[..at], other, &tampered[at + 1..]].concat());
    gate(&world, "downloads/tmp123").done();
    // A proof that was named is the only one.
    gate(&world, "downloads/tmp123 --proof 1.bin.tlog-proof").refused("artifact-mismatch");
    gate(&world, "downloads/tmp123 --proof missing").failed(3, "missing");
    gate(&world, "1.bin 2.bin --proof 1.bin.tlog-proof").failed(2, "expected one, saw 2");
}

#[test]
fn a_rule_says_which_release_is_wanted() {
    let (world, _server) = world();
    let wants = |pins: &str| settings(&world, "", &[rule("scanner", "require") + pins]);
    let ask = |facts: &str| gate(&world, format!("1.bin --package scanner {facts}").trim_end());
    wants("purl = 'pkg:generic/example/{package}@{version}'\npublisher = 'vendor'\n");
    ask("--package-version 1.0").done();
    ask("--package-version 2.0").refused("other-package");
    ask("--package-version 1.0?x=y").refused("other-package");
    ask("").failed(2, "needs the version");
    for (pin, code) in [
        ("publisher = 'other'\n", "other-publisher"),
        ("channel = 'beta'\n", "other-channel"),
        ("kind = 'update'\n", "other-kind"),
        ("audience = 'beta-testers'\n", "other-audience"),
        ("min_sequence = 2\n", "below-min-sequence"),
    ] {
        wants(pin);
        ask("").refused(code);
    }
    // The rule is for the package, not for the file.
    gate(&world, "1.bin").done();
    world.write("gate.toml", "polcy = 'x'");
    gate(&world, "1.bin").failed(2, "polcy");
    std::fs::remove_file(world.path("gate.toml")).unwrap();
    gate(&world, "1.bin").failed(3, "gate.toml");
}

#[test]
fn missing_proofs_are_fetched_and_judged_by_what_the_log_says_today() {
    let (world, server) = world();
    let between = Proxy::before(&server.url, |_| None);
    settings(&world, &format!("fetch = true\nlog = '{}'", between.url), &[rule("loose*", "warn")]);
    gate(&world, "1.bin").done();
    assert_eq!(between.asked("/"), 0, "a proof that is at hand costs no request");
    world.write("copy.bin", "artifact 1");
    gate(&world, "copy.bin").done();
    let digest = Hash::digest(b"artifact 2").to_hex();
    let ran = gate(&world, &format!("--sha256 {digest} --json")).done();
    assert_eq!(ran.json()["withdrawals"], "learnt", "{ran:?}");
    let ran = gate(&world, "stray.bin").refused("not-logged");
    assert!(ran.stderr.contains(&between.url), "{ran:?}");
    world.write("loose.bin", "not logged either");
    let ran = gate(&world, "loose.bin --json").done();
    assert_eq!(rulings(&ran), expected(&[("warned", "not-logged")]));
    // The log has none, and the one beside it is of something else: no rule lets that pass.
    gate(&world, "changed.bin").refused("artifact-mismatch");
    world.write("loose.bin.tlog-proof", world.read("1.bin.tlog-proof"));
    gate(&world, "loose.bin").refused("artifact-mismatch");
    std::fs::remove_file(world.path("loose.bin.tlog-proof")).unwrap();
    // The log has withdrawn it meanwhile.
    withdraw(&world, &server, "2.bin", &publisher(&world));
    gate(&world, &format!("--sha256 {digest}")).refused("withdrawn");
    // A log that does not answer leaves it open.
    settings(&world, "fetch = true\nlog = 'http://127.0.0.1:1'", &[rule("loose*", "warn")]);
    gate(&world, "stray.bin").failed(3, "127.0.0.1:1");
    let ran = gate(&world, "loose.bin --json").done();
    assert_eq!(rulings(&ran), expected(&[("warned", "could-not-tell")]));
    settings(&world, "fetch = true", &[]);
    gate(&world, "stray.bin").failed(2, "no address");
}

#[test]
fn arrivals_come_in_lines_too() {
    let (world, server) = world();
    let url = &server.url;
    let rules = [rule("bash", "skip"), rule("scanner", "require"), rule("*", "warn")];
    settings(&world, &format!("fetch = true\nlog = '{url}'"), &rules);
    let lines = [
        json!({ "file": "1.bin", "package": "scanner", "version": "1.0", "arch": "all", "id": 1 }),
        json!({ "file": "missing.bin", "package": "bash" }),
        json!({ "file": "stray.bin", "package": "other" }),
        json!({ "file": "stray.bin", "package": "scanner" }),
        json!({ "sha256": Hash::digest(b"artifact 1").to_hex(), "package": "scanner" }),
        json!({ "file": "1.bin", "channel": "stable" }),
    ];
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let ran = world.run_with("gate --config gate.toml --batch", &input);
    let codes = [
        ("proven", "verified"),
        ("skipped", "skipped"),
        ("warned", "not-logged"),
        ("stopped", "not-logged"),
        ("proven", "verified"),
        ("", "usage"),
    ];
    assert_eq!((ran.exit, rulings(&ran)), (1, expected(&codes)), "{ran:?}");
    let first = &ran.json_lines()[0];
    assert_eq!((&first["id"], &first["package"], &first["exit"]), (&1.into(), &"scanner".into(), &0.into()));
    // People are told what is wrong, and no more.
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(": ")).collect();
    assert_eq!(said.len(), 3, "{ran:?}");
    assert!(said[0].starts_with("warning: other is not proven"), "{ran:?}");
    assert!(said[1].starts_with("refused (not-logged): scanner: "), "{ran:?}");
    assert!(said[2].starts_with("error: line 6: "), "{ran:?}");
    let quiet = world.run_with("gate --config gate.toml --batch --json", &input);
    assert_eq!((quiet.stderr.as_str(), quiet.json_lines().len()), ("", 6));
}

#[test]
fn artifacts_are_judged_in_their_order_wherever_their_proofs_come_from() {
    let (world, server) = world();
    settings(&world, &format!("fetch = true\nlog = '{}'", server.url), &[]);
    let at_hand = json!({ "file": "1.bin" });
    let fetched = json!({ "sha256": Hash::digest(b"artifact 2").to_hex() });
    // An update from version 1 to version 2, and the way back.
    for (lines, code) in [([&at_hand, &fetched], "verified"), ([&fetched, &at_hand], "rollback")] {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let ran = world.run_with("gate --config gate.toml --batch", &input);
        let ruling = if code == "verified" { "proven" } else { "stopped" };
        assert_eq!(rulings(&ran), expected(&[("proven", "verified"), (ruling, code)]), "{ran:?}");
        std::fs::remove_dir_all(world.path("state")).unwrap();
    }
}
