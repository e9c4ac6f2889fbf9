//! `treehead publish`: one release (`one.rs`) or many (`many.rs`).

pub mod args;
pub mod artifact;
mod folder;
mod many;
mod one;
mod proofs;
mod release;
mod report;
mod sequence;
pub mod target;

use args::Publish;
pub use artifact::Artifact;
pub use proofs::write as write_proof;
pub use release::About;
pub use report::{warning_line, warning_object};
pub use sequence::{choose, latest};
pub use target::{NOT_SENT, target, warn_of_another_signature};

use super::exit::CliResult;

pub fn run(args: &Publish, json: bool) -> CliResult {
    let signers = args.signers.open()?;
    match &args.from {
        Some(from) => many::publish(args, from, &signers, json),
        None => one::publish(args, &signers, json),
    }
}
