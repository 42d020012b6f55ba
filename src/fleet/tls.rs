//! TLS of our own clients: what a certificate must be by.

use std::path::Path;

use anyhow::{Context as _, bail};
use mysql_async::SslOpts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{Flaw, FleetSection};
use crate::error::chain;

/// Only certificates by these CAs are good; `key` is what names the file.
pub(crate) fn trusting(opts: SslOpts, ca: &Path, key: &str) -> anyhow::Result<SslOpts> {
    let text = authorities(ca, key)?;
    Ok(opts.with_root_certs(vec![text.into()]).with_disable_built_in_roots(true))
}

/// All that is wrong with the files of `fleet.ca` and `fleet.proxy.ca`.
pub(crate) fn flaws(fleet: &FleetSection) -> Vec<Flaw> {
    let of_all = fleet.ca.as_deref().map(|ca| ("fleet.ca".to_owned(), "fleet.ca", ca));
    let of_one = fleet.proxy.iter().enumerate().filter_map(|(at, proxy)| {
        Some((format!("fleet.proxy.{at}.ca"), "fleet.proxy.ca", proxy.ca.as_deref()?))
    });
    let flaw = |(path, key, ca): (String, &str, &Path)| {
        authorities(ca, key).err().map(|error| Flaw::new(path, chain(error.as_ref())))
    };
    of_all.into_iter().chain(of_one).filter_map(flaw).collect()
}

/// The file, which has a certificate in it.
fn authorities(ca: &Path, key: &str) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read(ca).with_context(|| format!("{key} {}", ca.display()))?;
    let expected = "expected PEM with BEGIN CERTIFICATE";
    if !matches!(CertificateDer::pem_slice_iter(&text).next(), Some(Ok(_))) {
        bail!("{key} {}: no certificate in it, {expected}", ca.display());
    }
    Ok(text)
}
