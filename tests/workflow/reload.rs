//! SIGHUP rereads the files that may change while a program runs, and ends nothing.

use crate::program::World;

#[test]
fn a_hangup_reads_files_again_and_ends_nothing() {
    let world = World::new();
    let mut log = world.serve();
    let lines = |talk: &str| talk.lines().filter(|line| line.contains("was read again")).count();
    log.hang_up();
    assert!(log.talk().contains("SIGHUP"), "{}", log.talk());
    world.publish(&log, "1.bin", "1", 1).done();
    assert_eq!(lines(&log.terminate()), 1, "nobody changed the file");

    let address = World::free_address();
    world.run(&format!("witness init w1 --name w1.example.com --listen {address}")).done();
    let mut witness = world.serve_witness(1);
    witness.hang_up();
    assert_eq!(lines(&witness.terminate()), 1);

    world.write("expected.jsonl", "");
    let log = world.serve();
    world
        .run(&format!(
            "monitor init m --log {} --policy log/endpoint.policy --publishers log/publishers.toml --listen 127.0.0.1:0",
            log.url
        ))
        .done();
    let settings = String::from_utf8(world.read("m/monitor.toml")).unwrap();
    world.write("m/monitor.toml", settings.replace("# expect = \"ci-manifest", "expect = \"../expected"));
    let mut monitor = world.follow("m");
    monitor.server.hang_up();
    let talk = monitor.server.terminate();
    assert!(talk.contains("a publishers file was read again"), "{talk}");
    assert!(talk.contains("a manifest of releases was read again"), "{talk}");
}
