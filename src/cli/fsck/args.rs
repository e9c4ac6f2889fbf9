//! Arguments of `treehead fsck`, and the files that they name.

use std::path::{Path, PathBuf};

use crate::checkpoint::policy::Policy;
use crate::checkpoint::{self, Checkpoint, LogSigned, SignsFor};
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::cli::object_store::StoreArgs;
use crate::cli::trusting::TrustedHeads;
use crate::disk::note_of;
use crate::endpoint::{Refusal, checkpoint_of};
use crate::proof::{MAX_PROOF_BYTES, ProofBundle};

/// Re-hash every entry and tile of a log up to its signed root
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead fsck mylog                                           a directory, also while it is served
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy  anyone, from outside
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy \\
      --since scanner-4.2.0.tar.gz.tlog-proof
  treehead fsck mylog --rebuild                                 make sled anew from the journal
  treehead fsck s3://releases/log --policy endpoint.policy      a log in a bucket, with credentials for it

For a log in a bucket, `fsck DIR` checks the bucket that the settings name: every batch, every tile
of the heads, and the index.

Where two heads that the log signed contradict each other, it writes a .tlog-fork file, which
proves that to anybody: treehead verify-evidence.")]
pub struct Args {
    /// Directory or address of the log, or its bucket
    #[arg(value_name = "DIR|URL|s3://BUCKET/PREFIX")]
    pub log: String,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Rebuild sled from the journal, or delete the cache of a log in a bucket; stop the server first
    #[arg(long)]
    pub rebuild: bool,
    /// An older checkpoint or proof file of the log that somebody kept: today's log has to continue it
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Where the proof goes if the log forked
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub evidence: PathBuf,
}

impl Args {
    /// The policy that an address needs.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        self.trusted.policy()?.ok_or_else(|| {
            let message =
                "an address needs --policy FILE or --trust FILE: without the log's key there is no signed root";
            Failure::Usage(message.to_owned())
        })
    }
}

/// Reads an older head that somebody kept: a checkpoint, or a proof file or bundle, which ends with one.
pub fn read_kept(path: &Path, keys: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, Failure> {
    // Perhaps a copy of the file in a log's directory.
    let bytes = note_of(&files::read(path, "a checkpoint, proof file or bundle", MAX_PROOF_BYTES)?);
    let note = if bytes.starts_with(b"c2sp.org/tlog-proof@") || ProofBundle::is_one(&bytes) {
        checkpoint_of(&bytes).map_err(|e| Failure::file(path, &e))?.to_string().into_bytes()
    } else {
        bytes
    };
    checkpoint::open(&note, keys).map_err(|e| Refusal::Checkpoint(e).into())
}
