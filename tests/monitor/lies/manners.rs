//! Pauses that a log asks for, and logs that take their time.

use std::time::Duration;

use super::{BEFORE, Scene, the_only};
use crate::common::http::post;
use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::{eventually, log_signer, numbered};
use crate::world::{Log, World};

#[test]
fn a_pause_is_kept_within_a_round_and_across_rounds() {
    let log = Liar::serve(numbered(10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    // The number of tries before a client gives up.
    log.set_only(Lie::Busy(429, 1), Only::any().times(6));
    let running = world.run();
    world.output.wait_for("ended");
    let event = the_only(&world, "log-unreachable");
    assert_eq!(event["lie"], "busy");
    drop(running);
    let asked = log.asked();
    for pair in asked[..7].windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_secs(1), "{asked:?}");
    }
    assert_eq!(the_only(&world, "ended")["alert"], event["id"]);
}

#[test]
fn nothing_makes_a_monitor_ask_before_a_long_pause_is_over() {
    let log = Liar::serve(numbered(10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    log.set(Lie::Busy(503, 120));
    let running = world.run();
    world.output.wait_for("log-unreachable");
    log.be_honest();
    for size in 1..10 {
        let head = log.branch("").note(size, &log_signer().into(), &[], 1);
        assert_eq!(post(running.address, "/gossip", head.as_bytes()).status, 202);
    }
    std::thread::sleep(Duration::from_millis(300));
    drop(running);
    assert_eq!(log.asked().len(), 1, "{:?}", log.counts());
    assert_eq!(world.output.alerts(), ["log-unreachable"]);
}

#[test]
fn a_pause_in_the_middle_of_entries_is_kept_by_all_who_fetch() {
    let scene = Scene::unfollowed(1_100);
    scene.liar.set_only(Lie::Busy(429, 1), Only::path("tile/entries").after(1).times(1));
    scene.world.once();
    scene.assert_told(1_100);
    let asked = scene.liar.asked();
    let bundles: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("tile/entries")).collect();
    // Requests that were under way could not know of it.
    let soon = bundles.iter().filter(|other| other.at - bundles[1].at < Duration::from_secs(1)).count();
    assert!(soon <= 1 + 4 && bundles.len() == 6, "{bundles:?}");
}

#[test]
fn a_log_that_drips_delays_no_other() {
    let scene = Scene::unfollowed(BEFORE);
    scene.liar.set(Lie::Drip(Duration::from_millis(200)));
    let running = scene.world.run();
    let head = scene.world.output.wait_for("head");
    assert_eq!(head["log"], "honest.example/log");
    scene.grow(10);
    eventually("the honest log is followed on", || scene.world.output.of("head").len() == 2);
    scene.assert_honest_followed();
    assert_eq!((scene.liar.asked().len(), scene.liar.requests()), (1, 1), "it still sends bytes");
    scene.liar.be_honest();
    // A monitor that is told to stop does not wait for a slow answer.
    drop(scene.liar);
    drop(running);
}

#[test]
fn a_monitor_tells_logs_who_runs_it() {
    let scene = Scene::unfollowed(BEFORE);
    scene.world.once();
    let named = |header: &String| header.to_lowercase().starts_with("user-agent: treehead/");
    assert!(scene.liar.asked().iter().all(|asked| asked.headers.iter().any(named)));
}

#[test]
fn an_answer_from_somebody_else_is_not_called_a_lie_of_the_log() {
    let to = "http://127.0.0.1:1/sign-in";
    for (lie, says) in [
        (Lie::Redirect(Some(to.to_owned())), to),
        (Lie::Html, "(\"text/html\") that begin with \"<!doctype html>"),
        (Lie::Empty, "it sent an empty body"),
    ] {
        let scene = Scene::new();
        scene.liar.set(lie);
        scene.world.once();
        let told = the_only(&scene.world, "log-unreachable");
        assert!(told["message"].as_str().unwrap().contains(says), "{told}");
        assert!(told["advice"].as_str().unwrap().contains("is the address right"), "{told}");
    }
}

#[test]
fn a_log_that_did_not_answer_at_first_is_still_new() {
    let log = Liar::serve(numbered(10));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    log.set(Lie::Status(500));
    world.once();
    log.be_honest();
    world.once();
    world.once();
    let started = world.output.of("started");
    assert_eq!(started.len(), 2, "{started:?}");
    for event in &started {
        assert!(
            event["message"]
                .as_str()
                .unwrap()
                .contains("is followed from its beginning; not checked: nothing is known"),
            "{event}"
        );
    }
}

#[test]
fn a_log_that_falls_silent_does_not_make_up_for_a_lie() {
    let scene = Scene::new();
    scene.liar.set(Lie::Status(500));
    let once = scene.world.once();
    assert_eq!((once.alerts_told, once.grave_alerts_told, once.not_followed), (1, 0, 1));
    scene.liar.be_honest();
    scene.liar.set(Lie::Shrunk(7));
    let once = scene.world.once();
    assert_eq!((once.alerts_told, once.grave_alerts_told, once.not_followed), (1, 1, 0));
    scene.liar.be_honest();
    scene.liar.set(Lie::Status(500));
    let once = scene.world.once();
    assert_eq!((once.alerts_told, once.grave_alerts_told, once.not_followed), (1, 0, 1));
    let open: Vec<&str> = once.open_conditions.iter().map(|condition| condition.code.as_str()).collect();
    assert_eq!(open, ["log-shrunk", "log-unreachable"]);
}
