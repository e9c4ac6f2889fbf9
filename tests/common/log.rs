//! A log in this process, on its own loopback port.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;
use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::Hash;
use treehead::note::{KeyName, NoteKey, NoteSigner, SignatureType};
use treehead::proof::bundle;
use treehead::sequencer::Options;
use treehead::server::{Log, LogConfig, OpenError, Profile, Storage, run};

use super::http::{Reply, exchange, get, post, post_json, request};

pub const ORIGIN: &str = "log.example/releases";

/// The log's key, the same in every run.
pub fn log_signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(ORIGIN).expect("a name"), SignatureType::Ed25519, &[100; 32])
}

/// Publishes at once, so that tests with hundreds of entries are fast.
pub fn quick() -> Options {
    Options { publish_interval: Duration::from_millis(2), ..Options::default() }
}

/// Publishes only when it starts and stops: entries in between stay unpublished.
pub fn never_publishing() -> Options {
    Options { least_interval: Duration::from_secs(3_600), ..Options::default() }
}

pub fn open(dir: &Path, profile: Profile, options: Options) -> Result<Log, OpenError> {
    Log::open(LogConfig {
        storage: Storage::Directory,
        dir: dir.to_owned(),
        signer: log_signer().into(),
        profile,
        publishers: dir.join("publishers.toml"),
        policy: None,
        options,
        cosigners: None,
        index_bytes: treehead::store::INDEX_BYTES,
        progress: Arc::new(|_, _| ()),
    })
}

/// A running log. Stops when dropped.
pub struct Served {
    pub address: SocketAddr,
    pub dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    #[allow(dead_code, reason = "removed when the log is dropped")]
    temp: Option<TempDir>,
}

impl Served {
    pub fn opaque() -> Self {
        Self::opaque_with(quick())
    }

    pub fn opaque_with(options: Options) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let mut served = Self::start(temp.path(), Profile::Opaque, options);
        served.temp = Some(temp);
        served
    }

    /// A log with these publishers.
    pub fn release(publishers: &str) -> Self {
        Self::release_with(publishers, quick())
    }

    pub fn release_with(publishers: &str, options: Options) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        fs::write(temp.path().join("publishers.toml"), publishers).expect("written");
        let mut served = Self::start(temp.path(), Profile::Release, options);
        served.temp = Some(temp);
        served
    }

    pub fn start(dir: &Path, profile: Profile, options: Options) -> Self {
        Self::serve(dir, open(dir, profile, options).expect("the log opens"))
    }

    /// Serves an open log.
    pub fn serve(dir: &Path, log: Log) -> Self {
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
                run(listener, log, stopped).await.expect("the listener works");
            });
        });
        let address = address.recv().expect("the log listens");
        let dir = dir.to_owned();
        Self { address, dir, stop: Some(stop), thread: Some(thread), temp: None }
    }

    /// Tells the log to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops it and waits for all threads; its directory stays.
    pub fn stop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server did not panic");
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        get(self.address, path)
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Reply {
        post(self.address, path, body)
    }

    pub fn post_json(&self, path: &str, body: &[u8]) -> serde_json::Value {
        post_json(self.address, path, body)
    }

    /// Appends an entry and returns its proof file.
    pub fn post_for_proof(&self, path: &str, body: &[u8]) -> Reply {
        exchange(self.address, &request("POST", path, &[("Accept", "text/x-tlog-proof")], body))
    }

    /// Appends entries, all of which must be new.
    pub fn add_all(&self, entries: &[Vec<u8>]) {
        for some in entries.chunks(4_096) {
            let answers = self.post_json("/add-batch", &batch(some));
            let answers = answers.as_array().expect("a list");
            assert_eq!(answers.len(), some.len());
            assert!(answers.iter().all(|answer| answer["duplicate"] == false), "{answers:?}");
        }
    }

    /// The published head, verified.
    pub fn head(&self) -> Checkpoint {
        let reply = self.get("/checkpoint");
        checkpoint::open(&reply.body, &[vkey()]).expect("the log's own checkpoint").get().clone()
    }

    /// Entries in the tree, published or not.
    pub fn tree_size(&self) -> u64 {
        let health = self.get("/healthz");
        let health: serde_json::Value = serde_json::from_slice(&health.body).expect("JSON");
        health["tree_size"].as_u64().expect("a number")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn vkey() -> NoteKey {
    log_signer().public().clone()
}

/// A body for `/add-batch`.
pub fn batch(entries: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut body = Vec::new();
    entries.iter().for_each(|entry| bundle::push(&mut body, entry.as_ref()).expect("an entry that fits"));
    body
}

/// Distinct opaque entries of different lengths.
pub fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| format!("entry {at} {}", "x".repeat(at % 40)).into_bytes()).collect()
}

/// The tree hash of RFC 6962 section 2.1, literally: slow, and independent of the log's code.
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::node(&root_of(left), &root_of(right))
        }
    }
}

pub fn leaf_hashes(entries: &[Vec<u8>]) -> Vec<Hash> {
    entries.iter().map(|entry| Hash::leaf(entry)).collect()
}

/// Polls until the condition holds; fails after a minute.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: still not so");
        std::thread::sleep(Duration::from_millis(5));
    }
}
