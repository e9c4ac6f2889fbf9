//! A file with one short note that is replaced often: two slots, written by turns and in place. A replacement is one
//! write and one fdatasync.
//!
//! ```text
//! file  slot  slot                                                both of one length, a multiple of 4,096 bytes
//! slot  "treehead slot, number NUMBER, bytes LENGTH, crc CRC\n"   20, 10 digits; 8 hex digits
//!       note (LENGTH bytes)  NUL ...                              up to the slot's end
//! ```
//!
//! The CRC-32 covers the slot from its beginning to the end of the note, with zeros in the CRC's place. The file's note
//! is the one with the larger number among the slots that check. A write goes to the other slot, so a torn one harms
//! nothing that counts. `cat` shows both.
//!
//! A file that is no such pair of slots is the note itself: tools and people may put one there, and the first replacement
//! makes slots of it, at once. So does a note that is too long for its slot.

use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DiskError, DiskIo, check_written, read_if_exists, replace, sync_parent};

const PAGE: usize = 4_096;
/// Room that a note has to grow before its slot is too small: a tree size and a signature line or two.
const GROWTH: usize = 256;
const MAGIC: &[u8] = b"treehead slot, number ";
const HEAD_BYTES: usize = MAGIC.len() + 20 + ", bytes ".len() + 10 + ", crc ".len() + 8 + 1;
/// The place of the CRC in the head.
const CRC: Range<usize> = HEAD_BYTES - 9..HEAD_BYTES - 1;
/// Reads of a file that another process writes: one may meet a slot half written, all of them won't.
const READS: usize = 3;

/// Reads the note of a file, made of slots or not; `None` if there is no file. A file of which no slot checks comes
/// back as it is: it has no note that anybody signed.
///
/// # Errors
/// [`DiskError::Io`].
pub fn read_note(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    for _ in 1..READS {
        match read_if_exists(path)? {
            Some(bytes) if is_slots(&bytes) && newest(&bytes).is_none() => {}
            bytes => return Ok(bytes.map(|bytes| note_of(&bytes))),
        }
    }
    Ok(read_if_exists(path)?.map(|bytes| note_of(&bytes)))
}

/// The note in a file's bytes, as [`read_note`] returns it.
#[must_use]
pub fn note_of(bytes: &[u8]) -> Vec<u8> {
    newest(bytes).map_or(bytes, |(_, slot)| slot.note).to_vec()
}

/// The place, 1 or 2, of a slot that holds something and does not check, if the other slot does: a write to it was cut
/// off, or it was damaged later. The other one counts either way.
///
/// # Errors
/// [`DiskError::Io`].
pub fn torn_slot(path: &Path) -> Result<Option<usize>, DiskError> {
    let mut torn = None;
    for _ in 0..READS {
        let bytes = read_if_exists(path)?.unwrap_or_default();
        let is_torn = |half: &&[u8]| Slot::decode(half).is_none() && half.iter().any(|byte| *byte != 0);
        let at = halves(&bytes).and_then(|halves| halves.iter().position(is_torn));
        torn = at.filter(|_| newest(&bytes).is_some()).map(|at| at + 1);
        if torn.is_none() {
            break;
        }
    }
    Ok(torn)
}

/// A slot that checks.
struct Slot<'a> {
    number: u64,
    note: &'a [u8],
}

impl<'a> Slot<'a> {
    fn decode(slot: &'a [u8]) -> Option<Self> {
        let (head, rest) = slot.split_at_checked(HEAD_BYTES)?;
        let mut fields = head.strip_prefix(MAGIC)?;
        let number = digits(fields.split_off(..20)?)?;
        fields = fields.strip_prefix(b", bytes ")?;
        let length = usize::try_from(digits(fields.split_off(..10)?)?).ok()?;
        let note = rest.get(..length)?;
        // Whatever is not read above has to be as it is written.
        (encode_head(number, note) == head).then_some(Self { number, note })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn encode_head(number: u64, note: &[u8]) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    let length = note.len();
    writeln!(head, "{number:020}, bytes {length:010}, crc 00000000").expect("memory takes it");
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    crc.update(note);
    let crc = format!("{:08x}", crc.finalize());
    head[CRC].copy_from_slice(crc.as_bytes());
    head
}

fn encode(number: u64, note: &[u8], slot_bytes: usize) -> Vec<u8> {
    let mut slot = encode_head(number, note);
    slot.extend_from_slice(note);
    slot.resize(slot_bytes, 0);
    slot
}

/// The halves of a file of slots.
fn halves(bytes: &[u8]) -> Option<[&[u8]; 2]> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    (!first.is_empty() && first.len() == second.len() && first.len().is_multiple_of(PAGE))
        .then_some([first, second])
}

fn is_slots(bytes: &[u8]) -> bool {
    halves(bytes).is_some_and(|halves| halves.iter().any(|half| half.starts_with(MAGIC)))
}

/// The newest slot that checks, with its place.
fn newest(bytes: &[u8]) -> Option<(usize, Slot<'_>)> {
    let slots = halves(bytes)?.map(Slot::decode).into_iter().enumerate();
    slots.filter_map(|(at, slot)| Some((at, slot?))).max_by_key(|(_, slot)| slot.number)
}

/// A file whose note this process replaces.
pub struct SlotFile {
    io: Arc<dyn DiskIo>,
    path: PathBuf,
    /// The last note that is durable.
    note: Option<Vec<u8>>,
    /// `None` while the next replacement makes slots anew: there are none, or a write has failed, and nobody
    /// knows what it left.
    slots: Option<Slots>,
}

/// Slots that are open for writing.
struct Slots {
    file: File,
    slot_bytes: usize,
    /// The slot of the last durable note, and its number.
    newest: usize,
    number: u64,
}

impl SlotFile {
    /// Reads the file, which may be missing, and makes sure that what it says is durable.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn open(io: Arc<dyn DiskIo>, path: PathBuf) -> Result<Self, DiskError> {
        // A power cut could still take back a rename whose fsync failed.
        sync_parent(io.as_ref(), &path)?;
        let Some(bytes) = read_if_exists(&path)? else {
            return Ok(Self { io, path, note: None, slots: None });
        };
        let note = Some(note_of(&bytes));
        let Some((newest, number)) = newest(&bytes).map(|(at, slot)| (at, slot.number)) else {
            return Ok(Self { io, path, note, slots: None });
        };
        let file = File::options().write(true).open(&path).map_err(DiskError::io("open", &path))?;
        let slot_bytes = bytes.len() / 2;
        if halves(&bytes).is_some_and(|halves| halves.map(Slot::decode).iter().all(Option::is_some)) {
            // The newest slot was read, but perhaps from memory alone: the process before may have been killed
            // before its fdatasync, or the fdatasync failed, and then the next one succeeds without writing. So it
            // is written once more. They are the same bytes: a crash can't harm them. If the other slot does not
            // check, a write to it was cut off, and that began when this one was durable.
            let at = newest * slot_bytes;
            let same = &bytes[at..at + slot_bytes];
            io.write_at(&file, &path, same, at as u64).map_err(DiskError::io("write", &path))?;
            io.sync_data(&file, &path).map_err(DiskError::io("fdatasync", &path))?;
        }
        Ok(Self { io, path, note, slots: Some(Slots { file, slot_bytes, newest, number }) })
    }

    /// The file's note.
    #[must_use]
    pub fn note(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }

    /// Replaces the note. When this returns, the new one survives a power cut.
    ///
    /// # Errors
    /// [`DiskError::Changed`] if another process changed the file. After any error the old or the new note may be
    /// durable, and [`open`](Self::open) finds out which.
    pub fn replace(&mut self, note: &[u8]) -> Result<(), DiskError> {
        // Taken until the write is durable. Should it fail, the last durable note must not be overwritten next.
        let slots = match self.slots.take() {
            Some(slots) if HEAD_BYTES + note.len() <= slots.slot_bytes => self.write(slots, note)?,
            _ => self.renew(note)?,
        };
        self.slots = Some(slots);
        self.note = Some(note.to_vec());
        Ok(())
    }

    /// Writes the slot that does not count.
    fn write(&self, slots: Slots, note: &[u8]) -> Result<Slots, DiskError> {
        let Slots { file, slot_bytes, newest, number } = slots;
        let length = 2 * slot_bytes as u64;
        check_written(&file, &self.path, length, |there| there == length)?;
        let (other, number) = (1 - newest, number + 1);
        let slot = encode(number, note, slot_bytes);
        // A crash before the fdatasync returns leaves the new note in this slot, or a slot that is torn, or the
        // old one: then the other slot counts, which is not touched. Nobody was told of the new note.
        let at = (other * slot_bytes) as u64;
        self.io.write_at(&file, &self.path, &slot, at).map_err(DiskError::io("write", &self.path))?;
        self.io.sync_data(&file, &self.path).map_err(DiskError::io("fdatasync", &self.path))?;
        // A crash from here on finds the new note.
        Ok(Slots { file, slot_bytes, newest: other, number })
    }

    /// Writes the whole file anew, with slots that have room.
    fn renew(&self, note: &[u8]) -> Result<Slots, DiskError> {
        let slot_bytes = (HEAD_BYTES + note.len() + GROWTH).next_multiple_of(PAGE);
        let mut bytes = encode(1, note, slot_bytes);
        // Written, not left out: a write to blocks that a file has costs no journal of the file system.
        bytes.resize(2 * slot_bytes, 0);
        // A crash in here leaves the old file or the new one, both whole.
        replace(self.io.as_ref(), &self.path, &bytes)?;
        let file = File::options().write(true).open(&self.path).map_err(DiskError::io("open", &self.path))?;
        Ok(Slots { file, slot_bytes, newest: 0, number: 1 })
    }
}

#[cfg(test)]
mod tests;
