//! The commands together with programs of the system: openssl, script(1), which emulates a terminal, and promtool.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Completion;

use crate::common::needs::{Outcome, ignored};
use crate::program::World;

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";
/// Makes a missing program a failure.
const REQUIRED: &str = "TREEHEAD_REQUIRE_PROGRAMS";

pub fn keys_that_openssl_made_publish_too() -> Outcome {
    let openssl = |world: &World, line: &str| {
        Command::new("openssl").args(line.split(' ')).current_dir(world.path("")).output()
    };
    let world = World::new();
    let Ok(made) = openssl(&world, "genpkey -algorithm ed25519 -out ssl.pem") else {
        return ignored("there is no openssl", REQUIRED);
    };
    assert!(made.status.success(), "{made:?}");
    assert!(openssl(&world, "pkey -in ssl.pem -pubout -out ssl.pub").unwrap().status.success());
    world.chmod("ssl.pem", 0o600);
    world.run("publisher add log --name ssl --key ssl.pub --purl pkg:generic/ssl --kind build").done();
    let server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1).replace("publisher.pem", "ssl.pem");
    world.run(&line.replace("example/scanner", "ssl")).done();
    let ran = world.run(&format!("verify a.bin {VERIFY}")).done();
    assert!(ran.stdout.contains("publisher  ssl\n"), "{ran:?}");
    // The other way round: openssl reads the key of keygen, and finds the same public half.
    let public = openssl(&world, "pkey -in publisher.pem -pubout").unwrap();
    assert_eq!(public.stdout, world.read("publisher.pub"), "{public:?}");
    Ok(Completion::Completed)
}

/// Types an answer at a terminal.
fn typed(world: &World, line: &str, answer: &str) -> Option<(bool, String)> {
    let program = world.command(line).get_program().to_owned();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &format!("{} {line}", program.to_str()?), "/dev/null"]);
    script
        .current_dir(world.path(""))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = script.spawn().ok()?;
    std::io::Write::write_all(&mut child.stdin.take()?, format!("{answer}\n").as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

pub fn at_a_terminal_a_yes_is_enough_and_nothing_less() -> Outcome {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let line = format!(
        "withdraw --log {} --key publisher.pem --policy log/endpoint.policy --leaf 0 --reason broken",
        server.url
    );
    for (answer, withdrawn) in [("no", false), ("y", false), ("yes", true)] {
        let Some((done, said)) = typed(&world, &line, answer) else {
            return ignored("there is no script(1)", REQUIRED);
        };
        assert_eq!(done, withdrawn, "{answer}: {said}");
        assert!(
            said.contains("pkg:generic/example/scanner@1.0") && said.contains("A withdrawal can't be undone"),
            "{said}"
        );
        assert_eq!(server.tree_size(), if withdrawn { 2 } else { 1 }, "{answer}: {said}");
    }
    Ok(Completion::Completed)
}

/// Runs promtool with this input; `None` if there is none.
fn promtool(args: &[&str], input: &[u8]) -> Option<Output> {
    let mut promtool = Command::new("promtool");
    promtool.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().ok()?;
    // A promtool that reads nothing closes the pipe.
    let _ = child.stdin.take()?.write_all(input);
    child.wait_with_output().ok()
}

pub fn promtool_accepts_the_rules_and_all_metrics() -> Outcome {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let file = |name: &str| docs.join(name).to_str().expect("text").to_owned();
    for rules in ["monitor-rules", "bucket-rules"] {
        let (rules, tests) = (file(&format!("{rules}.yml")), file(&format!("{rules}.test.yml")));
        for args in [["check", "rules", &rules], ["test", "rules", &tests]] {
            let Some(ran) = promtool(&args, b"") else { return ignored("there is no promtool", REQUIRED) };
            assert!(ran.status.success(), "{ran:?}");
        }
    }
    let world = World::witnessed();
    let witness = world.serve_witness(1);
    let log = world.serve();
    world.write("urls.policy", world.run("policy log --urls").done().stdout);
    let line = format!("monitor init m --log {} --policy urls.policy --listen 127.0.0.1:0", log.url);
    world.run(&line).done();
    let monitor = world.start_with("monitor --config m/monitor.toml", " following ", Stdio::null());
    for server in [&log, &witness, &monitor] {
        let (status, metrics) = server.get("/metrics");
        assert_eq!(status, 200);
        let ran = promtool(&["check", "metrics"], &metrics).expect("it ran before");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && said.is_empty(), "{said}");
    }
    Ok(Completion::Completed)
}
