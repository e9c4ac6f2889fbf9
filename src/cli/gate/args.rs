//! Arguments of `treehead gate`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args as ClapArgs};

use crate::cli::verify::args::parse_sha256;
use crate::merkle::Hash;

/// Decide by rules whether artifacts may be installed, and find their proofs
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("artifact").required(true).multiple(true).args(["files", "sha256", "batch"])))]
#[command(after_help = "\
Examples:
  treehead gate --config /etc/treehead/gate.toml agent_5.0_amd64.deb
  treehead gate --config /etc/treehead/gate.toml --sha256 61fa...f911 --package acme/agent:5
  treehead gate --config /etc/treehead/gate.toml --batch < arrivals.jsonl
  treehead gate --config /etc/treehead/gate.toml rules/          all files, by rules.manifest
  treehead gate --config /etc/treehead/gate.toml rules/ --files-proof rules.tlog-files

The settings name a policy, a publishers file, a memory, folders of proofs, and rules:

  proofs = [\"/usr/share/treehead/proofs\"]    # SHA256.tlog-proof, FILE.tlog-bundle, ...
  fetch = true                               # ask the log of the policy for the rest

  [[rule]]
  packages = [\"agent*\"]
  unlogged = \"require\"                       # or warn, or skip
  purl = \"pkg:deb/acme/{package}@{version}?arch={arch}\"
  publisher = \"acme\"

The first rule that covers a package counts; a package that none covers has to be proven. Exit code
0 says that everything may be installed. docs/installers.md has all settings, the lines of --batch,
and hooks for apt, containerd and RAUC.")]
pub struct Gate {
    /// Artifacts. A folder is judged by its manifest, DIR.manifest
    #[arg(value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Settings: whom to trust, where proofs are, and rules
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// SHA-256 of the artifact, in hex; a FILE is then not read
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    pub sha256: Option<Hash>,
    /// Artifacts on standard input instead, in JSON, one a line; the decisions are JSON too, a line for each, in
    /// order
    #[arg(long, conflicts_with_all = ["files", "sha256", "name", "proof", "package", "package_version", "arch"])]
    pub batch: bool,
    /// Manifest of a folder, which must have exactly its files [default: DIR.manifest]
    #[arg(long, value_name = "FILE", requires = "files", conflicts_with_all = ["sha256", "batch", "files_proof"])]
    pub manifest: Option<PathBuf>,
    /// Check the files of a folder that this proof covers, instead of all of them
    #[arg(long, value_name = "FILE", requires = "files", conflicts_with_all = ["sha256", "batch"])]
    pub files_proof: Option<PathBuf>,
    /// Name of the artifact, if its file has another one
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Its proof file or bundle; other places are then ignored
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Name of its package, which rules go by [default: the name of the artifact]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub package: Option<String>,
    /// Version of its package
    #[arg(long, value_name = "VERSION", value_parser = NonEmptyStringValueParser::new())]
    pub package_version: Option<String>,
    /// Architecture of its package
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub arch: Option<String>,
}
