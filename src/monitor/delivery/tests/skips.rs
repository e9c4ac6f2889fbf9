//! Events that a sink never takes, and what people do about them.

use super::super::acks::{AckError, skip};
use super::*;

/// Refuses one event for ever, and says so.
struct Picky {
    toy: Arc<Toy>,
    refuses: String,
}

impl Sink for Picky {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        if notification.key == self.refuses {
            self.toy.state.lock().unwrap().tries += 1;
            return Err(NotDelivered { refused: true, ..NotDelivered::because("test", "saw 400") });
        }
        self.toy.send(notification)
    }
}

/// A desk with a sink that refuses the second fork, and that is tried again after a day.
fn stuck(world: &World, toy: &Arc<Toy>) -> Arc<Delivery> {
    let refuses = event(Code::Fork, 1).id.to_string();
    let mut settings = world.settings(&[]);
    let day = Duration::from_secs(86_400);
    (settings.first_pause, settings.longest_pause) = (day, day);
    let sink = Arc::new(Picky { toy: toy.clone(), refuses });
    settings.sinks.push(SinkSettings::new("pager", Filter::default(), sink).unwrap());
    world.try_open(settings).unwrap()
}

#[test]
fn what_a_sink_never_takes_is_given_up_when_somebody_says_so_and_that_is_told() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = stuck(&world, &toy);
    delivery.tell(&forks(0..4)).unwrap();
    let fault = || delivery.figures().sinks[0].fault.clone();
    eventually("it fails", || fault().is_some());
    let told = fault().unwrap();
    assert!(told.starts_with("saw 400; this event fails since 2026-01-31T12:00:00Z; "), "{told}");
    assert!(told.contains("`treehead monitor ack --skip pager` gives it up"), "{told}");
    let dir = world.dir.path();
    let skipped = event(Code::Fork, 1).id.to_string();
    let it = || skip(dir, "pager", START).is_ok_and(|given_up| given_up.id == skipped);
    eventually("the file says how far it is", it);
    toy.wait_for(3);
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines(), lines(&[forks(0..1), forks(2..4)].concat()));
    assert_eq!(fault(), None);
    assert_eq!(toy.state.lock().unwrap().tries, 4, "nobody waited for the next try");
    eventually("it is printed", || world.out.lines().len() == 5);
    let told = world.out.values().remove(4);
    assert_eq!((&told["event"], &told["sink"]), (&"event-skipped".into(), &"pager".into()));
    assert_eq!((&told["skipped"], &told["code"]), (&skipped.into(), &"fork".into()));
    // The alert is open nevertheless, and what is said once counts once.
    assert_eq!(delivery.open_alerts().len(), 4);
    drop(delivery);
    let delivery = stuck(&world, &toy);
    delivery.tell(&forks(4..5)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!((world.out.lines().len(), toy.lines().len()), (6, 4));
}

#[test]
fn what_is_given_up_while_no_monitor_runs_is_given_up_at_the_next_start() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = stuck(&world, &toy);
    delivery.tell(&forks(0..3)).unwrap();
    eventually("it fails", || delivery.figures().sinks[0].fault.is_some());
    drop(delivery);
    let given_up = skip(world.dir.path(), "pager", START).unwrap();
    assert_eq!((given_up.code.as_str(), given_up.line), ("fork", event(Code::Fork, 1).to_line()));
    let delivery = stuck(&world, &toy);
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines(), lines(&[forks(0..1), forks(2..3)].concat()));
    assert_eq!(world.out.values()[3]["event"], "event-skipped");
}

#[test]
fn nothing_is_given_up_that_no_sink_waits_for() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let dir = world.dir.path();
    let error = skip(dir, "pager", START).unwrap_err().to_string();
    assert!(error.contains("\"pager\"") && error.contains("none"), "{error}");
    let delivery = stuck(&world, &toy);
    delivery.tell(&forks(0..1)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert!(matches!(skip(dir, "pager", START), Err(AckError::NothingWaits(_))));
    let error = skip(dir, "mail", START).unwrap_err().to_string();
    assert!(error.contains("expected one of pager"), "{error}");
    // One that comes too late, or that nobody wants, counts for nothing.
    delivery.tell(&forks(1..2)).unwrap();
    let said = |number: u64, sink: &str, id: u64| {
        let id = event(Code::Fork, id).id;
        format!("{{\"said\":\"skip\",\"sink\":\"{sink}\",\"number\":{number},\"id\":\"{id}\",\"time\":5}}\n")
    };
    let text = said(0, "pager", 0) + &said(2, "pager", 2) + &said(1, "mail", 1) + &said(1, "pager", 7);
    std::fs::write(dir.join(acks::ACKS), &text).unwrap();
    delivery.tell(&[]).unwrap();
    assert_eq!((world.out.lines(), delivery.figures().faults), (lines(&forks(0..2)), vec![]));
    eventually("it fails", || delivery.figures().sinks[0].fault.is_some());
    // And this is one that counts.
    std::fs::write(dir.join(acks::ACKS), text + &said(1, "pager", 1)).unwrap();
    eventually("it is given up", || delivery.figures().sinks[0].undelivered == 0);
    assert_eq!(toy.lines(), lines(&forks(0..1)));
}
