//! `treehead withdraw`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::args::WaitArg;
use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::{files, output, publish};
use crate::checkpoint;
use crate::client::{Appended, LogClient, RemoteTiles, Wait};
use crate::merkle::{LeafIndex, TILE_WIDTH, Tile, TileId};
use crate::note::MAX_NOTE_BYTES;
use crate::policy::{MAX_POLICY_BYTES, Policy};
use crate::release::{Envelope, PublisherSigner, Withdrawal};

#[derive(Debug, ClapArgs)]
pub struct Withdraw {
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    /// Publisher's secret key (PKCS#8 PEM, mode 600)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The release: its leaf index, as `treehead publish` told it and `GET /releases` shows it
    #[arg(long, value_name = "N", value_parser = parse_leaf)]
    pub leaf: LeafIndex,
    /// Why, in a sentence or two for everybody to read; at most 1,024 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// State to wait for; a proof file needs `published` or `witnessed` [default: published]
    #[arg(long, value_enum)]
    pub wait: Option<WaitArg>,
    /// Where to write the proof file of the withdrawal
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Check the proof against this policy before it is written
    #[arg(long, value_name = "FILE", requires = "out")]
    pub policy: Option<PathBuf>,
    #[command(flatten)]
    pub patience: Patience,
}

fn parse_leaf(text: &str) -> Result<LeafIndex, String> {
    LeafIndex::parse(text).ok_or_else(|| "expected a decimal without leading zeros".to_owned())
}

pub fn run(args: &Withdraw, json: bool) -> CliResult {
    if args.out.is_some() && args.wait == Some(WaitArg::Sequenced) {
        return Err(Failure::Usage(
            "--out: what is only sequenced has no proof yet; expected --wait published or witnessed"
                .to_owned(),
        ));
    }
    let key = files::read_secret(&args.key)?;
    let signer = PublisherSigner::from_pem(&key).map_err(|e| Failure::file(&args.key, &e))?;
    let logs = match &args.policy {
        Some(path) => Some(files::parse(path, "a policy", MAX_POLICY_BYTES, Policy::parse)?.log_keys()),
        None => None,
    };
    let log = Connection::open(&args.log, args.patience, output::say)?;
    let entry = log.ask("show what is withdrawn", |client| Ok(fetch(client, args.leaf)))??;
    let withdrawal = withdrawal(args, &entry, &signer)?;
    let payload = withdrawal.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let envelope = Envelope::sign(payload, &[&signer]).map_err(|e| Failure::Usage(e.to_string()))?;
    let entry = envelope.to_entry();
    let wait = args.wait.map(Wait::from).unwrap_or_default();
    let Appended { index, duplicate, leaf_hash } =
        log.ask("publish the withdrawal", |client| client.append(&entry, wait)).map_err(Failure::append)?;
    if let Some(out) = &args.out {
        // Sent once more, the same statement is the same leaf; this time the answer is its proof.
        let proof = log.ask("send the proof", |client| client.add(&entry, wait));
        let proof = proof.map_err(Failure::append).and_then(|proof| {
            publish::check(&proof, &entry, logs.as_deref())?;
            files::replace(out, proof.to_string().as_bytes())
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

/// The entry of a leaf, as the log serves it. That is not proven to be so; what is withdrawn is what
/// the withdrawal says, and the log takes it only where its leaf says the same.
fn fetch(client: &LogClient, leaf: LeafIndex) -> Result<Vec<u8>, Failure> {
    let note = client.get("checkpoint", MAX_NOTE_BYTES)?;
    let (head, _) = checkpoint::read_unverified(&note)
        .map_err(|e| Failure::refused("checkpoint-malformed", e.to_string(), "Tell the log's operator."))?;
    let place = usize::try_from(leaf.get() % TILE_WIDTH).expect("below 256");
    let bundle = TileId::Entries { index: leaf.get() / TILE_WIDTH };
    let bundle = Tile::in_tree(bundle, head.size).filter(|tile| tile.width() > place).ok_or_else(|| {
        let message =
            format!("expected a published leaf to withdraw, saw leaf {leaf} in a log of {}", head.size);
        Failure::refused("withdrawal-unknown-leaf", message, "Nothing was appended.")
    })?;
    Ok(RemoteTiles(client).entries(bundle)?.swap_remove(place))
}

/// The withdrawal of what was fetched; the same bytes whenever it is made again.
fn withdrawal(args: &Withdraw, entry: &[u8], signer: &PublisherSigner) -> Result<Withdrawal, Failure> {
    let withdrawal = Withdrawal::of(args.leaf, entry, &args.reason).map_err(|e| {
        let message = format!("leaf {} can't be withdrawn: expected a release, saw {e}", args.leaf);
        Failure::refused("withdrawal-mismatch", message, "Nothing was appended.")
    })?;
    let by_this_key = Envelope::parse_entry(entry)
        .is_ok_and(|envelope| envelope.signatures().iter().any(|(keyid, _)| *keyid == signer.keyid()));
    if !by_this_key {
        output::say(&format!(
            "leaf {} was signed with another key: the log decides whether that is a key of the same publisher",
            args.leaf
        ));
    }
    Ok(withdrawal)
}
