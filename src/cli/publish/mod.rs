//! `treehead publish`: one release (`one.rs`) or many (`many.rs`).

pub mod args;
mod artifact;
mod many;
mod one;
mod proofs;
mod report;
mod sequence;
mod target;

use args::Publish;

use super::exit::{CliResult, Failure};
use super::files;
use crate::release::PublisherSigner;
pub use target::sign;

pub fn run(args: &Publish, json: bool) -> CliResult {
    let key = files::read_secret(&args.key)?;
    let signer = PublisherSigner::from_pem(&key).map_err(|e| Failure::file(&args.key, &e))?;
    match &args.from {
        Some(from) => many::publish(args, from, &signer, json),
        None => one::publish(args, &signer, json),
    }
}
