//! A log with witnesses in a bucket: two servers, whose holder ends at the worst moments, and a bucket that is rolled
//! back while every cache is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use rustix::process::Signal;
use treehead::bucket::{Headers, Objects};
use treehead::checkpoint;
use treehead::checkpoint::policy::Policy;
use treehead::note::NoteKey;

use crate::REQUIRED;
use crate::fleet::{Server, World, remove_cache};
use crate::needs::{Outcome, ignored};
use crate::servers::by_role;
use crate::store::store;
use crate::toy_witness::ToyWitness;

/// A log with three witnesses and a quorum of two.
pub struct Witnessed {
    pub world: World,
    pub witnesses: Vec<ToyWitness>,
    pub keys: Vec<NoteKey>,
    /// The endpoints' policy.
    pub policy: Policy,
    objects: Arc<dyn Objects>,
}

impl Witnessed {
    fn new(world: World) -> Self {
        Self::with_servers(world, &["a", "b"])
    }

    /// The log has these servers, whose directories are there.
    pub fn with_servers(world: World, servers: &[&str]) -> Self {
        let keys: Vec<NoteKey> = ["log.vkey", "log.mldsa.vkey"]
            .map(|file| std::fs::read_to_string(world.path(servers[0]).join(file)).unwrap())
            .map(|key| NoteKey::parse(key.trim()).unwrap())
            .into();
        let start = |at: u8| ToyWitness::start(&format!("w{at}.example.com"), at, keys.clone());
        let witnesses: Vec<ToyWitness> = (1..=3).map(start).collect();
        let lines: String =
            (1..).zip(&witnesses).map(|(at, witness)| witness.policy_lines(&format!("w{at}"))).collect();
        for server in servers {
            let settings = world.path(server).join("treehead.toml");
            let text = std::fs::read_to_string(&settings).unwrap();
            std::fs::write(&settings, format!("witnesses = \"w.policy\"\n{text}")).unwrap();
            let text = format!("{lines}group two 2 w1 w2 w3\nquorum two\n");
            std::fs::write(world.path(server).join("w.policy"), text).unwrap();
        }
        let (ok, text) = world.run(&["policy", servers[0]]);
        assert!(ok, "{text}");
        std::fs::write(world.path("witnessed.policy"), &text).unwrap();
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let objects = world.objects();
        Self { world, witnesses, keys, policy, objects }
    }

    pub fn serve(&self, name: &str) -> Server {
        self.world.serve(name)
    }

    /// Makes two witnesses answer only requests for the last head that they saw.
    pub fn silence(&self) {
        for witness in &self.witnesses[1..] {
            witness.lie(|asked| (!asked.is_post).then_some(asked.honest));
        }
    }

    pub fn be_honest(&self) {
        self.witnesses.iter().for_each(ToyWitness::be_honest);
    }

    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.get(key, 1 << 20).unwrap().map(|object| object.bytes)
    }

    /// The size of a head in the bucket.
    pub fn size_of(&self, key: &str) -> u64 {
        let opened = checkpoint::open(&self.object(key).unwrap(), &self.keys).unwrap();
        opened.get().size.get()
    }

    /// Checks that the head that a server shows has its quorum. Returns its size.
    pub fn shown(&self, server: &Server) -> Option<u64> {
        let (status, note) = server.get("/checkpoint")?;
        if status != 200 {
            return None;
        }
        let opened = checkpoint::open(note.as_bytes(), &self.keys).unwrap();
        assert!(self.policy.check(&opened).is_ok(), "a head without its quorum: {note}");
        Some(opened.get().size.get())
    }

    pub fn wait_shown(&self, server: &mut Server, size: u64) {
        server.wait("a head is shown", |server| self.shown(server) == Some(size));
    }
}

/// Makes a log for the test, or ends the test if there is no store.
macro_rules! witnessed {
    ($name:literal) => {
        match store() {
            Ok(store) => Witnessed::new(World::new(store, $name)),
            Err(why) => return ignored(&why, REQUIRED),
        }
    };
}

pub fn a_server_that_takes_over_asks_the_witnesses_and_finishes_what_was_signed() -> Outcome {
    let log = witnessed!("witnessed");
    let (mut a, mut b) = (log.serve("a"), log.serve("b"));
    // `init` signed the head of the empty tree before the log had witnesses.
    for server in [&mut a, &mut b] {
        server.wait("it shows a head with its quorum", |server| log.shown(server) == Some(0));
    }
    let mut size = 0;
    for round in 0..3 {
        (a, b) = by_role(a, b);
        assert_eq!(a.add(&format!("{round} before")), size);
        log.wait_shown(&mut b, size + 1);
        // A head is signed but has no quorum.
        log.silence();
        let (status, body) =
            a.request("POST /add?wait=sequenced", format!("{round} signed").as_bytes()).unwrap();
        assert_eq!((status, body.trim().parse()), (200, Ok(size + 1)), "{body}");
        a.wait("it is signed", |_| log.size_of("checkpoint.signed") == size + 2);
        std::thread::sleep(Duration::from_millis(300));
        for server in [&a, &b] {
            assert_eq!(log.shown(server), Some(size + 1), "no server shows a head without a quorum");
        }
        assert_eq!(log.size_of("checkpoint"), size + 1);
        let dir = a.dir.clone();
        a.end(Signal::KILL);
        log.be_honest();
        // The other server takes over, and first publishes the head that was signed before.
        log.wait_shown(&mut b, size + 2);
        assert_eq!(b.add(&format!("{round} signed")), size + 1, "a duplicate");
        assert_eq!(b.add(&format!("{round} after")), size + 2);
        if round == 1 {
            remove_cache(&log.world.path(&dir));
        }
        a = log.serve(&dir);
        size += 3;
        log.wait_shown(&mut a, size);
        assert_eq!(log.size_of("checkpoint"), size);
    }
    let heads: Vec<u64> = log.witnesses[0].released().iter().map(|head| head.size.get()).collect();
    assert!(heads.is_sorted(), "{heads:?}");
    // Endpoints and monitors require the quorum, from the servers and from the bucket alone.
    let policy = "witnessed.policy";
    for server in [&a, &b] {
        let url = format!("http://{}", server.address);
        let (ok, text) = log.world.run(&["fsck", &url, "--policy", policy]);
        assert!(ok && text.contains(&size.to_string()), "{text}");
    }
    log.world.store.allow_reading();
    let url = format!("{}{}", log.world.store.endpoint, log.world.url.strip_prefix("s3:/").unwrap());
    let (ok, text) = log.world.run(&["fsck", &url, "--policy", policy]);
    assert!(ok && text.contains(&size.to_string()), "{text}");
    Ok(Completion::Completed)
}

pub fn a_holder_that_slept_shows_no_head_without_its_quorum_and_raises_no_alarm() -> Outcome {
    let log = witnessed!("slept");
    let (mut a, mut b) = (log.serve("a"), log.serve("b"));
    for server in [&mut a, &mut b] {
        server.wait("it shows a head with its quorum", |server| log.shown(server) == Some(0));
    }
    for round in 0..4 {
        (a, b) = by_role(a, b);
        assert_eq!(a.add(&format!("{round} before")), 2 * round);
        a.signal(Signal::STOP);
        assert_eq!(b.add(&format!("{round} after")), 2 * round + 1);
        a.signal(Signal::CONT);
        let until = Instant::now() + Duration::from_millis(1_500);
        while Instant::now() < until {
            log.shown(&a);
            log.shown(&b);
            std::thread::sleep(Duration::from_millis(10));
        }
        a.wait("it stands by", |a| a.is("standby"));
        log.wait_shown(&mut a, 2 * round + 2);
        for server in [&a, &b] {
            let (_, body) = server.get("/healthz").unwrap();
            assert!(!body.contains("rolled back"), "{body}");
        }
    }
    Ok(Completion::Completed)
}

pub fn a_bucket_that_was_rolled_back_is_found_by_the_witnesses() -> Outcome {
    let log = witnessed!("rolled-back");
    let mut a = log.serve("a");
    a.wait("it shows a head with its quorum", |server| log.shown(server) == Some(0));
    (0..3).for_each(|at| assert_eq!(a.add(&format!("entry {at}")), at));
    log.wait_shown(&mut a, 3);
    let heads = ["checkpoint", "checkpoint.signed"];
    let old = heads.map(|key| log.object(key).unwrap());
    (3..6).for_each(|at| assert_eq!(a.add(&format!("entry {at}")), at));
    log.wait_shown(&mut a, 6);
    a.end(Signal::TERM);
    // Restore an old state of the bucket: the last batches are gone, and the heads are old.
    let new = heads.map(|key| log.object(key).unwrap());
    let batches = log.objects.list("batch/", "", 1_000).unwrap().objects;
    let lost: Vec<(String, Vec<u8>)> = batches
        .into_iter()
        .filter(|batch| batch.key.rsplit('/').next().unwrap().parse::<u64>().unwrap() >= 3)
        .map(|batch| (batch.key.clone(), log.object(&batch.key).unwrap()))
        .collect();
    assert!(!lost.is_empty());
    lost.iter().for_each(|(key, _)| log.objects.delete(key).unwrap());
    let put = |key: &str, bytes: &[u8]| drop(log.objects.put(key, bytes, &Headers::default()).unwrap());
    heads.iter().zip(&old).for_each(|(key, bytes)| put(key, bytes));
    // A server with its cache does not even start.
    let (ok, text) = log.world.run(&["serve", "a", "--listen", "127.0.0.1:0"]);
    assert!(!ok && text.contains("rolled back"), "{text}");
    // Without caches, the witnesses reveal the rollback.
    remove_cache(&log.world.path("a"));
    let (mut a, mut b) = (log.serve("a"), log.serve("b"));
    let refuses = |server: &Server| {
        server.request("POST /add", b"another history").is_some_and(|(status, body)| {
            assert!(status >= 500, "it accepts entries: {body}");
            body.contains("\"rolled-back\"")
        })
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !refuses(&a) && !refuses(&b) {
        assert!(Instant::now() < until, "no server says that the log was rolled back");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The holder reports the rollback, and no server signs or appends anything.
    std::thread::sleep(Duration::from_secs(2));
    assert!(refuses(&a) || refuses(&b));
    assert_eq!(heads.map(|key| log.object(key).unwrap()), old);
    assert_eq!(log.objects.list("batch/", "batch/00000000000000000002", 10).unwrap().objects.len(), 0);
    a.signal(Signal::TERM);
    b.signal(Signal::TERM);
    a.wait_end();
    b.wait_end();
    // Restore the objects: the log resumes.
    lost.iter().for_each(|(key, bytes)| put(key, bytes));
    heads.iter().zip(&new).for_each(|(key, bytes)| put(key, bytes));
    let mut a = log.serve("a");
    log.wait_shown(&mut a, 6);
    assert_eq!((a.add("entry 5"), a.add("entry 6")), (5, 6));
    log.wait_shown(&mut a, 7);
    Ok(Completion::Completed)
}
