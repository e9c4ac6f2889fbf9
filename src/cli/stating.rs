//! Signs a statement for a log, appends it, and saves its proof, for `attest`, `open`, `import` and `trust publish`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile, Replacement};
use super::output;
use super::publish::target::{NOT_SENT, target, warn_of_another_signature};
use super::publish::write_proof;
use super::signers::{self, SignerArgs};
use super::trusting::TrustedHeads;
use crate::checkpoint::LogKey;
use crate::client::{Appended, Wait, check_answer};
use crate::release::Statement;
use crate::signing::Signers;

/// The log, the key, and what to do with the proof.
#[derive(Debug, Clone, ClapArgs)]
pub struct Stating {
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    #[command(flatten)]
    pub signers: SignerArgs,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// Origin of the log that is meant: sign for no other one, whatever answers at --log
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Sign and send nothing: show the statement
    #[arg(long)]
    pub dry_run: bool,
    /// State to wait for; proof files need `published` or `witnessed` [default: published]
    #[arg(long, value_enum, hide_possible_values = false)]
    pub wait: Option<Wait>,
    #[command(flatten)]
    pub patience: Patience,
}

/// A log that is ready for statements.
pub struct Ready<'a> {
    args: &'a Stating,
    log: Connection,
    signers: Signers,
    keys: Option<Vec<LogKey>>,
    /// The log's origin.
    pub origin: String,
}

impl Stating {
    /// Reads the key, and asks the log for its origin.
    pub fn ready(&self, json: bool) -> Result<Ready<'_>, Failure> {
        self.ready_with(self.signers.open()?, json)
    }

    /// Like [`ready`](Self::ready), with keys that were read before.
    pub fn ready_with(&self, signers: Signers, json: bool) -> Result<Ready<'_>, Failure> {
        let log = Connection::open(&self.log, self.patience, output::say)?;
        let (keys, origin) = target(&self.trusted, self.origin.as_deref(), &log, json)?;
        Ok(Ready { args: self, log, signers, keys, origin })
    }

    /// The place of a proof, if there will be one: what can't be written is found out before anything is sent.
    pub fn place(&self, path: &Path) -> Result<Option<Replacement>, Failure> {
        if self.dry_run || self.wait == Some(Wait::Sequenced) {
            return Ok(None);
        }
        files::prepare_out(path, OutFile::Proof).map(Some).map_err(|e| e.and(NOT_SENT))
    }
}

impl Ready<'_> {
    /// URI of the key, for statements that name whoever made them.
    pub fn key_uri(&self) -> String {
        let keyid = self.signers.keys().next().map(|key| key.keyid().to_hex());
        format!("urn:treehead:key:{}", keyid.unwrap_or_default())
    }

    /// Signs a statement, appends it, and writes its proof; with `--dry-run`, only shows it. Returns what was done, as JSON
    /// and in lines.
    pub fn state(&self, payload: Vec<u8>, place: Option<Replacement>) -> Result<(Value, String), Failure> {
        let usage = |e: crate::format::FormatError| Failure::Usage(e.to_string());
        let description = Statement::parse(&payload).map_err(usage)?.describe();
        let title = description.title;
        if self.args.dry_run {
            let (mut object, lines) = output::description(description);
            object["ok"] = true.into();
            object["dry_run"] = true.into();
            return Ok((object, lines + "nothing was sent\n"));
        }
        let kind = Value::from(description.object)["what"].clone();
        let entry = signers::sign(&self.signers, payload)?.into_entry();
        let wait = self.args.wait.unwrap_or_default();
        let appended = self.log.ask("publish the statement", |client| client.append(&entry, wait));
        let Appended { index, duplicate, leaf_hash, .. } = appended.map_err(Failure::append)?;
        let path = place.as_ref().map(|place| place.path().display().to_string());
        if let Some(place) = place {
            self.save(&entry, wait, place).map_err(|e| {
                e.and(&format!("the statement is in the log all the same, as leaf {index}; for the proof, run the command again"))
            })?;
        }
        let state = if wait == Wait::Sequenced { ", durable and not published yet" } else { " of the log" };
        let mut lines = format!("{title} is leaf {index}{state}\n");
        if duplicate {
            lines += "the log already had it; nothing was added\n";
        }
        lines += &path.as_ref().map(|path| format!("proof  {path}\n")).unwrap_or_default();
        let object = json!({
            "ok": true, "what": kind, "log": self.origin, "index": index.get(), "duplicate": duplicate,
            "leaf_hash": leaf_hash.to_hex(), "proof": path,
        });
        Ok((object, lines))
    }

    /// The same statement sent again is the same leaf; this time the answer is its proof.
    fn save(&self, entry: &[u8], wait: Wait, place: Replacement) -> CliResult {
        let proof =
            self.log.ask("send the proof", |client| client.add(entry, wait)).map_err(Failure::append)?;
        check_answer(&proof, entry, self.keys.as_deref())?;
        warn_of_another_signature(&proof, self.signers.keys());
        write_proof(&proof, place, &self.log)
    }
}

/// The path of the proof of a statement about a file: `FILE.review.tlog-proof`.
pub fn proof_path(file: &Path, kind: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(format!(".{kind}.tlog-proof"));
    path.into()
}
