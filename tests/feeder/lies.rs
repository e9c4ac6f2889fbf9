//! A witness that lies: the log names it, does not count it, and continues.

use std::time::{SystemTime, UNIX_EPOCH};

use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::{Checkpoint, open_note};
use treehead::merkle::{Hash, TreeSize};
use treehead::note::{NoteSignature, NoteSigner};
use treehead::proof::wire::{AddCheckpoint, SIZE_MEDIA_TYPE, parse_signatures};

use crate::common::toy_witness::{Answer, Asked, signers};
use crate::log::{World, log_keys, wait_until};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[expect(clippy::unnecessary_wraps, reason = "what a lie returns")]
fn lines(lines: &[NoteSignature]) -> Option<Answer> {
    Some((200, "text/plain", lines.iter().map(ToString::to_string).collect::<String>().into_bytes()))
}

/// The head of a request.
fn head(asked: &Asked) -> Checkpoint {
    let note = AddCheckpoint::parse(&asked.body).unwrap().checkpoint;
    open_note(note, &log_keys()).unwrap().get().clone()
}

/// The second witness's keys.
fn own() -> Vec<NoteSigner> {
    signers("w2.example.com", 2)
}

type Lie = fn(Asked) -> Option<Answer>;

#[expect(clippy::unnecessary_wraps, reason = "what a lie returns")]
fn with_size(size: &str) -> Option<Answer> {
    Some((409, SIZE_MEDIA_TYPE, size.as_bytes().to_vec()))
}

#[test]
fn a_lying_witness_is_named_and_does_not_count() {
    let lies: [(&str, Lie, &str); 20] = [
        ("hangs up", |_| None, "no answer from"),
        ("an error", |_| Some((500, "text/plain", b"oh".to_vec())), "answered 500"),
        ("unknown log", |_| Some((404, "text/plain", b"who".to_vec())), "answered 404"),
        ("not signed", |_| Some((403, "text/plain", b"no".to_vec())), "answered 403"),
        (
            "inconsistent",
            |_| Some((422, "text/plain", b"no".to_vec())),
            "does not accept the consistency proof (422)",
        ),
        ("a redirect", |_| Some((302, "text/plain", Vec::new())), "answered 302"),
        (
            "a web page",
            |_| Some((200, "text/html", b"<html>It works!</html>".to_vec())),
            "sent an unreadable answer",
        ),
        ("nothing", |_| Some((200, "text/plain", Vec::new())), "sent an unreadable answer"),
        (
            "an endless body",
            |_| Some((200, "text/plain", vec![b'x'; 3_000_000])),
            "sent an unreadable answer",
        ),
        ("a size that is none", |_| with_size("007\n"), "sent an unreadable answer"),
        ("no final newline", |_| with_size("7"), "sent an unreadable answer"),
        ("an endless size", |_| with_size(&"1".repeat(1_000_000)), "sent an unreadable answer"),
        (
            "the size that was sent",
            |asked| with_size(&format!("{}\n", AddCheckpoint::parse(&asked.body).unwrap().old)),
            "refuses a request that does (409)",
        ),
        (
            "a size that nobody has",
            |_| with_size("9223372036854775807\n"),
            "shows no head of that size signed by this log",
        ),
        (
            "another size each time",
            |asked| {
                let request = AddCheckpoint::parse(&asked.body).unwrap();
                with_size(if request.old == TreeSize::ZERO { "1\n" } else { "0\n" })
            },
            "names another tree size each time",
        ),
        (
            "keys that nobody knows",
            |asked| lines(&[cosign(&head(&asked), &signers("w2.example.com", 77)[0], now())]),
            "with none of the keys in the settings: expected w2.example.com+",
        ),
        (
            "a false signature",
            |asked| {
                let good = parse_signatures(&asked.honest.2).unwrap().remove(0);
                let mut bytes = good.bytes().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                lines(&[NoteSignature::new(good.name().clone(), good.id(), bytes)])
            },
            "is not valid",
        ),
        (
            "a cosignature of something else",
            |asked| {
                let head = Checkpoint::new(head(&asked).origin, head(&asked).size, Hash::EMPTY_ROOT);
                lines(&own().iter().map(|key| cosign(&head, key, now())).collect::<Vec<_>>())
            },
            "is not valid",
        ),
        (
            "no time",
            |asked| lines(&[cosign(&head(&asked), &own()[1], 0)]),
            "its clock is wrong: it cosigned at 0,",
        ),
        (
            "from the future",
            |asked| lines(&[cosign(&head(&asked), &own()[0], now() + 400)]),
            "its clock is wrong",
        ),
    ];
    for (what, lie, expected) in lies {
        let world = World::new();
        world.wait_open();
        world.append(0);
        wait_until("all have cosigned", || {
            world.status().iter().all(|status| status.cosigned_size == Some(1))
        });
        world.witnesses[1].lie(move |asked| if asked.is_post { lie(asked) } else { Some(asked.honest) });
        for index in 1..4 {
            let head = world.append(index);
            assert!(head.cosignatures().iter().all(|c| !c.witness.starts_with("w2")), "{what}: {head:?}");
        }
        world.wait_fault(1, expected);
        assert!(world.sequencer.faults().is_empty(), "{what}: the others are a quorum");
        world.witnesses[1].be_honest();
        world.append(4);
        wait_until("it is believed again", || world.status()[1].fault.is_none());
    }
}

#[test]
fn cosignatures_by_unknown_keys_are_ignored_and_those_that_count_are_taken() {
    let world = World::new();
    world.wait_open();
    world.witnesses[1].lie(|asked| {
        if !asked.is_post {
            return Some(asked.honest);
        }
        let stranger = cosign(&head(&asked), &signers("stranger.example.com", 9)[0], now());
        let same_name = cosign(&head(&asked), &signers("w2.example.com", 9)[0], now());
        lines(&[stranger, cosign(&head(&asked), &own()[0], now()), same_name])
    });
    world.witnesses[2].lie(|_| None);
    let cosigned = world.append(0);
    let keys = cosigned.note().signatures().iter().filter(|s| s.name().as_str().starts_with("stranger"));
    assert_eq!(keys.count(), 0);
    let witnesses: Vec<&str> = cosigned.cosignatures().iter().map(|c| c.witness.as_str()).collect();
    assert_eq!(witnesses, ["w1-0", "w1-1", "w2-0"]);
    assert_eq!(cosigned.note().signatures().len(), 5, "the log's two, and these");
}
