//! The bytes of a journal: heads of files and frames.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;

const MARKER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
/// Marker, number, items and body length.
const FIXED_HEAD_BYTES: usize = MARKER_BYTES + 8 + 4 + 4;

/// The bytes that begin each frame of a file.
pub type Marker = [u8; MARKER_BYTES];

/// One kind of journal.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// The bytes that begin each file: name and version.
    pub magic: [u8; 8],
    /// Length of the room's own part of a file's head.
    pub about_bytes: usize,
    /// The marker of every file; `None`: each file has a random one of its own.
    pub marker: Option<Marker>,
    /// Length of the room's own part of a frame's head.
    pub tag_bytes: usize,
    /// Coverage of the CRC behind a body.
    pub checksum: Checksum,
    /// Numbering of the frames.
    pub numbers: Numbers,
    /// Most items in a frame.
    pub max_items: usize,
    /// Longest body.
    pub max_body_bytes: usize,
}

/// Coverage of the CRC behind a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The body alone.
    Body,
    /// The head and the body.
    Frame,
}

/// Numbering of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// By their first item: a frame of three items and number 5 is followed by number 8.
    Items,
    /// One after the other.
    Frames,
}

impl Format {
    /// Length of a file's head.
    #[must_use]
    pub const fn file_head_bytes(&self) -> usize {
        let marker = if self.marker.is_none() { MARKER_BYTES } else { 0 };
        self.magic.len() + self.about_bytes + marker + CRC_BYTES
    }

    /// Difference between the number of a frame with so many items and the next one.
    pub(super) const fn step(&self, items: usize) -> u64 {
        match self.numbers {
            Numbers::Items => items as u64,
            Numbers::Frames => 1,
        }
    }

    /// Length of a frame's head.
    #[must_use]
    pub const fn frame_head_bytes(&self) -> usize {
        FIXED_HEAD_BYTES + self.tag_bytes + CRC_BYTES
    }
}

/// The head of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// The format of the file.
    pub format: &'static Format,
    /// The room's own part.
    pub about: Vec<u8>,
    /// The bytes that begin each frame.
    pub marker: Marker,
}

impl FileHead {
    /// The head of a new file.
    ///
    /// # Errors
    /// The system's, if it has no randomness for the marker.
    ///
    /// # Panics
    /// If `about` has another length than the format says.
    pub fn new(format: &'static Format, about: Vec<u8>) -> io::Result<Self> {
        assert_eq!(about.len(), format.about_bytes, "as the format says");
        let random = || {
            let mut marker = Marker::default();
            getrandom::fill(&mut marker).map_err(|e| io::Error::other(e.to_string()))?;
            Ok::<_, io::Error>(marker)
        };
        let marker = format.marker.map_or_else(random, Ok)?;
        Ok(Self { format, about, marker })
    }

    /// Length of the head: where the first frame begins.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.format.file_head_bytes() as u64
    }

    /// The head's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.format.magic.to_vec();
        bytes.extend_from_slice(&self.about);
        if self.format.marker.is_none() {
            bytes.extend_from_slice(&self.marker);
        }
        seal(&mut bytes, 0);
        bytes
    }

    /// The head that `bytes` begin with, in one of `formats`; `None` if it does not check.
    #[must_use]
    pub fn decode(bytes: &[u8], formats: &'static [Format]) -> Option<Self> {
        let format = formats.iter().find(|format| bytes.starts_with(&format.magic))?;
        let mut rest = &unseal(bytes.get(..format.file_head_bytes())?)?[format.magic.len()..];
        let about = rest.split_off(..format.about_bytes)?.to_vec();
        Some(Self { format, about, marker: format.marker.map_or_else(|| rest.try_into().ok(), Some)? })
    }

    /// Reads the head of a file, in one of `formats`; `None` if it does not check.
    ///
    /// # Errors
    /// The system's.
    pub fn read(file: &File, formats: &'static [Format]) -> io::Result<Option<Self>> {
        let longest = formats.iter().map(Format::file_head_bytes).max().unwrap_or_default();
        let mut head = vec![0; longest];
        let mut filled = 0;
        while filled < head.len() {
            match file.read_at(&mut head[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(Self::decode(&head[..filled], formats))
    }

    /// Appends a frame to `out`. `body` appends the body.
    ///
    /// # Panics
    /// If the frame is none of the format's.
    pub fn encode_frame(
        &self,
        out: &mut Vec<u8>,
        number: u64,
        items: usize,
        tag: &[u8],
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let format = self.format;
        let begin = out.len();
        let body_at = begin + format.frame_head_bytes();
        out.resize(body_at, 0);
        body(out);
        let head = self.encode_frame_head(number, items, tag, out.len() - body_at);
        out[begin..body_at].copy_from_slice(&head);
        let covered = if format.checksum == Checksum::Body { body_at } else { begin };
        seal(out, covered);
    }

    /// The bytes before the body of a frame.
    pub(super) fn encode_frame_head(
        &self,
        number: u64,
        items: usize,
        tag: &[u8],
        body_bytes: usize,
    ) -> Vec<u8> {
        let format = self.format;
        assert!(tag.len() == format.tag_bytes && (1..=format.max_items).contains(&items), "one of ours");
        assert!(body_bytes <= format.max_body_bytes, "bodies are capped");
        let mut head = self.marker.to_vec();
        head.extend_from_slice(&number.to_be_bytes());
        head.extend_from_slice(&u32::try_from(items).expect("items are capped").to_be_bytes());
        head.extend_from_slice(&u32::try_from(body_bytes).expect("bodies are capped").to_be_bytes());
        head.extend_from_slice(tag);
        seal(&mut head, 0);
        head
    }
}

/// The head of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHead {
    /// The frame's number.
    pub number: u64,
    /// Items in the body.
    pub items: usize,
    /// Length of the body.
    pub body_bytes: usize,
    /// The room's own part.
    pub tag: Vec<u8>,
}

impl FrameHead {
    /// The head that `bytes` are; `None` if it does not check. Without a marker, that of any file will do.
    #[must_use]
    pub fn decode(bytes: &[u8], format: &Format, marker: Option<&Marker>) -> Option<Self> {
        if marker.is_some_and(|marker| !bytes.starts_with(marker)) {
            return None;
        }
        let mut rest = unseal(bytes)?.get(MARKER_BYTES..)?;
        let number = u64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?);
        let mut length = || usize::try_from(u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?)).ok();
        let (items, body_bytes) = (length()?, length()?);
        (rest.len() == format.tag_bytes).then(|| Self { number, items, body_bytes, tag: rest.to_vec() })
    }

    /// Length of the whole frame.
    #[must_use]
    pub const fn frame_bytes(&self, format: &Format) -> u64 {
        (format.frame_head_bytes() + self.body_bytes + CRC_BYTES) as u64
    }

    /// Number of the next frame; `None` beyond the last number.
    #[must_use]
    pub const fn next_number(&self, format: &Format) -> Option<u64> {
        self.number.checked_add(format.step(self.items))
    }
}

/// Numbers that frames behind the one of this number can have, in as many bytes: each takes more than one.
pub(super) const fn later_numbers(number: u64, bytes: u64) -> RangeInclusive<u64> {
    number.saturating_add(1)..=number.saturating_add(bytes)
}

/// Length of the CRC behind a body.
pub(super) const BODY_CRC_BYTES: usize = CRC_BYTES;

/// A whole journal in memory, before it is written.
#[derive(Debug)]
pub struct Encoder {
    pub(super) head: FileHead,
    pub(super) bytes: Vec<u8>,
    pub(super) next: u64,
}

impl Encoder {
    /// An empty journal whose first frame will have the number `first`.
    #[must_use]
    pub fn new(head: FileHead, first: u64) -> Self {
        Self { bytes: head.encode(), head, next: first }
    }

    /// Appends a frame. `body` appends the body.
    ///
    /// # Panics
    /// If the frame is none of the format's.
    pub fn frame(&mut self, items: usize, tag: &[u8], body: impl FnOnce(&mut Vec<u8>)) {
        self.head.encode_frame(&mut self.bytes, self.next, items, tag, body);
        self.next += self.head.format.step(items);
    }

    /// The bytes of the file.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends the CRC of everything from `begin` on.
fn seal(bytes: &mut Vec<u8>, begin: usize) {
    let crc = crc32fast::hash(&bytes[begin..]);
    bytes.extend_from_slice(&crc.to_be_bytes());
}

/// The content before a CRC, if the CRC checks.
fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    (crc == crc32fast::hash(content).to_be_bytes()).then_some(content)
}
