//! The Prometheus text format, version 0.0.4, for gauges and counters.
//!
//! ```text
//! # HELP <name> <help>
//! # TYPE <name> gauge|counter
//! <name>{<label>="<value>",...} <number>
//! ```
//!
//! Written by hand: all values are computed when they are asked for. A library would keep a copy of each in a
//! registry, and bring six crates for three lines of format.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};

use super::cache;

const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of an answer to `GET /metrics`, family by family.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// The samples of one metric, which have to stand together.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a gauge. Its name ends with the unit, if it has one.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        assert!(!name.ends_with("_total"), "{name} is no counter");
        self.family(name, "gauge", help)
    }

    /// Begins a counter: it only goes up while the process lives. Its name ends with `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        assert!(name.ends_with("_total"), "{name} is a counter");
        self.family(name, "counter", help)
    }

    /// The text so far.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &'static str) -> Family<'_> {
        assert!(!help.contains(['\\', '\n']), "help is plain text");
        let text = &mut self.0;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("strings take everything");
        Family { text, name }
    }
}

impl Family<'_> {
    /// Adds the only sample of a family without labels.
    pub fn is(mut self, value: impl TryInto<u64>) {
        self.with(&[], value);
    }

    /// Adds a sample. The values of labels may be any text; no two samples may have the same ones.
    pub fn with(&mut self, labels: &[(&str, &str)], value: impl TryInto<u64>) {
        self.text.push_str(self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            write!(self.text, "{open}{label}=\"{text}\"").expect("strings take everything");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let value = value.try_into().ok().expect("figures are whole, not negative, and below 2^64");
        writeln!(self.text, " {value}").expect("strings take everything");
    }
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        cache::answer(MEDIA_TYPE, cache::NEVER, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_format_has_them() {
        let mut figures = Exposition::default();
        figures.gauge("a_size", "How large.").is(7_usize);
        let mut family = figures.counter("b_total", "How often.");
        family.with(&[("x", "1"), ("y", "2")], 0_u64);
        family.is(u64::MAX);
        let expected = "# HELP a_size How large.\n# TYPE a_size gauge\na_size 7\n\
                        # HELP b_total How often.\n# TYPE b_total counter\nb_total{x=\"1\",y=\"2\"} 0\n\
                        b_total 18446744073709551615\n";
        assert_eq!(figures.text(), expected);
    }

    #[test]
    fn labels_can_say_anything_and_stay_in_their_line() {
        for (text, expected) in [
            (r#"a"b"#, r#"a\"b"#),
            (r"a\b", r"a\\b"),
            ("a\nb", r"a\nb"),
            ("\\\"\n", r#"\\\"\n"#),
            (r"a\nb", r"a\\nb"),
            ("{a=\"1\"} 2\nb 3", r#"{a=\"1\"} 2\nb 3"#),
            ("größe,\t☃", "größe,\t☃"),
            ("", ""),
        ] {
            let mut figures = Exposition::default();
            figures.gauge("a", "A.").with(&[("b", text)], true);
            let line = figures.text().rsplit_once("gauge\n").unwrap().1;
            assert_eq!(line, format!("a{{b=\"{expected}\"}} 1\n"), "{text:?}");
        }
    }

    #[test]
    #[should_panic(expected = "is a counter")]
    fn counters_are_called_so() {
        Exposition::default().counter("a", "A.").is(1_u64);
    }

    #[test]
    #[should_panic(expected = "is no counter")]
    fn gauges_are_not_called_counters() {
        Exposition::default().gauge("a_total", "A.").is(1_u64);
    }
}
