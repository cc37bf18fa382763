//! How clients come here: in the clear on this machine, over TLS, or through a proxy.

use std::{net::IpAddr, sync::Arc};

use axum::http::HeaderMap;
use ipnet::IpNet;

use super::{server::Peer, tls::Tls};

/// Where a proxy says for whom it asks; the last entry is its own, whatever clients wrote before it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// How clients come here.
#[derive(Clone, Debug)]
pub enum Way {
    /// In the clear.
    Plain,
    /// The server speaks TLS itself.
    Tls(Arc<Tls>),
    /// Through a proxy that speaks TLS.
    Proxied {
        /// Where that proxy is: others cannot connect, and what it says of its clients is believed. Anywhere, if
        /// nothing is named; then its clients are not told apart.
        networks: Arc<[IpNet]>,
    },
}

impl Way {
    /// Whether browsers use TLS.
    pub(super) fn is_secure(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// Whether connections are a proxy's.
    pub(super) fn is_proxied(&self) -> bool {
        matches!(self, Self::Proxied { .. })
    }

    /// Whether requests from one address are from different people.
    pub(super) fn hides_addresses(&self) -> bool {
        matches!(self, Self::Proxied { networks } if networks.is_empty())
    }

    /// Whether this address may connect.
    pub(super) fn is_open_to(&self, from: IpAddr) -> bool {
        match self {
            Self::Plain | Self::Tls(_) => true,
            Self::Proxied { networks } => {
                networks.is_empty() || networks.iter().any(|network| network.contains(&from))
            }
        }
    }

    /// For whom a request was sent.
    pub(super) fn peer(&self, from: IpAddr, headers: &HeaderMap) -> Peer {
        let said = || {
            let line = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
            line.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
        };
        let known = self.is_proxied() && !self.hides_addresses();
        Peer(known.then(said).flatten().unwrap_or(from).to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_proxy_is_believed() {
        let (own, client): (IpAddr, IpAddr) = ("10.0.1.7".parse().unwrap(), "203.0.113.9".parse().unwrap());
        let said = |way: &Way, value: &str| {
            let headers = HeaderMap::from_iter([(FORWARDED_FOR.parse().unwrap(), value.parse().unwrap())]);
            way.peer(own, &headers).0
        };
        let known = Way::Proxied { networks: Arc::new(["10.0.0.0/16".parse().unwrap()]) };
        assert_eq!(said(&known, "203.0.113.9"), client);
        assert_eq!(said(&known, "1.2.3.4, 203.0.113.9"), client, "the first is the client's own word");
        assert_eq!(said(&known, "::ffff:203.0.113.9"), client);
        for nonsense in ["", "unknown", "203.0.113.9:80", "203.0.113.9,"] {
            assert_eq!(said(&known, nonsense), own, "{nonsense}");
        }
        let anywhere = Way::Proxied { networks: Arc::new([]) };
        assert_eq!((said(&anywhere, "203.0.113.9"), said(&Way::Plain, "203.0.113.9")), (own, own));
        assert!(known.is_open_to(own) && !known.is_open_to(client));
        assert!(anywhere.is_open_to(client) && anywhere.hides_addresses() && !known.hides_addresses());
    }
}
