//! What a monitor knows of a log, in a file that is replaced at once.
//!
//! ```text
//! <hex SHA-256 of the rest>
//! {"version":2,"origin":"...","start":0,"size":300,"peaks":["<base64>",...],"verified":"<note>", ...}
//! ```
//!
//! The cursor (`size` and `peaks`) moves in it only after the events of the entries before it were delivered.
//! After a kill the entries since the last save are read again, and their events carry the same ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::expect::{Comparison, ReleaseKey};
use super::recent::Recent;
use super::sequences::{Last, Sequences, Track};
use crate::checkpoint::Origin;
use crate::disk::{DiskError, DiskIo, read_plain, replace};
use crate::format::checksum;
use crate::format::{FormatError, cap};
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::note::Note;
use crate::release::SequenceSteps;

/// Largest state file: some million packages.
const MAX_STATE_BYTES: usize = 512 * 1024 * 1024;
/// Version 1 had no `recent` and `withdrawn`, and no steps in `sequences`.
const VERSION: u32 = 2;

/// A head that somebody showed, and that could not be compared yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Who showed it.
    pub source: String,
    /// When, seconds since 1970.
    pub since: u64,
    /// The head, with the signatures that it came with.
    pub note: Note,
}

/// How entries were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Looked {
    /// Re-hashed, and not read.
    Hashed,
    /// Read, and their signatures not checked.
    Read,
    /// Read, and their signatures checked.
    Checked,
}

/// What a monitor knows of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The log.
    pub origin: Origin,
    /// Entries before this one were never looked at.
    pub start: TreeSize,
    /// The tree over the entries that were re-hashed.
    pub edge: RightEdge,
    /// The newest head all of whose entries were re-hashed: what this monitor vouches for.
    pub verified: Option<Note>,
    /// The newest head of the log that continues the tree: equal to `verified` but while catching up.
    pub target: Option<Note>,
    /// Time of the head before the entries at the cursor: they are no older.
    pub time: u64,
    /// The last release of each track.
    pub sequences: Sequences,
    /// The comparison with the manifest.
    pub comparison: Comparison,
    /// Whether it began: a manifest may be given later than the log.
    pub compares: bool,
    /// How the entries up to the cursor were looked at, at the least.
    pub looked: Looked,
    /// The latest cosignature of each witness, by its own clock.
    pub witnesses: BTreeMap<String, u64>,
    /// When the log last gave a sign of life: a larger tree, or a newer cosignature.
    pub alive: u64,
    /// Since when a cache before the log shows heads older than the newest; none where it does not.
    pub stale_since: Option<u64>,
    /// Heads that wait for a comparison.
    pub pending: Vec<Pending>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    origin: String,
    start: u64,
    size: u64,
    peaks: Vec<String>,
    verified: Option<String>,
    target: Option<String>,
    time: u64,
    alive: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_since: Option<u64>,
    witnesses: BTreeMap<String, u64>,
    pending: Vec<(String, u64, String)>,
    seen: Vec<String>,
    unexpected: Vec<String>,
    waiting: Vec<(String, u64)>,
    compares: bool,
    looked: Looked,
    sequences: Vec<TrackText>,
    #[serde(default)]
    recent: [String; 2],
    #[serde(default)]
    withdrawn: [String; 2],
}

/// Track, sequence, leaf, artifacts; and from version 2 on the steps before.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TrackText {
    Now(String, u64, u64, String, u8, u8),
    Version1(String, u64, u64, String),
}

/// Why the state of a log can't be had, or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is not what was written.
    #[error(
        "{} is damaged: {source}; put it back from a backup, or delete it: the whole log is then read and judged again, and what the monitor knew of earlier heads is lost",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// By the system.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// By the system.
    #[error(transparent)]
    Write(#[from] DiskError),
}

impl LogState {
    const WHAT: &str = "a monitor's state";

    /// Nothing is known.
    pub fn new(origin: Origin, now: u64) -> Self {
        Self {
            origin,
            start: TreeSize::ZERO,
            edge: RightEdge::default(),
            verified: None,
            target: None,
            time: 0,
            sequences: Sequences::default(),
            comparison: Comparison::default(),
            compares: false,
            looked: Looked::Checked,
            witnesses: BTreeMap::new(),
            alive: now,
            stale_since: None,
            pending: Vec::new(),
        }
    }

    /// Reads the file. None where there is none.
    pub fn load(path: &Path, origin: &Origin) -> Result<Option<Self>, StateError> {
        let bytes = match read_plain(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
        };
        let state = Self::parse(&bytes).and_then(|state| {
            let wrong = |seen: &Origin| {
                FormatError::malformed(Self::WHAT, format!("origin {origin}"), seen.to_string())
            };
            if state.origin == *origin { Ok(state) } else { Err(wrong(&state.origin)) }
        });
        state.map(Some).map_err(|source| StateError::Damaged { path: path.to_owned(), source })
    }

    /// Replaces the file.
    pub fn save(&self, io: &dyn DiskIo, path: &Path) -> Result<(), StateError> {
        // A crash before the rename in here leaves the state before: entries since then are read again, and
        // their events, which were delivered, are delivered once more.
        Ok(replace(io, path, &self.to_bytes())?)
    }

    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_STATE_BYTES)?;
        let json = checksum::check(Self::WHAT, bytes)?;
        let wrong = |expected: &str, seen: String| FormatError::malformed(Self::WHAT, expected, seen);
        let file: FileText =
            serde_json::from_str(json).map_err(|e| wrong("the JSON this program wrote", e.to_string()))?;
        if !(1..=VERSION).contains(&file.version) {
            return Err(wrong("version 2", file.version.to_string()));
        }
        let size =
            |size: u64| TreeSize::new(size).ok_or_else(|| wrong("a tree size below 2^63", size.to_string()));
        let note = |note: &String| Note::parse(note.as_bytes());
        let key = |hex: &String| {
            ReleaseKey::from_hex(hex).ok_or_else(|| wrong("32 hex digits of a release", hex.clone()))
        };
        let peaks: Vec<Hash> =
            file.peaks.iter().map(|hash| Hash::from_base64(hash)).collect::<Result<_, _>>()?;
        let mut sequences = Sequences::default();
        for row in &file.sequences {
            let (track, sequence, leaf, artifacts, steps) = match row {
                TrackText::Now(track, sequence, leaf, artifacts, ones, count) => {
                    (track, sequence, leaf, artifacts, SequenceSteps { ones: *ones, count: *count })
                }
                // Nobody knows how it came to its number: as if by steps of one, for that is what was assumed.
                TrackText::Version1(track, sequence, leaf, artifacts) => {
                    (track, sequence, leaf, artifacts, SequenceSteps { ones: 1, count: 1 })
                }
            };
            let bytes = hex::decode(artifacts).ok().and_then(|bytes| bytes.try_into().ok());
            let (Some(track), Some(artifacts)) = (Track::from_hex(track), bytes) else {
                return Err(wrong("32 hex digits of a track", track.clone()));
            };
            sequences.restore(track, Last { sequence: *sequence, leaf: *leaf, artifacts, steps });
        }
        sequences.recent = Recent::from_text(&file.recent)?;
        sequences.withdrawn = Recent::from_text(&file.withdrawn)?;
        let waiting = |(hex, since): &(String, u64)| Ok::<_, FormatError>((key(hex)?, *since));
        let pending = |(source, since, text): &(String, u64, String)| {
            Ok::<_, FormatError>(Pending { source: source.clone(), since: *since, note: note(text)? })
        };
        Ok(Self {
            origin: Origin::new(&file.origin)?,
            start: size(file.start)?,
            edge: RightEdge::new(size(file.size)?, peaks)
                .ok_or_else(|| wrong("a peak for each bit of the size", "another number".to_owned()))?,
            verified: file.verified.as_ref().map(note).transpose()?,
            target: file.target.as_ref().map(note).transpose()?,
            time: file.time,
            sequences,
            comparison: Comparison {
                seen: file.seen.iter().map(key).collect::<Result<_, _>>()?,
                unexpected: file.unexpected.iter().map(key).collect::<Result<_, _>>()?,
                waiting: file.waiting.iter().map(waiting).collect::<Result<_, _>>()?,
            },
            compares: file.compares,
            looked: file.looked,
            witnesses: file.witnesses,
            alive: file.alive,
            stale_since: file.stale_since,
            pending: file.pending.iter().map(pending).collect::<Result<_, _>>()?,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let hex = |keys: &std::collections::HashSet<ReleaseKey>| {
            let mut keys: Vec<String> = keys.iter().map(|key| key.to_hex()).collect();
            keys.sort_unstable();
            keys
        };
        let mut sequences: Vec<(Track, Last)> = self.sequences.rows().collect();
        sequences.sort_unstable_by_key(|(track, _)| *track);
        let row = |(track, last): (Track, Last)| {
            let SequenceSteps { ones, count } = last.steps;
            TrackText::Now(track.to_hex(), last.sequence, last.leaf, hex::encode(last.artifacts), ones, count)
        };
        let file = FileText {
            version: VERSION,
            origin: self.origin.to_string(),
            start: self.start.get(),
            size: self.edge.size().get(),
            peaks: self.edge.peaks().iter().map(Hash::to_base64).collect(),
            verified: self.verified.as_ref().map(ToString::to_string),
            target: self.target.as_ref().map(ToString::to_string),
            time: self.time,
            alive: self.alive,
            stale_since: self.stale_since,
            witnesses: self.witnesses.clone(),
            pending: self.pending.iter().map(|p| (p.source.clone(), p.since, p.note.to_string())).collect(),
            seen: hex(&self.comparison.seen),
            unexpected: hex(&self.comparison.unexpected),
            waiting: self.comparison.waiting.iter().map(|(key, since)| (key.to_hex(), *since)).collect(),
            compares: self.compares,
            looked: self.looked,
            sequences: sequences.into_iter().map(row).collect(),
            recent: self.sequences.recent.to_text(),
            withdrawn: self.sequences.withdrawn.to_text(),
        };
        checksum::add(&serde_json::to_string(&file).expect("strings and numbers always serialize"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::monitor::recent::{Mark, Met};

    fn state() -> LogState {
        let mut state = LogState::new(Origin::new("log.example").unwrap(), 77);
        let leaves: Vec<Hash> = (0..11_u8).map(|at| Hash::leaf(&[at])).collect();
        state.edge = state.edge.grow(&leaves).edge;
        let signer = crate::note::NoteSigner::from_seed(
            crate::note::KeyName::new("log.example").unwrap(),
            crate::note::SignatureType::Ed25519,
            &[7; 32],
        );
        let head =
            crate::checkpoint::Checkpoint::new(state.origin.clone(), state.edge.size(), state.edge.root());
        let note = head.sign(&signer);
        state.verified = Some(note.clone());
        state.pending.push(Pending { source: "peer p".to_owned(), since: 5, note });
        state.witnesses.insert("w1".to_owned(), 9);
        state.stale_since = Some(8);
        state.comparison.waiting.insert(ReleaseKey::from_hex(&"ab".repeat(16)).unwrap(), 3);
        let last =
            Last { sequence: 4, leaf: 2, artifacts: [3; 16], steps: SequenceSteps { ones: 5, count: 3 } };
        let met = Met::new(7, &Hash::leaf(b"value"));
        state.sequences.recent.learn([(Mark::payload(&Hash::leaf(b"payload")), met)].into());
        state.sequences.withdrawn.learn([(Mark::withdrawn("v", "p", &Hash::leaf(b"a")), met)].into());
        state.sequences.restore(Track::from_hex(&"cd".repeat(16)).unwrap(), last);
        state
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = state();
        assert_eq!(LogState::load(&path, &state.origin).unwrap(), None);
        state.save(&RealDisk, &path).unwrap();
        assert_eq!(LogState::load(&path, &state.origin).unwrap(), Some(state.clone()));
        let other = Origin::new("other.example").unwrap();
        assert!(matches!(LogState::load(&path, &other), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn every_changed_byte_is_damage() {
        let bytes = state().to_bytes();
        assert_eq!(LogState::parse(&bytes).unwrap(), state());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(LogState::parse(&changed).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(LogState::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
