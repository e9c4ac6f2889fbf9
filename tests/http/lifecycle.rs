//! Concurrent clients and shutdown: the log never loses an accepted entry.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use treehead::disk::DiskError;
use treehead::proof::bundle;
use treehead::server::{OpenError, Profile};
use treehead::store::StoreError;

use crate::common::http::{connect, post, read_reply, request};
use crate::common::log::{Served, eventually, never_publishing, open, quick};

/// The first `size` entries.
fn entries(log: &Served, size: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for first in (0..size).step_by(256) {
        let tile = treehead::merkle::TileId::Entries { index: first / 256 };
        let tile = treehead::merkle::Tile::in_tree(tile, log.head().size).expect("in the tree");
        let bytes = log.get(&format!("/{tile}")).body;
        all.extend(bundle::split(&bytes, 256).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    all
}

#[test]
fn a_hundred_writers_at_once_get_a_hundred_places() {
    let log = Served::opaque();
    let address = log.address;
    let answers: BTreeMap<u64, String> = std::thread::scope(|scope| {
        let write = |at: usize| {
            scope.spawn(move || {
                let entry = format!("writer {at}");
                let reply = post(address, "/add", entry.as_bytes());
                assert_eq!(reply.status, 200, "{reply}");
                (reply.text().parse().unwrap(), entry)
            })
        };
        let writers: Vec<_> = (0..100).map(write).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(answers.keys().copied().collect::<Vec<u64>>(), (0..100).collect::<Vec<u64>>());
    let entries = entries(&log, 100);
    for (index, entry) in answers {
        assert_eq!(entries[usize::try_from(index).unwrap()], entry.as_bytes());
    }
}

#[test]
fn a_hundred_writers_of_one_entry_get_one_place() {
    let log = Served::opaque();
    let address = log.address;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..100).map(|_| scope.spawn(move || post(address, "/add", b"same"))).collect();
        assert!(writers.into_iter().all(|writer| writer.join().unwrap().text() == "0"));
    });
    assert_eq!(log.tree_size(), 1);
}

#[test]
fn stopping_under_load_loses_nothing_that_was_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Served::start(temp.path(), Profile::Opaque, quick());
    let (address, stopped) = (log.address, AtomicBool::new(false));
    let accepted: Vec<(u64, String)> = std::thread::scope(|scope| {
        let stopped = &stopped;
        let write = |writer: usize| {
            scope.spawn(move || {
                let wait = if writer.is_multiple_of(2) { "sequenced" } else { "published" };
                let mut accepted = Vec::new();
                for at in 0.. {
                    let entry = format!("writer {writer} entry {at}");
                    let bytes = request("POST", &format!("/add?wait={wait}"), &[], entry.as_bytes());
                    // The listener is closing: connections fail, or are reset without an answer.
                    let Ok(mut stream) = std::net::TcpStream::connect(address) else { break };
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let _ = stream.write_all(&bytes);
                    let Ok(reply) = read_reply(&mut stream, false) else { break };
                    if reply.status == 200 {
                        accepted.push((reply.text().parse().unwrap(), entry));
                    } else {
                        reply.problem(503, "shutting-down");
                        break;
                    }
                }
                assert!(stopped.load(Ordering::SeqCst), "refused before it was told to stop");
                accepted
            })
        };
        let writers: Vec<_> = (0..8).map(write).collect();
        std::thread::sleep(Duration::from_millis(400));
        stopped.store(true, Ordering::SeqCst);
        log.stop();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert!(accepted.len() > 20, "there was load: {}", accepted.len());
    let log = Served::start(temp.path(), Profile::Opaque, quick());
    let size = log.head().size.get();
    let entries = entries(&log, size);
    for (index, entry) in &accepted {
        assert_eq!(entries[usize::try_from(*index).unwrap()], entry.as_bytes(), "leaf {index} of {size}");
    }
}

#[test]
fn a_request_in_progress_is_answered_before_the_log_stops() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Served::start(temp.path(), Profile::Opaque, quick());
    let mut stream = connect(log.address);
    stream.write_all(&request("POST", "/add", &[("Content-Length", "8")], b"an e")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    log.ask_to_stop();
    eventually("nobody new is let in", || std::net::TcpStream::connect(log.address).is_err());
    stream.write_all(b"ntry").unwrap();
    let reply = read_reply(&mut stream, false).unwrap();
    assert_eq!((reply.status, reply.text()), (200, "0"));
    log.stop();
    assert_eq!(Served::start(temp.path(), Profile::Opaque, quick()).head().size.get(), 1);
}

#[test]
fn what_was_sequenced_is_published_before_the_log_stops() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Served::start(temp.path(), Profile::Opaque, never_publishing());
    assert_eq!(log.post("/add?wait=sequenced", b"an entry").text(), "0");
    assert_eq!(log.head().size.get(), 0);
    log.stop();
    let note = treehead::disk::read_note(&temp.path().join("checkpoint")).unwrap().unwrap();
    let signed = treehead::checkpoint::open(&note, &[crate::common::log::vkey()]).unwrap();
    assert_eq!(signed.get().size.get(), 1);
}

#[test]
fn a_second_server_on_one_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = Served::start(temp.path(), Profile::Opaque, quick());
    let second = open(temp.path(), Profile::Opaque, quick()).err().expect("two writers would fork the log");
    assert!(
        matches!(
            &second,
            OpenError::Start(treehead::sequencer::StartError::Store(StoreError::Disk(
                DiskError::Locked { .. }
            )))
        ),
        "{second}"
    );
    assert_eq!(log.post("/add", b"an entry").text(), "0", "the first goes on");
    log.stop();
    drop(open(temp.path(), Profile::Opaque, quick()).expect("the lock went with its holder"));
}

#[test]
fn a_restarted_log_goes_on_where_it_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for round in 0..4_u8 {
        let mut log = Served::start(temp.path(), Profile::Opaque, quick());
        assert_eq!(log.head().size.get(), u64::from(round) * 2);
        assert_eq!(log.post("/add", &[round, 0]).text(), (round * 2).to_string());
        assert_eq!(log.post("/add", &[round, 1]).text(), (round * 2 + 1).to_string());
        assert_eq!(log.post("/add", &[0, 0]).text(), "0", "duplicates are known after a restart");
        heads.push(log.head());
        log.stop();
    }
    let log = Served::start(temp.path(), Profile::Opaque, quick());
    let leaves: Vec<treehead::merkle::Hash> =
        entries(&log, 8).iter().map(|entry| treehead::merkle::Hash::leaf(entry)).collect();
    for head in heads {
        let size = usize::try_from(head.size.get()).unwrap();
        assert_eq!(crate::common::log::root_of(&leaves[..size]), head.root);
    }
}
