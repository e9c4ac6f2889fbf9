//! Writing files: new ones, and old ones replaced at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::read::read_up_to;
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::Failure;
use crate::disk::check_plain;
use crate::proof::{self, ProofBundle};
use crate::release;

/// Writes a new file with this mode, durably.
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

/// Replaces a file atomically: readers see the old content or the new, also after a power cut.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    prepare(path)?.finish(bytes)
}

/// A file about to be replaced. Fails early where its directory is not writable, before the new content is known.
pub struct Replacement {
    path: PathBuf,
    new: tempfile::NamedTempFile,
}

/// The kinds of files that `--out` names.
#[derive(Debug, Clone, Copy)]
pub enum OutFile {
    Proof,
    Policy,
    Manifest,
    Delta,
    Files,
    /// The statement of a release.
    Statement,
    /// The bytes to sign of a statement.
    BytesToSign,
    /// The predicate of a verification summary.
    Summary,
}

impl OutFile {
    /// Whether these bytes are a file of this kind.
    fn is_one(self, bytes: &[u8]) -> bool {
        match self {
            Self::Proof => bytes.starts_with(proof::HEADER.as_bytes()) || ProofBundle::is_one(bytes),
            Self::Policy => Policy::parse(bytes).is_ok(),
            Self::Manifest => bytes.starts_with(release::MANIFEST_HEADER.as_bytes()),
            Self::Delta => bytes.starts_with(release::DELTA_HEADER.as_bytes()),
            Self::Files => bytes.starts_with(proof::FILES_HEADER.as_bytes()),
            Self::Statement => bytes.starts_with(b"{\"_type\":\"https://in-toto.io/Statement/"),
            Self::BytesToSign => bytes.starts_with(b"DSSEv1 "),
            Self::Summary => serde_json::from_slice::<serde_json::Value>(bytes)
                .is_ok_and(|json| json.get("verificationResult").is_some()),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof file",
            Self::Policy => "policy",
            Self::Manifest => "manifest",
            Self::Delta => "manifest delta",
            Self::Files => "proof of files",
            Self::Statement => "statement",
            Self::BytesToSign => "file of bytes to sign",
            Self::Summary => "verification summary",
        }
    }
}

/// Like [`prepare`], for a file that the user named: a slip of the hand must not cost a key or an artifact. Replaces only
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

/// Prepares to replace a file. Changes nothing before [`Replacement::finish`]. Refuses a pipe, device or link: it would
/// become a regular file.
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
    /// The file to replace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the new content.
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

/// The directory of a path.
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Whether two paths name one file or directory, which need not exist.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let there =
            || Ok::<_, io::Error>(dir_of(path).canonicalize()?.join(path.file_name().unwrap_or_default()));
        path.canonicalize().or_else(|_| there())
    };
    matches!((place(a), place(b)), (Ok(a), Ok(b)) if a == b)
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
        let key = crate::store::tests::fixtures::signer().public().clone();
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
