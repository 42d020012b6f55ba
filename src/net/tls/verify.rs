//! How much of a server's certificate is believed: nothing, that it comes from a CA, or that it is
//! also for the host that was dialed.
//!
//! Whatever the mode, the server must prove that it has the certificate's key.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

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
    },
    /// A CA, and the host's name or address.
    WithName(Arc<WebPkiServerVerifier>),
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
        match &self.chain {
            Chain::Unchecked => Ok(ServerCertVerified::assertion()),
            Chain::WithName(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
            // Servers that sign for themselves are common; who lists that very certificate means
            // it.
            Chain::Checked { trusted, .. } if trusted.iter().any(|one| one == end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Chain::Checked { verifier, .. } => {
                let result =
                    verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now);
                // The name is looked at last: who fails by it has passed everything else.
                match result {
                    Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(ServerCertVerified::assertion()),
                    result => result,
                }
            }
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
