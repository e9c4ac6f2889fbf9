//! What a log does for one signed statement before it is queued: read the envelope, verify it, extract its facts, hash
//! the entry. Beside it, by turns, the bare Ed25519 verification that this contains.
//!
//! Run with `cargo bench --bench statement`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use treehead::merkle::Hash;
use treehead::release::{
    Envelope, Facts, KeySearch, Kind, NewPublisher, PublisherSigner, Publishers, Purl, PurlPattern, Release,
    StatementKind, Subject, SubmittedEnvelope,
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: [u8; 32] = [1; 32];
const STATEMENTS: usize = 4_000;
const ROUNDS: usize = 5;
const TIME: u64 = 1_770_000_000;
/// The target: the bare verification's time divided by that of the whole.
const GOAL: f64 = 0.9;

fn main() {
    let signer = PublisherSigner::from_seed(&SEED);
    let publishers = publishers(&signer);
    let entries: Vec<Vec<u8>> = (1..).take(STATEMENTS).map(|sequence| entry(&signer, sequence)).collect();
    let public = SigningKey::from_bytes(&SEED).verifying_key();
    let signed: Vec<(Vec<u8>, Signature)> = entries.iter().map(|entry| signed(entry)).collect();
    // In this order: read, verified, facts, entry.
    let (mut steps, mut bare): ([Vec<Duration>; 4], Vec<Duration>) = (Default::default(), Vec::new());
    for _ in 0..ROUNDS {
        let mut search = KeySearch::for_batch(STATEMENTS);
        // Not the same signature again and again, which the processor would know. Half of all statements lie between the
        // two checks of one.
        let others = signed.iter().cycle().skip(STATEMENTS / 2);
        for (entry, (message, signature)) in entries.iter().zip(others) {
            let start = Instant::now();
            black_box(&public).verify(message, signature).expect("it is good");
            let verified = Instant::now();
            let times = admit(entry, &publishers, &mut search);
            bare.push(verified - start);
            steps.iter_mut().zip(times).for_each(|(step, time)| step.push(time));
        }
    }
    let bare = median(bare);
    let steps = steps.map(median);
    let whole: f64 = steps.iter().sum();
    let [read, admitted, facts, leaf] = steps;
    println!("bare Ed25519 verification   {bare:>6.2} µs   (a message of {} bytes)", signed[0].0.len());
    println!(
        "a statement, to its leaf    {whole:>6.2} µs   ratio {:.2}   (the goal is {GOAL})",
        bare / whole
    );
    println!("  envelope read             {read:>6.2} µs");
    println!("  signature and statement   {admitted:>6.2} µs");
    println!("  facts                     {facts:>6.2} µs");
    println!("  entry and leaf hash       {leaf:>6.2} µs");
    println!("(medians of {ROUNDS} rounds of {STATEMENTS} statements, by turns)");
}

/// The message of an entry, and the signature over it.
fn signed(entry: &[u8]) -> (Vec<u8>, Signature) {
    let envelope = Envelope::parse_entry(entry).expect("an entry");
    let (_, signature) = &envelope.signatures()[0];
    (envelope.signed_message(), Signature::from_slice(signature).expect("64 bytes"))
}

/// The time of each step.
fn admit(entry: &[u8], publishers: &Publishers, search: &mut KeySearch) -> [Duration; 4] {
    let start = Instant::now();
    let sent = SubmittedEnvelope::parse(black_box(entry)).expect("an envelope");
    let read = Instant::now();
    let (envelope, verified) =
        publishers.admit(&sent, "log.example.com", TIME, search).expect("a good statement");
    let admitted = Instant::now();
    let facts = black_box(Facts::of(&envelope, verified.statement(), publishers));
    let extracted = Instant::now();
    let entry = envelope.into_entry();
    black_box(Hash::leaf(&entry));
    drop(black_box((sent, verified, facts, entry)));
    [read - start, admitted - read, extracted - admitted, extracted.elapsed()]
}

/// The middle one, in microseconds, so that an interrupted round does not count.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// A statement as the load generator makes them: one artifact, no source.
fn entry(signer: &PublisherSigner, sequence: u64) -> Vec<u8> {
    let release = Release {
        purl: Purl::parse("pkg:generic/acme/load@1.0.0").expect("a purl"),
        kind: Kind::Build,
        channel: "bench".to_owned(),
        sequence,
        subjects: vec![Subject {
            name: "artifact".to_owned(),
            sha256: Hash::digest(&sequence.to_be_bytes()),
        }],
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    };
    let payload = release.to_payload().expect("a sound statement");
    Envelope::sign(payload, &[signer]).expect("one signer").to_entry()
}

fn publishers(signer: &PublisherSigner) -> Publishers {
    let pattern = PurlPattern::parse("pkg:generic/acme/*").expect("a pattern");
    let new = NewPublisher {
        name: "acme",
        key: &signer.public_key(),
        purls: &[pattern],
        kinds: &StatementKind::RELEASES,
    };
    Publishers::parse(new.append_to("").expect("one publisher").as_bytes()).expect("one publisher")
}
