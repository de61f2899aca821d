//! The address at which the operator watches a run, as it is written in a configuration.

use std::fmt;
use std::net::SocketAddr;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Nowhere,
    /// Here, if it is free: nobody has asked for it.
    IfFree(SocketAddr),
    /// Here, since somebody has said so.
    Here(SocketAddr),
}

impl Listen {
    /// An address and a port, or `none`; `named` when somebody has written it.
    pub(crate) fn parse(text: &str, named: bool) -> Result<Listen, String> {
        let text = text.trim();
        if text == "none" {
            return Ok(Listen::Nowhere);
        }
        match text.parse() {
            Ok(address) if named => Ok(Listen::Here(address)),
            Ok(address) => Ok(Listen::IfFree(address)),
            Err(_) => Err(format!(
                "{text:?} is not an address with a port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::1]:9464, nor `none`"
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Nowhere => f.write_str("none"),
            Listen::IfFree(address) | Listen::Here(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_its_port() {
        let default = "127.0.0.1:9464".parse().expect("an address");
        assert_eq!(Listen::parse("127.0.0.1:9464", false), Ok(Listen::IfFree(default)));
        assert_eq!(Listen::parse(" 127.0.0.1:9464 ", true), Ok(Listen::Here(default)));
        assert_eq!(Listen::parse("none", true), Ok(Listen::Nowhere));
        for wrong in ["", "9464", "localhost:9464", "127.0.0.1", "0.0.0.0:99999"] {
            assert!(Listen::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
