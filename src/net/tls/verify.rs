//! How much of a server's certificate is believed: nothing, that it comes from a CA, or that it is
//! also for the host that was dialed.
//!
//! Whatever the mode, the server must prove that it has the certificate's key.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::validity::validity;

/// What a certificate is held against.
#[derive(Clone, Debug)]
pub enum Chain {
    /// Nothing.
    Unchecked,
    /// A CA; or it is one of the trusted certificates itself.
    Checked {
        /// Follows the chain.
        verifier: Arc<WebPkiServerVerifier>,
        /// The certificates of `tls.server.ca`.
        trusted: Vec<CertificateDer<'static>>,
        /// Whether it must be for the host that was dialed.
        names: bool,
    },
}

/// Judges the certificates of servers.
#[derive(Debug)]
pub struct ChainVerifier {
    chain: Chain,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ChainVerifier {
    /// With the signature algorithms of the provider.
    pub fn new(chain: Chain, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { chain, algorithms }
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Chain::Checked { verifier, trusted, names } = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        if trusted.iter().any(|one| one == end_entity) {
            return check_trusted(end_entity, names.then_some(name), now);
        }
        let result = verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match result {
            // The name is looked at last: who fails by it has passed everything else.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !names => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Servers that sign for themselves are common, and often with what is a CA's certificate, too,
/// which no chain may end in; who lists that very certificate means it.
fn check_trusted(
    certificate: &CertificateDer<'_>,
    name: Option<&ServerName<'_>>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let validity = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if validity.not_after.to_unix_duration() < now {
        return Err(CertificateError::Expired.into());
    }
    if let Some(name) = name {
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    }
    Ok(ServerCertVerified::assertion())
}
