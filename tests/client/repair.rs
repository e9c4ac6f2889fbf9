//! `treehead repair --from URL` with the address of a lying log.

use std::fs;
use std::path::Path;

use treehead::checkpoint::LogSigner;
use treehead::note::NoteSigner;

use crate::common::liar::Liar;
use crate::common::liar::lie::{Lie, Only};
use crate::common::log::numbered;
use crate::treehead;

const ENTRIES: usize = 1_500;

/// A log that lost its journal, and the address of a server with its keys and its entries.
fn lost(dir: &Path) -> Liar {
    let origin = ["--origin", "log.example/lost", "--profile", "opaque"];
    assert_eq!(treehead(&[&["init", dir.to_str().expect("text")], origin.as_slice()].concat()).0, 0);
    let key = |name: &str| {
        let text = fs::read_to_string(dir.join(name)).expect("a key");
        NoteSigner::parse(text.trim_end()).expect("a key")
    };
    let signer = LogSigner::new(key("log.key"), Some(key("log.mldsa.key")));
    Liar::serve_as(signer, Vec::new(), numbered(ENTRIES))
}

#[test]
fn a_journal_comes_back_over_http_and_no_lie_gets_into_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("log");
    let liar = lost(&dir);
    let (dir, url) = (dir.to_str().unwrap(), liar.url());
    let repair = || treehead(&["repair", dir, "--from", &url]);
    for (lie, only) in [
        (Lie::WrongBundle, Only::path("tile/entries/000")),
        (Lie::WrongBundle, Only::path("tile/entries/005")),
        (Lie::TruncatedBundle, Only::path("tile/entries/003")),
        (Lie::ExtraEntry, Only::path("tile/entries/001")),
        (Lie::Html, Only::path("tile/entries/002")),
        (Lie::Status(404), Only::path("tile/entries/004")),
    ] {
        liar.set_only(lie.clone(), only.clone());
        let (exit, said) = repair();
        assert_eq!((exit, said["code"].as_str()), (1, Some("source-refused")), "{lie:?} {only:?}: {said}");
        liar.be_honest();
    }
    // The source served no head that the log signed, so nothing is known.
    for lie in [Lie::WrongSignature, Lie::OtherOrigin, Lie::Html, Lie::Empty] {
        liar.set_only(lie.clone(), Only::path("checkpoint"));
        let (exit, said) = repair();
        assert_eq!((exit, said["code"].as_str()), (3, Some("could-not-tell")), "{lie:?}: {said}");
        liar.be_honest();
    }
    let before = liar.asked().len();
    let (exit, said) = repair();
    assert_eq!((exit, said["entries_fetched"].as_u64()), (0, Some(ENTRIES as u64)), "{said}");
    assert_eq!(liar.asked().len() - before, 7, "a checkpoint and six bundles, each once");
    let (exit, said) = treehead(&["fsck", dir]);
    assert_eq!((exit, said["entries"].as_u64()), (0, Some(ENTRIES as u64)), "{said}");
}
