//! The state file of one log: replaced as a whole, with a checksum.
//!
//! ```text
//! <hex SHA-256 of the rest>
//! {"version":2,"origin":"...","start":0,"size":300,"peaks":["<base64>",...],"verified":"<note>", ...}
//! ```
//!
//! The cursor (`size` and `peaks`) moves only after the events of the entries below it were delivered. After a kill
//! the entries since the last save are read again, and their events have the same ids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::{History, Last, Marks, ShortHash};
use super::manifest::ManifestComparison;
use crate::checkpoint::Origin;
use crate::disk::{DiskError, DiskIo, read_plain, replace};
use crate::format::checksum;
use crate::format::{FormatError, cap};
use crate::merkle::{Hash, RightEdge, TreeSize};
use crate::note::Note;
use crate::release::SequenceSteps;

/// Largest state file, in bytes: some million packages.
const MAX_STATE_BYTES: usize = 512 * 1024 * 1024;
/// Version 1 had no `recent` and `withdrawn`, and no steps in `sequences`.
const VERSION: u32 = 2;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadState {
    /// The newest head of the log that continues the tree. It equals the verified one except while catching up.
    pub target: Option<Note>,
    /// The latest cosignature of each witness, by its own clock.
    pub witnesses: BTreeMap<String, u64>,
    /// When the log last had a larger tree or a newer cosignature, seconds since 1970.
    pub alive: u64,
    /// Since when a cache in front of the log serves an older head than the newest, if one does.
    pub stale_since: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryState {
    /// Entries below this index were never looked at.
    pub start: TreeSize,
    /// The tree over the entries that were re-hashed. Its size is the cursor.
    pub edge: RightEdge,
    /// The newest head all of whose entries were re-hashed.
    pub verified: Option<Note>,
    /// Time of that head. The entries from the cursor on are no older.
    pub time: u64,
    pub history: History,
    pub comparison: ManifestComparison,
    /// Whether the comparison began. A manifest may be given later than the log.
    pub compares: bool,
    /// The least that was done with any entry below the cursor.
    pub looked: Looked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingHead {
    pub source: String,
    pub since: u64,
    /// The head, with the signatures that it came with.
    pub note: Note,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Looked {
    /// It was re-hashed and not read.
    Hashed,
    /// It was read, and its signatures not checked.
    Read,
    /// It was read, and its signatures checked. So were all entries of an empty log.
    #[default]
    Checked,
}

/// Everything that a monitor knows of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    pub heads: HeadState,
    pub entries: EntryState,
    pub pending: Vec<PendingHead>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateText {
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
    seen: BTreeSet<ShortHash>,
    unexpected: BTreeSet<ShortHash>,
    waiting: Vec<(ShortHash, u64)>,
    compares: bool,
    looked: Looked,
    sequences: Vec<TrackText>,
    #[serde(default)]
    recent: [String; 2],
    #[serde(default)]
    withdrawn: [String; 2],
}

/// Track, sequence, leaf, artifacts; and since version 2 the steps before.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TrackText {
    Version2(ShortHash, u64, u64, ShortHash, u8, u8),
    Version1(ShortHash, u64, u64, ShortHash),
}

/// Why the state of a log can't be read or written.
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
        /// The first difference.
        source: FormatError,
    },
    /// The system can't read it.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The system can't write it.
    #[error(transparent)]
    Write(#[from] DiskError),
}

const WHAT: &str = "a monitor's state";

fn wrong(expected: &str, seen: impl Into<String>) -> FormatError {
    FormatError::malformed(WHAT, expected, seen)
}

impl LogState {
    /// The state of a log that is new at this time, seconds since 1970.
    pub fn new(now: u64) -> Self {
        Self { heads: HeadState { alive: now, ..HeadState::default() }, ..Self::default() }
    }

    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`StateError`], also for a file about another log.
    pub fn load(path: &Path, origin: &Origin) -> Result<Option<Self>, StateError> {
        let bytes = match read_plain(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
        };
        let state = StateText::parse(&bytes).and_then(|file| file.into_state(origin));
        state.map(Some).map_err(|source| StateError::Damaged { path: path.to_owned(), source })
    }
}

/// Replaces the file.
///
/// # Errors
/// [`StateError::Write`]. The old file is whole then, and so it is after a crash: entries since then are read again,
/// and their events delivered again.
pub fn save(
    io: &dyn DiskIo,
    path: &Path,
    origin: &str,
    (heads, entries, pending): (&HeadState, &EntryState, &[PendingHead]),
) -> Result<(), StateError> {
    Ok(replace(io, path, &StateText::new(origin, heads, entries, pending).to_bytes())?)
}

fn size(size: u64) -> Result<TreeSize, FormatError> {
    TreeSize::new(size).ok_or_else(|| wrong("a tree size below 2^63", size.to_string()))
}

fn note(text: &String) -> Result<Note, FormatError> {
    Note::parse(text.as_bytes())
}

impl TrackText {
    const fn new((track, last): (&ShortHash, &Last)) -> Self {
        let Last { sequence, leaf, artifacts, steps } = *last;
        Self::Version2(*track, sequence, leaf, artifacts, steps.ones, steps.count)
    }

    const fn into_track(self) -> (ShortHash, Last) {
        let (track, sequence, leaf, artifacts, ones, count) = match self {
            Self::Version2(track, sequence, leaf, artifacts, ones, count) => {
                (track, sequence, leaf, artifacts, ones, count)
            }
            // Version 1 assumed that numbers are dense, so it counts as one step of one.
            Self::Version1(track, sequence, leaf, artifacts) => (track, sequence, leaf, artifacts, 1, 1),
        };
        (track, Last { sequence, leaf, artifacts, steps: SequenceSteps { ones, count } })
    }
}

impl StateText {
    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(WHAT, bytes.len(), MAX_STATE_BYTES)?;
        let json = checksum::check(WHAT, bytes)?;
        let file: Self =
            serde_json::from_str(json).map_err(|e| wrong("the JSON this program wrote", e.to_string()))?;
        if !(1..=VERSION).contains(&file.version) {
            return Err(wrong("version 2", file.version.to_string()));
        }
        Ok(file)
    }

    fn into_state(self, origin: &Origin) -> Result<LogState, FormatError> {
        if Origin::new(&self.origin)? != *origin {
            return Err(wrong(&format!("origin {origin}"), self.origin));
        }
        let peaks: Vec<Hash> =
            self.peaks.iter().map(|hash| Hash::from_base64(hash)).collect::<Result<_, _>>()?;
        let edge = RightEdge::new(size(self.size)?, peaks)
            .ok_or_else(|| wrong("a peak for each bit of the size", "another number"))?;
        let history = History {
            tracks: self.sequences.into_iter().map(TrackText::into_track).collect(),
            recent: Marks::from_text(&self.recent)?,
            withdrawn: Marks::from_text(&self.withdrawn)?,
        };
        let waiting = self.waiting.into_iter().collect();
        let comparison = ManifestComparison { seen: self.seen, unexpected: self.unexpected, waiting };
        let pending = |(source, since, text): (String, u64, String)| {
            Ok::<_, FormatError>(PendingHead { source, since, note: note(&text)? })
        };
        Ok(LogState {
            heads: HeadState {
                target: self.target.as_ref().map(note).transpose()?,
                witnesses: self.witnesses,
                alive: self.alive,
                stale_since: self.stale_since,
            },
            entries: EntryState {
                start: size(self.start)?,
                edge,
                verified: self.verified.as_ref().map(note).transpose()?,
                time: self.time,
                history,
                comparison,
                compares: self.compares,
                looked: self.looked,
            },
            pending: self.pending.into_iter().map(pending).collect::<Result<_, _>>()?,
        })
    }

    fn new(origin: &str, heads: &HeadState, entries: &EntryState, pending: &[PendingHead]) -> Self {
        let EntryState { start, edge, history, comparison, .. } = entries;
        Self {
            version: VERSION,
            origin: origin.to_owned(),
            start: start.get(),
            size: edge.size().get(),
            peaks: edge.peaks().iter().map(Hash::to_base64).collect(),
            verified: entries.verified.as_ref().map(ToString::to_string),
            target: heads.target.as_ref().map(ToString::to_string),
            time: entries.time,
            alive: heads.alive,
            stale_since: heads.stale_since,
            witnesses: heads.witnesses.clone(),
            pending: pending.iter().map(|p| (p.source.clone(), p.since, p.note.to_string())).collect(),
            seen: comparison.seen.clone(),
            unexpected: comparison.unexpected.clone(),
            waiting: comparison.waiting.iter().map(|(key, since)| (*key, *since)).collect(),
            compares: entries.compares,
            looked: entries.looked,
            sequences: history.tracks.iter().map(TrackText::new).collect(),
            recent: history.recent.to_text(),
            withdrawn: history.withdrawn.to_text(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        checksum::add(&serde_json::to_string(self).expect("strings and numbers always serialize"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::disk::RealDisk;
    use crate::monitor::history::{Mark, Met};
    use crate::note::{KeyName, NoteSigner, SignatureType};

    fn origin() -> Origin {
        Origin::new("log.example").unwrap()
    }

    fn state() -> LogState {
        let mut state = LogState::new(77);
        let leaves: Vec<Hash> = (0..11_u8).map(|at| Hash::leaf(&[at])).collect();
        let LogState { heads, entries, pending } = &mut state;
        entries.edge = entries.edge.grow(&leaves).edge;
        let name = KeyName::new("log.example").unwrap();
        let signer = NoteSigner::from_seed(name, SignatureType::Ed25519, &[7; 32]);
        let note = Checkpoint::new(origin(), entries.edge.size(), entries.edge.root()).sign(&signer);
        entries.verified = Some(note.clone());
        pending.push(PendingHead { source: "peer p".to_owned(), since: 5, note });
        heads.witnesses.insert("w1".to_owned(), 9);
        heads.stale_since = Some(8);
        entries.comparison.waiting.insert(ShortHash::of("ab"), 3);
        let (artifacts, steps) = (ShortHash::of("artifacts"), SequenceSteps { ones: 5, count: 3 });
        let last = Last { sequence: 4, leaf: 2, artifacts, steps };
        let met = Met::new(7, &Hash::leaf(b"value"));
        let history = &mut entries.history;
        history.recent.learn([(Mark::payload(&Hash::leaf(b"payload")), met)].into());
        history.withdrawn.learn([(Mark::withdrawn("v", "p", &Hash::leaf(b"a")), met)].into());
        history.tracks.insert(ShortHash::of("cd"), last);
        state
    }

    fn parse(bytes: &[u8]) -> Result<LogState, FormatError> {
        StateText::parse(bytes)?.into_state(&origin())
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = state();
        assert_eq!(LogState::load(&path, &origin()).unwrap(), None);
        let parts = (&state.heads, &state.entries, state.pending.as_slice());
        save(&RealDisk, &path, "log.example", parts).unwrap();
        assert_eq!(LogState::load(&path, &origin()).unwrap(), Some(state));
        let other = Origin::new("other.example").unwrap();
        assert!(matches!(LogState::load(&path, &other), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn every_changed_byte_is_damage() {
        let state = state();
        let file = StateText::new("log.example", &state.heads, &state.entries, &state.pending);
        let bytes = file.to_bytes();
        assert_eq!(parse(&bytes).unwrap(), state);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(parse(&changed).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
