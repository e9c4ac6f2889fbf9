mod bundles;
#[cfg(feature = "client")]
mod check;
mod freshness;
#[cfg(feature = "client")]
pub(super) mod manifests;
mod memory;
mod pins;

use std::convert::Infallible;

use super::*;
use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::checkpoint::{self, Checkpoint};
use crate::format::base64_encode;
use crate::merkle::{Hash, LeafIndex, Manifest, MultiProof, Plan, RightEdge, Tile, TileReader, TreeSize};
use crate::note::{KeyId, KeyName, Note, NoteSignature, NoteSigner, SignatureType};
use crate::proof::ProofFile;
use crate::release::tests::{publisher_signer, publisher_toml, sample_release, signed_entry};
use crate::release::{
    Envelope, Kind, ManifestRef, PublisherSigner, Publishers, Release, StatementKind, Subject, Withdrawal,
    format_time,
};

/// The time of the first witness's cosignature; the second one's is a minute later.
const COSIGNED: u64 = 1_770_000_000;
const ARTIFACT: &[u8] = b"the scanner's bytes";

/// A key that no policy names.
const fn unnamed(digest: &Hash) -> Artifact<'_> {
    Artifact::File { digest, name: None }
}

fn log_key(origin: &str) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(origin).unwrap(), SignatureType::Ed25519, &[100; 32])
}

fn witness(seed: u8) -> NoteSigner {
    let name = KeyName::new(&format!("witness.example/{seed}")).unwrap();
    NoteSigner::from_seed(name, SignatureType::CosignatureEd25519, &[seed; 32])
}

/// A tree of at most 256 leaves: one tile.
struct OneTile<'a>(&'a [Hash]);

impl TileReader for OneTile<'_> {
    type Error = Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Infallible> {
        let read = |tile: &Tile| {
            assert_eq!((tile.id.level(), tile.id.index()), (0, 0));
            self.0[..tile.width()].to_vec()
        };
        Ok(tiles.iter().map(read).collect())
    }
}

type Change<T> = Box<dyn Fn(T) -> T>;
type FileFault = Box<dyn Fn(&mut ProofFile)>;

/// All parts of a question. A test alters one or several of them.
struct Scene {
    release: Release,
    signer: PublisherSigner,
    /// Changes the entry before it is logged.
    entry: Change<Vec<u8>>,
    /// The witnesses that cosign, and their times.
    cosigned: Vec<(u8, u64)>,
    /// Changes the proof file before it is written.
    file: Vec<FileFault>,
    /// Changes the bytes of the proof file.
    bytes: Change<String>,
    policy: String,
    publishers: String,
    artifact: Hash,
    /// The name of the artifact's file.
    name: Option<&'static str>,
    pins: Pins<'static>,
    freshness: Freshness,
    state: EndpointState,
}

impl Scene {
    /// A release that is accepted.
    fn good() -> Self {
        let signer = publisher_signer(1);
        let witnesses = |seed| format!("witness w{seed} {}\n", witness(seed).public());
        let policy = format!("{}{}group all-of-us all w1 w2\nquorum all-of-us\n", witnesses(1), witnesses(2));
        let vendor = publisher_toml("vendor", &[&signer], &["pkg:generic/example/*"], &["build"]);
        Self {
            release: sample_release(ARTIFACT),
            signer,
            entry: Box::new(|entry| entry),
            cosigned: vec![(1, COSIGNED), (2, COSIGNED + 60)],
            file: Vec::new(),
            bytes: Box::new(|bytes| bytes),
            policy: format!("log {}\n{policy}", log_key("example.com/log").public()),
            publishers: vendor,
            artifact: Hash::digest(ARTIFACT),
            name: None,
            pins: Pins::default(),
            freshness: Freshness { now: COSIGNED + 100, max_age: None },
            state: EndpointState::default(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut scene = Self::good();
        change(&mut scene);
        scene
    }

    /// Logs the entry as leaf 3 of 7, signs and cosigns the head, and makes the proof file.
    fn proof(&self) -> String {
        self.proof_in(7)
    }

    /// Like [`proof`](Self::proof), in a tree of `size` leaves.
    fn proof_in(&self, size: u8) -> String {
        let entry = (self.entry)(signed_entry(&self.release, &[&self.signer]));
        let mut leaves: Vec<Hash> = (0..size).map(|i| Hash::leaf(&[i])).collect();
        leaves[3] = Hash::leaf(&entry);
        let edge = RightEdge::default().grow(&leaves).edge;
        let index = LeafIndex::new(3).unwrap();
        let proof = Plan::inclusion(index, edge.size()).unwrap().fetch(&OneTile(&leaves)).unwrap();
        let log = log_key("example.com/log");
        let head = Checkpoint::new(log.public().name().clone(), edge.size(), edge.root());
        let mut checkpoint = head.sign(&log);
        for (seed, time) in &self.cosigned {
            checkpoint.push(cosign(&head, &witness(*seed), *time));
        }
        let mut file = ProofFile { extra: Some(entry), index, proof, checkpoint };
        self.file.iter().for_each(|change| change(&mut file));
        (self.bytes)(file.to_string())
    }

    fn ask(&self, proof: &[u8], artifact: Artifact<'_>) -> Result<VerifiedRelease, Refusal> {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap();
        let publishers = Publishers::parse(self.publishers.as_bytes()).unwrap();
        let question = Question { artifact, proof, freshness: self.freshness, pins: self.pins };
        verify(&question, Trust { policy: &policy, publishers: &publishers, gate: &[] }, Some(&self.state))
    }

    fn verdict(&self) -> Result<VerifiedRelease, Refusal> {
        self.ask(self.proof().as_bytes(), Artifact::File { digest: &self.artifact, name: self.name })
    }

    fn refusal(&self) -> Refusal {
        self.verdict().expect_err("a refusal")
    }

    /// Replaces one signature line of the checkpoint.
    fn spoil_signature(
        &mut self,
        at: usize,
        change: impl Fn(&NoteSignature) -> Option<NoteSignature> + 'static,
    ) {
        self.file.push(Box::new(move |file| {
            let text = format!("{}\n", file.checkpoint.text());
            let lines = file.checkpoint.signatures().iter().enumerate();
            let lines = lines.filter_map(|(i, line)| if i == at { change(line) } else { Some(line.clone()) });
            let printed = lines.fold(text, |text, line| text + &line.to_string());
            file.checkpoint = Note::parse(printed.as_bytes()).unwrap();
        }));
    }

    /// Remembers a head, and a sequence number of the vendor's stable scanner.
    fn remember(&mut self, size: u64, root: Hash, sequence: u64) {
        let origin = KeyName::new("example.com/log").unwrap();
        let head = Checkpoint::new(origin, TreeSize::new(size).unwrap(), root);
        let release = Release { sequence, ..sample_release(ARTIFACT) };
        self.state.remember(&head, None, &["vendor"], &release);
    }

    /// Remembers that the vendor's beta scanner was accepted last.
    fn follow_beta(&mut self) {
        let origin = KeyName::new("example.com/other").unwrap();
        let head = Checkpoint::new(origin, TreeSize::new(1).unwrap(), Hash::EMPTY_ROOT);
        let release = Release { channel: "beta".to_owned(), ..sample_release(ARTIFACT) };
        self.state.remember(&head, None, &["vendor"], &release);
    }

    /// A second artifact, and a file with its name.
    fn swap(&mut self) {
        let (name, sha256) = ("remover.bin".to_owned(), Hash::digest(b"removes everything"));
        self.release.subjects.push(Subject { name, sha256 });
        self.name = Some("downloads/remover.bin");
    }
}

fn flip_last(line: &NoteSignature) -> Option<NoteSignature> {
    let mut bytes = line.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    Some(NoteSignature::new(line.name().clone(), line.id(), bytes))
}

#[test]
fn a_logged_release_is_accepted() {
    let scene = Scene::good();
    let verified = scene.verdict().unwrap();
    assert_eq!((verified.release(), verified.publisher()), (&scene.release, "vendor"));
    assert_eq!((verified.index().get(), verified.head().get().size.get()), (3, 7));
    let times: Vec<u64> = verified.head().cosignatures().iter().map(|c| c.time).collect();
    assert_eq!(times, [COSIGNED, COSIGNED + 60]);
    // Without a state, and from a log without witnesses, if the policy allows it.
    let bare = Scene::with(|s| {
        s.cosigned.clear();
        s.policy = format!("log {}\nquorum none\n", log_key("example.com/log").public());
    });
    assert!(bare.verdict().unwrap().head().cosignatures().is_empty());
}

/// Alters a scene in one way.
type Fault = fn(&mut Scene);

/// Each fault with its step in the design's order of checks, and its code.
const FAULTS: [(usize, &str, Fault); 32] = [
    (1, "proof-malformed", |s| s.bytes = Box::new(|text| text.replace("tlog-proof@v1", "tlog-proof@v2"))),
    (2, "unknown-log", |s| {
        s.policy = s.policy.replace(&log_vkey(), &log_key("example.com/other").public().to_string());
    }),
    (2, "checkpoint-signature", |s| s.spoil_signature(0, flip_last)),
    (2, "checkpoint-signature", |s| {
        s.spoil_signature(0, |line| {
            Some(NoteSignature::new(line.name().clone(), KeyId([0; 4]), line.bytes().to_vec()))
        });
    }),
    (2, "checkpoint-malformed", |s| {
        s.file.push(Box::new(|file| {
            let text = file.checkpoint.text().replace("\n7\n", "\n07\n");
            file.checkpoint = Note::sign(text, &[&log_key("example.com/log")]);
        }));
    }),
    (3, "cosignature", |s| s.spoil_signature(1, flip_last)),
    (3, "no-quorum", |s| s.spoil_signature(2, |_| None)),
    (4, "entry-missing", |s| s.file.push(Box::new(|file| file.extra = None))),
    (4, "not-included", |s| s.file.push(Box::new(|file| file.proof[0] = Hash::EMPTY_ROOT))),
    (4, "not-included", |s| s.file.push(Box::new(|file| file.index = LeafIndex::new(7).unwrap()))),
    (5, "entry-malformed", |s| s.entry = Box::new(|_| b"any bytes".to_vec())),
    (5, "entry-malformed", |s| s.entry = Box::new(|entry| [entry, b" ".to_vec()].concat())),
    (5, "entry-malformed", |s| {
        s.entry = Box::new(|_| Envelope::sign(b"{}".to_vec(), &[&publisher_signer(1)]).unwrap().to_entry());
    }),
    (5, "other-log", |s| s.release.log = Some("example.com/staging".to_owned())),
    (5, "unknown-publisher", |s| s.signer = publisher_signer(9)),
    (5, "publisher-signature", |s| {
        s.entry = Box::new(|entry| {
            // The signature of one statement under another.
            let payload = Envelope::parse_entry(&entry).unwrap().payload().to_vec();
            let other = String::from_utf8(payload.clone()).unwrap().replace("scanner@4", "scanner@5");
            let text = String::from_utf8(entry).unwrap();
            text.replace(&base64_encode(&payload), &base64_encode(other.as_bytes())).into_bytes()
        });
    }),
    (5, "publisher-not-permitted", |s| s.publishers = s.publishers.replace("\"build\"", "\"update\"")),
    (6, "other-package", |s| s.pins.package = Some(pin("pkg:generic/example/scanner@4.2.1"))),
    (6, "other-publisher", |s| s.pins.publisher = Some("another")),
    (6, "other-kind", |s| s.pins.kind = Some(Kind::Update)),
    (6, "other-channel", |s| s.pins.channel = Some("beta")),
    (6, "other-audience", |s| s.release.audience = Some("customer 17".to_owned())),
    (6, "below-min-sequence", |s| s.pins.min_sequence = Some(8)),
    (7, "artifact-mismatch", |s| s.artifact = Hash::digest(b"another file")),
    (7, "artifact-swapped", Scene::swap),
    (8, "stale", |s| s.freshness = Freshness { now: COSIGNED + 5_000, max_age: Some(3_600) }),
    (8, "from-the-future", |s| s.freshness.now = COSIGNED - 3_600),
    (9, "fork", |s| s.remember(7, Hash::EMPTY_ROOT, 0)),
    (9, "fork", |s| s.state.fork("example.com/log", Some("one.tlog-fork".to_owned()))),
    (10, "other-channel", Scene::follow_beta),
    (11, "rollback", |s| s.remember(1, Hash::EMPTY_ROOT, 8)),
    (11, "rollback", |s| s.remember(2, Hash::EMPTY_ROOT, u64::MAX)),
];

fn pin(text: &str) -> &'static PackagePin {
    Box::leak(Box::new(PackagePin::parse(text).unwrap()))
}

fn log_vkey() -> String {
    log_key("example.com/log").public().to_string()
}

#[test]
fn each_fault_is_refused_with_its_code() {
    for (at, (_, code, fault)) in FAULTS.into_iter().enumerate() {
        let refusal = Scene::with(fault).refusal();
        assert_eq!(refusal.code().as_str(), code, "fault {at}: {refusal}");
        assert!(refusal.advice().ends_with('.'), "{refusal}");
        let (expected, seen) = refusal.contrast();
        assert!(
            !expected.is_empty() && !seen.is_empty() && expected != seen,
            "{refusal}: {expected}, {seen}"
        );
    }
    let codes: std::collections::BTreeSet<&str> = FAULTS.into_iter().map(|(_, code, _)| code).collect();
    assert_eq!(codes.len(), 25, "all but not-in-manifest, which has a test of its own");
}

/// "The first one found is reported": of two faults, the earlier one in the design's order.
#[test]
fn of_two_faults_the_earlier_is_reported() {
    let mut pairs = 0;
    for (i, (step, code, first)) in FAULTS.into_iter().enumerate() {
        for (j, (later, _, second)) in FAULTS.into_iter().enumerate() {
            if step >= later {
                continue;
            }
            let scene = Scene::with(|s| {
                // The entry is logged before the proof is altered, whichever comes first here.
                second(s);
                first(s);
            });
            let refusal = scene.refusal();
            assert_eq!(refusal.code().as_str(), code, "faults {i} and {j}: {refusal}");
            pairs += 1;
        }
    }
    assert!(pairs > 300, "{pairs}");
}

#[test]
fn refusals_say_what_was_expected_and_seen() {
    let message = |fault: Fault| Scene::with(fault).refusal().to_string();
    let digest = Hash::digest(ARTIFACT).to_hex();
    let other = Hash::digest(b"another file").to_hex();
    assert_eq!(
        message(|s| s.artifact = Hash::digest(b"another file")),
        format!(
            "the artifact is not the one that was logged: expected SHA-256 {digest} (scanner.bin), saw {other}"
        )
    );
    assert_eq!(
        message(|s| s.remember(1, Hash::EMPTY_ROOT, 8)),
        "the release is older than one seen before: expected sequence 8 or higher, saw 7"
    );
    assert_eq!(
        message(|s| s.file.push(Box::new(|file| file.index = LeafIndex::new(7).unwrap()))),
        "the entry is not in the log at leaf 7: leaf index 7 is out of range: \
         expected an index below the tree size 7"
    );
    assert!(
        message(|s| s.spoil_signature(2, |_| None))
            .ends_with("expected 2 of (w1, w2), saw cosignatures by w1; missing w2")
    );
    // Each part alone, too.
    let contrast = |fault: Fault| Scene::with(fault).refusal().contrast();
    let own = |expected: &str, seen: &str| (expected.to_owned(), seen.to_owned());
    assert_eq!(contrast(|s| s.remember(1, Hash::EMPTY_ROOT, 8)), own("8", "7"));
    assert_eq!(contrast(|s| s.spoil_signature(2, |_| None)), own("2 of (w1, w2)", "w1"));
    assert_eq!(contrast(|s| s.pins.audience = Some("customer 17")), own("customer 17", "everyone"));
    assert_eq!(contrast(|s| s.pins.kind = Some(Kind::Update)), own("update", "build"));
    assert_eq!(
        contrast(|s| s.artifact = Hash::digest(b"another file")),
        (format!("{digest} (scanner.bin)"), other)
    );
    let fork = message(|s| s.remember(7, Hash::EMPTY_ROOT, 0));
    let expected =
        format!("forked at tree size 7: expected root {}, as remembered, saw ", Hash::EMPTY_ROOT.to_base64());
    assert!(fork.contains(&expected), "{fork}");
}

#[test]
fn every_flipped_bit_of_a_proof_file_is_refused() {
    let scene = Scene::good();
    let proof = scene.proof().into_bytes();
    let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
    let publishers = Publishers::parse(scene.publishers.as_bytes()).unwrap();
    let ask = |proof: &[u8]| {
        let (artifact, freshness) = (unnamed(&scene.artifact), scene.freshness);
        let question = Question { artifact, proof, freshness, pins: Pins::default() };
        verify(&question, Trust { policy: &policy, publishers: &publishers, gate: &[] }, None)
    };
    assert!(ask(&proof).is_ok());
    for at in 0..proof.len() {
        for bit in 0..8 {
            let mut flipped = proof.clone();
            flipped[at] ^= 1 << bit;
            assert!(ask(&flipped).is_err(), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&flipped));
        }
        assert!(ask(&proof[..at]).is_err(), "truncated to {at} bytes");
    }
}

#[test]
fn artifacts_of_a_release_with_several_are_each_accepted() {
    let scene = Scene::with(|s| {
        for name in ["b", "c", "d", "e"] {
            let sha256 = Hash::digest(name.as_bytes());
            s.release.subjects.push(Subject { name: name.to_owned(), sha256 });
        }
    });
    let proof = scene.proof();
    for file in [ARTIFACT, b"b", b"e"] {
        assert!(scene.ask(proof.as_bytes(), unnamed(&Hash::digest(file))).is_ok());
    }
    let refusal = scene.ask(proof.as_bytes(), unnamed(&Hash::digest(b"f"))).unwrap_err();
    let Refusal::ArtifactMismatch { expected, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(expected.matches(" or ").count(), 2, "the first three are named: {expected}");
}

#[test]
fn files_are_checked_against_the_manifest() {
    let files: Vec<(String, Hash)> = (0..20).map(|i| (format!("bin/{i:02}"), Hash::digest(&[i]))).collect();
    let manifest = Manifest::new(files.clone()).unwrap();
    let scene = Scene::with(|s| s.release.manifest = Some(ManifestRef { root: manifest.root(), files: 20 }));
    let proof = scene.proof();
    let chosen = vec![files[3].clone(), files[17].clone()];
    let good = manifest.prove(&[3, 17]).unwrap();
    assert!(scene.ask(proof.as_bytes(), Artifact::Files(&chosen, &good)).is_ok());
    let all: Vec<usize> = (0..20).collect();
    assert!(scene.ask(proof.as_bytes(), Artifact::Files(&files, &manifest.prove(&all).unwrap())).is_ok());

    let with = |change: fn(&mut MultiProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof
    };
    let digest_swapped = [(files[3].0.clone(), files[4].1), chosen[1].clone()];
    let renamed = [("bin/3".to_owned(), files[3].1), chosen[1].clone()];
    let reordered = [chosen[1].clone(), chosen[0].clone()];
    for (files, multi, why) in [
        (&digest_swapped[..], good.clone(), "does not lead to the root"),
        (&renamed[..], good.clone(), "does not lead to the root"),
        (&reordered[..], good.clone(), "does not lead to the root"),
        (&chosen[..], with(|p| p.indices = vec![3, 16]), "does not lead to the root"),
        (&chosen[..1], good.clone(), "expected 2 hashes, saw 1"),
        (&chosen[..], with(|p| p.indices = vec![3, 3]), "not strictly increasing"),
        // The statement says how many files there are: a root alone does not.
        (&chosen[..], with(|p| p.total = 19), "expected a proof over 20 files, saw 19"),
        (&[], with(|p| p.indices.clear()), "covers 1 to 1000 leaves, saw 0"),
    ] {
        let refusal = scene.ask(proof.as_bytes(), Artifact::Files(files, &multi)).unwrap_err();
        assert_eq!(refusal.code().as_str(), "not-in-manifest");
        assert!(refusal.to_string().contains(why), "expected {why:?} in {refusal}");
    }
    let without = Scene::good();
    let whole = ManifestRef { root: manifest.root(), files: 20 };
    for artifact in [Artifact::Files(&chosen, &good), Artifact::Manifest(&whole, &whole.root)] {
        let refusal = without.ask(without.proof().as_bytes(), artifact).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the files are not in the release's manifest: the statement has no manifest"
        );
    }
    // The root of a manifest is not an artifact itself.
    let refusal = scene.ask(proof.as_bytes(), unnamed(&manifest.root())).unwrap_err();
    assert_eq!(refusal.code().as_str(), "artifact-mismatch");
}

/// A publisher may sign any path; no endpoint installs a file outside the release's folder.
#[test]
fn a_file_outside_the_folder_is_in_no_manifest() {
    for path in ["../a", "/a", "a/../b", "C:/a", "a\\b", "nul"] {
        let files = [(path.to_owned(), Hash::digest(b"a"))];
        let manifest = Manifest::new(files.to_vec()).unwrap();
        let reference = ManifestRef { root: manifest.root(), files: 1 };
        let scene = Scene::with(|s| s.release.manifest = Some(reference));
        let multi = manifest.prove(&[0]).unwrap();
        let refusal = scene.ask(scene.proof().as_bytes(), Artifact::Files(&files, &multi)).unwrap_err();
        assert_eq!(refusal.code().as_str(), "not-in-manifest");
        assert!(refusal.to_string().contains("a path in a manifest is malformed"), "{refusal}");
    }
}

#[test]
fn a_whole_manifest_is_the_one_that_is_stated() {
    let reference = ManifestRef { root: Hash::digest(b"root"), files: 20 };
    let mut scene = Scene::with(|s| s.release.manifest = Some(reference));
    let (proof, artifact) = (scene.proof(), Hash::digest(ARTIFACT));
    let ask = |scene: &Scene, manifest: &ManifestRef, digest: &Hash| {
        scene.ask(proof.as_bytes(), Artifact::Manifest(manifest, digest))
    };
    // Its file is an artifact of the release, or the root alone is stated.
    let release = ask(&scene, &reference, &artifact).unwrap();
    assert_eq!(release.artifacts(), &scene.release.subjects[..1]);
    let other = Hash::digest(b"a manifest");
    let unnamed = ask(&scene, &reference, &other).unwrap();
    assert_eq!(unnamed.artifacts(), [Subject { name: String::new(), sha256: other }]);
    for wrong in [ManifestRef { files: 19, ..reference }, ManifestRef { root: other, ..reference }] {
        let refusal = ask(&scene, &wrong, &artifact).unwrap_err();
        assert_eq!(refusal.code().as_str(), "not-in-manifest");
        assert!(refusal.to_string().contains("over 20 files, saw "), "{refusal}");
    }
    scene.pins.name = Some("scanner.manifest");
    assert_eq!(ask(&scene, &reference, &artifact).unwrap_err().code().as_str(), "artifact-swapped");
}

/// Its publisher signed it, and the log has it, but it is nothing to install.
#[test]
fn a_withdrawal_is_no_release() {
    let scene = Scene::with(|s| {
        s.entry = Box::new(|entry| {
            let withdrawal = Withdrawal::of(LeafIndex::new(2).unwrap(), &entry, "it crashes").unwrap();
            let payload = withdrawal.to_payload().unwrap();
            Envelope::sign(payload, &[&publisher_signer(1)]).unwrap().to_entry()
        });
    });
    let refusal = scene.refusal();
    assert_eq!(
        (refusal.code().as_str(), &refusal),
        ("not-a-release", &Refusal::NotARelease { seen: StatementKind::Withdrawal })
    );
    assert_eq!(refusal.to_string(), "the proof is of a withdrawal: expected the proof of a release");
}

#[test]
fn a_revoked_key_is_not_believed() {
    let revoked = Scene::with(|s| s.publishers.push_str("revoked = true\n"));
    assert_eq!(revoked.refusal().code().as_str(), "publisher-key-revoked");
}
