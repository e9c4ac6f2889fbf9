//! Writes proofs: to a place that is named; with `--proofs DIR` and `--bundle FILE`, a proof file for each of many releases,
//! and a bundle for all of them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::target::{NOT_SENT, warn_of_another_signature};
use crate::checkpoint::{Checkpoint, LogKey};
use crate::cli::connection::Connection;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files::{self, OutFile, Replacement};
use crate::client::{ClientError, check_answer};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::Note;
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofBundle, ProofFile};
use crate::signing::Signers;

/// Tells whether the file of this name is to be a bundle.
pub fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "tlog-bundle")
}

/// Writes a proof to its place: as a bundle, if the name of the file says so.
pub fn write(proof: &ProofFile, place: Replacement, log: &Connection) -> CliResult {
    let bundle = is_bundle(place.path()).then(|| ProofBundle::join(std::slice::from_ref(proof)));
    let bundle = bundle.transpose().map_err(|e| {
        Failure::CouldNotTell(format!("{} answered with a proof for no bundle: {e}", log.url()))
    })?;
    let text = bundle.map_or_else(|| proof.to_string(), |bundle| bundle.to_string());
    place.finish(text.as_bytes())
}

/// The places of proofs: a directory of `<leaf hash>.tlog-proof`, and a bundle. No two releases share a leaf hash, in
/// whatever log, and the same release has the same one whenever it is sent.
pub struct Proofs<'a> {
    dir: Option<PathBuf>,
    logs: Option<Vec<LogKey>>,
    signers: &'a Signers,
    bundle: Option<(Replacement, Mutex<Proven>)>,
}

/// The entries of a bundle, and the newest head that one of them was proven under.
#[derive(Default)]
struct Proven {
    leaves: Vec<(LeafIndex, Vec<u8>)>,
    head: Option<(TreeSize, Note)>,
}

impl Proven {
    fn add(&mut self, proof: ProofFile) -> Result<(), FormatError> {
        let size = Checkpoint::parse(proof.checkpoint.text())?.size;
        if self.head.as_ref().is_none_or(|(newest, _)| *newest < size) {
            self.head = Some((size, proof.checkpoint));
        }
        self.leaves.push((proof.index, proof.extra.unwrap_or_default()));
        Ok(())
    }
}

impl<'a> Proofs<'a> {
    /// Makes the directory if need be, and checks that it and the bundle's place are writable.
    pub fn open(
        dir: Option<&Path>,
        bundle: Option<&PathBuf>,
        logs: Option<Vec<LogKey>>,
        signers: &'a Signers,
    ) -> Result<Self, Failure> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e).and(NOT_SENT))?;
            files::prepare(&dir.join("x.tlog-proof")).map_err(|e| e.and(NOT_SENT))?;
        }
        let bundle = bundle.map(|path| files::prepare_out(path, OutFile::Proof)).transpose();
        let bundle = bundle.map_err(|e| e.and(NOT_SENT))?.map(|place| (place, Mutex::default()));
        Ok(Self { dir: dir.map(Path::to_owned), logs, signers, bundle })
    }

    /// Gets the proof of a logged entry, and writes its file, if there is a directory, unless it is there already.
    pub fn save(&self, log: &Connection, entry: &[u8], leaf: &Hash) -> Result<Option<PathBuf>, Failure> {
        let path = self.dir.as_ref().map(|dir| dir.join(format!("{}.tlog-proof", leaf.to_hex())));
        let at_hand = path.as_deref().and_then(|path| self.at_hand(path, entry, leaf));
        let proof = if let Some(proof) = at_hand {
            proof
        } else {
            let proof = self.fetch(log, entry, leaf)?;
            path.as_ref().map(|path| files::replace(path, proof.to_string().as_bytes())).transpose()?;
            proof
        };
        warn_of_another_signature(&proof, self.signers.keys());
        if let Some((_, proven)) = &self.bundle {
            proven.lock().expect("senders do not panic").add(proof).map_err(|e| malformed(log, leaf, e))?;
        }
        Ok(path)
    }

    /// The proof file of an earlier run.
    fn at_hand(&self, path: &Path, entry: &[u8], leaf: &Hash) -> Option<ProofFile> {
        let bytes = path.exists().then(|| files::read(path, "a proof file", MAX_PROOF_FILE_BYTES))?.ok()?;
        let proof = ProofFile::parse(&bytes).ok()?;
        let proven = check_answer(&proof, entry, self.logs.as_deref()).ok()?;
        (proven == *leaf).then_some(proof)
    }

    fn fetch(&self, log: &Connection, entry: &[u8], leaf: &Hash) -> Result<ProofFile, Failure> {
        let bytes = log.ask("send a proof", |client| client.proof_of(leaf))?;
        let proof = ProofFile::parse(&bytes).map_err(|e| malformed(log, leaf, e))?;
        let proven = check_answer(&proof, entry, self.logs.as_deref())?;
        if proven != *leaf {
            let (expected, seen) = (leaf.to_hex(), proven.to_hex());
            let message =
                format!("the log answered with the proof of another leaf: expected {expected}, saw {seen}");
            return Err(Failure::refused("wrong-entry", message, "Tell the log's operator."));
        }
        Ok(proof)
    }

    /// Writes the bundle, if there is one, once all releases are in the log and their proofs were saved.
    pub fn write_bundle(self, log: &Connection) -> Result<Option<PathBuf>, Failure> {
        let Some((place, proven)) = self.bundle else { return Ok(None) };
        let Proven { leaves, head } = proven.into_inner().expect("senders do not panic");
        let Some((_, head)) = head else { return Ok(None) };
        let bundle = log.ask("send tiles", |client| client.bundle(&head, leaves))?;
        let path = place.path().to_owned();
        place.finish(bundle.to_string().as_bytes())?;
        Ok(Some(path))
    }
}

fn malformed(log: &Connection, leaf: &Hash, source: FormatError) -> Failure {
    let url = format!("{}/proof/leaf/{}", log.url(), leaf.to_hex());
    ClientError::Malformed { url, source }.into()
}
