//! `treehead attest`: states something about artifacts.

pub mod args;
pub mod document;
pub mod findings;

use serde_json::Value;

use super::exit::{CliResult, Failure};
use super::output;
use super::publish::artifact::Artifact;
use super::stating::{Ready, proof_path};
use super::{files, publish};
use crate::format::FormatError;
use crate::rebuild::rebuilt_artifact;
use crate::release::{
    MAX_ENTRY_BYTES, MAX_SUBJECTS, Reference, Resource, Source, Statement, StatementKind, Subject,
};
use args::Attest;

pub fn run(args: &Attest, json: bool) -> CliResult {
    check(args)?;
    let artifacts = Artifact::all(&args.files)?;
    let subjects = subjects(args, &artifacts)?;
    let name = match &args.kind {
        StatementKind::Other(_) => "attestation",
        kind => kind.as_str(),
    };
    let first = artifacts.first().map(|artifact| proof_path(&artifact.path, name));
    let path = args.out.clone().or(first).expect("clap requires one");
    let place = args.stating.place(&path)?;
    // Before the log is asked: it says what is wrong with the predicate.
    let predicate = match args.kind {
        StatementKind::Sbom | StatementKind::Vex => None,
        _ => Some(predicate(args)?),
    };
    let ready = args.stating.ready(json)?;
    let usage = |e: FormatError| Failure::file(&args.predicate, &e).and(publish::target::NOT_SENT);
    let payload = match predicate {
        None => document(args, &ready, &subjects)?,
        Some(mut predicate) => {
            if args.kind == StatementKind::Review {
                review(args, &ready, &mut predicate)?;
            }
            check_rebuilt(args, &predicate, &subjects)?;
            let of = predicate_type(&args.kind, &predicate);
            Statement::attestation(&of, predicate.to_string().as_bytes(), &subjects).map_err(usage)?
        }
    };
    // The wrong type would need another right than the one that was meant.
    let stated = Statement::parse(&payload).map_err(usage)?;
    if !stated.is_of(&args.kind) {
        return Err(Failure::Usage(format!(
            "{}: expected {}, saw {}",
            args.predicate.display(),
            args.kind,
            stated.kind()
        )));
    }
    let (object, lines) = ready.state(payload, place)?;
    output::result(json, &object, &lines)
}

/// Refuses options that do not go with the type.
fn check(args: &Attest) -> CliResult {
    let by_digest = matches!(args.kind, StatementKind::Sbom | StatementKind::Vex);
    let review = args.kind == StatementKind::Review;
    for (given, fits, option, of) in [
        (args.location.is_some(), by_digest, "--location", "sbom or vex"),
        (args.media_type.is_some(), by_digest, "--media-type", "sbom or vex"),
        (args.attester.is_some(), by_digest, "--attester", "sbom or vex"),
        (args.report.is_some(), review, "--report", "review"),
        (args.findings.is_some(), review, "--findings", "review"),
    ] {
        if given && !fits {
            return Err(Failure::Usage(format!("{option}: expected --type {of}, saw {}", args.kind)));
        }
    }
    Ok(())
}

fn subjects(args: &Attest, artifacts: &[Artifact]) -> Result<Vec<Resource>, Failure> {
    let uri = args.purl.as_ref().map(|purl| purl.as_str().to_owned());
    let mut subjects = Vec::new();
    for artifact in artifacts {
        let Subject { name, sha256 } = artifact.subject()?;
        let digests = vec![("sha256".to_owned(), sha256.to_hex())];
        subjects.push(Resource { name: Some(name), uri: uri.clone(), digests });
    }
    for source in &args.sources {
        let Source { uri, digest } =
            Source::parse(source).map_err(|e| Failure::Usage(format!("--source: {e}")))?;
        subjects.push(Resource { name: None, uri: Some(uri), digests: vec![digest] });
    }
    crate::format::cap_count("a statement", "subjects", subjects.len(), MAX_SUBJECTS)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(subjects)
}

fn predicate(args: &Attest) -> Result<Value, Failure> {
    let bytes = files::read(&args.predicate, "a predicate", MAX_ENTRY_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::Usage(format!("{}: expected a predicate in JSON, saw {e}", args.predicate.display()))
    })
}

/// Refuses a summary by `treehead rebuild-check` of another artifact than those that are stated to be its subjects.
fn check_rebuilt(args: &Attest, predicate: &Value, subjects: &[Resource]) -> CliResult {
    let Some(compared) = rebuilt_artifact(predicate) else { return Ok(()) };
    if subjects.iter().any(|subject| subject.sha256() == Some(compared)) {
        return Ok(());
    }
    let (file, hex) = (args.predicate.display(), compared.to_hex());
    let message = format!(
        "{file} is about another artifact: expected the one with SHA-256 {hex} among the files; of a folder it is that of its manifest file"
    );
    Err(Failure::refused("other-artifact", message, "Nothing was signed or sent."))
}

/// The predicate type that a kind stands for. Provenance tells its version by its fields.
pub fn predicate_type(kind: &StatementKind, predicate: &Value) -> String {
    match kind {
        StatementKind::Provenance if predicate.get("buildDefinition").is_some() => {
            "https://slsa.dev/provenance/v1"
        }
        StatementKind::Provenance if predicate.get("builder").is_some() => "https://slsa.dev/provenance/v0.2",
        StatementKind::Provenance => "https://slsa.dev/provenance/v1",
        StatementKind::VerificationSummary => "https://slsa.dev/verification_summary/v1",
        StatementKind::Review => "urn:treehead:review:v1",
        StatementKind::TestResult => "https://in-toto.io/attestation/test-result/v0.1",
        other => other.as_str(),
    }
    .to_owned()
}

/// States a document by its digest.
fn document(args: &Attest, ready: &Ready<'_>, subjects: &[Resource]) -> Result<Vec<u8>, Failure> {
    let sha256 = files::hash_artifact(&args.predicate)?;
    let media_type = match &args.media_type {
        Some(media_type) => media_type.clone(),
        None => document::media_type(&args.predicate)?,
    };
    let attester = args.attester.clone().unwrap_or_else(|| ready.key_uri());
    let location = args.location.clone().unwrap_or_else(|| document::name_by_digest(&sha256));
    let (attester, location, media_type) = (&attester, &location, &media_type);
    Reference { subjects, attester, sha256, location, media_type }
        .to_payload()
        .map_err(|e| Failure::Usage(e.to_string()))
}

/// Adds what the command knows: log, package, report, commitments.
fn review(args: &Attest, ready: &Ready<'_>, predicate: &mut Value) -> CliResult {
    let Some(fields) = predicate.as_object_mut() else {
        return Err(Failure::Usage(format!("{}: expected an object", args.predicate.display())));
    };
    fields.insert("log".to_owned(), ready.origin.as_str().into());
    if let Some(purl) = &args.purl {
        fields.insert("purl".to_owned(), purl.as_str().into());
    }
    if let Some(report) = &args.report {
        let sha256 = files::hash_artifact(report)?.to_hex();
        let entry = fields.entry("report").or_insert_with(|| serde_json::json!({}));
        if let Some(object) = entry.as_object_mut() {
            object.insert("digest".to_owned(), serde_json::json!({ "sha256": sha256 }));
        }
    }
    if let Some(path) = &args.findings {
        let openings = findings::openings(path, args.stating.dry_run)?;
        let commitments: Vec<String> = openings.iter().map(|o| o.commitment().to_hex()).collect();
        fields.insert("commitments".to_owned(), commitments.into());
    }
    Ok(())
}
