//! Closing a desk that somebody else holds up.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Stops a desk in another thread, which tells when that is done.
fn stopping(delivery: &Arc<Delivery>) -> Receiver<()> {
    let (delivery, (done, told)) = (delivery.clone(), channel());
    std::thread::spawn(move || {
        delivery.stop();
        done.send(())
    });
    told
}

#[test]
fn closing_waits_for_no_reader_of_the_output() {
    /// Blocks from the second write on, until it is let go.
    struct Pipe(usize, Receiver<()>);
    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                let _ = self.1.recv();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let mut settings = world.settings(&[("pager", &toy)]);
    settings.stop_patience = Duration::from_millis(20);
    let (read, pipe) = channel();
    let delivery = Delivery::open(world.dir.path(), settings, Box::new(Pipe(0, pipe))).unwrap();
    delivery.tell(&forks(0..1)).unwrap();
    world.pass(24 * 3_600);
    // The sink has the reminder: it is being printed.
    toy.wait_for(2);
    stopping(&delivery).recv_timeout(PATIENCE).expect("nobody reads");
    drop(delivery);
    // What was left behind may write into the directory yet.
    assert!(matches!(world.try_open(world.settings(&[])), Err(DeliveryError::InUse { .. })));
    drop(read);
    eventually("it ends", || world.try_open(world.settings(&[])).is_ok());
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
