//! Running hooks.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Ran, Server, World};

/// A path in `integrations/`.
pub fn integration(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations").join(path)
}

/// Whether there is such a program.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// The search path of hooks: the program under test first.
pub fn search_path() -> std::ffi::OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_treehead")).parent().expect("a directory").to_owned();
    let mut paths = vec![program];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    paths.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    std::env::join_paths(paths).expect("no colons")
}

/// Runs a hook to its end, in the world's directory.
#[track_caller]
pub fn run(world: &World, command: &mut Command, input: &[u8]) -> Ran {
    command.current_dir(world.path("")).env("PATH", search_path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A hook may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Ran { exit: output.status.code().expect("no signal"), stdout, stderr }
}

/// A log whose publisher may release what matches this pattern, and the server.
pub fn log_for(purl: &str) -> (World, Server) {
    let world = World::new();
    world.run("keygen publisher --name acme --out acme.pem").done();
    let rights = "--kind build --kind update";
    world.run(&format!("publisher add log --name acme --key acme.pub --purl {purl} {rights}")).done();
    let server = world.serve();
    (world, server)
}

/// Publishes a file as this release; its proof file is then beside it.
pub fn publish(world: &World, server: &Server, file: &str, purl: &str, sequence: u64) {
    let line = format!(
        "publish {file} --log {} --key acme.pem --kind update --purl {purl} --channel stable --sequence {sequence}",
        server.url
    );
    world.run(&line).done();
}

/// The settings of a gate, in `gate.toml`: these keys and rules.
pub fn settings(world: &World, more: &str) {
    let trust = "policy = 'log/endpoint.policy'\npublishers = 'log/publishers.toml'\nstate = 'state'\n";
    world.write("gate.toml", format!("{trust}{more}"));
}
