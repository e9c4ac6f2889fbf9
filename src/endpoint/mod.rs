//! An endpoint's verdict on an artifact before installation, and its memory.
//!
//! [`Endpoint`] is the paved path: it opens the endpoint's directory, judges, asks the log if it may, and saves its
//! memory before it returns the verdict. The pure steps are below it: [`verify`](fn@verify) turns a [`Question`], the
//! bytes of the trusted files and an [`EndpointState`] into a [`VerifiedRelease`] or a [`Refusal`], without files,
//! clock or network.

mod attestations;
mod batch;
mod history;
mod memory;
mod owned_pins;
mod proven;
mod question;
mod refusal;
mod remembered_manifest;
mod report;
mod requirement;
mod subjects;
mod succession;
mod trust_file;
mod verify;
mod withdrawal_search;
mod withdrawn;

#[cfg(feature = "client")]
mod artifact_file;
#[cfg(feature = "client")]
mod check;
#[cfg(feature = "client")]
mod check_error;
#[cfg(feature = "client")]
mod endpoint_file;
#[cfg(feature = "client")]
mod folder;
#[cfg(feature = "client")]
mod gate;
#[cfg(feature = "client")]
mod inquiry;
#[cfg(feature = "client")]
mod manifest_store;
#[cfg(feature = "client")]
mod manifest_update;
#[cfg(feature = "client")]
mod memory_store;
#[cfg(feature = "client")]
mod news;
#[cfg(feature = "client")]
mod open;
#[cfg(feature = "client")]
mod remote_log;
#[cfg(feature = "client")]
mod trust_dir;
#[cfg(feature = "client")]
mod trust_news;

pub use attestations::MissingAttestations;
pub use batch::{BatchArrival, BatchArtifact, BatchLine, BatchQuestion, MAX_BATCH_LINE_BYTES};
pub use history::{
    CompareError, History, TwoHistories, compare_history, compare_signed, contradicted, head_of,
};
pub use memory::*;
pub use owned_pins::OwnedPins;
pub use proven::{Proven, checkpoint_of};
pub use question::{Artifact, FUTURE_ALLOWANCE_SECONDS, Freshness, PackagePin, Pins, Question, Trust};
pub use refusal::{Refusal, VerdictCode};
pub use remembered_manifest::{MAX_REMEMBERED_MANIFEST_BYTES, RememberedManifest};
pub use report::{
    bundle_json, entry_json, fork_json, head_json, proof_json, signed_head_json, trust_json, witnesses_json,
};
pub use requirement::{Conditions, MAX_REQUIREMENTS, Requirement, Unmet};
pub use succession::{MAX_TRUST_PROOFS, TRUST_CHANNEL, TrustUpdateCode, TrustUpdateError, UpdateRule};
pub use trust_file::{MAX_TRUST_BYTES, TRUST_FILE, TrustFile};
pub use verify::*;
pub use withdrawal_search::{
    About, Doubt, SearchError, WithdrawalLog, WithdrawalNotice, WithdrawalSearch, Withdrawals,
};
pub use withdrawn::{ProvenWithdrawal, logged_withdrawal, verify_withdrawal};

#[cfg(feature = "client")]
pub(crate) use artifact_file::SteadyFile;
#[cfg(feature = "client")]
pub use artifact_file::{ArtifactError, hash_artifact, hash_artifacts, hash_reader};
#[cfg(feature = "client")]
pub use check::{Accepted, Checked, Online, Verdict};
#[cfg(feature = "client")]
pub use check_error::{CheckError, FoundFork, Notice, ShownHead};
#[cfg(feature = "client")]
pub use endpoint_file::OpenError;
#[cfg(feature = "client")]
pub(crate) use folder::files_of_folder;
#[cfg(feature = "client")]
pub use folder::{
    Difference, FolderDifferences, FolderError, compare_files, compare_folder, manifest_of_folder,
    manifest_path,
};
#[cfg(feature = "client")]
pub use gate::{
    Arrival, Arrived, FOLDER_BUNDLE, Gate, GateSettings, MAX_GATE_BYTES, NoProof, PurlTemplate, Rule, Ruled,
    Ruling, Stop, TemplateError, Unlogged, bundle_path, folder_bundle_path, proof_path,
};
#[cfg(feature = "client")]
pub use manifest_update::{CheckedManifest, ManifestUpdate, ManifestUpdateError, UpdatedManifest};
#[cfg(feature = "client")]
pub use memory_store::{FileError, Memory, MemoryDir, MemoryError};
#[cfg(feature = "client")]
pub use open::{Endpoint, POLICY_FILE, PUBLISHERS_FILE, STATE_DIR};
#[cfg(feature = "client")]
pub use remote_log::RemoteLog;
#[cfg(feature = "client")]
pub use requirement::{MAX_RULES_BYTES, parse_rules};
#[cfg(feature = "client")]
pub use trust_dir::{TrustDir, TrustDirError};
#[cfg(feature = "client")]
pub use trust_news::{MAX_TRUST_STEPS, TrustNews, Unlearned};

#[cfg(test)]
mod tests;
