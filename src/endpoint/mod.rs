//! What an endpoint concludes from a proof, and what it remembers of it.

mod memory;
mod question;
mod refusal;
mod subjects;
mod verify;
mod withdrawn;

pub use memory::*;
pub use question::{Artifact, Freshness, PackagePin, Pins, Question};
pub use refusal::Refusal;
pub use verify::*;
pub use withdrawn::{ProvenWithdrawal, logged_withdrawal, verify_withdrawal};

#[cfg(test)]
mod tests;
