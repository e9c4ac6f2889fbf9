//! Secret keys: their places, families, passphrases and errors.

use libtest_mimic::Completion;

use crate::common::needs::Outcome;
use crate::world::{Signing, base64, run};

pub fn a_key_comes_from_a_file_a_variable_or_standard_input() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    let key = String::from_utf8(world.read("publisher.pem")).expect("text");
    let dense = base64(key.as_bytes());
    // Some tools break base64 into lines.
    let broken = format!("{}\n{}\n", &dense[..40], &dense[40..]);
    for (sequence, value) in [(1, &key), (2, &dense), (3, &broken)] {
        let mut command = signing.publish(sequence);
        run(command.args(["--key", "env:VENDOR_KEY"]).env("VENDOR_KEY", value)).done();
        signing.verify().done();
    }
    world.run_with(&format!("{} --key -", signing.publication(4)), &key).done();
    signing.verify().done();
    // A file may have such a name.
    std::fs::copy(world.path("publisher.pem"), world.path("env:VENDOR_KEY")).expect("copied");
    run(signing.publish(5).args(["--key", "./env:VENDOR_KEY"])).done();
    assert_eq!(signing.server.tree_size(), 5);

    let says = "the variable \"VENDOR_KEY\" is not set, or empty";
    run(signing.publish(6).args(["--key", "env:VENDOR_KEY"])).failed(2, says);
    run(signing.publish(6).args(["--key", "env:VENDOR_KEY"]).env("VENDOR_KEY", "  \n")).failed(2, says);
    let noise = run(signing.publish(6).args(["--key", "env:VENDOR_KEY"]).env("VENDOR_KEY", "hunter2"));
    assert!(!noise.failed(2, "the variable VENDOR_KEY").stderr.contains("hunter2"));
    world.run_with(&format!("{} --key -", signing.publication(6)), "").failed(2, "standard input");
    let large = "x".repeat(70_000);
    world.run_with(&format!("{} --key -", signing.publication(6)), &large).failed(2, "at most 65536 bytes");
    assert_eq!(signing.server.tree_size(), 5);
    Ok(Completion::Completed)
}

pub fn a_passphrase_comes_from_a_file_or_a_variable() -> Outcome {
    let mut signing = Signing::new();
    let world = &signing.world;
    world.write("passphrase", "correct horse\n");
    world.chmod("passphrase", 0o600);
    world.run("keygen publisher --name vendor --out locked.pem --passphrase-file passphrase").done();
    assert!(world.read("locked.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    signing.register("locked.pub");
    let world = &signing.world;
    let with_file = |sequence| {
        let mut command = signing.publish(sequence);
        command.args(["--key", "locked.pem", "--passphrase-file", "passphrase"]);
        run(&mut command)
    };
    with_file(1).done();
    signing.verify().done();
    let with_variable = |sequence, passphrase: &str| {
        let mut command = signing.publish(sequence);
        run(command.args(["--key", "locked.pem"]).env("TREEHEAD_PASSPHRASE", passphrase))
    };
    with_variable(2, "correct horse").done();
    let ran =
        with_variable(3, "battery staple").failed(2, "expected the passphrase that it is encrypted with");
    assert!(!ran.stderr.contains("battery"), "{ran:?}");
    world.write("passphrase", "another");
    with_file(3).failed(2, "expected the passphrase that it is encrypted with");
    world.chmod("passphrase", 0o644);
    with_file(3).failed(2, "passphrase holds a secret that others can read");
    // There is no terminal to ask at.
    let mut command = std::process::Command::new("setsid");
    command.arg("-w").arg(env!("CARGO_BIN_EXE_treehead")).current_dir(world.path(""));
    command.args(signing.publication(3).split(' ')).args(["--key", "locked.pem"]);
    run(&mut command).failed(2, "locked.pem is encrypted: expected its passphrase in --passphrase-file");
    assert_eq!(signing.server.tree_size(), 2);
    Ok(Completion::Completed)
}

pub fn several_keys_make_one_envelope() -> Outcome {
    let mut signing = Signing::new();
    signing.world.run("keygen publisher --name vendor --algorithm ml-dsa-44 --out pq.pem").done();
    let both = ["--key", "publisher.pem", "--key", "pq.pem"];
    // The log drops the signature of a key that it does not know, and the publisher is told.
    let ran = run(signing.publish(1).args(both)).done();
    assert!(
        ran.stderr.contains("warning: the log has this statement without the signature of key "),
        "{ran:?}"
    );
    signing.register("pq.pub");
    let ran = run(signing.publish(2).args(both)).done();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    signing.verify().done();
    let proof =
        treehead::proof::ProofFile::parse(&signing.world.read("artifact.tlog-proof")).expect("a proof");
    let envelope =
        treehead::release::Envelope::parse_entry(&proof.extra.expect("an entry")).expect("an envelope");
    assert_eq!(envelope.signatures().len(), 2);
    // The next number follows a release that one of the keys signed.
    let line = signing.publication(3).replace("--sequence 3", "--sequence auto");
    run(signing.world.command(&line).args(["--key", "pq.pem", "--key", "publisher.pem"])).done();
    signing.verify().done();
    run(signing.publish(4).args(["--key", "pq.pem", "--key", "pq.pem"])).failed(2, "expected each key once");
    Ok(Completion::Completed)
}

pub fn every_family_that_keygen_makes_signs() -> Outcome {
    let mut signing = Signing::new();
    for (at, family) in ["ed25519", "ml-dsa-44", "ecdsa-p256", "ecdsa-p384"].into_iter().enumerate() {
        let line = format!("keygen publisher --name vendor --algorithm {family} --out {family}.pem");
        signing.world.run(&line).done();
        signing.register(&format!("{family}.pub"));
        let sequence = at as u64 + 1;
        run(signing.publish(sequence).args(["--key", &format!("{family}.pem")])).done();
        signing.verify().done();
    }
    assert_eq!(signing.server.tree_size(), 4);
    Ok(Completion::Completed)
}

pub fn keys_that_cannot_sign_say_why() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    for (name, content, says) in [
        ("noise.pem", "noise", "a publisher's secret key"),
        (
            "rsa.pem",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "sign with --signer",
        ),
        (
            "dsa.pem",
            "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
            "a block of DSA",
        ),
    ] {
        world.write(name, content);
        world.chmod(name, 0o600);
        run(signing.publish(1).args(["--key", name])).failed(2, says);
    }
    run(signing.publish(1).args(["--key", "publisher.pub"])).failed(2, "holds a public key");
    assert_eq!(signing.server.tree_size(), 0);
    Ok(Completion::Completed)
}
