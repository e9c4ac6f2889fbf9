//! Proofs at hand: beside the artifact, and in folders.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::super::proven::{claims, names};
use super::super::{Artifact, FileError};
use super::Arrival;
use super::content::Content;
use crate::disk::open_plain;
use crate::proof::MAX_PROOF_BYTES;

/// Name of the bundle that proves several files of the folder it lies in.
pub const FOLDER_BUNDLE: &str = "release.tlog-bundle";

/// The proof files and bundles that were found for an artifact, most likely first.
#[derive(Debug, Default)]
pub(super) struct AtHand {
    pub proofs: Vec<Vec<u8>>,
    /// Those that say what is wrong with the artifact if none is of it: they lie beside it or bear its name, or name it.
    pub others: Vec<Vec<u8>>,
    /// The paths that were tried.
    pub tried: Vec<PathBuf>,
    /// A file that is there and could not be read.
    pub unreadable: Option<FileError>,
}

impl AtHand {
    /// Reads the proofs of an artifact: the one that was named, or else those beside it and in the folders, by digest and
    /// by name, and the bundles of the folders.
    pub fn find(arrival: &Arrival<'_>, content: &Content, folders: &[PathBuf]) -> Self {
        let mut found = Self::default();
        if let Some(proof) = arrival.proof {
            found.read(proof.to_owned());
            if found.proofs.is_empty() && found.unreadable.is_none() {
                found.unreadable = Some(FileError::new("read", proof)(io::ErrorKind::NotFound.into()));
            }
            found.others.clone_from(&found.proofs);
            return found;
        }
        let beside = arrival.artifact.proven_file();
        beside.iter().for_each(|file| found.read_both(file));
        // A name of several segments is no file's in a folder.
        let of_folder = beside.as_deref().filter(|_| !matches!(content, Content::File(_)));
        let named = of_folder.or_else(|| arrival.file_name().map(Path::new));
        let name = named.and_then(Path::file_name);
        for folder in folders {
            content.digest().iter().for_each(|digest| found.read_both(&folder.join(digest.to_hex())));
            name.iter().for_each(|name| found.read_both(&folder.join(name)));
        }
        found.others.clone_from(&found.proofs);
        let own = found.proofs.len();
        let beside = beside.iter().map(|file| folder_bundle_path(file));
        for bundle in beside.chain(folders.iter().map(|folder| folder.join(FOLDER_BUNDLE))) {
            found.read(bundle);
            // One name for each place is enough to say where it was looked for.
            found.tried.pop();
        }
        let name = name.and_then(|name| name.to_str());
        let named = found.proofs[own..].iter().filter(|proof| name.is_some_and(|name| names(proof, name)));
        found.others.extend(named.cloned());
        found
    }

    /// Reads the proof file and the bundle that are named after an artifact.
    fn read_both(&mut self, artifact: &Path) {
        self.read(bundle_path(artifact));
        self.tried.pop();
        self.read(proof_path(artifact));
    }

    fn read(&mut self, path: PathBuf) {
        let mut proof = Vec::new();
        // One byte more than allowed, so that the endpoint refuses a file that is too large.
        let limit = MAX_PROOF_BYTES as u64 + 1;
        match open_plain(&path).and_then(|file| file.take(limit).read_to_end(&mut proof)) {
            Ok(_) if self.proofs.contains(&proof) => {}
            Ok(_) => self.proofs.push(proof),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(e) => self.unreadable = self.unreadable.take().or(Some(FileError::new("read", &path)(e))),
        }
        self.tried.push(path);
    }
}

/// The path of an artifact's proof file, `FILE.tlog-proof`.
#[must_use]
pub fn proof_path(artifact: &Path) -> PathBuf {
    with_ending(artifact, ".tlog-proof")
}

/// The path of an artifact's bundle, `FILE.tlog-bundle`.
#[must_use]
pub fn bundle_path(artifact: &Path) -> PathBuf {
    with_ending(artifact, ".tlog-bundle")
}

/// The path of the bundle for all files of an artifact's folder, `release.tlog-bundle`.
#[must_use]
pub fn folder_bundle_path(artifact: &Path) -> PathBuf {
    artifact.with_file_name(FOLDER_BUNDLE)
}

fn with_ending(artifact: &Path, ending: &str) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Picks the proof to judge an artifact by: of those that claim to be of it, the first that verifies, or else the
/// first. Whoever puts a worthless proof beside an artifact does not hide the good one in a folder.
pub(super) fn choose(
    proofs: Vec<Vec<u8>>,
    artifact: Artifact<'_>,
    verifies: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let mut proofs: Vec<Vec<u8>> = proofs.into_iter().filter(|proof| claims(proof, artifact)).collect();
    let good = if proofs.len() > 1 { proofs.iter().position(|proof| verifies(proof)) } else { None };
    (!proofs.is_empty()).then(|| proofs.swap_remove(good.unwrap_or_default()))
}
