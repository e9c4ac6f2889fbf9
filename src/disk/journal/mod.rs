//! The framed journal: a file that only grows, by whole frames, and survives a power cut at any moment.
//!
//! ```text
//! file    magic (8) || about || marker (8), if it is random || CRC-32 of these u32
//!         frame*
//! frame   marker (8) || number u64 || items u32 || body length u32 || tag || CRC-32 of these u32
//!         body
//!         CRC-32 u32, of the body or of the whole frame before it
//! ```
//!
//! Integers are big-endian. A [`Format`] fills in the rest: the magic, the lengths of `about` and `tag`, the
//! caps. What `about`, tags and bodies mean is up to the room that keeps the journal.
//!
//! Each frame is made durable with one fdatasync before the next one is written, so after a power cut only the
//! last frame can be incomplete, and nobody relied on it yet. Such a *torn tail* is dropped. Anything else
//! that does not check is [damage](super::DiskError::Damaged): a frame that is followed by another one was
//! durable once.
//!
//! The two are told apart by searching for the head of a later frame. Content must not be able to imitate
//! one: a random marker, which never leaves the disk, rules that out. With a fixed marker the room has to.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use format::{Checksum, Encoder, FileHead, Format, FrameHead, Marker, Numbers};
pub use reader::{Frame, JournalReader, Step};
pub use writer::JournalFile;
