//! `--proofs DIR`: a proof file for each of many releases.

use std::path::{Path, PathBuf};

use super::target::{NOT_SENT, warn_of_another_signature};
use crate::checkpoint::LogKey;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::client::{ClientError, check_answer};
use crate::merkle::Hash;
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::signing::Signers;

/// A directory of `<leaf hash>.tlog-proof`: no two releases share a leaf hash, in whatever log, and the same release has
/// the same one whenever it is sent.
pub struct ProofDir<'a> {
    path: PathBuf,
    logs: Option<Vec<LogKey>>,
    signers: &'a Signers,
}

impl<'a> ProofDir<'a> {
    /// Makes the directory if need be, and checks that it is writable.
    pub fn open(path: &Path, logs: Option<Vec<LogKey>>, signers: &'a Signers) -> Result<Self, Failure> {
        std::fs::create_dir_all(path).map_err(|e| Failure::io("create", path, &e).and(NOT_SENT))?;
        files::prepare(&path.join("x.tlog-proof")).map_err(|e| e.and(NOT_SENT))?;
        Ok(Self { path: path.to_owned(), logs, signers })
    }

    /// Fetches the proof of a logged entry, and writes it, unless it is there already.
    pub fn save(&self, log: &Connection, entry: &[u8], leaf: &Hash) -> Result<PathBuf, Failure> {
        let path = self.path.join(format!("{}.tlog-proof", leaf.to_hex()));
        let there = path.exists().then(|| files::read(&path, "a proof file", MAX_PROOF_FILE_BYTES));
        let there = there.and_then(Result::ok).and_then(|bytes| ProofFile::parse(&bytes).ok());
        let proves = |proof: &ProofFile| check_answer(proof, entry, self.logs.as_deref());
        if let Some(proof) = there
            && proves(&proof).is_ok_and(|proven| proven == *leaf)
        {
            warn_of_another_signature(&proof, self.signers.keys());
            return Ok(path);
        }
        let bytes = log.ask("send a proof", |client| client.proof_of(leaf))?;
        let malformed = |source| {
            let url = format!("{}/proof/leaf/{}", log.url(), leaf.to_hex());
            Failure::from(ClientError::Malformed { url, source })
        };
        let proof = ProofFile::parse(&bytes).map_err(malformed)?;
        let proven = proves(&proof)?;
        if proven != *leaf {
            let (expected, seen) = (leaf.to_hex(), proven.to_hex());
            let message =
                format!("the log answered with the proof of another leaf: expected {expected}, saw {seen}");
            return Err(Failure::refused("wrong-entry", message, "Tell the log's operator."));
        }
        warn_of_another_signature(&proof, self.signers.keys());
        files::replace(&path, proof.to_string().as_bytes())?;
        Ok(path)
    }
}
