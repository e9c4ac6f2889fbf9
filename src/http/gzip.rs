//! Compresses answers for clients that ask for it, if a processor is free.

use std::io::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

/// Smallest answer that is compressed: below, compression saves no packet.
const LEAST_BYTES: usize = 1_024;

/// Compresses as many answers at once as half the processors can, at least one.
#[derive(Debug)]
pub struct Gzip(Semaphore);

impl Default for Gzip {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Semaphore::new((cores / 2).max(1)))
    }
}

impl Gzip {
    /// The answer with these bytes to a request with these headers. They stay uncompressed if the client did not
    /// ask, it saves nothing, or no processor is free: waiting for one takes longer than sending more bytes.
    ///
    /// Takes a processor for up to some tenths of a second: don't call it on threads that serve.
    pub fn answer(&self, asked: &HeaderMap, media_type: &'static str, bytes: Vec<u8>) -> Response {
        let may_compress = bytes.len() >= LEAST_BYTES && is_accepted(asked);
        let turn = may_compress.then(|| self.0.try_acquire().ok()).flatten();
        let compressed = turn.and_then(|_turn| compress(&bytes));
        let is_compressed = compressed.is_some();
        let mut answer = Bytes::from(compressed.unwrap_or(bytes)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if is_compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

/// Returns `None` if the result would not be shorter.
pub fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    let mut compressed = encoder.finish().ok()?;
    compressed.shrink_to_fit();
    (compressed.len() < bytes.len()).then_some(compressed)
}

/// RFC 9110 section 12.5.3: `gzip`, `x-gzip` or `*` with a weight above zero; a name takes precedence over `*`.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let (mut named, mut any) = (None, None);
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in String::from_utf8_lossy(line.as_bytes()).split(',') {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().to_ascii_lowercase();
            let refused =
                weight.strip_prefix("q=").is_some_and(|q| q.trim().parse().is_ok_and(|q: f32| q <= 0.0));
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => named = Some(!refused),
                "*" => any = Some(!refused),
                _ => {}
            }
        }
    }
    named.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        headers
    }

    fn is_compressed(gzip: &Gzip, bytes: &[u8]) -> bool {
        let answer = gzip.answer(&headers(&["gzip"]), "text/plain", bytes.to_vec());
        assert_eq!(answer.headers()[header::VARY], "accept-encoding");
        answer.headers().contains_key(header::CONTENT_ENCODING)
    }

    #[test]
    fn gzip_is_for_clients_that_accept_it() {
        for lines in
            [&["gzip"][..], &["br, gzip"], &["GZIP;q=0.1"], &["br", "x-gzip"], &["*"], &["*;q=0, gzip"]]
        {
            assert!(is_accepted(&headers(lines)), "{lines:?}");
        }
        for lines in
            [&[][..], &[""], &["br"], &["gzip;q=0"], &["gzip; q=0.000"], &["*, gzip;q=0"], &["gzipped"]]
        {
            assert!(!is_accepted(&headers(lines)), "{lines:?}");
        }
    }

    #[test]
    fn what_does_not_get_shorter_or_finds_no_processor_goes_as_it_is() {
        let gzip = Gzip::default();
        let bytes = vec![b'x'; 100_000];
        assert!(is_compressed(&gzip, &bytes));
        assert!(!is_compressed(&gzip, &bytes[..LEAST_BYTES - 1]));
        let mut noise = 7_u64;
        let mut random = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..10_000).map(|_| random()).collect();
        assert!(!is_compressed(&gzip, &noise));
        let _all = gzip.0.try_acquire_many(u32::try_from(gzip.0.available_permits()).unwrap()).unwrap();
        assert!(!is_compressed(&gzip, &bytes));
    }
}
