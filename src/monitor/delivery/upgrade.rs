//! Takes over the state of earlier versions, which kept every alert and what people said to it.
//!
//! It keeps the open conditions and forks of `alerts.json`. `acks.jsonl` held acknowledgements and silences, which
//! the receivers of events have. Both files are removed once `conditions.json` is durable; a crash before that
//! takes them over again.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::open_conditions::{Condition, OpenConditions};
use super::read_file;
use crate::disk::DiskError;
use crate::monitor::event::{Code, EventId};

const ALERTS: &str = "alerts.json";
/// Files that no version from this one on writes.
const OLD_FILES: [&str; 4] = [ALERTS, "acks.jsonl", "acks.lock", "desk.lock"];

/// The condition of an alert that an earlier version left open.
fn condition_of(alert: &Value) -> Option<Condition> {
    let text = |of: &Value, name: &str| Some(of.get(name)?.as_str()?.to_owned());
    let line: Value =
        text(alert, "line").and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
    let code = text(alert, "code")?;
    let lasts = alert["condition"] == true || code == Code::Fork.as_str();
    (lasts && alert["ended"].is_null()).then_some(())?;
    Some(Condition {
        id: EventId::parse(&text(alert, "id")?).ok()?,
        code,
        log: text(alert, "log"),
        // Early versions have it in the line alone.
        about: text(alert, "about").or_else(|| text(&line, "about")),
        message: text(alert, "message")?,
        since: alert["raised"].as_u64()?,
        evidence: text(&line, "evidence"),
        ended: None,
    })
}

/// Conditions that an earlier version left open; `None` if it left no `alerts.json`. A file that can't be read is
/// passed over: what still holds is told again.
pub fn old_conditions(dir: &Path) -> Option<OpenConditions> {
    let parse = |bytes: &[u8]| {
        let old: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        Ok(old["alerts"].as_array().into_iter().flatten().filter_map(condition_of).collect())
    };
    read_file(dir.join(ALERTS), "open conditions are told again", parse).unwrap_or_else(|error| {
        tracing::warn!(%error, "the alerts of an earlier version can't be read");
        Some(OpenConditions::default())
    })
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
