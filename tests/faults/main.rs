//! A disk that fails: at every step in turn, once and again, and for good while it is full.

#[path = "../common/mod.rs"]
mod common;

mod changed;
mod derived;
mod read_only;
mod sweep;
