//! The choices of a run, either from a depth-first search or random.

use std::collections::HashSet;

/// The source of a run's choices.
pub enum Choices {
    /// Depth first: repeats the choices in `begun`, then always makes the first choice.
    Search { begun: Vec<usize>, made: Vec<(usize, usize)>, seen: HashSet<u64> },
    /// At random. Usually nothing unusual happens, so that servers make progress.
    Random { state: u64 },
}

/// A choice.
pub enum Picked {
    Choice(usize),
    /// The search has explored this state, and everything that can follow from it, before.
    SeenBefore,
}

impl Choices {
    /// The first run of a search.
    pub fn search() -> Self {
        Self::Search { begun: Vec::new(), made: Vec::new(), seen: HashSet::new() }
    }

    /// The random run of this seed.
    pub fn random(seed: u64) -> Self {
        // SplitMix64 needs no good seeds.
        Self::Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    pub fn pick(&mut self, count: usize, state: u64) -> Picked {
        if count == 1 {
            return Picked::Choice(0);
        }
        match self {
            Self::Search { begun, made, seen, .. } => {
                let at = made.len();
                let picked = match begun.get(at) {
                    Some(picked) => *picked,
                    None if !seen.insert(state) => return Picked::SeenBefore,
                    None => 0,
                };
                made.push((picked, count));
                Picked::Choice(picked)
            }
            Self::Random { state } => {
                let draw = |state: &mut u64, below: usize| {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = *state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    usize::try_from((z ^ (z >> 31)) % below as u64).expect("below a usize")
                };
                Picked::Choice(if draw(state, 100) < 65 { 0 } else { draw(state, count) })
            }
        }
    }

    /// The same choices again, for a run with a trace.
    pub fn again(&self) -> Option<Self> {
        let Self::Search { made, .. } = self else { return None };
        let begun = made.iter().map(|(picked, _)| *picked).collect();
        Some(Self::Search { begun, made: Vec::new(), seen: HashSet::new() })
    }

    /// The next run of a search; `None` if there is none.
    pub fn next(self) -> Option<Self> {
        let Self::Search { made, seen, .. } = self else { return None };
        let at = made.iter().rposition(|(picked, count)| picked + 1 < *count)?;
        let mut begun: Vec<usize> = made[..at].iter().map(|(picked, _)| *picked).collect();
        begun.push(made[at].0 + 1);
        Some(Self::Search { begun, made: Vec::new(), seen })
    }

    /// Number of states that a search has seen.
    pub fn states(&self) -> usize {
        match self {
            Self::Search { seen, .. } => seen.len(),
            Self::Random { .. } => 0,
        }
    }

    /// Number of choices in this run.
    pub fn made(&self) -> usize {
        match self {
            Self::Search { made, .. } => made.len(),
            Self::Random { .. } => 0,
        }
    }
}
