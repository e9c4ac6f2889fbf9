//! Decisions of a gate, and their reasons.

use std::path::PathBuf;

use super::super::{Accepted, ArtifactError, CheckError, FileError, FolderDifferences, FolderError, Stated};
use super::TemplateError;
use crate::client::{BundleError, ClientError};
use crate::format::FormatError;
use crate::merkle::Hash;

/// The decision about an artifact.
#[derive(Debug)]
pub struct Ruled {
    /// Its SHA-256, of a folder that of its manifest, unless it could not be read or a rule skips it.
    pub digest: Option<Hash>,
    /// The decision.
    pub ruling: Ruling,
}

/// A decision.
#[derive(Debug)]
pub enum Ruling {
    /// It may be installed: its release is proven.
    Proven(Box<Accepted>),
    /// It may be installed: a rule skips it.
    Skipped,
    /// It may be installed, though it is not proven: a rule says so.
    Warned(NoProof),
    /// It may not be installed.
    Stopped(Box<Stop>),
}

/// The reason that an artifact may not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// It could not be hashed.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A manifest, or a proof of files, could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A manifest, or a proof of files, is malformed.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FormatError,
    },
    /// A folder can't be compared with its release.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its release is proven, and the folder has other files.
    #[error("{}", differences.in_words(dir, *files))]
    Differs {
        /// The folder.
        dir: PathBuf,
        /// The number of files that it must have.
        files: usize,
        /// Its other files.
        differences: FolderDifferences,
    },
    /// The rule can't be applied.
    #[error(transparent)]
    Rule(#[from] TemplateError),
    /// It has no proof, and the rule requires one.
    #[error(transparent)]
    NoProof(#[from] NoProof),
    /// Its proof does not verify, or not for the release that the rule wants.
    #[error("{error}")]
    Refused {
        /// The verdict.
        error: CheckError,
        /// The release that the proof is of, as far as it could be told.
        stated: Option<Box<Stated>>,
    },
}

/// The reason that there is no proof.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NoProof {
    /// No proof file is at hand, and no log is asked.
    #[error("it has no proof file: expected one of {}", in_words(tried))]
    NotAtHand {
        /// The paths that were tried.
        tried: Vec<PathBuf>,
    },
    /// No log has a release with this artifact.
    #[error("no release in {} has an artifact with SHA-256 {}", asked.join(" or "), digest.to_hex())]
    NotLogged {
        /// The artifact.
        digest: Hash,
        /// The addresses of the logs.
        asked: Vec<String>,
    },
    /// A proof file could not be read.
    #[error(transparent)]
    Unreadable(FileError),
    /// A log could not be asked.
    #[error(transparent)]
    NotFetched(ClientError),
    /// A log has no search.
    #[error("{address} has no search: expected a treehead log of releases")]
    NoSearch {
        /// The log's address.
        address: String,
    },
    /// A log has the release, but its attestations could not be gathered.
    #[error(transparent)]
    NoBundle(BundleError),
    /// The policy has no address of a log.
    #[error("the policy has no address of a log")]
    NoAddress,
}

impl NoProof {
    /// Returns true if it is known that there is none, and false if the gate could not tell.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        matches!(self, Self::NotAtHand { .. } | Self::NotLogged { .. })
    }

    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAtHand { .. } => "no-proof",
            Self::NotLogged { .. } => "not-logged",
            _ => "could-not-tell",
        }
    }
}

fn in_words(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if names.is_empty() { "a file beside it or in a folder".to_owned() } else { names.join(", ") }
}
