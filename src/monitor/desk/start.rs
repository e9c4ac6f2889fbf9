//! How a desk begins: from its files, and with its threads.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::front::Front;
use super::outbox::{self, OUTBOX, Record, Scan};
use super::positions::{self, Positions};
use super::settings::DeskSettings;
use super::state::{Progress, Shared};
use super::worker::Worker;
use super::{DeskError, clerk};

/// What the files say: records, the number of the next one, and how far each sink is.
pub fn resume(dir: &Path, settings: &DeskSettings) -> Result<(Vec<Record>, u64, Vec<Progress>), DeskError> {
    let known = positions::read(dir)?;
    let furthest = known.iter().flat_map(Positions::values).max().copied().unwrap_or(0);
    let scan = outbox::read(&dir.join(OUTBOX))?;
    // Without the file, numbers go on where they were at least.
    let Scan { records, next, torn } =
        scan.unwrap_or_else(|| Scan { records: Vec::new(), next: furthest, torn: None });
    if let Some(detail) = torn {
        tracing::warn!(detail, "the end of the outbox is torn, and was never taken: dropping it");
    }
    if furthest > next {
        tracing::warn!(next, furthest, "the outbox is older than positions.json: was a copy put back?");
    }
    let first = records.first().map_or(next, |record| record.number);
    let position = |name: &String| match &known {
        // What is before the first record was delivered before the file was written anew.
        Some(known) => known.get(name).map_or(next, |position| (*position).clamp(first, next)),
        // Where nobody knows, all of it comes again.
        None => first,
    };
    for (name, position) in known.iter().flatten() {
        if !settings.sinks.iter().any(|sink| sink.name == *name) {
            let missed = next.saturating_sub((*position).max(first));
            tracing::warn!(sink = name, missed, "this sink is no longer in the settings: it is forgotten");
        }
    }
    let progress = |name| Progress { position: position(name), ..Progress::default() };
    let sinks = settings.sinks.iter().map(|sink| progress(&sink.name)).collect();
    Ok((records, next, sinks))
}

/// One for each sink, and the clerk.
pub fn start_threads(shared: &Arc<Shared>, front: &Arc<Mutex<Front>>) -> Vec<JoinHandle<()>> {
    let start = |name: String, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name).spawn(work);
        thread.expect("a thread can be started")
    };
    let worker = |place: usize| {
        let worker = Worker::new(shared.clone(), place);
        start(format!("sink-{}", shared.sink(place).name), Box::new(move || worker.run()))
    };
    let mut threads: Vec<JoinHandle<()>> = (0..shared.settings.sinks.len()).map(worker).collect();
    let (of_clerk, front) = (shared.clone(), front.clone());
    threads.push(start("clerk".to_owned(), Box::new(move || clerk::run(&of_clerk, &front))));
    threads
}
