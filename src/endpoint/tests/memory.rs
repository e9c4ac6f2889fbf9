//! The memory of an endpoint between verdicts: rollback, fork, and the state file.

use proptest::prelude::*;

use super::*;
use crate::endpoint::MAX_STATE_BYTES;
use crate::format::checksum;
use crate::release::{Subject, Withdrawal};

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
    // Another leaf in another tree of the same size would be a fork, so the test keeps only the sequence number.
    let mut later = Scene::with(|s| s.remember(1, Hash::EMPTY_ROOT, 7));
    with_sequence(&mut later, 8);
    assert!(later.verdict().is_ok());
    with_sequence(&mut later, 6);
    assert_eq!(later.refusal(), Refusal::Rollback { expected: 7, seen: 6 });
    // Sequence numbers count for each publisher, package and channel; versions do not matter.
    later.release.purl = crate::release::Purl::parse("pkg:generic/example/scanner@9.9").unwrap();
    assert_eq!(later.refusal().code().as_str(), "rollback", "a higher version with a lower sequence");
    later.release.channel = "beta".to_owned();
    assert_eq!(later.refusal().code().as_str(), "other-channel", "stable is what is followed");
    later.pins.channel = Some("beta");
    assert!(later.verdict().is_ok(), "a channel that was asked for has numbers of its own");
    later.pins.channel = None;
    later.release.channel = "stable".to_owned();
    later.release.purl = crate::release::Purl::parse("pkg:generic/example/scanner-gui@1").unwrap();
    assert!(later.verdict().is_ok(), "another package");
    with_sequence(&mut later, 6);
    later.release.purl = sample_release(ARTIFACT).purl;
    later.publishers = later.publishers.replace("\"vendor\"", "\"renamed\"");
    assert!(later.verdict().is_ok(), "another publisher");
}

#[test]
fn who_signs_along_hides_no_number() {
    let keys = [publisher_signer(1), publisher_signer(2)];
    let mut in_order: Vec<(&PublisherSigner, &str)> = keys.iter().zip(["vendor", "other"]).collect();
    in_order.sort_by_key(|(key, _)| key.keyid());
    let two = |s: &mut Scene| {
        s.publishers +=
            &publisher_toml("other", &[&publisher_signer(2)], &["pkg:generic/example/*"], &["build"]);
    };
    let signed = |scene: &mut Scene, sequence, by: &[usize]| {
        let release = Release { sequence, ..sample_release(ARTIFACT) };
        let signers: Vec<&PublisherSigner> = by.iter().map(|at| in_order[*at].0).collect();
        let entry = signed_entry(&release, &signers);
        scene.entry = Box::new(move |_| entry.clone());
        scene.verdict()
    };
    // Whichever keyid comes first, both are remembered, and both are checked.
    for (seen, then) in [(&[0, 1][..], &[0][..]), (&[0, 1], &[1]), (&[0], &[0, 1]), (&[1], &[0, 1])] {
        let mut scene = Scene::with(two);
        let verified = signed(&mut scene, 8, seen).unwrap();
        verified.remember_in(&mut scene.state);
        for at in seen {
            assert_eq!(scene.state.sequence(in_order[*at].1, &scene.release), Some(8));
        }
        // It is another log, of which this endpoint remembers nothing.
        let mut later = Scene::with(two);
        let other = Checkpoint::new(
            KeyName::new("example.com/other").unwrap(),
            TreeSize::new(1).unwrap(),
            Hash::EMPTY_ROOT,
        );
        let names: Vec<&str> = seen.iter().map(|at| in_order[*at].1).collect();
        later.state.remember(&other, None, &names, &Release { sequence: 8, ..scene.release.clone() });
        assert_eq!(
            signed(&mut later, 7, then).unwrap_err(),
            Refusal::Rollback { expected: 8, seen: 7 },
            "{seen:?}, {then:?}"
        );
        assert!(signed(&mut later, 9, then).is_ok());
    }
    // A signer without a right to the package releases nothing, so it is not remembered.
    let mut scene = Scene::with(|s| {
        s.publishers += &publisher_toml("other", &[&publisher_signer(2)], &["pkg:deb/*"], &["build"]);
    });
    signed(&mut scene, 8, &[0, 1]).unwrap().remember_in(&mut scene.state);
    let known = |name| scene.state.sequence(name, &scene.release);
    assert_eq!((known("vendor"), known("other")), (Some(8), None));
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
    // The heads of another log are not compared.
    let mut scene = Scene::good();
    let origin = KeyName::new("example.com/other").unwrap();
    let other = Checkpoint::new(origin, TreeSize::new(7).unwrap(), Hash::EMPTY_ROOT);
    scene.state.remember(&other, None, &["other"], &scene.release);
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

/// Signed by the log and both witnesses.
fn cosigned(size: u64, root: Hash) -> Cosigned<Checkpoint> {
    let log = log_key("example.com/log");
    let head = Checkpoint::new(log.public().name().clone(), TreeSize::new(size).unwrap(), root);
    let mut note = head.sign(&log);
    [1, 2].iter().for_each(|seed| note.push(cosign(&head, &witness(*seed), COSIGNED)));
    let policy = Policy::parse(Scene::good().policy.as_bytes()).unwrap();
    policy.check(&checkpoint::open_note(note, &policy.log_keys()).unwrap()).unwrap()
}

fn sizes(state: &EndpointState) -> Vec<u64> {
    state.heads("example.com/log").map(|head| head.size.get()).collect()
}

fn root(n: u64) -> Hash {
    Hash::leaf(&n.to_be_bytes())
}

#[test]
fn heads_wait_with_their_signatures_until_they_are_proven() {
    let mut scene = Scene::good();
    // A line that nobody required is not kept.
    let stranger = NoteSignature::new(KeyName::new("stranger").unwrap(), KeyId([1; 4]), vec![7; 5_000]);
    scene.file.push(Box::new(move |file| file.checkpoint.push(stranger.clone())));
    scene.verdict().unwrap().remember_in(&mut scene.state);
    let remembered = scene.state.heads("example.com/log").next().unwrap().clone();
    let note = remembered.note.unwrap();
    assert_eq!(note.signatures().len(), 3, "the log's and both witnesses'");
    assert!(checkpoint::open_note(note, &[log_key("example.com/log").public().clone()]).is_ok());

    let mut state = EndpointState::default();
    let release = sample_release(ARTIFACT);
    let remember = |state: &mut EndpointState, size| {
        let head = cosigned(size, root(size));
        state.remember(head.get(), Some(head.verified_note()), &["vendor"], &release);
    };
    for size in [5, 9, 3, 9, 7] {
        remember(&mut state, size);
    }
    assert_eq!(sizes(&state), [5, 9, 3, 7], "each once, in the order in which they came");
    assert_eq!(state.head("example.com/log"), Some((TreeSize::new(9).unwrap(), root(9))));
    // The newest head stands for those that were compared; another one stays.
    let pairs = |of: &[u64]| of.iter().map(|n| (TreeSize::new(*n).unwrap(), root(*n))).collect::<Vec<_>>();
    state.confirm(&cosigned(12, root(12)), &pairs(&[5, 9, 3]));
    assert_eq!(sizes(&state), [12, 7]);
    state.confirm(&cosigned(20, root(20)), &pairs(&[7, 12]));
    assert_eq!(sizes(&state), [20]);
    // Another process was quicker: heads that nobody compared with its head wait.
    state.confirm(&cosigned(18, root(18)), &pairs(&[12]));
    assert_eq!(sizes(&state), [20, 18]);
    state.confirm(&cosigned(20, root(20)), &pairs(&[18, 20]));
    assert_eq!(sizes(&state), [20]);
    let read = EndpointState::parse(&state.to_bytes()).unwrap();
    assert_eq!(read, state);
}

#[test]
fn a_head_that_contradicts_another_confirms_nothing() {
    let log = format!("{{\"origin\":\"example.com/log\",\"size\":9,\"root\":\"{ROOT}\"}}");
    let learnt = |state: &mut EndpointState| {
        state.confirm(&cosigned(9, root(9)), &[]);
        assert_eq!(sizes(state), [9]);
        assert_eq!(state.head("example.com/log").unwrap().1, Hash::EMPTY_ROOT, "the first one stays");
        assert_eq!(EndpointState::parse(&state.to_bytes()).as_ref(), Ok(&*state), "and the file is whole");
    };
    // As version 1 left it, without a signature, and as the proven one.
    let mut state = EndpointState::parse(file(&log, "").as_bytes()).unwrap();
    learnt(&mut state);
    let mut state = EndpointState::default();
    state.confirm(&cosigned(9, Hash::EMPTY_ROOT), &[]);
    learnt(&mut state);
}

#[test]
fn an_endpoint_that_is_never_online_forgets_the_first_heads_and_never_the_largest() {
    let mut state = EndpointState::default();
    let release = sample_release(ARTIFACT);
    let mut remember = |size: u64| {
        let origin = KeyName::new("example.com/log").unwrap();
        let head = Checkpoint::new(origin, TreeSize::new(size).unwrap(), root(size));
        let forgotten = state.remember(&head, None, &["vendor"], &release);
        assert_eq!(forgotten, (16..1_000).contains(&size) || size > 1_000, "{size}");
        (sizes(&state), state.head("example.com/log").unwrap().0.get())
    };
    assert_eq!(remember(1_000), (vec![1_000], 1_000));
    for size in 1..=100 {
        let (sizes, largest) = remember(size);
        assert_eq!(largest, 1_000);
        assert!(sizes.len() <= crate::endpoint::MAX_UNPROVEN_HEADS && sizes.contains(&1_000));
        assert_eq!(sizes.last(), Some(&size), "the last one is there");
    }
    let (sizes, largest) = remember(2_000);
    assert_eq!((sizes.len(), largest), (16, 2_000));
    assert!(!sizes.contains(&1_000) && sizes.contains(&100));
}

#[test]
fn two_heads_of_a_size_are_evidence_where_the_first_has_its_signatures() {
    let mut state = EndpointState::default();
    let (one, other) = (cosigned(9, root(1)), cosigned(9, root(2)));
    let release = sample_release(ARTIFACT);
    state.remember(one.get(), None, &["vendor"], &release);
    assert!(state.contradiction(other.get()).is_some());
    assert_eq!(state.fork_evidence(other.get(), other.note()), None, "as of version 1");
    // When the head is seen again, it gets the signatures.
    state.remember(one.get(), Some(one.verified_note()), &["vendor"], &release);
    let evidence = state.fork_evidence(other.get(), other.note()).unwrap();
    assert!(evidence.judge(&[log_key("example.com/log").public().clone()]).is_ok());
    assert_eq!(state.fork_evidence(one.get(), one.note()), None);
    assert_eq!(state.fork_evidence(cosigned(10, root(2)).get(), other.note()), None);
}

/// The proof file of a withdrawal of leaf 3, by the vendor unless stated otherwise.
fn withdrawal(scene: &Scene, by: &PublisherSigner, of: &[u8]) -> (String, String) {
    let withdrawal = Withdrawal::of(LeafIndex::new(3).unwrap(), of, "it deletes what it scans").unwrap();
    let envelope = Envelope::sign(withdrawal.to_payload().unwrap(), &[by]).unwrap();
    let proof = Scene::with(|s| s.entry = Box::new(move |_| envelope.to_entry())).proof();
    (proof, scene.publishers.clone())
}

#[test]
fn what_its_publisher_withdrew_is_refused_offline() {
    let mut scene = Scene::good();
    let entry = signed_entry(&scene.release, &[&scene.signer]);
    let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
    let learn = |state: &mut EndpointState, (proof, publishers): (String, String)| {
        let publishers = Publishers::parse(publishers.as_bytes()).unwrap();
        let proven = verify_withdrawal(
            proof.as_bytes(),
            Trust { policy: &policy, publishers: &publishers, gate: &[] },
        )
        .unwrap();
        state.withdraw(&proven.with_release(&entry, &publishers));
    };
    // By another publisher with a right to the package: it has no effect and does no harm.
    let other = publisher_signer(9);
    let both = scene.publishers.clone()
        + &publisher_toml("other", &[&other], &["pkg:generic/example/*"], &["build"]);
    let (proof, _) = withdrawal(&scene, &other, &entry);
    learn(&mut scene.state, (proof, both));
    assert!(scene.verdict().is_ok());
    // Of another version, and of other artifacts of this version.
    let version = crate::release::Purl::parse("pkg:generic/example/scanner@4.1").unwrap();
    for another in [Release { purl: version, ..scene.release.clone() }, sample_release(b"other bytes")] {
        let proof = withdrawal(&scene, &scene.signer, &signed_entry(&another, &[&scene.signer]));
        learn(&mut scene.state, proof);
        assert!(scene.verdict().is_ok());
    }
    let proof = withdrawal(&scene, &scene.signer, &entry);
    learn(&mut scene.state, proof.clone());
    let refusal = scene.refusal();
    assert_eq!(refusal.code().as_str(), "withdrawn");
    assert_eq!(
        refusal.to_string(),
        format!(
            "{}, the release at leaf 3, was withdrawn by vendor: it deletes what it scans",
            scene.release.purl
        )
    );
    assert!(scene.state.knows_withdrawal("example.com/log", &{
        let file = ProofFile::parse(proof.0.as_bytes()).unwrap();
        Hash::leaf(&file.extra.unwrap())
    }));
    // It ranks below a rollback, which says more.
    scene.remember(1, Hash::EMPTY_ROOT, 8);
    assert_eq!(scene.refusal().code().as_str(), "rollback");
    // It survives in the file.
    let read = EndpointState::parse(&scene.state.to_bytes()).unwrap();
    assert_eq!(read, scene.state);
}

#[test]
fn what_was_withdrawn_passes_under_no_other_leaf() {
    let (vendor, other) = (publisher_signer(1), publisher_signer(9));
    let two = |name: &str, bytes: &[u8]| Subject { name: name.to_owned(), sha256: Hash::digest(bytes) };
    let mut release = sample_release(ARTIFACT);
    release.subjects.push(two("rules.bin", b"rules"));
    let mut scene = Scene::with(|s| {
        s.release = release.clone();
        s.publishers += &publisher_toml("other", &[&other], &["pkg:generic/example/*"], &["build"]);
    });
    let withdrawn = signed_entry(&release, &[&vendor, &other]);
    let (proof, publishers) = withdrawal(&scene, &vendor, &withdrawn);
    let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
    let publishers = Publishers::parse(publishers.as_bytes()).unwrap();
    scene.state.withdraw(
        &verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .unwrap(),
    );
    let mut ask = |release: &Release, signers: &[&PublisherSigner]| {
        let entry = signed_entry(release, signers);
        scene.entry = Box::new(move |_| entry.clone());
        scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str())
    };
    let refused = Err("withdrawn");
    assert_eq!(ask(&release, &[&vendor, &other]), refused, "the leaf that was named");
    assert_eq!(ask(&release, &[&vendor]), refused, "a signature was left out");
    assert_eq!(ask(&release, &[&vendor, &other]), refused);
    let renumbered = Release { sequence: 8, channel: "beta".to_owned(), ..release.clone() };
    assert_eq!(ask(&renumbered, &[&vendor]), refused, "under another number, in another channel");
    let turned = Release { subjects: release.subjects.iter().rev().cloned().collect(), ..release.clone() };
    assert_eq!(ask(&turned, &[&vendor]), refused, "artifacts are a set");
    let renamed = Release {
        subjects: vec![two("a.bin", ARTIFACT), two("b.bin", b"rules"), two("c.bin", ARTIFACT)],
        ..release.clone()
    };
    assert_eq!(ask(&renamed, &[&vendor]), refused, "whatever they are called");
    let fixed = Release { subjects: vec![two("scanner.bin", ARTIFACT)], ..release.clone() };
    assert_eq!(ask(&fixed, &[&vendor]), Ok(()), "other artifacts");
    let version = crate::release::Purl::parse("pkg:generic/example/scanner@4.2.1").unwrap();
    assert_eq!(ask(&Release { purl: version, ..release.clone() }, &[&vendor]), Ok(()), "a new version");
    // A signer who did not withdraw it still vouches for it.
    assert_eq!(ask(&release, &[&other]), Ok(()));

    // In another log, which this endpoint trusts as well.
    let learnt = EndpointState::parse(&scene.state.to_bytes()).unwrap();
    let elsewhere = Scene::with(|s| {
        s.release = release.clone();
        s.state = learnt;
        let (here, there) = (log_key("example.com/log"), log_key("example.com/other"));
        s.policy = s.policy.replace(&here.public().to_string(), &there.public().to_string());
        s.file.push(Box::new(move |file| {
            let head = Checkpoint::parse(file.checkpoint.text()).unwrap();
            let head = Checkpoint::new(there.public().name().clone(), head.size, head.root);
            file.checkpoint = head.sign(&there);
            [1, 2].iter().for_each(|seed| file.checkpoint.push(cosign(&head, &witness(*seed), COSIGNED)));
        }));
    });
    assert_eq!(elsewhere.refusal().code().as_str(), "withdrawn");
}

#[test]
fn a_withdrawal_is_believed_like_a_release() {
    let scene = Scene::good();
    let entry = signed_entry(&scene.release, &[&scene.signer]);
    let (proof, publishers) = withdrawal(&scene, &scene.signer, &entry);
    let ask = |proof: &str, policy: &str, publishers: &str| {
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let publishers = Publishers::parse(publishers.as_bytes()).unwrap();
        verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .map_err(|e| e.code().as_str())
    };
    assert_eq!(ask(&proof, &scene.policy, &publishers).unwrap().publishers(), ["vendor"]);
    let refused = |proof: &str, policy: &str, publishers: &str| ask(proof, policy, publishers).unwrap_err();
    assert_eq!(refused(&scene.proof(), &scene.policy, &publishers), "not-a-withdrawal");
    assert_eq!(
        scene.ask(proof.as_bytes(), unnamed(&scene.artifact)).unwrap_err().code().as_str(),
        "not-a-release"
    );
    let stranger = publisher_toml("vendor", &[&publisher_signer(8)], &["pkg:generic/example/*"], &["build"]);
    assert_eq!(refused(&proof, &scene.policy, &stranger), "unknown-publisher");
    let third = scene.policy.replace("all-of-us all", "all-of-us any").replace("w1 w2\n", "w2\n");
    assert_eq!(refused("noise", &third, &publishers), "proof-malformed");
    let alone = Scene::with(|s| s.cosigned.clear());
    assert_eq!(refused(&alone.proof(), &scene.policy, &publishers), "no-quorum");
}

#[test]
fn a_fork_is_never_forgotten() {
    let mut scene = Scene::good();
    scene.state.fork("example.com/other", None);
    assert!(scene.verdict().is_ok(), "another log's");
    scene.state.fork("example.com/log", None);
    let bare = Refusal::Forked { origin: "example.com/log".to_owned(), evidence: None };
    assert_eq!(scene.refusal(), bare);
    for (name, told) in [("one.tlog-fork", "one"), ("two.tlog-fork", "one")] {
        scene.state.fork("example.com/log", Some(name.to_owned()));
        let expected = format!(
            "example.com/log signed two histories, as this endpoint found earlier: {told}.tlog-fork in the state's evidence proves it"
        );
        assert_eq!(scene.refusal().to_string(), expected, "the first file stays");
    }
    // Not by the file either, nor by anything learnt later.
    scene.state.confirm(&cosigned(9, root(9)), &[]);
    let written = scene.state.to_bytes();
    assert_eq!(EndpointState::parse(&written).as_ref(), Ok(&scene.state));
    assert_eq!(scene.refusal().code().as_str(), "fork");
    let bad = json_of(&written).replace("one.tlog", "\\u001b[31m");
    let error = EndpointState::parse(&checksum::add(&bad)).unwrap_err().to_string();
    assert!(error.contains("words without control characters"), "{error}");
}

#[test]
fn a_withdrawal_with_two_signers_is_of_both() {
    let seeds = [1, 9];
    let keys = seeds.map(publisher_signer);
    for (at, seed) in seeds.into_iter().enumerate() {
        // Released by one signer alone, whichever keyid comes first.
        let mut scene = Scene::with(|s| {
            s.publishers +=
                &publisher_toml("other", &[&publisher_signer(9)], &["pkg:generic/example/*"], &["build"]);
            s.signer = publisher_signer(seed);
        });
        let entry = signed_entry(&scene.release, &[&keys[at]]);
        let names = Withdrawal::of(LeafIndex::new(3).unwrap(), &entry, "it deletes what it scans").unwrap();
        let proof = |names: &Withdrawal| {
            let both = Envelope::sign(names.to_payload().unwrap(), &[&keys[0], &keys[1]]).unwrap().to_entry();
            Scene::with(|s| s.entry = Box::new(move |_| both.clone())).proof()
        };
        let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
        let publishers = Publishers::parse(scene.publishers.as_bytes()).unwrap();
        let learn = |state: &mut EndpointState, names: &Withdrawal| {
            state.withdraw(
                &verify_withdrawal(
                    proof(names).as_bytes(),
                    Trust { policy: &policy, publishers: &publishers, gate: &[] },
                )
                .unwrap(),
            );
        };
        // A withdrawal that names this leaf and another version withdraws neither.
        let purl = crate::release::Purl::parse("pkg:generic/example/scanner@4.1").unwrap();
        let mut confused = EndpointState::default();
        learn(&mut confused, &Withdrawal { purl, ..names.clone() });
        scene.state = confused;
        assert!(scene.verdict().is_ok(), "{at}");
        scene.state = EndpointState::default();
        learn(&mut scene.state, &names);
        assert_eq!(scene.refusal().code().as_str(), "withdrawn", "{at}");
    }
}

#[test]
fn a_release_that_lost_the_signature_of_who_withdrew_it_is_withdrawn() {
    let keys = [publisher_signer(1), publisher_signer(9)];
    let other = publisher_toml("other", &[&keys[1]], &["pkg:generic/example/*"], &["build"]);
    // Shown with only the other signature.
    let shown = |release: Release| {
        Scene::with(|s| {
            s.publishers += &other;
            s.signer = publisher_signer(9);
            s.release = release;
        })
    };
    let mut scene = shown(sample_release(ARTIFACT));
    let (policy, publishers) = (Policy::parse(scene.policy.as_bytes()).unwrap(), scene.publishers.clone());
    let publishers = Publishers::parse(publishers.as_bytes()).unwrap();
    let both = signed_entry(&scene.release, &[&keys[0], &keys[1]]);
    let (proof, _) = withdrawal(&scene, &keys[0], &both);
    let proven = || {
        verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .unwrap()
    };
    let learn = |proven: &ProvenWithdrawal| {
        let mut state = EndpointState::default();
        state.withdraw(proven);
        assert_eq!(EndpointState::parse(&state.to_bytes()).as_ref(), Ok(&state));
        state
    };
    // The withdrawal alone does not show that its publisher signed the release.
    scene.state = learn(&proven());
    assert!(scene.verdict().is_ok());
    assert!(!scene.state.knows_withdrawal("example.com/log", &proven().statement()));
    // Another entry than the named one proves nothing, whoever signed it.
    let alone = signed_entry(&scene.release, &[&keys[1]]);
    for entry in [&alone[..], b"noise", b""] {
        scene.state = learn(&proven().with_release(entry, &publishers));
        assert!(scene.verdict().is_ok());
    }
    scene.state.withdraw(&proven().with_release(&both, &publishers));
    assert_eq!(scene.refusal().code().as_str(), "withdrawn", "learnt later");
    assert!(scene.state.knows_withdrawal("example.com/log", &proven().statement()));
    // Another statement of the other signer, about the same artifacts, is separate.
    let sequence = scene.release.sequence + 1;
    let mut its_own = shown(Release { sequence, ..sample_release(ARTIFACT) });
    its_own.state = scene.state.clone();
    assert!(its_own.verdict().is_ok());
    // A signer who only names an entry that somebody else signed does not withdraw it.
    let (proof, _) = withdrawal(&scene, &keys[0], &alone);
    let false_one =
        verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .unwrap();
    scene.state = learn(&false_one.with_release(&alone, &publishers));
    assert!(scene.verdict().is_ok());
}

#[test]
fn what_a_withdrawal_says_is_read_where_its_publisher_is_unknown() {
    let scene = Scene::good();
    let entry = signed_entry(&scene.release, &[&scene.signer]);
    let (proof, _) = withdrawal(&scene, &publisher_signer(77), &entry);
    let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
    let read = logged_withdrawal(proof.as_bytes(), &policy).unwrap();
    assert_eq!((read.index.get(), read.leaf), (3, Hash::leaf(&entry)));
    // Only if it is in the log, and a withdrawal.
    assert_eq!(logged_withdrawal(scene.proof().as_bytes(), &policy), None);
    let mut file = ProofFile::parse(proof.as_bytes()).unwrap();
    file.index = LeafIndex::new(2).unwrap();
    assert_eq!(logged_withdrawal(file.to_string().as_bytes(), &policy), None);
    let other = scene.policy.replace(&log_vkey(), &log_key("example.com/other").public().to_string());
    assert_eq!(logged_withdrawal(proof.as_bytes(), &Policy::parse(other.as_bytes()).unwrap()), None);
}

/// The text of a state file after its checksum line.
fn json_of(written: &[u8]) -> String {
    let text = std::str::from_utf8(written).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
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
        (String::new(), "expected the SHA-256 of the rest in the first line, saw one line"),
        ("\0".repeat(100), "expected the SHA-256 of the rest in the first line"),
        ("{}".to_owned(), "expected version to be there, saw nothing"),
        ("{".to_owned(), "expected strict JSON, saw EOF"),
        ("null".to_owned(), "expected the SHA-256 of the rest in the first line"),
        (format!("{good}{good}"), "trailing characters"),
        (with("\"version\":1", "\"version\":2"), "expected logs[].unproven to be there"),
        (with("\"version\":1", "\"version\":0"), "expected version 4, saw 0"),
        (
            with("\"version\":1", "\"version\":3"),
            "expected a checksum in the first line, saw version 3 without",
        ),
        (
            with("\"version\":1", "\"version\":5"),
            "expected a checksum in the first line, saw version 5 without",
        ),
        (with("\"version\":1", "\"version\":-1"), "expected version to be an integer"),
        (with("\"version\":1", "\"version\":1,\"version\":1"), "the key \"version\" twice in one object"),
        (with("\"version\":1,", ""), "expected version to be there, saw nothing"),
        (with("\"logs\"", "\"log\""), "expected logs to be there"),
        (
            with("\"size\":7", "\"size\":9223372036854775808"),
            "to be a tree size below 2^63, saw 9223372036854775808",
        ),
        (with("\"size\":7", "\"size\":-7"), "expected logs[].size to be an integer from 0"),
        (with("\"size\":7", "\"size\":\"7\""), "expected logs[].size to be an integer from 0"),
        (with("FU=", "FV="), "44 characters of padded base64"),
        (with("\"root\"", "\"rot\""), "expected logs[].root to be there"),
        (with("\"sequence\":9", "\"sequence\":9.5"), "sequences[].sequence to be an integer from 0"),
        (
            with("\"sequence\":9", "\"sequence\":18446744073709551616"),
            "to 2^64 - 1, saw 18446744073709551616",
        ),
        // Two rows for one key: the later one would win, and could be lower.
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
    for end in 0..written.len() {
        assert!(EndpointState::parse(&written[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn version_1_is_read_and_written_as_version_4() {
    let log = format!("{{\"origin\":\"example.com/log\",\"size\":7,\"root\":\"{ROOT}\"}}");
    let sequence = "{\"publisher\":\"v\",\"package\":\"p\",\"channel\":\"c\",\"sequence\":9}";
    let state = EndpointState::parse(file(&log, sequence).as_bytes()).unwrap();
    assert_eq!(state.head("example.com/log").unwrap().0.get(), 7);
    assert!(state.heads("example.com/log").all(|head| head.note.is_none()));
    let written = state.to_bytes();
    assert!(String::from_utf8_lossy(&written).contains("\"version\": 4"));
    assert_eq!(EndpointState::parse(&written), Ok(state));
}

#[test]
fn what_was_remembered_in_another_spelling_counts() {
    let url = "pkg:generic/example/scanner@4.2.0?url=https://example.com";
    let purl = crate::release::Purl::parse(url).unwrap();
    let row = |spelling: &str, sequence: u64| {
        format!(
            "{{\"publisher\":\"vendor\",\"package\":\"pkg:generic/example/scanner?url={spelling}\",\"channel\":\"stable\",\"sequence\":{sequence}}}"
        )
    };
    // As older programs wrote it, alone and beside the canonical one.
    let (old, new) = (row("https://example.com", 9), row("https:%2F%2Fexample.com", 8));
    for rows in [old.clone(), format!("{old},{new}"), format!("{new},{old}")] {
        let mut scene = Scene::with(|s| s.release.purl = purl.clone());
        assert!(scene.verdict().is_ok(), "nothing is remembered");
        scene.state = EndpointState::parse(file("", &rows).as_bytes()).unwrap();
        assert_eq!(scene.refusal(), Refusal::Rollback { expected: 9, seen: 7 }, "{rows}");
    }
    // A withdrawal, too.
    let mut scene = Scene::with(|s| s.release.purl = purl.clone());
    let entry = signed_entry(&scene.release, &[&scene.signer]);
    let (proof, publishers) = withdrawal(&scene, &scene.signer, &entry);
    let (policy, publishers) = (scene.policy.as_bytes(), Publishers::parse(publishers.as_bytes()).unwrap());
    let policy = Policy::parse(policy).unwrap();
    scene.state.withdraw(
        &verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .unwrap(),
    );
    let written = json_of(&scene.state.to_bytes());
    let older = written.replace("url=https:%2F%2Fexample", "url=https://example");
    assert_ne!(older, written);
    scene.state = EndpointState::parse(&checksum::add(&older)).unwrap();
    assert_eq!(scene.refusal().code().as_str(), "withdrawn");
}

/// A memory with something of everything, and the scene of its verdict.
fn full() -> Scene {
    let mut scene = Scene::good();
    let entry = signed_entry(&scene.release, &[&scene.signer]);
    let (proof, publishers) = withdrawal(&scene, &scene.signer, &entry);
    let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
    let publishers = Publishers::parse(publishers.as_bytes()).unwrap();
    scene.verdict().unwrap().remember_in(&mut scene.state);
    scene.state.withdraw(
        &verify_withdrawal(proof.as_bytes(), Trust { policy: &policy, publishers: &publishers, gate: &[] })
            .unwrap(),
    );
    scene.state.confirm(&cosigned(9, root(9)), &[]);
    scene
}

/// As an older program wrote it.
fn older(new: &str, version: u32) -> String {
    let old = new.replacen("\"version\": 4", &format!("\"version\": {version}"), 1);
    assert_ne!(old, new);
    old.replace(",\n      \"followed\": true", "").replace(",\n      \"followed\": false", "")
}

#[test]
fn versions_2_and_3_are_read_and_written_as_version_4() {
    let state = full().state;
    let new = json_of(&state.to_bytes());
    let (second, third) = (older(&new, 2), older(&new, 3));
    assert!(new.contains("followed") && !third.contains("followed"));
    for old in [second.clone().into_bytes(), checksum::add(&third)] {
        let read = EndpointState::parse(&old).unwrap();
        assert_eq!(read, state, "the only channel of a package is the one that is followed");
        assert_eq!(read.to_bytes(), checksum::add(&new));
    }
    // Neither in the form of the other.
    for (new, version) in [(&new, 4), (&third, 3)] {
        let error = EndpointState::parse(new.as_bytes()).unwrap_err().to_string();
        let expected = format!("expected a checksum in the first line, saw version {version} without one");
        assert!(error.contains(&expected), "{error}");
    }
    let error = EndpointState::parse(&checksum::add(&second)).unwrap_err().to_string();
    assert!(error.contains("expected version 4, saw 2"), "{error}");
}

/// The file does not say which channel is followed, so none is until the user names one.
#[test]
fn of_several_channels_of_an_older_memory_one_has_to_be_asked_for() {
    let mut scene = Scene::good();
    for channel in ["beta", "stable"] {
        let release = Release { channel: channel.to_owned(), ..scene.release.clone() };
        let origin = KeyName::new("example.com/other").unwrap();
        let head = Checkpoint::new(origin, TreeSize::new(1).unwrap(), Hash::EMPTY_ROOT);
        scene.state.remember(&head, None, &["vendor"], &release);
    }
    assert!(scene.verdict().is_ok(), "the last one is followed");
    let old = checksum::add(&older(&json_of(&scene.state.to_bytes()), 3));
    scene.state = EndpointState::parse(&old).unwrap();
    assert_eq!(EndpointState::parse(&scene.state.to_bytes()).as_ref(), Ok(&scene.state), "also as version 4");
    let refusal = scene.refusal();
    assert_eq!(refusal.code().as_str(), "other-channel");
    assert!(
        refusal.to_string().ends_with("expected beta or stable to be asked for by name, saw stable"),
        "{refusal}"
    );
    scene.pins.channel = Some("stable");
    scene.verdict().unwrap().remember_in(&mut scene.state);
    scene.pins.channel = None;
    assert!(scene.verdict().is_ok());
}

#[test]
fn no_changed_byte_is_believed() {
    let state = full().state;
    let good = state.to_bytes();
    assert_eq!(EndpointState::parse(&good).as_ref(), Ok(&state));
    for at in 0..good.len() {
        for change in [1, 32] {
            let mut changed = good.clone();
            changed[at] ^= change;
            assert!(EndpointState::parse(&changed).is_err(), "byte {at} with {change}");
            assert_eq!(EndpointState::later_version(&changed), None, "it is damage: byte {at} with {change}");
        }
        assert!(EndpointState::parse(&good[..at]).is_err(), "truncated to {at} bytes");
    }
    let later = json_of(&good).replacen("\"version\": 4", "\"version\": 5", 1);
    assert_eq!(EndpointState::later_version(&checksum::add(&later)), Some(5));
}

#[test]
fn states_that_no_program_wrote_are_refused() {
    let scene = full();
    let good = json_of(&scene.state.to_bytes());
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let head = format!("{{\"size\":1,\"root\":\"{ROOT}\"}}");
    let many = (10..27).map(|n| head.replace(":1,", &format!(":{n},"))).collect::<Vec<_>>().join(",");
    let row = good.split_once("\"sequences\": [").unwrap().1.split_once(']').unwrap().0.trim_end();
    let twice_followed = with(row, &format!("{row},{}", row.replacen("stable", "beta", 1)));
    let one = good.replacen("\"size\": 9", "\"size\": 7", 1);
    for (bad, why) in [
        (with("\"version\": 4", "\"version\": 1"), "expected version 4, saw 1"),
        (with("\"version\": 4", "\"version\": 5"), "expected version 4, saw 5"),
        (with("\"withdrawals\"", "\"withdrawal\""), "expected withdrawals to be there"),
        (with("\"proven\"", "\"proved\""), "expected no other field in logs[], saw \"proved\""),
        (one, "notes of the heads that they stand by"),
        (with("\"origin\": \"example.com/log\"", "\"origin\": \"example.com/x\""), "notes of the heads"),
        (with("\"size\": 9", "\"size\": -9"), "<head>.size to be an integer from 0"),
        (with("\\n\\n", "\\n"), "an empty line between text and signatures"),
        (with("\"unproven\": [", &format!("\"unproven\": [{head},{head},")), "expected each size of a log once"),
        (with("\"unproven\": [", &format!("\"unproven\": [{many},")), "at most 16 heads of a log"),
        (twice_followed, "expected one channel of a package that is followed, saw several"),
        (with("\"index\": 3", "\"index\": 9223372036854775807"), "to be a leaf index below 2^63 - 1"),
        (with("it deletes", "it \\u001b[31m"), "words without control characters"),
        (with("\"leaf\": \"", "\"leaf\": \"="), "padded base64"),
        (with("\"statement\": \"", "\"statement\": \"="), "padded base64"),
        (
            "{\"version\":4,\"logs\":[{\"origin\":\"a\",\"unproven\":[]}],\"sequences\":[],\"withdrawals\":[]}".to_owned(),
            "expected a head of each log, or that it forked",
        ),
    ] {
        let error = EndpointState::parse(&checksum::add(&bad)).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad}: expected {why:?} in {error:?}");
    }
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
            state.remember(&head, None, &[&publisher], &release);
            // No sequence number goes down.
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
        let refusal = scene.ask(&bytes, unnamed(&scene.artifact)).unwrap_err();
        prop_assert_eq!(refusal.code().as_str(), "proof-malformed");
    }
}
