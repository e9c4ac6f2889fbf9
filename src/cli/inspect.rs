//! `treehead inspect`: shows what a file says, unverified.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::{CliResult, Failure};
use super::files;
use super::output::{self, BOLD, DIM, result};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy, PolicyLog};
use crate::checkpoint::{self, Checkpoint};
use crate::disk::note_of;
use crate::endpoint::head_json;
use crate::format::{FormatError, shown};
use crate::merkle::Hash;
use crate::note::{Note, NoteKey};
use crate::proof::fork::ForkEvidence;
use crate::proof::{MAX_PROOF_BYTES, ProofBundle, ProofFile};
use crate::release::{Envelope, Statement, SubmittedEnvelope, family_of_signature};

/// Say in words what a proof file, checkpoint, entry, policy, public key or fork evidence holds
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead inspect scanner-4.2.0.tar.gz.tlog-proof
  treehead inspect scanner-4.2.0.tar.gz.sbom.tlog-proof --body scanner.spdx.json")]
pub struct Inspect {
    /// The file
    pub file: PathBuf,
    /// A document at hand: a statement in the file has to have its digest, as that of a list of components or a report;
    /// repeat for more
    #[arg(long = "body", value_name = "FILE")]
    pub bodies: Vec<PathBuf>,
}

/// The beginning of fork evidence.
const FORK: &[u8] = b"treehead-fork@";

pub fn run(args: &Inspect, json: bool) -> CliResult {
    let path = &args.file;
    let bytes = files::read(path, "a file to inspect", MAX_POLICY_BYTES.max(MAX_PROOF_BYTES))?;
    // The checkpoint in a log's directory.
    let bytes = note_of(&bytes);
    let (mut object, mut lines) = read(path, &bytes)?;
    if !args.bodies.is_empty() {
        let (checked, told) = check_bodies(&statements(&bytes), &args.bodies)?;
        object["bodies"] = checked;
        lines += &told;
    }
    let command = if bytes.starts_with(FORK) { "verify-evidence" } else { "verify" };
    let _ = writeln!(lines, "{DIM}Nothing of this was verified: `treehead {command}` does that.{DIM:#}");
    result(json, &object, &lines)
}

fn read(path: &Path, bytes: &[u8]) -> Result<(Value, String), Failure> {
    let wrong = |e: &FormatError| Failure::file(path, e);
    if bytes.starts_with(b"PRIVATE+KEY+") || bytes.windows(11).any(|w| w == b"PRIVATE KEY") {
        return Err(Failure::Usage(format!(
            "{} is a secret key: nobody should look into it",
            path.display()
        )));
    }
    if bytes.starts_with(b"c2sp.org/tlog-proof@") {
        return ProofFile::parse(bytes).and_then(|proof| proof_file(&proof)).map_err(|e| wrong(&e));
    }
    if ProofBundle::is_one(bytes) {
        return ProofBundle::parse(bytes).and_then(|bundle| bundle_file(&bundle)).map_err(|e| wrong(&e));
    }
    if bytes.starts_with(FORK) {
        return ForkEvidence::parse(bytes).and_then(|fork| fork_evidence(&fork)).map_err(|e| wrong(&e));
    }
    if let Some(told) = super::manifest::inspect(bytes) {
        return told.map_err(|e| wrong(&e));
    }
    if bytes.starts_with(b"{") {
        return SubmittedEnvelope::parse(bytes).and_then(|envelope| sent(&envelope)).map_err(|e| wrong(&e));
    }
    if let Some(keys) = vkeys(bytes) {
        return Ok(keys);
    }
    let text = String::from_utf8_lossy(bytes);
    if text.contains("\n\n— ") {
        return checkpoint::read_unverified(bytes)
            .map(|(head, note)| tree_head(&head, &note))
            .map_err(|e| wrong(&e));
    }
    Policy::parse(bytes).map(|policy| policy_file(&policy)).map_err(|e| {
        let known = "a proof file, a bundle, fork evidence, a checkpoint, an entry, a vkey or a policy";
        Failure::Usage(format!("{}: expected {known}; read as a policy, {e}", path.display()))
    })
}

/// The statements in a proof file, a bundle or an entry.
fn statements(bytes: &[u8]) -> Vec<Statement> {
    let payload = |entry: &[u8]| Some(Envelope::parse_entry(entry).ok()?.payload().to_vec());
    let payloads: Vec<Vec<u8>> = if let Ok(bundle) = ProofBundle::parse(bytes) {
        bundle.entries.iter().filter_map(|(_, entry)| payload(entry)).collect()
    } else if let Ok(proof) = ProofFile::parse(bytes) {
        proof.extra.as_deref().and_then(payload).into_iter().collect()
    } else {
        SubmittedEnvelope::parse(bytes).map(|envelope| envelope.payload().to_vec()).into_iter().collect()
    };
    payloads.iter().filter_map(|payload| Statement::parse(payload).ok()).collect()
}

/// Checks that each document has the digest that a statement gives for one.
fn check_bodies(statements: &[Statement], bodies: &[PathBuf]) -> Result<(Value, String), Failure> {
    let (mut objects, mut lines) = (Vec::new(), String::new());
    for body in bodies {
        let digest = files::hash_artifact(body)?;
        let Some(stated) = statements.iter().find(|stated| stated.has_document(&digest)) else {
            let (body, digest) = (body.display(), digest.to_hex());
            let message = format!("{body} is no document of a statement in the file: its digest is {digest}");
            return Err(Failure::refused("other-document", message, ""));
        };
        let (body, title) = (body.display().to_string(), stated.describe().title);
        let _ = writeln!(lines, "body      {body} has the digest that {title} gives");
        objects.push(json!({ "file": body, "sha256": digest.to_hex(), "of": stated.kind().as_str() }));
    }
    Ok((objects.into(), lines))
}

/// Reads a file of vkeys, one on each line.
fn vkeys(bytes: &[u8]) -> Option<(Value, String)> {
    let keys = NoteKey::parse_lines(bytes).ok()?;
    let object = |key: &NoteKey| json!({ "name": key.name().as_str(), "id": key.id().to_string(), "type": key.kind().as_str() });
    let tell = |key: &NoteKey| {
        let (name, id, kind) = (key.name(), key.id(), key.kind().as_str());
        format!("name    {name}\nkey ID  {id}\ntype    {kind}\n")
    };
    Some(if let [key] = keys.as_slice() {
        let mut object = object(key);
        object["what"] = "vkey".into();
        (object, format!("{BOLD}a verifier key{BOLD:#}\n{}", tell(key)))
    } else {
        let count = keys.len();
        let object = json!({ "what": "vkeys", "keys": keys.iter().map(object).collect::<Vec<_>>() });
        let told: Vec<String> = keys.iter().map(tell).collect();
        (object, format!("{BOLD}{count} verifier keys{BOLD:#}\n{}", told.join("\n")))
    })
}

fn bundle_file(bundle: &ProofBundle) -> Result<(Value, String), FormatError> {
    let head = Checkpoint::parse(bundle.checkpoint.text())?;
    let (head_object, head_lines) = tree_head(&head, &bundle.checkpoint);
    let (count, hashes) = (bundle.entries.len(), bundle.proof.len());
    let entries = if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    let mut lines = format!("{BOLD}a bundle{BOLD:#} of {entries} of {}, with {hashes} hashes\n", head.size);
    let mut objects = Vec::new();
    for (index, bytes) in &bundle.entries {
        lines += &format!("\n{BOLD}leaf {index}{BOLD:#}\n");
        let mut object = json!({ "index": index.get() });
        match Envelope::parse_entry(bytes).and_then(|envelope| entry(&envelope)) {
            Ok((entry, words)) => {
                object["entry"] = entry;
                lines += &words;
            }
            Err(e) => {
                object["entry"] = Value::Null;
                lines += &format!("an entry that is no statement: {e}\n");
            }
        }
        objects.push(object);
    }
    let object = json!({ "what": "bundle", "entries": objects, "hashes": hashes, "checkpoint": head_object });
    Ok((object, format!("{lines}\n{head_lines}")))
}

fn proof_file(proof: &ProofFile) -> Result<(Value, String), FormatError> {
    let head = Checkpoint::parse(proof.checkpoint.text())?;
    let (head_object, head_lines) = tree_head(&head, &proof.checkpoint);
    let mut lines = format!(
        "{BOLD}a proof file{BOLD:#} for leaf {} of {}, with {} hashes\n",
        proof.index,
        head.size,
        proof.proof.len()
    );
    let mut object = json!({
        "what": "proof", "index": proof.index.get(), "hashes": proof.proof.len(), "checkpoint": head_object,
    });
    match proof.extra.as_deref() {
        None => lines.push_str("it carries no entry\n"),
        Some(extra) => match Envelope::parse_entry(extra).and_then(|envelope| entry(&envelope)) {
            Ok((entry_object, entry_lines)) => {
                lines.push_str(&entry_lines);
                object["entry"] = entry_object;
            }
            Err(e) => {
                let _ = writeln!(lines, "it carries {} bytes that are no statement ({e})", extra.len());
            }
        },
    }
    lines.push_str(&head_lines);
    Ok((object, lines))
}

fn fork_evidence(fork: &ForkEvidence) -> Result<(Value, String), FormatError> {
    let mut lines = format!("{BOLD}what is said to show a fork{BOLD:#}\n");
    let mut heads = Vec::new();
    for note in fork.notes() {
        let (object, told) = tree_head(&Checkpoint::parse(note.text())?, note);
        lines.push_str(&told);
        heads.push(object);
    }
    let prefix = fork.prefix().map(|prefix| {
        let (root, hashes) = (prefix.root.to_base64(), prefix.proof.len());
        let _ = writeln!(lines, "the larger tree is said to have had root {root}\nat the smaller size, with {hashes} hashes to prove it");
        json!({ "root": root, "hashes": hashes })
    });
    Ok((json!({ "what": "fork", "heads": heads, "prefix": prefix }), lines))
}

fn tree_head(head: &Checkpoint, note: &Note) -> (Value, String) {
    let signed_by: Vec<String> = note
        .signatures()
        .iter()
        .map(|line| format!("{} ({})", line.key_shown(), line.type_shown()))
        .collect();
    let lines = format!(
        "{BOLD}a tree head{BOLD:#} of {}\nsize    {}\nroot    {}\nsigned  by {}\n",
        head.origin,
        head.size,
        head.root.to_base64(),
        signed_by.join("\n        by ")
    );
    (head_json(head, note).into(), lines)
}

fn entry(envelope: &Envelope) -> Result<(Value, String), FormatError> {
    let (mut object, mut lines) = output::description(Statement::parse(envelope.payload())?.describe());
    let leaf = Hash::leaf(&envelope.to_entry());
    let signatures = envelope.signatures().iter();
    let (keys, families): (Vec<String>, Vec<&str>) =
        signatures.map(|(keyid, signature)| (keyid.to_hex(), family_of_signature(signature))).unzip();
    let signed: Vec<String> =
        keys.iter().zip(&families).map(|(key, family)| format!("by key {key} ({family})")).collect();
    let _ = writeln!(lines, "leaf      {}\nsigned    {}", leaf.to_hex(), signed.join("\n          "));
    object["leaf_hash"] = leaf.to_hex().into();
    object["keys"] = keys.into();
    object["families"] = families.into();
    Ok((object, lines))
}

/// Describes an envelope that was made elsewhere; with its leaf hash, if it names its keys as an entry does.
fn sent(envelope: &SubmittedEnvelope) -> Result<(Value, String), FormatError> {
    if let Ok(named) = envelope.clone().into_named() {
        return entry(&named);
    }
    let (mut object, mut lines) = output::description(Statement::parse(envelope.payload())?.describe());
    let hints: Vec<&str> = envelope.signatures().iter().map(|signature| signature.keyid.as_str()).collect();
    let families: Vec<&str> =
        envelope.signatures().iter().map(|signature| family_of_signature(&signature.sig)).collect();
    for (hint, family) in hints.iter().zip(&families) {
        let _ = match *hint {
            "" => writeln!(lines, "signed    by a key without a name ({family})"),
            hint => writeln!(lines, "signed    by key {} ({family})", shown(hint)),
        };
    }
    object["keys"] = hints.into();
    object["families"] = families.into();
    Ok((object, lines))
}

fn policy_file(policy: &Policy) -> (Value, String) {
    let log = |log: &PolicyLog| format!("{} ({})", shown(log.origin.as_str()), log.key.kind().as_str());
    let logs: Vec<String> = policy.logs().iter().map(log).collect();
    let witnesses: Vec<String> = policy
        .witnesses()
        .iter()
        .map(|w| {
            format!("{} ({}, {})", String::from_utf8_lossy(&w.name), w.key.name(), w.key.kind().as_str())
        })
        .collect();
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let quorum = policy.quorum_in_words();
    let mut lines = format!(
        "{BOLD}a policy{BOLD:#}\nlogs       {}\nwitnesses  {}\nquorum     {quorum}\n",
        list(&logs),
        list(&witnesses)
    );
    let mut object = json!({ "what": "policy", "logs": logs, "witnesses": witnesses, "quorum": quorum });
    if let Some(warning) = policy.split_warning() {
        let _ = writeln!(lines, "warning    {warning}");
        object["warnings"] = json!([warning]);
    }
    (object, lines)
}
