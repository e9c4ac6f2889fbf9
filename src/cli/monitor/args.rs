//! Arguments of `treehead monitor`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::init::Init;

/// Follow logs: re-hash all that they hold, tell what is suspicious, compare tree heads with others
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  treehead monitor init mymonitor --log http://127.0.0.1:8080 --policy monitor.policy
  treehead monitor --config mymonitor/monitor.toml           until SIGINT or SIGTERM
  treehead monitor --config mymonitor/monitor.toml --once    for cron

Each event is a line of JSON on standard output. What was told, and how far the monitor is, survives
a kill. With --once, exit code 1 says that alerts were told. Settings and events: docs/monitor.md")]
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
}
