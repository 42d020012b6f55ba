//! TLS of our own clients: what a certificate must be by.

use std::path::Path;

use anyhow::{Context as _, bail};
use mysql_async::SslOpts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Only certificates by these CAs are good; `key` is what names the file.
pub(crate) fn trusting(opts: SslOpts, ca: &Path, key: &str) -> anyhow::Result<SslOpts> {
    let text = std::fs::read(ca).with_context(|| format!("{key} {}", ca.display()))?;
    let expected = "expected PEM with BEGIN CERTIFICATE";
    if !matches!(CertificateDer::pem_slice_iter(&text).next(), Some(Ok(_))) {
        bail!("{key} {}: no certificate in it, {expected}", ca.display());
    }
    Ok(opts.with_root_certs(vec![text.into()]).with_disable_built_in_roots(true))
}
