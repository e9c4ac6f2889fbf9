//! Compares two streams of bytes, each read once, in pieces.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::place::{Place, Side};
use crate::merkle::Hash;

/// Bytes to read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// A part of two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// This many bytes have to be the same.
    Same(u64),
    /// These many bytes may differ.
    Allowed { rule: usize, artifact: u64, rebuilt: u64 },
}

/// The differences of two files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Differing {
    /// The number of bytes that differ, or that one of them does not have.
    pub bytes: u64,
    /// The number of runs of such bytes.
    pub places: u64,
    /// The first one.
    pub first: Option<Place>,
}

/// The result of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// SHA-256 and length of the artifact and of the rebuilt file.
    pub artifact: (Hash, u64),
    pub rebuilt: (Hash, u64),
    /// Bytes of the artifact that had to be the same.
    pub same: u64,
    pub differing: Differing,
    /// The rules whose ranges differ.
    pub used: Vec<usize>,
}

/// Compares two files whose parts these are. The artifact has as many bytes as they say. `buffers` are of one length.
/// Calls `read` with the number of bytes of the artifact that were read.
pub(super) fn compare(
    artifact: impl Read,
    rebuilt: impl Read,
    parts: &[Part],
    buffers: &mut [Vec<u8>; 2],
    read: &mut dyn FnMut(u64),
) -> Result<Compared, (Side, io::Error)> {
    let [a, b] = buffers;
    let mut pair = Pair {
        artifact: Stream { from: artifact, buffer: a, at: 0 },
        rebuilt: Stream { from: rebuilt, buffer: b, at: 0 },
        digests: Digests { artifact: Sha256::new(), rebuilt: None },
        read,
    };
    let mut out = Differing::default();
    let (mut used, mut same, mut in_run) = (Vec::new(), 0, false);
    for part in parts {
        match *part {
            Part::Same(length) => {
                same += length;
                pair.pieces(length, length, |a, b, place| out.compare(a, b, place, &mut in_run))?;
            }
            Part::Allowed { rule, artifact, rebuilt } => {
                in_run = false;
                let (mut is_same, mut there, begin) = (artifact == rebuilt, 0, pair.place());
                pair.pieces(artifact, rebuilt, |a, b, _| {
                    is_same &= a == b;
                    there += b.len() as u64;
                })?;
                if !is_same {
                    used.push(rule);
                }
                // The rule says how long the range is in the rebuilt file as well.
                let place = Place { artifact: begin.artifact + artifact, rebuilt: begin.rebuilt + there };
                out.add(rebuilt - there, place, &mut in_run);
                in_run = false;
            }
        }
    }
    // The rest of the longer one.
    while pair.pieces(CHUNK as u64, CHUNK as u64, |a, b, place| out.compare(a, b, place, &mut in_run))? > 0 {}
    let Place { artifact, rebuilt } = pair.place();
    let (a, b) = pair.digests.finish();
    Ok(Compared { artifact: (a, artifact), rebuilt: (b, rebuilt), same, differing: out, used })
}

impl Differing {
    /// Compares two pieces that begin at `place`. A longer one differs from where the other ends.
    fn compare(&mut self, a: &[u8], b: &[u8], place: Place, in_run: &mut bool) {
        let common = a.len().min(b.len());
        if a[..common] == b[..common] {
            *in_run &= common == 0;
        } else {
            for (at, (x, y)) in a.iter().zip(b).enumerate() {
                if x == y {
                    *in_run = false;
                } else {
                    self.add(1, place.plus(at), in_run);
                }
            }
        }
        self.add((a.len().max(b.len()) - common) as u64, place.plus(common), in_run);
    }

    /// Adds bytes that differ and follow each other.
    fn add(&mut self, bytes: u64, place: Place, in_run: &mut bool) {
        if bytes == 0 {
            return;
        }
        self.bytes += bytes;
        self.places += u64::from(!*in_run);
        self.first.get_or_insert(place);
        *in_run = true;
    }
}

impl Place {
    const fn plus(self, bytes: usize) -> Self {
        Self { artifact: self.artifact + bytes as u64, rebuilt: self.rebuilt + bytes as u64 }
    }
}

struct Stream<'a, R> {
    from: R,
    buffer: &'a mut Vec<u8>,
    at: u64,
}

impl<R: Read> Stream<'_, R> {
    /// Reads this many bytes, fewer only at the end.
    fn read(&mut self, wanted: u64) -> io::Result<usize> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.buffer.len());
        let mut there = 0;
        while there < wanted {
            match self.from.read(&mut self.buffer[there..wanted]) {
                Ok(0) => break,
                Ok(count) => there += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.at += there as u64;
        Ok(there)
    }
}

/// Both files, at the places up to which they were read.
struct Pair<'a, A, B> {
    artifact: Stream<'a, A>,
    rebuilt: Stream<'a, B>,
    digests: Digests,
    read: &'a mut dyn FnMut(u64),
}

impl<A: Read, B: Read> Pair<'_, A, B> {
    fn place(&self) -> Place {
        Place { artifact: self.artifact.at, rebuilt: self.rebuilt.at }
    }

    /// Calls `each` with pieces of both files, up to these many bytes of each, and the place where the pieces begin. Returns
    /// the number of bytes that were there.
    fn pieces(
        &mut self,
        mut artifact: u64,
        mut rebuilt: u64,
        mut each: impl FnMut(&[u8], &[u8], Place),
    ) -> Result<u64, (Side, io::Error)> {
        let mut total = 0;
        while artifact > 0 || rebuilt > 0 {
            let place = self.place();
            let a = self.artifact.read(artifact).map_err(|e| (Side::Artifact, e))?;
            let b = self.rebuilt.read(rebuilt).map_err(|e| (Side::Rebuilt, e))?;
            if a == 0 && b == 0 {
                break;
            }
            let (x, y) = (&self.artifact.buffer[..a], &self.rebuilt.buffer[..b]);
            self.digests.add(x, y);
            each(x, y, place);
            (artifact, rebuilt) = (artifact - a as u64, rebuilt - b as u64);
            total += (a + b) as u64;
            (self.read)(self.artifact.at);
        }
        Ok(total)
    }
}

/// SHA-256 of both. As long as they are the same, they are hashed once.
struct Digests {
    artifact: Sha256,
    rebuilt: Option<Sha256>,
}

impl Digests {
    fn add(&mut self, a: &[u8], b: &[u8]) {
        if self.rebuilt.is_some() || a != b {
            self.rebuilt.get_or_insert_with(|| self.artifact.clone()).update(b);
        }
        self.artifact.update(a);
    }

    fn finish(self) -> (Hash, Hash) {
        let hash = |hasher: Sha256| Hash::from_bytes(hasher.finalize().into());
        let artifact = hash(self.artifact);
        (artifact, self.rebuilt.map_or(artifact, hash))
    }
}
