//! The profile of a log: the entries that it admits, for its whole life.

use crate::format::names;

names! {
    /// The entries that a log admits.
    #[derive(Default)]
    Profile {
        /// Signed statements of registered publishers.
        #[default]
        Release => "release",
        /// Any bytes, unchecked.
        Opaque => "opaque",
    }
}
