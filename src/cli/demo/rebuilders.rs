//! Three others rebuild a release of the demo, state what they found, and endpoints ask for it.

use super::story::Story;
use super::world::{Shipped, World, make_dir};
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::client::{ClientError, ReleaseProof, Wait, check_answer};
use crate::clock::now;
use crate::endpoint::{
    Artifact, Freshness, Pins, Question, Refusal, Trust, TrustFile, VerifiedRelease, parse_rules, verify,
};
use crate::merkle::Hash;
use crate::proof::ProofFile;
use crate::rebuild::{About, AllowList, Comparison, POLICY_IDENTICAL, Seen, compare};
use crate::release::{Envelope, PublisherSigner, Resource, Statement};

/// The files that the rebuilders left behind.
pub struct Rebuilt {
    /// The entries with what they found, in the order of the log.
    pub entries: Vec<Vec<u8>>,
    /// The verdict of the endpoint that accepts the release.
    pub verdict: VerifiedRelease,
}

/// Three rebuilders compare a release with what they built. Two agree with the vendor.
pub fn judge(story: &mut Story, world: &World, shipped: &Shipped) -> Result<Rebuilt, Failure> {
    story.chapter(
        "Three others rebuild the first release",
        "Each compares bit by bit, and logs what it found. An endpoint decides how many it wants.",
    )?;
    let mut entries = Vec::new();
    for (name, signer) in &world.rebuilders {
        let compared = rebuild(world, shipped, name)?;
        let (entry, proof) = state(world, shipped, name, signer, &compared)?;
        let found = match compared.differences.first().map(|difference| &difference.seen) {
            None => "the same in every bit".to_owned(),
            Some(Seen::Content { first, .. }) => format!("another byte at offset {}", first.artifact),
            Some(Seen::OnlyIn(_)) => return Err(Story::broken("files are compared")),
        };
        let result = if compared.matches() { "PASSED" } else { "FAILED" };
        story.fact(&format!("{name:<12} {result}  {found:<26} leaf {}", proof.index))?;
        entries.push(entry);
    }
    let bundle = prove(world, shipped)?;
    let asks = |at_least: u64| ask(world, shipped, &bundle, at_least);
    let verdict = asks(2)??;
    let purl = &verdict.release().purl;
    story.fact(&format!("an endpoint that wants 2 of 3 accepts {purl}"))?;
    story.turned_down("an endpoint that wants 3 of 3", "attestations", asks(3)?)?;
    Ok(Rebuilt { entries, verdict })
}

/// Rebuilds the release as this rebuilder does, and compares it. The last one's build is not reproducible.
fn rebuild(world: &World, shipped: &Shipped, name: &str) -> Result<Comparison, Failure> {
    let mut bytes = shipped.bytes.clone();
    if world.rebuilders.last().is_some_and(|(last, _)| *last == name) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let dir = world.dir.join(name);
    make_dir(&dir)?;
    let rebuilt = dir.join(shipped.name);
    files::create_new(&rebuilt, &bytes, 0o644)?;
    let artifact = world.dir.join("releases").join(shipped.name);
    Ok(compare(&artifact, &rebuilt, &AllowList::default(), &|_, _| ())?)
}

/// Signs the summary of a comparison, and appends it.
fn state(
    world: &World,
    shipped: &Shipped,
    name: &str,
    signer: &PublisherSigner,
    compared: &Comparison,
) -> Result<(Vec<u8>, ProofFile), Failure> {
    let purl = shipped.release.purl.as_str();
    let verifier = format!("https://{name}.example.com");
    let about = About { verifier: &verifier, resource: purl, policy: POLICY_IDENTICAL, time: now() };
    let predicate = compared.predicate(&AllowList::default(), &about).to_string();
    let digests = vec![("sha256".to_owned(), compared.artifact.sha256.to_hex())];
    let subject = Resource { name: Some(shipped.name.to_owned()), uri: Some(purl.to_owned()), digests };
    let usage = |e: crate::format::FormatError| Failure::Usage(e.to_string());
    let of = "https://slsa.dev/verification_summary/v1";
    let payload = Statement::attestation(of, predicate.as_bytes(), &[subject]).map_err(usage)?;
    let entry = Envelope::sign(payload, &[signer]).map_err(usage)?.into_entry();
    let proof = world.client.add(&entry, Wait::Published).map_err(Failure::append)?;
    check_answer(&proof, &entry, Some(&world.policy.log_keys()))?;
    Ok((entry, proof))
}

/// Fetches the release with everything that was stated about it, under one tree head, as `prove --with-attestations` does.
fn prove(world: &World, shipped: &Shipped) -> Result<String, Failure> {
    let bytes = world.client.proof_of(&Hash::leaf(&shipped.entry))?;
    let proof = ProofFile::parse(&bytes)
        .map_err(|source| ClientError::Malformed { url: world.client.prefix().to_owned(), source })?;
    let digest = Hash::digest(&shipped.bytes);
    let releases = [ReleaseProof { proof: &proof, release: &shipped.release, digest }];
    let bundle = world.client.bundle_with_attestations(&releases, None)?.to_string();
    let path = files::bundle_path(&world.dir.join("releases").join(shipped.name));
    files::create_new(&path, bundle.as_bytes(), 0o644)?;
    Ok(bundle)
}

/// The verdict of an endpoint whose trust file wants this many of the rebuilders.
fn ask(
    world: &World,
    shipped: &Shipped,
    bundle: &str,
    at_least: u64,
) -> Result<Result<VerifiedRelease, Refusal>, Failure> {
    let names: Vec<&str> = world.rebuilders.iter().map(|(name, _)| *name).collect();
    let rules = format!(
        "[[require]]\npurls = [\"pkg:generic/example/*\"]\nattestation = \"verification-summary\"\n\
         from = {names:?}\nat_least = {at_least}\n"
    );
    let usage = |e: crate::format::FormatError| Failure::Usage(e.to_string());
    let gate = parse_rules(rules.as_bytes(), &world.publishers).map_err(usage)?;
    let made = TrustFile::new(1, &world.policy, world.publishers.clone(), gate).map_err(usage)?;
    let path = world.dir.join(format!("{at_least}-of-3.trust"));
    files::create_new(&path, &made.to_bytes(), 0o644)?;
    let (policy, publishers, gate) = made.into_parts();
    let digest = Hash::digest(&shipped.bytes);
    let question = Question {
        artifact: Artifact::File { digest: &digest, name: Some(shipped.name) },
        proof: bundle.as_bytes(),
        freshness: Freshness::now(None),
        pins: Pins::default(),
    };
    Ok(verify(&question, Trust { policy: &policy, publishers: &publishers, gate: &gate }, None))
}
