//! Repairs from another journal, in this process. Repairs from exports and addresses are in `binary.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use treehead::disk::{DiskError, DiskIo, RealDisk};
use treehead::store::{
    CheckpointWas, CopyError, EntrySource, JournalSource, Layout, Repair, Repaired, SignedHead, Store as _,
    StoreError, read_signed,
};

use crate::home::{
    OLD_MARKER, SEGMENT_BYTES, append, batches, check_served, contents, copy_dir, crash_after, entry, head,
    key, last_batch, log_of, make_old, marked, open, segments,
};

fn repair_with(
    dir: &Path,
    head: Option<SignedHead>,
    source: &mut dyn EntrySource,
    io: Arc<dyn DiskIo>,
) -> Result<Repaired, CopyError> {
    let key = key();
    let job = Repair {
        dir,
        key: &key,
        from: "the source",
        from_head: head,
        io,
        segment_bytes: SEGMENT_BYTES,
        progress: &|_, _| (),
    };
    job.run(source)
}

fn repair(dir: &Path, from: &Path) -> Result<Repaired, CopyError> {
    let head = read_signed(&Layout::new(from).checkpoint(), &key())?;
    let mut source = JournalSource::new(&Layout::new(from).journal())?;
    repair_with(dir, head, &mut source, Arc::new(RealDisk))
}

fn copy(log: &Path) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_dir(log, dir.path());
    dir
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flip_anywhere_is_mended_and_only_what_was_lost_is_fetched() {
    let good = log_of(60, 7);
    let good_batches = batches(good.path());
    for (number, path) in segments(good.path()).iter().enumerate() {
        let name = path.strip_prefix(good.path()).unwrap();
        for at in (0..fs::metadata(path).unwrap().len()).step_by(19) {
            let dir = copy(good.path());
            flip(&dir.path().join(name), usize::try_from(at).unwrap());
            let done = repair(dir.path(), good.path()).unwrap();
            let counts = done.journal.expect("it was damaged");
            assert_eq!(counts.kept + counts.fetched, 60);
            assert!(counts.fetched <= 7, "segment {number} byte {at}: {counts:?}");
            assert_eq!(done.checkpoint, CheckpointWas::Current);
            assert!(done.kept_as.unwrap().ends_with("journal.damaged-1"));
            if at % 5 == 0 {
                check_served(&open(dir.path()).unwrap(), 60);
            }
            assert_eq!(batches(dir.path()), good_batches, "the same batches in the same segments");
        }
    }
}

#[test]
fn lost_cut_and_foreign_files_are_mended() {
    let good = log_of(60, 7);
    let names: Vec<_> =
        segments(good.path()).iter().map(|path| path.strip_prefix(good.path()).unwrap().to_owned()).collect();
    for name in &names {
        let dir = copy(good.path());
        fs::remove_file(dir.path().join(name)).unwrap();
        repair(dir.path(), good.path()).unwrap();
        check_served(&open(dir.path()).unwrap(), 60);
        fs::write(dir.path().join(name), "noise").unwrap();
        let done = repair(dir.path(), good.path()).unwrap();
        assert!(done.kept_as.unwrap().ends_with("journal.damaged-2"));
        check_served(&open(dir.path()).unwrap(), 60);
    }
    let dir = copy(good.path());
    fs::write(dir.path().join("journal/notes.txt"), "mine").unwrap();
    assert!(open(dir.path()).err().unwrap().to_string().contains("notes.txt"));
    let counts = repair(dir.path(), good.path()).unwrap().journal.unwrap();
    assert_eq!((counts.kept, counts.fetched), (60, 0));
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert_eq!(repair(dir.path(), good.path()).unwrap().journal.unwrap().fetched, 60);
    check_served(&open(dir.path()).unwrap(), 60);
}

#[test]
fn two_damaged_copies_mend_each_other() {
    let good = log_of(60, 7);
    let (a, b) = (copy(good.path()), copy(good.path()));
    flip(&segments(a.path())[0], 200);
    flip(&segments(b.path())[1], 200);
    repair(a.path(), b.path()).unwrap();
    repair(b.path(), a.path()).unwrap();
    check_served(&open(a.path()).unwrap(), 60);
    check_served(&open(b.path()).unwrap(), 60);
}

#[test]
fn a_sound_log_is_left_alone() {
    let good = log_of(60, 7);
    let before = contents(good.path());
    let copy = copy(good.path());
    let done = repair(good.path(), copy.path()).unwrap();
    assert!(done.journal.is_none() && done.kept_as.is_none() && done.checkpoint == CheckpointWas::Current);
    assert_eq!(contents(good.path()), before);
}

#[test]
fn durable_entries_beyond_the_signed_size_are_kept() {
    let dir = log_of(60, 7);
    let good = copy(dir.path());
    append(&mut open(dir.path()).unwrap(), (60..64).map(entry).collect());
    flip(&segments(dir.path())[0], 200);
    let done = repair(dir.path(), good.path()).unwrap();
    assert_eq!((done.size.get(), done.head.head.size.get()), (64, 60));
    check_served(&open(dir.path()).unwrap(), 64);
}

#[test]
fn a_lost_or_older_checkpoint_is_fetched() {
    let good = log_of(60, 7);
    let dir = copy(good.path());
    for lost in [None, Some(b"noise".as_slice())] {
        match lost {
            None => fs::remove_file(dir.path().join("checkpoint")).unwrap(),
            Some(noise) => fs::write(dir.path().join("checkpoint"), noise).unwrap(),
        }
        let done = repair(dir.path(), good.path()).unwrap();
        assert_eq!((done.checkpoint, done.journal), (CheckpointWas::Lost, None));
        check_served(&open(dir.path()).unwrap(), 60);
    }
    // A restored older copy catches up with the published heads.
    let old = log_of(28, 7);
    let done = repair(old.path(), good.path()).unwrap();
    assert_eq!((done.checkpoint, done.head.head.size.get()), (CheckpointWas::Older, 60));
    check_served(&open(old.path()).unwrap(), 60);
    // Neither has an entry.
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    fs::remove_file(good.path().join("checkpoint")).unwrap();
    let refused = repair(dir.path(), good.path()).unwrap_err();
    assert!(matches!(refused, CopyError::Store(StoreError::CheckpointMissing { .. })), "{refused}");
}

/// A source that gives the entries it was told to.
struct Liar<F>(F);

impl<F: FnMut(u64, usize) -> Result<Vec<Vec<u8>>, String>> EntrySource for Liar<F> {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        (self.0)(first, most)
    }
}

#[test]
fn a_source_that_lies_changes_nothing() {
    let dir = log_of(60, 7);
    flip(&segments(dir.path())[1], 150);
    let before = contents(dir.path());
    let from = |first: u64, most: usize| {
        let first = usize::try_from(first).unwrap();
        (first..first + most).map(entry).collect::<Vec<_>>()
    };
    type Lie = Box<dyn FnMut(u64, usize) -> Result<Vec<Vec<u8>>, String>>;
    let lies: [(&str, Lie); 7] = [
        ("too long", Box::new(|_, most| Ok(vec![vec![0; 70_000]; most]))),
        ("wrong bytes", Box::new(|_, most| Ok(vec![b"wrong".to_vec(); most]))),
        (
            "one wrong byte",
            Box::new(move |first, most| {
                let mut entries = from(first, most);
                entries[0][0] ^= 1;
                Ok(entries)
            }),
        ),
        ("shifted", Box::new(move |first, most| Ok(from(first + 1, most)))),
        ("too many", Box::new(move |first, most| Ok(from(first, most + 1)))),
        ("nothing", Box::new(|_, _| Ok(Vec::new()))),
        ("ends", Box::new(|first, _| Err(format!("expected entry {first}, saw none")))),
    ];
    for (what, lie) in lies {
        let refused = repair_with(dir.path(), None, &mut Liar(lie), Arc::new(RealDisk)).unwrap_err();
        assert!(matches!(refused, CopyError::Source { .. }), "{what}: {refused}");
        assert_eq!(contents(dir.path()), before, "{what}");
    }
    repair_with(dir.path(), None, &mut Liar(|first, most| Ok(from(first, most))), Arc::new(RealDisk))
        .unwrap();
    check_served(&open(dir.path()).unwrap(), 60);
}

/// The last batch of another log, which begins with this entry, under a marker that journal headers may have.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "markers are byte strings")]
fn foreign_batch(first: usize, marker: &[u8; 8]) -> Vec<u8> {
    let other = log_of(first + 7, 7);
    let bytes = fs::read(segments(other.path()).pop().unwrap()).unwrap();
    let mut batch = marked(&bytes[last_batch(&bytes)..], marker);
    batch[8..16].copy_from_slice(&(first as u64).to_be_bytes());
    marked(&batch, marker)
}

#[test]
fn a_batch_inside_an_entry_is_not_taken_for_one_of_the_log() {
    // Somebody publishes entries that contain batches as the journal may store them. Then the header of their own
    // batch is damaged, and its content is searched.
    for old in [false, true] {
        for first in [21, 28, 7_000] {
            let dir = log_of(21, 7);
            let inside = foreign_batch(first, OLD_MARKER);
            let mut store = open(dir.path()).unwrap();
            append(&mut store, vec![inside.clone(), foreign_batch(first, &[1; 8])]);
            append(&mut store, (23..40).map(entry).collect());
            crate::home::publish(&mut store);
            let edge = store.edge();
            drop(store);
            if old {
                make_old(dir.path());
            }
            let good = copy(dir.path());
            let holds = |path: &PathBuf| find(&fs::read(path).unwrap(), &inside).is_some();
            let path = segments(dir.path()).into_iter().find(holds).unwrap();
            let inner = find(&fs::read(&path).unwrap(), &inside).unwrap();
            flip(&path, inner - 30);
            // A source that has only the lost entries. In an old journal, another batch with the right root can take
            // the place of the lost ones, so the repair asks the source for all entries.
            let needs_all = old && first == 21;
            let source = |first: u64, most: usize| {
                let all: Vec<Vec<u8>> = batches(good.path()).into_iter().flat_map(|batch| batch.2).collect();
                let first = usize::try_from(first).unwrap();
                if !needs_all && (first < 21 || first + most > 23) {
                    return Err(format!("expected entry {first}, saw none"));
                }
                Ok(all[first..first + most].to_vec())
            };
            let done = repair_with(dir.path(), None, &mut Liar(source), Arc::new(RealDisk));
            let done = done.unwrap_or_else(|e| panic!("old: {old}, first {first}: {e}"));
            assert_eq!(done.size.get(), 40);
            assert_eq!(open(dir.path()).unwrap().edge(), edge);
            assert!(fs::read(&segments(dir.path())[0]).unwrap().starts_with(b"THSEG02\n"));
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn a_torn_last_batch_whose_entries_imitate_heads_keeps_no_log_from_starting() {
    // The power failed during the write of the batch: its header never reached the disk, its entries did.
    let torn = |dir: &Path, marker: &[u8; 8]| {
        let mut store = open(dir).unwrap();
        let imitations = [22, 23, 28, 4_000].map(|first| foreign_batch(first, marker));
        append(&mut store, imitations.to_vec());
        drop(store);
    };
    let tear = |dir: &Path| {
        let path = segments(dir).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let at = if bytes.starts_with(b"THSEG01") {
            bytes.windows(16).rposition(|w| w == [&OLD_MARKER[..], &21_u64.to_be_bytes()].concat()).unwrap()
        } else {
            let marker = bytes[48..56].to_vec();
            bytes.windows(8).rposition(|w| w == marker).unwrap()
        };
        bytes[at..at + 60].fill(0);
        fs::write(&path, bytes).unwrap();
    };
    for marker in [OLD_MARKER, &[1; 8]] {
        let dir = log_of(21, 7);
        torn(dir.path(), marker);
        tear(dir.path());
        check_served(&open(dir.path()).unwrap(), 21);
        let dir = copy(dir.path());
        assert!(repair(dir.path(), log_of(21, 7).path()).unwrap().journal.is_none(), "it is undamaged");
    }
    // An old journal can't tell them from acknowledged batches. A repair can, and takes nothing that was signed from
    // the source.
    let dir = log_of(21, 7);
    torn(dir.path(), OLD_MARKER);
    make_old(dir.path());
    tear(dir.path());
    let refused = open(dir.path()).err().expect("it may have been acknowledged").to_string();
    assert!(refused.contains("repair the log"), "{refused}");
    let mut nothing = Liar(|first: u64, _: usize| Err(format!("expected entry {first}, saw none")));
    repair_with(dir.path(), None, &mut nothing, Arc::new(RealDisk)).unwrap();
    check_served(&open(dir.path()).unwrap(), 21);
}

#[test]
fn two_histories_are_not_mixed() {
    let dir = log_of(60, 7);
    let other = TempDir::new().unwrap();
    let mut store = open(other.path()).unwrap();
    append(&mut store, (0..70).map(|at| format!("other {at}").into_bytes()).collect());
    crate::home::publish(&mut store);
    drop(store);
    let before = contents(dir.path());
    let refused = repair(dir.path(), other.path()).unwrap_err();
    assert!(matches!(refused, CopyError::Fork { .. }), "{refused}");
    assert_eq!(contents(dir.path()), before);
    assert_ne!(head(60), head(61));
}

#[test]
fn a_repair_cut_off_anywhere_is_finished_by_the_next_one() {
    let good = log_of(60, 7);
    for spoil in ["segment", "checkpoint"] {
        for steps in 0.. {
            let dir = copy(good.path());
            flip(&segments(dir.path())[0], 200);
            if spoil == "checkpoint" {
                fs::remove_file(dir.path().join("checkpoint")).unwrap();
            }
            let theirs = read_signed(&Layout::new(good.path()).checkpoint(), &key()).unwrap();
            let mut source = JournalSource::new(&Layout::new(good.path()).journal()).unwrap();
            let cut = repair_with(dir.path(), theirs, &mut source, crash_after(steps));
            // A start meanwhile works, or is refused with what to do.
            let between = copy(dir.path());
            let _ = fs::remove_dir_all(between.path().join("sled"));
            match open(between.path()) {
                Ok(store) => check_served(&store, 60),
                Err(e) => assert!(cut.is_err() && e.to_string().contains("repair the log"), "{e}"),
            }
            for dir in [dir, between] {
                repair(dir.path(), good.path())
                    .unwrap_or_else(|e| panic!("{spoil} after {steps} steps: {e}"));
                check_served(&open(dir.path()).unwrap(), 60);
            }
            if cut.is_ok() {
                assert!(steps > 10, "{steps}");
                break;
            }
        }
    }
}

#[test]
fn a_served_log_is_not_repaired() {
    let (dir, good) = (log_of(14, 7), log_of(14, 7));
    let _store = open(dir.path()).unwrap();
    let refused = repair(dir.path(), good.path()).unwrap_err();
    assert!(matches!(refused, CopyError::Store(StoreError::Disk(DiskError::Locked { .. }))), "{refused}");
}
