//! The commands end to end: the real program, real files, a served log on loopback.

mod between;
mod export;
mod fsck;
mod load;
mod many;
mod middleman;
mod one;
mod online;
mod program;
mod state;
mod withdraw;
mod witnessed;
mod witnesses;
