//! `treehead keygen`: makes a key pair.

use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::exit::{CliResult, Failure};
use super::values::{NAME, is_name};
use super::{files, output, passphrase};
use crate::format::quote;
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::release::{KeyFamily, check_publisher_name};
use crate::signing::SecretKey;

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
  treehead keygen publisher --name example-vendor --algorithm ml-dsa-44 --encrypt --out pq.pem
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
    /// Algorithm; ECDSA is for publishers only [default: ed25519]
    #[arg(long, value_enum)]
    pub algorithm: Option<AlgorithmArg>,
    /// Put a publisher's key under a passphrase: from the variable `TREEHEAD_PASSPHRASE`, or you are asked at the terminal
    #[arg(long)]
    pub encrypt: bool,
    /// Put a publisher's key under the passphrase in this file (mode 600)
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AlgorithmArg {
    Ed25519,
    /// Post-quantum
    #[value(name = "ml-dsa-44")]
    MlDsa44,
    /// For tokens and clouds that know nothing else
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    #[value(name = "ecdsa-p384")]
    EcdsaP384,
}

pub fn run(args: &Keygen, json: bool) -> CliResult {
    check_name(args.kind, &args.name).map_err(|expected| {
        Failure::Usage(format!("--name: expected {expected}, saw {}", quote(&args.name)))
    })?;
    let public_path = public_path(&args.out, args.kind)?;
    let (secret, public, id) = match (args.kind, args.algorithm) {
        (KeyKind::Publisher, algorithm) => publisher_key(args, algorithm.unwrap_or(AlgorithmArg::Ed25519))?,
        _ if args.encrypt || args.passphrase_file.is_some() => {
            let message = "--encrypt and --passphrase-file: expected a publisher's key, saw a log's or witness's: servers start without anybody to ask";
            return Err(Failure::Usage(message.to_owned()));
        }
        (_, Some(AlgorithmArg::EcdsaP256 | AlgorithmArg::EcdsaP384)) => {
            let message =
                "--algorithm: expected ed25519 or ml-dsa-44 for a log's or witness's key, saw ECDSA";
            return Err(Failure::Usage(message.to_owned()));
        }
        (_, Some(AlgorithmArg::MlDsa44)) => {
            note_key(&args.name, SignatureType::CosignatureMlDsa44, &*random_seed()?)?
        }
        (KeyKind::Log, _) => note_key(&args.name, SignatureType::Ed25519, &*random_seed()?)?,
        (KeyKind::Witness, _) => note_key(&args.name, SignatureType::CosignatureEd25519, &*random_seed()?)?,
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

/// Makes a publisher's key, under a passphrase if that is wanted.
fn publisher_key(args: &Keygen, algorithm: AlgorithmArg) -> Result<KeyTexts, Failure> {
    let family = match algorithm {
        AlgorithmArg::Ed25519 => KeyFamily::Ed25519,
        AlgorithmArg::MlDsa44 => KeyFamily::MlDsa44,
        AlgorithmArg::EcdsaP256 => KeyFamily::EcdsaP256,
        AlgorithmArg::EcdsaP384 => KeyFamily::EcdsaP384,
    };
    // Random bytes that are no key on a curve are so rare that another try is one too many to test.
    let key = SecretKey::from_random(family, &*random()?).map_err(|e| Failure::Usage(e.to_string()))?;
    let secret = if args.encrypt || args.passphrase_file.is_some() {
        let what = args.out.display().to_string();
        let passphrase = passphrase::new(&what, args.passphrase_file.as_deref())?;
        key.to_encrypted_pem(&passphrase, &*random()?, *random()?)
    } else {
        key.to_pem()
    };
    Ok((secret, key.public().to_pem(), key.public().keyid().to_hex()))
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
    random()
}

/// Reads bytes from the operating system's random source.
fn random<const BYTES: usize>() -> Result<Zeroizing<[u8; BYTES]>, Failure> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut())
        .map_err(|e| Failure::CouldNotTell(format!("the system has no randomness to give: {e}")))?;
    Ok(bytes)
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
