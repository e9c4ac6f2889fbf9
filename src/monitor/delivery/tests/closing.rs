//! Closing a delivery that waits for a sink.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Stops a delivery in another thread, which sends a message when it is done.
fn stopping(delivery: &Arc<Delivery>) -> Receiver<()> {
    let (delivery, (done, told)) = (delivery.clone(), channel());
    std::thread::spawn(move || {
        delivery.stop();
        done.send(())
    });
    told
}

#[test]
fn closing_waits_for_no_sink() {
    struct Hangs(Mutex<Receiver<()>>, AtomicU64);
    impl Sink for Hangs {
        fn send(&self, _: &Notification<'_>) -> Result<(), NotDelivered> {
            self.1.store(1, Ordering::Relaxed);
            let _ = self.0.lock().unwrap().recv();
            Ok(())
        }
    }
    let (world, (let_go, wait)) = (World::new(), channel());
    let sink = Arc::new(Hangs(Mutex::new(wait), AtomicU64::new(0)));
    let mut settings = world.settings(&[]);
    settings.stop_patience = Duration::from_millis(20);
    settings.sinks.push(SinkSettings::new("hangs", Filter::default(), sink.clone()).unwrap());
    let delivery = world.try_open(settings).unwrap();
    delivery.tell(&forks(0..1)).unwrap();
    eventually("it is tried", || sink.1.load(Ordering::Relaxed) == 1);
    stopping(&delivery).recv_timeout(PATIENCE).expect("it never answers");
    drop(let_go);
}
