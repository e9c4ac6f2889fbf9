//! The commands end to end: the real program, real files, a served log on loopback.

#[path = "../common/mod.rs"]
mod common;

mod asked;
mod batch;
mod bundles;
mod caches;
mod editors;
mod export;
mod floods;
mod fsck;
mod gate;
mod hidden;
mod load;
mod log_key;
mod many;
mod middleman;
mod monitor;
mod monitor_fork;
mod monitor_settings;
mod monitor_tells;
mod monitoring;
mod network;
mod one;
mod online;
mod online_refused;
mod portal;
mod profile;
mod program;
mod prove;
mod publish;
mod quorums;
mod reload;
mod rotation;
mod scarce;
mod sequence;
mod several;
mod state;
mod statements;
mod streams;
mod tls_front;
mod trust;
mod withdraw;
mod withdrawn;
mod witnessed;
mod witnesses;
