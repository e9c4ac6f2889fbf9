//! Arguments of `treehead verify`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args as ClapArgs};

use crate::cli::trusting::Trusting;
use crate::cli::values::{parse_duration, parse_kind, parse_pin};
use crate::client::is_address;
use crate::endpoint::PackagePin;
use crate::merkle::Hash;
use crate::release::Kind;

/// Check an artifact offline, before it is installed
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("artifact").required(true).multiple(true).args(["files", "sha256", "batch", "manifest"])))]
#[command(after_help = "\
Examples:
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --publishers publishers.toml
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --state /var/lib/endpoint
  treehead verify dist/*.tar.gz --policy endpoint.policy --json    a line for each
  treehead verify dist/*.tar.gz --trust endpoint.trust --proof scanner-4.2.0.tlog-bundle
  treehead verify /tmp/download --proof scanner-4.2.0.tar.gz.tlog-proof --policy endpoint.policy \\
      --name scanner-4.2.0.tar.gz --purl pkg:generic/example/scanner@4.2.0 --channel stable
  treehead verify rules/ --manifest rules.manifest --policy endpoint.policy
  treehead verify rules/ --files-proof rules.tlog-files --proof rules.manifest.tlog-proof \\
      --policy endpoint.policy
  treehead verify --manifest rules.manifest-delta --proof rules.manifest.tlog-proof \\
      --policy endpoint.policy --state /var/lib/endpoint
  treehead verify --batch --policy endpoint.policy < questions.jsonl
  treehead verify scanner-4.2.0.tar.gz --trust 1.trust --state /var/lib/endpoint --learn 2.trust
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --state /var/lib/endpoint \\
      --online https://log.example.com --report https://monitor.example.org

Say as much as you know about the release you want: any other genuine release is then refused. A
file with the name of another artifact of its release is always refused, and so is a release for an
audience that you did not ask for.

With --manifest, all files of a folder have to be those of a release; with --files-proof, some of
them. A delta is applied to the manifest that --state remembers of its channel.

With --state, the endpoint remembers what it saw. It later refuses older releases, releases in
another channel, withdrawn releases, and for ever a log that showed it another history. It saves
proof of a fork, and the larger head of a log that shrank, in the folder `evidence` of the state.
With --online, it compares everything it remembers with the log of today; now and then is enough.
Exit code 3 means that it could not tell, for example if publishers.toml does not list the key of a
withdrawal. Reports change no verdict. docs/endpoints.md has the details; docs/installers.md has the
lines of --batch, and `treehead gate`, which looks for proofs by itself.")]
pub struct Verify {
    /// Artifacts, or `-` for standard input. With --manifest or --files-proof, a folder
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// SHA-256 of an artifact, in hex, instead of its file; may be repeated
    #[arg(long, value_name = "HEX", value_parser = parse_sha256, requires = "proof")]
    pub sha256: Vec<Hash>,
    /// Questions on standard input instead, in JSON, one a line; the verdicts are JSON too, a line for each, in
    /// order. Options say what the lines leave open
    #[arg(long, conflicts_with_all = ["files", "sha256", "name"])]
    pub batch: bool,
    /// Manifest of a release of many files, or a delta to the one that --state remembers; with a folder, its files
    /// are compared with it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sha256", "batch", "files_proof"])]
    pub manifest: Option<PathBuf>,
    /// Check the files of a folder that this proof covers
    #[arg(long, value_name = "FILE", requires = "proof", conflicts_with_all = ["sha256", "batch"])]
    pub files_proof: Option<PathBuf>,
    /// With --files-proof: check this file alone, by its path in the release; may be repeated
    #[arg(long, value_name = "PATH", requires = "files_proof")]
    pub file: Vec<String>,
    /// With --manifest: the folder may have files that the manifest does not list
    #[arg(long, requires = "manifest")]
    pub allow_extra: bool,
    /// With --manifest: write the whole manifest here if all is well, also after a delta
    #[arg(long, value_name = "FILE", requires = "manifest")]
    pub write_manifest: Option<PathBuf>,
    /// One proof file or bundle for all of them [default: FILE.tlog-bundle of each, or else
    /// FILE.tlog-proof, or else release.tlog-bundle in its folder]
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Name of the artifact you want, as in the release; the name of FILE is then ignored
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Package you want: with a version exactly that release, without one any version; or a pattern of packages
    /// with a final `*`
    #[arg(long, value_name = "PURL", value_parser = parse_pin)]
    pub purl: Option<PackagePin>,
    /// Channel you want; with --state the endpoint follows it from then on
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub channel: Option<String>,
    /// Kind of release you want
    #[arg(long, value_name = "build|update|detection-rules|trust", value_parser = parse_kind)]
    pub kind: Option<Kind>,
    /// Publisher that must have signed the release, by its name in the publishers file
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub publisher: Option<String>,
    /// Lowest acceptable sequence number
    #[arg(long, value_name = "N")]
    pub min_sequence: Option<u64>,
    /// Audience that the release must be for [default: everyone]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub audience: Option<String>,
    #[command(flatten)]
    pub trusting: Trusting,
    /// Directory where this endpoint remembers what it saw
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Newer trust file, which --state learns before anything is judged, by the proof file or bundle beside it; may be
    /// repeated
    #[arg(long, value_name = "FILE", requires_all = ["trust", "state"])]
    pub learn: Vec<PathBuf>,
    /// Refuse proofs that no quorum of witnesses cosigned within this time, as in 24h, 90m or 7d; with --online
    /// this applies to the log's newest tree head instead
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_age: Option<u64>,
    /// Also ask the log, at this address or the one in the policy: its newest tree head must be consistent with
    /// all earlier ones, and releases withdrawn since are refused. With --trust and --state, newer trust files are learned
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", value_parser = parse_online)]
    pub online: Option<String>,
    /// Send the tree heads seen to this monitor, which compares them with the log's own
    #[arg(long, value_name = "URL", value_parser = parse_report)]
    pub report: Option<String>,
}

/// Some tools print it in capitals.
pub fn parse_sha256(text: &str) -> Result<Hash, String> {
    Hash::from_hex(&text.to_ascii_lowercase()).map_err(|_| "expected 64 hex digits".to_owned())
}

/// Detects a FILE that was parsed as the address of `--online`.
pub fn parse_online(text: &str) -> Result<String, String> {
    if text.is_empty() || is_address(text) {
        return Ok(text.to_owned());
    }
    Err("expected the log's address, as in --online https://log.example.com, or nothing: then put FILE before it"
        .to_owned())
}

/// Before anything is done: a report that fails later is only a warning.
fn parse_report(text: &str) -> Result<String, String> {
    if is_address(text) {
        return Ok(text.to_owned());
    }
    Err("expected the monitor's address, as in --report https://monitor.example.org".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Verify;

    #[derive(Debug, Parser)]
    enum Args {
        Verify(Verify),
    }

    #[test]
    fn an_empty_question_and_a_short_digest_are_refused() {
        for option in ["--name", "--channel", "--audience", "--publisher"] {
            let parse =
                |value| Args::try_parse_from(["treehead", "verify", "a", "--policy", "p", option, value]);
            assert_eq!(parse("").map(drop).unwrap_err().exit_code(), 2, "{option}");
            assert!(parse("x").is_ok(), "{option}");
        }
        let sha256 = ["treehead", "verify", "--policy", "p", "--proof", "p", "--sha256", "AB"];
        let error = Args::try_parse_from(sha256).unwrap_err().to_string();
        assert!(error.contains("expected 64 hex digits\n"), "capitals are taken: {error}");
    }

    #[test]
    fn an_artifact_behind_online_is_not_taken_for_an_address() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).map_err(|e| e.to_string());
        let error = parse("treehead verify --policy p --online scanner.tar.gz").unwrap_err();
        assert!(error.contains("put FILE before it"), "{error}");
        for online in ["--online", "--online http://127.0.0.1:8080", "--online=https://log.example.com"] {
            assert!(
                parse(&format!("treehead verify scanner.tar.gz --policy p {online}")).is_ok(),
                "{online}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_told_at_once() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).map_err(|e| e.to_string());
        for bad in ["nonsense", "", "http://", "https:///gossip", "ftp://monitor.example.org", "http://m/?q"]
        {
            let error = parse(&format!("treehead verify f --policy p --report={bad}")).unwrap_err();
            assert!(error.contains("expected the monitor's address"), "{bad}: {error}");
        }
        assert!(parse("treehead verify f --policy p --report https://monitor.example.org/m").is_ok());
        let error = parse("treehead verify f --policy p --online=http://").unwrap_err();
        assert!(error.contains("expected the log's address"), "{error}");
    }
}
