//! `treehead monitor init`: a directory with the settings of a monitor, to be edited.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;

use super::config::{Config, SETTINGS};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files;
use crate::cli::new_dir::{self, NewFile};
use crate::cli::output::{self, BOLD};
use crate::cli::trusting::trust_file;
use crate::cli::values::parse_listen;
use crate::client::LogClient;
use crate::format::toml_string;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

#[derive(Debug, ClapArgs)]
pub struct Init {
    /// Directory to make; it must be empty or not exist
    pub dir: PathBuf,
    /// Address of the log
    #[arg(long, value_name = "URL")]
    pub log: String,
    /// Keys of the log, witnesses and quorum; `treehead policy DIR --urls` prints one with the addresses of
    /// the witnesses, which the monitor then asks, too
    #[arg(long, value_name = "FILE", required_unless_present = "trust")]
    pub policy: Option<PathBuf>,
    /// Whose statements are believed; without it, their signatures are not checked
    #[arg(long, value_name = "FILE")]
    pub publishers: Option<PathBuf>,
    /// A trust file, whose policy and publishers count, instead of both; it has no addresses of witnesses
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "publishers"])]
    pub trust: Option<PathBuf>,
    /// Address to serve heads, a page and metrics on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100", value_parser = parse_listen)]
    pub listen: String,
    /// The log admits anything: its entries are re-hashed, and not read
    #[arg(long)]
    pub opaque: bool,
}

pub fn run(args: &Init, json: bool) -> CliResult {
    let path = create(args)?;
    let path = path.display();
    output::result(
        json,
        &json!({ "ok": true, "config": path.to_string() }),
        &format!("made {path}; look into it, then:\n  {BOLD}treehead monitor --config {path}{BOLD:#}\n"),
    )
}

/// Makes the directory; where its settings are.
pub fn create(args: &Init) -> Result<PathBuf, Failure> {
    let mut made = Vec::new();
    if let Some(path) = &args.trust {
        made.push(NewFile::public("monitor.trust", trust_file(path)?.to_bytes()));
    }
    if let Some(path) = &args.policy {
        let policy = files::read(path, "a policy", MAX_POLICY_BYTES)?;
        Policy::parse(&policy).map_err(|e| Failure::file(path, &e))?;
        made.push(NewFile::public("monitor.policy", policy));
    }
    let publishers = args.publishers.as_deref().map(read_publishers).transpose()?;
    made.extend(publishers.map(|publishers| NewFile::public("publishers.toml", publishers)));
    // Before anything is made.
    LogClient::builder().build(&args.log)?;
    made.push(NewFile::public(SETTINGS, settings(args)));
    new_dir::make(&args.dir, "a monitor", &made)?;
    let path = args.dir.join(SETTINGS);
    // Read the file as a monitor does, so that errors appear now.
    drop(Config::load(&path)?);
    Ok(path)
}

fn read_publishers(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read(path, "a publishers file", MAX_PUBLISHERS_BYTES)?;
    Publishers::parse(&bytes).map_err(|e| Failure::file(path, &e))?;
    Ok(bytes)
}

fn settings(args: &Init) -> String {
    let trusted = match (&args.trust, &args.publishers) {
        (Some(_), _) => {
            "trust = \"monitor.trust\"             # its keys, witnesses and quorum, and whose statements are believed"
        }
        (None, Some(_)) => {
            "policy = \"monitor.policy\"           # its keys, witnesses and quorum\n\
             publishers = \"publishers.toml\"      # whose statements are believed"
        }
        (None, None) => {
            "policy = \"monitor.policy\"           # its keys, witnesses and quorum\n\
             # publishers = \"publishers.toml\"    # whose statements are believed; without it, signatures are not checked"
        }
    };
    let profile = if args.opaque {
        "profile = \"opaque\"                  # entries are re-hashed, and not read\n"
    } else {
        ""
    };
    format!(
        "# What this monitor follows, and whom it tells. All of it is explained in docs/monitor.md.\n\
         listen = {listen}           # heads, a page and metrics; take it away to serve nothing\n\
         interval = \"60s\"                    # between two looks\n\
         # contact = \"you@example.org\"       # told to the log with each request\n\
         \n\
         [[log]]\n\
         url = {url}\n\
         {trusted}\n\
         {profile}\
         # expect = \"ci-manifest.jsonl\"      # what should be released, as for `treehead publish --from`\n\
         \n\
         # [[peer]]                          # another monitor, to compare tree heads with\n\
         # name = \"review-centre\"\n\
         # url = \"https://monitor.example.net\"\n\
         \n\
         # [[watch]]                         # tell of what fits all of these\n\
         # name = \"scanner\"\n\
         # packages = [\"pkg:generic/example/*\"]\n\
         \n\
         # [[webhook]]                       # as standardwebhooks.com; the secret is whsec_<base64>, mode 600\n\
         # name = \"on-call\"\n\
         # url = \"https://alerts.example.org/hook\"\n\
         # secret = \"webhook.secret\"\n",
        listen = toml_string(&args.listen),
        url = toml_string(&args.log),
    )
}
