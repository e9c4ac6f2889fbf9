//! The least that a witness does for a head, with nothing around it: it checks a signature, makes one, and writes a
//! record to the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::bare::{Secret, Signed};

pub struct Bound {
    /// Signatures by logs, each checked in its turn: one alone would be one that the processor knows.
    pub logs: Vec<Signed>,
    /// Makes the cosignatures.
    pub witness: Secret,
    /// Bytes that a cosignature is made over.
    pub message: usize,
    /// Bytes of a record.
    pub record: usize,
}

/// The total time, the time of each head, and the number of batches written.
pub struct Run {
    pub times: Vec<Duration>,
    pub elapsed: Duration,
    pub batches: usize,
}

impl Bound {
    /// Checks and signs for the head of this number.
    pub fn compute(&self, number: usize) {
        self.logs[number % self.logs.len()].check();
        std::hint::black_box(self.witness.sign(&self.message(number)));
    }

    /// A message for each number.
    pub fn message(&self, number: usize) -> Vec<u8> {
        let mut message = vec![0x5a; self.message];
        message[..8].copy_from_slice(&(number as u64).to_be_bytes());
        message
    }

    /// One head after the other, on one thread.
    pub fn serial(&self, path: &Path, heads: usize) -> Run {
        let mut file = File::create(path).expect("a file to write to");
        let mut times = Vec::with_capacity(heads);
        let begin = Instant::now();
        for number in 0..heads {
            let start = Instant::now();
            self.compute(number);
            append(&mut file, self.record);
            times.push(start.elapsed());
        }
        Run { times, elapsed: begin.elapsed(), batches: heads }
    }

    /// Signatures alone, the same on so many threads: a bound without a disk.
    pub fn signatures(&self, heads: usize, threads: usize) -> Run {
        let count = heads * self.logs.len();
        let begin = Instant::now();
        let timed = |number| {
            let start = Instant::now();
            self.compute(number);
            start.elapsed()
        };
        let times = std::thread::scope(|scope| {
            let part = |first| scope.spawn(move || (first..count).step_by(threads).map(timed).collect());
            let parts: Vec<_> = (0..threads).map(part).collect();
            parts.into_iter().flat_map(|part| -> Vec<Duration> { part.join().expect("no panic") }).collect()
        });
        Run { times, elapsed: begin.elapsed(), batches: 0 }
    }

    /// So many heads of each log, all logs at once: `threads` threads compute, this one writes, `least`
    /// heads or more with one fdatasync, as long as so many are under way.
    pub fn together(&self, path: &Path, heads: usize, threads: usize, least: usize) -> Run {
        let mut file = File::create(path).expect("a file to write to");
        let (ask, asked) = channel();
        let (give, given) = channel();
        let asked = Mutex::new(asked);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (asked, give) = (&asked, give.clone());
                scope.spawn(move || {
                    let next = || asked.lock().expect("no panic").recv();
                    while let Ok((log, head)) = next() {
                        self.compute(head * self.logs.len() + log);
                        give.send((log, head)).expect("the writer is there");
                    }
                });
            }
            let begin = Instant::now();
            let (mut started, mut times) = (vec![begin; self.logs.len()], Vec::new());
            (0..self.logs.len()).for_each(|log| ask.send((log, 0)).expect("threads"));
            let (mut batches, mut under_way) = (0, self.logs.len());
            while times.len() < heads * self.logs.len() {
                let least = least.min(under_way).max(1);
                let mut batch: Vec<(usize, usize)> = given.iter().take(least).collect();
                batch.extend(given.try_iter());
                append(&mut file, batch.len() * self.record);
                batches += 1;
                for (log, head) in batch {
                    times.push(started[log].elapsed());
                    started[log] = Instant::now();
                    if head + 1 < heads {
                        ask.send((log, head + 1)).expect("threads");
                    } else {
                        under_way -= 1;
                    }
                }
            }
            // The threads end when nobody can ask.
            drop(ask);
            Run { times, elapsed: begin.elapsed(), batches }
        })
    }
}

/// Appends so many bytes, durably.
pub fn append(file: &mut File, bytes: usize) {
    file.write_all(&vec![0x5a; bytes]).expect("room on the disk");
    file.sync_data().expect("a disk that syncs");
}
