//! How outgoing connections speak TLS: rustls with ring, trusting what the system trusts.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates to trust, such as a company's. Certificates are always
//! verified; there is no switch.

use std::error::Error;
#[cfg(any(feature = "http", feature = "sqs", feature = "stream-api"))]
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[cfg(feature = "sqs")]
use base64::Engine as _;
#[cfg(feature = "sqs")]
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Files in PEM that one target asks for. None of them unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Certificates of authorities to trust beside the system's, such as a company's own.
    pub ca: Option<PathBuf>,
    /// The certificate, with those between it and its authority behind it, by which this client shows who it is.
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, not encrypted.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// None.
    pub fn new() -> Self {
        TlsFiles::default()
    }

    /// Sets [`TlsFiles::ca`].
    pub fn with_ca(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Sets [`TlsFiles::certificate`] and [`TlsFiles::key`].
    pub fn with_client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some(certificate.into());
        self.key = Some(key.into());
        self
    }

    /// All of them.
    #[cfg(feature = "http")]
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten().cloned().collect()
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The system trusts nobody: in a container, usually because the package ca-certificates is missing.
    #[error("the system has no certificates to trust: install ca-certificates or set SSL_CERT_FILE")]
    NoRoots(#[source] Option<Box<dyn Error + Send + Sync>>),
    /// A file in PEM cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why. Nothing of what it holds.
        why: String,
    },
    /// A certificate of ours without its key, or the other way round.
    #[error("`certificate` and `key` belong together: one of them is missing")]
    Half,
    /// The certificate and the key cannot be used with each other, or at all.
    #[error("the certificate {} and the key {} cannot be used: {source}", .certificate.display(), .key.display())]
    Client {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of its key.
        key: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up")]
    Config(#[source] Box<dyn Error + Send + Sync>),
}

/// Whom the system trusts.
struct System {
    roots: RootCertStore,
    #[cfg_attr(not(feature = "sqs"), allow(dead_code, reason = "the AWS SDK wants them so"))]
    certificates: Vec<CertificateDer<'static>>,
    /// Why there is nobody.
    error: Option<String>,
}

/// Read once for all, which takes milliseconds. Waits for the disk.
fn system() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Stores hold certificates that cannot be read, in the wild; the others are good.
        let certificates = found.certs.into_iter().filter(|certificate| roots.add(certificate.clone()).is_ok());
        let certificates: Vec<_> = certificates.collect();
        System { certificates, roots, error: found.errors.into_iter().next().map(|error| error.to_string()) }
    })
}

/// The certificates of those whom the system trusts, as PEM. Waits for the disk.
#[cfg(feature = "sqs")]
pub(crate) fn system_as_pem() -> String {
    let mut pem = String::new();
    for certificate in &system().certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend(line.iter().copied().map(char::from).chain(['\n']));
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// Reads whom the system trusts, and these files. Waits for the disk.
pub(crate) fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let System { roots, error, .. } = system();
    let mut roots = roots.clone();
    if let Some(path) = &files.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unreadable(path, error))?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots(error.clone().map(Into::into)));
    }
    trusting(roots, files)
}

/// For connections that use no TLS, where the interface asks for settings all the same: each handshake fails.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, TlsError> {
    trusting(RootCertStore::empty(), &TlsFiles::default())
}

fn trusting(roots: RootCertStore, files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Config(error.into()))?
        .with_root_certificates(roots);
    match (&files.certificate, &files.key) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let refused = |error: rustls::Error| TlsError::Client {
                certificate: certificate.clone(),
                key: key.clone(),
                source: error.into(),
            };
            config.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(refused)
        }
        _ => Err(TlsError::Half),
    }
}

/// Whether an error, or what caused it, is one of TLS. An error of I/O does not give its content as its cause.
#[cfg(any(feature = "http", feature = "sqs", feature = "stream-api"))]
pub(crate) fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let content = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || content.is_some_and(|content| is_of_tls(content))
        || error.source().is_some_and(is_of_tls)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unreadable(path, error))?;
    if found.is_empty() { Err(unreadable(path, "it holds no certificate in PEM")) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => unreadable(path, "it holds no private key in PEM that is not encrypted"),
        error => unreadable(path, error),
    })
}

fn unreadable(path: &Path, why: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#[allow(clippy::disallowed_methods, reason = "a test writes files")]
mod tests {
    use std::fs;

    use super::*;

    fn refusal(files: &TlsFiles) -> String {
        client_config(files).expect_err("an error").to_string()
    }

    #[test]
    fn files_that_make_no_tls_are_refused_by_their_names() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let pair = || (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::new(["h".into()]).unwrap());
        let ((key, certificate), (other_key, _)) = (pair(), pair());
        fs::write(path("certificate"), certificate.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        fs::write(path("other-key"), other_key.serialize_pem()).unwrap();
        fs::write(path("words"), "hush").unwrap();
        let files = |certificate, key| TlsFiles::new().with_client(path(certificate), path(key));
        assert!(client_config(&files("certificate", "key").with_ca(path("certificate"))).is_ok());
        for (files, told) in [
            (TlsFiles::new().with_ca(path("nothing")), "nothing cannot be read"),
            (TlsFiles::new().with_ca(path("words")), "words cannot be read: it holds no certificate"),
            (files("key", "key"), "key cannot be read: it holds no certificate"),
            (files("certificate", "certificate"), "certificate cannot be read: it holds no private key"),
            (files("certificate", "other-key"), "other-key cannot be used"),
            (TlsFiles { key: None, ..files("certificate", "key") }, "belong together"),
        ] {
            let refusal = refusal(&files);
            assert!(refusal.contains(told) && !refusal.contains("hush"), "{refusal}");
        }
    }
}
