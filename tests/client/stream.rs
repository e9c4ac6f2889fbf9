//! Entries of a real log arrive in order, for any range and number of workers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use treehead::client::{ClientError, EntryStream, LogClient, StreamOptions};
use treehead::merkle::{Hash, TreeSize};

use crate::common::log::{Served, numbered};

fn size(size: u64) -> TreeSize {
    TreeSize::new(size).unwrap()
}

/// The entries of a range; checks each bundle's own figures.
fn entries(stream: EntryStream, range: Range<u64>) -> Vec<Vec<u8>> {
    let (mut all, mut next) = (Vec::new(), range.start);
    for bundle in stream {
        let bundle = bundle.unwrap();
        assert_eq!((bundle.first.get(), bundle.is_empty()), (next, false));
        assert_eq!((bundle.len(), bundle.entries().len()), (bundle.leaf_hashes.len(), bundle.len()));
        for (entry, leaf) in bundle.entries().zip(&bundle.leaf_hashes) {
            assert_eq!(Hash::leaf(entry), *leaf);
            all.push(entry.to_vec());
        }
        next += bundle.len() as u64;
        assert_eq!(bundle.end().get(), next);
    }
    assert_eq!(next, range.end.max(range.start));
    all
}

#[test]
fn every_range_comes_in_order() {
    let log = Served::opaque();
    let all = numbered(1_100);
    log.add_all(&all);
    let client = LogClient::new(&format!("http://{}", log.address)).unwrap();
    let ends = [0, 1, 2, 255, 256, 257, 511, 512, 513, 700, 1_023, 1_024, 1_025, 1_099, 1_100];
    for (at, start) in ends.into_iter().enumerate() {
        for end in &ends[at..] {
            let options =
                StreamOptions { parallel: 1 + at % 5, packed: at % 2 == 0, ..StreamOptions::default() };
            let stream = EntryStream::new(&client, size(start)..size(*end), &options);
            let expected = &all[usize::try_from(start).unwrap()..usize::try_from(*end).unwrap()];
            assert_eq!(entries(stream, start..*end), expected, "{start}..{end}");
        }
    }
    let reversed = Range { start: size(9), end: size(3) };
    assert!(EntryStream::new(&client, reversed, &StreamOptions::default()).next().is_none());
}

#[test]
fn any_number_of_workers_will_do() {
    let log = Served::opaque();
    let all = numbered(3_000);
    log.add_all(&all);
    let client = LogClient::new(&format!("http://{}", log.address)).unwrap();
    for parallel in [0, 1, 2, 3, 8, 16, 17, usize::MAX] {
        let options = StreamOptions { parallel, ..StreamOptions::default() };
        assert_eq!(entries(EntryStream::new(&client, size(0)..size(3_000), &options), 0..3_000), all);
    }
}

#[test]
fn a_stream_that_is_stopped_says_so_and_ends() {
    let log = Served::opaque();
    log.add_all(&numbered(3_000));
    let client = LogClient::new(&format!("http://{}", log.address)).unwrap();
    let options = StreamOptions { stop: Arc::new(AtomicBool::new(false)), ..StreamOptions::default() };
    let mut stream = EntryStream::new(&client, size(0)..size(3_000), &options);
    assert!(stream.next().unwrap().is_ok());
    options.stop.store(true, Ordering::Relaxed);
    assert!(matches!(stream.next(), Some(Err(ClientError::Stopped))));
    assert!(stream.next().is_none());
}

#[test]
fn a_stream_of_hashes_only_has_the_same_hashes_and_no_entries() {
    let log = Served::opaque();
    // Bundles of a few bytes, and of more than a worker's buffer holds.
    let all: Vec<Vec<u8>> =
        (0..900_u16).map(|n| n.to_be_bytes().repeat(if n < 512 { 1 } else { 4_000 })).collect();
    all.chunks(100).for_each(|some| log.add_all(some));
    let client = LogClient::new(&format!("http://{}", log.address)).unwrap();
    for packed in [false, true] {
        let options = StreamOptions { packed, hashes_only: true, ..StreamOptions::default() };
        let bundles: Vec<_> =
            EntryStream::new(&client, size(3)..size(900), &options).map(Result::unwrap).collect();
        let whole = StreamOptions { packed, ..StreamOptions::default() };
        let whole = EntryStream::new(&client, size(3)..size(900), &whole).map(Result::unwrap);
        for (bundle, whole) in bundles.iter().zip(whole) {
            assert_eq!((bundle.first, &bundle.leaf_hashes), (whole.first, &whole.leaf_hashes));
            assert_eq!((bundle.len(), bundle.end(), bundle.entries().len()), (whole.len(), whole.end(), 0));
        }
        assert_eq!(bundles.last().unwrap().end(), size(900));
    }
}
