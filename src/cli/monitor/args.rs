//! What `treehead monitor` takes.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::ack::AckArgs;
use super::init::Init;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Monitor {
    /// Settings of the monitor
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Follow every log to its present head, deliver what there is to tell, and end: for cron
    #[arg(long)]
    pub once: bool,
    #[command(subcommand)]
    pub command: Option<MonitorCommand>,
}

#[derive(Debug, Subcommand)]
pub enum MonitorCommand {
    /// Make the settings of a monitor in a directory
    #[command(after_help = "\
Example:
  treehead monitor init mymonitor --log https://log.example.com --policy monitor.policy \\
      --publishers publishers.toml")]
    Init(Init),
    /// Acknowledge alerts, or silence some for a while
    #[command(after_help = "\
Examples:
  treehead monitor ack --config monitor.toml --list
  treehead monitor ack --config monitor.toml 3fa9c1d2
  treehead monitor ack --config monitor.toml --silence witness-missing --for 7d")]
    Ack(AckArgs),
}
