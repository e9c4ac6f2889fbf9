//! The log over HTTP, on a real socket, with handwritten requests.

#[path = "../common/mod.rs"]
mod common;

mod add_opaque;
mod add_release;
mod batch;
mod bodies;
mod embedded;
mod explorer;
mod families;
mod framing;
mod lifecycle;
mod metrics;
mod one_leaf;
mod openapi;
mod proofs;
mod routes;
mod search;
mod sequence;
mod statements;
mod tiles;
mod warnings;
mod withdrawals;
