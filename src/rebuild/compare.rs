//! Compares two files, or all files of two folders.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::allow::{AllowList, Allowed, Range, parts};
use super::content::{self, CHUNK, Compared, Differing};
use super::place::{Place, Side};
use crate::endpoint::{ArtifactError, FileError, FolderError, SteadyFile, files_of_folder, hash_artifact};
use crate::format::{FormatError, shown};
use crate::merkle::Hash;
use crate::release::FileManifest;

/// Bytes to show before and after the first one that differs.
pub const MAX_AROUND: usize = 8;

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The artifact.
    pub artifact: Tally,
    /// The rebuilt one.
    pub rebuilt: Tally,
    /// The files that differ in more than the list allows, in byte order of their paths.
    pub differences: Vec<Difference>,
    /// The differences that the list allows, in the order of its rules.
    pub allowed: Vec<AllowedDifference>,
    /// The rules that were not needed, by their places in the list, from 0.
    pub unused: Vec<usize>,
}

/// The size and digest of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// SHA-256 of the file; of a folder, of its manifest file.
    pub sha256: Hash,
    /// Bytes of the file, or of all files.
    pub bytes: u64,
    /// The number of files of a folder.
    pub files: Option<u64>,
}

/// A file that differs in more than the list allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path, if folders were compared.
    pub file: Option<String>,
    /// The difference.
    pub seen: Seen,
}

/// The difference of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It has another content.
    Content {
        /// The number of bytes that differ, or that only one side has.
        bytes: u64,
        /// The number of runs of such bytes.
        places: u64,
        /// The first one.
        first: Place,
        /// The bytes around it in the artifact.
        artifact: Around,
        /// The bytes around it in the rebuilt file.
        rebuilt: Around,
    },
    /// Only one of the folders has it.
    OnlyIn(Side),
}

/// Some bytes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Up to [`MAX_AROUND`] bytes before the place.
    pub before: Vec<u8>,
    /// The byte at the place; `None` at the end of the file.
    pub at: Option<u8>,
    /// Up to [`MAX_AROUND`] bytes after it.
    pub after: Vec<u8>,
}

/// A difference that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedDifference {
    /// The place of the rule in the list, from 0.
    pub rule: usize,
    /// Its reason.
    pub reason: String,
    /// The file, if folders were compared.
    pub file: Option<String>,
    /// Bytes of the artifact that may differ: the length of the range, or of the file.
    pub bytes: u64,
}

/// A comparison that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// A folder could not be read, or has something that no release can have.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file could not be read, or changed meanwhile.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// One is a file and the other a folder.
    #[error("expected two files or two folders, saw the file {file} and the folder {folder}")]
    FileAndFolder {
        /// The path of the file, as it can be shown.
        file: String,
        /// The path of the folder.
        folder: String,
    },
    /// Both paths lead to the same file or folder.
    #[error("{artifact} and {rebuilt} are the same: expected an artifact and another one that was rebuilt")]
    Same {
        /// The path of the artifact, as it can be shown.
        artifact: String,
        /// The other path.
        rebuilt: String,
    },
    /// A rule of the list does not fit what is compared.
    #[error("rule {} does not fit{}: {why}", .rule + 1, file.as_ref().map(|file| format!(" {}", shown(file))).unwrap_or_default())]
    Rule {
        /// Its place in the list, from 0.
        rule: usize,
        /// The file that it does not fit, of a folder.
        file: Option<String>,
        /// Expected and seen.
        why: String,
    },
    /// The list allows every byte to differ.
    #[error("the list allows all bytes to differ: expected at least one that has to be the same")]
    NothingCompared,
}

impl From<FileError> for RebuildError {
    fn from(error: FileError) -> Self {
        Self::Artifact(error.into())
    }
}

impl Comparison {
    /// True if they are the same, but for what the list allows.
    #[must_use]
    pub const fn matches(&self) -> bool {
        self.differences.is_empty()
    }

    /// True if they are the same in every bit.
    #[must_use]
    pub const fn is_identical(&self) -> bool {
        self.differences.is_empty() && self.allowed.is_empty()
    }

    /// The number of bytes that the list allows to differ.
    #[must_use]
    pub fn allowed_bytes(&self) -> u64 {
        self.allowed.iter().map(|allowed| allowed.bytes).sum()
    }
}

/// Compares an artifact with a rebuilt one. Both are files, or both are folders, of which the names and contents of all
/// files count. Reads each file once, in pieces of 1 MiB. Calls `progress` with the number of bytes of the artifact that were
/// read, and of all of them.
///
/// # Errors
/// [`RebuildError`].
pub fn compare(
    artifact: &Path,
    rebuilt: &Path,
    allow: &AllowList,
    progress: &dyn Fn(u64, u64),
) -> Result<Comparison, RebuildError> {
    let meta = |path: &Path| fs::metadata(path).map_err(FileError::new("read", path));
    let (a, b) = (meta(artifact)?, meta(rebuilt)?);
    let show = |path: &Path| shown(&path.to_string_lossy());
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return Err(RebuildError::Same { artifact: show(artifact), rebuilt: show(rebuilt) });
    }
    let run = Run { allow, buffers: [vec![0; CHUNK], vec![0; CHUNK]], progress, done: 0, total: a.len() };
    match (a.is_dir(), b.is_dir()) {
        (false, false) => run.files(artifact, rebuilt),
        (true, true) => run.folders(artifact, rebuilt),
        (true, false) => Err(RebuildError::FileAndFolder { file: show(rebuilt), folder: show(artifact) }),
        (false, true) => Err(RebuildError::FileAndFolder { file: show(artifact), folder: show(rebuilt) }),
    }
}

struct Run<'a> {
    allow: &'a AllowList,
    buffers: [Vec<u8>; 2],
    progress: &'a dyn Fn(u64, u64),
    /// Bytes of the artifact in files that were compared.
    done: u64,
    /// All bytes of the artifact.
    total: u64,
}

/// The differences found so far.
#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
    allowed: Vec<AllowedDifference>,
    /// Bytes that had to be the same.
    compared: u64,
}

impl Run<'_> {
    fn files(mut self, artifact: &Path, rebuilt: &Path) -> Result<Comparison, RebuildError> {
        if let Some(rule) = self.allow.rules().iter().position(|rule| rule.file.is_some()) {
            let why = "expected a byte range, as two files are compared, saw a file of a folder".to_owned();
            return Err(RebuildError::Rule { rule, file: None, why });
        }
        let mut found = Found::default();
        let Compared { artifact, rebuilt, .. } = self.file(None, artifact, rebuilt, &mut found)?;
        let tally = |(sha256, bytes)| Tally { sha256, bytes, files: None };
        self.finish(tally(artifact), tally(rebuilt), found)
    }

    fn folders(mut self, artifact: &Path, rebuilt: &Path) -> Result<Comparison, RebuildError> {
        if let Some(rule) = self.allow.rules().iter().position(|rule| rule.file.is_none()) {
            let why = "expected a rule with `file`, as two folders are compared, saw none".to_owned();
            return Err(RebuildError::Rule { rule, file: None, why });
        }
        let list = |dir| -> Result<BTreeMap<String, PathBuf>, FolderError> {
            Ok(files_of_folder(dir)?.into_iter().map(|(path, name)| (name, path)).collect())
        };
        let (theirs, mut ours) = (list(artifact)?, list(rebuilt)?);
        self.total = 0;
        for path in theirs.values() {
            self.total += fs::metadata(path).map_err(FileError::new("read", path))?.len();
        }
        let (mut found, mut sides) = (Found::default(), [Folder::default(), Folder::default()]);
        for (name, path) in theirs {
            let Some(other) = ours.remove(&name) else {
                self.alone(Side::Artifact, name, &path, &mut sides[0], &mut found)?;
                continue;
            };
            let compared = self.file(Some(&name), &path, &other, &mut found)?;
            self.done += compared.artifact.1;
            sides[0].add(name.clone(), compared.artifact);
            sides[1].add(name, compared.rebuilt);
        }
        for (name, path) in ours {
            self.alone(Side::Rebuilt, name, &path, &mut sides[1], &mut found)?;
        }
        found.differences.sort_by(|a, b| a.file.cmp(&b.file));
        let [theirs, ours] = sides;
        let wrong = |dir: &Path| {
            let dir = dir.to_owned();
            move |source| FolderError::Folder { dir, source }
        };
        let (theirs, ours) =
            (theirs.tally().map_err(wrong(artifact))?, ours.tally().map_err(wrong(rebuilt))?);
        self.finish(theirs, ours, found)
    }

    /// A file that only one of the folders has.
    fn alone(
        &mut self,
        side: Side,
        name: String,
        path: &Path,
        folder: &mut Folder,
        found: &mut Found,
    ) -> Result<(), RebuildError> {
        let bytes = fs::metadata(path).map_err(FileError::new("read", path))?.len();
        folder.add(name.clone(), (hash_artifact(path)?, bytes));
        let is_it = |allowed: &Allowed| *allowed == Allowed::OnlyIn(side);
        let rule = self.allow.about(Some(&name)).find(|(_, rule)| is_it(&rule.allowed));
        match rule {
            Some((rule, about)) => found.allowed.push(AllowedDifference {
                rule,
                reason: about.reason.clone(),
                bytes: if side == Side::Artifact { bytes } else { 0 },
                file: Some(name),
            }),
            None => found.differences.push(Difference { file: Some(name), seen: Seen::OnlyIn(side) }),
        }
        if side == Side::Artifact {
            self.done += bytes;
            (self.progress)(self.done, self.total);
        }
        Ok(())
    }

    /// Compares a file that both have.
    fn file(
        &mut self,
        name: Option<&str>,
        artifact: &Path,
        rebuilt: &Path,
        found: &mut Found,
    ) -> Result<Compared, RebuildError> {
        let (theirs, ours) = (SteadyFile::open(artifact)?, SteadyFile::open(rebuilt)?);
        let rules: Vec<_> = self.allow.about(name).collect();
        let range = |(at, rule): &(usize, &super::Rule)| match rule.allowed {
            Allowed::Range(range) => Some((*at, range)),
            _ => None,
        };
        let ranges: Vec<(usize, Range)> = rules.iter().filter_map(range).collect();
        let whole = rules.iter().find(|(_, rule)| rule.allowed == Allowed::Content);
        let parts = match whole {
            // Not compared: its bytes do not count as such.
            Some((rule, _)) => {
                vec![content::Part::Allowed { rule: *rule, artifact: theirs.bytes(), rebuilt: ours.bytes() }]
            }
            None => parts(&ranges, theirs.bytes()).map_err(|(rule, why)| {
                let file = name.map(str::to_owned);
                RebuildError::Rule { rule, file, why }
            })?,
        };
        let (done, total, progress) = (self.done, self.total, self.progress);
        let mut read = |bytes| progress(done + bytes, total);
        let compared = content::compare(theirs.file(), ours.file(), &parts, &mut self.buffers, &mut read);
        let mut compared = compared.map_err(|(side, e)| {
            let path = if side == Side::Artifact { artifact } else { rebuilt };
            FileError::new("read", path)(e)
        })?;
        if compared.artifact == compared.rebuilt {
            // Also where a rule says that a range is shorter in the rebuilt file.
            (compared.differing, compared.used) = (Differing::default(), Vec::new());
        }
        let Differing { bytes, places, first } = compared.differing;
        if let Some(first) = first {
            let around =
                |file: &File, path: &Path, at| around(file, at).map_err(FileError::new("read", path));
            let seen = Seen::Content {
                bytes,
                places,
                first,
                artifact: around(theirs.file(), artifact, first.artifact)?,
                rebuilt: around(ours.file(), rebuilt, first.rebuilt)?,
            };
            found.differences.push(Difference { file: name.map(str::to_owned), seen });
        }
        theirs.check(compared.artifact.1)?;
        ours.check(compared.rebuilt.1)?;
        found.compared += compared.same;
        let part = |wanted: usize| {
            parts.iter().find_map(|part| match part {
                content::Part::Allowed { rule, artifact, .. } if *rule == wanted => Some(*artifact),
                _ => None,
            })
        };
        found.allowed.extend(compared.used.iter().map(|rule| AllowedDifference {
            rule: *rule,
            reason: self.allow.rules()[*rule].reason.clone(),
            file: name.map(str::to_owned),
            bytes: part(*rule).unwrap_or_default(),
        }));
        Ok(compared)
    }

    fn finish(self, artifact: Tally, rebuilt: Tally, found: Found) -> Result<Comparison, RebuildError> {
        let Found { differences, mut allowed, compared } = found;
        if compared == 0 && !allowed.is_empty() {
            return Err(RebuildError::NothingCompared);
        }
        allowed.sort_by_key(|allowed| allowed.rule);
        let is_unused = |rule: &usize| !allowed.iter().any(|allowed| allowed.rule == *rule);
        let unused = (0..self.allow.rules().len()).filter(is_unused).collect();
        Ok(Comparison { artifact, rebuilt, differences, allowed, unused })
    }
}

/// The files of a folder that were read.
#[derive(Default)]
struct Folder {
    files: Vec<(String, Hash)>,
    bytes: u64,
}

impl Folder {
    fn add(&mut self, name: String, (sha256, bytes): (Hash, u64)) {
        self.files.push((name, sha256));
        self.bytes += bytes;
    }

    fn tally(self) -> Result<Tally, FormatError> {
        let Self { files, bytes } = self;
        let count = files.len() as u64;
        let manifest = FileManifest::new(files)?;
        Ok(Tally { sha256: Hash::digest(manifest.to_string().as_bytes()), bytes, files: Some(count) })
    }
}

/// Reads the bytes around an offset.
fn around(file: &File, at: u64) -> io::Result<Around> {
    let begin = at.saturating_sub(MAX_AROUND as u64);
    let before = usize::try_from(at - begin).unwrap_or_default();
    let mut bytes = vec![0; before + 1 + MAX_AROUND];
    let mut there = 0;
    while there < bytes.len() {
        match file.read_at(&mut bytes[there..], begin + there as u64) {
            Ok(0) => break,
            Ok(count) => there += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(there);
    let after = bytes.split_off(bytes.len().min(before));
    let (at, after) =
        after.split_first().map_or((None, Vec::new()), |(at, after)| (Some(*at), after.to_vec()));
    Ok(Around { before: bytes, at, after })
}
