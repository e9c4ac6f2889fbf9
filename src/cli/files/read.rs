//! Reading files: capped, regular files only, secrets only where nobody else can read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::Failure;
use crate::disk::open_plain;
use crate::endpoint;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::note::{NoteKey, NoteSigner};
use crate::release::{PublisherSigner, is_public_key_text};

/// Largest key file.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Reads a whole file of at most `limit` bytes.
pub fn read(path: &Path, what: &'static str, limit: usize) -> Result<Vec<u8>, Failure> {
    let bytes = read_up_to(path, limit + 1)?;
    crate::format::cap(what, bytes.len(), limit).map_err(|e| Failure::file(path, &e))?;
    Ok(bytes)
}

/// Reads the first `limit` bytes of a file, and no more.
pub fn read_up_to(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit as u64).read_to_end(&mut bytes);
    read.map_err(|e| Failure::io("read", path, &e))?;
    Ok(bytes)
}

/// Opens a file that the user named for reading. Accepts regular files only.
pub fn open(path: &Path) -> Result<File, Failure> {
    open_plain(path).map_err(|e| Failure::file_access("read", path, &e))
}

/// Reads a secret key file as text, and refuses one that others may read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let io = |e: io::Error| Failure::io("read", path, &e);
    // A shell's `<(pass show key)` is a pipe, but its writer runs already.
    let is_shells = ["/dev/fd", "/proc/self/fd"].iter().any(|fds| path.starts_with(fds));
    let file = if is_shells { File::open(path).map_err(io)? } else { open(path)? };
    let meta = file.metadata().map_err(io)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    let seen = bytes.len();
    if seen as u64 > MAX_KEY_BYTES {
        return Err(Failure::Usage(format!(
            "{} is no key: expected at most {MAX_KEY_BYTES} bytes, saw {seen} or more",
            path.display()
        )));
    }
    let text = crate::format::file_text("a key", &bytes);
    // Before its mode: nobody should be told to hide a public key.
    if text.as_ref().is_ok_and(|text| is_public_key(text)) {
        return Err(Failure::Usage(format!(
            "{} holds a public key: expected the secret key that belongs to it: `treehead keygen` writes that where --out says, and the public one beside it",
            path.display()
        )));
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::Usage(format!(
            "{} holds a secret that others can read: expected mode 600, saw {mode:03o}; run: chmod 600 {}",
            path.display(),
            path.display()
        )));
    }
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(|e| Failure::file(path, &e))
}

/// Whether this is the public key of a publisher, log or witness, and nothing else.
fn is_public_key(text: &str) -> bool {
    is_public_key_text(text) || NoteKey::parse(text.trim()).is_ok()
}

/// Hashes an artifact. Fails if it changes meanwhile: what was hashed has to be what is there.
pub fn hash_artifact(path: &Path) -> Result<Hash, Failure> {
    Ok(endpoint::hash_artifact(path)?)
}

/// Reads a policy.
pub fn policy(path: &Path) -> Result<Policy, Failure> {
    parse(path, "a policy", MAX_POLICY_BYTES, Policy::parse)
}

/// Reads the secret key of a log or witness. `hint` says how to bring it back.
pub fn note_signer(path: &Path, hint: &str) -> Result<NoteSigner, Failure> {
    let text = read_secret(path).map_err(|e| e.and(hint))?;
    NoteSigner::parse(text.trim()).map_err(|e| Failure::file(path, &e).and(hint))
}

/// Reads a publisher's secret key.
pub fn publisher_key(path: &Path) -> Result<PublisherSigner, Failure> {
    PublisherSigner::from_pem(&read_secret(path)?).map_err(|e| Failure::file(path, &e))
}

/// Reads and parses a file of at most `limit` bytes.
pub fn parse<T>(
    path: &Path,
    what: &'static str,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, Failure> {
    parse(&read(path, what, limit)?).map_err(|e| Failure::file(path, &e))
}
