//! An endpoint: the logs and publishers that it trusts, and its memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check_error::Notice;
use super::endpoint_file::{OpenError, parse};
use super::manifest_store::ManifestDir;
use super::memory_store::{Memory, MemoryDir, MemoryError};
use super::trust_dir::TrustDir;
use super::{Freshness, MAX_TRUST_BYTES, Requirement, TRUST_FILE, Trust, TrustFile};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::clock;
use crate::disk::evidence_dir::EvidenceDir;
use crate::disk::{DiskIo, RealDisk};
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

/// Name of the policy in an endpoint's directory.
pub const POLICY_FILE: &str = "endpoint.policy";
/// Name of the publishers file in an endpoint's directory.
pub const PUBLISHERS_FILE: &str = "publishers.toml";
/// Name of the state directory in an endpoint's directory.
pub const STATE_DIR: &str = "state";

type Tell = dyn Fn(&Notice<'_>) + Send + Sync;
type OpenMemory = dyn Fn() -> Result<Box<dyn Memory>, MemoryError> + Send + Sync;

/// Checks artifacts before they are installed: the paved path to a verdict.
///
/// ```text
/// DIR/endpoint.trust     everything that it trusts; or, where there is no such file,
/// DIR/endpoint.policy    trusted logs, witnesses and quorum
/// DIR/publishers.toml    trusted publishers
/// DIR/state/             what the endpoint remembers; created by the first check
///   state.json  lock     the memory, and the lock that several processes share
///   endpoint.trust       the newest trust file that the endpoint learned
///   manifests/           the manifest of each channel that was followed, and their lock
///   evidence/            forks that this endpoint found
/// ```
pub struct Endpoint {
    policy: Policy,
    publishers: Publishers,
    gate: Vec<Requirement>,
    pub(super) memory: Option<Box<OpenMemory>>,
    pub(super) manifests: Option<ManifestDir>,
    pub(super) evidence: EvidenceDir,
    on_notice: Box<Tell>,
}

impl Endpoint {
    /// Opens an endpoint's directory, laid out as the type's documentation shows. A trust file beside a policy and a
    /// publishers file counts alone, and one that the endpoint learned counts if it is as new, as [`TrustDir`] says.
    ///
    /// # Errors
    /// [`OpenError`], if a trust file is malformed or there are two with one number, or, without one, the policy or the
    /// publishers file is missing or malformed.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let at = |name: &str| dir.join(name);
        let (trust, state) = (Some(at(TRUST_FILE)), at(STATE_DIR));
        let trust = trust.filter(|trust| trust.symlink_metadata().is_ok());
        Self::from_files(trust.as_deref(), (&at(POLICY_FILE), &at(PUBLISHERS_FILE)), &state)
    }

    /// An endpoint that trusts what the trust file says, or the one that `state` remembers if it is as new; without a trust
    /// file, what the policy and the publishers file say. It remembers in `state`.
    pub(super) fn from_files(
        trust: Option<&Path>,
        (policy, publishers): (&Path, &Path),
        state: &Path,
    ) -> Result<Self, OpenError> {
        let endpoint = if let Some(trust) = trust {
            let given = parse(trust, "a trust file", MAX_TRUST_BYTES, TrustFile::parse)?;
            Self::trusting(TrustDir::new(state).newest(given)?)
        } else {
            let policy = parse(policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
            let what = "a publishers file";
            Self::new(policy, parse(publishers, what, MAX_PUBLISHERS_BYTES, Publishers::parse)?)
        };
        Ok(endpoint.with_state_dir(state))
    }

    /// An endpoint that remembers nothing, and keeps evidence of forks in the current directory.
    #[must_use]
    pub fn new(policy: Policy, publishers: Publishers) -> Self {
        let evidence = EvidenceDir::new(".");
        let gate = Vec::new();
        Self {
            policy,
            publishers,
            gate,
            memory: None,
            manifests: None,
            evidence,
            on_notice: Box::new(|_| {}),
        }
    }

    /// An endpoint that trusts what a trust file says, asks for the attestations that it names, and remembers nothing.
    #[must_use]
    pub fn trusting(file: TrustFile) -> Self {
        let (policy, publishers, gate) = file.into_parts();
        Self { gate, ..Self::new(policy, publishers) }
    }

    /// Remembers in `dir`, also manifests, and keeps evidence of forks in `dir/evidence`.
    #[must_use]
    pub fn with_state_dir(self, dir: &Path) -> Self {
        let (dir, evidence, manifests) = (dir.to_owned(), dir.join("evidence"), dir.join("manifests"));
        let remembering = self.with_memory(move || Ok(Box::new(MemoryDir::open(&dir)?)));
        remembering.with_evidence(evidence).with_manifests(manifests, Arc::new(RealDisk))
    }

    /// Remembers manifests in the directory `dir`, which `disk` changes.
    #[must_use]
    pub fn with_manifests(mut self, dir: PathBuf, disk: Arc<dyn DiskIo>) -> Self {
        self.manifests = Some(ManifestDir::new(dir, disk));
        self
    }

    /// Remembers in the memory that `open` opens, once in each check.
    #[must_use]
    pub fn with_memory(
        mut self,
        open: impl Fn() -> Result<Box<dyn Memory>, MemoryError> + Send + Sync + 'static,
    ) -> Self {
        self.memory = Some(Box::new(open));
        self
    }

    /// Keeps evidence of forks in the directory `dir`.
    #[must_use]
    pub fn with_evidence(mut self, dir: impl Into<PathBuf>) -> Self {
        self.evidence = EvidenceDir::new(dir);
        self
    }

    /// Calls `tell` with each notice as it arises.
    #[must_use]
    pub fn on_notice(mut self, tell: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        self.on_notice = Box::new(tell);
        self
    }

    /// The logs, witnesses and publishers that it trusts.
    #[must_use]
    pub const fn trust(&self) -> Trust<'_> {
        Trust { policy: &self.policy, publishers: &self.publishers, gate: self.gate.as_slice() }
    }

    pub(super) fn tell(&self, notice: &Notice<'_>) {
        (self.on_notice)(notice);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, publishers, .. } = self;
        f.debug_struct("Endpoint")
            .field("policy", policy)
            .field("publishers", publishers)
            .finish_non_exhaustive()
    }
}

impl Freshness {
    /// By the machine's clock. `max_age` is in seconds; `None` allows any age.
    #[must_use]
    pub fn now(max_age: Option<u64>) -> Self {
        Self { now: clock::now(), max_age }
    }
}
