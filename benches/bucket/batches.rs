//! Batches of 1,024 entries of 1 KiB, beside the bare PUT of objects of the same lengths.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treehead::bucket::{Headers, Objects as _, Operation, S3};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Options, Outcome, Sequencer, Wait};

use super::common::{entries, entries_of, median_of, rate};
use super::place::{self, LINGER, Place};
use super::wrapped::{Wrapped, Written};

/// Size limit, longer than any object of these logs.
const MAX_OBJECT_BYTES: usize = 5 * 1_024 * 1_024;
const BATCH: usize = 1_024;
/// Number of batches in a turn of the log or of the bare PUT.
const BATCHES: usize = 64;
/// Number of batches before the first turn.
const WARM_UP: usize = 8;
/// Number of turns with one log.
const TURNS: usize = 4;
const LOGS: usize = 3;
/// Concurrent requests, as in the store's options.
const THREADS: usize = 16;
/// Submissions in flight: one is being stored while the next one waits.
const UNDER_WAY: usize = 2;
/// Pause for deletions, with which the store continues after it has answered them.
const SETTLED: Duration = Duration::from_secs(2);

/// A configuration of the log.
struct Way {
    name: &'static str,
    goal: &'static str,
    linger: Duration,
    tiles: bool,
}

const WAYS: [Way; 3] = [
    Way { name: "appended, without tiles and heads", goal: "0.8", linger: Duration::ZERO, tiles: false },
    Way { name: "published, linger 1 s", goal: "0.5", linger: LINGER, tiles: true },
    Way { name: "published, no linger", goal: "", linger: Duration::ZERO, tiles: true },
];

/// A turn: entries per second of the log, and of bare PUTs of objects of the same lengths.
struct Turn {
    log: f64,
    /// Only the batches, one after the other.
    bare: f64,
    /// All objects: the batches one after the other and, in parallel, as many tiles at once as the log writes.
    all: f64,
    /// Mean number of entries in a batch object.
    batch: f64,
    tiles: f64,
    /// Number of published heads.
    heads: f64,
}

pub fn run(place: &Place, dir: &Path) {
    println!(
        "\n| batches of 1,024 entries of 1 KiB | entries/s | bare PUT of its batches | ratio | goal | bare PUT of all its objects | ratio | best ratio possible |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (at, way) in WAYS.iter().enumerate() {
        let logs = (0..LOGS).flat_map(|log| turns(place, &format!("batches-{at}-{log}"), dir, way));
        let turns: Vec<Turn> = logs.collect();
        let of = |part: fn(&Turn) -> f64| median_of(turns.iter().map(part));
        let (least, most) = turns.iter().fold((f64::MAX, 0.0_f64), |(least, most), turn| {
            (least.min(turn.log / turn.bare), most.max(turn.log / turn.bare))
        });
        print!(
            "| {} ({:.0} in an object, {:.0} heads) | {:.0} | {:.0} | {:.2} ({least:.2} to {most:.2}) | {} |",
            way.name,
            of(|turn| turn.batch),
            of(|turn| turn.heads),
            of(|turn| turn.log),
            of(|turn| turn.bare),
            of(|turn| turn.log / turn.bare),
            way.goal,
        );
        if way.tiles {
            println!(
                " {:.0} ({:.0} tiles) | {:.2} | {:.2} |",
                of(|turn| turn.all),
                of(|turn| turn.tiles),
                of(|turn| turn.log / turn.all),
                of(|turn| turn.all / turn.bare),
            );
        } else {
            println!(" | | |");
        }
    }
    println!("(medians of {} turns of {BATCHES} batches)", LOGS * TURNS);
}

/// The log and the bare PUTs take turns, because the other load on the machine and the store varies from second to
/// second.
fn turns(place: &Place, name: &str, dir: &Path, way: &Way) -> Vec<Turn> {
    let mut objects = Wrapped::new(place.probed(name));
    objects.drops_tiles = !way.tiles;
    objects.kept = Some(Mutex::default());
    let objects = Arc::new(objects);
    let mut options = place::options(way.linger);
    if !way.tiles {
        options = Options { least_interval: Duration::from_secs(3_600), ..options };
    }
    let sequencer = place::open_with(&objects, &dir.join(name), &options, |store| {
        // With one thread, the store writes tiles only for heads.
        store.threads = if way.tiles { store.threads } else { 1 };
    });
    let bare = Bare::new(place, name);
    let last = if way.tiles { Wait::Published } else { Wait::Sequenced };
    // Make the entries before the clock starts.
    let batches = |first: usize, count| -> Vec<_> {
        let firsts = (first..first + count).map(|number| (number * BATCH) as u64);
        firsts.map(|first| entries(first, BATCH)).collect()
    };
    submit(&sequencer, batches(0, WARM_UP).into_iter(), last);
    let mut turns = Vec::new();
    for turn in 0..TURNS {
        let (batches, heads) = (batches(WARM_UP + turn * BATCHES, BATCHES), sequencer.figures().published);
        drop(objects.taken());
        let creating = || objects.requests().of(Operation::Create).time;
        let before = creating();
        let begun = Instant::now();
        submit(&sequencer, batches.into_iter(), last);
        let elapsed = begun.elapsed();
        let created = creating().saturating_sub(before);
        let written = objects.taken();
        let of_bare = bare.batches(&written.batches);
        let all = if way.tiles { bare.all(&written) } else { of_bare };
        if std::env::var_os("TREEHEAD_BENCH_RUNS").is_some() {
            let objects = u32::try_from(written.batches.len()).expect("few");
            println!(
                "    {}: {objects} batches, {:.1?} each, of which creating {:.1?}; bare {:.1?}; {} tiles",
                way.name,
                elapsed / objects,
                created / objects,
                of_bare / objects,
                written.tiles.len(),
            );
        }
        let each = |time| rate(BATCHES * BATCH, time);
        let count = |objects: usize| rate(objects, Duration::from_secs(1));
        turns.push(Turn {
            log: each(elapsed),
            bare: each(of_bare),
            all: each(all),
            batch: count(BATCHES * BATCH) / count(written.batches.len()),
            tiles: count(written.tiles.len()),
            heads: (sequencer.figures().published - heads) as f64,
        });
    }
    drop(sequencer);
    place.clear(name);
    std::thread::sleep(SETTLED);
    turns
}

/// Writes objects of given lengths without pauses. Each has different bytes, from memory that was not read recently.
pub struct Bare {
    client: S3,
    bytes: Vec<u8>,
    next: AtomicUsize,
}

impl Bare {
    pub fn new(place: &Place, name: &str) -> Self {
        // Enough memory for some objects of the largest length.
        let bytes = entries_of(4 * MAX_OBJECT_BYTES, 0, 1).remove(0);
        Self { client: place.client(name), bytes, next: AtomicUsize::new(0) }
    }

    fn put(&self, length: usize) {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let from = at * MAX_OBJECT_BYTES / 8 % (self.bytes.len() - length);
        let bytes = &self.bytes[from..from + length];
        let immutable = Some("public, max-age=31536000, immutable");
        let headers = Headers { cache_control: immutable, ..Headers::default() };
        self.client.put(&format!("bare/{at:020}"), bytes, &headers).expect("it is written");
    }

    /// Writes one object after the other.
    pub fn batches(&self, lengths: &[usize]) -> Duration {
        // Open the connection before the clock starts.
        self.put(1);
        let begun = Instant::now();
        lengths.iter().for_each(|length| self.put(*length));
        begun.elapsed()
    }

    /// Writes all objects as fast as the store accepts them: the batches one after the other, the tiles in parallel.
    fn all(&self, written: &Written) -> Duration {
        let (next, begun) = (AtomicUsize::new(0), Instant::now());
        let take = || written.tiles.get(next.fetch_add(1, Ordering::Relaxed));
        std::thread::scope(|scope| {
            let write_tiles = || std::iter::from_fn(take).for_each(|length| self.put(*length));
            (0..THREADS).for_each(|_| drop(scope.spawn(write_tiles)));
            written.batches.iter().for_each(|length| self.put(*length));
        });
        begun.elapsed()
    }
}

/// Submits batches. Hashes the entries on a separate thread, as a server does on its connections' threads. `last` says
/// what the last batch waits for.
pub fn submit(
    sequencer: &Sequencer,
    batches: impl ExactSizeIterator<Item = Vec<Vec<u8>>> + Send,
    last: Wait,
) {
    let (count, (sender, hashed)) = (batches.len(), sync_channel(UNDER_WAY));
    let candidate = |entry| Candidate::new(entry, Facts::default());
    let mut under_way = VecDeque::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for entries in batches {
                sender.send(entries.into_iter().map(candidate).collect()).expect("it is awaited");
            }
        });
        for (at, candidates) in hashed.into_iter().enumerate() {
            if under_way.len() == UNDER_WAY {
                finish(under_way.pop_front());
            }
            let wait = if at + 1 < count { Wait::Sequenced } else { last };
            let outcome = sequencer.submit(candidates, wait);
            under_way.push_back(outcome.unwrap_or_else(|e| panic!("{e}")));
        }
        under_way.into_iter().for_each(|outcome| finish(Some(outcome)));
    });
}

fn finish(outcome: Option<oneshot::Receiver<Outcome>>) {
    let outcome = outcome.expect("something is under way").blocking_recv().expect("an answer");
    assert!(outcome.results.iter().all(|result| result.as_ref().is_ok_and(|entry| !entry.duplicate)));
}
