//! Each lie of a log has its own code, costs little, and blocks nobody.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::policy::{Policy, QuorumError};
use treehead::client::{ClientError, EntryStream, LogClient, StreamOptions};
use treehead::merkle::{Hash, RightEdge, Tile, TileReader as _, TreeSize, prove_inclusion};

use crate::common::liar::Liar;
use crate::common::liar::branch::now;
use crate::common::liar::lie::{Framing, Lie, Only};
use crate::common::log::{eventually, leaf_hashes, log_signer, numbered};
use crate::common::toy_witness::signers;

const ENTRIES: usize = 1_100;

/// Retries quickly: the log is a thread of this process.
fn client(url: &str) -> LogClient {
    LogClient::builder().tries(3).pause(Duration::from_millis(5)).build(url).unwrap()
}

/// Has a short time limit as well.
fn hasty(url: &str) -> LogClient {
    let builder = LogClient::builder().timeout(Duration::from_millis(1_500)).tries(3);
    builder.pause(Duration::from_millis(5)).build(url).unwrap()
}

/// A client that detects a lie within seconds, but tolerates a slow machine.
fn client_for(lie: &Lie, url: &str) -> LogClient {
    if matches!(lie, Lie::Drip(_)) { hasty(url) } else { client(url) }
}

fn size(size: usize) -> TreeSize {
    TreeSize::new(size as u64).unwrap()
}

fn stream(client: &LogClient, entries: usize) -> Result<Vec<Hash>, ClientError> {
    let mut hashes = Vec::new();
    for bundle in EntryStream::new(client, size(0)..size(entries), &StreamOptions::default()) {
        hashes.extend(bundle?.leaf_hashes);
    }
    Ok(hashes)
}

/// Faults of the connection or the headers, and their codes.
fn on_the_wire() -> Vec<(Lie, &'static str)> {
    vec![
        (Lie::Endless(Framing::Length), "too-large"),
        (Lie::Endless(Framing::Chunked), "too-large"),
        (Lie::Endless(Framing::Close), "too-large"),
        (Lie::GzipBomb, "too-large"),
        (Lie::HeaderFlood, "garbled"),
        (Lie::Drip(Duration::from_millis(200)), "timeout"),
        (Lie::Status(500), "server-error"),
        (Lie::Status(502), "server-error"),
        (Lie::Status(404), "not-found"),
        (Lie::Status(410), "not-found"),
        (Lie::Status(403), "refused"),
        (Lie::Status(429), "busy"),
        (Lie::Busy(429, 0), "busy"),
        (Lie::Busy(503, 3_600), "busy"),
        (Lie::Redirect(None), "redirect"),
        (Lie::Redirect(Some("http://127.0.0.1:1/".to_owned())), "redirect"),
        (Lie::CloseAtOnce, "closed"),
        (Lie::CloseHalfway, "closed"),
        (Lie::Noise, "garbled"),
    ]
}

#[test]
fn each_lie_about_entries_has_its_word() {
    let entries = numbered(ENTRIES);
    let liar = Liar::serve(entries.clone());
    let client = client(&liar.url());
    assert_eq!(stream(&client, ENTRIES).unwrap(), leaf_hashes(&entries));
    assert!(liar.most_requests() <= 4 && liar.most_connections() <= 4);
    let lies = [
        (Lie::TruncatedBundle, "truncated-bundle"),
        (Lie::ExtraEntry, "oversized-bundle"),
        (Lie::Html, "truncated-bundle"),
        (Lie::Empty, "truncated-bundle"),
        (Lie::PartialGone(404), "not-found"),
        (Lie::PartialGone(410), "not-found"),
    ];
    for (lie, code) in lies.into_iter().chain(on_the_wire()) {
        liar.set(lie.clone());
        let error = stream(&client_for(&lie, &liar.url()), ENTRIES).unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        assert!(error.to_string().contains(&liar.url()), "{error}");
        liar.be_honest();
        eventually("all have hung up", || liar.requests() == 0);
    }
    assert_eq!(stream(&client, ENTRIES).unwrap(), leaf_hashes(&entries));
}

#[test]
fn what_comes_before_a_lie_is_handed_out() {
    let entries = numbered(ENTRIES);
    let liar = Liar::serve(entries.clone());
    for (bundle, before) in [("tile/entries/000", 0), ("tile/entries/002", 512), ("tile/entries/004", 1_024)]
    {
        liar.set_only(Lie::TruncatedBundle, Only::path(bundle));
        let client = client(&liar.url());
        let mut stream = EntryStream::new(&client, size(0)..size(ENTRIES), &StreamOptions::default());
        let good: Vec<Hash> =
            stream.by_ref().map_while(Result::ok).flat_map(|bundle| bundle.leaf_hashes).collect();
        assert_eq!(good, leaf_hashes(&entries[..before]), "{bundle}");
        assert!(stream.next().is_none(), "an error is the last item");
        liar.be_honest();
    }
}

#[test]
fn what_passes_is_tried_again() {
    let entries = numbered(ENTRIES);
    let liar = Liar::serve(entries.clone());
    let lies = [Lie::Busy(429, 0), Lie::Status(503), Lie::Status(504), Lie::CloseAtOnce, Lie::CloseHalfway];
    for lie in lies.into_iter().chain([Lie::Drip(Duration::from_secs(1))]) {
        // Each request is for a missing bundle, so no bundle is asked for three times in a row.
        liar.set_only(lie.clone(), Only::any().times(2));
        let client = client_for(&lie, &liar.url());
        assert_eq!(stream(&client, ENTRIES).unwrap(), leaf_hashes(&entries), "{lie:?}");
        liar.be_honest();
    }
}

#[test]
fn a_pause_that_the_log_asks_for_is_kept() {
    let liar = Liar::serve(numbered(ENTRIES));
    liar.set_only(Lie::Busy(429, 1), Only::any().times(4));
    // On a busy machine, one worker may get all four refusals.
    let patient = LogClient::builder().tries(5).pause(Duration::from_millis(5)).build(&liar.url()).unwrap();
    stream(&patient, ENTRIES).unwrap();
    let asked = liar.asked();
    let soon = asked.iter().filter(|other| other.at - asked[0].at < Duration::from_secs(1)).count();
    assert!(soon <= 4, "each of four workers was told once, and {soon} asked within the second");
    // The pause is longer than the client's patience: it does not retry.
    let before = liar.asked().len();
    liar.set(Lie::Busy(503, 31));
    assert_eq!(stream(&client(&liar.url()), ENTRIES).unwrap_err().code(), "busy");
    assert!(liar.asked().len() - before <= 4);
}

#[test]
fn whoever_waits_for_a_busy_log_can_be_stopped() {
    let liar = Liar::serve(numbered(ENTRIES));
    liar.set(Lie::Busy(503, 30));
    let client = client(&liar.url());
    let options = StreamOptions::default();
    let mut stream = EntryStream::new(&client, size(0)..size(ENTRIES), &options);
    eventually("it was told to wait", || !liar.asked().is_empty() && liar.requests() == 0);
    options.stop.store(true, Ordering::Relaxed);
    // A retry would have reported the log's refusal instead.
    assert!(matches!(stream.next(), Some(Err(ClientError::Stopped))));
    assert!(stream.next().is_none() && liar.asked().len() <= 4);
}

#[test]
fn nobody_goes_where_a_log_sends_them() {
    let (liar, other) = (Liar::serve(numbered(ENTRIES)), Liar::serve(numbered(ENTRIES)));
    for to in [None, Some(other.url()), Some(format!("{}/tile/entries/000", other.url()))] {
        liar.set(Lie::Redirect(to));
        assert_eq!(stream(&client(&liar.url()), ENTRIES).unwrap_err().code(), "redirect");
        liar.be_honest();
    }
    assert!(other.asked().is_empty());
    assert!(liar.counts().values().all(|count| *count <= 3), "each once for each redirect");
}

#[test]
fn a_full_bundle_does_for_a_partial_one_that_was_dropped() {
    let entries = numbered(ENTRIES);
    let liar = Liar::serve(entries.clone());
    for gone in [404, 410] {
        liar.set(Lie::PartialGone(gone));
        // The head has 600 entries; the tree has grown, so the bundle is full by now.
        assert_eq!(stream(&client(&liar.url()), 600).unwrap(), leaf_hashes(&entries[..600]));
        let tile = Tile::parse("tile/0/002.p/88").unwrap();
        let client = client(&liar.url());
        let hashes = client.read_tiles(&[tile]).unwrap().remove(0);
        assert_eq!(hashes, leaf_hashes(&entries[512..600]));
        liar.be_honest();
    }
    // A client that knows the larger tree asks for the full bundle at once.
    let options = StreamOptions { tree: size(ENTRIES), ..StreamOptions::default() };
    let client = client(&liar.url());
    let before = liar.asked().len();
    assert_eq!(EntryStream::new(&client, size(513)..size(600), &options).count(), 1);
    assert_eq!(
        liar.asked()[before..].iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(),
        ["tile/entries/002"]
    );
}

#[test]
fn bundles_of_many_megabytes_come_through_one_after_the_other() {
    let entries: Vec<Vec<u8>> = (0..1_300_u32).map(|at| vec![at.to_le_bytes()[0]; 60_000]).collect();
    let liar = Liar::serve(entries.clone());
    let client = LogClient::new(&liar.url()).unwrap();
    for lie in [None, Some(Lie::Chunked)] {
        lie.into_iter().for_each(|lie| liar.set(lie));
        assert_eq!(stream(&client, entries.len()).unwrap(), leaf_hashes(&entries));
    }
}

#[test]
fn dropping_a_stream_ends_its_workers() {
    let liar = Liar::serve(numbered(3_000));
    let client = hasty(&liar.url());
    let options = StreamOptions { parallel: 3, ..StreamOptions::default() };
    liar.set(Lie::Drip(Duration::from_millis(100)));
    let stream = EntryStream::new(&client, size(0)..size(3_000), &options);
    eventually("all workers ask", || liar.requests() == 3);
    drop(stream);
    eventually("nobody asks any more", || liar.requests() == 0);
    let asked = liar.asked().len();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(liar.asked().len(), asked);
}

#[test]
fn each_lie_about_heads_has_its_word() {
    let liar = Liar::serve(numbered(ENTRIES));
    let client = client(&liar.url());
    let lies = [
        (Lie::WrongSignature, "checkpoint-signature"),
        (Lie::OtherOrigin, "unknown-log"),
        (Lie::Html, "not-a-checkpoint"),
        (Lie::Empty, "not-a-checkpoint"),
    ];
    for (lie, code) in lies.into_iter().chain(on_the_wire()) {
        liar.set(lie.clone());
        let error = client_for(&lie, &liar.url()).checkpoint(&liar.keys()).unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        liar.be_honest();
    }
    let head = client.checkpoint(&liar.keys()).unwrap();
    assert_eq!(*head.get(), liar.branch("").head_at(ENTRIES, &log_signer().into()));
    liar.set(Lie::Shrunk(7));
    assert_eq!(client.checkpoint(&liar.keys()).unwrap().get().size, size(7));
}

#[test]
fn each_lie_about_tiles_has_its_word() {
    let entries = numbered(ENTRIES);
    let liar = Liar::serve(entries.clone());
    let root = liar.branch("").head_at(ENTRIES, &log_signer().into()).root;
    let leaf = Hash::leaf(&entries[3]);
    let index = size(3).next_index();
    let prove = |client: &LogClient| {
        prove_inclusion(client, index, &leaf, size(ENTRIES), &root)
            .and_then(|proof| proof.map_err(ClientError::from))
    };
    prove(&client(&liar.url())).unwrap();
    let lies = [
        (Lie::WrongTile, "wrong-tile"),
        (Lie::TruncatedTile, "truncated-tile"),
        (Lie::ExtraHash, "oversized-tile"),
        (Lie::Html, "truncated-tile"),
        (Lie::Empty, "truncated-tile"),
    ];
    for (lie, code) in lies.into_iter().chain(on_the_wire()) {
        liar.set(lie.clone());
        let error = prove(&client_for(&lie, &liar.url())).unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        liar.be_honest();
    }
}

fn root(hashes: &[Hash]) -> Hash {
    RightEdge::default().grow(hashes).edge.root()
}

#[test]
fn an_entry_that_was_changed_makes_another_root() {
    let liar = Liar::serve(numbered(ENTRIES));
    let client = client(&liar.url());
    let honest = liar.branch("").head_at(ENTRIES, &log_signer().into()).root;
    assert_eq!(root(&stream(&client, ENTRIES).unwrap()), honest);
    liar.set_only(Lie::WrongBundle, Only::path("tile/entries/003"));
    let seen = root(&stream(&client, ENTRIES).unwrap());
    assert_ne!(seen, honest);
    let error = ClientError::Entries { size: size(ENTRIES), expected: honest, seen };
    assert_eq!(error.code(), "wrong-bundle");
}

#[test]
fn two_views_of_one_log_are_each_consistent() {
    let liar = Liar::serve(numbered(ENTRIES));
    let others: Vec<Vec<u8>> = (0..500_u32).map(|at| format!("other {at}").into_bytes()).collect();
    liar.fork("a", 700, &others);
    liar.fork("b", 300, &others);
    let head_of = |url: &str| -> (Checkpoint, Hash) {
        let client = client(url);
        let head = client.checkpoint(&liar.keys()).unwrap().get().clone();
        let entries = usize::try_from(head.size.get()).unwrap();
        let seen = root(&stream(&client, entries).unwrap());
        (head, seen)
    };
    let mut roots = Vec::new();
    for (url, entries) in [(liar.url(), ENTRIES), (liar.url_of("a"), 1_200), (liar.url_of("b"), 800)] {
        let (head, seen) = head_of(&url);
        assert_eq!((head.size, head.root), (size(entries), seen), "{url}");
        roots.push(seen);
    }
    liar.append("b", &[b"one more".to_vec()]);
    assert_eq!(head_of(&liar.url_of("b")).0.size, size(801));
    // One address may change its answers.
    liar.set(Lie::Branch("a"));
    assert_eq!(head_of(&liar.url()).1, roots[1]);
    liar.be_honest();
    assert_eq!(head_of(&liar.url()).1, roots[0]);
}

#[test]
fn cosignatures_are_there_unless_they_are_left_out() {
    let liar = Liar::serve_as(log_signer().into(), signers("witness.example/w", 3), numbered(3));
    let policy = Policy::parse(liar.policy().as_bytes()).unwrap();
    let client = client(&liar.url());
    let cosigned_at = || {
        let signed = client.checkpoint(&policy.log_keys()).unwrap();
        policy.check(&signed).map(|cosigned| cosigned.times().collect::<Vec<u64>>())
    };
    let times = cosigned_at().unwrap();
    assert!(times.len() == 2 && times.iter().all(|time| *time <= now()), "{times:?}");
    liar.set(Lie::Stale(1_000));
    assert_eq!(cosigned_at().unwrap(), [1_000, 1_000]);
    liar.be_honest();
    liar.set(Lie::NoQuorum);
    assert!(matches!(cosigned_at(), Err(QuorumError::NotReached { .. })));
}

#[test]
fn whoever_waits_is_told_of_each_pause_and_why() {
    static TOLD: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());
    let liar = Liar::serve(numbered(10));
    liar.set_only(Lie::Busy(503, 1), Only::any().times(2));
    let builder = LogClient::builder().pause(Duration::from_millis(5));
    let told = builder.on_pause(|error, pause| TOLD.lock().unwrap().push((error.to_string(), pause)));
    told.build(&liar.url()).unwrap().checkpoint(&liar.keys()).unwrap();
    let told = TOLD.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    for (why, pause) in told.iter() {
        assert!(why.contains("answered 503") && *pause >= Duration::from_secs(1), "{told:?}");
    }
}
