//! The listener's TLS: a certificate that is read again when its file changes.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use super::settings::TlsFiles;
use crate::telemetry::RelayTelemetry;

/// How often is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not go together, or are of a kind that is not supported.
    #[error("the certificate {} and its key cannot be used: {why}", .path.display())]
    Unusable {
        /// The file of the certificate.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The certificate that new connections are met with.
#[derive(Debug)]
pub(super) struct Certificate {
    files: TlsFiles,
    /// What the files were when they were read first.
    first: [Option<(SystemTime, u64)>; 2],
    now: Mutex<Arc<ServerConfig>>,
}

impl Certificate {
    pub(super) fn read(files: &TlsFiles) -> Result<Certificate, TlsFileError> {
        // Before they are read, so that a change in between is seen.
        let first = changed(files);
        let now = Mutex::new(read(files)?);
        Ok(Certificate { files: files.clone(), first, now })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Reads the files again whenever they have changed. What cannot be used is not: the certificate from before stays.
    pub(super) async fn keep(self: Arc<Self>, telemetry: Arc<RelayTelemetry>) {
        let mut seen = self.first;
        loop {
            sleep(LOOK_EVERY).await;
            let now = changed(&self.files);
            if now == seen {
                continue;
            }
            match read(&self.files) {
                Ok(config) => {
                    seen = now;
                    *self.now.lock().unwrap_or_else(PoisonError::into_inner) = config;
                    info!(certificate = %self.files.certificate.display(), "the certificate was read again");
                }
                // The two are replaced one after the other, so this may pass: it is tried again.
                Err(error) => {
                    telemetry.certificate_failures.add(1);
                    if let Some(times) = telemetry.worth_logging(("relay", "certificate")) {
                        let error = with_cause(&error);
                        error!(
                            error,
                            times, "the changed certificate cannot be used; the one from before stays in use"
                        );
                    }
                }
            }
        }
    }
}

/// An error with its cause.
fn with_cause(error: &TlsFileError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// When the files were changed, through links as those of Kubernetes. None is one that cannot be looked at.
fn changed(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let facts = fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}

/// Tries whether the files can be used.
///
/// # Errors
///
/// What somebody has to put right.
pub fn check_tls(files: &TlsFiles) -> Result<(), TlsFileError> {
    read(files).map(drop)
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsFileError> {
    let open =
        |path: &PathBuf| fs::read(path).map_err(|source| TlsFileError::Unreadable { path: path.clone(), source });
    let not_pem = |path: &PathBuf, what| TlsFileError::NotPem { path: path.clone(), what };
    let unusable =
        |why: rustls::Error| TlsFileError::Unusable { path: files.certificate.clone(), why: why.to_string() };
    let (certificate, key) = (open(&files.certificate)?, open(&files.key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain =
        chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| not_pem(&files.certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| not_pem(&files.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::path::Path;

    use tokio::task::JoinSet;

    use super::*;

    fn files(directory: &Path) -> TlsFiles {
        TlsFiles::new(directory.join("cert.pem"), directory.join("key.pem"))
    }

    /// A new certificate and its key, in PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(files: &TlsFiles, certificate: &str, key: &str) {
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
    }

    fn now(certificate: &Certificate) -> Arc<ServerConfig> {
        certificate.now.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_certificate_is_used_and_a_wrong_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let (first, second) = (pair(), pair());
        write(&files, &first.0, &first.1);
        let certificate = Arc::new(Certificate::read(&files).unwrap());
        let telemetry = Arc::new(RelayTelemetry::new());
        // Before anybody looks.
        let (third, before) = (pair(), now(&certificate));
        write(&files, &third.0, &third.1);
        let mut keeping = JoinSet::new();
        keeping.spawn(certificate.clone().keep(telemetry.clone()));
        let looked = || sleep(LOOK_EVERY + Duration::from_millis(1));
        looked().await;
        assert!(!Arc::ptr_eq(&now(&certificate), &before), "it was replaced between the first look and the second");
        let before = now(&certificate);
        looked().await;
        assert!(Arc::ptr_eq(&now(&certificate), &before), "nothing has changed");

        // The certificate is there before its key: the length says so where the clock of the disk is coarse.
        fs::write(&files.certificate, format!("{}\n\n", second.0)).unwrap();
        looked().await;
        assert!(Arc::ptr_eq(&now(&certificate), &before), "they do not go together");
        assert_eq!(telemetry.certificate_failures.get(), 1);
        looked().await;
        assert_eq!(telemetry.certificate_failures.get(), 2, "it is tried again");
        fs::write(&files.key, &second.1).unwrap();
        looked().await;
        assert!(!Arc::ptr_eq(&now(&certificate), &before));
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let refusal = || check_tls(&files).unwrap_err().to_string();
        assert!(refusal().contains("cert.pem cannot be read"), "{}", refusal());
        let (first, second) = (pair(), pair());
        write(&files, "", "");
        assert!(refusal().contains("cert.pem holds no certificate in PEM"), "{}", refusal());
        write(&files, &first.0, "");
        assert!(refusal().contains("key.pem holds no private key in PEM"), "{}", refusal());
        write(&files, &first.0, &second.1);
        assert!(refusal().contains("cannot be used"), "{}", refusal());
        write(&files, &first.0, &first.1);
        check_tls(&files).unwrap();
    }
}
