//! treehead: a transparency log for software vendors.
//!
//! Every build, update and detection-rule release is a leaf of an append-only Merkle tree.
//! Endpoints check, offline and before they install anything, that what they were given is what
//! everyone was given. `ARCHITECTURE.md` is the map; this is its outline, imports go down only:
//!
//! ```text
//! L5  cli          the `treehead` program
//! L4  feeder       asks a log's witnesses, and gathers their cosignatures
//!     witness      remembers one head for each log, cosigns what grew out of it
//!     load         drives a log with appends, then checks what it was told
//! L3  server       router, submissions, reads, error table       client   fetch, then authenticate
//! L2  sequencer    pool, batches, commit loop, recovery
//! L1  store        journal (the truth), sled (derived), checkpoint file
//!     evidence_dir files that prove forks, whole or not at all
//! L0  verify       the endpoint's verdict                          <- the paved path
//!     evidence     what proves that a log forked
//!     wire, state, proof_file, policy, release, cosignature, checkpoint, note, bundle, merkle, checksum,
//!     format
//! ```
//!
//! L0 is pure: no runtime, database, files, clock or randomness. `--no-default-features` builds it
//! alone. Trust flows one way through its types, each arrow is one function:
//! `Note -> VerifiedNote -> LogSigned<Checkpoint> -> Cosigned<Checkpoint> -> VerifiedRelease`.
//!
//! An endpoint needs one call, [`endpoint::verify`]:
//!
//! ```
//! use treehead::merkle::Hash;
//! use treehead::checkpoint::policy::Policy;
//! use treehead::release::Publishers;
//! use treehead::endpoint::{Artifact, Freshness, Pins, Question, verify};
//!
//! # let policy_file = b"quorum none\n".as_slice();
//! # let (publishers_file, proof_file, program) = (b"".as_slice(), b"".as_slice(), b"".as_slice());
//! let policy = Policy::parse(policy_file)?;
//! let publishers = Publishers::parse(publishers_file)?;
//! let verdict = verify(&Question {
//!     artifact: Artifact::File { digest: &Hash::digest(program), name: Some("scanner.bin") },
//!     proof: proof_file,
//!     policy: &policy,
//!     publishers: &publishers,
//!     freshness: Freshness { now: 1_770_000_000, max_age: None },
//!     state: None,
//!     pins: Pins { channel: Some("stable"), ..Pins::default() },
//! });
//! match verdict {
//!     Ok(release) => println!("{} by {}", release.release().purl, release.publisher()),
//!     Err(refusal) => eprintln!("{}: {refusal}", refusal.code()),
//! }
//! # Ok::<(), treehead::format::FormatError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::match_wild_err_arm,
        clippy::needless_pass_by_value,
        clippy::too_many_lines,
        clippy::type_complexity,
        clippy::unnecessary_wraps,
        reason = "tables of cases are long, and their helpers take what the table has"
    )
)]

#[macro_use]
extern crate alloc;

pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "server", feature = "client"))]
pub mod clock;
#[cfg(any(feature = "server", feature = "client"))]
pub mod disk;
pub mod endpoint;
#[cfg(all(feature = "server", feature = "client"))]
pub mod feeder;
pub mod format;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "cli")]
pub mod load;
pub mod merkle;
#[cfg(all(feature = "server", feature = "client"))]
pub mod monitor;
pub mod note;
pub mod proof;
pub mod release;
#[cfg(feature = "server")]
pub mod sequencer;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod witness;
