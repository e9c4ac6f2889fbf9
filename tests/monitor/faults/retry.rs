//! A monitor that continues while it can't report something reports exactly that once it can.

use std::fs;
use std::sync::Arc;

use super::{Keeping, follow, statements};
use crate::common::faulty_disk::{Failure, FaultyDisk, Mode, Plan};
use crate::common::liar::Liar;
use crate::common::liar::lie::Lie;
use crate::common::log::eventually;
use crate::common::releases::scanner;
use crate::world::{Running, World};

/// The number of rounds in which the disk fails. Time passes in each.
const ROUNDS: usize = 3;

/// A disk that works until it is told to fail, for paths with a component that begins with `part`.
fn disk_of(world: &mut World, part: &'static str) -> Arc<FaultyDisk> {
    let disk = Arc::new(FaultyDisk::for_part(Plan::NONE, part));
    world.io = disk.clone();
    disk
}

/// Lets the disk fail for some rounds while `meanwhile` needs it. Time passes in each round.
fn fail_for_a_while(world: &World, disk: &FaultyDisk, failure: Failure, meanwhile: impl FnOnce()) {
    disk.set(Mode::Failing(failure));
    meanwhile();
    for _ in 0..ROUNDS {
        world.pass(60);
        let tried = disk.taken().len();
        eventually("it is tried again", || disk.taken().len() > tried + 1);
    }
    disk.set(Mode::Planned);
}

#[test]
fn a_condition_that_could_not_be_told_or_noted_has_one_name_and_ends() {
    for part in ["outbox", "conditions"] {
        for failure in [Failure::NotDone, Failure::DoneAnyway] {
            let log = Liar::serve(statements(40));
            let mut world = follow(&log);
            let (sink, disk) = (Keeping::of(&mut world), disk_of(&mut world, part));
            let running = world.run();
            eventually("it is followed", || !sink.of_code("head").is_empty());
            fail_for_a_while(&world, &disk, failure, || log.set(Lie::Shrunk(20)));
            eventually("it is delivered", || !sink.of_code("log-shrunk").is_empty());
            log.be_honest();
            eventually("its end is delivered", || !sink.of_code("ended").is_empty());
            drop(running);
            let (told, ended) = (sink.of_code("log-shrunk"), sink.of_code("ended"));
            let about = format!("{part}, {failure:?}: {told:#?}, {ended:#?}");
            assert_eq!((told.len(), ended.len()), (1, 1), "{about}");
            assert_eq!(told[0]["id"], ended[0]["alert"], "{about}");
            let printed = world.output.of("log-shrunk");
            assert!(printed.iter().all(|event| event["id"] == told[0]["id"]), "{about}");
            let open = world.open().delivery().open_conditions(usize::MAX);
            assert!(open.is_empty(), "{about}: {open:#?}");
        }
    }
}

#[test]
fn a_start_that_took_several_tries_reports_what_is_not_looked_for() {
    let log = Liar::serve(statements(3));
    let mut world = follow(&log);
    let (sink, disk) = (Keeping::of(&mut world), disk_of(&mut world, "outbox"));
    world.once();
    let before = sink.of_code("started").len();
    // The manifest is given later than the log, so the releases it lists by now count as seen.
    let (manifest, release) = (world.temp.path().join("ci.jsonl"), scanner(9));
    let line = format!(
        "{{\"purl\":\"{}\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":9,\"artifacts\":[{{\"name\":\"scanner.bin\",\"sha256\":\"{}\"}}]}}\n",
        release.purl,
        release.subjects[0].sha256.to_hex()
    );
    fs::write(&manifest, line).unwrap();
    world.logs[0].expect = Some(manifest);
    let (monitor, mut running) = (world.open(), None);
    fail_for_a_while(&world, &disk, Failure::NotDone, || running = Some(Running::start(monitor)));
    eventually("it is delivered", || sink.of_code("started").len() > before);
    drop(running);
    for start in &sink.of_code("started")[before..] {
        let unchecked = start["not_checked"].to_string();
        assert!(
            unchecked.contains("the 1 releases that the manifest lists by now are not looked for"),
            "{start}"
        );
    }
}
