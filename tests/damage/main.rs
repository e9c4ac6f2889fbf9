//! Damage to any file of a log is found, reported with the command that repairs it, and never served. The promises of
//! backups, restores and repairs are tested here too.

mod backup;
mod binary;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod home;
#[allow(dead_code, reason = "shared with the tests of the whole workflow")]
#[path = "../workflow/program.rs"]
mod program;
mod repair;
mod sled_files;
