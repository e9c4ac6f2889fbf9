//! The result as a SLSA verification summary: <https://slsa.dev/verification_summary/v1>.
//!
//! ```text
//! {"policy":{"digest":{"sha256":"<hex>"},"uri":"..."},   the list of allowed differences
//!  "resourceUri":"pkg:...@1.2.3","timeVerified":"2026-01-31T12:00:00Z",
//!  "urn:treehead:rebuild:v1":{
//!   "allowed":[{"bytes":4,"reason":"...","rule":1}, ...],   rules that were needed, from 1
//!   "artifact":{"bytes":1204224,"sha256":"<hex>"},          with "files" for a folder, whose digest is its manifest file's
//!   "differences":{"files":1,"first":{"offset":4660}},      of FAILED; with "file" in a folder
//!   "rebuilt":{"bytes":1195008,"sha256":"<hex>"}},
//!  "verificationResult":"PASSED","verifiedLevels":["REBUILT_WITH_ALLOWED_DIFFERENCES"],
//!  "verifier":{"id":"https://...","version":{"treehead":"0.1.0"}}}
//! ```

use serde_json::{Map, Value, json};

use super::allow::AllowList;
use super::compare::{Comparison, Seen, Tally};
use crate::format::hex_decode;
use crate::merkle::Hash;
use crate::release::{Timestamp, VerificationResult, format_time};

/// The field with the result in detail. Producers of summaries "MAY add extension fields using field names that are URIs".
pub const REBUILD_FIELD: &str = "urn:treehead:rebuild:v1";
/// The policy that allows no difference.
pub const POLICY_IDENTICAL: &str = "urn:treehead:rebuild:identical:v1";
/// The level of an artifact that is the same in every bit.
pub const LEVEL_IDENTICAL: &str = "REBUILT_IDENTICAL";
/// The level of an artifact that is the same but for what the list allows.
pub const LEVEL_ALLOWED: &str = "REBUILT_WITH_ALLOWED_DIFFERENCES";
/// The specification's level of what did not meet the policy.
const LEVEL_FAILED: &str = "FAILED";

/// The facts that a summary states beside the result.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// URI of whoever compared: `verifier.id`.
    pub verifier: &'a str,
    /// URI of what was rebuilt, such as a purl with a version: `resourceUri`.
    pub resource: &'a str,
    /// URI of the list of allowed differences: `policy.uri`.
    pub policy: &'a str,
    /// The time of the comparison.
    pub time: Timestamp,
}

impl Comparison {
    /// Makes the predicate of a verification summary.
    #[must_use]
    pub fn predicate(&self, allow: &AllowList, about: &About<'_>) -> Value {
        let (result, level) = match (self.matches(), self.is_identical()) {
            (false, _) => (VerificationResult::Failed, LEVEL_FAILED),
            (true, true) => (VerificationResult::Passed, LEVEL_IDENTICAL),
            (true, false) => (VerificationResult::Passed, LEVEL_ALLOWED),
        };
        let allowed = self.allowed.iter().map(
            |allowed| json!({ "rule": allowed.rule + 1, "reason": allowed.reason, "bytes": allowed.bytes }),
        );
        let mut details = json!({
            "artifact": tally(&self.artifact), "rebuilt": tally(&self.rebuilt), "allowed": allowed.collect::<Vec<_>>(),
        });
        if let Some(first) = self.differences.first() {
            let mut place = Map::new();
            place.extend(first.file.as_ref().map(|file| ("file".to_owned(), file.as_str().into())));
            match &first.seen {
                Seen::Content { first, .. } => place.insert("offset".to_owned(), first.artifact.into()),
                Seen::OnlyIn(side) => place.insert("only_in".to_owned(), side.as_str().into()),
            };
            details["differences"] = json!({ "files": self.differences.len(), "first": place });
        }
        json!({
            "verifier": { "id": about.verifier, "version": { "treehead": env!("CARGO_PKG_VERSION") } },
            "timeVerified": format_time(about.time),
            "resourceUri": about.resource,
            "policy": { "uri": about.policy, "digest": { "sha256": allow.sha256().to_hex() } },
            "verificationResult": result.as_str(),
            "verifiedLevels": [level],
            REBUILD_FIELD: details,
        })
    }
}

fn tally(tally: &Tally) -> Value {
    let mut object = json!({ "sha256": tally.sha256.to_hex(), "bytes": tally.bytes });
    if let Some(files) = tally.files {
        object["files"] = files.into();
    }
    object
}

/// The digest of the artifact that a predicate of [`Comparison::predicate`] is about; `None` for other predicates.
#[must_use]
pub fn rebuilt_artifact(predicate: &Value) -> Option<Hash> {
    let sha256 = predicate.get(REBUILD_FIELD)?.get("artifact")?.get("sha256")?.as_str()?;
    hex_decode(sha256).map(Hash::from_bytes)
}
