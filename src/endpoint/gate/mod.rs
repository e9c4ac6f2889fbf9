//! A gate before an installer: finds the proof of each artifact, and decides by rules.
//!
//! Callers of [`Endpoint::check`] know which release they want and have its proof. A package manager knows a file, a
//! name and a version. The gate's rules say which packages need a proof and of which release, and the gate looks for
//! it: beside the artifact, in folders, and in the log by the artifact's digest.

mod at_hand;
mod fetch;
mod rules;
mod ruling;
mod settings;

use std::path::Path;

use super::check_error::Notice;
use super::open::parse;
use super::{
    Artifact, BatchArrival, BatchArtifact, Endpoint, Freshness, MAX_TRUST_BYTES, Online, OpenError,
    OwnedPins, Question, TrustFile, Verdict, hash_artifacts, stated, verify,
};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::merkle::Hash;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};
use at_hand::{AtHand, choose};
use fetch::Fetcher;
use rules::Facts;

pub use at_hand::{bundle_path, proof_path};
pub use rules::{PurlTemplate, Rule, TemplateError, Unlogged};
pub use ruling::{NoProof, Ruled, Ruling, Stop};
pub use settings::{GateSettings, MAX_GATE_BYTES};

/// Decides what may be installed.
#[derive(Debug)]
pub struct Gate {
    endpoint: Endpoint,
    settings: GateSettings,
}

/// An artifact that an installer is about to install.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The artifact.
    pub artifact: Arrived<'a>,
    /// Its name, if it has another one than its file.
    pub name: Option<&'a str>,
    /// Its proof file. `None`: the gate looks for it.
    pub proof: Option<&'a Path>,
    /// Name of its package, which rules go by. `None`: the name of the artifact.
    pub package: Option<&'a str>,
    /// Version of its package.
    pub version: Option<&'a str>,
    /// Architecture of its package.
    pub arch: Option<&'a str>,
}

/// A file, or the digest that the installer computed.
#[derive(Debug, Clone, Copy)]
pub enum Arrived<'a> {
    /// A file, which the gate hashes if it needs a proof.
    File(&'a Path),
    /// A digest. The file is not read; its proof file may lie beside it.
    Digest(Hash, Option<&'a Path>),
}

impl<'a> Arrived<'a> {
    /// The file, if there is one.
    #[must_use]
    pub const fn file(self) -> Option<&'a Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Digest(_, file) => file,
        }
    }
}

impl<'a> Arrival<'a> {
    /// An artifact about which nothing else is known.
    #[must_use]
    pub const fn new(artifact: Arrived<'a>) -> Self {
        Self { artifact, name: None, proof: None, package: None, version: None, arch: None }
    }

    /// The name of the artifact or its file: a path or a last segment.
    fn file_name(&self) -> Option<&'a str> {
        self.name.or_else(|| self.artifact.file().and_then(Path::to_str))
    }

    /// The name that rules go by. Empty, if there is none.
    #[must_use]
    pub fn package(&self) -> &'a str {
        let last = || self.file_name().and_then(|name| name.rsplit('/').next());
        self.package.or_else(last).unwrap_or_default()
    }
}

impl<'a> From<&'a BatchArrival> for Arrival<'a> {
    fn from(line: &'a BatchArrival) -> Self {
        let BatchArrival { artifact, proof, name, package, version, arch } = line;
        let artifact = match artifact {
            BatchArtifact::File(file) => Arrived::File(Path::new(file)),
            BatchArtifact::Digest(digest, file) => Arrived::Digest(*digest, file.as_deref().map(Path::new)),
        };
        Self {
            artifact,
            name: name.as_deref(),
            proof: proof.as_deref().map(Path::new),
            package: package.as_deref(),
            version: version.as_deref(),
            arch: arch.as_deref(),
        }
    }
}

/// An artifact that a rule applies to, on its way to a decision.
struct Case<'a> {
    /// Its place among the arrivals.
    at: usize,
    arrival: &'a Arrival<'a>,
    digest: Hash,
    pins: OwnedPins,
    unlogged: Unlogged,
    proof: Option<Vec<u8>>,
    /// Set if the log sent the proof: it is there to be asked, also for withdrawals.
    is_fetched: bool,
}

impl Case<'_> {
    fn proof(&self) -> &[u8] {
        self.proof.as_deref().unwrap_or_default()
    }

    fn question<'q>(&'q self, proof: &'q [u8], freshness: Freshness) -> Question<'q> {
        let artifact = Artifact::File { digest: &self.digest, name: self.arrival.file_name() };
        Question { artifact, proof, freshness, pins: self.pins.pins() }
    }

    fn no_proof(&self, why: NoProof) -> Ruling {
        match self.unlogged {
            Unlogged::Warn => Ruling::Warned(why),
            Unlogged::Require | Unlogged::Skip => Ruling::Stopped(Box::new(why.into())),
        }
    }
}

/// Sets the digests, and removes the cases whose files can't be hashed.
fn hash(cases: &mut Vec<Case<'_>>, ruled: &mut [Ruled]) {
    let file = |case: &Case<'_>| match case.arrival.artifact {
        Arrived::File(file) => Some(file.to_owned()),
        Arrived::Digest(..) => None,
    };
    let files: Vec<_> = cases.iter().filter_map(file).collect();
    let mut hashed = hash_artifacts(&files).into_iter();
    cases.retain_mut(|case| {
        let digest = match case.arrival.artifact {
            Arrived::File(_) => hashed.next().expect("one for each file"),
            Arrived::Digest(digest, _) => Ok(digest),
        };
        match digest {
            Ok(digest) => (case.digest, ruled[case.at].digest) = (digest, Some(digest)),
            Err(ref error) => ruled[case.at].ruling = Ruling::Stopped(Box::new(error.clone().into())),
        }
        digest.is_ok()
    });
}

impl Gate {
    /// Opens a gate by its settings file.
    ///
    /// # Errors
    /// [`OpenError`], if the settings, the policy or the publishers file is missing or malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let settings = |bytes: &[u8]| GateSettings::parse(bytes, dir);
        let settings = parse(path, "a gate's settings file", MAX_GATE_BYTES, settings)?;
        let endpoint = if let Some(trust) = &settings.trust {
            Endpoint::trusting(parse(trust, "a trust file", MAX_TRUST_BYTES, TrustFile::parse)?)
        } else {
            let policy = parse(&settings.policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
            let (path, what) = (&settings.publishers, "a publishers file");
            Endpoint::new(policy, parse(path, what, MAX_PUBLISHERS_BYTES, Publishers::parse)?)
        };
        let endpoint = endpoint.with_state_dir(&settings.state);
        Ok(Self { endpoint, settings })
    }

    /// Calls `tell` with each notice as it arises.
    #[must_use]
    pub fn on_notice(mut self, tell: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        self.endpoint = self.endpoint.on_notice(tell);
        self
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// Decides about artifacts, in order: two versions of a package may be installed one after the other.
    #[must_use]
    pub fn judge(&self, arrivals: &[Arrival<'_>]) -> Vec<Ruled> {
        let freshness = Freshness::now(self.settings.max_age);
        let unruled = || Ruling::Stopped(Box::new(NoProof::NotAtHand { tried: Vec::new() }.into()));
        let mut ruled: Vec<Ruled> =
            arrivals.iter().map(|_| Ruled { digest: None, ruling: unruled() }).collect();
        let (mut cases, mut fetcher) = (Vec::new(), None);
        for mut case in self.cases(arrivals, &mut ruled) {
            let AtHand { proofs, tried, unreadable } =
                AtHand::find(case.arrival, &case.digest, &self.settings.proofs);
            let first = proofs.first().cloned();
            case.proof = self.choose(&case, proofs, freshness);
            let mut why = unreadable.map_or(NoProof::NotAtHand { tried }, NoProof::Unreadable);
            if case.proof.is_none() && self.settings.fetch && case.arrival.proof.is_none() {
                let fetcher =
                    fetcher.get_or_insert_with(|| Fetcher::new(&self.endpoint, self.settings.log.as_deref()));
                match fetcher.proofs(&case.digest, case.pins.package.as_ref()) {
                    Ok(proofs) => {
                        let first = proofs.first().cloned();
                        case.proof = self.choose(&case, proofs, freshness).or(first);
                        case.is_fetched = true;
                    }
                    Err(error) => why = error,
                }
            }
            // A proof of something else says what is wrong, unless the log has the right one.
            if case.proof.is_none() && !case.is_fetched {
                case.proof = first;
            }
            match case.proof {
                None if !case.is_fetched => ruled[case.at].ruling = case.no_proof(why),
                _ => cases.push(case),
            }
        }
        self.check(&cases, freshness, &mut ruled);
        ruled
    }

    fn choose(&self, case: &Case<'_>, proofs: Vec<Vec<u8>>, freshness: Freshness) -> Option<Vec<u8>> {
        let trust = self.endpoint.trust();
        choose(proofs, &case.digest, |proof| verify(&case.question(proof, freshness), trust, None).is_ok())
    }

    /// Applies the rules: the artifacts that need a proof, hashed.
    fn cases<'a>(&self, arrivals: &'a [Arrival<'a>], ruled: &mut [Ruled]) -> Vec<Case<'a>> {
        let mut cases = Vec::new();
        for (at, arrival) in arrivals.iter().enumerate() {
            let rule = self.settings.rule(arrival.package());
            let unlogged = rule.map_or(Unlogged::Require, |rule| rule.unlogged);
            if unlogged == Unlogged::Skip {
                ruled[at].ruling = Ruling::Skipped;
                continue;
            }
            let mut pins = rule.map(|rule| rule.pins.clone()).unwrap_or_default();
            let Arrival { version, arch, .. } = *arrival;
            let facts =
                Facts { package: Some(arrival.package()).filter(|name| !name.is_empty()), version, arch };
            match rule.and_then(|rule| rule.purl.as_ref()).map(|purl| purl.fill(facts)).transpose() {
                Ok(package) => pins.package = package,
                Err(error) => {
                    ruled[at].ruling = Ruling::Stopped(Box::new(error.into()));
                    continue;
                }
            }
            let (digest, proof) = (Hash::EMPTY_ROOT, None);
            cases.push(Case { at, arrival, digest, pins, unlogged, proof, is_fetched: false });
        }
        hash(&mut cases, ruled);
        cases
    }

    /// Judges artifacts by their proofs.
    fn check(&self, cases: &[Case<'_>], freshness: Freshness, ruled: &mut [Ruled]) {
        if cases.is_empty() {
            return;
        }
        let questions: Vec<Question<'_>> =
            cases.iter().map(|case| case.question(case.proof(), freshness)).collect();
        let is_online = |at: usize| self.settings.online || cases[at].is_fetched;
        let online = (0..cases.len()).any(is_online).then_some(Online::At(self.settings.log.as_deref()));
        let checked = self.endpoint.check_some_online(&questions, online, is_online);
        let verdicts: Vec<Verdict> = match checked.verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => cases.iter().map(|_| Err(error.clone())).collect(),
        };
        for (case, verdict) in cases.iter().zip(verdicts) {
            ruled[case.at].ruling = match verdict {
                Ok(accepted) => Ruling::Proven(Box::new(accepted)),
                Err(error) => {
                    let of = Artifact::File { digest: &case.digest, name: None };
                    let stated = stated(case.proof(), of, self.endpoint.trust()).map(Box::new);
                    Ruling::Stopped(Box::new(Stop::Refused { error, stated }))
                }
            };
        }
    }
}
