//! The drill of docs/operating.md, "Change the log's keys": both keys sign for a while, the trust file names the new ones,
//! the old ones go, and old proofs stay good.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use treehead::checkpoint::{Checkpoint, LogSigner};
use treehead::endpoint::{
    Artifact, Endpoint, Freshness, Pins, Question, TrustDir, TrustFile, VerdictCode, hash_artifact,
};
use treehead::note::{Note, NoteSigner};
use treehead::proof::wire::AddCheckpoint;

use crate::program::{ORIGIN, Server, World};
use crate::trust::{grant, learned, make, publish};
use crate::witnessed::open;

/// The verdict on an artifact by its proof file, by the trust file that counts for an endpoint.
fn verdict(world: &World, state: &str, file: &str) -> Result<(), VerdictCode> {
    let given = TrustFile::parse(&world.read("1.trust")).unwrap();
    let trusted = TrustDir::new(world.path(state)).newest(given).unwrap();
    let digest = hash_artifact(&world.path(file)).unwrap();
    let proof = world.read(&format!("{file}.tlog-proof"));
    let question = Question {
        artifact: Artifact::File { digest: &digest, name: Some(file) },
        proof: &proof,
        freshness: Freshness::now(None),
        pins: Pins::default(),
    };
    Endpoint::trusting(trusted).check(&question).map(drop).map_err(|error| error.code())
}

fn log_signatures(world: &World, file: &str) -> usize {
    let proof = String::from_utf8(world.read(&format!("{file}.tlog-proof"))).unwrap();
    proof.lines().filter(|line| line.starts_with(&format!("\u{2014} {ORIGIN} "))).count()
}

#[test]
fn a_log_changes_its_keys_and_endpoints_follow_by_a_trust_file() {
    let world = World::witnessed();
    grant(&world);
    let mut witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    open(&server);
    world.publish(&server, "old.bin", "old", 1).done();
    make(&world, 1);
    assert_eq!((verdict(&world, "away", "old.bin"), log_signatures(&world, "old.bin")), (Ok(()), 2));

    // 1. New keys, which the witnesses learn, and with which the log signs from its next start on.
    world.run(&format!("keygen log --name {ORIGIN} --out log/log.next.key")).done();
    let pq = "--algorithm ml-dsa-44 --out log/log.next.mldsa.key";
    world.run(&format!("keygen log --name {ORIGIN} {pq}")).done();
    // Two witnesses learn them late: until then they know these heads by the old keys alone.
    let learn = |number: usize, witness: &mut Server| {
        let keys = "log/log.next.vkey log/log.next.mldsa.vkey";
        world.run(&format!("witness add-log w{number} {keys}")).done();
        witness.hang_up();
    };
    learn(3, &mut witnesses[2]);
    server.terminate();
    let server = world.serve();
    open(&server);
    // 2. Both sign: an endpoint that knows of nothing refuses nothing.
    world.publish(&server, "both.bin", "both", 2).done();
    assert_eq!((verdict(&world, "away", "both.bin"), log_signatures(&world, "both.bin")), (Ok(()), 4));
    // 3. The next trust file names all of them, and one endpoint learns it, under the old keys.
    world.run("policy log --out log/endpoint.policy").done();
    make(&world, 2);
    let told = world.run("trust diff 1.trust 2.trust").done().stdout;
    assert_eq!(told.matches("  + log log.example.com/releases by key ").count(), 2, "{told}");
    publish(&world, &server, 2);
    assert_eq!(learned(&world, 2), (2, true));
    for file in ["old.bin", "both.bin"] {
        assert_eq!(verdict(&world, "state", file), Ok(()), "{file}");
    }

    // 4. The old secret keys go, and their public halves stay for old proofs. A thief has a copy.
    let stolen =
        ["log/log.key", "log/log.mldsa.key"].map(|name| String::from_utf8(world.read(name)).unwrap());
    server.terminate();
    (1..).zip(&mut witnesses[..2]).for_each(|(number, witness)| learn(number, witness));
    for (from, to) in [
        ("log.vkey", "log.old.vkey"),
        ("log.mldsa.vkey", "log.old.mldsa.vkey"),
        ("log.next.key", "log.key"),
        ("log.next.vkey", "log.vkey"),
        ("log.next.mldsa.key", "log.mldsa.key"),
        ("log.next.mldsa.vkey", "log.mldsa.vkey"),
    ] {
        fs::rename(world.path(&format!("log/{from}")), world.path(&format!("log/{to}"))).unwrap();
    }
    let server = world.serve();
    open(&server);
    // 5. The witnesses forget them: a thief of the old keys gets no cosignature any more.
    let old = ["log.old.vkey", "log.old.mldsa.vkey"]
        .map(|name| String::from_utf8(world.read(&format!("log/{name}"))).unwrap());
    for (number, witness) in (1..=3).zip(&mut witnesses) {
        let name = format!("w{number}/logs.policy");
        let text = String::from_utf8(world.read(&name)).unwrap();
        let stays = |line: &&str| old.iter().all(|key| !line.contains(key.trim()));
        let kept: String = text.lines().filter(stays).map(|line| format!("{line}\n")).collect();
        assert_eq!(text.lines().count() - kept.lines().count(), 2);
        world.write(&name, kept);
        witness.hang_up();
    }
    world.publish(&server, "new.bin", "new", 3).done();
    assert_eq!(log_signatures(&world, "new.bin"), 2);
    no_witness_cosigns_for(&world, &server, &witnesses, &stolen);
    // The endpoint that learned verifies new proofs and old ones; the other one has to learn first.
    for file in ["old.bin", "both.bin", "new.bin"] {
        assert_eq!(verdict(&world, "state", file), Ok(()), "{file}");
    }
    assert_eq!(verdict(&world, "away", "new.bin"), Err(VerdictCode::CheckpointSignature));
    world.run("verify new.bin --trust 1.trust --state state").done();
    world.run("verify new.bin --trust 1.trust --state away").refused("checkpoint-signature");
    assert_eq!(verdict(&world, "away", "old.bin"), Ok(()));
    // The proof of the trust file is from the time of both keys, so it can learn at any time.
    let update = "trust update 1.trust --new 2.trust --proof 2.trust.tlog-proof --state away";
    world.run(update).done();
    assert_eq!(verdict(&world, "away", "new.bin"), Ok(()));
    // The next trust file goes by the new keys.
    make(&world, 3);
    publish(&world, &server, 3);
    assert_eq!(learned(&world, 3), (3, true));
    // Whole: settings, keys and policy agree, and a backup carries the old public keys.
    server.terminate();
    world.run("fsck log").done();
    world.run("backup log backup").done();
    assert!(world.path("backup/log.old.vkey").exists());
}

/// Asks each witness to cosign the log's own head with other signatures: the witnesses know the tree, and the keys decide.
fn no_witness_cosigns_for(world: &World, log: &Server, witnesses: &[Server], stolen: &[String]) {
    let signed = |keys: &[String]| {
        let shown = Note::parse(&log.get("/checkpoint").1).unwrap();
        let head = Checkpoint::parse(shown.text()).unwrap();
        let signer = |at: usize| NoteSigner::parse(keys[at].trim()).unwrap();
        let checkpoint = LogSigner::new(signer(0), Some(signer(1))).sign(&head, 1_770_000_000);
        AddCheckpoint { old: head.size, proof: Vec::new(), checkpoint }.to_string()
    };
    let own = ["log/log.key", "log/log.mldsa.key"].map(|name| String::from_utf8(world.read(name)).unwrap());
    for witness in witnesses {
        let (status, answer) = witness.post("/add-checkpoint", signed(stolen).as_bytes());
        assert_eq!(status, 403, "signed by the old keys: {answer}");
        assert_eq!(witness.post("/add-checkpoint", signed(&own).as_bytes()).0, 200, "signed by the new keys");
    }
}

/// Backups that are made while both keys sign: the log that is made of one signs with all of them again.
#[test]
fn a_backup_from_the_time_of_both_keys_makes_a_log_with_both() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "old.bin", "old", 1).done();
    server.terminate();
    world.run(&format!("keygen log --name {ORIGIN} --out log/log.next.key")).done();
    let pq = "--algorithm ml-dsa-44 --out log/log.next.mldsa.key";
    world.run(&format!("keygen log --name {ORIGIN} {pq}")).done();
    let server = world.serve();
    world.publish(&server, "both.bin", "both", 2).done();
    assert_eq!(log_signatures(&world, "both.bin"), 4);
    world.run("backup log safe --with-key").done();
    world.run("backup log plain").done();
    server.terminate();
    fs::rename(world.path("log"), world.path("lost")).unwrap();
    let secrets = ["log.key", "log.mldsa.key", "log.next.key", "log.next.mldsa.key"];
    // Without the secret keys it says which ones are missing, and with them it goes on.
    let told = world.run("restore plain log").done().stdout;
    for name in secrets {
        assert!(told.contains(&format!("{name} was not in the backup")), "{name}: {told}");
        assert!(!world.path(&format!("log/{name}")).exists());
    }
    assert!(world.path("log/log.next.vkey").exists() && world.path("log/log.next.mldsa.vkey").exists());
    assert_ne!(world.run("serve log --listen 127.0.0.1:0").exit, 0, "not with fewer keys than it has");
    fs::remove_dir_all(world.path("log")).unwrap();
    world.run("restore safe log").done();
    for name in secrets {
        let mode = fs::metadata(world.path(&format!("log/{name}"))).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        assert_eq!(world.read(&format!("log/{name}")), world.read(&format!("lost/{name}")));
    }
    world.run("fsck log").done();
    let server = world.serve();
    world.publish(&server, "more.bin", "more", 3).done();
    assert_eq!(log_signatures(&world, "more.bin"), 4);
}
