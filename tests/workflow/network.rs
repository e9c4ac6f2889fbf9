//! Proxies and certificates: the ways of the program's clients to servers on other machines.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::common::receiver::Receiver;
use crate::monitoring::eventually;
use crate::program::{Ran, World};
use crate::tls_front::TlsFront;

/// Nothing listens there, so every request fails.
const DEAD_PROXY: &str = "http://127.0.0.1:9";
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

#[track_caller]
fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let exit = output.status.code().expect("no signal");
    Ran { exit, stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn loopback_is_reached_whatever_proxy_the_environment_names() {
    let world = World::witnessed();
    let proxied = |line: &str| {
        let mut command = world.command(line);
        command.envs(PROXY_VARIABLES.map(|name| (name, DEAD_PROXY)));
        command
    };
    let demo = ran(&mut proxied("demo"));
    assert_eq!(demo.exit, 0, "{demo:?}");
    // The log reaches its witnesses over loopback, too.
    let witnesses: Vec<_> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let mut serve = proxied("serve log --listen 127.0.0.1:0");
    let server = World::start_command(serve.stdout(Stdio::null()), " serving ");
    world.write("one.bin", "one");
    ran(&mut proxied(&world.publish_line(&server, "one.bin", 1))).done();
    drop((server, witnesses));
}

#[test]
fn a_proxy_is_asked_for_the_scheme_that_its_variable_names() {
    let world = World::new();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (stream, _) = proxy.accept().expect("a client");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a request");
        line
    });
    // No resolver knows this name, so only the proxy can reach it.
    let line = "fsck http://log.invalid --policy log/endpoint.policy";
    let mut wrong_scheme = world.command(line);
    wrong_scheme.env("https_proxy", &address).env("HTTP_PROXY", &address);
    let direct = ran(&mut wrong_scheme);
    assert_eq!(direct.exit, 3, "{direct:?}");
    let mut excepted = world.command(line);
    ran(excepted.env("http_proxy", &address).env("no_proxy", "invalid")).failed(3, "no answer from");
    assert!(!asked.is_finished(), "nobody has asked the proxy");
    let through = format!("(through the proxy {})", address.trim_start_matches("http://"));
    ran(world.command(line).env("http_proxy", &address)).failed(3, &through);
    let request = asked.join().unwrap();
    assert_eq!(request, "CONNECT log.invalid:80 HTTP/1.1\r\n");
    let wrong = ran(world.command(line).env("all_proxy", "ftp://user:secret@proxy"));
    assert!(!wrong.stderr.contains("secret"), "{wrong:?}");
    wrong.failed(2, "all_proxy is not a proxy address");
}

#[test]
fn a_private_authority_is_believed_where_the_user_names_it() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let front = TlsFront::before(&server.url, &["localhost"]);
    world.write("ca.pem", &front.authority);
    let line = format!("fsck {} --policy log/endpoint.policy", front.url);
    let refused = world.run(&line).failed(3, "certificate");
    assert!(
        refused.stderr.contains("--cacert") && !refused.stderr.contains("is a server running"),
        "{refused:?}"
    );
    world.run(&format!("{line} --cacert ca.pem")).done();
    let by_file = |name: &str| ran(world.command(&line).env("SSL_CERT_FILE", world.path(name)));
    by_file("ca.pem").done();
    fs::create_dir(world.path("certs")).unwrap();
    world.write("certs/ca.pem", &front.authority);
    ran(world.command(&line).env("SSL_CERT_DIR", world.path("certs"))).done();
    by_file("missing.pem").failed(3, "no trusted certificates were found");
    world.write("none.pem", "");
    by_file("none.pem").failed(3, "none.pem, holds none");
    assert!(std::process::Command::new("mkfifo").arg(world.path("pipe.pem")).status().unwrap().success());
    by_file("pipe.pem").failed(3, "pipe.pem, is no regular file");
    // The user's authorities are added to the system's, and don't replace them.
    let mut both = world.command(&format!("{line} --cacert ca.pem"));
    ran(both.env("SSL_CERT_FILE", world.path("missing.pem"))).done();
    // The name is checked as well.
    let other = TlsFront::before(&server.url, &["other.example.com"]);
    world.write("other.pem", &other.authority);
    world
        .run(&format!("fsck {} --policy log/endpoint.policy --cacert other.pem", other.url))
        .failed(3, "certificate");
    for (content, why) in [("", "at least one CERTIFICATE"), ("no PEM", "at least one CERTIFICATE")] {
        world.write("bad.pem", content);
        world.run(&format!("{line} --cacert bad.pem")).failed(2, why);
    }
    world.run(&format!("{line} --cacert nowhere.pem")).failed(3, "nowhere.pem");
}

#[test]
fn witnesses_monitors_and_webhooks_are_asked_with_the_same_certificates() {
    let world = World::witnessed();
    let witnesses: Vec<_> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let fronts: Vec<_> =
        witnesses.iter().map(|witness| TlsFront::before(&witness.url, &["localhost"])).collect();
    let mut settings = String::from_utf8(world.read("log/treehead.toml")).unwrap();
    for (witness, front) in witnesses.iter().zip(&fronts) {
        assert!(settings.contains(&witness.url), "{settings}");
        settings = settings.replace(&witness.url, &front.url);
    }
    world.write("log/treehead.toml", settings);
    let hook = Receiver::start([]);
    let hook_front = TlsFront::before(&hook.url(), &["localhost"]);
    let authorities: Vec<&str> =
        fronts.iter().chain([&hook_front]).map(|front| front.authority.as_str()).collect();
    world.write("ca.pem", authorities.concat());
    let server =
        world.start_with("serve log --listen 127.0.0.1:0 --cacert ca.pem", " serving ", Stdio::null());
    // Published means cosigned by two witnesses.
    world.publish(&server, "one.bin", "one", 1).done();
    let ca = format!(" --cacert {}", world.path("ca.pem").display());
    let watch = "\n[[watch]]\nname = \"scanner\"\npackages = [\"pkg:generic/example/scanner\"]\nkinds = [\"build\"]\n";
    world.monitor("m", &server.url, &(world.webhook(&hook_front.url) + watch));
    let monitor =
        world.start_with(&format!("monitor --config m/monitor.toml{ca}"), " following ", Stdio::null());
    world.publish(&server, "two.bin", "two", 2).done();
    eventually("the webhook hears of it", || !hook.got().is_empty());
    drop((monitor, server));
}
