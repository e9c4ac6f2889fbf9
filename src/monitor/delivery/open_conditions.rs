//! `conditions.json`: conditions that were told and have not ended, so that each is told once, and its end as well.
//!
//! ```text
//! {"version":1,"conditions":[
//! {"id":"<32 hex>","code":"fork","log":"log.example/a","message":"...","since":<unix seconds>,"evidence":"<path>"},
//! {"id":"<32 hex>","code":"log-stalled",...,"ended":<unix seconds>}
//! ]}
//! ```
//!
//! The last [`MAX_ENDED`] conditions that ended are kept: one that begins again is told under another key.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DeliveryError, read_file};
use crate::format::quote;
use crate::monitor::event::{Code, EventId};

/// Name of the file in the state directory.
pub const CONDITIONS: &str = "conditions.json";
/// Most conditions that are remembered after their end.
const MAX_ENDED: usize = 1_000;

/// Something that was told and lasts until its end is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Id of the event that opened it.
    pub id: EventId,
    /// Code of that event.
    pub code: String,
    /// The log, as in that event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The witness, peer, head or release that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The message of the event, cut to the length that an event may have.
    pub message: String,
    /// Unix seconds when it was told; each time that it begins again has a later one.
    pub since: u64,
    /// Path of the file that proves a fork, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Unix seconds when its end was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

impl Condition {
    /// Whether its end has not been reported.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it is a fork whose evidence was written, to a file that is not among `names`.
    fn has_lost_evidence(&self, names: &[String]) -> bool {
        let name = self.evidence.as_deref().and_then(|path| Path::new(path).file_name()?.to_str());
        name.is_some_and(|name| !names.iter().any(|known| known == name))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenConditions {
    by_number: BTreeMap<u64, Condition>,
    numbers: BTreeMap<EventId, u64>,
    next: u64,
    ended: usize,
}

impl OpenConditions {
    pub fn read(dir: &Path) -> Result<Option<Self>, DeliveryError> {
        const COST: &str = "conditions that still hold, and forks in evidence/, are told again; the end of one that is over by then is not";
        read_file(dir.join(CONDITIONS), COST, Self::parse)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text: FileText = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if text.version != 1 {
            return Err(format!("expected version 1, saw {}", text.version));
        }
        // It becomes a word of a record in the outbox.
        let is_code =
            |code: &str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if let Some(Condition { code, .. }) = text.conditions.iter().find(|of| !is_code(&of.code)) {
            return Err(format!("expected codes of lower-case letters and hyphens, saw {}", quote(code)));
        }
        Ok(text.conditions.into_iter().collect())
    }

    pub fn encode(&self) -> Vec<u8> {
        let line = |condition| serde_json::to_string(condition).expect("texts and numbers have a JSON form");
        let lines: Vec<String> = self.by_number.values().map(line).collect();
        format!("{{\"version\":1,\"conditions\":[\n{}\n]}}\n", lines.join(",\n")).into_bytes()
    }

    pub fn get(&self, id: EventId) -> Option<&Condition> {
        self.by_number.get(self.numbers.get(&id)?)
    }

    pub fn get_open(&self, id: EventId) -> Option<&Condition> {
        self.get(id).filter(|condition| condition.is_open())
    }

    /// Open conditions: forks first, then the oldest.
    pub fn open(&self) -> impl Iterator<Item = &Condition> {
        let of = |forks: bool| {
            let wanted = move |condition: &&Condition| {
                condition.is_open() && (condition.code == Code::Fork.as_str()) == forks
            };
            self.by_number.values().filter(wanted)
        };
        of(true).chain(of(false))
    }

    /// Forks of this log whose evidence lies no longer among the files of these names.
    pub fn forks_without_evidence(&self, log: &str, names: &[String]) -> Vec<EventId> {
        let of_log = |condition: &&Condition| condition.log.as_deref() == Some(log);
        let lost = self.open().filter(of_log).filter(|condition| condition.has_lost_evidence(names));
        lost.map(|condition| condition.id).collect()
    }

    /// Adds a condition as the latest, in place of an earlier one of its id.
    pub fn put(&mut self, condition: Condition) {
        let number = self.next;
        self.next += 1;
        self.ended += usize::from(!condition.is_open());
        if let Some(earlier) = self.numbers.insert(condition.id, number) {
            let earlier = self.by_number.remove(&earlier).expect("each number has its condition");
            self.ended -= usize::from(!earlier.is_open());
        }
        self.by_number.insert(number, condition);
    }

    pub fn set_evidence(&mut self, id: EventId, evidence: &str) {
        if let Some(condition) = self.get_open(id).cloned() {
            let number = self.numbers[&id];
            self.by_number.insert(number, Condition { evidence: Some(evidence.to_owned()), ..condition });
        }
    }

    /// Ends a condition, and forgets those that ended long before.
    pub fn end(&mut self, id: EventId, now: u64) {
        let Some(condition) = self.get_open(id).cloned() else { return };
        self.put(Condition { ended: Some(now), ..condition });
        if self.ended > MAX_ENDED {
            let oldest = self.by_number.iter().find(|(_, condition)| !condition.is_open());
            let (number, id) = oldest.map(|(number, condition)| (*number, condition.id)).expect("one ended");
            self.by_number.remove(&number);
            self.numbers.remove(&id);
            self.ended -= 1;
        }
    }
}

impl FromIterator<Condition> for OpenConditions {
    fn from_iter<T: IntoIterator<Item = Condition>>(conditions: T) -> Self {
        let mut all = Self::default();
        conditions.into_iter().for_each(|condition| all.put(condition));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(number: u64, code: Code) -> Condition {
        Condition {
            id: EventId::of(code, None, &[&number.to_string()]),
            code: code.as_str().to_owned(),
            log: Some("log.example/a".to_owned()),
            about: None,
            message: "it happened".to_owned(),
            since: 100 + number,
            evidence: (code == Code::Fork).then(|| format!("state/evidence/{number}.tlog-fork")),
            ended: None,
        }
    }

    #[test]
    fn the_file_reads_back() {
        let ended = Condition { ended: Some(7), ..condition(2, Code::NoQuorum) };
        for all in [vec![], vec![condition(3, Code::Fork), ended, condition(1, Code::LogStalled)]] {
            let all: OpenConditions = all.into_iter().collect();
            assert_eq!(OpenConditions::parse(&all.encode()).unwrap(), all);
        }
        let all: OpenConditions = [condition(1, Code::Fork)].into_iter().collect();
        let text = String::from_utf8(all.encode()).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"code\"", "\"kode\""),
            ("\"fork\"", "\"fo rk\""),
            ("\"id\":\"", "\"id\":\"x"),
            ("]}", ""),
        ] {
            assert!(OpenConditions::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
        }
    }

    #[test]
    fn forks_come_first_and_what_ended_is_not_open() {
        let told = [
            condition(1, Code::LogStalled),
            condition(2, Code::Fork),
            condition(3, Code::NoQuorum),
            condition(4, Code::Fork),
        ];
        let mut all: OpenConditions = told.iter().cloned().collect();
        all.end(told[0].id, 9);
        all.end(told[0].id, 10);
        assert_eq!(all.get(told[0].id).unwrap().ended, Some(9));
        let open: Vec<u64> = all.open().map(|condition| condition.since).collect();
        assert_eq!(open, [102, 104, 103]);
    }

    #[test]
    fn a_fork_is_open_as_long_as_its_evidence_lies_there() {
        let unwritten = Condition { evidence: None, ..condition(3, Code::Fork) };
        let told =
            [condition(1, Code::Fork), condition(2, Code::Fork), unwritten, condition(4, Code::LogStalled)];
        let mut all: OpenConditions = told.iter().cloned().collect();
        let names = ["2.tlog-fork".to_owned()];
        assert_eq!(all.forks_without_evidence("log.example/a", &names), [told[0].id]);
        assert_eq!(all.forks_without_evidence("log.example/b", &names), []);
        all.set_evidence(told[2].id, "state/evidence/3.tlog-fork");
        assert_eq!(all.forks_without_evidence("log.example/a", &names), [told[0].id, told[2].id]);
    }

    #[test]
    fn of_those_that_ended_the_latest_are_remembered() {
        let mut all = OpenConditions::default();
        all.put(condition(0, Code::Fork));
        for number in 0..MAX_ENDED as u64 + 5 {
            all.put(condition(number, Code::LogStalled));
            all.end(condition(number, Code::LogStalled).id, 9);
        }
        assert_eq!((all.by_number.len(), all.numbers.len()), (MAX_ENDED + 1, MAX_ENDED + 1));
        assert!(all.get(condition(4, Code::LogStalled).id).is_none());
        assert!(all.get(condition(5, Code::LogStalled).id).is_some());
        assert_eq!(all.open().count(), 1);
    }
}
