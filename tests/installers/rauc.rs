//! The handler for RAUC, called with the environment that RAUC gives a handler.

use std::fs;
use std::process::Command;

use libtest_mimic::Completion;

use crate::common::needs::Outcome;
use crate::machine::{integration, log_for, run, settings};
use crate::program::{Ran, World};

fn handler(world: &World, variable: &str) -> Ran {
    let mut command = Command::new(integration("rauc/pre-install"));
    command.env("TREEHEAD_GATE", world.path("gate.toml")).env("RAUC_SYSTEM_CONFIG", "/etc/rauc/system.conf");
    command.env(variable, world.path("bundle"));
    run(world, &mut command, b"")
}

pub fn a_bundle_installs_only_if_each_file_of_it_is_logged() -> Outcome {
    let (world, server) = log_for("pkg:generic/acme/*");
    let handle = || handler(&world, "RAUC_BUNDLE_MOUNT_POINT");
    settings(
        &world,
        "[[rule]]\npackages = ['*']\nunlogged = 'require'\npublisher = 'acme'\nkind = 'update'\n",
    );
    handle().failed(1, "expected RAUC_BUNDLE_MOUNT_POINT");
    fs::create_dir_all(world.path("bundle/boot")).unwrap();
    world.write("bundle/manifest.raucm", "[update]\ncompatible=Acme\nversion=5\n");
    handle().failed(1, "expected images");
    for (file, content) in
        [("rootfs.img", "root file system"), ("hook.sh", "true"), ("boot/u boot.img", "boot")]
    {
        world.write(&format!("bundle/{file}"), content);
    }
    let mut command = world.command("publish");
    command.args(["bundle/rootfs.img", "bundle/hook.sh", "bundle/boot/u boot.img"]);
    let line = format!(
        "--log {} --key acme.pem --kind update --purl pkg:generic/acme/firmware@5 --channel stable --sequence 5",
        server.url
    );
    let output = command.args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let ran = handle().done();
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("proven ")).count(), 3, "{ran:?}");
    handler(&world, "RAUC_UPDATE_SOURCE").done();
    // A file that is not logged, a changed one, an image under another one's name, and what is no file.
    world.write("bundle/more.img", "more");
    let ran = handle().failed(1, "refused (no-proof): ");
    assert!(ran.stderr.ends_with("treehead: the bundle is not installed\n"), "{ran:?}");
    fs::remove_file(world.path("bundle/more.img")).unwrap();
    world.write("bundle/hook.sh", "rm -rf /");
    handle().failed(1, "refused (artifact-mismatch): ");
    world.write("bundle/hook.sh", "root file system");
    handle().failed(1, "refused (artifact-swapped): ");
    world.write("bundle/hook.sh", "true");
    handle().done();
    std::os::unix::fs::symlink("rootfs.img", world.path("bundle/link.img")).unwrap();
    handle().failed(1, "expected files and directories in the bundle, saw ");
    Ok(Completion::Completed)
}
