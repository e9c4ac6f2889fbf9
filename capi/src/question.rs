//! Questions about a file.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use treehead::endpoint::{Artifact, Freshness, PackagePin, Pins, Question};
use treehead::merkle::Hash;
use treehead::proof::MAX_PROOF_BYTES;
use treehead::release::Kind;

use crate::args::{self, Sized1};
use crate::fail::{Done, Fail};
use crate::text::{th_bytes, th_str};

/// A flag of a question: the verdict's json is wanted.
pub const TH_WANT_JSON: u32 = 1;

/// What is asked about one file. All that is zero is not asked.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct th_question {
    /// sizeof(th_question).
    pub struct_size: usize,
    /// The file's SHA-256.
    pub sha256: [u8; 32],
    /// The bytes of the .tlog-proof or .tlog-bundle file that came with it.
    pub proof: th_bytes,
    /// The time, in seconds since 1970. Needed.
    pub now: u64,
    /// Most seconds since a quorum of witnesses cosigned the head; 0 is any age.
    pub max_age: u64,
    /// The lowest acceptable sequence number; 0 is any.
    pub min_sequence: u64,
    /// Name or path of the file, as far as it is known. A file with the name of another file of its release is refused.
    pub file_name: th_str,
    /// The exact name of the file in the release.
    pub name: th_str,
    /// A purl with a version for that very release, or one without, or a pattern with `*`, for any version.
    pub package: th_str,
    /// The channel. Without one, a release in another channel than the one followed so far is refused.
    pub channel: th_str,
    /// build, update, detection-rules or trust.
    pub kind: th_str,
    /// The publisher that must state it.
    pub publisher: th_str,
    /// The audience. Without one, a release for a limited audience is refused.
    pub audience: th_str,
    /// TH_WANT_JSON, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: it is repr(C) with its size first, and numbers and null pointers are zeroes.
unsafe impl Sized1 for th_question {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// A checked question. `P` and `S` are a proof and texts of the caller, or copies of them.
pub(crate) struct Asked<P, S> {
    digest: Hash,
    pub proof: P,
    pub freshness: Freshness,
    min_sequence: Option<u64>,
    file_name: Option<S>,
    name: Option<S>,
    package: Option<PackagePin>,
    channel: Option<S>,
    kind: Option<Kind>,
    publisher: Option<S>,
    audience: Option<S>,
    pub wants_json: bool,
}

impl<'a> Asked<&'a [u8], &'a str> {
    /// Reads a question of a caller.
    pub unsafe fn read(question: *const th_question) -> Done<Self> {
        let given = args::read(question)?;
        if given.flags & !TH_WANT_JSON != 0 || given.reserved != 0 {
            return Err(Fail::argument("a flag or a reserved member of a question is set"));
        }
        if given.now == 0 {
            return Err(Fail::argument("a question has no time: set `now` to time(NULL)"));
        }
        let kind = args::text_of(given.kind)?.map(|name| {
            let kind = Kind::parse(name);
            kind.ok_or_else(|| {
                Fail::argument("a kind is not one of build, update, detection-rules and trust")
            })
        });
        let package = args::text_of(given.package)?.map(|text| {
            let message = "a package is not a purl, nor a pattern of purls";
            PackagePin::parse(text).map_err(|_| Fail::argument(message))
        });
        Ok(Self {
            digest: Hash::from_bytes(given.sha256),
            proof: args::bytes_of(given.proof)?,
            freshness: Freshness { now: given.now, max_age: Some(given.max_age).filter(|age| *age > 0) },
            min_sequence: Some(given.min_sequence).filter(|least| *least > 0),
            file_name: args::text_of(given.file_name)?,
            name: args::text_of(given.name)?,
            package: package.transpose()?,
            channel: args::text_of(given.channel)?,
            kind: kind.transpose()?,
            publisher: args::text_of(given.publisher)?,
            audience: args::text_of(given.audience)?,
            wants_json: given.flags & TH_WANT_JSON != 0,
        })
    }

    /// A copy that outlives the caller's buffers. A proof that is too large to be one is cut: it stays too large.
    pub fn into_owned(self) -> Asked<Vec<u8>, String> {
        let own = |text: Option<&str>| text.map(ToOwned::to_owned);
        let Self { digest, freshness, min_sequence, package, kind, wants_json, .. } = self;
        let most = self.proof.len().min(MAX_PROOF_BYTES + 1);
        Asked {
            digest,
            proof: self.proof[..most].to_vec(),
            freshness,
            min_sequence,
            file_name: own(self.file_name),
            name: own(self.name),
            package,
            channel: own(self.channel),
            kind,
            publisher: own(self.publisher),
            audience: own(self.audience),
            wants_json,
        }
    }
}

impl<P: AsRef<[u8]>, S: AsRef<str>> Asked<P, S> {
    /// The core's question. If the log is asked too, its newest head must be fresh instead of the proof's: proofs are made
    /// once and shipped for years.
    pub fn question(&self, online: bool) -> Question<'_> {
        let Freshness { now, max_age } = self.freshness;
        Question {
            artifact: Artifact::File {
                digest: &self.digest,
                name: self.file_name.as_ref().map(AsRef::as_ref),
            },
            proof: self.proof.as_ref(),
            freshness: Freshness { now, max_age: max_age.filter(|_| !online) },
            pins: Pins {
                package: self.package.as_ref(),
                channel: self.channel.as_ref().map(AsRef::as_ref),
                kind: self.kind,
                publisher: self.publisher.as_ref().map(AsRef::as_ref),
                min_sequence: self.min_sequence,
                audience: self.audience.as_ref().map(AsRef::as_ref),
                name: self.name.as_ref().map(AsRef::as_ref),
            },
        }
    }
}
