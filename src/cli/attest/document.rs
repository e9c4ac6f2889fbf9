//! Documents that are stated by digest: what they are, and a URI for one that lies nowhere in particular.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::files;
use crate::merkle::Hash;

/// Largest document whose type is found out.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// Finds out the media type of a document.
pub fn media_type(path: &Path) -> Result<String, Failure> {
    let bytes =
        files::read(path, "a document", MAX_DOCUMENT_BYTES).map_err(|e| e.and("or say --media-type"))?;
    let found = of(&bytes).ok_or_else(|| {
        Failure::Usage(format!(
            "{}: expected SPDX, CycloneDX or OpenVEX, saw something else; say --media-type if it is one of them",
            path.display()
        ))
    })?;
    Ok(found.to_owned())
}

fn of(bytes: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start();
    if text.starts_with("SPDXVersion:") {
        return Some("text/spdx");
    }
    if text.starts_with('<') && text.contains("cyclonedx.org/schema/bom") {
        return Some("application/vnd.cyclonedx+xml");
    }
    let json: Value = serde_json::from_str(text).ok()?;
    let context = |of: &str| match json.get("@context") {
        Some(Value::String(context)) => context.contains(of),
        Some(Value::Array(contexts)) => {
            contexts.iter().any(|context| context.as_str().is_some_and(|context| context.contains(of)))
        }
        _ => false,
    };
    match () {
        () if json.get("spdxVersion").is_some() || context("spdx.org/rdf") => Some("application/spdx+json"),
        () if json["bomFormat"] == "CycloneDX" => Some("application/vnd.cyclonedx+json"),
        () if context("openvex.dev/ns") => Some("application/vnd.openvex+json"),
        () => None,
    }
}

/// A URI that names content by its digest (RFC 6920).
pub fn name_by_digest(sha256: &Hash) -> String {
    format!("ni:///sha-256;{}", BASE64_URL_SAFE_NO_PAD.encode(sha256.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_known_by_what_they_say() {
        for (text, expected) in [
            ("{\"spdxVersion\":\"SPDX-2.3\"}", Some("application/spdx+json")),
            (
                "{\"@context\":\"https://spdx.org/rdf/3.0.1/spdx-context.jsonld\"}",
                Some("application/spdx+json"),
            ),
            ("SPDXVersion: SPDX-2.3\n", Some("text/spdx")),
            ("{\"bomFormat\":\"CycloneDX\"}", Some("application/vnd.cyclonedx+json")),
            (
                "<?xml?><bom xmlns=\"http://cyclonedx.org/schema/bom/1.6\"/>",
                Some("application/vnd.cyclonedx+xml"),
            ),
            ("{\"@context\":\"https://openvex.dev/ns/v0.2.0\"}", Some("application/vnd.openvex+json")),
            ("{\"@context\":[\"https://openvex.dev/ns\"]}", Some("application/vnd.openvex+json")),
            ("{}", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_digest_makes_a_uri() {
        // RFC 6920 section 8.1.
        let uri = name_by_digest(&Hash::digest(b"Hello World!"));
        assert_eq!(uri, "ni:///sha-256;f4OxZX_x_FO5LcGBSKHWXfwtSx-j1ncoSt3SABJtkGk");
    }
}
