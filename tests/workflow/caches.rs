//! The answers that caches between a log and an endpoint keep, and their effects.

use crate::common::proxy::{Cache, Heeds};
use crate::online::{online, publish, releases, verify};
use crate::withdrawn::{publisher, withdraw};

#[test]
fn behind_a_cache_that_keeps_what_it_may_a_withdrawal_is_heard_of() {
    let (world, server) = releases(2);
    let cache = Cache::before(&server.url, Heeds::CacheControl);
    // Everything cacheable is in the cache after this.
    world.run(&online("1.bin", &cache.url)).done();
    world.run(&online("2.bin", &cache.url)).done();
    let inclusion = |url: &str| crate::program::get(url, "/proof/inclusion/2/0");
    let (first, again) = (inclusion(&cache.url), inclusion(&cache.url));
    assert_eq!((first.0, &first), (200, &again));
    assert_eq!(cache.hits("/proof/inclusion/"), 1, "immutable answers are cached");
    withdraw(&world, &server, "2.bin", &publisher(&world));
    world.run(&online("2.bin", &cache.url)).refused("withdrawn");
    for path in ["/checkpoint", "/releases", "/proof/leaf", "/healthz", "/metrics"] {
        for _ in 0..2 {
            crate::program::get(&cache.url, path);
        }
        assert_eq!(cache.hits(path), 0, "{path}");
    }
}

#[test]
fn an_answer_that_is_older_than_the_head_is_refused() {
    let (world, server) = releases(2);
    let cache = Cache::before(&server.url, Heeds::Nothing);
    world.run(&online("2.bin", &cache.url)).done();
    withdraw(&world, &server, "2.bin", &publisher(&world));
    // The head expires first.
    cache.forget("/checkpoint");
    let line = online("2.bin", &cache.url);
    let ran = world.run(&line).failed(3, "expected at least the 3 entries of the head fetched before, saw 2");
    assert!(ran.stderr.contains("a cache in front of the log"), "{ran:?}");
    assert!(!ran.stderr.contains("Do not install"), "the artifact is as good as it was: {ran:?}");
    let json = world.run(&format!("{line} --json")).failed(3, "").json();
    assert_eq!((&json["ok"], &json["code"]), (&false.into(), &"could-not-tell".into()));
    cache.forget("/");
    world.run(&line).refused("withdrawn");
    // An endpoint that knows the newer head does not accept an old one either.
    publish(&world, &server, 3);
    world.run(&online("3.bin", &server.url)).done();
    let ran = world.run(&online("3.bin", &cache.url)).refused("log-rolled-back");
    assert!(ran.stderr.contains("a cache on the way"), "{ran:?}");
    cache.forget("/checkpoint");
    world.run(&online("3.bin", &cache.url)).done();
    world.run(&verify("3.bin", "")).done();
}

#[test]
fn a_proof_is_not_said_to_be_missing_because_of_a_cache() {
    let (world, server) = releases(1);
    let cache = Cache::before(&server.url, Heeds::Nothing);
    world.write("2.bin", "artifact 2");
    let prove = |url: &str| format!("prove 2.bin --log {url}");
    world.run(&prove(&cache.url)).refused("not-logged");
    publish(&world, &server, 2);
    cache.forget("/checkpoint");
    for also in ["", " --policy log/endpoint.policy"] {
        let ran = world.run(&(prove(&cache.url) + also)).failed(3, "a cache in front of the log");
        assert!(!ran.stderr.contains("Do not install"), "{ran:?}");
    }
    cache.forget("/releases");
    world.run(&prove(&cache.url)).done();
    let heeding = Cache::before(&server.url, Heeds::CacheControl);
    world.write("3.bin", "artifact 3");
    let prove = format!("prove 3.bin --log {}", heeding.url);
    world.run(&prove).refused("not-logged");
    publish(&world, &server, 3);
    world.run(&prove).done();
}
