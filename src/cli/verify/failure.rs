//! The messages of `treehead verify`: the endpoint's errors and notices, with the command that helps.

use crate::cli::evidence::{fork_failure, shown_by};
use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::client::AuditError;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{
    ArtifactError, CheckError, Doubt, FileError, FoundFork, MemoryError, Notice, Refusal, ShownHead,
};

/// The paths of `--state` and `--policy`, for remedies that name a file.
pub struct Places {
    pub policy: String,
    pub evidence: EvidenceDir,
}

/// The failure to report for an error of a check.
pub fn failure(error: CheckError, places: &Places) -> Failure {
    let (code, message) = (error.code(), error.to_string());
    match error {
        CheckError::Refused(refusal) => refused(refusal, &places.evidence),
        CheckError::Forked { fork, .. } => match *fork {
            FoundFork::Proven { fork, kept } => {
                let kept = kept.as_deref().map_err(|e| (e.path.as_path(), e.detail.as_str()));
                fork_failure(&fork, kept)
            }
            FoundFork::SameSize(refusal) => refusal.into(),
            FoundFork::Prefix { .. } => Failure::refused(
                code.as_str(),
                message,
                "Do not install it; the remembered head has no signature, so that it proves nothing to others.",
            ),
        },
        CheckError::LogStale { .. } => Failure::refused(
            code.as_str(),
            message,
            "The log or its witnesses have stalled, or somebody hides newer heads from you; ask its operator, and ask again from another network.",
        ),
        CheckError::LogRolledBack { address, expected, seen, shown } => {
            let failure = Failure::from(AuditError::RolledBack { kept: expected, served: seen });
            shown.map_or_else(|| failure.clone(), |shown| failure.clone().and(&ask_again(*shown, &address)))
        }
        CheckError::NoFork(error) => error.into(),
        CheckError::Memory(error) => error.into(),
        CheckError::NoAddress { origin } => {
            Failure::Usage(format!("{} has no address for {origin}: expected --online URL", places.policy))
        }
        CheckError::Doubt(Doubt::TooMany { .. }) => Failure::CouldNotTell(message)
            .and("with --state, run the command again to continue, otherwise tell the log's operator"),
        CheckError::Doubt(Doubt::OtherSigner { .. }) => Failure::CouldNotTell(message)
            .and("compare publishers.toml with the log's and run the command again"),
        CheckError::Doubt(Doubt::Untrusted(_)) => {
            Failure::CouldNotTell(message).and("update publishers.toml and run the command again")
        }
        CheckError::NotAsked { .. } => Failure::CouldNotTell(message).and("run the command again"),
        CheckError::Client(error) => Failure::unsigned(error),
        _ => Failure::CouldNotTell(message),
    }
}

/// A refusal, with the evidence that an earlier check kept.
fn refused(refusal: Refusal, evidence: &EvidenceDir) -> Failure {
    let kept = match &refusal {
        Refusal::Forked { evidence: Some(name), .. } => Some(shown_by(&evidence.path().join(name))),
        _ => None,
    };
    let failure = Failure::from(refusal);
    kept.map_or(failure.clone(), |kept| failure.and(&kept))
}

/// How to ask a log again for a head that it showed.
fn ask_again(shown: ShownHead, address: &str) -> String {
    match shown.kept {
        Ok(path) => {
            let path = path.display();
            format!(
                "the head that it showed before is in {path}; `treehead fsck {address} --policy FILE --since {path}` asks the log for it again"
            )
        }
        Err(e) => {
            format!("the head that it showed before is:\n{}({})", shown.note, Failure::from(e).message())
        }
    }
}

/// Says what a check tells besides its verdict.
pub fn tell(notice: &Notice<'_>, places: &Places) {
    let words = match notice {
        Notice::AlsoFailed(error) => {
            format!("also, while asking the log: {}", failure((*error).clone(), places).message())
        }
        Notice::ForkNotRemembered(error) => {
            format!("could not save the evidence of the fork: {}", Failure::from((*error).clone()).message())
        }
        Notice::HeadForgotten { .. } => format!("{notice}: run verify with --online now and then"),
        other => other.to_string(),
    };
    say(&words);
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let FileError { doing, path, kind, detail } = error;
        Self::file_access(doing, &path, &std::io::Error::new(kind, detail))
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        let message = error.to_string();
        match error {
            ArtifactError::File(error) => error.into(),
            ArtifactError::Changed { .. } => Self::refused(
                "artifact-changed",
                message,
                "Wait until the file is finished, then run the command again.",
            ),
        }
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        let message = error.to_string();
        match error {
            MemoryError::File(error) => error.into(),
            MemoryError::Held { path, waited } => Self::lock_held(&path, waited),
            MemoryError::Damaged { .. } | MemoryError::NotAFile { .. } => Self::refused(
                CheckError::Memory(error).code().as_str(),
                message,
                "Restore the file; delete it only if you accept that rollbacks before today pass unseen.",
            ),
            MemoryError::Newer { .. } => Self::refused(
                CheckError::Memory(error).code().as_str(),
                message,
                "Nothing is wrong with the file; run the newer program.",
            ),
            MemoryError::Full { .. } => {
                Self::CouldNotTell(format!("{message}; use another --state for some of the packages"))
            }
        }
    }
}
