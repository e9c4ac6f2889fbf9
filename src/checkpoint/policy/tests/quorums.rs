//! Disjoint quorums, checked against all divisions of the cosigners, tried one by one.

use super::*;

/// All divisions of the cosigners into two parts that are both a quorum.
fn oracle(policy: &Policy) -> bool {
    let mut names: Vec<&KeyName> = policy.witnesses.iter().map(|witness| witness.key.name()).collect();
    names.sort();
    names.dedup();
    (0..1_u32 << names.len()).any(|part| {
        let is_in = |witness: &PolicyWitness| {
            let at = names.iter().position(|name| *name == witness.key.name()).unwrap();
            part >> at & 1 == 1
        };
        let first: Vec<bool> = policy.witnesses.iter().map(is_in).collect();
        let second: Vec<bool> = first.iter().map(|is_in| !is_in).collect();
        policy.quorum_reached(&first) && policy.quorum_reached(&second)
    })
}

#[test]
fn rules_that_two_histories_can_satisfy_are_found() {
    let witnesses = |count: usize| (0..count).map(|at| format!("witness w{at} $W{at}\n")).collect::<String>();
    let names = |from: usize, to: usize| (from..to).map(|at| format!(" w{at}")).collect::<String>();
    for count in 1..=9 {
        for quorum in 1..=count {
            let rule = format!("{}group q {quorum}{}\nquorum q\n", witnesses(count), names(0, count));
            assert_eq!(parse(&rule).unwrap().can_split(), 2 * quorum <= count, "{quorum} of {count}");
        }
    }
    assert!(!parse("witness w0 $W0\nquorum w0\n").unwrap().can_split());
    assert!(!parse("quorum none\n").unwrap().can_split(), "there is no quorum to divide");
    assert!(!parse(SPEC_EXAMPLE).unwrap().can_split(), "two of X always share one");
    for (rule, splits) in [
        ("group a 1 w0 w1 w2\ngroup b 1 w3 w4 w5\ngroup q all a b\n", true),
        ("group a 2 w0 w1 w2\ngroup b 1 w3 w4 w5\ngroup q any a b\n", true),
        ("group a 2 w0 w1 w2\ngroup b 2 w3 w4 w5\ngroup q any a b\n", true),
        ("group a 2 w0 w1 w2\ngroup q all a w3\n", false),
        ("group a 1 w0 w1 w2\ngroup q 2 a w3\n", false),
        ("group a 1 w0 w1 w2\ngroup q 2 a w3 w4\n", true),
        ("group a 1 w0 w1 w2\ngroup q 3 a w3 w4\n", false),
    ] {
        let policy = parse(&format!("{}{rule}quorum q\n", witnesses(6))).unwrap();
        assert_eq!(policy.can_split(), splits, "{rule}");
        assert_eq!(policy.split_warning().is_some(), splits);
    }
    let warning =
        parse(&format!("{}group q 1{}\nquorum q\n", witnesses(3), names(0, 3))).unwrap().split_warning();
    assert!(
        warning.unwrap().starts_with("the quorum, 1 of (w0, w1, w2), can be reached by two disjoint sets")
    );
}

proptest! {
    /// Keys of a few cosigners, so that some have several, anywhere in the rule.
    #[test]
    fn what_is_found_is_what_all_divisions_say(
        cosigners in prop::collection::vec(0_usize..6, 1..10),
        groups in prop::collection::vec((1_usize..5, 0_usize..5), 0..6),
    ) {
        let (mut lines, mut open) = (String::new(), Vec::new());
        for (at, cosigner) in cosigners.iter().enumerate() {
            let key = signer(&format!("witness.example/{cosigner}"), SignatureType::CosignatureEd25519, at);
            lines += &format!("witness w{at} {}\n", key.public());
            open.push(format!("w{at}"));
        }
        for (at, (members, threshold)) in groups.iter().enumerate() {
            let taken: Vec<String> = open.drain(..(*members).min(open.len())).collect();
            let threshold = 1 + threshold % taken.len();
            lines += &format!("group g{at} {threshold} {}\n", taken.join(" "));
            open.push(format!("g{at}"));
        }
        let half = open.len().div_ceil(2);
        lines += &format!("group q {half} {}\nquorum q\n", open.join(" "));
        let policy = Policy::parse(lines.as_bytes()).unwrap();
        prop_assert_eq!(policy.can_split(), oracle(&policy), "{}", lines);
    }
}
