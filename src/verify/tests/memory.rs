//! What an endpoint remembers between verdicts: rollback, fork, and the state file.

use proptest::prelude::*;

use super::*;
use crate::state::MAX_STATE_BYTES;

#[test]
fn what_was_seen_is_remembered_and_older_releases_are_refused() {
    let mut scene = Scene::good();
    let verified = scene.verdict().unwrap();
    verified.remember_in(&mut scene.state);
    let head = verified.head().get();
    assert_eq!(scene.state.head("example.com/log"), Some((head.size, head.root)));
    assert_eq!(scene.state.sequence("vendor", &scene.release), Some(7));
    assert!(scene.verdict().is_ok(), "the same release again is no rollback");

    let with_sequence = |scene: &mut Scene, sequence| scene.release.sequence = sequence;
    // Another leaf of another tree of the same size would be a fork, so only the sequence is kept.
    let mut later = Scene::with(|s| s.remember(1, Hash::EMPTY_ROOT, 7));
    with_sequence(&mut later, 8);
    assert!(later.verdict().is_ok());
    with_sequence(&mut later, 6);
    assert_eq!(later.refusal(), Refusal::Rollback { expected: 7, seen: 6 });
    // Sequences count for each publisher, package and channel; versions do not matter.
    later.release.purl = crate::release::Purl::parse("pkg:generic/example/scanner@9.9").unwrap();
    assert_eq!(later.refusal().code(), "rollback", "a higher version with a lower sequence");
    later.release.channel = "beta".to_owned();
    assert!(later.verdict().is_ok(), "another channel");
    later.release.channel = "stable".to_owned();
    later.release.purl = crate::release::Purl::parse("pkg:generic/example/scanner-gui@1").unwrap();
    assert!(later.verdict().is_ok(), "another package");
    with_sequence(&mut later, 6);
    later.release.purl = sample_release(ARTIFACT).purl;
    later.publishers = later.publishers.replace("\"vendor\"", "\"renamed\"");
    assert!(later.verdict().is_ok(), "another publisher");
}

#[test]
fn an_older_checkpoint_is_no_rollback_and_another_root_is_a_fork() {
    let root = Scene::good().verdict().unwrap().head().get().root;
    let asked = |size, remembered| Scene::with(|s| s.remember(size, remembered, 7)).verdict().map(|_| ());
    assert_eq!(asked(7, root), Ok(()), "the same head");
    assert_eq!(asked(1_000_000, Hash::EMPTY_ROOT), Ok(()), "a proof made long ago under an older checkpoint");
    assert_eq!(asked(6, Hash::EMPTY_ROOT), Ok(()), "a newer checkpoint");
    let fork = Refusal::Fork {
        size: TreeSize::new(7).unwrap(),
        expected: Hash::EMPTY_ROOT.to_base64(),
        seen: root.to_base64(),
    };
    assert_eq!(asked(7, Hash::EMPTY_ROOT), Err(fork));
    // Another log's heads are not compared.
    let mut scene = Scene::good();
    let origin = KeyName::new("example.com/other").unwrap();
    let other = Checkpoint::new(origin, TreeSize::new(7).unwrap(), Hash::EMPTY_ROOT);
    scene.state.remember(&other, "other", &scene.release);
    assert!(scene.verdict().is_ok());
}

#[test]
fn remembering_never_lowers_anything() {
    let mut scene = Scene::good();
    let roots = [1, 2, 3].map(|i| Hash::leaf(&[i]));
    let release = sample_release(ARTIFACT);
    let known = |scene: &Scene| {
        let (size, root) = scene.state.head("example.com/log").unwrap();
        (size.get(), root, scene.state.sequence("vendor", &release).unwrap())
    };
    scene.remember(5, roots[0], 0);
    assert_eq!(known(&scene), (5, roots[0], 0));
    scene.remember(4, roots[1], 9);
    assert_eq!(known(&scene), (5, roots[0], 9), "a smaller head, a higher sequence");
    scene.remember(5, roots[2], 3);
    assert_eq!(known(&scene), (5, roots[0], 9), "the first root of a size stays, to show the fork");
    scene.remember(6, roots[2], 9);
    assert_eq!(known(&scene), (6, roots[2], 9));
}

const ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn file(logs: &str, sequences: &str) -> String {
    format!("{{\"version\":1,\"logs\":[{logs}],\"sequences\":[{sequences}]}}")
}

#[test]
fn damaged_states_are_refused() {
    let log = format!("{{\"origin\":\"a\",\"size\":7,\"root\":\"{ROOT}\"}}");
    let sequence = "{\"publisher\":\"v\",\"package\":\"p\",\"channel\":\"c\",\"sequence\":9}";
    let good = file(&log, sequence);
    let state = EndpointState::parse(good.as_bytes()).unwrap();
    assert_eq!(state.head("a").unwrap().0.get(), 7);
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for (bad, why) in [
        (String::new(), "expected the JSON this program wrote, saw EOF"),
        ("\0".repeat(100), "expected the JSON this program wrote"),
        ("{}".to_owned(), "missing field `version`"),
        ("null".to_owned(), "expected the JSON this program wrote"),
        (format!("{good}{good}"), "trailing characters"),
        (with("\"version\":1", "\"version\":2"), "expected version 1, saw 2"),
        (with("\"version\":1", "\"version\":-1"), "expected the JSON this program wrote"),
        (with("\"version\":1", "\"version\":1,\"version\":1"), "duplicate field `version`"),
        (with("\"version\":1,", ""), "missing field `version`"),
        (with("\"logs\"", "\"log\""), "unknown field `log`"),
        (
            with("\"size\":7", "\"size\":9223372036854775808"),
            "a tree size below 2^63, saw 9223372036854775808",
        ),
        (with("\"size\":7", "\"size\":-7"), "expected the JSON this program wrote"),
        (with("\"size\":7", "\"size\":\"7\""), "expected the JSON this program wrote"),
        (with("FU=", "FV="), "44 characters of padded base64"),
        (with("\"root\"", "\"rot\""), "unknown field `rot`"),
        (with("\"sequence\":9", "\"sequence\":9.5"), "expected the JSON this program wrote"),
        (with("\"sequence\":9", "\"sequence\":18446744073709551616"), "expected the JSON this program wrote"),
        // Two rows for one key: the later would win, and could be the lower.
        (file(&format!("{log},{}", log.replace('7', "6")), sequence), "expected each log once"),
        (
            file(&log, &format!("{sequence},{}", sequence.replace('9', "8"))),
            "expected each package and channel once",
        ),
    ] {
        let error = EndpointState::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains("an endpoint's state") || error.contains("a hash"), "{error}");
        assert!(error.contains(why), "{bad}: expected {why:?} in {error:?}");
    }
    let error = EndpointState::parse(&vec![b' '; MAX_STATE_BYTES + 1]).unwrap_err().to_string();
    assert!(error.contains("expected at most 67108864 bytes"), "{error}");
    let written = state.to_bytes();
    for end in 0..written.len() - 1 {
        assert!(EndpointState::parse(&written[..end]).is_err(), "truncated to {end} bytes");
    }
    let without_newline = EndpointState::parse(&written[..written.len() - 1]);
    assert_eq!(without_newline, Ok(state), "only white space is lost");
}

proptest! {
    #[test]
    fn states_read_back_as_they_were_written(
        heads in prop::collection::vec(
            ("[a-z]{1,3}", 0..=crate::merkle::MAX_TREE_SIZE, any::<[u8; 32]>()),
            0..8,
        ),
        sequences in prop::collection::vec(("[^+]{0,3}", "[ab]", 0..1_u64 << 53), 0..8),
    ) {
        let mut state = EndpointState::default();
        for ((origin, size, root), (publisher, channel, sequence)) in heads.into_iter().zip(sequences) {
            let size = TreeSize::new(size).unwrap();
            let head = Checkpoint::new(KeyName::new(&origin).unwrap(), size, Hash::from_bytes(root));
            let before = (state.head(&origin), state.clone());
            let release = Release { channel, sequence, ..sample_release(ARTIFACT) };
            state.remember(&head, &publisher, &release);
            // Nothing goes down.
            prop_assert!(state.head(&origin).unwrap().0 >= before.0.map_or(size, |(size, _)| size));
            let sequence_before = before.1.sequence(&publisher, &release).unwrap_or(sequence);
            prop_assert_eq!(state.sequence(&publisher, &release), Some(sequence.max(sequence_before)));
            let read = EndpointState::parse(&state.to_bytes()).unwrap();
            prop_assert_eq!((read.to_bytes(), &read), (state.to_bytes(), &state));
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let scene = Scene::good();
        let _ = EndpointState::parse(&bytes);
        let refusal = scene.ask(&bytes, Artifact::File(&scene.artifact)).unwrap_err();
        prop_assert_eq!(refusal.code(), "proof-malformed");
    }
}
