//! Floods of withdrawals: by strangers, who must not hinder anyone, and by publishers with a right to the package.

use treehead::client::{BatchWriter, LogClient, Wait};
use treehead::proof::ProofFile;
use treehead::release::{Envelope, PublisherSigner, Withdrawal};

use crate::common::proxy::Proxy;
use crate::online::{online, releases, verify};
use crate::program::{Server, World};
use crate::withdrawn::{publisher, withdraw};

/// The number of withdrawals that the log accepts in a batch.
const BATCH: usize = 64;

/// Registers a publisher, and releases a copy of an artifact under another package name. Returns what it takes to
/// withdraw the copy.
fn copier(world: &World, server: &Server, name: &str, purl: &str, file: &str, sequence: u64) -> Copy {
    if !world.path(&format!("{name}.pem")).exists() {
        world.run(&format!("keygen publisher --name {name} --out {name}.pem")).done();
        let pattern = purl.split('@').next().unwrap();
        let add = format!("publisher add log --name {name} --key {name}.pub --purl {pattern} --kind build");
        world.run(&add).done();
    }
    world.write(&format!("{name}-{file}"), world.read(file));
    let line = format!(
        "publish {name}-{file} --log {} --key {name}.pem --kind build --purl {purl} --channel stable --sequence {sequence}",
        server.url
    );
    // The log rereads its publishers within a second.
    crate::monitoring::eventually("the copy is in the log", || world.run(&line).exit == 0);
    let proof = ProofFile::parse(&world.read(&format!("{name}-{file}.tlog-proof"))).unwrap();
    let pem = String::from_utf8(world.read(&format!("{name}.pem"))).unwrap();
    Copy { proof, key: PublisherSigner::from_pem(&pem).unwrap() }
}

struct Copy {
    proof: ProofFile,
    key: PublisherSigner,
}

impl Copy {
    /// Withdraws the copy this many times, each for another reason.
    fn flood(&self, server: &Server, times: std::ops::Range<usize>) {
        let client = LogClient::new(&server.url).unwrap();
        let entry = self.proof.extra.as_ref().unwrap();
        let numbers: Vec<usize> = times.collect();
        for some in numbers.chunks(BATCH) {
            let mut batch = BatchWriter::default();
            for number in some {
                let withdrawal =
                    Withdrawal::of(self.proof.index, entry, &format!("reason {number}")).unwrap();
                let envelope = Envelope::sign(withdrawal.to_payload().unwrap(), &[&self.key]).unwrap();
                assert!(batch.push(&envelope.to_entry()).unwrap());
            }
            let answers = client.add_batch(&batch, Wait::Published).unwrap();
            assert!(answers.iter().all(|answer| answer.duplicate == Some(false)), "{answers:?}");
        }
    }
}

#[test]
fn strangers_neither_hide_a_withdrawal_nor_hinder_a_sound_release() {
    let (world, server) = releases(2);
    let copies = [("1.bin", 1), ("2.bin", 2)].map(|(file, sequence)| {
        copier(&world, &server, "stranger", &format!("pkg:generic/stranger@{sequence}.0"), file, sequence)
    });
    withdraw(&world, &server, "1.bin", &publisher(&world));
    let mut flooded = 0;
    for count in [250, 2_100] {
        copies.iter().for_each(|copy| copy.flood(&server, flooded..count));
        flooded = count;
        // The first request of each endpoint.
        let _ = std::fs::remove_dir_all(world.path("state"));
        let between = Proxy::before(&server.url, |_| None);
        let ran = world.run(&format!("{} --json", online("2.bin", &between.url))).done();
        assert_eq!((&ran.json()["code"], &ran.json()["withdrawals"]), (&"verified".into(), &"learnt".into()));
        // By leaf, by artifact for each name of the signer, and by package, where the other release was withdrawn
        // once: that withdrawal, and the release that it withdraws.
        assert_eq!((between.asked("/releases"), between.asked("/proof/leaf")), (4, 2), "{count}");
        std::fs::remove_dir_all(world.path("state")).unwrap();
        world.run(&online("1.bin", &server.url)).refused("withdrawn");
        world.run(&verify("1.bin", "")).refused("withdrawn");
    }
}

/// A publisher with a right to the package cannot withdraw releases of others, however often it withdraws the same
/// bytes under the same purl.
#[test]
fn a_rival_with_rights_to_the_package_is_no_hindrance() {
    let (world, server) = releases(1);
    world.write("few.toml", world.read("log/publishers.toml"));
    let rival = copier(&world, &server, "rival", "pkg:generic/example/scanner@1.0", "1.bin", 1);
    rival.flood(&server, 0..2_100);
    // It makes no difference whether the endpoint knows the rival.
    for publishers in ["log/publishers.toml", "few.toml"] {
        let line = online("1.bin", &server.url).replace("log/publishers.toml", publishers);
        world.run(&line.replace(" --state state", "")).done();
    }
    withdraw(&world, &server, "1.bin", &publisher(&world));
    world.run(&online("1.bin", &server.url)).refused("withdrawn");
}

/// A publisher can flood itself. Releases whose withdrawals were not all checked are not called good.
#[test]
fn a_cap_that_was_reached_is_no_verdict() {
    let (world, server) = releases(1);
    world.write("extra.bin", "extra");
    let more =
        world.publish_line(&server, "1.bin extra.bin", 1).replace("stable", "beta") + " --out more.proof";
    world.run(&more).done();
    let rival = Copy { proof: ProofFile::parse(&world.read("more.proof")).unwrap(), key: publisher(&world) };
    rival.flood(&server, 0..201);
    let line = online("1.bin", &server.url);
    let ran = world.run(&line).failed(3, "than one run checks (200 new ones");
    assert!(ran.stderr.contains("none so far is of this release"), "{ran:?}");
    assert!(!ran.stderr.contains("Do not install"), "{ran:?}");
    // Without a memory, each run is the same; with one, the next run continues where this one stopped.
    world.run(&line.replace(" --state state", "")).failed(3, "than one run checks");
    world.run(&line).done();
    rival.flood(&server, 201..300);
    withdraw(&world, &server, "1.bin", &publisher(&world));
    world.run(&line).refused("withdrawn");
}
