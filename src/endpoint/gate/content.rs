//! Reads the artifacts of a gate: files, and folders whose files are released by a manifest.

use std::path::{Path, PathBuf};

use super::super::{Artifact, FileError, compare_files, compare_folder, hash_artifacts, manifest_path};
use super::{Arrival, Arrived, Stop};
use crate::disk::open_plain;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::proof::{FILES_EXTENSION, FilesProof, MAX_FILES_PROOF_BYTES};
use crate::release::{FileManifest, MANIFEST_EXTENSION, MAX_MANIFEST_BYTES, ManifestRef};

/// The content of an arrival, read.
pub(super) enum Content {
    /// A file.
    File(Hash),
    /// A folder that must have exactly the files of a manifest.
    Folder(PathBuf, FileManifest, ManifestRef, Hash),
    /// Files of a folder that a proof covers.
    Files(PathBuf, FilesProof),
}

impl Content {
    /// The SHA-256 of the artifact that a log knows the release by. Some files of a manifest have none.
    pub const fn digest(&self) -> Option<&Hash> {
        match self {
            Self::File(digest) | Self::Folder(.., digest) => Some(digest),
            Self::Files(..) => None,
        }
    }

    /// The artifacts to ask the endpoint about, at least one; all of them have to pass.
    pub fn artifacts<'a>(&'a self, name: Option<&'a str>) -> Vec<Artifact<'a>> {
        match self {
            Self::File(digest) => vec![Artifact::File { digest, name }],
            Self::Folder(_, _, reference, digest) => vec![Artifact::Manifest(reference, digest)],
            Self::Files(_, proof) => {
                proof.parts().map(|(files, part)| Artifact::Files(files, part)).collect()
            }
        }
    }

    /// Compares a folder with its release, which was verified.
    pub fn compare(&self) -> Result<(), Box<Stop>> {
        let (dir, files, differences) = match self {
            Self::File(_) => return Ok(()),
            Self::Folder(dir, manifest, ..) => {
                (dir, manifest.files().len(), compare_folder(dir, manifest).map_err(stop)?)
            }
            Self::Files(dir, proof) => {
                (dir, proof.files().len(), compare_files(dir, proof.files()).map_err(stop)?)
            }
        };
        if differences.is_empty() {
            return Ok(());
        }
        Err(Box::new(Stop::Differs { dir: dir.clone(), files, differences }))
    }
}

fn stop<E: Into<Stop>>(error: E) -> Box<Stop> {
    Box::new(error.into())
}

/// Reads the contents of arrivals, in order. Files are hashed as many at once as there are processors.
pub(super) fn read_all(arrivals: &[&Arrival<'_>]) -> Vec<Result<Content, Box<Stop>>> {
    let to_hash = |arrival: &&&Arrival<'_>| match arrival.artifact {
        Arrived::File(file) if !file.is_dir() => Some(file.to_owned()),
        _ => None,
    };
    let files: Vec<PathBuf> = arrivals.iter().filter_map(|arrival| to_hash(&arrival)).collect();
    let mut hashed = hash_artifacts(&files).into_iter();
    let read = arrivals.iter().map(|arrival| {
        if to_hash(&arrival).is_some() {
            let digest = hashed.next().unwrap_or_else(|| unreachable!("one for each file"));
            return digest.map(Content::File).map_err(stop);
        }
        read_one(arrival.artifact)
    });
    read.collect()
}

fn read_one(arrived: Arrived<'_>) -> Result<Content, Box<Stop>> {
    match arrived {
        Arrived::Digest(digest, _) => Ok(Content::File(digest)),
        Arrived::File(dir) => read_folder(dir, &manifest_path(dir).map_err(stop)?),
        Arrived::Folder { dir, manifest } => read_folder(dir, manifest),
        Arrived::Files { dir, proof } => {
            Ok(Content::Files(dir.to_owned(), parse(proof, MAX_FILES_PROOF_BYTES, FilesProof::parse)?))
        }
    }
}

fn read_folder(dir: &Path, manifest: &Path) -> Result<Content, Box<Stop>> {
    let manifest = parse(manifest, MAX_MANIFEST_BYTES, FileManifest::parse)?;
    let (reference, digest) = (manifest.reference(), manifest.digest());
    Ok(Content::Folder(dir.to_owned(), manifest, reference, digest))
}

fn parse<T>(
    path: &Path,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, Box<Stop>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser refuses a file that is too large.
    let read = open_plain(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(FileError::new("read", path)).map_err(stop)?;
    parse(&bytes).map_err(|source| Box::new(Stop::Malformed { path: path.to_owned(), source }))
}

impl<'a> Arrived<'a> {
    /// The file, or the folder.
    #[must_use]
    pub const fn path(self) -> Option<&'a Path> {
        match self {
            Self::File(path) | Self::Folder { dir: path, .. } | Self::Files { dir: path, .. } => Some(path),
            Self::Digest(_, file) => file,
        }
    }

    /// The artifact that a proof file lies beside. Of some files of a manifest, it is the manifest.
    pub(super) fn proven_file(self) -> Option<PathBuf> {
        match self {
            Self::File(dir) if dir.is_dir() => manifest_path(dir).ok(),
            Self::Folder { manifest, .. } => Some(manifest.to_owned()),
            Self::Files { proof, .. } => {
                let name = proof.file_name()?.to_str()?.strip_suffix(FILES_EXTENSION)?;
                Some(proof.with_file_name(format!("{name}{MANIFEST_EXTENSION}")))
            }
            file => file.path().map(Path::to_owned),
        }
    }
}
