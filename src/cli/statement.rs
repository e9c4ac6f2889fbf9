//! Describes a statement, in words and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::output::BOLD;
use crate::release::{
    Provenance, Release, Resource, Statement, Subject, VerificationSummary, Withdrawal, format_time,
};

/// Describes a statement. Parsing has rejected control characters in what is shown.
pub fn tell(statement: &Statement) -> (Value, String) {
    match statement {
        Statement::Release(release) => tell_release(release),
        Statement::Withdrawal(withdrawal) => tell_withdrawal(withdrawal),
        Statement::Provenance(provenance) => tell_provenance(provenance),
        Statement::Summary(summary) => tell_summary(summary),
    }
}

fn tell_release(release: &Release) -> (Value, String) {
    let mut lines = format!(
        "{BOLD}a release statement{BOLD:#}\nrelease   {}\nkind      {}\nchannel   {}, sequence {}\n",
        release.purl, release.kind, release.channel, release.sequence
    );
    lines += &subject_lines(&release.subjects);
    if let Some(source) = &release.source {
        let _ = writeln!(lines, "source    {} {}:{}", source.uri, source.digest.0, source.digest.1);
    }
    if let Some(audience) = &release.audience {
        let _ = writeln!(lines, "audience  {audience} (not everyone)");
    }
    lines += &log_line(release.log.as_deref());
    let object = json!({
        "what": "release", "purl": release.purl.as_str(), "kind": release.kind.as_str(),
        "channel": release.channel, "sequence": release.sequence, "artifacts": subjects(&release.subjects),
        "audience": release.audience, "log": release.log,
    });
    (object, lines)
}

fn tell_withdrawal(withdrawal: &Withdrawal) -> (Value, String) {
    let Withdrawal { index, leaf, purl, reason, .. } = withdrawal;
    let mut lines = format!(
        "{BOLD}a withdrawal{BOLD:#}\nwithdraws {purl}, leaf {index}\n          with hash {}\nreason    {reason}\n",
        leaf.to_hex()
    );
    lines += &subject_lines(&withdrawal.subjects);
    lines += &log_line(withdrawal.log.as_deref());
    let object = json!({
        "what": "withdrawal", "withdraws": index.get(), "withdrawn_leaf_hash": leaf.to_hex(),
        "purl": purl.as_str(), "reason": reason, "artifacts": subjects(&withdrawal.subjects),
        "log": withdrawal.log,
    });
    (object, lines)
}

fn tell_provenance(provenance: &Provenance) -> (Value, String) {
    let mut lines = format!(
        "{BOLD}a provenance statement{BOLD:#}\nbuilder   {}\nbuild     {}\n",
        provenance.builder, provenance.build_type
    );
    lines += &resource_lines("artifact", &provenance.subjects);
    lines += &resource_lines("from    ", &provenance.dependencies);
    let object = json!({
        "what": "provenance", "purl": provenance.purls().first().map(ToString::to_string),
        "builder": provenance.builder, "build_type": provenance.build_type,
        "artifacts": resources(&provenance.subjects), "dependencies": resources(&provenance.dependencies),
    });
    (object, lines)
}

fn tell_summary(summary: &VerificationSummary) -> (Value, String) {
    let (result, time) = (summary.result.as_str(), format_time(summary.time_verified));
    let levels = if summary.levels.is_empty() { "none".to_owned() } else { summary.levels.join(", ") };
    let mut lines = format!(
        "{BOLD}a verification summary{BOLD:#}\nresult    {result}, levels {levels}\nresource  {}\n\
         verifier  {}, at {time}\npolicy    {}\n",
        summary.resource_uri, summary.verifier, summary.policy
    );
    lines += &resource_lines("artifact", &summary.subjects);
    let object = json!({
        "what": "verification-summary", "purl": summary.purls().first().map(ToString::to_string), "result": result,
        "levels": summary.levels, "resource": summary.resource_uri, "verifier": summary.verifier,
        "time": time, "policy": summary.policy, "artifacts": resources(&summary.subjects),
    });
    (object, lines)
}

fn log_line(log: Option<&str>) -> String {
    log.map(|log| format!("for log   {log}\n")).unwrap_or_default()
}

fn subjects(subjects: &[Subject]) -> Vec<Value> {
    subjects.iter().map(|s| json!({ "name": s.name, "sha256": s.sha256.to_hex() })).collect()
}

fn subject_lines(subjects: &[Subject]) -> String {
    subjects.iter().fold(String::new(), |mut lines, s| {
        let _ = writeln!(lines, "artifact  {}  {}", s.sha256.to_hex(), s.name);
        lines
    })
}

fn resources(resources: &[Resource]) -> Vec<Value> {
    let tell = |r: &Resource| {
        let digests: serde_json::Map<String, Value> =
            r.digests.iter().map(|(algorithm, value)| (algorithm.clone(), value.as_str().into())).collect();
        json!({ "name": r.name, "uri": r.uri, "digest": digests })
    };
    resources.iter().map(tell).collect()
}

fn resource_lines(label: &str, resources: &[Resource]) -> String {
    resources.iter().fold(String::new(), |mut lines, resource| {
        let digests = resource.digests.iter().map(|(algorithm, value)| match algorithm.as_str() {
            "sha256" => value.clone(),
            _ => format!("{algorithm}:{value}"),
        });
        let named = [resource.uri.clone(), resource.name.clone()].into_iter().flatten();
        let parts: Vec<String> = digests.chain(named).collect();
        let _ = writeln!(lines, "{label}  {}", parts.join("  "));
        lines
    })
}
