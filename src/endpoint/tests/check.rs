//! [`Endpoint`] with a memory and a log of the test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::checkpoint::{LogKey, LogSigned};
use crate::client::{ClientError, Found, NetworkFault};

const ORIGIN: &str = "example.com/log";

/// The moment of a power failure while the memory is saved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    BeforeSaving,
    AfterSaving,
}

/// The memory and the evidence, which outlive a process. Clones share them.
#[derive(Clone)]
struct Machine {
    parts: Arc<Mutex<Parts>>,
    evidence: Arc<TempDir>,
}

#[derive(Default)]
struct Parts {
    saved: EndpointState,
    steps: Vec<&'static str>,
    notices: Vec<String>,
    is_held: bool,
    is_full: bool,
    cut: Option<Cut>,
    /// Run as another process once the memory is unlocked.
    meanwhile: Option<fn(&mut Parts)>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { parts: Arc::default(), evidence: Arc::new(tempfile::tempdir().unwrap()) }
    }
}

impl Machine {
    fn remembering(change: impl FnOnce(&mut EndpointState)) -> Self {
        let machine = Self::default();
        change(&mut machine.parts().saved);
        machine
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the files of evidence.
    fn kept(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.evidence.path()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// An endpoint of the scene in a new process.
    fn endpoint(&self, scene: &Scene) -> Endpoint {
        self.parts().steps.clear();
        let policy = Policy::parse(scene.policy.as_bytes()).unwrap();
        let publishers = Publishers::parse(scene.publishers.as_bytes()).unwrap();
        let (memory, notices) = (self.clone(), self.clone());
        let open = move || {
            memory.parts().steps.push("open");
            Ok(Box::new(memory.clone()) as Box<dyn Memory>)
        };
        Endpoint::new(policy, publishers)
            .with_memory(open)
            .with_evidence(self.evidence.path())
            .on_notice(move |notice| notices.parts().notices.push(notice.to_string()))
    }

    fn check(&self, scene: &Scene) -> Verdict {
        let proof = scene.proof();
        self.endpoint(scene).check(&question(scene, &proof))
    }

    fn check_online(&self, scene: &Scene, log: &FakeLog) -> Verdict {
        let proof = scene.proof();
        self.endpoint(scene).check_online(&question(scene, &proof), log)
    }
}

fn question<'a>(scene: &'a Scene, proof: &'a str) -> Question<'a> {
    Question {
        artifact: unnamed(&scene.artifact),
        proof: proof.as_bytes(),
        freshness: scene.freshness,
        pins: scene.pins,
    }
}

impl Memory for Machine {
    fn lock(&mut self, _on_wait: &dyn Fn(&Path)) -> Result<EndpointState, MemoryError> {
        let mut parts = self.parts();
        parts.steps.push("lock");
        if parts.is_held {
            return Err(MemoryError::Held { path: "lock".into(), waited: Duration::ZERO });
        }
        Ok(parts.saved.clone())
    }

    fn save(&mut self, state: &EndpointState) -> Result<(), MemoryError> {
        let mut parts = self.parts();
        parts.steps.push("save");
        if parts.is_full {
            return Err(MemoryError::Full { path: "state.json".into(), seen: usize::MAX });
        }
        let cut = parts.cut.take();
        if cut != Some(Cut::BeforeSaving) {
            parts.saved = state.clone();
        }
        drop(parts);
        assert!(cut.is_none(), "the power fails");
        Ok(())
    }

    fn unlock(&mut self) {
        let mut parts = self.parts();
        parts.steps.push("unlock");
        if let Some(meanwhile) = parts.meanwhile.take() {
            meanwhile(&mut parts);
        }
    }
}

/// A log of at most 256 leaves.
struct FakeLog {
    leaves: Vec<Hash>,
    is_unreachable: bool,
    asked: Mutex<usize>,
}

impl FakeLog {
    /// The scene's log, grown to `size` leaves. The leaves after the scene's are `next`.
    fn grown(scene: &Scene, size: usize, next: u8) -> Self {
        let mut leaves: Vec<Hash> = (0..7_u8).map(|i| Hash::leaf(&[i])).collect();
        leaves[3] = Hash::leaf(&signed_entry(&scene.release, &[&scene.signer]));
        leaves.resize(size, Hash::leaf(&[next]));
        Self { leaves, is_unreachable: false, asked: Mutex::new(0) }
    }

    fn head(&self) -> Note {
        let edge = RightEdge::default().grow(&self.leaves).edge;
        let log = log_key(ORIGIN);
        let head = Checkpoint::new(log.public().name().clone(), edge.size(), edge.root());
        let mut note = head.sign(&log);
        [1, 2].into_iter().for_each(|seed| note.push(cosign(&head, &witness(seed), COSIGNED)));
        note
    }
}

impl RemoteLog for FakeLog {
    fn address(&self) -> &'static str {
        "http://log.test"
    }

    fn checkpoint(&self, keys: &[LogKey]) -> Result<LogSigned<Checkpoint>, ClientError> {
        *self.asked.lock().unwrap() += 1;
        if self.is_unreachable {
            let (url, detail) = (self.address().to_owned(), "refused".to_owned());
            return Err(ClientError::Network { url, fault: NetworkFault::Unreachable, detail });
        }
        Ok(checkpoint::open_note(self.head(), keys).unwrap())
    }

    fn search(
        &self,
        _terms: &[(&str, &str)],
        _before: Option<u64>,
        _tree: TreeSize,
    ) -> Result<Option<Found>, ClientError> {
        Ok(Some(Found::default()))
    }

    fn proof_of(&self, _leaf: &Hash) -> Result<Vec<u8>, ClientError> {
        unreachable!("the search finds nothing")
    }
}

impl TileReader for FakeLog {
    type Error = ClientError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        Ok(OneTile(&self.leaves).read_tiles(tiles).unwrap_or_else(|never| match never {}))
    }
}

/// Remembers another head of the scene's size, signed by the log.
fn remember_other_history(state: &mut EndpointState) {
    let log = log_key(ORIGIN);
    let head = Checkpoint::new(log.public().name().clone(), TreeSize::new(7).unwrap(), Hash::EMPTY_ROOT);
    state.remember(&head, Some(head.sign(&log)), &["vendor"], &sample_release(ARTIFACT));
}

fn remember_sequence(state: &mut EndpointState, sequence: u64) {
    let head = Checkpoint::new(KeyName::new("example.com/other").unwrap(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    state.remember(&head, None, &["vendor"], &Release { sequence, ..sample_release(ARTIFACT) });
}

/// An older release, in another log: in the same log, at the same size, it would be a fork.
fn older() -> Scene {
    Scene::with(|s| {
        let log = || {
            let name = KeyName::new("example.com/older").unwrap();
            NoteSigner::from_seed(name, SignatureType::Ed25519, &[101; 32])
        };
        s.release.sequence = 6;
        s.policy = format!("log {}\n{}", log().public(), s.policy);
        s.file.push(Box::new(move |file| {
            let Checkpoint { size, root, .. } = Checkpoint::parse(file.checkpoint.text()).unwrap();
            let head = Checkpoint::new(log().public().name().clone(), size, root);
            file.checkpoint = head.sign(&log());
            [1, 2].into_iter().for_each(|seed| file.checkpoint.push(cosign(&head, &witness(seed), COSIGNED)));
        }));
    })
}

fn code(verdict: Verdict) -> VerdictCode {
    verdict.expect_err("it is refused").code()
}

#[test]
fn an_accepted_release_is_remembered_before_it_is_told() {
    let machine = Machine::default();
    let scene = Scene::good();
    let accepted = machine.check(&scene).unwrap();
    assert_eq!(accepted.release.release(), &scene.release);
    assert!(accepted.latest.is_none());
    assert_eq!(machine.parts().steps, ["open", "lock", "save"]);
    assert_eq!(machine.parts().saved.sequence("vendor", &scene.release), Some(7));
    assert_eq!(code(machine.check(&older())), VerdictCode::Rollback);
    assert_eq!(machine.parts().steps, ["open", "lock"], "a refusal teaches nothing");
}

#[test]
fn after_a_power_cut_the_memory_covers_everything_that_was_told() {
    for (cut, is_remembered) in [(Cut::BeforeSaving, false), (Cut::AfterSaving, true)] {
        let machine = Machine::default();
        machine.parts().cut = Some(cut);
        let told = catch_unwind(AssertUnwindSafe(|| machine.check(&Scene::good())));
        assert!(told.is_err(), "nothing is told once the power fails");
        // The next process may judge again, and an older release passes only if no newer one was ever accepted.
        assert_eq!(machine.check(&older()).is_err(), is_remembered);
        machine.check(&Scene::good()).unwrap();
        assert_eq!(code(machine.check(&older())), VerdictCode::Rollback);
    }
}

#[test]
fn a_verdict_that_cannot_be_remembered_is_a_refusal() {
    let machine = Machine::default();
    machine.parts().is_full = true;
    let error = machine.check(&Scene::good()).unwrap_err();
    assert!(matches!(error, CheckError::Memory(MemoryError::Full { .. })), "{error}");
    machine.parts().is_held = true;
    let error = machine.check(&Scene::good()).unwrap_err();
    assert!(matches!(error, CheckError::Memory(MemoryError::Held { .. })), "{error}");
    assert_eq!(machine.parts().saved, EndpointState::default());
}

#[test]
fn a_fork_outranks_any_other_refusal() {
    let machine = Machine::remembering(remember_other_history);
    let swapped = Scene::with(|s| s.artifact = Hash::digest(b"another file"));
    let error = machine.check(&swapped).unwrap_err();
    let CheckError::Forked { origin, fork } = &error else { panic!("{error}") };
    assert_eq!((origin.as_str(), error.code()), (ORIGIN, VerdictCode::Fork));
    let evidence = fork.evidence().expect("both heads carry the log's signature");
    assert_eq!(machine.kept(), std::slice::from_ref(&evidence));
    assert_eq!(machine.parts().saved.known_fork(ORIGIN).unwrap().evidence, Some(evidence));
    // From then on, nothing of that log is believed, and a fork that cannot be saved is reported all the same.
    assert_eq!(code(machine.check(&Scene::good())), VerdictCode::Fork);
    let machine = Machine::remembering(remember_other_history);
    machine.parts().is_full = true;
    assert_eq!(code(machine.check(&swapped)), VerdictCode::Fork);
    assert!(machine.parts().notices[0].starts_with("could not save the evidence of the fork"));
}

#[test]
fn a_fork_found_online_outranks_a_refusal_and_a_memory_that_cannot_be_opened() {
    let swapped = Scene::with(|s| s.artifact = Hash::digest(b"another file"));
    let mut forked = FakeLog::grown(&swapped, 9, 9);
    forked.leaves[0] = Hash::leaf(b"another history");
    let machine = Machine::default();
    assert_eq!(code(machine.check_online(&swapped, &forked)), VerdictCode::Fork);
    assert_eq!(machine.kept().len(), 1);
    assert!(machine.parts().saved.known_fork(ORIGIN).is_some());
    let machine = Machine::default();
    machine.parts().meanwhile = Some(|parts| parts.is_held = true);
    assert_eq!(code(machine.check_online(&swapped, &forked)), VerdictCode::Fork);
    assert!(machine.parts().notices[0].starts_with("could not save the evidence of the fork"));
}

#[test]
fn the_memory_is_opened_once_and_not_held_while_the_log_is_asked() {
    let (machine, scene) = (Machine::default(), Scene::good());
    let log = FakeLog::grown(&scene, 9, 9);
    let accepted = machine.check_online(&scene, &log).unwrap();
    let latest = accepted.latest.expect("the log was asked");
    assert_eq!((latest.get().size.get(), accepted.asked_for_withdrawals), (9, true));
    assert_eq!(machine.parts().steps, ["open", "lock", "unlock", "lock", "save"]);
    assert_eq!(machine.parts().saved.head(ORIGIN).unwrap().0.get(), 9);
}

#[test]
fn what_another_process_remembers_while_the_log_is_asked_is_not_lost() {
    let (machine, scene) = (Machine::default(), Scene::good());
    let log = FakeLog::grown(&scene, 9, 9);
    machine.parts().meanwhile = Some(|parts| remember_sequence(&mut parts.saved, 7));
    machine.check_online(&scene, &log).unwrap();
    assert!(machine.parts().saved.head("example.com/other").is_some());
    assert_eq!(machine.parts().saved.head(ORIGIN).unwrap().0.get(), 9);
    // The other process accepted a newer release, so this one is a rollback by now.
    let machine = Machine::default();
    machine.parts().meanwhile = Some(|parts| remember_sequence(&mut parts.saved, 8));
    assert_eq!(code(machine.check_online(&scene, &log)), VerdictCode::Rollback);
    assert_eq!(machine.parts().saved.sequence("vendor", &scene.release), Some(8));
    // The other process found a fork.
    let machine = Machine::default();
    machine.parts().meanwhile = Some(|parts| remember_other_history(&mut parts.saved));
    assert_eq!(code(machine.check_online(&scene, &log)), VerdictCode::Fork);
}

#[test]
fn without_the_logs_answer_nothing_is_accepted() {
    let (machine, scene) = (Machine::default(), Scene::good());
    let log = FakeLog { is_unreachable: true, ..FakeLog::grown(&scene, 9, 9) };
    assert_eq!(code(machine.check_online(&scene, &log)), VerdictCode::CouldNotTell);
    assert_eq!(machine.parts().steps, ["open", "lock", "unlock", "lock"], "there is nothing to save");
    // The head that the log showed before is larger.
    let log = FakeLog::grown(&scene, 9, 9);
    machine.check_online(&scene, &log).unwrap();
    let rolled_back = FakeLog::grown(&scene, 7, 9);
    assert_eq!(code(machine.check_online(&scene, &rolled_back)), VerdictCode::LogRolledBack);
    let kept = machine.kept();
    assert!(kept.len() == 1 && kept[0].ends_with("-9.checkpoint"), "{kept:?}");
}

#[test]
fn several_artifacts_ask_their_log_once() {
    let (machine, scene) = (Machine::default(), Scene::good());
    let swapped = Scene::with(|s| s.artifact = Hash::digest(b"another file"));
    let log = FakeLog::grown(&scene, 9, 9);
    let (proof, other) = (scene.proof(), swapped.proof());
    let questions = [question(&scene, &proof), question(&swapped, &other), question(&scene, &proof)];
    let checked = machine.endpoint(&scene).check_all(&questions, Some(Online::Log(&log)));
    let verdicts = checked.verdicts.unwrap();
    let refused: Vec<Option<VerdictCode>> =
        verdicts.iter().map(|verdict| verdict.as_ref().err().map(CheckError::code)).collect();
    assert_eq!(refused, [None, Some(VerdictCode::ArtifactMismatch), None]);
    assert_eq!(*log.asked.lock().unwrap(), 1);
    assert_eq!(checked.heads.len(), 2, "the proof's head, and the newest one");
    assert_eq!(machine.parts().steps, ["open", "lock", "unlock", "lock", "save"]);
}

#[test]
fn an_endpoint_opens_its_directory() {
    let (dir, scene) = (tempfile::tempdir().unwrap(), Scene::good());
    let at = |name: &str| dir.path().join(name);
    let missing = Endpoint::open(dir.path()).unwrap_err();
    assert!(matches!(&missing, OpenError::File(e) if e.path == at(POLICY_FILE)), "{missing}");
    std::fs::write(at(POLICY_FILE), &scene.policy).unwrap();
    std::fs::write(at(PUBLISHERS_FILE), "nonsense").unwrap();
    let malformed = Endpoint::open(dir.path()).unwrap_err();
    assert!(matches!(&malformed, OpenError::Malformed { path, .. } if *path == at(PUBLISHERS_FILE)));
    std::fs::write(at(PUBLISHERS_FILE), &scene.publishers).unwrap();
    std::fs::write(at(POLICY_FILE), &older().policy).unwrap();
    let check = |scene: &Scene| {
        let proof = scene.proof();
        Endpoint::open(dir.path()).unwrap().check(&question(scene, &proof))
    };
    check(&scene).unwrap();
    let state = at(STATE_DIR).join("state.json");
    assert_eq!(
        EndpointState::parse(&std::fs::read(&state).unwrap()).unwrap().sequence("vendor", &scene.release),
        Some(7)
    );
    assert_eq!(code(check(&older())), VerdictCode::Rollback);
    std::fs::write(&state, "{}").unwrap();
    assert_eq!(code(check(&scene)), VerdictCode::StateDamaged, "an endpoint must not forget");
}
