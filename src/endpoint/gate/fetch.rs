//! Proof files and bundles that logs are asked for, by the artifact's digest.

use std::time::Duration;

use super::super::{Endpoint, PackagePin, Requirement, Trust};
use super::NoProof;
use crate::client::{BundleError, ClientError, FoundRow, LogClient, ReleaseProof};
use crate::merkle::{Hash, TreeSize};
use crate::proof::ProofFile;
use crate::release::{Envelope, Release, StatementKind};

/// Time limit of one request: an installer waits for the answer, and so may its user.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries at a busy log.
const TRIES: u32 = 3;
/// Most proofs that are fetched for one artifact: several releases may have it.
const MOST: usize = 4;

/// The logs to ask, and the attestations to fetch with a release.
pub(super) struct Fetcher<'a> {
    logs: Vec<Log>,
    gate: &'a [Requirement],
}

/// A log, and the size of its tree.
struct Log {
    address: String,
    client: Result<(LogClient, TreeSize), ClientError>,
}

impl<'a> Fetcher<'a> {
    /// Asks the log at `address`, or each log of the policy at its address, for its newest head.
    pub fn new(endpoint: &'a Endpoint, address: Option<&str>) -> Self {
        let Trust { policy, gate, .. } = endpoint.trust();
        let mut addresses: Vec<&str> = match address {
            Some(address) => vec![address],
            None => policy.logs().iter().filter_map(|log| log.url.as_deref()).collect(),
        };
        addresses.dedup();
        let open = |address: &str| {
            let client = LogClient::builder().timeout(TIMEOUT).tries(TRIES).build(address)?;
            // Search results must be for a tree of at least this size: caches keep old ones.
            let head = client.checkpoint(&policy.log_keys())?;
            Ok((client, head.get().size))
        };
        let log = |address: &str| Log { address: address.to_owned(), client: open(address) };
        Self { logs: addresses.into_iter().map(log).collect(), gate }
    }

    /// The proofs of releases with this artifact, likeliest first: of the package that is wanted, not withdrawn, newest. At
    /// least one. Of a release that needs attestations, the proof is a bundle.
    pub fn proofs(&self, digest: &Hash, wanted: Option<&PackagePin>) -> Result<Vec<Vec<u8>>, NoProof> {
        if self.logs.is_empty() {
            return Err(NoProof::NoAddress);
        }
        let mut failed = None;
        for log in &self.logs {
            match log.proofs(digest, wanted, self.gate) {
                Ok(proofs) if proofs.is_empty() => {}
                Ok(proofs) => return Ok(proofs),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let addresses = self.logs.iter().map(|log| log.address.clone());
        Err(failed.unwrap_or_else(|| NoProof::NotLogged { digest: *digest, asked: addresses.collect() }))
    }
}

impl Log {
    fn proofs(
        &self,
        digest: &Hash,
        wanted: Option<&PackagePin>,
        gate: &[Requirement],
    ) -> Result<Vec<Vec<u8>>, NoProof> {
        let (client, tree) = self.client.as_ref().map_err(|e| NoProof::NotFetched(e.clone()))?;
        let mut rows = Vec::new();
        for kind in StatementKind::RELEASES {
            let terms = [("digest", &*digest.to_hex()), ("kind", kind.as_str())];
            let found = client.search(&terms, None, *tree).map_err(NoProof::NotFetched)?;
            let found = found.ok_or_else(|| NoProof::NoSearch { address: self.address.clone() })?;
            rows.extend(found.rows.into_iter().filter(|row| row.artifacts.contains(digest)));
        }
        let is_wanted =
            |row: &FoundRow| wanted.is_none_or(|wanted| row.purl().is_some_and(|purl| wanted.covers(&purl)));
        rows.sort_by_key(|row| (!is_wanted(row), row.is_withdrawn, std::cmp::Reverse(row.index)));
        rows.truncate(MOST);
        rows.iter().map(|row| with_attestations(client, row, digest, gate)).collect()
    }
}

/// The proof file of a release, or a bundle with the attestations that the gate asks for.
fn with_attestations(
    client: &LogClient,
    row: &FoundRow,
    digest: &Hash,
    gate: &[Requirement],
) -> Result<Vec<u8>, NoProof> {
    let bytes = client.proof_of(&row.leaf).map_err(NoProof::NotFetched)?;
    // A proof of something else stays as it is: the verdict says what is wrong with it.
    let Some((proof, release)) = release_of(&bytes) else { return Ok(bytes) };
    if !gate.iter().any(|requirement| requirement.is_about(&release)) {
        return Ok(bytes);
    }
    let release = ReleaseProof { proof: &proof, release: &release, digest: *digest };
    let bundle = client.bundle_with_attestations(&[release], Some(gate));
    Ok(bundle.map_err(NoProof::from)?.to_string().into_bytes())
}

fn release_of(proof: &[u8]) -> Option<(ProofFile, Release)> {
    let file = ProofFile::parse(proof).ok()?;
    let envelope = Envelope::parse_entry(file.extra.as_deref()?).ok()?;
    Release::parse(envelope.payload()).ok().map(|release| (file, release))
}

impl From<BundleError> for NoProof {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Client(error) => Self::NotFetched(error),
            BundleError::NoSearch { url } => Self::NoSearch { address: url },
            other => Self::NoBundle(other),
        }
    }
}
