//! Pins that were read from a file or a line.

use alloc::string::String;

use super::{PackagePin, Pins};
use crate::release::Kind;

/// [`Pins`] with their own text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedPins {
    /// As [`Pins::package`].
    pub package: Option<PackagePin>,
    /// As [`Pins::channel`].
    pub channel: Option<String>,
    /// As [`Pins::kind`].
    pub kind: Option<Kind>,
    /// As [`Pins::publisher`].
    pub publisher: Option<String>,
    /// As [`Pins::min_sequence`].
    pub min_sequence: Option<u64>,
    /// As [`Pins::audience`].
    pub audience: Option<String>,
    /// As [`Pins::name`].
    pub name: Option<String>,
}

impl OwnedPins {
    /// The pins, for a question.
    #[must_use]
    pub fn pins(&self) -> Pins<'_> {
        Pins {
            package: self.package.as_ref(),
            channel: self.channel.as_deref(),
            kind: self.kind,
            publisher: self.publisher.as_deref(),
            min_sequence: self.min_sequence,
            audience: self.audience.as_deref(),
            name: self.name.as_deref(),
        }
    }
}

impl Pins<'_> {
    /// These pins, and those of `others` that are not set here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            package: self.package.or(others.package),
            channel: self.channel.or(others.channel),
            kind: self.kind.or(others.kind),
            publisher: self.publisher.or(others.publisher),
            min_sequence: self.min_sequence.or(others.min_sequence),
            audience: self.audience.or(others.audience),
            name: self.name.or(others.name),
        }
    }
}
