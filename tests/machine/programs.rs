//! The commands with programs of the system: openssl, and script(1), which plays a terminal.

use std::process::Command;

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
    // And the other way round: openssl reads what keygen wrote, and finds the same public half.
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
