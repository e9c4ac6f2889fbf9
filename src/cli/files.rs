//! Reading and writing files the way every command does: capped, atomic, secrets at 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output::say;
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::disk::{LockWait, check_plain, open_plain, wait_for_lock};
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::note::NoteKey;
use crate::proof;
use crate::release::is_public_pem;

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

/// Opens a file that the user named for reading; all commands use it. Accepts regular files only.
pub fn open(path: &Path) -> Result<File, Failure> {
    open_plain(path).map_err(|e| Failure::file_access("read", path, &e))
}

/// Reads a secret key file as text, and refuses one that others may read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let io = |e: io::Error| Failure::io("read", path, &e);
    // A shell's `<(pass show key)`: whoever writes into that pipe is there already.
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
    // Before its mode: nobody should be told to hide what everybody may read.
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

/// A publisher's, or a log's or witness's, and nothing else.
fn is_public_key(text: &str) -> bool {
    is_public_pem(text) || NoteKey::parse(text.trim()).is_ok()
}

/// Writes a file that must not exist yet, with this mode, durably.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{} exists already: choose another name, or move it away", path.display()))
        }
        _ => Failure::io("create", path, &e),
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|e| {
        // Half a key is worse than none.
        let _ = fs::remove_file(path);
        Failure::io("write", path, &e)
    })
}

/// Replaces a file at once: readers see the old content or the new, also after a power cut.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    prepare(path)?.finish(bytes)
}

/// A file about to be replaced: finds out early that its directory is writable, before the new content is known.
pub struct Replacement {
    path: PathBuf,
    new: tempfile::NamedTempFile,
}

/// What a command writes where `--out` says.
#[derive(Debug, Clone, Copy)]
pub enum OutFile {
    Proof,
    Policy,
}

impl OutFile {
    /// Whether these bytes are such a file, so that replacing them loses nothing of another kind.
    fn is_one(self, bytes: &[u8]) -> bool {
        match self {
            Self::Proof => bytes.starts_with(proof::HEADER.as_bytes()),
            Self::Policy => Policy::parse(bytes).is_ok(),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof file",
            Self::Policy => "policy",
        }
    }
}

/// [`prepare`] for a file that the user named: a slip of the hand must not cost a key or an artifact. Replaces only
/// an empty file and one of the same kind.
pub fn prepare_out(path: &Path, kind: OutFile) -> Result<Replacement, Failure> {
    let replacement = prepare(path)?;
    if path.exists() {
        let there = read_up_to(path, MAX_POLICY_BYTES + 1)?;
        if !there.is_empty() && !kind.is_one(&there) {
            let (path, kind) = (path.display(), kind.as_str());
            return Err(Failure::Usage(format!(
                "{path} is there and is no {kind}: choose another name, or move it away"
            )));
        }
    }
    Ok(replacement)
}

/// Prepares to replace a file. Changes nothing before [`Replacement::finish`]. A pipe, device or link that is there
/// is refused: it would become a regular file.
pub fn prepare(path: &Path) -> Result<Replacement, Failure> {
    if path.is_dir() {
        let path = path.display();
        return Err(Failure::Usage(format!("{path} is a directory: expected the path of a file")));
    }
    if let Ok(there) = fs::symlink_metadata(path) {
        check_plain(there.file_type()).map_err(|e| Failure::file_access("write", path, &e))?;
    }
    let new = tempfile::NamedTempFile::new_in(dir_of(path)).map_err(|e| Failure::io("write", path, &e))?;
    Ok(Replacement { path: path.to_owned(), new })
}

impl Replacement {
    /// The file that is replaced.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn finish(self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { path, mut new } = self;
        let io = |e: io::Error| Failure::io("write", &path, &e);
        new.write_all(bytes).map_err(io)?;
        let mode = fs::metadata(&path).map_or(0o644, |meta| meta.mode() & 0o777);
        fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(io)?;
        new.as_file().sync_all().map_err(io)?;
        new.persist(&path).map_err(|e| io(e.error))?;
        File::open(dir_of(&path)).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Two names of one file or directory, which may not be there yet.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let there =
            || Ok::<_, io::Error>(dir_of(path).canonicalize()?.join(path.file_name().unwrap_or_default()));
        path.canonicalize().or_else(|_| there())
    };
    matches!((place(a), place(b)), (Ok(a), Ok(b)) if a == b)
}

/// Waits for a lock that other processes may hold; dropping the returned file unlocks it.
pub fn lock(path: &Path) -> Result<File, Failure> {
    let on_wait = |path: &Path| say(&format!("waiting for {}, which another treehead holds", path.display()));
    wait_for_lock(path, LockWait::default(), on_wait).map_err(Failure::from)
}

/// SHA-256 of an artifact that must hold still meanwhile: what was hashed has to be what is there.
pub fn hash_artifact(path: &Path) -> Result<Hash, Failure> {
    let io = |e: io::Error| Failure::io("read", path, &e);
    let stamp = |file: &File| {
        file.metadata()
            .map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    };
    let mut file = open(path)?;
    let before = stamp(&file).map_err(io)?;
    let (digest, length) = hash(&mut file).map_err(io)?;
    // By name, too: a build that replaces the file leaves the open one as it was.
    let after = stamp(&open(path)?).map_err(io)?;
    if before != after || length != before.2 {
        return Err(Failure::refused(
            "artifact-changed",
            format!("{} changed while it was being hashed", path.display()),
            "Wait until the file is finished, then run the command again.",
        ));
    }
    Ok(digest)
}

/// SHA-256 of all that comes, and how many bytes that were.
pub fn hash(from: &mut impl io::Read) -> io::Result<(Hash, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0_u64;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((Hash::from_bytes(hasher.finalize().into()), length)),
            Ok(count) => {
                length += count as u64;
                hasher.update(&buffer[..count]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// `FILE.tlog-proof`, beside the artifact.
pub fn proof_path(artifact: &Path) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(".tlog-proof");
    name.into()
}

/// A file that a parser of the core reads.
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
    use super::*;

    #[test]
    fn only_regular_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "old").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, saw) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("directory", "is a directory"),
            ("pipe", "a pipe"),
            ("socket", "a socket"),
        ] {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            let Err(Failure::Usage(message)) = replace(&at(name), b"new") else { panic!("{name}") };
            assert!(message.contains(saw), "{message}");
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before, "{name}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"old");
        replace(&at("file"), b"new").unwrap();
        replace(&at("another"), b"new").unwrap();
        assert_eq!(
            (fs::read(at("file")).unwrap(), fs::read(at("another")).unwrap()),
            (b"new".into(), b"new".into())
        );
    }

    #[test]
    fn out_replaces_its_own_kind_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let proof = "c2sp.org/tlog-proof@v1\nindex 0\n";
        let key = crate::store::conformance::signer().public().clone();
        let policy = String::from_utf8(crate::cli::policy::text(&[key], None, false)).unwrap();
        for (there, as_proof, as_policy) in [
            ("", true, true),
            (proof, true, false),
            ("-----BEGIN PRIVATE KEY-----\n", false, false),
            ("# a comment\norigin = \"log.example.com\"\n", false, false),
            (policy.as_str(), false, true),
        ] {
            fs::write(&path, there).unwrap();
            for (kind, may) in [(OutFile::Proof, as_proof), (OutFile::Policy, as_policy)] {
                let prepared = prepare_out(&path, kind).map(drop);
                assert_eq!(prepared.is_ok(), may, "{kind:?} {there}");
                if let Err(e) = prepared {
                    let expected = format!("is no {}: choose another name, or move it away", kind.as_str());
                    assert!(matches!(&e, Failure::Usage(why) if why.ends_with(&expected)), "{e:?}");
                }
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), there);
        }
    }
}
