//! `treehead open`: discloses a finding of a review, to everybody or to one party.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::attest::findings;
use super::exit::{CliResult, Failure};
use super::stating::{Stating, proof_path};
use super::{files, output};
use crate::format::quote;
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::release::{Disclosure, Opening};

/// Disclose a finding of a review, to everybody or to one party; the log has who was shown what
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  treehead open scanner-4.2.0.tar.gz.review.tlog-proof --findings findings.txt.openings \\
      --finding 2 --log http://127.0.0.1:8080 --key centre.pem
  treehead open scanner-4.2.0.tar.gz.review.tlog-proof --findings findings.txt.openings \\
      --finding 1 --to 'Ministry of Examples' --give finding-1.openings \\
      --log http://127.0.0.1:8080 --key centre.pem

The first puts the finding and its salt into the log, where everybody reads them, for ever. The
second puts there only that this party was shown the finding; finding-1.openings is for the party,
which checks it with `treehead verify-statement`.")]
pub struct Open {
    /// Proof file of the review
    #[arg(value_name = "REVIEW.tlog-proof")]
    pub review: PathBuf,
    /// What opens the findings, as `treehead attest --findings` wrote it
    #[arg(long, value_name = "FILE.openings")]
    pub findings: PathBuf,
    /// The finding: its number in that file, from 1
    #[arg(long, value_name = "N")]
    pub finding: usize,
    /// The party that alone is shown it [default: everybody]
    #[arg(long, value_name = "NAME", requires = "give")]
    pub to: Option<String>,
    /// With --to: where to write the finding and its salt for the party, mode 600
    #[arg(long, value_name = "FILE", requires = "to")]
    pub give: Option<PathBuf>,
    /// Where to write the proof [default: the review's, with `finding-N.disclosure` before `.tlog-proof`]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub stating: Stating,
}

pub fn run(args: &Open, json: bool) -> CliResult {
    let wrong = |e| Failure::file(&args.review, &e);
    let proof = files::parse(&args.review, "a proof file", MAX_PROOF_FILE_BYTES, ProofFile::parse)?;
    let entry = proof.extra.as_deref().unwrap_or_default();
    let openings = findings::read(&args.findings)?;
    let opening = args.finding.checked_sub(1).and_then(|at| openings.get(at)).ok_or_else(|| {
        let (file, seen, most) = (args.findings.display(), args.finding, openings.len());
        Failure::Usage(format!("--finding: expected a number from 1 to {most}, as in {file}, saw {seen}"))
    })?;
    let mut disclosure = Disclosure::of(proof.index, entry, opening, args.to.as_deref()).map_err(wrong)?;
    let path = args.out.clone().unwrap_or_else(|| {
        let text = args.review.as_os_str().to_string_lossy();
        let base = text.strip_suffix(".tlog-proof").unwrap_or(&text);
        proof_path(base.as_ref(), &format!("finding-{}.disclosure", args.finding))
    });
    let place = args.stating.place(&path)?;
    let ready = args.stating.ready(json)?;
    match &disclosure.log {
        Some(log) if *log != ready.origin => {
            let message = format!(
                "the review is of another log: expected {}, saw {}",
                quote(log),
                quote(&ready.origin)
            );
            return Err(Failure::refused("other-log", message, "Nothing was signed or sent."));
        }
        _ => disclosure.log = Some(ready.origin.clone()),
    }
    let payload = disclosure.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    if let Some(give) = args.give.as_ref().filter(|_| !args.stating.dry_run) {
        let bytes = Opening::to_file(std::slice::from_ref(opening));
        let same =
            give.exists() && files::read(give, "a file of findings", findings::MAX_FINDINGS_BYTES)? == bytes;
        if !same {
            files::create_new(give, &bytes, 0o600)?;
        }
    }
    let (object, mut lines) = ready.state(payload, place)?;
    if let (Some(give), false) = (&args.give, args.stating.dry_run) {
        lines += &format!("for the party  {}\n", give.display());
    }
    output::result(json, &object, &lines)
}
