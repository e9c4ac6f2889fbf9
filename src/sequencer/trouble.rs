//! The faults of a running log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// A kind of fault, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The commit thread panicked.
    Panic,
    /// The log's files are older than what it published before, or differ from it.
    Rollback,
    /// The journal is not what the log wrote.
    Damage,
    /// Witnesses claim, without proof, to have cosigned more than the log has.
    RollbackSuspected,
    /// The log can't write.
    Storage,
    /// The clock of the log's machine is wrong.
    Clock,
    /// Too few witnesses answer.
    Quorum,
}

impl Trouble {
    /// All kinds, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Rollback,
        Self::Damage,
        Self::RollbackSuspected,
        Self::Storage,
        Self::Clock,
        Self::Quorum,
    ];

    /// The kind's stable name, for machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Rollback => "rollback",
            Self::Damage => "damage",
            Self::RollbackSuspected => "rollback-suspected",
            Self::Storage => "storage",
            Self::Clock => "clock",
            Self::Quorum => "quorum",
        }
    }
}

/// Gives the advice that a program adds to faults of a kind, such as the command that helps.
pub type Advice = fn(Trouble) -> Option<&'static str>;

/// The faults that the commit thread reports while they last. Clones share them.
#[derive(Debug, Clone)]
pub struct Faults {
    lasting: Arc<Mutex<BTreeMap<Trouble, String>>>,
    advice: Advice,
}

impl Faults {
    pub fn new(advice: Advice) -> Self {
        Self { lasting: Arc::default(), advice }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Trouble, String>> {
        self.lasting.lock().expect("no panic while it is held")
    }

    /// Adds the program's advice to a fault.
    pub fn advise(&self, trouble: Trouble, why: &str) -> String {
        (self.advice)(trouble).map_or_else(|| why.to_owned(), |advice| format!("{why}; {advice}"))
    }

    /// Reports a fault. A step that fails is retried many times a second, so the same reason is logged once.
    pub fn report(&self, trouble: Trouble, why: String) {
        let mut faults = self.lock();
        if faults.get(&trouble) != Some(&why) {
            tracing::error!("{}", self.advise(trouble, &why));
            faults.insert(trouble, why);
        }
    }

    /// Ends a fault, if it was reported.
    pub fn clear(&self, trouble: Trouble) {
        let cleared = self.lock().remove(&trouble);
        if trouble == Trouble::Quorum && cleared.is_some() {
            tracing::info!("a quorum of witnesses cosigns again");
        }
    }

    /// All faults, the worst first.
    pub fn all(&self) -> BTreeMap<Trouble, String> {
        self.lock().clone()
    }
}
