//! Tree heads that monitors, witnesses and endpoints show each other.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use treehead::merkle::Hash;
use treehead::monitor::Peer;
use treehead::proof::fork::ForkEvidence;

use crate::common::framing::{nothing_is_smuggled, only_chunked_is_understood};
use crate::common::http::{exchange, get, post, request};
use crate::common::liar::Liar;
use crate::common::liar::lie::Lie;
use crate::common::log::{ORIGIN, eventually, log_signer};
use crate::world::{Log, Running, World};

fn entries(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| format!("{name} {at}").into_bytes()).collect()
}

fn peer(name: &str, url: String) -> Peer {
    Peer { label: format!("peer {name}"), url, push: false }
}

fn path() -> String {
    format!("/{}/checkpoint", Hash::digest(ORIGIN.as_bytes()).to_hex())
}

/// Waits until the monitor serves a head, which it does after reporting it.
fn wait_until_served(running: &Running) {
    eventually("the head is served", || get(running.address, &path()).status == 200);
}

/// The sizes of the only fork in the evidence, judged by the log's key alone.
#[track_caller]
fn fork_of(world: &World, log: &Liar) -> (u64, u64) {
    let files = world.evidence();
    assert_eq!(files.len(), 1, "{files:?}: {:#?}", world.output.alerts());
    let evidence = ForkEvidence::parse(&fs::read(&files[0]).unwrap()).unwrap();
    let fork = evidence.judge(&log.keys()).unwrap();
    (fork.smaller().size.get(), fork.larger().size.get())
}

/// Two monitors that the log shows two histories, which branch at size 300.
fn split(here: usize, there: usize) -> (Liar, World, World) {
    let log = Liar::serve(entries("first", 300));
    log.append("", &entries("here", here - 300));
    log.fork("other", 300, &entries("there", there - 300));
    let a = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let b = World::new(vec![Log::opaque(&log.url_of("other"), &log.policy())]);
    (log, a, b)
}

#[test]
fn two_monitors_that_are_shown_two_histories_find_out() {
    for (here, there) in [(400, 400), (512, 700), (700, 512), (301, 1_000)] {
        let (log, mut a, b) = split(here, there);
        let running = b.run();
        wait_until_served(&running);
        a.peers.push(peer("b", running.url()));
        a.once();
        if here >= there {
            // The tiles of its own history prove it.
            assert_eq!(a.output.alerts(), ["fork"], "{here} {there}");
            assert_eq!(fork_of(&a, &log), (there as u64, here as u64));
            assert_eq!(a.output.of("fork")[0]["source"], "peer b");
        } else {
            // Only the monitor with the larger tree can prove it; it learns of the other head by a push.
            assert_eq!(a.output.alerts(), Vec::<String>::new(), "{here} {there}");
            let note = log.branch("").note(here, &log_signer().into(), &[], 1);
            let reply = post(running.address, "/gossip", note.as_bytes());
            assert_eq!(reply.status, 202);
            b.output.wait_for("fork");
            assert_eq!(fork_of(&b, &log), (here as u64, there as u64));
            // The monitor with the smaller tree reports a head that the log does not show it.
            a.pass(601);
            a.once();
            assert_eq!(a.output.alerts(), ["head-ahead"]);
            // It finds the fork once its own history grows past the other head.
            log.append("", &entries("more", there + 5 - here));
            a.once();
            assert_eq!(a.output.alerts(), ["head-ahead", "fork"]);
            assert_eq!(fork_of(&a, &log), (there as u64, there as u64 + 5));
        }
    }
}

#[test]
fn monitors_that_push_tell_each_other() {
    let (log, mut a, b) = split(400, 400);
    let running = b.run();
    b.output.wait_for("head");
    a.peers.push(Peer { push: true, ..peer("b", running.url()) });
    let _running = a.run();
    a.output.wait_for("fork");
    let told = b.output.wait_for("fork");
    assert_eq!(told["source"], "gossip");
    assert_eq!((fork_of(&a, &log), fork_of(&b, &log)), ((400, 400), (400, 400)));
    assert_eq!(
        fs::read(&a.evidence()[0]).unwrap(),
        fs::read(&b.evidence()[0]).unwrap(),
        "one fork, one file"
    );
}

#[test]
fn nobody_waits_an_interval_to_tell_of_a_head() {
    let (_log, mut a, mut b) = split(400, 400);
    (a.interval, b.interval) = (Duration::from_secs(3_600), Duration::from_secs(3_600));
    let running = b.run();
    wait_until_served(&running);
    a.peers.push(Peer { push: true, ..peer("b", running.url()) });
    let _running = a.run();
    a.output.wait_for("fork");
    b.output.wait_for("fork");
}

#[test]
fn a_monitor_that_looks_once_has_told_its_peers_of_what_it_saw() {
    let (_log, mut a, b) = split(400, 400);
    let running = b.run();
    wait_until_served(&running);
    a.peers.push(Peer { push: true, ..peer("b", running.url()) });
    a.once();
    assert_eq!(b.output.wait_for("fork")["source"], "gossip");
}

#[test]
fn a_fork_names_who_showed_the_other_history() {
    for (first, second, answers, source) in [
        ("same", "other", true, "peer other"),
        ("other", "same", true, "peer other"),
        // Without a head of the log itself, the newer of the two counts as the other history.
        ("same", "other", false, "peer other"),
        ("other", "same", false, "peer same"),
    ] {
        let log = Liar::serve(entries("same", 300));
        log.set(Lie::Status(500));
        let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        let mut liars = Vec::new();
        for name in [first, second] {
            let liar = Liar::serve(entries(name, 300));
            liar.fork(path()[1..].trim_end_matches("/checkpoint"), 300, &[]);
            assert_eq!(world.output.of("fork"), Vec::<Value>::new());
            world.peers = vec![peer(name, liar.url())];
            liars.push(liar);
            if name == second && answers {
                log.be_honest();
            }
            world.once();
        }
        let forks = world.output.of("fork");
        assert_eq!(forks.len(), 1, "{forks:?}");
        assert_eq!(forks[0]["source"], source, "{first} {second} {answers}");
    }
}

#[test]
fn older_and_newer_heads_of_one_history_are_consistent() {
    let log = Liar::serve(entries("first", 300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let running = world.run();
    world.output.wait_for("head");
    // The head is reported before it is served.
    let own = loop {
        let own = get(running.address, &path());
        if own.status == 200 {
            break own;
        }
    };
    let push = |size: usize| {
        let note = log.branch("").note(size, &log_signer().into(), &[], 1);
        post(running.address, "/gossip", note.as_bytes())
    };
    for size in [0, 1, 128, 256, 299, 300] {
        let reply = push(size);
        assert!([200, 202].contains(&reply.status), "{size}: {reply:?}");
        assert_eq!(reply.body, own.body, "the answer is its own head");
    }
    log.append("", &entries("more", 100));
    assert_eq!(push(400).status, 202);
    while push(400).status != 200 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    let figures = get(running.address, "/metrics");
    let figures = figures.text();
    assert!(
        figures.contains("treehead_monitor_log_verified_size{origin=\"log.example/releases\"} 400\n"),
        "{figures}"
    );
    assert!(figures.contains(
        "treehead_monitor_peer_heads{origin=\"log.example/releases\",peer=\"gossip\",verdict=\"forked\"} 0\n"
    ));
    let page = get(running.address, "/");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(
        page.text().contains("No condition is open") && page.text().contains("<td>gossip<td>400"),
        "{}",
        page.text()
    );
    let health = get(running.address, "/healthz");
    assert_eq!(
        (health.json()["status"].as_str(), health.header("cache-control")),
        (Some("ok"), Some("no-store"))
    );
    assert_eq!(get(running.address, "/").header("cache-control"), Some("no-store"), "a page is about now");
}

#[test]
fn what_is_pushed_has_to_be_a_signed_head_of_a_followed_log() {
    let log = Liar::serve(entries("first", 10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let running = world.run();
    world.output.wait_for("head");
    let note = log.branch("").note(7, &log_signer().into(), &[], 1);
    post(running.address, "/gossip", b"").problem(400, "malformed");
    post(running.address, "/gossip", b"<html>").problem(400, "malformed");
    post(running.address, "/gossip", &vec![b'a'; 2_000_000]).problem(413, "too-large");
    let other = note.replace(ORIGIN, "other.example/log");
    post(running.address, "/gossip", other.as_bytes()).problem(404, "unknown-origin");
    let changed = note.replacen("\n7\n", "\n8\n", 1);
    post(running.address, "/gossip", changed.as_bytes()).problem(403, "log-signature");
    let says = get(running.address, "/0000/checkpoint").problem(404, "no-route");
    assert!(says.contains("docs/monitor.md"), "{says}");
    get(running.address, &format!("/{}/checkpoint", "00".repeat(32))).problem(404, "not-followed");
    get(running.address, "/gossip").problem(405, "wrong-method");
    assert_eq!(world.output.alerts(), Vec::<String>::new());
}

#[test]
fn one_address_pushes_so_often_and_no_more() {
    let log = Liar::serve(entries("first", 10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let running = world.run();
    wait_until_served(&running);
    let note = log.branch("").note(10, &log_signer().into(), &[], 1);
    let statuses: Vec<u16> =
        (0..60).map(|_| post(running.address, "/gossip", note.as_bytes()).status).collect();
    assert_eq!(statuses[..20], [200; 20]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let reply = post(running.address, "/gossip", note.as_bytes());
    assert!(reply.status == 429 && reply.header("retry-after").is_some(), "{reply:?}");
}

#[test]
fn behind_a_proxy_each_is_counted_by_the_address_that_the_proxy_names() {
    let log = Liar::serve(entries("first", 10));
    let note = log.branch("").note(10, &log_signer().into(), &[], 1);
    for (proxies, most) in [(vec!["127.0.0.1".parse().unwrap()], 0), (Vec::new(), 40)] {
        let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        world.proxies = proxies;
        let running = world.run();
        wait_until_served(&running);
        let push = |at: usize| {
            let named = format!("192.0.2.{at}");
            let bytes = request("POST", "/gossip", &[("X-Forwarded-For", &named)], note.as_bytes());
            exchange(running.address, &bytes).status
        };
        let refused = (0..60).map(push).filter(|status| *status == 429).count();
        assert!(refused <= most && (refused > 0) == (most > 0), "{refused} of {:?}", world.proxies);
    }
}

#[test]
fn bodies_are_framed_in_one_way() {
    let log = Liar::serve(entries("first", 10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let running = world.run();
    for path in ["/gossip", "/evidence"] {
        only_chunked_is_understood(running.address, path);
        nothing_is_smuggled(running.address, path);
    }
}

#[test]
fn a_peer_that_shows_what_the_log_did_not_sign_is_told_of() {
    let log = Liar::serve(entries("first", 10));
    let stranger = Liar::serve(entries("first", 10));
    stranger.fork(&Hash::digest(ORIGIN.as_bytes()).to_hex(), 10, &[]);
    stranger.set(Lie::WrongSignature);
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.peers.push(peer("stranger", stranger.url()));
    world.once();
    assert_eq!(world.output.alerts(), ["peer-misbehaves"]);
    stranger.be_honest();
    world.once();
    assert_eq!(world.output.of("ended").len(), 1, "a head that the log signed is no lie");
}

#[test]
fn a_peer_without_a_head_of_the_log_is_reported() {
    let log = Liar::serve(entries("first", 10));
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    // A likely mistake: the address of the log itself.
    world.peers.push(peer("wrong", log.url()));
    let running = world.run();
    let about =
        "answers 404: it shows no head of log.example/releases; is it a monitor or a witness of that log?";
    eventually("the page says so", || get(running.address, "/").text().contains(about));
    let figures = get(running.address, "/metrics").text().to_owned();
    let fault = figures.lines().find(|line| line.starts_with("treehead_monitor_peer_fault{"));
    assert!(fault.is_some_and(|line| line.contains("peer wrong") && line.ends_with(" 1")), "{figures}");
    assert_eq!(world.output.alerts(), Vec::<String>::new(), "it may have none yet");
}

/// The evidence of a monitor that was shown two histories.
fn proven_fork(here: usize, there: usize) -> Vec<u8> {
    let (log, mut a, b) = split(here, there);
    let running = b.run();
    wait_until_served(&running);
    a.peers.push(peer("b", running.url()));
    a.once();
    assert_eq!(fork_of(&a, &log), (there as u64, here as u64));
    fs::read(&a.evidence()[0]).unwrap()
}

#[test]
fn anybody_can_hand_evidence_to_a_monitor() {
    for (here, there) in [(400, 400), (700, 512)] {
        let evidence = proven_fork(here, there);
        // It was shown neither branch, only the entries that both share.
        let log = Liar::serve(entries("first", 300));
        let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        let running = world.run();
        wait_until_served(&running);
        assert_eq!(post(running.address, "/evidence", &evidence).status, 202);
        let told = world.output.wait_for("fork");
        assert_eq!((told["source"].as_str(), told["smaller"].as_u64()), (Some("gossip"), Some(there as u64)));
        assert_eq!(fork_of(&world, &log), (there as u64, here as u64));
        assert_eq!(fs::read(&world.evidence()[0]).unwrap(), evidence, "the very file");
        // However often it is sent, it is one alert and one file.
        for _ in 0..3 {
            assert_eq!(post(running.address, "/evidence", &evidence).status, 202);
        }
        eventually("all were looked at", || post(running.address, "/evidence", &evidence).status != 503);
        drop(running);
        assert_eq!((world.output.alerts().len(), world.evidence().len()), (1, 1));
    }
}

#[test]
fn bundles_that_prove_no_fork_are_refused() {
    let evidence = String::from_utf8(proven_fork(400, 400)).unwrap();
    let log = Liar::serve(entries("first", 300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    let running = world.run();
    wait_until_served(&running);
    post(running.address, "/evidence", b"").problem(400, "malformed");
    post(running.address, "/evidence", evidence.trim_end().as_bytes()).problem(400, "malformed");
    post(running.address, "/evidence", &vec![b'a'; 4_000_000]).problem(413, "too-large");
    post(running.address, "/evidence", evidence.replace(ORIGIN, "other.example/log").as_bytes())
        .problem(404, "unknown-origin");
    // Another root, which nobody signed.
    let root = evidence.lines().nth(4).unwrap();
    let other = evidence.replacen(root, &Hash::digest(b"another").to_base64(), 1);
    let detail = post(running.address, "/evidence", other.as_bytes()).problem(422, "no-fork");
    assert!(
        detail.starts_with("this proves no fork: the head of size 400 is not by a trusted log"),
        "{detail}"
    );
    get(running.address, "/evidence").problem(405, "wrong-method");
    assert_eq!((world.output.alerts(), world.evidence()), (Vec::<String>::new(), Vec::new()));
}
