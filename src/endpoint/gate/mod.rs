//! A gate before an installer: finds the proof of each artifact, and decides by rules.
//!
//! Callers of [`Endpoint::check`] know which release they want and have its proof. A package manager knows a file, a
//! name and a version. The gate's rules say which packages need a proof and of which release, and the gate looks for
//! it: beside the artifact, in folders, and in the log by the artifact's digest.

mod at_hand;
mod content;
mod fetch;
mod rules;
mod ruling;
mod settings;

use std::path::Path;

use super::check_error::Notice;
use super::endpoint_file::parse;
use super::{
    BatchArrival, BatchArtifact, CheckError, Endpoint, Freshness, Online, OpenError, OwnedPins, Question,
    Refusal, Verdict, stated, verify,
};
use crate::merkle::Hash;
use at_hand::{AtHand, choose};
use content::{Content, read_all};
use fetch::Fetcher;
use rules::Facts;

pub use at_hand::{FOLDER_BUNDLE, bundle_path, folder_bundle_path, proof_path};
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

/// A file, the digest that the installer computed, or a folder whose files are released by a manifest.
#[derive(Debug, Clone, Copy)]
pub enum Arrived<'a> {
    /// A file, which the gate hashes if it needs a proof. A folder stands for its manifest beside it, as in [`manifest_path`].
    ///
    /// [`manifest_path`]: super::manifest_path
    File(&'a Path),
    /// A digest. The file is not read; its proof file may lie beside it.
    Digest(Hash, Option<&'a Path>),
    /// A folder that must have exactly the files of a manifest. The proof is that of the manifest.
    Folder {
        /// The folder.
        dir: &'a Path,
        /// The manifest file.
        manifest: &'a Path,
    },
    /// The files of a folder that a `.tlog-files` file covers. The proof is that of their manifest, which need not be there.
    Files {
        /// The folder.
        dir: &'a Path,
        /// The proof of the files.
        proof: &'a Path,
    },
}

impl<'a> Arrival<'a> {
    /// An artifact about which nothing else is known.
    #[must_use]
    pub const fn new(artifact: Arrived<'a>) -> Self {
        Self { artifact, name: None, proof: None, package: None, version: None, arch: None }
    }

    /// The name of the artifact, its file or its folder: a path or a last segment.
    fn file_name(&self) -> Option<&'a str> {
        self.name.or_else(|| self.artifact.path().and_then(Path::to_str))
    }

    /// The name that rules go by. Empty, if there is none.
    #[must_use]
    pub fn package(&self) -> &'a str {
        let last = || self.file_name().and_then(|name| name.trim_end_matches('/').rsplit('/').next());
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
    content: Content,
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

    /// The questions to judge a proof by, at least one.
    fn questions<'q>(&'q self, proof: &'q [u8], freshness: Freshness) -> Vec<Question<'q>> {
        let artifacts = self.content.artifacts(self.arrival.file_name()).into_iter();
        artifacts.map(|artifact| Question { artifact, proof, freshness, pins: self.pins.pins() }).collect()
    }

    fn no_proof(&self, why: NoProof) -> Ruling {
        match self.unlogged {
            Unlogged::Warn => Ruling::Warned(why),
            Unlogged::Require | Unlogged::Skip => Ruling::Stopped(Box::new(why.into())),
        }
    }
}

impl Gate {
    /// Opens a gate by its settings file.
    ///
    /// # Errors
    /// [`OpenError`], if the settings, or the files that say whom to trust, are missing or malformed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let settings = |bytes: &[u8]| GateSettings::parse(bytes, dir);
        let settings = parse(path, "a gate's settings file", MAX_GATE_BYTES, settings)?;
        let GateSettings { trust, policy, publishers, state, .. } = &settings;
        let endpoint = Endpoint::from_files(trust.as_deref(), (policy, publishers), state)?;
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
            let AtHand { proofs, others, tried, unreadable } =
                AtHand::find(case.arrival, &case.content, &self.settings.proofs);
            let first = others.into_iter().next();
            let offline = self.choose(&case, proofs, freshness);
            // The log may have the attestations that the proof at hand lacks.
            let is_enough = offline.as_ref().is_some_and(|(_, lacks)| !lacks);
            case.proof = offline.map(|(proof, _)| proof);
            let mut why = unreadable.map_or(NoProof::NotAtHand { tried }, NoProof::Unreadable);
            if let Some(digest) = case
                .content
                .digest()
                .filter(|_| !is_enough && self.settings.fetch && case.arrival.proof.is_none())
            {
                let fetcher =
                    fetcher.get_or_insert_with(|| Fetcher::new(&self.endpoint, self.settings.log.as_deref()));
                match fetcher.proofs(digest, case.pins.package.as_ref()) {
                    Ok(proofs) => {
                        let first = proofs.first().cloned();
                        case.proof = self.choose(&case, proofs, freshness).map(|(proof, _)| proof).or(first);
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

    /// Picks a proof, and tells whether it lacks attestations and nothing else.
    fn choose(&self, case: &Case<'_>, proofs: Vec<Vec<u8>>, freshness: Freshness) -> Option<(Vec<u8>, bool)> {
        let trust = self.endpoint.trust();
        let first_error = |proof: &[u8]| {
            let questions = case.questions(proof, freshness);
            questions.iter().find_map(|question| verify(question, trust, None).err())
        };
        let artifacts = case.content.artifacts(None);
        let proof = choose(proofs, artifacts[0], |proof| first_error(proof).is_none())?;
        let lacks = self.settings.fetch
            && !trust.gate.is_empty()
            && matches!(first_error(&proof), Some(Refusal::Attestations { .. }));
        Some((proof, lacks))
    }

    /// Applies the rules: the artifacts that need a proof, read.
    fn cases<'a>(&self, arrivals: &'a [Arrival<'a>], ruled: &mut [Ruled]) -> Vec<Case<'a>> {
        let mut wanted = Vec::new();
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
            wanted.push((at, arrival, pins, unlogged));
        }
        let contents = read_all(&wanted.iter().map(|(_, arrival, ..)| *arrival).collect::<Vec<_>>());
        let mut cases = Vec::new();
        for ((at, arrival, pins, unlogged), content) in wanted.into_iter().zip(contents) {
            match content {
                Ok(content) => {
                    ruled[at].digest = content.digest().copied();
                    let (proof, is_fetched) = (None, false);
                    cases.push(Case { at, arrival, content, pins, unlogged, proof, is_fetched });
                }
                Err(stop) => ruled[at].ruling = Ruling::Stopped(stop),
            }
        }
        cases
    }

    /// Judges artifacts by their proofs.
    fn check(&self, cases: &[Case<'_>], freshness: Freshness, ruled: &mut [Ruled]) {
        if cases.is_empty() {
            return;
        }
        let asked: Vec<(&Case<'_>, Question<'_>)> = cases
            .iter()
            .flat_map(|case| case.questions(case.proof(), freshness).into_iter().map(move |q| (case, q)))
            .collect();
        let is_online = |at: usize| self.settings.online || asked[at].0.is_fetched;
        let online = (0..asked.len()).any(is_online).then_some(Online::At(self.settings.log.as_deref()));
        let questions: Vec<Question<'_>> = asked.iter().map(|(_, question)| question.clone()).collect();
        let checked = self.endpoint.check_some_online(&questions, online, is_online);
        let verdicts: Vec<Verdict> = match checked.verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => questions.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut verdicts = verdicts.into_iter();
        for case in cases {
            let count = case.content.artifacts(None).len();
            let parts: Result<Vec<_>, CheckError> = verdicts.by_ref().take(count).collect();
            ruled[case.at].ruling = match parts.map(|mut parts| parts.pop()) {
                Ok(Some(accepted)) => match case.content.compare() {
                    Ok(()) => Ruling::Proven(Box::new(accepted)),
                    Err(stop) => Ruling::Stopped(stop),
                },
                Ok(None) => unreachable!("a verdict for each question, and a question for each case"),
                Err(error) => {
                    let of = case.content.artifacts(None)[0];
                    let stated = stated(case.proof(), of, self.endpoint.trust()).map(Box::new);
                    Ruling::Stopped(Box::new(Stop::Refused { error, stated }))
                }
            };
        }
    }
}
