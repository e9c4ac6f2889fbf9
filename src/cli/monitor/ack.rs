//! Stub until the desk's own arrives.
use crate::cli::exit::CliResult;
use std::path::Path;
#[derive(Debug, clap::Args)]
pub struct AckArgs {}
pub fn run(_: &Path, _: &AckArgs, _: bool) -> CliResult {
    Ok(())
}
