//! Places in an artifact and in the rebuilt one.

use crate::format::names;

names! {
    /// One of the two that are compared.
    Side {
        /// The artifact that was released.
        Artifact => "artifact",
        /// The one that was rebuilt.
        Rebuilt => "rebuilt",
    }
}

/// An offset in the artifact, and the one in the rebuilt file that belongs to it. They differ behind ranges whose lengths do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset in the artifact.
    pub artifact: u64,
    /// Offset in the rebuilt file.
    pub rebuilt: u64,
}
