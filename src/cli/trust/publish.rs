//! `treehead trust publish`: signs the release of a trust file, appends it to a log, and writes its proof.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;

use super::diff::changes;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files;
use crate::cli::output::{result, say};
use crate::cli::publish::Artifact;
use crate::cli::stating::Stating;
use crate::cli::trusting::trust_file;
use crate::client::is_address;
use crate::endpoint::{MAX_TRUST_BYTES, TRUST_CHANNEL, TrustFile, TrustUpdateError};
use crate::format::shown;
use crate::merkle::Hash;
use crate::proof::MAX_PROOF_BYTES;
use crate::release::{Kind, PublicKey, Purl, Release, Subject};
use crate::signing::Signers;

#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The next trust file
    new: PathBuf,
    /// The trust file before it, which decides: what it would never be replaced by is not signed, and its policy counts
    /// unless --policy or --trust says otherwise
    #[arg(long, value_name = "FILE")]
    current: Option<PathBuf>,
    /// With --current: publish it with fewer signers than it takes; others publish the same file with --name
    #[arg(long, requires = "current")]
    partial: bool,
    /// Name of the file in the release [default: its own]: another one makes another entry, for later signers
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Address of the file itself, where endpoints that are online fetch it: the log keeps its digest only
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    url: Option<String>,
    /// Where to write the proof: a proof file, or a bundle if it ends in .tlog-bundle [default: FILE.tlog-proof]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    stating: Stating,
}

/// The address of a file; endpoints follow no redirects.
fn parse_url(text: &str) -> Result<String, String> {
    let prefix = text.split('?').next().unwrap_or_default();
    if is_address(prefix) && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#') {
        return Ok(text.to_owned());
    }
    Err("expected the file's address, as in https://example.com/2.trust".to_owned())
}

pub fn run(args: &Publish, json: bool) -> CliResult {
    let bytes = files::read(&args.new, "a trust file", MAX_TRUST_BYTES)?;
    let new = TrustFile::parse(&bytes).map_err(|e| Failure::file(&args.new, &e))?;
    let current = args.current.as_deref().map(trust_file).transpose()?;
    let signers = args.stating.signers.open()?;
    let mut said = Vec::new();
    if let Some(current) = &current {
        said = check(current, &new, &signers, args.partial)?;
        said.iter().filter(|_| !json).for_each(|line| say(line));
    }
    let release = release(args, (&bytes, &new), current.as_ref())?;
    let out = args.out.clone().unwrap_or_else(|| files::proof_path(&args.new));
    let place = args.stating.place(&out)?;
    // Checks the log first as endpoints that hold the file before it will.
    let stating = args.stating.clone();
    let trusted = stating.trusted.or_trust(args.current.as_deref());
    let stating = Stating { trusted, ..stating };
    let ready = stating.ready_with(signers, json)?;
    let release = Release { log: Some(ready.origin.clone()), ..release };
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let is_written = place.is_some();
    let (mut object, mut lines) = ready.state(payload, place)?;
    object["number"] = new.number().into();
    object["changes"] = said.into();
    let takes = match &current {
        Some(current) if is_written => Some(is_taken(current, &bytes, &out)?),
        _ => None,
    };
    if let Some(takes) = takes {
        object["takes_effect"] = takes.is_none().into();
        lines += &takes.map_or_else(
            || "endpoints that trust the file before take it\n".to_owned(),
            |why| format!("{why}: publish it with the other signers and --name OTHER, and ship all proofs\n"),
        );
    }
    result(json, &object, &lines)
}

/// Checks what can be checked before anything is signed, and returns the changes and the rule in words.
fn check(
    current: &TrustFile,
    new: &TrustFile,
    signers: &Signers,
    is_partial: bool,
) -> Result<Vec<String>, Failure> {
    if current.to_bytes() == new.to_bytes() {
        return Err(Failure::Usage(format!(
            "both files are trust file {}: expected the next one, saw the present one",
            current.number()
        )));
    }
    let unsent = |error: TrustUpdateError| Failure::from(error).and("nothing was signed or sent");
    let rule = current.check_successor(new).map_err(unsent)?;
    let keyids: Vec<Hash> = signers.keys().map(PublicKey::keyid).collect();
    let sign = current.signers_with(&keyids);
    let (expected, seen) = (rule.in_words(), sign.join(", "));
    let is_enough = sign.len() as u64 >= rule.at_least;
    if sign.is_empty() || !(is_enough || is_partial) {
        let seen = if sign.is_empty() { "none of them".to_owned() } else { seen };
        let failure = unsent(TrustUpdateError::TooFewSigners { expected, seen });
        let partial =
            "with --partial it is published all the same, and the others publish it under another --name";
        return Err(if sign.is_empty() { failure } else { failure.and(partial) });
    }
    let mut said: Vec<String> = changes(current, new).iter().map(|line| shown(line)).collect();
    let verdict = if is_enough { "enough" } else { "not enough alone" };
    said.push(format!("signed by {}, of {}: {verdict}", shown(&seen), shown(&expected)));
    Ok(said)
}

/// The release of the file, for any log.
fn release(
    args: &Publish,
    (bytes, new): (&[u8], &TrustFile),
    current: Option<&TrustFile>,
) -> Result<Release, Failure> {
    // The file before decides on the package; a file that can't be replaced names none.
    let rule = current.unwrap_or(new).update().ok_or_else(|| {
        Failure::Usage(format!(
            "{} does not say which package it is a release of, because it can't be replaced: expected --current FILE",
            args.new.display()
        ))
    })?;
    let number = new.number();
    if number < 2 {
        return Err(Failure::Usage(
            "trust file 1 replaces none: expected number 2 or higher; install the first one by hand"
                .to_owned(),
        ));
    }
    let purl = Purl::parse_logged(&format!("{}@{number}", rule.package));
    let name = match &args.name {
        Some(name) => name.clone(),
        None => Artifact::all(std::slice::from_ref(&args.new))?.remove(0).name,
    };
    Ok(Release {
        subjects: vec![Subject { name, sha256: Hash::digest(bytes) }],
        purl: purl.map_err(|e| Failure::Usage(e.to_string()))?,
        kind: Kind::Trust,
        channel: TRUST_CHANNEL.to_owned(),
        sequence: number,
        source: None,
        manifest: None,
        audience: None,
        location: args.url.clone(),
        log: None,
    })
}

/// Judges the new file by its proof as endpoints with the one before will. Returns the reason if it takes more signers.
fn is_taken(current: &TrustFile, bytes: &[u8], proof: &Path) -> Result<Option<String>, Failure> {
    let proof = files::read(proof, "a proof file", MAX_PROOF_BYTES)?;
    match current.succeed(bytes, &[&proof]) {
        Ok(_) => Ok(None),
        Err(error @ TrustUpdateError::TooFewSigners { .. }) => Ok(Some(shown(&error.to_string()))),
        Err(error) => {
            Err(Failure::from(error).and("the log has the release, and endpoints will refuse it so"))
        }
    }
}
