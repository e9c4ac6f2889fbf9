//! Races of many threads to write one object.

use std::sync::{PoisonError, RwLock};
use std::thread::ScopedJoinHandle;

use super::Probe;
use super::checks::{Outcome, lies, right};
use super::findings::Verdict;
use crate::bucket::{BucketError, Creation, Headers, Replacement, Tag};
use crate::threads;

/// The answer to a racer.
enum Told {
    Won,
    Lost,
    /// The racer may have won.
    Unclear,
    /// The store did nothing, or the racer could not be started.
    Nothing(String),
}

/// The result of all rounds.
#[derive(Default)]
struct Tally {
    unclear: usize,
    nothing: usize,
    /// Objects to read once more after the races, when late writes have had time to arrive.
    settled: Vec<(String, Vec<u8>)>,
}

impl Probe<'_> {
    pub fn create_race(&self) -> Outcome {
        let mut tally = Tally::default();
        for round in 0..self.extent.rounds {
            let key = self.key(&format!("create-race-{round}"));
            let told =
                self.race(round, |bytes| match self.objects.create(&key, bytes, &Headers::default())? {
                    Creation::Created(_) => Ok(Told::Won),
                    Creation::Exists => Ok(Told::Lost),
                });
            if let Err(outcome) = self.judge(round, &key, None, &told, &mut tally)? {
                return Ok(outcome);
            }
        }
        self.settle("created", &tally)
    }

    pub fn replace_race(&self) -> Outcome {
        let mut tally = Tally::default();
        let key = self.key("replace-race");
        let mut tag = self.first(&key, b"before all rounds")?;
        for round in 0..self.extent.rounds {
            let told = self.race(round, |bytes| {
                match self.objects.replace(&key, bytes, &tag, &Headers::default())? {
                    Replacement::Replaced(_) => Ok(Told::Won),
                    Replacement::Stale => Ok(Told::Lost),
                    Replacement::Missing => Ok(Told::Nothing("the object is gone".to_owned())),
                }
            });
            match self.judge(round, &key, Some(&tag), &told, &mut tally)? {
                Ok(next) => tag = next,
                Err(outcome) => return Ok(outcome),
            }
            // The next round replaces the object, so keep only the last one.
            let last = tally.settled.len().saturating_sub(1);
            tally.settled.drain(..last);
        }
        self.settle("replaced", &tally)
    }

    /// Lets all racers send at the same time, each with its own bytes.
    fn race(&self, round: usize, send: impl Fn(&[u8]) -> Result<Told, BucketError> + Sync) -> Vec<Told> {
        let gate = RwLock::new(());
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            let racers: Vec<_> = (0..self.extent.racers)
                .map(|racer| {
                    let (gate, send) = (&gate, &send);
                    threads::start_in(scope, "racer", move || {
                        let bytes = bytes_of(round, racer);
                        drop(gate.read());
                        send(&bytes).unwrap_or_else(|error| {
                            if error.may_be_done() { Told::Unclear } else { Told::Nothing(error.to_string()) }
                        })
                    })
                })
                .collect();
            drop(closed);
            let told = |racer: ScopedJoinHandle<'_, Told>| racer.join().expect("a racer does not panic");
            racers
                .into_iter()
                .map(|racer| racer.map_or_else(|refused| Told::Nothing(refused.to_string()), told))
                .collect()
        })
    }

    /// Judges a round. Returns the tag of the winner's object, or the outcome that ends the race.
    fn judge(
        &self,
        round: usize,
        key: &str,
        before: Option<&Tag>,
        told: &[Told],
        tally: &mut Tally,
    ) -> Result<Result<Tag, (Verdict, String)>, BucketError> {
        let of = |which: fn(&Told) -> bool| told.iter().enumerate().filter(move |(_, told)| which(told));
        let winners: Vec<usize> = of(|told| matches!(told, Told::Won)).map(|(at, _)| at).collect();
        let unclear = of(|told| matches!(told, Told::Unclear)).count();
        let nothing = of(|told| matches!(told, Told::Nothing(_))).count();
        tally.unclear += unclear;
        tally.nothing += nothing;
        let lie = |seen: String| Ok(Err((Verdict::Lies, format!("in round {}, {seen}", round + 1))));
        if winners.len() > 1 {
            return lie(format!("{} of {} were told that they won", winners.len(), told.len()));
        }
        let object = self.get(key)?.filter(|object| before != Some(&object.tag));
        let Some(object) = object else {
            if winners.is_empty() && unclear + nothing > 0 {
                let why = told.iter().find_map(|told| match told {
                    Told::Nothing(why) => Some(format!(" ({why})")),
                    _ => None,
                });
                let seen = format!(
                    "in round {}, nobody won: {unclear} unclear answers, {nothing} failures{}",
                    round + 1,
                    why.unwrap_or_default()
                );
                return Ok(Err((Verdict::Unknown, seen)));
            }
            let seen = if winners.is_empty() {
                "every racer was told that it lost"
            } else {
                "the winner's object is not there"
            };
            return lie(seen.to_owned());
        };
        let owner = (0..told.len()).find(|racer| bytes_of(round, *racer) == object.bytes);
        match (winners.first(), owner) {
            (Some(winner), Some(owner)) if *winner == owner => {}
            (Some(_), _) => return lie("the object does not hold the winner's bytes".to_owned()),
            // A network may have sent the owner's request twice, and the store refused the second copy. A log copes
            // with that, because it reads after a refusal.
            (None, Some(owner)) => tally.unclear += usize::from(matches!(told[owner], Told::Lost)),
            (None, None) => return lie("the object holds no racer's bytes".to_owned()),
        }
        if nothing * 2 > told.len() {
            let seen = format!(
                "in round {}, {nothing} of {} requests failed: that is no race",
                round + 1,
                told.len()
            );
            return Ok(Err((Verdict::Unknown, seen)));
        }
        tally.settled.push((key.to_owned(), object.bytes));
        Ok(Ok(object.tag))
    }

    /// Reads the objects once more and compares them.
    fn settle(&self, done: &str, tally: &Tally) -> Outcome {
        for (key, bytes) in &tally.settled {
            if !self.holds(key, bytes, None)? {
                return Ok(lies("a winner's object was overwritten later"));
            }
        }
        let extent = self.extent;
        let mut seen =
            format!("one of {} racers {done} the object, in each of {} rounds", extent.racers, extent.rounds);
        if tally.unclear > 0 {
            seen += &format!("; {} unclear answers, resolved by reading", tally.unclear);
        }
        if tally.nothing > 0 {
            seen += &format!("; {} requests failed", tally.nothing);
        }
        Ok(right(seen))
    }
}

/// A racer's bytes, different for each racer and round, and about as many as in a small batch.
fn bytes_of(round: usize, racer: usize) -> Vec<u8> {
    format!("racer {racer} in round {round}\n").repeat(40).into_bytes()
}
