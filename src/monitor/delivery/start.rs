//! How a desk begins: from its files, and with its threads.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::book::{self, BOOK, Book};
use super::front::Front;
use super::outbox::{self, OUTBOX, Record, Scan};
use super::positions::{self, POSITIONS, Positions};
use super::settings::DeliverySettings;
use super::state::{Progress, Shared};
use super::worker::Worker;
use super::{DeliveryError, clerk};
use crate::disk::{DiskError, DiskIo, replace};
use crate::monitor::event::{Code, Event};
use crate::release::Timestamp;

/// The book, and whether there was one that is lost: nobody would miss the alerts of a book that is not there.
pub fn open_book(dir: &Path, io: &dyn DiskIo) -> Result<(Book, bool), DeliveryError> {
    if let Some(book) = Book::read(dir)? {
        return Ok((book, false));
    }
    let is_lost = has_worked(dir)?;
    if !is_lost {
        // A crash in here leaves no other file of the desk's: the next start begins the same way.
        replace(io, &dir.join(BOOK), &book::encode(&[]))?;
    }
    Ok((Book::default(), is_lost))
}

/// Whether a desk has worked here, by the files that are made after its book; those of the monitor's logs are in
/// `logs`.
fn has_worked(dir: &Path) -> Result<bool, DiskError> {
    for name in [OUTBOX, POSITIONS] {
        let path = dir.join(name);
        if path.try_exists().map_err(DiskError::io("read", &path))? {
            return Ok(true);
        }
    }
    let path = dir.join("logs");
    let logs = match std::fs::read_dir(&path) {
        Ok(logs) => logs,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(DiskError::io("read", &path)(e)),
    };
    let names: std::io::Result<Vec<_>> = logs.map(|file| file.map(|file| file.path())).collect();
    let names = names.map_err(DiskError::io("read", &path))?;
    Ok(names.iter().any(|name| name.extension().is_some_and(|extension| extension == "json")))
}

/// What is told when the book is lost. Each loss is one of its own, also for who remembers the last one.
pub fn book_is_lost(dir: &Path, now: Timestamp) -> Event {
    let path = dir.join(BOOK);
    let message = format!(
        "{} is missing: which alerts were open before, and which were acknowledged, is not known any more",
        path.display()
    );
    Event::new(Code::AlertsLost, None, &[&now.to_string()], now, message)
}

/// What the files say: records, the number of the next one, and how far each sink is.
pub fn resume(
    dir: &Path,
    settings: &DeliverySettings,
) -> Result<(Vec<Record>, u64, Vec<Progress>), DeliveryError> {
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
