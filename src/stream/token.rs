//! The token of a server: a JWT (RFC 7519) that is signed with HMAC-SHA256 over the app's API secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signed with `secret`. It names no user, which makes it a server's, and never expires: Stream's own SDKs make the same one.
pub(super) fn server_token(secret: &str) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(r#"{"server":true}"#));
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_other_implementations_sign() {
        // Made with Python's hmac, hashlib and base64.
        let token =
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzZXJ2ZXIiOnRydWV9.QPMG7k2ZHMnKSo7Xg0Vn5joPlCafNJGMqfeduP8iDNU";
        assert_eq!(server_token("s3cret"), token);
    }
}
