//! What a monitor is told of a log: where it is, whom to trust, what to expect.

use std::path::Path;
use std::sync::Arc;

use super::expect::{MAX_MANIFEST_BYTES, Manifest};
use super::watch::Watch;
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{LogKey, Origin};
use crate::http::publishers_file::PUBLISHERS_FILE;
use crate::http::watched_file::{FileKind, Loss, Update, WatchError, WatchedFile};
use crate::release::{Profile, Publishers, PurlPattern};

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

/// Where to begin with a log of which nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// At its first entry.
    #[default]
    Beginning,
    /// At its head: entries below are never looked at.
    Head,
}

/// How long something may last before somebody is told, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A log without a new head and without a newer cosignature.
    pub stalled: u64,
    /// A witness without a cosignature.
    pub witness_missing: u64,
    /// A log that does not answer.
    pub unreachable: u64,
    /// An expected release that is not in the log.
    pub missing_release: u64,
    /// A head that somebody else was shown and the log does not show.
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

/// A manifest of expected releases, and the packages that it is about.
#[derive(Debug)]
pub struct Expect {
    file: WatchedFile<Manifest>,
    /// All packages, where none is named.
    packages: Vec<PurlPattern>,
}

impl Expect {
    /// Opens the manifest.
    ///
    /// # Errors
    /// `WatchError` where it can't be read, or is malformed.
    pub fn open(path: &Path, packages: Vec<PurlPattern>) -> Result<Self, WatchError> {
        Ok(Self { file: WatchedFile::open(path, &MANIFEST)?, packages })
    }

    /// Whether the manifest speaks of this package.
    pub fn covers(&self, purl: &crate::release::Purl) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|pattern| pattern.covers(purl))
    }

    /// The manifest, at most a second old.
    pub fn manifest(&self) -> Arc<Manifest> {
        self.file.current()
    }

    /// Why the file can't be read now, if so.
    pub fn fault(&self) -> Option<String> {
        self.file.fault()
    }
}

/// Opens the file that says whose statements are believed.
///
/// # Errors
/// `WatchError` where it can't be read, or is malformed.
pub fn open_publishers(path: &Path) -> Result<WatchedFile<Publishers>, WatchError> {
    WatchedFile::open(path, &PUBLISHERS_FILE)
}

/// What a monitor is told of a log.
#[derive(Debug)]
pub struct Rules {
    /// Its identity.
    pub origin: Origin,
    /// Its keys.
    pub keys: Vec<LogKey>,
    /// Where it is read.
    pub url: String,
    /// Witnesses and quorum.
    pub policy: Policy,
    /// Whether its entries are statements.
    pub profile: Profile,
    /// Whose statements are believed. Without it, signatures are not checked.
    pub publishers: Option<WatchedFile<Publishers>>,
    /// What it should have.
    pub expect: Option<Expect>,
    /// What somebody wants to be told of.
    pub watches: Vec<Watch>,
    /// Where to begin.
    pub start: Start,
    /// When to tell of what lasts.
    pub patience: Patience,
}

impl Rules {
    /// Reads the files that are watched now.
    pub fn reload(&self) {
        if let Some(publishers) = &self.publishers {
            publishers.reload();
        }
        if let Some(expect) = &self.expect {
            expect.file.reload();
        }
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
        assert_eq!(expect.fault(), None, "who begins a new list means it");
        write(&format!("{}{}", line(3), line(4)));
        expect.file.reload();
        assert_eq!((expect.manifest().count(), expect.fault(), expect.file.warning()), (2, None, None));
    }
}
