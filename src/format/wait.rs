//! What a sender waits for.

use core::str::FromStr;

use super::{FormatError, quote};

/// How far an entry must have come before the log answers its sender, the nearest state first.
///
/// The same values stand in `?wait=` of `POST /add`, in `--wait` of the command line, and in a submission to
/// the sequencer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Wait {
    /// Durable, with a leaf index.
    Sequenced,
    /// Under a published checkpoint.
    #[default]
    Published,
    /// Under a checkpoint that a quorum of the log's witnesses has cosigned. A log without witnesses refuses it.
    Witnessed,
}

impl Wait {
    /// All states, in order.
    pub const ALL: [Self; 3] = [Self::Sequenced, Self::Published, Self::Witnessed];

    /// The state's one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequenced => "sequenced",
            Self::Published => "published",
            Self::Witnessed => "witnessed",
        }
    }
}

impl FromStr for Wait {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let wrong = || {
            let expected = "sequenced, published or witnessed";
            FormatError::malformed("the state to wait for", expected, quote(text))
        };
        Self::ALL.into_iter().find(|wait| wait.as_str() == text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_one_spelling() {
        for wait in Wait::ALL {
            assert_eq!(wait.as_str().parse(), Ok(wait));
        }
        for bad in ["", "Published", "published ", "signed"] {
            assert!(bad.parse::<Wait>().is_err(), "{bad:?}");
        }
        assert!(Wait::ALL.is_sorted(), "an answer to a later state is one to an earlier state, too");
    }
}
