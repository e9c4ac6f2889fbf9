//! libtreehead: the verdict of an endpoint, for programs in C and everything that can call C.
//!
//! The header is `include/treehead.h`; `tests/header.rs` generates it from these sources, so the
//! comments here are the header's. docs/c.md is the manual.
//!
//! Nothing here may panic, because a panic ends the caller's process: where the standard library is not linked, the
//! handler aborts. Pointers are checked as far as they can be (`args.rs`, `object.rs`), and everything else is the core's.

#![cfg_attr(all(panic = "abort", not(test)), no_std)]
#![allow(non_camel_case_types, reason = "the names of C")]

extern crate alloc;

mod answers;
mod args;
mod bench;
mod check;
mod compare;
mod describe;
mod dir;
mod fail;
mod hasher;
mod head;
mod json;
mod memory;
mod news;
mod object;
mod out;
mod question;
mod runtime;
mod state;
mod text;
mod tree;
mod trust;
mod verdict;
mod verify;
mod version;

pub use check::*;
pub use compare::*;
pub use describe::*;
pub use fail::th_status;
pub use hasher::*;
pub use head::*;
pub use memory::*;
pub use question::*;
pub use text::*;
pub use tree::*;
pub use trust::*;
pub use verdict::*;
pub use verify::*;
pub use version::*;

#[cfg(test)]
mod tests;
