//! The manifest of what a build pipeline released, compared with the log in both directions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::history::ShortHash;
use crate::format::{FormatError, cap, cap_count};
use crate::release::{Purl, Release};

/// Largest manifest, in bytes: some hundred thousand releases.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024 * 1024;
/// Most unexpected releases that are remembered, in case the manifest lists them later.
const MAX_UNEXPECTED: usize = 100_000;
/// Most expected releases that are remembered as seen: more than a manifest may list.
const MAX_SEEN: usize = 2_000_000;

/// Identifies an expected release: package, version, kind, channel, sequence, artifacts and audience, hashed.
fn key_of(release: &Release) -> ShortHash {
    let Release { purl, kind, channel, sequence, audience, .. } = release;
    let (artifacts, audience) = (release.artifacts().to_hex(), audience.as_deref().unwrap_or_default());
    ShortHash::of(&format!("{purl}\0{kind}\0{channel}\0{sequence}\0{artifacts}\0{audience}"))
}

/// A release that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Package and version.
    pub purl: Purl,
    /// Kind, channel and sequence number, in words.
    pub what: String,
    /// Its line in the manifest, from 1 on.
    pub line: usize,
}

/// The releases that are expected, as `RELEASES.jsonl` lists them.
#[derive(Debug, Default)]
pub struct Manifest(HashMap<ShortHash, Expected>);

impl Manifest {
    /// Reads a manifest. A last line without its newline is still being written, and left for later.
    ///
    /// # Errors
    /// [`FormatError`] with the number of the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap("a manifest of releases", bytes.len(), MAX_MANIFEST_BYTES)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let mut expected = HashMap::new();
        for (at, line) in bytes[..whole].split(|b| *b == b'\n').enumerate() {
            let Some(release) = Release::parse_line(line.trim_ascii()).map_err(|e| e.at_line(at + 1))? else {
                continue;
            };
            let Release { kind, channel, sequence, .. } = &release;
            let what = format!("{kind}, {channel}, sequence {sequence}");
            let row = Expected { purl: release.purl.clone(), what, line: at + 1 };
            expected.entry(key_of(&release)).or_insert(row);
        }
        cap_count("a manifest", "releases", expected.len(), 1_000_000)?;
        Ok(Self(expected))
    }

    /// The number of releases that it lists.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The comparison so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestComparison {
    /// Expected releases that the log has.
    pub seen: BTreeSet<ShortHash>,
    /// Releases that the log has and the manifest does not list.
    pub unexpected: BTreeSet<ShortHash>,
    /// Expected releases that the log does not have, and since when that is known, seconds since 1970.
    pub waiting: BTreeMap<ShortHash, u64>,
}

/// A release that should be in the log by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its key.
    pub key: ShortHash,
    /// Its line in the manifest.
    pub expected: Expected,
    /// Since when it is missing, seconds since 1970.
    pub since: u64,
}

impl ManifestComparison {
    /// Begins after entries were passed: the releases listed by now count as seen. Returns their number.
    pub fn begin_late(&mut self, manifest: &Manifest) -> usize {
        self.seen.extend(manifest.0.keys());
        manifest.0.len()
    }

    /// Adds a release of the log. Returns whether it was expected.
    pub fn release(&mut self, manifest: &Manifest, release: &Release) -> bool {
        let key = key_of(release);
        if manifest.0.contains_key(&key) {
            self.waiting.remove(&key);
            self.seen.insert(key);
            return true;
        }
        if self.unexpected.len() < MAX_UNEXPECTED {
            self.unexpected.insert(key);
        }
        false
    }

    /// Returns the expected releases that the log has lacked for `within` seconds or more. The whole log was read. A
    /// release that the manifest lists only now counts as seen.
    pub fn missing(&mut self, manifest: &Manifest, now: u64, within: u64) -> Vec<Missing> {
        // A manifest that is being rewritten may be short for a moment, so seen releases are not forgotten at once.
        if self.seen.len() > MAX_SEEN {
            self.seen.retain(|key| manifest.0.contains_key(key));
        }
        // A release that the manifest no longer lists is not missing.
        self.waiting.retain(|key, _| manifest.0.contains_key(key));
        let mut missing = Vec::new();
        for (key, expected) in &manifest.0 {
            if self.seen.contains(key) {
                continue;
            }
            if self.unexpected.remove(key) {
                self.waiting.remove(key);
                self.seen.insert(*key);
                continue;
            }
            let since = *self.waiting.entry(*key).or_insert(now);
            // If the clock was set back, the wait begins anew.
            if now < since {
                self.waiting.insert(*key, now);
            }
            if now.saturating_sub(since) >= within {
                missing.push(Missing { key: *key, expected: expected.clone(), since });
            }
        }
        missing.sort_by_key(|missing| missing.expected.line);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;

    fn line(sequence: u64, content: &str) -> String {
        format!(
            "{{\"purl\":\"pkg:generic/example/scanner@4.{sequence}\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":{sequence},\"artifacts\":[{{\"name\":\"s\",\"sha256\":\"{}\"}}]}}\n",
            Hash::digest(content.as_bytes()).to_hex()
        )
    }

    fn release(line: &str) -> Release {
        Release::parse_line(line.trim_end().as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn both_directions_are_compared() {
        let (one, two) = (line(1, "1"), line(2, "2"));
        let manifest = Manifest::parse(format!("{one}\n{two}").as_bytes()).unwrap();
        let mut compared = ManifestComparison::default();
        assert!(compared.release(&manifest, &release(&one)));
        assert!(!compared.release(&manifest, &release(&line(3, "3"))), "nobody expects the third");
        assert!(!compared.release(&manifest, &release(&line(2, "other"))), "the same number is not enough");
        assert_eq!(compared.missing(&manifest, 100, 60), [], "it may be on its way");
        assert_eq!(compared.missing(&manifest, 159, 60), []);
        let missing = compared.missing(&manifest, 160, 60);
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].since, missing[0].expected.line), (100, 3));
        assert!(compared.release(&manifest, &release(&two)));
        assert_eq!(compared.missing(&manifest, 170, 60), []);
    }

    #[test]
    fn a_manifest_may_learn_of_a_release_later() {
        let mut compared = ManifestComparison::default();
        assert!(!compared.release(&Manifest::default(), &release(&line(1, "1"))));
        let manifest = Manifest::parse(line(1, "1").as_bytes()).unwrap();
        assert_eq!(compared.missing(&manifest, 100, 0), [], "the log has it");
        assert!(compared.unexpected.is_empty() && compared.seen.len() == 1);
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_later_and_a_wrong_one_is_named() {
        let (one, two) = (line(1, "1"), line(2, "2"));
        let manifest = Manifest::parse(format!("{one}{}", &two[..two.len() - 1]).as_bytes()).unwrap();
        assert_eq!(manifest.0.len(), 1);
        let error = Manifest::parse(format!("{one}{{}}\n").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let manifest = Manifest::parse(line(1, "1").as_bytes()).unwrap();
        let mut compared = ManifestComparison::default();
        assert_eq!(compared.missing(&manifest, 1_000, 60), []);
        assert_eq!(compared.missing(&manifest, 10, 60), []);
        assert_eq!(compared.missing(&manifest, 70, 60).len(), 1);
    }
}
