//! Logs that can lie, and witnesses for them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::{Checkpoint, LogKey, Origin, origin_hash};
use treehead::disk::{DiskError, SledIo};
use treehead::merkle::{Hash, TreeSize};
use treehead::note::{KeyName, Note, NoteKey, NoteSignature, NoteSigner, SignatureType};
use treehead::proof::wire::{AddCheckpoint, parse_signatures};
use treehead::witness::{JOURNAL, LOGS_FILE, Ledger, LedgerError, Logs, Witness, run};

use crate::common::http::{Reply, get, post};
use crate::common::locks::once_unlocked;
use crate::common::log::root_of;
use crate::common::mounts::quick_dir;

pub const WITNESS: &str = "witness.example/w1";

pub fn name(text: &str) -> KeyName {
    KeyName::new(text).expect("a name")
}

/// A tree size, which is below 2^63.
pub fn size(of: usize) -> TreeSize {
    TreeSize::new(of as u64).expect("a size")
}

/// The witness's keys, the same in every run.
pub fn witness_keys() -> Vec<NoteSigner> {
    vec![ed25519_key(), NoteSigner::from_seed(name(WITNESS), SignatureType::CosignatureMlDsa44, &[52; 32])]
}

pub fn ed25519_key() -> NoteSigner {
    NoteSigner::from_seed(name(WITNESS), SignatureType::CosignatureEd25519, &[51; 32])
}

pub fn public(keys: &[NoteSigner]) -> Vec<NoteKey> {
    keys.iter().map(|key| key.public().clone()).collect()
}

/// A log's key and its leaves. It may sign any head.
#[derive(Clone)]
pub struct TestLog {
    signer: Arc<NoteSigner>,
    origin: Origin,
    pub leaves: Vec<Hash>,
}

impl TestLog {
    pub fn new(origin: &str, leaves: usize) -> Self {
        let seed = *Hash::digest(origin.as_bytes()).as_bytes();
        let signer = NoteSigner::from_seed(name(origin), SignatureType::Ed25519, &seed);
        Self::of(origin, signer, leaves)
    }

    /// A log whose origin differs from its key's name, or that signs with ML-DSA-44.
    pub fn of(origin: &str, signer: NoteSigner, leaves: usize) -> Self {
        let origin = Origin::new(origin).expect("an origin");
        let mut log = Self { signer: Arc::new(signer), origin, leaves: Vec::new() };
        log.grow(leaves, "");
        log
    }

    /// The same log up to `at`, with another history after it.
    pub fn forked(&self, at: usize, leaves: usize, how: &str) -> Self {
        let mut fork = self.clone();
        fork.leaves.truncate(at);
        fork.grow(leaves - at, how);
        fork
    }

    fn grow(&mut self, count: usize, how: &str) {
        let first = self.leaves.len();
        self.leaves.extend((first..first + count).map(|at| Hash::leaf(format!("{how}{at}").as_bytes())));
    }

    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub fn key_name(&self) -> KeyName {
        self.signer.public().name().clone()
    }

    pub fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    pub fn vkey(&self) -> NoteKey {
        self.signer.public().clone()
    }

    pub fn root(&self, size: usize) -> Hash {
        root_of(&self.leaves[..size])
    }

    pub fn head(&self, at: usize) -> Checkpoint {
        Checkpoint::new(self.origin(), size(at), self.root(at))
    }

    pub fn signed(&self, at: usize) -> Note {
        if self.signer.public().kind() == SignatureType::Ed25519 {
            return self.sign_text(&self.head(at).to_string());
        }
        let mut note = Note::unsigned(self.head(at).to_string());
        note.push(cosign(&self.head(at), &self.signer, 1_700_000_000));
        note
    }

    /// Signs any text as a note with the log's key.
    pub fn sign_text(&self, text: &str) -> Note {
        Note::sign(text.to_owned(), &[&self.signer])
    }

    pub fn request(&self, old: usize, new: usize) -> AddCheckpoint {
        let proof = if old == 0 || old > new { Vec::new() } else { consistency(old, &self.leaves[..new]) };
        AddCheckpoint { old: size(old), proof, checkpoint: self.signed(new) }
    }

    pub fn path(&self) -> String {
        format!("/{}/checkpoint", origin_hash(&self.origin()).to_hex())
    }
}

/// RFC 6962 section 2.1.2, PROOF(m, D[n]), word for word, without code of the witness.
pub fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![root_of(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut proof, other) = if m <= left.len() {
            (subproof(m, left, whole), root_of(right))
        } else {
            (subproof(m - left.len(), right, false), root_of(left))
        };
        proof.push(other);
        proof
    }
    subproof(old, leaves, true)
}

/// Makes the directory of a witness that knows these logs.
pub fn witness_dir(logs: &[&TestLog]) -> TempDir {
    dir_knowing(&logs.iter().map(|log| LogKey::new(log.origin(), log.vkey())).collect::<Vec<_>>())
}

/// Like `witness_dir`, for log keys.
fn dir_knowing(keys: &[LogKey]) -> TempDir {
    let dir = quick_dir();
    fs::write(dir.path().join(JOURNAL), Ledger::empty_journal(&name(WITNESS))).expect("written");
    let mut known = Logs::default();
    known.add(keys).expect("the keys of logs");
    fs::write(dir.path().join(LOGS_FILE), known.to_string()).expect("written");
    dir
}

/// Opens a ledger, once its last user in this process is gone.
fn opened(open: impl Fn() -> Result<Ledger, LedgerError>) -> Result<Ledger, LedgerError> {
    let is_locked = |e: &LedgerError| matches!(e, LedgerError::Disk(DiskError::Locked { .. }));
    once_unlocked(Duration::from_secs(10), is_locked, open)
}

/// A witness on this disk. For speed, it signs only with Ed25519.
pub fn open_on(dir: &Path, io: &Arc<dyn SledIo>, journal_bytes: u64) -> Result<Witness, String> {
    let open = || Ledger::open_with(dir, &name(WITNESS), io.clone(), journal_bytes);
    let ledger = opened(open).map_err(|e| e.to_string())?;
    Witness::open_at(dir, vec![ed25519_key()], ledger, treehead::clock::system()).map_err(|e| e.to_string())
}

/// A running witness. Stops when dropped.
pub struct Served {
    pub address: SocketAddr,
    pub dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    #[allow(dead_code, reason = "removed when the witness is dropped")]
    temp: Option<TempDir>,
}

impl Served {
    pub fn new(logs: &[&TestLog]) -> Self {
        Self::with_keys(logs, witness_keys())
    }

    /// A witness that knows logs by these keys.
    pub fn knowing(keys: &[NoteKey]) -> Self {
        let keys: Vec<LogKey> = keys.iter().cloned().map(LogKey::from).collect();
        let temp = dir_knowing(&keys);
        let mut served = Self::start(temp.path(), witness_keys());
        served.temp = Some(temp);
        served
    }

    pub fn with_keys(logs: &[&TestLog], keys: Vec<NoteSigner>) -> Self {
        let temp = witness_dir(logs);
        let mut served = Self::start(temp.path(), keys);
        served.temp = Some(temp);
        served
    }

    pub fn start(dir: &Path, keys: Vec<NoteSigner>) -> Self {
        let ledger = opened(|| Ledger::open(dir, &name(WITNESS))).expect("the ledger opens");
        let witness =
            Witness::open_at(dir, keys, ledger, treehead::clock::system()).expect("the witness opens");
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let stopped = async {
                    let _ = stopped.await;
                };
                run(listener, witness, stopped).await.expect("the listener works");
            });
        });
        let address = address.recv().expect("the witness listens");
        Self { address, dir: dir.to_owned(), stop: Some(stop), thread: Some(thread), temp: None }
    }

    pub fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server did not panic");
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        get(self.address, path)
    }

    pub fn add(&self, body: &impl ToString) -> Reply {
        post(self.address, "/add-checkpoint", body.to_string().as_bytes())
    }

    /// Asks for a cosignature of this growth, which has to succeed.
    #[track_caller]
    pub fn cosigns(&self, log: &TestLog, old: usize, new: usize) -> Vec<NoteSignature> {
        let reply = self.add(&log.request(old, new));
        assert_eq!(reply.status, 200, "{reply}");
        parse_signatures(&reply.body).expect("signature lines")
    }

    /// The size of the last cosigned head.
    #[track_caller]
    pub fn size_of(&self, log: &TestLog) -> usize {
        let reply = self.get(&log.path());
        if reply.status == 404 {
            reply.problem(404, "never-cosigned");
            return 0;
        }
        assert_eq!(reply.status, 200, "{reply}");
        let note = Note::parse(&reply.body).expect("a note");
        usize::try_from(Checkpoint::parse(note.text()).expect("a checkpoint").size.get()).expect("small")
    }

    /// Checks that the witness answers, and still knows `size` of this log and nothing else.
    #[track_caller]
    pub fn is_unmoved(&self, log: &TestLog, size: usize) {
        assert_eq!(self.size_of(log), size);
        self.cosigns(log, size, size);
        let other = usize::from(size == 0);
        let reply = self.add(&log.request(other, other));
        assert_eq!((reply.status, reply.text()), (409, format!("{size}\n").as_str()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The time in a cosignature, in seconds since 1970.
pub fn time_of(line: &NoteSignature) -> u64 {
    u64::from_be_bytes(line.bytes()[..8].try_into().expect("eight bytes"))
}
