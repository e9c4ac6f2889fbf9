//! `treehead export`: the log as plain files.

use crate::program::{StaticFiles, World};

fn export(world: &World) -> (u64, u64, u64) {
    let json = world.run("export log out --json").done().json();
    let number = |field: &str| json[field].as_u64().expect("a number");
    (number("tree_size"), number("written"), number("kept"))
}

#[test]
fn an_export_is_added_to_and_never_written_twice() {
    let world = World::new();
    let server = world.serve();
    for sequence in 1..=3 {
        world.publish(&server, &format!("{sequence}.bin"), &sequence.to_string(), sequence).done();
    }
    assert_eq!(export(&world), (3, 2, 0), "a tile and a bundle, while the log is served");
    assert_eq!(export(&world), (3, 0, 2));
    for path in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        assert_eq!(world.read(&format!("out/{path}")), server.get(&format!("/{path}")).1, "{path}");
    }
    world.publish(&server, "4.bin", "4", 4).done();
    assert_eq!(export(&world), (4, 2, 0));
    assert!(world.path("out/tile/0/000.p/3").exists(), "who has the old checkpoint needs the old tile");
    // From anywhere, by anybody's web server.
    drop(server);
    let files = StaticFiles::serve(&world.path("out"));
    let ran = world.run(&format!("fsck {} --policy log/endpoint.policy", files.url)).done();
    assert!(ran.stdout.starts_with("sound  4 entries and 1 tile re-hashed"), "{ran:?}");
}

#[test]
fn what_is_there_already_and_differs_is_not_overwritten() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    export(&world);
    world.write("out/tile/0/000.p/1", [7; 32]);
    world.run("export log out").refused("export-differs");
    assert_eq!(world.read("out/tile/0/000.p/1"), [7; 32]);
}

#[test]
fn a_damaged_log_is_not_exported_under_its_checkpoint() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    world.publish(&server, "2.bin", "2", 2).done();
    server.terminate();
    let segment = "log/journal/00000000000000000000.seg";
    let whole = world.read(segment);
    world.write(segment, &whole[..whole.len() - 1]);
    world.run("export log out").refused("journal-short");
    assert!(!world.path("out/checkpoint").exists());
}
