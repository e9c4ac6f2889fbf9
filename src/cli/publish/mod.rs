//! `treehead publish`: one release (`one.rs`) or many (`many.rs`).

pub mod args;
mod artifact;
mod folder;
mod many;
mod one;
mod proofs;
mod report;
mod sequence;
mod target;

use args::Publish;

use super::exit::CliResult;
use super::files;
pub use target::sign;

pub fn run(args: &Publish, json: bool) -> CliResult {
    let signer = files::publisher_key(&args.key)?;
    match &args.from {
        Some(from) => many::publish(args, from, &signer, json),
        None => one::publish(args, &signer, json),
    }
}
