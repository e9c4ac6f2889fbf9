//! Reading and writing files the way every command does: capped, atomic, secrets at mode 600.

mod lock;
mod read;
mod replace;

pub use crate::endpoint::proof_path;
pub use lock::lock;
pub use read::{
    hash_artifact, note_signer, open, parse, policy, publisher_key, read, read_secret, read_up_to,
};
pub use replace::{OutFile, Replacement, create_new, dir_of, is_same, prepare, prepare_out, replace};
