//! The sequence numbers of each publisher, package and channel, as the log shows them.

use std::collections::HashMap;

use crate::merkle::{Hash, LeafIndex};
use crate::release::Release;

/// Bytes of a key: enough that nobody finds two packages with one.
const KEY_BYTES: usize = 16;
/// Most tracks that are remembered of a log, in a state file of some hundred megabytes. Beyond it, new ones are
/// not compared.
const MAX_TRACKS: usize = 1_000_000;

/// Publisher, package and channel, hashed: a log may have a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track([u8; KEY_BYTES]);

impl Track {
    /// That of a release.
    pub fn of(publisher: &str, release: &Release) -> Self {
        let text = format!("{publisher}\0{}\0{}", release.purl.package(), release.channel);
        Self(cut(&Hash::digest(text.as_bytes())))
    }

    /// As it stands in the state file.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// As it stood there.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// The last release of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Its number, the highest so far.
    pub sequence: u64,
    /// Its leaf.
    pub leaf: u64,
    /// [`Release::artifacts`], shortened: whether a second one under this number is the same.
    pub artifacts: [u8; KEY_BYTES],
}

/// How a release follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As it should, or it is the first.
    Fits,
    /// Numbers were left out.
    Gap {
        /// The number before.
        last: u64,
    },
    /// The number was used before, for other artifacts.
    Repeated {
        /// Where.
        leaf: u64,
    },
    /// A higher number was used before.
    Lower {
        /// The highest.
        highest: u64,
        /// Where.
        leaf: u64,
    },
}

/// All tracks of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences(HashMap<Track, Last>);

/// What a window of entries makes of the tracks. It counts once its events were delivered: what is looked at
/// again after an error is judged as it was the first time.
#[derive(Debug)]
pub struct Draft<'a> {
    known: &'a Sequences,
    moved: HashMap<Track, Last>,
}

impl Draft<'_> {
    /// Takes a release in. One that was taken in before, by its leaf, fits: after a restart the entries since
    /// the last save are read again.
    pub fn take(&mut self, publisher: &str, release: &Release, leaf: LeafIndex) -> Step {
        let (track, artifacts) = (Track::of(publisher, release), cut(&release.artifacts()));
        let seen = Last { sequence: release.sequence, leaf: leaf.get(), artifacts };
        let Some(last) = self.moved.get(&track).or_else(|| self.known.0.get(&track)).copied() else {
            if self.known.0.len() + self.moved.len() < MAX_TRACKS {
                self.moved.insert(track, seen);
            }
            return Step::Fits;
        };
        if leaf.get() <= last.leaf {
            return Step::Fits;
        }
        if release.sequence < last.sequence {
            return Step::Lower { highest: last.sequence, leaf: last.leaf };
        }
        self.moved.insert(track, seen);
        if release.sequence == last.sequence {
            // The same artifacts in a second statement say nothing new.
            return if artifacts == last.artifacts { Step::Fits } else { Step::Repeated { leaf: last.leaf } };
        }
        if release.sequence - last.sequence > 1 { Step::Gap { last: last.sequence } } else { Step::Fits }
    }

    /// What it came to.
    pub fn into_moved(self) -> HashMap<Track, Last> {
        self.moved
    }
}

impl Sequences {
    /// A draft that changes nothing yet.
    pub fn draft(&self) -> Draft<'_> {
        Draft { known: self, moved: HashMap::new() }
    }

    /// Moves the tracks to where a draft left them.
    pub fn commit(&mut self, moved: HashMap<Track, Last>) {
        self.0.extend(moved);
    }

    /// Whether more tracks were met than are remembered.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_TRACKS
    }

    /// All of them, for the state file.
    pub fn rows(&self) -> impl Iterator<Item = (Track, Last)> {
        self.0.iter().map(|(track, last)| (*track, *last))
    }

    /// Puts one back.
    pub fn restore(&mut self, track: Track, last: Last) {
        self.0.insert(track, last);
    }
}

/// The first bytes of a hash.
pub fn cut(hash: &Hash) -> [u8; KEY_BYTES] {
    hash.as_bytes()[..KEY_BYTES].try_into().expect("16 of 32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Kind, Purl, Subject};

    fn release(channel: &str, sequence: u64, content: &str) -> Release {
        Release {
            subjects: vec![Subject { name: "a".to_owned(), sha256: Hash::digest(content.as_bytes()) }],
            purl: Purl::parse("pkg:generic/example/scanner@1.0").unwrap(),
            kind: Kind::Build,
            channel: channel.to_owned(),
            sequence,
            source: None,
            manifest: None,
            audience: None,
            log: None,
        }
    }

    fn leaf(index: u64) -> LeafIndex {
        LeafIndex::new(index).unwrap()
    }

    #[test]
    fn each_way_to_follow_is_told_apart() {
        let seen = Sequences::default();
        let mut draft = seen.draft();
        let mut take = |who: &str, channel: &str, sequence, content: &str, at| {
            draft.take(who, &release(channel, sequence, content), leaf(at))
        };
        assert_eq!(take("v", "stable", 7, "7", 0), Step::Fits, "nobody knows what was before");
        assert_eq!(take("v", "stable", 8, "8", 1), Step::Fits);
        assert_eq!(take("v", "stable", 8, "8", 2), Step::Fits, "another statement of the same");
        assert_eq!(take("v", "stable", 8, "another", 3), Step::Repeated { leaf: 2 });
        assert_eq!(take("v", "stable", 11, "11", 4), Step::Gap { last: 8 });
        assert_eq!(take("v", "stable", 10, "10", 5), Step::Lower { highest: 11, leaf: 4 });
        assert_eq!(take("v", "stable", 12, "12", 6), Step::Fits, "a lower one leaves the highest");
        assert_eq!(take("v", "beta", 1, "1", 7), Step::Fits, "a track of its own");
        assert_eq!(take("w", "stable", 1, "1", 8), Step::Fits, "a track of its own");
    }

    #[test]
    fn what_was_not_delivered_is_judged_as_the_first_time() {
        let mut seen = Sequences::default();
        let mut first = seen.draft();
        first.take("v", &release("stable", 1, "1"), leaf(0));
        let moved = first.into_moved();
        seen.commit(moved);
        let gap = |seen: &Sequences| seen.draft().take("v", &release("stable", 5, "5"), leaf(1));
        assert_eq!(gap(&seen), Step::Gap { last: 1 });
        assert_eq!(gap(&seen), Step::Gap { last: 1 }, "the draft was dropped");
    }

    #[test]
    fn what_is_read_again_after_a_restart_raises_nothing() {
        let mut seen = Sequences::default();
        let story = [(1, "1"), (2, "2"), (5, "5"), (5, "other"), (3, "3")];
        let read = |seen: &mut Sequences| -> Vec<Step> {
            let mut draft = seen.draft();
            let mut steps = Vec::new();
            for (at, (sequence, content)) in story.iter().enumerate() {
                steps.push(draft.take("v", &release("stable", *sequence, content), leaf(at as u64)));
            }
            let moved = draft.into_moved();
            seen.commit(moved);
            steps
        };
        let first = read(&mut seen);
        assert_eq!(first[2], Step::Gap { last: 2 });
        assert_eq!(first[3], Step::Repeated { leaf: 2 });
        assert!(matches!(first[4], Step::Lower { .. }));
        let mut again = Sequences::default();
        seen.rows().for_each(|(track, last)| again.restore(Track::from_hex(&track.to_hex()).unwrap(), last));
        assert_eq!(again, seen);
        // The lower one was never the last of its track, so it is told again: better twice than never.
        assert_eq!(read(&mut again)[..4], [Step::Fits; 4]);
    }
}
