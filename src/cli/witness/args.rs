//! The command line of `treehead witness`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::addresses::{parse_listen, parse_name};

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Witness {
    #[command(subcommand)]
    pub command: Option<WitnessCommand>,
    /// Directory of the witness
    #[arg(required = true)]
    pub dir: Option<PathBuf>,
    /// Address to listen on; overrides treehead-witness.toml
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum WitnessCommand {
    /// Make a new witness in a directory
    #[command(after_help = "\
Example:
  treehead witness init mywitness --name witness.example.com/w1 --url https://witness.example.com

It writes treehead-witness.toml (settings), witness.key and witness.mldsa.key (secret, mode 600),
logs.policy (the logs that it knows), heads.journal (what it cosigned) and card.toml: what the
operator of a log adds to treehead.toml.")]
    Init(WitnessInit),
    /// Let a witness cosign for a log; a running one takes it up within a second
    #[command(after_help = "\
Examples:
  treehead witness add-log mywitness log.vkey log.mldsa.vkey
  treehead witness add-log mywitness log.example.com/releases+1a2b3c4d+AdfG...
  treehead witness add-log mywitness sum.golang.org+033de0ae+Ac4z... --origin 'go.sum database tree'

It cosigns checkpoints that begin with the log's origin and that one of its keys signed.
Run again, it adds what is new.")]
    AddLog(WitnessAddLog),
}

#[derive(Debug, ClapArgs)]
pub struct WitnessInit {
    /// Directory to make; it must be empty or not exist
    pub dir: PathBuf,
    /// Name of the witness for its whole life: its public address without https://
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: String,
    /// Where logs reach it [default: the address to listen on]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = super::config::DEFAULT_LISTEN, value_parser = parse_listen)]
    pub listen: String,
    /// Cosign with Ed25519 alone: no ML-DSA-44, no subtrees
    #[arg(long)]
    pub no_pq: bool,
}

#[derive(Debug, ClapArgs)]
pub struct WitnessAddLog {
    /// Directory of the witness
    pub dir: PathBuf,
    /// Public keys of the log: as text, or files with one a line
    #[arg(value_name = "VKEY", required = true)]
    pub vkeys: Vec<String>,
    /// First line of the log's checkpoints [default: the name of its key]
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
}
