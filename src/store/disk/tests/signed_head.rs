//! The signed head, and a journal that does not agree with it.

use super::*;

#[test]
fn a_journal_shorter_than_the_checkpoint_is_lost_data() {
    let dir = log_of(300);
    let path = journal_file(dir.path());
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    for _ in 0..2 {
        let refused = open(dir.path()).err().unwrap();
        let StoreError::JournalShort { signed, seen } = refused else { panic!("{refused}") };
        assert_eq!((signed.get(), seen.get()), (300, 270), "a refusal repairs nothing, so it stays");
        assert_eq!(fs::metadata(&path).unwrap().len(), length - 1, "and cuts nothing off");
    }
    fs::remove_dir_all(Layout::new(dir.path()).journal()).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(matches!(refused, StoreError::JournalShort { seen: TreeSize::ZERO, .. }), "{refused}");
}

#[test]
fn a_journal_with_other_entries_is_a_fork() {
    for (count, more) in [(90, 0), (256, 0), (300, 200), (512, 256)] {
        let (dir, other) = (log_of(count), TempDir::new().unwrap());
        let mut store = open(other.path()).unwrap();
        let all: Vec<Vec<u8>> = entries(0, count + more).iter().map(|e| e.to_ascii_uppercase()).collect();
        all.chunks(90).for_each(|batch| append(&mut store, batch.to_vec()));
        let forked = store.edge();
        drop(store);
        copy_dir(&Layout::new(other.path()).journal(), &Layout::new(dir.path()).journal());
        for sled in [false, true] {
            if sled {
                let _ = fs::remove_dir_all(Layout::new(dir.path()).sled());
                copy_dir(&Layout::new(other.path()).sled(), &Layout::new(dir.path()).sled());
            }
            let refused = open(dir.path()).err().unwrap();
            let StoreError::JournalForked { size, expected, seen } = refused else { panic!("{refused}") };
            assert_eq!(size.get(), count as u64);
            assert_ne!(expected, seen);
            assert!(more > 0 || seen == forked.root().to_base64());
        }
    }
}

#[test]
fn the_journal_of_another_log_is_refused() {
    let dir = log_of(90);
    let other = || OpenOptions { describe: describe(), ..OpenOptions::new("example.com/other") };
    let refused = open_disk(dir.path(), other).err().unwrap();
    assert!(refused.to_string().contains("another origin"), "{refused}");
}

#[test]
fn a_checkpoint_file_of_anything_else_is_damaged() {
    let dir = log_of(90);
    let path = Layout::new(dir.path()).checkpoint();
    let good = fs::read(&path).unwrap();
    let note = note_of(&good);
    for bad in [b"".as_slice(), b"garbage", &[0xff; 100], &good[..good.len() / 2], &note[..note.len() / 2]] {
        fs::write(&path, bad).unwrap();
        let refused = open(dir.path()).err().unwrap();
        let StoreError::CheckpointDamaged { path: named, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*named, path);
    }
    // An interrupted replacement is none.
    fs::write(&path, &good).unwrap();
    fs::write(path.with_extension("new"), b"garb").unwrap();
    let mut store = open(dir.path()).unwrap();
    assert_eq!(store.checkpoint(), Some(note.clone()));
    append(&mut store, entries(90, 1));
    let next = signed(&store.edge());
    store.replace_checkpoint(Some(&note), &next).unwrap();
    assert_eq!(note_of(&fs::read(&path).unwrap()), next);
}

#[test]
fn a_checkpoint_that_somebody_else_replaced_is_noticed() {
    let dir = log_of(90);
    let mut store = open(dir.path()).unwrap();
    let known = store.checkpoint().unwrap();
    append(&mut store, entries(90, 1));
    let theirs = signed(&store.edge());
    fs::write(Layout::new(dir.path()).checkpoint(), &theirs).unwrap();
    let moved = store.replace_checkpoint(Some(&known), &theirs);
    assert!(matches!(moved, Err(StoreError::CheckpointMoved { .. })));
    store.reload().unwrap();
    assert_eq!(store.checkpoint(), Some(theirs));
}
