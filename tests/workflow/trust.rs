//! Trust files that replace each other: made, compared, published as releases, and learned.

use std::fs;
use std::process::Command;

use treehead::endpoint::{
    Artifact, Endpoint, Freshness, OpenError, Pins, Question, VerdictCode, hash_artifact,
};

use crate::program::{Ran, Server, World};

pub const PACKAGE: &str = "pkg:generic/example/trust";

/// Makes a trust file of the log's own files that the log's publisher may replace.
pub fn make(world: &World, number: u64) {
    make_with(world, number, &format!("--package {PACKAGE} --may-change vendor --at-least 1"));
}

/// Makes a trust file of the log's own files with this rule.
pub fn make_with(world: &World, number: u64, rule: &str) {
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("trust make {files} --number {number} {rule} --out {number}.trust")).done();
}

/// Publishes a trust file with its proof.
pub fn publish(world: &World, server: &Server, number: u64) {
    let what = format!("--kind trust --purl {PACKAGE}@{number} --channel trust --sequence {number}");
    let how = format!("--log {} --key publisher.pem", server.url);
    world.run(&format!("publish {number}.trust {what} {how}")).done();
}

fn update(world: &World, number: u64) -> Ran {
    let files = format!("--new {number}.trust --proof {number}.trust.tlog-proof");
    world.run(&format!("trust update 1.trust {files} --state state"))
}

pub fn learned(world: &World, number: u64) -> (u64, bool) {
    let files = format!("--new {number}.trust --proof {number}.trust.tlog-proof");
    let json = world.run(&format!("trust update 1.trust {files} --state state --json")).done().json();
    (json["number"].as_u64().unwrap(), json["learned"].as_bool().unwrap())
}

/// Gives the log's publisher the right to trust files.
pub fn grant(world: &World) {
    let publishers = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    let changed = publishers.replacen("kinds = [", "kinds = [\"trust\", ", 1);
    assert_ne!(changed, publishers);
    world.write("log/publishers.toml", changed);
}

/// A served log whose publisher may state trust files.
pub fn world() -> (World, Server) {
    let world = World::new();
    grant(&world);
    let server = world.serve();
    (world, server)
}

#[test]
fn an_endpoint_learns_the_next_trust_files_in_order() {
    let (world, server) = world();
    make(&world, 1);
    // The second file trusts one more publisher.
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind build";
    world.run(&format!("publisher add log {add}")).done();
    make(&world, 2);
    let told = world.run("trust diff 1.trust 2.trust").done().stdout;
    assert!(
        told.starts_with("from trust file 1 to 2\n  + publisher second: build of pkg:generic/"),
        "{told}"
    );
    assert!(told.ends_with(&format!("takes  signed by 1 of (vendor) as {PACKAGE}\n")), "{told}");
    make(&world, 3);
    for number in 2..=3 {
        publish(&world, &server, number);
    }
    update(&world, 3).refused("trust-gap");
    assert_eq!(learned(&world, 2), (2, true));
    assert_eq!(learned(&world, 2), (2, false));
    assert_eq!(update(&world, 3).done().stdout, "trusts 3 instead of 2\n");
    assert_eq!(world.read("state/endpoint.trust"), world.read("3.trust"));
    update(&world, 2).refused("trust-rollback");
    // A file whose proof is another one's.
    make(&world, 4);
    fs::copy(world.path("3.trust.tlog-proof"), world.path("4.trust.tlog-proof")).unwrap();
    update(&world, 4).refused("trust-other-release");
    assert_eq!(world.read("state/endpoint.trust"), world.read("3.trust"));
    // Damaged, the state is no reason to trust the old file.
    world.write("state/endpoint.trust", "{}");
    update(&world, 3).refused("state-damaged");
}

#[test]
fn two_publishers_sign_one_file_together_or_one_after_the_other() {
    let world = World::new();
    grant(&world);
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind trust";
    world.run(&format!("publisher add log {add}")).done();
    let server = world.serve();
    let rule = format!("--package {PACKAGE} --may-change vendor second --at-least 2");
    (1..=3).for_each(|number| make_with(&world, number, &rule));
    let publish = |file: &str, number: u64, keys: &str| {
        let what = format!("--kind trust --purl {PACKAGE}@{number} --channel trust --sequence {number}");
        world.run(&format!("publish {file} {what} --log {} {keys}", server.url)).done();
    };
    // One envelope with both signatures.
    publish("2.trust", 2, "--key publisher.pem --key second.pem");
    assert_eq!(learned(&world, 2), (2, true));
    // One of them alone, and then the other one: the same file under another name is another entry.
    publish("3.trust", 3, "--key publisher.pem");
    update(&world, 3).refused("trust-too-few-signers");
    publish("again.trust=3.trust", 3, "--key second.pem --out second.tlog-proof");
    let update = "trust update 1.trust --new 3.trust --state state";
    let proofs = "--proof 3.trust.tlog-proof --proof second.tlog-proof";
    world.run(&format!("{update} --proof second.tlog-proof")).refused("trust-too-few-signers");
    assert_eq!(world.run(&format!("{update} {proofs}")).done().stdout, "trusts 3 instead of 2\n");
}

#[test]
fn trust_show_tells_who_may_replace_the_file() {
    let (world, _server) = world();
    make(&world, 1);
    let shown = world.run("trust show 1.trust").done().stdout;
    assert!(shown.ends_with(&format!("updates    signed by 1 of (vendor) as {PACKAGE}\n")), "{shown}");
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("trust make {files} --out fixed.trust")).done();
    let shown = world.run("trust show fixed.trust").done().stdout;
    assert!(shown.ends_with("updates    none: it can't be replaced\n"), "{shown}");
    let told = world.run("trust diff 1.trust fixed.trust").done().stdout;
    assert!(told.contains("! number 1 does not follow 1: only number 2 does"), "{told}");
    assert!(told.contains("will take: none: it can't be replaced"), "{told}");
    assert!(world.run("trust diff 1.trust 1.trust").done().stdout.contains("\n  nothing\n"));
    world
        .run(&format!("trust make {files} --package {PACKAGE} --may-change nobody --at-least 1"))
        .failed(2, "the right to trust of the package, saw \"nobody\"");
}

/// The file that an endpoint learned counts for every command that judges with its state, and for the library.
#[test]
fn the_learned_file_counts_everywhere() {
    let (world, mut server) = world();
    make(&world, 1);
    // The second file trusts one more publisher, who released an artifact.
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind build";
    world.run(&format!("publisher add log {add}")).done();
    server.hang_up();
    make(&world, 2);
    world.write("second.bin", "by the second");
    let what = "--kind build --purl pkg:generic/example/other@1 --channel stable --sequence 1";
    world.run(&format!("publish second.bin {what} --log {} --key second.pem", server.url)).done();
    publish(&world, &server, 2);
    // An endpoint's directory, as the library opens it; the commands share its state.
    fs::create_dir(world.path("device")).unwrap();
    fs::copy(world.path("1.trust"), world.path("device/endpoint.trust")).unwrap();
    world.write("gate.toml", "trust = '1.trust'\nstate = 'device/state'\n");
    let commands = [
        "verify second.bin --trust 1.trust --state device/state",
        "verify-statement second.bin.tlog-proof --trust 1.trust --state device/state",
        "gate --config gate.toml second.bin",
    ];
    let opened = || -> Result<Result<(), VerdictCode>, OpenError> {
        let endpoint = Endpoint::open(world.path("device"))?;
        let digest = hash_artifact(&world.path("second.bin")).unwrap();
        let proof = world.read("second.bin.tlog-proof");
        let question = Question {
            artifact: Artifact::File { digest: &digest, name: None },
            proof: &proof,
            freshness: Freshness::now(None),
            pins: Pins::default(),
        };
        Ok(endpoint.check(&question).map(drop).map_err(|error| error.code()))
    };
    commands.iter().for_each(|command| drop(world.run(command).refused("unknown-publisher")));
    assert_eq!(opened(), Ok(Err(VerdictCode::UnknownPublisher)));
    let update = "--new 2.trust --proof 2.trust.tlog-proof --state device/state";
    world.run(&format!("trust update 1.trust {update}")).done();
    commands.iter().for_each(|command| drop(world.run(command).done()));
    assert_eq!(opened(), Ok(Ok(())));
    // Another file with the number of the learned one is refused, and so is a damaged one: neither is passed over.
    let fork =
        String::from_utf8(world.read("2.trust")).unwrap().replace(PACKAGE, "pkg:generic/example/other");
    assert_ne!(fork.as_bytes(), world.read("2.trust"));
    let learned = world.read("device/state/endpoint.trust");
    for (content, number, code) in [(fork.as_str(), 2, "trust-fork"), ("{}", 1, "state-damaged")] {
        world.write("device/state/endpoint.trust", content);
        fs::copy(world.path(&format!("{number}.trust")), world.path("device/endpoint.trust")).unwrap();
        world.write("gate.toml", format!("trust = '{number}.trust'\nstate = 'device/state'\n"));
        for command in commands {
            world.run(&command.replace("1.trust", &format!("{number}.trust"))).refused(code);
        }
        assert!(matches!(opened(), Err(OpenError::Fork(_) | OpenError::Remembered { .. })), "{code}");
    }
    world.write("device/state/endpoint.trust", learned);
    assert_eq!(opened(), Ok(Ok(())));
}

/// Every code of the table in docs/trust.md, as `trust update` tells it.
#[test]
fn each_refusal_has_its_code() {
    let world = World::new();
    grant(&world);
    // Somebody runs the log a second time, from a copy of its directory.
    let copied = Command::new("cp").args(["-a", "log", "fork"]).current_dir(world.path("")).status();
    assert!(copied.unwrap().success());
    let mut server = world.serve();
    (1..=4).for_each(|number| make(&world, number));
    (2..=3).for_each(|number| publish(&world, &server, number));
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("trust make {files} --out fixed.trust")).done();
    let other = "--package pkg:generic/example/other --may-change vendor --at-least 1";
    world.run(&format!("trust make {files} --number 2 {other} --out other.trust")).done();
    let how = format!("--log {} --key publisher.pem", server.url);
    // Another file with a number that is taken; the log keeps one claim for each sequence number, so another log has it.
    let forked = world.start("serve fork --listen 127.0.0.1:0");
    let what = format!("--kind trust --purl {PACKAGE}@2 --channel trust --sequence 2");
    world.run(&format!("publish other.trust {what} --log {} --key publisher.pem", forked.url)).done();
    // An entry of a stranger's log proves nothing, and one of a publisher that may not state trust is nobody's.
    let stranger = World::new();
    grant(&stranger);
    let strange = stranger.serve();
    stranger.write("2.trust", world.read("2.trust"));
    stranger.run(&format!("publish 2.trust {what} --log {} --key publisher.pem", strange.url)).done();
    world.write("strange.tlog-proof", stranger.read("2.trust.tlog-proof"));
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind trust";
    world.run(&format!("publisher add log {add}")).done();
    server.hang_up();
    let what = format!("--kind trust --purl {PACKAGE}@4 --channel trust --sequence 4");
    let how = how.replace("publisher.pem", "second.pem");
    world.run(&format!("publish 4.trust {what} {how}")).done();

    let update = |current: &str, new: &str, proof: &str| {
        world.run(&format!("trust update {current} --new {new} --proof {proof} --state state"))
    };
    let (second, own) = ("2.trust", "2.trust.tlog-proof");
    update("1.trust", "log/endpoint.policy", own).refused("trust-malformed");
    update("fixed.trust", second, own).refused("trust-not-replaceable");
    update("3.trust", second, own).refused("trust-rollback");
    update("1.trust", "3.trust", "3.trust.tlog-proof").refused("trust-gap");
    update("1.trust", "other.trust", "other.trust.tlog-proof").refused("trust-other-package");
    update("1.trust", second, "strange.tlog-proof").refused("trust-not-proven");
    update("1.trust", second, "3.trust.tlog-proof").refused("trust-other-release");
    update("3.trust", "4.trust", "4.trust.tlog-proof").refused("trust-too-few-signers");
    assert!(!world.path("state/evidence").exists());
    let ran = update("2.trust", "other.trust", "other.trust.tlog-proof").refused("trust-fork");
    assert!(ran.stderr.contains("which is signed and logged as well"), "{ran:?}");
    assert_eq!(fs::read_dir(world.path("state/evidence")).unwrap().count(), 3);
    // None of them is remembered.
    assert!(!world.path("state/endpoint.trust").exists());
    // Every code is in the table.
    let table = include_str!("../../docs/trust.md");
    for code in treehead::endpoint::TrustUpdateCode::ALL {
        assert!(table.contains(&format!("| `{}` |", code.as_str())), "{code:?}");
    }
}

/// Whatever judges heads or statements takes a trust file for the policy and the publishers.
#[test]
fn monitors_and_the_load_generator_take_trust_files() {
    let (world, mut server) = world();
    make(&world, 1);
    world.publish(&server, "a.bin", "a", 1).done();
    let init = |dir: &str, more: &str| world.run(&format!("monitor init {dir} --log {}{more}", server.url));
    init("both", " --trust 1.trust --policy log/endpoint.policy").failed(2, "cannot be used with");
    init("none", "").failed(2, "--policy");
    init("watch", " --trust 1.trust").done();
    assert_eq!(world.read("watch/monitor.trust"), world.read("1.trust"));
    let look = || world.run("monitor --config watch/monitor.toml --once");
    let ran = look();
    assert!(!ran.stdout.contains("untrusted-statement"), "{ran:?}");
    // One whom the trust file does not name.
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind build";
    world.run(&format!("publisher add log {add}")).done();
    server.hang_up();
    world.write("b.bin", "b");
    let what = "--kind build --purl pkg:generic/example/other@1 --channel stable --sequence 1";
    world.run(&format!("publish b.bin {what} --log {} --key second.pem", server.url)).done();
    let ran = look();
    assert!(ran.stdout.contains("untrusted-statement"), "{ran:?}");
    // Two answers to one question are none.
    let settings = String::from_utf8(world.read("watch/monitor.toml")).unwrap();
    for (more, says) in [
        ("policy = \"../log/endpoint.policy\"\n", "saw both"),
        ("publishers = \"../log/publishers.toml\"\n", "those of the trust file alone"),
    ] {
        let line = "trust = \"monitor.trust\"";
        world.write("watch/monitor.toml", settings.replace(line, &format!("{more}{line}")));
        look().failed(2, says);
    }
    let load =
        "--key publisher.pem --purl pkg:generic/example/load@1.0.0 --duration 1s --writers 1 --rate 20";
    world.run(&format!("load --log {} {load} --trust 1.trust", server.url)).done();
    let other = World::new();
    grant(&other);
    make(&other, 1);
    world.write("other.trust", other.read("1.trust"));
    assert_ne!(
        world.run(&format!("load --log {} {load} --trust other.trust --channel x", server.url)).exit,
        0
    );
    world
        .run(&format!("load --log {} {load} --trust 1.trust --vkey log/log.vkey", server.url))
        .failed(2, "cannot be used");
}
