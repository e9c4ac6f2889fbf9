//! The statements that a monitor saw lately: by payload, claim and version, and what was withdrawn.
//!
//! A log may have millions, so the oldest are forgotten: marks are kept in two generations, and when the young one
//! is full, it takes the place of the old one.

use std::collections::HashMap;

use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::Release;

/// Bytes of a mark: enough to prevent collisions.
const MARK_BYTES: usize = 16;
/// Bytes of what is compared under a mark.
const VALUE_BYTES: usize = 8;
const ROW_BYTES: usize = MARK_BYTES + VALUE_BYTES + 8;
/// Marks of a generation: two of them are some forty megabytes of a state file. A release has three.
const GENERATION: usize = 250_000;

/// What is remembered, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark([u8; MARK_BYTES]);

impl Mark {
    /// A payload that an authorized publisher signed.
    pub fn payload(payload: &Hash) -> Self {
        Self::new("payload", &payload.to_hex())
    }

    /// A payload that this publisher had signed.
    pub fn stated(publisher: &str, payload: &Hash) -> Self {
        Self::new("stated", &format!("{publisher}\0{}", payload.to_hex()))
    }

    /// A publisher's claim to a number. What it is claimed for is the value.
    pub fn claim(publisher: &str, release: &Release) -> Self {
        let Release { channel, sequence, .. } = release;
        Self::new("claim", &format!("{publisher}\0{}\0{channel}\0{sequence}", release.purl.package()))
    }

    /// What should have the same bytes whenever its publisher releases it: [`Edition::thing`](crate::release::Edition).
    pub fn thing(thing: &Hash) -> Self {
        Self::new("thing", &thing.to_hex())
    }

    /// Package, version and artifacts that a publisher withdrew.
    pub fn withdrawn(publisher: &str, purl: &str, artifacts: &Hash) -> Self {
        Self::new("withdrawn", &format!("{publisher}\0{purl}\0{}", artifacts.to_hex()))
    }

    fn new(what: &str, text: &str) -> Self {
        Self(first(&Hash::digest(format!("{what}\0{text}").as_bytes())))
    }
}

/// Where a mark was met, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// The leaf.
    pub leaf: u64,
    value: [u8; VALUE_BYTES],
}

impl Met {
    /// At a leaf, with this.
    pub fn new(leaf: u64, value: &Hash) -> Self {
        Self { leaf, value: first(value) }
    }

    /// Whether it was met with the same.
    pub fn is_same(self, value: &Hash) -> bool {
        self.value == first(value)
    }
}

fn first<const N: usize>(hash: &Hash) -> [u8; N] {
    hash.as_bytes()[..N].try_into().expect("a hash is longer")
}

/// The marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    young: HashMap<Mark, Met>,
    old: HashMap<Mark, Met>,
}

impl Recent {
    /// Where a mark was met.
    pub fn get(&self, mark: &Mark) -> Option<Met> {
        self.young.get(mark).or_else(|| self.old.get(mark)).copied()
    }

    /// Remembers marks, in place of what was known of them.
    pub fn learn(&mut self, met: HashMap<Mark, Met>) {
        self.learn_within(met, GENERATION);
    }

    fn learn_within(&mut self, met: HashMap<Mark, Met>, generation: usize) {
        if self.young.len() + met.len() > generation && !self.young.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(met);
    }

    /// For the state file: both generations in hex, the young one first.
    pub fn to_text(&self) -> [String; 2] {
        [&self.young, &self.old].map(|generation| {
            let mut rows: Vec<(&Mark, &Met)> = generation.iter().collect();
            rows.sort_unstable_by_key(|(mark, _)| **mark);
            let row =
                |(mark, met): (&Mark, &Met)| [&mark.0[..], &met.value, &met.leaf.to_be_bytes()].concat();
            hex::encode(rows.into_iter().flat_map(row).collect::<Vec<u8>>())
        })
    }

    /// As it stood there.
    pub fn from_text(text: &[String; 2]) -> Result<Self, FormatError> {
        let [young, old] = [&text[0], &text[1]].map(|text| {
            let wrong = || FormatError::malformed("a monitor's state", "rows of 32 bytes in hex", "others");
            let bytes = hex::decode(text).map_err(|_| wrong())?;
            let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
            let row = |row: &[u8; ROW_BYTES]| {
                let (mark, rest) = row.split_at(MARK_BYTES);
                let (value, leaf) = rest.split_at(VALUE_BYTES);
                let leaf = u64::from_be_bytes(leaf.try_into().expect("eight bytes"));
                let value = value.try_into().expect("eight bytes");
                (Mark(mark.try_into().expect("sixteen bytes")), Met { leaf, value })
            };
            if rest.is_empty() { Ok(rows.iter().map(row).collect()) } else { Err(wrong()) }
        });
        Ok(Self { young: young?, old: old? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u64) -> Mark {
        Mark::payload(&Hash::digest(&n.to_be_bytes()))
    }

    fn met(range: std::ops::Range<u64>) -> HashMap<Mark, Met> {
        range.map(|n| (mark(n), Met::new(n, &Hash::digest(b"value")))).collect()
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        for n in 0..30 {
            recent.learn_within(met(n * 10..n * 10 + 10), 100);
            assert!(recent.young.len() <= 100 && recent.old.len() <= 100);
        }
        let known = |n| recent.get(&mark(n)).map(|met| met.leaf);
        assert_eq!(
            (known(299), known(200), known(100), known(99), known(0)),
            (Some(299), Some(200), Some(100), None, None)
        );
        let restored = Recent::from_text(&recent.to_text()).unwrap();
        assert_eq!(restored, recent);
        assert!(Recent::from_text(&["00".to_owned(), String::new()]).is_err());
        assert!(Recent::from_text(&[String::new(), "zz".to_owned()]).is_err());
    }

    #[test]
    fn a_window_that_is_larger_than_a_generation_is_kept() {
        let mut recent = Recent::default();
        recent.learn_within(met(0..5), 100);
        recent.learn_within(met(5..205), 100);
        assert!((0..205).all(|n| recent.get(&mark(n)).is_some()));
        assert!(recent.get(&mark(3)).unwrap().is_same(&Hash::digest(b"value")));
        assert!(!recent.get(&mark(3)).unwrap().is_same(&Hash::digest(b"other")));
    }
}
