//! The `treehead` program: one file for each command, with its arguments. Exit codes stand in `exit.rs`, remedies in
//! `remedies.rs`.

mod attest;
mod backup;
mod batch;
mod bucket;
mod config;
mod connection;
mod demo;
mod evidence;
mod exit;
mod export;
mod files;
mod fsck;
mod gate;
mod import;
mod init;
mod inspect;
mod keygen;
mod keys;
mod load;
mod manifest;
mod monitor;
mod moving;
mod new_dir;
mod object_store;
mod open;
mod output;
mod passphrase;
mod policy;
mod prove;
mod publish;
mod publisher;
mod rebuild_check;
mod releases_file;
mod remedies;
mod repair;
mod restore;
mod serve;
mod serving;
mod settings;
mod signals;
mod signers;
mod sources;
mod statement;
mod stating;
mod store_check;
mod store_policy;
mod submit;
mod trust;
mod trusting;
mod values;
mod verify;
mod verify_evidence;
mod verify_statement;
mod withdraw;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::{MAX_CERTIFICATES_BYTES, trust_certificates};
use crate::format::shown;
use exit::{CliResult, Failure};

/// A transparency log for software vendors.
///
/// Every release is a leaf of an append-only Merkle tree; endpoints check, offline and before they
/// install anything, that what they were given is what everyone was given.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Start here:
  treehead demo                      the whole story on this machine, in seconds

Exit codes: 0 verified or done, 1 verification failed, 2 usage, 3 could not tell (network, missing
file)."
)]
struct Args {
    /// Results as JSON on stdout, one object per line, for machines
    #[arg(long, global = true)]
    json: bool,
    /// Also trust the certificates in this PEM file for https
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Policy(policy::Args),
    Trust(trust::Trust),
    Serve(serve::Serve),
    Keygen(keygen::Keygen),
    Publisher(publisher::args::Publisher),
    Publish(publish::args::Publish),
    Statement(statement::StatementArgs),
    Submit(submit::Submit),
    Withdraw(withdraw::Withdraw),
    Attest(attest::args::Attest),
    Open(open::Open),
    Import(import::Import),
    RebuildCheck(rebuild_check::RebuildCheck),
    Prove(prove::Prove),
    Verify(verify::args::Verify),
    Gate(gate::args::Gate),
    VerifyStatement(verify_statement::VerifyStatement),
    VerifyEvidence(verify_evidence::VerifyEvidence),
    Inspect(inspect::Inspect),
    Fsck(fsck::Args),
    Export(export::Args),
    Witness(witness::Witness),
    Monitor(monitor::args::Monitor),
    Manifest(manifest::Manifest),
    Load(load::Load),
    Backup(backup::Args),
    Restore(restore::Args),
    Repair(repair::Args),
    Move(moving::Args),
    StoreCheck(store_check::Args),
    StorePolicy(store_policy::Args),
}

/// Runs the program on the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return not_parsed(&error),
    };
    let json = args.json;
    let result = certificates(args.cacert.as_deref()).and_then(|()| run(args.command, json));
    exit::finish(result, json)
}

/// Help and version go out as they are. An error quotes arguments, which may be of somebody else's making.
fn not_parsed(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        error.render().to_string().lines().for_each(|line| output::say(&shown(line)));
    } else if let Err(e) = error.print() {
        return exit::finish(
            Err(Failure::CouldNotTell(format!("could not write to standard output: {e}"))),
            false,
        );
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Adds a file of certificates to those that every client of this process trusts.
fn certificates(cacert: Option<&Path>) -> CliResult {
    let Some(path) = cacert else { return Ok(()) };
    let pem = files::read_up_to(path, MAX_CERTIFICATES_BYTES + 1)?;
    trust_certificates(&pem).map(drop).map_err(|e| Failure::file(path, &e))
}

fn run(command: Command, json: bool) -> CliResult {
    match command {
        Command::Demo(args) => demo::run(&args, json),
        Command::Init(args) => init::run(&args, json),
        Command::Serve(args) => serve::run(&args),
        Command::Policy(args) => policy::run(&args, json),
        Command::Trust(args) => trust::run(&args, json),
        Command::Keygen(args) => keygen::run(&args, json),
        Command::Publisher(args) => publisher::run(&args, json),
        Command::Publish(args) => publish::run(&args, json),
        Command::Statement(args) => statement::run(&args, json),
        Command::Submit(args) => submit::run(&args, json),
        Command::Withdraw(args) => withdraw::run(&args, json),
        Command::Attest(args) => attest::run(&args, json),
        Command::Open(args) => open::run(&args, json),
        Command::Import(args) => import::run(&args, json),
        Command::RebuildCheck(args) => rebuild_check::run(&args, json),
        Command::Prove(args) => prove::run(&args, json),
        Command::Verify(args) => verify::run(&args, json),
        Command::Gate(args) => gate::run(&args, json),
        Command::VerifyStatement(args) => verify_statement::run(&args, json),
        Command::VerifyEvidence(args) => verify_evidence::run(&args, json),
        Command::Inspect(args) => inspect::run(&args, json),
        Command::Fsck(args) => fsck::run(&args, json),
        Command::Export(args) => export::run(&args, json),
        Command::Witness(args) => witness::run(&args, json),
        Command::Monitor(args) => monitor::run(&args, json),
        Command::Manifest(args) => manifest::run(&args, json),
        Command::Load(args) => load::run(&args, json),
        Command::Backup(args) => backup::run(&args, json),
        Command::Restore(args) => restore::run(&args, json),
        Command::Repair(args) => repair::run(&args, json),
        Command::Move(args) => moving::run(&args, json),
        Command::StoreCheck(args) => store_check::run(&args, json),
        Command::StorePolicy(args) => store_policy::run(&args, json),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
