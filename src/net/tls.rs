//! How outgoing connections speak TLS: rustls with ring, trusting what the system trusts.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates to trust, such as a company's. Certificates are always
//! verified; there is no switch.

use std::error::Error;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The system trusts nobody: in a container, usually because the package ca-certificates is missing.
    #[error("the system has no certificates to trust: install ca-certificates or set SSL_CERT_FILE")]
    NoRoots(#[source] Option<Box<dyn Error + Send + Sync>>),
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up")]
    Config(#[source] Box<dyn Error + Send + Sync>),
}

pub(crate) fn client_config() -> Result<ClientConfig, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores hold certificates that cannot be read, in the wild; the others are good.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots(found.errors.into_iter().next().map(Into::into)));
    }
    trusting(roots)
}

/// For connections that use no TLS, where the interface asks for settings all the same: each handshake fails.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, TlsError> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Config(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
