//! `treehead monitor init` and `--once`, for a user with an empty folder and an address.

use std::fs;

use crate::monitoring::{codes, events, eventually, of};
use crate::program::{ORIGIN, Server, World};

/// A log with this many releases, on an address that can be served again.
fn releases(count: u64) -> (World, Server, String) {
    let world = World::new();
    let serve = format!("serve log --listen {}", World::free_address());
    let server = world.start(&serve);
    (1..=count).for_each(|n| release(&world, &server, n));
    (world, server, serve)
}

fn release(world: &World, server: &Server, n: u64) {
    world.publish(server, &format!("{n}.bin"), &format!("artifact {n}"), n).done();
}

fn names(world: &World, dir: &str) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(world.path(dir)).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn five_minutes_from_an_empty_folder() {
    let (world, server, _) = releases(2);
    let line = format!("monitor init mymonitor --log {} --policy log/endpoint.policy", server.url);
    let ran = world.run(&format!("{line} --publishers log/publishers.toml")).done();
    let made = "made mymonitor/monitor.toml; look into it, then:\n  treehead monitor --config mymonitor/monitor.toml\n";
    assert_eq!(ran.stdout, made);
    assert_eq!(names(&world, "mymonitor"), ["monitor.policy", "monitor.toml", "publishers.toml"]);
    assert_eq!(world.read("mymonitor/monitor.policy"), world.read("log/endpoint.policy"));
    assert_eq!(world.read("mymonitor/publishers.toml"), world.read("log/publishers.toml"));

    let ran = world.once("mymonitor").done();
    let told = events(&ran.stdout);
    assert_eq!(codes(&told), ["started", "release", "release", "head"], "{ran:?}");
    let unchecked = told[0]["not_checked"].as_array().unwrap();
    assert!(unchecked.len() == 1 && unchecked[0].as_str().unwrap().contains("nothing is known"), "{told:?}");
    for (event, n) in told[1..=2].iter().zip([1, 2]) {
        assert_eq!((&event["index"], &event["sequence"]), (&(n - 1).into(), &n.into()));
        assert_eq!((&event["log"], &event["signers"][0]), (&ORIGIN.into(), &"vendor".into()));
        assert_eq!(event["signatures"], "checked");
    }
    assert_eq!(told[3]["size"], 2);
    // It continues where it stopped.
    assert_eq!(world.once("mymonitor").done().stdout, "", "no line each minute without news");
    release(&world, &server, 3);
    let told = events(&world.once("mymonitor").done().stdout);
    assert_eq!(codes(&told), ["release", "head"]);
    assert_eq!(told[0]["index"], 2);
}

#[test]
fn without_publishers_it_says_what_it_does_not_check() {
    let (world, server, _) = releases(1);
    let line = format!("monitor init m --log {} --policy log/endpoint.policy --json", server.url);
    assert_eq!(world.run(&line).done().json()["config"], "m/monitor.toml");
    assert_eq!(names(&world, "m"), ["monitor.policy", "monitor.toml"]);
    let told = events(&world.once("m").done().stdout);
    assert!(told[0]["message"].as_str().unwrap().contains("signatures of statements are not checked"));
    assert_eq!(told[1]["signatures"], "not checked");
}

#[test]
fn what_is_no_log_is_not_followed() {
    let (world, server, _) = releases(1);
    let opaque = World::opaque();
    world.write("other.policy", opaque.read("log/endpoint.policy"));
    let url = &server.url;
    for (line, exit, says) in [
        (format!("log --log {url} --policy log/endpoint.policy"), 2, "log is not empty: a monitor needs"),
        ("m --log log.example.com --policy log/endpoint.policy".to_owned(), 2, "expected http://HOST"),
        ("m --log ftp://log.example.com --policy log/endpoint.policy".to_owned(), 2, "expected http://HOST"),
        (format!("m --log {url} --policy publisher.pub"), 2, "publisher.pub: a policy is malformed"),
        (format!("m --log {url} --policy nowhere"), 3, "could not read nowhere"),
        (
            format!("m --log {url} --policy log/endpoint.policy --publishers log/endpoint.policy"),
            2,
            "log/endpoint.policy: a publishers file is malformed",
        ),
    ] {
        world.run(&format!("monitor init {line}")).failed(exit, says);
        assert!(!world.path("m").exists(), "{line}");
    }
    // The keys of another log: the monitor believes nothing of this one.
    world.run(&format!("monitor init m --log {url} --policy other.policy")).done();
    let ran = world.once("m").failed(3, "1 of 1 logs could not be followed to their head");
    let told = events(&ran.stdout);
    assert_eq!(of(&told, "log-unreachable")[0]["lie"], "unknown-log", "{ran:?}");
    assert!(of(&told, "head").is_empty() && of(&told, "release").is_empty(), "{ran:?}");
}

#[test]
fn a_log_that_is_away_can_t_be_judged_and_goes_on_when_it_is_back() {
    let (world, server, serve) = releases(1);
    world.monitor("m", &server.url, "");
    world.once("m").done();
    drop(server);
    let ran = world.once("m").failed(3, "1 of 1 logs could not be followed to their head; what is wrong");
    let told = events(&ran.stdout);
    assert_eq!(codes(&told), ["log-unreachable"], "{ran:?}");
    assert_eq!((&told[0]["lie"], &told[0]["severity"]), (&"unreachable".into(), &"alert".into()));
    // Told once, and shown while it is open.
    let ran = world.once("m").failed(3, "could not be followed");
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("open since ") && ran.stderr.contains(": log-unreachable: "), "{ran:?}");
    let server = world.start(&serve);
    release(&world, &server, 2);
    let ran = world.once("m").done();
    let told_then = events(&ran.stdout);
    let mut found = codes(&told_then);
    found.sort_unstable();
    assert_eq!(found, ["ended", "head", "release"], "{ran:?}");
    assert!(!ran.stderr.contains("open since "), "{ran:?}");
    let ended = &of(&told_then, "ended")[0];
    assert_eq!((&ended["alert"], &ended["of"]), (&told[0]["id"], &"log-unreachable".into()));
}

#[test]
fn an_alert_fails_the_run_that_told_it() {
    let (world, server, _) = releases(1);
    // Two gaps in dense sequence numbers.
    [2, 4, 5, 7].iter().for_each(|sequence| release(&world, &server, *sequence));
    world.monitor("m", &server.url, "");
    let ran = world.once("m").refused("alerts-told");
    assert!(ran.stderr.contains("2 alerts were told"), "{ran:?}");
    let gaps = of(&events(&ran.stdout), "sequence-gap");
    assert_eq!((&gaps[0]["previous"], &gaps[0]["sequence"]), (&2.into(), &4.into()), "{ran:?}");
    // The next run tells nothing new: the reader of the events has the alerts.
    let ran = world.once("m").done();
    assert_eq!(ran.stdout, "");
    assert!(!ran.stderr.contains("open since "), "a gap is no condition: {ran:?}");
}

#[test]
fn what_no_sink_took_is_kept_for_the_next_run() {
    let (world, server, _) = releases(1);
    release(&world, &server, 3);
    let hook = crate::common::receiver::Receiver::start([]);
    let away = World::free_address();
    world.monitor("m", &server.url, &world.webhook(&format!("http://{away}/hook")));
    let ran = world.once("m").refused("alerts-told");
    assert!(
        ran.stderr.contains("1 alert was told; some events are not delivered yet; they are kept"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("an event was not delivered"), "{ran:?}");
    assert_eq!(of(&events(&ran.stdout), "sequence-gap").len(), 1);
    // The next run has nothing more to tell.
    let settings = String::from_utf8(world.read("m/monitor.toml")).unwrap();
    world.write("m/monitor.toml", settings.replace(&format!("http://{away}/hook"), &hook.url()));
    let ran = world.once("m").done();
    assert!(of(&events(&ran.stdout), "sequence-gap").is_empty(), "reported before");
    let got = hook.got();
    assert_eq!(got.len(), 1, "{got:?}");
    got[0].check(crate::monitoring::SECRET);
    assert_eq!(got[0].event()["event"], "sequence-gap");
}

#[test]
fn one_directory_has_one_monitor() {
    let (world, server, _) = releases(1);
    world.monitor("m", &server.url, "");
    let monitor = world.follow("m");
    monitor.wait_for_head(1);
    let ran = world.once("m");
    assert_eq!(ran.exit, 3, "{ran:?}");
    assert!(ran.stderr.contains("m/state/lock"), "{ran:?}");
    let (status, page) = monitor.server.get("/");
    let page = String::from_utf8(page).unwrap();
    assert!(status == 200 && page.contains("No condition is open") && page.contains(ORIGIN), "{page}");
    release(&world, &server, 3);
    eventually("the metrics count the alert", || {
        let text = String::from_utf8(monitor.server.get("/metrics").1).unwrap();
        let row = format!("treehead_monitor_alerts_total{{origin=\"{ORIGIN}\",code=\"sequence-gap\"}} 1\n");
        text.contains(&row)
    });
    monitor.wait_for_head(2);
    let talk = monitor.server.terminate();
    assert!(talk.contains("stopped; the next start goes on from here"), "{talk}");
    // SIGTERM loses nothing.
    assert_eq!(world.once("m").done().stdout, "");
}
