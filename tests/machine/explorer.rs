//! The explorer in a headless Chromium: tests/explorer/walk.mjs walks through it, against logs that this test serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Completion;
use serde_json::{Value, json};
use treehead::merkle::{Hash, LeafIndex};
use treehead::proof::{ProofBundle, ProofFile};
use treehead::release::{Disclosure, Kind, Opening, Release, Subject, Withdrawal};

use crate::common::log::{batch, eventually};
use crate::common::needs::{Outcome, ignored};
use crate::common::releases::{
    publisher_toml, release, signed, signed_payload, signed_statement, signed_withdrawal,
};
use crate::program::{ORIGIN, Server, World};

/// Makes a missing browser a failure.
const REQUIRED: &str = "TREEHEAD_REQUIRE_BROWSER";
const RULES: u64 = 10_000;
const VENDOR: u8 = 1;
const REBUILDERS: u8 = 2;

/// The first of these programs that answers.
fn first_of(names: &[&str]) -> Option<String> {
    let answers =
        |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success());
    names.iter().find(answers).map(|name| (*name).to_owned())
}

pub fn every_view_is_right_wide_and_narrow_light_and_dark() -> Outcome {
    let Some(chromium) = first_of(&["chromium", "chromium-browser", "google-chrome"]) else {
        return ignored("there is no chromium", REQUIRED);
    };
    let Some(node) = first_of(&["node", "nodejs"]) else { return ignored("there is no node", REQUIRED) };
    let world = World::witnessed();
    let forked = fork(&world);
    let publishers =
        publisher_toml("vendor", VENDOR, &["pkg:generic/example/*"], &["build", "update", "detection-rules"])
            + &publisher_toml(
                "rebuilders",
                REBUILDERS,
                &["pkg:generic/*"],
                &["provenance", "verification-summary", "review", "disclosure"],
            );
    for log in ["log", "forked"] {
        world.write(&format!("{log}/publishers.toml"), &publishers);
    }
    let _witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let log = world.serve();
    eventually("the log takes entries", || log.get("/checkpoint").0 == 200);
    let mut story = Story { world: &world, log: &log, size: 0, settings: json!({}) };
    story.write();
    let mut settings = story.settings;
    let mut set = |name: &str, value: Value| settings[name] = value;
    world.run("export log exported").done();
    let other = World::new();
    other_log(&other);
    let forked = world.start(&forked);
    let empty = World::new();
    let empty = empty.serve();
    let forgeries = (1..=100).map(|number| signed(&scanner("stable", number, "forged"), VENDOR));
    let entries: Vec<Vec<u8>> = (1..=RULES).map(rules).chain(forgeries).collect();
    for some in entries.chunks(2_000) {
        assert_eq!(forked.post("/add-batch", &batch(some)).0, 200);
    }
    let path = |name: &str| json!(world.path(name));
    set("chromium", json!(chromium));
    set("origin", json!(ORIGIN));
    set("log", json!(log.url));
    set("forked", json!(forked.url));
    set("exported", path("exported"));
    set("other", json!(other.path("exported")));
    set("otherPolicy", json!(other.path("log/endpoint.policy")));
    set("otherSize", json!(2));
    set("empty", json!(empty.url));
    copy_example(&world.path("example"));
    set("example", path("example"));
    set("proofOut", path("downloaded.tlog-proof"));
    set("evidenceOut", path("downloaded.tlog-fork"));
    set("screenshots", json!(std::env::var("TREEHEAD_SCREENSHOTS").ok()));
    world.write("settings.json", settings.to_string());
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explorer/walk.mjs");
    let ran = Command::new(node).arg(walk).arg(world.path("settings.json")).output().expect("node runs");
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(ran.status.success(), "{said}");
    // What the page offered for download convinces the program.
    let trust = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("verify good.bin --proof downloaded.tlog-proof {trust}")).done();
    world.run("verify-evidence downloaded.tlog-fork --policy log/endpoint.policy").done();
    Ok(Completion::Completed)
}

/// A second log with the keys of the first, and without its witnesses. Returns the command that serves it.
fn fork(world: &World) -> String {
    copy(&world.path("log"), &world.path("forked"));
    world.write("forked/treehead.toml", format!("origin = \"{ORIGIN}\"\n"));
    "serve forked --listen 127.0.0.1:0".to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let (from, to) = (item.as_ref().unwrap().path(), to.join(item.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// The example for browsers with what its user copies beside it, and the files to choose.
fn copy_example(to: &Path) {
    fs::create_dir_all(to).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(root.join("examples/javascript/browser.html"), to.join("index.html")).unwrap();
    let wasm = ["treehead.js", "treehead.wasm"].map(|name| root.join("wasm").join(name));
    let names =
        ["witnessed.trust", "scanner.sh", "scanner.sh.tlog-proof", "tampered.sh", "tampered.sh.tlog-proof"];
    let fixtures = names.map(|name| root.join("fixtures/verify").join(name));
    for from in wasm.iter().chain(&fixtures) {
        fs::copy(from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// An export of another log, with two entries.
fn other_log(world: &World) {
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "two.bin", "two", 2).done();
    world.run("export log exported").done();
    fs::remove_file(world.path("exported/explorer/endpoint.trust")).unwrap();
}

fn scanner(channel: &str, number: u64, content: &str) -> Release {
    let release = release(&format!("pkg:generic/example/scanner@{number}.0"), number, content);
    Release { channel: channel.to_owned(), ..release }
}

/// Rules of this number, as an entry.
fn rules(number: u64) -> Vec<u8> {
    let purl = format!("pkg:generic/example/rules@{number}");
    let rules = release(&purl, number, &format!("rules {number}"));
    signed(&Release { kind: Kind::DetectionRules, ..rules }, VENDOR)
}

/// The entries of the log, and where the walk finds them.
struct Story<'a> {
    world: &'a World,
    log: &'a Server,
    size: u64,
    settings: Value,
}

impl Story<'_> {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.settings[name] = value.into();
    }

    fn add(&mut self, entries: &[Vec<u8>]) -> u64 {
        let first = self.size;
        for some in entries.chunks(2_000) {
            let (status, said) = self.log.post("/add-batch", &batch(some));
            assert!(status == 200 && !said.contains("error"), "{said}");
        }
        self.size += entries.len() as u64;
        first
    }

    fn file(&mut self, setting: &str, name: &str, content: &str) {
        self.world.write(name, content);
        let path: PathBuf = self.world.path(name);
        self.set(setting, json!(path));
    }

    fn write(&mut self) {
        self.add(&(1..=RULES).map(rules).collect::<Vec<_>>());
        let older = self.log.get("/checkpoint").1;
        self.world.write("older.checkpoint", older);
        self.set("olderHead", json!(self.world.path("older.checkpoint")));
        self.write_scanner();
        self.write_odd_ones();
        // The walk adds one to beta before it searches.
        let scanners = 7 + 4 + 1 + 2 + 3;
        self.set("package", "pkg:generic/example/scanner");
        self.set(
            "searches",
            json!([
                ["name=scan", scanners + 1],
                ["package=pkg:generic/example/scanner", scanners],
                ["name=example/scan&channel=beta", 4],
                ["channel=beta", 4],
                ["kind=update", 1],
                ["kind=withdrawal", 1],
                ["publisher=rebuilders", 5],
                ["kind=review", 1],
                ["kind=disclosure", 2],
                ["publisher=rebuilders&kind=provenance", 1],
                ["package=pkg:generic/example/scanner&version=8.0&kind=build", 1],
                ["name=nothing-of-this-kind", 0]
            ]),
        );
        let digest = Hash::digest(b"good").to_hex();
        self.set(
            "typed",
            json!([
                ["pkg:generic/example/scanner", scanners.min(20)],
                ["pkg:generic/example/scanner@8.0", 6],
                ["rules", 20],
                [digest, 6],
                [format!("sha256:{digest}"), 6]
            ]),
        );
        let grown = signed(&scanner("beta", 4, "beta 4"), VENDOR);
        self.world.write("grow.entry", grown);
        self.set("entry", json!(self.world.path("grow.entry")));
    }

    /// Seven releases on stable, of which number 4 is missing and 2 withdrawn; three on beta; what others say of the last.
    fn write_scanner(&mut self) {
        let content = |number: u64| if number == 8 { "good".to_owned() } else { format!("scanner {number}") };
        let stable: Vec<Vec<u8>> = [1, 2, 3, 5, 6, 7]
            .iter()
            .map(|number| signed(&scanner("stable", *number, &content(*number)), VENDOR))
            .collect();
        let first = self.add(&stable);
        let beta = (1..=3).map(|number| signed(&scanner("beta", number, &format!("beta {number}")), VENDOR));
        self.add(&beta.collect::<Vec<_>>());
        self.set("withdrawn", first + 1);
        let index = LeafIndex::new(first + 1).unwrap();
        let withdrawal = Withdrawal::of(index, &stable[1], "crashes on start").unwrap();
        self.add(&[signed_withdrawal(&withdrawal, VENDOR)]);
        let last = self.add(&[signed(&scanner("stable", 8, "good"), VENDOR)]);
        self.set("release", last);
        let subject = json!({
            "name": "scanner.bin", "uri": "pkg:generic/example/scanner@8.0",
            "digest": { "sha256": Hash::digest(b"good").to_hex() },
        });
        let provenance = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://build.example.com/container@v1",
                    "externalParameters": {},
                    "resolvedDependencies": [{
                        "digest": { "gitCommit": "9f2b7c61d8e4a05b3c7f1e2d4a6b8c0d1e3f5a79" },
                        "uri": "git+https://git.example.com/scanner",
                    }],
                },
                "runDetails": { "builder": { "id": "https://build.example.com/rebuild" } },
            },
            "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [subject],
        });
        let summary = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {
                "policy": { "uri": "https://rebuild.example.org/policy" },
                "resourceUri": "pkg:generic/example/scanner@8.0",
                "timeVerified": "2026-11-21T09:30:00Z",
                "verificationResult": "PASSED",
                "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
                "verifier": { "id": "https://rebuild.example.org/verifier" },
            },
            "predicateType": "https://slsa.dev/verification_summary/v1",
            "subject": [subject],
        });
        self.add(&[signed_statement(&provenance, REBUILDERS), signed_statement(&summary, REBUILDERS)]);
        self.write_review(&subject);
        self.file("good", "good.bin", "good");
        self.file("bad", "bad.bin", "something else");
        self.file("takenBack", "scanner.bin", "scanner 2");
        let leaf = Hash::leaf(&signed(&scanner("stable", 8, "good"), VENDOR)).to_hex();
        let (status, proof) = self.log.get(&format!("/proof/leaf/{leaf}"));
        assert_eq!(status, 200);
        self.world.write("bad.bin.tlog-proof", proof);
        self.set("proof", json!(self.world.path("bad.bin.tlog-proof")));
    }

    /// A review of the last release with three secret findings: one shown to everybody, one to a customer, one to nobody.
    fn write_review(&mut self, subject: &Value) {
        let finding = |number: u8, text: &str| Opening::new(text.to_owned(), [number; 32]).unwrap();
        let findings = [
            finding(
                1,
                "The updater follows symbolic links:\n\tln -s /etc/shadow x\nIt reads what they point to.",
            ),
            finding(2, "A debug port is open."),
            finding(3, "Nobody was shown this <b>one</b>."),
        ];
        let commitments: Vec<String> = findings.iter().map(|one| one.commitment().to_hex()).collect();
        let review = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {
                "commitments": commitments, "finishedOn": "2026-11-22T16:00:00Z",
                "purl": "pkg:generic/example/scanner@8.0",
                "report": { "digest": { "sha256": Hash::digest(b"the report").to_hex() }, "uri": "https://centre.example.org/reports/17" },
                "result": "PASSED_WITH_FINDINGS", "reviewer": { "id": "https://centre.example.org" },
                "scope": ["source", "build"],
            },
            "predicateType": "urn:treehead:review:v1",
            "subject": [{ "name": "scanner.bin", "digest": subject["digest"] }],
        });
        let entry = signed_statement(&review, REBUILDERS);
        let place = self.add(std::slice::from_ref(&entry));
        self.set("review", place);
        let index = LeafIndex::new(place).unwrap();
        let disclosure = |at: usize, to| {
            let disclosure = Disclosure::of(index, &entry, &findings[at], to).unwrap();
            signed_payload(disclosure.to_payload().unwrap(), REBUILDERS)
        };
        let disclosures = [disclosure(0, None), disclosure(1, Some("customer-17"))];
        let shown = self.add(&disclosures);
        self.set("disclosure", shown);
        self.bundle(&[&signed(&scanner("stable", 8, "good"), VENDOR), &entry, &disclosures[0]]);
    }

    /// A bundle of these entries.
    fn bundle(&mut self, entries: &[&[u8]]) {
        let proof = |entry: &&[u8]| {
            let (status, proof) = self.log.get(&format!("/proof/leaf/{}", Hash::leaf(entry).to_hex()));
            assert_eq!(status, 200);
            ProofFile::parse(&proof).unwrap()
        };
        let files: Vec<ProofFile> = entries.iter().map(proof).collect();
        self.file("bundle", "three.tlog-bundle", &ProofBundle::join(&files).unwrap().to_string());
    }

    /// A release with hostile names, and an update of another package for one audience.
    fn write_odd_ones(&mut self) {
        let mut hostile = release("pkg:generic/example/scan%3Cb%3E@1.0", 1, "hostile");
        hostile.subjects = ["<img src=x onerror=alert(1)>", "gnp.\u{202e}exe", "zero\u{200b}width"]
            .map(|name| Subject { name: name.to_owned(), sha256: Hash::digest(name.as_bytes()) })
            .to_vec();
        let index = self.add(&[signed(&hostile, VENDOR)]);
        self.set("hostile", index);
        let engine = release("pkg:generic/example/engine@3.2.1", 321, "engine");
        let audience = Some("customer-17".to_owned());
        self.add(&[signed(&Release { kind: Kind::Update, audience, ..engine }, VENDOR)]);
    }
}
