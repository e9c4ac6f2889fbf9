//! What `treehead publish` takes.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use super::sequence::{self, Sequence};
use crate::cli::args::{WaitArg, parse_kind, parse_purl};
use crate::cli::connection::Patience;
use crate::release::{Kind, Purl};

#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("what").required(true).args(["files", "from"]))]
pub struct Publish {
    /// Artifacts of one release; NAME=FILE gives a name other than the file's own
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Many releases, one JSON object a line
    #[arg(long, value_name = "RELEASES.jsonl", conflicts_with_all = ["files", "kind", "purl", "channel", "sequence", "source", "audience", "out"])]
    pub from: Option<PathBuf>,
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    /// Publisher's secret key (PKCS#8 PEM, mode 600)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Kind of release
    #[arg(long, value_parser = parse_kind, value_name = "build|update|detection-rules", required_unless_present = "from")]
    pub kind: Option<Kind>,
    /// Package and version, as in pkg:generic/example/scanner@4.2.0
    #[arg(long, value_parser = parse_purl, required_unless_present = "from")]
    pub purl: Option<Purl>,
    /// Who gets it, by track, as in stable
    #[arg(long, required_unless_present = "from")]
    pub channel: Option<String>,
    /// Counter that only grows for this package and channel: a number; `auto` for the number after the log's
    /// highest, whose release this key must have signed; `time` for the time in UTC, as in 20261128103001
    #[arg(long, value_name = "N|auto|time", value_parser = sequence::parse, required_unless_present = "from")]
    pub sequence: Option<Sequence>,
    /// What it was built from, as in `git+https://example.com/scanner@gitCommit:<hex>`
    #[arg(long, value_name = "URI@DIGEST")]
    pub source: Option<String>,
    /// Who the release is for, if it is not for everyone
    #[arg(long)]
    pub audience: Option<String>,
    /// Check the log's key against this policy before sending anything, and each proof before writing it
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Origin of the log that is meant: sign for no other one, whatever answers at --log
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Where to write the proof: a file, or a directory, which gets NAME.tlog-proof for each artifact
    /// [default: FILE.tlog-proof beside each FILE]
    #[arg(long, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// With --from: directory for the proof of each release, created if missing; files are named by leaf hash
    #[arg(long, value_name = "DIR", requires = "from", conflicts_with = "files")]
    pub proofs: Option<PathBuf>,
    /// Sign and send nothing: show the statement and the highest sequence number, and check that the number follows
    /// it. Whether this key may publish, is revoked, or gets a warning, only the log says when you publish
    #[arg(long, conflicts_with = "from")]
    pub dry_run: bool,
    /// State to wait for; proof files need `published` or `witnessed` [default: published]
    #[arg(long, value_enum, hide_possible_values = false)]
    pub wait: Option<WaitArg>,
    #[command(flatten)]
    pub patience: Patience,
}
