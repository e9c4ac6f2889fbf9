//! Reading a journal frame by frame, and deciding what a frame that does not check means.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::format::{BODY_CRC_BYTES, Checksum, FileHead, Format, FrameHead, later_numbers};
use crate::disk::{DiskError, open_plain};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A frame that checks.
#[derive(Debug)]
pub struct Frame {
    /// Its head.
    pub head: FrameHead,
    /// Its body.
    pub body: Vec<u8>,
    /// Offset of the frame in its file.
    pub at: u64,
    /// Offset of the body.
    pub body_at: u64,
    /// Offset behind the frame.
    pub end: u64,
}

/// The next part of a journal.
#[derive(Debug)]
pub enum Step {
    /// A frame.
    Frame(Frame),
    /// Nothing: the file ends here.
    End,
    /// An incomplete last frame, which nobody relied on. The text says what does not check.
    Torn(String),
}

/// Why no frame stands at a place.
#[derive(Debug)]
enum NoFrame {
    /// Some of it is not what was written, as a power cut may leave it.
    Torn(String),
    /// It checks, and should not have been written.
    Wrong(String),
}

impl NoFrame {
    fn into_detail(self) -> String {
        let (Self::Torn(detail) | Self::Wrong(detail)) = self;
        detail
    }
}

/// One file of a journal, read from its beginning or from any frame on.
#[derive(Debug)]
pub struct JournalReader {
    reader: BufReader<File>,
    path: PathBuf,
    head: Option<FileHead>,
    format: &'static Format,
    offset: u64,
    length: u64,
}

impl JournalReader {
    /// Opens a file of one of `formats` at its first frame. If its head does not check, the file is taken for
    /// one of the first format.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn open(path: &Path, formats: &'static [Format]) -> Result<Self, DiskError> {
        let file = open_plain(path).map_err(DiskError::io("open", path))?;
        let read = || Ok((file.metadata()?.len(), FileHead::read(&file, formats)?));
        let (length, head) = read().map_err(DiskError::io("read", path))?;
        let format = head.as_ref().map_or(&formats[0], |head| head.format);
        let offset = head.as_ref().map_or(0, FileHead::length);
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut opened = Self { reader, path: path.to_owned(), head, format, offset, length };
        opened.seek(offset)?;
        Ok(opened)
    }

    /// The head of the file; `None` if it does not check.
    #[must_use]
    pub const fn head(&self) -> Option<&FileHead> {
        self.head.as_ref()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Offset of the next frame.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the file when it was opened.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Goes on reading at `offset`.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn seek(&mut self, offset: u64) -> Result<(), DiskError> {
        self.reader.seek(SeekFrom::Start(offset)).map_err(DiskError::io("read", &self.path))?;
        self.offset = offset;
        Ok(())
    }

    /// Reads the next frame, which must have this number. Only at the end of the `last` file of a journal may
    /// a frame be torn.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] if a frame does not check that is not the last one, or has another number.
    pub fn next_frame(&mut self, number: u64, last: bool) -> Result<Step, DiskError> {
        let at = self.offset;
        if at >= self.length {
            return Ok(Step::End);
        }
        match self.read_frame(number)? {
            Ok(frame) => Ok(Step::Frame(frame)),
            // A later frame was written after the fdatasync of this one, which was durable then.
            Err(NoFrame::Torn(detail)) if last && !self.has_frame_behind(at, number)? => {
                Ok(Step::Torn(detail))
            }
            Err(why) => Err(self.damaged(at, why.into_detail())),
        }
    }

    /// The frame of this number at the current offset, if one that checks is there.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn frame(&mut self, number: u64) -> Result<Option<Frame>, DiskError> {
        Ok(self.read_frame(number)?.ok())
    }

    /// Reads all frames of a journal of one file, the first of which has the number `first`. `take` gets each frame, and
    /// returns what is wrong with its content. Returns the offset of a torn last frame, and what does not check in it.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame), and [`DiskError::Damaged`] with the error of `take`.
    pub fn read_all(
        &mut self,
        first: u64,
        mut take: impl FnMut(Frame) -> Result<(), String>,
    ) -> Result<Option<(u64, String)>, DiskError> {
        let mut number = first;
        loop {
            let at = self.offset;
            match self.next_frame(number, true)? {
                Step::End => return Ok(None),
                Step::Torn(detail) => return Ok(Some((at, detail))),
                Step::Frame(frame) => {
                    let next = frame.head.next_number(self.format);
                    number =
                        next.ok_or_else(|| self.damaged(at, "expected a number that another one follows"))?;
                    take(frame).map_err(|detail| self.damaged(at, detail))?;
                }
            }
        }
    }

    /// The error of a file that is not what was written.
    pub fn damaged(&self, at: u64, detail: impl Into<String>) -> DiskError {
        DiskError::Damaged { path: self.path.clone(), at, detail: detail.into() }
    }

    /// The head of a frame at `at`, if one that checks is there. Reading goes on where it was.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn head_at(&self, at: u64) -> Result<Option<FrameHead>, DiskError> {
        let mut bytes = vec![0; self.format.frame_head_bytes()];
        match self.reader.get_ref().read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(self.decode(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(DiskError::io("read", &self.path)(e)),
        }
    }

    /// Reads the frame at the current offset. The inner error says why there is none of this number.
    fn read_frame(&mut self, number: u64) -> Result<Result<Frame, NoFrame>, DiskError> {
        let torn = |detail: &str| Ok(Err(NoFrame::Torn(detail.to_owned())));
        let wrong = |detail: String| Ok(Err(NoFrame::Wrong(detail)));
        let format = self.format;
        let mut bytes = vec![0; format.frame_head_bytes()];
        if !self.fill(&mut bytes)? {
            return torn("the file ends within the head of a batch");
        }
        let Some(head) = self.decode(&bytes) else { return torn("the head of the batch does not check") };
        if head.number != number {
            return wrong(format!("expected batch {number}, saw batch {}", head.number));
        }
        let FrameHead { items, body_bytes, .. } = head;
        if body_bytes > format.max_body_bytes || items == 0 || items > format.max_items {
            return wrong(format!("a batch of {items} items and {body_bytes} bytes is not one of ours"));
        }
        if head.frame_bytes(format) > self.length.saturating_sub(self.offset) {
            return torn("the file ends within a batch");
        }
        let (mut body, mut crc) = (vec![0; body_bytes], [0; BODY_CRC_BYTES]);
        if !self.fill(&mut body)? || !self.fill(&mut crc)? {
            return torn("the file ends within a batch");
        }
        let mut expected = crc32fast::Hasher::new();
        if format.checksum == Checksum::Frame {
            expected.update(&bytes);
        }
        expected.update(&body);
        if crc != expected.finalize().to_be_bytes() {
            return torn("the body of the batch does not check");
        }
        let at = self.offset;
        self.offset += head.frame_bytes(format);
        Ok(Ok(Frame { body, at, body_at: at + bytes.len() as u64, end: self.offset, head }))
    }

    /// Finds every place where a frame may stand, in a file that is damaged, and calls `found` with the
    /// frame's number and offset.
    ///
    /// Content can imitate a frame unless the marker is random, and any content can if the head of the file
    /// is lost. So more places may be found than frames were written: the caller has to know which frames
    /// fit.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn salvage(&mut self, mut found: impl FnMut(u64, u64)) -> Result<(), DiskError> {
        let inimitable = self.head.is_some() && self.format.marker.is_none();
        // As long as frames follow each other from the first one on, nothing inside of them is looked at.
        let mut follows = self.head.is_some();
        let mut at = self.offset;
        while at < self.length {
            let next = match self.head_at(at)? {
                Some(head) if follows || inimitable => {
                    found(head.number, at);
                    Some(at + head.frame_bytes(self.format))
                }
                // Content may claim a length that passes over true frames.
                Some(head) => {
                    self.seek(at)?;
                    let whole = self.frame(head.number)?;
                    whole.map(|frame| {
                        found(frame.head.number, at);
                        frame.end
                    })
                }
                None => None,
            };
            if let Some(next) = next {
                at = next;
            } else {
                follows = false;
                let Some(place) = self.find_head(at + 1, |_| true)? else { break };
                at = place;
            }
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Option<FrameHead> {
        FrameHead::decode(bytes, self.format, self.head.as_ref().map(|head| &head.marker))
    }

    /// Fills `bytes`; false if the file ends first.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, DiskError> {
        match self.reader.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(DiskError::io("read", &self.path)(e)),
        }
    }

    /// Searches for the head of a later frame behind the one at `at`, which does not check.
    fn has_frame_behind(&mut self, at: u64, number: u64) -> Result<bool, DiskError> {
        // Content may look like a frame. If the broken frame says how long it is, its inside is not searched.
        let head = self.head_at(at)?.filter(|head| head.number == number);
        let behind = head.map_or(1, |head| head.frame_bytes(self.format));
        let later = later_numbers(number, self.length - at);
        let found = self.find_head(at + behind, |head| later.contains(&head.number))?;
        self.seek(at)?;
        Ok(found.is_some())
    }

    /// Offset of the first head from `at` on that checks and `fits`.
    fn find_head(&mut self, at: u64, fits: impl Fn(&FrameHead) -> bool) -> Result<Option<u64>, DiskError> {
        self.seek(at)?;
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map_err(DiskError::io("read", &self.path))?;
        let mut windows = rest.windows(self.format.frame_head_bytes());
        let found = windows.position(|window| self.decode(window).is_some_and(|head| fits(&head)));
        Ok(found.map(|found| at + found as u64))
    }
}
