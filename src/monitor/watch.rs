//! What somebody wants to be told of: statements by package, publisher, kind, channel and digest.

use crate::merkle::Hash;
use crate::release::{PurlPattern, Statement};

/// A watch. Of each list that is not empty, one item has to fit.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Its name, which events carry.
    pub name: String,
    /// Packages.
    pub packages: Vec<PurlPattern>,
    /// Names of publishers, or hex keyids where the monitor has no publishers file.
    pub publishers: Vec<String>,
    /// Kinds of statement: `build`, `withdrawal`, ...
    pub kinds: Vec<String>,
    /// Channels of releases.
    pub channels: Vec<String>,
    /// Artifact digests, or roots of manifests.
    pub digests: Vec<Hash>,
}

impl Watch {
    /// Whether a statement by these signers is watched.
    #[must_use]
    pub fn covers(&self, statement: &Statement, signers: &[String]) -> bool {
        let channel = match statement {
            Statement::Release(release) => Some(release.channel.as_str()),
            _ => None,
        };
        let kind = statement.kind();
        let fits = |list_is_empty: bool, one: bool| list_is_empty || one;
        let package = || statement.purls().iter().any(|purl| self.packages.iter().any(|p| p.covers(purl)));
        fits(self.packages.is_empty(), package())
            && fits(self.publishers.is_empty(), self.publishers.iter().any(|name| signers.contains(name)))
            && fits(self.kinds.is_empty(), self.kinds.iter().any(|name| name == kind.as_str()))
            && fits(self.channels.is_empty(), self.channels.iter().any(|name| Some(name.as_str()) == channel))
            && fits(self.digests.is_empty(), statement.digests().any(|digest| self.digests.contains(&digest)))
    }
}
