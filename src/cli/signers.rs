//! The options of the keys that sign a statement: secret keys from files, variables and standard input, and commands that
//! reach keys elsewhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use zeroize::Zeroizing;

use super::connection::parse_timeout;
use super::exit::Failure;
use super::output::say;
use super::values::parse_scheme;
use super::{files, passphrase};
use crate::format::{FormatError, base64_decode, quote};
use crate::release::{Envelope, KeyFamily, MAX_KEY_BYTES, PublicKey};
use crate::signing::{SecretKey, SignError, Signer, SignerCommand, Signers};

/// Largest secret key, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Before the name of the environment variable that holds a key.
const VARIABLE: &str = "env:";

/// The keys that sign
#[derive(Debug, Clone, ClapArgs)]
pub struct SignerArgs {
    /// Publisher's secret key: a file (mode 600), env:NAME for an environment variable, or - for standard input. Several
    /// keys make several signatures
    #[arg(long = "key", value_name = "FILE|env:NAME|-", required_unless_present = "signers")]
    pub keys: Vec<PathBuf>,
    /// Passphrase of encrypted keys: a file (mode 600). Without it: the variable `TREEHEAD_PASSPHRASE`, or you are asked
    /// at the terminal
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Command that signs what it reads, for a key in a token, an agent or a cloud: docs/signing.md. Repeatable
    #[arg(long = "signer", value_name = "COMMAND", requires = "public_keys")]
    pub signers: Vec<String>,
    /// Public key of each --signer, in the same order
    #[arg(long = "public-key", value_name = "FILE", requires = "signers")]
    pub public_keys: Vec<PathBuf>,
    /// Longest time that a --signer may take for one signature
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_timeout)]
    pub signer_timeout: Duration,
    /// Scheme of the RSA keys among --public-key that don't name one [default: rsa-pkcs1-sha256]
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, requires = "public_keys")]
    pub scheme: Option<KeyFamily>,
}

impl SignerArgs {
    /// Reads the keys, and prepares the commands. Nothing is signed yet.
    pub fn open(&self) -> Result<Signers, Failure> {
        let mut signers = secret_keys(&self.keys, self.passphrase_file.as_deref())?;
        if self.signers.len() != self.public_keys.len() {
            let (commands, keys) = (self.signers.len(), self.public_keys.len());
            return Err(Failure::Usage(format!(
                "expected one --public-key for each --signer, in the same order, saw {commands} --signer and {keys} --public-key"
            )));
        }
        for (line, public) in self.signers.iter().zip(&self.public_keys) {
            let command = SignerCommand::parse(line, self.signer_timeout, say);
            let command = command.map_err(|e| Failure::Usage(format!("--signer: {e}")))?;
            signers.push(Signer::command(
                command.without_variables(self.variables()),
                public_key(public, self.scheme)?,
            ));
        }
        Signers::new(signers).map_err(|e| Failure::Usage(e.to_string()))
    }

    /// True if a key is read from standard input, so that nobody can be asked there.
    pub fn takes_stdin(&self) -> bool {
        self.keys.iter().any(|key| is_stdin(key))
    }

    /// The environment variables that hold secrets.
    fn variables(&self) -> Vec<String> {
        let of_keys = self.keys.iter().filter_map(|key| variable(key)).map(ToOwned::to_owned);
        of_keys.chain([passphrase::VARIABLE.to_owned()]).collect()
    }
}

/// Reads secret keys: files, `env:NAME` or `-`.
pub fn secret_keys(keys: &[PathBuf], passphrase_file: Option<&Path>) -> Result<Vec<Signer>, Failure> {
    keys.iter().map(|key| secret(key, passphrase_file).map(Signer::local)).collect()
}

fn secret(key: &Path, passphrase_file: Option<&Path>) -> Result<SecretKey, Failure> {
    let (name, bytes) = if let Some(name) = variable(key) {
        (PathBuf::from(format!("the variable {name}")), from_variable(name)?)
    } else if is_stdin(key) {
        (PathBuf::from("standard input"), from_stdin()?)
    } else {
        (key.to_owned(), files::read_publisher_secret(key)?)
    };
    SecretKey::parse(&bytes, || {
        passphrase::of(&name.display().to_string(), passphrase_file).map_err(Unread::Passphrase)
    })
    .map_err(|e| match e {
        Unread::Key(e) => Failure::file(&name, &e),
        Unread::Passphrase(failure) => failure,
    })
}

/// A secret key that could not be read.
enum Unread {
    Key(FormatError),
    Passphrase(Failure),
}

impl From<FormatError> for Unread {
    fn from(error: FormatError) -> Self {
        Self::Key(error)
    }
}

/// Reads a publisher's public key. `scheme` is that of an RSA key that does not name one.
pub fn public_key(path: &Path, scheme: Option<KeyFamily>) -> Result<PublicKey, Failure> {
    let parse = |bytes: &[u8]| match (PublicKey::parse(bytes, None)?, scheme) {
        (key, Some(_)) if key.family() == KeyFamily::RsaPkcs1Sha256 => PublicKey::parse(bytes, scheme),
        (key, _) => Ok(key),
    };
    files::parse(path, "a public key", MAX_KEY_BYTES, parse)
}

/// Signs a payload with every key.
pub fn sign(signers: &Signers, payload: Vec<u8>) -> Result<Envelope, Failure> {
    signers.sign(payload).map_err(Failure::from)
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        let message = error.to_string();
        match error {
            SignError::Envelope(_) => Self::Usage(message),
            SignError::Command(_) => Self::CouldNotTell(format!("{message}; nothing was sent")),
            SignError::WrongSignature { .. } => Self::refused(
                "signer-signature",
                message,
                "Nothing was sent. docs/signing.md has the protocol.",
            ),
        }
    }
}

/// The name of the environment variable that holds the key.
fn variable(key: &Path) -> Option<&str> {
    key.to_str()?.strip_prefix(VARIABLE)
}

fn is_stdin(key: &Path) -> bool {
    key == Path::new("-")
}

/// Reads a key from an environment variable: its text, or base64 of the file, which fits on one line.
fn from_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let value = std::env::var_os(name).map(|value| Zeroizing::new(value.into_encoded_bytes()));
    let value = value.filter(|value| !value.trim_ascii().is_empty()).ok_or_else(|| {
        Failure::Usage(format!(
            "the variable {} is not set, or empty: expected a secret key, as text or in base64; a file of that name is ./{VARIABLE}{name}",
            quote(name)
        ))
    })?;
    let lines = value.split(u8::is_ascii_whitespace);
    let dense = Zeroizing::new(lines.collect::<Vec<_>>().concat());
    let decoded = std::str::from_utf8(&dense).ok().and_then(base64_decode).map(Zeroizing::new);
    check_size(&format!("the variable {name}"), decoded.unwrap_or(value))
}

fn from_stdin() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    // No buffer in between, which would keep a copy of the key.
    let read = File::open("/dev/stdin")
        .and_then(|stdin| stdin.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e: io::Error| Failure::CouldNotTell(format!("could not read standard input: {e}")))?;
    check_size("standard input", bytes)
}

fn check_size(name: &str, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(Failure::Usage(format!(
            "{name} is no key: expected at most {MAX_SECRET_BYTES} bytes, saw {} or more",
            bytes.len()
        )));
    }
    Ok(bytes)
}
