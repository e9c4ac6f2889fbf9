//! Deltas: which files one manifest has in place of another one's.
//!
//! ```text
//! treehead-manifest-delta@v1
//! base <number of files> <root, 64 hex digits>
//! target <number of files> <root, 64 hex digits>
//! + <SHA-256, 64 hex digits>  <path>        added
//! ~ <SHA-256, 64 hex digits>  <path>        changed: the new digest
//! - <path>                                  removed
//! ```
//!
//! The changes are in byte order of the paths. A delta proves nothing: whoever applies it checks that its target is the
//! manifest of a release that is proven.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use super::{FileManifest, check_path, lines_after, parse_file, wrong_line};
use crate::format::{FormatError, decimal, quote};
use crate::merkle::{Hash, MAX_MANIFEST_FILES};
use crate::release::ManifestRef;

/// First line of a delta.
pub const DELTA_HEADER: &str = "treehead-manifest-delta@v1";
/// File name extension of a delta.
pub const DELTA_EXTENSION: &str = ".manifest-delta";

const WHAT: &str = "a manifest delta";

/// A change to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new, with this SHA-256.
    Added(Hash),
    /// It has this SHA-256 instead of another one.
    Changed(Hash),
    /// It is gone.
    Removed,
}

/// The changes that make one manifest of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDelta {
    base: ManifestRef,
    target: ManifestRef,
    changes: Vec<(String, Change)>,
}

/// A delta that does not lead from this manifest to the one that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum DeltaError {
    /// It is made for another manifest.
    #[error(
        "the delta is for another manifest: expected base {}, saw {}",
        in_words(expected),
        in_words(seen)
    )]
    WrongBase { expected: ManifestRef, seen: ManifestRef },
    /// One of its changes can't be made.
    #[error("the delta does not fit its base: expected {expected}, saw {}", quote(path))]
    WrongChange { expected: &'static str, path: String },
    /// It leads to another manifest than it says.
    #[error("the delta leads to another manifest: expected {}, saw {}", in_words(expected), in_words(seen))]
    WrongTarget { expected: ManifestRef, seen: ManifestRef },
    /// It leads to files that no manifest may have together.
    #[error(transparent)]
    Target(#[from] FormatError),
}

fn in_words(manifest: &ManifestRef) -> String {
    format!("{} ({} files)", manifest.root.to_hex(), manifest.files)
}

impl ManifestDelta {
    /// The changes that make `target` of `base`.
    #[must_use]
    pub fn between(base: &FileManifest, target: &FileManifest) -> Self {
        let (mut old, mut new) = (base.files().iter().peekable(), target.files().iter().peekable());
        let mut changes = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            match (before, after) {
                (Some((_, before)), Some((_, after))) if before == after => {}
                (Some(_), Some((path, after))) => changes.push((path.clone(), Change::Changed(*after))),
                (None, Some((path, after))) => changes.push((path.clone(), Change::Added(*after))),
                (Some((path, _)), None) => changes.push((path.clone(), Change::Removed)),
                (None, None) => unreachable!("one of them is next"),
            }
        }
        Self { base: base.reference(), target: target.reference(), changes }
    }

    /// Parses a delta.
    ///
    /// # Errors
    /// [`FormatError`], with the line if one is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut lines = lines_after(WHAT, bytes, DELTA_HEADER)?;
        let wrong = |at, expected: &str, seen: &str| wrong_line(WHAT, at, expected, seen);
        let mut next = || lines.next().unwrap_or_default().1;
        let line = next();
        let base = parse_reference(line.strip_prefix("base "));
        let base = base.ok_or_else(|| wrong(2, "`base`, a number of files and a root in hex", line))?;
        let line = next();
        let target = parse_reference(line.strip_prefix("target "));
        let target = target.ok_or_else(|| wrong(3, "`target`, a number of files and a root in hex", line))?;
        let mut changes: Vec<(String, Change)> = Vec::new();
        for (at, line) in lines {
            let change = parse_change(line).map_err(|e| e.at_line(at))?;
            if changes.last().is_some_and(|(before, _)| *before >= change.0) {
                return Err(wrong(at, "each path once, in byte order", line));
            }
            changes.push(change);
        }
        let delta = Self { base, target, changes };
        delta.check()?;
        Ok(delta)
    }

    /// The counts add up, and a delta without changes leads to its base.
    fn check(&self) -> Result<(), FormatError> {
        let Self { base, target, .. } = self;
        let (added, _, removed) = self.counts();
        if base.files + added as u64 != target.files + removed as u64 {
            let expected = format!("a target of {added} files more and {removed} less than the base");
            let seen = format!("{} after {}", target.files, base.files);
            return Err(FormatError::malformed(WHAT, expected, seen));
        }
        if self.changes.is_empty() != (base == target) {
            return Err(FormatError::malformed(
                WHAT,
                "changes if the roots differ, and none if they do not",
                "otherwise",
            ));
        }
        Ok(())
    }

    /// The manifest that it is for.
    #[must_use]
    pub const fn base(&self) -> ManifestRef {
        self.base
    }

    /// The manifest that it leads to.
    #[must_use]
    pub const fn target(&self) -> ManifestRef {
        self.target
    }

    /// Each path that differs, in byte order.
    #[must_use]
    pub fn changes(&self) -> &[(String, Change)] {
        &self.changes
    }

    /// Numbers of files added, changed and removed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Change) -> bool| self.changes.iter().filter(|(_, change)| is(change)).count();
        (
            count(|change| matches!(change, Change::Added(_))),
            count(|change| matches!(change, Change::Changed(_))),
            count(|change| matches!(change, Change::Removed)),
        )
    }

    /// Makes the target of `base`.
    ///
    /// # Errors
    /// [`DeltaError`]; `base` stays as it is either way.
    pub fn apply(&self, base: &FileManifest) -> Result<FileManifest, DeltaError> {
        if base.reference() != self.base {
            return Err(DeltaError::WrongBase { expected: self.base, seen: base.reference() });
        }
        let wrong = |expected, path: &String| DeltaError::WrongChange { expected, path: path.clone() };
        let mut files = Vec::with_capacity(base.files().len());
        let mut old = base.files().iter().peekable();
        for (path, change) in &self.changes {
            while let Some(file) = old.next_if(|(before, _)| before < path) {
                files.push(file.clone());
            }
            let before = old.next_if(|(before, _)| before == path).map(|(_, digest)| digest);
            match (change, before) {
                (Change::Added(digest), None) => files.push((path.clone(), *digest)),
                (Change::Changed(digest), Some(before)) if before != digest => {
                    files.push((path.clone(), *digest));
                }
                (Change::Removed, Some(_)) => {}
                (Change::Added(_), _) => return Err(wrong("an added file that was not there before", path)),
                (Change::Changed(_), _) => {
                    return Err(wrong("a changed file that was there, with another digest", path));
                }
                (Change::Removed, _) => return Err(wrong("a removed file that was there before", path)),
            }
        }
        files.extend(old.cloned());
        let target = FileManifest::new(files)?;
        if target.reference() != self.target {
            return Err(DeltaError::WrongTarget { expected: self.target, seen: target.reference() });
        }
        Ok(target)
    }
}

fn parse_reference(text: Option<&str>) -> Option<ManifestRef> {
    let (files, root) = text?.split_once(' ')?;
    let files = decimal(files, MAX_MANIFEST_FILES as u64).filter(|files| *files > 0)?;
    Some(ManifestRef { root: Hash::from_hex(root).ok()?, files })
}

fn parse_change(line: &str) -> Result<(String, Change), FormatError> {
    let changed = |(path, digest), change: fn(Hash) -> Change| (path, change(digest));
    match line.split_at_checked(2) {
        Some(("+ ", file)) => Ok(changed(parse_file(file)?, Change::Added)),
        Some(("~ ", file)) => Ok(changed(parse_file(file)?, Change::Changed)),
        Some(("- ", path)) => check_path(path).map(|()| (path.into(), Change::Removed)),
        _ => Err(FormatError::malformed(WHAT, "`+`, `~` or `-`, and a space", quote(line))),
    }
}

/// The delta file.
impl fmt::Display for ManifestDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, target, changes } = self;
        writeln!(f, "{DELTA_HEADER}\nbase {} {}", base.files, base.root.to_hex())?;
        writeln!(f, "target {} {}", target.files, target.root.to_hex())?;
        changes.iter().try_for_each(|(path, change)| match change {
            Change::Added(digest) => writeln!(f, "+ {}  {path}", digest.to_hex()),
            Change::Changed(digest) => writeln!(f, "~ {}  {path}", digest.to_hex()),
            Change::Removed => writeln!(f, "- {path}"),
        })
    }
}
