//! A monitor's settings: its directory and intervals, and for each log its address, keys and rules.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{LogKey, Origin};
use crate::clock::{self, Clock};
use crate::disk::evidence_dir::EvidenceDir;
use crate::disk::{DiskIo, RealDisk};
use crate::endpoint::{MAX_TRUST_BYTES, TrustFile};
use crate::http::publishers_file::PUBLISHERS_FILE;
use crate::http::watched_file::{FileKind, Loss, Update, WatchError, WatchedFile};
use crate::merkle::Hash;
use crate::release::{Profile, Publishers, Purl, PurlPattern, Statement};

static MANIFEST: FileKind<Manifest> = FileKind {
    what: "a manifest of releases",
    limit: MAX_MANIFEST_BYTES,
    parse: Manifest::parse,
    succeed: |base, new| {
        let (before, now, new) = (base.count(), new.count(), Arc::new(new));
        let words = format!("it lists {now} releases, and listed {before} before");
        let lost = (now < before).then_some(Loss { words, all: now == 0 });
        let base = if now == 0 { base.clone() } else { new.clone() };
        Update { current: new, base, lost }
    },
};

/// Settings of a monitor.
pub struct MonitorSettings {
    /// Directory of the state and of the evidence.
    pub dir: PathBuf,
    /// Time from one round to the next, for each log and each peer.
    pub interval: Duration,
    /// Most requests to one log at once.
    pub parallel: usize,
    /// Time limit of one request.
    pub timeout: Duration,
    /// Sent to logs and peers with each request, so that they can reach the operator of the monitor.
    pub contact: Option<String>,
    /// The logs to follow.
    pub logs: Vec<Arc<LogSettings>>,
    /// Monitors and witnesses that are asked for their heads.
    pub peers: Vec<Peer>,
    /// Reverse proxies. The address that one of them names counts as the sender's.
    pub trusted_proxies: Vec<IpAddr>,
    /// The time of day.
    pub clock: Clock,
    /// Makes writes durable.
    pub io: Arc<dyn DiskIo>,
}

impl MonitorSettings {
    /// Settings without logs, with the machine's clock and disk, and a round each minute.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            interval: Duration::from_secs(60),
            parallel: 4,
            timeout: Duration::from_secs(60),
            contact: None,
            logs: Vec::new(),
            peers: Vec::new(),
            trusted_proxies: Vec::new(),
            clock: clock::system(),
            io: Arc::new(RealDisk),
        }
    }

    /// The directory of the evidence.
    pub(super) fn evidence(&self) -> EvidenceDir {
        EvidenceDir::with_io(self.dir.join("evidence"), self.io.clone())
    }
}

/// A monitor or a witness that serves the newest head it knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name in events: `peer NAME` or `witness NAME`.
    pub label: String,
    /// Its URL prefix.
    pub url: String,
    /// Whether the monitor sends its heads to it.
    pub push: bool,
}

/// Settings of one log.
#[derive(Debug)]
pub struct LogSettings {
    /// Its origin.
    pub origin: Origin,
    /// Its keys.
    pub keys: Vec<LogKey>,
    /// Its URL prefix.
    pub url: String,
    /// Witnesses and quorum.
    pub policy: Policy,
    /// Whether its entries are statements.
    pub profile: Profile,
    /// The trusted publishers. Without them, the monitor does not check signatures of statements.
    pub publishers: Option<WatchedFile<Publishers>>,
    /// The releases it should hold.
    pub expect: Option<Expect>,
    /// The statements that somebody wants to be told of.
    pub watches: Vec<Watch>,
    /// The entry to begin with.
    pub start: Start,
    /// How long each condition may last before it is reported.
    pub patience: Patience,
}

impl LogSettings {
    /// Reads the watched files again.
    pub fn reload(&self) {
        if let Some(publishers) = &self.publishers {
            publishers.reload();
        }
        if let Some(expect) = &self.expect {
            expect.file.reload();
        }
    }

    /// The publishers whose statements are believed; none without a publishers file.
    pub(super) fn current_publishers(&self) -> Option<Arc<Publishers>> {
        self.publishers.as_ref().map(WatchedFile::current)
    }

    /// The fault of a watched file that keeps the monitor from judging entries as its settings say.
    pub(super) fn fault(&self) -> Option<String> {
        let publishers = self.publishers.as_ref().and_then(|file| file.fault().or_else(|| file.warning()));
        publishers.or_else(|| self.expect.as_ref().and_then(Expect::fault))
    }
}

/// Told of each window of entries: origin, entries re-hashed, entries in all.
pub type OnProgress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Allowed difference between the clocks of witnesses, publishers and monitors, in seconds, as for endpoints.
pub const CLOCK_ALLOWANCE: u64 = 300;

/// The first entry to read of a log without a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// At its first entry.
    #[default]
    Beginning,
    /// At its present head. The entries below it are never looked at.
    Head,
}

/// How long a condition may last before it is reported, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A log without a larger tree and without a newer cosignature.
    pub stalled: u64,
    /// A witness without a cosignature.
    pub witness_missing: u64,
    /// A log that does not answer.
    pub unreachable: u64,
    /// An expected release that is not in the log.
    pub missing_release: u64,
    /// A head that somebody else was shown and that the log does not show.
    pub head_ahead: u64,
}

impl Default for Patience {
    fn default() -> Self {
        // A log with witnesses has its head cosigned anew every ten minutes.
        Self {
            stalled: 3_600,
            witness_missing: 3_600,
            unreachable: 300,
            missing_release: 3_600,
            head_ahead: 600,
        }
    }
}

/// The manifest of expected releases, and the packages that it covers.
#[derive(Debug)]
pub struct Expect {
    file: WatchedFile<Manifest>,
    /// All packages if empty.
    packages: Vec<PurlPattern>,
}

impl Expect {
    /// Opens the manifest.
    ///
    /// # Errors
    /// [`WatchError`] if it can't be read, or is malformed.
    pub fn open(path: &Path, packages: Vec<PurlPattern>) -> Result<Self, WatchError> {
        Ok(Self { file: WatchedFile::open(path, &MANIFEST)?, packages })
    }

    /// Whether the manifest covers this package.
    pub fn covers(&self, purl: &Purl) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|pattern| pattern.covers(purl))
    }

    /// The manifest, at most a second old.
    pub fn manifest(&self) -> Arc<Manifest> {
        self.file.current()
    }

    /// Why the file can't be read now, if it can't.
    pub fn fault(&self) -> Option<String> {
        self.file.fault()
    }
}

/// Opens the file that says whose statements are believed.
///
/// # Errors
/// [`WatchError`] if it can't be read, or is malformed.
pub fn open_publishers(path: &Path) -> Result<WatchedFile<Publishers>, WatchError> {
    WatchedFile::open(path, &PUBLISHERS_FILE)
}

/// Like [`open_publishers`], for the publishers of a trust file.
///
/// # Errors
/// [`WatchError`] if it can't be read, or is malformed.
pub fn open_trusted_publishers(path: &Path) -> Result<WatchedFile<Publishers>, WatchError> {
    WatchedFile::open(path, &TRUSTED_PUBLISHERS)
}

/// As with a publishers file, a key that is gone counts as revoked until the next start.
static TRUSTED_PUBLISHERS: FileKind<Publishers> = FileKind {
    what: "a trust file",
    limit: MAX_TRUST_BYTES,
    parse: |bytes| TrustFile::parse(bytes).map(|file| file.into_parts().1),
    succeed: PUBLISHERS_FILE.succeed,
};

/// Statements that somebody wants to be told of. Of each list that is not empty, one item has to match.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Its name, which events carry.
    pub name: String,
    /// Packages.
    pub packages: Vec<PurlPattern>,
    /// Names of publishers, or hex keyids if the monitor has no publishers file.
    pub publishers: Vec<String>,
    /// Kinds of statement: `build`, `withdrawal`, ...
    pub kinds: Vec<String>,
    /// Channels of releases.
    pub channels: Vec<String>,
    /// Artifact digests, or roots of manifests.
    pub digests: Vec<Hash>,
}

impl Watch {
    /// Whether a statement by these signers matches.
    #[must_use]
    pub fn covers(&self, statement: &Statement, signers: &[String]) -> bool {
        fn fits<T>(list: &[T], matches: impl FnMut(&T) -> bool) -> bool {
            list.is_empty() || list.iter().any(matches)
        }
        let channel = match statement {
            Statement::Release(release) => Some(release.channel.as_str()),
            _ => None,
        };
        let (kind, purls) = (statement.kind(), statement.purls());
        fits(&self.packages, |pattern| purls.iter().any(|purl| pattern.covers(purl)))
            && fits(&self.publishers, |name| signers.contains(name))
            && fits(&self.kinds, |name| name == kind.as_str() || statement.predicate_type() == Some(name))
            && fits(&self.channels, |name| Some(name.as_str()) == channel)
            && fits(&self.digests, |wanted| statement.digests().any(|digest| digest == *wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_lost_releases_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("expected.jsonl");
        let line = |sequence: u64| {
            format!(
                "{{\"purl\":\"pkg:generic/a@{sequence}\",\"kind\":\"build\",\"channel\":\"c\",\"sequence\":{sequence},\"artifacts\":[{{\"name\":\"x\",\"sha256\":\"{}\"}}]}}\n",
                "0".repeat(64)
            )
        };
        let write = |lines: &str| std::fs::write(&path, lines).unwrap();
        write(&format!("\u{feff}{}{}", line(1).replace('\n', "\r\n"), line(2)));
        let expect = Expect::open(&path, Vec::new()).unwrap();
        assert_eq!((expect.manifest().count(), expect.fault()), (2, None));
        write("");
        for _ in 0..2 {
            expect.file.reload();
            assert!(expect.fault().unwrap().contains("it lists 0 releases, and listed 2 before"));
        }
        write(&line(3));
        expect.file.reload();
        assert_eq!(expect.fault(), None, "an emptied list that is begun again was meant");
        write(&format!("{}{}", line(3), line(4)));
        expect.file.reload();
        assert_eq!((expect.manifest().count(), expect.fault(), expect.file.warning()), (2, None, None));
    }
}
