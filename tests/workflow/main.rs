//! The commands end to end: the real program, real files, a served log on loopback.

mod export;
mod fsck;
mod many;
mod one;
mod program;
mod state;
