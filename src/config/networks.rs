//! Lists of networks: `["10.0.0.0/8", "::1", "localhost"]`, written as MariaDB writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::serde_by_text;

/// Who is in any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<Network>);

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// `*`: everybody.
    All,
    /// `localhost`: who comes by a Unix socket.
    Local,
    /// Those whose first bits are this address's.
    Range(IpAddr, u8),
}

impl Networks {
    /// Whether a peer is in one of them; None is one that came by a Unix socket.
    pub fn contain(&self, peer: Option<IpAddr>) -> bool {
        // A v4 client of a v6 socket is still a v4 client.
        let peer = peer.map(|peer| peer.to_canonical());
        self.0.iter().any(|network| network.contains(peer))
    }
}

impl Network {
    fn contains(self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::All, _) | (Self::Local, None) => true,
            (Self::Range(IpAddr::V4(network), bits), Some(IpAddr::V4(peer))) => {
                let differing = u32::from(network) ^ u32::from(peer);
                differing.leading_zeros() >= u32::from(bits)
            }
            (Self::Range(IpAddr::V6(network), bits), Some(IpAddr::V6(peer))) => {
                let differing = u128::from(network) ^ u128::from(peer);
                differing.leading_zeros() >= u32::from(bits)
            }
            (Self::Local | Self::Range(..), _) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("'{text}': expected IP, IP/BITS, localhost or *");
        match text {
            "*" => return Ok(Self::All),
            "localhost" => return Ok(Self::Local),
            _ => {}
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: Option<u8> = match bits {
            None => Some(most),
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
        };
        bits.map(|bits| Self::Range(address, bits)).ok_or_else(expected)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Local => f.write_str("localhost"),
            Self::Range(IpAddr::V4(address), 32) => address.fmt(f),
            Self::Range(IpAddr::V6(address), 128) => address.fmt(f),
            Self::Range(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl FromStr for Networks {
    type Err = String;

    /// Between commas, as MariaDB's variable has them.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

serde_by_text!(Network, "IP, IP/BITS, localhost or *");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_a_network() {
        let table = [
            ("", "127.0.0.1", false),
            ("*", "127.0.0.1", true),
            ("*", "", true),
            ("localhost", "", true),
            ("localhost", "127.0.0.1", false),
            ("127.0.0.1", "", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::1", false),
            ("::1", "::1", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.9.9.9/8", "10.1.1.1", true),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("192.168.0.0/16,fe80::/10", "192.168.3.4", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
        ];
        for (networks, peer, expected) in table {
            let parsed: Networks = networks.parse().expect(networks);
            let found = parsed.contain(peer.parse().ok());
            assert_eq!(found, expected, "'{peer}' in '{networks}'");
            assert_eq!(parsed.to_string(), networks, "it is written as it was read");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in
            ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "host", "10.0.0.0/-1", "1/1/1"]
        {
            let error = text.parse::<Networks>().expect_err(text);
            assert!(error.contains(text) && error.contains("expected IP"), "{error}");
        }
    }
}
