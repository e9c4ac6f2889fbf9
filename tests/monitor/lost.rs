//! Open conditions whose file is lost: those that still hold are told again, and forks from their evidence.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::numbered;
use crate::lies::{other_entries, the_only};
use crate::world::{Log, Output, World};

/// A monitor that found a fork, on a log that is honest again.
fn scene() -> (Liar, World) {
    let log = Liar::serve(numbered(300));
    let world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.fork("other", 100, &other_entries(200));
    log.set_only(Lie::Branch("other"), Only::path("checkpoint"));
    world.once();
    log.be_honest();
    assert_eq!(world.output.alerts(), ["fork"]);
    (log, world)
}

/// The events of the next run, and the codes of the conditions that are open at its end.
fn next(world: &mut World) -> (Output, Vec<String>) {
    world.output = Output::default();
    let open = world.once().open_conditions;
    (world.output.clone(), open.into_iter().map(|condition| condition.code).collect())
}

fn conditions_file(world: &World) -> PathBuf {
    world.dir().join("conditions.json")
}

#[test]
fn a_fork_is_told_again_from_its_evidence_if_the_open_conditions_are_lost() {
    let (_log, mut world) = scene();
    let first = the_only(&world, "fork");
    // Open conditions are not told again.
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec![], vec!["fork".to_owned()]));
    fs::remove_file(conditions_file(&world)).unwrap();
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec!["fork".to_owned()], vec!["fork".to_owned()]));
    let again = the_only(&world, "fork");
    for field in ["id", "log", "smaller", "larger", "file", "evidence"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec![], vec!["fork".to_owned()]));
}

#[test]
fn a_condition_that_lasts_is_told_again_if_the_open_conditions_are_lost() {
    let log = Liar::serve(numbered(300));
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.once();
    log.set(Lie::Shrunk(200));
    world.once();
    fs::remove_file(conditions_file(&world)).unwrap();
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec!["log-shrunk".to_owned()], vec!["log-shrunk".to_owned()]));
}

#[test]
fn a_fork_ends_when_its_evidence_is_taken_away() {
    let (_log, mut world) = scene();
    let first = the_only(&world, "fork");
    let file = world.evidence().remove(0);
    let safe = world.temp.path().join("safe");
    fs::rename(&file, &safe).unwrap();
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec![], vec![]));
    let ended = the_only(&world, "ended");
    assert_eq!((&ended["alert"], &ended["of"]), (&first["id"], &"fork".into()));
    // Evidence that is put back opens it again.
    fs::rename(&safe, &file).unwrap();
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec!["fork".to_owned()], vec!["fork".to_owned()]));
    let again = the_only(&world, "fork");
    assert_eq!((&again["alert"], &again["again"]), (&first["id"], &true.into()));
}

#[test]
fn evidence_counts_by_what_the_log_signed_and_not_by_its_name() {
    let (_log, mut world) = scene();
    let file = world.evidence().remove(0);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(conditions_file(&world)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    // The file's name is this log's; the signatures are not.
    let signature = text.rfind(' ').unwrap() + 20;
    let other = if text.as_bytes()[signature] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &text[..signature], &text[signature + 1..]);
    for (rest, bytes) in [("0-0-a", forged.as_bytes()), ("0-0-b", b"nothing"), ("0-0-c", &[b'x'; 4_000_000])]
    {
        fs::write(file.with_file_name(format!("{}{rest}.tlog-fork", &name[..17])), bytes).unwrap();
    }
    assert_eq!(next(&mut world).0.alerts(), ["fork"]);
    assert_eq!(the_only(&world, "fork")["file"], Value::from(name));
    // Evidence about a log that is not followed can't be judged.
    fs::remove_file(conditions_file(&world)).unwrap();
    world.logs.clear();
    assert_eq!(next(&mut world).0.alerts(), Vec::<String>::new());
}
