//! `treehead demo`: the main job on one machine, over real sockets, a real journal and a real
//! sled, told as a story. Every step checks what it says; the first that does not hold ends it.

mod forgeries;
mod rebuilders;
mod served;
mod story;
mod watched;
mod witness;
mod world;

use std::path::PathBuf;

use super::exit::{CliResult, Failure};
use crate::checkpoint::Checkpoint;
use crate::client::audit;
use crate::endpoint::VerifiedRelease;
use crate::merkle::{Hash, Plan, prove_consistency, prove_inclusion};
use crate::release::Kind;
use story::Story;
use world::{ORIGIN, Shipped, World};

/// Tell the whole story on this machine: a log, releases, proofs, and forgeries being refused
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  treehead demo --keep /tmp/treehead-demo")]
pub struct Demo {
    /// Leave everything in this directory for a look; it must be empty or not exist
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// The files of a fictional vendor, compiled in so that the demo needs nothing else.
const RELEASES: [(&str, Kind, &str, &[u8]); 3] = [
    (
        "scanner-4.2.0.sh",
        Kind::Build,
        "pkg:generic/example/scanner@4.2.0",
        include_bytes!("../../../fixtures/releases/scanner-4.2.0.sh"),
    ),
    (
        "scanner-4.2.1.delta",
        Kind::Update,
        "pkg:generic/example/scanner@4.2.1",
        include_bytes!("../../../fixtures/releases/scanner-4.2.1.delta"),
    ),
    (
        "rules-2026.11.yar",
        Kind::DetectionRules,
        "pkg:generic/example/rules@2026.11",
        include_bytes!("../../../fixtures/releases/rules-2026.11.yar"),
    ),
];

pub fn run(args: &Demo, json: bool) -> CliResult {
    // Dropped, and so removed, after the world that writes into it.
    let temporary = tempfile::Builder::new().prefix("treehead-demo-").tempdir();
    let temporary = temporary.map_err(|e| Failure::io("create", &std::env::temp_dir(), &e))?;
    let dir = match &args.keep {
        Some(dir) => empty_dir(dir)?,
        None => temporary.path().to_owned(),
    };
    let mut story = Story::new(json);
    let mut world = set_up(&mut story, dir)?;
    let shipped = publish(&mut story, &mut world)?;
    let mut verified = endpoint(&mut story, &world, &shipped)?;
    third_party(&mut story, &world, &shipped)?;
    let rebuilt = rebuilders::judge(&mut story, &world, &shipped[0])?;
    verified.push(rebuilt.verdict);
    let entries: Vec<&[u8]> =
        shipped.iter().map(|release| &release.entry).chain(&rebuilt.entries).map(Vec::as_slice).collect();
    let shown = forgeries::all(&mut story, &world, &shipped, &entries, &verified)?;
    watched::finds_out(&mut story, &mut world, &shown)?;
    world.stop()?;
    story.end(args.keep.as_deref())
}

fn empty_dir(dir: &PathBuf) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e))?;
    let mut items = std::fs::read_dir(dir).map_err(|e| Failure::io("list", dir, &e))?;
    if items.next().is_some() {
        return Err(Failure::Usage(format!(
            "{} is not empty: choose another directory for --keep",
            dir.display()
        )));
    }
    Ok(dir.clone())
}

fn set_up(story: &mut Story, dir: PathBuf) -> Result<World, Failure> {
    story.chapter(
        "A vendor opens a log",
        "Its customers no longer take its word, so it keeps a public ledger.",
    )?;
    let world = World::new(dir)?;
    story.fact(&format!(
        "log {ORIGIN} made: it signs with Ed25519 and, against quantum computers, with ML-DSA-44"
    ))?;
    story.fact(&format!(
        "three witnesses made, each with both keys of its own; {} have to agree",
        world.policy.quorum_in_words()
    ))?;
    story.fact("example-vendor registered: it may state builds, updates and detection rules of pkg:generic/example/*")?;
    story.fact("three rebuilders registered: they may state verification summaries of these packages")?;
    story.fact(&format!("serving on {}", world.client.prefix()))?;
    Ok(world)
}

/// Publishes the three releases, one after the other.
fn publish(story: &mut Story, world: &mut World) -> Result<Vec<Shipped>, Failure> {
    story.chapter(
        "The publisher appends three releases",
        "Each is a signed statement. The log answers with a proof file to ship beside the artifact.",
    )?;
    let mut shipped = Vec::new();
    for (sequence, (name, kind, purl, bytes)) in (1..).zip(RELEASES) {
        let release = world.publish(name, kind, purl, sequence, bytes)?;
        let size = release.head.size;
        story.fact(&format!("{kind:<15} {name:<20} leaf {} of {size}", release.proof.index))?;
        shipped.push(release);
    }
    Ok(shipped)
}

/// Checks each artifact as an endpoint does: from files alone.
fn endpoint(story: &mut Story, world: &World, shipped: &[Shipped]) -> Result<Vec<VerifiedRelease>, Failure> {
    story.chapter(
        "An endpoint checks them before it installs anything",
        "No network: the artifact, its proof file, and the policy that came with the product.",
    )?;
    let mut verified = Vec::new();
    for release in shipped {
        let verdict = world.verify(&release.bytes, &release.proof.to_string(), None)?;
        let (purl, publisher) = (&verdict.release().purl, verdict.publisher());
        story.fact(&format!("{:<20} verified: {purl} by {publisher}", release.name))?;
        verified.push(verdict);
    }
    Ok(verified)
}

/// Follows the log from outside, with tiles and bundles alone.
fn third_party(story: &mut Story, world: &World, shipped: &[Shipped]) -> CliResult {
    story.chapter(
        "A third party checks the log itself",
        "It trusts neither: it fetches the tree head and the tiles, and hashes everything again.",
    )?;
    let client = &world.client;
    let signed = client.checkpoint(&world.policy.log_keys())?;
    let head = signed.get();
    let tiles = client;
    audit(client, head, &|_| ())?;
    story.fact(&format!("{} entries fetched and re-hashed: they make the signed root", head.size))?;
    for release in shipped {
        let leaf = Hash::leaf(&release.entry);
        let proof = prove_inclusion(&tiles, release.proof.index, &leaf, head.size, &head.root)?;
        let hashes = proof.map_err(crate::client::ClientError::from)?.len();
        story.fact(&format!(
            "{:<20} is leaf {}: inclusion proof of {}",
            release.name,
            release.proof.index,
            count(hashes, "hash", "hashes")
        ))?;
    }
    let heads: Vec<&Checkpoint> = shipped.iter().map(|release| &release.head).chain([head]).collect();
    for (old, new) in heads.iter().zip(&heads[1..]).filter(|(old, new)| old.size < new.size) {
        let planned = Plan::consistency(old.size, new.size).map_err(crate::client::ClientError::from)?;
        let proof = prove_consistency(&tiles, (old.size, &old.root), (new.size, &new.root))?;
        proof.map_err(crate::client::ClientError::from)?;
        let (old, new) = (old.size, new.size);
        let tiles = count(planned.tiles().len(), "tile", "tiles");
        story.fact(&format!("tree head {new} continues tree head {old}: consistency proof from {tiles}"))?;
    }
    Ok(())
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
