//! Versions, and the names of reasons.

use core::ffi::{CStr, c_char};

use treehead::endpoint::{TrustUpdateCode, VerdictCode};

/// The version of this interface. It grows when something is added; libtreehead.so.0 keeps what it had.
pub const TH_ABI_VERSION: u32 = 1;

/// TH_ABI_VERSION of the library.
#[unsafe(no_mangle)]
pub extern "C" fn th_abi_version() -> u32 {
    TH_ABI_VERSION
}

/// The version of the library: "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn th_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// Names with the NUL that C wants.
macro_rules! names {
    ($function:ident of $codes:ident: $($code:ident => $name:literal,)+) => {
        const fn $function(code: $codes) -> &'static CStr {
            match code {
                $($codes::$code => $name,)+
                _ => c"",
            }
        }
    };
}

names! { trust_name of TrustUpdateCode:
    Malformed => c"trust-malformed",
    NotReplaceable => c"trust-not-replaceable",
    Rollback => c"trust-rollback",
    Gap => c"trust-gap",
    OtherPackage => c"trust-other-package",
    NotProven => c"trust-not-proven",
    OtherRelease => c"trust-other-release",
    TooFewSigners => c"trust-too-few-signers",
    Fork => c"trust-fork",
}

names! { verdict_name of VerdictCode:
    ProofMalformed => c"proof-malformed",
    UnknownLog => c"unknown-log",
    CheckpointMalformed => c"checkpoint-malformed",
    CheckpointSignature => c"checkpoint-signature",
    Cosignature => c"cosignature",
    NoQuorum => c"no-quorum",
    EntryMissing => c"entry-missing",
    NotIncluded => c"not-included",
    EntryMalformed => c"entry-malformed",
    UnknownPublisher => c"unknown-publisher",
    PublisherSignature => c"publisher-signature",
    PublisherKeyRevoked => c"publisher-key-revoked",
    OtherLog => c"other-log",
    PublisherNotPermitted => c"publisher-not-permitted",
    NotARelease => c"not-a-release",
    NotAWithdrawal => c"not-a-withdrawal",
    OtherPackage => c"other-package",
    OtherPublisher => c"other-publisher",
    OtherKind => c"other-kind",
    OtherChannel => c"other-channel",
    OtherAudience => c"other-audience",
    BelowMinSequence => c"below-min-sequence",
    ArtifactMismatch => c"artifact-mismatch",
    ArtifactSwapped => c"artifact-swapped",
    NotInManifest => c"not-in-manifest",
    Stale => c"stale",
    FromTheFuture => c"from-the-future",
    Fork => c"fork",
    Rollback => c"rollback",
    LogRolledBack => c"log-rolled-back",
    StateDamaged => c"state-damaged",
    StateNewer => c"state-newer",
    Withdrawn => c"withdrawn",
    NoFork => c"no-fork",
    CouldNotTell => c"could-not-tell",
    Attestations => c"attestations",
    SignaturesMissing => c"signatures-missing",
}

/// The stable name of a reason, as `treehead verify --json` prints it: "artifact-mismatch". NULL for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn th_reason_name(reason: u32) -> *const c_char {
    let of_verdict = VerdictCode::ALL.into_iter().find(|code| u32::from(code.number()) == reason);
    let of_trust = || TrustUpdateCode::ALL.into_iter().find(|code| u32::from(code.number()) == reason);
    let name = of_verdict.map(verdict_name).or_else(|| of_trust().map(trust_name));
    name.map_or(core::ptr::null(), CStr::as_ptr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_name() {
        for code in VerdictCode::ALL {
            // SAFETY: a name is a C string.
            let name = unsafe { CStr::from_ptr(th_reason_name(code.number().into())) };
            assert_eq!(name.to_str(), Ok(code.as_str()));
        }
        for code in TrustUpdateCode::ALL {
            // SAFETY: as above.
            let name = unsafe { CStr::from_ptr(th_reason_name(code.number().into())) };
            assert_eq!(name.to_str(), Ok(code.as_str()));
        }
        assert!(
            th_reason_name(0).is_null()
                && th_reason_name(599).is_null()
                && th_reason_name(u32::MAX).is_null()
        );
    }
}
