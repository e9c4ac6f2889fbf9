//! The templates of docs/templates, sent to a receiver: each body matches that service's documentation.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use treehead::monitor::delivery::{Delivery, Secret, Template, Webhook};
use treehead::monitor::event::{Code, Event};

use super::world::{PATIENCE, START, open};
use crate::common::mounts::quick_dir;
use crate::common::receiver::{Receiver, hmac};

const LOG: &str = "log.example/a";
/// A key of 24 bytes.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const KEY: &[u8] = b"0123456789abcdef01234567";

/// Text that a log may choose, as far as events pass it on.
const HOSTILE: &str = "a \"quoted\" \\ <!channel> {{routing_key}} \u{202e}\n message";

fn stalled() -> Event {
    Event::new(Code::LogStalled, Some(LOG), &["1"], START, "it stalls")
}

fn gap() -> Event {
    Event::new(Code::SequenceGap, Some(LOG), &["7"], START, HOSTILE).with("index", 7)
}

/// Sends a condition, a fact, and the end of the condition. Returns the receiver.
fn told_to(webhook: impl FnOnce(&str) -> Webhook) -> Receiver {
    let (dir, receiver) = (quick_dir(), Receiver::start([]));
    let webhook = webhook(&receiver.url()).with_timeout(Duration::from_secs(5)).unwrap();
    let delivery: Arc<Delivery> = open(dir.path(), Arc::new(webhook));
    delivery.tell(&[stalled(), gap()]).unwrap();
    delivery.end(&[stalled().id], "it grows again").unwrap();
    assert!(delivery.flush(PATIENCE));
    receiver
}

fn bodies(template: &str) -> [Value; 3] {
    let template = Template::parse(template).unwrap();
    let receiver = told_to(|url| Webhook::with_template(url, template, None).unwrap());
    let got = receiver.got();
    for got in &got {
        assert_eq!(got.header("content-type"), "application/json");
        assert!(!got.head.to_lowercase().contains("webhook-signature"), "{}", got.head);
    }
    let bodies: Vec<Value> = got.iter().map(|got| serde_json::from_str(&got.body).unwrap()).collect();
    bodies.try_into().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a text, saw {value}"))
}

/// `POST /api/v2/alerts`: an array of `postableAlert`, whose `labels` and `annotations` are objects of strings and
/// whose times are RFC 3339.
#[test]
fn alertmanager_gets_alerts_that_end_when_their_condition_does() {
    let bodies = bodies(include_str!("../../docs/templates/alertmanager.json"));
    for body in &bodies {
        let [alert] = &body.as_array().unwrap()[..] else { panic!("{body}") };
        for field in ["labels", "annotations"] {
            let labels = alert[field].as_object().unwrap();
            assert!(labels.values().all(Value::is_string), "{alert}");
        }
        let labels = alert["labels"].as_object().unwrap();
        assert!(labels.values().all(|label| !text(label).is_empty()) && labels.contains_key("alertname"));
        assert!(text(&alert["startsAt"]) <= text(&alert["endsAt"]), "{alert}");
    }
    let [begun, fact, ended] = &bodies;
    let labels = |body: &Value| body[0]["labels"].clone();
    assert_eq!(labels(begun), labels(ended), "labels are what an alert is known by");
    assert_eq!(labels(begun)["code"], "log-stalled");
    let ends = [begun, fact, ended].map(|body| text(&body[0]["endsAt"]).to_owned());
    assert_eq!(ends, ["2027-01-31T12:00:00Z", "2026-02-01T12:00:00Z", "2026-01-31T12:00:00Z"]);
}

/// Events API v2, "Send an event": `routing_key`, `event_action`, `payload.summary` (1,024 characters at most),
/// `payload.source` and `payload.severity` are required, and `dedup_key` (255 at most) to resolve.
#[test]
fn pagerduty_gets_triggers_and_the_resolve_of_each_condition() {
    let bodies = bodies(include_str!("../../docs/templates/pagerduty.json"));
    for body in &bodies {
        assert_eq!(text(&body["routing_key"]).len(), 32);
        assert!(text(&body["dedup_key"]).len() <= 255);
        let payload = &body["payload"];
        assert!((1..=1_024).contains(&text(&payload["summary"]).chars().count()), "{payload}");
        assert_eq!((text(&payload["source"]), text(&payload["severity"])), (LOG, "critical"));
        assert!(payload["custom_details"].is_object());
    }
    let actions = bodies.each_ref().map(|body| text(&body["event_action"]));
    assert_eq!(actions, ["trigger", "trigger", "resolve"]);
    let [begun, fact, ended] = bodies.each_ref().map(|body| text(&body["dedup_key"]));
    assert!(begun == ended && begun != fact);
}

/// Incoming webhooks: `text`, or `blocks` with `text` for notifications; a `header` takes 150 characters of
/// `plain_text`, a `section` 3,000. Text that a log chose stands in `plain_text` alone, where nobody is mentioned.
#[test]
fn slack_gets_messages_in_which_a_log_mentions_nobody() {
    let bodies = bodies(include_str!("../../docs/templates/slack.json"));
    for body in &bodies {
        assert!(!text(&body["text"]).is_empty() && !text(&body["text"]).contains('<'), "{body}");
        let [header, section, context] = &body["blocks"].as_array().unwrap()[..] else { panic!("{body}") };
        let types = [header, section, context].map(|block| text(&block["type"]));
        assert_eq!(types, ["header", "section", "context"]);
        for (object, most) in
            [(&header["text"], 150), (&section["text"], 3_000), (&context["elements"][0], 2_000)]
        {
            assert_eq!(object["type"], "plain_text");
            assert!((1..=most).contains(&text(&object["text"]).chars().count()), "{object}");
        }
    }
    assert_eq!(bodies[2]["text"], "alert: log-stalled is over");
    let message = text(&bodies[1]["blocks"][1]["text"]["text"]);
    assert!(message.starts_with("a \"quoted\" \\ <!channel> {{routing_key}} "), "{message}");
}

#[test]
fn a_template_with_a_secret_is_signed_as_it_is_sent() {
    let template = Template::parse("{\"all\": {{json}}, \"id\": \"{{id}}\"}").unwrap();
    let secret = Secret::parse(SECRET).unwrap();
    let receiver = told_to(|url| Webhook::with_template(url, template, Some(secret)).unwrap());
    let got = receiver.got();
    assert_eq!(got.len(), 3);
    for got in got {
        let (id, time) = (got.header("webhook-id"), got.header("webhook-timestamp"));
        let expected = format!("v1,{}", hmac(KEY, format!("{id}.{time}.{}", got.body).as_bytes()));
        assert_eq!(got.header("webhook-signature"), expected);
        let body: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!((&body["id"], &body["all"]["id"]), (&json!(id), &json!(id)));
    }
}
