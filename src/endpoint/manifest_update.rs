//! Follows the manifest of a channel: takes a whole one or a delta, checks it against a proven release, and remembers it.

use std::path::Path;

use super::check_error::{CheckError, Notice};
use super::memory_store::MemoryError;
use super::open::Endpoint;
use super::remembered_manifest::RememberedManifest;
use super::{Accepted, Artifact, Online, Pins, Proven, Question, Refusal};
use crate::format::FormatError;
use crate::note::Note;
use crate::release::{DELTA_HEADER, DeltaError, FileManifest, ManifestDelta, ManifestRef, Statement, Track};

/// The next manifest of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestUpdate {
    /// All of it.
    Whole(FileManifest),
    /// The changes since the remembered one.
    Delta(ManifestDelta),
}

impl ManifestUpdate {
    /// Parses a manifest or a delta.
    ///
    /// # Errors
    /// [`FormatError`], with the line if one is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.starts_with(DELTA_HEADER.as_bytes()) {
            return ManifestDelta::parse(bytes).map(Self::Delta);
        }
        FileManifest::parse(bytes).map(Self::Whole)
    }
}

/// A manifest that is remembered from now on.
#[derive(Debug, Clone)]
pub struct UpdatedManifest {
    /// Its release.
    pub accepted: Accepted,
    /// Its files.
    pub manifest: FileManifest,
    /// The changes since the one that was remembered before, if there was one.
    pub changes: Option<ManifestDelta>,
}

/// The outcome of an update.
#[derive(Debug)]
pub struct CheckedManifest {
    /// The manifest, or the reason that the endpoint did not take it. Nothing may be installed then.
    pub updated: Result<UpdatedManifest, ManifestUpdateError>,
    /// As [`Checked::heads`](super::Checked::heads).
    pub heads: Vec<Note>,
}

/// A manifest that the endpoint did not take.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestUpdateError {
    /// The release is refused, or the check could not tell.
    #[error(transparent)]
    Check(Box<CheckError>),
    /// The remembered manifest could not be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The delta does not lead from the remembered manifest to its target.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// Nothing is remembered of the channel.
    #[error(
        "no manifest of {package}, channel {channel}, is remembered here: expected the whole manifest first, saw a delta"
    )]
    NothingRemembered {
        /// The package.
        package: String,
        /// The channel.
        channel: String,
    },
    /// The publisher has two manifests under one number.
    #[error(
        "{publisher} stated two manifests under sequence {sequence}: expected root {}, as remembered, saw {}", expected.root.to_hex(), seen.root.to_hex()
    )]
    SameSequence {
        /// The publisher.
        publisher: String,
        /// The number.
        sequence: u64,
        /// The manifest that is remembered.
        expected: ManifestRef,
        /// The other one.
        seen: ManifestRef,
    },
    /// The endpoint has no directory to remember in.
    #[error("this endpoint has no directory to remember manifests in")]
    NoDirectory,
}

impl From<CheckError> for ManifestUpdateError {
    fn from(error: CheckError) -> Self {
        Self::Check(Box::new(error))
    }
}

impl From<Refusal> for ManifestUpdateError {
    fn from(refusal: Refusal) -> Self {
        CheckError::from(refusal).into()
    }
}

impl Endpoint {
    /// Takes the next manifest of a channel: applies a delta to the remembered one, checks the result against the release
    /// of `proof` as [`check_all`](Self::check_all) does, and remembers it.
    ///
    /// After an error the remembered manifest is the one before, or, if it could not be told whether writing succeeded, the
    /// new one. The same update can be taken again either way.
    ///
    /// The `artifact` of the question does not count.
    #[must_use]
    pub fn update_manifest(
        &self,
        update: &ManifestUpdate,
        question: &Question<'_>,
        online: Option<Online<'_>>,
    ) -> CheckedManifest {
        let mut heads = Vec::new();
        let updated = self.update(update, question, online, &mut heads);
        CheckedManifest { updated, heads }
    }

    fn update(
        &self,
        update: &ManifestUpdate,
        question: &Question<'_>,
        online: Option<Online<'_>>,
        heads: &mut Vec<Note>,
    ) -> Result<UpdatedManifest, ManifestUpdateError> {
        let dir = self.manifests.as_ref().ok_or(ManifestUpdateError::NoDirectory)?;
        // The release is in a log and by its publisher before anything of the update counts.
        let stated = self.stated_track(question.proof, &question.pins)?;
        let _lock = dir.lock(|lock: &Path| self.tell(&Notice::Waiting { lock }))?;
        let before = match (dir.read(&stated.track), update) {
            // A whole manifest needs none before it, and takes the place of a damaged one.
            (Err(MemoryError::Damaged { .. }), ManifestUpdate::Whole(_)) => None,
            (before, _) => before?,
        };
        let manifest = match (update, &before) {
            (ManifestUpdate::Whole(manifest), _) => manifest.clone(),
            // An update that was interrupted after it was remembered.
            (ManifestUpdate::Delta(delta), Some(before)) if before.manifest.reference() == delta.target() => {
                before.manifest.clone()
            }
            (ManifestUpdate::Delta(delta), Some(before)) => delta.apply(&before.manifest)?,
            (ManifestUpdate::Delta(_), None) => {
                let StatedTrack { package, channel, .. } = stated;
                return Err(ManifestUpdateError::NothingRemembered { package, channel });
            }
        };
        let (reference, digest) = (manifest.reference(), manifest.digest());
        let question = Question { artifact: Artifact::Manifest(&reference, &digest), ..question.clone() };
        // A crash before the next line leaves both memories as they were.
        let checked = self.check_all(std::slice::from_ref(&question), online);
        *heads = checked.heads;
        let accepted = checked.verdicts?.pop().expect("one verdict for each question")?;
        if let Some(before) = &before {
            check_follows(before, &accepted, reference)?;
        }
        // A crash here leaves the release remembered and the manifest before it: the same update is taken again, because
        // its base is still there, and its sequence number is not below the remembered one.
        dir.save(&RememberedManifest::new(&accepted.release, manifest.clone()))?;
        // After a crash here the manifest is remembered, and the same update finds its target there.
        let changes = before.map(|before| ManifestDelta::between(&before.manifest, &manifest));
        Ok(UpdatedManifest { accepted, manifest, changes })
    }

    /// The channel of a release that is in a log and by a publisher, whatever else is wrong with it.
    fn stated_track(&self, proof: &[u8], pins: &Pins<'_>) -> Result<StatedTrack, Refusal> {
        let proven = Proven::open(proof, self.trust())?;
        let verified = &proven.only_release()?.verified;
        let publishers = verified.publishers().to_vec();
        let release = match verified.statement() {
            Statement::Release(release) => release,
            other => return Err(Refusal::NotARelease { seen: other.kind() }),
        };
        let named = publishers.iter().find(|name| Some(name.as_str()) == pins.publisher);
        let publisher = named.unwrap_or(&publishers[0]);
        let (package, channel) = (release.purl.package(), release.channel.clone());
        Ok(StatedTrack { track: Track::new(publisher, &package, &channel), package, channel })
    }
}

/// Checks that a release does not precede the remembered one, and is not another one under its number.
fn check_follows(
    before: &RememberedManifest,
    accepted: &Accepted,
    seen: ManifestRef,
) -> Result<(), ManifestUpdateError> {
    let (sequence, expected) = (accepted.release.release().sequence, before.manifest.reference());
    if sequence < before.sequence {
        return Err(Refusal::Rollback { expected: before.sequence, seen: sequence }.into());
    }
    if sequence == before.sequence && seen != expected {
        let publisher = before.publisher.clone();
        return Err(ManifestUpdateError::SameSequence { publisher, sequence, expected, seen });
    }
    Ok(())
}

/// The channel that a release is in.
struct StatedTrack {
    track: Track,
    package: String,
    channel: String,
}
