//! Finds the artifact in a release, by its digest and its name.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Artifact, Pins, Refusal};
use crate::format::is_hidden;
use crate::merkle::{Hash, MultiProof, manifest_leaf};
use crate::release::{ManifestRef, Release, Subject, check_path};

/// Most digests that a refusal names.
const NAMED: usize = 3;

/// The matching artifacts of the release: the one with the file's digest, followed by all others with the same
/// digest; or the files of its manifest.
pub(super) fn find(
    artifact: Artifact<'_>,
    pins: &Pins<'_>,
    release: &Release,
) -> Result<Vec<Subject>, Refusal> {
    match artifact {
        Artifact::File { digest, name } => find_file(digest, name, pins.name, release),
        Artifact::Files(files, proof) => find_files(files, proof, pins.name, release),
        Artifact::Manifest(manifest, digest) => find_manifest(manifest, digest, pins.name, release),
    }
}

fn find_file(
    digest: &Hash,
    name: Option<&str>,
    pinned: Option<&str>,
    release: &Release,
) -> Result<Vec<Subject>, Refusal> {
    // A pinned name must match exactly; a file's name is compared as people read it.
    let likeness = |subject: &Subject| match pinned {
        Some(pinned) => Likeness { alike: usize::from(subject.name == pinned), same: 0 },
        None => name.map_or(Likeness::default(), |name| Likeness::of(name, &subject.name)),
    };
    let mut subjects: Vec<(Likeness, &Subject)> =
        release.subjects.iter().map(|subject| (likeness(subject), subject)).collect();
    subjects.sort_by_key(|(likeness, _)| core::cmp::Reverse(*likeness));
    let named = subjects.first().copied().filter(|(likeness, _)| likeness.alike > 0);
    let (found, others): (Vec<_>, Vec<_>) =
        subjects.into_iter().partition(|(_, subject)| subject.sha256 == *digest);
    let Some((best, subject)) = found.first() else {
        let told = |(_, subject): &(Likeness, &Subject)| {
            format!("{} ({})", subject.sha256.to_hex(), in_words(&subject.name))
        };
        let expected: Vec<String> = others.iter().take(NAMED).map(told).collect();
        return Err(Refusal::ArtifactMismatch { expected: expected.join(" or "), seen: digest.to_hex() });
    };
    let swapped = |expected: &str| {
        Err(Refusal::ArtifactSwapped { expected: expected.to_owned(), seen: subject.name.clone() })
    };
    match (named, pinned) {
        (Some((likeness, wanted)), _) if *best < likeness => swapped(&wanted.name),
        (None, Some(pinned)) => swapped(pinned),
        _ => Ok(found.into_iter().map(|(_, subject)| subject.clone()).collect()),
    }
}

fn find_files(
    files: &[(String, Hash)],
    proof: &MultiProof,
    pinned: Option<&str>,
    release: &Release,
) -> Result<Vec<Subject>, Refusal> {
    let refuse = Refusal::NotInManifest;
    let manifest = release.manifest.ok_or_else(|| refuse("the statement has no manifest".to_owned()))?;
    if manifest.files != proof.total as u64 {
        let (expected, seen) = (manifest.files, proof.total);
        return Err(refuse(format!("expected a proof over {expected} files, saw {seen}")));
    }
    // The publisher is trusted to say what the files are, not to name files outside their folder.
    files.iter().try_for_each(|(path, _)| check_path(path)).map_err(|e| refuse(e.to_string()))?;
    let leaves: Vec<Hash> = files.iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
    proof.verify(&leaves, &manifest.root).map_err(|e| refuse(e.to_string()))?;
    if let Some(pinned) = pinned
        && let Some((path, _)) = files.iter().find(|(path, _)| path != pinned)
    {
        return Err(Refusal::ArtifactSwapped { expected: pinned.to_owned(), seen: path.clone() });
    }
    Ok(files.iter().map(|(path, sha256)| Subject { name: path.clone(), sha256: *sha256 }).collect())
}

/// The manifest file among the artifacts; a release that states the manifest alone has it without a name.
fn find_manifest(
    manifest: &ManifestRef,
    digest: &Hash,
    pinned: Option<&str>,
    release: &Release,
) -> Result<Vec<Subject>, Refusal> {
    let refuse = Refusal::NotInManifest;
    let stated = release.manifest.ok_or_else(|| refuse("the statement has no manifest".to_owned()))?;
    if stated != *manifest {
        let words = |m: &ManifestRef| [&m.root.to_hex(), " over ", &m.files.to_string(), " files"].concat();
        let (expected, seen) = (words(&stated), words(manifest));
        return Err(refuse(["expected root ", &expected, ", saw ", &seen].concat()));
    }
    let mut found: Vec<Subject> =
        release.subjects.iter().filter(|subject| subject.sha256 == *digest).cloned().collect();
    if found.is_empty() {
        found.push(Subject { name: String::new(), sha256: *digest });
    }
    if let Some(expected) = pinned.filter(|pinned| found.iter().all(|subject| subject.name != *pinned)) {
        let (expected, seen) = (expected.to_owned(), found[0].name.clone());
        return Err(Refusal::ArtifactSwapped { expected, seen });
    }
    Ok(found)
}

/// The number of trailing components of a file's path that match the name of a subject. In a release with `linux/agent`
/// and `darwin/agent`, the file `agent` matches both, and `darwin/agent` the second alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Likeness {
    /// Components that match ignoring what many file systems ignore: case, dots and spaces at the end. So are
    /// hidden characters, which people don't see.
    alike: usize,
    /// Components that match exactly.
    same: usize,
}

impl Likeness {
    fn of(path: &str, name: &str) -> Self {
        let pairs = || components(path).zip(components(name));
        Self {
            alike: pairs().take_while(|(a, b)| read(a) == read(b)).count(),
            same: pairs().take_while(|(a, b)| a == b).count(),
        }
    }
}

/// A component as people and file systems read it.
fn read(component: &str) -> String {
    let seen: String = component.chars().filter(|c| !is_hidden(*c)).flat_map(char::to_lowercase).collect();
    seen.trim_end_matches(['.', ' ']).to_owned()
}

/// The components, last first, by either separator: statements come from both kinds of systems.
fn components(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit(['/', '\\']).filter(|component| !component.is_empty() && *component != ".")
}

/// For people: a statement may leave a name out.
fn in_words(name: &str) -> &str {
    if name.is_empty() { "without a name" } else { name }
}
