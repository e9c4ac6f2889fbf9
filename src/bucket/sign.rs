//! AWS Signature Version 4 in the `Authorization` header, in S3's variant, which encodes the path once.
//!
//! Specification: "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk" in
//! Amazon's S3 API reference. All given headers are signed, so that nobody in between can remove a condition from a
//! write.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use crate::format::push_percent_encoded;
use crate::release::format_time;

/// Replaces the hash of an unsigned payload.
pub(super) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request to sign.
pub(super) struct Request<'a> {
    pub method: &'a str,
    /// The value of the `Host` header.
    pub host: &'a str,
    /// The path, encoded as sent.
    pub path: &'a str,
    /// The query, encoded and sorted by [`query`].
    pub query: &'a str,
    /// The headers except `Host`, with lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// The hash of the payload in hex, or [`UNSIGNED_PAYLOAD`].
    pub payload: String,
}

/// Percent-encodes a path, except for its slashes.
pub(super) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len() + 1);
    for segment in path.split('/') {
        encoded.push('/');
        push_percent_encoded(&mut encoded, segment);
    }
    encoded
}

/// Encodes a query, with the parameters sorted by name as S3 requires.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let mut encoded = String::new();
        push_percent_encoded(&mut encoded, text);
        encoded
    };
    let mut pairs: Vec<_> = parameters.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Hashes a payload.
pub(super) fn payload_hash(payload: &[u8]) -> String {
    hex::encode(Sha256::digest(payload))
}

/// Signs a request at a time, in seconds after 1970. Returns all headers to send except `Host`.
pub(super) fn sign(
    request: Request<'_>,
    credentials: &Credentials,
    region: &str,
    time: u64,
) -> Vec<(&'static str, String)> {
    let time: String = format_time(time).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let day = &time[..8];
    let mut headers = request.headers;
    headers.push(("x-amz-content-sha256", request.payload.clone()));
    headers.push(("x-amz-date", time.clone()));
    if let Some(token) = credentials.session_token() {
        headers.push(("x-amz-security-token", token.to_owned()));
    }
    let mut signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.trim())).collect();
    signed.push(("host", request.host));
    signed.sort_unstable();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical =
        [request.method, request.path, request.query, &lines, &names, &request.payload].join("\n");

    let scope = format!("{day}/{region}/s3/aws4_request");
    let to_sign = [ALGORITHM, &time, &scope, &payload_hash(canonical.as_bytes())].join("\n");
    let secret = Zeroizing::new(format!("AWS4{}", credentials.secret_key()));
    let mut key = hmac(secret.as_bytes(), day);
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&*key, part);
    }
    let signature = hex::encode(*hmac(&*key, &to_sign));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        credentials.access_key()
    );
    headers.push(("authorization", authorization));
    headers
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-05-24 00:00:00 UTC, the time of Amazon's examples.
    const TIME: u64 = 1_369_353_600;
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", token).unwrap()
    }

    fn signature(
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        payload: &[u8],
    ) -> String {
        let request = Request {
            method,
            host: "examplebucket.s3.amazonaws.com",
            path: &encode_path(path),
            query: &query(parameters),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            payload: payload_hash(payload),
        };
        let headers = sign(request, &credentials(None), "us-east-1", TIME);
        let (name, value) = headers.last().unwrap();
        assert_eq!(*name, "authorization");
        value.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn signatures_match_amazons_four_examples() {
        assert_eq!(payload_hash(b""), EMPTY);
        assert_eq!(
            signature("GET", "test.txt", &[], &[("range", "bytes=0-9")], b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let headers =
            [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            signature("PUT", "test$file.text", &[], &headers, b"Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "", &[("lifecycle", "")], &[], b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "", &[("prefix", "J"), ("max-keys", "2")], &[], b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn the_whole_header_and_a_session_token() {
        let request = |headers| Request {
            method: "PUT",
            host: "127.0.0.1:7480",
            path: "/bucket/key",
            query: "",
            headers,
            payload: UNSIGNED_PAYLOAD.to_owned(),
        };
        let headers = vec![("if-none-match", "*".to_owned()), ("content-type", "text/plain".to_owned())];
        let signed = sign(request(headers), &credentials(Some("a+token")), "eu-1", TIME);
        let value = |name: &str| signed.iter().find(|(n, _)| *n == name).unwrap().1.as_str();
        assert_eq!(value("x-amz-date"), "20130524T000000Z");
        assert_eq!(value("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert_eq!(value("x-amz-security-token"), "a+token");
        let expected = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/eu-1/s3/aws4_request,SignedHeaders=content-type;host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token,Signature=";
        assert!(value("authorization").starts_with(expected), "{}", value("authorization"));
        assert!(!format!("{signed:?}").contains("wJalr"));
    }

    #[test]
    fn paths_and_queries_are_encoded_once() {
        assert_eq!(encode_path("a/b c/é~*+"), "/a/b%20c/%C3%A9~%2A%2B");
        assert_eq!(query(&[("b", "x/y"), ("a", "1 2"), ("a-b", "")]), "a=1%202&a-b=&b=x%2Fy");
    }
}
