//! Text from outside reaches a terminal, a page and a health check without invisible characters.

use crate::common::http;
use crate::monitoring::eventually;
use crate::program::World;

/// Clears the screen, writes backwards, and hides text.
const NAME: &str = "x\u{1b}[2J\u{202e}\u{200b}\u{85}y";
const SHOWN: &str = "x\\u{1b}[2J\\u{202e}\\u{200b}\\u{85}y";

/// The part of it that a statement may contain.
const STATED: &str = "x\u{202e}\u{200b}y";

#[track_caller]
fn is_plain(text: &str) {
    let hidden = text.chars().find(|c| *c != '\n' && NAME.contains(*c) && !('!'..='~').contains(c));
    assert_eq!(hidden, None, "{text:?}");
}

#[test]
fn an_argument_that_is_not_understood_drives_no_terminal() {
    let world = World::new();
    for line in [format!("verify a {NAME} --policy p --max-age {NAME}"), format!("--{NAME}"), NAME.to_owned()]
    {
        let ran = world.run(&line).failed(2, "\\u{202e}\\u{200b}");
        is_plain(&ran.stderr);
        assert!(ran.stderr.lines().count() > 2, "it has lines still: {ran:?}");
    }
    assert!(world.run("--version").done().stdout.starts_with("treehead "));
    assert!(world.run("verify --help").done().stdout.contains("--max-age"));
}

#[test]
fn a_file_name_drives_no_terminal() {
    let world = World::new();
    let server = world.serve();
    let missing = world.run(&format!("verify {NAME} --policy log/endpoint.policy")).failed(3, SHOWN);
    is_plain(&missing.stderr);
    world.publish(&server, NAME, "one", 1).failed(2, "text without control characters");
    world.publish(&server, STATED, "one", 1).done();
    world.write(NAME, "one");
    let proof = format!("--proof {STATED}.tlog-proof");
    let verified = world.run(&format!("verify {NAME} {proof} --policy log/endpoint.policy")).done();
    assert!(verified.stdout.contains(SHOWN), "{verified:?}");
    is_plain(&verified.stdout);
    // JSON keeps the text.
    let inspected = world.run(&format!("inspect {STATED}.tlog-proof --json")).done();
    is_plain(&inspected.stdout);
    assert_eq!(inspected.json()["entry"]["artifacts"][0]["name"], STATED);
    let found = http::get(server.url.strip_prefix("http://").unwrap().parse().unwrap(), "/releases");
    is_plain(found.text());
    assert_eq!(found.json()["releases"][0]["artifacts"][0]["name"], STATED);
}

#[test]
fn what_a_command_says_is_for_the_operator_alone() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let command =
        "\n[[command]]\nname = \"pager\"\nargv = [\"sh\", \"-c\", \"echo token=hunter2 >&2; exit 7\"]\n";
    let watch = "\n[[watch]]\nname = \"scanner\"\npackages = [\"pkg:generic/example/scanner\"]\nkinds = [\"build\"]\n";
    world.monitor("m", &server.url, &format!("{command}{watch}"));
    let monitor = world.follow("m");
    monitor.wait_for("release", |_| true);
    let address = monitor.server.url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();
    let mut health = String::new();
    eventually("the failure shows", || {
        health = http::get(address, "/healthz").text().to_owned();
        health.contains("exit-code")
    });
    assert!(!health.contains("hunter2") && health.contains("pager: exit-code"), "{health}");
    for path in ["/", "/metrics"] {
        assert!(!http::get(address, path).text().contains("hunter2"), "{path}");
    }
    assert!(monitor.server.talk().contains("hunter2"), "the operator reads it: {}", monitor.server.talk());
    let page = http::get(address, "/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(!policy.contains("unsafe"), "{policy}");
}
