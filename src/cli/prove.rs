//! `treehead prove`

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile};
use super::manifest;
use super::output;
use super::output::say;
use super::trusting::TrustedHeads;
use super::values::{parse_leaf, parse_pin};
use crate::checkpoint::policy::Policy;
use crate::client::{FoundError, FoundRow, ReleaseProof, check_found};
use crate::endpoint::{PackagePin, Refusal, Requirement};
use crate::format::quote;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::proof::ProofFile;
use crate::release::{Release, StatementKind};

/// Most releases to list if the choice is ambiguous.
const LISTED: usize = 10;

/// Fetch the proof files of artifacts from a log
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  treehead prove scanner-4.2.0.tar.gz --log http://127.0.0.1:8080
  treehead prove scanner-4.2.0.tar.gz scanner-4.2.0.sig --log http://127.0.0.1:8080 \\
      --purl pkg:generic/example/scanner@4.2.0 --publisher example-vendor --policy endpoint.policy
  treehead prove scanner-4.2.0.tar.gz --log http://127.0.0.1:8080 --with-attestations \\
      --trust endpoint.trust
  treehead prove --manifest rules.manifest --file net/a.yar --file net/b.yar

With --policy or --trust it checks the log's signature and the quorum before it writes a proof.
If several releases of one package have the artifact, it takes the newest that was not withdrawn,
and says so. If several packages or publishers have it, say which one you mean.

The last proves offline that files are in a release's manifest, and writes rules.tlog-files.")]
pub struct Prove {
    /// The artifacts
    #[arg(value_name = "FILE", required_unless_present = "manifest")]
    pub files: Vec<PathBuf>,
    /// Address of the log
    #[arg(long, value_name = "URL", required_unless_present = "manifest")]
    pub log: Option<String>,
    /// Prove files of this manifest instead, offline
    #[arg(long, value_name = "MANIFEST", requires = "file", conflicts_with_all = ["files", "log", "purl", "publisher", "leaf", "policy"])]
    pub manifest: Option<PathBuf>,
    /// With --manifest: path of a file in it; may be repeated, up to 16,000 times
    #[arg(long, value_name = "PATH", requires = "manifest")]
    pub file: Vec<String>,
    /// Package you mean, with or without a version, or a pattern of packages with a final `*`
    #[arg(long, value_name = "PURL", value_parser = parse_pin)]
    pub purl: Option<PackagePin>,
    /// Publisher you mean, by its name in the log
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub publisher: Option<String>,
    /// Index of the leaf you mean
    #[arg(long, value_name = "N", value_parser = parse_leaf)]
    pub leaf: Option<LeafIndex>,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// Write a bundle: the release with the attestations that the gate of --trust asks for, or all of them without
    /// --trust, and with its withdrawals, under one tree head
    #[arg(long, conflicts_with = "manifest")]
    pub with_attestations: bool,
    /// Where to write the proof, of one artifact only, or the bundle [default: FILE.tlog-proof or
    /// FILE.tlog-bundle, or NAME.tlog-files for NAME.manifest]
    #[arg(long, value_name = "PROOF")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub patience: Patience,
}

pub fn run(args: &Prove, json: bool) -> CliResult {
    if let Some(manifest) = &args.manifest {
        return manifest::prove::run(manifest, &args.file, args.out.as_ref(), json);
    }
    if let (Some(_), [first, second, ..], false) = (&args.out, args.files.as_slice(), args.with_attestations)
    {
        let (first, second) = (first.display(), second.display());
        return Err(Failure::Usage(format!(
            "--out names one proof file: expected one artifact, saw {first} and {second}"
        )));
    }
    if let Some(out) = &args.out {
        files::prepare_out(out, OutFile::Proof)?; // before anything is asked
    }
    let (policy, gate) = args.trusted.policy_and_gate()?;
    let url = args.log.as_deref().unwrap_or_else(|| unreachable!("clap requires it without --manifest"));
    let log = Connection::open(url, args.patience, say)?;
    // Answers must be for a tree of at least this size: caches keep old ones.
    let tree = log.ask("show its tree head", |client| match &policy {
        Some(policy) => client.checkpoint(&policy.log_keys()).map(|signed| signed.get().size),
        None => client.unverified_checkpoint().map(|head| head.size),
    })?;
    let question = Question { args, log, policy, tree };
    // All of them before the first is written.
    let proven = args.files.iter().map(|file| {
        let proven = question.prove(file);
        proven.map_err(
            |e| if args.files.len() > 1 { e.and(&format!("asked for {}", file.display())) } else { e },
        )
    });
    let proven = proven.collect::<Result<Vec<Proven>, _>>()?;
    if !args.with_attestations {
        return proven.iter().try_for_each(|proven| proven.write(args, json));
    }
    // One bundle of all of them, or one for each.
    let groups: Vec<&[Proven<'_>]> = match &args.out {
        Some(_) => vec![&proven],
        None => proven.chunks(1).collect(),
    };
    groups.into_iter().try_for_each(|group| question.write_bundle(group, gate.as_deref(), json))
}

struct Question<'a> {
    args: &'a Prove,
    log: Connection,
    policy: Option<Policy>,
    tree: TreeSize,
}

/// A proof of a file's release, as far as it could be checked.
struct Proven<'a> {
    file: &'a Path,
    digest: Hash,
    proof: ProofFile,
    release: Release,
    publishers: Vec<String>,
}

impl Proven<'_> {
    fn write(&self, args: &Prove, json: bool) -> CliResult {
        let (index, purl) = (self.proof.index, &self.release.purl);
        let out = args.out.clone().unwrap_or_else(|| files::proof_path(self.file));
        files::prepare_out(&out, OutFile::Proof)?.finish(self.proof.to_string().as_bytes())?;
        output::result(
            json,
            &json!({
                "ok": true, "file": self.file.display().to_string(), "purl": purl.as_str(), "index": index.get(),
                "publishers": self.publishers, "proof": out.display().to_string(),
            }),
            &format!(
                "{purl} is leaf {index} of the log\nproof  {}\nCheck it with `treehead verify`: `prove` only fetched it.\n",
                out.display()
            ),
        )
    }
}

impl Question<'_> {
    fn write_bundle<'a>(
        &self,
        proven: &'a [Proven<'_>],
        gate: Option<&[Requirement]>,
        json: bool,
    ) -> CliResult {
        let release = |proven: &'a Proven<'_>| ReleaseProof {
            proof: &proven.proof,
            release: &proven.release,
            digest: proven.digest,
        };
        let releases: Vec<_> = proven.iter().map(release).collect();
        let bundle =
            self.log.ask("send attestations", |client| client.bundle_with_attestations(&releases, gate))?;
        let out = self.args.out.clone().unwrap_or_else(|| files::bundle_path(proven[0].file));
        files::prepare_out(&out, OutFile::Proof)?.finish(bundle.to_string().as_bytes())?;
        let (names, count): (Vec<String>, _) =
            (proven.iter().map(|proven| proven.file.display().to_string()).collect(), bundle.entries.len());
        let object = json!({
            "ok": true, "files": names, "entries": count, "bundle": out.display().to_string(),
        });
        let entries = if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
        let lines = format!(
            "{entries} of the log under one tree head\nbundle  {}\nCheck it with `treehead verify`: `prove` only fetched it.\n",
            out.display()
        );
        output::result(json, &object, &lines)
    }

    fn prove<'f>(&self, file: &'f Path) -> Result<Proven<'f>, Failure> {
        let digest = files::hash_artifact(file)?;
        let row = self.choose(self.releases(&digest)?)?;
        let proof = self.log.ask("send the proof", |client| client.proof_of(&row.leaf))?;
        let url = self.log.url();
        let (proof, release) =
            check_found(&proof, &row, &digest, self.policy.as_ref()).map_err(|e| match e {
                FoundError::Quorum(e) => Refusal::Quorum(e).into(),
                other => {
                    Failure::CouldNotTell(format!("{url} found leaf {} and answered with {other}", row.index))
                        .and("tell the log's operator")
                }
            })?;
        Ok(Proven { file, digest, proof, release, publishers: row.publishers })
    }

    /// All candidate releases of an artifact, newest first. Provenance, summaries and withdrawals name
    /// artifacts too, but don't count.
    fn releases(&self, digest: &Hash) -> Result<Vec<FoundRow>, Failure> {
        let (url, hex) = (self.log.url(), digest.to_hex());
        let package = match &self.args.purl {
            Some(PackagePin::Release(purl)) => Some((purl.package(), purl.version())),
            _ => None,
        };
        let before = self.args.leaf.map(|leaf| leaf.get() + 1);
        let (mut rows, mut others) = (Vec::new(), Vec::new());
        for kind in StatementKind::RELEASES {
            let mut terms = vec![("digest", hex.as_str()), ("kind", kind.as_str())];
            if let Some((package, version)) = &package {
                terms.extend([("package", package.as_str()), ("version", *version)]);
            }
            terms.extend(self.args.publisher.as_deref().map(|publisher| ("publisher", publisher)));
            let found =
                self.log.ask("find the release", |client| client.search(&terms, before, self.tree))?;
            let found = found.ok_or_else(|| {
                Failure::CouldNotTell(format!(
                    "{url} has no search: expected a treehead log of releases; ask who ships the artifact for its proof file"
                ))
            })?;
            if !found.is_whole() && self.args.leaf.is_none() {
                return Err(Failure::CouldNotTell(format!(
                    "{url} has more than {} releases with this artifact, SHA-256 {hex}; say which one you mean with --purl and a version, --publisher or --leaf",
                    found.rows.len()
                )));
            }
            let (meant, unmeant): (Vec<_>, Vec<_>) =
                found.rows.into_iter().partition(|row| self.is_meant(row, digest));
            rows.extend(meant);
            others.extend(unmeant);
        }
        if rows.is_empty() {
            let (meant, hint) =
                (self.in_words(), if others.is_empty() { String::new() } else { listed(&others) });
            let message = format!("no release{meant} in {url} has an artifact with SHA-256 {hex}{hint}");
            return Err(Failure::refused(
                "not-logged",
                message,
                "Do not install it, unless another log has it.",
            ));
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.index));
        Ok(rows)
    }

    fn is_meant(&self, row: &FoundRow, digest: &Hash) -> bool {
        let Prove { purl, publisher, leaf, .. } = self.args;
        row.artifacts.contains(digest)
            && leaf.is_none_or(|leaf| row.index == leaf)
            && publisher.as_ref().is_none_or(|publisher| row.publishers.contains(publisher))
            && purl.as_ref().is_none_or(|meant| row.purl().is_some_and(|purl| meant.covers(&purl)))
    }

    fn in_words(&self) -> String {
        let Prove { purl, publisher, leaf, .. } = self.args;
        let mut words = purl.as_ref().map(|purl| format!(" of {purl}")).unwrap_or_default();
        publisher.iter().for_each(|publisher| words += &format!(" by {}", quote(publisher)));
        leaf.iter().for_each(|leaf| words += &format!(" at leaf {leaf}"));
        words
    }

    /// Picks the newest release that was not withdrawn, if all are of one package and by the same publishers.
    /// Otherwise only the user can choose.
    fn choose(&self, mut rows: Vec<FoundRow>) -> Result<FoundRow, Failure> {
        let who = |row: &FoundRow| (row.purl().map(|purl| purl.package()), row.publishers.clone());
        if rows.iter().any(|row| who(row) != who(&rows[0])) {
            return Err(Failure::Usage(format!(
                "{} has this artifact in releases of several packages or publishers: expected --purl, --publisher or --leaf to say which one you mean{}",
                self.log.url(),
                listed(&rows)
            )));
        }
        let count = rows.len();
        let place = rows.iter().position(|row| !row.is_withdrawn);
        let row = rows.swap_remove(place.unwrap_or_default());
        if count > 1 {
            let (index, purl) = (row.index, shown(row.purl.as_deref()));
            say(&format!(
                "{count} releases have this artifact; leaf {index}, {purl}, is the newest that was not withdrawn: choose another with --purl and a version, or --leaf"
            ));
        }
        if row.is_withdrawn {
            say(&format!(
                "the log says that leaf {} was withdrawn: `treehead verify --online` checks the proof",
                row.index
            ));
        }
        Ok(row)
    }
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), quote)
}

/// Releases, as the log describes them.
fn listed(rows: &[FoundRow]) -> String {
    let line = |row: &FoundRow| {
        let publishers: Vec<String> = row.publishers.iter().map(|name| quote(name)).collect();
        let (purl, channel) = (shown(row.purl.as_deref()), shown(row.channel.as_deref()));
        format!("leaf {}, {purl} ({channel}) by {}", row.index, publishers.join(" and "))
    };
    let more = match rows.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let lines: Vec<String> = rows.iter().take(LISTED).map(line).collect();
    format!("; it has {}{more}", lines.join("; "))
}
