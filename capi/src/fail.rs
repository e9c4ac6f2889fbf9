//! Statuses, and failures on their way to one.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString as _};

use treehead::endpoint::{Refusal, VerdictCode};
use treehead::format::FormatError;

/// The result of a function.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum th_status {
    /// Done. Of a verdict: the file may be installed.
    TH_OK = 0,
    /// The file must not be installed; the reason says why.
    TH_REFUSED = 1,
    /// Could not tell: the log did not answer, or its answer proves nothing; or the memory can't be read or saved.
    TH_COULD_NOT_TELL = 2,
    /// The caller broke a rule of this header.
    TH_INVALID_ARGUMENT = 3,
    /// Bytes from outside are not in their format.
    TH_MALFORMED = 4,
    /// Another thread is using the object, or another process held the memory's lock for 30 seconds.
    TH_BUSY = 5,
    /// This build of the library does not have the function.
    TH_UNSUPPORTED = 6,
    /// A buffer of the caller is too small; the needed length was written.
    TH_TOO_SMALL = 7,
    /// The operating system refused.
    TH_IO = 8,
}

/// A failure: the status to return, the reason's number (0 for none), and the sentence for people.
#[derive(Debug)]
pub(crate) struct Fail {
    pub status: th_status,
    pub reason: u32,
    pub message: String,
}

pub(crate) type Done<T = ()> = Result<T, Fail>;

impl Fail {
    /// The caller broke a rule.
    pub fn argument(message: &str) -> Self {
        Self { status: th_status::TH_INVALID_ARGUMENT, reason: 0, message: message.to_owned() }
    }

    pub fn new(status: th_status, message: impl Into<String>) -> Self {
        Self { status, reason: 0, message: message.into() }
    }

    /// A failure with a code of the verdict.
    pub fn coded(status: th_status, code: VerdictCode, message: impl Into<String>) -> Self {
        Self { status, reason: code.number().into(), message: message.into() }
    }
}

impl From<FormatError> for Fail {
    fn from(error: FormatError) -> Self {
        let reason = error.code().number().into();
        Self { status: th_status::TH_MALFORMED, reason, message: error.to_string() }
    }
}

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        Self::coded(th_status::TH_REFUSED, refusal.code(), refusal.to_string())
    }
}
