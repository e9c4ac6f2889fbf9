//! Why a log can't be opened.

use std::path::PathBuf;

use crate::http::WatchError;
use crate::release::Profile;
use crate::sequencer::StartError;
#[cfg(feature = "bucket")]
use crate::store::bucket::MakeError;

/// A log that can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `publishers.toml`, or the file with the profile, can't be read or is malformed.
    #[error(transparent)]
    File(#[from] WatchError),
    /// The settings name another profile than the log was made for.
    #[error(
        "{}: the log was made with profile = \"{}\", and keeps it for life: {why}; the settings say \"{}\"",
        dir.display(), kept.as_str(), said.as_str()
    )]
    Profile {
        /// The log's directory.
        dir: PathBuf,
        /// The profile that the log was made for.
        kept: Profile,
        /// The profile in the settings.
        said: Profile,
        /// The source of `kept`, and what to do if it is wrong.
        why: String,
    },
    /// The bucket has no log, or another one.
    #[cfg(feature = "bucket")]
    #[error(transparent)]
    Bucket(Box<MakeError>),
    /// The store or the last checkpoint fails its checks.
    #[error(transparent)]
    Start(#[from] StartError),
}

#[cfg(feature = "bucket")]
impl From<MakeError> for OpenError {
    fn from(error: MakeError) -> Self {
        Self::Bucket(Box::new(error))
    }
}
