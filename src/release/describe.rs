//! Describes a statement, in words and as JSON. Parsing has rejected control characters in what is shown.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{
    Attestation, Commitment, Disclosure, Imported, Json, Provenance, Purl, Release, Resource, Review, Shown,
    Signer, Statement, StatementKind, Subject, TestResult, VerificationSummary, Withdrawal, format_time,
    json,
};

/// A statement for people and for machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The kind of entry, with its article: `a release statement`.
    pub title: &'static str,
    /// The facts, one a line: label and text. A line without a label continues the one before.
    pub lines: Vec<(&'static str, String)>,
    /// A JSON object with the same facts.
    pub object: Json<'static>,
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
            Self::Review(review) => of_review(review),
            Self::Disclosure(disclosure) => of_disclosure(disclosure),
            Self::Imported(imported) => of_imported(imported),
            Self::Attestation(attestation) => of_attestation(attestation),
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
        lines.extend(self.location.iter().map(|location| ("at", location.clone())));
        lines.extend(log_line(self.log.as_deref()));
        let manifest = self.manifest.map(|m| json!({ "root": m.root.to_hex(), "files": m.files }));
        let mut object = json!({
            "what": "release", "purl": self.purl.as_str(), "package": self.purl.package(),
            "version": self.purl.version(), "kind": self.kind.as_str(), "channel": self.channel,
            "sequence": self.sequence, "artifacts": subjects(&self.subjects), "source": self.source_json(),
            "manifest": manifest, "audience": self.audience, "log": self.log,
        });
        if let (Some(location), Json::Object(fields)) = (&self.location, &mut object) {
            fields.push(("location".into(), Json::string(location)));
        }
        Description { title: "a release statement", lines, object }
    }

    /// The source as JSON, or null.
    #[must_use]
    pub fn source_json(&self) -> Json<'static> {
        let Some(source) = &self.source else { return Json::Null };
        let (algorithm, digest) = &source.digest;
        json!({ "uri": source.uri, "digest": Json::object([(algorithm.as_str(), Json::string(digest))]) })
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
        "what": "provenance", "purl": first(provenance.purls()),
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
        "what": "verification-summary", "purl": first(summary.purls()), "result": result,
        "levels": summary.levels, "resource": summary.resource_uri, "verifier": summary.verifier,
        "time": time, "policy": summary.policy, "artifacts": resources(&summary.subjects),
    });
    Description { title: "a verification summary", lines, object }
}

fn of_review(review: &Review) -> Description {
    let Review { reviewer, finished, scope, result, report, commitments, purl, log, .. } = review;
    let (result, time) = (result.as_str(), format_time(*finished));
    let scope: Vec<&str> = scope.iter().map(|scope| scope.as_str()).collect();
    let mut lines = vec![("result", result.to_owned()), ("looked at", scope.join(", "))];
    lines.extend(purl.as_ref().map(|purl| ("of", purl.to_string())));
    lines.push(("reviewer", format!("{reviewer}, until {time}")));
    let uri = report.uri.as_ref().map(|uri| format!("  {uri}")).unwrap_or_default();
    lines.push(("report", format!("{}{uri}", report.sha256.to_hex())));
    if !commitments.is_empty() {
        lines.push(("findings", format!("{}, not shown: there is a commitment to each", commitments.len())));
    }
    lines.extend(resource_lines("subject", &review.subjects));
    lines.extend(log_line(log.as_deref()));
    let commitments: Vec<String> = commitments.iter().map(Commitment::to_hex).collect();
    let object = json!({
        "what": "review", "purl": first(review.purls()), "result": result, "scope": scope, "reviewer": reviewer,
        "time": time, "report": json!({ "sha256": report.sha256.to_hex(), "uri": report.uri }),
        "commitments": commitments, "artifacts": resources(&review.subjects), "log": log,
    });
    Description { title: "a review", lines, object }
}

fn of_disclosure(disclosure: &Disclosure) -> Description {
    let Disclosure { index, leaf, commitment, shown, log, .. } = disclosure;
    let mut lines = vec![
        ("review", format!("leaf {index}")),
        ("", format!("with hash {}", leaf.to_hex())),
        ("opens", format!("commitment {}", commitment.to_hex())),
    ];
    let (to, finding) = match shown {
        Shown::To(to) => {
            lines.push(("shown to", format!("{to}, and not here")));
            (Some(to), None)
        }
        Shown::ToAll(opening) => {
            lines.push(("shown to", "everybody; finding and salt open the commitment".to_owned()));
            let label = |at| if at == 0 { "finding" } else { "" };
            let finding = opening.finding().lines().enumerate();
            lines.extend(finding.map(|(at, line)| (label(at), line.to_owned())));
            (None, Some(opening.finding()))
        }
    };
    lines.extend(resource_lines("subject", &disclosure.subjects));
    lines.extend(log_line(log.as_deref()));
    let object = json!({
        "what": "disclosure", "purl": first(disclosure.purls()), "review": index.get(),
        "review_leaf_hash": leaf.to_hex(), "commitment": commitment.to_hex(), "to": to, "finding": finding,
        "artifacts": resources(&disclosure.subjects), "log": log,
    });
    Description { title: "a disclosure of a finding", lines, object }
}

fn of_imported(imported: &Imported) -> Description {
    let Imported { predicate_type, signer, bundle, media_type, payload_hash, log, .. } = imported;
    let carried = imported.envelope.as_ref().map(|envelope| Statement::parse(&envelope.payload));
    let (who, signer) = match signer {
        Signer::Key(key) => (format!("a key named {key}"), json!({ "key": key })),
        Signer::Certificate { identity, issuer } => {
            let by = issuer.as_ref().map(|issuer| format!(", vouched for by {issuer}")).unwrap_or_default();
            (format!("{identity}{by}"), json!({ "identity": identity, "issuer": issuer }))
        }
    };
    let mut lines = vec![
        ("carries", predicate_type.clone()),
        ("said by", who),
        ("", "neither the log nor this program checked that signature or its certificate".to_owned()),
        ("bundle", format!("{}  {media_type}", bundle.to_hex())),
    ];
    let inside = match carried {
        None => {
            lines.push(("payload", format!("{}, not carried here", payload_hash.to_hex())));
            Json::Null
        }
        Some(Err(e)) => {
            lines.push(("inside", format!("a statement that this log would not take: {e}")));
            Json::Null
        }
        Some(Ok(statement)) => {
            let Description { title, lines: inner, object } = statement.describe();
            lines.push(("inside", title.to_owned()));
            // The subjects follow anyway.
            lines.extend(inner.into_iter().filter(|(label, _)| !matches!(*label, "artifact" | "subject")));
            object
        }
    };
    lines.extend(resource_lines("artifact", &imported.subjects));
    lines.extend(log_line(log.as_deref()));
    let object = json!({
        "what": "imported", "purl": first(imported.purls()), "predicate_type": predicate_type, "signer": signer,
        "signature": "not checked", "bundle": bundle.to_hex(), "media_type": media_type,
        "payload": payload_hash.to_hex(), "carried": inside, "artifacts": resources(&imported.subjects),
        "log": log,
    });
    Description { title: "a statement from elsewhere", lines, object }
}

fn of_attestation(attestation: &Attestation) -> Description {
    let Attestation { kind, predicate_type, subjects, documents, author, result, .. } = attestation;
    let title = match kind {
        StatementKind::Sbom => "a list of components (SBOM)",
        StatementKind::Vex => "statements about vulnerabilities (VEX)",
        StatementKind::TestResult => "a test result",
        _ => "an attestation",
    };
    let mut lines = Vec::new();
    lines.extend(result.map(|result| ("result", result.as_str().to_owned())));
    lines.push(("type", predicate_type.clone()));
    lines.extend(author.as_ref().map(|author| ("author", author.clone())));
    for document in documents {
        lines.push(("document", format!("{}, at {}", document.media_type, document.location)));
        lines.extend(resource_lines("", core::slice::from_ref(&document.resource)));
    }
    lines.extend(resource_lines("artifact", subjects));
    let document = |document: &super::Document| {
        let digests = digests_of(&document.resource);
        json!({ "media_type": document.media_type, "location": document.location, "digest": digests })
    };
    let documents: Vec<Json<'static>> = documents.iter().map(document).collect();
    let what = if let StatementKind::Other(_) = kind { "attestation" } else { kind.as_str() };
    let object = json!({
        "what": what, "purl": first(attestation.purls()), "predicate_type": predicate_type, "author": author,
        "result": result.map(TestResult::as_str), "documents": documents, "artifacts": resources(subjects),
    });
    Description { title, lines, object }
}

fn first(purls: &[Purl]) -> Option<String> {
    purls.first().map(ToString::to_string)
}

fn log_line(log: Option<&str>) -> Option<(&'static str, String)> {
    log.map(|log| ("for log", log.to_owned()))
}

fn subjects(subjects: &[Subject]) -> Vec<Json<'static>> {
    subjects.iter().map(|s| json!({ "name": s.name, "sha256": s.sha256.to_hex() })).collect()
}

fn subject_lines(subjects: &[Subject]) -> impl Iterator<Item = (&'static str, String)> {
    subjects.iter().map(|s| ("artifact", format!("{}  {}", s.sha256.to_hex(), s.name)))
}

fn resources(resources: &[Resource]) -> Vec<Json<'static>> {
    let object = |r: &Resource| json!({ "name": r.name, "uri": r.uri, "digest": digests_of(r) });
    resources.iter().map(object).collect()
}

fn digests_of(resource: &Resource) -> Json<'static> {
    let digests = resource.digests.iter().map(|(name, value)| (name.clone().into(), Json::string(value)));
    Json::Object(digests.collect())
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
