//! The client against honest logs, and against one that tells every lie.

#[path = "../common/mod.rs"]
mod common;

mod fsck;
mod lies;
mod repair;
mod stream;

/// Runs the program with `--json`; returns its exit code and its output.
fn treehead(args: &[&str]) -> (i32, serde_json::Value) {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_treehead"));
    let output = program.args(args).arg("--json").output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("an exit code"), serde_json::from_str(&text).unwrap_or_default())
}
