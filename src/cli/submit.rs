//! `treehead submit`: appends what was signed elsewhere.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;

use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile};
use super::output::{self, say};
use super::publish::{NOT_SENT, target, warn_of_another_signature, warning_line, warning_object};
use super::signers;
use super::trusting::TrustedHeads;
use super::values::parse_scheme;
use crate::client::{Appended, Wait, check_answer};
use crate::format::shown;
use crate::merkle::Hash;
use crate::release::{
    Envelope, KeyFamily, MAX_SUBMISSION_BYTES, PublicKey, Statement, SubmittedEnvelope, check_log,
};
use crate::signing::{MAX_SIGNATURE_BYTES, SignError, describe_wrong};

/// Append a statement that was signed elsewhere
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  treehead submit statement.json --signature statement.sig --public-key key.pub \\
      --log https://log.example.com --out scanner-4.2.0.tar.gz.tlog-proof
  treehead submit provenance.dsse.json --log https://log.example.com

The first puts the signature and the statement that `treehead statement` wrote into one envelope.
The second sends an envelope that another tool made (DSSE, around any in-toto statement), as it was
signed. If you run either again, it adds nothing.")]
pub struct Submit {
    /// A statement with --signature, or else a signed DSSE envelope
    #[arg(value_name = "STATEMENT|ENVELOPE")]
    pub file: PathBuf,
    /// Signature of the statement's .pae file, as the tool wrote it: bytes, not base64. Repeatable
    #[arg(long = "signature", value_name = "FILE", requires = "public_keys")]
    pub signatures: Vec<PathBuf>,
    /// Public key of each --signature, in the same order; of an envelope, keys that must have signed it
    #[arg(long = "public-key", value_name = "FILE")]
    pub public_keys: Vec<PathBuf>,
    /// Scheme of the RSA keys among --public-key that don't name one [default: rsa-pkcs1-sha256]
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, requires = "public_keys")]
    pub scheme: Option<KeyFamily>,
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// Origin of the log that is meant: send to no other one, whatever answers at --log
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Where to write the proof [default: the file's name with .tlog-proof]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// State to wait for; a proof file needs `published` or `witnessed` [default: published]
    #[arg(long, value_enum, hide_possible_values = false)]
    pub wait: Option<Wait>,
    #[command(flatten)]
    pub patience: Patience,
}

/// The envelope to send, in any form, and its payload.
struct Submission {
    body: Vec<u8>,
    payload: Vec<u8>,
}

pub fn run(args: &Submit, json: bool) -> CliResult {
    let wait = args.wait.unwrap_or_default();
    let out = match (&args.out, wait) {
        (Some(_), Wait::Sequenced) => return Err(Failure::no_proof_yet("--out")),
        (None, Wait::Sequenced) => None,
        (Some(out), _) => Some(out.clone()),
        (None, _) => Some(files::proof_path(&args.file)),
    };
    let bytes = files::read(&args.file, "a statement or an envelope", MAX_SUBMISSION_BYTES)?;
    let keys = args
        .public_keys
        .iter()
        .map(|path| signers::public_key(path, args.scheme))
        .collect::<Result<Vec<_>, _>>()?;
    let submission = if args.signatures.is_empty() {
        envelope(&args.file, bytes, &args.public_keys, &keys)?
    } else {
        statement(args, bytes, &keys)?
    };
    let place = out.as_ref().map(|out| files::prepare_out(out, OutFile::Proof)).transpose();
    let place = place.map_err(|e| e.and(NOT_SENT))?;
    let log = Connection::open(&args.log, args.patience, say)?;
    let (logs, origin) = target(&args.trusted, args.origin.as_deref(), &log, json)?;
    // The log has the last word on what it knows; what it would certainly refuse is not sent.
    if let Ok(statement) = Statement::parse(&submission.payload) {
        check_log(&statement, &origin)
            .map_err(|e| Failure::refused("other-log", e.to_string(), "Nothing was sent."))?;
    }
    let appended = log.ask("publish the statement", |client| client.append(&submission.body, wait));
    let appended = appended.map_err(Failure::append)?;
    let saved = place.map_or(Ok(()), |place| {
        // The same statement sent again is the same leaf; this time the answer is its proof.
        let proof = log
            .ask("send the proof", |client| client.add(&submission.body, wait))
            .map_err(Failure::append)?;
        check_answer(&proof, &comparable(submission.payload)?, logs.as_deref())?;
        warn_of_another_signature(&proof, &keys);
        place.finish(proof.to_string().as_bytes())
    });
    let written = out.filter(|_| saved.is_ok());
    report(&origin, &appended, wait, written.as_deref(), json)?;
    saved.map_err(|e| {
        e.and(&format!(
            "the statement is still in the log, as leaf {}: run the same command again, which adds nothing",
            appended.index
        ))
    })
}

/// Puts signatures on a statement.
fn statement(args: &Submit, payload: Vec<u8>, keys: &[PublicKey]) -> Result<Submission, Failure> {
    let paths = &args.signatures;
    if paths.len() != keys.len() {
        return Err(Failure::Usage(format!(
            "expected one --public-key for each --signature, in the same order, saw {} --signature and {} --public-key",
            paths.len(),
            keys.len()
        )));
    }
    let message = Envelope::message_of(&payload);
    let mut signatures = Vec::with_capacity(keys.len());
    for (path, key) in paths.iter().zip(keys) {
        let signature = files::read(path, "a signature", MAX_SIGNATURE_BYTES)?;
        if !key.verifies(&message, &signature) {
            let seen = if key.verifies(&payload, &signature) {
                "one of the statement itself: sign the file that ends in .pae".to_owned()
            } else {
                describe_wrong(&signature)
            };
            let (signer, keyid) = (path.display().to_string(), key.keyid().to_hex());
            return Err(SignError::WrongSignature { signer, keyid, seen }.into());
        }
        signatures.push((key.keyid(), signature));
    }
    let envelope = Envelope::assemble(payload, signatures).map_err(|e| Failure::file(&args.file, &e))?;
    let payload = envelope.payload().to_vec();
    Ok(Submission { body: envelope.into_entry(), payload })
}

/// Reads an envelope that another tool made, and checks that the given keys signed it.
fn envelope(
    path: &Path,
    body: Vec<u8>,
    paths: &[PathBuf],
    keys: &[PublicKey],
) -> Result<Submission, Failure> {
    let envelope = SubmittedEnvelope::parse(&body).map_err(|e| {
        let failure = Failure::file(path, &e);
        if Statement::parse(&body).is_ok() {
            failure.and("a statement needs --signature and --public-key")
        } else {
            failure
        }
    })?;
    let message = envelope.signed_message();
    for (path, key) in paths.iter().zip(keys) {
        if !envelope.signatures().iter().any(|signature| key.verifies(&message, &signature.sig)) {
            let message = format!(
                "expected a signature by key {} ({}), saw none",
                key.keyid().to_hex(),
                path.display()
            );
            return Err(Failure::refused("signer-signature", message, "Nothing was sent."));
        }
    }
    Ok(Submission { payload: envelope.payload().to_vec(), body })
}

/// An entry with this payload, to compare the log's with: the signatures that the log keeps are its own choice.
fn comparable(payload: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let nobody = vec![(Hash::digest(b""), vec![0])];
    Envelope::assemble(payload, nobody).map(Envelope::into_entry).map_err(|e| Failure::Usage(e.to_string()))
}

fn report(origin: &str, appended: &Appended, wait: Wait, proof: Option<&Path>, json: bool) -> CliResult {
    let Appended { index, duplicate, leaf_hash, highest, warnings } = appended;
    let proof = proof.map(|path| path.display().to_string());
    let state = if wait == Wait::Sequenced { ", durable and not published yet" } else { "" };
    let mut lines = format!("leaf {index} of {}{state}\n", shown(origin));
    if *duplicate {
        lines += "the log already had it; nothing was added\n";
    }
    if let Some(proof) = &proof {
        lines += &format!("proof  {proof}\n");
    }
    if !json {
        warnings.iter().for_each(|warning| say(&warning_line(warning)));
    }
    let object = json!({
        "ok": true, "log": origin, "index": index.get(), "leaf_hash": leaf_hash.to_hex(), "duplicate": duplicate,
        "highest": highest, "proof": proof, "warnings": warnings.iter().map(warning_object).collect::<Vec<_>>(),
    });
    output::result(json, &object, &lines)
}
