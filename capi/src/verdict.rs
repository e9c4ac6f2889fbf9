//! The answer about a file.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::policy::Cosigned;
use treehead::endpoint::{FUTURE_ALLOWANCE_SECONDS, Refusal, TwoHistories, VerdictCode, VerifiedRelease};
use treehead::proof::fork::ProvenFork;

use crate::args::{self, Sized1};
use crate::fail::{Done, Fail, th_status};
use crate::object::Handle as _;
use crate::text::{th_blob, th_text};

/// The answer. Give buffers for the texts that you want.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct th_verdict {
    /// sizeof(th_verdict).
    pub struct_size: usize,
    /// Out: the status, a th_status. Of several files, each has its own.
    pub status: i32,
    /// Out: a TH_REASON number; 0 for TH_OK and for failures that have none.
    pub reason: u32,
    /// The verdict in words, for people.
    pub message: th_text,
    /// What was expected, what was seen instead, and what to do. Empty for TH_OK.
    pub expected: th_text,
    /// See expected.
    pub seen: th_text,
    /// See expected.
    pub advice: th_text,
    /// Of a release that may be installed: the log.
    pub origin: th_text,
    /// The package with its version.
    pub purl: th_text,
    /// The channel.
    pub channel: th_text,
    /// The kind.
    pub kind: th_text,
    /// The publisher.
    pub publisher: th_text,
    /// The audience; empty for everyone.
    pub audience: th_text,
    /// The name of the file in the release.
    pub name: th_text,
    /// Its number.
    pub sequence: u64,
    /// Its leaf in the log.
    pub index: u64,
    /// Size of the tree that it is proven to be in.
    pub tree_size: u64,
    /// The newest cosignature of that tree's head (of the log's newest one, if the log was asked), in seconds since 1970; 0
    /// if there is none.
    pub cosigned: u64,
    /// Its leaf hash.
    pub leaf: [u8; 32],
    /// The tree's root.
    pub root: [u8; 32],
    /// 1 if the log was asked, and its newest head continues all heads seen before.
    pub asked_the_log: i32,
    /// 1 if the log was asked for withdrawals of the release, and answered. 0 also if the log has no search: then none could
    /// be asked for.
    pub asked_for_withdrawals: i32,
    /// 1 if the memory forgot a head that was never compared with the log: ask it now and then.
    pub forgot_a_head: i32,
    /// 0.
    pub reserved: i32,
    /// Out: the bytes of a .tlog-fork file that proves that the log signed two histories; usually NULL. It may be the only
    /// copy in the world: save it and show it, then th_verdict_clear. A memory in a directory has saved it already.
    pub evidence: *mut th_blob,
    /// Its file name.
    pub evidence_name: th_text,
    /// Out: the verdict as JSON, as `treehead verify --json` prints it; NULL unless the question has TH_WANT_JSON.
    pub json: *mut th_blob,
}

// SAFETY: it is repr(C) with its size first, and numbers and null pointers are zeroes.
unsafe impl Sized1 for th_verdict {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// A verdict on its way to the caller.
pub(crate) struct Outcome {
    pub result: Result<VerifiedRelease, No>,
    /// The log's newest head, if it was asked.
    pub latest: Option<Cosigned<Checkpoint>>,
    pub asked_for_withdrawals: bool,
    pub forgot_a_head: bool,
}

/// The reason why a file may not be installed.
pub(crate) enum No {
    Refused(Refusal),
    Forked { origin: String, fork: TwoHistories, evidence_name: Option<String> },
    Other(Fail),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fail> for No {
    fn from(fail: Fail) -> Self {
        Self::Other(fail)
    }
}

impl No {
    pub fn could_not_tell(message: impl Into<String>) -> Self {
        Self::Other(Fail::coded(th_status::TH_COULD_NOT_TELL, VerdictCode::CouldNotTell, message))
    }

    pub const fn status(&self) -> th_status {
        match self {
            Self::Refused(_) | Self::Forked { .. } => th_status::TH_REFUSED,
            Self::Other(fail) => fail.status,
        }
    }

    pub fn reason(&self) -> u32 {
        match self {
            Self::Refused(refusal) => refusal.code().number().into(),
            Self::Forked { .. } => VerdictCode::Fork.number().into(),
            Self::Other(fail) => fail.reason,
        }
    }

    /// The message, what was expected, what was seen, and what to do.
    pub fn words(&self) -> [String; 4] {
        let of = |refusal: &Refusal| {
            let (expected, seen) = refusal.contrast();
            [refusal.to_string(), expected, seen, refusal.advice().into()]
        };
        match self {
            Self::Refused(refusal) | Self::Forked { fork: TwoHistories::SameSize(refusal), .. } => {
                of(refusal)
            }
            Self::Forked { origin, fork, .. } => {
                let message = match fork {
                    TwoHistories::Proven(fork) => fork_in_words(fork),
                    TwoHistories::Prefix { size, source } => alloc::format!(
                        "the log's history at size {size} differs from the remembered one: {source}"
                    ),
                    TwoHistories::SameSize(_) => String::new(),
                };
                let advice = "Do not install it; the log lied. Show the evidence to others.";
                [message, alloc::format!("one history of {origin}"), "two".into(), advice.into()]
            }
            Self::Other(fail) => [fail.message.clone(), String::new(), String::new(), String::new()],
        }
    }

    /// The file that proves a fork, and its name.
    pub fn evidence(&self) -> Option<(String, Vec<u8>)> {
        match self {
            Self::Forked { fork: TwoHistories::Proven(fork), .. } => {
                Some((fork.file_name(), fork.to_bytes()))
            }
            _ => None,
        }
    }
}

/// Both histories, in words.
pub(crate) fn fork_in_words(fork: &ProvenFork) -> String {
    let (smaller, larger) = (fork.smaller(), fork.larger());
    alloc::format!(
        "{} signed two histories: root {} at size {}, and size {}, whose tree had root {} there",
        fork.origin(),
        smaller.root.to_base64(),
        smaller.size,
        larger.size,
        fork.other_root().to_base64(),
    )
}

/// The newest cosignature that is not from the future.
fn newest(head: &Cosigned<Checkpoint>, now: u64) -> u64 {
    let latest = now.saturating_add(FUTURE_ALLOWANCE_SECONDS);
    head.times().filter(|time| *time <= latest).max().unwrap_or(0)
}

impl Outcome {
    pub const fn of(result: Result<VerifiedRelease, No>) -> Self {
        Self { result, latest: None, asked_for_withdrawals: false, forgot_a_head: false }
    }

    pub const fn status(&self) -> th_status {
        match &self.result {
            Ok(_) => th_status::TH_OK,
            Err(no) => no.status(),
        }
    }

    /// Writes the verdict to a caller's struct, with its JSON if that is wanted, and returns its status.
    pub unsafe fn put(&self, place: *mut th_verdict, now: u64, json: Option<String>) -> Done<th_status> {
        let mut out = args::read(place)?;
        out.status = self.status() as i32;
        (out.reason, out.reserved) = (0, 0);
        (out.evidence, out.json) = (core::ptr::null_mut(), core::ptr::null_mut());
        (out.sequence, out.index, out.tree_size, out.cosigned) = (0, 0, 0, 0);
        (out.leaf, out.root) = ([0; 32], [0; 32]);
        out.asked_the_log = self.latest.is_some().into();
        out.asked_for_withdrawals = self.asked_for_withdrawals.into();
        out.forgot_a_head = self.forgot_a_head.into();
        match &self.result {
            Ok(verified) => self.put_release(&mut out, verified, now)?,
            Err(no) => {
                let [message, expected, seen, advice] = no.words();
                out.reason = no.reason();
                out.message.fill(&message)?;
                out.expected.fill(&expected)?;
                out.seen.fill(&seen)?;
                out.advice.fill(&advice)?;
                for text in [
                    &mut out.origin,
                    &mut out.purl,
                    &mut out.channel,
                    &mut out.kind,
                    &mut out.publisher,
                    &mut out.audience,
                    &mut out.name,
                ] {
                    text.fill("")?;
                }
            }
        }
        let evidence = self.result.as_ref().err().and_then(No::evidence);
        out.evidence_name.fill(evidence.as_ref().map_or("", |(name, _)| name))?;
        if let Some((_, bytes)) = evidence {
            out.evidence = th_blob::boxed(bytes);
        }
        if let Some(json) = json {
            out.json = th_blob::boxed(json.into_bytes());
        }
        args::write(place, &out)?;
        Ok(self.status())
    }

    unsafe fn put_release(&self, out: &mut th_verdict, verified: &VerifiedRelease, now: u64) -> Done {
        let (release, head) = (verified.release(), verified.head().get());
        let name = verified.artifacts().first().map_or("", |artifact| artifact.name.as_str());
        out.message.fill(&alloc::format!("{} by {}", release.purl, verified.publisher()))?;
        for text in [&mut out.expected, &mut out.seen, &mut out.advice] {
            text.fill("")?;
        }
        out.origin.fill(head.origin.as_str())?;
        out.purl.fill(release.purl.as_str())?;
        out.channel.fill(&release.channel)?;
        out.kind.fill(release.kind.as_str())?;
        out.publisher.fill(verified.publisher())?;
        out.audience.fill(release.audience.as_deref().unwrap_or_default())?;
        out.name.fill(name)?;
        out.sequence = release.sequence;
        out.index = verified.index().get();
        out.tree_size = head.size.get();
        out.cosigned = newest(self.latest.as_ref().unwrap_or(verified.head()), now);
        out.leaf = *verified.leaf().as_bytes();
        out.root = *head.root.as_bytes();
        Ok(())
    }
}

/// Checks a place for a verdict before anything is judged and remembered: a verdict that can't be written would be lost.
pub(crate) unsafe fn check_place(place: *const th_verdict) -> Done {
    let out = args::read(place)?;
    let texts = [
        &out.message,
        &out.expected,
        &out.seen,
        &out.advice,
        &out.origin,
        &out.purl,
        &out.channel,
        &out.kind,
        &out.publisher,
        &out.audience,
        &out.name,
        &out.evidence_name,
    ];
    texts.into_iter().try_for_each(th_text::check)
}

/// Frees the evidence and the json of a verdict, and sets them to NULL. The texts are the caller's and stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_verdict_clear(verdict: *mut th_verdict) {
    if let Ok(mut out) = args::read(verdict) {
        th_blob::free(out.evidence);
        th_blob::free(out.json);
        (out.evidence, out.json) = (core::ptr::null_mut(), core::ptr::null_mut());
        let _ = args::write(verdict, &out);
    }
}
