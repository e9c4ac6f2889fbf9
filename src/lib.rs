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
//! # The paved path
//!
//! A program that installs releases opens an [`Endpoint`](endpoint::Endpoint) and asks it first (feature `client`):
//!
//! ```
//! # #[cfg(feature = "client")] fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use treehead::endpoint::{Artifact, Endpoint, Freshness, Pins, Question};
//! use treehead::merkle::Hash;
//!
//! # let dir = std::env::temp_dir().join(format!("treehead-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # for file in ["endpoint.policy", "publishers.toml"] {
//! #     std::fs::copy(format!("fixtures/verify/{file}"), dir.join(file))?;
//! # }
//! // The directory holds endpoint.policy and publishers.toml. What the endpoint remembers goes to `state`.
//! let endpoint = Endpoint::open(&dir)?;
//! let (program, proof) =
//!     (std::fs::read("fixtures/verify/scanner.sh")?, std::fs::read("fixtures/verify/scanner.sh.tlog-proof")?);
//! let digest = Hash::digest(&program);
//! let question = Question {
//!     artifact: Artifact::File { digest: &digest, name: Some("scanner.sh") },
//!     proof: &proof,
//!     freshness: Freshness::now(None),
//!     pins: Pins { channel: Some("stable"), ..Pins::default() },
//! };
//! let accepted = endpoint.check(&question)?;
//! println!("{} by {}", accepted.release.release().purl, accepted.release.publisher());
//!
//! // Another program with the same proof is refused, with a stable code.
//! let other = Hash::digest(b"another program");
//! let artifact = Artifact::File { digest: &other, name: Some("scanner.sh") };
//! let refused = endpoint.check(&Question { artifact, ..question }).unwrap_err();
//! assert_eq!(refused.code().as_str(), "artifact-mismatch");
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "client"))] fn main() {}
//! ```
//!
//! [`check_online`](endpoint::Endpoint::check_online) asks the log as well. Without files, clock and network, on any
//! target, [`endpoint::verify`] is the same verdict as a pure function.

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
