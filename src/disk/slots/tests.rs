use std::fs;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::disk::RealDisk;

/// The real disk, whose next writes in place or fdatasyncs fail.
#[derive(Default)]
struct Disk {
    /// The number of bytes that the next write in place writes before it fails.
    write_fails_after: Mutex<Option<usize>>,
    sync_fails: AtomicBool,
}

impl DiskIo for Disk {
    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.write_fails_after.lock().unwrap().take() {
            None => RealDisk.write_at(file, path, bytes, offset),
            Some(written) => {
                RealDisk.write_at(file, path, &bytes[..written], offset)?;
                Err(io::Error::from_raw_os_error(5))
            }
        }
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        if self.sync_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        RealDisk.sync_data(file, path)
    }
}

struct World {
    disk: Arc<Disk>,
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self { disk: Arc::default(), dir: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("checkpoint")
    }

    fn open(&self) -> SlotFile {
        SlotFile::open(self.disk.clone(), self.path()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn read(&self) -> Option<Vec<u8>> {
        read_note(&self.path()).unwrap()
    }

    /// A file with these notes, written one after the other.
    fn with(notes: &[&[u8]]) -> Self {
        let world = Self::new();
        let mut file = world.open();
        notes.iter().for_each(|note| file.replace(note).unwrap());
        world
    }
}

#[test]
fn notes_are_written_by_turns_and_in_place() {
    let world = World::new();
    let mut file = world.open();
    assert_eq!((file.note(), world.read()), (None, None));
    for number in 0..7_u8 {
        let note = vec![b'a' + number; 100 + usize::from(number)];
        file.replace(&note).unwrap();
        assert_eq!(file.note(), Some(&note[..]));
        assert_eq!(world.read(), Some(note.clone()));
        assert_eq!(world.bytes().len(), 2 * PAGE);
        let before = world.bytes();
        // A process that starts goes on where the one before stopped.
        file = world.open();
        assert_eq!((file.note(), world.bytes()), (Some(&note[..]), before));
    }
    let bytes = world.bytes();
    assert!(bytes.starts_with(b"treehead slot, number 00000000000000000007, bytes 0000000106, crc "));
    assert!(bytes[PAGE..].starts_with(b"treehead slot, number 00000000000000000006, bytes 0000000105, crc "));
}

#[test]
fn a_file_that_has_no_slots_is_its_own_note_until_it_is_replaced() {
    let long = [b'x'; 2 * PAGE];
    for there in [b"".as_slice(), b"a plain checkpoint\n", &[0xff; 100], &long, &long[1..]] {
        let world = World::new();
        fs::write(world.path(), there).unwrap();
        let mut file = world.open();
        assert_eq!((file.note(), world.read().as_deref()), (Some(there), Some(there)));
        assert_eq!(world.bytes(), there, "nothing was written");
        file.replace(b"the next").unwrap();
        assert_eq!(world.read().unwrap(), b"the next");
        assert!(is_slots(&world.bytes()));
    }
}

#[test]
fn a_note_that_outgrows_its_slot_gets_larger_ones() {
    let world = World::with(&[b"one", b"two"]);
    let mut file = world.open();
    for length in [PAGE - HEAD_BYTES, PAGE - HEAD_BYTES + 1, 3 * PAGE, 5, 3 * PAGE, 20_000] {
        let note = vec![b'n'; length];
        let before = world.bytes().len();
        file.replace(&note).unwrap();
        assert_eq!((world.read(), world.open().note()), (Some(note.clone()), Some(&note[..])));
        let grows = HEAD_BYTES + length > before / 2;
        assert_eq!(world.bytes().len() > before, grows, "{length}");
    }
}

#[test]
fn any_byte_flipped_and_any_torn_write_leave_the_old_note_or_the_new_one() {
    let (old, new) = (b"the old note\n".as_slice(), b"the new note, a little longer\n".as_slice());
    // The new one in the second slot, and in the first.
    for before in [&[old][..], &[b"older", old]] {
        let world = World::with(before);
        let whole = world.bytes();
        world.open().replace(new).unwrap();
        let replaced = world.bytes();
        let at = if before.len() == 1 { PAGE } else { 0 };
        let used = HEAD_BYTES + new.len();
        for byte in 0..replaced.len() {
            for bit in [0, 1, 5, 7] {
                let mut bytes = replaced.clone();
                bytes[byte] ^= 1 << bit;
                let expected = if (at..at + used).contains(&byte) { old } else { new };
                assert_eq!(note_of(&bytes), expected, "byte {byte} bit {bit}");
            }
        }
        for torn in 0..=PAGE {
            let (mut front, mut back) = (whole.clone(), whole.clone());
            front[at..at + torn].copy_from_slice(&replaced[at..at + torn]);
            back[at + torn..at + PAGE].copy_from_slice(&replaced[at + torn..at + PAGE]);
            for bytes in [front, back] {
                // Where old and new bytes agree, nothing is torn.
                let expected = if bytes == replaced { new } else { old };
                assert_eq!(note_of(&bytes), expected, "torn at {torn}");
            }
        }
    }
}

#[test]
fn a_file_of_which_no_slot_checks_has_no_note_that_anybody_signed() {
    let world = World::with(&[b"one", b"two"]);
    let mut bytes = world.bytes();
    bytes[HEAD_BYTES] ^= 1;
    bytes[PAGE + HEAD_BYTES] ^= 1;
    fs::write(world.path(), &bytes).unwrap();
    assert_eq!(world.read(), Some(bytes.clone()), "as it is");
    let mut file = world.open();
    assert_eq!(file.note(), Some(&bytes[..]));
    file.replace(b"three").unwrap();
    assert_eq!(world.read().unwrap(), b"three");
}

#[test]
fn every_length_of_a_cut_file_is_refused_or_has_a_note_that_was_written() {
    let bytes = World::with(&[b"one", b"two"]).bytes();
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        assert_eq!(note_of(cut), cut, "{length}");
    }
}

#[test]
fn a_write_that_failed_leaves_the_last_durable_note_alone() {
    for failing in 0..6 {
        for last in [&[b"one".as_slice()][..], &[b"one", b"two"]] {
            let world = World::with(last);
            let durable = *last.last().unwrap();
            let mut file = world.open();
            let newest = newest(&world.bytes()).unwrap().0;
            let kept = world.bytes()[newest * PAGE..][..PAGE].to_vec();
            if failing < 5 {
                let written = [0, 10, HEAD_BYTES, HEAD_BYTES + 1, PAGE][failing];
                *world.disk.write_fails_after.lock().unwrap() = Some(written);
            } else {
                world.disk.sync_fails.store(true, Ordering::SeqCst);
            }
            file.replace(b"it fails").unwrap_err();
            assert_eq!(file.note(), Some(durable), "nobody was told of the other one");
            assert_eq!(world.bytes()[newest * PAGE..][..PAGE], kept[..]);
            // Without a look at what is there, the next note comes in a file of its own.
            let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(world.path()).unwrap());
            let before = inode();
            let mut again = world.open();
            let seen = again.note().unwrap().to_vec();
            assert!(seen == durable || (seen == b"it fails" && failing >= 4), "{failing}");
            file.replace(b"the next").unwrap();
            assert_ne!(inode(), before);
            assert_eq!(world.read().unwrap(), b"the next");
            // The one that was opened before knows that it is another's file.
            assert!(matches!(again.replace(b"late"), Err(DiskError::Changed { .. })));
        }
    }
}

#[test]
fn what_memory_alone_may_have_is_written_again_before_it_counts() {
    let world = World::with(&[b"one", b"two"]);
    let mut file = world.open();
    world.disk.sync_fails.store(true, Ordering::SeqCst);
    file.replace(b"three").unwrap_err();
    // Opening it fails too, until the disk takes the slot.
    world.disk.sync_fails.store(true, Ordering::SeqCst);
    assert!(SlotFile::open(world.disk.clone(), world.path()).is_err(), "not durable yet");
    *world.disk.write_fails_after.lock().unwrap() = Some(PAGE / 2);
    assert!(SlotFile::open(world.disk.clone(), world.path()).is_err(), "not written yet");
    let mut file = world.open();
    assert_eq!(file.note(), Some(b"three".as_slice()));
    file.replace(b"four").unwrap();
    assert_eq!(note_of(&world.bytes()[..]), b"four");
}

#[test]
fn a_file_that_another_process_replaced_or_cut_is_not_written() {
    let world = World::with(&[b"one", b"two"]);
    let mut file = world.open();
    fs::write(world.path(), b"theirs").unwrap();
    assert!(matches!(file.replace(b"three"), Err(DiskError::Changed { .. })));
    assert_eq!(world.bytes(), b"theirs");
}
