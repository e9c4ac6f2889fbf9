//! Reading and writing files the way every command does: capped, atomic, secrets at mode 600.

mod lock;
mod read;
mod replace;

use std::path::{Path, PathBuf};

pub use crate::endpoint::{FOLDER_BUNDLE, bundle_path, folder_bundle_path, proof_path};
pub use lock::lock;
pub use read::{
    hash_artifact, note_signer, open, parse, policy, read, read_publisher_secret, read_secret, read_up_to,
};
pub use replace::{OutFile, Replacement, create_new, dir_of, is_same, prepare, prepare_out, replace};

/// The proof beside an artifact: its bundle, which may have more than its proof file; or else the proof file, or the bundle
/// of the folder.
pub fn proof_beside(artifact: &Path) -> PathBuf {
    let own = proof_path(artifact);
    let others = [bundle_path(artifact), own.clone(), folder_bundle_path(artifact)];
    others.into_iter().find(|path| path.exists()).unwrap_or(own)
}
