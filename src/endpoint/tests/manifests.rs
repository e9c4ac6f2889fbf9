//! [`Endpoint::update_manifest`]: an endpoint that follows the manifest of a channel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::disk::DiskIo;
use crate::release::{Change, DeltaError, FileManifest, ManifestDelta};

/// An endpoint's machine: its state directory outlives the process.
struct Machine {
    dir: TempDir,
}

/// A manifest whose files are told apart by the letters.
fn manifest(files: &[(&str, u8)]) -> FileManifest {
    let file = |(path, content): &(&str, u8)| ((*path).to_owned(), Hash::digest(&[*content]));
    FileManifest::new(files.iter().map(file).collect()).unwrap()
}

fn one() -> FileManifest {
    manifest(&[("a", 1), ("b", 1), ("net/c", 1)])
}

fn two() -> FileManifest {
    manifest(&[("a", 1), ("b", 2), ("d", 1)])
}

fn delta(base: &FileManifest, target: &FileManifest) -> ManifestUpdate {
    ManifestUpdate::Delta(ManifestDelta::between(base, target))
}

/// The release with a manifest, as a scene.
fn release(sequence: u64, manifest: &FileManifest) -> Scene {
    Scene::with(|s| {
        s.release.sequence = sequence;
        s.release.manifest = Some(manifest.reference());
    })
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// One that has taken the first manifest.
    fn with_one() -> Self {
        let machine = Self::new();
        machine.take(&ManifestUpdate::Whole(one()), &release(1, &one())).unwrap();
        machine
    }

    fn take(&self, update: &ManifestUpdate, scene: &Scene) -> Result<UpdatedManifest, ManifestUpdateError> {
        self.take_on(Arc::new(crate::disk::RealDisk), update, scene)
    }

    /// The proof is under a head of its own size for each sequence number: heads of one size would be a fork.
    fn take_on(
        &self,
        disk: Arc<dyn DiskIo>,
        update: &ManifestUpdate,
        scene: &Scene,
    ) -> Result<UpdatedManifest, ManifestUpdateError> {
        let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
        let publishers = Publishers::parse(scene.publishers.as_bytes()).unwrap();
        let endpoint = Endpoint::new(policy, publishers)
            .with_state_dir(self.dir.path())
            .with_manifests(self.dir.path().join("manifests"), disk);
        let proof = scene.proof_in(10 + u8::try_from(scene.release.sequence).unwrap());
        let question = Question {
            artifact: unnamed(&scene.artifact),
            proof: proof.as_bytes(),
            freshness: scene.freshness,
            pins: scene.pins,
        };
        endpoint.update_manifest(update, &question, None).updated
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("manifests")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "manifest")).collect();
        paths.sort();
        paths
    }

    /// The one manifest that is remembered.
    fn remembered(&self) -> RememberedManifest {
        let [path] = self.files().try_into().expect("one file");
        RememberedManifest::parse(&fs::read(path).unwrap()).unwrap()
    }
}

fn code(result: Result<UpdatedManifest, ManifestUpdateError>) -> String {
    match result.unwrap_err() {
        ManifestUpdateError::Check(error) => error.code().as_str().to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn a_channel_is_followed_from_manifest_to_manifest() {
    let machine = Machine::new();
    let first = machine.take(&ManifestUpdate::Whole(one()), &release(1, &one())).unwrap();
    assert_eq!((first.manifest, first.changes), (one(), None));
    let RememberedManifest { origin, publisher, package, channel, sequence, manifest, .. } =
        machine.remembered();
    assert_eq!(
        (origin.as_str(), publisher.as_str(), package.as_str()),
        ("example.com/log", "vendor", "pkg:generic/example/scanner")
    );
    assert_eq!((channel.as_str(), sequence, manifest), ("stable", 1, one()));

    let scene = release(2, &two());
    let second = machine.take(&delta(&one(), &two()), &scene).unwrap();
    let changes = second.changes.unwrap();
    let digest = |content| Hash::digest(&[content]);
    assert_eq!(
        changes.changes(),
        [
            ("b".to_owned(), Change::Changed(digest(2))),
            ("d".to_owned(), Change::Added(digest(1))),
            ("net/c".to_owned(), Change::Removed)
        ]
    );
    let remembered = machine.remembered();
    assert_eq!((remembered.sequence, &remembered.manifest), (2, &two()));
    assert_eq!(remembered.leaf, *second.accepted.release.leaf());
    assert_eq!(RememberedManifest::parse(&remembered.to_bytes()), Ok(remembered));
    // The same again changes nothing, and neither does the whole manifest.
    for update in [delta(&one(), &two()), ManifestUpdate::Whole(two())] {
        let again = machine.take(&update, &scene).unwrap();
        assert_eq!((again.manifest, again.changes.unwrap().changes()), (two(), &[][..]));
    }
    // A release with the same files moves on.
    machine.take(&delta(&two(), &two()), &release(3, &two())).unwrap();
    assert_eq!(machine.remembered().sequence, 3);
}

#[test]
fn a_delta_that_does_not_fit_changes_nothing() {
    let machine = Machine::new();
    let scene = release(2, &two());
    let nothing = machine.take(&delta(&one(), &two()), &scene);
    assert!(matches!(nothing, Err(ManifestUpdateError::NothingRemembered { .. })), "{nothing:?}");
    let machine = Machine::with_one();
    let other = manifest(&[("x", 1)]);
    let wrong_base = machine.take(&delta(&other, &two()), &scene);
    assert!(
        matches!(wrong_base, Err(ManifestUpdateError::Delta(DeltaError::WrongBase { .. }))),
        "{wrong_base:?}"
    );
    let text = ManifestDelta::between(&one(), &two()).to_string();
    let other_digest = text.replace(&Hash::digest(&[2]).to_hex(), &Hash::digest(&[3]).to_hex());
    let wrong_target = ManifestUpdate::parse(other_digest.as_bytes()).unwrap();
    let wrong_target = machine.take(&wrong_target, &scene);
    assert!(matches!(wrong_target, Err(ManifestUpdateError::Delta(DeltaError::WrongTarget { .. }))));
    // A delta that fits, to a manifest that the release does not state.
    assert_eq!(code(machine.take(&delta(&one(), &other), &scene)), "not-in-manifest");
    assert_eq!(code(machine.take(&ManifestUpdate::Whole(other), &scene)), "not-in-manifest");
    // A release without a manifest, and one by a stranger.
    assert_eq!(
        code(machine.take(&delta(&one(), &two()), &Scene::with(|s| s.release.sequence = 2))),
        "not-in-manifest"
    );
    let mut stranger = release(2, &two());
    stranger.signer = publisher_signer(9);
    assert_eq!(code(machine.take(&delta(&one(), &two()), &stranger)), "unknown-publisher");
    let mut unwitnessed = release(2, &two());
    unwitnessed.cosigned.clear();
    assert_eq!(code(machine.take(&delta(&one(), &two()), &unwitnessed)), "no-quorum");
    assert_eq!((machine.remembered().sequence, machine.remembered().manifest), (1, one()));
    machine.take(&delta(&one(), &two()), &scene).unwrap();
}

#[test]
fn nothing_older_and_nothing_else_under_a_number_is_taken() {
    let machine = Machine::with_one();
    machine.take(&delta(&one(), &two()), &release(2, &two())).unwrap();
    for update in [delta(&two(), &one()), ManifestUpdate::Whole(one())] {
        assert_eq!(code(machine.take(&update, &release(1, &one()))), "rollback");
    }
    // Without the memory of sequence numbers, the manifest's own one counts.
    fs::remove_file(machine.dir.path().join("state.json")).unwrap();
    assert_eq!(code(machine.take(&ManifestUpdate::Whole(one()), &release(1, &one()))), "rollback");
    fs::remove_file(machine.dir.path().join("state.json")).unwrap();
    let other = machine.take(&delta(&two(), &one()), &release(2, &one()));
    let Err(ManifestUpdateError::SameSequence { sequence: 2, expected, seen, .. }) = other else {
        panic!("{other:?}")
    };
    assert_eq!((expected, seen), (two().reference(), one().reference()));
    assert_eq!(machine.remembered().manifest, two());
}

#[test]
fn of_a_log_that_forked_nothing_is_taken() {
    let machine = Machine::with_one();
    let mut state = EndpointState::parse(&fs::read(machine.dir.path().join("state.json")).unwrap()).unwrap();
    state.fork("example.com/log", None);
    fs::write(machine.dir.path().join("state.json"), state.to_bytes()).unwrap();
    assert_eq!(code(machine.take(&delta(&one(), &two()), &release(2, &two()))), "fork");
    // A head of the size of a remembered one, with another root, is a fork found now.
    let machine = Machine::with_one();
    let another = Scene::with(|s| {
        s.release.sequence = 1;
        s.release.manifest = Some(two().reference());
    });
    assert_eq!(code(machine.take(&ManifestUpdate::Whole(two()), &another)), "fork");
    assert_eq!(machine.remembered().manifest, one());
}

#[test]
fn each_channel_and_publisher_has_its_manifest() {
    let machine = Machine::with_one();
    let mut beta = release(2, &two());
    beta.release.channel = "beta".to_owned();
    beta.pins.channel = Some("beta");
    machine.take(&ManifestUpdate::Whole(two()), &beta).unwrap();
    assert_eq!(machine.files().len(), 2);
    let mut stable = release(3, &two());
    stable.pins.channel = Some("stable");
    let moved = machine.take(&delta(&one(), &two()), &stable).unwrap();
    assert_eq!(moved.changes.unwrap().changes().len(), 3);
    // A file under the name of another channel is none of this one.
    let [first, second] = machine.files().try_into().unwrap();
    let (one, two) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
    fs::write(first, two).unwrap();
    fs::write(second, one).unwrap();
    stable.release.sequence = 4;
    let swapped = machine.take(&delta(&self::two(), &self::two()), &stable);
    assert!(matches!(swapped, Err(ManifestUpdateError::Memory(MemoryError::Damaged { .. }))), "{swapped:?}");
}

#[test]
fn every_changed_byte_of_the_memory_is_seen_and_a_whole_manifest_mends_it() {
    let machine = Machine::with_one();
    let [path] = machine.files().try_into().unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(RememberedManifest::parse(&changed).is_err(), "byte {at}");
        assert!(RememberedManifest::parse(&bytes[..at]).is_err(), "cut at {at}");
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let scene = release(2, &two());
    let damaged = machine.take(&delta(&one(), &two()), &scene);
    assert!(matches!(damaged, Err(ManifestUpdateError::Memory(MemoryError::Damaged { .. }))), "{damaged:?}");
    machine.take(&ManifestUpdate::Whole(two()), &scene).unwrap();
    assert_eq!(machine.remembered().manifest, two());
}

/// Whoever comes second finds the target of its delta, and whoever comes third the same.
#[test]
fn processes_that_take_the_same_delta_at_once_take_it_once() {
    let machine = Machine::with_one();
    std::thread::scope(|scope| {
        let take = || machine.take(&delta(&one(), &two()), &release(2, &two())).unwrap();
        let taken: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        let changed = taken.into_iter().map(|taken| taken.join().unwrap().changes.unwrap());
        assert_eq!(changed.filter(|changes| !changes.changes().is_empty()).count(), 1);
    });
    assert_eq!((machine.remembered().sequence, machine.remembered().manifest), (2, two()));
}

/// A disk whose step number `at`, and all later ones if it `is_dead`, fails.
pub(in crate::endpoint) struct Faulty {
    pub at: usize,
    pub is_dead: bool,
    /// The step is done, and reported as failed.
    pub is_done: bool,
    pub steps: AtomicUsize,
}

impl Faulty {
    fn step<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let fails = step == self.at || self.is_dead && step > self.at;
        if fails && !(self.is_done && step == self.at) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let done = run()?;
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(done) }
    }
}

impl DiskIo for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step(|| crate::disk::RealDisk.create(path))
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step(|| crate::disk::RealDisk.write_at(file, path, bytes, offset))
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step(|| crate::disk::RealDisk.sync_all(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| crate::disk::RealDisk.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|| crate::disk::RealDisk.sync_dir(dir))
    }
}

/// "Failed" and "failed but persisted", alone and with everything after it: the manifest that is remembered is the one
/// before or the one after, and the same update, or an older release, then goes as if nothing had happened.
#[test]
fn a_step_that_fails_leaves_a_whole_manifest_and_the_update_can_be_taken_again() {
    let scene = release(2, &two());
    let mut failed = 0;
    for (is_done, is_dead) in [(false, false), (false, true), (true, false), (true, true)] {
        for at in 0.. {
            let machine = Machine::with_one();
            let disk = Faulty { at, is_dead, is_done, steps: AtomicUsize::new(0) };
            let Err(error) = machine.take_on(Arc::new(disk), &delta(&one(), &two()), &scene) else { break };
            assert!(matches!(error, ManifestUpdateError::Memory(MemoryError::File(_))), "{error}");
            failed += 1;
            let kept = machine.remembered();
            assert!(
                (kept.sequence, &kept.manifest) == (1, &one())
                    || (kept.sequence, &kept.manifest) == (2, &two())
            );
            // The release counts as seen, whichever manifest is there.
            assert_eq!(code(machine.take(&ManifestUpdate::Whole(one()), &release(1, &one()))), "rollback");
            machine.take(&delta(&one(), &two()), &scene).unwrap();
            assert_eq!((machine.remembered().sequence, machine.remembered().manifest), (2, two()));
        }
    }
    assert_eq!(failed, 4 * 6, "create twice, write, sync, rename, sync of the directory");
}
