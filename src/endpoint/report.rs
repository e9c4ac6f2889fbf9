//! Verdicts as JSON, the same for the command line, C and JavaScript.

use alloc::vec::Vec;

use serde_json::{Value, json};

use super::VerifiedRelease;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Policy, WitnessedBy};
use crate::proof::fork::ProvenFork;
use crate::release::format_time;

impl VerifiedRelease {
    /// The verdict: docs/endpoints.md lists the members.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (release, head) = (self.release(), self.head());
        let names: Vec<&str> = self.artifacts().iter().map(|artifact| artifact.name.as_str()).collect();
        json!({
            "ok": true, "code": "verified", "name": names[0], "names": names,
            "digest": self.artifacts()[0].sha256.to_hex(), "purl": release.purl.as_str(),
            "kind": release.kind.as_str(), "channel": release.channel, "sequence": release.sequence,
            "audience": release.audience, "source": release.source_json(), "publisher": self.publisher(),
            "origin": head.get().origin.as_str(), "index": self.index().get(),
            "leaf_hash": self.leaf().to_hex(), "tree_size": head.get().size.get(),
            "witnesses": witnesses_json(head.cosignatures()),
        })
    }
}

/// A proven fork, with the witnesses of the policy that cosigned each head.
#[must_use]
pub fn fork_json(fork: &ProvenFork, policy: &Policy) -> Value {
    let [smaller, larger] = fork.heads().map(|head| {
        let Checkpoint { size, root, .. } = head.get();
        let witnesses = witnesses_json(&policy.witnesses_of(head));
        json!({ "size": size.get(), "root": root.to_base64(), "witnesses": witnesses })
    });
    json!({
        "ok": true, "code": "forked", "origin": fork.origin().as_str(), "file_name": fork.file_name(),
        "smaller": smaller, "larger": larger, "other_root_at_smaller_size": fork.other_root().to_base64(),
    })
}

/// Cosignatures, in the order of the policy.
#[must_use]
pub fn witnesses_json(cosignatures: &[WitnessedBy]) -> Vec<Value> {
    let object = |by: &WitnessedBy| json!({ "name": by.witness, "cosigner": by.cosigner, "time": format_time(by.time) });
    cosignatures.iter().map(object).collect()
}
