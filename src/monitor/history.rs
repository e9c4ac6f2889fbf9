//! The statements that a log has shown: the sequence numbers of each publisher, package and channel, and marks of the
//! latest statements. A repeat is recognised by its payload and its claims, never by its envelope, because anybody may
//! sign public statements.
//!
//! A log may have millions of statements, so the oldest marks are forgotten: they are kept in two generations, and when
//! the young one is full, it replaces the old one.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Edition, Release, SequenceSteps, Subject, Withdrawal};

/// Most tracks that are remembered of a log, in a state file of some hundred megabytes. Numbers of further ones are not
/// compared.
const MAX_TRACKS: usize = 1_000_000;
/// Bytes of a short hash: enough to prevent collisions.
const SHORT_BYTES: usize = 16;
/// Bytes of the value that is compared under a mark.
const VALUE_BYTES: usize = 8;
const ROW_BYTES: usize = SHORT_BYTES + VALUE_BYTES + 8;
/// Marks of a generation. Two generations are some forty megabytes of a state file, and a release has three marks.
const GENERATION: usize = 250_000;

/// The first 16 bytes of a SHA-256 hash: 32 hex digits in the state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShortHash(#[serde(with = "hex::serde")] [u8; SHORT_BYTES]);

impl ShortHash {
    pub fn of(text: &str) -> Self {
        Self::cut(&Hash::digest(text.as_bytes()))
    }

    pub fn cut(hash: &Hash) -> Self {
        Self(first(hash))
    }

    /// 32 hex digits, for events.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(ShortHash);

impl Mark {
    /// A payload that a publisher with the right to had signed.
    pub fn payload(payload: &Hash) -> Self {
        Self::new("payload", &payload.to_hex())
    }

    pub fn stated(publisher: &str, payload: &Hash) -> Self {
        Self::new("stated", &format!("{publisher}\0{}", payload.to_hex()))
    }

    /// A publisher's claim to a sequence number. Its value is the content.
    pub fn claim(publisher: &str, release: &Release) -> Self {
        let Release { channel, sequence, .. } = release;
        Self::new("claim", &format!("{publisher}\0{}\0{channel}\0{sequence}", release.purl.package()))
    }

    /// A version that should have the same bytes in all its releases: [`Edition::thing`](crate::release::Edition).
    pub fn thing(thing: &Hash) -> Self {
        Self::new("thing", &thing.to_hex())
    }

    /// Package, version and artifacts that a publisher withdrew.
    pub fn withdrawn(publisher: &str, purl: &str, artifacts: &Hash) -> Self {
        Self::new("withdrawn", &format!("{publisher}\0{purl}\0{}", artifacts.to_hex()))
    }

    fn new(what: &str, text: &str) -> Self {
        Self(ShortHash::of(&format!("{what}\0{text}")))
    }
}

/// The leaf at which a mark was met first, and its value there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    pub leaf: u64,
    value: [u8; VALUE_BYTES],
}

impl Met {
    pub fn new(leaf: u64, value: &Hash) -> Self {
        Self { leaf, value: first(value) }
    }

    pub fn is_same(self, value: &Hash) -> bool {
        self.value == first(value)
    }
}

fn first<const N: usize>(hash: &Hash) -> [u8; N] {
    hash.as_bytes()[..N].try_into().expect("a hash is longer")
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    young: HashMap<Mark, Met>,
    old: HashMap<Mark, Met>,
}

impl Marks {
    pub fn get(&self, mark: &Mark) -> Option<Met> {
        self.young.get(mark).or_else(|| self.old.get(mark)).copied()
    }

    /// Adds marks, and replaces those that are known.
    pub fn learn(&mut self, met: HashMap<Mark, Met>) {
        self.learn_within(met, GENERATION);
    }

    fn learn_within(&mut self, met: HashMap<Mark, Met>, generation: usize) {
        if self.young.len() + met.len() > generation && !self.young.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(met);
    }

    /// Both generations in hex for the state file, the young one first.
    pub fn to_text(&self) -> [String; 2] {
        [&self.young, &self.old].map(|generation| {
            let mut rows: Vec<(&Mark, &Met)> = generation.iter().collect();
            rows.sort_unstable_by_key(|(mark, _)| **mark);
            let row =
                |(mark, met): (&Mark, &Met)| [&mark.0.0[..], &met.value, &met.leaf.to_be_bytes()].concat();
            hex::encode(rows.into_iter().flat_map(row).collect::<Vec<u8>>())
        })
    }

    pub fn from_text(text: &[String; 2]) -> Result<Self, FormatError> {
        let [young, old] = [&text[0], &text[1]].map(|text| {
            let wrong = || FormatError::malformed("a monitor's state", "rows of 32 bytes in hex", "others");
            let bytes = hex::decode(text).map_err(|_| wrong())?;
            let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
            let row = |row: &[u8; ROW_BYTES]| {
                let (mark, rest) = row.split_at(SHORT_BYTES);
                let (value, leaf) = rest.split_at(VALUE_BYTES);
                let leaf = u64::from_be_bytes(leaf.try_into().expect("eight bytes"));
                let value = value.try_into().expect("eight bytes");
                let mark = Mark(ShortHash(mark.try_into().expect("sixteen bytes")));
                (mark, Met { leaf, value })
            };
            if rest.is_empty() { Ok(rows.iter().map(row).collect()) } else { Err(wrong()) }
        });
        Ok(Self { young: young?, old: old? })
    }
}

/// The track of a release: publisher, package and channel, hashed.
fn track(publisher: &str, release: &Release) -> ShortHash {
    ShortHash::of(&format!("{publisher}\0{}\0{}", release.purl.package(), release.channel))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Its sequence number, the highest so far.
    pub sequence: u64,
    pub leaf: u64,
    /// [`Release::artifacts`]: a second release with this number may have others.
    pub artifacts: ShortHash,
    /// The steps between the numbers so far.
    pub steps: SequenceSteps,
}

/// How a release follows the one before it in its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberStep {
    /// As it should, or it is the first one.
    Fits,
    Gap {
        last: u64,
    },
    /// The number was used before, for other artifacts.
    Repeated {
        leaf: u64,
    },
    /// A higher number was used before.
    Lower {
        highest: u64,
        leaf: u64,
    },
}

/// How a statement fits the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assessment<'a> {
    /// The leaf with the very same claim or payload: then nothing of it is new.
    pub known: Option<u64>,
    /// The first publisher whose numbers it does not fit, and how.
    pub step: Option<(&'a str, NumberStep)>,
    /// The first publisher who released this version with different content before, and the leaf of that.
    pub changed: Option<(&'a str, u64)>,
    /// The first publisher who withdrew this very version with these artifacts, and the leaf of the withdrawal.
    pub withdrawn: Option<(&'a str, u64)>,
}

/// The statements of a log: all tracks, and the marks of the latest statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub tracks: BTreeMap<ShortHash, Last>,
    pub recent: Marks,
    /// Withdrawals. Kept apart, so that many releases don't displace them.
    pub withdrawn: Marks,
}

/// The history with a window of entries. It is committed once their events were delivered: entries that are read again
/// after an error are judged as they were the first time.
#[derive(Debug)]
pub struct Draft<'a> {
    known: &'a History,
    changes: Changes,
}

#[derive(Debug, Default)]
pub struct Changes {
    tracks: HashMap<ShortHash, Last>,
    recent: HashMap<Mark, Met>,
    withdrawn: HashMap<Mark, Met>,
}

impl Draft<'_> {
    /// The leaf before this one with the same payload, signed by a publisher who may state it.
    pub fn believed(&self, payload: &Hash, leaf: LeafIndex) -> Option<u64> {
        self.before(&Mark::payload(payload), leaf)
    }

    /// Adds a payload that a publisher who may state it signed.
    pub fn believe(&mut self, payload: &Hash, leaf: LeafIndex) {
        if self.believed(payload, leaf).is_none() {
            self.changes.recent.insert(Mark::payload(payload), Met::new(leaf.get(), payload));
        }
    }

    /// Adds a statement that is no release. Returns the leaf before this one at which one of its speakers had stated it:
    /// a further signature on an old statement says nothing new.
    pub fn statement(&mut self, speakers: &[String], payload: &Hash, leaf: LeafIndex) -> Option<u64> {
        let marks: Vec<Mark> = speakers.iter().map(|speaker| Mark::stated(speaker, payload)).collect();
        let before = marks.iter().find_map(|mark| self.before(mark, leaf));
        for mark in marks {
            if self.met(&mark).is_none() {
                self.changes.recent.insert(mark, Met::new(leaf.get(), payload));
            }
        }
        before
    }

    fn before(&self, mark: &Mark, leaf: LeafIndex) -> Option<u64> {
        self.met(mark).map(|met| met.leaf).filter(|before| *before < leaf.get())
    }

    pub fn withdraw(&mut self, speakers: &[String], withdrawal: &Withdrawal, leaf: LeafIndex) {
        let (purl, artifacts) = (withdrawal.purl.as_str(), Subject::digest_of_all(&withdrawal.subjects));
        for speaker in speakers {
            let mark = Mark::withdrawn(speaker, purl, &artifacts);
            self.changes.withdrawn.entry(mark).or_insert(Met::new(leaf.get(), &artifacts));
        }
    }

    /// Whether this publisher made the same claim before.
    pub fn has_claimed(&self, publisher: &str, release: &Release) -> bool {
        self.met(&Mark::claim(publisher, release)).is_some_and(|met| met.is_same(&release.content()))
    }

    /// Adds a release for each of its speakers, and says how it fits.
    pub fn release<'s>(
        &mut self,
        speakers: &'s [String],
        release: &Release,
        leaf: LeafIndex,
    ) -> Assessment<'s> {
        let (at, content) = (leaf.get(), release.content());
        let mut found = Assessment::default();
        for speaker in speakers {
            let mark = Mark::claim(speaker, release);
            let met = self.met(&mark);
            found.known =
                found.known.or(met.filter(|met| met.is_same(&content) && met.leaf < at).map(|met| met.leaf));
            if met.is_none() {
                self.changes.recent.insert(mark, Met::new(at, &content));
            }
        }
        // One of them at least stated it before: a further signature on an old statement says nothing new.
        if found.known.is_some() {
            return found;
        }
        let artifacts = Subject::digest_of_all(&release.subjects);
        for speaker in speakers {
            let step = self.step(speaker, release, at);
            // If several sign, one that joined later has left no number out.
            let is_told = step != NumberStep::Fits
                && (!matches!(step, NumberStep::Gap { .. }) || *speaker == speakers[0]);
            found.step = found.step.or(is_told.then_some((speaker, step)));
            let changed = self.change(speaker, release, at);
            found.changed = found.changed.or(changed.map(|before| (speaker.as_str(), before)));
            let mark = Mark::withdrawn(speaker, release.purl.as_str(), &artifacts);
            let withdrawn =
                self.changes.withdrawn.get(&mark).copied().or_else(|| self.known.withdrawn.get(&mark));
            let before = withdrawn.map(|met| met.leaf).filter(|before| *before < at);
            found.withdrawn = found.withdrawn.or(before.map(|before| (speaker.as_str(), before)));
        }
        found
    }

    fn met(&self, mark: &Mark) -> Option<Met> {
        self.changes.recent.get(mark).copied().or_else(|| self.known.recent.get(mark))
    }

    /// The leaf before this one that released the same version with other bytes.
    fn change(&mut self, speaker: &str, release: &Release, leaf: u64) -> Option<u64> {
        let Edition { thing, bytes, .. } = Edition::new(speaker, release);
        let mark = Mark::thing(&thing?);
        let before = self.met(&mark).filter(|before| before.leaf < leaf);
        if before.is_none_or(|before| !before.is_same(&bytes)) {
            self.changes.recent.insert(mark, Met::new(leaf, &bytes));
        }
        before.filter(|before| !before.is_same(&bytes)).map(|before| before.leaf)
    }

    /// A release at an earlier leaf than the last one fits: after a restart the entries since the last save are read
    /// again.
    fn step(&mut self, publisher: &str, release: &Release, leaf: u64) -> NumberStep {
        let (track, artifacts) = (track(publisher, release), ShortHash::cut(&release.artifacts()));
        let (sequence, steps) = (release.sequence, SequenceSteps::default());
        let seen = Last { sequence, leaf, artifacts, steps };
        let tracks = &mut self.changes.tracks;
        let Some(last) = tracks.get(&track).or_else(|| self.known.tracks.get(&track)).copied() else {
            if self.known.tracks.len() + tracks.len() < MAX_TRACKS {
                tracks.insert(track, seen);
            }
            return NumberStep::Fits;
        };
        if leaf <= last.leaf {
            return NumberStep::Fits;
        }
        if sequence < last.sequence {
            return NumberStep::Lower { highest: last.sequence, leaf: last.leaf };
        }
        let mut steps = last.steps;
        if sequence > last.sequence {
            steps.take(last.sequence, sequence);
        }
        tracks.insert(track, Last { steps, ..seen });
        if sequence == last.sequence {
            // A second statement with the same artifacts says nothing new.
            return if artifacts == last.artifacts {
                NumberStep::Fits
            } else {
                NumberStep::Repeated { leaf: last.leaf }
            };
        }
        if last.steps.is_gap(last.sequence, sequence) {
            NumberStep::Gap { last: last.sequence }
        } else {
            NumberStep::Fits
        }
    }

    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl History {
    pub fn draft(&self) -> Draft<'_> {
        Draft { known: self, changes: Changes::default() }
    }

    pub fn commit(&mut self, changes: Changes) {
        self.tracks.extend(changes.tracks);
        self.recent.learn(changes.recent);
        self.withdrawn.learn(changes.withdrawn);
    }

    /// Whether the history can't hold another track.
    pub fn is_full(&self) -> bool {
        self.tracks.len() >= MAX_TRACKS
    }
}

#[cfg(test)]
mod tests;
