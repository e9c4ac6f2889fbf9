//! `treehead verify-statement`: verifies the proof file of any statement, and what belongs to it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::attest::findings;
use super::exit::{CliResult, Failure};
use super::trusting::Trusting;
use super::{files, output};
use crate::endpoint::{LoggedStatement, Trust, logged_statement};
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::release::{Disclosure, Statement};

/// Check offline who stated what: an attestation, a review, a disclosure, a withdrawal
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  treehead verify-statement scanner-4.2.0.tar.gz.sbom.tlog-proof --policy endpoint.policy \\
      --file scanner-4.2.0.tar.gz --body scanner.spdx.json
  treehead verify-statement finding-1.disclosure.tlog-proof --policy endpoint.policy \\
      --review scanner-4.2.0.tar.gz.review.tlog-proof --opening finding-1.openings

It says that the statement is in the log, under a quorum of witnesses, by publishers with the right
to make it. What it says is for you to judge: `treehead verify` decides about releases.")]
pub struct VerifyStatement {
    /// Proof file of the statement
    #[arg(value_name = "PROOF")]
    pub proof: PathBuf,
    #[command(flatten)]
    pub trusting: Trusting,
    /// Folder of an endpoint's state: a trust file that it learned counts if it is as new as that of --trust
    #[arg(long, value_name = "DIR", requires = "trust")]
    pub state: Option<PathBuf>,
    /// An artifact that the statement has to be about; repeat for more
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A document that the statement has to have the digest of: a list of components, a report; repeat for more
    #[arg(long = "body", value_name = "FILE")]
    pub bodies: Vec<PathBuf>,
    /// Proof file of the review that a disclosure belongs to
    #[arg(long, value_name = "PROOF")]
    pub review: Option<PathBuf>,
    /// What a party got that alone was shown a finding: it has to open the commitment of the disclosure
    #[arg(long, value_name = "FILE")]
    pub opening: Option<PathBuf>,
}

pub fn run(args: &VerifyStatement, json: bool) -> CliResult {
    let (policy, publishers) = args.trusting.files(args.state.as_deref())?;
    let trust = Trust { policy: &policy, publishers: &publishers, gate: &[] };
    let (read, _) = logged(&args.proof, trust)?;
    let stated = read.verified.statement();
    for file in &args.files {
        let digest = files::hash_artifact(file)?;
        if !stated.digests().any(|subject| subject == digest) {
            let message = format!(
                "the statement is not about {}: expected a subject {}",
                file.display(),
                digest.to_hex()
            );
            return Err(Failure::refused("other-artifact", message, ""));
        }
    }
    for body in &args.bodies {
        check_body(stated, body)?;
    }
    let mut told = String::new();
    if let Some(review) = &args.review {
        let disclosure = as_disclosure(stated, "--review")?;
        let (of, entry) = logged(review, trust)?;
        let other = |why: String| Failure::refused("other-review", why, "");
        if of.index != disclosure.index {
            let why = format!(
                "the disclosure is of another review: expected leaf {}, saw {}",
                disclosure.index, of.index
            );
            return Err(other(why));
        }
        disclosure.check_review(&entry).map_err(|e| other(e.to_string()))?;
        let reviewers = of.verified.publishers();
        let _ = writeln!(
            told,
            "the commitment is one of the review at leaf {}, by {}",
            of.index,
            reviewers.join(" and ")
        );
    }
    if let Some(path) = &args.opening {
        let disclosure = as_disclosure(stated, "--opening")?;
        let opened = findings::read(path)?.into_iter().find(|it| it.commitment() == disclosure.commitment);
        let opened = opened.ok_or_else(|| {
            let (path, commitment) = (path.display(), disclosure.commitment.to_hex());
            Failure::refused("other-finding", format!("{path} does not open the commitment {commitment}"), "")
        })?;
        let _ = writeln!(told, "the finding opens the commitment:");
        opened.finding().lines().for_each(|line| told += &format!("          {line}\n"));
    }
    let LoggedStatement { origin, index, leaf, verified } = &read;
    let (mut object, mut lines) = output::description(stated.describe());
    let by = verified.publishers();
    let _ = writeln!(lines, "by        {}", by.join(" and "));
    let _ = writeln!(lines, "at        leaf {index} of {origin}, hash {}", leaf.to_hex());
    lines += &told;
    object["ok"] = true.into();
    object["publishers"] = by.to_vec().into();
    object["index"] = index.get().into();
    object["leaf_hash"] = leaf.to_hex().into();
    object["origin"] = origin.as_str().into();
    output::result(json, &object, &lines)
}

/// A statement whose proof verifies, and its entry.
fn logged(path: &Path, trust: Trust<'_>) -> Result<(LoggedStatement, Vec<u8>), Failure> {
    let bytes = files::read(path, "a proof file", MAX_PROOF_FILE_BYTES)?;
    let read =
        logged_statement(&bytes, trust).map_err(|e| Failure::from(e).of(&path.display().to_string()))?;
    let entry = ProofFile::parse(&bytes).ok().and_then(|proof| proof.extra).unwrap_or_default();
    Ok((read, entry))
}

/// Checks that a statement has the digest of a document.
fn check_body(stated: &Statement, body: &Path) -> CliResult {
    let digest = files::hash_artifact(body)?;
    if stated.has_document(&digest) {
        return Ok(());
    }
    let message =
        format!("{} is no document of the statement: its digest is {}", body.display(), digest.to_hex());
    Err(Failure::refused("other-document", message, ""))
}

fn as_disclosure<'a>(stated: &'a Statement, option: &str) -> Result<&'a Disclosure, Failure> {
    match stated {
        Statement::Disclosure(disclosure) => Ok(disclosure),
        other => Err(Failure::Usage(format!(
            "{option}: expected the proof of a disclosure, saw one of {}",
            other.kind()
        ))),
    }
}
