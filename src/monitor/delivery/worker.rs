//! The threads of a delivery: one for each sink, and one that saves their positions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::dispatch::Dispatch;
use super::outbox::Record;
use super::sink::{NotDelivered, Notification};
use crate::client::Backoff;
use crate::release::format_time;

pub fn start(dispatch: &Arc<Dispatch>) -> Vec<JoinHandle<()>> {
    let start = |name: String, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name).spawn(work).expect("a thread can be started")
    };
    let worker = |place: usize| {
        let worker = Worker { dispatch: dispatch.clone(), place };
        start(format!("sink-{}", dispatch.sink(place).name), Box::new(move || worker.run()))
    };
    let mut threads: Vec<JoinHandle<()>> = (0..dispatch.settings.sinks.len()).map(worker).collect();
    let saver = dispatch.clone();
    threads.push(start("positions".to_owned(), Box::new(move || save_positions(&saver))));
    threads
}

/// Saves the positions whenever a sink has come further, with a pause between two writes: after a crash, a sink
/// that takes hundreds of events a second gets a few more of them again.
fn save_positions(dispatch: &Dispatch) {
    while dispatch.wait_for_progress() {
        // A failure is logged there, and the next turn tries again.
        let _ = dispatch.save_positions();
        if !dispatch.rest(dispatch.settings.save_interval) {
            break;
        }
    }
}

/// Sends events to one sink, one after the other, each until it is delivered.
struct Worker {
    dispatch: Arc<Dispatch>,
    place: usize,
}

impl Worker {
    fn run(self) {
        let settings = &self.dispatch.settings;
        let mut backoff = Backoff::new(settings.first_pause, settings.longest_pause);
        while let Some(record) = self.dispatch.next_for(self.place) {
            match self.send(&record) {
                Ok(()) => {
                    backoff.reset();
                    self.delivered(&record);
                }
                Err(failure) => {
                    let pause = backoff.pause().max(failure.retry_after.unwrap_or_default());
                    self.failed(&record, &failure, pause);
                    if !self.dispatch.rest(pause) {
                        return;
                    }
                }
            }
        }
    }

    fn send(&self, record: &Record) -> Result<(), NotDelivered> {
        let Record { key, line, .. } = record;
        let notification = Notification { key, line, now: self.dispatch.now(), stop: &self.dispatch.stop };
        let sink = &self.dispatch.sink(self.place).sink;
        let sent = catch_unwind(AssertUnwindSafe(|| sink.send(&notification)));
        sent.unwrap_or_else(|_| {
            Err(NotDelivered::because("panicked", "the sink panicked: this is a bug of treehead"))
        })
    }

    fn delivered(&self, record: &Record) {
        let mut state = self.dispatch.lock();
        let progress = &mut state.sinks[self.place];
        progress.delivered += 1;
        progress.fault_code = None;
        if progress.fault.take().is_some() {
            tracing::info!(sink = self.dispatch.sink(self.place).name, "a sink takes events again");
        }
        // A crash before this is durable has the sink get the event again.
        self.dispatch.advance(&mut state, self.place, record.number + 1);
    }

    fn failed(&self, record: &Record, failure: &NotDelivered, pause: Duration) {
        let now = self.dispatch.now();
        let mut state = self.dispatch.lock();
        let progress = &mut state.sinks[self.place];
        progress.failures += 1;
        progress.next_try = Instant::now().checked_add(pause);
        let (sink, since) =
            (&self.dispatch.sink(self.place).name, *progress.failing_since.get_or_insert(now));
        let mut why = failure.why.clone();
        if failure.refused {
            why += &format!(
                "; the receiver refuses this event since {}, and later ones wait behind it: mend the receiver or the template, or drop what waits by giving {sink} another name",
                format_time(since)
            );
        }
        // The same failure, tried again and again, is one line in the log.
        if progress.fault.as_ref() != Some(&why) {
            tracing::warn!(sink, event = record.key, why, "an event was not delivered, and is tried again");
            progress.fault = Some(why);
        }
        progress.fault_code = Some(failure.code);
        // `flush` need not wait longer than this pause.
        self.dispatch.wake.notify_all();
    }
}
