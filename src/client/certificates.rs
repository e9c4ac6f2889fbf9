//! The certificates that `https` servers are checked against: the system's store, and those that the user adds.
//!
//! The store is the one that rustls-native-certs finds: `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set,
//! else the operating system's. A log's own guarantees do not rest on TLS; it keeps questions private.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::ClientError;
use crate::format::{FormatError, cap};

/// Largest file of certificates: the system's own has some 250 KB.
pub const MAX_CERTIFICATES_BYTES: usize = 4 * 1024 * 1024;

/// The certificates that [`trust_certificates`] added.
static ADDED: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
/// Both together, read for the first `https` address.
static TRUSTED: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();

/// Makes every client of this process trust the certificates of a PEM file as well as the system's. Works once,
/// before the first client for an `https` address is made; returns whether it took effect.
///
/// # Errors
/// [`FormatError`] for a file that is too large, is not PEM, or holds no certificate.
pub fn trust_certificates(pem: &[u8]) -> Result<bool, FormatError> {
    let certificates = parse_certificates(pem)?;
    Ok(TRUSTED.get().is_none() && ADDED.set(certificates).is_ok())
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// [`FormatError`] for a file that is too large, is not PEM, or holds no certificate.
pub(crate) fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, FormatError> {
    const WHAT: &str = "a file of certificates";
    cap(WHAT, pem.len(), MAX_CERTIFICATES_BYTES)?;
    let expected = "PEM with at least one CERTIFICATE";
    let items = parse_pem(pem).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|e| FormatError::malformed(WHAT, expected, e.to_string()))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(FormatError::malformed(WHAT, expected, "none"));
    }
    Ok(certificates)
}

/// The settings of TLS for requests to `url`, with authorities that are trusted only there.
///
/// # Errors
/// [`ClientError::NoCertificates`] for an `https` address if no certificate is trusted at all.
pub(super) fn tls_for(url: &str, authorities: &[Certificate<'static>]) -> Result<TlsConfig, ClientError> {
    let config = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
    // Reading the store takes milliseconds, which a loopback address need not pay.
    let roots = match (url.starts_with("https:"), authorities) {
        (false, _) => Arc::default(),
        (true, []) => trusted()?,
        // With an authority of its own, a server does not need the system's.
        (true, own) => {
            let system = trusted().unwrap_or_default();
            Arc::new(system.iter().chain(own).cloned().collect())
        }
    };
    Ok(config.root_certs(RootCerts::Specific(roots)).build())
}

/// Rejects anything but a regular file: reading a pipe may never end.
fn check_file(file: Option<&Path>) -> Result<(), ClientError> {
    let Some(file) = file else { return Ok(()) };
    match std::fs::metadata(file) {
        Ok(meta) if !meta.is_file() => {
            let why = format!("SSL_CERT_FILE, {}, is no regular file", file.display());
            Err(ClientError::NoCertificates { why })
        }
        // One that is missing is the loader's to tell.
        _ => Ok(()),
    }
}

fn trusted() -> Result<Arc<Vec<Certificate<'static>>>, ClientError> {
    if let Some(trusted) = TRUSTED.get() {
        return Ok(trusted.clone());
    }
    let file = std::env::var_os("SSL_CERT_FILE");
    let file = file.as_deref().map(Path::new);
    check_file(file)?;
    let found = rustls_native_certs::load_native_certs();
    let system = found.certs.iter().map(|der| Certificate::from_der(der).to_owned());
    let all: Vec<_> = system.chain(ADDED.get().into_iter().flatten().cloned()).collect();
    if all.is_empty() {
        let mut why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if let (Some(file), true) = (file, why.is_empty()) {
            why.push(format!("SSL_CERT_FILE, {}, holds none", file.display()));
        }
        return Err(ClientError::NoCertificates { why: why.join("; ") });
    }
    Ok(TRUSTED.get_or_init(|| Arc::new(all)).clone())
}
