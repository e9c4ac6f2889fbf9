use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::bucket::{Objects, Operation};
use crate::store::bucket::layout::LEASE;
use crate::store::bucket::lease::{MAX_LEASE_BYTES, Observed, decide};
use crate::store::bucket::{Decision, Lease, LeaseKeeper, LeaseRecord, WriterId};
use crate::store::tests::fixtures::{append, batch_of, numbered, open_bucket_with};
use crate::store::{Store as _, Turn};

const ME: WriterId = WriterId::from_bytes([1; 16]);
const OTHER: WriterId = WriterId::from_bytes([2; 16]);

fn record(holder: WriterId, seconds: u32) -> LeaseRecord {
    LeaseRecord { holder, address: Some("https://log.example.com".to_owned()), term: 7, renewal: 12, seconds }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_has_the_documented_format_and_reads_back() {
    let lease = record(WriterId::from_bytes([0xab; 16]), 3);
    let id = "ab".repeat(16);
    let drawn = format!(
        "{{\"holder\":\"{id}\",\"address\":\"https://log.example.com\",\"term\":7,\"renewal\":12,\"seconds\":3}}\n"
    );
    assert_eq!(String::from_utf8(lease.to_bytes()).unwrap(), drawn);
    let alone = LeaseRecord { address: None, ..lease.clone() };
    for lease in [&lease, &alone, &record(ME, 0), &record(ME, 300)] {
        assert_eq!(LeaseRecord::parse(&lease.to_bytes()).unwrap(), *lease);
    }
    let changed = |from: &str, to: &str| drawn.replace(from, to).into_bytes();
    let long = "x".repeat(3_000);
    for other in [
        Vec::new(),
        b"{}".to_vec(),
        changed("abab", "ABAB"),
        changed(":3}", ":301}"),
        changed(":3}", ":3.5}"),
        changed(":7,", ":-7,"),
        changed("log.example", "log example"),
        changed("https://log.example.com", ""),
        changed("log.example.com", &long),
        changed("seconds\":3", "seconds\":3,\"more\":1"),
        vec![b' '; MAX_LEASE_BYTES + 1],
    ] {
        assert!(LeaseRecord::parse(&other).is_err(), "{}", String::from_utf8_lossy(&other));
    }
}

#[test]
fn the_decision_depends_on_how_long_a_version_was_seen() {
    let (now, length) = (Instant::now(), secs(5));
    let seen = |record: Option<LeaseRecord>| Observed { record, since: now };
    let decide = |seen: &Observed, after: u64| decide(Some(seen), ME, length, now + secs(after));
    assert_eq!(super::super::lease::decide(None, ME, length, now), Decision::Take);
    // The length in the lease counts, not this process's.
    let other = seen(Some(record(OTHER, 3)));
    assert_eq!(decide(&other, 0), Decision::Wait(now + secs(3)));
    assert_eq!(decide(&other, 2), Decision::Wait(now + secs(3)));
    assert_eq!(decide(&other, 3), Decision::Take);
    let own = seen(Some(record(ME, 3)));
    assert_eq!(decide(&own, 2), Decision::Hold(now + secs(3)));
    assert_eq!(decide(&own, 3), Decision::Take);
    assert_eq!(decide(&seen(Some(record(OTHER, 0))), 0), Decision::Take, "given up");
    assert_eq!(decide(&seen(None), 4), Decision::Wait(now + secs(5)), "nobody knows whose it is");
    assert_eq!(decide(&seen(None), 5), Decision::Take);
}

/// Two processes with separate clocks on one bucket.
struct Pair {
    objects: MemoryObjects,
    leases: [Lease; 2],
    begun: Instant,
}

impl Pair {
    fn new() -> Self {
        let lease = |id| Lease::new(id, Some(format!("https://{id}.example.com")), 3);
        Self { objects: MemoryObjects::default(), leases: [lease(ME), lease(OTHER)], begun: Instant::now() }
    }

    /// Runs a step of a process at a second of its clock. Returns a letter for its decision.
    fn step(&mut self, who: usize, at: u64) -> char {
        let now = self.begun + secs(at);
        match self.leases[who].step(&self.objects, true, || now) {
            Ok(Decision::Hold(_)) => 'h',
            Ok(Decision::Wait(_)) => 'w',
            Ok(Decision::Take) => 't',
            Err(_) => 'e',
        }
    }

    fn stored(&self) -> LeaseRecord {
        LeaseRecord::parse(&self.objects.bytes(LEASE).unwrap()).unwrap()
    }
}

#[test]
fn a_lease_is_renewed_expires_and_is_taken() {
    let mut pair = Pair::new();
    assert_eq!((pair.step(0, 0), pair.stored().term, pair.stored().renewal), ('h', 1, 0));
    // The other's clock is an hour ahead, which makes no difference.
    assert_eq!(pair.step(1, 3_600), 'w');
    assert_eq!(pair.leases[1].holder(), Some(&*format!("https://{ME}.example.com")));
    assert_eq!((pair.step(0, 1), pair.stored().renewal), ('h', 1), "a third has passed");
    // The lease was renewed, so the other process sees a new version.
    assert_eq!((pair.step(1, 3_602), pair.step(1, 3_604)), ('w', 'w'));
    assert_eq!((pair.step(1, 3_605), pair.stored().holder, pair.stored().term), ('h', OTHER, 2));
    assert_eq!((pair.step(0, 2), pair.stored().holder), ('w', OTHER), "it notices at its next renewal");
    // A clean release.
    pair.leases[1].release(&pair.objects, pair.begun + secs(3_606)).unwrap();
    assert_eq!(pair.stored().seconds, 0);
    assert_eq!((pair.step(0, 2), pair.stored().holder, pair.stored().term), ('h', ME, 3));
    // A process can't release a lease that it does not hold.
    let before = pair.stored();
    pair.leases[1].release(&pair.objects, pair.begun + secs(3_607)).unwrap();
    assert_eq!(pair.stored(), before);
}

#[test]
fn an_unclear_answer_is_read_back() {
    for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy] {
        let mut pair = Pair::new();
        pair.objects.inject(Operation::Create, LEASE, fault);
        assert_eq!(pair.step(0, 0), 'e', "{fault:?}");
        assert_eq!(pair.step(0, 1), 'h', "{fault:?}");
        pair.objects.inject(Operation::Replace, LEASE, fault);
        assert_eq!(pair.step(0, 2), 'e', "{fault:?}");
        assert_eq!((pair.step(0, 3), pair.step(1, 0)), ('h', 'w'), "{fault:?}");
        assert_eq!(pair.stored().holder, ME);
        assert_eq!(pair.objects.pending_faults(), 0);
    }
    // The expiry counts from the time when the lease was sent, not from when it was found.
    let mut pair = Pair::new();
    pair.objects.inject(Operation::Create, LEASE, Fault::FailedButPersisted);
    assert_eq!((pair.step(0, 0), pair.leases[0].decision(pair.begun)), ('e', Decision::Take));
    assert_eq!(pair.step(0, 2), 'h');
    assert_eq!((pair.stored().renewal, pair.stored().term), (1, 1), "it was due to be renewed");
}

#[test]
fn a_renewal_that_arrives_twice_keeps_the_lease() {
    let mut pair = Pair::new();
    pair.objects.inject(Operation::Create, LEASE, Fault::Twice);
    assert_eq!((pair.step(0, 0), pair.stored().renewal), ('h', 0));
    pair.objects.inject(Operation::Replace, LEASE, Fault::Twice);
    assert_eq!((pair.step(0, 1), pair.stored().renewal), ('h', 1));
    let until = pair.begun + secs(4);
    assert_eq!(pair.leases[0].decision(pair.begun + secs(1)), Decision::Hold(until), "from when it was sent");
}

#[test]
fn an_unreadable_lease_expires_too() {
    let mut pair = Pair::new();
    pair.objects.set(LEASE, b"<html>");
    assert_eq!((pair.step(0, 0), pair.step(0, 2)), ('w', 'w'));
    assert_eq!((pair.step(0, 3), pair.stored().holder), ('h', ME));
}

#[test]
fn an_oversized_lease_expires_too() {
    let mut pair = Pair::new();
    pair.objects.set(LEASE, &vec![b' '; MAX_LEASE_BYTES + 1]);
    assert_eq!((pair.step(0, 0), pair.step(0, 2)), ('w', 'w'));
    assert_eq!((pair.step(0, 3), pair.stored().holder), ('h', ME));
}

#[test]
fn a_keeper_holds_the_lease_until_it_ends_and_releases_it() {
    let objects = MemoryObjects::default();
    let shared: Arc<dyn Objects> = Arc::new(objects.clone());
    let stored = || LeaseRecord::parse(&objects.bytes(LEASE).unwrap()).unwrap();
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let limit = Instant::now() + secs(20);
        while !done() {
            assert!(Instant::now() < limit, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let first =
        LeaseKeeper::start(Lease::new(ME, Some("https://a".to_owned()), 1), shared.clone(), true).unwrap();
    assert_eq!(first.turn(Instant::now()), Turn::Hold, "nobody had it");
    let second = LeaseKeeper::start(Lease::new(OTHER, None, 1), shared.clone(), true).unwrap();
    let Turn::Stand { holder, again } = second.turn(Instant::now()) else { panic!("two hold it") };
    assert_eq!(holder.as_deref(), Some("https://a"));
    assert!(again > Instant::now());
    // Wait longer than a lease, so that it must be renewed.
    wait_for("the lease is renewed", &|| stored().renewal >= 4);
    assert_eq!((stored().holder, first.state().term), (ME, 1));
    drop(first);
    wait_for("the other one takes it", &|| second.turn(Instant::now()) == Turn::Hold);
    assert_eq!((stored().holder, stored().term), (OTHER, 2));
    // The keeper releases a lease that is not wanted, and reports errors.
    objects.inject(Operation::Replace, LEASE, Fault::Failed);
    wait_for("an error is told", &|| second.state().errors == 1);
    wait_for("it goes on", &|| second.state().error.is_none());
    drop(second);
    assert_eq!(stored().seconds, 0);
    let third = LeaseKeeper::start(Lease::new(ME, None, 1), shared, false).unwrap();
    assert!(matches!(third.turn(Instant::now()), Turn::Stand { holder: None, .. }));
    third.want(true);
    wait_for("it is taken when it is wanted", &|| third.turn(Instant::now()) == Turn::Hold);
}

#[test]
fn a_server_that_can_not_append_releases_the_lease_until_it_can() {
    let (dirs, objects) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], MemoryObjects::default());
    let open = |at: usize| {
        open_bucket_with(dirs[at].path(), &objects, |options| options.lease_seconds = Some(1)).unwrap()
    };
    let (mut broken, mut sound) = (open(0), open(1));
    assert_eq!(broken.turn().unwrap(), Turn::Hold);
    objects.inject(Operation::Get, "checkpoint", Fault::Failed);
    broken.follow().unwrap_err();
    let until = Instant::now() + Duration::from_secs(20);
    while sound.turn().unwrap() != Turn::Hold {
        // The sequencer keeps asking for its turn.
        let _ = broken.turn();
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(broken.turn().unwrap(), Turn::Stand { .. }));
    broken.reload().unwrap();
    drop(sound);
    while broken.turn().unwrap() != Turn::Hold {
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_reads_and_renews_and_can_not_write_gives_the_lease_up() {
    let (dirs, objects) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], MemoryObjects::default());
    let open = |at: usize| {
        open_bucket_with(dirs[at].path(), &objects, |options| options.lease_seconds = Some(1)).unwrap()
    };
    let (mut broken, mut sound) = (open(0), open(1));
    assert_eq!(broken.turn().unwrap(), Turn::Hold);
    let until = Instant::now() + Duration::from_secs(20);
    while sound.turn().unwrap() != Turn::Hold {
        assert!(Instant::now() < until, "waited in vain");
        if broken.turn().unwrap() == Turn::Hold {
            // As a sequencer does, which has entries: each attempt fails, and all reads are done.
            objects.inject(Operation::Create, "batch/", Fault::Busy);
            let batch = batch_of(&broken.edge(), numbered(0, 1));
            broken.stage(&batch).unwrap_err();
            broken.reload().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    append(&mut sound, numbered(0, 1));
}

#[test]
fn a_server_that_is_stuck_loses_the_lease() {
    let objects = Arc::new(MemoryObjects::default());
    let [stuck, other] = [1, 2].map(|id| {
        let lease = Lease::new(WriterId::from_bytes([id; 16]), None, 1);
        LeaseKeeper::start(lease, objects.clone(), true).unwrap()
    });
    assert_eq!(stuck.turn(Instant::now()), Turn::Hold);
    let until = Instant::now() + Duration::from_secs(60);
    while other.turn(Instant::now()) != Turn::Hold {
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(stuck.state().held_until.is_none());
}
