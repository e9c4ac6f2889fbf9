//! `treehead withdraw`: states that a release should not be used any more.

use std::io::{self, BufRead, IsTerminal as _};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile, Replacement};
use super::output;
use super::output::say;
use super::signers::{self, SignerArgs};
use super::trusting::TrustedHeads;
use super::values::parse_leaf;
use crate::checkpoint::policy::Policy;
use crate::client::{Appended, ProvenError, Wait, check_answer, proven_entry};
use crate::format::quote;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Envelope, Purl, Release, Withdrawal};
use crate::signing::Signers;

/// Added to errors before the withdrawal is signed.
const NOTHING_SIGNED: &str = "Nothing was signed or appended.";

/// Say that a release should not be used any more
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  treehead withdraw --log http://127.0.0.1:8080 --key publisher.pem --policy endpoint.policy \\
      --leaf 17 --purl pkg:generic/example/scanner@4.2.0 \\
      --reason 'It deletes files that it should not: see https://example.com/advisories/7'

It first proves that the release is that leaf of the log, and shows it. The release and the
withdrawal both stay in the log for ever. Only the publisher of a release can withdraw it. If you
run it again with the same reason, it adds nothing.")]
pub struct Withdraw {
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    #[command(flatten)]
    pub signers: SignerArgs,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// The release: its leaf index, as `treehead publish` told it and `GET /releases` shows it
    #[arg(long, value_name = "N", value_parser = parse_leaf)]
    pub leaf: LeafIndex,
    /// Package and version that the release must have; without it, you are asked at the terminal
    #[arg(long, value_name = "PURL", value_parser = parse_purl)]
    pub purl: Option<Purl>,
    /// Why, in a sentence or two for everybody to read; at most 1,024 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// State to wait for; a proof file needs `published` or `witnessed` [default: published]
    #[arg(long, value_enum)]
    pub wait: Option<Wait>,
    /// Where to write the proof file of the withdrawal
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub patience: Patience,
}

/// Parses the purl of a logged release, which an older version may have admitted.
fn parse_purl(text: &str) -> Result<Purl, String> {
    Purl::parse_logged(text).map_err(|e| e.to_string())
}

pub fn run(args: &Withdraw, json: bool) -> CliResult {
    if args.out.is_some() && args.wait == Some(Wait::Sequenced) {
        return Err(Failure::no_proof_yet("--out"));
    }
    let signers = args.signers.open()?;
    let policy = args.trusted.required()?;
    // A withdrawal can't be taken back: everything that can fail locally fails before.
    let out = args.out.as_ref().map(|out| files::prepare_out(out, OutFile::Proof)).transpose();
    let out = out.map_err(|e| e.and("nothing was signed or appended"))?;
    let log = Connection::open(&args.log, args.patience, say)?;
    let fetched = log.ask("show what is withdrawn", |client| proven_entry(client, &policy, args.leaf));
    let (origin, entry) = fetched.map_err(not_proven)?;
    let withdrawal = Withdrawal::of(args.leaf, &entry, &args.reason).map_err(|e| {
        let message = format!("leaf {} can't be withdrawn: expected a release, saw {e}", args.leaf);
        Failure::refused("withdrawal-mismatch", message, NOTHING_SIGNED)
    })?;
    let withdrawal = Withdrawal { log: Some(origin.to_string()), ..withdrawal };
    let payload = withdrawal.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    consent(args, &withdrawal.purl, &describe(args.leaf, &entry, &signers)?)?;
    let envelope = signers::sign(&signers, payload)?;
    append(args, &log, &policy, &withdrawal, &envelope.to_entry(), out, json)
}

fn append(
    args: &Withdraw,
    log: &Connection,
    policy: &Policy,
    withdrawal: &Withdrawal,
    entry: &[u8],
    place: Option<Replacement>,
    json: bool,
) -> CliResult {
    let wait = args.wait.unwrap_or_default();
    let Appended { index, duplicate, leaf_hash, .. } =
        log.ask("publish the withdrawal", |client| client.append(entry, wait)).map_err(Failure::append)?;
    if let Some(place) = place {
        // The same statement sent again is the same leaf; this time the answer is its proof.
        let proof = log.ask("send the proof", |client| client.add(entry, wait));
        let proof = proof.map_err(Failure::append).and_then(|proof| {
            check_answer(&proof, entry, Some(&policy.log_keys()))?;
            place.finish(proof.to_string().as_bytes())
        });
        proof.map_err(|e| {
            e.and(&format!(
                "leaf {} is withdrawn all the same, by leaf {index}; for the proof, run the command again",
                args.leaf
            ))
        })?;
    }
    let (purl, leaf, out) = (&withdrawal.purl, args.leaf, args.out.as_ref().map(|out| out.display()));
    let told = match (duplicate, wait) {
        (true, _) => {
            format!("{purl}, leaf {leaf}, was withdrawn before: by leaf {index}; nothing was added\n")
        }
        (false, Wait::Sequenced) => {
            format!("{purl}, leaf {leaf}, is withdrawn by leaf {index}, durable and not published yet\n")
        }
        (false, _) => format!("{purl}, leaf {leaf}, is withdrawn by leaf {index}\n"),
    };
    let proof = out.as_ref().map(|out| format!("proof  {out}\n")).unwrap_or_default();
    output::result(
        json,
        &json!({
            "ok": true, "purl": purl.as_str(), "withdraws": leaf.get(), "index": index.get(), "duplicate": duplicate,
            "leaf_hash": leaf_hash.to_hex(), "proof": out.map(|out| out.to_string()),
        }),
        &(told + &proof),
    )
}

/// Makes a failure of an entry that could not be proven. A withdrawal can't be undone, so no unproven entry will do.
fn not_proven(error: ProvenError) -> Failure {
    let message = error.to_string();
    let code = match error {
        ProvenError::Client(e) => return Failure::unsigned(e),
        ProvenError::NoLeaf { .. } => "withdrawal-unknown-leaf",
        ProvenError::NotIncluded { .. } => "not-included",
        _ => "no-quorum",
    };
    Failure::refused(code, message, NOTHING_SIGNED)
}

/// Describes in lines what is about to be withdrawn.
fn describe(leaf: LeafIndex, entry: &[u8], signers: &Signers) -> Result<Vec<String>, Failure> {
    let read = |e| Failure::refused("withdrawal-mismatch", format!("leaf {leaf}: {e}"), NOTHING_SIGNED);
    let envelope = Envelope::parse_entry(entry).map_err(read)?;
    let release = Release::parse(envelope.payload()).map_err(read)?;
    let Release { purl, kind, channel, sequence, subjects, .. } = &release;
    let mut lines = vec![
        format!("leaf       {leaf}"),
        format!("release    {purl} ({kind}, {channel}, sequence {sequence})"),
    ];
    lines.extend(
        subjects
            .iter()
            .map(|subject| format!("artifact   {} {}", subject.sha256.to_hex(), quote(&subject.name))),
    );
    // A keyid proves nothing: anybody can write it beside another signature.
    let missing = signers.missing_in(&envelope);
    let is_ours = |keyid: &Hash| signers.keys().any(|key| key.keyid() == *keyid);
    lines.extend(envelope.signatures().iter().map(|(keyid, _)| {
        let whose = if is_ours(keyid) && !missing.contains(keyid) {
            "this very key"
        } else if is_ours(keyid) {
            "this key's id, but not its signature"
        } else {
            "another key: the log decides whether it is the same publisher's"
        };
        format!("publisher  key {} ({whose})", keyid.to_hex())
    }));
    Ok(lines)
}

/// Requires the release that `--purl` names, or a `yes` at the terminal.
fn consent(args: &Withdraw, purl: &Purl, described: &[String]) -> CliResult {
    described.iter().for_each(|line| say(line));
    match &args.purl {
        Some(expected) if expected == purl => Ok(()),
        Some(expected) => {
            let message = format!("leaf {} is another release: expected {expected}, saw {purl}", args.leaf);
            Err(Failure::refused("withdrawal-mismatch", message, NOTHING_SIGNED))
        }
        None if args.signers.takes_stdin() || !(io::stdin().is_terminal() && io::stderr().is_terminal()) => {
            Err(Failure::Usage(format!(
                "expected --purl with package and version, or a terminal to ask at, because a withdrawal can't be undone; if you mean this release, run the command again with --purl {purl}"
            )))
        }
        None => {
            say("A withdrawal can't be undone. To withdraw the release, type yes:");
            if is_yes(&mut io::stdin().lock()) {
                return Ok(());
            }
            Err(Failure::Usage(format!("expected yes; leaf {} was not withdrawn", args.leaf)))
        }
    }
}

fn is_yes(input: &mut impl BufRead) -> bool {
    let mut line = String::new();
    input.read_line(&mut line).is_ok_and(|_| line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::{describe, is_yes};
    use crate::merkle::LeafIndex;
    use crate::release::Envelope;
    use crate::release::tests::{publisher_signer, sample_release, signed_entry};
    use crate::signing::{SecretKey, Signer, Signers};

    fn no_passphrase() -> Result<zeroize::Zeroizing<Vec<u8>>, crate::format::FormatError> {
        unreachable!("it is not encrypted")
    }

    #[test]
    fn a_keyid_alone_is_not_this_very_key() {
        let (this, other) = (publisher_signer(1), publisher_signer(2));
        let key = SecretKey::parse(this.to_pem().as_bytes(), no_passphrase).unwrap();
        let signers = Signers::new(vec![Signer::local(key)]).unwrap();
        let told = |entry: &[u8]| describe(LeafIndex::new(0).unwrap(), entry, &signers).unwrap().join("\n");
        let own = signed_entry(&sample_release(b"x"), &[&this]);
        assert!(told(&own).contains("(this very key)"));
        let foreign = String::from_utf8(signed_entry(&sample_release(b"x"), &[&other])).unwrap();
        let forged = foreign.replace(&other.keyid().to_hex(), &this.keyid().to_hex());
        assert!(Envelope::parse_entry(forged.as_bytes()).is_ok() && forged != foreign);
        let told = told(forged.as_bytes());
        assert!(told.contains("(this key's id, but not its signature)"), "{told}");
    }

    #[test]
    fn only_yes_is_one() {
        for (typed, expected) in [
            ("yes\n", true),
            (" yes \r\n", true),
            ("y\n", false),
            ("no\n", false),
            ("", false),
            ("yes please", false),
        ] {
            assert_eq!(is_yes(&mut typed.as_bytes()), expected, "{typed:?}");
        }
    }
}
