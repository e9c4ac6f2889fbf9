//! Reads the artifacts of `treehead verify`: files, digests and standard input.

use std::io;
use std::path::Path;

use super::args::Verify;
use crate::cli::exit::Failure;
use crate::cli::{files, output};
use crate::endpoint::hash_reader;
use crate::merkle::Hash;
use crate::proof::MAX_PROOF_BYTES;

/// An artifact that the user named.
pub struct Asked {
    /// For people.
    pub title: String,
    /// The file as it was named, if there is one.
    pub file: Option<String>,
    /// The artifact, or why it could not be read.
    pub read: Result<Artifact, Failure>,
}

/// An artifact and its proof file, neither of them believed yet.
pub struct Artifact {
    /// Path of its file, if it has one.
    pub name: Option<String>,
    pub digest: Hash,
    pub proof: Vec<u8>,
}

/// Reads all of them in order: files, then digests.
pub fn read(args: &Verify) -> Result<Vec<Asked>, Failure> {
    let is_stdin = |path: &&std::path::PathBuf| path.as_os_str() == "-";
    let piped = args.files.iter().filter(is_stdin).count();
    if piped > 1 {
        return Err(Failure::Usage(
            "standard input can be read only once: expected one `-`, saw several".to_owned(),
        ));
    }
    if piped > 0 && args.proof.is_none() {
        return Err(Failure::Usage(
            "standard input has no proof file beside it: name one with --proof FILE".to_owned(),
        ));
    }
    let count = args.files.len() + args.sha256.len();
    if args.name.is_some() && count > 1 {
        return Err(Failure::Usage(format!("--name is for one artifact: expected one, saw {count}")));
    }
    let of_file = |path: &std::path::PathBuf| Asked {
        title: output::path(path),
        file: Some(path.to_string_lossy().into_owned()),
        read: if is_stdin(&path) { from_stdin(args) } else { from_file(path, args) },
    };
    let of_digest = |digest: &Hash| Asked {
        title: format!("SHA-256 {}", digest.to_hex()),
        file: None,
        read: with_proof(args.proof.as_deref(), Path::new(""), None, *digest),
    };
    Ok(args.files.iter().map(of_file).chain(args.sha256.iter().map(of_digest)).collect())
}

fn from_file(path: &Path, args: &Verify) -> Result<Artifact, Failure> {
    let digest = files::hash_artifact(path)?;
    // A name that is no text is no subject's.
    with_proof(args.proof.as_deref(), path, path.to_str(), digest)
}

fn from_stdin(args: &Verify) -> Result<Artifact, Failure> {
    let hashed = hash_reader(&mut io::stdin().lock());
    let (digest, _) = hashed.map_err(|e| Failure::io("read", Path::new("standard input"), &e))?;
    with_proof(args.proof.as_deref(), Path::new(""), None, digest)
}

/// Reads the proof file of an artifact, by default the one beside it.
pub fn with_proof(
    proof: Option<&Path>,
    artifact: &Path,
    name: Option<&str>,
    digest: Hash,
) -> Result<Artifact, Failure> {
    let proof = proof.map_or_else(|| files::proof_beside(artifact), Path::to_owned);
    // One byte more than allowed, so that the endpoint refuses a file that is too large.
    let proof = files::read_up_to(&proof, MAX_PROOF_BYTES + 1)?;
    Ok(Artifact { name: name.map(ToOwned::to_owned), digest, proof })
}
