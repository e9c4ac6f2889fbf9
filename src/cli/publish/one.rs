//! One release: its artifacts are files here.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Publish;
use super::artifact::Artifact;
use super::{NOT_SENT, check, sign, target};
use crate::checkpoint::LogKey;
use crate::cli::args::WaitArg;
use crate::cli::connection::Connection;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files::{self, Replacement};
use crate::cli::output;
use crate::client::{Appended, Wait};
use crate::format::cap_count;
use crate::release::{MAX_SUBJECTS, PublisherSigner, Release, Source};

pub fn publish(args: &Publish, signer: &PublisherSigner, json: bool) -> CliResult {
    let log = Connection::open(&args.log, args.patience, output::say)?;
    let artifacts = Artifact::all(&args.files)?;
    let release = release(args, &artifacts)?;
    // What can fail without the log fails before the log has the release.
    let proofs = proof_paths(args, &artifacts)?;
    let proofs = proofs.iter().map(|path| files::prepare(path)).collect::<Result<Vec<_>, _>>();
    let proofs = proofs.map_err(|e| e.and(NOT_SENT))?;
    let (logs, origin) = target(args, &log)?;
    let release = Release { log: Some(origin), ..release };
    let entry = sign(&release, signer)?;
    let wait = args.wait.map(Wait::from).unwrap_or_default();
    let appended = log.ask(waits_for(wait), |client| client.append(&entry, wait)).map_err(Failure::append)?;
    let mut written = Vec::new();
    let saved = save(&log, &entry, wait, logs.as_deref(), proofs, &mut written);
    // Done is done, whatever became of its proof: that is told first.
    tell(&release, &appended, wait, &written, json)?;
    saved.map_err(|e| e.and(&how_to_get_it(args, &artifacts, &appended)))
}

const fn waits_for(wait: Wait) -> &'static str {
    match wait {
        Wait::Sequenced => "append the release",
        Wait::Published => "publish the release",
        Wait::Witnessed => "publish the release with its witnesses' cosignatures",
    }
}

fn release(args: &Publish, artifacts: &[Artifact]) -> Result<Release, Failure> {
    let (Some(kind), Some(purl), Some(channel), Some(sequence)) =
        (args.kind, args.purl.clone(), args.channel.clone(), args.sequence)
    else {
        unreachable!("clap requires them without --from")
    };
    cap_count("a release", "artifacts", artifacts.len(), MAX_SUBJECTS)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let source = args.source.as_deref().map(Source::parse).transpose();
    let source = source.map_err(|e| Failure::Usage(format!("--source: {e}")))?;
    let subjects = artifacts.iter().map(Artifact::subject).collect::<Result<_, _>>()?;
    let audience = args.audience.clone();
    let release =
        Release { subjects, purl, kind, channel, sequence, source, manifest: None, audience, log: None };
    release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?; // says what is wrong with it
    Ok(release)
}

/// Where proofs go: each path once. None for what is only sequenced, which has no proof yet.
fn proof_paths(args: &Publish, artifacts: &[Artifact]) -> Result<Vec<PathBuf>, Failure> {
    if args.wait == Some(WaitArg::Sequenced) {
        return match &args.out {
            None => Ok(Vec::new()),
            Some(_) => Err(Failure::Usage(
                "--out: what is only sequenced has no proof yet; expected --wait published or witnessed"
                    .to_owned(),
            )),
        };
    }
    let mut paths: Vec<PathBuf> = match &args.out {
        None => artifacts.iter().map(|artifact| files::proof_path(&artifact.path)).collect(),
        Some(out) if is_directory(out) => {
            artifacts.iter().map(|artifact| files::proof_path(&out.join(&artifact.name))).collect()
        }
        Some(out) => vec![out.clone()],
    };
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Fetches the proof and writes it to all its places; `written` are those that were reached.
fn save(
    log: &Connection,
    entry: &[u8],
    wait: Wait,
    logs: Option<&[LogKey]>,
    places: Vec<Replacement>,
    written: &mut Vec<String>,
) -> CliResult {
    if places.is_empty() {
        return Ok(());
    }
    // Sent once more, the same statement is the same leaf; this time the answer is its proof.
    let proof = log.ask("send the proof", |client| client.add(entry, wait))?;
    check(&proof, entry, logs)?;
    let text = proof.to_string();
    for place in places {
        let path = place.path().display().to_string();
        place.finish(text.as_bytes())?;
        written.push(path);
    }
    Ok(())
}

fn tell(release: &Release, appended: &Appended, wait: Wait, written: &[String], json: bool) -> CliResult {
    let (purl, Appended { index, duplicate, leaf_hash, .. }) = (&release.purl, appended);
    let mut lines = match wait {
        Wait::Sequenced => format!("{purl} is leaf {index}, durable and not published yet\n"),
        Wait::Published | Wait::Witnessed => format!("{purl} is leaf {index} of the log\n"),
    };
    if *duplicate {
        lines += "the log had it before; nothing was added\n";
    }
    if !written.is_empty() {
        lines += &format!("proof  {}\n", written.join("\n       "));
    }
    let object = json!({
        "ok": true, "log": release.log, "purl": purl.as_str(), "channel": release.channel, "sequence": release.sequence,
        "index": index.get(), "leaf_hash": leaf_hash.to_hex(), "duplicate": duplicate, "proofs": written,
    });
    output::result(json, &object, &lines)
}

/// The release is in the log, and its proof could not be saved.
fn how_to_get_it(args: &Publish, artifacts: &[Artifact], appended: &Appended) -> String {
    let out = args.out.as_ref().map(|out| format!(" --out {}", out.display())).unwrap_or_default();
    let file = artifacts.first().map(|artifact| artifact.path.display().to_string()).unwrap_or_default();
    format!(
        "the release is leaf {} of the log all the same: run the same command again, which adds nothing, or fetch the proof with `treehead prove {file} --log {}{out}`",
        appended.index, args.log
    )
}
