//! Single appends by 256 writers, each of which sends its next entry when the last one is answered.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use treehead::load::Histogram;
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Sequencer, Wait};

use super::batches::Bare;
use super::common::{entries, rate};
use super::place::{self, LINGER, Place};
use super::wrapped::Wrapped;

const WRITERS: usize = 256;
const DURATION: Duration = Duration::from_secs(5);
/// Most objects that the bare PUT repeats.
const REPEATED: usize = 100;
const FAR: Duration = Duration::from_millis(30);

/// The answers to a closed loop of writers.
#[derive(Default)]
struct Answers {
    latency: Histogram,
    elapsed: Duration,
}

pub fn run(place: &Place, dir: &Path) {
    println!(
        "\n| {WRITERS} writers of single entries | entries/s | p50, p99 | entries in a batch | bare PUT of the same objects, entries/s |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (added, delay) in [("", Duration::ZERO), (", 30 ms added to each request", FAR)] {
        for (linger_name, linger) in [("linger 1 s", LINGER), ("no linger", Duration::ZERO)] {
            for (wait_name, wait) in [("durable", Wait::Sequenced), ("published", Wait::Published)] {
                let name = format!("singles-{}-{}-{wait_name}", delay.as_millis(), linger.as_millis());
                let mut objects = Wrapped::new(place.probed(&name));
                (objects.delay, objects.kept) = (delay, Some(Mutex::default()));
                let objects = Arc::new(objects);
                let sequencer = place::open(&objects, &dir.join(&name), &place::options(linger));
                let answers = closed_loop(&sequencer, wait);
                let batches = objects.taken().batches;
                drop(sequencer);
                let count = usize::try_from(answers.latency.count()).expect("a small number");
                let each = rate(count, Duration::from_secs(1)) / rate(batches.len(), Duration::from_secs(1));
                let some = &batches[..batches.len().min(REPEATED)];
                let bare =
                    Bare::new(place, &name).batches(some) + delay * u32::try_from(some.len()).expect("few");
                let bare = each * rate(some.len(), bare);
                let latency = answers.latency.latencies();
                println!(
                    "| {wait_name}, {linger_name}{added} | {:.0} | {:.0?}, {:.0?} | {each:.0} | {bare:.0} |",
                    rate(count, answers.elapsed),
                    latency.p50,
                    latency.p99,
                );
                place.clear(&name);
            }
        }
    }
}

/// The writers of a closed loop, all on one thread.
struct Writers<'a> {
    sequencer: &'a Sequencer,
    wait: Wait,
    begun: Instant,
    next: Cell<u64>,
    latency: RefCell<Histogram>,
}

impl Writers<'_> {
    async fn write(&self) {
        while self.begun.elapsed() < DURATION {
            let number = self.next.replace(self.next.get() + 1);
            let entry = entries(number, 1).remove(0);
            let sent = Instant::now();
            let outcome = self.sequencer.submit(vec![Candidate::new(entry, Facts::default())], self.wait);
            let outcome = outcome.unwrap_or_else(|e| panic!("{e}")).await.expect("an answer");
            assert!(outcome.results[0].is_ok(), "{:?}", outcome.results[0]);
            self.latency.borrow_mut().record(sent.elapsed());
        }
    }
}

fn closed_loop(sequencer: &Sequencer, wait: Wait) -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (begun, next) = (Instant::now(), Cell::new(0));
    let writers = Writers { sequencer, wait, begun, next, latency: RefCell::default() };
    runtime.block_on(async {
        let mut all: Vec<_> = (0..WRITERS).map(|_| Box::pin(writers.write())).collect();
        // Poll all writers whenever one is woken: a thread for each would cost more.
        std::future::poll_fn(|context| {
            all.retain_mut(|writer| writer.as_mut().poll(context).is_pending());
            if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
    Answers { latency: writers.latency.into_inner(), elapsed: begun.elapsed() }
}
