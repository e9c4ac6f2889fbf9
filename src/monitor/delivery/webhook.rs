//! Events over HTTP, signed as <https://www.standardwebhooks.com> says, or in the form of a template.
//!
//! ```text
//! POST <url>
//! content-type: application/json
//! webhook-id: <the id in the line>
//! webhook-timestamp: <unix seconds of this try>
//! webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>
//!
//! <the event's line, or what the template makes of it>
//! ```
//!
//! A webhook with a template may do without a secret, and then without the three headers.

use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use ureq::Agent;
use zeroize::Zeroizing;

use super::sink::{NotDelivered, Notification, Sink};
use super::template::Template;
use crate::client::{NAME, agent, printable};
use crate::format::{FormatError, base64_decode, base64_encode, quote};

/// How long a request may take, from the look-up of the name to the last byte: receivers put events into a
/// queue of theirs, and the next event waits.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read: they are shown to the operator, in part.
const MAX_ANSWER_BYTES: u64 = 4 * 1024;
/// Longest pause that a receiver may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// Standard Webhooks, "Signature scheme": "between 24 bytes (192 bits) and 64 bytes (512 bits)".
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that signs requests; the receiver has it as well.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Reads `whsec_<base64>`, and a newline behind it or none.
    ///
    /// # Errors
    /// [`FormatError`] for another form, or unless it has 24 to 64 bytes. The error does not show the text.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let wrong = |expected, seen: String| FormatError::malformed("a webhook's secret", expected, seen);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let bytes = text.strip_prefix("whsec_").and_then(base64_decode).map(Zeroizing::new);
        let bytes = bytes.ok_or_else(|| wrong("whsec_ and padded base64", "something else".to_owned()))?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(wrong("24 to 64 bytes", format!("{} bytes", bytes.len())));
        }
        Ok(Self(bytes))
    }

    /// The value of the header `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", base64_encode(&mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A receiver of events over HTTP.
#[derive(Debug)]
pub struct Webhook {
    agent: Agent,
    url: String,
    secret: Option<Secret>,
    template: Option<Template>,
}

impl Webhook {
    /// A receiver that gets events as they are printed, signed.
    ///
    /// # Errors
    /// [`FormatError`] unless it is an `http` or `https` URL.
    pub fn new(url: &str, secret: Secret) -> Result<Self, FormatError> {
        Self::at(url, Some(secret), None)
    }

    /// A receiver that gets events in a form of its own, signed if there is a secret.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_template(url: &str, template: Template, secret: Option<Secret>) -> Result<Self, FormatError> {
        Self::at(url, secret, Some(template))
    }

    fn at(url: &str, secret: Option<Secret>, template: Option<Template>) -> Result<Self, FormatError> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_url = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?']));
        if !is_url || url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            // Tokens are often a part of it.
            let seen = quote(url.split('?').next().unwrap_or_default());
            return Err(FormatError::malformed(
                "a webhook's address",
                "http://HOST[:PORT]/... or https://...",
                seen,
            ));
        }
        let agent = agent_for(url, TIMEOUT, CONNECT_TIMEOUT)?;
        Ok(Self { agent, url: url.to_owned(), secret, template })
    }

    /// Sets another time limit for a whole request, for tests.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, FormatError> {
        let agent = agent_for(&self.url, timeout, timeout)?;
        Ok(Self { agent, ..self })
    }
}

fn agent_for(url: &str, whole: Duration, connect: Duration) -> Result<Agent, FormatError> {
    agent(url, whole, connect, NAME)
        .map_err(|e| FormatError::malformed("a webhook's address", "a way to it", e.to_string()))
}

impl Sink for Webhook {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        let Notification { key, line, now, .. } = notification;
        let made = self.template.as_ref().map(|template| template.render(line));
        let sent = made.as_deref().unwrap_or(line);
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(secret) = &self.secret {
            request = request
                .header("webhook-id", *key)
                .header("webhook-timestamp", now.to_string())
                .header("webhook-signature", secret.sign(key, *now, sent));
        }
        let network = |e: ureq::Error| {
            NotDelivered::because("no-answer", format!("no answer: {}", printable(&e.to_string())))
        };
        let mut answer = request.send(sent.as_bytes()).map_err(network)?;
        let status = answer.status();
        // Read in any case, so that the connection serves the next event.
        let mut body = Vec::new();
        let _ = answer.body_mut().as_reader().take(MAX_ANSWER_BYTES).read_to_end(&mut body);
        if status.is_success() {
            return Ok(());
        }
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let seconds = retry_after.and_then(|text| crate::format::decimal(text, u64::MAX));
        let hint = match status.as_u16() {
            300..=399 => "; it redirects, which is not followed: put the new address into the settings",
            401 | 403 => "; is the secret the one that the receiver has, or the token in its address?",
            410 => "; it wants no more events: take this sink out of the settings, or mend the receiver",
            _ => "",
        };
        let said = quote(&String::from_utf8_lossy(&body));
        Err(NotDelivered {
            code: "http-status",
            why: format!("expected 2xx, saw {}: {said}{hint}", status.as_u16()),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER)),
            // The others are about the receiver, and the next event would fare no better.
            refused: matches!(status.as_u16(), 400 | 405..=407 | 409 | 411..=428 | 430..=499 | 500 | 501),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        // The example of the specification.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = "{\"test\": 2432232314}";
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn secrets_have_one_form() {
        let text = |bytes: usize| format!("whsec_{}", base64_encode(&vec![7; bytes]));
        for good in [text(24), text(64), text(32) + "\n"] {
            Secret::parse(&good).unwrap();
        }
        let unpadded = text(25).trim_end_matches('=').to_owned();
        for bad in [text(23), text(65), text(32) + "\n\n", text(32).replace("whsec_", ""), unpadded] {
            let error = Secret::parse(&bad).unwrap_err().to_string();
            assert!(!error.contains(&bad[6..20]), "secrets are not shown: {error}");
        }
    }

    #[test]
    fn an_address_is_a_url() {
        let secret = || Secret(Zeroizing::new(vec![7; 32]));
        for good in ["http://127.0.0.1:9/hook", "https://hooks.example/a?token=b"] {
            Webhook::new(good, secret()).unwrap();
        }
        for bad in
            ["", "hooks.example", "ftp://hooks.example", "https://", "https:///a", "http://a b", "http://a#b"]
        {
            assert!(Webhook::new(bad, secret()).is_err(), "{bad}");
        }
    }
}
