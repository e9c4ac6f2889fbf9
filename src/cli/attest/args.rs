//! The arguments of `treehead attest`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use crate::cli::stating::Stating;
use crate::cli::values::parse_purl;
use crate::release::{Purl, StatementKind};

/// State something about artifacts: how they were built, what a review or test found, what is in them
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("about").required(true).multiple(true).args(["files", "sources"]))]
#[command(after_help = "\
Examples:
  treehead attest scanner-4.2.0.tar.gz --type provenance --predicate provenance.json \\
      --purl pkg:generic/example/scanner@4.2.0 --log http://127.0.0.1:8080 --key builder.pem
  treehead attest scanner-4.2.0.tar.gz --type sbom --predicate scanner.spdx.json \\
      --location https://example.com/scanner.spdx.json --log http://127.0.0.1:8080 --key vendor.pem
  treehead attest scanner-4.2.0.tar.gz --source git+https://example.com/scanner@gitCommit:<hex> \\
      --type review --predicate review.json --report report.pdf --findings findings.txt \\
      --log http://127.0.0.1:8080 --key centre.pem

The first writes scanner-4.2.0.tar.gz.provenance.tlog-proof. The second states the digest of the
list of components, wherever that lies. The third keeps each finding, a paragraph of findings.txt,
out of the log, which gets a commitment to it; `treehead open` discloses one. What opens them all is
written to findings.txt.openings, mode 600: keep it, and keep it secret. docs/statements.md says
what each predicate has.")]
pub struct Attest {
    /// Artifacts that it is about; NAME=FILE gives a name other than the file's own
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A source that it is about, as in `git+https://example.com/scanner@gitCommit:<hex>`; repeat for more
    #[arg(long = "source", value_name = "URI@DIGEST")]
    pub sources: Vec<String>,
    /// What it states: provenance, verification-summary, review, sbom, vex, test-result, or the URI of a
    /// predicate type
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    pub kind: StatementKind,
    /// The predicate in JSON; for `sbom` and `vex` the document itself, which is stated by its digest
    #[arg(long, value_name = "FILE")]
    pub predicate: PathBuf,
    /// Package and version that it is about
    #[arg(long, value_parser = parse_purl)]
    pub purl: Option<Purl>,
    /// With `sbom` and `vex`: URI at which the document lies [default: `ni:///sha-256;...`, which names it by
    /// its digest]
    #[arg(long, value_name = "URI")]
    pub location: Option<String>,
    /// With `sbom` and `vex`: media type of the document [default: found out from the document]
    #[arg(long, value_name = "TYPE")]
    pub media_type: Option<String>,
    /// With `sbom` and `vex`: URI of whoever states it [default: one that names the key]
    #[arg(long, value_name = "URI")]
    pub attester: Option<String>,
    /// With `review`: the report, of which the digest is stated
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// With `review`: findings that stay secret, a paragraph each; the log gets a commitment to each
    #[arg(long, value_name = "FILE")]
    pub findings: Option<PathBuf>,
    /// Where to write the proof [default: FILE.TYPE.tlog-proof beside the first FILE]
    #[arg(long, value_name = "FILE", required_unless_present = "files")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub stating: Stating,
}

/// Parses a type that this command can make.
fn parse_type(text: &str) -> Result<StatementKind, String> {
    use StatementKind as Kind;
    let kind = StatementKind::parse_right(text);
    kind.filter(|kind| !matches!(kind, Kind::Release(_) | Kind::Disclosure | Kind::Imported)).ok_or_else(|| {
        "expected provenance, verification-summary, review, sbom, vex, test-result, or the URI of a predicate type; `treehead publish` makes releases, `open` disclosures, `import` imported statements".to_owned()
    })
}
