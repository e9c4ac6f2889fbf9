//! Whom a command trusts: `--trust`, or `--policy` and `--publishers`. The one place where their files are read.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::{CliResult, Failure};
use super::{files, output};
use crate::checkpoint::policy::Policy;
use crate::endpoint::{
    Endpoint, MAX_TRUST_BYTES, OpenError, Requirement, TrustDir, TrustDirError, TrustFile, TrustNews,
    TrustUpdateError, Unlearned,
};
use crate::format::shown;
use crate::proof::MAX_PROOF_BYTES;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

/// For commands that judge releases.
#[derive(Debug, Clone, clap::Args)]
pub struct Trusting {
    /// Everything to trust in one file, with the attestations that releases need, instead of --policy and --publishers
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "publishers"])]
    pub trust: Option<PathBuf>,
    /// Trusted logs, witnesses and quorum
    #[arg(long, value_name = "FILE", required_unless_present = "trust")]
    pub policy: Option<PathBuf>,
    /// Publishers to trust [default: publishers.toml beside the policy]
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub publishers: Option<PathBuf>,
}

/// For commands that judge tree heads.
#[derive(Debug, Clone, clap::Args)]
pub struct TrustedHeads {
    /// A trust file, whose policy counts, instead of --policy
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    pub trust: Option<PathBuf>,
    /// Trusted logs, witnesses and quorum
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// Says that another process holds a state.
pub fn say_waiting(path: &Path) {
    output::say(&format!("waiting for {}, which another treehead process holds", path.display()));
}

/// Asks the log for newer trust files, learns them, and says what there is to say. Nothing that the network does fails.
pub fn learn_online(
    given: &Path,
    state: &Path,
    address: Option<&str>,
    at_hand: &[Vec<u8>],
) -> Result<TrustNews, Failure> {
    let news = TrustDir::new(state).learn_online(&trust_file(given)?, address, at_hand, &say_waiting)?;
    let TrustNews { trusted, before, unlearned } = &news;
    if trusted.number() > *before {
        output::say(&format!("learned trust file {}, which counts instead of {before}", trusted.number()));
    }
    if let Some(unlearned) = unlearned {
        output::say(&unlearned_in_words(unlearned, given, state));
    }
    Ok(news)
}

/// The trust file that could not be learned, and the command that helps.
fn unlearned_in_words(unlearned: &Unlearned, given: &Path, state: &Path) -> String {
    let (given, state) = (given.display(), state.display());
    let message = shown(&unlearned.to_string());
    let helps = match unlearned {
        Unlearned::NoAddress => "; name the log with --online URL".to_owned(),
        Unlearned::NotAtHand { .. } => {
            format!(", and run `treehead trust update {given} --new FILE --online --state {state}`")
        }
        Unlearned::More { .. } => "; run the command again".to_owned(),
        _ => String::new(),
    };
    format!("trust: {message}{helps}")
}

/// The trust file of an endpoint, as JSON: the number, the number before, and what it could not learn.
pub fn news_json(news: &TrustNews) -> Value {
    let unlearned = news.unlearned.as_ref().map(|unlearned| {
        json!({ "code": unlearned.code(), "message": shown(&unlearned.to_string()), "number": unlearned.number() })
    });
    json!({ "number": news.trusted.number(), "before": news.before, "unlearned": unlearned })
}

/// Learns trust files that came with an artifact, lowest number first, each with the proof file or bundle beside it. Those
/// that are older than the one that counts are of no interest.
pub fn learn_files(given: &Path, state: &Path, files: &[PathBuf]) -> CliResult {
    if files.is_empty() {
        return Ok(());
    }
    let (given, dir) = (trust_file(given)?, TrustDir::new(state));
    let mut new = Vec::new();
    for path in files {
        let bytes = files::read(path, "a trust file", MAX_TRUST_BYTES)?;
        let number = TrustFile::parse(&bytes).map_err(|e| Failure::file(path, &e))?.number();
        new.push((number, path, bytes));
    }
    new.sort_by_key(|(number, ..)| *number);
    for (number, path, bytes) in new {
        let before = dir.newest(given.clone())?.number();
        if number < before {
            continue;
        }
        let proof = files::read(&files::proof_beside(path), "a proof file", MAX_PROOF_BYTES)?;
        let learned = dir.learn(given.clone(), &bytes, &[&proof], &say_waiting);
        let learned = learned.map_err(|e| Failure::from(e).of(&output::path(path)))?;
        if learned.number() > before {
            output::say(&format!("learned trust file {number}, which counts instead of {before}"));
        }
    }
    Ok(())
}

/// Reads a trust file.
pub fn trust_file(path: &Path) -> Result<TrustFile, Failure> {
    files::parse(path, "a trust file", MAX_TRUST_BYTES, TrustFile::parse)
}

impl Trusting {
    /// An endpoint that trusts what the files say, and remembers nothing. A trust file that the state directory learned
    /// counts if it is as new as the one that was named.
    pub fn endpoint(&self, state: Option<&Path>) -> Result<Endpoint, Failure> {
        if let Some(trusted) = self.trust_file(state)? {
            return Ok(Endpoint::trusting(trusted));
        }
        let (policy, publishers) = self.parts()?;
        Ok(Endpoint::new(policy, publishers))
    }

    /// The policy and the publishers, as in [`endpoint`](Self::endpoint).
    pub fn files(&self, state: Option<&Path>) -> Result<(Policy, Publishers), Failure> {
        if let Some(trusted) = self.trust_file(state)? {
            let (policy, publishers, _) = trusted.into_parts();
            return Ok((policy, publishers));
        }
        self.parts()
    }

    /// The trust file that counts, if one was named.
    fn trust_file(&self, state: Option<&Path>) -> Result<Option<TrustFile>, Failure> {
        let Some(path) = &self.trust else { return Ok(None) };
        let given = trust_file(path)?;
        Ok(Some(state.map_or(Ok(given.clone()), |state| TrustDir::new(state).newest(given))?))
    }

    fn parts(&self) -> Result<(Policy, Publishers), Failure> {
        let path = self.file();
        let policy = files::policy(path)?;
        let beside = path.with_file_name("publishers.toml");
        if self.publishers.is_none() && !beside.exists() {
            return Err(Failure::CouldNotTell(format!(
                "{} does not exist: name the publishers you believe with --publishers FILE",
                output::path(&beside)
            )));
        }
        let publishers = self.publishers.as_deref().unwrap_or(&beside);
        let publishers =
            files::parse(publishers, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
        Ok((policy, publishers))
    }

    /// The file that names the logs.
    pub fn file(&self) -> &Path {
        self.trust.as_ref().or(self.policy.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }
}

impl TrustedHeads {
    /// These, or the policy of a trust file, if none was named.
    pub fn or_trust(self, trust: Option<&Path>) -> Self {
        match (&self.trust, &self.policy) {
            (None, None) => Self { trust: trust.map(Path::to_owned), policy: None },
            _ => self,
        }
    }

    /// The file that names the logs.
    pub fn file(&self) -> &Path {
        self.trust.as_ref().or(self.policy.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The policy of a command that needs one.
    pub fn required(&self) -> Result<Policy, Failure> {
        let missing = || {
            Failure::Usage("whom to trust is not said: expected --policy <FILE> or --trust <FILE>".to_owned())
        };
        self.policy()?.ok_or_else(missing)
    }

    /// The policy, if one was named.
    pub fn policy(&self) -> Result<Option<Policy>, Failure> {
        self.policy_and_gate().map(|(policy, _)| policy)
    }

    /// The policy, if one was named, and the gate of the trust file.
    pub fn policy_and_gate(&self) -> Result<(Option<Policy>, Option<Vec<Requirement>>), Failure> {
        match (&self.trust, &self.policy) {
            (Some(path), _) => {
                let (policy, _, gate) = trust_file(path)?.into_parts();
                Ok((Some(policy), Some(gate)))
            }
            (None, Some(path)) => Ok((Some(files::policy(path)?), None)),
            (None, None) => Ok((None, None)),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = shown(&error.to_string());
        match error {
            OpenError::File(error) => error.into(),
            OpenError::Malformed { path, source } => Self::file(&path, &source),
            OpenError::Remembered { .. } => Self::refused(
                "state-damaged",
                message,
                "Remove it; the endpoint then trusts the file that it was given, and has to learn the newer ones again.",
            ),
            OpenError::Fork(error) => error.into(),
        }
    }
}

impl From<TrustUpdateError> for Failure {
    fn from(error: TrustUpdateError) -> Self {
        Self::refused(error.code().as_str(), shown(&error.to_string()), error.advice())
    }
}

impl From<TrustDirError> for Failure {
    fn from(error: TrustDirError) -> Self {
        match error {
            TrustDirError::Refused(error) => error.into(),
            TrustDirError::Open(error) => error.into(),
            TrustDirError::State(error) => error.into(),
        }
    }
}
