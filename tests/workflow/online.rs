//! `treehead verify --online` and `--report`: an endpoint compares what it saw with the current log.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::merkle::{Hash, LeafIndex, TreeSize};
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::ProofFile;

use crate::common::proxy::Proxy;
use crate::common::proxy::serve_files;
use crate::program::{Server, World, get};

pub fn verify(file: &str, also: &str) -> String {
    format!("verify {file} --policy log/endpoint.policy --publishers log/publishers.toml --state state{also}")
}

pub fn online(file: &str, url: &str) -> String {
    verify(file, &format!(" --online {url}"))
}

/// A log with this many releases, `1.bin` and so on.
pub fn releases(count: u64) -> (World, Server) {
    let world = World::new();
    let server = world.serve();
    (1..=count).for_each(|n| publish(&world, &server, n));
    (world, server)
}

pub fn publish(world: &World, server: &Server, n: u64) {
    world.publish(server, &format!("{n}.bin"), &format!("artifact {n}"), n).done();
}

pub fn proof(world: &World, file: &str) -> ProofFile {
    ProofFile::parse(&world.read(&format!("{file}.tlog-proof"))).unwrap()
}

/// The log's own key signs a tree of four or five leaves that was never served. Its first leaf is this artifact's
/// entry.
pub fn forge(world: &World, file: &str, size: u64) -> String {
    forge_entry(world, proof(world, file).extra.unwrap(), size)
}

pub fn forge_entry(world: &World, entry: Vec<u8>, size: u64) -> String {
    let leaf = |n: u8| if n == 0 { Hash::leaf(&entry) } else { Hash::leaf(&[n]) };
    let right = Hash::node(&leaf(2), &leaf(3));
    let four = Hash::node(&Hash::node(&leaf(0), &leaf(1)), &right);
    let (root, proof) = match size {
        4 => (four, vec![leaf(1), right]),
        5 => (Hash::node(&four, &leaf(4)), vec![leaf(1), right, leaf(4)]),
        _ => panic!("four or five"),
    };
    let key = NoteSigner::parse(String::from_utf8(world.read("log/log.key")).unwrap().trim_end()).unwrap();
    let head = Checkpoint::new(key.public().name().clone(), TreeSize::new(size).unwrap(), root);
    let index = LeafIndex::new(0).unwrap();
    ProofFile { extra: Some(entry), index, proof, checkpoint: head.sign(&key) }.to_string()
}

/// The evidence in the memory's folder, as tree sizes, each checked by the program.
pub fn evidence(world: &World) -> Vec<(u64, u64)> {
    let Ok(folder) = std::fs::read_dir(world.path("state/evidence")) else { return Vec::new() };
    let sizes = folder.map(|entry| {
        let path = entry.unwrap().path();
        let line = format!("verify-evidence {} --policy log/endpoint.policy --json", path.display());
        let verdict = world.run(&line).done().json();
        (verdict["smaller"]["size"].as_u64().unwrap(), verdict["larger"]["size"].as_u64().unwrap())
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_unstable();
    sizes
}

/// The sizes of the remembered heads: the proven one, and those that wait.
pub fn heads(world: &World) -> (Option<u64>, Vec<u64>) {
    let log = &world.remembered()["logs"][0];
    let waiting = log["unproven"].as_array().unwrap();
    (log["proven"]["size"].as_u64(), waiting.iter().map(|head| head["size"].as_u64().unwrap()).collect())
}

#[test]
fn a_log_that_grew_continues_all_that_was_seen() {
    let (world, server) = releases(3);
    for n in 1..=3 {
        world.run(&verify(&format!("{n}.bin"), "")).done();
    }
    assert_eq!(heads(&world), (None, vec![1, 2, 3]));
    publish(&world, &server, 4);
    let ran = world.run(&online("3.bin", &server.url)).done();
    assert!(ran.stdout.contains("online     the log has 4 leaves now"), "{ran:?}");
    assert_eq!(heads(&world), (Some(4), vec![]), "one stands for all");
    world.run(&verify("4.bin", "")).done();
    assert_eq!(heads(&world), (Some(4), vec![]));
    publish(&world, &server, 5);
    world.run(&verify("5.bin", "")).done();
    assert_eq!(heads(&world), (Some(4), vec![5]));
    let json = world.run(&format!("{} --json", online("5.bin", &server.url))).done().json();
    assert_eq!(json["latest_tree_size"], 5);
    assert_eq!(heads(&world), (Some(5), vec![]));
    // Without a memory, only the proof is compared.
    let line = online("5.bin", &server.url).replace(" --state state", "");
    world.run(&line).done();
    assert_eq!(evidence(&world), []);
}

#[test]
fn an_endpoint_that_is_never_online_is_told_so() {
    let (world, server) = releases(17);
    for n in 1..=17 {
        let ran = world.run(&verify(&format!("{n}.bin"), "")).done();
        let told = ran.stderr.contains("so the endpoint forgot one: run verify with --online now and then");
        assert_eq!(told, n == 17, "{n}: {ran:?}");
    }
    assert_eq!(heads(&world), (None, (2..=17).collect()));
    world.run(&online("17.bin", &server.url)).done();
    assert_eq!(heads(&world), (Some(17), vec![]));
    let ran = world.run(&verify("17.bin", "")).done();
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_fork_is_refused_also_where_the_remembered_signature_is_no_longer_trusted() {
    let (world, _server) = releases(4);
    world.write("1.bin.tlog-proof", forge(&world, "1.bin", 4));
    world.run(&verify("1.bin", "")).done();
    // That head has only an Ed25519 signature, and from now on the post-quantum one is required.
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    let ed25519 = String::from_utf8(world.read("log/log.vkey")).unwrap();
    world.write("log/endpoint.policy", policy.replace(&format!("log {ed25519}"), ""));
    world.run(&verify("4.bin", "")).refused("fork");
    assert_eq!(evidence(&world), []);
    world.run(&verify("3.bin", "")).refused("fork");
    // The head is proven as soon as that is possible.
    world.write("log/endpoint.policy", policy);
    world.run(&verify("4.bin", "")).refused("fork");
    assert_eq!(evidence(&world), [(4, 4)]);
    let ran = world.run(&verify("3.bin", "")).refused("fork");
    assert!(ran.stderr.contains(".tlog-fork"), "{ran:?}");
}

#[test]
fn the_address_may_be_in_the_policy() {
    let (world, server) = releases(1);
    let bare = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    world.run(&verify("1.bin", " --online")).failed(2, "expected --online URL");
    let with_url = |line: &str| {
        if line.starts_with("log ") { format!("{line} {}\n", server.url) } else { format!("{line}\n") }
    };
    world.write("log/endpoint.policy", bare.lines().map(with_url).collect::<String>());
    world.run(&verify("1.bin", " --online")).done();
    let other = World::opaque();
    let other_server = other.serve();
    // The artifact is as good as before. The address is wrong, whether that log is trusted or not.
    let vkey = String::from_utf8(other.read("log/log.vkey")).unwrap();
    for policy in [bare.clone(), format!("log {vkey}{bare}")] {
        world.write("log/endpoint.policy", policy);
        let line = online("1.bin", &other_server.url);
        let ran = world.run(&line).failed(3, &format!("{} is the address of another log", other_server.url));
        assert!(ran.stderr.contains("expected origin log.example.com/releases, saw "), "{ran:?}");
        assert!(ran.stderr.contains("log.example.com/anything"), "{ran:?}");
        assert!(!ran.stderr.contains("Do not install"), "{ran:?}");
    }
    world.write("log/endpoint.policy", bare.lines().map(with_url).collect::<String>());
    drop(server);
    world.run(&verify("1.bin", " --online")).failed(3, "no answer from");
    world.run(&verify("1.bin", "")).done();
}

#[test]
fn a_log_that_shows_less_than_it_showed_is_refused() {
    let (world, server) = releases(1);
    world.run("export log out").done();
    let old = serve_files(&world.path("out"));
    // Static files have no search: the program says so, and nothing more.
    let ran = world.run(&format!("{} --json", online("1.bin", &old))).done();
    assert!(ran.stderr.contains("has no search"), "{ran:?}");
    assert_eq!(ran.json()["withdrawals"], "not-asked", "machines can see it, too");
    let json = |line: &str| world.run(&format!("{line} --json")).done().json();
    assert_eq!(json(&online("1.bin", &server.url))["withdrawals"], "learnt");
    assert_eq!(json(&verify("1.bin", ""))["withdrawals"], "not-asked");
    publish(&world, &server, 2);
    world.run(&online("2.bin", &old)).refused("log-rolled-back");
    world.run(&online("2.bin", &server.url)).done();
    // Now the head is remembered, also against a proof from the old copy.
    let line = online("2.bin", &old);
    let ran = world.run(&line).refused("log-rolled-back");
    assert!(ran.stderr.contains("expected at least size 2, saw 1"), "{ran:?}");
    // The head that the copy showed is kept in a file, and the command in the message asks about it again.
    let command = ran.stderr.split('`').nth(1).unwrap().strip_prefix("treehead ").unwrap();
    let command = command.replace("FILE", "log/endpoint.policy");
    let kept = command.rsplit(' ').next().unwrap();
    assert!(kept.starts_with("state/evidence/") && kept.ends_with("-2.checkpoint"), "{command}");
    let head = Checkpoint::parse(Note::parse(&world.read(kept)).unwrap().text()).unwrap();
    assert_eq!(head.size.get(), 2);
    world.run(&command).refused("log-rolled-back");
    world.run(&command.replace(&old, &server.url)).done();
    std::fs::remove_file(world.path(kept)).unwrap();
    // A memory of version 1 has no head to show.
    let state = format!(
        "{{\"version\":1,\"logs\":[{{\"origin\":\"{}\",\"size\":9,\"root\":\"{}\"}}],\"sequences\":[]}}",
        head.origin,
        Hash::EMPTY_ROOT.to_base64()
    );
    world.write("state/state.json", state);
    let ran = world.run(&line).refused("log-rolled-back");
    assert!(!ran.stderr.contains(".checkpoint"), "{ran:?}");
    assert_eq!(evidence(&world), [], "no fork is shown by that");
}

#[test]
fn a_false_head_is_found_online_long_after_it_was_shown() {
    for size in [4, 5] {
        let (world, server) = releases(1);
        world.write("1.bin.tlog-proof", forge(&world, "1.bin", size));
        world.run(&verify("1.bin", "")).done();
        // Years later, the false head is no longer the largest.
        (2..=6).for_each(|n| publish(&world, &server, n));
        world.run(&verify("6.bin", "")).done();
        let ran = world.run(&online("6.bin", &server.url)).refused("fork");
        assert!(ran.stderr.contains("state/evidence/"), "{ran:?}");
        assert_eq!(evidence(&world), [(size, 6)]);
        // Offline, the next day, with a proof that was never in doubt: the fork is not forgotten.
        for line in [verify("6.bin", ""), verify("2.bin", ""), online("6.bin", &server.url)] {
            let ran = world.run(&line).refused("fork");
            assert!(
                ran.stderr.contains("as this endpoint found earlier") && ran.stderr.contains(".tlog-fork"),
                "{ran:?}"
            );
            assert!(ran.stderr.contains("verify-evidence state/evidence/"), "{ran:?}");
            assert!(ran.stderr.contains("remove the log from the policy"), "{ran:?}");
        }
        assert_eq!(evidence(&world), [(size, 6)]);
        // Another endpoint does not know of it.
        world.run(&verify("6.bin", "").replace("--state state", "--state other")).done();
    }
}

const LONG_AGO: u64 = 1_770_000_000;

fn witness() -> NoteSigner {
    let name = KeyName::new("witness.example").unwrap();
    NoteSigner::from_seed(name, SignatureType::CosignatureEd25519, &[7; 32])
}

/// From now on the endpoint requires this witness's cosignature, which the log does not have.
fn watched(world: &World) {
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    let with = policy.replace("quorum none", &format!("witness w {}\nquorum w", witness().public()));
    assert_ne!(with, policy);
    world.write("log/endpoint.policy", with);
}

fn cosigned_at(mut note: Note, time: u64) -> Note {
    let head = Checkpoint::parse(note.text()).unwrap();
    note.push(cosign(&head, &witness(), time));
    note
}

#[test]
fn online_it_is_the_newest_head_that_has_to_be_fresh() {
    let (world, server) = releases(1);
    watched(&world);
    let old = proof(&world, "1.bin");
    let old = ProofFile { checkpoint: cosigned_at(old.checkpoint.clone(), LONG_AGO), ..old };
    world.write("1.bin.tlog-proof", old.to_string());
    publish(&world, &server, 2);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let with_head_of = |time: u64| {
        let log = server.url.clone();
        Proxy::before(&server.url, move |path| {
            let cosigned = || {
                let note = Note::parse(&get(&log, path).1).unwrap();
                (200, cosigned_at(note, time).to_string().into_bytes())
            };
            (path == "/checkpoint").then(cosigned)
        })
    };
    let line = |url: &str| format!("{} --max-age 24h", online("1.bin", url));
    world.run(&format!("{} --max-age 24h", verify("1.bin", ""))).refused("stale");
    let fresh = with_head_of(now);
    let ran = world.run(&line(&fresh.url)).done();
    let told = "online     the log has 2 leaves now, cosigned by w at 2";
    assert!(ran.stdout.contains(told), "{ran:?}");
    let json = world.run(&format!("{} --json", line(&fresh.url))).done().json();
    let by = |whose: &str| (json[whose][0]["name"].clone(), json[whose][0]["time"].clone());
    assert_eq!(by("witnesses"), ("w".into(), "2026-02-02T02:40:00Z".into()));
    assert!(by("latest_witnesses").1.as_str().unwrap() > "2026-02-02T02:40:00Z", "{json}");
    let ran = world.run(&line(&with_head_of(LONG_AGO).url)).refused("stale");
    assert!(ran.stderr.contains("the log's newest head is stale: expected"), "{ran:?}");
    assert!(!ran.stderr.contains("newer proof"), "none would help: {ran:?}");
    world.run(&online("1.bin", &with_head_of(LONG_AGO).url)).done();
    // A wrong clock is an error, whatever age is allowed.
    world.run(&online("1.bin", &with_head_of(now + 86_400).url)).refused("from-the-future");
}

#[test]
fn a_fork_is_told_whatever_else_is_wrong() {
    // The artifact was swapped as well.
    let (world, server) = releases(6);
    let good = world.read("1.bin.tlog-proof");
    world.write("1.bin.tlog-proof", forge(&world, "1.bin", 4));
    world.run(&verify("1.bin", "")).done();
    world.write("4.bin", "tampered");
    world.run(&verify("4.bin", "")).refused("fork");
    assert_eq!(evidence(&world), [(4, 4)]);
    // The log lost its newest entry, and the rest is no prefix of the tree that the endpoint saw before.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    world.run(&verify("1.bin", "")).done();
    world.run("export log out").done();
    let old = serve_files(&world.path("out"));
    publish(&world, &server, 7);
    world.run(&verify("7.bin", "")).done();
    world.run(&online("7.bin", &old)).refused("fork");
    assert_eq!(evidence(&world), [(4, 6)]);
    // Nobody cosigned the head that the log serves now, but the log signed it.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    watched(&world);
    let cosigned = |proof: ProofFile| {
        ProofFile { checkpoint: cosigned_at(proof.checkpoint, LONG_AGO), ..proof }.to_string()
    };
    world.write("7.bin.tlog-proof", cosigned(proof(&world, "7.bin")));
    world.run(&online("7.bin", &server.url)).refused("no-quorum");
    world.write("1.bin.tlog-proof", &good);
    let forged = ProofFile::parse(forge(&world, "1.bin", 5).as_bytes()).unwrap();
    world.write("1.bin.tlog-proof", cosigned(forged));
    world.run(&verify("1.bin", "")).done();
    world.run(&online("7.bin", &server.url)).refused("fork");
    assert_eq!(evidence(&world), [(5, 7)]);
}

#[test]
fn a_false_head_of_the_proof_itself_is_found() {
    let (world, server) = releases(6);
    world.write("1.bin.tlog-proof", forge(&world, "1.bin", 5));
    world.run(&online("1.bin", &server.url)).refused("fork");
    assert_eq!(evidence(&world), [(5, 6)]);
    // Without a memory, the file goes into the current directory.
    let line = online("1.bin", &server.url).replace(" --state state", "");
    let ran = world.run(&line).refused("fork");
    let file = ran.stderr.split('`').nth(1).unwrap().split(' ').nth(2).unwrap().to_owned();
    world.run(&format!("verify-evidence {file} --policy log/endpoint.policy")).done();
    // Version 1 remembered heads without signatures: the contradiction is a fork all the same.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    let root = Hash::leaf(b"another history").to_base64();
    let state = format!(
        "{{\"version\":1,\"logs\":[{{\"origin\":\"log.example.com/releases\",\"size\":3,\"root\":\"{root}\"}}],\"sequences\":[]}}"
    );
    world.write("state/state.json", &state);
    let ran = world.run(&online("6.bin", &server.url)).refused("fork");
    assert!(ran.stderr.contains("has no signature"), "{ran:?}");
    assert_eq!(evidence(&world), []);
    world.run(&verify("6.bin", "")).refused("fork");
}

/// A monitor that accepts this many requests.
fn monitor(times: usize) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for _ in 0..times {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            told.send((head.lines().next().unwrap().to_owned(), body)).unwrap();
            let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    (url, heard)
}

#[test]
fn heads_are_reported_whatever_the_verdict() {
    let (world, server) = releases(2);
    let (url, heard) = monitor(4);
    let report = format!(" --report {url}");
    let next = || {
        let (request, body) = heard.recv().unwrap();
        assert_eq!(request, "POST /gossip HTTP/1.1");
        Note::parse(&body).unwrap()
    };
    world.run(&verify("1.bin", &report)).done();
    assert_eq!(next(), proof(&world, "1.bin").checkpoint);
    // The program reports the heads of a refused release, too.
    world.write("1.bin", "tampered");
    world.run(&verify("1.bin", &report)).refused("artifact-mismatch");
    assert_eq!(next(), proof(&world, "1.bin").checkpoint);
    publish(&world, &server, 3);
    world.run(&format!("{}{report}", online("2.bin", &server.url))).done();
    assert_eq!(next(), proof(&world, "2.bin").checkpoint);
    assert_eq!(Checkpoint::parse(next().text()).unwrap().size.get(), 3, "the newest one, too");
    // An address where nobody listens is reported, and changes nothing.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = world.run(&verify("2.bin", &format!(" --report http://{closed}"))).done();
    assert!(ran.stderr.contains("could not report the tree head: no answer"), "{ran:?}");
    assert!(!ran.stderr.contains("the log running"), "it is a monitor: {ran:?}");
    // A malformed address is reported before anything else.
    let remembered = world.read("state/state.json");
    world.run(&verify("3.bin", " --report nonsense")).failed(2, "expected the monitor's address");
    assert_eq!(world.read("state/state.json"), remembered);
    // A head that no trusted log signed is not sent to anyone.
    world.write("2.bin.tlog-proof", "noise");
    let ran = world.run(&verify("2.bin", &format!(" --report http://{closed}"))).refused("proof-malformed");
    assert!(!ran.stderr.contains("reported"), "{ran:?}");
}
