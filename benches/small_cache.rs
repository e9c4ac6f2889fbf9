//! Appending to a log whose index is four times as large as the page cache: the same log, looked up and appended to
//! once with all of its index in the page cache, and once in a memory cgroup that leaves room for a quarter.
//!
//! Run with `cargo bench --bench small_cache`, as root on a machine with memory cgroups of version 1 or 2.
//! `TREEHEAD_SMALL_CACHE_LEAVES` sets the size, `TREEHEAD_SMALL_CACHE_LOG` a log that is kept for the next run.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use treehead::merkle::Hash;
use treehead::release::Facts;
use treehead::store::{Batch, DiskStore, OpenOptions, Store};

const ORIGIN: &str = "bench.example/log";
const BATCH: u64 = 4_096;
/// Entries between two syncs while it is measured.
const MEASURED_BATCH: u64 = 1_024;
const MEASURED: Duration = Duration::from_secs(8);
/// Bytes of the index for each leaf of an opaque log.
const POINTER_BYTES: u64 = 16;
/// Room for pages of the journal, the tree and the leaf hashes, which are written and not read.
const WRITTEN_BYTES: u64 = 192 * 1024 * 1024;
const WARM_UP: Duration = Duration::from_secs(2);
/// Set in the process that measures.
const CHILD: &str = "TREEHEAD_SMALL_CACHE_CHILD";

fn main() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return measure(Path::new(&dir));
    }
    let leaves =
        std::env::var("TREEHEAD_SMALL_CACHE_LEAVES").map_or(10_000_000, |n| n.parse().expect("a number"));
    let made = common::dir();
    let kept = std::env::var_os("TREEHEAD_SMALL_CACHE_LOG").map(PathBuf::from);
    let dir = kept.unwrap_or_else(|| made.path().join("log"));
    fill(&dir, leaves);
    let group = Group::new();
    for (what, share) in [("all", 1), ("a quarter", 4)] {
        evict(&dir);
        let mut child = Measuring::start(&dir, &group);
        let rss = child.read();
        let limit = rss + leaves * POINTER_BYTES / share + WRITTEN_BYTES;
        group.limit((share > 1).then_some(limit));
        println!("{what} of the index in the page cache, {leaves} leaves, {} MB of memory:", rss / 1_000_000);
        child.go();
        group.limit(None);
    }
}

fn entry(number: u64) -> Vec<u8> {
    [number.to_be_bytes(), *b" entry\r\n"].concat()
}

/// Looks up and appends a batch.
fn append(store: &mut DiskStore, count: u64) {
    let edge = store.edge();
    let first = edge.size().get();
    let entries: Vec<Vec<u8>> = (first..first + count).map(entry).collect();
    let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let reader = store.reader();
    for hash in &leaf_hashes {
        assert_eq!(reader.find_leaf(hash).expect("an index"), None, "the entry is new");
    }
    let growth = edge.grow(&leaf_hashes);
    let facts = vec![Facts::default(); entries.len()];
    let batch = Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth };
    let staged = store.stage(&batch).expect("staged");
    store.apply(&batch, staged).expect("applied");
}

fn fill(dir: &Path, leaves: u64) {
    let mut store = DiskStore::open(dir, OpenOptions::new(ORIGIN)).expect("a store");
    let (start, first) = (Instant::now(), store.edge().size().get());
    let mut told = first;
    while store.edge().size().get() < leaves {
        append(&mut store, BATCH);
        let size = store.edge().size().get();
        if size - told >= 10_000_000 {
            told = size;
            let rate = (size - first) as f64 / start.elapsed().as_secs_f64();
            println!("filled {size} leaves, {rate:.0} a second");
        }
    }
}

/// The process that measures. The parent limits its memory between its first line and its measurements.
struct Measuring(Child);

impl Measuring {
    fn start(dir: &Path, group: &Group) -> Self {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program)
            .env(CHILD, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        let mut child = Self(child);
        group.add(child.0.id());
        child.tell();
        child
    }

    fn tell(&mut self) {
        self.0.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("it reads");
    }

    /// Its memory, once the log is open.
    fn read(&mut self) -> u64 {
        let mut bytes = Vec::new();
        let out = self.0.stdout.as_mut().expect("a pipe");
        while bytes.last() != Some(&b'\n') {
            let mut byte = [0];
            out.read_exact(&mut byte).expect("it says something");
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).expect("text").trim().parse().expect("a number")
    }

    fn go(mut self) {
        self.tell();
        for line in BufReader::new(self.0.stdout.take().expect("a pipe")).lines() {
            println!("  {}", line.expect("text"));
        }
        assert!(self.0.wait().expect("it ends").success());
    }
}

fn wait_for_parent() {
    std::io::stdin().read_line(&mut String::new()).expect("the parent says go");
}

fn measure(dir: &Path) {
    wait_for_parent();
    let mut store = DiskStore::open(dir, OpenOptions::new(ORIGIN)).expect("a store");
    // What grows with the work has grown when it says how much memory it takes.
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        append(&mut store, MEASURED_BATCH);
    }
    println!("{}", rss());
    wait_for_parent();
    // What does not fit is dropped again.
    read_all(&derived(dir));
    let (from, cpu, start) = (store.edge().size().get(), cpu(), Instant::now());
    while start.elapsed() < MEASURED {
        append(&mut store, MEASURED_BATCH);
    }
    let count = (store.edge().size().get() - from) as f64;
    let (time, cpu) = (start.elapsed().as_secs_f64(), self::cpu() - cpu);
    println!("appended {:.0} a second, CPU {:.2} us an entry", count / time, cpu * 1e6 / count);
    let (reader, start, mut found) = (store.reader(), Instant::now(), 0_u64);
    while start.elapsed() < MEASURED / 4 {
        let leaf = found.wrapping_mul(0x9e37_79b9_7f4a_7c15) % from;
        let seen = reader.find_leaf(&Hash::leaf(&entry(leaf))).expect("an index").expect("it is there");
        assert_eq!(seen.get(), leaf);
        found += 1;
    }
    println!("found {:.0} known leaves a second", found as f64 / start.elapsed().as_secs_f64());
}

/// What lookups may read: the index's files, and sled.
fn derived(dir: &Path) -> Vec<PathBuf> {
    let is_read = |path: &PathBuf| ["sled", "index"].iter().any(|part| path.starts_with(dir.join(part)));
    files(dir).into_iter().filter(is_read).collect()
}

fn read_all(files: &[PathBuf]) {
    for file in files {
        let mut file = fs::File::open(file).expect("a file");
        std::io::copy(&mut file, &mut std::io::sink()).expect("it can be read");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir).expect("a directory").map(|item| item.expect("an item").path());
    items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Drops a log's pages from the page cache, so that they count for the process that reads them next.
fn evict(dir: &Path) {
    for path in files(dir) {
        let file = fs::File::open(path).expect("a file");
        file.sync_all().expect("a disk that syncs");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
    }
}

/// Bytes of memory of this process, without the page cache.
fn rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// Seconds of processor time of this process.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("a status");
    let ticks = stat.rsplit(')').next().expect("a name").split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// A memory cgroup of its own, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let one = Path::new("/sys/fs/cgroup/memory");
        let base = if one.is_dir() { one } else { Path::new("/sys/fs/cgroup") };
        let group = Self(base.join(format!("treehead-{}", std::process::id())));
        fs::create_dir(&group.0).expect("a memory cgroup can be made");
        group
    }

    fn add(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).expect("a process can be added");
    }

    fn limit(&self, bytes: Option<u64>) {
        let one = self.0.join("memory.limit_in_bytes");
        let (file, none) = if one.exists() { (one, "-1") } else { (self.0.join("memory.max"), "max") };
        let text = bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
        fs::write(file, text).expect("a limit can be set");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
