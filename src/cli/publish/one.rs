//! Publishes one release, whose artifacts are local files.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Publish;
use super::artifact::Artifact;
use super::folder::{self, Folder};
use super::proofs::{self, is_bundle};
use super::release::About;
use super::report::{warning_line, warning_object};
use super::sequence;
use super::target::{NOT_SENT, target, warn_of_another_signature};
use crate::checkpoint::LogKey;
use crate::cli::connection::Connection;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files::{self, OutFile, Replacement};
use crate::cli::output;
use crate::client::{Appended, Numbering, Wait, check_answer};
use crate::release::{ManifestRef, Release};
use crate::signing::Signers;

pub fn publish(args: &Publish, signers: &Signers, json: bool) -> CliResult {
    let log = Connection::open(&args.log, args.patience, output::say)?;
    let (artifacts, manifest) = match folder::read(args, json)? {
        Some(Folder { artifact, manifest }) => (vec![artifact], Some(manifest)),
        None => (Artifact::all(&args.files)?, None),
    };
    let release = release(args, &artifacts, manifest)?;
    // Everything that can fail locally fails before the log has the release.
    let proofs = proof_paths(args, &artifacts)?;
    let proofs =
        proofs.iter().map(|path| files::prepare_out(path, OutFile::Proof)).collect::<Result<Vec<_>, _>>();
    let proofs = proofs.map_err(|e| e.and(NOT_SENT))?;
    let (logs, origin) = target(&args.trusted, args.origin.as_deref(), &log, json)?;
    let mut release = Release { log: Some(origin), ..release };
    let sequence = args.sequence.unwrap_or_else(|| unreachable!("clap requires it without --from"));
    if args.dry_run {
        return dry_run(&log, sequence, release, signers, json);
    }
    let wait = args.wait.unwrap_or_default();
    let (entry, appended) = sequence::append(&log, sequence, &mut release, signers, wait)?;
    let mut written: Vec<PathBuf> = Vec::new();
    let saved = save(&log, (&entry, signers), wait, logs.as_deref(), proofs, &mut written);
    // The release is in the log, even if its proof can't be saved: say that first.
    tell(&release, &appended, wait, &written, json)?;
    saved.map_err(|e| e.and(&how_to_get_it(args, &artifacts, &appended)))
}

/// Shows the statement, and how its number follows the highest one.
fn dry_run(
    log: &Connection,
    sequence: Numbering,
    mut release: Release,
    signers: &Signers,
    json: bool,
) -> CliResult {
    let latest = sequence::latest(log, &release, &signers.keyid(), |envelope| signers.has_signed(envelope))?;
    release.sequence = sequence::choose(sequence, latest.as_ref(), &release)?;
    release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let highest = latest.as_ref().map(|latest| latest.number);
    let odd = latest.and_then(|latest| latest.objection(&release));
    let (mut object, mut lines) = output::description(release.describe());
    lines += &match highest {
        Some(highest) => format!("highest   {highest} so far\n"),
        None => "highest   none: it would be the first of this package and channel\n".to_owned(),
    };
    lines += "nothing was sent\n";
    object["ok"] = true.into();
    object["dry_run"] = true.into();
    object["highest"] = highest.into();
    object["warnings"] = odd.iter().map(warning_object).collect();
    if !json {
        odd.iter().for_each(|warning| output::say(&warning_line(warning)));
    }
    output::result(json, &object, &lines)
}

fn release(
    args: &Publish,
    artifacts: &[Artifact],
    manifest: Option<ManifestRef>,
) -> Result<Release, Failure> {
    let (Some(kind), Some(purl), Some(channel)) = (args.kind, &args.purl, &args.channel) else {
        unreachable!("clap requires them without --from")
    };
    let sequence = args.sequence.unwrap_or_else(|| unreachable!("clap requires it without --from"));
    let (source, audience) = (args.source.as_deref(), args.audience.as_deref());
    About { kind, purl, channel, sequence, source, audience, manifest }.release(artifacts)
}

/// The paths of the proofs and of the bundle, each once; none for a release that is only sequenced, which has no proof yet.
fn proof_paths(args: &Publish, artifacts: &[Artifact]) -> Result<Vec<PathBuf>, Failure> {
    if args.wait == Some(Wait::Sequenced) {
        return match (&args.out, &args.bundle) {
            (None, None) => Ok(Vec::new()),
            (Some(_), _) => Err(Failure::no_proof_yet("--out")),
            (None, Some(_)) => Err(Failure::no_proof_yet("--bundle")),
        };
    }
    let bundle = args.bundle.clone().or_else(|| folder_bundle(args, artifacts));
    let mut paths: Vec<PathBuf> = match &args.out {
        None => artifacts.iter().map(|artifact| files::proof_path(&artifact.path)).collect(),
        Some(out) if is_directory(out) => {
            artifacts.iter().map(|artifact| files::proof_path(&out.join(&artifact.name))).collect()
        }
        Some(out) => vec![out.clone()],
    };
    paths.extend(bundle);
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Several artifacts whose proofs go into one folder also get a bundle there, under the name that endpoints look for.
fn folder_bundle(args: &Publish, artifacts: &[Artifact]) -> Option<PathBuf> {
    let [first, rest @ ..] = artifacts else { return None };
    let beside = files::folder_bundle_path(&first.path);
    let is_one_folder = rest.iter().all(|other| files::folder_bundle_path(&other.path) == beside);
    match &args.out {
        _ if rest.is_empty() => None,
        Some(out) => is_directory(out).then(|| out.join(files::FOLDER_BUNDLE)),
        None => is_one_folder.then_some(beside),
    }
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Fetches the proof and writes it to all its places; adds those that it wrote to `written`.
fn save(
    log: &Connection,
    (entry, signers): (&[u8], &Signers),
    wait: Wait,
    logs: Option<&[LogKey]>,
    places: Vec<Replacement>,
    written: &mut Vec<PathBuf>,
) -> CliResult {
    if places.is_empty() {
        return Ok(());
    }
    // The same statement sent again is the same leaf; this time the answer is its proof.
    let proof = log.ask("send the proof", |client| client.add(entry, wait))?;
    check_answer(&proof, entry, logs)?;
    warn_of_another_signature(&proof, signers.keys());
    for place in places {
        let path = place.path().to_owned();
        proofs::write(&proof, place, log)?;
        written.push(path);
    }
    Ok(())
}

fn tell(release: &Release, appended: &Appended, wait: Wait, written: &[PathBuf], json: bool) -> CliResult {
    let Appended { index, duplicate, leaf_hash, highest, warnings } = appended;
    let Release { purl, channel, sequence, .. } = release;
    let mut lines = match wait {
        Wait::Sequenced => format!("{purl} is leaf {index}, durable and not published yet\n"),
        Wait::Published | Wait::Witnessed => format!("{purl} is leaf {index} of the log\n"),
    };
    lines += &match (*duplicate, *highest) {
        (true, _) => "the log already had it; nothing was added\n".to_owned(),
        (false, Some(highest)) => format!("sequence {sequence} of channel {channel}, after {highest}\n"),
        (false, None) => format!("sequence {sequence} of channel {channel}\n"),
    };
    let shown = |path: &PathBuf| path.display().to_string();
    let (bundles, proofs): (Vec<_>, Vec<_>) = written.iter().partition(|path| is_bundle(path));
    let proofs: Vec<String> = proofs.into_iter().map(shown).collect();
    let bundle = bundles.into_iter().map(shown).next();
    if !proofs.is_empty() {
        lines += &format!("proof  {}\n", proofs.join("\n       "));
    }
    bundle.iter().for_each(|bundle| lines += &format!("bundle {bundle}\n"));
    let object = json!({
        "ok": true, "log": release.log, "purl": purl.as_str(), "channel": channel, "sequence": sequence,
        "index": index.get(), "leaf_hash": leaf_hash.to_hex(), "duplicate": duplicate, "proofs": proofs, "bundle": bundle,
        "highest": highest, "warnings": warnings.iter().map(warning_object).collect::<Vec<_>>(),
    });
    if !json {
        warnings.iter().for_each(|warning| output::say(&warning_line(warning)));
    }
    output::result(json, &object, &lines)
}

/// How to get the proof of a release that is in the log, after it could not be saved.
fn how_to_get_it(args: &Publish, artifacts: &[Artifact], appended: &Appended) -> String {
    let place = proof_paths(args, artifacts).ok().and_then(|paths| paths.into_iter().next());
    let out = place.filter(|_| args.out.is_some()).map(|place| format!(" --out {}", place.display()));
    let out = out.unwrap_or_default();
    let file = artifacts.first().map(|artifact| artifact.path.display().to_string()).unwrap_or_default();
    format!(
        "the release is still in the log, as leaf {}: run the same command again, which adds nothing, or fetch the proof with `treehead prove {file} --leaf {} --log {}{out}`",
        appended.index, appended.index, args.log
    )
}
