//! The events of a running monitor about honest logs, and their receivers.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::receiver::{Answer, Receiver};
use crate::monitoring::{SECRET, events, eventually, of};
use crate::program::World;

#[test]
fn a_withdrawal_is_told_as_an_alert_and_to_who_watches() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let hook = Receiver::start([Answer::Status(500, "")]);
    let watch = "\n[[watch]]\nname = \"scanner\"\npackages = [\"pkg:generic/example/scanner\"]\nkinds = [\"withdrawal\"]\n";
    world.monitor("m", &server.url, &(world.webhook(&hook.url()) + watch));
    let monitor = world.follow("m");
    monitor.wait_for_head(1);
    let line = format!(
        "withdraw --log {} --key publisher.pem --policy log/endpoint.policy --leaf 0 --purl pkg:generic/example/scanner@1.0 --reason broken",
        server.url
    );
    world.run(&line).done();
    let withdrawal = monitor.wait_for("withdrawal", |_| true);
    assert_eq!((&withdrawal["severity"], &withdrawal["watches"][0]), (&"watch".into(), &"scanner".into()));
    let withdrawn = monitor.wait_for("withdrawn", |_| true);
    let seen = (&withdrawn["withdraws"], &withdrawn["reason"], &withdrawn["severity"]);
    assert_eq!(seen, (&0.into(), &"broken".into(), &"alert".into()));
    assert_eq!(withdrawn["purl"], "pkg:generic/example/scanner@1.0");
    // The first try failed: the event is sent again, and the next one after it.
    eventually("the webhook has all three tries", || hook.got().len() == 3);
    let got = hook.got();
    got.iter().for_each(|got| got.check(SECRET));
    let told: Vec<_> = got.iter().map(|got| got.event()["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["withdrawal", "withdrawal", "withdrawn"]);
    assert_eq!(got[2].event(), withdrawn, "the printed bytes are the sent ones");
    assert_eq!(got[2].header("webhook-id"), withdrawn["id"].as_str().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(got[2].header("webhook-timestamp").parse().unwrap()) < 300, "{got:?}");
    monitor.server.terminate();
}

#[test]
fn a_reported_head_arrives_and_is_compared() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.monitor("m", &server.url, "");
    let monitor = world.follow("m");
    monitor.wait_for_head(1);
    world.publish(&server, "two.bin", "two", 2).done();
    let metric = |name: &str| {
        let text = String::from_utf8(monitor.server.get("/metrics").1).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse::<f64>().unwrap())
    };
    let verify = "--policy log/endpoint.policy --publishers log/publishers.toml";
    let report = format!("--report {}", monitor.server.url);
    let ran = world.run(&format!("verify two.bin {verify} {report}")).done();
    assert_eq!(ran.stderr, "", "it was taken");
    // The monitor gets the head by a push, before its next round, and compares it.
    monitor.wait_for_head(2);
    eventually("the page has it", || {
        let page = String::from_utf8(monitor.server.get("/").1).unwrap();
        page.lines().any(|row| row.contains("gossip<td>2<td>") && row.contains("consistent"))
    });
    let queued = "treehead_monitor_gossip_total{status=\"202\",code=\"queued\"}";
    let known = "treehead_monitor_gossip_total{status=\"200\",code=\"known\"}";
    assert!(metric(queued) + metric(known) > 0.0);
    // A second push of the same head is known.
    let before = metric(known);
    world.run(&format!("verify two.bin {verify} {report}")).done();
    assert!(metric(known) > before);
    // The monitor refuses a head of a log that it does not follow, and the verdict does not change.
    let other = World::new();
    let other_server = other.serve();
    other.publish(&other_server, "one.bin", "one", 1).done();
    let ran = other.run(&format!("verify one.bin {verify} {report}")).done();
    assert!(ran.stderr.contains("could not report the tree head"), "{ran:?}");
    monitor.server.terminate();
}

#[test]
fn a_command_gets_each_event_on_its_standard_input() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "three.bin", "three", 3).done();
    world.write("mail.sh", "cat >> \"$1\"\n");
    let (script, mails) = (world.path("mail.sh"), world.path("mails"));
    let command = format!(
        "\n[[command]]\nname = \"mail\"\nargv = [\"/bin/sh\", \"{}\", \"{}\"]\nevents = [\"sequence-gap\", \"release\"]\n",
        script.display(),
        mails.display()
    );
    world.monitor("m", &server.url, &command);
    let ran = world.once("m").refused("alerts-told");
    let told = events(&ran.stdout);
    let expected = [of(&told, "release"), of(&told, "sequence-gap")].concat();
    assert_eq!(expected.len(), 3, "{ran:?}");
    let got = events(&String::from_utf8(world.read("mails")).unwrap());
    assert_eq!(got, told.into_iter().filter(|event| expected.contains(event)).collect::<Vec<_>>());
    assert_eq!(got[2]["event"], "sequence-gap", "in the order in which it was told");
}
