//! `treehead import`: carries statements that were signed for Sigstore into a log.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};

use super::exit::{self, CliResult, Failure};
use super::stating::{Stating, proof_path};
use super::{files, output};
use crate::release::read_bundles;

/// Largest file of bundles.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// Carry statements from Sigstore bundles, as GitHub and npm publish them, into a log
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gh attestation download scanner-4.2.0.tar.gz --repo example/scanner
  treehead import sha256:<hex>.jsonl --log http://127.0.0.1:8080 --key importer.pem
  treehead import attestations.json --log http://127.0.0.1:8080 --key importer.pem

The log knows neither the keys of Sigstore nor the authority that certifies them. So the publisher
whose key is given signs a statement that it found the bundle; envelope and certificate are inside,
as evidence. Nobody checks them, and everything that shows the statement says so. It needs the
right `imported`. Each bundle gets a proof file FILE.imported-N.tlog-proof.")]
pub struct Import {
    /// A bundle, bundles one a line, or a list of attestations from npm's registry or GitHub's API
    #[arg(value_name = "BUNDLE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub stating: Stating,
}

pub fn run(args: &Import, json: bool) -> CliResult {
    let bytes = files::read(&args.file, "a file of Sigstore bundles", MAX_FILE_BYTES)?;
    let bundles = read_bundles(&bytes).map_err(|e| Failure::file(&args.file, &e))?;
    let count = bundles.len();
    let places = (1..=count).map(|number| {
        let kind = if count == 1 { "imported".to_owned() } else { format!("imported-{number}") };
        args.stating.place(&proof_path(&args.file, &kind))
    });
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let ready = args.stating.ready(json)?;
    let mut failures = Vec::new();
    for (at, (bundle, place)) in bundles.into_iter().zip(places).enumerate() {
        let number = at + 1;
        let done = bundle
            .and_then(|bundle| bundle.import(Some(&ready.origin)))
            .and_then(|imported| Ok((imported.to_payload()?, imported)))
            .map_err(|e| Failure::refused("not-imported", format!("bundle {number}: {e}"), ""));
        let done = done.and_then(|(payload, imported)| {
            let (mut object, mut lines) = ready.state(payload, place)?;
            object["bundle"] = number.into();
            object["carries"] = imported.predicate_type.as_str().into();
            object["envelope"] = imported.envelope.is_some().into();
            if imported.envelope.is_none() {
                lines += "the envelope does not fit into an entry: the statement has its digest\n";
            }
            output::result(json, &object, &lines)
        });
        if let Err(failure) = done {
            let about: Map<String, Value> = [("bundle".to_owned(), json!(number))].into_iter().collect();
            exit::tell(&failure, json, about);
            failures.push(failure);
        }
    }
    Failure::worst(failures.iter())
}
