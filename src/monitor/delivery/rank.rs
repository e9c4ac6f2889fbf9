//! What has room when there is little of it.

use crate::monitor::event::{Code, Span};

/// How much it matters that an alert is told at once, and not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A log may cause any number of them.
    Common,
    /// There are a few for each log, and their ends.
    Condition,
    /// A log may show one thing to some and another to others: what a monitor is for.
    Split,
}

impl Rank {
    /// By the code of an alert.
    pub fn of(code: &str) -> Self {
        let splits = [Code::Fork, Code::LogShrunk, Code::HeadAhead];
        if splits.iter().any(|split| split.as_str() == code) {
            return Self::Split;
        }
        let lasts = Code::parse(code).is_some_and(|code| code.span() == Span::Condition);
        if lasts { Self::Condition } else { Self::Common }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_rank() {
        let of = |rank| -> Vec<&str> {
            Code::all().map(Code::as_str).filter(|code| Rank::of(code) == rank).collect()
        };
        assert_eq!(of(Rank::Split), ["fork", "log-shrunk", "head-ahead"]);
        let conditions = [
            "missing-release",
            "log-stalled",
            "no-quorum",
            "witness-missing",
            "log-misbehaves",
            "log-unreachable",
            "peer-misbehaves",
        ];
        assert_eq!(of(Rank::Condition), conditions);
        assert_eq!(Rank::of("of a later version"), Rank::Common);
    }
}
