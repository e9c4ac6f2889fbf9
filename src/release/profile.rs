//! The profile of a log: the entries that it admits, for its whole life.

/// The entries that a log admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Signed statements of registered publishers.
    #[default]
    Release,
    /// Any bytes, unchecked.
    Opaque,
}

impl Profile {
    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Opaque => "opaque",
        }
    }

    /// The profile with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Release, Self::Opaque].into_iter().find(|profile| profile.as_str() == text)
    }
}
