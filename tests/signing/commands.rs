//! Commands that sign: the protocol, and each way to break it.

use std::time::{Duration, Instant};

use libtest_mimic::Completion;

use crate::common::needs::Outcome;
use crate::program::World;
use crate::world::{Signing, run};

/// Writes an executable script.
fn script(world: &World, name: &str, lines: &str) {
    world.write(name, format!("#!/bin/sh\n{lines}\n"));
    world.chmod(name, 0o755);
}

/// The signature of the release with this number by the registered key, as `publish` with that key makes it.
fn signature(signing: &Signing, sequence: u64) -> Vec<u8> {
    run(signing.publish(sequence).args(["--key", "publisher.pem"])).done();
    let proof =
        treehead::proof::ProofFile::parse(&signing.world.read("artifact.tlog-proof")).expect("a proof");
    let envelope =
        treehead::release::Envelope::parse_entry(&proof.extra.expect("an entry")).expect("an envelope");
    envelope.signatures()[0].1.clone()
}

pub fn a_command_signs_and_its_signature_is_verified_before_anything_is_sent() -> Outcome {
    let signing = Signing::new();
    // Ed25519 has one signature for each message: the log's answer has the one that the command gives below.
    let world = &signing.world;
    world.write("signature", signature(&signing, 1));
    script(world, "sign", "cat > message; printf '%s\\n' \"signing for $TREEHEAD_KEYID\" >&2; cat signature");
    let ran = signing.publish_by(1, "./sign 'an argument'", "publisher.pub").done();
    assert!(ran.stdout.contains("the log already had it; nothing was added"), "{ran:?}");
    assert!(ran.stderr.contains("signer: signing for "), "{ran:?}");
    assert!(world.read("message").starts_with(b"DSSEv1 28 application/vnd.in-toto+json "));
    signing.verify().done();
    // The same bytes are no signature of the next release.
    let ran = signing.publish_by(2, "./sign", "publisher.pub").refused("signer-signature");
    assert!(ran.stderr.contains("./sign: expected a signature by key "), "{ran:?}");
    // Nor one by another key.
    world.run("keygen publisher --name vendor --out other.pem").done();
    signing.publish_by(1, "./sign", "other.pub").refused("signer-signature");
    assert_eq!(signing.server.tree_size(), 1);
    Ok(Completion::Completed)
}

pub fn a_command_that_fails_sends_nothing() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    script(world, "fails", "echo 'no\x1b[2J token' >&2; exit 7");
    script(world, "hangs", "sleep 1000 & wait");
    script(world, "floods", "exec cat /dev/zero");
    script(world, "silent", "cat > /dev/null");
    script(world, "text", "echo MEUCIQDxMEUCIQDx");
    script(world, "wrong", "head -c 64 /dev/zero");
    for (signer, exit, says) in [
        ("./fails", 3, "./fails did not sign: expected exit code 0, saw 7; nothing was sent"),
        ("./hangs", 3, "./hangs did not sign within 1 s, and was killed; nothing was sent"),
        ("./floods", 3, "./floods answered too much: expected a signature of at most 8192 bytes"),
        ("./silent", 3, "./silent answered nothing"),
        ("./missing", 3, "could not start ./missing: "),
        ("./text", 1, "text that looks like base64: answer the bytes themselves"),
        ("./wrong", 1, "expected a signature by key "),
        ("./wrong 'open", 2, "--signer: "),
        ("", 2, "--signer: "),
    ] {
        let begin = Instant::now();
        let mut command = signing.publish(1);
        command.args(["--signer", signer, "--public-key", "publisher.pub", "--signer-timeout", "1s"]);
        let ran = run(&mut command).failed(exit, says);
        assert!(begin.elapsed() < Duration::from_secs(60), "{signer}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
    let ran = signing.publish_by(1, "./fails", "publisher.pub");
    assert!(ran.stderr.contains("signer: no\\u{1b}[2J token"), "{ran:?}");
    // Each command has its public key.
    let mut command = signing.publish(1);
    command.args(["--signer", "./text", "--signer", "./wrong", "--public-key", "publisher.pub"]);
    run(&mut command).failed(2, "expected one --public-key for each --signer");
    run(signing.publish(1).args(["--signer", "./text"])).failed(2, "--public-key");
    run(&mut signing.publish(1)).failed(2, "--key");
    assert_eq!(signing.server.tree_size(), 0);
    Ok(Completion::Completed)
}

pub fn secrets_do_not_reach_a_command() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    script(world, "tells", "env > environment; exit 1");
    let key = String::from_utf8(world.read("publisher.pem")).expect("text");
    world.run("keygen publisher --name vendor --out other.pem").done();
    let mut command = signing.publish(1);
    command.env("VENDOR_KEY", key).env("TREEHEAD_PASSPHRASE", "a passphrase").env("ORDINARY", "visible");
    command.args(["--key", "env:VENDOR_KEY", "--signer", "./tells", "--public-key", "other.pub"]);
    run(&mut command).failed(3, "./tells did not sign");
    let environment = String::from_utf8(world.read("environment")).expect("text");
    assert!(environment.contains("ORDINARY=visible"), "{environment}");
    assert!(environment.contains("TREEHEAD_SIGNER_PROTOCOL=1\n"), "{environment}");
    for hidden in ["VENDOR_KEY", "TREEHEAD_PASSPHRASE", "PRIVATE"] {
        assert!(!environment.contains(hidden), "{hidden}");
    }
    Ok(Completion::Completed)
}
