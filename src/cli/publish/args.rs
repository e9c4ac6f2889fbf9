//! The arguments of `treehead publish`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use crate::cli::connection::Patience;
use crate::cli::signers::SignerArgs;
use crate::cli::trusting::TrustedHeads;
use crate::cli::values::{parse_kind, parse_purl};
use crate::client::{Numbering, Wait};
use crate::release::{Kind, Purl};

/// Sign releases and append them to a log
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("what").required(true).args(["files", "from"]))]
#[command(after_help = "\
Examples:
  treehead publish scanner-4.2.0.tar.gz --log http://127.0.0.1:8080 --key publisher.pem \\
      --kind build --purl pkg:generic/example/scanner@4.2.0 --channel stable --sequence 42
  treehead publish linux-scanner=linux/scanner mac-scanner=mac/scanner --out proofs/ ...
  treehead publish scanner-4.2.1.tar.gz ... --sequence auto --dry-run
  treehead publish rules/ --manifest --kind detection-rules ...
  treehead publish --from releases.jsonl --log http://127.0.0.1:8080 --key publisher.pem \\
      --proofs proofs

The first writes scanner-4.2.0.tar.gz.tlog-proof: ship it beside the artifact. The second gives
names to two files that are both called scanner, and also writes proofs/release.tlog-bundle, which
proves both. If a file's own name has a =, write ./a=b. The
third shows the statement it would sign, with the number after the log's highest. The fourth is a
release of all files in a folder: it writes rules.manifest, and publishes that.

The last publishes one release per line, as in
  {\"purl\":\"pkg:generic/example/scanner@4.2.0\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":42,
   \"artifacts\":[{\"name\":\"scanner-4.2.0.tar.gz\",\"sha256\":\"<64 hex digits>\"}]}
It logs the releases of one package and channel in the order of their lines, and writes each proof
to proofs/<leaf hash>.tlog-proof. --json prints an object for each line, in order, and then a
summary. You can run any of these again at any time: the log adds nothing twice.

With --policy or --trust it checks the log's key before it sends anything, and each proof before it
writes it.")]
pub struct Publish {
    /// Artifacts of one release; NAME=FILE gives a name other than the file's own. With --manifest, a folder
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Release all files of a folder: write their manifest to this file, and publish it [default: DIR.manifest]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with = "from")]
    #[expect(clippy::option_option, reason = "clap's way to say that the option has no value")]
    pub manifest: Option<Option<PathBuf>>,
    /// Many releases, one JSON object a line
    #[arg(long, value_name = "RELEASES.jsonl", conflicts_with_all = ["files", "kind", "purl", "channel", "sequence", "source", "audience", "out"])]
    pub from: Option<PathBuf>,
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    #[command(flatten)]
    pub signers: SignerArgs,
    /// Kind of release
    #[arg(long, value_parser = parse_kind, value_name = "build|update|detection-rules|trust", required_unless_present = "from")]
    pub kind: Option<Kind>,
    /// Package and version, as in pkg:generic/example/scanner@4.2.0
    #[arg(long, value_parser = parse_purl, required_unless_present = "from")]
    pub purl: Option<Purl>,
    /// Who gets it, by track, as in stable
    #[arg(long, required_unless_present = "from")]
    pub channel: Option<String>,
    /// Counter that only grows for this package and channel: a number; `auto` for the number after the log's
    /// highest, whose release this key must have signed; `time` for the time in UTC, as in 20261128103001
    #[arg(long, value_name = "N|auto|time", value_parser = parse_numbering, required_unless_present = "from")]
    pub sequence: Option<Numbering>,
    /// What it was built from, as in `git+https://example.com/scanner@gitCommit:<hex>`
    #[arg(long, value_name = "URI@DIGEST")]
    pub source: Option<String>,
    /// Who the release is for, if it is not for everyone
    #[arg(long)]
    pub audience: Option<String>,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// Origin of the log that is meant: sign for no other one, whatever answers at --log
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Where to write the proof: a file, also one bundle for all artifacts, NAME.tlog-bundle; or a directory, which
    /// gets NAME.tlog-proof for each artifact, and of several artifacts release.tlog-bundle
    /// [default: FILE.tlog-proof beside each FILE; several in one folder also get release.tlog-bundle there]
    #[arg(long, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// Write one bundle for all artifacts, or with --from for all releases, at most 4,096, to this file, whose name
    /// ends in .tlog-bundle
    #[arg(long, value_name = "FILE", value_parser = parse_bundle)]
    pub bundle: Option<PathBuf>,
    /// With --from: directory for the proof of each release, created if missing; files are named by leaf hash
    #[arg(long, value_name = "DIR", requires = "from", conflicts_with = "files")]
    pub proofs: Option<PathBuf>,
    /// Sign and send nothing: show the statement and the highest sequence number, and check that the number follows
    /// it. Whether this key may publish, is revoked, or gets a warning, only the log says when you publish
    #[arg(long, conflicts_with = "from")]
    pub dry_run: bool,
    /// State to wait for; proof files need `published` or `witnessed` [default: published]
    #[arg(long, value_enum, hide_possible_values = false)]
    pub wait: Option<Wait>,
    #[command(flatten)]
    pub patience: Patience,
}

fn parse_bundle(text: &str) -> Result<PathBuf, String> {
    let is_one = text.strip_suffix(".tlog-bundle").is_some_and(|name| !name.is_empty());
    is_one.then(|| text.into()).ok_or_else(|| "expected a name that ends in .tlog-bundle".to_owned())
}

/// Parses a number, `auto` or `time`.
pub fn parse_numbering(text: &str) -> Result<Numbering, String> {
    match text {
        "auto" => Ok(Numbering::Next),
        "time" => Ok(Numbering::Time),
        number => {
            number.parse().map(Numbering::Number).map_err(|_| "expected a number, auto or time".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_words_for_them() {
        assert_eq!(parse_numbering("42"), Ok(Numbering::Number(42)));
        assert_eq!(
            (parse_numbering("auto"), parse_numbering("time")),
            (Ok(Numbering::Next), Ok(Numbering::Time))
        );
        for bad in ["", "next", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(parse_numbering(bad), Err("expected a number, auto or time".to_owned()), "{bad}");
        }
    }
}
