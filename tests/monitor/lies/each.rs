//! Every lie, about each path that a monitor asks a log for.

use std::time::Duration;

use super::{BEFORE, MORE, Scene, ended, on_the_wire, the_only};
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::ORIGIN;

/// A lie, and the report of the monitor.
struct Case {
    lie: Lie,
    /// The paths it is about.
    of: &'static str,
    code: &'static str,
    word: Option<&'static str>,
}

const fn misbehaves(lie: Lie, of: &'static str, word: &'static str) -> Case {
    Case { lie, of, code: "log-misbehaves", word: Some(word) }
}

/// The answer is not signed by the log, so it accuses nobody.
const fn unheard(lie: Lie, of: &'static str, word: &'static str) -> Case {
    Case { lie, of, code: "log-unreachable", word: Some(word) }
}

fn wire_cases(of: &'static str) -> Vec<Case> {
    let case = |(lie, word, is_silence): (Lie, &'static str, bool)| Case {
        lie,
        of,
        code: if is_silence { "log-unreachable" } else { "log-misbehaves" },
        word: Some(word),
    };
    on_the_wire().into_iter().map(case).collect()
}

/// Lies in the content of an answer.
fn said() -> Vec<Case> {
    let (head, tiles, bundles) = ("checkpoint", "tile/0", "tile/entries");
    vec![
        misbehaves(Lie::WrongTile, tiles, "wrong-tile"),
        misbehaves(Lie::TruncatedTile, tiles, "truncated-tile"),
        misbehaves(Lie::ExtraHash, tiles, "oversized-tile"),
        misbehaves(Lie::WrongTile, "", "wrong-tile"),
        misbehaves(Lie::TruncatedTile, "tile/1", "truncated-tile"),
        misbehaves(Lie::Html, tiles, "truncated-tile"),
        misbehaves(Lie::Empty, tiles, "truncated-tile"),
        misbehaves(Lie::WrongBundle, "", "wrong-entry"),
        misbehaves(Lie::WrongBundle, "tile/entries/001", "wrong-entry"),
        misbehaves(Lie::WrongBundle, "tile/entries/002", "wrong-entry"),
        misbehaves(Lie::TruncatedBundle, bundles, "truncated-bundle"),
        misbehaves(Lie::ExtraEntry, bundles, "oversized-bundle"),
        misbehaves(Lie::Html, bundles, "truncated-bundle"),
        misbehaves(Lie::Empty, bundles, "truncated-bundle"),
        unheard(Lie::Html, head, "not-a-checkpoint"),
        unheard(Lie::Empty, head, "not-a-checkpoint"),
        unheard(Lie::WrongSignature, head, "checkpoint-signature"),
        unheard(Lie::OtherOrigin, head, "unknown-log"),
        unheard(Lie::PartialGone(404), "", "not-found"),
        unheard(Lie::PartialGone(410), "", "not-found"),
        Case { lie: Lie::Shrunk(200), of: head, code: "log-shrunk", word: None },
        Case { lie: Lie::NoQuorum, of: head, code: "no-quorum", word: None },
    ]
}

/// Follows, is lied to, and follows again. The monitor is restarted before each round.
fn play(Case { lie, of, code, word }: &Case) {
    let about = format!("{lie:?} of {of:?}");
    let mut scene = Scene::new();
    if matches!(lie, Lie::Drip(_)) {
        scene.world.timeout = Duration::from_secs(2);
    }
    scene.grow(MORE);
    scene.liar.set_only(lie.clone(), Only::path(of));
    let once = scene.world.once();
    scene.assert_honest_followed();
    assert_eq!(scene.world.output.alerts(), [*code], "{about}");
    let event = the_only(&scene.world, code);
    assert_eq!((event["log"].as_str(), event["lie"].as_str()), (Some(ORIGIN), *word), "{about}: {event:#}");
    assert_eq!((once.open_conditions.len(), once.not_followed), (1, usize::from(word.is_some())), "{about}");
    // Some of it may be true, but the monitor can't know which part.
    scene.assert_told(BEFORE);
    scene.liar.be_honest();
    scene.grow(1);
    let once = scene.world.once();
    assert_eq!((once.open_conditions.len(), once.not_followed), (0, 0), "{about}");
    assert_eq!(the_only(&scene.world, "ended")["alert"], event["id"], "{about}");
    scene.assert_told(BEFORE + MORE + 1);
    scene.assert_honest_followed();
}

fn play_all(cases: &[Case]) {
    // Most of them wait.
    std::thread::scope(|scope| {
        let plays: Vec<_> = cases.iter().map(|case| scope.spawn(|| play(case))).collect();
        let failed =
            plays.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        assert_eq!(failed, 0, "cases that failed, see above");
    });
}

#[test]
fn wrong_content_is_named_and_not_believed() {
    play_all(&said());
}

#[test]
fn what_is_wrong_with_the_connection_of_a_head_is_named() {
    play_all(&wire_cases("checkpoint"));
}

#[test]
fn what_is_wrong_with_the_connection_of_a_tile_is_named() {
    play_all(&wire_cases("tile/0"));
}

#[test]
fn what_is_wrong_with_the_connection_of_a_bundle_is_named() {
    play_all(&wire_cases("tile/entries"));
}

#[test]
fn honest_answers_are_not_called_lies() {
    for lie in [Lie::Chunked, Lie::Stale(1)] {
        let mut scene = Scene::new();
        scene.world.logs[0].patience.witness_missing = u64::MAX;
        scene.grow(MORE);
        scene.liar.set(lie);
        scene.world.once();
        assert_eq!(scene.world.output.alerts(), Vec::<String>::new());
        scene.assert_told(BEFORE + MORE);
    }
}

#[test]
fn one_lie_after_the_other_is_told_of_and_ended_by_a_monitor_that_runs() {
    let scene = Scene::unfollowed(BEFORE);
    let running = scene.world.run();
    let lies = [
        (Lie::WrongTile, "tile/0", "log-misbehaves"),
        (Lie::WrongBundle, "", "log-misbehaves"),
        (Lie::Html, "tile/entries", "log-misbehaves"),
        (Lie::Status(500), "tile/entries", "log-unreachable"),
        (Lie::Shrunk(7), "", "log-shrunk"),
        (Lie::NoQuorum, "", "no-quorum"),
    ];
    for (at, (lie, of, code)) in lies.into_iter().enumerate() {
        let told = BEFORE + at * 10;
        eventually_told(&scene, told);
        scene.liar.set_only(lie, Only::path(of));
        scene.grow(10);
        let before = scene.world.output.of("ended").len();
        crate::common::log::eventually("it is named", || scene.world.output.alerts().len() == at + 1);
        assert_eq!(scene.world.output.alerts()[at], code);
        scene.assert_told(told);
        scene.liar.be_honest();
        crate::common::log::eventually("it is over", || scene.world.output.of("ended").len() == before + 1);
    }
    eventually_told(&scene, BEFORE + 60);
    drop(running);
    scene.assert_told(BEFORE + 60);
    assert_eq!(ended(&scene.world).len(), 6);
}

fn eventually_told(scene: &Scene, count: usize) {
    crate::common::log::eventually("all is told", || scene.world.output.of("release").len() == count);
}

#[test]
fn neither_silence_nor_another_lie_ends_a_lie() {
    let scene = Scene::new();
    scene.grow(MORE);
    let round = |lie: Lie| {
        scene.liar.be_honest();
        scene.liar.set(lie);
        scene.world.once();
        (scene.world.output.alerts().len(), ended(&scene.world))
    };
    assert_eq!(round(Lie::WrongBundle), (1, vec![]));
    assert_eq!(round(Lie::Status(500)), (2, vec![]), "it has not taken anything back");
    let over = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    // A log that alternates between two lies is reported once for each.
    assert_eq!(round(Lie::TruncatedBundle), (3, over(&["log-unreachable"])));
    assert_eq!(round(Lie::WrongBundle), (3, over(&["log-unreachable"])));
    scene.liar.be_honest();
    scene.world.once();
    assert_eq!(ended(&scene.world), over(&["log-misbehaves", "log-misbehaves", "log-unreachable"]));
    let last = the_last(&scene);
    assert!(last.contains("answers as it should"), "{last}");
}

/// The message of the last ended lie.
fn the_last(scene: &Scene) -> String {
    let ended = scene.world.output.of("ended");
    let last = ended.iter().rfind(|event| event["of"] == "log-misbehaves").unwrap();
    last["message"].as_str().unwrap().to_owned()
}
