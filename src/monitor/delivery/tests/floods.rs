//! More events than sinks accept, and more than anybody reads.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Facts of which a log may cause any number.
fn gaps(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(|number| event(Code::SequenceGap, number)).collect()
}

#[test]
fn a_full_outbox_makes_the_caller_wait_and_bounds_the_file() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    toy.close(true);
    let mut settings = world.settings(&[("pager", &toy)]);
    let line = event(Code::SequenceGap, 0).to_line().len();
    (settings.outbox_bytes, settings.outbox_file_bytes) = (4 * line, 1);
    let delivery = world.try_open(settings).unwrap();
    let (done, told): (_, Receiver<()>) = channel();
    let caller = delivery.clone();
    let thread = std::thread::spawn(move || {
        caller.tell(&gaps(0..10)).unwrap();
        done.send(()).unwrap();
        for number in 10..120 {
            caller.tell(&gaps(number..number + 1)).unwrap();
        }
    });
    eventually("it fills up", || delivery.figures().outbox_bytes == 4 * line);
    // All of it was printed before any wait.
    assert_eq!(world.out.lines().len(), 10);
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "six are not in the outbox yet");
    toy.close(false);
    thread.join().unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines(), lines(&gaps(0..120)));
    let length = std::fs::metadata(world.dir.path().join(OUTBOX)).unwrap().len();
    assert!(length < 30 * line as u64, "it was written anew: {length}");
    // An event larger than the whole room is accepted alone.
    let large = event(Code::SequenceGap, 120).with("large", "x".repeat(5 * line));
    delivery.tell(std::slice::from_ref(&large)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines().last(), Some(&large.to_line()));
}

#[test]
fn a_caller_that_waits_for_room_is_let_go_when_the_delivery_is_closed() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    toy.close(true);
    let mut settings = world.settings(&[("pager", &toy)]);
    settings.outbox_bytes = 1;
    let delivery = world.try_open(settings).unwrap();
    let caller = delivery.clone();
    let thread = std::thread::spawn(move || caller.tell(&gaps(0..3)));
    eventually("it fills up", || delivery.figures().outbox_bytes > 0);
    delivery.stop();
    assert!(matches!(thread.join().unwrap(), Err(DeliveryError::Stopped)));
}

#[test]
fn while_one_log_waits_for_room_the_others_are_told_of() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    toy.close(true);
    let mut settings = world.settings(&[("pager", &toy)]);
    let line = event(Code::SequenceGap, 0).to_line().len();
    settings.outbox_bytes = 4 * line;
    let delivery = world.try_open(settings).unwrap();
    let caller = |events: Vec<Event>| {
        let (delivery, (done, told)) = (delivery.clone(), channel());
        std::thread::spawn(move || done.send(delivery.tell(&events)));
        told
    };
    let flood = caller(gaps(0..10));
    eventually("it fills up", || delivery.figures().outbox_bytes == 4 * line);
    eventually("metrics say so", || delivery.figures().waiting == 1);
    // Events that need no room are accepted, and so are those with reserved room.
    delivery.tell(&[event(Code::Head, 1)]).unwrap();
    let stalled = event(Code::LogStalled, 2);
    delivery.tell(std::slice::from_ref(&stalled)).unwrap();
    delivery.tell(&forks(4..5)).unwrap();
    let open: Vec<String> =
        delivery.open_conditions(usize::MAX).into_iter().map(|alert| alert.id.to_string()).collect();
    for told in [&stalled, &event(Code::Fork, 4)] {
        assert!(open.contains(&told.id.to_string()), "{open:?}");
        assert!(world.out.lines().contains(&told.to_line()));
    }
    assert!(flood.try_recv().is_err(), "six are not in the outbox yet");
    toy.close(false);
    flood.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(delivery.flush(PATIENCE));
    let told = toy.lines();
    let of_flood: Vec<&String> = told.iter().filter(|line| line.contains("sequence-gap")).collect();
    assert_eq!(of_flood, lines(&gaps(0..10)).iter().collect::<Vec<_>>(), "in their order");
    let at = |event: &Event| told.iter().position(|line| *line == event.to_line()).unwrap();
    assert!(at(&stalled) < at(&event(Code::Fork, 4)) && at(&event(Code::Fork, 4)) < told.len() - 6);
}

#[test]
fn of_very_many_facts_the_first_are_told_and_the_rest_summed_up() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let elsewhere = Event::new(Code::SequenceGap, Some("log.example/b"), &["0"], START, "elsewhere");
    let mut events = gaps(0..400);
    // A repeated event counts once; events of another kind count for themselves.
    events.push(event(Code::SequenceGap, 399));
    events.extend([event(Code::Head, 1), elsewhere.clone()]);
    events.extend(forks(0..50));
    events.extend(gaps(400..1_000));
    delivery.tell(&events).unwrap();
    assert!(delivery.flush(PATIENCE));
    events.remove(400);
    let printed = world.out.lines();
    assert_eq!(printed[..events.len()], lines(&events), "each of them, in order");
    let told = [lines(&gaps(0..100)), vec![elsewhere.to_line()], lines(&forks(0..50))].concat();
    assert_eq!(toy.lines()[..151], told);
    assert_eq!((printed.len(), toy.lines().len()), (events.len() + 1, 152));
    assert_eq!(printed.last(), toy.lines().last());
    let sum = world.out.values().pop().unwrap();
    let fields =
        ["event", "severity", "log", "more", "first_index", "last_index"].map(|name| sum[name].clone());
    assert_eq!(
        Value::from(fields.to_vec()),
        serde_json::json!(["sequence-gap", "alert", LOG, 900, 100, 999])
    );
    assert!(sum["message"].as_str().unwrap().starts_with("and 900 more"), "{sum}");
    let of_gaps = (Some(LOG.to_owned()), "sequence-gap".to_owned());
    assert_eq!((delivery.open_conditions(99).len(), delivery.figures().alerts_told[&of_gaps]), (50, 1_001));
    // Again, as after a kill: the facts have the same ids, and conditions are not told again.
    delivery.tell(&events).unwrap();
    assert!(delivery.flush(PATIENCE));
    let told = toy.keys();
    assert_eq!(told[152..], [&told[..101], &told[151..152]].concat());
}

#[test]
fn each_condition_is_told_by_itself_however_many_there_are() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let events: Vec<Event> = (0..300).map(|number| event(Code::MissingRelease, number)).collect();
    delivery.tell(&events).unwrap();
    for event in &events {
        delivery.end(&[event.id], "it is there").unwrap();
    }
    assert!(delivery.flush(PATIENCE));
    assert_eq!((toy.lines().len(), delivery.open_conditions(usize::MAX).len()), (600, 0));
}

#[test]
fn conditions_that_begin_or_end_together_are_one_write() {
    #[derive(Default)]
    struct Counting(AtomicU64);
    impl DiskIo for Counting {
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.fetch_add(u64::from(to.ends_with(CONDITIONS)), Ordering::Relaxed);
            RealDisk.rename(from, to)
        }
    }
    let (world, toy, io) = (World::new(), Arc::new(Toy::default()), Arc::new(Counting::default()));
    let settings = world.settings(&[("pager", &toy)]);
    let delivery =
        Delivery::open_with(world.dir.path(), settings, Box::new(world.out.clone()), io.clone()).unwrap();
    let writes = || io.0.load(Ordering::Relaxed);
    assert_eq!(writes(), 0);
    let events: Vec<Event> = (0..1_000).map(|number| event(Code::MissingRelease, number)).collect();
    delivery.tell(&events).unwrap();
    assert_eq!((writes(), delivery.open_conditions(usize::MAX).len()), (1, 1_000));
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    delivery.end(&ids, "they are there").unwrap();
    assert_eq!((writes(), delivery.open_conditions(usize::MAX).len()), (2, 0));
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines().len(), 2_000);
}
