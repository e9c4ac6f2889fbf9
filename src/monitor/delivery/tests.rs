//! Deliveries with sinks, a clock and an output of the test.

mod closing;
mod floods;

use std::collections::VecDeque;
use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::dispatch::POSITIONS;
use super::*;
use crate::monitor::event::Code;

const START: u64 = 1_769_860_800;
const LOG: &str = "log.example/a";
const PATIENCE: Duration = Duration::from_secs(30);

/// A sink that gives these answers, then Ok, and keeps what it accepts.
#[derive(Default)]
struct Toy {
    state: Mutex<ToyState>,
    wake: Condvar,
}

#[derive(Default)]
struct ToyState {
    taken: Vec<(String, String)>,
    answers: VecDeque<NotDelivered>,
    closed: bool,
    tries: usize,
}

impl Toy {
    fn close(&self, closed: bool) {
        self.state.lock().unwrap().closed = closed;
    }

    fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.iter().map(|(_, line)| line.clone()).collect()
    }

    fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Checks that each accepted line contains its key, and that no two keys are equal.
    fn assert_named(&self) {
        let said =
            |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        let keys = self.keys();
        assert_eq!(self.lines().iter().map(said).collect::<Vec<_>>(), keys);
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    }

    /// Waits until the sink has accepted this many.
    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let (_guard, result) =
            self.wake.wait_timeout_while(state, PATIENCE, |state| state.taken.len() < count).unwrap();
        assert!(!result.timed_out(), "{count} are to come: {:?}", self.lines());
    }
}

impl Sink for Toy {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        let mut state = self.state.lock().unwrap();
        state.tries += 1;
        self.wake.notify_all();
        if let Some(answer) = state.answers.pop_front() {
            return Err(answer);
        }
        if state.closed {
            return Err(NotDelivered::because("test", "closed"));
        }
        state.taken.push((notification.key.to_owned(), notification.line.to_owned()));
        Ok(())
    }
}

/// An output that may be told to fail.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<(String, usize, usize)>>);

impl Out {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().0.lines().map(ToOwned::to_owned).collect()
    }

    fn values(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn writes(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn fail(&self, times: usize) {
        self.0.lock().unwrap().2 = times;
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        if state.2 > 0 {
            state.2 -= 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.1 += 1;
        state.0.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct World {
    dir: TempDir,
    now: Arc<AtomicU64>,
    out: Out,
}

impl World {
    fn new() -> Self {
        let (now, out) = (Arc::new(AtomicU64::new(START)), Out::default());
        Self { dir: tempfile::tempdir().unwrap(), now, out }
    }

    fn settings(&self, sinks: &[(&str, &Arc<Toy>)]) -> DeliverySettings {
        let now = self.now.clone();
        let mut settings = DeliverySettings::new(Arc::new(move || now.load(Ordering::Relaxed)));
        let ms = Duration::from_millis;
        (settings.save_interval, settings.first_pause, settings.longest_pause) = (ms(5), ms(1), ms(4));
        for (name, toy) in sinks {
            settings.sinks.push(SinkSettings::new(name, Filter::default(), (*toy).clone()).unwrap());
        }
        settings
    }

    fn try_open(&self, settings: DeliverySettings) -> Result<Arc<Delivery>, DeliveryError> {
        Delivery::open(self.dir.path(), settings, Box::new(self.out.clone()))
    }

    fn open(&self, sinks: &[(&str, &Arc<Toy>)]) -> Arc<Delivery> {
        self.try_open(self.settings(sinks)).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn event(code: Code, number: u64) -> Event {
    Event::new(code, Some(LOG), &[&number.to_string()], START, format!("number {number}"))
        .with("index", number)
}

fn forks(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(|number| event(Code::Fork, number)).collect()
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::to_line).collect()
}

/// Waits for another thread to do something.
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn events_are_printed_and_go_to_who_wants_them_in_order() {
    let (world, toy, all) = (World::new(), Arc::new(Toy::default()), Arc::new(Toy::default()));
    let mut settings = world.settings(&[("pager", &toy)]);
    let filter = Filter::parse(&["head", "alert"]).unwrap();
    settings.sinks.push(SinkSettings::new("heads", filter, all.clone()).unwrap());
    let delivery = world.try_open(settings).unwrap();
    let watched = event(Code::Release, 3).watched(&["ours".to_owned()]);
    let events =
        [event(Code::Head, 1), event(Code::Release, 2), watched, event(Code::Fork, 4), event(Code::Head, 5)];
    delivery.tell(&events).unwrap();
    assert_eq!(world.out.lines(), lines(&events));
    assert!(delivery.flush(PATIENCE));
    let told = |places: &[usize]| places.iter().map(|at| events[*at].to_line()).collect::<Vec<_>>();
    assert_eq!((toy.lines(), all.lines()), (told(&[2, 3]), told(&[0, 3, 4])));
    assert_eq!(toy.keys(), [events[2].id.to_string(), events[3].id.to_string()]);
    let figures = delivery.figures();
    assert_eq!(
        (figures.open_by_log.values().sum::<u64>(), figures.outbox_bytes, figures.faults),
        (1, 0, vec![])
    );
    let taken: Vec<(&str, usize, u64)> =
        figures.sinks.iter().map(|sink| (sink.name.as_str(), sink.undelivered, sink.delivered)).collect();
    assert_eq!(taken, [("pager", 0, 2), ("heads", 0, 3)]);
}

#[test]
fn what_no_sink_wants_is_one_write_and_no_file_is_touched() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let files = || {
        let read = |name: &str| std::fs::read(world.dir.path().join(name)).ok();
        [OUTBOX, CONDITIONS].map(read)
    };
    let before = files();
    let events: Vec<Event> = (0..10_000).map(|number| event(Code::Release, number)).collect();
    delivery.tell(&events).unwrap();
    assert_eq!((world.out.writes(), files()), (1, before));
    assert_eq!(world.out.lines().len(), 10_000);
}

#[test]
fn a_failed_delivery_is_tried_again_before_the_next_one() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let answers = ["busy", "busy", "away"].map(|why| NotDelivered::because("test", why));
    toy.state.lock().unwrap().answers.extend(answers);
    toy.close(true);
    let delivery = world.open(&[("pager", &toy)]);
    let events = forks(0..20);
    delivery.tell(&events).unwrap();
    eventually("it is tried", || delivery.figures().sinks[0].failures > 5);
    let figures = delivery.figures();
    assert_eq!((figures.sinks[0].undelivered, figures.sinks[0].oldest), (20, Some(START)));
    assert_eq!(figures.sinks[0].fault.as_deref(), Some("closed"));
    assert!(!delivery.flush(Duration::from_millis(10)));
    toy.close(false);
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines(), lines(&events));
    assert_eq!((delivery.figures().sinks[0].fault.clone(), delivery.figures().outbox_bytes), (None, 0));
}

#[test]
fn a_sink_that_asks_to_wait_is_left_alone_until_then() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let later = NotDelivered {
        code: "test",
        why: "later".to_owned(),
        retry_after: Some(Duration::from_secs(3_600)),
        refused: false,
    };
    toy.state.lock().unwrap().answers.push_back(later);
    let delivery = world.open(&[("pager", &toy)]);
    delivery.tell(&forks(0..1)).unwrap();
    eventually("it is tried", || delivery.figures().sinks[0].failures == 1);
    assert!(!delivery.flush(Duration::from_millis(50)), "the longest pause is a thousandth of this");
    assert_eq!(toy.state.lock().unwrap().tries, 1);
    // Closing does not wait for sinks.
    delivery.stop();
    assert!(matches!(delivery.tell(&forks(1..2)), Err(DeliveryError::Stopped)));
}

#[test]
fn a_sink_that_panics_gets_the_event_again() {
    struct Panics(AtomicU64);
    impl Sink for Panics {
        fn send(&self, _: &Notification<'_>) -> Result<(), NotDelivered> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the first time");
            Ok(())
        }
    }
    let world = World::new();
    let mut settings = world.settings(&[]);
    let sink = Arc::new(Panics(AtomicU64::new(0)));
    settings.sinks.push(SinkSettings::new("panics", Filter::default(), sink).unwrap());
    let delivery = world.try_open(settings).unwrap();
    delivery.tell(&forks(0..1)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!((delivery.figures().sinks[0].failures, delivery.figures().sinks[0].delivered), (1, 1));
}

#[test]
fn what_was_not_delivered_comes_after_the_next_start_to_the_sink_of_that_name() {
    let world = World::new();
    let (slow, quick) = (Arc::new(Toy::default()), Arc::new(Toy::default()));
    slow.close(true);
    let delivery = world.open(&[("slow", &slow), ("quick", &quick)]);
    delivery.tell(&forks(0..3)).unwrap();
    quick.wait_for(3);
    drop(delivery);
    // In another order, and with a new sink, which gets the events from now on.
    let new = Arc::new(Toy::default());
    let delivery = world.open(&[("new", &new), ("quick", &quick), ("slow", &slow)]);
    delivery.tell(&forks(3..5)).unwrap();
    slow.close(false);
    assert!(delivery.flush(PATIENCE));
    drop(delivery);
    assert_eq!(slow.lines(), lines(&forks(0..5)));
    assert_eq!(quick.lines(), lines(&forks(0..5)));
    assert_eq!(new.lines(), lines(&forks(3..5)));
    // A removed sink is forgotten, and new if it comes back.
    slow.close(true);
    let delivery = world.open(&[("slow", &slow), ("quick", &quick)]);
    delivery.tell(&forks(5..6)).unwrap();
    drop(delivery);
    drop(world.open(&[("quick", &quick)]));
    slow.close(false);
    let delivery = world.open(&[("slow", &slow), ("quick", &quick)]);
    delivery.tell(&forks(6..7)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!(slow.lines(), lines(&[forks(0..5), forks(6..7)].concat()));
    assert_eq!(quick.lines(), lines(&forks(0..7)));
}

#[test]
fn a_condition_is_told_once_until_it_ends() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let (fork, stalled) = (event(Code::Fork, 1), event(Code::LogStalled, 0));
    let both = [fork.clone(), stalled.clone(), fork.clone()];
    delivery.tell(&both).unwrap();
    delivery.tell(&both).unwrap();
    assert_eq!(world.out.lines(), lines(&both[..2]));
    world.pass(60);
    // A fact does not end, nor does a condition that is not open.
    let gap = event(Code::SequenceGap, 1);
    delivery.end(&[gap.id], "no").unwrap();
    delivery.end(&[event(Code::NoQuorum, 0).id], "no").unwrap();
    delivery.end(&[stalled.id], "it grows again").unwrap();
    delivery.end(&[stalled.id], "it grows again").unwrap();
    let printed = world.out.values();
    assert_eq!(printed.len(), 3);
    let ended = serde_json::json!({
        "id": format!("{}-ended-{START}", stalled.id), "alert": stalled.id.to_string(), "time": "2026-01-31T12:01:00Z", "event": "ended", "of": "log-stalled",
        "severity": "alert", "log": LOG, "message": "it grows again", "since": "2026-01-31T12:00:00Z",
    });
    assert_eq!(printed[2], ended);
    assert_eq!(
        delivery.open_conditions(usize::MAX).iter().map(|alert| alert.id.to_string()).collect::<Vec<_>>(),
        [fork.id.to_string()]
    );
    // The condition begins again: it is told again, under another key.
    delivery.tell(&both).unwrap();
    assert_eq!(world.out.values()[3]["again"], true);
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.lines(), world.out.lines());
    let (fork, stalled) = (fork.id, stalled.id);
    let keys = [
        fork.to_string(),
        stalled.to_string(),
        format!("{stalled}-ended-{START}"),
        format!("{stalled}-again-{}", START + 60),
    ];
    assert_eq!(toy.keys(), keys);
    toy.assert_named();
    drop(delivery);
    // A new start knows all of it.
    let delivery = world.open(&[("pager", &toy)]);
    delivery.tell(&both).unwrap();
    assert_eq!((world.out.lines().len(), delivery.open_conditions(usize::MAX).len()), (4, 2));
}

#[test]
fn an_output_that_is_gone_is_an_error_and_what_was_printed_is_not_printed_again() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    world.out.fail(1);
    assert!(matches!(delivery.tell(&forks(0..2)), Err(DeliveryError::Output(_))));
    assert_eq!(
        (world.out.lines().len(), toy.lines().len(), delivery.open_conditions(usize::MAX).len()),
        (0, 0, 0)
    );
    delivery.tell(&forks(0..2)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!((world.out.lines(), toy.lines()), (lines(&forks(0..2)), lines(&forks(0..2))));
}

#[test]
fn damaged_files_keep_the_delivery_from_opening_and_the_way_out_is_one() {
    for (name, cost) in [(OUTBOX, "sinks then miss"), (POSITIONS, "again"), (CONDITIONS, "are told again")] {
        let (world, toy) = (World::new(), Arc::new(Toy::default()));
        toy.close(true);
        let delivery = world.open(&[("pager", &toy)]);
        delivery.tell(&forks(0..2)).unwrap();
        delivery.tell(&forks(2..4)).unwrap();
        drop(delivery);
        let path = world.dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = world.try_open(world.settings(&[("pager", &toy)])).err().expect("damage").to_string();
        assert!(error.contains(name) && error.contains("move it away") && error.contains(cost), "{error}");
        std::fs::remove_file(&path).unwrap();
        toy.close(false);
        let delivery = world.open(&[("pager", &toy)]);
        delivery.tell(&forks(4..5)).unwrap();
        assert!(delivery.flush(PATIENCE));
        let expected = lines(&if name == OUTBOX { forks(4..5) } else { forks(0..5) });
        assert_eq!(toy.lines(), expected, "{name}");
    }
}

#[test]
fn one_process_has_the_delivery_and_each_sink_a_name_of_its_own() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[]);
    let error = world.try_open(world.settings(&[])).err().expect("it is open").to_string();
    assert!(error.contains("delivery.lock"), "{error}");
    drop(delivery);
    let twice = world.settings(&[("pager", &toy), ("pager", &toy)]);
    assert!(matches!(world.try_open(twice), Err(DeliveryError::Settings(_))));
    for bad in ["", "Pager", "a b", "a/b", "a_b", &"x".repeat(65)] {
        assert!(SinkSettings::new(bad, Filter::default(), toy.clone()).is_err(), "{bad}");
    }
    for bad in [&[][..], &["forks"], &["alert", ""], &["Alert"], &["ended"]] {
        assert!(Filter::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn facts_that_come_again_are_told_again_under_the_same_id() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let gap = event(Code::SequenceGap, 1);
    // Within one call, it is one event.
    delivery.tell(&[gap.clone(), gap.clone()]).unwrap();
    delivery.tell(std::slice::from_ref(&gap)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!(toy.keys(), [gap.id.to_string(), gap.id.to_string()]);
    let figures = delivery.figures();
    let told = figures.alerts_told[&(Some(LOG.to_owned()), "sequence-gap".to_owned())];
    assert_eq!((figures.open_by_log.values().sum::<u64>(), told), (0, 2));
}

#[test]
fn a_fork_is_open_until_its_evidence_is_taken_away() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let unwritten = event(Code::Fork, 1);
    let written = unwritten.clone().with("evidence", "state/evidence/f.tlog-fork");
    delivery.tell(std::slice::from_ref(&unwritten)).unwrap();
    delivery.end_forks_without(LOG, &[]).unwrap();
    assert_eq!(delivery.open_conditions(9).len(), 1, "its evidence could not be written yet");
    delivery.tell(std::slice::from_ref(&written)).unwrap();
    drop(delivery);
    let delivery = world.open(&[("pager", &toy)]);
    delivery.end_forks_without(LOG, &["f.tlog-fork".to_owned()]).unwrap();
    delivery.end_forks_without("log.example/b", &[]).unwrap();
    assert_eq!(delivery.open_conditions(9).len(), 1);
    delivery.end_forks_without(LOG, &[]).unwrap();
    assert_eq!(delivery.open_conditions(9), []);
    assert!(delivery.flush(PATIENCE));
    let events = toy.lines();
    assert_eq!((events.len(), &events[0]), (2, &unwritten.to_line()));
    assert!(events[1].contains("\"of\":\"fork\""), "{events:?}");
    // Somebody shows it again.
    delivery.tell(std::slice::from_ref(&written)).unwrap();
    assert_eq!(world.out.values()[2]["again"], true);
}

#[test]
fn the_state_of_an_earlier_version_is_taken_over() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    toy.close(true);
    let delivery = world.open(&[("pager", &toy)]);
    let stalled = event(Code::LogStalled, 1);
    delivery.tell(&[stalled.clone(), event(Code::SequenceGap, 2)]).unwrap();
    drop(delivery);
    // The file of that version: told alerts are in alerts.json, acknowledged or not.
    let dir = world.dir.path();
    std::fs::remove_file(dir.join(CONDITIONS)).unwrap();
    let old = |event: &Event, condition: bool| {
        let (id, code, line) = (event.id, event.code.as_str(), serde_json::Value::from(event.to_line()));
        format!(
            "{{\"id\":\"{id}\",\"code\":\"{code}\",\"severity\":\"alert\",\"condition\":{condition},\"log\":\"{LOG}\",\
             \"message\":\"m\",\"raised\":{START},\"told\":{START},\"acknowledged\":{START},\"line\":{line}}}"
        )
    };
    let alerts =
        [old(&stalled, true), old(&event(Code::SequenceGap, 2), false), old(&event(Code::Fork, 3), false)];
    let text = format!("{{\"version\":1,\"alerts\":[\n{}\n]}}\n", alerts.join(",\n"));
    std::fs::write(dir.join("alerts.json"), text).unwrap();
    for name in ["acks.jsonl", "acks.lock", "desk.lock"] {
        std::fs::write(dir.join(name), "").unwrap();
    }
    toy.close(false);
    let delivery = world.open(&[("pager", &toy)]);
    assert!(delivery.flush(PATIENCE));
    assert_eq!(
        toy.lines(),
        lines(&[stalled.clone(), event(Code::SequenceGap, 2)]),
        "the outbox and positions are kept"
    );
    let open: Vec<EventId> = delivery.open_conditions(9).into_iter().map(|condition| condition.id).collect();
    assert_eq!(open, [event(Code::Fork, 3).id, stalled.id]);
    delivery.tell(std::slice::from_ref(&stalled)).unwrap();
    delivery.end(&[stalled.id], "it grows").unwrap();
    assert_eq!(world.out.lines().len(), 3);
    // A worker may be replacing its positions until then.
    drop(delivery);
    let mut left: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [CONDITIONS, "delivery.lock", OUTBOX, POSITIONS]);
}

#[test]
fn a_delivery_without_enough_threads_is_not_opened_and_its_lock_is_free() {
    let (world, toys) = (World::new(), [Toy::default(), Toy::default()].map(Arc::new));
    let settings = || world.settings(&[("a", &toys[0]), ("b", &toys[1])]);
    let open = |threads| crate::threads::limit::with(threads, || world.try_open(settings()));
    for threads in 0..3 {
        let opened = open(threads).map(drop);
        assert!(matches!(opened, Err(DeliveryError::Threads(_))), "{opened:?}");
        // The threads that were started end on their own.
        let until = Instant::now() + PATIENCE;
        while DirLock::acquire(&world.dir.path().join("delivery.lock")).is_err() {
            assert!(Instant::now() < until);
        }
    }
    open(3).unwrap();
}

#[test]
fn a_command_without_threads_for_its_pipes_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let command = Command::new(vec!["touch".to_owned(), ran.to_str().unwrap().to_owned()]).unwrap();
    let stop = AtomicBool::new(false);
    let notification = Notification { key: "k", line: "{}", now: START, stop: &stop };
    for threads in 0..2 {
        let failed = crate::threads::limit::with(threads, || command.send(&notification)).unwrap_err();
        assert!(failed.why.contains("could not start the thread sink-"), "{}", failed.why);
        assert!(!ran.exists());
    }
    crate::threads::limit::with(2, || command.send(&notification)).unwrap();
    assert!(ran.exists());
}

#[test]
fn a_position_beyond_all_numbers_is_damage() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    drop(world.open(&[("a", &toy)]));
    std::fs::remove_file(world.dir.path().join(OUTBOX)).unwrap();
    let path = world.dir.path().join(POSITIONS);
    for (position, is_right) in [(u64::MAX, false), (i64::MAX as u64 + 1, false), (7, true)] {
        std::fs::write(&path, format!("{{\"version\":1,\"sinks\":{{\"a\":{position}}}}}\n")).unwrap();
        let opened = world.try_open(world.settings(&[("a", &toy)])).map(drop);
        let is_damage = matches!(opened, Err(DeliveryError::Damaged { .. }));
        assert!(opened.is_ok() == is_right && is_damage != is_right, "{opened:?}");
    }
}
