//! Describes a statement, in words and as JSON. Parsing has rejected control characters in what is shown.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

use super::{
    Provenance, Release, Resource, Statement, Subject, VerificationSummary, Withdrawal, format_time,
};

/// A statement for people and for machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// What it is, with its article: `a release statement`.
    pub title: &'static str,
    /// The facts, one a line: label and text. A line without a label continues the one before.
    pub lines: Vec<(&'static str, String)>,
    /// A JSON object with the same facts.
    pub object: Value,
}

impl Statement {
    /// Describes the statement.
    #[must_use]
    pub fn describe(&self) -> Description {
        match self {
            Self::Release(release) => release.describe(),
            Self::Withdrawal(withdrawal) => of_withdrawal(withdrawal),
            Self::Provenance(provenance) => of_provenance(provenance),
            Self::Summary(summary) => of_summary(summary),
        }
    }
}

impl Release {
    /// Describes the release.
    #[must_use]
    pub fn describe(&self) -> Description {
        let mut lines = vec![
            ("release", self.purl.to_string()),
            ("kind", self.kind.to_string()),
            ("channel", format!("{}, sequence {}", self.channel, self.sequence)),
        ];
        lines.extend(subject_lines(&self.subjects));
        if let Some(source) = &self.source {
            lines.push(("source", format!("{} {}:{}", source.uri, source.digest.0, source.digest.1)));
        }
        if let Some(manifest) = &self.manifest {
            lines.push(("manifest", format!("{}, {} files", manifest.root.to_hex(), manifest.files)));
        }
        if let Some(audience) = &self.audience {
            lines.push(("audience", format!("{audience} (not everyone)")));
        }
        lines.extend(log_line(self.log.as_deref()));
        let manifest = self.manifest.map(|m| json!({ "root": m.root.to_hex(), "files": m.files }));
        let object = json!({
            "what": "release", "purl": self.purl.as_str(), "package": self.purl.package(),
            "version": self.purl.version(), "kind": self.kind.as_str(), "channel": self.channel,
            "sequence": self.sequence, "artifacts": subjects(&self.subjects), "source": self.source_json(),
            "manifest": manifest, "audience": self.audience, "log": self.log,
        });
        Description { title: "a release statement", lines, object }
    }

    /// The source as JSON, or null.
    #[must_use]
    pub fn source_json(&self) -> Value {
        let Some(source) = &self.source else { return Value::Null };
        json!({ "uri": source.uri, "digest": { source.digest.0.as_str(): source.digest.1 } })
    }
}

fn of_withdrawal(withdrawal: &Withdrawal) -> Description {
    let Withdrawal { index, leaf, purl, reason, .. } = withdrawal;
    let mut lines = vec![
        ("withdraws", format!("{purl}, leaf {index}")),
        ("", format!("with hash {}", leaf.to_hex())),
        ("reason", reason.clone()),
    ];
    lines.extend(subject_lines(&withdrawal.subjects));
    lines.extend(log_line(withdrawal.log.as_deref()));
    let object = json!({
        "what": "withdrawal", "withdraws": index.get(), "withdrawn_leaf_hash": leaf.to_hex(),
        "purl": purl.as_str(), "reason": reason, "artifacts": subjects(&withdrawal.subjects),
        "log": withdrawal.log,
    });
    Description { title: "a withdrawal", lines, object }
}

fn of_provenance(provenance: &Provenance) -> Description {
    let mut lines = vec![("builder", provenance.builder.clone()), ("build", provenance.build_type.clone())];
    lines.extend(resource_lines("artifact", &provenance.subjects));
    lines.extend(resource_lines("from", &provenance.dependencies));
    let object = json!({
        "what": "provenance", "purl": provenance.purls().first().map(ToString::to_string),
        "builder": provenance.builder, "build_type": provenance.build_type,
        "artifacts": resources(&provenance.subjects), "dependencies": resources(&provenance.dependencies),
    });
    Description { title: "a provenance statement", lines, object }
}

fn of_summary(summary: &VerificationSummary) -> Description {
    let (result, time) = (summary.result.as_str(), format_time(summary.time_verified));
    let levels = if summary.levels.is_empty() { "none".to_owned() } else { summary.levels.join(", ") };
    let mut lines = vec![
        ("result", format!("{result}, levels {levels}")),
        ("resource", summary.resource_uri.clone()),
        ("verifier", format!("{}, at {time}", summary.verifier)),
        ("policy", summary.policy.clone()),
    ];
    lines.extend(resource_lines("artifact", &summary.subjects));
    let object = json!({
        "what": "verification-summary", "purl": summary.purls().first().map(ToString::to_string), "result": result,
        "levels": summary.levels, "resource": summary.resource_uri, "verifier": summary.verifier,
        "time": time, "policy": summary.policy, "artifacts": resources(&summary.subjects),
    });
    Description { title: "a verification summary", lines, object }
}

fn log_line(log: Option<&str>) -> Option<(&'static str, String)> {
    log.map(|log| ("for log", log.to_owned()))
}

fn subjects(subjects: &[Subject]) -> Vec<Value> {
    subjects.iter().map(|s| json!({ "name": s.name, "sha256": s.sha256.to_hex() })).collect()
}

fn subject_lines(subjects: &[Subject]) -> impl Iterator<Item = (&'static str, String)> {
    subjects.iter().map(|s| ("artifact", format!("{}  {}", s.sha256.to_hex(), s.name)))
}

fn resources(resources: &[Resource]) -> Vec<Value> {
    let object = |r: &Resource| {
        let digests: Map<String, Value> =
            r.digests.iter().map(|(algorithm, value)| (algorithm.clone(), value.as_str().into())).collect();
        json!({ "name": r.name, "uri": r.uri, "digest": digests })
    };
    resources.iter().map(object).collect()
}

fn resource_lines(
    label: &'static str,
    resources: &[Resource],
) -> impl Iterator<Item = (&'static str, String)> {
    resources.iter().map(move |resource| {
        let digests = resource.digests.iter().map(|(algorithm, value)| match algorithm.as_str() {
            "sha256" => value.clone(),
            _ => format!("{algorithm}:{value}"),
        });
        let named = [resource.uri.clone(), resource.name.clone()].into_iter().flatten();
        (label, digests.chain(named).collect::<Vec<_>>().join("  "))
    })
}
