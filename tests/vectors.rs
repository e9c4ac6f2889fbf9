//! Test vectors of others, in `../shared/vectors` (its README names the authors). A clone without that folder ignores
//! these tests; with `TREEHEAD_REQUIRE_VECTORS=1`, as in CI, they fail instead.

#[path = "common/needs.rs"]
mod needs;

use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use libtest_mimic::Completion;
use serde_json::Value;
use treehead::merkle::{Hash, LeafIndex, Subtree, TreeSize, verify_inclusion, verify_subtree_inclusion};
use treehead::note::ed25519_verify;
use treehead::release::{KeyFamily, PackageUrl, PublicKey, Purl};

use needs::Outcome;

/// Reads a file of vectors, or ignores the test that needs it.
macro_rules! read_or_ignored {
    ($name:expr) => {{
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
        if !folder.is_dir() {
            let why = format!("there is no {}", folder.display());
            return needs::ignored(&why, "TREEHEAD_REQUIRE_VECTORS");
        }
        read(&folder.join($name))
    }};
}

fn main() -> ExitCode {
    needs::run(tests![
        inclusion_proofs_of_transparency_dev,
        subtree_inclusion_proofs_of_transparency_dev,
        ed25519_edge_cases_of_cctv,
        purls_of_the_standard,
        ecdsa_p256_of_wycheproof,
        ecdsa_p384_of_wycheproof,
        rsa_pss_of_wycheproof,
        rsa_pkcs1_of_wycheproof,
    ])
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn list(file: &Value) -> &[Value] {
    file.as_array().expect("a list of vectors")
}

fn hash(value: &Value) -> Option<Hash> {
    let bytes = STANDARD.decode(value.as_str().expect("a hash in base64")).expect("base64");
    Hash::try_from(bytes).ok()
}

fn number(vector: &Value, field: &str) -> u64 {
    vector[field].as_u64().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    match &vector["proof"] {
        Value::Null => Some(Vec::new()),
        proof => proof.as_array().expect("a list").iter().map(hash).collect(),
    }
}

/// Hashes that are not 32 bytes, and numbers that the types refuse, are rejections too.
fn inclusion_is_accepted(vector: &Value) -> Option<bool> {
    let index = LeafIndex::new(number(vector, "leafIdx"))?;
    let size = TreeSize::new(number(vector, "treeSize"))?;
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    Some(verify_inclusion(index, size, &leaf, &proof(vector)?, &root).is_ok())
}

/// Like [`inclusion_is_accepted`]. Leaves that are no subtree are a rejection as well.
fn subtree_inclusion_is_accepted(vector: &Value) -> Option<bool> {
    let index = LeafIndex::new(number(vector, "leafIdx"))?;
    let (start, end) = (LeafIndex::new(number(vector, "start"))?, TreeSize::new(number(vector, "end"))?);
    let subtree = Subtree::new(start, end).ok()?;
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    Some(verify_subtree_inclusion(index, &leaf, subtree, &proof(vector)?, &root).is_ok())
}

/// Checks that exactly the valid vectors are accepted. Returns their number.
fn count_accepted(vectors: &[Value], accepts: fn(&Value) -> Option<bool>) -> usize {
    let mut accepted = 0;
    for vector in vectors {
        let want_error = vector["wantErr"].as_bool().expect("a boolean");
        let seen = accepts(vector).unwrap_or(false);
        assert_eq!(seen, !want_error, "{}: {}", vector["name"], vector["desc"]);
        accepted += usize::from(seen);
    }
    accepted
}

fn inclusion_proofs_of_transparency_dev() -> Outcome {
    let file = read_or_ignored!("merkle-inclusion.json");
    let vectors = list(&file);
    assert_eq!(vectors.len(), 98);
    let accepted = count_accepted(vectors, inclusion_is_accepted);
    assert!(accepted > 0 && accepted < 98, "{accepted} accepted");
    Ok(Completion::Completed)
}

fn subtree_inclusion_proofs_of_transparency_dev() -> Outcome {
    let file = read_or_ignored!("merkle-subtreeinclusion.json");
    let vectors = list(&file);
    assert_eq!(vectors.len(), 204);
    assert_eq!(count_accepted(vectors, subtree_inclusion_is_accepted), 12);
    Ok(Completion::Completed)
}

/// Go's rules: no low order residue, no other encoding of R.
fn ed25519_edge_cases_of_cctv() -> Outcome {
    let file = read_or_ignored!("ed25519-edge-cases.json");
    let vectors = list(&file);
    assert_eq!(vectors.len(), 914);
    let mut accepted = 0;
    for vector in vectors {
        let bytes = |field: &str| hex::decode(vector[field].as_str().expect("hex")).expect("hex");
        let flags = vector["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let refused = flags.iter().any(|flag| flag == "low_order_residue" || flag == "non_canonical_R");
        let message = vector["msg"].as_str().expect("text").as_bytes();
        let key: [u8; 32] = bytes("key").try_into().expect("32 bytes");
        let seen =
            VerifyingKey::from_bytes(&key).is_ok_and(|key| ed25519_verify(&key, message, &bytes("sig")));
        assert_eq!(seen, !refused, "vector {}: {flags:?}", vector["number"]);
        accepted += usize::from(seen);
    }
    assert_eq!(accepted, 208);
    Ok(Completion::Completed)
}

/// What became of a file of Wycheproof's vectors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: usize,
    refused: usize,
    /// Vectors, valid and invalid, of keys that are refused before any signature is looked at.
    with_refused_key: usize,
}

/// Every `valid` signature is accepted, every `invalid` one refused. The two `acceptable` ones are refused: their
/// `DigestInfo` lacks the NULL that RFC 8017 appendix A.2.4 wants, and no signer leaves it out. Keys with the exponent 3
/// are refused, and with them their signatures, the valid ones too; no key is shorter than 2,048 bits.
fn wycheproof(file: &Value, family: KeyFamily) -> Counts {
    let scheme = Some(family).filter(|family| family.feature() == Some("rsa"));
    let bytes = |value: &Value| hex::decode(value.as_str().expect("hex")).expect("hex");
    let mut counts = Counts::default();
    for group in file["testGroups"].as_array().expect("a list") {
        let tests = group["tests"].as_array().expect("a list");
        let key = PublicKey::parse(group["publicKeyPem"].as_str().expect("PEM").as_bytes(), scheme);
        assert_eq!(key, PublicKey::from_spki(&bytes(&group["publicKeyDer"]), scheme));
        if group["publicKey"]["publicExponent"] == "03" {
            let error = key.expect_err("a small exponent").to_string();
            assert!(error.contains("expected an odd RSA exponent from 65537"), "{error}");
            counts.with_refused_key += tests.len();
            continue;
        }
        let key = key.expect("a sound key");
        assert_eq!(key.family(), family);
        for test in tests {
            let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
            let accepted = key.verifies(&message, &signature);
            assert_eq!(
                accepted,
                test["result"] == "valid",
                "{family}, {}: {}",
                test["tcId"],
                test["comment"]
            );
            // What does not even look like a signature is one of the refused.
            assert!(key.fits(&signature) || !accepted);
            *(if accepted { &mut counts.accepted } else { &mut counts.refused }) += 1;
        }
    }
    let Counts { accepted, refused, with_refused_key } = counts;
    println!("{family}: {accepted} accepted, {refused} refused, {with_refused_key} of keys that are refused");
    counts
}

fn ecdsa_p256_of_wycheproof() -> Outcome {
    let file = read_or_ignored!("wycheproof-ecdsa_secp256r1_sha256.json");
    let expected = Counts { accepted: 174, refused: 310, with_refused_key: 0 };
    assert_eq!(wycheproof(&file, KeyFamily::EcdsaP256), expected);
    Ok(Completion::Completed)
}

fn ecdsa_p384_of_wycheproof() -> Outcome {
    let [sha256, sha384] = [162, 194].map(|accepted| Counts { accepted, refused: 310, with_refused_key: 0 });
    let file = read_or_ignored!("wycheproof-ecdsa_secp384r1_sha256.json");
    assert_eq!(wycheproof(&file, KeyFamily::EcdsaP384), sha256);
    let file = read_or_ignored!("wycheproof-ecdsa_secp384r1_sha384.json");
    assert_eq!(wycheproof(&file, KeyFamily::EcdsaP384), sha384);
    Ok(Completion::Completed)
}

fn rsa_pss_of_wycheproof() -> Outcome {
    for file in [
        read_or_ignored!("wycheproof-rsa_pss_2048_sha256_mgf1_32.json"),
        read_or_ignored!("wycheproof-rsa_pss_4096_sha256_mgf1_32.json"),
    ] {
        let expected = Counts { accepted: 63, refused: 45, with_refused_key: 0 };
        assert_eq!(wycheproof(&file, KeyFamily::RsaPssSha256), expected);
    }
    Ok(Completion::Completed)
}

fn rsa_pkcs1_of_wycheproof() -> Outcome {
    let file = read_or_ignored!("wycheproof-rsa_signature_2048_sha256.json");
    let expected = Counts { accepted: 7, refused: 250, with_refused_key: 2 };
    assert_eq!(wycheproof(&file, KeyFamily::RsaPkcs1Sha256), expected);
    let file = read_or_ignored!("wycheproof-rsa_signature_3072_sha256.json");
    let expected = Counts { accepted: 7, refused: 251, with_refused_key: 1 };
    assert_eq!(wycheproof(&file, KeyFamily::RsaPkcs1Sha256), expected);
    Ok(Completion::Completed)
}

/// A component of a purl: null and the empty string mean that there is none.
fn component<'a>(components: &'a Value, name: &str) -> Option<&'a str> {
    components[name].as_str().filter(|text| !text.is_empty())
}

/// The standard escapes everything but letters, digits and `.-_~:`.
fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The canonical purl of these components, without any of our code.
fn canonical(components: &Value) -> String {
    let segments = |text: &str| text.split('/').map(percent_encoded).collect::<Vec<_>>().join("/");
    let part = |before: &str, text: Option<String>| text.map(|text| before.to_owned() + &text);
    let qualifiers = components["qualifiers"].as_object().filter(|map| !map.is_empty()).map(|map| {
        let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
        let pair = |(key, value): (&String, &Value)| {
            format!("{key}={}", percent_encoded(value.as_str().expect("text")))
        };
        let pairs: Vec<String> = sorted.into_iter().map(pair).collect();
        pairs.join("&")
    });
    [
        Some(format!("pkg:{}", component(components, "type").unwrap_or_default())),
        part("/", component(components, "namespace").map(segments)),
        // The type git has names of several segments.
        Some(format!("/{}", component(components, "name").map(segments).unwrap_or_default())),
        part("@", component(components, "version").map(percent_encoded)),
        part("?", qualifiers),
        part("#", component(components, "subpath").map(segments)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The tests of the standard from which we deviate, by input. docs/publishers.md has the reasons.
const OTHERWISE: [(&str, &str); 5] = [
    // The same file refuses capitals in keys (`pkg:gem/jruby-launcher@1.1.2?Platform=java`), so nobody can know
    // which of two qualifiers such a purl means.
    (
        "pkg:Maven/org.apache.xmlgraphics/batik-anim@1.9.1?classifier=sources&repositorY_url=https://repo.spring.io/release",
        KEYS,
    ),
    (
        "pkg:Maven/org.apache.xmlgraphics/batik-anim@1.9.1?type=pom&repositorY_url=repo.spring.io/release",
        KEYS,
    ),
    ("pkg:gem/jruby-launcher@1.1.2?Platform=java", KEYS),
    ("pkg:Rpm/fedora/curl@7.50.3-1.fc25?Arch=i386&Distro=fedora-25", KEYS),
    // The standard's definition of the type git says that its names are case sensitive.
    (
        "pkg:git/github/Package-url/purl-Spec@244fd47e07d1004f0aed9c",
        "pkg:git/github/Package-url/purl-Spec@244fd47e07d1004f0aed9c",
    ),
];
const KEYS: &str = "in lower case";

/// Parsing, writing and building, for all types. `parse` gives the components of a purl, `validate` its canonical
/// spelling, `build` the purl of components.
fn purls_of_the_standard() -> Outcome {
    let file = read_or_ignored!("purl.json");
    let tests = file["tests"].as_array().expect("a list");
    assert_eq!(tests.len(), 586);
    let (mut otherwise, mut refused) = (std::collections::BTreeSet::new(), 0);
    for test in tests {
        let input = match &test["input"] {
            Value::String(text) => text.clone(),
            components => canonical(components),
        };
        let expected = match &test["expected_output"] {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            components => Some(canonical(components)),
        };
        assert_eq!(expected.is_none(), test["expected_failure"] == true, "{test}");
        let seen = PackageUrl::parse(&input);
        let exception = OTHERWISE.iter().find(|(text, _)| *text == input);
        match (exception, expected, seen) {
            // Two files disagree about this text, so nobody can follow both.
            (Some((_, KEYS)), _, Err(error)) => {
                assert!(error.to_string().contains(KEYS), "{error}");
                otherwise.insert(input);
            }
            (Some((_, ours)), Some(_), Ok(url)) => {
                assert_eq!(url.as_str(), *ours);
                otherwise.insert(input);
            }
            (None, None, Err(_)) => refused += 1,
            (None, Some(expected), Ok(url)) => {
                assert_eq!(url.as_str(), expected, "{input}");
                // A release has a version: a purl without one is of the package.
                assert_eq!(Purl::parse(&input).is_ok(), url.version().is_some(), "{input}");
            }
            (_, expected, seen) => panic!("{input}: expected {expected:?}, saw {seen:?}"),
        }
    }
    let all: std::collections::BTreeSet<String> =
        OTHERWISE.iter().map(|(text, _)| (*text).to_owned()).collect();
    assert_eq!(otherwise, all);
    assert!(refused >= 45, "{refused}");
    Ok(Completion::Completed)
}
