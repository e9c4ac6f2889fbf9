//! `treehead trust update`: an endpoint learns the next trust files.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::exit::CliResult;
use crate::cli::files;
use crate::cli::output::{result, say};
use crate::cli::trusting::trust_file;
use crate::endpoint::{MAX_TRUST_BYTES, TrustDir};
use crate::proof::MAX_PROOF_BYTES;

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The trust file that the endpoint was given; it counts unless the state remembers one that is as new
    file: PathBuf,
    /// The next trust file
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// Proof file or bundle of the release that states it; may be repeated where several are counted together
    #[arg(long, value_name = "FILE", required = true)]
    proof: Vec<PathBuf>,
    /// Folder of the endpoint's state, which remembers the newest trust file as endpoint.trust
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

pub fn run(args: &Update, json: bool) -> CliResult {
    let given = trust_file(&args.file)?;
    let new = files::read(&args.new, "a trust file", MAX_TRUST_BYTES)?;
    let proofs = args.proof.iter().map(|path| files::read(path, "a proof file", MAX_PROOF_BYTES));
    let proofs = proofs.collect::<Result<Vec<_>, _>>()?;
    let proofs: Vec<&[u8]> = proofs.iter().map(Vec::as_slice).collect();
    let waiting = |path: &Path| {
        say(&format!("waiting for {}, which another treehead process holds", path.display()));
    };
    let trust = TrustDir::new(&args.state);
    let before = trust.newest(given.clone())?.number();
    let learned = trust.learn(given, &new, &proofs, &waiting)?;
    let is_new = learned.number() > before;
    let object = json!({ "ok": true, "number": learned.number(), "learned": is_new });
    let line = if is_new {
        format!("trusts {} instead of {before}\n", learned.number())
    } else {
        format!("trusts {} already\n", learned.number())
    };
    result(json, &object, &line)
}
