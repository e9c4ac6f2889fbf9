//! `treehead verify`

use std::fs::{self, File};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::args::Verify;
use super::exit::{CliResult, Failure};
use super::files;
use super::output::{GREEN, result};
use crate::policy::{MAX_POLICY_BYTES, Policy, WitnessedBy};
use crate::proof_file::MAX_PROOF_FILE_BYTES;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers, format_time};
use crate::state::{EndpointState, MAX_STATE_BYTES};
use crate::verify::{Artifact, Freshness, Question, VerifiedRelease, verify};

pub fn run(args: &Verify, json: bool) -> CliResult {
    let policy = files::parse(&args.policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
    let publishers_path =
        args.publishers.clone().unwrap_or_else(|| args.policy.with_file_name("publishers.toml"));
    if args.publishers.is_none() && !publishers_path.exists() {
        return Err(Failure::CouldNotTell(format!(
            "{} does not exist: name the publishers you believe with --publishers FILE",
            publishers_path.display()
        )));
    }
    let publishers =
        files::parse(&publishers_path, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
    let digest = files::hash_artifact(&args.file)?;
    let proof_path = args.proof.clone().unwrap_or_else(|| files::proof_path(&args.file));
    // One byte more than is allowed, so that the verdict on what is too large is the verdict's.
    let proof = files::read_up_to(&proof_path, MAX_PROOF_FILE_BYTES + 1)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut memory = args.state.as_deref().map(Memory::open).transpose()?;
    let verdict = verify(&Question {
        artifact: Artifact::File(&digest),
        proof: &proof,
        policy: &policy,
        publishers: &publishers,
        freshness: Freshness { now, max_age: args.max_age },
        state: memory.as_ref().map(|memory| &memory.state),
        package: args.purl.as_ref(),
    })?;
    if let Some(memory) = &mut memory {
        verdict.remember_in(&mut memory.state);
        // Before the verdict is told: what was installed on the strength of it must be remembered.
        files::replace(&memory.path, &memory.state.to_bytes())?;
    }
    tell(&args.file, &verdict, json)
}

/// The state file, locked: many processes may share it.
struct Memory {
    path: std::path::PathBuf,
    state: EndpointState,
    _lock: File,
}

impl Memory {
    fn open(dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e))?;
        let lock = files::lock(&dir.join("lock"))?;
        let path = dir.join("state.json");
        let state = if path.exists() {
            // Fails closed: an endpoint that forgot would take an old release for a new one.
            let damaged = |e: Failure| match e {
                Failure::Usage(message) => Failure::refused(
                    "state-damaged",
                    message,
                    "Restore the file; delete it only if you accept that rollbacks before today pass unseen.",
                ),
                other => other,
            };
            files::parse(&path, "an endpoint's state", MAX_STATE_BYTES, EndpointState::parse)
                .map_err(damaged)?
        } else {
            EndpointState::default()
        };
        Ok(Self { path, state, _lock: lock })
    }
}

/// Each cosigner once, with the latest time that it stated.
pub fn cosigners(cosignatures: &[WitnessedBy]) -> Vec<String> {
    let mut latest: Vec<(&str, u64)> = Vec::new();
    for cosignature in cosignatures {
        match latest.iter_mut().find(|(name, _)| *name == cosignature.cosigner) {
            Some((_, time)) => *time = cosignature.time.max(*time),
            None => latest.push((&cosignature.cosigner, cosignature.time)),
        }
    }
    latest.into_iter().map(|(name, time)| format!("{name} at {}", format_time(time))).collect()
}

fn tell(file: &Path, verdict: &VerifiedRelease, json: bool) -> CliResult {
    let (release, head) = (verdict.release(), verdict.head());
    let checkpoint = head.get();
    let witnesses: Vec<String> =
        head.cosignatures().iter().map(|c| format!("{} at {}", c.witness, format_time(c.time))).collect();
    let by = if witnesses.is_empty() {
        "none required".to_owned()
    } else {
        cosigners(head.cosignatures()).join(", ")
    };
    let audience =
        release.audience.as_deref().map_or(String::new(), |a| format!("audience   {a} (not everyone)\n"));
    let source = release.source.as_ref().map_or(String::new(), |source| {
        format!("source     {} {}:{}\n", source.uri, source.digest.0, source.digest.1)
    });
    result(
        json,
        &json!({
            "ok": true, "code": "verified", "purl": release.purl.as_str(), "kind": release.kind.as_str(),
            "channel": release.channel, "sequence": release.sequence, "publisher": verdict.publisher(),
            "origin": checkpoint.origin.as_str(), "index": verdict.index().get(),
            "tree_size": checkpoint.size.get(), "witnesses": witnesses, "audience": release.audience,
        }),
        &format!(
            "{GREEN}verified{GREEN:#}   {}\nrelease    {} ({}, {}, sequence {})\npublisher  {}\n{source}{audience}log        {}, leaf {} of {}\nwitnesses  {by}\n",
            file.display(),
            release.purl,
            release.kind,
            release.channel,
            release.sequence,
            verdict.publisher(),
            checkpoint.origin,
            verdict.index(),
            checkpoint.size,
        ),
    )
}
