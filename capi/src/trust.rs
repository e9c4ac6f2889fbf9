//! Whom to trust.

use alloc::sync::Arc;
use alloc::vec::Vec;

use treehead::checkpoint::policy::Policy;
#[cfg(feature = "trust-updates")]
use treehead::endpoint::TrustUpdateError;
use treehead::endpoint::{Requirement, Trust, TrustFile, UpdateRule};
use treehead::release::Publishers;

use crate::args;
use crate::fail::{Done, Fail, th_status};
use crate::object::{Handle, Object, handle};
use crate::out::Out;
use crate::text::{finish, make, status, th_blob, th_bytes, th_text};

/// The logs, witnesses and publishers to believe. Never changes: any number of threads may use it at once.
pub struct th_trust(Object<Arc<Trusted>>);

handle!(th_trust of Arc<Trusted>, b"trus");

/// What an endpoint trusts.
pub(crate) struct Trusted {
    /// 0 if it was made of parts.
    number: u64,
    policy: Policy,
    publishers: Publishers,
    gate: Vec<Requirement>,
    update: Option<UpdateRule>,
}

impl Trusted {
    /// The number of the trust file; 0 if it was made of parts.
    pub const fn number(&self) -> u64 {
        self.number
    }

    pub const fn get(&self) -> Trust<'_> {
        Trust { policy: &self.policy, publishers: &self.publishers, gate: self.gate.as_slice() }
    }

    /// The trust file. One that was made of parts gets the number 1.
    fn file(&self) -> Done<TrustFile> {
        let Self { number, policy, publishers, gate, update } = self;
        let file = TrustFile::new((*number).max(1), policy, publishers.clone(), gate.clone())?;
        Ok(match update {
            Some(update) => file.with_update(update.clone())?,
            None => file,
        })
    }
}

impl From<TrustFile> for Trusted {
    fn from(file: TrustFile) -> Self {
        let (number, update) = (file.number(), file.update().cloned());
        let (policy, publishers, gate) = file.into_parts();
        Self { number, policy, publishers, gate, update }
    }
}

/// Reads an endpoint.trust file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_from_bytes(
    data: *const u8,
    length: usize,
    trust: *mut *mut th_trust,
    message: *mut th_text,
) -> th_status {
    make(trust, message, || Ok(Arc::new(TrustFile::parse(args::bytes(data, length)?)?.into())))
}

/// Reads a policy (c2sp.org/tlog-policy) and a publishers.toml. Without publishers (length 0), heads and proofs about trees
/// can be checked, and every release is refused. TH_UNSUPPORTED for publishers where TOML was left out of the build: then
/// only trust files hold them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_from_parts(
    policy: *const u8,
    policy_length: usize,
    publishers: *const u8,
    publishers_length: usize,
    trust: *mut *mut th_trust,
    message: *mut th_text,
) -> th_status {
    make(trust, message, || {
        let policy = Policy::parse(args::bytes(policy, policy_length)?)?;
        let publishers = parse_publishers(args::bytes(publishers, publishers_length)?)?;
        Ok(Arc::new(Trusted { number: 0, policy, publishers, gate: Vec::new(), update: None }))
    })
}

fn parse_publishers(bytes: &[u8]) -> Done<Publishers> {
    if bytes.is_empty() {
        return Ok(Publishers::default());
    }
    #[cfg(feature = "toml")]
    return Ok(Publishers::parse(bytes)?);
    #[cfg(not(feature = "toml"))]
    Err(Fail::new(
        th_status::TH_UNSUPPORTED,
        "this build reads no TOML: make a trust file of the policy and the publishers with `treehead trust make`",
    ))
}

/// The bytes of a trust file. One that was made of parts gets the number 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_to_bytes(trust: *const th_trust, bytes: *mut *mut th_blob) -> th_status {
    status((|| {
        let out = Out::new(bytes)?;
        out.set(th_blob::boxed(th_trust::get(trust)?.file()?.to_bytes()));
        Ok(())
    })())
}

/// The number of the trust file; 0 if it was made of parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_number(trust: *const th_trust) -> u64 {
    th_trust::get(trust).map_or(0, |trusted| trusted.number)
}

/// The trust file that replaces this one: it has the next number, and its releases, in the proof files or bundles of
/// `proofs`, are proven and signed as this one asks. The signers of all proofs are counted together. `next` is a new object,
/// also if `data` is this very file; this one stays as it is. The caller keeps the bytes of `data`, durably, and begins with
/// them the next time. TH_REFUSED, or TH_MALFORMED: keep this one; `reason`, which may be NULL, is a TH_REASON_TRUST number.
/// TH_UNSUPPORTED where it was left out of the build.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_succeed(
    trust: *const th_trust,
    data: *const u8,
    length: usize,
    proofs: *const th_bytes,
    proofs_count: usize,
    next: *mut *mut th_trust,
    reason: *mut u32,
    message: *mut th_text,
) -> th_status {
    let result = (|| {
        let (out, reason) = (Out::new(next)?, Out::optional(reason)?);
        let succeeded = succeed(th_trust::get(trust)?, args::bytes(data, length)?, proofs, proofs_count);
        if let Some(reason) = reason {
            reason.set(succeeded.as_ref().err().map_or(0, |fail| fail.reason));
        }
        out.set(th_trust::boxed(Arc::new(succeeded?)));
        Ok(())
    })();
    finish(message, result)
}

#[cfg(feature = "trust-updates")]
unsafe fn succeed(trusted: &Trusted, new: &[u8], proofs: *const th_bytes, count: usize) -> Done<Trusted> {
    let given = args::array(proofs, count)?;
    let mut proofs = Vec::with_capacity(count);
    for proof in given {
        proofs.push(args::bytes_of(*proof)?);
    }
    let current = trusted.file()?;
    let next = current.succeed(new, &proofs).map_err(|error| Fail {
        status: match error {
            TrustUpdateError::Malformed(_) => th_status::TH_MALFORMED,
            _ => th_status::TH_REFUSED,
        },
        reason: error.code().number().into(),
        message: alloc::format!("{error}"),
    })?;
    Ok(next.unwrap_or(current).into())
}

#[cfg(not(feature = "trust-updates"))]
unsafe fn succeed(_: &Trusted, _: &[u8], _: *const th_bytes, _: usize) -> Done<Trusted> {
    Err(Fail::new(th_status::TH_UNSUPPORTED, "this build takes no trust updates"))
}

/// Frees a trust.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_free(trust: *mut th_trust) {
    th_trust::free(trust);
}
