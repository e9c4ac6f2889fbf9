//! A log with a registered publisher, and ways to publish with other keys.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::program::{Ran, Server, World};

/// Padded standard base64.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A served log, where `artifact` is to be published.
pub struct Signing {
    pub world: World,
    pub server: Server,
}

impl Signing {
    pub fn new() -> Self {
        let world = World::new();
        world.write("artifact", "a scanner");
        let server = world.serve();
        Self { world, server }
    }

    /// Registers one more public key of the publisher.
    pub fn register(&mut self, public: &str) {
        self.world.run(&format!("publisher add-key log --name vendor --key {public}")).done();
        self.server.hang_up();
    }

    /// The arguments of a publication, without keys.
    pub fn publication(&self, sequence: u64) -> String {
        format!(
            "publish artifact --log {} --kind build --purl pkg:generic/example/scanner@{sequence}.0 --channel stable --sequence {sequence}",
            self.server.url
        )
    }

    /// A command that publishes, without keys.
    pub fn publish(&self, sequence: u64) -> Command {
        self.world.command(&self.publication(sequence))
    }

    /// Publishes by a command that signs.
    pub fn publish_by(&self, sequence: u64, signer: &str, public: &str) -> Ran {
        run(self.publish(sequence).args(["--signer", signer, "--public-key", public]))
    }

    /// Verifies the published artifact.
    pub fn verify(&self) -> Ran {
        let trust = "--policy log/endpoint.policy --publishers log/publishers.toml";
        self.world.run(&format!("verify artifact --proof artifact.tlog-proof {trust}"))
    }
}

/// Runs a prepared command of the program.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran {
        exit: output.status.code().expect("no signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs another program, which has to succeed.
#[track_caller]
pub fn tool(world: &World, program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).current_dir(world.path("")).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    output
}

/// A script in `integrations/signers/`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/signers").join(name)
}

/// Whether there is such a program.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}
