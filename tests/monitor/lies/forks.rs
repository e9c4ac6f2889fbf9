//! A log that shows another history than before: the monitor keeps evidence, and stays on the history that it knows.

use super::{forks, heads, other_entries, the_only, witness};
use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::{ORIGIN, log_signer, numbered};
use crate::world::{Log, World};

/// The size at which the histories branch, the size that the monitor knows, and the size that it is shown.
const SIZES: [(usize, usize, usize); 18] = [
    (0, 1, 1),
    (0, 1, 2),
    (0, 2, 1),
    (1, 2, 2),
    (1, 3, 2),
    (0, 1_000, 999),
    (3, 1_000, 4),
    (100, 300, 200),
    (100, 300, 300),
    (100, 300, 400),
    (255, 256, 256),
    (255, 256, 257),
    (255, 512, 256),
    (256, 257, 512),
    (256, 512, 300),
    (511, 1_024, 512),
    (512, 513, 1_024),
    (999, 1_000, 1_000),
];

/// A monitor that knows a head of this size, and the log, which has another branch.
fn split((at, ours, theirs): (usize, usize, usize)) -> (Liar, World) {
    let log = Liar::serve(numbered(ours));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.fork("other", at, &other_entries(theirs - at));
    (log, world)
}

/// Puts the log back on the history that the monitor knows, and lets it grow to this size.
#[track_caller]
fn assert_followed(log: &Liar, world: &World, known: usize, size: usize) {
    log.be_honest();
    log.append("", &numbered(size)[known..]);
    assert_eq!(world.once().not_followed, 0, "{:#?}", world.output.events());
    let heads = heads(world, ORIGIN);
    assert_eq!(heads, [known as u64, size as u64], "heads of its own history, and no others");
    let root = log.branch("").head_at(size, &log_signer().into()).root.to_base64();
    assert_eq!(world.output.of("head").pop().unwrap()["root"], root);
}

#[test]
fn a_whole_other_history_is_evidence() {
    for (at, ours, theirs) in SIZES {
        let (log, world) = split((at, ours, theirs));
        let about = format!("{at} {ours} {theirs}");
        log.set(Lie::Branch("other"));
        // It is reported once, however long it lasts.
        for _ in 0..3 {
            assert_eq!(world.once().not_followed, 1, "{about}");
        }
        if theirs < ours {
            // Nobody serves the tiles that would prove it.
            assert_eq!(world.output.alerts(), ["log-shrunk", "log-unreachable"], "{about}");
            assert_eq!(forks(&world, &log), []);
            log.be_honest();
            world.once();
        }
        let fork = the_only(&world, "fork");
        assert_eq!(fork["found_in"], "log", "{about}");
        assert_eq!(forks(&world, &log), [(ours.min(theirs), ours.max(theirs))], "{about}");
        assert_followed(&log, &world, ours, ours.max(theirs) + 5);
        assert_eq!(forks(&world, &log).len(), 1, "{about}");
        assert_eq!(world.output.of("fork").len(), 1, "{about}");
        assert_eq!(world.output.of("ended").len(), if theirs < ours { 2 } else { 0 }, "{about}");
    }
}

#[test]
fn another_head_over_the_same_tiles_is_evidence() {
    for (at, ours, theirs) in SIZES {
        let (log, world) = split((at, ours, theirs));
        let about = format!("{at} {ours} {theirs}");
        log.set_only(Lie::Branch("other"), Only::path("checkpoint"));
        for _ in 0..3 {
            assert_eq!(world.once().not_followed, 1, "{about}");
        }
        let (larger, end) = (ours.max(theirs), ours.max(theirs) + 5);
        if theirs > ours {
            // The tiles that would prove it are served to nobody yet.
            assert_eq!(world.output.alerts(), ["log-unreachable"], "{about}");
            // The monitor remembers it when the log takes it back, also after a restart.
            log.be_honest();
            world.once();
            world.pass(601);
            world.once();
            assert_eq!(world.output.alerts(), ["log-unreachable", "head-ahead"], "{about}");
            assert_followed(&log, &world, ours, end);
            assert_eq!(forks(&world, &log), [(theirs, end)], "{about}");
            assert_eq!(super::ended(&world), ["head-ahead", "log-unreachable"]);
        } else {
            assert_eq!(forks(&world, &log), [(theirs, larger)], "{about}");
            assert_followed(&log, &world, ours, end);
        }
        assert_eq!(the_only(&world, "fork")["found_in"], "log", "{about}");
    }
}

#[test]
fn a_log_that_was_put_back_from_a_backup_has_shrunk_and_forks_when_it_grows() {
    let (log, world) = split((200, 300, 200));
    log.set(Lie::Branch("other"));
    world.once();
    assert_eq!(world.output.alerts(), ["log-shrunk", "log-unreachable"], "it has no tiles to compare");
    let shrunk = the_only(&world, "log-shrunk");
    assert_eq!((shrunk["previous"].as_u64(), shrunk["size"].as_u64()), (Some(300), Some(200)));
    log.append("other", &other_entries(150));
    world.once();
    assert_eq!(forks(&world, &log), [(300, 350)]);
    // The log grows again, with another history.
    assert_eq!(super::ended(&world), ["log-unreachable"]);
    assert_followed(&log, &world, 300, 301);
    assert!(super::ended(&world).contains(&"log-shrunk".to_owned()));
}

#[test]
fn a_log_that_shrinks_within_its_history_is_no_fork() {
    for size in [0, 1, 128, 256, 299] {
        let log = Liar::serve(numbered(300));
        let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        world.once();
        log.set(Lie::Shrunk(size));
        world.once();
        world.once();
        assert_eq!(world.output.alerts(), ["log-shrunk"], "{size}");
        assert_followed(&log, &world, 300, 310);
        assert_eq!(super::ended(&world), ["log-shrunk"]);
        assert_eq!(forks(&world, &log), []);
    }
}

#[test]
fn a_head_without_a_quorum_is_remembered_against_one_that_has_it() {
    let log = Liar::serve_as(log_signer().into(), vec![witness("w1.example", 1)], numbered(300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.append("", &numbered(400)[300..]);
    log.set(Lie::NoQuorum);
    world.once();
    world.pass(601);
    world.once();
    assert_eq!(world.output.alerts(), ["no-quorum"], "the log shows it: nobody is ahead of it");
    // Witnesses saw another head. Both continue the tree that the monitor knows.
    log.fork("other", 350, &other_entries(60));
    log.be_honest();
    log.set(Lie::Branch("other"));
    world.once();
    assert_eq!(world.output.alerts(), ["no-quorum", "fork"]);
    assert_eq!(heads(&world, ORIGIN), [300, 410]);
    assert_eq!(forks(&world, &log), [(400, 410)]);
}

#[test]
fn a_log_that_signs_many_heads_without_quorum_fills_no_room_of_others() {
    let log = Liar::serve_as(log_signer().into(), vec![witness("w1.example", 1)], numbered(300));
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.set(Lie::NoQuorum);
    let running = world.run();
    for size in 300..370 {
        log.append("", &numbered(size + 1)[size..]);
        let before = log.counts()["checkpoint"];
        crate::common::log::eventually("it is looked at", || log.counts()["checkpoint"] > before + 1);
    }
    drop(running);
    let other = Liar::serve_as(log_signer().into(), vec![witness("w1.example", 1)], numbered(10));
    other.fork(&super::origin_hash(), 5, &other_entries(9));
    world.peers.push(super::peers::peer("witness w", &other));
    world.once();
    assert_eq!(world.output.alerts(), ["no-quorum", "fork"]);
    assert_eq!(forks(&world, &log), [(14, 300)]);
}

#[test]
fn one_fork_is_counted_once() {
    let (log, world) = split((100, 300, 400));
    let running = world.run();
    log.set(Lie::Branch("other"));
    world.output.wait_for("fork");
    let before = log.asked().len();
    crate::common::log::eventually("more rounds", || log.asked().len() > before + 10);
    let shows = |figures: &str, name: &str, labels: &str, value: u32| {
        let line = format!("treehead_monitor_{name}{{origin=\"{ORIGIN}\"{labels}}} {value}\n");
        assert!(figures.contains(&line), "{line}{figures}");
    };
    let before = crate::common::http::get(running.address, "/metrics").text().to_owned();
    shows(&before, "forks_total", "", 1);
    shows(&before, "evidence_files", "", 1);
    shows(&before, "open_alerts", ",code=\"fork\"", 1);
    // Each code has its row, so that a rule about it fires.
    shows(&before, "open_alerts", ",code=\"log-shrunk\"", 0);
    shows(&before, "alerts_total", ",code=\"fork\"", 1);
    shows(&before, "alerts_total", ",code=\"sequence-gap\"", 0);
    assert!(!before.contains("code=\"head\""), "{before}");
    drop(running);
    // The counter begins anew with the process, the files and the condition are there.
    let running = world.run();
    let figures = crate::common::http::get(running.address, "/metrics").text().to_owned();
    shows(&figures, "evidence_files", "", 1);
    shows(&figures, "open_alerts", ",code=\"fork\"", 1);
    shows(&figures, "alerts_total", ",code=\"fork\"", 0);
}

#[test]
fn an_old_head_from_a_cache_is_a_note_and_an_alert_only_if_it_lasts() {
    for lie in [Lie::Cached(200), Lie::Aged(200)] {
        let log = Liar::serve(numbered(300));
        let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        world.once();
        log.append("", &numbered(310)[300..]);
        log.set(lie.clone());
        world.once();
        world.once();
        assert_eq!(world.output.alerts(), Vec::<String>::new(), "{lie:?}");
        let note = the_only(&world, "head-stale");
        assert_eq!((note["size"].as_u64(), note["previous"].as_u64()), (Some(200), Some(300)), "{lie:?}");
        // Past the cache, the monitor follows the log.
        let followed: &[u64] = if matches!(lie, Lie::Cached(_)) { &[300, 310] } else { &[300] };
        assert_eq!(heads(&world, ORIGIN), followed, "{lie:?}");
        world.pass(899);
        world.once();
        assert_eq!(world.output.alerts(), Vec::<String>::new(), "{lie:?}");
        world.pass(1);
        world.once();
        world.once();
        assert_eq!(world.output.alerts(), ["log-shrunk"], "{lie:?}");
        assert!(super::ended(&world).is_empty(), "{lie:?}");
        log.be_honest();
        assert_eq!(world.once().not_followed, 0);
        assert_eq!(heads(&world, ORIGIN), [300, 310], "{lie:?}");
        assert_eq!(super::ended(&world), ["log-shrunk"], "{lie:?}");
        assert_eq!(the_only(&world, "head-stale"), note, "{lie:?}");
        assert_eq!(forks(&world, &log), []);
    }
}

#[test]
fn an_old_head_that_is_gone_when_the_log_is_asked_again_is_a_note() {
    let log = Liar::serve(numbered(300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.set_only(Lie::Shrunk(200), Only::path("checkpoint").times(1));
    world.once();
    assert_eq!(world.output.alerts(), Vec::<String>::new());
    the_only(&world, "head-stale");
    assert_followed(&log, &world, 300, 310);
}

#[test]
fn another_history_out_of_a_cache_is_evidence() {
    let (log, world) = split((100, 300, 200));
    let other = log.branch("other").note(200, &log_signer().into(), &[], crate::world::NOW);
    log.set_only(Lie::Says(other), Only::path("checkpoint").times(1));
    world.once();
    assert_eq!(forks(&world, &log), [(200, 300)]);
    assert_eq!(world.output.alerts(), ["fork"]);
}
