//! Verdicts, heads and entries as JSON, the same for the command line, C and JavaScript.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Refusal, Requirement, Trust, VerifiedRelease};
use crate::checkpoint::policy::{Policy, SignatureLine, WitnessedBy};
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::format::{FormatError, base64_encode, shown};
use crate::merkle::{Hash, LeafIndex};
use crate::note::{Note, NoteSignature};
use crate::proof::fork::ProvenFork;
use crate::proof::{ProofBundle, ProofFile};
use crate::release::{
    Description, Envelope, Json, Publishers, Statement, family_of_signature, format_time, json,
};

impl VerifiedRelease {
    /// The verdict: docs/endpoints.md lists the members.
    #[must_use]
    pub fn to_json(&self) -> Json<'static> {
        let (release, head) = (self.release(), self.head());
        let names: Vec<&str> = self.artifacts().iter().map(|artifact| artifact.name.as_str()).collect();
        json!({
            "ok": true, "code": "verified", "name": names[0], "names": names,
            "digest": self.artifacts()[0].sha256.to_hex(), "purl": release.purl.as_str(),
            "kind": release.kind.as_str(), "channel": release.channel, "sequence": release.sequence,
            "audience": release.audience, "source": release.source_json(), "publisher": self.publisher(),
            "origin": head.get().origin.as_str(), "index": self.index().get(),
            "leaf_hash": self.leaf().to_hex(), "tree_size": head.get().size.get(),
            "witnesses": witnesses_json(head.cosignatures()),
        })
    }
}

/// A proven fork, with the witnesses of the policy that cosigned each head.
#[must_use]
pub fn fork_json(fork: &ProvenFork, policy: &Policy) -> Json<'static> {
    let [smaller, larger] = fork.heads().map(|head| {
        let Checkpoint { size, root, .. } = head.get();
        let witnesses = witnesses_json(&policy.witnesses_of(head));
        json!({ "size": size.get(), "root": root.to_base64(), "witnesses": witnesses })
    });
    json!({
        "ok": true, "code": "forked", "origin": fork.origin().as_str(), "file_name": fork.file_name(),
        "smaller": smaller, "larger": larger, "other_root_at_smaller_size": fork.other_root().to_base64(),
    })
}

/// Cosignatures, in the order of the policy.
#[must_use]
pub fn witnesses_json(cosignatures: &[WitnessedBy]) -> Vec<Json<'static>> {
    let object = |by: &WitnessedBy| json!({ "name": by.witness, "cosigner": by.cosigner, "time": format_time(by.time) });
    cosignatures.iter().map(object).collect()
}

/// A head as its note states it, unverified.
#[must_use]
pub fn head_json(head: &Checkpoint, note: &Note) -> Json<'static> {
    let signatures: Vec<String> = note.signatures().iter().map(NoteSignature::key_shown).collect();
    let types: Vec<&str> = note.signatures().iter().map(NoteSignature::type_shown).collect();
    json!({
        "what": "checkpoint", "origin": head.origin.as_str(), "size": head.size.get(),
        "root": head.root.to_base64(), "signatures": signatures, "signature_types": types,
    })
}

/// A head that a trusted log signed: its signature lines, and whether a quorum cosigned it.
#[must_use]
pub fn signed_head_json(policy: &Policy, signed: &LogSigned<Checkpoint>) -> Json<'static> {
    let head = signed.get();
    let lines = policy.signature_lines(signed);
    let mut note = Note::unsigned(signed.note().text().into());
    lines.iter().filter(|line| line.is_verified).for_each(|line| note.push(line.line.clone()));
    let object = |SignatureLine { line, signer, is_verified }: &SignatureLine<'_>| {
        json!({
            "key": line.key_shown(), "type": line.type_shown(), "role": signer.as_str(), "verified": is_verified,
        })
    };
    let witnesses = policy.witnesses_of(signed);
    let refusal = policy.check(signed).err().map(Refusal::Quorum);
    let quorum = json!({
        "reached": refusal.is_none(), "rule": policy.quorum_in_words(),
        "message": refusal.as_ref().map(ToString::to_string).unwrap_or_default(),
        "code": refusal.as_ref().map(|refusal| refusal.code().as_str()),
        "newest": witnesses.iter().map(|by| by.time).max().map(format_time),
    });
    json!({
        "what": "checkpoint", "origin": head.origin.as_str(), "size": head.size.get(),
        "root": head.root.to_base64(), "extensions": head.extensions,
        "signatures": lines.iter().map(object).collect::<Vec<_>>(),
        "witnesses": witnesses_json(&witnesses), "quorum": quorum, "note": note.to_string(),
    })
}

/// A proof file, unverified.
///
/// # Errors
/// [`FormatError`] if its note is not a checkpoint.
pub fn proof_json(file: &ProofFile) -> Result<Json<'static>, FormatError> {
    let head = Checkpoint::parse(file.checkpoint.text())?;
    let proof: Vec<String> = file.proof.iter().map(Hash::to_base64).collect();
    Ok(json!({
        "what": "proof", "index": file.index.get(), "proof": proof,
        "checkpoint": head_json(&head, &file.checkpoint), "note": file.checkpoint.to_string(),
        "leaf_hash": file.extra.as_deref().map(|entry| Hash::leaf(entry).to_hex()),
    }))
}

/// A bundle, unverified, with its entries in base64.
///
/// # Errors
/// [`FormatError`] if its note is not a checkpoint.
pub fn bundle_json(bundle: &ProofBundle) -> Result<Json<'static>, FormatError> {
    let head = Checkpoint::parse(bundle.checkpoint.text())?;
    let proof: Vec<String> = bundle.proof.iter().map(Hash::to_base64).collect();
    let entry = |(index, entry): &(LeafIndex, Vec<u8>)| json!({ "index": index.get(), "leaf_hash": Hash::leaf(entry).to_hex(), "entry": base64_encode(entry) });
    let entries: Vec<Json<'static>> = bundle.entries.iter().map(entry).collect();
    Ok(json!({
        "what": "bundle", "entries": entries, "proof": proof,
        "checkpoint": head_json(&head, &bundle.checkpoint), "note": bundle.checkpoint.to_string(),
    }))
}

/// The content of an entry. With publishers and the origin of its log, it also tells who stands behind it. That the entry is in
/// the log is not said.
#[must_use]
pub fn entry_json(entry: &[u8], trusted: Option<(&Publishers, &str)>) -> Json<'static> {
    let leaf = Hash::leaf(entry).to_hex();
    let read = Envelope::parse_entry(entry).and_then(|envelope| {
        let description = Statement::parse(envelope.payload())?.describe();
        Ok((envelope, description))
    });
    let (envelope, Description { title, lines, mut object }) = match read {
        Ok(read) => read,
        Err(e) => {
            let problem = refusal_json(&Refusal::EntryMalformed(e));
            return json!({
                "what": "opaque", "title": "an entry that is no statement", "words": Vec::<Json<'static>>::new(), "leaf_hash": leaf,
                "problem": problem,
            });
        }
    };
    let words: Vec<Json<'static>> =
        lines.into_iter().map(|(label, text)| json!({ "label": label, "text": text })).collect();
    let keys: Vec<String> = envelope.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
    // The family of a known key is known; that of another shows in the signature.
    let family = |(keyid, signature): &(Hash, Vec<u8>)| {
        let known = trusted.and_then(|(publishers, _)| publishers.find(keyid));
        known.map_or_else(|| family_of_signature(signature), |(_, key)| key.public_key().family().as_str())
    };
    let families: Vec<&str> = envelope.signatures().iter().map(family).collect();
    object.set("title", &title);
    object.set("words", &words);
    object.set("leaf_hash", &leaf);
    object.set("keys", &keys);
    object.set("families", &families);
    object.set("envelope", &String::from_utf8_lossy(entry).into_owned());
    object.set("payload", &String::from_utf8_lossy(envelope.payload()).into_owned());
    if let Some((publishers, origin)) = trusted {
        let verified = publishers.verify(&envelope, origin);
        let problem = verified.as_ref().err().map(|e| refusal_json(&Refusal::Publisher(e.clone())));
        let verified = verified.ok();
        object.set("publishers", &verified.as_ref().map_or(&[][..], |by| by.publishers()));
        object.set("signers", &verified.as_ref().map_or(&[][..], |by| by.signers()));
        object.set("problem", &problem);
    }
    object
}

/// The reason of a refusal.
fn refusal_json(refusal: &Refusal) -> Json<'static> {
    let code = refusal.code();
    json!({ "code": code.as_str(), "number": code.number(), "message": refusal.to_string() })
}

/// Whom an endpoint trusts. `number` is that of the trust file, if there is one.
#[must_use]
pub fn trust_json(number: Option<u64>, trust: Trust<'_>) -> Json<'static> {
    let Trust { policy, publishers, gate } = trust;
    let mut logs: Vec<(&str, Vec<Json<'static>>, Option<&String>)> = Vec::new();
    for log in policy.logs() {
        let (origin, url) = (log.origin.as_str(), log.url.as_ref());
        let key = json!({
            "key": shown(&format!("{}+{}", log.key.name(), log.key.id())), "type": log.key.kind().as_str(),
        });
        match logs.iter_mut().find(|known| known.0 == origin) {
            Some((_, keys, known_url)) => {
                keys.push(key);
                *known_url = known_url.or(url);
            }
            None => logs.push((origin, vec![key], url)),
        }
    }
    let log = |(origin, keys, url)| json!({ "origin": origin, "keys": keys, "url": url });
    let logs: Vec<_> = logs.into_iter().map(log).collect();
    let witnesses: Vec<String> =
        policy.witnesses().iter().map(|witness| shown(&String::from_utf8_lossy(&witness.name))).collect();
    let names: Vec<&str> = publishers.list().iter().map(|publisher| publisher.name.as_str()).collect();
    json!({
        "number": number, "logs": logs, "quorum": policy.quorum_in_words(), "witnesses": witnesses,
        "publishers": names, "gate": gate.iter().map(Requirement::in_words).collect::<Vec<_>>(),
    })
}
