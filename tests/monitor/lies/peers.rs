//! Peers and witnesses that lie: the monitor still follows the log.

use std::time::Duration;

use treehead::monitor::Peer;

use super::{ended, forks, heads, on_the_wire, origin_hash, other_entries, the_only, witness};
use crate::common::liar::Liar;
use crate::common::liar::lie::Lie;
use crate::common::log::{ORIGIN, log_signer, numbered};
use crate::world::{Log, World};

/// A server of heads, as monitors and witnesses are.
pub fn peer(label: &str, liar: &Liar) -> Peer {
    Peer { label: label.to_owned(), url: liar.url(), push: false }
}

/// A log of 300 entries, a monitor of it, and its peer, who shows the head over the first 200.
fn scene(label: &str) -> (Liar, Liar, World) {
    let log = Liar::serve(numbered(300));
    let other = Liar::serve(numbered(300));
    other.fork(&origin_hash(), 200, &[]);
    let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
    world.peers.push(peer(label, &other));
    (log, other, world)
}

/// The answer of a peer, and whether it is a lie.
fn lies() -> Vec<(Lie, bool)> {
    let wire = on_the_wire().into_iter().map(|(lie, _, is_silence)| (lie, !is_silence));
    let said = [
        (Lie::WrongSignature, true),
        (Lie::OtherOrigin, true),
        (Lie::Html, false),
        (Lie::Empty, false),
        (Lie::Shrunk(7), false),
        (Lie::Chunked, false),
    ];
    wire.chain(said).collect()
}

#[test]
fn each_lie_of_a_peer_is_told_of_or_is_silence() {
    let play = |(lie, is_told): &(Lie, bool)| {
        let (log, other, mut world) = scene("peer a");
        if matches!(lie, Lie::Drip(_)) {
            world.timeout = Duration::from_secs(2);
        }
        other.set(lie.clone());
        let once = world.once();
        assert_eq!((heads(&world, ORIGIN), once.not_followed), (vec![300], 0), "{lie:?}");
        let alerts = world.output.alerts();
        assert_eq!(alerts, vec!["peer-misbehaves"; usize::from(*is_told)], "{lie:?}");
        other.be_honest();
        log.append("", &numbered(310)[300..]);
        let once = world.once();
        assert_eq!((heads(&world, ORIGIN), once.open_conditions.len()), (vec![300, 310], 0), "{lie:?}");
        assert_eq!(ended(&world).len(), usize::from(*is_told), "{lie:?}");
    };
    std::thread::scope(|scope| {
        let plays: Vec<_> = lies().into_iter().map(|case| scope.spawn(move || play(&case))).collect();
        let failed =
            plays.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        assert_eq!(failed, 0, "cases that failed, see above");
    });
}

#[test]
fn a_peer_that_falls_silent_has_taken_nothing_back() {
    let (_log, other, world) = scene("peer a");
    other.set(Lie::WrongSignature);
    world.once();
    other.be_honest();
    other.set(Lie::Status(500));
    world.once();
    assert_eq!((world.output.alerts(), ended(&world)), (vec!["peer-misbehaves".to_owned()], vec![]));
    other.be_honest();
    world.once();
    assert_eq!(ended(&world), ["peer-misbehaves"]);
}

#[test]
fn a_peer_that_was_not_asked_since_the_start_has_taken_nothing_back() {
    let (log, other, world) = scene("peer a");
    other.set(Lie::WrongSignature);
    world.once();
    // Its answer does not come while the log is followed.
    other.be_honest();
    other.set(Lie::Drip(Duration::from_millis(200)));
    let running = world.run();
    let before = log.asked().len();
    crate::common::log::eventually("some rounds", || log.asked().len() > before + 5);
    assert_eq!(ended(&world), Vec::<String>::new());
    drop(other);
    drop(running);
    assert_eq!(world.output.of("peer-misbehaves").len(), 1);
}

#[test]
fn a_peer_that_is_asked_no_more_is_forgotten() {
    let (_log, other, mut world) = scene("peer a");
    other.set(Lie::WrongSignature);
    world.once();
    world.peers.clear();
    world.once();
    assert_eq!(ended(&world), ["peer-misbehaves"]);
}

#[test]
fn a_witness_that_was_shown_a_fork_tells() {
    for (at, size) in [(100, 200), (100, 300), (299, 300), (0, 1)] {
        let (log, other, world) = scene("witness w");
        other.fork(&origin_hash(), at, &other_entries(size - at));
        let once = world.once();
        let fork = the_only(&world, "fork");
        assert_eq!((fork["source"].as_str(), fork["found_in"].as_str()), (Some("witness w"), Some("gossip")));
        assert_eq!((forks(&world, &log), once.not_followed), (vec![(size, 300)], 0));
        // The peer repeats it, and the monitor stays on its history.
        log.append("", &numbered(310)[300..]);
        world.once();
        world.once();
        assert_eq!(heads(&world, ORIGIN), [300, 310]);
        assert_eq!(world.output.alerts(), ["fork"], "one head, one fork, whatever it is compared with");
        assert_eq!(forks(&world, &log), [(size, 300)]);
    }
}

#[test]
fn a_head_without_its_quorum_that_somebody_else_shows_accuses_nobody() {
    let witnesses = vec![witness("w1.example", 1)];
    let log = Liar::serve_as(log_signer().into(), witnesses, numbered(300));
    let other = Liar::serve(numbered(300));
    other.fork(&origin_hash(), 200, &[]);
    for name in ["peer a", "witness w"] {
        let mut world = World::new(vec![Log::opaque(&log.url(), &log.policy())]);
        world.peers.push(peer(name, &other));
        world.once();
        // Anybody can remove cosignature lines; the head itself is a part of the tree.
        assert_eq!(world.output.alerts(), Vec::<String>::new(), "{name}");
    }
}
