//! The operator of a log and one of its witnesses show two histories, each with a quorum. Monitors that see only one
//! history each detect the fork and can prove it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::receiver::Receiver;
use crate::monitoring::{Monitor, SECRET, codes, events, eventually, of};
use crate::program::{ORIGIN, Server, World};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn edit(world: &World, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(world.read(file)).unwrap();
    let edited = text.replace(from, to);
    assert_ne!(edited, text, "{file} has {from}");
    world.write(file, edited);
}

/// The address where a witness listens, from its settings.
fn address(world: &World, witness: &str) -> String {
    let text = String::from_utf8(world.read(&format!("{witness}/treehead-witness.toml"))).unwrap();
    text.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap().trim_matches('"').to_owned()
}

fn cosigned_by_all(server: &Server) -> bool {
    let health: Value = serde_json::from_slice(&server.get("/healthz").1).unwrap();
    let witnesses = health["witnessing"]["witnesses"].as_array().unwrap().clone();
    server.get("/checkpoint").0 == 200 && witnesses.iter().all(|w| w["cosigned_size"] == health["tree_size"])
}

/// Two logs with one name and one past, and their witnesses: the first witness sees one log, the second the other, and
/// the third serves both.
struct TwoFaced {
    world: World,
    log: Server,
    other: Server,
    _witnesses: Vec<Server>,
}

impl TwoFaced {
    fn new() -> Self {
        let world = World::witnessed();
        let mut witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
        let log = world.serve();
        eventually("it shows a head", || log.get("/checkpoint").0 == 200);
        world.publish(&log, "one.bin", "one", 1).done();
        eventually("all have cosigned", || cosigned_by_all(&log));
        world.write("urls.policy", world.run("policy log --urls").done().stdout);
        log.terminate();
        witnesses.pop().unwrap().terminate();

        copy(&world.path("log"), &world.path("other"));
        copy(&world.path("w3"), &world.path("w3b"));
        let (third, third_b) = (address(&world, "w3"), World::free_address());
        edit(&world, "w3b/treehead-witness.toml", &third, &third_b);
        edit(&world, "log/treehead.toml", &address(&world, "w2"), &World::free_address());
        edit(&world, "other/treehead.toml", &address(&world, "w1"), &World::free_address());
        edit(&world, "other/treehead.toml", &third, &third_b);
        witnesses.push(world.serve_witness(3));
        witnesses.push(world.start("witness w3b"));
        let (log, other) = (world.serve(), world.start("serve other --listen 127.0.0.1:0"));
        let both = Self { world, log, other, _witnesses: witnesses };
        both.publish(&both.log, "two.bin", 2);
        both.publish(&both.other, "evil.bin", 2);
        both
    }

    fn publish(&self, server: &Server, file: &str, sequence: u64) {
        eventually("it takes entries", || self.world.publish(server, file, file, sequence).exit == 0);
    }

    /// Two monitors that gossip, alice with the first history and bob with the second.
    fn monitors(&self, more: &str) -> [Monitor<'_>; 2] {
        let (alice, bob) = (World::free_address(), World::free_address());
        let peer = |name: &str, at: &str| format!("\n[[peer]]\nname = \"{name}\"\nurl = \"http://{at}\"\n");
        self.world.monitor("alice", &self.log.url, &(peer("bob", &bob) + more));
        self.world.monitor("bob", &self.other.url, &peer("alice", &alice));
        edit(&self.world, "alice/monitor.toml", "127.0.0.1:0", &alice);
        edit(&self.world, "bob/monitor.toml", "127.0.0.1:0", &bob);
        ["alice", "bob"].map(|name| self.world.follow(name))
    }

    /// The evidence of the fork that a monitor reported.
    fn evidence(&self, fork: &Value) -> Vec<u8> {
        let path = fork["evidence"].as_str().unwrap();
        let line = format!("verify-evidence {path} --policy log/endpoint.policy");
        let ran = self.world.run(&line).done();
        assert!(
            ran.stdout.starts_with(&format!("the log forked  {ORIGIN} signed two histories\n")),
            "{ran:?}"
        );
        self.world.read(path)
    }
}

fn open_alerts(monitor: &Monitor<'_>) -> Value {
    let (status, health) = monitor.server.get("/healthz");
    let health: Value = serde_json::from_slice(&health).unwrap();
    assert_eq!(status, 200, "a lie of the log is no fault of the monitor: {health}");
    health["open_alerts"].clone()
}

#[test]
fn two_monitors_that_gossip_find_a_fork_and_both_can_prove_it() {
    let both = TwoFaced::new();
    let (world, hook) = (&both.world, Receiver::start([]));
    let [alice, bob] = both.monitors(&world.webhook(&hook.url()));
    let forks = [&alice, &bob].map(|monitor| monitor.wait_for("fork", |_| true));
    for fork in &forks {
        assert_eq!((&fork["log"], &fork["severity"]), (&ORIGIN.into(), &"alert".into()));
        assert_eq!(
            (&fork["smaller"], &fork["larger"], &fork["found_in"]),
            (&2.into(), &2.into(), &"gossip".into())
        );
    }
    // The head came from a request or from a push, and a push has no name.
    for (fork, peer) in forks.iter().zip(["peer bob", "peer alice"]) {
        assert!([peer, "gossip"].contains(&fork["source"].as_str().unwrap()), "{fork}");
    }
    let files = forks.each_ref().map(|fork| both.evidence(fork));
    assert_eq!(files[0], files[1], "one fork has one proof, whoever found it");
    assert_eq!((&forks[0]["id"], &forks[0]["file"]), (&forks[1]["id"], &forks[1]["file"]));
    // The evidence names the witness that helped.
    let path = forks[0]["evidence"].as_str().unwrap();
    let verdict =
        world.run(&format!("verify-evidence {path} --policy log/endpoint.policy --json")).done().json();
    for head in ["smaller", "larger"] {
        let by = verdict[head]["witnesses"].to_string();
        assert!(
            by.contains("w3.example.com") && by.contains("w1.example.com") != by.contains("w2.example.com"),
            "{by}"
        );
    }
    eventually("the webhook has it", || !hook.got().is_empty());
    let got = hook.got();
    got[0].check(SECRET);
    assert_eq!(
        (got[0].event(), got[0].header("webhook-id").into()),
        (forks[0].clone(), forks[0]["id"].clone())
    );

    assert_eq!((open_alerts(&alice), open_alerts(&bob)), (1.into(), 1.into()));

    // Each monitor continues with the history that it knew, and tells nothing twice.
    both.publish(&both.log, "three.bin", 3);
    alice.wait_for_head(3);
    for monitor in [&alice, &bob] {
        let told = of(&monitor.events(), "fork");
        let ids: std::collections::BTreeSet<String> =
            told.iter().map(|fork| fork["id"].to_string()).collect();
        assert_eq!(ids.len(), told.len(), "{told:?}");
    }
    bob.server.terminate();
    // Nobody shows the other head any more: the fork is open as long as its evidence lies there.
    fs::rename(world.path(path), world.path("safe.tlog-fork")).unwrap();
    let ended = alice.wait_for("ended", |ended| ended["of"] == "fork");
    assert_eq!(ended["alert"], forks[0]["id"]);
    // A last push of bob's head may have been compared with the third head as well, which is another proof.
    eventually("no alert is open", || {
        for file in fs::read_dir(world.path("alice/state/evidence")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        open_alerts(&alice) == 0
    });
    alice.server.terminate();
    // No run tells it twice, and each shows that it is open.
    let ran = world.once("bob").done();
    assert!(of(&events(&ran.stdout), "fork").is_empty(), "{ran:?}");
    assert!(ran.stderr.contains("open since ") && ran.stderr.contains(": fork: "), "{ran:?}");
}

#[test]
fn one_monitor_that_asks_the_witnesses_finds_it_alone() {
    let both = TwoFaced::new();
    let world = &both.world;
    let line = format!("monitor init carol --log {} --policy urls.policy", both.log.url);
    world.run(&line).done();
    let ran = world.once("carol").refused("alerts-told");
    let told = events(&ran.stdout);
    let forks = of(&told, "fork");
    assert_eq!(forks.len(), 1, "{:?}", codes(&told));
    // Two of them have the head, and either may answer first.
    let source = forks[0]["source"].as_str().unwrap();
    assert!(["witness w2.example.com", "witness w3.example.com"].contains(&source), "{source}");
    assert_eq!(forks[0]["smaller"], 2);
    both.evidence(&forks[0]);
}
