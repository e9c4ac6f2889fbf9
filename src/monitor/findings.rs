//! The contents of entries, and suspicious findings. No I/O: readings and the history go in, events
//! come out.

use serde_json::{Value, json};

use super::event::{Code, Event};
use super::history::{Assessment, Draft, NumberStep};
use super::manifest::{Manifest, ManifestComparison};
use super::settings::LogSettings;
use super::statements::{Reading, Signed};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Release, Shown, Signer, Statement, StatementError, Subject, Withdrawal};

/// Most artifacts that an event names; the entry has all of them.
const MAX_NAMED_ARTIFACTS: usize = 8;

/// A withdrawal, to be compared with the release that it withdraws.
#[derive(Debug)]
pub struct WithdrawalClaim {
    pub leaf: LeafIndex,
    pub hash: Hash,
    pub withdrawal: Withdrawal,
    /// Its signers. The first has the right to make the statement.
    pub signers: Vec<String>,
    pub checked: bool,
    pub watches: Vec<String>,
}

impl WithdrawalClaim {
    /// Whether one of `names` signed it and had the right to.
    fn is_by(&self, names: &[String]) -> bool {
        self.publishers().iter().any(|name| names.contains(name))
    }

    /// Whether one of its publishers made the same release in another leaf.
    fn is_by_a_claimant(&self, release: &Release, history: &Draft<'_>) -> bool {
        self.publishers().iter().any(|name| history.has_claimed(name, release))
    }

    fn publishers(&self) -> &[String] {
        if self.checked { &self.signers[..1] } else { &self.signers }
    }
}

/// The release that a withdrawal names.
#[derive(Debug)]
pub struct WithdrawnRelease {
    pub release: Release,
    pub hash: Hash,
    pub signers: Vec<String>,
}

/// The outcome of judging a window of entries.
#[derive(Debug, Default)]
pub struct Findings {
    pub events: Vec<Event>,
    /// Withdrawals that have to be compared with another entry.
    pub claims: Vec<WithdrawalClaim>,
}

/// Judges the entries of one log by its settings.
pub struct Judge<'a> {
    pub settings: &'a LogSettings,
    pub manifest: Option<&'a Manifest>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Judge<'_> {
    pub fn entry(
        &self,
        leaf: LeafIndex,
        hash: &Hash,
        reading: Reading,
        (history, comparison): (&mut Draft<'_>, &mut ManifestComparison),
        findings: &mut Findings,
    ) {
        let entry = JudgedEntry { judge: self, leaf, hash };
        let events = &mut findings.events;
        match reading {
            Reading::Unreadable(why) => events.push(entry.unreadable(&why)),
            Reading::Untrusted { why, payload, statement } => {
                let before = history.believed(&payload, leaf);
                events.push(entry.untrusted(&why, statement.as_ref(), before));
            }
            Reading::Statement(signed) => {
                let watches = self.watches(&signed);
                let by = &signed.signers[..signed.speakers];
                let assessed = if let Statement::Release(release) = &signed.statement {
                    history.release(by, release, leaf)
                } else {
                    let known = history.statement(by, &signed.payload, leaf);
                    Assessment { known, ..Assessment::default() }
                };
                history.believe(&signed.payload, leaf);
                let event = entry.statement(&signed, &watches);
                if let Some(first) = assessed.known {
                    // Envelopes are public: a copy that somebody signed again, or with fewer signatures, accuses nobody.
                    events.push(event.with("first_index", first));
                    return;
                }
                events.push(event);
                if let Some(why) = &signed.outside_validity {
                    events.push(entry.outside_validity(why, &signed.statement));
                }
                match &signed.statement {
                    Statement::Release(release) => {
                        entry.release(release, &signed.signers[0], assessed, comparison, events);
                    }
                    Statement::Withdrawal(withdrawal) => {
                        history.withdraw(by, withdrawal, leaf);
                        let (hash, withdrawal) = (*hash, withdrawal.clone());
                        let Signed { signers, checked, .. } = signed;
                        findings.claims.push(WithdrawalClaim {
                            leaf,
                            hash,
                            withdrawal,
                            signers,
                            checked,
                            watches,
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    fn watches(&self, signed: &Signed) -> Vec<String> {
        let watches = self.settings.watches.iter();
        let covering = watches.filter(|watch| watch.covers(&signed.statement, &signed.signers));
        covering.map(|watch| watch.name.clone()).collect()
    }

    /// The event of a withdrawal, judged by the release at the leaf that it names, if there is one.
    ///
    /// A release also belongs to the publishers who made the same claim in another leaf: in this one their signatures
    /// may have been dropped.
    pub fn withdrawal(
        &self,
        claim: &WithdrawalClaim,
        target: Option<&WithdrawnRelease>,
        history: &Draft<'_>,
    ) -> Event {
        let WithdrawalClaim { leaf, withdrawal, signers, .. } = claim;
        let (purl, index) = (&withdrawal.purl, withdrawal.index);
        let wrong = match target {
            None => Some(format!("leaf {index} is no release")),
            Some(target) if target.hash != withdrawal.leaf => {
                Some(format!("leaf {index} has another hash than it says"))
            }
            Some(WithdrawnRelease { release, .. })
                if release.purl != *purl || release.subjects != withdrawal.subjects =>
            {
                Some(format!("leaf {index} is {}, with other artifacts or another purl", release.purl))
            }
            // The release's key was taken off the list, so its publisher is not known.
            Some(target) if claim.checked && target.signers.iter().all(|name| is_keyid(name)) => {
                let keys = target.signers.join(" and ");
                let message = format!(
                    "whether {purl}, leaf {index}, was withdrawn by who released it can't be told: the key {keys} is not in publishers.toml any more"
                );
                return self.about(claim, Code::UntrustedStatement, message);
            }
            Some(WithdrawnRelease { release, signers: released_by, .. })
                if !claim.is_by(released_by) && !claim.is_by_a_claimant(release, history) =>
            {
                let (seen, expected) = (signers.join(" and "), released_by.join(" or "));
                Some(format!("it was released by {expected}, and withdrawn by {seen}"))
            }
            Some(_) => None,
        };
        if let Some(why) = wrong {
            let message = format!("the withdrawal of {purl} at leaf {leaf} is false: {why}");
            return self.about(claim, Code::FalseWithdrawal, message);
        }
        let message = format!("{purl}, leaf {index}, was withdrawn: {}", withdrawal.reason);
        self.about(claim, Code::Withdrawn, message)
    }

    fn about(&self, claim: &WithdrawalClaim, code: Code, message: String) -> Event {
        let WithdrawalClaim { leaf, hash, withdrawal, signers, watches, .. } = claim;
        let subject = [&*leaf.to_string(), &*hash.to_hex()];
        let event = Event::new(code, Some(self.settings.origin.as_str()), &subject, self.now, message)
            .with("index", leaf.get())
            .with("withdraws", withdrawal.index.get())
            .with("purl", withdrawal.purl.as_str())
            .with("signers", signers.clone())
            .with("reason", withdrawal.reason.as_str());
        watched(event, watches)
    }
}

/// Whether it is the name of a key rather than of a publisher.
fn is_keyid(name: &str) -> bool {
    Hash::from_hex(name).is_ok()
}

fn watched(event: Event, watches: &[String]) -> Event {
    if watches.is_empty() { event } else { event.watched(watches) }
}

struct JudgedEntry<'a> {
    judge: &'a Judge<'a>,
    leaf: LeafIndex,
    hash: &'a Hash,
}

impl JudgedEntry<'_> {
    fn event(&self, code: Code, message: String) -> Event {
        // By its hash too: another entry that the log shows at this index is another event.
        let (index, hash) = (self.leaf.to_string(), self.hash.to_hex());
        let origin = self.judge.settings.origin.as_str();
        Event::new(code, Some(origin), &[&index, &hash], self.judge.now, message)
            .with("index", self.leaf.get())
            .with("leaf_hash", hash)
    }

    fn unreadable(&self, why: &FormatError) -> Event {
        let message = format!("leaf {} is no statement that this monitor can read: {why}", self.leaf);
        self.event(Code::UnreadableEntry, message)
    }

    /// `before` is the leaf at which somebody with the right to had stated the same: then it accuses nobody.
    fn untrusted(&self, why: &StatementError, statement: Option<&Statement>, before: Option<u64>) -> Event {
        let at = self.leaf;
        let event = match before {
            None => {
                let message = format!("the statement at leaf {at} is not trusted: {why}");
                self.event(Code::UntrustedStatement, message)
            }
            Some(first) => {
                let message = format!(
                    "leaf {at} repeats the statement of leaf {first}, and is not trusted itself: {why}"
                );
                self.event(Code::Entry, message).with("first_index", first)
            }
        };
        match statement {
            Some(statement) => with_purl(event, statement),
            None => event,
        }
    }

    fn outside_validity(&self, why: &StatementError, statement: &Statement) -> Event {
        let message = format!("at leaf {}: {why}", self.leaf);
        with_purl(self.event(Code::KeyOutsideValidity, message), statement)
    }

    fn statement(&self, signed: &Signed, watches: &[String]) -> Event {
        let Signed { statement, signers, checked, .. } = signed;
        let by = signers.join(" and ");
        let what = statement.purl().map_or_else(|| "artifacts".to_owned(), ToString::to_string);
        let (code, message) = match statement {
            Statement::Release(release) => {
                let Release { kind, channel, sequence, .. } = release;
                (Code::Release, format!("{what} ({kind}, {channel}, sequence {sequence}) by {by}"))
            }
            Statement::Withdrawal(withdrawal) => (
                Code::Withdrawal,
                format!("{by} withdraws {what}, leaf {}: {}", withdrawal.index, withdrawal.reason),
            ),
            Statement::Provenance(provenance) => {
                (Code::Provenance, format!("{by} states that {} built {what}", provenance.builder))
            }
            Statement::Summary(summary) => {
                (Code::VerificationSummary, format!("{by} verified {what}: {}", summary.result.as_str()))
            }
            Statement::Review(review) => {
                (Code::Review, format!("{by} reviewed {what}: {}", review.result.as_str()))
            }
            Statement::Disclosure(disclosure) => {
                let to = match &disclosure.shown {
                    Shown::To(to) => to.as_str(),
                    Shown::ToAll(_) => "everybody",
                };
                let review = disclosure.index;
                (Code::Disclosure, format!("{by} shows a finding of the review at leaf {review} to {to}"))
            }
            Statement::Imported(imported) => {
                let (Signer::Certificate { identity: signer, .. } | Signer::Key(signer)) = &imported.signer;
                let of = &imported.predicate_type;
                let said = "said to be signed by";
                (
                    Code::Imported,
                    format!(
                        "{by} carries a statement about {what} ({of}), {said} {signer}, which nobody checked"
                    ),
                )
            }
            Statement::Attestation(attestation) => {
                let result = attestation.result.map(|result| format!(", {result}")).unwrap_or_default();
                (Code::Attestation, format!("{by} attests {} of {what}{result}", attestation.kind))
            }
        };
        let event = with_purl(self.event(code, message), statement)
            .with("signers", signers.clone())
            .with("signatures", if *checked { "checked" } else { "not checked" });
        watched(fields(event, statement), watches)
    }

    fn release(
        &self,
        release: &Release,
        publisher: &str,
        assessed: Assessment<'_>,
        comparison: &mut ManifestComparison,
        events: &mut Vec<Event>,
    ) {
        let Release { purl, kind, channel, sequence, .. } = release;
        let about = |code: Code, publisher: &str, message: String| {
            self.event(code, message)
                .with("purl", purl.as_str())
                .with("publisher", publisher)
                .with("channel", channel.as_str())
                .with("sequence", *sequence)
        };
        let at = self.leaf;
        if let Some((publisher, step)) = assessed.step {
            events.extend(self.step(release, step, |code, message| about(code, publisher, message)));
        }
        if let Some((publisher, before)) = assessed.changed {
            let message =
                format!("{purl} at leaf {at} has different content in {channel} than leaf {before}");
            events.push(about(Code::VersionChanged, publisher, message).with("first_index", before));
        }
        if let Some((publisher, before)) = assessed.withdrawn {
            let message = format!("{purl} at leaf {at} has artifacts that leaf {before} had withdrawn");
            events.push(about(Code::WithdrawnBefore, publisher, message).with("withdrawal", before));
        }
        if let Some(audience) = &release.audience {
            let message = format!("{purl} at leaf {at} is not for everyone: its audience is {audience}");
            let event = about(Code::LimitedAudience, publisher, message);
            events.push(event.with("audience", audience.as_str()));
        }
        if let (Some(expect), Some(manifest)) = (&self.judge.settings.expect, self.judge.manifest)
            && expect.covers(purl)
            && !comparison.release(manifest, release)
        {
            let message = format!(
                "{purl} ({kind}, {channel}, sequence {sequence}) at leaf {at} by {publisher} is not in the manifest of what should be released"
            );
            let event = about(Code::UnexpectedRelease, publisher, message);
            events.push(event.with("artifacts", artifacts(&release.subjects)));
        }
    }

    fn step(
        &self,
        release: &Release,
        step: NumberStep,
        about: impl Fn(Code, String) -> Event,
    ) -> Option<Event> {
        let (Release { purl, channel, sequence, .. }, at) = (release, self.leaf);
        let has = format!("{purl} at leaf {at} has sequence {sequence} in {channel}");
        match step {
            NumberStep::Fits => None,
            NumberStep::Gap { last } => {
                let message = format!("{has}, but the one before had {last}");
                Some(about(Code::SequenceGap, message).with("previous", last))
            }
            NumberStep::Repeated { leaf } => {
                let message = format!("{has}, which leaf {leaf} has for other artifacts");
                Some(about(Code::SequenceRepeated, message).with("first_index", leaf))
            }
            NumberStep::Lower { highest, leaf } => {
                let message = format!("{has}, below {highest} at leaf {leaf}");
                Some(about(Code::SequenceRegressed, message).with("highest", highest))
            }
        }
    }
}

fn with_purl(event: Event, statement: &Statement) -> Event {
    match statement.purl() {
        Some(purl) => event.with("purl", purl.as_str()),
        None => event,
    }
}

fn artifacts(subjects: &[Subject]) -> Vec<Value> {
    let artifact = |s: &Subject| json!({ "name": s.name, "sha256": s.sha256.to_hex() });
    subjects.iter().take(MAX_NAMED_ARTIFACTS).map(artifact).collect()
}

fn fields(event: Event, statement: &Statement) -> Event {
    match statement {
        Statement::Release(release) => {
            let event = event
                .with("kind", release.kind.as_str())
                .with("channel", release.channel.as_str())
                .with("sequence", release.sequence)
                .with("artifacts", artifacts(&release.subjects));
            let event = match &release.source {
                Some(source) => event.with("source", json!({ "uri": source.uri, "digest": format!("{}:{}", source.digest.0, source.digest.1) })),
                None => event,
            };
            match &release.audience {
                Some(audience) => event.with("audience", audience.as_str()),
                None => event,
            }
        }
        Statement::Withdrawal(withdrawal) => event
            .with("withdraws", withdrawal.index.get())
            .with("reason", withdrawal.reason.as_str())
            .with("artifacts", artifacts(&withdrawal.subjects)),
        Statement::Provenance(provenance) => event
            .with("builder", provenance.builder.as_str())
            .with("build_type", provenance.build_type.as_str())
            .with("digests", digests(statement)),
        Statement::Summary(summary) => event
            .with("verifier", summary.verifier.as_str())
            .with("resource", summary.resource_uri.as_str())
            .with("result", summary.result.as_str())
            .with("digests", digests(statement)),
        attestation => {
            let kind = attestation.kind();
            let event = event.with("kind", kind.as_str()).with("digests", digests(attestation));
            let event = match attestation.predicate_type() {
                Some(predicate_type) => event.with("predicate_type", predicate_type),
                None => event,
            };
            match attestation.result() {
                Some(result) => event.with("result", result),
                None => event,
            }
        }
    }
}

fn digests(statement: &Statement) -> Vec<Value> {
    statement.digests().take(MAX_NAMED_ARTIFACTS).map(|digest| Value::from(digest.to_hex())).collect()
}
