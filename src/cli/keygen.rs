//! `treehead keygen`: makes a key pair.

use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::exit::{CliResult, Failure};
use super::values::{NAME, is_name};
use super::{files, output};
use crate::format::quote;
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::release::{PublisherSigner, check_publisher_name};

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum KeyKind {
    /// Signs tree heads
    Log,
    /// Cosigns tree heads
    Witness,
    /// Signs releases
    Publisher,
}

/// Make a key pair
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead keygen publisher --name example-vendor --out publisher.pem     also writes publisher.pub
  treehead keygen witness --name witness.example.com --out witness.key    also writes witness.vkey
  treehead keygen log --algorithm ml-dsa-44 --name log.example.com --out log.mldsa.key

openssl makes publisher keys as well:
  openssl genpkey -algorithm ed25519 -out publisher.pem && openssl pkey -in publisher.pem -pubout -out publisher.pub")]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AlgorithmArg {
    Ed25519,
    /// Post-quantum
    #[value(name = "ml-dsa-44")]
    MlDsa44,
}

pub fn run(args: &Keygen, json: bool) -> CliResult {
    check_name(args.kind, &args.name).map_err(|expected| {
        Failure::Usage(format!("--name: expected {expected}, saw {}", quote(&args.name)))
    })?;
    let seed = random_seed()?;
    let public_path = public_path(&args.out, args.kind)?;
    let (secret, public, id) = match (args.kind, args.algorithm) {
        (KeyKind::Publisher, Some(AlgorithmArg::MlDsa44)) => {
            return Err(Failure::Usage(
                "--algorithm: expected ed25519 for a publisher's key, saw ml-dsa-44".to_owned(),
            ));
        }
        (KeyKind::Log | KeyKind::Witness, Some(AlgorithmArg::MlDsa44)) => {
            note_key(&args.name, SignatureType::CosignatureMlDsa44, &seed)?
        }
        (KeyKind::Log, _) => note_key(&args.name, SignatureType::Ed25519, &seed)?,
        (KeyKind::Witness, _) => note_key(&args.name, SignatureType::CosignatureEd25519, &seed)?,
        (KeyKind::Publisher, _) => {
            let key = PublisherSigner::from_seed(&seed);
            (key.to_pem(), key.public_pem(), key.keyid().to_hex())
        }
    };
    files::create_new(&args.out, secret.as_bytes(), 0o600)?;
    if let Err(e) = files::create_new(&public_path, public.as_bytes(), 0o644) {
        // A secret key without its public half is useless.
        let _ = std::fs::remove_file(&args.out);
        return Err(e);
    }
    let (secret, public) = (args.out.display(), public_path.display());
    let next = match args.kind {
        KeyKind::Publisher => format!(
            "Next: treehead publisher add DIR --name {} --key {public} --purl PATTERN --kind KIND\n",
            args.name
        ),
        KeyKind::Log | KeyKind::Witness => String::new(),
    };
    output::result(
        json,
        &json!({ "ok": true, "secret": secret.to_string(), "public": public.to_string(), "id": id }),
        &format!("secret key  {secret} (keep it; mode 600)\npublic key  {public}\nkey ID      {id}\n{next}"),
    )
}

/// A key is named after its owner.
fn check_name(kind: KeyKind, name: &str) -> Result<(), &'static str> {
    match kind {
        KeyKind::Publisher => check_publisher_name(name),
        KeyKind::Log | KeyKind::Witness => is_name(name).then_some(()).ok_or(NAME),
    }
}

/// Reads 32 bytes from the operating system's random source.
pub fn random_seed() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|e| Failure::CouldNotTell(format!("the system has no randomness to give: {e}")))?;
    Ok(seed)
}

type KeyTexts = (Zeroizing<String>, String, String);

fn note_key(name: &str, kind: SignatureType, seed: &[u8; 32]) -> Result<KeyTexts, Failure> {
    let name = KeyName::new(name).map_err(|e| Failure::Usage(e.to_string()))?;
    let signer = NoteSigner::from_seed(name, kind, seed);
    let secret = Zeroizing::new(format!("{}\n", *signer.to_secret()));
    Ok((secret, format!("{}\n", signer.public()), signer.public().id().to_string()))
}

/// The path of the public key: `log.vkey` beside `log.key`, `publisher.pub` beside `publisher.pem`.
fn public_path(secret: &Path, kind: KeyKind) -> Result<PathBuf, Failure> {
    let extension = match kind {
        KeyKind::Log | KeyKind::Witness => "vkey",
        KeyKind::Publisher => "pub",
    };
    let public = secret.with_extension(extension);
    if public == secret {
        return Err(Failure::Usage(format!(
            "--out names the secret key: expected another ending than .{extension}"
        )));
    }
    Ok(public)
}
