//! `treehead prove`

use serde::Deserialize;
use serde_json::json;

use super::args::Prove;
use super::connection::Connection;
use super::exit::{CliResult, Failure};
use super::{files, output, publish};
use crate::client::ClientError;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::proof_file::ProofFile;
use crate::release::{Envelope, Release};

/// Largest page of search results for one digest.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Page {
    releases: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    leaf_hash: String,
}

pub fn run(args: &Prove, json: bool) -> CliResult {
    let log = Connection::open(&args.log, args.patience, output::say)?;
    let digest = files::hash_artifact(&args.file)?;
    let malformed = |source| ClientError::Malformed { url: log.url().to_owned(), source };
    let search = format!("releases?limit=1&digest={}", digest.to_hex());
    let page = log.ask("find the release", |client| client.get(&search, MAX_PAGE_BYTES))?;
    let page: Page = serde_json::from_slice(&page)
        .map_err(|e| malformed(FormatError::malformed("a search result", "JSON", e.to_string())))?;
    let Some(row) = page.releases.first() else {
        let message = format!("no release in {} has an artifact with SHA-256 {}", log.url(), digest.to_hex());
        return Err(Failure::refused("not-logged", message, "Do not install it, unless another log has it."));
    };
    let leaf = Hash::from_hex(&row.leaf_hash).map_err(malformed)?;
    let proof = log.ask("send the proof", |client| client.proof_of(&leaf))?;
    let proof = ProofFile::parse(&proof).map_err(malformed)?;
    let entry = proof.extra.clone().unwrap_or_default();
    publish::check(&proof, &entry, None)?;
    let release = Envelope::parse_entry(&entry).and_then(|envelope| Release::parse(envelope.payload()));
    let release = release.map_err(malformed)?;
    if !release.subjects.iter().any(|subject| subject.sha256 == digest) {
        let message = format!(
            "the log's proof is of {}, which has no artifact with SHA-256 {}",
            release.purl,
            digest.to_hex()
        );
        return Err(Failure::refused("wrong-entry", message, "Tell the log's operator."));
    }
    let out = args.out.clone().unwrap_or_else(|| files::proof_path(&args.file));
    files::replace(&out, proof.to_string().as_bytes())?;
    output::result(
        json,
        &json!({ "ok": true, "purl": release.purl.as_str(), "index": proof.index.get(), "proof": out.display().to_string() }),
        &format!(
            "{} is leaf {} of the log\nproof  {}\nCheck it with `treehead verify`: this was only fetched.\n",
            release.purl,
            proof.index,
            out.display()
        ),
    )
}
