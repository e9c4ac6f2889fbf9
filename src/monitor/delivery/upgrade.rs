//! Takes over the state of earlier versions, which kept every alert and what people said to it.
//!
//! Of `alerts.json` the open conditions and forks are kept. `acks.jsonl` held acknowledgements and silences, which
//! the receivers of events have. Both files are removed once `conditions.json` is durable; a crash before that
//! takes them over again.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::open_conditions::{Condition, OpenConditions};
use crate::disk::{DiskError, read_plain};
use crate::monitor::event::{Code, EventId};

const ALERTS: &str = "alerts.json";
/// Files that no version from this one on writes.
const OLD_FILES: [&str; 4] = [ALERTS, "acks.jsonl", "acks.lock", "desk.lock"];

#[derive(Deserialize)]
struct OldFile {
    alerts: Vec<OldAlert>,
}

#[derive(Deserialize)]
struct OldAlert {
    id: String,
    code: String,
    condition: bool,
    log: Option<String>,
    about: Option<String>,
    message: String,
    raised: u64,
    ended: Option<u64>,
    line: String,
}

impl OldAlert {
    fn into_condition(self) -> Option<Condition> {
        let lasts = self.condition || self.code == Code::Fork.as_str();
        if !lasts || self.ended.is_some() {
            return None;
        }
        let line: Value = serde_json::from_str(&self.line).unwrap_or_default();
        let text = |name: &str| line.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Some(Condition {
            id: EventId::parse(&self.id).ok()?,
            code: self.code,
            log: self.log,
            // Early versions have it in the line alone.
            about: self.about.or_else(|| text("about")),
            message: self.message,
            since: self.raised,
            evidence: text("evidence"),
            ended: None,
        })
    }
}

/// Conditions that an earlier version left open; `None` if it left no `alerts.json`. A file that can't be read is
/// passed over: what still holds is told again.
pub fn old_conditions(dir: &Path) -> Option<OpenConditions> {
    let path = dir.join(ALERTS);
    let bytes = match read_plain(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        bytes => bytes.map_err(|e| e.to_string()),
    };
    let read = bytes.and_then(|bytes| serde_json::from_slice::<OldFile>(&bytes).map_err(|e| e.to_string()));
    match read {
        Ok(old) => Some(old.alerts.into_iter().filter_map(OldAlert::into_condition).collect()),
        Err(e) => {
            let file = path.display();
            tracing::warn!(%file, error = %e, "the alerts of an earlier version can't be read: open conditions are told again");
            Some(OpenConditions::default())
        }
    }
}

/// Removes the files of earlier versions, after `conditions.json` is durable.
pub fn remove_old_files(dir: &Path) -> Result<(), DiskError> {
    for name in OLD_FILES {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {
                let file = path.display();
                tracing::info!(%file, "removed a file of an earlier version: acknowledgements, silences and reminders are the receivers' now, docs/monitor.md says how");
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(DiskError::io("remove", &path)(e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_conditions_and_forks_of_an_earlier_version_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(old_conditions(dir.path()).is_none());
        let id = |number: u64| format!("{number:032x}");
        let alert = |number: u64, code: &str, condition: bool, more: &str, line: &str| {
            format!(
                "{{\"id\":\"{}\",\"code\":\"{code}\",\"severity\":\"alert\",\"condition\":{condition},\"log\":\"l\",\
                 \"message\":\"m\",\"raised\":{number},\"told\":5{more},\"line\":\"{line}\"}}",
                id(number)
            )
        };
        let alerts = [
            alert(1, "fork", false, ",\"acknowledged\":7", "{\\\"evidence\\\":\\\"e/a.tlog-fork\\\"}"),
            alert(2, "sequence-gap", false, "", "{}"),
            alert(3, "witness-missing", true, "", "{\\\"about\\\":\\\"w\\\"}"),
            alert(4, "log-stalled", true, ",\"about\":\"log\",\"ended\":9", "{}"),
        ];
        let text = format!("{{\"version\":1,\"alerts\":[\n{}\n]}}\n", alerts.join(",\n"));
        fs::write(dir.path().join(ALERTS), text).unwrap();
        let kept = old_conditions(dir.path()).unwrap();
        let kept: Vec<_> =
            kept.open().map(|c| (c.since, c.about.as_deref(), c.evidence.as_deref())).collect();
        assert_eq!(kept, [(1, None, Some("e/a.tlog-fork")), (3, Some("w"), None)]);
        fs::write(dir.path().join(ALERTS), "no JSON").unwrap();
        fs::write(dir.path().join("acks.jsonl"), "").unwrap();
        assert_eq!(old_conditions(dir.path()).unwrap(), OpenConditions::default());
        remove_old_files(dir.path()).unwrap();
        remove_old_files(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
