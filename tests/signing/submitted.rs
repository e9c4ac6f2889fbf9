//! Prepare, sign, submit.

use libtest_mimic::Completion;
use serde_json::{Value, json};

use crate::REQUIRED;
use crate::common::needs::{Outcome, ignored};
use crate::world::{Signing, base64, has, run, tool};

/// The arguments of a statement for the log.
fn statement(signing: &Signing, sequence: &str) -> String {
    format!(
        "statement artifact --log {} --kind build --purl pkg:generic/example/scanner@9.0 --channel stable --sequence {sequence} --out statement.json",
        signing.server.url
    )
}

/// Signs a file by openssl.
fn sign(signing: &Signing, file: &str, key: &str, signature: &str) {
    tool(
        &signing.world,
        "openssl",
        &["pkeyutl", "-sign", "-rawin", "-in", file, "-inkey", key, "-out", signature],
    );
}

fn submit(signing: &Signing, more: &str) -> String {
    let line = format!("submit statement.json --log {} --out artifact.tlog-proof {more}", signing.server.url);
    line.trim_end().to_owned()
}

const SIGNED: &str = "--signature statement.sig --public-key publisher.pub";

pub fn a_statement_is_written_signed_elsewhere_and_submitted() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let signing = Signing::new();
    let world = &signing.world;
    let told = world.run(&format!("{} --json", statement(&signing, "9"))).done().json();
    assert_eq!(
        (&told["log"], &told["to_sign"]),
        (&json!(crate::program::ORIGIN), &json!("statement.json.pae"))
    );
    let payload = world.read("statement.json");
    let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
    assert_eq!(world.read("statement.json.pae"), [head.as_bytes(), &payload].concat());
    sign(&signing, "statement.json.pae", "publisher.pem", "statement.sig");
    let ran = world.run(&submit(&signing, &format!("{SIGNED} --policy log/endpoint.policy"))).done();
    assert!(
        ran.stdout.contains("leaf 0 of log.example.com/releases\nproof  artifact.tlog-proof\n"),
        "{ran:?}"
    );
    signing.verify().done();
    let again = world.run(&submit(&signing, SIGNED)).done();
    assert!(again.stdout.contains("the log already had it; nothing was added"), "{again:?}");
    // It is the statement that `publish` would have made.
    let line = signing.publication(9);
    let ran = run(world.command(&line).args(["--key", "publisher.pem"])).done();
    assert!(ran.stdout.contains("nothing was added"), "{ran:?}");
    assert_eq!(signing.server.tree_size(), 1);
    Ok(Completion::Completed)
}

pub fn what_was_not_signed_rightly_is_not_sent() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let signing = Signing::new();
    let world = &signing.world;
    world.run(&statement(&signing, "9")).done();
    sign(&signing, "statement.json", "publisher.pem", "statement.sig");
    let ran = world.run(&submit(&signing, SIGNED)).refused("signer-signature");
    assert!(ran.stderr.contains("sign the file that ends in .pae"), "{ran:?}");
    world.run("keygen publisher --name vendor --out other.pem").done();
    sign(&signing, "statement.json.pae", "other.pem", "statement.sig");
    world.run(&submit(&signing, SIGNED)).refused("signer-signature");
    world.write("statement.sig", "c2lnbmF0dXJl\n");
    let ran = world.run(&submit(&signing, SIGNED)).refused("signer-signature");
    assert!(ran.stderr.contains("looks like base64"), "{ran:?}");
    world.write("statement.sig", [0; 10_000]);
    world.run(&submit(&signing, SIGNED)).failed(2, "at most 8192");
    world.run(&submit(&signing, "")).failed(2, "a statement needs --signature and --public-key");
    world.run(&submit(&signing, "--signature statement.sig")).failed(2, "--public-key");
    let two = format!("{SIGNED} --signature statement.sig");
    world.run(&submit(&signing, &two)).failed(2, "expected one --public-key for each --signature");
    // Another log's statement.
    let line =
        statement(&signing, "9").replace(&format!("--log {}", signing.server.url), "--origin other.example");
    world.run(&line).done();
    sign(&signing, "statement.json.pae", "publisher.pem", "statement.sig");
    world.run(&submit(&signing, SIGNED)).refused("other-log");
    // A proof does not replace anything else.
    let onto = submit(&signing, SIGNED).replace("--out artifact.tlog-proof", "--out artifact");
    world.run(&onto).failed(2, "artifact is there and is no proof file");
    assert_eq!(signing.server.tree_size(), 0);
    Ok(Completion::Completed)
}

pub fn an_envelope_goes_in_as_it_was_signed() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let mut signing = Signing::new();
    signing.world.run("keygen publisher --name builder --out builder.pem").done();
    let rights = "--purl pkg:generic/example/* --kind provenance";
    signing.world.run(&format!("publisher add log --name builder --key builder.pub {rights}")).done();
    signing.server.hang_up();
    let world = &signing.world;
    // Another tool's spelling of SLSA provenance: in-toto v0.1, with spaces, no keyid, URL-safe base64.
    let digest = "61".repeat(32);
    let payload = format!(
        "{{ \"_type\": \"https://in-toto.io/Statement/v0.1\",\n \"subject\": [{{\"name\": \"pkg:generic/example/scanner@9.0\", \"digest\": {{\"sha256\": \"{digest}\"}}}}],\n \"predicateType\": \"https://slsa.dev/provenance/v1\",\n \"predicate\": {{\"buildDefinition\": {{\"buildType\": \"https://example.com/build\", \"externalParameters\": {{}}}}, \"runDetails\": {{\"builder\": {{\"id\": \"https://example.com/builder\"}}}}}} }}\n"
    );
    world.write("message", format!("DSSEv1 28 application/vnd.in-toto+json {} {payload}", payload.len()));
    sign(&signing, "message", "builder.pem", "signature");
    let envelope = |payload: &str| {
        json!({
            "payload": base64(payload.as_bytes()).replace('+', "-").replace('/', "_"),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": base64(&world.read("signature")), "extra": true }],
        })
    };
    let pretty = |envelope: &Value| serde_json::to_string_pretty(envelope).expect("JSON");
    world.write("statement.json", pretty(&envelope(&payload)));
    world.run(&submit(&signing, "--public-key publisher.pub")).refused("signer-signature");
    world.run(&submit(&signing, "--public-key builder.pub --policy log/endpoint.policy")).done();
    let told = world.run("inspect artifact.tlog-proof").done();
    assert!(told.stdout.contains("provenance"), "{told:?}");
    world.write("statement.json", pretty(&envelope("{}")));
    assert_eq!(world.run(&submit(&signing, "")).exit, 1);
    assert_eq!(signing.server.tree_size(), 1);
    Ok(Completion::Completed)
}

/// What a rebuilder found, as its own tool states and signs it.
pub fn a_summary_is_signed_elsewhere_and_submitted() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let mut signing = Signing::new();
    signing.world.run("keygen publisher --name rebuilder --out rebuilder.pem").done();
    let rights = "--purl pkg:generic/example/* --kind verification-summary";
    signing.world.run(&format!("publisher add log --name rebuilder --key rebuilder.pub {rights}")).done();
    signing.server.hang_up();
    let world = &signing.world;
    std::fs::create_dir(world.path("rebuilt")).expect("a folder");
    world.write("rebuilt/artifact", "a scanner");
    let about = "--verifier https://r.example.com --resource pkg:generic/example/scanner@9.0";
    world.run(&format!("rebuild-check artifact rebuilt/artifact --summary summary.json {about}")).done();
    let predicate: Value = serde_json::from_slice(&world.read("summary.json")).expect("JSON");
    let digest = predicate["urn:treehead:rebuild:v1"]["artifact"]["sha256"].clone();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate,
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "subject": [{ "name": "artifact", "digest": { "sha256": digest } }],
    });
    let payload = serde_json::to_string_pretty(&statement).expect("JSON");
    world.write("statement.json", &payload);
    world.write("message", format!("DSSEv1 28 application/vnd.in-toto+json {} {payload}", payload.len()));
    let signed = "--signature statement.sig --public-key rebuilder.pub --policy log/endpoint.policy";
    // The vendor may publish, but not judge.
    sign(&signing, "message", "publisher.pem", "statement.sig");
    world
        .run(&submit(&signing, &signed.replace("rebuilder", "publisher")))
        .refused("publisher-not-permitted");
    sign(&signing, "message", "rebuilder.pem", "statement.sig");
    world.run(&submit(&signing, signed)).done();
    let check = "verify-statement artifact.tlog-proof --policy log/endpoint.policy --file artifact";
    let told = world.run(check).done();
    assert!(told.stdout.contains("REBUILT_IDENTICAL"), "{told:?}");
    Ok(Completion::Completed)
}

pub fn a_statement_needs_a_number_and_a_log() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    world.run(&statement(&signing, "auto")).failed(2, "expected --public-key, to ask for the highest number");
    let with_key =
        |sequence: &str| format!("{} --public-key publisher.pub --json", statement(&signing, sequence));
    let number = |line: &str| world.run(line).done().json()["sequence"].as_u64().expect("a number");
    assert_eq!(number(&with_key("auto")), 1);
    run(signing.publish(41).args(["--key", "publisher.pem"])).done();
    assert_eq!(number(&with_key("auto")), 42);
    let offline = statement(&signing, "time")
        .replace(&format!("--log {}", signing.server.url), "--origin log.example.com/releases");
    assert!(number(&format!("{offline} --json")) > 20_260_000_000_000);
    world.run(&offline.replace("time", "auto")).failed(2, "--sequence auto: expected --log");
    world.run(&offline.replace(" --origin log.example.com/releases", "")).failed(2, "--log");
    world.run(&format!("{} --origin other.example", statement(&signing, "9"))).refused("other-log");
    // The statement replaces no other file.
    world.write("statement.json", "precious");
    world.run(&offline).failed(2, "statement.json is there and is no statement");
    assert_eq!(world.read("statement.json"), b"precious");
    Ok(Completion::Completed)
}
