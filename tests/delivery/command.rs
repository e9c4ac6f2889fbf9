//! Events sent to a command.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use treehead::monitor::delivery::{Command, Delivery, Filter, SinkSettings};

use super::world::{PATIENCE, forks, lines, open, settings};
use crate::common::log::eventually;
use crate::common::mounts::quick_dir;

/// A script for the system's shell, as an argument list.
fn script(dir: &Path, text: &str) -> Vec<String> {
    let path = dir.join("script");
    fs::write(&path, text).unwrap();
    ["/bin/sh", path.to_str().unwrap(), dir.to_str().unwrap()].map(ToOwned::to_owned).to_vec()
}

fn command(argv: Vec<String>) -> Arc<Command> {
    Arc::new(Command::new(argv).unwrap())
}

#[test]
fn a_program_gets_each_event_on_its_standard_input() {
    let dir = quick_dir();
    let argv = script(dir.path(), "echo talk; cat >> \"$1/got\"\n");
    let mut settings = settings();
    settings.sinks.push(SinkSettings::new("mail", Filter::default(), command(argv)).unwrap());
    let delivery = Delivery::open(dir.path(), settings, Box::new(std::io::sink())).unwrap();
    delivery.tell(&forks(0..3)).unwrap();
    assert!(delivery.flush(PATIENCE));
    let got = fs::read_to_string(dir.path().join("got")).unwrap();
    assert_eq!(got, lines(&forks(0..3)).join("\n") + "\n");
}

#[test]
fn a_program_that_fails_is_started_again_and_its_first_words_are_told() {
    let dir = quick_dir();
    let text = "if [ -e \"$1/well\" ]; then exit 0; fi; \
                yes 'much talk' | head -c 200000; printf '\\n  \\nno \\033[31mmail today\\nmore\\n' >&2; \
                yes 'much talk' | head -c 200000 >&2; exit 3\n";
    let delivery = open(dir.path(), command(script(dir.path(), text)));
    delivery.tell(&forks(0..1)).unwrap();
    let fault = || delivery.figures().sinks[0].fault.clone();
    eventually("it fails", || fault().is_some());
    let told = fault().unwrap();
    assert!(told.contains("expected exit code 0, saw 3"), "{told}");
    assert!(told.contains("mail today") && !told.contains('\u{1b}') && !told.contains("more"), "{told}");
    fs::write(dir.path().join("well"), "").unwrap();
    assert!(delivery.flush(PATIENCE));
}

#[test]
fn a_program_may_succeed_without_reading_and_ends_by_force_if_not_by_itself() {
    let dir = quick_dir();
    let delivery = open(dir.path(), command(vec!["true".to_owned()]));
    let long = forks(0..1).pop().unwrap().with("long", "x".repeat(7_000));
    delivery.tell(&[long]).unwrap();
    assert!(delivery.flush(PATIENCE));
    drop(delivery);
    let text = "if [ -e \"$1/hung\" ]; then exit 0; fi; : > \"$1/hung\"; exec sleep 1000\n";
    let argv = script(dir.path(), text);
    let hangs = Command::new(argv).unwrap().with_timeout(Duration::from_millis(300));
    let delivery = open(dir.path(), Arc::new(hangs));
    delivery.tell(&forks(1..2)).unwrap();
    assert!(delivery.flush(PATIENCE));
    assert_eq!((delivery.figures().sinks[0].failures, delivery.figures().sinks[0].delivered), (1, 1));
}

#[test]
fn what_a_program_has_started_ends_with_it() {
    let dir = quick_dir();
    let alive = dir.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&alive).status().unwrap().success());
    // The shell waits for its child, which holds the pipe as long as it lives.
    let argv = script(dir.path(), "sleep 500 > \"$1/alive\"; exit 0\n");
    let hangs = Command::new(argv).unwrap().with_timeout(Duration::from_millis(300));
    let delivery = open(dir.path(), Arc::new(hangs));
    delivery.tell(&forks(0..1)).unwrap();
    let (done, told) = channel();
    std::thread::spawn(move || {
        let mut pipe = File::open(alive).unwrap();
        done.send(()).unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        done.send(())
    });
    told.recv_timeout(PATIENCE).expect("it is started");
    // The pipe ends when all of its holders have closed it. No new process is started before that.
    delivery.stop();
    told.recv_timeout(PATIENCE).expect("it is killed");
}

#[test]
fn a_program_that_is_killed_because_the_monitor_stops_is_told_so() {
    let dir = quick_dir();
    let delivery = open(dir.path(), command(script(dir.path(), ": > \"$1/started\"; sleep 500\n")));
    delivery.tell(&forks(0..1)).unwrap();
    eventually("it is started", || dir.path().join("started").exists());
    delivery.stop();
    let fault = || delivery.figures().sinks[0].fault.clone();
    eventually("it is killed", || fault().is_some());
    let told = fault().unwrap();
    assert!(told.contains("the monitor was stopping, and killed it after another 5 s"), "{told}");
}

#[test]
fn a_program_that_is_not_there_or_is_killed_is_told() {
    let dir = quick_dir();
    for (argv, expected) in [
        (vec![dir.path().join("nothing").to_str().unwrap().to_owned()], "could not start"),
        (script(dir.path(), "kill -9 $$\n"), "ended by signal 9"),
    ] {
        let state = quick_dir();
        let delivery = open(state.path(), command(argv));
        delivery.tell(&forks(0..1)).unwrap();
        eventually(expected, || {
            delivery.figures().sinks[0].fault.as_ref().is_some_and(|fault| fault.contains(expected))
        });
    }
    for bad in [vec![], vec![String::new()], vec!["a\0b".to_owned()]] {
        assert!(Command::new(bad).is_err());
    }
}
