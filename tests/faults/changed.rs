//! Files of a running log that somebody else changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use treehead::server::Profile;

use crate::common::log::{Served, batch, numbered, quick};
use crate::common::metrics::Samples;

const BATCH_HEAD_BYTES: usize = 60;

fn last_segment(dir: &Path) -> PathBuf {
    let mut all: Vec<PathBuf> =
        fs::read_dir(dir.join("journal")).unwrap().map(|item| item.unwrap().path()).collect();
    all.sort();
    all.pop().expect("a segment")
}

/// The log takes nothing more, and says so to whoever asks; what is sound of it is still read.
fn is_stopped(log: &Served) {
    for at in 0..3 {
        let reply = log.post("/add", format!("later {at}").as_bytes());
        assert_eq!(reply.header("retry-after"), None, "waiting does not help");
        let detail = reply.problem(503, "journal-damaged");
        assert!(detail.contains("repair the log from a backup, an export or a mirror"), "{detail}");
        let entries = ["later", "still later"].map(|entry| format!("{entry} {at}"));
        log.post("/add-batch", &batch(&entries)).problem(503, "journal-damaged");
        let health = log.get("/healthz");
        assert_eq!(health.status, 503);
        let health = String::from_utf8(health.body).unwrap();
        assert!(health.contains("damaged") && health.contains("repair the log from"), "{health}");
        let samples = Samples::of(&log.get("/metrics"));
        assert_eq!(samples.not_zero("treehead_log_fault", "kind"), [("damage", 1)]);
    }
    assert_eq!(log.get("/tile/0/000").status, 200);
    assert_eq!(log.head().size.get(), 600, "no head follows");
}

#[test]
fn a_log_whose_journal_is_cut_while_it_runs_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = Served::start(dir.path(), Profile::Opaque, quick());
    log.add_all(&numbered(600));
    let path = last_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(whole.len() as u64 - 5).unwrap();
    is_stopped(&log);
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        whole.len() as u64 - 5,
        "the log does not extend the file"
    );
    // Once it is what it was, a new start is enough.
    fs::write(&path, whole).unwrap();
    is_stopped(&log);
    let again = tempfile::tempdir().unwrap();
    fs::create_dir(again.path().join("journal")).unwrap();
    let name = path.strip_prefix(dir.path()).unwrap();
    for name in [name, Path::new("checkpoint")] {
        fs::copy(dir.path().join(name), again.path().join(name)).unwrap();
    }
    let log = Served::start(again.path(), Profile::Opaque, quick());
    assert_eq!(log.get("/healthz").status, 200);
    assert_eq!(log.post("/add", b"goes on").status, 200);
}

#[test]
fn a_log_that_read_a_flipped_entry_takes_nothing_more() {
    let log = Served::opaque();
    log.add_all(&numbered(600));
    let path = last_segment(&log.dir);
    let mut bytes = fs::read(&path).unwrap();
    bytes[60 + BATCH_HEAD_BYTES + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(log.get("/tile/0/000").status, 200);
    log.get("/tile/entries/000").problem(503, "journal-damaged");
    let health = log.get("/healthz");
    assert_eq!(health.status, 503, "it is told at once, before anybody appends: {health}");
    is_stopped(&log);
}

#[test]
fn what_is_asked_beyond_the_tree_is_no_damage() {
    let log = Served::opaque();
    log.add_all(&numbered(300));
    for path in ["/tile/entries/001.p/45", "/tile/entries/002", "/tile/entries/x999/999.p/7", "/tile/0/002"] {
        assert_eq!(log.get(path).status, 404, "{path}");
    }
    assert_eq!(log.get("/healthz").status, 200);
    assert_eq!(log.post("/add", b"the next one").status, 200);
}
