//! The folder of a release of many files: listed, hashed, and compared with a manifest.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::artifact_file::{ArtifactError, hash_artifacts};
use super::memory_store::FileError;
use crate::format::{FormatError, cap_count, quote, shown};
use crate::merkle::{Hash, MAX_MANIFEST_FILES};
use crate::release::{FileManifest, MANIFEST_EXTENSION, check_path};

/// Most paths that a sentence names of each list.
const NAMED: usize = 5;

/// A folder of which no manifest can be made, or that can't be compared with one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file or folder could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file could not be hashed.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Something is neither a file nor a folder.
    #[error("{} is {seen}: expected regular files and folders alone: remove it, or put its target in its place", shown(&path.to_string_lossy()))]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// `a symbolic link`, `a socket`.
        seen: &'static str,
    },
    /// A name is not UTF-8.
    #[error("the name of {} is not UTF-8: expected names that every system can show: rename it", shown(&path.to_string_lossy()))]
    NotUtf8 {
        /// Its path.
        path: PathBuf,
    },
    /// A path breaks a rule of manifests.
    #[error("{}: {source}", shown(&path.to_string_lossy()))]
    Path {
        /// The path.
        path: PathBuf,
        /// The rule.
        source: FormatError,
    },
    /// The files make no manifest together: there are none, too many, or two that are one on some system.
    #[error("{}: {source}", shown(&dir.to_string_lossy()))]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// The error.
        source: FormatError,
    },
}

/// Makes the manifest of all regular files in a folder, hashed as many at once as there are processors. Empty folders are
/// not in it.
///
/// # Errors
/// [`FolderError`], at the first thing in byte order that a manifest can't have.
pub fn manifest_of_folder(dir: &Path) -> Result<FileManifest, FolderError> {
    let (paths, names): (Vec<PathBuf>, Vec<String>) = files_of_folder(dir)?.into_iter().unzip();
    let hashed = hash_artifacts(&paths).into_iter().zip(names).map(|(hashed, name)| Ok((name, hashed?)));
    let files = hashed.collect::<Result<Vec<_>, ArtifactError>>()?;
    FileManifest::new(files).map_err(|source| FolderError::Folder { dir: dir.to_owned(), source })
}

/// Lists all regular files of a folder, each with its name in the manifest.
pub(crate) fn files_of_folder(dir: &Path) -> Result<Vec<(PathBuf, String)>, FolderError> {
    let mut files = Vec::new();
    walk(dir, &mut |path, name| {
        let name = name?;
        check_path(&name).map_err(|source| FolderError::Path { path: path.clone(), source })?;
        files.push((path, name));
        Ok(())
    })?;
    Ok(files)
}

/// A file that differs from a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path in the folder.
    pub path: String,
    /// The kind of thing that is there, unless it is a regular file: `a symbolic link`.
    pub seen: Option<&'static str>,
}

/// The differences between a folder and the files of a manifest. Each list is in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderDifferences {
    /// Files of the manifest that are not there.
    pub missing: Vec<Difference>,
    /// Files that have another content, or are no regular files.
    pub changed: Vec<Difference>,
    /// Files that the manifest does not list.
    pub extra: Vec<Difference>,
}

impl FolderDifferences {
    /// Returns true if all files are as they should be.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.extra.is_empty()
    }

    /// The lists, each with its name.
    #[must_use]
    pub const fn lists(&self) -> [(&'static str, &Vec<Difference>); 3] {
        [("missing", &self.missing), ("changed", &self.changed), ("extra", &self.extra)]
    }

    /// The differences of a folder from a release of so many files in a sentence, which names the first few.
    #[must_use]
    pub fn in_words(&self, dir: &Path, files: usize) -> String {
        let lists = self.lists().into_iter().filter(|(_, of)| !of.is_empty());
        let words: Vec<String> = lists.map(|(kind, of)| named(kind, of)).collect();
        format!(
            "{} has other files: expected the {files} files of the manifest, saw {}",
            shown(&dir.to_string_lossy()),
            words.join(", ")
        )
    }
}

/// `2 changed ("a", "b", which is a symbolic link)`.
fn named(kind: &str, of: &[Difference]) -> String {
    let name = |difference: &Difference| {
        let seen = difference.seen.map(|seen| format!(", which is {seen}")).unwrap_or_default();
        quote(&difference.path) + &seen
    };
    let mut names: Vec<String> = of.iter().take(NAMED).map(name).collect();
    if of.len() > NAMED {
        names.push("...".to_owned());
    }
    format!("{} {kind} ({})", of.len(), names.join(", "))
}

/// The path of a folder's manifest: `rules.manifest` beside `rules/`, also where the folder is called `.`.
///
/// # Errors
/// [`FileError`] if the folder can't be found.
pub fn manifest_path(dir: &Path) -> Result<PathBuf, FileError> {
    let whole = dir.canonicalize().map_err(FileError::new("read", dir))?;
    let dir = if dir.file_name().is_some() { dir } else { &whole };
    let mut name = dir.file_name().unwrap_or("root".as_ref()).to_owned();
    name.push(MANIFEST_EXTENSION);
    Ok(dir.with_file_name(name))
}

/// Compares all files of a folder with a manifest. Links are not followed.
///
/// # Errors
/// [`FolderError`] if something can't be read.
pub fn compare_folder(dir: &Path, manifest: &FileManifest) -> Result<FolderDifferences, FolderError> {
    let mut differences = FolderDifferences::default();
    let mut there = BTreeMap::new();
    walk(dir, &mut |path, name| {
        let (name, seen) = match name {
            Ok(name) => (name, None),
            Err(FolderError::NotAFile { seen, .. }) => (relative(dir, &path), Some(seen)),
            Err(_) => (relative(dir, &path), Some("not UTF-8")),
        };
        if manifest.position(&name).is_none() {
            differences.extra.push(Difference { path: name, seen });
        } else if let Some(seen) = seen {
            there.insert(name, Err(seen));
        } else {
            there.insert(name, Ok(path));
        }
        Ok(())
    })?;
    differences.extra.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    compare(manifest.files(), |name| there.remove(name), &mut differences)?;
    Ok(differences)
}

/// Compares some files of a folder with their digests. Links are not followed, neither to files nor to folders.
///
/// # Errors
/// [`FolderError`] for a path that could leave the folder, or if something can't be read.
pub fn compare_files(dir: &Path, files: &[(String, Hash)]) -> Result<FolderDifferences, FolderError> {
    let mut differences = FolderDifferences::default();
    let mut there = BTreeMap::new();
    for (name, _) in files {
        check_path(name).map_err(|source| FolderError::Path { path: name.into(), source })?;
        if let Some(found) = look(dir, name)? {
            there.insert(name.clone(), found);
        }
    }
    compare(files, |name| there.remove(name), &mut differences)?;
    Ok(differences)
}

/// A path to hash, or what is there instead of a regular file.
type Found = Result<PathBuf, &'static str>;

fn compare(
    files: &[(String, Hash)],
    mut there: impl FnMut(&str) -> Option<Found>,
    differences: &mut FolderDifferences,
) -> Result<(), FolderError> {
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for (name, digest) in files {
        let difference = |seen| Difference { path: name.clone(), seen };
        match there(name) {
            None => differences.missing.push(difference(None)),
            Some(Err(seen)) => differences.changed.push(difference(Some(seen))),
            Some(Ok(path)) => {
                names.push((name, digest));
                paths.push(path);
            }
        }
    }
    for ((name, digest), hashed) in names.into_iter().zip(hash_artifacts(&paths)) {
        if hashed? != *digest {
            differences.changed.push(Difference { path: name.clone(), seen: None });
        }
    }
    differences.changed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

/// Looks for a file below `dir`, one component after the other.
fn look(dir: &Path, name: &str) -> Result<Option<Found>, FolderError> {
    let mut path = dir.to_owned();
    let mut components = name.split('/').peekable();
    while let Some(component) = components.next() {
        path.push(component);
        let kind = match fs::symlink_metadata(&path) {
            Ok(meta) => meta.file_type(),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(FileError::new("read", &path)(e).into()),
        };
        let is_last = components.peek().is_none();
        match odd(kind) {
            Some(seen) => return Ok(Some(Err(seen))),
            None if kind.is_dir() && is_last => return Ok(Some(Err("a folder"))),
            None if !kind.is_dir() && !is_last => return Ok(None),
            None => {}
        }
    }
    Ok(Some(Ok(path)))
}

/// The kind of thing that is there, if it is neither a file nor a folder.
fn odd(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() || kind.is_dir() => None,
        kind if kind.is_symlink() => Some("a symbolic link"),
        kind if kind.is_fifo() => Some("a pipe"),
        kind if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// A path below `dir` for people.
fn relative(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// Calls `found` with the path of everything in a folder but folders, and its name in the folder, or why it has none, in
/// byte order of the names within each folder.
fn walk(
    dir: &Path,
    found: &mut dyn FnMut(PathBuf, Result<String, FolderError>) -> Result<(), FolderError>,
) -> Result<(), FolderError> {
    let mut folders = vec![(dir.to_owned(), String::new())];
    let mut count = 0;
    while let Some((folder, prefix)) = folders.pop() {
        let io = FileError::new("read", &folder);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(&io)? {
            count += 1;
            cap_count("a folder", "files and folders", count, MAX_MANIFEST_FILES)
                .map_err(|source| FolderError::Folder { dir: dir.to_owned(), source })?;
            let entry = entry.map_err(&io)?;
            entries.push((entry.file_name(), entry.file_type().map_err(&io)?));
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut below = Vec::new();
        for (name, kind) in entries {
            let path = folder.join(&name);
            let Some(name) = name.to_str() else {
                found(path.clone(), Err(FolderError::NotUtf8 { path }))?;
                continue;
            };
            let name = format!("{prefix}{name}");
            if let Some(seen) = odd(kind) {
                found(path.clone(), Err(FolderError::NotAFile { path, seen }))?;
            } else if kind.is_dir() {
                below.push((path, name + "/"));
            } else {
                found(path, Ok(name))?;
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("content of {file}")).unwrap();
        }
        dir
    }

    fn paths(differences: &[Difference]) -> Vec<(&str, Option<&'static str>)> {
        differences.iter().map(|difference| (difference.path.as_str(), difference.seen)).collect()
    }

    #[test]
    fn a_folder_has_one_manifest_in_whatever_order_it_is_read() {
        let names = ["b/c.yar", "a.yar", ".hidden", "b/é/d", "b.yar"];
        let dir = folder(&names);
        fs::create_dir(dir.path().join("empty")).unwrap();
        let digest = |name: &str| Hash::digest(format!("content of {name}").as_bytes());
        let expected = names.map(|name| (name.to_owned(), digest(name)));
        assert_eq!(manifest_of_folder(dir.path()).unwrap(), FileManifest::new(expected.to_vec()).unwrap());
    }

    #[test]
    fn what_no_manifest_can_have_is_an_error_with_its_path() {
        type Make = fn(&Path);
        let cases: [(Make, &str, &str); 9] = [
            (|dir| symlink("a", dir.join("b/link")).unwrap(), "b/link", "is a symbolic link"),
            (|dir| symlink("b", dir.join("dir")).unwrap(), "dir", "is a symbolic link"),
            (|dir| drop(UnixListener::bind(dir.join("s")).unwrap()), "s", "is a socket"),
            (
                |dir| rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("p"), rustix::fs::Mode::RWXU).unwrap(),
                "p",
                "is a pipe",
            ),
            (
                |dir| fs::write(dir.join(OsStr::from_bytes(b"x\xff")), "").unwrap(),
                "x\u{fffd}",
                "is not UTF-8",
            ),
            (
                |dir| fs::create_dir(dir.join(OsStr::from_bytes(b"y\xff"))).unwrap(),
                "y\u{fffd}",
                "is not UTF-8",
            ),
            (|dir| fs::write(dir.join("c:d"), "").unwrap(), "c:d", "Windows forbids"),
            (|dir| fs::write(dir.join("b/nul.txt"), "").unwrap(), "b/nul.txt", "name of a device"),
            (|dir| fs::write(dir.join("B"), "").unwrap(), "\"B\" and \"b/c\"", "both a file and a folder"),
        ];
        for (make, path, why) in cases {
            let dir = folder(&["a", "b/c"]);
            make(dir.path());
            let error = manifest_of_folder(dir.path()).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(why), "{path}: {error}");
        }
        let empty = manifest_of_folder(folder(&[]).path()).unwrap_err().to_string();
        assert!(empty.contains("at least one file"), "{empty}");
        let missing = manifest_of_folder(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(missing.contains("could not read /nowhere/at/all"), "{missing}");
    }

    #[test]
    fn a_folder_is_compared_with_its_manifest() {
        let dir = folder(&["a", "b/c", "b/d", "e", "f/g", "h"]);
        let manifest = manifest_of_folder(dir.path()).unwrap();
        assert!(compare_folder(dir.path(), &manifest).unwrap().is_empty());
        assert!(compare_files(dir.path(), manifest.files()).unwrap().is_empty());
        let at = |name: &str| dir.path().join(name);
        fs::remove_file(at("a")).unwrap();
        fs::write(at("b/c"), "another").unwrap();
        fs::remove_file(at("e")).unwrap();
        symlink("b/d", at("e")).unwrap();
        fs::write(at("extra"), "x").unwrap();
        fs::write(at(".x"), "x").unwrap();
        symlink("/etc", at("link")).unwrap();
        // A folder behind a link has the right content, but is not in this folder.
        fs::rename(at("f"), at("moved")).unwrap();
        symlink("moved", at("f")).unwrap();
        fs::remove_file(at("h")).unwrap();
        fs::create_dir(at("h")).unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"z\xff")), "").unwrap();
        let FolderDifferences { missing, changed, extra } = compare_folder(dir.path(), &manifest).unwrap();
        assert_eq!(paths(&missing), [("a", None), ("f/g", None), ("h", None)]);
        assert_eq!(paths(&changed), [("b/c", None), ("e", Some("a symbolic link"))]);
        let link = Some("a symbolic link");
        assert_eq!(
            paths(&extra),
            [
                (".x", None),
                ("extra", None),
                ("f", link),
                ("link", link),
                ("moved/g", None),
                ("z\u{fffd}", Some("not UTF-8"))
            ]
        );
        let FolderDifferences { missing, changed, extra } =
            compare_files(dir.path(), manifest.files()).unwrap();
        assert_eq!(paths(&missing), [("a", None)]);
        assert_eq!(paths(&changed), [("b/c", None), ("e", link), ("f/g", link), ("h", Some("a folder"))]);
        assert_eq!(paths(&extra), []);
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_not_looked_at() {
        let dir = folder(&["in/a", "secret"]);
        let files = [("../secret".to_owned(), Hash::digest(b"content of secret"))];
        let error = compare_files(&dir.path().join("in"), &files).unwrap_err();
        assert!(matches!(error, FolderError::Path { .. }), "{error}");
    }
}
