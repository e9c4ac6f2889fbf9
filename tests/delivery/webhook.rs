//! Events over HTTP, to a receiver that fails at times.

use std::sync::Arc;
use std::time::Duration;

use treehead::monitor::delivery::{Delivery, Filter, Secret, SinkSettings, Webhook};

use super::world::{PATIENCE, START, forks, lines, open, settings};
use crate::common::log::eventually;
use crate::common::mounts::quick_dir;
use crate::common::receiver::{Answer, Receiver, hmac};

/// A key of 24 bytes.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3\n";
const KEY: &[u8] = b"0123456789abcdef01234567";

fn webhook(receiver: &Receiver) -> Arc<Webhook> {
    let webhook = Webhook::new(&receiver.url(), Secret::parse(SECRET).unwrap()).unwrap();
    Arc::new(webhook.with_timeout(Duration::from_secs(2)).unwrap())
}

/// Each request has the signature of its own content.
fn check(receiver: &Receiver) {
    for got in receiver.got() {
        assert!(got.head.starts_with("POST /hooks/monitor?token=abc HTTP/1.1\r\n"), "{}", got.head);
        assert_eq!(got.header("content-type"), "application/json");
        let (id, time) = (got.header("webhook-id"), got.header("webhook-timestamp"));
        assert_eq!(time, START.to_string());
        let expected = format!("v1,{}", hmac(KEY, format!("{id}.{time}.{}", got.body).as_bytes()));
        assert_eq!(got.header("webhook-signature"), expected);
        let event: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(event["id"], id.as_str());
    }
}

/// Bodies in order of arrival, without repeats.
fn bodies(receiver: &Receiver) -> Vec<String> {
    let mut bodies: Vec<String> = receiver.got().into_iter().map(|got| got.body).collect();
    bodies.dedup();
    bodies
}

#[test]
fn each_event_is_a_signed_request_of_its_own() {
    let (dir, receiver) = (quick_dir(), Receiver::start([]));
    let mut settings = settings();
    let secret = Secret::parse(SECRET).unwrap();
    let hook = Arc::new(Webhook::new(&receiver.url(), secret).unwrap());
    settings.sinks.push(SinkSettings::new("hook", Filter::default(), hook).unwrap());
    let delivery = Delivery::open(dir.path(), settings, Box::new(std::io::sink())).unwrap();
    delivery.tell(&forks(0..5)).unwrap();
    assert!(delivery.flush(PATIENCE));
    check(&receiver);
    let got: Vec<String> = receiver.got().into_iter().map(|got| got.body).collect();
    assert_eq!(got, lines(&forks(0..5)), "each came once");
}

#[test]
fn whatever_goes_wrong_the_event_comes_again_before_the_next_one() {
    let (dir, wrong) = (
        quick_dir(),
        [
            Answer::Status(500, ""),
            Answer::Status(404, ""),
            Answer::Close,
            Answer::Status(301, "Location: /elsewhere\r\n"),
            Answer::Status(410, ""),
            Answer::Status(429, "Retry-After: 0\r\n"),
            Answer::Status(503, "Retry-After: soon\r\n"),
            Answer::Drip,
            Answer::Status(200, ""),
            Answer::Close,
        ],
    );
    let failures = wrong.len() - 1;
    let receiver = Receiver::start(wrong);
    let delivery = open(dir.path(), webhook(&receiver));
    delivery.tell(&forks(0..4)).unwrap();
    assert!(delivery.flush(PATIENCE));
    check(&receiver);
    assert_eq!(bodies(&receiver), lines(&forks(0..4)));
    assert!(
        receiver.got().iter().all(|got| got.head.contains(" /hooks/monitor?")),
        "no redirect is followed"
    );
    let figures = delivery.figures();
    assert!(figures.sinks[0].failures >= failures as u64, "{figures:?}");
    assert_eq!(figures.sinks[0].delivered, 4);
}

#[test]
fn failures_are_reported_with_advice() {
    for (answer, expected) in [
        (Answer::Status(410, ""), "take this sink out"),
        (Answer::Status(302, "Location: http://a.example/\r\n"), "put the new address"),
        (Answer::Status(401, ""), "is the secret"),
        (Answer::Status(500, ""), "expected 2xx, saw 500: \"so it is\""),
        (Answer::Close, "no answer"),
    ] {
        let (dir, receiver) = (quick_dir(), Receiver::start(vec![answer; 10_000]));
        let delivery = open(dir.path(), webhook(&receiver));
        delivery.tell(&forks(0..1)).unwrap();
        eventually(expected, || {
            delivery.figures().sinks[0].fault.as_ref().is_some_and(|fault| fault.contains(expected))
        });
        let fault = delivery.figures().sinks[0].fault.clone().unwrap();
        assert!(!fault.contains("abc"), "tokens in addresses are secrets: {fault}");
    }
}

#[test]
fn a_receiver_that_asks_to_wait_is_left_alone() {
    let answers = [Answer::Status(429, "Retry-After: 3000\r\n")];
    let (dir, receiver) = (quick_dir(), Receiver::start(answers));
    let delivery = open(dir.path(), webhook(&receiver));
    delivery.tell(&forks(0..1)).unwrap();
    eventually("it is tried", || delivery.figures().sinks[0].failures == 1);
    // The longest pause is a tenth of this.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(receiver.got().len(), 1);
    // Nor does `flush` wait for half an hour if no event can be delivered within it.
    assert!(!delivery.flush(Duration::from_secs(1_800)));
    assert_eq!((receiver.got().len(), delivery.figures().sinks[0].undelivered), (1, 1));
}

#[test]
fn what_a_receiver_that_was_away_missed_comes_after_a_restart() {
    let dir = quick_dir();
    let receiver = Receiver::start(vec![Answer::Close; 3]);
    let address = webhook(&receiver);
    let delivery = open(dir.path(), address.clone());
    delivery.tell(&forks(0..2)).unwrap();
    eventually("it is tried", || delivery.figures().sinks[0].failures > 0);
    drop(delivery);
    let delivery = open(dir.path(), address);
    delivery.tell(&forks(2..3)).unwrap();
    assert!(delivery.flush(PATIENCE));
    check(&receiver);
    assert_eq!(bodies(&receiver), lines(&forks(0..3)));
}
