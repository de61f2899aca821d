//! What handlers that send over the network have in common: a URL, which may be secret, and the limits of its use.

use std::time::Duration;

use super::reader::{Key, Reader, above_zero};
use crate::config::diagnostics::Origin;
use crate::config::secret::Secret;
use crate::config::units;

/// The keys of an endpoint; each handler has defaults of its own.
pub(super) struct EndpointKeys {
    pub(super) url: &'static Key,
    pub(super) timeout: &'static Key,
    pub(super) connections: &'static Key,
}

/// Where a handler sends to.
pub(super) struct Endpoint {
    pub(super) url: Secret,
    /// Where the URL stands.
    pub(super) place: Origin,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
}

impl Endpoint {
    /// Reads it. `refusal` says what is wrong with a URL. None is a mistake, which is noted.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        keys: &EndpointKeys,
        refusal: impl Fn(&Secret) -> Option<String>,
    ) -> Option<Endpoint> {
        let url = reader.needed_secret_or_text(keys.url);
        let timeout = reader.value(keys.timeout, above_zero(units::duration));
        let connections = reader.value(keys.connections, above_zero(units::count));

        let (place, url) = url?;
        if let Some(what) = refusal(&url) {
            reader.diagnostics.wrong(&place, format!("`{}` {what}", keys.url.name));
            return None;
        }
        reader.shown_url = url.shown_url();
        Some(Endpoint { url, place, timeout: timeout??, connections: connections?? })
    }

    /// Notes what the handler itself has to say of its settings, unless the URL is missing, which was warned of.
    pub(super) fn check(&self, reader: &mut Reader<'_>, error: Option<impl Into<anyhow::Error>>) {
        if !self.url.is_missing() {
            reader.check(&self.place, error);
        }
    }
}

/// The refusal of a URL without a scheme, which names the one that was meant. `secure` is the scheme to write.
pub(super) fn missing_scheme(url: &Secret, secure: &str) -> Option<String> {
    url.with_scheme(secure).map(|meant| format!("has no scheme: did you mean {meant}?"))
}
