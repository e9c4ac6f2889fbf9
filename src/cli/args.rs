//! The command line, with help that teaches by example.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::addresses::{parse_listen, parse_name};
use crate::client::Wait;
use crate::endpoint::PackagePin;
use crate::merkle::LeafIndex;
use crate::release::{Kind, Purl, PurlPattern};

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
pub struct Args {
    /// Results as JSON on stdout, one object per line, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Also trust the certificates in this PEM file for https
    #[arg(long, global = true, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell the whole story on this machine: a log, releases, proofs, and forgeries being refused
    #[command(after_help = "Example:\n  treehead demo --keep /tmp/treehead-demo")]
    Demo(Demo),
    /// Make a new log in a directory
    #[command(after_help = "\
Example:
  treehead init mylog --origin log.example.com/releases
  treehead serve mylog

It writes treehead.toml (settings), log.key and log.mldsa.key (secret, mode 600), log.vkey and
log.mldsa.vkey (public), endpoint.policy (what endpoints trust), publishers.toml (who may publish)
and checkpoint (the signed, empty tree).

With witnesses, whose operators gave you their cards:
  treehead init mylog --origin log.example.com/releases --quorum 2 \\
      --witness w1/card.toml --witness w2/card.toml --witness w3/card.toml")]
    Init(Init),
    /// Print the policy that endpoints need for a log, as its settings say
    #[command(after_help = "\
Examples:
  treehead policy mylog --out mylog/endpoint.policy     after a change of its witnesses
  treehead policy mylog --urls --out monitor.policy     for `treehead monitor`")]
    Policy(Policy),
    /// Serve a log over HTTP until SIGINT or SIGTERM
    #[command(after_help = "Example:\n  treehead serve mylog --listen 127.0.0.1:8080")]
    Serve(Serve),
    /// Make a key pair
    #[command(after_help = "\
Examples:
  treehead keygen publisher --name example-vendor --out publisher.pem     also writes publisher.pub
  treehead keygen witness --name witness.example.com --out witness.key    also writes witness.vkey
  treehead keygen log --algorithm ml-dsa-44 --name log.example.com --out log.mldsa.key

openssl makes publisher keys as well:
  openssl genpkey -algorithm ed25519 -out publisher.pem && openssl pkey -in publisher.pem -pubout -out publisher.pub")]
    Keygen(Keygen),
    /// Say who may publish
    Publisher(super::publisher::args::Publisher),
    /// Sign releases and append them to a log
    #[command(after_help = "\
Examples:
  treehead publish scanner-4.2.0.tar.gz --log http://127.0.0.1:8080 --key publisher.pem \\
      --kind build --purl pkg:generic/example/scanner@4.2.0 --channel stable --sequence 42
  treehead publish linux-scanner=linux/scanner mac-scanner=mac/scanner --out proofs/ ...
  treehead publish scanner-4.2.1.tar.gz ... --sequence auto --dry-run
  treehead publish --from releases.jsonl --log http://127.0.0.1:8080 --key publisher.pem \\
      --proofs proofs

The first writes scanner-4.2.0.tar.gz.tlog-proof: ship it beside the artifact. The second gives
names to two files that are both called scanner. If a file's own name has a =, write ./a=b. The
third shows the statement it would sign, with the number after the log's highest.

The last publishes one release per line, as in
  {\"purl\":\"pkg:generic/example/scanner@4.2.0\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":42,
   \"artifacts\":[{\"name\":\"scanner-4.2.0.tar.gz\",\"sha256\":\"<64 hex digits>\"}]}
It logs the releases of one package and channel in the order of their lines, and writes each proof
to proofs/<leaf hash>.tlog-proof. --json prints an object for each line, in order, and then a
summary. You can run any of these again at any time: the log adds nothing twice.")]
    Publish(super::publish::args::Publish),
    /// Say that a release should not be used any more
    #[command(after_help = "\
Example:
  treehead withdraw --log http://127.0.0.1:8080 --key publisher.pem --policy endpoint.policy \\
      --leaf 17 --purl pkg:generic/example/scanner@4.2.0 \\
      --reason 'It deletes files that it should not: see https://example.com/advisories/7'

It first proves that the release is that leaf of the log, and shows it. The release and the
withdrawal both stay in the log for ever. Only the publisher of a release can withdraw it. If you
run it again with the same reason, it adds nothing.")]
    Withdraw(super::withdraw::Withdraw),
    /// Fetch the proof files of artifacts from a log
    #[command(after_help = "\
Examples:
  treehead prove scanner-4.2.0.tar.gz --log http://127.0.0.1:8080
  treehead prove scanner-4.2.0.tar.gz scanner-4.2.0.sig --log http://127.0.0.1:8080 \\
      --purl pkg:generic/example/scanner@4.2.0 --publisher example-vendor --policy endpoint.policy

If several releases of one package have the artifact, it takes the newest that was not withdrawn,
and says so. If several packages or publishers have it, say which one you mean.")]
    Prove(super::prove::Prove),
    /// Check an artifact offline, before it is installed
    #[command(after_help = "\
Examples:
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --publishers publishers.toml
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --state /var/lib/endpoint
  treehead verify dist/*.tar.gz --policy endpoint.policy --json    a line for each
  treehead verify /tmp/download --proof scanner-4.2.0.tar.gz.tlog-proof --policy endpoint.policy \\
      --name scanner-4.2.0.tar.gz --purl pkg:generic/example/scanner@4.2.0 --channel stable
  treehead verify scanner-4.2.0.tar.gz --policy endpoint.policy --state /var/lib/endpoint \\
      --online https://log.example.com --report https://monitor.example.org

Say as much as you know about the release you want: any other genuine release is then refused. A
file with the name of another artifact of its release is always refused, and so is a release for an
audience that you did not ask for.

With --state, the endpoint remembers what it saw. It later refuses older releases, releases in
another channel, withdrawn releases, and for ever a log that showed it another history. It saves
proof of a fork, and the larger head of a log that shrank, in the folder `evidence` of the state.
With --online, it compares everything it remembers with the log of today; now and then is enough.
Exit code 3 means that it could not tell, for example if publishers.toml does not list the key of a
withdrawal. Reports change no verdict. docs/endpoints.md has the details.")]
    Verify(super::verify::args::Verify),
    /// Check offline whether a file proves that a log signed two histories
    #[command(after_help = "\
Example:
  treehead verify-evidence 7d5f8b1c2a3e4d6f-3-5-9a8b7c6d.tlog-fork --policy endpoint.policy

Exit code 0 says that the log forked: anybody who trusts its key can check it with the same file.
Exit code 1 says that the file proves nothing. Of the policy the keys count, not the quorum. The
format, and what to do with such a file: docs/fork-evidence.md")]
    VerifyEvidence(VerifyEvidence),
    /// Say in words what a proof file, checkpoint, entry, policy, public key or fork evidence holds
    #[command(after_help = "Example:\n  treehead inspect scanner-4.2.0.tar.gz.tlog-proof")]
    Inspect(Inspect),
    /// Re-hash every entry and tile of a log up to its signed root
    #[command(after_help = "\
Examples:
  treehead fsck mylog                                           a directory, also while it is served
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy  anyone, from outside
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy \\
      --since scanner-4.2.0.tar.gz.tlog-proof
  treehead fsck mylog --rebuild                                    make sled anew from the journal

Where two heads that the log signed contradict each other, it writes a .tlog-fork file, which proves
that to anybody: treehead verify-evidence.")]
    Fsck(Fsck),
    /// Write a log as a static tlog-tiles tree that any web server or CDN can serve
    #[command(after_help = "\
Example:
  treehead export mylog /var/www/log

Works while the log is served. Run again, it adds what is new; the checkpoint is written last.")]
    Export(Export),
    /// Serve a witness, which cosigns what a log grows to, until SIGINT or SIGTERM
    #[command(after_help = "\
Examples:
  treehead witness init mywitness --name witness.example.com/w1 --url https://witness.example.com
  treehead witness add-log mywitness log.vkey
  treehead witness mywitness --listen 127.0.0.1:9001

It remembers one tree head for each log, and cosigns only what is proven to have grown out of it.
Never run it on an older copy of its directory: docs/witness.md")]
    Witness(super::witness::args::Witness),
    /// Follow logs: re-hash all that they hold, tell what is suspicious, compare tree heads with others
    #[command(after_help = "\
Examples:
  treehead monitor init mymonitor --log http://127.0.0.1:8080 --policy monitor.policy
  treehead monitor --config mymonitor/monitor.toml           until SIGINT or SIGTERM
  treehead monitor --config mymonitor/monitor.toml --once    for cron

Each event is a line of JSON on standard output. What was told, and how far the monitor is, survives
a kill. With --once, exit code 1 says that alerts are open. Settings and events: docs/monitor.md")]
    Monitor(super::monitor::args::Monitor),
    /// Drive a log with appends, measure, and check that what it acknowledged is in it
    #[command(after_help = "\
Examples:
  treehead load --log http://127.0.0.1:8080 --writers 256 --duration 30s     as fast as it can
  treehead load --log http://127.0.0.1:8080 --rate 2000 --duration 5m --vkey log.vkey
  treehead load --log http://127.0.0.1:8080 --batch 500 --key publisher.pem \\
      --purl pkg:generic/example/load@1.0.0

What is appended stays for ever: use a log of your own. With --rate, latency counts from when a
request was due, sent late or not, so that a stall is seen in full; without, from when it was sent.
Statements of --key are signed before the clock starts, up to 65,536 of them.
Ctrl-C ends the run early; what was acknowledged is still checked.")]
    Load(Load),
    /// Copy a log, also while it is served, and check the copy
    #[command(after_help = "\
Examples:
  treehead backup mylog /backup/mylog
  treehead backup mylog /safe/mylog --with-key     with the secret key: keep it as you keep that

Works while the log is served. Run again, it copies what is new. Everything is read back and
re-hashed up to the signed root before the backup counts. `treehead restore` makes a log of it.")]
    Backup(Backup),
    /// Make a log of a backup; never in place of a newer one
    #[command(after_help = "\
Example:
  treehead restore /backup/mylog mylog

A backup is older than what the world has seen. Before the restored log is served, bring it up to
that:
  treehead repair mylog --from https://mirror.example.com/log")]
    Restore(Restore),
    /// Mend a damaged log with entries of a backup, an export or a mirror
    #[command(after_help = "\
Examples:
  treehead repair mylog --from /backup/mylog
  treehead repair mylog --from /var/www/log                      an export
  treehead repair mylog --from https://mirror.example.com/log    any tlog-tiles log or mirror

The server must not run. What checks of the log's own journal is kept, the rest is fetched, and all
of it is compared with the signed root before anything is replaced. The old journal stays beside the
new one.")]
    Repair(Repair),
}

#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Leave everything in this directory for a look; it must be empty or not exist
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ProfileArg {
    /// Signed release statements by registered publishers
    Release,
    /// Any bytes up to 65,535; nothing is checked
    Opaque,
}

#[derive(Debug, ClapArgs)]
pub struct Init {
    /// Directory to make; it must be empty or not exist
    pub dir: PathBuf,
    /// Identity of the log for its whole life: its public address without https://
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub origin: String,
    /// What the log admits
    #[arg(long, value_enum, default_value = "release")]
    pub profile: ProfileArg,
    /// Sign with Ed25519 alone, not with the post-quantum ML-DSA-44 as well
    #[arg(long)]
    pub no_pq: bool,
    /// Card of a witness that has to be asked, as `treehead witness init` writes it; repeat for more
    #[arg(long = "witness", value_name = "CARD", requires = "quorum")]
    pub witnesses: Vec<PathBuf>,
    /// How many of the witnesses have to agree before a tree head is published
    #[arg(long, value_name = "K", requires = "witnesses")]
    pub quorum: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub struct Policy {
    /// Directory of the log
    pub dir: PathBuf,
    /// Keep the URLs of the witnesses, for monitors
    #[arg(long)]
    pub urls: bool,
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct Serve {
    /// Directory of the log
    pub dir: PathBuf,
    /// Address to listen on; overrides treehead.toml
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub listen: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KeyKind {
    /// Signs tree heads
    Log,
    /// Cosigns tree heads
    Witness,
    /// Signs releases
    Publisher,
}

#[derive(Debug, ClapArgs)]
pub struct Keygen {
    /// What the key is for
    pub kind: KeyKind,
    /// Name of the key: a log's origin, a witness's address, a publisher's name
    #[arg(long)]
    pub name: String,
    /// File for the secret key (mode 600); the public key goes beside it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Algorithm of a log's or witness's key [default: ed25519]
    #[arg(long, value_enum)]
    pub algorithm: Option<AlgorithmArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AlgorithmArg {
    Ed25519,
    /// Post-quantum
    #[value(name = "ml-dsa-44")]
    MlDsa44,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitArg {
    /// Durable, with an index; no proof file is written
    Sequenced,
    /// In a signed checkpoint that everybody is shown
    Published,
    /// In a checkpoint with the quorum of the log's witnesses
    Witnessed,
}

impl From<WaitArg> for Wait {
    fn from(arg: WaitArg) -> Self {
        match arg {
            WaitArg::Sequenced => Self::Sequenced,
            WaitArg::Published => Self::Published,
            WaitArg::Witnessed => Self::Witnessed,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct VerifyEvidence {
    /// The .tlog-fork file
    pub file: PathBuf,
    /// Logs whose keys count, and witnesses to name
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The file
    pub file: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Fsck {
    /// Directory or address of the log
    #[arg(value_name = "DIR|URL")]
    pub log: String,
    /// Policy with the log's key; needed for an address
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Throw sled away and make it anew from the journal; the server must not run
    #[arg(long)]
    pub rebuild: bool,
    /// An older checkpoint or proof file of the log that somebody kept: today's log has to continue it
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Where the proof goes if the log forked
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub evidence: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Export {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory to write the tree to
    pub out: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Load {
    /// Address of the log: http:// only, behind the proxy that does TLS
    #[arg(long, value_name = "URL")]
    pub log: String,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub writers: u16,
    /// Entries a second in all [default: as fast as answers come]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Bytes of an entry, 16 to 65,535
    #[arg(long, value_name = "B", default_value_t = 1_024, conflicts_with = "key", value_parser = clap::value_parser!(u16).range(16..))]
    pub size: u16,
    /// How long, as in 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: u64,
    /// Entries in a request, 1 to 4,096; more than one go to /add-batch
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub batch: u16,
    /// State to wait for
    #[arg(
        long,
        value_enum,
        default_value = "published",
        hide_possible_values = true,
        value_name = "sequenced|published|witnessed"
    )]
    pub wait: WaitArg,
    /// How many of the acknowledged leaves are compared with the log's: all, or 2,000 at random
    #[arg(
        long,
        value_enum,
        default_value = "sample",
        hide_possible_values = true,
        value_name = "all|sample"
    )]
    pub check: CheckArg,
    /// Policy to check the log's tree heads with
    #[arg(long, value_name = "FILE", conflicts_with = "vkey")]
    pub policy: Option<PathBuf>,
    /// The log's public key, to check its tree heads with
    #[arg(long, value_name = "FILE")]
    pub vkey: Option<PathBuf>,
    /// Publisher's secret key: entries are release statements that it signs
    #[arg(long, value_name = "FILE", requires = "purl")]
    pub key: Option<PathBuf>,
    /// Package and version that the statements are of
    #[arg(long, value_parser = parse_purl, requires = "key")]
    pub purl: Option<Purl>,
    /// Channel of the statements; two runs at once need two
    #[arg(long, default_value = "load", requires = "key")]
    pub channel: String,
    /// Kind of the statements
    #[arg(long, value_parser = parse_kind, value_name = "build|update|detection-rules", default_value = "build", requires = "key")]
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckArg {
    /// All that are remembered, up to a million
    All,
    /// At most 2,000 at random
    Sample,
}

#[derive(Debug, ClapArgs)]
pub struct Backup {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory of the backup; made if need be
    pub out: PathBuf,
    /// Copy log.key and log.mldsa.key too (mode 600)
    #[arg(long)]
    pub with_key: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Restore {
    /// Directory of the backup
    pub backup: PathBuf,
    /// Directory of the log: new, empty, or an older state of the same log
    pub dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Repair {
    /// Directory of the log
    pub dir: PathBuf,
    /// A backup, another copy of the log's directory, an export, or the address of a log or mirror
    #[arg(long, value_name = "DIR|URL")]
    pub from: String,
}

pub fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| "expected build, update or detection-rules".to_owned())
}

pub fn parse_purl(text: &str) -> Result<Purl, String> {
    Purl::parse(text).map_err(|e| e.to_string())
}

pub fn parse_pin(text: &str) -> Result<PackagePin, String> {
    PackagePin::parse(text).map_err(|e| e.to_string())
}

pub fn parse_leaf(text: &str) -> Result<LeafIndex, String> {
    LeafIndex::parse(text).ok_or_else(|| "expected a decimal without leading zeros".to_owned())
}

pub fn parse_pattern(text: &str) -> Result<PurlPattern, String> {
    PurlPattern::parse(text).map_err(|e| e.to_string())
}

/// Seconds out of `90s`, `15m`, `24h` or `7d`.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number and a unit, as in 90s, 15m, 24h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    let count = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let count: u64 = count.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    count.checked_mul(seconds).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("24h"), Ok(86_400));
        assert_eq!(parse_duration("90s"), Ok(90));
        for bad in ["", "h", "24", "1.5h", "-1h", "+1h", "24 h", "99999999999999999d", "1é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
