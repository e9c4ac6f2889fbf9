//! Options for commands that use an object store.

use super::exit::Failure;
use crate::bucket::{Address, BucketError, CredentialsError, S3, StoreOptions};
use crate::format::FormatError;

/// The address of an object store
#[allow(clippy::doc_markdown, reason = "help is plain text")]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreArgs {
    /// URL of the store; default: AWS_ENDPOINT_URL, else Amazon's
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of the bucket; default: AWS_REGION
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Name the bucket in the URL's path or in its host name; default: path if an endpoint is given
    #[arg(long, value_name = "path|host")]
    pub addressing: Option<Addressing>,
    /// Sign only headers, not payloads; requires https, which protects payloads
    #[arg(long)]
    pub unsigned_payload: bool,
}

/// The part of a request that names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Addressing {
    Path,
    Host,
}

impl StoreArgs {
    /// The options for the S3 client.
    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.addressing.map(|addressing| addressing == Addressing::Path),
            unsigned_payload: self.unsigned_payload,
            ..StoreOptions::default()
        }
    }

    /// Rejects the options of an object store if no bucket is named.
    pub fn check_unused(&self) -> Result<(), Failure> {
        if self.options() == StoreOptions::default() {
            return Ok(());
        }
        let wrong = "expected s3://BUCKET/PREFIX with the options of an object store, saw none";
        Err(Failure::Usage(wrong.to_owned()))
    }

    /// Opens the store at an address.
    pub fn open(&self, address: &Address) -> Result<S3, Failure> {
        Ok(S3::open(address, &self.options())?)
    }
}

/// Parses an address of a bucket.
pub fn parse_address(text: &str) -> Result<Address, FormatError> {
    text.parse()
}

impl From<BucketError> for Failure {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Lies { .. } => Self::refused(error.code(), error.to_string(), ""),
            BucketError::Format(_)
            | BucketError::Credentials(
                CredentialsError::Half { .. }
                | CredentialsError::NoProfile { .. }
                | CredentialsError::Unsupported { .. },
            ) => Self::Usage(error.to_string()),
            error => Self::CouldNotTell(error.to_string()),
        }
    }
}
