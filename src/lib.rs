//! treehead: a transparency log for software vendors.
//!
//! Every build, update and detection-rule release is a leaf of an append-only Merkle tree. Before they install anything,
//! endpoints check, offline, that they were given the same as everyone else. `ARCHITECTURE.md` is the map; this is its
//! outline. Imports go down only, which `tests/layers.rs` checks:
//!
//! ```text
//! cli          the `treehead` program
//! load         the load generator
//! rebuild      compares an artifact with a rebuilt one
//! monitor      follows a log, re-hashes all of it, and tells events
//! witness      remembers one head of each log, and cosigns only consistent growth
//! server       the log's HTTP API
//! feeder       asks a log's witnesses for cosignatures
//! client       fetches from a log and authenticates what it gets (imports the core only)
//! sequencer    orders submissions into batches, commits them and signs heads
//! store        the journal (the truth), and what is derived from it in sled
//! bucket       kit: object stores with conditional writes (above the client, whose HTTP it uses)
//! http, disk   kits: what all servers share, what all that writes files shares
//! threads      kit: starting threads, on a machine that may have no more
//! -- the core: `no_std` with `alloc`; no files, clock, network, runtime or randomness --
//! endpoint     the verdict, the memory and trust files; with the feature `client` also their files and the network
//! proof        proof files, bundles, fork evidence, requests to witnesses
//! release      signed statements, package URLs and publishers
//! checkpoint   tree heads, cosignatures and policies
//! note         signed notes and their keys
//! merkle       hashes, tiles and proofs
//! format       the error of all parsers, decimals, base64
//! ```
//!
//! `--no-default-features` builds the core alone. Trust flows one way through its types, and each arrow is one function:
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

#[cfg(feature = "bucket")]
pub mod bucket;
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
#[cfg(feature = "client")]
pub mod rebuild;
pub mod release;
#[cfg(feature = "server")]
pub mod sequencer;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "cli")]
pub mod signing;
#[cfg(feature = "server")]
pub mod store;
#[cfg(any(feature = "server", feature = "client"))]
pub mod threads;
#[cfg(feature = "server")]
pub mod witness;
