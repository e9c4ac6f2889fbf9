//! Flat growth: a log of 10,000, 100,000, a million and ten million entries of 1 KiB, opaque, served by
//! a process of its own. At each size the rate of appending, memory, disk, the time to be ready after
//! `kill -9` and after a power cut, and the latency of `POST /add`, tile reads and proofs. The baselines, in the
//! same run and directory: a plain file to which the same bytes are appended with as many fdatasyncs a byte.
//!
//! Run with `cargo bench --bench growth`; it takes some minutes and 13 GB. `TREEHEAD_BENCH_LEAVES` and
//! `TREEHEAD_BENCH_ENTRY_BYTES` make it less, or a hundred million small entries. Writes `docs/growth.svg` and
//! `docs/growth.tsv`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fmt::Write as _;
use std::fs::File;
use std::future::pending;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use common::fetch::{Fetches, fetch};
use common::plot::{Chart, Line, draw};
use common::server::Server;
use treehead::client::LogClient;
use treehead::load::{self, Entries, Latencies, Plan};

/// How long the rate of appending is measured from each size on: not so long that a small log grows to the next
/// size.
const WINDOWS: [(u64, Duration); 2] =
    [(500_000, Duration::from_millis(400)), (u64::MAX, Duration::from_secs(4))];
/// Pause before latencies are measured, in which the system writes back what was appended.
const PAUSE: Duration = Duration::from_secs(5);
/// Light load, so that latencies are the log's and not a queue's.
const ADDS: (u32, Duration) = (100, Duration::from_secs(5));
const READS: Duration = Duration::from_secs(2);
const PLAIN_BYTES: usize = 200 * 1_024 * 1_024;

/// The measurements at one size.
struct Row {
    size: u64,
    rate: f64,
    /// Processor time of the log for each entry from this size on.
    cpu: Duration,
    /// The same on the way to this size, with every merge of the index.
    fill_cpu: Duration,
    plain: f64,
    rss: u64,
    disk: u64,
    ready: Duration,
    ready_after_cut: Duration,
    add: Latencies,
    tile: Latencies,
    proof: Latencies,
}

fn main() {
    let dir = common::dir();
    let most = std::env::var("TREEHEAD_BENCH_LEAVES").map_or(10_000_000, |n| n.parse().expect("a number"));
    let mut log = Server::make(&dir.path().join("log"), "opaque");
    let mut rows = Vec::new();
    println!(
        "    leaves  append/s  CPU us  to here  plain/s  ratio   RSS MB  bytes/byte  ready ms  s/M after cut  add p50/p99 ms  tile p50/p99 ms  proof p50/p99 ms"
    );
    for size in [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000].into_iter().filter(|size| *size <= most)
    {
        let (before, cpu) = (log_size(&log), log.cpu());
        common::fill(&plan(&log), size);
        let fill_cpu = log.cpu().saturating_sub(cpu).div_f64((log_size(&log) - before).max(1) as f64);
        let row = Row { fill_cpu, ..measure(&mut log, dir.path()) };
        println!("{}", row.line());
        rows.push(row);
    }
    if let (Some(base), Some(last)) = (rows.iter().find(|row| row.size >= 1_000_000), rows.last()) {
        let ratio = |cpu: fn(&Row) -> Duration| cpu(last).as_secs_f64() / cpu(base).as_secs_f64();
        let (at, to) = (ratio(|row| row.cpu), ratio(|row| row.fill_cpu));
        println!("CPU an entry from {} leaves on, of that from {} on: {at:.2}", last.size, base.size);
        println!(
            "CPU an entry on the way to {} leaves, of that on the way to {}: {to:.2}",
            last.size, base.size
        );
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    std::fs::write(docs.join("growth.svg"), draw(&charts(&rows))).expect("docs can be written");
    std::fs::write(docs.join("growth.tsv"), table(&rows)).expect("docs can be written");
    println!("wrote docs/growth.svg and docs/growth.tsv");
}

fn log_size(log: &Server) -> u64 {
    common::tree_size(&LogClient::new(&log.url()).expect("an address"))
}

/// Opaque entries of the size that the environment chooses.
fn plan(log: &Server) -> Plan {
    Plan { entries: Entries::Random(common::entry_bytes()), ..Plan::new(log.target()) }
}

fn measure(log: &mut Server, dir: &Path) -> Row {
    let size = log_size(log);
    let disk = bytes_in(&log.dir);
    let rss = log.rss();
    std::thread::sleep(PAUSE);
    let add = adds(log);
    let tile = reads(log, (0..1_000).map(|n| tile(pick(n, size / 256))).collect());
    let proof =
        reads(log, (0..1_000).map(|n| format!("/proof/inclusion/{size}/{}", pick(n, size))).collect());
    let ready = log.kill_and_restart();
    let ready_after_cut = log.cut_power_and_restart();
    let plain = plain(&dir.join("plain"));
    let window = WINDOWS.iter().find(|(most, _)| size <= *most).expect("the last has no end").1;
    let path = "/add-batch?wait=sequenced".to_owned();
    let plan = Plan { batch: 1_024, writers: 8, path, duration: window, ..plan(log) };
    let cpu = log.cpu();
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers").measured;
    let (rate, cpu) = (appended.per_second(), log.cpu().saturating_sub(cpu).div_f64(appended.entries as f64));
    Row {
        size,
        rate,
        cpu,
        fill_cpu: Duration::ZERO,
        plain,
        rss,
        disk,
        ready,
        ready_after_cut,
        add,
        tile,
        proof,
    }
}

/// Evenly spread, and different from size to size.
fn pick(n: u64, below: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below.max(1)
}

fn tile(index: u64) -> String {
    let (high, low) = (index / 1_000, index % 1_000);
    if high > 0 { format!("/tile/0/x{high:03}/{low:03}") } else { format!("/tile/0/{low:03}") }
}

fn adds(log: &Server) -> Latencies {
    let plan = Plan { rate: Some(ADDS.0), writers: 16, duration: ADDS.1, ..plan(log) };
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
    assert_eq!(appended.measured.errors.total(), 0, "{:?}", appended.measured.errors);
    appended.measured.latency.latencies()
}

fn reads(log: &Server, paths: Vec<String>) -> Latencies {
    let fetches = Fetches { url: log.url(), paths, connections: 1, duration: READS };
    fetch(&fetches).expect("a log that answers").latency.latencies()
}

/// Entries a second that a plain file takes, in batches of 1 MiB.
fn plain(path: &Path) -> f64 {
    let bytes = vec![0x5a; 1_024 * 1_024];
    let mut file = File::create(path).expect("a file to write to");
    let start = Instant::now();
    for _ in 0..PLAIN_BYTES / bytes.len() {
        file.write_all(&bytes).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
    }
    let rate = common::rate(PLAIN_BYTES / common::entry_bytes(), start.elapsed());
    std::fs::remove_file(path).expect("what was written can be removed");
    rate
}

fn bytes_in(dir: &Path) -> u64 {
    let of = |item: std::io::Result<std::fs::DirEntry>| {
        let path = item.expect("a directory that can be read").path();
        if path.is_dir() { bytes_in(&path) } else { path.metadata().map_or(0, |meta| meta.len()) }
    };
    std::fs::read_dir(dir).expect("a directory that can be read").map(of).sum()
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Row {
    /// Bytes on disk for each byte of entries.
    fn density(&self) -> f64 {
        self.disk as f64 / (self.size as f64 * common::entry_bytes() as f64)
    }

    /// Seconds until it is ready after a power cut, for each million entries.
    fn cut_per_million(&self) -> f64 {
        self.ready_after_cut.as_secs_f64() * 1e6 / self.size as f64
    }

    fn line(&self) -> String {
        let pair = |l: &Latencies| format!("{:.2}/{:.2}", ms(l.p50), ms(l.p99));
        format!(
            "{:>10} {:>9.0} {:>7.2} {:>8.2} {:>8.0} {:>6.2} {:>8.0} {:>11.3} {:>9.0} {:>14.2} {:>15} {:>16} {:>17}",
            self.size,
            self.rate,
            us(self.cpu),
            us(self.fill_cpu),
            self.plain,
            self.rate / self.plain,
            self.rss as f64 / 1e6,
            self.density(),
            ms(self.ready),
            self.cut_per_million(),
            pair(&self.add),
            pair(&self.tile),
            pair(&self.proof)
        )
    }
}

fn charts(rows: &[Row]) -> Vec<Chart> {
    let line = |name, value: fn(&Row) -> f64| Line {
        name,
        points: rows.iter().map(|row| (row.size as f64, value(row))).collect(),
    };
    let latencies = |title, p50: fn(&Row) -> f64, p99: fn(&Row) -> f64| Chart {
        title,
        lines: vec![line("p50", p50), line("p99", p99)],
        limit: None,
    };
    vec![
        Chart {
            title: "appends, entries/s",
            lines: vec![line("log", |r| r.rate), line("plain file", |r| r.plain)],
            limit: None,
        },
        Chart {
            title: "processor time an entry, us",
            lines: vec![line("from there on", |r| us(r.cpu)), line("on the way there", |r| us(r.fill_cpu))],
            limit: None,
        },
        Chart {
            title: "RSS, MB",
            lines: vec![line("log", |r| r.rss as f64 / 1e6)],
            limit: Some((1_074.0, "1 GiB")),
        },
        Chart {
            title: "disk, bytes a byte",
            lines: vec![line("log", Row::density)],
            limit: Some((1.25, "1.25")),
        },
        Chart {
            title: "ready after kill -9, ms",
            lines: vec![line("log", |r| ms(r.ready))],
            limit: Some((2_000.0, "2 s")),
        },
        Chart {
            title: "ready after a power cut, ms",
            lines: vec![line("log", |r| ms(r.ready_after_cut))],
            limit: None,
        },
        latencies("POST /add, 100 a second, ms", |r| ms(r.add.p50), |r| ms(r.add.p99)),
        latencies("tile GET, ms", |r| ms(r.tile.p50), |r| ms(r.tile.p99)),
        latencies("inclusion proof, ms", |r| ms(r.proof.p50), |r| ms(r.proof.p99)),
    ]
}

fn table(rows: &[Row]) -> String {
    let mut text = "leaves\tappend_per_s\tcpu_us_per_entry\tfill_cpu_us_per_entry\tplain_per_s\trss_bytes\tdisk_bytes\tready_ms\tready_after_power_cut_ms\tadd_p50_ms\tadd_p99_ms\ttile_p50_ms\ttile_p99_ms\tproof_p50_ms\tproof_p99_ms\n".to_owned();
    for row in rows {
        write!(
            text,
            "{}\t{:.0}\t{:.2}\t{:.2}\t{:.0}\t{}\t{}\t{:.0}\t{:.0}",
            row.size,
            row.rate,
            us(row.cpu),
            us(row.fill_cpu),
            row.plain,
            row.rss,
            row.disk,
            ms(row.ready),
            ms(row.ready_after_cut)
        )
        .expect("a string");
        for latencies in [&row.add, &row.tile, &row.proof] {
            write!(text, "\t{:.3}\t{:.3}", ms(latencies.p50), ms(latencies.p99)).expect("a string");
        }
        text.push('\n');
    }
    text
}
