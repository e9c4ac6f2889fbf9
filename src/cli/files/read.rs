//! Reading files: capped, regular files only, secrets only where nobody else can read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use zeroize::Zeroizing;

use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::Failure;
use crate::disk::open_plain;
use crate::endpoint;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::note::{NoteKey, NoteSigner};
use crate::release::is_public_key_text;

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
    let bytes = read_secret_bytes(path, Mode::Owner)?;
    let text = crate::format::file_text("a key", &bytes).map_err(|e| Failure::file(path, &e))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a secret of a publisher, which may also be mounted by an administrator for one group.
pub fn read_publisher_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_secret_bytes(path, Mode::Mounted)
}

/// The users that may read a secret file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Its owner alone.
    Owner,
    /// Also its group, if it belongs to root and lies on a file system that is mounted read-only: so Kubernetes and
    /// systemd hand secrets to services, which can't change the mode.
    Mounted,
}

impl Mode {
    fn allows(self, mode: u32, owner: u32, is_read_only: bool) -> bool {
        let group_reads = is_free_of(mode, 0o037) && owner == 0 && is_read_only;
        is_free_of(mode, 0o077) || self == Self::Mounted && group_reads
    }

    /// The advice for a file with another mode.
    fn advice(self, mode: u32, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Mounted if is_free_of(mode, 0o037) => format!(
                "run: chmod 600 {path}; only a mounted secret, which belongs to root on a read-only file system, may be readable by its group"
            ),
            _ => format!("run: chmod 600 {path}"),
        }
    }
}

/// Tells whether none of these bits are set.
const fn is_free_of(mode: u32, bits: u32) -> bool {
    mode & bits == 0
}

fn read_secret_bytes(path: &Path, allowed: Mode) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let io = |e: io::Error| Failure::io("read", path, &e);
    // A shell's `<(pass show key)` is a pipe, but its writer runs already.
    let is_shells = ["/dev/fd", "/proc/self/fd"].iter().any(|fds| path.starts_with(fds));
    let file = if is_shells { File::open(path).map_err(io)? } else { open(path)? };
    let meta = file.metadata().map_err(io)?;
    let is_read_only = fstatvfs(&file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    // With room for all of it: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024 + 1));
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    let seen = bytes.len();
    if seen as u64 > MAX_KEY_BYTES {
        return Err(Failure::Usage(format!(
            "{} is no key: expected at most {MAX_KEY_BYTES} bytes, saw {seen} or more",
            path.display()
        )));
    }
    // Before its mode: nobody should be told to hide a public key.
    if std::str::from_utf8(&bytes).is_ok_and(is_public_key) {
        return Err(Failure::Usage(format!(
            "{} holds a public key: expected the secret key that belongs to it: `treehead keygen` writes that where --out says, and the public one beside it",
            path.display()
        )));
    }
    let mode = meta.mode() & 0o777;
    if !allowed.allows(mode, meta.uid(), is_read_only) {
        return Err(Failure::Usage(format!(
            "{} holds a secret that others can read: expected mode 600, saw {mode:03o}; {}",
            path.display(),
            allowed.advice(mode, path)
        )));
    }
    Ok(bytes)
}

/// Tells whether a text is the public key of a publisher, log or witness, and nothing else.
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

/// Reads and parses a file of at most `limit` bytes.
pub fn parse<T>(
    path: &Path,
    what: &'static str,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, Failure> {
    parse(&read(path, what, limit)?).map_err(|e| Failure::file(path, &e))
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn a_group_reads_only_what_root_mounted_for_it() {
        for (mode, owner, read_only, own, mounted) in [
            (0o600, 1_000, false, true, true),
            (0o400, 1_000, false, true, true),
            (0o640, 0, true, false, true),
            (0o440, 0, true, false, true),
            (0o640, 0, false, false, false),
            (0o640, 1_000, true, false, false),
            (0o660, 0, true, false, false),
            (0o644, 0, true, false, false),
            (0o444, 0, true, false, false),
            (0o650, 0, true, false, false),
        ] {
            let allowed = [Mode::Owner, Mode::Mounted].map(|allowed| allowed.allows(mode, owner, read_only));
            assert_eq!(allowed, [own, mounted], "{mode:o}");
        }
    }
}
