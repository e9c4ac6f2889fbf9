//! `treehead statement`: writes the statement of a release, and the bytes to sign.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args as ClapArgs};

use super::connection::{Connection, Patience};
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile};
use super::output::{self, say};
use super::publish::args::parse_numbering;
use super::publish::{About, Artifact, choose, latest, target};
use super::signers;
use super::trusting::TrustedHeads;
use super::values::{parse_kind, parse_purl};
use crate::client::Numbering;
use crate::merkle::Hash;
use crate::release::{Envelope, Kind, PublicKey, Purl, Release};

/// Write the statement of a release, for another tool to sign
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("where").required(true).multiple(true).args(["log", "origin"]))]
#[command(after_help = "\
Example, with a key that only openssl has:
  treehead statement scanner-4.2.0.tar.gz --log https://log.example.com --kind build \\
      --purl pkg:generic/example/scanner@4.2.0 --channel stable --sequence 42 --out statement.json
  openssl dgst -sha256 -sign key.pem -out statement.sig statement.json.pae
  treehead submit statement.json --signature statement.sig --public-key key.pub \\
      --log https://log.example.com --out scanner-4.2.0.tar.gz.tlog-proof

The bytes to sign are the file that ends in .pae, every one of them: the statement with a line
before it that says what it is (DSSE). docs/signing.md has more tools.")]
pub struct StatementArgs {
    /// Artifacts of the release; NAME=FILE gives a name other than the file's own
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Address of the log that the statement is for
    #[arg(long, value_name = "URL")]
    pub log: Option<String>,
    /// Origin of the log that the statement is for; without --log, nothing is asked over the network
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// Kind of release
    #[arg(long, value_parser = parse_kind, value_name = "build|update|detection-rules|trust")]
    pub kind: Kind,
    /// Package and version, as in pkg:generic/example/scanner@4.2.0
    #[arg(long, value_parser = parse_purl)]
    pub purl: Purl,
    /// Who gets it, by track, as in stable
    #[arg(long)]
    pub channel: String,
    /// Counter that only grows for this package and channel: a number; `auto` for the number after the log's highest, whose
    /// release one of --public-key must have signed; `time` for the time in UTC
    #[arg(long, value_name = "N|auto|time", value_parser = parse_numbering)]
    pub sequence: Numbering,
    /// What it was built from, as in `git+https://example.com/scanner@gitCommit:<hex>`
    #[arg(long, value_name = "URI@DIGEST")]
    pub source: Option<String>,
    /// Who the release is for, if it is not for everyone
    #[arg(long)]
    pub audience: Option<String>,
    /// With --sequence auto: publisher's public key; repeatable
    #[arg(long = "public-key", value_name = "FILE", requires = "log")]
    pub public_keys: Vec<PathBuf>,
    /// Where to write the statement; the bytes to sign go to FILE.pae
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub patience: Patience,
}

pub fn run(args: &StatementArgs, json: bool) -> CliResult {
    let StatementArgs { kind, purl, channel, sequence, .. } = args;
    let about = About {
        kind: *kind,
        purl,
        channel,
        sequence: *sequence,
        source: args.source.as_deref(),
        audience: args.audience.as_deref(),
        manifest: None,
    };
    let release = about.release(&Artifact::all(&args.files)?)?;
    let pae_path = pae_path(&args.out);
    let places = (
        files::prepare_out(&args.out, OutFile::Statement)?,
        files::prepare_out(&pae_path, OutFile::BytesToSign)?,
    );
    let release = addressed(args, release, json)?;
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let message = Envelope::message_of(&payload);
    places.0.finish(&payload)?;
    places.1.finish(&message)?;
    let (mut object, mut lines) = output::description(release.describe());
    let (out, pae) = (args.out.display().to_string(), pae_path.display().to_string());
    let digest = Hash::digest(&message).to_hex();
    lines += &format!("statement {out}\nto sign   {pae} ({} bytes, SHA-256 {digest})\n", message.len());
    lines += &format!(
        "Next: sign all bytes of {pae}, and then: treehead submit {out} --signature SIGNATURE --public-key PUBLIC --log URL\n"
    );
    object["ok"] = true.into();
    object["log"] = release.log.into();
    object["statement"] = out.into();
    object["to_sign"] = pae.into();
    object["to_sign_sha256"] = digest.into();
    output::result(json, &object, &lines)
}

/// The release with its log and its number.
fn addressed(args: &StatementArgs, release: Release, json: bool) -> Result<Release, Failure> {
    let Some(url) = &args.log else {
        let sequence = match args.sequence {
            Numbering::Next => {
                return Err(Failure::Usage(
                    "--sequence auto: expected --log, to ask for the highest number, saw --origin alone"
                        .to_owned(),
                ));
            }
            numbering => choose(numbering, None, &release)?,
        };
        return Ok(Release { log: args.origin.clone(), sequence, ..release });
    };
    let log = Connection::open(url, args.patience, say)?;
    let (_, origin) = target(&args.trusted, args.origin.as_deref(), &log, json)?;
    let release = Release { log: Some(origin), ..release };
    let keys =
        args.public_keys.iter().map(|path| signers::public_key(path, None)).collect::<Result<Vec<_>, _>>()?;
    let latest = match (args.sequence, keys.as_slice()) {
        (Numbering::Number(_), _) => None,
        (_, []) => {
            return Err(Failure::Usage(
                "--sequence auto and time: expected --public-key, to ask for the highest number of its publisher, saw none"
                    .to_owned(),
            ));
        }
        (_, [first, ..]) => latest(&log, &release, &first.keyid(), |envelope| {
            keys.iter().any(|key: &PublicKey| crate::signing::has_signed(key, envelope))
        })?,
    };
    let sequence = choose(args.sequence, latest.as_ref(), &release)?;
    Ok(Release { sequence, ..release })
}

fn pae_path(statement: &Path) -> PathBuf {
    let mut path = statement.as_os_str().to_owned();
    path.push(".pae");
    path.into()
}
