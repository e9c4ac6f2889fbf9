use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, TreeSize};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::proof::fork::ForkEvidence;

fn fork(origin: &str, number: usize) -> ProvenFork {
    let log = NoteSigner::from_seed(KeyName::new(origin).unwrap(), SignatureType::Ed25519, &[1; 32]);
    let head = |root: &str| {
        let size = TreeSize::new(number as u64).unwrap();
        Checkpoint::new(log.public().name().clone(), size, Hash::digest(root.as_bytes())).sign(&log)
    };
    ForkEvidence::same_size(head("one"), head("other")).judge(&[log.public().clone()]).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_fork_is_kept_once_and_never_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let dir = EvidenceDir::new(temp.path().join("state/evidence"));
    assert_eq!(dir.names().unwrap(), Vec::<String>::new());
    let fork = fork("log.example", 7);
    let kept = dir.keep(&fork).unwrap();
    assert_eq!(dir.names().unwrap(), [fork.file_name()]);
    assert_eq!((kept.path.clone(), kept.new), (dir.path().join(fork.file_name()), true));
    assert_eq!(fs::read(&kept.path).unwrap(), fork.to_bytes());
    assert_eq!(names(dir.path()), [fork.file_name()], "nothing unfinished stays");
    fs::write(&kept.path, "somebody's notes").unwrap();
    assert_eq!(dir.keep(&fork).unwrap(), Kept { path: kept.path.clone(), new: false });
    assert_eq!(fs::read(&kept.path).unwrap(), b"somebody's notes");
}

#[test]
fn of_many_that_meet_a_fork_one_writes_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = EvidenceDir::new(temp.path().join("evidence"));
    let (fork, barrier) = (fork("log.example", 7), Barrier::new(8));
    let new = std::thread::scope(|scope| {
        let keep = || {
            barrier.wait();
            dir.keep(&fork).unwrap().new
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(keep)).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!(new, 1);
    assert_eq!(names(dir.path()), [fork.file_name()]);
    assert_eq!(fs::read(dir.path().join(fork.file_name())).unwrap(), fork.to_bytes());
}

#[test]
fn no_log_fills_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let dir = EvidenceDir::new(temp.path());
    for number in 0..MAX_FORKS_OF_A_LOG {
        assert!(dir.keep(&fork("log.example", number)).unwrap().new);
    }
    let error = dir.keep(&fork("log.example", 100)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("16 forks of this log already"), "{error}");
    assert!(!dir.keep(&fork("log.example", 3)).unwrap().new, "what is there is there");
    assert!(dir.keep(&fork("another.example", 3)).unwrap().new, "others have room");
    let has_any_of = |origin| dir.has_any_of(&Origin::new(origin).unwrap());
    assert!(has_any_of("log.example") && has_any_of("another.example") && !has_any_of("third.example"));
    for number in names(temp.path()).len()..MAX_FORKS {
        fs::write(temp.path().join(format!("{number}.tlog-fork")), "").unwrap();
    }
    let error = dir.keep(&fork("third.example", 3)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!(names(temp.path()).len(), MAX_FORKS);
}

#[test]
fn what_a_crash_left_unfinished_is_in_nobody_s_way() {
    let temp = tempfile::tempdir().unwrap();
    for count in 0..2_000 {
        fs::write(temp.path().join(format!("{UNFINISHED}{}-{count}", std::process::id())), "half").unwrap();
    }
    assert!(EvidenceDir::new(temp.path()).keep(&fork("log.example", 1)).unwrap().new);
    let file = temp.path().join("a file");
    fs::write(&file, "").unwrap();
    assert!(EvidenceDir::new(&file).keep(&fork("log.example", 1)).is_err(), "no directory, no evidence");
}

/// Fails at one step; a write is half done.
struct FailingAt {
    step: usize,
    taken: AtomicUsize,
}

impl FailingAt {
    fn step(&self) -> io::Result<()> {
        let is_failing = self.taken.fetch_add(1, Ordering::SeqCst) == self.step;
        if is_failing { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

impl DiskIo for FailingAt {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step().and_then(|()| RealDisk.create(path))
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let step = self.step();
        let written = if step.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        RealDisk.write_at(file, path, written, offset).and(step)
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync_all(file, path))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.link(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync_dir(dir))
    }
}

#[test]
fn a_failed_step_leaves_nothing_half_written_and_the_next_try_keeps_the_fork() {
    // Create, write, fsync, link, and an fsync of the directory and of its parent.
    for step in 0..6 {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("evidence");
        let disk = Arc::new(FailingAt { step, taken: AtomicUsize::new(0) });
        let (dir, fork) = (EvidenceDir::with_io(&path, disk.clone()), fork("log.example", 7));
        assert_eq!(dir.keep(&fork).unwrap_err().raw_os_error(), Some(28), "step {step}");
        let is_linked = step > 3;
        let left = if is_linked { vec![fork.file_name()] } else { Vec::new() };
        assert_eq!(names(&path), left, "step {step}");
        let taken = disk.taken.load(Ordering::SeqCst);
        assert_eq!(dir.keep(&fork).unwrap().new, !is_linked, "step {step}");
        assert!(disk.taken.load(Ordering::SeqCst) >= taken + 2, "the names are synced, step {step}");
        assert_eq!(fs::read(path.join(fork.file_name())).unwrap(), fork.to_bytes(), "step {step}");
        assert_eq!(names(&path), [fork.file_name()], "step {step}");
    }
}
