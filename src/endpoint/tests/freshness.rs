//! The age of a proof: its exact limits, and clocks that are wrong.

use super::*;

#[test]
fn freshness_has_exact_limits() {
    // The quorum is both witnesses, so the older cosignature decides about staleness, and the newer one about the
    // future.
    let (oldest, newest) = (COSIGNED, COSIGNED + 60);
    let asked =
        |now, max_age| Scene::with(|s| s.freshness = Freshness { now, max_age }).verdict().map(|_| ());
    for (now, max_age) in [
        (oldest, Some(0)),
        (oldest + 3_600, Some(3_600)),
        (oldest + 3_600, None),
        (u64::MAX, None),
        (u64::MAX, Some(u64::MAX)),
        (newest - FUTURE_ALLOWANCE_SECONDS, None),
        (newest - FUTURE_ALLOWANCE_SECONDS, Some(0)),
    ] {
        assert_eq!(asked(now, max_age), Ok(()), "now {now}, at most {max_age:?} seconds old");
    }
    for (now, max_age) in [(oldest + 3_601, 3_600), (oldest + 1, 0), (u64::MAX, 3_600)] {
        let expected =
            Refusal::Stale { expected: format_time(now - max_age), seen: "2026-02-02T02:41:00Z".to_owned() };
        assert_eq!(asked(now, Some(max_age)), Err(expected));
    }
    for now in [newest - FUTURE_ALLOWANCE_SECONDS - 1, 0] {
        let expected = Refusal::FromTheFuture {
            expected: format_time(now + FUTURE_ALLOWANCE_SECONDS),
            seen: "2026-02-02T02:41:00Z".to_owned(),
        };
        assert_eq!(asked(now, None), Err(expected.clone()));
        assert_eq!(asked(now, Some(10)), Err(expected));
    }
    // Without a cosignature, there is no time to compare.
    let unwatched = Scene::with(|s| {
        s.cosigned.clear();
        s.policy = format!("log {}\nquorum none\n", log_vkey());
        s.freshness.max_age = Some(u64::MAX);
    });
    let refusal = unwatched.refusal();
    assert_eq!(refusal.code().as_str(), "stale");
    assert!(refusal.to_string().ends_with("no cosignature, so no time at all"), "{refusal}");
}

#[test]
fn a_line_from_the_future_hides_no_good_one_of_the_same_witness() {
    let asked = |cosigned: &[(usize, u64)]| {
        let scene = Scene::with(|s| {
            let (one, two) = (witness(1), witness(2));
            s.policy = format!(
                "log {}\nwitness w1 {}\nwitness w2 {}\ngroup two 2 w1 w2\nquorum two\n",
                log_vkey(),
                one.public(),
                two.public()
            );
            s.cosigned = cosigned.iter().map(|(at, time)| ((*at).try_into().unwrap(), *time)).collect();
            s.freshness = Freshness { now: COSIGNED + 100, max_age: Some(3_600) };
        });
        scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str())
    };
    let far = COSIGNED + 86_400;
    assert_eq!(asked(&[(1, COSIGNED), (1, far), (2, COSIGNED)]), Ok(()));
    assert_eq!(asked(&[(1, far), (1, COSIGNED), (2, far), (2, COSIGNED)]), Ok(()));
    assert_eq!(asked(&[(1, COSIGNED), (1, COSIGNED), (1, far)]), Err("no-quorum"), "one witness counts once");
}

#[test]
fn time_zero_is_never_fresh() {
    let asked = |time| {
        let scene = Scene::with(|s| {
            s.cosigned = (1..3).map(|at| (at, time)).collect();
            s.freshness.max_age = Some(u64::MAX);
        });
        scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str())
    };
    assert_eq!((asked(1), asked(0)), (Ok(()), Err("stale")));
}

#[test]
fn one_wrong_clock_neither_refreshes_nor_spoils() {
    // Two of three are enough. The third one's clock is wrong, or its operator lies.
    let asked = |times: [u64; 3]| {
        let scene = Scene::with(|s| {
            let witnesses: String =
                (1..4).map(|w| format!("witness w{w} {}\n", witness(w).public())).collect();
            s.policy = format!("log {}\n{witnesses}group two 2 w1 w2 w3\nquorum two\n", log_vkey());
            s.cosigned = (1..).zip(times).collect();
            s.freshness = Freshness { now: COSIGNED + 100, max_age: Some(3_600) };
        });
        scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str())
    };
    assert_eq!(asked([COSIGNED, COSIGNED, COSIGNED]), Ok(()));
    assert_eq!(asked([COSIGNED, COSIGNED, COSIGNED + 86_400]), Ok(()), "one is from the future");
    assert_eq!(asked([COSIGNED, COSIGNED, 0]), Ok(()), "one is from long ago");
    assert_eq!(asked([COSIGNED, 0, 0]), Err("stale"), "one fresh cosignature is no quorum");
    assert_eq!(asked([COSIGNED, 0, COSIGNED + 86_400]), Err("stale"));
    assert_eq!(asked([COSIGNED, COSIGNED + 86_400, COSIGNED + 86_400]), Err("from-the-future"));
}
