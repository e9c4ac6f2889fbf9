//! `treehead trust update`: an endpoint learns the next trust files.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::exit::{CliResult, Exit, Failure};
use crate::cli::files;
use crate::cli::output::result;
use crate::cli::trusting::{learn_online, news_json, say_waiting, trust_file};
use crate::cli::verify::args::parse_online;
use crate::endpoint::{MAX_TRUST_BYTES, TrustDir, Unlearned};
use crate::proof::MAX_PROOF_BYTES;

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The trust file that the endpoint was given; it counts unless the state remembers one that is as new
    file: PathBuf,
    /// The next trust file; with --online, if the log's release does not say where it lies
    #[arg(long, value_name = "FILE", required_unless_present = "online")]
    new: Option<PathBuf>,
    /// Proof file or bundle of the release that states it; may be repeated where several are counted together
    #[arg(long, value_name = "FILE", required_unless_present = "online", conflicts_with = "online")]
    proof: Vec<PathBuf>,
    /// Ask the log, at this address or the one in the trust file, for all newer ones and their proofs
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", value_parser = parse_online)]
    online: Option<String>,
    /// Folder of the endpoint's state, which remembers the newest trust file as endpoint.trust
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

pub fn run(args: &Update, json: bool) -> CliResult {
    let read = |path: &PathBuf| files::read(path, "a trust file", MAX_TRUST_BYTES);
    let new = args.new.as_ref().map(read).transpose()?;
    if let Some(address) = &args.online {
        return online(args, Some(address.as_str()).filter(|address| !address.is_empty()), new, json);
    }
    let given = trust_file(&args.file)?;
    let proofs = args.proof.iter().map(|path| files::read(path, "a proof file", MAX_PROOF_BYTES));
    let proofs = proofs.collect::<Result<Vec<_>, _>>()?;
    let proofs: Vec<&[u8]> = proofs.iter().map(Vec::as_slice).collect();
    let trust = TrustDir::new(&args.state);
    let before = trust.newest(given.clone())?.number();
    let learned = trust.learn(given, &new.unwrap_or_default(), &proofs, &say_waiting)?;
    tell(learned.number(), before, json)
}

/// Here the network is what was asked for: if it does not answer, or a newer file is not at hand, the command could not tell.
fn online(args: &Update, address: Option<&str>, new: Option<Vec<u8>>, json: bool) -> CliResult {
    let at_hand: Vec<Vec<u8>> = new.into_iter().collect();
    let news = learn_online(&args.file, &args.state, address, &at_hand)?;
    let (number, before) = (news.trusted.number(), news.before);
    match &news.unlearned {
        None => tell(number, before, json),
        Some(unlearned) => {
            if json {
                let mut object = news_json(&news);
                object["ok"] = false.into();
                object["learned"] = (number > before).into();
                result(true, &object, "")?;
            }
            Err(Failure::Told(match unlearned {
                Unlearned::Refused { .. } => Exit::Refused,
                _ => Exit::CouldNotTell,
            }))
        }
    }
}

fn tell(number: u64, before: u64, json: bool) -> CliResult {
    let is_new = number > before;
    let object = json!({ "ok": true, "number": number, "learned": is_new });
    let line = if is_new {
        format!("trusts {number} instead of {before}\n")
    } else {
        format!("trusts {number} already\n")
    };
    result(json, &object, &line)
}
