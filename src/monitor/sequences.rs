//! The sequence numbers of each publisher, package and channel, as the log shows them; and whether a statement
//! is a repeat, by its payload and claims, never by the envelope: anybody may sign public statements.

use std::collections::HashMap;

use super::recent::{Mark, Met, Recent};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Edition, Release, SequenceSteps, Subject, Withdrawal};

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
    /// How the numbers followed each other.
    pub steps: SequenceSteps,
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

/// How a release fits what was known, and for which of those who state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken<'a> {
    /// The leaf that claimed the very same before: then nothing of it is new.
    pub known: Option<u64>,
    /// The first whose numbers it does not fit.
    pub step: Option<(&'a str, Step)>,
    /// The first publisher who released this version with different content before, and where.
    pub changed: Option<(&'a str, u64)>,
    /// The first publisher who withdrew this very version and these artifacts, and where.
    pub withdrawn: Option<(&'a str, u64)>,
}

/// What is known of the statements of a log: all tracks, and the latest statements one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    tracks: HashMap<Track, Last>,
    /// Payloads, claims and versions.
    pub recent: Recent,
    /// What was withdrawn. Apart, so that many releases make nobody forget it.
    pub withdrawn: Recent,
}

/// What a window of entries makes of it. It counts once its events were delivered: what is looked at
/// again after an error is judged as it was the first time.
#[derive(Debug)]
pub struct Draft<'a> {
    known: &'a Sequences,
    moved: Moved,
}

/// What a draft came to.
#[derive(Debug, Default)]
pub struct Moved {
    tracks: HashMap<Track, Last>,
    recent: HashMap<Mark, Met>,
    withdrawn: HashMap<Mark, Met>,
}

impl Draft<'_> {
    /// The leaf before that had this payload, signed by somebody who may state it.
    pub fn believed(&self, payload: &Hash, leaf: LeafIndex) -> Option<u64> {
        self.before(&Mark::payload(payload), leaf)
    }

    /// Takes in that a payload is to be believed.
    pub fn believe(&mut self, payload: &Hash, leaf: LeafIndex) {
        if self.believed(payload, leaf).is_none() {
            self.moved.recent.insert(Mark::payload(payload), Met::new(leaf.get(), payload));
        }
    }

    /// Takes in who stated a payload that is no release. The leaf before at which one of them had stated it: who signs
    /// an old statement once more says nothing new.
    pub fn state(&mut self, speakers: &[String], payload: &Hash, leaf: LeafIndex) -> Option<u64> {
        let marks: Vec<Mark> = speakers.iter().map(|speaker| Mark::stated(speaker, payload)).collect();
        let before = marks.iter().find_map(|mark| self.before(mark, leaf));
        for mark in marks {
            if self.met(&mark).is_none() {
                self.moved.recent.insert(mark, Met::new(leaf.get(), payload));
            }
        }
        before
    }

    fn before(&self, mark: &Mark, leaf: LeafIndex) -> Option<u64> {
        self.met(mark).map(|met| met.leaf).filter(|before| *before < leaf.get())
    }

    /// Takes a withdrawal in.
    pub fn withdraw(&mut self, speakers: &[String], withdrawal: &Withdrawal, leaf: LeafIndex) {
        let (purl, artifacts) = (withdrawal.purl.as_str(), Subject::digest_of_all(&withdrawal.subjects));
        for speaker in speakers {
            let mark = Mark::withdrawn(speaker, purl, &artifacts);
            self.moved.withdrawn.entry(mark).or_insert(Met::new(leaf.get(), &artifacts));
        }
    }

    /// Whether this publisher is known to have made this very claim.
    pub fn has_claimed(&self, publisher: &str, release: &Release) -> bool {
        self.met(&Mark::claim(publisher, release)).is_some_and(|met| met.is_same(&release.content()))
    }

    /// Takes a release in, for each who may state it.
    pub fn take<'s>(&mut self, speakers: &'s [String], release: &Release, leaf: LeafIndex) -> Taken<'s> {
        let (at, content) = (leaf.get(), release.content());
        let mut taken = Taken::default();
        for speaker in speakers {
            let mark = Mark::claim(speaker, release);
            let met = self.met(&mark);
            taken.known =
                taken.known.or(met.filter(|met| met.is_same(&content) && met.leaf < at).map(|met| met.leaf));
            if met.is_none() {
                self.moved.recent.insert(mark, Met::new(at, &content));
            }
        }
        // It was stated before by one of them at least: who signs an old statement once more says nothing new.
        if taken.known.is_some() {
            return taken;
        }
        let artifacts = Subject::digest_of_all(&release.subjects);
        for speaker in speakers {
            let step = self.step(speaker, release, at);
            // Where several sign, one that joins later has left nothing out.
            let is_told =
                step != Step::Fits && (!matches!(step, Step::Gap { .. }) || *speaker == speakers[0]);
            taken.step = taken.step.or(is_told.then_some((speaker, step)));
            let changed = self.change(speaker, release, at);
            taken.changed = taken.changed.or(changed.map(|before| (speaker.as_str(), before)));
            let mark = Mark::withdrawn(speaker, release.purl.as_str(), &artifacts);
            let withdrawn =
                self.moved.withdrawn.get(&mark).copied().or_else(|| self.known.withdrawn.get(&mark));
            let before = withdrawn.map(|met| met.leaf).filter(|before| *before < at);
            taken.withdrawn = taken.withdrawn.or(before.map(|before| (speaker.as_str(), before)));
        }
        taken
    }

    fn met(&self, mark: &Mark) -> Option<Met> {
        self.moved.recent.get(mark).copied().or_else(|| self.known.recent.get(mark))
    }

    /// The leaf before that released the same version with other bytes.
    fn change(&mut self, speaker: &str, release: &Release, leaf: u64) -> Option<u64> {
        let Edition { thing, bytes, .. } = Edition::new(speaker, release);
        let mark = Mark::thing(&thing?);
        let before = self.met(&mark).filter(|before| before.leaf < leaf);
        if before.is_none_or(|before| !before.is_same(&bytes)) {
            self.moved.recent.insert(mark, Met::new(leaf, &bytes));
        }
        before.filter(|before| !before.is_same(&bytes)).map(|before| before.leaf)
    }

    /// One that was taken in before, by its leaf, fits: after a restart the entries since the last save are read again.
    fn step(&mut self, publisher: &str, release: &Release, leaf: u64) -> Step {
        let (track, artifacts) = (Track::of(publisher, release), cut(&release.artifacts()));
        let (sequence, steps) = (release.sequence, SequenceSteps::default());
        let seen = Last { sequence, leaf, artifacts, steps };
        let tracks = &mut self.moved.tracks;
        let Some(last) = tracks.get(&track).or_else(|| self.known.tracks.get(&track)).copied() else {
            if self.known.tracks.len() + tracks.len() < MAX_TRACKS {
                tracks.insert(track, seen);
            }
            return Step::Fits;
        };
        if leaf <= last.leaf {
            return Step::Fits;
        }
        if sequence < last.sequence {
            return Step::Lower { highest: last.sequence, leaf: last.leaf };
        }
        let mut steps = last.steps;
        if sequence > last.sequence {
            steps.take(last.sequence, sequence);
        }
        tracks.insert(track, Last { steps, ..seen });
        if sequence == last.sequence {
            // The same artifacts in a second statement say nothing new.
            return if artifacts == last.artifacts { Step::Fits } else { Step::Repeated { leaf: last.leaf } };
        }
        if last.steps.is_gap(last.sequence, sequence) {
            Step::Gap { last: last.sequence }
        } else {
            Step::Fits
        }
    }

    /// What it came to.
    pub fn into_moved(self) -> Moved {
        self.moved
    }
}

impl Sequences {
    /// A draft that changes nothing yet.
    pub fn draft(&self) -> Draft<'_> {
        Draft { known: self, moved: Moved::default() }
    }

    /// Moves everything to where a draft left it.
    pub fn commit(&mut self, moved: Moved) {
        self.tracks.extend(moved.tracks);
        self.recent.learn(moved.recent);
        self.withdrawn.learn(moved.withdrawn);
    }

    /// Whether more tracks were met than are remembered.
    pub fn is_full(&self) -> bool {
        self.tracks.len() >= MAX_TRACKS
    }

    /// All tracks, for the state file.
    pub fn rows(&self) -> impl Iterator<Item = (Track, Last)> {
        self.tracks.iter().map(|(track, last)| (*track, *last))
    }

    /// Puts one back.
    pub fn restore(&mut self, track: Track, last: Last) {
        self.tracks.insert(track, last);
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

    fn step(draft: &mut Draft<'_>, who: &str, release: &Release, at: u64) -> Step {
        draft.take(&[who.to_owned()], release, leaf(at)).step.map_or(Step::Fits, |(_, step)| step)
    }

    #[test]
    fn each_way_to_follow_is_told_apart() {
        let seen = Sequences::default();
        let mut draft = seen.draft();
        let mut take = |who: &str, channel: &str, sequence, content: &str, at| {
            step(&mut draft, who, &release(channel, sequence, content), at)
        };
        assert_eq!(take("v", "stable", 7, "7", 0), Step::Fits, "nobody knows what was before");
        assert_eq!(take("v", "stable", 8, "8", 1), Step::Fits);
        assert_eq!(take("v", "stable", 8, "8", 2), Step::Fits, "another statement of the same");
        assert_eq!(take("v", "stable", 8, "another", 3), Step::Repeated { leaf: 1 });
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
        step(&mut first, "v", &release("stable", 1, "1"), 0);
        let moved = first.into_moved();
        seen.commit(moved);
        let gap = |seen: &Sequences| step(&mut seen.draft(), "v", &release("stable", 5, "5"), 1);
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
                steps.push(step(&mut draft, "v", &release("stable", *sequence, content), at as u64));
            }
            let moved = draft.into_moved();
            seen.commit(moved);
            steps
        };
        let first = read(&mut seen);
        assert_eq!(first[2], Step::Gap { last: 2 });
        assert_eq!(first[3], Step::Repeated { leaf: 2 });
        assert!(matches!(first[4], Step::Lower { .. }));
        let mut again = Sequences { recent: seen.recent.clone(), ..Sequences::default() };
        seen.rows().for_each(|(track, last)| again.restore(Track::from_hex(&track.to_hex()).unwrap(), last));
        assert_eq!(again, seen);
        // The lower one was never the last of its track, so it is told again: better twice than never.
        assert_eq!(read(&mut again)[..4], [Step::Fits; 4]);
    }
}
