//! Batches of 1,024 entries of 1 KiB, beside the bare PUT of the same objects.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treehead::bucket::{Counts, Headers, Objects as _, Operation};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Options, Outcome, Sequencer, Wait};

use super::common::{entries, median_of, rate};
use super::place::{self, LINGER, Place};
use super::wrapped::{Wrapped, Written};

const BATCH: usize = 1_024;
/// Batches in a round.
const BATCHES: usize = 64;
const ROUNDS: usize = 5;
/// Requests at once, as the store's options have them.
const THREADS: usize = 16;
/// Submissions under way: one is being stored while the next one waits.
const UNDER_WAY: usize = 2;

/// A way to run the log.
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

/// A run: entries a second of the log, and of bare PUTs of what it wrote.
struct Run {
    log: f64,
    /// The batches alone, one after the other.
    bare: f64,
    /// All objects: the batches one after the other, the tiles beside them as many at once as the log writes.
    all: f64,
    /// Entries in a batch object, on average.
    batch: f64,
    /// Heads that were published.
    heads: u64,
}

pub fn run(place: &Place, dir: &Path) {
    println!(
        "\n| batches of 1,024 entries of 1 KiB | entries/s | bare PUT of its batches | ratio | goal | bare PUT of all its objects | ratio |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut runs: [Vec<Run>; WAYS.len()] = Default::default();
    for round in 0..ROUNDS {
        for (way, runs) in WAYS.iter().zip(&mut runs) {
            let name = format!("batches-{round}-{}", runs.len() + 10 * usize::from(way.tiles));
            let cache = dir.join(&name).join(way.name);
            runs.push(once(place, &name, &cache, way));
            place.clear(&name);
        }
    }
    for (way, runs) in WAYS.iter().zip(&runs) {
        let of = |part: fn(&Run) -> f64| median_of(runs.iter().map(part));
        let (least, most) = runs.iter().fold((f64::MAX, 0.0_f64), |(least, most), run| {
            (least.min(run.log / run.bare), most.max(run.log / run.bare))
        });
        println!(
            "| {} ({:.0} in an object, {} heads) | {:.0} | {:.0} | {:.2} ({least:.2} to {most:.2}) | {} | {:.0} | {:.2} |",
            way.name,
            of(|run| run.batch),
            runs[runs.len() / 2].heads,
            of(|run| run.log),
            of(|run| run.bare),
            of(|run| run.log / run.bare),
            way.goal,
            of(|run| run.all),
            of(|run| run.log / run.all)
        );
    }
    println!("(medians of {ROUNDS} rounds of {BATCHES} batches, by turns)");
}

fn once(place: &Place, name: &str, cache: &Path, way: &Way) -> Run {
    let mut objects = Wrapped::new(place.probed(name));
    objects.drops_tiles = !way.tiles;
    objects.kept = Some(Mutex::default());
    let objects = Arc::new(objects);
    let mut options = place::options(way.linger);
    if !way.tiles {
        options = Options { least_interval: Duration::from_secs(3_600), ..options };
    }
    let sequencer = place::open(&objects, cache, &options);
    let (begun, first) = (Instant::now(), sequencer.figures().published);
    let last = if way.tiles { Wait::Published } else { Wait::Sequenced };
    submit(&sequencer, (0..BATCHES).map(|number| entries((number * BATCH) as u64, BATCH)), last);
    let elapsed = begun.elapsed();
    let (written, heads) = (objects.taken(), sequencer.figures().published - first);
    let requests = |operation| objects.requests().of(operation);
    let (create, put) = (requests(Operation::Create), requests(Operation::Put));
    drop(sequencer);
    let bare = bare_put(place, name, &written.batches);
    let all = if way.tiles { bare_put_all(place, name, &written) } else { bare };
    if std::env::var_os("TREEHEAD_BENCH_RUNS").is_some() {
        let each = |count: Counts| count.time / u32::try_from(count.requests.max(1)).expect("few");
        let objects = u32::try_from(written.batches.len()).expect("few");
        println!(
            "    {}: {} batches, {:.1?} each, of which creating {:.1?}; bare {:.1?}; {} other writes, {:.1?} each",
            way.name,
            written.batches.len(),
            elapsed / objects,
            each(create),
            bare / objects,
            put.requests,
            each(put)
        );
    }
    let entries = BATCHES * BATCH;
    let batch = rate(entries, Duration::from_secs(1)) / rate(written.batches.len(), Duration::from_secs(1));
    Run { log: rate(entries, elapsed), bare: rate(entries, bare), all: rate(entries, all), batch, heads }
}

/// Writes all objects under other keys, as fast as the store takes them: the batches as [`bare_put`] does, the tiles
/// beside them.
fn bare_put_all(place: &Place, name: &str, written: &Written) -> Duration {
    let (client, next, begun) = (place.client(name), AtomicUsize::new(0), Instant::now());
    let write_tiles = || {
        while let Some((at, bytes)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, written.tiles.get(at)?)))
        {
            client.put(&format!("bare/tiles/{at}"), bytes, &Headers::default()).expect("it is written");
        }
    };
    std::thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(write_tiles)));
        bare_put(place, name, &written.batches);
    });
    begun.elapsed()
}

/// Writes the same bytes under other keys, one object after the other.
pub fn bare_put(place: &Place, name: &str, objects: &[Vec<u8>]) -> Duration {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let (client, run) = (place.client(name), RUNS.fetch_add(1, Ordering::Relaxed));
    // The connection is there.
    client.put(&format!("bare/{run}/first"), b"first", &Headers::default()).expect("it is written");
    let begun = Instant::now();
    for (at, bytes) in objects.iter().enumerate() {
        client.put(&format!("bare/{run}/{at:020}"), bytes, &Headers::default()).expect("it is written");
    }
    begun.elapsed()
}

/// Submits batches. Entries are made and hashed on this thread, as those of a server are on the threads of its
/// connections. The last one is waited for until it is published.
pub fn submit(sequencer: &Sequencer, batches: impl Iterator<Item = Vec<Vec<u8>>>, last: Wait) {
    let (mut under_way, mut batches) = (VecDeque::new(), batches.peekable());
    while let Some(entries) = batches.next() {
        let candidate = |entry| Candidate::new(entry, Facts::default());
        let candidates: Vec<Candidate> = entries.into_iter().map(candidate).collect();
        if under_way.len() == UNDER_WAY {
            finish(under_way.pop_front());
        }
        let wait = if batches.peek().is_some() { Wait::Sequenced } else { last };
        let outcome = sequencer.submit(candidates, wait);
        under_way.push_back(outcome.unwrap_or_else(|e| panic!("{e}")));
    }
    under_way.into_iter().for_each(|outcome| finish(Some(outcome)));
}

fn finish(outcome: Option<oneshot::Receiver<Outcome>>) {
    let outcome = outcome.expect("something is under way").blocking_recv().expect("an answer");
    assert!(outcome.results.iter().all(|result| result.as_ref().is_ok_and(|entry| !entry.duplicate)));
}
