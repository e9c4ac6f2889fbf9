//! Conditions that are reported after a while, and bad cosignatures.

use treehead::checkpoint::cosignature::cosign;
use treehead::note::NoteSigner;

use super::peers::peer;
use super::{ended, heads, origin_hash, the_only, witness};
use crate::common::liar::Liar;
use crate::common::liar::lie::Lie;
use crate::common::log::{ORIGIN, log_signer, numbered};
use crate::world::{Log, NOW, World};

/// A log with two witnesses, and a monitor whose quorum is both.
fn witnessed() -> (Liar, World, Vec<NoteSigner>) {
    let witnesses = || vec![witness("w1.example", 1), witness("w2.example", 2)];
    let log = Liar::serve_as(log_signer().into(), witnesses(), numbered(300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    (log, world, witnesses())
}

#[test]
fn cosignatures_that_get_old_are_told_of_by_the_clock() {
    let (log, mut world, _) = witnessed();
    world.logs[0].patience.stalled = 3_600;
    log.set(Lie::Stale(NOW));
    world.once();
    world.pass(3_600);
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    world.pass(1);
    world.once();
    world.once();
    assert_eq!(world.output.alerts(), ["log-stalled", "witness-missing", "witness-missing"]);
    let missing = world.output.of("witness-missing");
    assert_eq!(
        missing.iter().map(|event| event["witness"].as_str().unwrap()).collect::<Vec<_>>(),
        ["w1.example", "w2.example"]
    );
    assert_eq!(missing[0]["seconds"], 3_601);
    // A newer cosignature is a sign of life, as a larger tree is.
    log.be_honest();
    log.set(Lie::Stale(NOW + 3_000));
    world.once();
    assert_eq!(ended(&world), ["log-stalled", "witness-missing", "witness-missing"]);
    // A larger tree with old cosignatures shows that the log lives, and that its witnesses do not.
    world.pass(3_000);
    log.append("", &numbered(301)[300..]);
    world.once();
    assert_eq!(world.output.alerts()[3..], ["witness-missing", "witness-missing"]);
    assert_eq!(heads(&world, ORIGIN), [300, 301]);
}

#[test]
fn one_witness_of_two_is_missed_by_its_name() {
    let first = witness("w1.example", 1);
    let log = Liar::serve_as(log_signer().into(), vec![first], numbered(300));
    let policy = log.policy();
    let second =
        format!("witness second {}\ngroup everybody any witness-0 second", witness("w2.example", 2).public());
    let policy = policy.replace("group everybody all witness-0", &second);
    let world = World::new(vec![Log::opaque(&log.url(), &policy)]);
    log.set(Lie::Stale(NOW));
    world.once();
    assert_eq!(heads(&world, ORIGIN), [300], "the quorum is reached without it");
    world.pass(3_601);
    log.be_honest();
    log.set(Lie::Stale(NOW + 3_601));
    world.once();
    assert_eq!(the_only(&world, "witness-missing")["witness"], "w2.example");
    assert_eq!(world.output.alerts(), ["witness-missing"]);
}

#[test]
fn a_cosignature_from_the_future_does_not_count_for_longer() {
    let (log, world, _) = witnessed();
    log.set(Lie::Stale(NOW + 1_000_000));
    world.once();
    log.be_honest();
    log.set(Lie::Stale(NOW));
    world.pass(3_601);
    world.once();
    assert_eq!(world.output.alerts(), ["witness-missing", "witness-missing"]);
}

/// The note with its last line changed.
fn last_line(note: &str, change: impl Fn(&str) -> String) -> String {
    let (before, last) = note.trim_end().rsplit_once('\n').unwrap();
    format!("{before}\n{}\n", change(last))
}

/// Changes a base64 digit.
fn other_digit(line: &str, from_end: usize) -> String {
    let at = line.len() - from_end;
    let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &line[..at], &line[at + 1..])
}

#[test]
fn cosignatures_that_were_tampered_with_make_no_quorum() {
    let (log, world, witnesses) = witnessed();
    world.once();
    log.append("", &numbered(400)[300..]);
    let branch = log.branch("");
    let good = branch.note(400, &log_signer().into(), &witnesses, NOW);
    let older = branch.note(300, &log_signer().into(), &witnesses, NOW);
    let older = older.trim_end().rsplit('\n').next().unwrap();
    let body = |line: &str| line.rfind(' ').unwrap() + 1;
    let tampered = [
        (last_line(&good, |line| other_digit(line, 20)), "bad-cosignature"),
        // In the time of the cosignature.
        (last_line(&good, |line| other_digit(line, line.len() - body(line) - 12)), "bad-cosignature"),
        // In the key id.
        (last_line(&good, |line| other_digit(line, line.len() - body(line) - 2)), "not-reached"),
        (last_line(&good, |line| line.replace("w2.example", "w3.example")), "not-reached"),
        (last_line(&good, |_| older.to_owned()), "bad-cosignature"),
        (
            last_line(&good, |_| String::new()).replace("\n\n\n", "\n\n").trim_end().to_owned() + "\n",
            "not-reached",
        ),
    ];
    for (at, (head, why)) in tampered.into_iter().enumerate() {
        log.be_honest();
        log.set(Lie::Says(head.clone()));
        world.once();
        let told = world.output.of("no-quorum");
        assert_eq!((told.len(), told[at]["why"].as_str()), (at + 1, Some(why)), "{head}");
        assert_eq!(heads(&world, ORIGIN), [300], "{head}");
        // The head that is known already.
        log.be_honest();
        log.set(Lie::Shrunk(300));
        world.once();
        assert_eq!(ended(&world).len(), at + 1);
    }
    log.be_honest();
    world.once();
    assert_eq!(heads(&world, ORIGIN), [300, 400]);
    assert!(world.output.alerts().iter().all(|code| code == "no-quorum"), "{:?}", world.output.alerts());
}

#[test]
fn lines_that_nobody_knows_are_neither_counted_nor_passed_on() {
    let (log, world, witnesses) = witnessed();
    let branch = log.branch("");
    let (head, stranger) = (branch.head_at(300, &log_signer().into()), witness("w9.example", 9));
    let good = branch.note(300, &log_signer().into(), &witnesses, NOW);
    let line = cosign(&head, &stranger, NOW).to_string();
    log.set(Lie::Says(format!("{good}{}\n", line.trim_end())));
    let running = world.run();
    world.output.wait_for("head");
    let path = format!("/{}/checkpoint", origin_hash());
    let mut served = String::new();
    crate::common::log::eventually("it is served", || {
        let reply = crate::common::http::get(running.address, &path);
        served = reply.text().to_owned();
        reply.status == 200
    });
    assert!(served.contains("w1.example") && served.contains("w2.example"), "{served}");
    assert!(!served.contains("w9.example"), "{served}");
    assert_eq!(world.output.alerts(), Vec::<String>::new());
}

#[test]
fn a_head_that_the_log_does_not_show_is_told_of_after_a_while_and_until_it_does() {
    let log = Liar::serve(numbered(300));
    // The same history, further on.
    let ahead = Liar::serve(numbered(300));
    ahead.fork(&origin_hash(), 300, &numbered(400)[300..]);
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.peers.push(peer("peer a", &ahead));
    world.once();
    world.pass(599);
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    world.pass(1);
    world.once();
    world.once();
    let event = the_only(&world, "head-ahead");
    assert_eq!((event["size"].as_u64(), event["source"].as_str()), (Some(400), Some("peer a")));
    log.append("", &numbered(400)[300..]);
    world.once();
    assert_eq!(the_only(&world, "ended")["alert"], event["id"]);
    assert_eq!(heads(&world, ORIGIN), [300, 400]);
}
