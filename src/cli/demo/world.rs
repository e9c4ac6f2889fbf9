//! The demo's world: a directory with a served log, a publisher, and its releases.

use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::checkpoint::policy::Policy;
use crate::checkpoint::{self, Checkpoint};
use crate::cli::config::Config;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::init::{self, NewLog};
use crate::cli::{files, keygen, policy, serving};
use crate::client::{LogClient, Wait, check_answer};
use crate::endpoint::EndpointState;
use crate::endpoint::{Artifact, Freshness, Pins, Question, Refusal, Trust, VerifiedRelease, verify};
use crate::merkle::Hash;
use crate::proof::ProofFile;
use crate::release::{
    Envelope, Kind, MAX_PUBLISHERS_BYTES, NewPublisher, PublisherSigner, Publishers, Purl, PurlPattern,
    Release, StatementKind, Subject,
};
use crate::server::{self, Log, LogConfig, Profile, Storage};

use super::served::{PATIENCE, Served, Until, listen};
use super::story::Story;
use super::witness::DemoWitness;

/// Witnesses of the demo.
const WITNESSES: usize = 3;
/// How many of them have to agree.
const QUORUM: u64 = 2;
/// Those who rebuild its releases. What the last one builds differs.
const REBUILDERS: [&str; 3] = ["rebuilder-a", "rebuilder-b", "rebuilder-c"];
/// Identity of the demo's log.
pub const ORIGIN: &str = "log.example.com/releases";

/// A release as it is shipped, and the head of its proof.
pub struct Shipped {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub release: Release,
    pub entry: Vec<u8>,
    pub proof: ProofFile,
    pub head: Checkpoint,
}

pub struct World {
    pub dir: PathBuf,
    pub publisher: PublisherSigner,
    pub policy: Policy,
    pub publishers: Publishers,
    /// Others who may state what they found, with their keys.
    pub rebuilders: Vec<(&'static str, PublisherSigner)>,
    pub client: LogClient,
    pub witnesses: Vec<DemoWitness>,
    runtime: Runtime,
    /// In the order in which they stop: the witnesses are there until the log has stopped.
    servers: Vec<Served>,
}

impl World {
    /// Makes the log and the publisher with the code of the commands, and serves the log on a port of the system's
    /// choice.
    pub fn new(dir: PathBuf) -> Result<Self, Failure> {
        let runtime = serving::runtime()?;
        let mut witnesses: Vec<DemoWitness> =
            (1..=WITNESSES).map(|at| DemoWitness::make(&runtime, &dir, at)).collect::<Result<_, _>>()?;
        let log_dir = dir.join("log");
        let new = NewLog {
            origin: ORIGIN,
            profile: Profile::Release,
            post_quantum: true,
            witnesses: witnesses.iter().map(DemoWitness::card).collect::<Result<_, _>>()?,
            quorum: Some(QUORUM),
            bucket: None,
        };
        let log_keys = init::create(&log_dir, &new)?;
        let publisher = PublisherSigner::from_seed(&*keygen::random_seed()?);
        files::create_new(&dir.join("publisher.pem"), publisher.to_pem().as_bytes(), 0o600)?;
        register(&log_dir, "example-vendor", &publisher, &StatementKind::RELEASES)?;
        let mut rebuilders = Vec::new();
        for name in REBUILDERS {
            let signer = PublisherSigner::from_seed(&*keygen::random_seed()?);
            files::create_new(&dir.join(format!("{name}.pem")), signer.to_pem().as_bytes(), 0o600)?;
            register(&log_dir, name, &signer, &[StatementKind::VerificationSummary])?;
            rebuilders.push((name, signer));
        }
        make_dir(&dir.join("releases"))?;
        let policy = files::policy(&log_dir.join("endpoint.policy"))?;
        let publishers_path = log_dir.join("publishers.toml");
        let publishers =
            files::parse(&publishers_path, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
        let mut servers = Vec::new();
        for witness in &mut witnesses {
            servers.push(witness.serve(&runtime, &log_keys)?);
        }
        let (url, log) = serve(&runtime, &log_dir)?;
        servers.insert(0, log);
        let client = LogClient::new(&url)?;
        Ok(Self { dir, publisher, policy, publishers, rebuilders, client, witnesses, runtime, servers })
    }

    /// Reads the log's own settings.
    pub fn config(&self) -> Result<Config, Failure> {
        Config::load(&self.dir.join("log"))
    }

    /// Signs, appends, and writes artifact and proof file.
    pub fn publish(
        &self,
        name: &'static str,
        kind: Kind,
        purl: &str,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<Shipped, Failure> {
        let path = self.dir.join("releases").join(name);
        files::create_new(&path, bytes, 0o644)?;
        let subjects = vec![Subject { name: name.to_owned(), sha256: files::hash_artifact(&path)? }];
        let release = Release { log: Some(ORIGIN.to_owned()), ..release(purl, kind, sequence, subjects)? };
        let entry = sign(&release, &self.publisher)?;
        let proof = self.client.add(&entry, Wait::Published).map_err(Failure::append)?;
        check_answer(&proof, &entry, Some(&self.policy.log_keys()))?;
        files::create_new(&files::proof_path(&path), proof.to_string().as_bytes(), 0o644)?;
        let note = proof.checkpoint.to_string();
        let head = checkpoint::open(note.as_bytes(), &self.policy.log_keys()).map_err(Refusal::Checkpoint)?;
        Ok(Shipped { name, bytes: bytes.to_vec(), release, entry, head: head.get().clone(), proof })
    }

    /// The endpoint's verdict on an artifact.
    pub fn verify(
        &self,
        artifact: &[u8],
        proof: &str,
        state: Option<&EndpointState>,
    ) -> Result<VerifiedRelease, Refusal> {
        let question = Question {
            artifact: Artifact::File { digest: &Hash::digest(artifact), name: None },
            proof: proof.as_bytes(),
            freshness: Freshness::now(None),
            pins: Pins::default(),
        };
        verify(&question, Trust { policy: &self.policy, publishers: &self.publishers, gate: &[] }, state)
    }

    /// Serves one more thing on a port of the system's choice, and returns its URL. It is stopped before the rest.
    pub fn serve<F>(&mut self, run: impl FnOnce(TcpListener, Until) -> F) -> Result<String, Failure>
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (url, listener) = listen(&self.runtime)?;
        self.servers.insert(0, Served::start(&self.runtime, |until| run(listener, until)));
        Ok(url)
    }

    /// Stops everything as SIGTERM does, the log before its witnesses.
    pub fn stop(&mut self) -> CliResult {
        self.servers.drain(..).try_for_each(|server| server.stop(&self.runtime))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Also after a failure: nothing may write into a directory that is about to be removed.
        let _ = self.stop();
    }
}

/// A release on the stable channel.
pub fn release(purl: &str, kind: Kind, sequence: u64, subjects: Vec<Subject>) -> Result<Release, Failure> {
    let purl = Purl::parse(purl).map_err(|e| Failure::Usage(e.to_string()))?;
    let channel = "stable".to_owned();
    let (source, manifest, audience, log) = (None, None, None, None);
    Ok(Release { subjects, purl, kind, channel, sequence, source, manifest, audience, location: None, log })
}

/// Signs a release into an entry.
pub fn sign(release: &Release, signer: &PublisherSigner) -> Result<Vec<u8>, Failure> {
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let envelope = Envelope::sign(payload, &[signer]).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(envelope.into_entry())
}

/// Makes a new folder.
pub fn make_dir(dir: &Path) -> CliResult {
    std::fs::create_dir(dir).map_err(|e| Failure::io("create", dir, &e))
}

fn register(log_dir: &Path, name: &str, publisher: &PublisherSigner, kinds: &[StatementKind]) -> CliResult {
    let path = log_dir.join("publishers.toml");
    let wrong = |e| Failure::file(&path, &e);
    let pattern = PurlPattern::parse("pkg:generic/example/*").map_err(wrong)?;
    let new = NewPublisher { name, key: &publisher.public_key(), purls: &[pattern], kinds };
    let old = files::read(&path, "a publishers file", MAX_PUBLISHERS_BYTES)?;
    let new = new.append_to(&String::from_utf8_lossy(&old)).map_err(wrong)?;
    files::replace(&path, new.as_bytes())
}

fn serve(runtime: &Runtime, log_dir: &Path) -> Result<(String, Served), Failure> {
    let config = Config::load(log_dir)?;
    let signer = config.signer()?;
    let policy = policy::of(&signer.keys(), config.witnesses()?.as_ref())?;
    let log = Log::open(LogConfig {
        storage: Storage::Directory,
        dir: config.dir.clone(),
        cosigners: config.cosigners()?,
        signer,
        profile: config.profile,
        publishers: config.publishers(),
        policy: Some(policy),
        options: config.options,
        index_bytes: config.index_bytes,
        progress: std::sync::Arc::new(|_, _| ()),
    })?;
    // The log asks its witnesses what they saw last before it takes any entry.
    let mut published = log.sequencer().published();
    let first = published.wait_for(|published| published.witnessed);
    let in_time =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, first).await.is_ok_and(|f| f.is_ok()) });
    Story::hold(in_time, "a quorum cosigns the empty log")?;
    let (url, listener) = listen(runtime)?;
    Ok((url, Served::start(runtime, |until| server::run(listener, log, until))))
}
