//! Macros for names of values, checked text, and error codes, which are a number for programs
//! in C and a name for JSON, the same in every version.

/// Declares an enum whose values have one name each, in files, settings, queries and JSON.
macro_rules! names {
    ($(#[$about:meta])* $type:ident {
        $($(#[$doc:meta])* $variant:ident $(= $number:literal)? => $name:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$doc])* $variant $(= $number)?,)+
        }

        impl $type {
            /// All values, in order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The value with this name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == text)
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use names;

/// Implements the ways to read a text that was checked when its type was made.
macro_rules! checked_text {
    ($type:ident) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use checked_text;

/// Declares the codes of an error enum: `pattern of the error => Code = number, "name";`. A code without a pattern belongs
/// to an error of another layer that has the same codes.
///
/// Neither a number nor a name is ever changed or used again. Each layer has a hundred numbers of its own:
/// `format` 1 to 99, `merkle` 100, `note` 200, `checkpoint` 300, `release` 400, `proof` 500, `endpoint` 600.
/// Patterns are tried in order, and the compiler checks that every error has a code.
macro_rules! error_codes {
    ($code:ident of $error:ident { $($($pattern:pat)? => $variant:ident = $number:literal, $name:literal;)+ }) => {
        $crate::format::names! {
            #[doc = concat!("The code of a [`", stringify!($error), "`]: its number and its name never change.")]
            #[non_exhaustive]
            $code { $(#[doc = concat!("`", $name, "`")] $variant = $number => $name,)+ }
        }

        impl $code {
            /// The number, for programs that have no strings to spare.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }
        }

        impl $error {
            /// The code, by which machines tell this error from others.
            #[must_use]
            pub const fn code(&self) -> $code {
                match self {
                    $($($pattern => $code::$variant,)?)+
                }
            }
        }
    };
}
pub(crate) use error_codes;

#[cfg(test)]
mod tests {
    use crate::checkpoint::CheckpointCode;
    use crate::checkpoint::policy::QuorumCode;
    use crate::endpoint::{TrustUpdateCode, VerdictCode};
    use crate::format::FormatCode;
    use crate::merkle::ProofCode;
    use crate::note::NoteCode;
    use crate::proof::fork::EvidenceCode;
    use crate::release::{StatementCode, WithdrawalCode};

    #[test]
    fn numbers_increase_from_layer_to_layer_and_names_are_plain() {
        let mut codes: Vec<(u16, &str)> = Vec::new();
        macro_rules! add {
            ($($code:ident)+) => { $(codes.extend($code::ALL.iter().map(|c| (c.number(), c.as_str())));)+ };
        }
        add!(FormatCode ProofCode NoteCode CheckpointCode QuorumCode StatementCode WithdrawalCode EvidenceCode VerdictCode TrustUpdateCode);
        assert!(codes.windows(2).all(|pair| pair[0].0 < pair[1].0), "{codes:?}");
        for (_, name) in codes {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
        }
    }
}
