use std::collections::{BTreeSet, HashSet};

use super::*;

fn event() -> Event {
    Event::new(Code::SequenceGap, Some("log.example/a"), &["7"], 1_769_860_800, "a gap").with("index", 7)
}

#[test]
fn a_line_has_its_fields_in_order_and_the_data_behind_them() {
    let id = EventId::of(Code::SequenceGap, Some("log.example/a"), &["7"]);
    let advice = Code::SequenceGap.advice().unwrap();
    let expected = format!(
        "{{\"id\":\"{id}\",\"time\":\"2026-01-31T12:00:00Z\",\"event\":\"sequence-gap\",\
         \"severity\":\"alert\",\"log\":\"log.example/a\",\"message\":\"a gap\",\"advice\":\"{advice}\",\
         \"index\":7}}"
    );
    assert_eq!(event().to_line(), expected);
    assert_eq!(add_field(&expected, "reminder", true), expected.replace("7}", "7,\"reminder\":true}"));
    let later = retold(&expected, "later", &id.to_string());
    assert_eq!(
        later,
        expected.replacen(&id.to_string(), "later", 1).replace("7}", &format!("7,\"alert\":\"{id}\"}}"))
    );
    let bare = Event::new(Code::Started, None, &[], 0, "on");
    let id = bare.id;
    let expected = format!(
        "{{\"id\":\"{id}\",\"time\":\"1970-01-01T00:00:00Z\",\"event\":\"started\",\
         \"severity\":\"info\",\"message\":\"on\"}}"
    );
    assert_eq!(bare.to_line(), expected);
}

#[test]
fn one_thing_has_one_id_and_no_two_things_do() {
    assert_eq!(event().id, Event { time: 9, message: "other words".to_owned(), ..event() }.id);
    let (a, b) = (Some("log.example/a"), Some("log.example/b"));
    let ids = [
        EventId::of(Code::Fork, a, &["7"]),
        EventId::of(Code::LogShrunk, a, &["7"]),
        EventId::of(Code::Fork, b, &["7"]),
        EventId::of(Code::Fork, None, &["log.example/a", "7"]),
        EventId::of(Code::Fork, a, &["7", ""]),
        EventId::of(Code::Fork, a, &["", "7"]),
        EventId::of(Code::Fork, a, &["1", "2"]),
        EventId::of(Code::Fork, a, &["12"]),
    ];
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    for id in ids {
        assert_eq!(EventId::parse(&id.to_string()), Ok(id));
    }
    let text = ids[0].to_string();
    for bad in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &text.replace(&text[..1], "g")] {
        assert!(EventId::parse(bad).is_err() || bad == text, "{bad}");
    }
}

#[test]
fn what_is_watched_is_told_louder_and_an_alert_stays_one() {
    let names = ["ours".to_owned()];
    let release = Event::new(Code::Release, None, &[], 0, "new").watched(&names);
    assert_eq!(release.severity, Severity::Watch);
    assert!(release.to_line().ends_with("\"watches\":[\"ours\"]}"));
    assert_eq!(event().watched(&names).severity, Severity::Alert);
}

#[test]
fn foreign_text_neither_drives_a_terminal_nor_makes_a_line_long() {
    let foreign = "\u{1b}[31m\n\"\\".to_owned() + &"\u{10ffff}".repeat(100_000);
    let all = || Some(foreign.clone());
    let event = Event { message: foreign.clone(), advice: all(), origin: all(), ..event() };
    let line = event.with("purl", foreign).to_line();
    assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
    assert!(!line.contains(|c: char| c.is_control()));
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&read["cut"], &read["event"]), (&Value::Bool(true), &Value::from("sequence-gap")));
    assert!(read.get("purl").is_none());
}

#[test]
#[should_panic(expected = "severity")]
fn no_field_is_there_twice() {
    let mut event = event();
    event.data.insert("severity".to_owned(), Value::from("info"));
    let _ = event.to_line();
}

#[test]
fn each_code_has_its_row_and_a_name_of_its_own() {
    for (at, row) in TABLE.iter().enumerate() {
        assert_eq!(row.code as usize, at, "{}", row.name);
        assert_eq!(Code::parse(row.name), Some(row.code));
        assert_eq!(row.severity == Severity::Alert, row.advice.is_some(), "{}", row.name);
    }
    let names: BTreeSet<&str> = Code::all().map(Code::as_str).collect();
    assert_eq!(names.len(), TABLE.len());
    for word in ["info", "watch", "alert", "ended", "forks", "Fork", ""] {
        assert_eq!(Code::parse(word), None, "{word}");
    }
    let fit = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    assert!(names.iter().all(|name| fit(name)), "{names:?}");
}
