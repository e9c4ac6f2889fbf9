//! `treehead prove --with-attestations`: a release, and what else was stated about its artifacts, under one tree head.

use crate::checkpoint::Checkpoint;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::endpoint::Requirement;
use crate::merkle::{Hash, LeafIndex, prove_inclusion};
use crate::proof::{ProofBundle, ProofFile};
use crate::release::{Release, StatementKind};

/// Makes the bundle of some releases, each with its artifact, under the newest of their heads: with the attestations that
/// the gate asks for, or all of them if there is no gate; and with withdrawals.
pub fn make(
    log: &Connection,
    releases: &[(&ProofFile, &Release, Hash)],
    gate: Option<&[Requirement]>,
) -> Result<ProofBundle, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::CouldNotTell(format!("{} answered with {e}", log.url()));
    let mut newest: Option<(Checkpoint, &ProofFile)> = None;
    for (proof, ..) in releases {
        let head = Checkpoint::parse(proof.checkpoint.text()).map_err(|e| wrong(&e))?;
        if newest.as_ref().is_none_or(|(known, _)| known.size < head.size) {
            newest = Some((head, proof));
        }
    }
    let (head, newest) = newest.expect("at least one release");
    let mut leaves: Vec<(LeafIndex, Vec<u8>)> = Vec::new();
    for (proof, release, digest) in releases {
        leaves.push((proof.index, proof.extra.clone().unwrap_or_default()));
        for leaf in attestations(log, &head, release, digest, gate)? {
            let bytes = log.ask("send an attestation", |client| client.proof_of(&leaf))?;
            let file = ProofFile::parse(&bytes).map_err(|e| wrong(&e))?;
            let entry = file.extra.filter(|entry| Hash::leaf(entry) == leaf);
            let entry = entry.ok_or_else(|| wrong(&"the proof of another entry"))?;
            leaves.push((file.index, entry));
        }
    }
    leaves.sort();
    leaves.dedup();
    // Entries that came under other heads are proven under this one.
    let prove = |(index, entry): (LeafIndex, Vec<u8>)| {
        let leaf = Hash::leaf(&entry);
        let (size, root) = (head.size, &head.root);
        let proof = log.ask("send tiles", |client| prove_inclusion(client, index, &leaf, size, root));
        let proof = proof?.map_err(|e| wrong(&e))?;
        Ok(ProofFile { extra: Some(entry), index, proof, checkpoint: newest.checkpoint.clone() })
    };
    let files = leaves.into_iter().map(prove).collect::<Result<Vec<_>, Failure>>()?;
    ProofBundle::join(&files).map_err(|e| wrong(&e))
}

/// Leaf hashes of the statements about an artifact in this tree that belong into the bundle.
fn attestations(
    log: &Connection,
    head: &Checkpoint,
    release: &Release,
    digest: &Hash,
    gate: Option<&[Requirement]>,
) -> Result<Vec<Hash>, Failure> {
    let (url, hex) = (log.url(), digest.to_hex());
    let terms = [("digest", hex.as_str())];
    let found = log.ask("find attestations", |client| client.search(&terms, None, head.size))?;
    let found = found.ok_or_else(|| {
        Failure::CouldNotTell(format!("{url} has no search: expected a treehead log of releases"))
    })?;
    if !found.is_whole() {
        let count = found.rows.len();
        return Err(Failure::CouldNotTell(format!(
            "{url} has more than {count} statements about the artifact with SHA-256 {hex}: some may be missing, so no bundle was made"
        )));
    }
    let is_release = |kind: &str| StatementKind::RELEASES.iter().any(|release| release.as_str() == kind);
    let is_asked = |kind: &str| {
        let mut asked = gate.into_iter().flatten().filter(|requirement| requirement.is_about(release));
        // A predicate type is also the type of some kinds that have a name.
        let is = |asked: &StatementKind| asked.as_str() == kind || matches!(asked, StatementKind::Other(_));
        gate.is_none() || asked.any(|requirement| is(&requirement.attestation))
    };
    let wanted = found.rows.into_iter().filter(|row| {
        head.size.contains(row.index)
            && row.artifacts.contains(digest)
            && !is_release(&row.kind)
            && (row.kind == StatementKind::Withdrawal.as_str() || is_asked(&row.kind))
    });
    Ok(wanted.map(|row| row.leaf).collect())
}
