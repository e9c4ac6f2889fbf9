//! Lies in the middle of a catch-up: earlier events stay, and the rest comes once the log is honest.

use std::fs;

use treehead::merkle::Hash;
use treehead::release::{Release, Subject};

use super::{BEFORE, MORE, Scene, ended};
use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::releases::{scanner, signed, vendor_toml};
use crate::world::{Log, World};

#[test]
fn a_lie_in_any_one_request_changes_nothing_in_the_end() {
    // The code that each has at the end of a round; none if the request is repeated.
    let lies = [
        (Lie::TruncatedBundle, "tile/entries", true),
        (Lie::WrongBundle, "tile/entries", true),
        (Lie::CloseHalfway, "tile/entries", false),
        (Lie::Busy(429, 0), "", false),
        (Lie::TruncatedTile, "tile/", true),
        (Lie::Status(500), "", true),
        (Lie::Html, "", true),
    ];
    std::thread::scope(|scope| {
        for (lie, of, is_told) in lies {
            scope.spawn(move || {
                for place in 0..8 {
                    let scene = Scene::new();
                    scene.grow(MORE);
                    let before = scene.liar.asked().len();
                    scene.liar.set_only(lie.clone(), Only::path(of).after(place).times(1));
                    // The request may be one of a later round, or never made.
                    for _ in 0..2 {
                        scene.world.once();
                    }
                    scene.liar.be_honest();
                    scene.world.once();
                    let alerts = scene.world.output.alerts().len();
                    let about = format!("{lie:?} {place}");
                    scene.assert_told(BEFORE + MORE);
                    assert_eq!(ended(&scene.world).len(), alerts, "{about}");
                    assert!(alerts <= usize::from(is_told), "{about}");
                    // The very first request that a lie is about is always made.
                    assert!(place > 0 || alerts == usize::from(is_told), "{about}");
                    assert!(scene.liar.asked().len() - before < 60, "{about}");
                }
            });
        }
    });
}

/// A build with so many artifacts that three bundles of them are larger than a window.
fn large(n: u64) -> Release {
    let subject = |at: u64| Subject {
        name: format!("{}-{at:04}.bin", "part".repeat(15)),
        sha256: Hash::digest(format!("{n} {at}").as_bytes()),
    };
    Release { subjects: (0..250).map(subject).collect(), ..scanner(n) }
}

#[test]
fn windows_before_the_lie_are_told_and_none_behind_it() {
    let entries: Vec<Vec<u8>> = (1..=900).map(|n| signed(&large(n), 1)).collect();
    assert!(entries[0].len() > 45_000, "{}", entries[0].len());
    let log = Liar::serve(entries);
    let mut world = World::new(Vec::new());
    let publishers = world.temp.path().join("publishers.toml");
    fs::write(&publishers, vendor_toml()).unwrap();
    world.logs.push(Log::release(&log.url(), &log.policy(), &publishers));
    let told = |world: &World| -> Vec<u64> {
        world.output.of("release").iter().map(|event| event["index"].as_u64().unwrap()).collect()
    };
    // A lie in the first window lets nothing be reported; one in the second, the statements of the first.
    let lies = [
        (Lie::WrongTile, "tile/1", 0, "wrong-tile"),
        (Lie::WrongBundle, "tile/entries/001", 0, "wrong-entry"),
        (Lie::WrongBundle, "tile/entries/003", 768, "wrong-entry"),
    ];
    for (lie, of, before, word) in lies {
        log.set_only(lie, Only::path(of));
        world.once();
        assert_eq!(told(&world), (0..before).collect::<Vec<_>>(), "{of}");
        assert_eq!(world.output.of("log-misbehaves").pop().unwrap()["lie"], word);
        log.be_honest();
    }
    let messages = world.output.of("log-misbehaves");
    assert_eq!(messages.len(), 2, "the third continues the second: {messages:#?}");
    let message = messages[1]["message"].as_str().unwrap();
    assert!(message.contains("entry 511 hashes to"), "{message}");
    world.once();
    assert_eq!(told(&world), (0..900).collect::<Vec<_>>());
    let asked = log.counts();
    assert_eq!(asked["tile/entries/000"], 3, "only what was not told is fetched again: {asked:?}");
}

#[test]
fn no_more_requests_are_made_at_once_than_is_said() {
    // The next window is fetched while one is being checked.
    let entries: Vec<Vec<u8>> =
        (0..1_400_u32).map(|at| [&at.to_le_bytes()[..], &[7; 60_000]].concat()).collect();
    let log = Liar::serve(entries.clone());
    for parallel in [1, 3] {
        let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        world.parallel = parallel;
        world.once();
        assert_eq!(world.output.of("head").len(), 1);
        assert!(log.most_requests() <= parallel, "{} at once", log.most_requests());
    }
    // Bundles of 15 MB: answers take long enough to overlap.
    let log = Liar::serve(entries);
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.parallel = 16;
    world.once();
    assert!((2..=16).contains(&log.most_requests()), "{} at once", log.most_requests());
}
