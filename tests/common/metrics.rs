//! Reads the text format of Prometheus, strictly.

use std::collections::{BTreeMap, BTreeSet};

use super::http::Reply;

type Labels = BTreeMap<String, String>;

/// All samples of an answer.
#[derive(Debug)]
pub struct Samples {
    families: BTreeSet<String>,
    samples: BTreeMap<(String, Labels), u64>,
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// A label's value up to its closing quote, and the rest.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next().expect("a closing quote") {
            '"' => return (value, rest.as_str()),
            '\\' => value.push(match rest.next() {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("the format has no escape {other:?}: {text}"),
            }),
            other => value.push(other),
        }
    }
}

fn labels(mut text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (label, rest) = text.split_once("=\"").expect("a label");
        assert!(is_name(label), "{label:?} is no name of a label");
        let (value, rest) = value(rest);
        assert!(labels.insert(label.to_owned(), value).is_none(), "{label} is there twice");
        match rest.chars().next() {
            Some(',') => text = &rest[1..],
            Some('}') => return (labels, &rest[1..]),
            _ => panic!("expected a comma or a brace: {rest:?}"),
        }
    }
}

impl Samples {
    /// Reads a successful answer.
    pub fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), Some("no-store"), "figures are not for caches");
        Self::parse(reply.text())
    }

    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "whole lines, none of them empty: {text}");
        let mut read = Self { families: BTreeSet::new(), samples: BTreeMap::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) =
                line.strip_prefix("# HELP ").expect(line).split_once(' ').expect("a help text");
            assert!(is_name(name) && help.ends_with('.') && !help.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap_or_else(|| panic!("{name} has no type"));
            assert_eq!(kind, if name.ends_with("_total") { "counter" } else { "gauge" }, "{name}");
            assert!(read.families.insert(name.to_owned()), "{name} is there twice");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let rest = line.strip_prefix(name).unwrap_or_else(|| panic!("{line} is not of {name}"));
                let (labels, rest) = rest.strip_prefix('{').map_or((Labels::new(), rest), labels);
                let number = rest.strip_prefix(' ').expect("one space");
                let figure: u64 = number.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                assert_eq!(figure.to_string(), number);
                let before = read.samples.insert((name.to_owned(), labels), figure);
                assert_eq!(before, None, "twice: {line}");
            }
        }
        read
    }

    /// The sample with exactly these labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// Like `find`, for a sample that has to exist.
    #[track_caller]
    pub fn with(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {self:#?}"))
    }

    /// The sample without labels.
    #[track_caller]
    pub fn one(&self, name: &str) -> u64 {
        self.with(name, &[])
    }

    /// The samples of a name that are not zero, by one of their labels, in order.
    pub fn not_zero(&self, of: &str, label: &str) -> Vec<(&str, u64)> {
        let samples = self.samples.iter().filter(|((name, _), figure)| name == of && **figure != 0);
        let mut found: Vec<_> =
            samples.map(|((_, labels), figure)| (labels[label].as_str(), *figure)).collect();
        found.sort_unstable();
        found
    }

    /// The names of all families.
    pub fn families(&self) -> BTreeSet<&str> {
        self.families.iter().map(String::as_str).collect()
    }
}

/// The metric names in the first table column of a documentation page.
pub fn documented<'a>(page: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter(|row| row.starts_with(prefix)).filter_map(|row| row.split(['`', '{']).next()).collect()
}
