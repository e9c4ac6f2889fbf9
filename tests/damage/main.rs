//! Whatever happens to the files of a log: it is found, named with the command that mends it, and
//! never served. What a backup, a restore and a repair promise is held here too.

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
