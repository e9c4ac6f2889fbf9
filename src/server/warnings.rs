//! Warnings about entries that the log accepts anyway, and the previous highest sequence number.
//!
//! They are computed before the entries are queued, off the sequencer's thread, and only for answers in JSON. They
//! may miss submissions at the same time, so the absence of a warning is no promise.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Log, Profile};
use crate::merkle::Hash;
use crate::release::{Edition, Facts, SequenceSteps, Track};
use crate::sequencer::Candidate;
use crate::store::{StoreError, StoreReader, Stored};

/// Most tracks that are looked up for one batch: each reads a page of each run of the index.
const MAX_TRACKS: usize = 256;
/// Most earlier entries that are looked up for one batch.
const MAX_READ: usize = 64;

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable, for machines.
    pub code: &'static str,
    /// The warning for people, at most 200 bytes: a batch may have thousands.
    pub detail: String,
}

/// Remarks on an entry, beside its index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Remarks {
    /// The highest earlier sequence number in the tracks of the signers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest: Option<u64>,
    /// The warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Remarks on the entries of a submission, one for each, in order. Entries beyond the limits above get no warnings,
/// and none get any if the index can't be read: that is no reason to refuse them.
pub fn remarks(log: &Log, candidates: &[Candidate]) -> Vec<Remarks> {
    let looked = match log.profile() {
        Profile::Opaque => Ok(Vec::new()),
        Profile::Release => look_at(log.reader().as_ref(), candidates),
    };
    let mut remarks = looked.unwrap_or_else(|error| {
        tracing::warn!(%error, "could not check for warnings: the index can't be read");
        Vec::new()
    });
    remarks.resize_with(candidates.len(), Remarks::default);
    remarks
}

fn look_at(reader: &dyn StoreReader, candidates: &[Candidate]) -> Result<Vec<Remarks>, StoreError> {
    let mut earlier = EarlierEntries {
        reader,
        reads: 0,
        tracks: HashMap::new(),
        bytes: HashMap::new(),
        taken_back: HashSet::new(),
    };
    candidates.iter().map(|candidate| earlier.remark_on(&candidate.facts)).collect()
}

/// The earlier entries, in the log and in the submission, as far as they are known.
struct EarlierEntries<'a> {
    reader: &'a dyn StoreReader,
    reads: usize,
    /// The highest numbers of each track, in descending order.
    tracks: HashMap<Track, Vec<u64>>,
    /// The artifacts that the submission itself releases, by [`Edition::thing`].
    bytes: HashMap<Hash, Hash>,
    /// The artifacts that the submission itself withdraws.
    taken_back: HashSet<Hash>,
}

impl EarlierEntries<'_> {
    fn remark_on(&mut self, facts: &Facts) -> Result<Remarks, StoreError> {
        let mut remarks = Remarks::default();
        for edition in &facts.editions {
            remarks.warn(self.changed(edition)?);
            remarks.warn(self.withdrawn(edition)?);
        }
        for (track, number) in &facts.numbers {
            if let Some(highest) = self.highest(track)? {
                remarks.highest = remarks.highest.max(Some(highest));
                remarks.warn(self.follows(track, highest, *number)?);
            }
            if let Some(numbers) = self.tracks.get_mut(track) {
                let at = numbers.partition_point(|known| known > number);
                if numbers.get(at) != Some(number) {
                    numbers.insert(at, *number);
                    numbers.truncate(SequenceSteps::MOST + 1);
                }
            }
        }
        self.taken_back.extend(&facts.withdrawals);
        Ok(remarks)
    }

    /// Warns if the same version was released with other bytes.
    fn changed(&mut self, edition: &Edition) -> Result<Option<Warning>, StoreError> {
        let Some(thing) = edition.thing else { return Ok(None) };
        let before = match self.bytes.insert(thing, edition.bytes) {
            Some(bytes) => Some(("an entry before it in this batch".to_owned(), bytes)),
            None if self.reads == MAX_READ => None,
            None => self.reader.find_edition(&thing)?.map(|(stored, bytes)| (self.read(stored), bytes)),
        };
        let changed = before.filter(|(_, bytes)| *bytes != edition.bytes);
        Ok(changed.map(|(place, _)| Warning {
            code: "version-changed",
            detail: format!(
                "{place} released this version with different content; monitors report this. Give changed artifacts a new version"
            ),
        }))
    }

    /// Warns if the publisher withdrew this content before.
    fn withdrawn(&mut self, edition: &Edition) -> Result<Option<Warning>, StoreError> {
        let place = if self.taken_back.contains(&edition.withdrawal) {
            Some("an entry before it in this batch".to_owned())
        } else if self.reads == MAX_READ {
            None
        } else {
            self.reader.find_withdrawal(&edition.withdrawal)?.map(|stored| self.read(stored))
        };
        Ok(place.map(|place| Warning {
            code: "withdrawn-before",
            detail: format!(
                "{place} withdrew these artifacts; endpoints that know this refuse them under the withdrawn version"
            ),
        }))
    }

    fn read(&mut self, stored: Stored) -> String {
        self.reads += 1;
        format!("leaf {}", stored.index)
    }

    fn highest(&mut self, track: &Track) -> Result<Option<u64>, StoreError> {
        if !self.tracks.contains_key(track) {
            if self.tracks.len() == MAX_TRACKS {
                return Ok(None);
            }
            let highest = self.reader.highest(track, u64::MAX)?;
            self.tracks.insert(*track, highest.into_iter().collect());
        }
        Ok(self.tracks[track].first().copied())
    }

    /// Warns if a number does not follow the highest one.
    fn follows(&mut self, track: &Track, highest: u64, number: u64) -> Result<Option<Warning>, StoreError> {
        if number < highest {
            let detail = format!(
                "{number} is below {highest}, the highest of this package and channel: endpoints that saw that one refuse this as a rollback"
            );
            return Ok(Some(Warning { code: "sequence-below-highest", detail }));
        }
        // A first check without the earlier steps: are more look-ups worth it?
        if !SequenceSteps::default().is_gap(0, number) || number - highest < 2 {
            return Ok(None);
        }
        let reader = self.reader;
        let numbers = self.tracks.get_mut(track).expect("its highest was looked up");
        while let Some(lowest) = numbers.last().copied().filter(|_| numbers.len() <= SequenceSteps::MOST) {
            let Some(next) = reader.highest(track, lowest)? else { break };
            numbers.push(next);
        }
        let gap = SequenceSteps::between(numbers).is_gap(highest, number);
        Ok(gap.then(|| Warning {
            code: "sequence-gap",
            detail: format!(
                "{number} follows {highest}, and until now no number was left out: monitors will report a gap"
            ),
        }))
    }
}

impl Remarks {
    /// Adds a warning, each code once: several signers may cause the same one.
    fn warn(&mut self, warning: Option<Warning>) {
        let known = |code| self.warnings.iter().any(|known: &Warning| known.code == code);
        self.warnings.extend(warning.filter(|warning| !known(warning.code)));
    }
}
