//! Networks: which clients are let in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Addresses that begin with the same bits, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no network: one such as 192.0.2.0/24 or 2001:db8::/32, or an address, was expected")]
pub struct NoNetwork(String);

impl Network {
    /// Whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                self.same(u32::from(network).into(), u32::from(address).into(), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => self.same(network.into(), address.into(), 128),
            _ => false,
        }
    }

    /// Whether the first of `size` bits are the same.
    fn same(&self, one: u128, other: u128, size: u32) -> bool {
        (one ^ other).checked_shr(size.saturating_sub(u32::from(self.bits))).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let wrong = || NoNetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Network { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The address by which a client is known: that of its host, with the port if acknowledgements go back there, and
/// without what only tells of the way to it.
pub(crate) fn known_as(from: SocketAddr, with_port: bool) -> SocketAddr {
    let port = if with_port { from.port() } else { 0 };
    match from {
        SocketAddr::V6(mut address) => {
            address.set_flowinfo(0);
            address.set_port(port);
            address.into()
        }
        SocketAddr::V4(address) => SocketAddr::from((*address.ip(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let has = |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(has("192.0.2.0/24", "192.0.2.200"));
        assert!(!has("192.0.2.0/24", "192.0.3.1"));
        assert!(has("0.0.0.0/0", "203.0.113.9"));
        assert!(!has("0.0.0.0/0", "::1"));
        assert!(has("192.0.2.1", "192.0.2.1"));
        assert!(!has("192.0.2.1", "192.0.2.0"));
        assert!(has("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(has("2001:db8::/32", "2001:db8:1::5"));
        assert!(!has("2001:db8::/32", "2001:db9::5"));
        assert!(has("::/0", "2001:db9::5"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "lab", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "::/129", "192.0.2/24", "1.2.3.4/24/5"] {
            assert_eq!(wrong.parse::<Network>(), Err(NoNetwork(wrong.to_owned())));
        }
    }
}
