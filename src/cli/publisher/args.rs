//! The arguments of `treehead publisher`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::values::{parse_pattern, parse_scheme};
use crate::release::{KeyFamily, PurlPattern, StatementKind, Timestamp, check_publisher_name, parse_time};

/// Say who may publish
#[derive(Debug, ClapArgs)]
pub struct Publisher {
    #[command(subcommand)]
    pub command: PublisherCommand,
}

#[derive(Debug, Subcommand)]
pub enum PublisherCommand {
    /// Register a publisher; a running log notices within a second
    #[command(after_help = "\
Example:
  treehead publisher add mylog --name example-vendor --key publisher.pub \\
      --purl 'pkg:generic/example/*' --kind build --kind update --kind detection-rules")]
    Add(PublisherAdd),
    /// Show who may publish what, and with which keys
    #[command(after_help = "Example:\n  treehead publisher list mylog")]
    List(PublisherList),
    /// Add a key to a publisher, for example to rotate its keys
    #[command(after_help = "\
Example:
  treehead publisher add-key mylog --name example-vendor --key second.pub
  treehead publisher expire mylog --keyid fd110d30 --at 2027-01-31T00:00:00Z

The old key goes on for a while, so that nothing that is on its way is refused. Keys are never removed:
nobody would trust what they signed any more.")]
    AddKey(PublisherAddKey),
    /// Stop accepting a key after a given time; what it signed before stays valid
    #[command(after_help = "\
Example:
  treehead publisher expire mylog --keyid fd110d30 --at 2027-01-31T00:00:00Z")]
    Expire(PublisherExpire),
    /// Revoke a stolen key: nothing that it ever signed is trusted any more
    #[command(after_help = "\
Example:
  treehead publisher revoke mylog --keyid fd110d30

Endpoints and monitors use their own copies of publishers.toml: ship them the new one.")]
    Revoke(PublisherRevoke),
}

#[derive(Debug, ClapArgs)]
pub struct PublisherAdd {
    /// Directory of the log
    pub dir: PathBuf,
    /// Name of the publisher; it can't be changed later
    #[arg(long, value_parser = parse_publisher_name)]
    pub name: String,
    /// Its public key: PEM or DER, an X.509 certificate, or a line of OpenSSH
    #[arg(long, value_name = "PUBLIC.pem")]
    pub key: PathBuf,
    /// How an RSA key signs: rsa-pkcs1-sha256 or rsa-pss-sha256
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme)]
    pub scheme: Option<KeyFamily>,
    /// Package it may publish, or a prefix of packages with a final `*`; repeat for more
    #[arg(long = "purl", value_name = "PATTERN", required = true, value_parser = parse_pattern)]
    pub purls: Vec<PurlPattern>,
    /// Kind it may state: build, update, detection-rules, trust, provenance, verification-summary, review,
    /// disclosure, sbom, vex, test-result, imported, or the URI of a predicate type; repeat for more
    #[arg(long = "kind", required = true, value_parser = parse_right, value_name = "KIND")]
    pub kinds: Vec<StatementKind>,
}

#[derive(Debug, ClapArgs)]
pub struct PublisherList {
    /// Directory of the log
    pub dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct PublisherAddKey {
    /// Directory of the log
    pub dir: PathBuf,
    /// Name of the publisher
    #[arg(long, value_parser = parse_publisher_name)]
    pub name: String,
    /// Its new public key: PEM or DER, an X.509 certificate, or a line of OpenSSH
    #[arg(long, value_name = "PUBLIC.pem")]
    pub key: PathBuf,
    /// How an RSA key signs: rsa-pkcs1-sha256 or rsa-pss-sha256
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme)]
    pub scheme: Option<KeyFamily>,
    /// First second in which the log accepts the key, as in 2026-01-31T12:00:00Z [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub not_before: Option<Timestamp>,
    /// Last second in which the log accepts the key [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub not_after: Option<Timestamp>,
}

#[derive(Debug, ClapArgs)]
pub struct PublisherExpire {
    /// Directory of the log
    pub dir: PathBuf,
    /// The key: its ID, or at least the first eight digits
    #[arg(long, value_name = "KEYID", value_parser = parse_keyid)]
    pub keyid: String,
    /// Last second in which the log accepts the key, as in 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<Timestamp>,
}

#[derive(Debug, ClapArgs)]
pub struct PublisherRevoke {
    /// Directory of the log
    pub dir: PathBuf,
    /// The key: its ID, or at least the first eight digits
    #[arg(long, value_name = "KEYID", value_parser = parse_keyid)]
    pub keyid: String,
}

fn parse_right(text: &str) -> Result<StatementKind, String> {
    StatementKind::parse_right(text).ok_or_else(|| format!("expected {}", StatementKind::rights()))
}

fn parse_publisher_name(text: &str) -> Result<String, String> {
    check_publisher_name(text).map_err(|expected| format!("expected {expected}"))?;
    Ok(text.to_owned())
}

/// Parses at least eight digits: shorter prefixes name the wrong key too easily.
fn parse_keyid(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits && (8..=64).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("expected 8 to 64 lower-case hex digits, as `treehead publisher list` shows them".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_time(text).map_err(|e| e.to_string())
}
