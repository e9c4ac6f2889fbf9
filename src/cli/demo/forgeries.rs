//! The forgeries that the demo tries on the log and the endpoint.

use super::story::Story;
use super::world::{Shipped, World, release, sign};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::cosignature::cosign;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::keygen;
use crate::client::Wait;
use crate::clock::now;
use crate::endpoint::EndpointState;
use crate::endpoint::VerifiedRelease;
use crate::merkle::{Hash, Plan, ProofError, RightEdge, Tile, TileReader, prove_consistency};
use crate::proof::ProofFile;
use crate::proof::wire::AddCheckpoint;
use crate::release::{PublisherSigner, Subject};

/// Tries every forgery. Returns the proof that would deceive a customer without memory who was shown the second history.
pub fn all(
    story: &mut Story,
    world: &World,
    shipped: &[Shipped],
    entries: &[&[u8]],
    verified: &[VerifiedRelease],
) -> Result<ProofFile, Failure> {
    story.chapter("Forgeries are refused", "Each by whoever meets it first, and with its reason.")?;
    tampered_artifact(story, world, &shipped[0])?;
    forged_proof(story, world, &shipped[1])?;
    unknown_publisher(story, world, &shipped[0])?;
    reused_sequence(story, world, &shipped[0])?;
    story.chapter(
        "The vendor itself is made to lie",
        "Somebody forces it to sign a second history, with a release that only one customer gets.",
    )?;
    forked_head(story, world, &shipped[shipped.len() - 1], entries, verified)
}

/// One byte of the program is changed on its way.
fn tampered_artifact(story: &mut Story, world: &World, shipped: &Shipped) -> CliResult {
    let mut bytes = shipped.bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let outcome = world.verify(&bytes, &shipped.proof.to_string(), None);
    story.refused(&format!("{} with one byte changed", shipped.name), "artifact-mismatch", outcome)
}

/// The proof file is patched to name another tree's hash.
fn forged_proof(story: &mut Story, world: &World, shipped: &Shipped) -> CliResult {
    let mut proof = shipped.proof.clone();
    match proof.proof.first_mut() {
        Some(hash) => *hash = Hash::leaf(b"another tree"),
        None => return Err(Story::broken("the second release has a sibling")),
    }
    let outcome = world.verify(&shipped.bytes, &proof.to_string(), None);
    story.refused("a proof file with a forged hash", "not-included", outcome)
}

/// Somebody else signs a release of the vendor's package.
fn unknown_publisher(story: &mut Story, world: &World, shipped: &Shipped) -> CliResult {
    let stranger = PublisherSigner::from_seed(&*keygen::random_seed()?);
    let entry = sign(&shipped.release, &stranger)?;
    let outcome = world.client.add(&entry, Wait::Published).map_err(Failure::append);
    story.refused("a release signed by a key nobody registered", "unknown-publisher", outcome)
}

/// The publisher gives two different releases one number.
fn reused_sequence(story: &mut Story, world: &World, shipped: &Shipped) -> CliResult {
    let subject = Subject { name: shipped.name.to_owned(), sha256: Hash::digest(b"another program") };
    let again = &shipped.release;
    let second = release(again.purl.as_str(), again.kind, again.sequence, vec![subject])?;
    let entry = sign(&second, &world.publisher)?;
    let outcome = world.client.add(&entry, Wait::Published).map_err(Failure::append);
    story.refused("a second program under the same sequence number", "sequence-taken", outcome)
}

/// The log's own key signs another tree of the same size, in which one release was swapped.
fn forked_head(
    story: &mut Story,
    world: &World,
    last: &Shipped,
    entries: &[&[u8]],
    verified: &[VerifiedRelease],
) -> Result<ProofFile, Failure> {
    let special = b"a program for one customer".to_vec();
    let subject = Subject { name: last.name.to_owned(), sha256: Hash::digest(&special) };
    let swapped =
        release(last.release.purl.as_str(), last.release.kind, last.release.sequence, vec![subject])?;
    let entry = sign(&swapped, &world.publisher)?;

    let leaf = |other: &&[u8]| Hash::leaf(if *other == last.entry { &entry } else { other });
    let leaves: Vec<Hash> = entries.iter().map(leaf).collect();
    let root = RightEdge::default().grow(&leaves).edge.root();
    let signed = world.client.checkpoint(&world.policy.log_keys())?;
    let public = signed.get();
    let forked = Checkpoint::new(public.origin.clone(), public.size, root);
    let note = world.config()?.signer()?.sign(&forked, now());
    let Ok(plan) = Plan::inclusion(last.proof.index, forked.size) else {
        return Err(Story::broken("the last release is in the tree"));
    };
    let Ok(hashes) = plan.fetch(&OneTile(&leaves));
    let proof = ProofFile { extra: Some(entry), index: last.proof.index, proof: hashes, checkpoint: note };

    // Every signature of the log on it is genuine. That is why others have to have seen it.
    let judge =
        |proof: &ProofFile, state: Option<&EndpointState>| world.verify(&special, &proof.to_string(), state);
    story.refused("the forked tree head, signed by the log alone", "no-quorum", judge(&proof, None))?;
    refused_by_witnesses(story, world, &forked, &proof)?;

    let mut bribed = proof.clone();
    cosign_with_stolen_keys(world, 1, &forked, &mut bribed)?;
    story.refused("the same, cosigned by one witness that was bribed", "no-quorum", judge(&bribed, None))?;
    cosign_with_stolen_keys(world, 2, &forked, &mut bribed)?;
    world.verify(&special, &bribed.to_string(), None)?;
    story.fact("cosigned by two that were bribed, it passes with a customer who remembers nothing")?;

    let mut state = EndpointState::default();
    for verdict in verified {
        verdict.remember_in(&mut state);
    }
    story.refused("the same, shown to an endpoint that remembers", "fork", judge(&bribed, Some(&state)))?;

    let tiles = &world.client;
    let compared = prove_consistency(&tiles, (forked.size, &forked.root), (public.size, &public.root))?;
    let fork = |e: ProofError| {
        let message = format!("tree size {} of the public log does not continue it: {e}", public.size);
        Failure::refused("fork", message, "Keep both heads.")
    };
    story.refused("the forked tree head, compared with the public log", "fork", compared.map_err(fork))?;
    Ok(bribed)
}

/// The log asks its witnesses to cosign the second history.
fn refused_by_witnesses(
    story: &mut Story,
    world: &World,
    forked: &Checkpoint,
    proof: &ProofFile,
) -> CliResult {
    for witness in &world.witnesses {
        witness.wait_until_it_has(forked)?;
        let request =
            AddCheckpoint { old: forked.size, proof: Vec::new(), checkpoint: proof.checkpoint.clone() };
        let outcome = witness.client()?.add_checkpoint(&request).map_err(Failure::append);
        story.refused(&format!("the forked tree head, sent to {}", witness.name), "forked", outcome)?;
    }
    Ok(())
}

/// Cosigns with the stolen keys of a witness.
fn cosign_with_stolen_keys(
    world: &World,
    number: usize,
    forked: &Checkpoint,
    proof: &mut ProofFile,
) -> CliResult {
    for key in world.witnesses[number - 1].stolen_keys()? {
        proof.checkpoint.push(cosign(forked, &key, now()));
    }
    Ok(())
}

/// The forger's own tree, small enough for one tile.
struct OneTile<'a>(&'a [Hash]);

impl TileReader for OneTile<'_> {
    type Error = std::convert::Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Self::Error> {
        Ok(tiles.iter().map(|tile| self.0[..tile.width()].to_vec()).collect())
    }
}
