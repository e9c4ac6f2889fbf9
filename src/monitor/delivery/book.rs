//! `alerts.json`: the alerts that were raised, so that none is raised twice, and that open ones are told
//! again.
//!
//! A fact is open until somebody acknowledges it, a condition until it ends. What is over stays for a while,
//! so that it is known when it is seen again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rank::Rank;
use super::{AlertView, DeliveryError};
use crate::disk::{DiskError, read_plain};
use crate::monitor::event::{EventId, Severity};

/// The file, in the desk's directory.
pub const BOOK: &str = "alerts.json";
/// Most alerts in the book: nobody reads more, and it is written as a whole with each new one.
const MAX_ALERTS: usize = 10_000;
/// Most bytes of their lines.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// An alert in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place among all, which the book gives it.
    #[serde(skip)]
    pub number: u64,
    pub id: String,
    pub code: String,
    pub severity: Severity,
    pub condition: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What a condition is about, beside its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The purl that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    pub message: String,
    /// Unix seconds when it was raised, later each time that it is raised anew.
    pub raised: u64,
    /// When sinks were told last; none where a silence kept it from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// The event as it was told first, under the alert's own id.
    pub line: String,
}

impl Entry {
    /// Whether it is of interest to somebody who asks what is open.
    pub const fn is_open(&self) -> bool {
        self.ended.is_none() && (self.condition || self.acknowledged.is_none())
    }

    /// The same with what it is about, which older books have only in the line.
    fn with_about(mut self) -> Self {
        if self.about.is_none() && self.line.contains("\"about\":") {
            let line = serde_json::from_str(&self.line).unwrap_or(serde_json::Value::Null);
            self.about = line.get("about").and_then(|about| about.as_str()).map(ToOwned::to_owned);
        }
        self
    }

    fn view(&self, silenced: bool) -> AlertView {
        AlertView {
            id: self.id.clone(),
            code: self.code.clone(),
            log: self.log.clone(),
            about: self.about.clone(),
            message: self.message.clone(),
            raised: self.raised,
            condition: self.condition,
            acknowledged: self.acknowledged,
            silenced,
        }
    }

    /// Whether it is told again.
    pub const fn is_pressing(&self) -> bool {
        self.ended.is_none() && self.acknowledged.is_none()
    }

    fn rank(&self) -> Rank {
        Rank::of(&self.code)
    }

    /// What may go first when the book is full.
    fn worth(&self) -> u8 {
        let lasts = self.condition || self.rank() == Rank::Split;
        match (self.ended.is_some(), self.acknowledged.is_some(), lasts) {
            (true, ..) => 0,
            (_, true, false) => 1,
            (_, false, false) => 2,
            (_, true, true) => 3,
            (_, false, true) if self.rank() < Rank::Split => 4,
            (_, false, true) => 5,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    alerts: Vec<Entry>,
}

/// The alerts. Each is shared: who has much to do with them takes them out of the desk's lock.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The oldest first.
    alerts: BTreeMap<u64, Arc<Entry>>,
    /// By id.
    numbers: HashMap<String, u64>,
    bytes: usize,
    next: u64,
}

impl Book {
    /// Reads the file in `dir`; none where there is no file.
    pub fn read(dir: &Path) -> Result<Option<Self>, DeliveryError> {
        let path = dir.join(BOOK);
        let bytes = match read_plain(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(DiskError::io("read", &path)(e).into()),
        };
        Self::parse(&bytes).map(Some).map_err(|detail| DeliveryError::Damaged {
            path,
            detail,
            cost: "alerts about entries that were looked at before are then not known any more, open or acknowledged; conditions that last, and forks in evidence/, are told again; the alert alerts-lost says how to get the others",
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text: Text = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if text.version != 1 {
            return Err(format!("expected version 1, saw {}", text.version));
        }
        let mut book = Self::default();
        for entry in text.alerts {
            EventId::parse(&entry.id).map_err(|e| e.to_string())?;
            if !entry.line.starts_with("{\"id\":\"")
                || !entry.line.ends_with('}')
                || entry.line.contains('\n')
            {
                return Err(format!("expected the line of an event at alert {}", entry.id));
            }
            book.put(entry.with_about());
        }
        Ok(book)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.alerts.values().cloned().collect()
    }

    /// What is open, the oldest first.
    pub fn open(&self) -> Vec<Arc<Entry>> {
        self.alerts.values().filter(|entry| entry.is_open()).cloned().collect()
    }

    /// So many of what is open: forks and the like first, then the oldest.
    pub fn open_up_to(&self, most: usize) -> Vec<Arc<Entry>> {
        let (mut splits, mut others) = (Vec::new(), Vec::new());
        for entry in self.alerts.values().filter(|entry| entry.is_open()) {
            let to = if entry.rank() == Rank::Split { &mut splits } else { &mut others };
            if to.len() < most {
                to.push(entry.clone());
            }
        }
        splits.append(&mut others);
        splits.truncate(most);
        splits
    }

    /// What is open that nobody acknowledged, the oldest first.
    pub fn pressing(&self) -> Vec<Arc<Entry>> {
        self.alerts.values().filter(|entry| entry.is_pressing()).cloned().collect()
    }

    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.numbers.get(id).map(|number| self.alerts[number].as_ref())
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Entry> {
        let number = self.numbers.get(id)?;
        self.alerts.get_mut(number).map(Arc::make_mut)
    }

    /// Adds or replaces an alert, as the last one; [`trim`](Self::trim) is for afterwards.
    pub fn put(&mut self, entry: Entry) {
        let (number, id) = (self.next, entry.id.clone());
        self.next += 1;
        self.bytes += entry.line.len();
        self.alerts.insert(number, Arc::new(Entry { number, ..entry }));
        if let Some(old) = self.numbers.insert(id, number) {
            self.bytes -= self.alerts.remove(&old).expect("it has a number").line.len();
        }
    }

    fn remove(&mut self, number: u64) -> Arc<Entry> {
        let entry = self.alerts.remove(&number).expect("it was there");
        self.numbers.remove(&entry.id);
        self.bytes -= entry.line.len();
        entry
    }

    /// Takes out what there is too much of, and says which of it was still open.
    pub fn trim(&mut self) -> Vec<Arc<Entry>> {
        self.trim_to(MAX_ALERTS, MAX_BYTES)
    }

    fn trim_to(&mut self, alerts: usize, bytes: usize) -> Vec<Arc<Entry>> {
        if self.alerts.len() <= alerts && self.bytes <= bytes {
            return Vec::new();
        }
        let mut order = self.by_share(alerts, bytes);
        order.sort_unstable();
        let mut open = Vec::new();
        for (.., number) in order {
            if self.alerts.len() <= alerts && self.bytes <= bytes {
                break;
            }
            let entry = self.remove(number);
            if entry.is_open() {
                open.push(entry);
            }
        }
        open
    }

    /// Each with what decides whether it goes before others: whether it is in its log's share of the book, what
    /// it is worth, and its number. Who fills the book with one log's alerts drives out no other log's.
    fn by_share(&self, alerts: usize, bytes: usize) -> Vec<(bool, u8, u64)> {
        let mut best_first: Vec<(u8, &Arc<Entry>)> =
            self.alerts.values().map(|entry| (entry.worth(), entry)).collect();
        best_first.sort_unstable_by_key(|(worth, entry)| Reverse((*worth, entry.number)));
        let mut taken: HashMap<Option<&str>, (usize, usize)> = HashMap::new();
        for (_, entry) in &best_first {
            taken.entry(entry.log.as_deref()).or_default();
        }
        let logs = taken.len();
        let by_share = best_first.into_iter().map(|(worth, entry)| {
            let (count, size) = taken.get_mut(&entry.log.as_deref()).expect("each log is there");
            *count += 1;
            *size += entry.line.len();
            (*count <= alerts / logs && *size <= bytes / logs, worth, entry.number)
        });
        by_share.collect()
    }

    /// Changes one, if it is there still.
    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.get_mut(id) {
            change(entry);
        }
    }

    /// Somebody has seen the alert that was raised at this time; false where there is none that waits for it.
    pub fn acknowledge(&mut self, id: &str, raised: u64, time: u64) -> bool {
        let waits = |entry: &&mut Entry| entry.raised == raised && entry.is_pressing();
        let entry = self.get_mut(id).filter(waits);
        entry.map(|entry| entry.acknowledged = Some(time)).is_some()
    }
}

/// The file: an alert a line, in the order in which they were raised.
pub fn encode(alerts: &[Arc<Entry>]) -> Vec<u8> {
    let entry = |entry: &Arc<Entry>| {
        serde_json::to_string(entry.as_ref()).expect("texts and numbers have a JSON form")
    };
    let lines: Vec<String> = alerts.iter().map(entry).collect();
    format!("{{\"version\":1,\"alerts\":[\n{}\n]}}\n", lines.join(",\n")).into_bytes()
}

/// What others see of them.
pub fn views(alerts: &[Arc<Entry>], silenced: impl Fn(&Entry) -> bool) -> Vec<AlertView> {
    alerts.iter().map(|entry| entry.view(silenced(entry))).collect()
}

/// Those of the pressing ones that are due to be told again: told longer ago than that, or never because a
/// silence that is over kept them.
pub fn due(
    pressing: Vec<Arc<Entry>>,
    now: u64,
    remind_after: u64,
    silenced: impl Fn(&Entry) -> bool,
) -> Vec<Arc<Entry>> {
    let is_due = |entry: &Arc<Entry>| {
        let by_time = |told: u64| remind_after > 0 && told.saturating_add(remind_after) <= now;
        entry.told.is_none_or(by_time) && !silenced(entry)
    };
    pressing.into_iter().filter(is_due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, condition: bool) -> Entry {
        let id = format!("{number:032x}");
        Entry {
            number: 0,
            line: format!("{{\"id\":\"{id}\"}}"),
            id,
            code: if condition { "log-stalled" } else { "sequence-gap" }.to_owned(),
            severity: Severity::Alert,
            condition,
            log: Some("log.example/a".to_owned()),
            about: None,
            purl: None,
            message: "it happened".to_owned(),
            raised: 100 + number,
            told: Some(100 + number),
            acknowledged: None,
            ended: None,
        }
    }

    fn book(entries: &[Entry]) -> Book {
        let mut book = Book::default();
        entries.iter().for_each(|entry| book.put(entry.clone()));
        book
    }

    #[test]
    fn a_book_reads_back() {
        let done = Entry { acknowledged: Some(5), ended: Some(6), told: None, ..entry(2, true) };
        for entries in [vec![], vec![entry(3, false), entry(1, true), done]] {
            let book = book(&entries);
            let read = Book::parse(&encode(&book.all())).unwrap();
            assert_eq!((&read.alerts, read.bytes), (&book.alerts, book.bytes));
        }
        let text = String::from_utf8(encode(&book(&[entry(1, false)]).all())).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"code\"", "\"kode\""),
            ("\"id\":\"0", "\"id\":\"X"),
            ("{\\\"id\\\"", "[\\\"id\\\""),
            ("]}", ""),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(text, damaged);
            Book::parse(damaged.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn what_an_alert_is_about_is_read_from_older_books_too() {
        let line = format!("{{\"id\":\"{:032x}\",\"about\":\"witness \\\"w\\\"\"}}", 1);
        let about = |about: Option<&str>| Entry {
            line: line.clone(),
            about: about.map(ToOwned::to_owned),
            ..entry(1, true)
        };
        // As a book without the field has it.
        for (written, read) in [(None, "witness \"w\""), (Some("another"), "another")] {
            let bytes = encode(&book(&[about(written)]).all());
            let book = Book::parse(&bytes).unwrap();
            assert_eq!(views(&book.open(), |_| false)[0].about.as_deref(), Some(read));
        }
    }

    #[test]
    fn what_is_over_goes_first_then_facts_then_conditions_and_forks_last() {
        let ended = Entry { ended: Some(7), ..entry(9, true) };
        let seen = Entry { acknowledged: Some(7), ..entry(8, false) };
        let seen_condition = Entry { acknowledged: Some(7), ..entry(0, true) };
        let split =
            |number, code: &str, condition| Entry { code: code.to_owned(), ..entry(number, condition) };
        let splits = [split(11, "fork", false), split(5, "head-ahead", true), split(6, "log-shrunk", false)];
        let [fork, ahead, shrunk] = splits;
        let order = [
            ended,
            seen,
            entry(3, false),
            entry(4, false),
            seen_condition,
            entry(1, true),
            fork,
            ahead,
            shrunk,
        ];
        for left in 0..=order.len() {
            let mut book = book(&order);
            let dropped = book.trim_to(left, usize::MAX);
            let (gone, kept) = order.split_at(order.len() - left);
            assert!(gone.iter().all(|entry| book.get(&entry.id).is_none()));
            assert!(kept.iter().all(|entry| book.get(&entry.id).is_some()));
            let open: Vec<&str> = gone.iter().filter(|e| e.is_open()).map(|e| e.id.as_str()).collect();
            let dropped: Vec<&str> = dropped.iter().map(|entry| entry.id.as_str()).collect();
            assert_eq!(dropped, open, "only what is open is worth a word");
        }
        let mut book = book(&order);
        let line = order[0].line.len();
        book.trim_to(100, 3 * line + 1);
        assert_eq!((book.alerts.len(), book.bytes), (3, 3 * line));
    }

    #[test]
    fn a_flood_of_one_log_drives_out_nothing_of_the_others() {
        let of = |log: &str, code: &str, numbers: std::ops::Range<u64>| -> Vec<Entry> {
            let (log, code) = (Some(log.to_owned()), code.to_owned());
            numbers
                .map(|number| Entry { log: log.clone(), code: code.clone(), ..entry(number, false) })
                .collect()
        };
        // Older, of less worth, and a third of the book.
        let others = [of("b", "fork", 0..3), of("c", "sequence-gap", 3..6)].concat();
        for code in ["sequence-gap", "fork"] {
            let flood = of("a", code, 100..150);
            let line = flood[0].line.len();
            for (alerts, bytes) in [(9, usize::MAX), (usize::MAX, 9 * line)] {
                let mut book = book(&[others.clone(), flood.clone()].concat());
                book.trim_to(alerts, bytes);
                assert!(others.iter().all(|entry| book.get(&entry.id).is_some()), "{code}");
                let kept = flood.iter().map(|entry| book.get(&entry.id).is_some()).collect::<Vec<_>>();
                assert_eq!((book.all().len(), kept.iter().rposition(|kept| !kept)), (9, Some(46)), "{code}");
            }
        }
        // One log alone may have all of it.
        let mut book = book(&of("a", "fork", 0..12));
        book.trim_to(9, usize::MAX);
        assert_eq!(book.all().len(), 9);
    }

    #[test]
    fn a_short_list_begins_with_forks() {
        let fork = |number| Entry { code: "fork".to_owned(), ..entry(number, false) };
        let seen = Entry { acknowledged: Some(7), ..fork(9) };
        let book = book(&[entry(1, false), entry(2, true), seen, fork(3), entry(4, false), fork(5)]);
        for (most, expected) in [(0, &[][..]), (1, &[3]), (3, &[3, 5, 1]), (9, &[3, 5, 1, 2, 4])] {
            let listed: Vec<u64> = book.open_up_to(most).iter().map(|entry| entry.raised - 100).collect();
            assert_eq!(listed, expected);
        }
    }

    #[test]
    fn what_is_open_is_due_after_its_time_or_when_its_silence_is_over() {
        let muted = Entry { told: None, ..entry(5, false) };
        let seen = Entry { acknowledged: Some(7), ..entry(2, true) };
        let ended = Entry { ended: Some(7), ..entry(3, true) };
        let book = book(&[entry(1, false), seen, ended, entry(4, true), muted]);
        let due = |now, after, silenced: &dyn Fn(&Entry) -> bool| -> Vec<u64> {
            let due = due(book.pressing(), now, after, silenced);
            due.iter().map(|entry| entry.raised - 100).collect()
        };
        let none = |_: &Entry| false;
        assert_eq!(due(106, 10, &none), [5]);
        assert_eq!(due(110, 10, &none), [5]);
        assert_eq!(due(111, 10, &none), [1, 5]);
        assert_eq!(due(114, 10, &none), [1, 4, 5]);
        assert_eq!(due(u64::MAX, 0, &none), [5], "never again");
        assert_eq!(due(114, 10, &|entry| !entry.condition), [4]);
        assert_eq!(due(0, 10, &none), [5], "a clock that was set back");
        let open = views(&book.open(), none);
        assert_eq!(open.iter().map(|view| view.raised - 100).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!(book.pressing().len(), 3);
        assert_eq!(views(&book.open_up_to(2), none), open[..2]);
    }

    #[test]
    fn an_acknowledgement_is_for_the_time_that_it_was_raised() {
        let mut book = book(&[entry(1, false)]);
        let id = entry(1, false).id;
        assert!(!book.acknowledge(&id, 100, 7) && !book.acknowledge(&entry(2, false).id, 101, 7));
        assert!(book.acknowledge(&id, 101, 7) && !book.acknowledge(&id, 101, 8));
        assert_eq!(book.get(&id).unwrap().acknowledged, Some(7));
    }
}
