//! Statements that fit the earlier ones, and marks that are forgotten.

use super::*;
use crate::release::{Kind, Purl, Subject};

fn release(channel: &str, sequence: u64, content: &str) -> Release {
    Release {
        subjects: vec![Subject { name: "a".to_owned(), sha256: Hash::digest(content.as_bytes()) }],
        purl: Purl::parse("pkg:generic/example/scanner@1.0").unwrap(),
        kind: Kind::Build,
        channel: channel.to_owned(),
        sequence,
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    }
}

fn leaf(index: u64) -> LeafIndex {
    LeafIndex::new(index).unwrap()
}

fn step(draft: &mut Draft<'_>, who: &str, release: &Release, at: u64) -> NumberStep {
    draft.release(&[who.to_owned()], release, leaf(at)).step.map_or(NumberStep::Fits, |(_, step)| step)
}

#[test]
fn each_way_to_follow_is_told_apart() {
    let seen = History::default();
    let mut draft = seen.draft();
    let mut take = |who: &str, channel: &str, sequence, content: &str, at| {
        step(&mut draft, who, &release(channel, sequence, content), at)
    };
    assert_eq!(take("v", "stable", 7, "7", 0), NumberStep::Fits, "nobody knows what was before");
    assert_eq!(take("v", "stable", 8, "8", 1), NumberStep::Fits);
    assert_eq!(take("v", "stable", 8, "8", 2), NumberStep::Fits, "another statement of the same");
    assert_eq!(take("v", "stable", 8, "another", 3), NumberStep::Repeated { leaf: 1 });
    assert_eq!(take("v", "stable", 11, "11", 4), NumberStep::Gap { last: 8 });
    assert_eq!(take("v", "stable", 10, "10", 5), NumberStep::Lower { highest: 11, leaf: 4 });
    assert_eq!(take("v", "stable", 12, "12", 6), NumberStep::Fits, "a lower one leaves the highest");
    assert_eq!(take("v", "beta", 1, "1", 7), NumberStep::Fits, "a track of its own");
    assert_eq!(take("w", "stable", 1, "1", 8), NumberStep::Fits, "a track of its own");
}

#[test]
fn what_was_not_delivered_is_judged_as_the_first_time() {
    let mut seen = History::default();
    let mut first = seen.draft();
    step(&mut first, "v", &release("stable", 1, "1"), 0);
    let changes = first.into_changes();
    seen.commit(changes);
    let gap = |seen: &History| step(&mut seen.draft(), "v", &release("stable", 5, "5"), 1);
    assert_eq!(gap(&seen), NumberStep::Gap { last: 1 });
    assert_eq!(gap(&seen), NumberStep::Gap { last: 1 }, "the draft was dropped");
}

#[test]
fn what_is_read_again_after_a_restart_raises_nothing() {
    let mut seen = History::default();
    let story = [(1, "1"), (2, "2"), (5, "5"), (5, "other"), (3, "3")];
    let read = |seen: &mut History| -> Vec<NumberStep> {
        let mut draft = seen.draft();
        let mut steps = Vec::new();
        for (at, (sequence, content)) in story.iter().enumerate() {
            steps.push(step(&mut draft, "v", &release("stable", *sequence, content), at as u64));
        }
        let changes = draft.into_changes();
        seen.commit(changes);
        steps
    };
    let first = read(&mut seen);
    assert_eq!(first[2], NumberStep::Gap { last: 2 });
    assert_eq!(first[3], NumberStep::Repeated { leaf: 2 });
    assert!(matches!(first[4], NumberStep::Lower { .. }));
    let rows = serde_json::to_string(&seen.tracks.keys().collect::<Vec<_>>()).unwrap();
    let keys: Vec<ShortHash> = serde_json::from_str(&rows).unwrap();
    let tracks = keys.into_iter().zip(seen.tracks.values().copied()).collect();
    let mut again = History { tracks, recent: seen.recent.clone(), ..History::default() };
    assert_eq!(again, seen);
    // The lower one was never the last of its track, so it is told again: better twice than never.
    assert_eq!(read(&mut again)[..4], [NumberStep::Fits; 4]);
}

fn mark(n: u64) -> Mark {
    Mark::payload(&Hash::digest(&n.to_be_bytes()))
}

fn met(range: std::ops::Range<u64>) -> HashMap<Mark, Met> {
    range.map(|n| (mark(n), Met::new(n, &Hash::digest(b"value")))).collect()
}

#[test]
fn the_oldest_are_forgotten() {
    let mut marks = Marks::default();
    for n in 0..30 {
        marks.learn_within(met(n * 10..n * 10 + 10), 100);
        assert!(marks.young.len() <= 100 && marks.old.len() <= 100);
    }
    let known = |n| marks.get(&mark(n)).map(|met| met.leaf);
    assert_eq!(
        (known(299), known(200), known(100), known(99), known(0)),
        (Some(299), Some(200), Some(100), None, None)
    );
    let restored = Marks::from_text(&marks.to_text()).unwrap();
    assert_eq!(restored, marks);
    assert!(Marks::from_text(&["00".to_owned(), String::new()]).is_err());
    assert!(Marks::from_text(&[String::new(), "zz".to_owned()]).is_err());
}

#[test]
fn a_window_that_is_larger_than_a_generation_is_kept() {
    let mut marks = Marks::default();
    marks.learn_within(met(0..5), 100);
    marks.learn_within(met(5..205), 100);
    assert!((0..205).all(|n| marks.get(&mark(n)).is_some()));
    assert!(marks.get(&mark(3)).unwrap().is_same(&Hash::digest(b"value")));
    assert!(!marks.get(&mark(3)).unwrap().is_same(&Hash::digest(b"other")));
}
