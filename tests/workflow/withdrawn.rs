//! `treehead verify --online`: the log's statements about withdrawals, and which of them are not believed.

use treehead::checkpoint::Checkpoint;
use treehead::client::{LogClient, Wait};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::proof::ProofFile;
use treehead::release::{Envelope, PublisherSigner, Withdrawal};

use crate::common::proxy::Proxy;
use crate::online::{evidence, forge_entry, heads, online, proof, publish, releases, verify};
use crate::program::{Server, World, get};

/// The vendor's key.
pub fn publisher(world: &World) -> PublisherSigner {
    PublisherSigner::from_pem(&String::from_utf8(world.read("publisher.pem")).unwrap()).unwrap()
}

/// Withdraws a release, given its proof file. Returns the leaf index of the withdrawal.
pub fn withdraw(world: &World, server: &Server, file: &str, key: &PublisherSigner) -> u64 {
    let release = proof(world, file);
    let withdrawal =
        Withdrawal::of(release.index, &release.extra.unwrap(), "it deletes what it scans").unwrap();
    let envelope = Envelope::sign(withdrawal.to_payload().unwrap(), &[key]).unwrap();
    let added = LogClient::new(&server.url).unwrap().add(&envelope.to_entry(), Wait::Published).unwrap();
    added.index.get()
}

#[test]
fn a_withdrawn_release_is_refused_online_and_from_then_on() {
    let (world, server) = releases(2);
    let key = publisher(&world);
    world.run(&online("2.bin", &server.url)).done();
    withdraw(&world, &server, "2.bin", &key);
    // Nobody knows of it offline.
    world.run(&verify("2.bin", "")).done();
    let ran = world.run(&online("2.bin", &server.url)).refused("withdrawn");
    assert!(ran.stderr.contains("was withdrawn by vendor: it deletes what it scans"), "{ran:?}");
    assert!(ran.stderr.contains("pkg:generic/example/scanner@2.0, the release at leaf 1,"), "{ran:?}");
    world.run(&verify("2.bin", "")).refused("withdrawn");
    // A later release of the package is good itself; the output mentions the withdrawn ones.
    publish(&world, &server, 3);
    withdraw(&world, &server, "3.bin", &key);
    publish(&world, &server, 4);
    world.run(&online("4.bin", &server.url)).done();
    world.run(&verify("4.bin", "")).done();
    let state = String::from_utf8(world.read("state/state.json")).unwrap();
    assert_eq!(state.matches("it deletes what it scans").count(), 2, "{state}");
    // Without a memory, it has to ask each time.
    let without = |line: String| line.replace(" --state state", "");
    world.run(&without(verify("3.bin", ""))).done();
    world.run(&without(online("3.bin", &server.url))).refused("withdrawn");
}

#[test]
fn a_withdrawal_by_a_key_that_is_not_known_yet_leaves_doubt() {
    let (world, server) = releases(2);
    // The vendor's new key, which the endpoint does not know yet.
    world.write("old.toml", world.read("log/publishers.toml"));
    world.run("keygen publisher --name vendor --out new.pem").done();
    let old = String::from_utf8(world.read("old.toml")).unwrap();
    let pem = String::from_utf8(world.read("new.pub")).unwrap();
    world.write("log/publishers.toml", format!("{old}\n[[publisher.key]]\npem = '''\n{pem}'''\n"));
    let key = PublisherSigner::from_pem(&String::from_utf8(world.read("new.pem")).unwrap()).unwrap();
    withdraw_soon(&world, &server, "1.bin", &key);
    let line = |file: &str| online(file, &server.url).replace("log/publishers.toml", "old.toml");
    let ran = world.run(&line("1.bin")).failed(3, "a withdrawal of this very release");
    assert!(
        ran.stderr.contains("(unknown-publisher)") && ran.stderr.contains("update publishers.toml"),
        "{ran:?}"
    );
    let json = world.run(&format!("{} --json", line("1.bin"))).failed(3, "").json();
    assert_eq!((&json["ok"], &json["code"]), (&false.into(), &"could-not-tell".into()));
    assert!(json["message"].as_str().unwrap().contains("update publishers.toml"), "{json}");
    // It says nothing about another release.
    let ran = world.run(&line("2.bin").replace(" --state state", "")).done();
    assert!(ran.stderr.contains("ignored a withdrawal (unknown-publisher)"), "{ran:?}");
    world.run(&online("1.bin", &server.url)).refused("withdrawn");
}

#[test]
fn searches_for_withdrawals_end() {
    let (world, server) = releases(1);
    let page =
        |next: u64| Some((200, format!("{{\"tree_size\":1,\"releases\":[],\"next\":{next}}}").into_bytes()));
    let before =
        |path: &str| path.rsplit_once("before=").map_or(1_000_000, |(_, n)| n.parse::<u64>().unwrap());
    let searches = |path: &str, by: &str| path.starts_with("/releases?") && path.contains(by);
    // An endless answer leaves the verdict unknown, whichever way the release is looked up.
    for (by, pages) in [("", 60), ("withdraws=", 22), ("digest=", 41)] {
        let endless = Proxy::before(&server.url, move |path| {
            searches(path, by).then(|| page(before(path) - 1)).flatten()
        });
        world.run(&online("1.bin", &endless.url)).failed(3, "did not end: 0 statements");
        assert_eq!(endless.asked("/releases"), pages, "{by}");
    }
    // Nobody signed the faults of these answers, so they are no verdict.
    let circles = Proxy::before(&server.url, move |path| searches(path, "").then(|| page(7)).flatten());
    world.run(&online("1.bin", &circles.url)).failed(3, "to go on before leaf 7, saw leaf 7");
    assert_eq!(circles.asked("/releases"), 2);
    let row = "{\"index\":0,\"kind\":\"withdrawal\",\"leaf_hash\":\"\"}";
    let long = format!("{{\"tree_size\":1,\"releases\":[{}]}}", vec![row; 101].join(","));
    for (body, says) in [
        (long, "too large: expected at most 100 rows, saw 101"),
        (format!("{{\"tree_size\":1,\"releases\":[{row}]}}"), "malformed: expected"),
        ("{\"releases\":[]}".to_owned(), "expected tree_size to be there"),
    ] {
        let wrong = Proxy::before(&server.url, move |path| {
            searches(path, "").then(|| (200, body.clone().into_bytes()))
        });
        world.run(&online("1.bin", &wrong.url)).failed(3, says);
    }
    assert_eq!(evidence(&world), []);
    // A package may have this many statements; those about this release were all checked.
    let others = move |path: &str| searches(path, "package=") && !searches(path, "digest=");
    let many = Proxy::before(&server.url, move |path| others(path).then(|| page(before(path) - 1)).flatten());
    let ran = world.run(&online("1.bin", &many.url)).done();
    assert!(ran.stderr.contains("older ones of other releases stay unknown"), "{ran:?}");
    assert_eq!(many.asked("/releases"), 23);
    // One request is enough if it is found at once.
    withdraw(&world, &server, "1.bin", &publisher(&world));
    let passing = Proxy::before(&server.url, |_| None);
    world.run(&online("1.bin", &passing.url)).refused("withdrawn");
    assert_eq!(passing.asked("/releases"), 1);
}

#[test]
fn a_log_that_shows_nothing_leaves_everything_open() {
    let (world, server) = releases(1);
    for path in ["/checkpoint", "/releases"] {
        for status in [400, 403, 413, 422] {
            let body = b"{\"code\":\"members-only\",\"detail\":\"no\"}".to_vec();
            let refusing = Proxy::before(&server.url, move |asked| {
                asked.starts_with(path).then(|| (status, body.clone()))
            });
            let ran = world.run(&online("1.bin", &refusing.url)).failed(3, "(members-only): no");
            assert!(!ran.stderr.contains("othing was appended"), "{ran:?}");
        }
    }
}

#[test]
fn the_proof_of_a_withdrawal_is_compared_like_every_other() {
    let (world, server) = releases(3);
    let key = publisher(&world);
    withdraw(&world, &server, "1.bin", &key);
    let head_of_four = get(&server.url, "/checkpoint");
    let found = get(&server.url, "/releases?kind=withdrawal").1;
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let of_withdrawal = found["releases"][0]["proof"].as_str().unwrap().to_owned();
    let answering = |proof: Vec<u8>| {
        let path = of_withdrawal.clone();
        Proxy::before(&server.url, move |asked| (asked == path).then(|| (200, proof.clone())))
    };
    // Of another leaf.
    let other = answering(world.read("2.bin.tlog-proof"));
    world.run(&online("2.bin", &other.url)).failed(3, "the proof of another leaf");
    // Of another trusted log.
    let elsewhere =
        NoteSigner::from_seed(KeyName::new("log.example.org").unwrap(), SignatureType::Ed25519, &[5; 32]);
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    world.write("log/endpoint.policy", format!("log {}\n{policy}", elsewhere.public()));
    let genuine = ProofFile::parse(&get(&server.url, &of_withdrawal).1).unwrap();
    let head = Checkpoint::parse(genuine.checkpoint.text()).unwrap();
    let head = Checkpoint::new(elsewhere.public().name().clone(), head.size, head.root);
    let moved = ProofFile { checkpoint: head.sign(&elsewhere), ..genuine.clone() };
    let moved = answering(moved.to_string().into_bytes());
    world.run(&online("2.bin", &moved.url)).failed(3, "the proof of another log");
    assert_eq!(evidence(&world), []);
    // A newer head than the newest is remembered until it is proven.
    publish(&world, &server, 4);
    let behind =
        Proxy::before(&server.url, move |asked| (asked == "/checkpoint").then(|| head_of_four.clone()));
    world.run(&online("2.bin", &behind.url)).done();
    assert_eq!(heads(&world), (Some(4), vec![5]));
    // Another history.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let forged = answering(forge_entry(&world, genuine.extra.unwrap(), 4).into_bytes());
    world.run(&online("2.bin", &forged.url)).refused("fork");
    assert_eq!(evidence(&world), [(4, 5)]);
    world.run(&verify("2.bin", "")).refused("fork");
}

/// Like [`withdraw`], once the log has reread its publishers.
fn withdraw_soon(world: &World, server: &Server, file: &str, key: &PublisherSigner) {
    let release = proof(world, file);
    let withdrawal = Withdrawal::of(release.index, &release.extra.unwrap(), "it leaks").unwrap();
    let entry = Envelope::sign(withdrawal.to_payload().unwrap(), &[key]).unwrap().to_entry();
    let client = LogClient::new(&server.url).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(e) = client.add(&entry, Wait::Published) {
        assert!(std::time::Instant::now() < deadline, "{e}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The log, with a second key of the vendor, and an endpoint's file that lists that key under another name.
fn known_under_another_name(world: &World, purls: &str) -> PublisherSigner {
    let old = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    world.run("keygen publisher --name vendor --out new.pem").done();
    let pem = String::from_utf8(world.read("new.pub")).unwrap();
    let key = format!("[[publisher.key]]\npem = '''\n{pem}'''\n");
    let another = format!("[[publisher]]\nname = \"another\"\npurls = [\"{purls}\"]\nkinds = [\"build\"]\n");
    world.write("endpoint.toml", format!("{old}\n{another}\n{key}"));
    world.write("log/publishers.toml", format!("{old}\n{key}"));
    PublisherSigner::from_pem(&String::from_utf8(world.read("new.pem")).unwrap()).unwrap()
}

/// The log accepted it, so the key's owner signed it there. The endpoint's file does not override that.
#[test]
fn a_withdrawal_of_this_leaf_by_who_is_no_signer_here_leaves_doubt() {
    for (purls, says) in [
        ("pkg:generic/example/*", "by another, who did not sign it: expected vendor"),
        ("pkg:generic/other/*", "(publisher-not-permitted)"),
    ] {
        let (world, server) = releases(2);
        let key = known_under_another_name(&world, purls);
        withdraw_soon(&world, &server, "1.bin", &key);
        let line = |file: &str| online(file, &server.url).replace("log/publishers.toml", "endpoint.toml");
        let ran = world.run(&line("1.bin")).failed(3, "a withdrawal of this very release");
        assert!(ran.stderr.contains(says), "{ran:?}");
        world.run(&line("2.bin").replace(" --state state", "")).done();
        // A withdrawal by one signer is enough.
        withdraw(&world, &server, "1.bin", &publisher(&world));
        world.run(&line("1.bin")).refused("withdrawn");
    }
}

/// The log and the endpoint know the vendor under different names.
#[test]
fn signers_are_found_by_their_keys_too() {
    let (world, server) = releases(1);
    let file = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    world.write("renamed.toml", file.replace("\"vendor\"", "\"maker\""));
    let first = world.read("1.bin.tlog-proof");
    world.run(&world.publish_line(&server, "1.bin", 1).replace("stable", "beta")).done();
    withdraw(&world, &server, "1.bin", &publisher(&world));
    world.write("1.bin.tlog-proof", first);
    let line = online("1.bin", &server.url).replace("log/publishers.toml", "renamed.toml");
    world.run(&line).refused("withdrawn");
}

#[test]
fn a_proven_withdrawal_counts_without_the_entry_that_it_withdraws() {
    let (world, server) = releases(1);
    withdraw(&world, &server, "1.bin", &publisher(&world));
    let leaf = treehead::merkle::Hash::leaf(&proof(&world, "1.bin").extra.unwrap()).to_hex();
    let hiding = Proxy::before(&server.url, move |asked| {
        (asked == format!("/proof/leaf/{leaf}")).then(|| (404, b"{\"code\":\"not-found\"}".to_vec()))
    });
    world.run(&online("1.bin", &hiding.url)).refused("withdrawn");
    world.run(&verify("1.bin", "")).refused("withdrawn");
}

/// The endpoint reads past pages of withdrawals that it knows already.
#[test]
fn a_search_goes_on_behind_what_is_known() {
    let (world, server) = releases(1);
    world.write("extra.bin", "extra");
    let first = world.read("1.bin.tlog-proof");
    let more = world.publish_line(&server, "1.bin extra.bin", 1).replace("stable", "beta");
    world.run(&more).done();
    withdraw(&world, &server, "1.bin", &publisher(&world));
    world.write("1.bin.tlog-proof", first);
    world.run(&online("1.bin", &server.url)).done();
    let found = String::from_utf8(get(&server.url, "/releases?kind=withdrawal&limit=1").1).unwrap();
    withdraw(&world, &server, "1.bin", &publisher(&world));
    let before = |path: &str| path.rsplit_once("before=").map_or(1_000, |(_, n)| n.parse::<u64>().unwrap());
    let known = move |path: &str| {
        let rest = found.strip_suffix('}').unwrap().replace("\"tree_size\":3", "\"tree_size\":4");
        let next = before(path) - 1;
        match path {
            _ if path.contains("withdraws=") => Some((200, b"{\"tree_size\":4,\"releases\":[]}".to_vec())),
            _ if path.contains("publisher=") && next >= 980 => {
                Some((200, format!("{rest},\"next\":{next}}}").into_bytes()))
            }
            _ => None,
        }
    };
    let passing = Proxy::before(&server.url, known);
    world.run(&online("1.bin", &passing.url)).refused("withdrawn");
}

#[test]
fn a_search_holds_no_more_than_its_bytes() {
    let (world, server) = releases(1);
    let before = |path: &str| path.rsplit_once("before=").map_or(1_000, |(_, n)| n.parse::<u64>().unwrap());
    let large = Proxy::before(&server.url, move |path| {
        let next = before(path) - 1;
        let space = " ".repeat(9 * 1024 * 1024);
        path.contains("withdraws=").then(|| {
            (200, format!("{{\"tree_size\":1,\"releases\":[],{space}\"next\":{next}}}").into_bytes())
        })
    });
    world.run(&online("1.bin", &large.url)).failed(3, "did not end");
    assert_eq!(large.asked("/releases?limit=100&withdraws="), 2);
}

/// Envelopes are public, and a registered publisher can sign a release of another one.
#[test]
fn a_withdrawn_release_does_not_pass_with_another_signature_on_it() {
    let world = World::new();
    world.run("keygen publisher --name helper --out helper.pem").done();
    world
        .run("publisher add log --name helper --key helper.pub --purl pkg:generic/other/* --kind build")
        .done();
    let server = world.serve();
    publish(&world, &server, 1);
    let key = |file: &str| PublisherSigner::from_pem(&String::from_utf8(world.read(file)).unwrap()).unwrap();
    let (vendor, helper) = (key("publisher.pem"), key("helper.pem"));
    withdraw(&world, &server, "1.bin", &vendor);
    let envelope = Envelope::parse_entry(&proof(&world, "1.bin").extra.unwrap()).unwrap();
    let both = Envelope::sign(envelope.payload().to_vec(), &[&vendor, &helper]).unwrap();
    let added = LogClient::new(&server.url).unwrap().add(&both.to_entry(), Wait::Published).unwrap();
    assert_eq!(added.index.get(), 0, "a payload has one leaf");
    world.write("again.bin", world.read("1.bin"));
    world.write("again.bin.tlog-proof", added.to_string());
    world.run(&verify("again.bin", "")).done();
    world.run(&online("again.bin", &server.url)).refused("withdrawn");
    world.run(&verify("again.bin", "")).refused("withdrawn");
}

/// Version 1.0 in another channel, signed with the vendor's new key, is withdrawn. The endpoint is about to install
/// the same bytes under another leaf; its old publishers file can't say whether the signer is the same vendor.
#[test]
fn the_same_release_under_another_leaf_leaves_doubt_as_well() {
    let (world, server) = releases(1);
    world.write("old.toml", world.read("log/publishers.toml"));
    world.run("keygen publisher --name vendor --out new.pem").done();
    let old = String::from_utf8(world.read("old.toml")).unwrap();
    let pem = String::from_utf8(world.read("new.pub")).unwrap();
    world.write("log/publishers.toml", format!("{old}\n[[publisher.key]]\npem = '''\n{pem}'''\n"));
    let first = world.read("1.bin.tlog-proof");
    let beta = world.publish_line(&server, "1.bin", 1).replace("publisher.pem", "new.pem");
    let beta = beta.replace("--channel stable", "--channel beta");
    crate::monitoring::eventually("the log takes the new key", || world.run(&beta).exit == 0);
    let key = PublisherSigner::from_pem(&String::from_utf8(world.read("new.pem")).unwrap()).unwrap();
    withdraw(&world, &server, "1.bin", &key);
    world.write("1.bin.tlog-proof", first);
    let line = online("1.bin", &server.url);
    let ran = world.run(&line.replace("log/publishers.toml", "old.toml"));
    ran.failed(
        3,
        "a withdrawal of this very release, but its publisher is not trusted here (unknown-publisher)",
    );
    world.run(&line).refused("withdrawn");
}
