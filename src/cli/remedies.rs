//! The failures that the errors of all layers become, each with its remedy. The layers below know no commands; what to do
//! next, and with which command, is said here.

use std::path::Path;
use std::time::Duration;

use super::exit::Failure;
use crate::client::{AuditError, BundleError, ClientError, NetworkFault, ProblemCode, ProvenError};
use crate::disk::{DiskError, run_again};
use crate::endpoint::Refusal;
use crate::http::WatchError;
use crate::load::{CheckError, LoadError};
use crate::monitor::delivery::DeliveryError;
use crate::proof::fork::{EvidenceCode, EvidenceError};
use crate::release::StatementError;
use crate::sequencer::{StartError, Trouble};
use crate::server::OpenError;
use crate::store::bucket::{ChainError, MakeError, MoveError};
use crate::store::{CopyError, ExportError, StoreError};
use crate::threads::ThreadError;

/// Advice where a log's answers contradict its signature.
const LIES: &str = "The log is damaged or lies; tell its operator and your peers.";

/// The command that repairs a log.
macro_rules! repair {
    () => {
        "`treehead repair DIR --from SOURCE` repairs a log, where SOURCE is a backup, an export, or the address of a mirror"
    };
}

/// The command that helps the operator of a running log.
pub const fn fault_advice(trouble: Trouble) -> Option<&'static str> {
    match trouble {
        Trouble::Rollback | Trouble::RollbackSuspected | Trouble::Damage => Some(repair!()),
        _ => None,
    }
}

/// The command that helps when a log refuses an entry, as the continuation of other advice.
pub const fn entry_advice(code: &ProblemCode) -> &'static str {
    match code {
        ProblemCode::UnknownPublisher => " On the log's machine, `treehead publisher add` registers a key.",
        _ => "",
    }
}

/// How to bring back a lost file of a log's directory.
pub fn put_back(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().display();
    format!("restore it from a backup: cp BACKUP/{name} {}", path.display())
}

/// How to mend a wrong file of a log's directory.
pub fn correct(path: &Path) -> String {
    format!("correct it, or {}", put_back(path))
}

impl Failure {
    /// Another process held a lock for so long.
    pub fn lock_held(path: &Path, waited: Duration) -> Self {
        let (path, waited) = (path.display(), waited.as_secs());
        Self::CouldNotTell(format!(
            "{path} is held by another treehead: expected to get it within {waited} s; `fuser {path}` names the process: end it if it is stopped or hangs, and run the command again (the file may stay)"
        ))
    }

    /// Makes a failure of a log's answer to an entry that was to be appended.
    pub fn append(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            // The log understood, and said no: trying again does not help.
            ClientError::Status { code: Some(code), status: 400 | 403 | 409 | 413 | 422, .. } => {
                let advice = format!("The log refused it; nothing was appended.{}", entry_advice(&code));
                Self::refused(code.as_str(), message, &advice)
            }
            // The entry was sent, and its fate is unknown.
            ClientError::Network { fault: NetworkFault::Timeout | NetworkFault::Closed, .. } => {
                Self::CouldNotTell(message)
                    .and("the log may have it: run the same command again, it adds nothing twice")
            }
            other => other.into(),
        }
    }

    /// Makes a failure of a command that does not judge the log itself. Tiles and search results are not signed: anybody
    /// on the way can have made them, so they accuse neither the log nor the artifact.
    pub fn unsigned(error: ClientError) -> Self {
        match error {
            ClientError::Proof(_) | ClientError::Entries { .. } | ClientError::Length { .. } => {
                Self::CouldNotTell(error.to_string())
                    .and("nothing in the answer is signed; ask again, and also from another network")
            }
            other => other.into(),
        }
    }

    fn malformed_log(message: String) -> Self {
        Self::refused("log-malformed", message, "This is no tlog-tiles log, or it is damaged.")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (code, advice) = (refusal.code().as_str().to_owned(), refusal.advice().to_owned());
        let mut message = refusal.to_string();
        if matches!(refusal, Refusal::Publisher(StatementError::UnknownKey { .. })) {
            message += "; `treehead publisher add` registers one";
        }
        if matches!(refusal, Refusal::Attestations { .. }) {
            message += "; `treehead prove FILE --log URL --trust TRUST --with-attestations` fetches those that are in the log";
        }
        Self::Refused { code, message, advice, contrast: Some(Box::new(refusal.contrast())) }
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        let advice = match error.code() {
            EvidenceCode::UnknownLog => "Nothing was checked: the policy lacks a log line for this log.",
            EvidenceCode::CheckpointSignature => {
                "It proves nothing against the log; if its key is older than the policy's, ask with a policy that has it."
            }
            EvidenceCode::Unproven => {
                "It proves nothing as it is; ask who made it for the proof from the log's tiles."
            }
            _ => "It proves nothing against the log.",
        };
        Self::refused(error.code().as_str(), error.to_string(), advice)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Address(_) | ClientError::Contact(_) | ClientError::Proxy { .. } => {
                Self::Usage(message)
            }
            ClientError::Proof(_) | ClientError::Entries { .. } => {
                Self::refused("not-included", message, LIES)
            }
            ClientError::Length { .. } => Self::malformed_log(message),
            // A sign-in page, a proxy that wants a password, or a log that shows some clients less: none of
            // these says anything about the log, and only what a key of the log signed can accuse it. Appends
            // differ: see `Failure::append`.
            _ => Self::CouldNotTell(message),
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Client(error) => error.into(),
            other => Self::CouldNotTell(other.to_string()),
        }
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Broken { code, message } => Self::refused(
                code,
                message,
                "The log is damaged or lies; keep its directory as it is, and run fsck.",
            ),
            CheckError::Client(e) => e.into(),
            CheckError::Quorum(e) => Refusal::Quorum(e).into(),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Client(e) => Self::append(e),
            LoadError::Head(e) => e.into(),
            LoadError::Connect { .. } | LoadError::OutOfFiles { .. } | LoadError::System(_) => {
                Self::CouldNotTell(error.to_string())
            }
            wrong => Self::Usage(wrong.to_string()),
        }
    }
}

impl From<ThreadError> for Failure {
    fn from(error: ThreadError) -> Self {
        Self::CouldNotTell(error.to_string())
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        let message = error.to_string();
        match error {
            DiskError::Changed { .. } | DiskError::Damaged { .. } => {
                Self::refused("journal-damaged", message, "")
            }
            _ => Self::CouldNotTell(run_again(message)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let (code, advice) = match error {
            StoreError::Damaged { .. } => {
                ("journal-damaged", concat!(repair!(), ". Don't serve it before it is repaired."))
            }
            StoreError::TreeDamaged { .. } => (
                "tree-damaged",
                "`treehead fsck DIR --rebuild` rebuilds it. Nothing is lost: every entry is in the journal, or in the bucket.",
            ),
            StoreError::JournalShort { .. } => (
                "journal-short",
                concat!(repair!(), ". Don't delete the checkpoint file: that would fork the log."),
            ),
            StoreError::JournalForked { .. } => (
                "journal-forked",
                concat!(repair!(), ". Don't delete the checkpoint file: that would fork the log."),
            ),
            StoreError::CheckpointDamaged { .. } => (
                "checkpoint-damaged",
                concat!(repair!(), ". If log.key or log.vkey was replaced, put the right one back instead."),
            ),
            StoreError::CheckpointMissing { .. } => (
                "checkpoint-missing",
                concat!(
                    repair!(),
                    ". Without a source: the newest .tlog-proof of this log that anybody has ends with a checkpoint."
                ),
            ),
            StoreError::Chain(ChainError::Sealed { .. }) => (
                "log-moved",
                "Serve the log from the directory DIR of `treehead move s3://BUCKET/PREFIX DIR`; if that command was interrupted, run it again.",
            ),
            StoreError::Chain(e) if e.is_damage() => (
                "bucket-damaged",
                concat!(repair!(), ". A log in a bucket needs a source only if no bundle has the entries."),
            ),
            _ => return Self::CouldNotTell(run_again(message)),
        };
        Self::refused(code, message, advice)
    }
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        let message = error.to_string();
        match error {
            MoveError::Store(e) => e.into(),
            MoveError::Make(e) => e.into(),
            MoveError::Head(e) => e.into(),
            MoveError::Served { .. } => Self::CouldNotTell(message).and("then run the command again"),
            MoveError::OtherEntries { .. } => Self::refused(
                "other-entries",
                message,
                "The log was not moved. If it lives in that bucket, this directory is an old copy: don't serve it. Otherwise choose another prefix.",
            ),
            MoveError::Left { .. } => Self::refused(
                "log-moved",
                message,
                "To move into a bucket, choose another prefix. To move out of this one: the log is in the directory that it was moved to; if that is lost, docs/bucket.md says how to restore it.",
            ),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let message = error.to_string();
        let (code, advice) = match error {
            ExportError::Store(e) => return e.into(),
            ExportError::Disk(_) | ExportError::Overtaken { .. } => {
                return Self::CouldNotTell(run_again(message));
            }
            ExportError::Bucket(e) => return (*e).into(),
            ExportError::Head(e) => return Refusal::Checkpoint(e).into(),
            ExportError::NeverWitnessed { .. } => {
                ("no-quorum", "Serve it until its witnesses have cosigned.")
            }
            ExportError::NoQuorum { .. } => {
                ("no-quorum", "Serve it until the witnesses that treehead.toml names have cosigned.")
            }
            ExportError::NotAnExport { .. } | ExportError::OtherLog { .. } => {
                ("not-an-export", "Nothing was changed; choose another place.")
            }
            ExportError::Newer { .. } => {
                ("export-newer", "This log's directory is older than its export: find out why first.")
            }
            ExportError::Differs { .. } => {
                ("export-differs", "It is another log's, or damaged: export to an empty place and compare.")
            }
        };
        Self::refused(code, message, advice)
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let message = error.to_string();
        match error {
            AuditError::Client(ClientError::TooLarge { .. }) => Self::malformed_log(message),
            AuditError::Client(e) => e.into(),
            AuditError::Tile { .. } => Self::refused("tile-mismatch", message, LIES),
            AuditError::OtherLog { .. } => Self::Usage(format!("--since is {message}")),
            AuditError::RolledBack { .. } => Self::refused(
                "log-rolled-back",
                message,
                "The log lost entries, hides newer ones from you, or a cache on the way serves old heads; ask its operator, and ask again from another network.",
            ),
            AuditError::Fork(_) => Self::refused("fork", message, LIES),
        }
    }
}

impl From<ProvenError> for Failure {
    fn from(error: ProvenError) -> Self {
        let message = error.to_string();
        let code = match error {
            ProvenError::Client(e) => return e.into(),
            ProvenError::Checkpoint(e) => return Refusal::Checkpoint(e).into(),
            ProvenError::Quorum(e) => return Refusal::Quorum(e).into(),
            ProvenError::Malformed(_) => "checkpoint-malformed",
            ProvenError::NoLeaf { .. } | ProvenError::NotIncluded { .. } => "not-included",
            ProvenError::OtherStatement => "wrong-entry",
        };
        Self::refused(code, message, "Tell the log's operator.")
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let message = error.to_string();
        match error {
            CopyError::Store(e) => e.into(),
            CopyError::NotABackup { .. } => Self::refused("not-a-backup", message, "Nothing was changed."),
            CopyError::Newer { .. } => Self::refused(
                "would-lose-entries",
                message,
                "Nothing was changed. Keep what is newer; it is the log.",
            ),
            CopyError::Fork { .. } => Self::refused("forked", message, "Nothing was changed."),
            CopyError::Source { .. } => {
                Self::refused("source-refused", message, "The log's own files are as they were.")
            }
        }
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Bucket(e) => e.into(),
            error => Self::Usage(error.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::Profile { .. } => Self::Usage(message),
            OpenError::File(WatchError::Malformed { path, .. }) => Self::Usage(message).and(&correct(&path)),
            OpenError::File(WatchError::Io { path, .. }) => Self::CouldNotTell(message).and(&correct(&path)),
            OpenError::Bucket(e) => (*e).into(),
            OpenError::Start(StartError::Store(e)) => e.into(),
            OpenError::Start(StartError::Threads(e)) => e.into(),
            OpenError::Start(StartError::Checkpoint(_)) => {
                Self::refused("wrong-key", message, "Put the right log.key back; never sign with another.")
            }
        }
    }
}

impl From<crate::witness::OpenError> for Failure {
    fn from(error: crate::witness::OpenError) -> Self {
        use crate::http::watched_file::WatchError;
        use crate::witness::{LedgerError, OpenError};
        const NEVER: &str = "A witness that forgot what it cosigned must not sign again under this name.";
        let message = error.to_string();
        match error {
            OpenError::Ledger(LedgerError::Missing { .. }) => Self::refused("heads-missing", message, NEVER),
            OpenError::Ledger(LedgerError::Damaged { .. }) => Self::refused("heads-damaged", message, NEVER),
            OpenError::Ledger(LedgerError::RolledBack { .. }) => {
                Self::refused("heads-rolled-back", message, NEVER)
            }
            OpenError::Ledger(LedgerError::Disk(e)) => e.into(),
            OpenError::Logs(WatchError::Malformed { .. }) => {
                Self::Usage(message).and("mend it; nothing is cosigned meanwhile")
            }
            _ => Self::CouldNotTell(message),
        }
    }
}

impl From<crate::monitor::MonitorError> for Failure {
    fn from(error: crate::monitor::MonitorError) -> Self {
        use crate::monitor::{FollowError, MonitorError, StateError};
        let message = error.to_string();
        match error {
            MonitorError::Client(e) => e.into(),
            MonitorError::Delivery(e) => e.into(),
            MonitorError::Disk(e) => e.into(),
            MonitorError::Threads(e) => e.into(),
            MonitorError::Follow { error, .. }
                if matches!(*error, FollowError::State(StateError::Damaged { .. })) =>
            {
                Self::refused("state-damaged", message, "Nothing was changed.")
            }
            MonitorError::Follow { .. } | MonitorError::Internal { .. } => {
                Self::CouldNotTell(run_again(message))
            }
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        let message = error.to_string();
        match error {
            DeliveryError::Settings(_) => Self::Usage(message),
            DeliveryError::Disk(e) => e.into(),
            DeliveryError::Damaged { .. } => Self::refused(
                "state-damaged",
                message,
                "Events that were printed are in what you kept of the output.",
            ),
            _ => Self::CouldNotTell(run_again(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_command_that_a_full_disk_ended_is_to_be_run_again() {
        let error = || io::Error::from(io::ErrorKind::StorageFull);
        let disk = || DiskError::io("write", "journal")(error());
        let failures = [
            Failure::from(StoreError::from(disk())),
            Failure::from(DeliveryError::Disk(disk())),
            Failure::from(DeliveryError::OutputFull(error())),
            Failure::from(crate::monitor::MonitorError::Disk(disk())),
            Failure::from(OpenError::Start(StartError::Store(disk().into()))),
            Failure::from(crate::witness::OpenError::Ledger(crate::witness::LedgerError::Disk(disk()))),
        ];
        for failure in failures {
            let said = failure.message();
            assert!(said.ends_with("(free some space, and run it again)"), "{said}");
            assert!(matches!(failure, Failure::CouldNotTell(_)), "{failure:?}");
        }
    }
}
