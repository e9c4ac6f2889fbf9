//! A release from the command line.

use super::artifact::Artifact;
use crate::cli::exit::Failure;
use crate::client::Numbering;
use crate::format::cap_count;
use crate::release::{Kind, MAX_SUBJECTS, ManifestRef, Purl, Release, Source};

/// The options that say what a release is.
pub struct About<'a> {
    pub kind: Kind,
    pub purl: &'a Purl,
    pub channel: &'a str,
    pub sequence: Numbering,
    pub source: Option<&'a str>,
    pub audience: Option<&'a str>,
    pub manifest: Option<ManifestRef>,
}

impl About<'_> {
    /// Hashes the artifacts, and makes the release, which names no log yet.
    pub fn release(&self, artifacts: &[Artifact]) -> Result<Release, Failure> {
        cap_count("a release", "artifacts", artifacts.len(), MAX_SUBJECTS)
            .map_err(|e| Failure::Usage(e.to_string()))?;
        let source = self.source.map(Source::parse).transpose();
        let source = source.map_err(|e| Failure::Usage(format!("--source: {e}")))?;
        let subjects = artifacts.iter().map(Artifact::subject).collect::<Result<_, _>>()?;
        // Any other number is chosen later.
        let sequence = if let Numbering::Number(number) = self.sequence { number } else { 0 };
        let release = Release {
            subjects,
            purl: self.purl.clone(),
            kind: self.kind,
            channel: self.channel.to_owned(),
            sequence,
            source: source.map(Box::new),
            manifest: self.manifest,
            audience: self.audience.map(ToOwned::to_owned),
            location: None,
            log: None,
        };
        release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?; // says what is wrong with it
        Ok(release)
    }
}
