//! What the entries of a log say, and what is suspicious about it. No I/O: what was read and is known goes in,
//! events come out.

use serde_json::{Value, json};

use super::event::{Code, Event};
use super::expect::{Comparison, Manifest};
use super::read::Reading;
use super::rules::Rules;
use super::sequences::{Draft, Step, Taken};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Release, Statement, StatementError, Subject, Withdrawal};

/// Most artifacts that an event names; the entry has all of them.
const MAX_NAMED_ARTIFACTS: usize = 8;

/// A withdrawal, which has to be compared with what it withdraws.
#[derive(Debug)]
pub struct Claim {
    /// Its own place.
    pub leaf: LeafIndex,
    /// Its own hash.
    pub hash: Hash,
    /// What it says.
    pub withdrawal: Withdrawal,
    /// Who says so; the first is the one that may.
    pub signers: Vec<String>,
    /// Whether that was checked.
    pub checked: bool,
    /// Names of the watches that cover it.
    pub watches: Vec<String>,
}

impl Claim {
    /// Whether the publisher is among these.
    fn is_by(&self, released_by: &[String]) -> bool {
        self.who().iter().any(|name| released_by.contains(name))
    }

    /// Whether the publisher made the same release in another leaf.
    fn is_by_who_claimed(&self, release: &Release, sequences: &Draft<'_>) -> bool {
        self.who().iter().any(|name| sequences.has_claimed(name, release))
    }

    fn who(&self) -> &[String] {
        if self.checked { &self.signers[..1] } else { &self.signers }
    }
}

/// Whether it is the name of a key rather than of a publisher.
fn is_keyid(name: &str) -> bool {
    Hash::from_hex(name).is_ok()
}

/// What a batch of entries came to.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order of the entries.
    pub events: Vec<Event>,
    /// What needs a look at another entry first.
    pub claims: Vec<Claim>,
}

/// Looks at the entries of one log.
pub struct Look<'a> {
    rules: &'a Rules,
    manifest: Option<&'a Manifest>,
    now: u64,
}

impl<'a> Look<'a> {
    /// A look at a log, at a time.
    pub const fn new(rules: &'a Rules, manifest: Option<&'a Manifest>, now: u64) -> Self {
        Self { rules, manifest, now }
    }

    /// Takes one entry in.
    pub fn at(
        &self,
        leaf: LeafIndex,
        hash: &Hash,
        reading: Reading,
        (sequences, comparison): (&mut Draft<'_>, &mut Comparison),
        to: &mut Findings,
    ) {
        let place = Place { look: self, leaf, hash };
        match reading {
            Reading::Unreadable(why) => to.events.push(place.unreadable(&why)),
            Reading::Untrusted { why, payload, statement } => {
                let before = sequences.believed(&payload, leaf);
                to.events.push(place.untrusted(&why, statement.as_ref(), before));
            }
            Reading::Statement { statement, payload, signers, speakers, checked, outside_validity } => {
                let watches = self.watches(&statement, &signers);
                let by = &signers[..speakers];
                let taken = match &statement {
                    Statement::Release(release) => sequences.take(by, release, leaf),
                    _ => Taken { known: sequences.state(by, &payload, leaf), ..Taken::default() },
                };
                sequences.believe(&payload, leaf);
                let event = place.statement(&statement, &signers, checked, &watches);
                if let Some(first) = taken.known {
                    // An envelope is public: whoever signs it again, or drops a signature, accuses nobody by that.
                    to.events.push(event.with("first_index", first));
                    return;
                }
                to.events.push(event);
                to.events.extend(outside_validity.map(|why| place.outside_validity(&why, &statement)));
                match statement {
                    Statement::Release(release) => {
                        place.release(&release, &signers[0], taken, comparison, &mut to.events);
                    }
                    Statement::Withdrawal(withdrawal) => {
                        sequences.withdraw(by, &withdrawal, leaf);
                        to.claims.push(Claim { leaf, hash: *hash, withdrawal, signers, checked, watches });
                    }
                    _ => {}
                }
            }
        }
    }

    fn watches(&self, statement: &Statement, signers: &[String]) -> Vec<String> {
        let covering = self.rules.watches.iter().filter(|watch| watch.covers(statement, signers));
        covering.map(|watch| watch.name.clone()).collect()
    }

    /// What a withdrawal came to, once the entry at its leaf is known: the release, its leaf hash and its
    /// signers, or none where there is no such release.
    ///
    /// Whose release it is goes by claim, too: under another leaf its signature may have been dropped.
    pub fn withdrawn(
        &self,
        claim: &Claim,
        target: Option<&(Release, Hash, Vec<String>)>,
        sequences: &Draft<'_>,
    ) -> Event {
        let Claim { leaf, withdrawal, signers, watches, .. } = claim;
        let (place, hash) = (leaf.to_string(), claim.hash.to_hex());
        let about = |code: Code, message: String| {
            let subject = [place.as_str(), hash.as_str()];
            let event = Event::new(code, Some(self.rules.origin.as_str()), &subject, self.now, message);
            let event = event
                .with("index", leaf.get())
                .with("withdraws", withdrawal.index.get())
                .with("purl", withdrawal.purl.as_str())
                .with("signers", signers.clone())
                .with("reason", withdrawal.reason.clone());
            if watches.is_empty() { event } else { event.watched(watches) }
        };
        let purl = &withdrawal.purl;
        let wrong = match target {
            None => Some(format!("leaf {} is no release", withdrawal.index)),
            Some((_, hash, _)) if *hash != withdrawal.leaf => {
                Some(format!("leaf {} has another hash than it says", withdrawal.index))
            }
            Some((release, _, _)) if release.purl != *purl || release.subjects != withdrawal.subjects => {
                Some(format!(
                    "leaf {} is {}, with other artifacts or another purl",
                    withdrawal.index, release.purl
                ))
            }
            // The release's key was taken off the list: nobody can tell whose it was.
            Some((_, _, released_by)) if claim.checked && released_by.iter().all(|name| is_keyid(name)) => {
                let message = format!(
                    "whether {purl}, leaf {}, was withdrawn by who released it can't be told: the key {} is not in publishers.toml any more",
                    withdrawal.index,
                    released_by.join(" and ")
                );
                return about(Code::UntrustedStatement, message);
            }
            Some((release, _, released_by))
                if !claim.is_by(released_by) && !claim.is_by_who_claimed(release, sequences) =>
            {
                let (seen, expected) = (signers.join(" and "), released_by.join(" or "));
                Some(format!("it was released by {expected}, and withdrawn by {seen}"))
            }
            Some(_) => None,
        };
        match wrong {
            None => about(
                Code::Withdrawn,
                format!("{purl}, leaf {}, was withdrawn: {}", withdrawal.index, withdrawal.reason),
            ),
            Some(why) => about(
                Code::FalseWithdrawal,
                format!("the withdrawal of {purl} at leaf {leaf} is false: {why}"),
            ),
        }
    }
}

/// One entry.
struct Place<'a> {
    look: &'a Look<'a>,
    leaf: LeafIndex,
    hash: &'a Hash,
}

impl Place<'_> {
    fn event(&self, code: Code, message: String) -> Event {
        // By its hash too: should a log show another entry at this place, that is another event.
        let (place, hash) = (self.leaf.to_string(), self.hash.to_hex());
        let origin = self.look.rules.origin.as_str();
        Event::new(code, Some(origin), &[&place, &hash], self.look.now, message)
            .with("index", self.leaf.get())
            .with("leaf_hash", hash)
    }

    fn unreadable(&self, why: &FormatError) -> Event {
        let message = format!("leaf {} is no statement that this monitor can read: {why}", self.leaf);
        self.event(Code::UnreadableEntry, message)
    }

    /// `before` is the leaf at which somebody who may had stated the same: then it accuses nobody.
    fn untrusted(&self, why: &StatementError, statement: Option<&Statement>, before: Option<u64>) -> Event {
        let event = match before {
            None => {
                let message = format!("the statement at leaf {} is not trusted: {why}", self.leaf);
                self.event(Code::UntrustedStatement, message)
            }
            Some(first) => {
                let message = format!(
                    "leaf {} repeats the statement of leaf {first}, and is not trusted itself: {why}",
                    self.leaf
                );
                self.event(Code::Entry, message).with("first_index", first)
            }
        };
        let purl = statement.and_then(Statement::purl);
        purl.map(|purl| purl.as_str().to_owned()).map_or(event.clone(), |purl| event.with("purl", purl))
    }

    fn outside_validity(&self, why: &StatementError, statement: &Statement) -> Event {
        let message = format!("at leaf {}: {why}", self.leaf);
        with_purl(self.event(Code::KeyOutsideValidity, message), statement)
    }

    fn statement(
        &self,
        statement: &Statement,
        signers: &[String],
        checked: bool,
        watches: &[String],
    ) -> Event {
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
        };
        let event = with_purl(self.event(code, message), statement).with("signers", signers.to_vec());
        let event = event.with("signatures", if checked { "checked" } else { "not checked" });
        let event = fields(event, statement);
        if watches.is_empty() { event } else { event.watched(watches) }
    }

    fn release(
        &self,
        release: &Release,
        publisher: &str,
        taken: Taken<'_>,
        comparison: &mut Comparison,
        events: &mut Vec<Event>,
    ) {
        let Release { purl, channel, sequence, .. } = release;
        let about = |code: Code, publisher: &str, message: String| {
            self.event(code, message)
                .with("purl", purl.as_str())
                .with("publisher", publisher)
                .with("channel", channel.as_str())
                .with("sequence", *sequence)
        };
        let at = self.leaf;
        if let Some((publisher, step)) = taken.step {
            events.extend(self.step(release, step, |code, message| about(code, publisher, message)));
        }
        if let Some((publisher, before)) = taken.changed {
            let message =
                format!("{purl} at leaf {at} has different content in {channel} than leaf {before}");
            events.push(about(Code::VersionChanged, publisher, message).with("first_index", before));
        }
        if let Some((publisher, before)) = taken.withdrawn {
            let message = format!("{purl} at leaf {at} has artifacts that leaf {before} had withdrawn");
            events.push(about(Code::WithdrawnBefore, publisher, message).with("withdrawal", before));
        }
        let about = |code: Code, message: String| about(code, publisher, message);
        if let Some(audience) = &release.audience {
            let message = format!("{purl} at leaf {at} is not for everyone: its audience is {audience}");
            events.push(about(Code::LimitedAudience, message).with("audience", audience.as_str()));
        }
        if let (Some(expect), Some(manifest)) = (&self.look.rules.expect, self.look.manifest)
            && expect.covers(purl)
            && !comparison.release(manifest, release)
        {
            let message = format!(
                "{purl} ({}, {channel}, sequence {sequence}) at leaf {at} by {publisher} is not in the manifest of what should be released",
                release.kind
            );
            events.push(
                about(Code::UnexpectedRelease, message).with("artifacts", artifacts(&release.subjects)),
            );
        }
    }
}

impl Place<'_> {
    /// How a release's number does not fit.
    fn step(&self, release: &Release, step: Step, about: impl Fn(Code, String) -> Event) -> Option<Event> {
        let (Release { purl, channel, sequence, .. }, at) = (release, self.leaf);
        let has = format!("{purl} at leaf {at} has sequence {sequence} in {channel}");
        match step {
            Step::Fits => None,
            Step::Gap { last } => {
                let message = format!("{has}, but the one before had {last}");
                Some(about(Code::SequenceGap, message).with("previous", last))
            }
            Step::Repeated { leaf } => {
                let message = format!("{has}, which leaf {leaf} has for other artifacts");
                Some(about(Code::SequenceRepeated, message).with("first_index", leaf))
            }
            Step::Lower { highest, leaf } => {
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

/// What each kind of statement says.
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
    }
}

fn digests(statement: &Statement) -> Vec<Value> {
    statement.digests().take(MAX_NAMED_ARTIFACTS).map(|digest| Value::from(digest.to_hex())).collect()
}
