//! The image verifier, called as containerd's plugin `bindir` calls it.

use std::process::Command;

use libtest_mimic::Completion;
use serde_json::json;
use treehead::merkle::Hash;

use crate::common::needs::Outcome;
use crate::machine::{integration, log_for, run, settings};
use crate::program::{Ran, World};

const NAME: &str = "registry.example.com/acme/agent:5";
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

fn verifier(world: &World, arguments: &[&str], digest: &str) -> Ran {
    let mut command = Command::new(integration("containerd/treehead-verifier"));
    command.args(arguments).env("TREEHEAD_GATE", world.path("gate.toml"));
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1_234,
    });
    run(world, &mut command, descriptor.to_string().as_bytes())
}

fn asked(world: &World, name: &str, content: &[u8]) -> Ran {
    let digest = format!("sha256:{}", Hash::digest(content).to_hex());
    verifier(world, &["-name", name, "-digest", &digest, "-stdin-media-type", DESCRIPTOR], &digest)
}

pub fn a_logged_image_is_allowed_and_others_are_not() -> Outcome {
    let (world, server) = log_for("pkg:oci/*");
    let line = json!({
        "purl": "pkg:oci/agent@5", "kind": "build", "channel": "stable", "sequence": 5,
        "artifacts": [{ "name": "registry.example.com/acme/agent", "sha256": Hash::digest(b"manifest").to_hex() }],
    });
    world.write("releases.jsonl", format!("{line}\n"));
    world.run(&format!("publish --from releases.jsonl --log {} --key acme.pem", server.url)).done();
    let rules = "[[rule]]\npackages = ['registry.example.com/*']\nunlogged = 'require'\npublisher = 'acme'\n\
        [[rule]]\npackages = ['*']\nunlogged = 'warn'\n";
    settings(&world, &format!("fetch = true\nlog = '{}'\n{rules}", server.url));
    let ran = asked(&world, NAME, b"manifest").done();
    assert_eq!(ran.stdout, format!("proven   {NAME}: pkg:oci/agent@5 (build, stable, sequence 5) by acme\n"));
    // The reason is on standard output, where containerd reads it.
    let ran = asked(&world, NAME, b"another");
    assert_eq!((ran.exit, ran.stderr.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("refused (not-logged): {NAME}: ")), "{ran:?}");
    let ran = asked(&world, "docker.io/library/busybox:latest", b"another").done();
    assert!(ran.stdout.starts_with("warning: docker.io/library/busybox:latest is not proven"), "{ran:?}");
    // With a container about to start, as newer versions ask.
    let digest = format!("sha256:{}", Hash::digest(b"manifest").to_hex());
    let wrapped = "application/vnd.containerd.image-verifier.input.v1+json";
    let arguments = ["-name", NAME, "-digest", &digest, "-stdin-media-type", wrapped, "-operation", "run"];
    verifier(&world, &arguments, &digest).done();
    // Offline, from a folder.
    drop(server);
    let ran = asked(&world, NAME, b"manifest");
    assert_eq!(ran.exit, 3, "{ran:?}");
    Ok(Completion::Completed)
}

pub fn a_call_that_is_not_understood_blocks_the_image() -> Outcome {
    let (world, _server) = log_for("pkg:oci/*");
    settings(&world, "[[rule]]\npackages = ['*']\nunlogged = 'skip'\n");
    let digest = format!("sha256:{}", Hash::digest(b"manifest").to_hex());
    verifier(&world, &["-name", NAME, "-digest", &digest, "-stdin-media-type", DESCRIPTOR], &digest).done();
    verifier(&world, &["--name=x", &format!("--digest={digest}")], &digest).done();
    for (arguments, says) in [
        (&[][..], "expected -name"),
        (&["-name", NAME], "expected -digest sha256:"),
        (&["-digest", &digest], "expected -name"),
        (&["-name", NAME, "-digest"], "expected a value after -digest"),
        (&["-name", NAME, "-digest", "sha512:00"], "saw sha512:00"),
        (&["-name", NAME, "-digest", "sha256:00"], "64 hex digits"),
        (&["-name", NAME, "-digest", &digest, "-other"], "saw -other"),
    ] {
        let ran = verifier(&world, arguments, &digest);
        assert!(ran.exit != 0 && ran.stdout.contains(says), "{arguments:?}: {ran:?}");
    }
    std::fs::remove_file(world.path("gate.toml")).unwrap();
    let ran = asked(&world, NAME, b"manifest");
    assert!(ran.exit == 3 && ran.stdout.contains("gate.toml"), "{ran:?}");
    Ok(Completion::Completed)
}
