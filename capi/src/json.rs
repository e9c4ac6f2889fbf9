//! Verdicts as JSON, with the members of `treehead verify --json`.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::policy::Cosigned;
use treehead::endpoint::{VerdictCode, VerifiedRelease};
use treehead::format::to_json;
use treehead::merkle::Hash;
use treehead::release::format_time;

use crate::verdict::{No, Outcome};

#[derive(Serialize)]
struct Accepted<'a> {
    ok: bool,
    code: &'static str,
    number: u32,
    message: String,
    name: &'a str,
    names: Vec<&'a str>,
    digest: String,
    purl: &'a str,
    kind: &'static str,
    channel: &'a str,
    sequence: u64,
    audience: Option<&'a str>,
    source: Option<Source<'a>>,
    publisher: &'a str,
    signers: &'a [String],
    origin: &'a str,
    index: u64,
    leaf_hash: String,
    tree_size: u64,
    root: String,
    witnesses: Vec<Witness<'a>>,
    withdrawals: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_tree_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_witnesses: Option<Vec<Witness<'a>>>,
}

#[derive(Serialize)]
struct Source<'a> {
    uri: &'a str,
    digest: alloc::collections::BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Witness<'a> {
    name: &'a str,
    cosigner: &'a str,
    time: String,
}

#[derive(Serialize)]
struct Refused {
    ok: bool,
    code: &'static str,
    number: u32,
    message: String,
    advice: String,
    expected: String,
    seen: String,
    digest: String,
}

/// The verdict about the file with this digest.
pub(crate) fn verdict(outcome: &Outcome, digest: &[u8; 32]) -> String {
    match &outcome.result {
        Ok(verified) => accepted(verified, outcome),
        Err(no) => refused(no, digest),
    }
}

fn witnesses(head: &Cosigned<Checkpoint>) -> Vec<Witness<'_>> {
    let witness = head.cosignatures().iter();
    witness
        .map(|by| Witness { name: &by.witness, cosigner: &by.cosigner, time: format_time(by.time) })
        .collect()
}

fn accepted(verified: &VerifiedRelease, outcome: &Outcome) -> String {
    let latest = outcome.latest.as_ref();
    let (release, head) = (verified.release(), verified.head());
    let names: Vec<&str> = verified.artifacts().iter().map(|artifact| artifact.name.as_str()).collect();
    let source = release.source.as_ref().map(|source| Source {
        uri: &source.uri,
        digest: [(source.digest.0.as_str(), source.digest.1.as_str())].into(),
    });
    to_json(&Accepted {
        ok: true,
        code: "verified",
        number: 0,
        message: alloc::format!("{} by {}", release.purl, verified.publisher()),
        name: names.first().copied().unwrap_or_default(),
        digest: verified.artifacts().first().map(|artifact| artifact.sha256.to_hex()).unwrap_or_default(),
        names,
        purl: release.purl.as_str(),
        kind: release.kind.as_str(),
        channel: &release.channel,
        sequence: release.sequence,
        audience: release.audience.as_deref(),
        source,
        publisher: verified.publisher(),
        signers: verified.signers(),
        origin: head.get().origin.as_str(),
        index: verified.index().get(),
        leaf_hash: verified.leaf().to_hex(),
        tree_size: head.get().size.get(),
        root: head.get().root.to_base64(),
        witnesses: witnesses(head),
        withdrawals: if outcome.asked_for_withdrawals { "learnt" } else { "not-asked" },
        latest_tree_size: latest.map(|latest| latest.get().size.get()),
        latest_witnesses: latest.map(witnesses),
    })
}

fn refused(no: &No, digest: &[u8; 32]) -> String {
    let [message, expected, seen, advice] = no.words();
    let number = no.reason();
    let code = VerdictCode::ALL.into_iter().find(|code| u32::from(code.number()) == number);
    to_json(&Refused {
        ok: false,
        code: code.unwrap_or(VerdictCode::CouldNotTell).as_str(),
        number,
        message,
        advice,
        expected,
        seen,
        digest: Hash::from_bytes(*digest).to_hex(),
    })
}
