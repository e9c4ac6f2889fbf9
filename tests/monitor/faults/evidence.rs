//! Evidence of a fork can't be written: the fork is reported at once, and the evidence is written once that works.

use std::fs;
use std::sync::Arc;

use treehead::disk::RealDisk;

use crate::common::faulty_disk::{Failure, FaultyDisk, Plan};
use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::numbered;
use crate::lies::peers::peer;
use crate::lies::{forks, origin_hash, other_entries, the_only};
use crate::world::{Log, World};

/// A monitor that knows 300 entries, and the log, whose other history branches off at 100.
fn scene(theirs: usize) -> (Liar, World) {
    let log = Liar::serve(numbered(300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.fork("other", 100, &other_entries(theirs - 100));
    (log, world)
}

/// Asserts that the fork was reported, and that its evidence is not written.
#[track_caller]
fn assert_told_without(world: &World) {
    let fork = the_only(world, "fork");
    let message = fork["message"].as_str().unwrap();
    assert!(message.contains("the evidence could not be written yet: "), "{message}");
    assert!(fork.get("evidence").is_none(), "{fork}");
}

#[test]
fn evidence_that_could_not_be_written_is_although_the_log_takes_the_fork_back() {
    for theirs in [300, 200, 400] {
        let (log, world) = scene(theirs);
        let place = world.dir().join("evidence");
        fs::write(&place, "in the way").unwrap();
        if theirs > 300 {
            log.set(Lie::Branch("other"));
        } else {
            log.set_only(Lie::Branch("other"), Only::path("checkpoint"));
        }
        for _ in 0..2 {
            assert_eq!(world.once().not_followed, 1);
            assert_told_without(&world);
        }
        log.be_honest();
        world.once();
        assert_told_without(&world);
        fs::remove_file(&place).unwrap();
        let mut sizes = (theirs.min(300), theirs.max(300));
        if theirs > 300 {
            // Only a larger tree can show that this one is of another history.
            log.append("", &numbered(450)[300..]);
            sizes = (400, 450);
        }
        assert_eq!(world.once().not_followed, 0);
        assert_eq!(forks(&world, &log), [sizes], "{theirs}");
        world.once();
        assert_eq!(world.output.of("fork").len(), if theirs > 300 { 2 } else { 1 }, "each fork is told once");
        assert_eq!(world.output.of("head-ahead").len(), 0);
    }
}

#[test]
fn evidence_of_what_a_peer_shows_is_written_when_it_can_be() {
    let (log, mut world) = scene(200);
    let other = Liar::serve(numbered(300));
    other.fork(&origin_hash(), 100, &other_entries(150));
    let place = world.dir().join("evidence");
    fs::write(&place, "in the way").unwrap();
    world.peers.push(peer("peer a", &other));
    world.once();
    assert_told_without(&world);
    world.peers.clear();
    world.once();
    fs::remove_file(&place).unwrap();
    world.once();
    assert_eq!(forks(&world, &log), [(250, 300)]);
    assert_eq!(world.output.of("fork").len(), 1);
}

#[test]
fn a_directory_full_of_other_logs_forks_keeps_no_fork_from_being_told() {
    let (log, world) = scene(300);
    let place = world.dir().join("evidence");
    fs::create_dir(&place).unwrap();
    for number in 0..treehead::disk::evidence_dir::MAX_FORKS {
        fs::write(place.join(format!("{number}.tlog-fork")), "").unwrap();
    }
    log.set_only(Lie::Branch("other"), Only::path("checkpoint"));
    world.once();
    assert_told_without(&world);
    log.be_honest();
    fs::remove_dir_all(&place).unwrap();
    world.once();
    assert_eq!(forks(&world, &log), [(300, 300)]);
    assert_eq!(world.output.of("fork").len(), 1);
}

#[test]
fn evidence_is_whole_or_not_there_whichever_step_of_its_write_fails() {
    for only in ["create", "write_at", "sync_all", "link"] {
        let (log, mut world) = scene(300);
        let plan = Plan { at: 0, times: 100, failure: Failure::HalfDone, errno: 28, only: Some(only) };
        world.io = Arc::new(FaultyDisk::for_part(plan, "evidence"));
        log.set_only(Lie::Branch("other"), Only::path("checkpoint"));
        world.once();
        assert_told_without(&world);
        assert_eq!(fs::read_dir(world.dir().join("evidence")).unwrap().count(), 0, "{only}");
        log.be_honest();
        world.io = Arc::new(RealDisk);
        world.once();
        assert_eq!(forks(&world, &log), [(300, 300)], "{only}");
        assert_eq!(world.output.of("fork").len(), 1, "{only}");
    }
}
