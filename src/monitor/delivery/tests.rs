//! The desk with sinks, a clock and an output of the tests' own.

mod closing;
mod floods;
mod skips;

use std::collections::VecDeque;
use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::acks::{acknowledge, acknowledge_all, list, silence, unsilence};
use super::book::BOOK;
use super::positions::POSITIONS;
use super::*;
use crate::monitor::event::Code;

const START: u64 = 1_769_860_800;
const LOG: &str = "log.example/a";
const PATIENCE: Duration = Duration::from_secs(30);

/// What it is told to answer, then Ok; keeps what it took.
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

    /// What it took says of itself what it is called, and nothing else is called so.
    fn assert_named(&self) {
        let said =
            |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        let keys = self.keys();
        assert_eq!(self.lines().iter().map(said).collect::<Vec<_>>(), keys);
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    }

    /// Waits until it took so many.
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

/// The output; may be told to fail.
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
        (settings.tick, settings.first_pause, settings.longest_pause) = (ms(5), ms(1), ms(4));
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

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
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

/// Waits for something that another thread does soon.
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
    assert_eq!((figures.open_alerts, figures.outbox_bytes, figures.faults), (1, 0, vec![]));
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
        [OUTBOX, BOOK].map(read)
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
    // Closing waits for nobody.
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
    // In another order, and with a new one, which gets what comes from now on.
    let new = Arc::new(Toy::default());
    let delivery = world.open(&[("new", &new), ("quick", &quick), ("slow", &slow)]);
    delivery.tell(&forks(3..5)).unwrap();
    slow.close(false);
    assert!(delivery.flush(PATIENCE));
    drop(delivery);
    assert_eq!(slow.lines(), lines(&forks(0..5)));
    assert_eq!(quick.lines(), lines(&forks(0..5)));
    assert_eq!(new.lines(), lines(&forks(3..5)));
    // One that was taken out is forgotten, and is new if it comes back.
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
fn an_alert_is_told_once_until_it_is_over() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let (fork, stalled) = (event(Code::Fork, 1), event(Code::LogStalled, 0));
    let both = [fork.clone(), stalled.clone(), fork.clone()];
    delivery.tell(&both).unwrap();
    delivery.tell(&both).unwrap();
    assert_eq!(world.out.lines(), lines(&both[..2]));
    world.pass(60);
    // A fact does not end, nor does what is not open.
    delivery.end(&fork.id, "no").unwrap();
    delivery.end(&event(Code::NoQuorum, 0).id, "no").unwrap();
    delivery.end(&stalled.id, "it grows again").unwrap();
    delivery.end(&stalled.id, "it grows again").unwrap();
    let printed = world.out.values();
    assert_eq!(printed.len(), 3);
    let ended = serde_json::json!({
        "id": format!("{}-ended-{START}", stalled.id), "alert": stalled.id.to_string(), "time": "2026-01-31T12:01:00Z", "event": "ended", "of": "log-stalled",
        "severity": "alert", "log": LOG, "message": "it grows again", "since": "2026-01-31T12:00:00Z",
    });
    assert_eq!(printed[2], ended);
    assert_eq!(
        delivery.open_alerts().iter().map(|alert| alert.id.clone()).collect::<Vec<_>>(),
        [fork.id.to_string()]
    );
    // It begins again: told again, under another key.
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
    // All of it is known after a start.
    let delivery = world.open(&[("pager", &toy)]);
    delivery.tell(&both).unwrap();
    assert_eq!((world.out.lines().len(), delivery.open_alerts().len()), (4, 2));
}

#[test]
fn open_alerts_are_told_again_after_their_time_and_acknowledged_ones_are_not() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    delivery.tell(&forks(0..2)).unwrap();
    world.pass(24 * 3_600 - 1);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(world.out.lines().len(), 2);
    world.pass(1);
    toy.wait_for(4);
    eventually("they are printed", || world.out.lines().len() == 4);
    let told: Vec<Value> = toy.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (first, second) in [(0, 2), (1, 3)] {
        assert_eq!(
            (&told[first]["id"], &told[second]["reminder"]),
            (&told[second]["alert"], &Value::Bool(true))
        );
        assert_eq!((told[first].get("reminder"), told[first].get("alert")), (None, None));
    }
    assert_eq!(world.out.lines(), toy.lines());
    assert_eq!(toy.keys()[2], format!("{}-reminder-{}", toy.keys()[0], world.now()));
    toy.assert_named();
    // By the id of the reminder, as somebody has it who was told just that.
    acknowledge(world.dir.path(), &[&toy.keys()[2]], world.now()).unwrap();
    eventually("the desk reads it", || delivery.open_alerts().len() == 1);
    world.pass(24 * 3_600);
    toy.wait_for(5);
    assert!(toy.keys()[4].starts_with(&toy.keys()[1]));
    // Seen again, it is not told again, also after a start.
    delivery.tell(&forks(0..2)).unwrap();
    drop(delivery);
    let delivery = world.open(&[("pager", &toy)]);
    delivery.tell(&forks(0..2)).unwrap();
    assert_eq!((world.out.lines().len(), delivery.open_alerts().len()), (5, 1));
    acknowledge_all(world.dir.path(), world.now()).unwrap();
    delivery.tell(&[]).unwrap();
    assert_eq!((delivery.open_alerts(), delivery.figures().open_alerts), (vec![], 0));
}

#[test]
fn an_acknowledged_condition_is_open_until_it_ends_and_is_raised_anew_when_it_begins_again() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let stalled = event(Code::LogStalled, 0);
    let again = || delivery.tell(std::slice::from_ref(&stalled)).unwrap();
    again();
    acknowledge_all(world.dir.path(), START + 5).unwrap();
    again();
    let open = delivery.open_alerts();
    assert_eq!((open.len(), open[0].acknowledged, open[0].condition), (1, Some(START + 5), true));
    delivery.end(&stalled.id, "over").unwrap();
    again();
    let open = delivery.open_alerts();
    assert_eq!((open[0].raised, open[0].acknowledged), (START + 1, None), "the old word was for the old one");
    assert_eq!(world.out.lines().len(), 3);
    assert_eq!(list(world.dir.path(), START).unwrap().alerts, open);
}

#[test]
fn what_is_silenced_is_printed_only_and_told_when_the_silence_is_over() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    let wish = Silence { code: Some("fork".to_owned()), log: None, package: None, until: START + 100 };
    let named = silence(world.dir.path(), &wish, START).unwrap();
    let events = [event(Code::Fork, 1), event(Code::LogShrunk, 2)];
    delivery.tell(&events).unwrap();
    toy.wait_for(1);
    assert_eq!(toy.lines(), [events[1].to_line()]);
    let printed = world.out.values();
    assert_eq!((&printed[0]["silenced"], printed[1].get("silenced")), (&Value::Bool(true), None));
    assert_eq!(delivery.open_alerts().iter().map(|alert| alert.silenced).collect::<Vec<_>>(), [true, false]);
    assert_eq!((delivery.figures().open_alerts, delivery.figures().silenced), (2, 1));
    let listing = list(world.dir.path(), START).unwrap();
    assert_eq!((listing.alerts, listing.silences), (delivery.open_alerts(), vec![named.clone()]));
    world.pass(100);
    toy.wait_for(2);
    eventually("it is printed", || world.out.lines().len() == 3);
    assert_eq!(toy.lines()[1], world.out.lines()[2]);
    assert_eq!(world.out.values()[2]["reminder"], true);
    assert_eq!(list(world.dir.path(), world.now()).unwrap().silences, []);
    // A condition that began and ended in silence is nothing for sinks.
    let wish = Silence { code: None, log: Some(LOG.to_owned()), until: world.now() + 100, ..wish };
    let named = silence(world.dir.path(), &wish, world.now()).unwrap();
    let stalled = event(Code::LogStalled, 0);
    delivery.tell(std::slice::from_ref(&stalled)).unwrap();
    unsilence(world.dir.path(), &named.name, world.now()).unwrap();
    toy.wait_for(3);
    silence(world.dir.path(), &wish, world.now()).unwrap();
    delivery.tell(&[event(Code::NoQuorum, 0)]).unwrap();
    delivery.end(&event(Code::NoQuorum, 0).id, "over").unwrap();
    // Of one that was told, the end is told in silence, too.
    delivery.end(&stalled.id, "over").unwrap();
    unsilence(world.dir.path(), &named.name[..6], world.now()).unwrap();
    assert!(delivery.flush(PATIENCE));
    let told: Vec<Value> = toy.lines()[2..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&str> = told.iter().map(|told| told["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["log-stalled", "ended"]);
}

#[test]
fn an_output_that_is_gone_is_an_error_and_what_was_printed_is_not_printed_again() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    let delivery = world.open(&[("pager", &toy)]);
    world.out.fail(1);
    assert!(matches!(delivery.tell(&forks(0..2)), Err(DeliveryError::Output(_))));
    assert_eq!((world.out.lines().len(), toy.lines().len(), delivery.open_alerts().len()), (0, 0, 0));
    delivery.tell(&forks(0..2)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!((world.out.lines(), toy.lines()), (lines(&forks(0..2)), lines(&forks(0..2))));
}

#[test]
fn damaged_files_keep_the_desk_from_opening_and_the_way_out_is_one() {
    for (name, cost) in [(OUTBOX, "sinks then miss"), (POSITIONS, "again"), (BOOK, "not known any more")] {
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
        let mut expected = lines(&if name == OUTBOX { forks(4..5) } else { forks(0..5) });
        if name == BOOK {
            expected.insert(4, start::book_is_lost(world.dir.path(), START).to_line());
        }
        assert_eq!(toy.lines(), expected, "{name}");
    }
}

#[test]
fn one_process_has_the_desk_and_each_sink_a_name_of_its_own() {
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
fn a_loss_that_finds_no_room_is_told_when_there_is_some() {
    let (world, toy) = (World::new(), Arc::new(Toy::default()));
    toy.close(true);
    let settings =
        || DeliverySettings { outbox_bytes: 1, outbox_reserve: 1, ..world.settings(&[("pager", &toy)]) };
    let delivery = world.try_open(settings()).unwrap();
    delivery.tell(&forks(0..1)).unwrap();
    drop(delivery);
    std::fs::remove_file(world.dir.path().join(BOOK)).unwrap();
    let delivery = world.try_open(settings()).unwrap();
    let lost = start::book_is_lost(world.dir.path(), START);
    assert_eq!(world.out.lines()[1], lost.to_line(), "nobody waits for room to read it");
    assert_eq!(
        delivery.open_alerts().iter().map(|alert| alert.id.clone()).collect::<Vec<_>>(),
        [lost.id.to_string()]
    );
    toy.close(false);
    toy.wait_for(2);
    let told: Value = serde_json::from_str(&toy.lines()[1]).unwrap();
    assert_eq!((&told["event"], &told["alert"]), (&"alerts-lost".into(), &lost.id.to_string().into()));
    toy.assert_named();
}
