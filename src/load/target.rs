//! Where the load goes: a `mysql://` URL, whose password is never shown.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use mysql_async::{Opts, OptsBuilder};

use crate::fleet::port::direct;
use crate::fleet::tls;

/// The proxy or server that is tested.
#[derive(Clone)]
pub(crate) struct Target {
    opts: Opts,
    database: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let expected = "expected mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE";
        // The driver's own text may repeat a part of the URL, and so of the password.
        let opts = Opts::from_url(url).map_err(|_| expected.to_owned())?;
        let database = opts.db_name().filter(|name| !name.is_empty());
        let database = database.ok_or_else(|| format!("no database: {expected}"))?.to_owned();
        Ok(Self { opts: direct(OptsBuilder::from_opts(opts)), database })
    }
}

impl Target {
    /// How the driver connects.
    pub(super) fn opts(&self) -> Opts {
        self.opts.clone()
    }

    /// The database that holds the tables of the load.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// The same with a password, if the URL has none.
    pub(crate) fn or_password(self, password: Option<String>) -> Self {
        if self.opts.pass().is_some() || password.is_none() {
            return self;
        }
        let opts = OptsBuilder::from_opts(self.opts).pass(password).into();
        Self { opts, ..self }
    }
}

impl Target {
    /// The same with certificates by these CAs only, if it speaks TLS.
    pub(crate) fn trusting(self, ca: Option<&Path>) -> anyhow::Result<Self> {
        let (Some(tls), Some(ca)) = (self.opts.ssl_opts(), ca) else { return Ok(self) };
        let tls = tls::trusting(tls.clone(), ca, "--ca")?;
        let opts = OptsBuilder::from_opts(self.opts).ssl_opts(tls).into();
        Ok(Self { opts, ..self })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.opts.socket() {
            Some(path) => write!(f, "unix:{path}/{}", self.database),
            None => {
                let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
                write!(f, "{host}:{port}/{}", self.database)
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let target: Target = "mysql://app:s3cret@127.0.0.1:2883/shop".parse().unwrap();
        assert_eq!(target.to_string(), "127.0.0.1:2883/shop");
        assert!(!format!("{target:?}").contains("s3cret"));
    }

    #[test]
    fn a_url_needs_a_database() {
        for url in ["mysql://a@127.0.0.1:3306", "mysql://a@127.0.0.1/", "pg://a@b/c", "x"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_from_outside_fills_the_gap_only() {
        let target: Target = "mysql://app@h/shop".parse().unwrap();
        let filled = target.or_password(Some("x".into()));
        assert_eq!(filled.opts.pass(), Some("x"));
        let target: Target = "mysql://app:y@h/shop".parse().unwrap();
        assert_eq!(target.or_password(Some("x".into())).opts.pass(), Some("y"));
    }
}
