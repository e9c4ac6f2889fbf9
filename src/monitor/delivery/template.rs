//! Templates for receivers with a JSON form of their own, such as Slack, Alertmanager and `PagerDuty`.
//!
//! A template is JSON with placeholders: `{{message}}` inside a string is replaced by text, escaped for JSON;
//! outside of strings by the value as JSON, `null` if the event lacks it. `{{ended?resolve:trigger}}`, inside a
//! string, chooses between two texts.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::format::{FormatError, quote, to_json};
use crate::monitor::event::{Code, DATA_FIELDS, Span};
use crate::release::{format_time, parse_time};

/// Largest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;
const WHAT: &str = "a webhook's template";
/// Placeholders that every event has, beside the fields of its code.
const FIELDS: [&str; 13] = [
    "id", "alert", "time", "event", "code", "severity", "log", "message", "advice", "since", "ends", "ended",
    "json",
];
/// Begins the placeholder that chooses between two texts.
const CHOICE: &str = "ended?";
/// Seconds for which a receiver that forgets alerts by itself is to keep a fact.
const KEEP_FACT: u64 = 86_400;
/// Seconds for which it is to keep a condition, whose end is told.
const KEEP_CONDITION: u64 = 365 * 86_400;

/// A template that was checked: with any event it makes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// A field inside a string.
    Text(String),
    /// A field outside of strings.
    Json(String),
    /// Texts for an end, and for any other event.
    Choice(String, String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`FormatError`] with the line, for an unknown placeholder, and unless it is JSON once the placeholders are
    /// replaced.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let seen = format!("{} bytes", text.len());
            return Err(FormatError::malformed(WHAT, "at most 64 KiB", seen));
        }
        let (mut parts, mut rest, mut line, mut in_string) = (Vec::new(), text, 1, false);
        while let Some((literal, behind)) = rest.split_once("{{") {
            in_string = ends_in_string(in_string, literal);
            line += literal.matches('\n').count();
            parts.push(Part::Literal(literal.to_owned()));
            let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
            parts.push(placeholder(name, in_string).ok_or_else(|| unknown(name, line))?);
            rest = behind;
        }
        parts.push(Part::Literal(rest.to_owned()));
        let template = Self(parts);
        let parsed: Result<Value, _> = serde_json::from_str(&template.render("{}"));
        parsed.map(|_| template).map_err(|e| {
            FormatError::malformed(WHAT, "JSON with placeholders like {{message}} in strings", e.to_string())
        })
    }

    /// The JSON for an event, which is the line that is printed for it.
    #[must_use]
    pub fn render(&self, line: &str) -> String {
        let event = serde_json::from_str(line).unwrap_or(Value::Null);
        let fields = fields(&event);
        let value = |name: &str| fields.get(name).unwrap_or(&Value::Null);
        let mut body = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => body += text,
                Part::Json(name) => body += &to_json(value(name)),
                Part::Text(name) => body += &escaped(&text_of(value(name))),
                Part::Choice(ended, other) => {
                    body += if value("ended") == &Value::Bool(true) { ended } else { other };
                }
            }
        }
        body
    }
}

fn placeholder(name: &str, in_string: bool) -> Option<Part> {
    if let Some((ended, other)) = name.strip_prefix(CHOICE).and_then(|texts| texts.split_once(':')) {
        let is_plain = |text: &str| !text.contains(['"', '\\', '\n', '{']);
        return (in_string && is_plain(ended) && is_plain(other))
            .then(|| Part::Choice(ended.to_owned(), other.to_owned()));
    }
    let is_known = FIELDS.contains(&name) || DATA_FIELDS.contains(&name);
    let part = if in_string { Part::Text } else { Part::Json };
    is_known.then(|| part(name.to_owned()))
}

fn unknown(name: &str, line: usize) -> FormatError {
    let mut expected = String::from("a placeholder out of ");
    for known in FIELDS.iter().chain(&DATA_FIELDS) {
        let _ = write!(expected, "{{{{{known}}}}}, ");
    }
    expected += "or, in a string, {{ended?TEXT:TEXT}}";
    let name: String = name.chars().take(40).collect();
    FormatError::malformed(WHAT, expected, format!("{} at line {line}", quote(&name)))
}

/// Whether JSON text that began inside or outside of a string ends inside of one.
fn ends_in_string(mut in_string: bool, text: &str) -> bool {
    let mut is_escaped = false;
    for c in text.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    in_string
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => to_json(other),
    }
}

fn escaped(text: &str) -> String {
    let quoted = to_json(&text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// The fields of an event, and those that are the same for a condition and its end.
fn fields(event: &Value) -> Map<String, Value> {
    let Value::Object(mut fields) = event.clone() else { return Map::new() };
    let get = |name: &str| event.get(name).and_then(Value::as_str);
    let is_end = get("event") == Some("ended");
    let code = if is_end { get("of") } else { get("event") }.unwrap_or_default();
    let time = get("time").and_then(|time| parse_time(time).ok()).unwrap_or_default();
    let lasts = Code::parse(code).is_some_and(|code| code.span() == Span::Condition);
    let ends = match (is_end, lasts) {
        (true, _) => time,
        (false, true) => time + KEEP_CONDITION,
        (false, false) => time + KEEP_FACT,
    };
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("code", code.into());
    set("ended", is_end.into());
    set("ends", format_time(ends).into());
    // An event that begins a condition, or reports a fact, has its own.
    set("alert", get("alert").or_else(|| get("id")).into());
    set("since", get("since").or_else(|| get("time")).into());
    set("json", event.clone());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::event::Event;

    fn rendered(template: &str, line: &str) -> Value {
        let body = Template::parse(template).unwrap().render(line);
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }

    #[test]
    fn values_are_escaped_by_their_place() {
        let event =
            Event::new(Code::SequenceGap, Some("log.example/a"), &["7"], 1_769_860_800, "a \"gap\"\\")
                .with("index", 7)
                .with("watches", vec!["a", "b"]);
        let template = r#"{"text": "[{{severity}}] {{message}}", "index": {{index}}, "leaf": "leaf {{index}}",
            "list": {{watches}}, "as text": "{{watches}}", "none": {{purl}}, "empty": "{{purl}}", "all": {{json}},
            "\"in {{code}}\\": "{{ended?resolve:trigger}}"}"#;
        let seen = rendered(template, &event.to_line());
        let all: Value = serde_json::from_str(&event.to_line()).unwrap();
        let expected = serde_json::json!({
            "text": "[alert] a \"gap\"\\", "index": 7, "leaf": "leaf 7", "list": ["a", "b"],
            "as text": "[\"a\",\"b\"]", "none": null, "empty": "", "all": all, "\"in sequence-gap\\": "trigger",
        });
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_end_has_the_name_and_the_code_of_its_beginning() {
        let template =
            r#"["{{alert}}", "{{code}}", "{{since}}", "{{ends}}", {{ended}}, "{{ended?resolve:trigger}}"]"#;
        let event = Event::new(Code::LogStalled, None, &[], 1_769_860_800, "it stalls");
        let id = event.id.to_string();
        let (begin, later) = ("2026-01-31T12:00:00Z", "2027-01-31T12:00:00Z");
        let begun = serde_json::json!([id, "log-stalled", begin, later, false, "trigger"]);
        assert_eq!(rendered(template, &event.to_line()), begun);
        let ended = format!(
            "{{\"id\":\"{id}-ended-5\",\"alert\":\"{id}\",\"time\":\"2026-02-01T00:00:00Z\",\"event\":\"ended\",\
             \"of\":\"log-stalled\",\"since\":\"{begin}\"}}"
        );
        let over = serde_json::json!([id, "log-stalled", begin, "2026-02-01T00:00:00Z", true, "resolve"]);
        assert_eq!(rendered(template, &ended), over);
        let gap = Event::new(Code::SequenceGap, None, &[], 1_769_860_800, "a gap");
        assert_eq!(rendered(template, &gap.to_line())[3], "2026-02-01T12:00:00Z");
    }

    #[test]
    fn a_template_that_makes_no_json_or_has_an_unknown_placeholder_is_refused() {
        for (bad, says) in [
            ("{\"a\":\n \"{{mesage}}\"}", "\"mesage\" at line 2"),
            ("{\"a\": \"{{message\"}", "at line 1"),
            ("{\"a\": {{ended?1:2}}}", "\"ended?1:2\" at line 1"),
            ("{\"a\": \"{{ended?\"1:2}}\"}", "at line 1"),
            ("{\"a\": {{message}}", "line 1"),
            ("", "EOF"),
            ("payload={{json}}", "expected value"),
        ] {
            let error = Template::parse(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
        let error = Template::parse("{{nothing}}").unwrap_err().to_string();
        assert!(error.contains("{{message}}") && error.contains("{{evidence}}"), "{error}");
        assert!(Template::parse(&" ".repeat(MAX_TEMPLATE_BYTES + 1)).is_err());
    }
}
