//! `treehead manifest`: makes the manifest of a folder, and deltas between manifests.

pub mod prove;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::exit::{CliResult, Failure};
use super::files::{self, OutFile};
use super::output::{self, BOLD};
use crate::endpoint::{FolderError, manifest_of_folder};
use crate::format::FormatError;
use crate::proof::{FILES_HEADER, FilesProof};
use crate::release::{
    Change, DELTA_HEADER, FileManifest, MANIFEST_HEADER, MAX_MANIFEST_BYTES, ManifestDelta,
};

/// Most paths to print for people.
const LISTED: usize = 20;

/// Make manifests of large releases, and deltas between them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead manifest make rules/ --out rules.manifest
  treehead manifest diff rules-41.manifest rules-42.manifest --out rules-42.manifest-delta

`treehead publish DIR --manifest` makes a manifest and publishes it. docs/rule-streams.md has the rest.")]
pub struct Manifest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hash all files of a folder into a manifest
    Make(Make),
    /// Say which files were added (+), changed (~) and removed (-)
    Diff(Diff),
}

#[derive(Debug, clap::Args)]
struct Make {
    /// The folder
    dir: PathBuf,
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Diff {
    /// The manifest before
    old: PathBuf,
    /// The manifest after
    new: PathBuf,
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Manifest, json: bool) -> CliResult {
    match &args.command {
        Command::Make(args) => make(args, json),
        Command::Diff(args) => diff(args, json),
    }
}

fn make(args: &Make, json: bool) -> CliResult {
    let out = args.out.as_ref().map(|out| files::prepare_out(out, OutFile::Manifest)).transpose()?;
    let manifest = manifest_of_folder(&args.dir)?;
    let text = manifest.to_string();
    let Some(out) = out else { return output::file(text.as_bytes()) };
    let (path, reference) = (out.path().display().to_string(), manifest.reference());
    out.finish(text.as_bytes())?;
    let object =
        json!({ "ok": true, "files": reference.files, "root": reference.root.to_hex(), "out": path });
    output::result(
        json,
        &object,
        &format!("{} files, root {}\nwrote {path}\n", reference.files, reference.root.to_hex()),
    )
}

fn diff(args: &Diff, json: bool) -> CliResult {
    let out = args.out.as_ref().map(|out| files::prepare_out(out, OutFile::Delta)).transpose()?;
    let delta = ManifestDelta::between(&read(&args.old)?, &read(&args.new)?);
    let text = delta.to_string();
    let mut object = Value::Object(changes(&delta));
    object["ok"] = true.into();
    match out {
        Some(out) => {
            let path = out.path().display().to_string();
            out.finish(text.as_bytes())?;
            object["out"] = path.as_str().into();
            output::result(json, &object, &format!("{}\nwrote {path}\n", counts(&delta)))
        }
        None if json => output::result(json, &object, ""),
        None => output::file(text.as_bytes()),
    }
}

/// Reads a manifest that the user has.
pub fn read(path: &Path) -> Result<FileManifest, Failure> {
    files::parse(path, "a manifest", MAX_MANIFEST_BYTES, FileManifest::parse)
}

/// The changes of a delta, in a sentence.
pub fn counts(delta: &ManifestDelta) -> String {
    let (added, changed, removed) = delta.counts();
    format!("{added} added, {changed} changed, {removed} removed, {} files now", delta.target().files)
}

/// The first changes of a delta, one on each line.
pub fn listed(delta: &ManifestDelta) -> String {
    let line = |(path, change): &(String, Change)| match change {
        Change::Added(_) => format!("+ {path}\n"),
        Change::Changed(_) => format!("~ {path}\n"),
        Change::Removed => format!("- {path}\n"),
    };
    let mut lines: String = delta.changes().iter().take(LISTED).map(line).collect();
    let more = delta.changes().len().saturating_sub(LISTED);
    if more > 0 {
        lines += &format!("and {more} more: --json has all of them\n");
    }
    lines
}

/// The changes of a delta, for machines.
pub fn changes(delta: &ManifestDelta) -> Map<String, Value> {
    let of = |is: fn(&Change) -> bool| -> Value {
        delta.changes().iter().filter(|(_, change)| is(change)).map(|(path, _)| path.as_str()).collect()
    };
    let reference = |manifest: crate::release::ManifestRef| json!({ "root": manifest.root.to_hex(), "files": manifest.files });
    let members = [
        ("base", reference(delta.base())),
        ("target", reference(delta.target())),
        ("added", of(|change| matches!(change, Change::Added(_)))),
        ("changed", of(|change| matches!(change, Change::Changed(_)))),
        ("removed", of(|change| matches!(change, Change::Removed))),
    ];
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Describes a manifest, a delta or a proof of files for `treehead inspect`.
pub fn inspect(bytes: &[u8]) -> Option<Result<(Value, String), FormatError>> {
    let is = |header: &str| bytes.starts_with(header.as_bytes());
    if is(DELTA_HEADER) {
        return Some(ManifestDelta::parse(bytes).map(|delta| {
            let mut object = Value::Object(changes(&delta));
            object["what"] = "manifest-delta".into();
            let (base, target) = (delta.base().root.to_hex(), delta.target().root.to_hex());
            let lines = format!(
                "{BOLD}a manifest delta{BOLD:#}\nbase     {base}\ntarget   {target}\nchanges  {}\n{}",
                counts(&delta),
                listed(&delta)
            );
            (object, lines)
        }));
    }
    if is(MANIFEST_HEADER) {
        return Some(FileManifest::parse(bytes).map(|manifest| {
            let (files, root) = (manifest.reference().files, manifest.reference().root.to_hex());
            let object = json!({ "what": "manifest", "files": files, "root": root });
            (object, format!("{BOLD}a manifest{BOLD:#} of {files} files\nroot  {root}\n"))
        }));
    }
    is(FILES_HEADER).then(|| {
        FilesProof::parse(bytes).map(|proof| {
            let paths: Vec<&str> = proof.files().iter().map(|(path, _)| path.as_str()).collect();
            let object = json!({ "what": "files-proof", "files": paths, "of": proof.total() });
            let first: String = paths.iter().take(LISTED).map(|path| format!("{path}\n")).collect();
            (object, format!("{BOLD}a proof of files{BOLD:#}: {} of {}\n{first}", paths.len(), proof.total()))
        })
    })
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::File(error) => error.into(),
            FolderError::Artifact(error) => error.into(),
            other => Self::Usage(other.to_string()),
        }
    }
}
