//! Deliveries with sinks and events of the test.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use treehead::disk::{DiskIo, RealDisk};
use treehead::monitor::delivery::{
    Delivery, DeliveryError, DeliverySettings, Filter, NotDelivered, Notification, Sink, SinkSettings,
};
use treehead::monitor::event::{Code, Event};

use crate::common::locks::once_unlocked;

pub const START: u64 = 1_769_860_800;
/// A time limit that even a busy machine keeps.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sink that keeps the events it accepts, while it is open.
#[derive(Default)]
pub struct Toy {
    pub closed: AtomicBool,
    taken: Mutex<Vec<(String, String)>>,
}

impl Toy {
    pub fn closed() -> Self {
        Self { closed: AtomicBool::new(true), ..Self::default() }
    }

    /// The accepted events, in order, without repeats.
    pub fn lines(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let taken = self.taken.lock().unwrap();
        let is_new = |key: &String| {
            let new = !keys.contains(key);
            keys.push(key.clone());
            new
        };
        let mut is_new = is_new;
        taken.iter().filter(|(key, _)| is_new(key)).map(|(_, line)| line.clone()).collect()
    }
}

impl Sink for Toy {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(NotDelivered::because("test", "closed"));
        }
        self.taken.lock().unwrap().push((notification.key.to_owned(), notification.line.to_owned()));
        Ok(())
    }
}

pub fn settings() -> DeliverySettings {
    let mut settings = DeliverySettings::new(Arc::new(|| START));
    settings.first_pause = Duration::from_millis(1);
    settings.longest_pause = Duration::from_millis(20);
    settings.save_interval = Duration::from_millis(5);
    settings
}

/// Settings with only this sink.
pub fn with_sink(sink: Arc<dyn Sink>) -> DeliverySettings {
    let mut settings = settings();
    settings.sinks.push(SinkSettings::new("pager", Filter::default(), sink).unwrap());
    settings
}

#[expect(clippy::needless_pass_by_value, reason = "each caller has a sink of its own kind")]
pub fn open_on(
    dir: &Path,
    sink: Arc<dyn Sink>,
    io: &Arc<dyn DiskIo>,
) -> Result<Arc<Delivery>, DeliveryError> {
    let is_locked = |e: &DeliveryError| matches!(e, DeliveryError::InUse { .. });
    once_unlocked(PATIENCE, is_locked, || {
        let mut settings = with_sink(sink.clone());
        // Small enough that the outbox is rewritten now and then.
        settings.outbox_file_bytes = 1_200;
        Delivery::open_with(dir, settings, Box::new(std::io::sink()), io.clone())
    })
}

pub fn open(dir: &Path, sink: Arc<dyn Sink>) -> Arc<Delivery> {
    let io: Arc<dyn DiskIo> = Arc::new(RealDisk);
    open_on(dir, sink, &io).unwrap()
}

pub fn fork(number: usize) -> Event {
    let subject = number.to_string();
    Event::new(Code::Fork, Some("log.example/a"), &[&subject], START, format!("fork {number}"))
}

pub fn forks(numbers: std::ops::Range<usize>) -> Vec<Event> {
    numbers.map(fork).collect()
}

pub fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::to_line).collect()
}
