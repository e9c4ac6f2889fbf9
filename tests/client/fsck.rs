//! `treehead fsck URL` of a lying log.

use std::fs;
use std::time::Duration;

use crate::common::liar::Liar;
use crate::common::liar::lie::{Framing, Lie, Only};
use crate::common::log::{log_signer, numbered};
use crate::common::toy_witness::signers;
use crate::treehead;

struct World {
    dir: tempfile::TempDir,
    liar: Liar,
}

impl World {
    fn new() -> Self {
        let liar = Liar::serve_as(log_signer().into(), signers("witness.example/w", 3), numbered(600));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy"), liar.policy()).unwrap();
        Self { dir, liar }
    }

    /// The exit code, and the verdict's code.
    fn fsck(&self) -> (i32, String, String) {
        let policy = self.dir.path().join("policy");
        let (exit, verdict) =
            treehead(&["fsck", &self.liar.url(), "--policy", policy.to_str().expect("a path of text")]);
        let word = |name: &str| verdict[name].as_str().unwrap_or_default().to_owned();
        (exit, word("code"), word("message"))
    }
}

#[test]
fn each_lie_is_found_and_named() {
    let world = World::new();
    assert_eq!(world.fsck(), (0, String::new(), String::new()));
    // A log that is down, busy or empty has not lied. A head without the log's signature is not the log's word.
    // In all these cases, the result is "could not tell".
    for (lie, only, exit, code) in [
        (Lie::WrongTile, Only::path("tile/0/001"), 1, "tile-mismatch"),
        (Lie::WrongTile, Only::path("tile/0/002"), 1, "tile-mismatch"),
        (Lie::WrongTile, Only::path("tile/1/000"), 1, "tile-mismatch"),
        (Lie::WrongBundle, Only::path("tile/entries/000"), 1, "tile-mismatch"),
        (Lie::WrongBundle, Only::path("tile/entries/002"), 1, "tile-mismatch"),
        (Lie::TruncatedTile, Only::path("tile/0/001"), 1, "log-malformed"),
        (Lie::ExtraHash, Only::path("tile/0/001"), 1, "log-malformed"),
        (Lie::TruncatedBundle, Only::path("tile/entries/001"), 1, "log-malformed"),
        (Lie::ExtraEntry, Only::path("tile/entries/001"), 1, "log-malformed"),
        (Lie::Html, Only::path("tile/"), 1, "log-malformed"),
        (Lie::Empty, Only::path("tile/"), 1, "log-malformed"),
        (Lie::Html, Only::path("checkpoint"), 3, "could-not-tell"),
        (Lie::WrongSignature, Only::any(), 3, "could-not-tell"),
        (Lie::OtherOrigin, Only::any(), 3, "could-not-tell"),
        (Lie::NoQuorum, Only::any(), 1, "no-quorum"),
        (Lie::Endless(Framing::Length), Only::path("tile/"), 1, "log-malformed"),
        (Lie::Endless(Framing::Chunked), Only::path("tile/0"), 1, "log-malformed"),
        (Lie::Endless(Framing::Close), Only::path("checkpoint"), 3, "could-not-tell"),
        (Lie::GzipBomb, Only::path("tile/"), 1, "log-malformed"),
        (Lie::HeaderFlood, Only::path("tile/"), 3, "could-not-tell"),
        (Lie::PartialGone(410), Only::any(), 3, "could-not-tell"),
        (Lie::Status(404), Only::path("tile/entries/001"), 3, "could-not-tell"),
        (Lie::Status(500), Only::any(), 3, "could-not-tell"),
        (Lie::Busy(503, 3_600), Only::path("tile/entries"), 3, "could-not-tell"),
        (Lie::Redirect(None), Only::any(), 3, "could-not-tell"),
        (Lie::CloseAtOnce, Only::path("tile/entries/001"), 3, "could-not-tell"),
        (Lie::CloseHalfway, Only::path("tile/entries/001"), 3, "could-not-tell"),
        (Lie::Noise, Only::path("tile/"), 3, "could-not-tell"),
    ] {
        world.liar.set_only(lie.clone(), only.clone());
        let (seen, word, message) = world.fsck();
        assert_eq!((seen, word.as_str()), (exit, code), "{lie:?} {only:?}: {message}");
        world.liar.be_honest();
    }
    assert_eq!(world.fsck().0, 0);
}

#[test]
fn tiles_of_another_branch_do_not_make_the_signed_root() {
    let world = World::new();
    let others: Vec<Vec<u8>> = (0..300_u32).map(|at| format!("other {at}").into_bytes()).collect();
    world.liar.fork("b", 300, &others);
    // All entries and tiles change together: comparing entries with tiles would find nothing.
    world.liar.set_only(Lie::Branch("b"), Only::path("tile/"));
    let (exit, code, message) = world.fsck();
    assert_eq!((exit, code.as_str()), (1, "not-included"), "{message}");
    world.liar.be_honest();
    world.liar.set_only(Lie::Branch("b"), Only::path("tile/entries"));
    assert_eq!(world.fsck().1, "tile-mismatch");
    world.liar.be_honest();
    world.liar.set(Lie::Branch("b"));
    assert_eq!(world.fsck().0, 0, "a branch is sound in itself: that there is another is for others to tell");
}

#[test]
fn a_log_that_is_busy_for_a_moment_is_waited_for() {
    let world = World::new();
    world.liar.set_only(Lie::Busy(429, 1), Only::path("tile/entries").times(2));
    world.liar.set_only(Lie::CloseHalfway, Only::path("tile/entries/001").times(1));
    // Slow: a byte at a time, with a pause after each.
    world.liar.set_only(Lie::Drip(Duration::from_micros(100)), Only::path("checkpoint"));
    assert_eq!(world.fsck(), (0, String::new(), String::new()));
}
