//! Alerts whose file is lost: somebody is told that they are, and forks are told again.

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

/// What the next run tells.
fn next(world: &mut World) -> (Output, usize) {
    world.output = Output::default();
    let open = world.once().open_alerts;
    (world.output.clone(), open)
}

fn alerts_file(world: &World) -> PathBuf {
    world.dir().join("alerts.json")
}

fn acknowledge_all(world: &World) {
    treehead::monitor::delivery::acks::acknowledge_all(&world.dir(), crate::world::NOW).unwrap();
}

#[test]
fn a_fork_is_told_again_from_its_evidence_where_its_alert_is_lost() {
    let (_log, mut world) = scene();
    let first = the_only(&world, "fork");
    // Open or acknowledged, what is known is not told again.
    assert_eq!(next(&mut world).0.alerts(), Vec::<String>::new());
    acknowledge_all(&world);
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec![], 0));
    // What was said to the alert of before is none about the one that comes now.
    world.pass(1);
    fs::remove_file(alerts_file(&world)).unwrap();
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec!["alerts-lost".to_owned(), "fork".to_owned()], 2));
    let again = the_only(&world, "fork");
    for field in ["id", "log", "smaller", "larger", "file", "evidence"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    let lost = the_only(&world, "alerts-lost");
    assert!(lost["message"].as_str().unwrap().contains("alerts.json is missing"), "{lost}");
    assert_eq!(lost.get("log"), None);
    // Both are in the book again.
    let (output, open) = next(&mut world);
    assert_eq!((output.alerts(), open), (vec![], 2));
}

#[test]
fn evidence_counts_by_what_the_log_signed_and_not_by_its_name() {
    let (_log, mut world) = scene();
    let file = world.evidence().remove(0);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(alerts_file(&world)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    // The name is this log's, and the signatures are not.
    let signature = text.rfind(' ').unwrap() + 20;
    let other = if text.as_bytes()[signature] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &text[..signature], &text[signature + 1..]);
    for (rest, bytes) in [("0-0-a", forged.as_bytes()), ("0-0-b", b"nothing"), ("0-0-c", &[b'x'; 4_000_000])]
    {
        fs::write(file.with_file_name(format!("{}{rest}.tlog-fork", &name[..17])), bytes).unwrap();
    }
    assert_eq!(next(&mut world).0.alerts(), ["alerts-lost", "fork"]);
    assert_eq!(the_only(&world, "fork")["file"], Value::from(name));
    // Of a log that is not followed nobody can tell.
    fs::remove_file(alerts_file(&world)).unwrap();
    world.logs.clear();
    assert_eq!(next(&mut world).0.alerts(), ["alerts-lost"]);
}

#[test]
fn alerts_are_lost_where_a_monitor_has_worked_and_nowhere_else() {
    let log = Liar::serve(numbered(30));
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    // Nothing is lost in a new directory, nor where there was nothing to tell.
    assert_eq!(next(&mut world).0.alerts(), Vec::<String>::new());
    assert_eq!(next(&mut world).0.alerts(), Vec::<String>::new());
    for left in ["outbox.journal", "positions.json", "logs"] {
        for name in ["alerts.json", "outbox.journal", "positions.json"] {
            if name != left {
                fs::remove_file(world.dir().join(name)).unwrap();
            }
        }
        let logs = world.dir().join("logs");
        let aside = world.temp.path().join("aside");
        if left != "logs" {
            fs::rename(&logs, &aside).unwrap();
        }
        assert_eq!(next(&mut world).0.alerts(), ["alerts-lost"], "{left}");
        if left != "logs" {
            fs::remove_dir_all(&logs).unwrap();
            fs::rename(&aside, &logs).unwrap();
        }
        // Another loss is another alert.
        acknowledge_all(&world);
        world.pass(1);
    }
}
