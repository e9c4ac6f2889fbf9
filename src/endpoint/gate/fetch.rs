//! Proof files that logs are asked for, by the artifact's digest.

use std::time::Duration;

use super::super::{Endpoint, PackagePin};
use super::NoProof;
use crate::client::{ClientError, FoundRow, LogClient};
use crate::merkle::{Hash, TreeSize};
use crate::release::StatementKind;

/// Time limit of one request: an installer waits for the answer, and so may its user.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries at a busy log.
const TRIES: u32 = 3;
/// Most proofs that are fetched for one artifact: several releases may have it.
const MOST: usize = 4;

/// The logs to ask, and the sizes of their trees.
pub(super) struct Fetcher {
    logs: Vec<Log>,
}

struct Log {
    address: String,
    client: Result<(LogClient, TreeSize), ClientError>,
}

impl Fetcher {
    /// Asks the log at `address`, or each log of the policy at its address, for its newest head.
    pub fn new(endpoint: &Endpoint, address: Option<&str>) -> Self {
        let policy = endpoint.trust().policy;
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
        Self { logs: addresses.into_iter().map(log).collect() }
    }

    /// The proof files of releases with this artifact, likeliest first: of the package that is wanted, not withdrawn,
    /// newest. At least one.
    pub fn proofs(&self, digest: &Hash, wanted: Option<&PackagePin>) -> Result<Vec<Vec<u8>>, NoProof> {
        if self.logs.is_empty() {
            return Err(NoProof::NoAddress);
        }
        let mut failed = None;
        for log in &self.logs {
            match log.proofs(digest, wanted) {
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
    fn proofs(&self, digest: &Hash, wanted: Option<&PackagePin>) -> Result<Vec<Vec<u8>>, NoProof> {
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
        rows.iter().map(|row| client.proof_of(&row.leaf).map_err(NoProof::NotFetched)).collect()
    }
}
