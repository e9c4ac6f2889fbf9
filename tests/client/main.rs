//! The client against logs that are honest, and against one that lies in every way.

#[path = "../common/mod.rs"]
mod common;

mod fsck;
mod lies;
mod stream;
