//! Proof files at hand: beside the artifact, and in folders.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::super::FileError;
use super::super::proven::claims;
use super::Arrival;
use crate::disk::open_plain;
use crate::merkle::Hash;
use crate::proof::MAX_PROOF_BYTES;

/// The proof files that were found for an artifact, most likely first.
#[derive(Debug, Default)]
pub(super) struct AtHand {
    pub proofs: Vec<Vec<u8>>,
    /// The paths that were tried.
    pub tried: Vec<PathBuf>,
    /// A file that is there and could not be read.
    pub unreadable: Option<FileError>,
}

impl AtHand {
    /// Reads the proof files of an artifact: the one that was named, or else those beside it and in the folders, by
    /// digest and by name.
    pub fn find(arrival: &Arrival<'_>, digest: &Hash, folders: &[PathBuf]) -> Self {
        let mut found = Self::default();
        if let Some(proof) = arrival.proof {
            found.read(proof.to_owned());
            if found.proofs.is_empty() && found.unreadable.is_none() {
                found.unreadable = Some(FileError::new("read", proof)(io::ErrorKind::NotFound.into()));
            }
            return found;
        }
        arrival.artifact.file().into_iter().for_each(|file| found.read_both(file));
        // A name of several segments is no file's in a folder.
        let name = arrival.file_name().and_then(|name| Path::new(name).file_name());
        for folder in folders {
            found.read_both(&folder.join(digest.to_hex()));
            name.iter().for_each(|name| found.read_both(&folder.join(name)));
        }
        found
    }

    /// Reads the proof file and the bundle that are named after an artifact.
    fn read_both(&mut self, artifact: &Path) {
        self.read(bundle_path(artifact));
        // One name for each place is enough to say where it was looked for.
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

fn with_ending(artifact: &Path, ending: &str) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Picks the proof to judge an artifact by: of those that claim to be of it, the first that verifies, or else the
/// first. Whoever puts a worthless proof beside an artifact does not hide the good one in a folder.
pub(super) fn choose(
    proofs: Vec<Vec<u8>>,
    digest: &Hash,
    verifies: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let mut proofs: Vec<Vec<u8>> = proofs.into_iter().filter(|proof| claims(proof, digest)).collect();
    let good = if proofs.len() > 1 { proofs.iter().position(|proof| verifies(proof)) } else { None };
    (!proofs.is_empty()).then(|| proofs.swap_remove(good.unwrap_or_default()))
}
