//! TLS of our own clients, as arguments say it.

use std::path::{Path, PathBuf};

use mysql_async::{ClientIdentity, SslOpts};

use crate::fleet::tls::trusting;

/// How to speak TLS with admin ports.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct TlsArgs {
    /// Speak TLS; the certificate of the admin port is not looked at [default: as -c says].
    #[arg(long)]
    tls: bool,
    /// Speak TLS; the certificate must be by one of these CAs (PEM), and for the host.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show this certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// Whether TLS is spoken when nothing was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsaid {
    Plain,
    Tls,
}

impl TlsArgs {
    /// TLS with a certificate by these CAs.
    pub(super) fn by(ca: Option<&Path>) -> Self {
        Self { ca: ca.map(Path::to_owned), ..Self::default() }
    }

    /// What the driver has to know; None: it is not to speak TLS.
    pub(super) fn opts(&self, unsaid: Unsaid) -> anyhow::Result<Option<SslOpts>> {
        let Self { tls, ca, cert, key } = self;
        let is_said = *tls || ca.is_some() || cert.is_some();
        if !is_said && unsaid == Unsaid::Plain {
            return Ok(None);
        }
        let opts = match ca {
            Some(ca) => trusting(SslOpts::default(), ca, "--ca")?,
            None => SslOpts::default().with_danger_accept_invalid_certs(true),
        };
        let identity = cert.clone().zip(key.clone());
        let identity = identity.map(|(cert, key)| ClientIdentity::new(cert.into(), key.into()));
        Ok(Some(opts.with_client_identity(identity)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_when_an_argument_or_the_config_says_so() {
        let none = TlsArgs::default();
        assert_eq!(none.opts(Unsaid::Plain).expect("nothing to read"), None);
        let by_config = none.opts(Unsaid::Tls).expect("nothing to read");
        assert!(by_config.is_some_and(|opts| opts.accept_invalid_certs()));
        let key = Some(PathBuf::from("/key"));
        let shows = TlsArgs { cert: Some("/cert".into()), key, ..TlsArgs::default() };
        assert!(shows.opts(Unsaid::Plain).expect("read later").is_some());
    }

    #[test]
    fn a_ca_that_is_none_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = |ca: &Path| {
            let args = TlsArgs::by(Some(ca));
            format!("{:#}", args.opts(Unsaid::Plain).expect_err("a bad file"))
        };
        assert!(error(file.path()).contains("no certificate in it"));
        assert!(error(Path::new("/nowhere")).starts_with("--ca /nowhere: No such file"));
    }
}
