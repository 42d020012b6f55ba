//! Which compressions are offered to clients, and which one servers are asked for.

use std::fmt;
use std::str::FromStr;

use super::nearest::hint;
use super::serde_by_text;

/// Every word that is understood.
const NAMES: [&str; 3] = ["off", "zlib", "zstd"];

/// What clients are offered: `off`, or some of `zlib` and `zstd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// zlib, which every client knows.
    pub zlib: bool,
    /// zstd, of MySQL 8.0.18 and later.
    pub zstd: bool,
}

impl Offered {
    /// Both.
    pub const ALL: Self = Self { zlib: true, zstd: true };
}

impl FromStr for Offered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut offered = Self { zlib: false, zstd: false };
        if text.trim() == "off" {
            return Ok(offered);
        }
        for name in text.split(',') {
            match name.trim() {
                "zlib" => offered.zlib = true,
                "zstd" => offered.zstd = true,
                other => {
                    let expected = "expected \"off\", \"zlib\", \"zstd\" or \"zlib,zstd\"";
                    return Err(format!("'{text}': {expected}{}", hint(other, &NAMES)));
                }
            }
        }
        Ok(offered)
    }
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.zlib, self.zstd) {
            (false, false) => "off",
            (true, false) => "zlib",
            (false, true) => "zstd",
            (true, true) => "zlib,zstd",
        })
    }
}

serde_by_text!(Offered, "\"off\", \"zlib\", \"zstd\" or \"zlib,zstd\"");

/// What servers are asked for; one that cannot is spoken to without compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Asked {
    Off,
    Zlib,
    Zstd,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "zlib" => Ok(Self::Zlib),
            "zstd" => Ok(Self::Zstd),
            _ => {
                let expected = "expected \"off\", \"zlib\" or \"zstd\"";
                Err(format!("'{text}': {expected}{}", hint(text, &NAMES)))
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}

serde_by_text!(Asked, "\"off\", \"zlib\" or \"zstd\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_and_shown() {
        for (text, shown) in [
            ("off", Some("off")),
            ("zlib", Some("zlib")),
            ("zstd", Some("zstd")),
            ("zstd, zlib", Some("zlib,zstd")),
            ("", None),
            ("lz4", None),
            ("off,zlib", None),
        ] {
            let read = text.parse::<Offered>().ok().map(|offered| offered.to_string());
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }
}
