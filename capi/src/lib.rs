//! libtreehead: the verdict of an endpoint, for programs in C and everything that can call C.
//!
//! The header is `include/treehead.h`; `tests/header.rs` of the package `treehead` generates it from these sources, so the
//! comments here are the header's. docs/c.md is the manual.
//!
//! Nothing here may panic, because a panic ends the caller's process: where the standard library is not linked, the
//! handler aborts. Pointers are checked as far as they can be (`args.rs`, `object.rs`), and everything else is the core's.

#![cfg_attr(all(panic = "abort", not(test)), no_std)]
#![allow(non_camel_case_types, reason = "the names of C")]

extern crate alloc;

mod args;
mod fail;
mod hasher;
mod object;
mod runtime;
mod text;
mod trust;
mod version;

pub use fail::th_status;
pub use hasher::*;
pub use text::*;
pub use trust::*;
pub use version::*;
