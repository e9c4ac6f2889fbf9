//! The state of an entry that a sender waits for.

use core::str::FromStr;

use super::{FormatError, names, quote};

names! {
    /// The state that an entry must have reached before the log answers its sender, the earliest first.
    ///
    /// The same values stand in `?wait=` of `POST /add`, in `--wait` of the command line, and in a submission to
    /// the sequencer.
    #[derive(Default)]
    Wait {
        /// Durable, with a leaf index.
        Sequenced => "sequenced",
        /// Under a published checkpoint.
        #[default]
        Published => "published",
        /// Under a checkpoint that a quorum of the log's witnesses has cosigned. A log without witnesses refuses it.
        Witnessed => "witnessed",
    }
}

impl FromStr for Wait {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse(text).ok_or_else(|| {
            let expected = "sequenced, published or witnessed";
            FormatError::malformed("the state to wait for", expected, quote(text))
        })
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
