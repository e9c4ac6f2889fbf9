//! A sink's thread: one event after the other, each until it is delivered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outbox::Record;
use super::sink::{NotDelivered, Notification};
use super::state::Shared;
use crate::release::format_time;

pub struct Worker {
    shared: Arc<Shared>,
    /// Place of the sink in the settings.
    place: usize,
}

/// How long to wait after so many failures in a row. The same each time: there is one sender, so nothing is
/// to be spread.
fn pause_after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).and_then(|times| first.checked_mul(times));
    doubled.map_or(longest, |pause| pause.min(longest))
}

impl Worker {
    pub fn new(shared: Arc<Shared>, place: usize) -> Self {
        Self { shared, place }
    }

    pub fn run(self) {
        let settings = &self.shared.settings;
        let (mut failures, mut tried) = (0, None);
        while let Some(record) = self.shared.next_for(self.place) {
            // Delivered or given up: the next one begins anew.
            if tried.replace(record.number) != Some(record.number) {
                failures = 0;
            }
            match self.send(&record) {
                Ok(()) => self.delivered(&record),
                Err(trouble) => {
                    failures += 1;
                    let pause = pause_after(failures, settings.first_pause, settings.longest_pause);
                    let pause = pause.max(trouble.retry_after.unwrap_or_default());
                    self.tell(&record, &trouble, pause);
                    if !self.shared.rest_at(self.place, record.number, pause) {
                        return;
                    }
                }
            }
        }
    }

    fn send(&self, record: &Record) -> Result<(), NotDelivered> {
        let Record { key, line, .. } = record;
        let notification = Notification { key, line, now: self.shared.now(), stop: &self.shared.stop };
        let sink = &self.shared.sink(self.place).sink;
        let sent = catch_unwind(AssertUnwindSafe(|| sink.send(&notification)));
        sent.unwrap_or_else(|_| {
            Err(NotDelivered::because("panicked", "the sink panicked: this is a bug of treehead"))
        })
    }

    fn delivered(&self, record: &Record) {
        let mut state = self.shared.lock();
        let progress = &mut state.sinks[self.place];
        progress.delivered += 1;
        progress.fault_code = None;
        if progress.fault.take().is_some() {
            tracing::info!(sink = self.shared.sink(self.place).name, "a sink takes events again");
        }
        // A crash before this is durable has the sink get the event again.
        self.shared.advance(&mut state, self.place, record.number + 1);
    }

    fn tell(&self, record: &Record, trouble: &NotDelivered, pause: Duration) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let progress = &mut state.sinks[self.place];
        progress.failures += 1;
        if progress.position > record.number {
            // It was given up meanwhile.
            return;
        }
        progress.next_try = Instant::now().checked_add(pause);
        let (sink, since) = (&self.shared.sink(self.place).name, *progress.failing_since.get_or_insert(now));
        let mut why = trouble.why.clone();
        if trouble.refused {
            why += &format!(
                "; this event fails since {}; if others do not, `treehead monitor ack --skip {sink}` gives it up",
                format_time(since)
            );
        }
        // The same failure, tried again and again, is one line in the log.
        if progress.fault.as_ref() != Some(&why) {
            tracing::warn!(sink, event = record.key, why, "an event was not delivered, and is tried again");
            progress.fault = Some(why);
        }
        progress.fault_code = Some(trouble.code);
        // Who waits for the sinks may not want to wait that long.
        self.shared.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let seconds = |failures| pause_after(failures, Duration::from_secs(1), Duration::from_secs(300));
        let pauses: Vec<u64> = (1..12).map(|failures| seconds(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for many in [31, 32, 33, 34, u32::MAX] {
            assert_eq!(seconds(many).as_secs(), 300);
        }
    }
}
