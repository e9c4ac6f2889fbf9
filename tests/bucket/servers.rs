//! `treehead serve` on a bucket: two servers of one log, and readers without a server.

use libtest_mimic::Completion;
use rustix::process::Signal;

use crate::REQUIRED;
use crate::fleet::{Server, World, remove_cache};
use crate::needs::{Outcome, ignored};
use crate::store::store;

/// Returns the holder, then the standby.
pub fn by_role(mut a: Server, mut b: Server) -> (Server, Server) {
    a.wait("it has a role", |a| a.is("holder") || a.is("standby"));
    if a.is("standby") {
        std::mem::swap(&mut a, &mut b);
    }
    a.wait("it appends", |a| a.is("holder"));
    b.wait("it stands by", |b| b.is("standby"));
    (a, b)
}

/// Makes a log for the test, or ends the test if there is no store.
macro_rules! world {
    ($name:literal) => {
        match store() {
            Ok(store) => World::new(store, $name),
            Err(why) => return ignored(&why, REQUIRED),
        }
    };
}

pub fn a_standby_takes_over_from_a_server_that_is_killed_or_stopped() -> Outcome {
    let world = world!("take-over");
    let (mut a, mut b) = by_role(world.serve("a"), world.serve("b"));
    assert_eq!((a.add("one"), a.add("two"), a.add("one")), (0, 1, 0));
    b.wait("the standby shows them", |b| b.size() == Some(2));
    let (status, body) = b.request("POST /add", b"three").unwrap();
    assert!(status == 503 && body.contains("\"code\":\"standby\""), "{status} {body}");
    // A killed server does not release the lease, which expires.
    let dir = a.dir.clone();
    drop(a);
    assert_eq!((b.add("two"), b.add("three")), (1, 2));
    // Restarted with its old cache, it stands by.
    let mut a = world.serve(&dir);
    a.wait("it follows", |a| a.is("standby") && a.size() == Some(3));
    // A server that shuts down cleanly releases the lease.
    let said = b.end(Signal::TERM);
    assert!(said.contains("stopped; everything accepted is durable and published"), "{said}");
    assert_eq!(a.add("four"), 3);
    Ok(Completion::Completed)
}

pub fn a_server_that_slept_while_another_one_took_over_stands_by() -> Outcome {
    let world = world!("sleep");
    let (mut a, mut b) = (world.serve("a"), world.serve("b"));
    for round in 0..4 {
        (a, b) = by_role(a, b);
        assert_eq!(a.add(&format!("{round} before")), 2 * round);
        a.signal(Signal::STOP);
        assert_eq!(b.add(&format!("{round} after")), 2 * round + 1);
        a.signal(Signal::CONT);
        a.wait("it stands by", |a| a.is("standby") && a.size() == Some(2 * round + 2));
        assert_eq!(a.get("/checkpoint"), b.get("/checkpoint"), "one head");
    }
    Ok(Completion::Completed)
}

pub fn readers_need_no_server() -> Outcome {
    let world = world!("readers");
    let mut server = world.serve("a");
    for at in 0..300_u64 {
        // Append some entries together, some alone.
        if at % 50 == 0 {
            assert_eq!(server.add(&format!("entry {at}")), at);
        } else {
            server.request("POST /add?wait=sequenced", format!("entry {at}").as_bytes());
        }
    }
    let last = server.add("the last one");
    server.end(Signal::TERM);
    world.store.allow_reading();
    // Like any tool that reads tlog-tiles over HTTP.
    let path = world.url.strip_prefix("s3:/").unwrap();
    let url = format!("{}{path}", world.store.endpoint);
    let (ok, text) = world.run(&["fsck", &url, "--policy", "a/endpoint.policy"]);
    assert!(ok && text.contains(&(last + 1).to_string()), "{text}");
    Ok(Completion::Completed)
}

pub fn a_lost_cache_costs_nothing_but_time() -> Outcome {
    let world = world!("cache");
    let mut server = world.serve("a");
    (0..5).for_each(|at| assert_eq!(server.add(&format!("entry {at}")), at));
    server.end(Signal::KILL);
    remove_cache(&world.path("a"));
    let mut server = world.serve("a");
    assert_eq!(server.size(), Some(5));
    assert_eq!((server.add("entry 3"), server.add("entry 5")), (3, 5));
    Ok(Completion::Completed)
}

pub fn a_bucket_has_one_log_below_a_prefix() -> Outcome {
    let world = world!("taken");
    let again = world.run(&[
        "init",
        "c",
        "--origin",
        "log.example.com",
        "--profile",
        "opaque",
        "--store",
        &world.url,
    ]);
    assert!(!again.0 && again.1.contains("there is a log in"), "{}", again.1);
    let other = world.run(&[
        "init",
        "d",
        "--origin",
        "other.example.com",
        "--profile",
        "opaque",
        "--store",
        &world.url,
    ]);
    assert!(!other.0 && other.1.contains("is this another log's bucket?"), "{}", other.1);
    Ok(Completion::Completed)
}
