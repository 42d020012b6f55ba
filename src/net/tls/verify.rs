//! How much of a server's certificate is believed: nothing, that it comes from a CA, or that it is
//! also for the host that was dialed. A client's must come from a CA.
//!
//! Whatever the mode, the peer must prove that it has the certificate's key. Where nothing of the
//! certificate is believed, nothing but that key is read of it, and any certificate will do.
//!
//! rustls reads version 3 of X.509 only. Of version 1, which `openssl x509 -req` makes by default
//! and MariaDB's recipes with it, we read what there is to read: who has signed it, and until when
//! it is good. It has no names.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};

use super::certificate::{Fields, is_authority, validity};

/// What a certificate is held against.
#[derive(Clone, Debug)]
pub(super) enum Chain {
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
pub(super) struct ChainVerifier {
    chain: Chain,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ChainVerifier {
    /// With the signature algorithms of the provider.
    pub(super) fn new(chain: Chain, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { chain, algorithms }
    }

    /// The certificate's fields, if rustls is not to read it: it is of version 1, or it does not
    /// matter what it says.
    fn unread<'a>(&self, certificate: &'a CertificateDer<'_>) -> Option<Fields<'a>> {
        let fields = Fields::of(certificate)?;
        (fields.is_version_1() || matches!(self.chain, Chain::Unchecked)).then_some(fields)
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
        if let Some(fields) = self.unread(end_entity) {
            check_validity(end_entity, now)?;
            check_issuer(&fields, trusted, &self.algorithms)?;
            return match names {
                true => Err(no_names()),
                false => Ok(ServerCertVerified::assertion()),
            };
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
        let unread = self.unread(certificate);
        verify_tls12(message, (certificate, unread), signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unread = self.unread(certificate);
        verify_tls13(message, (certificate, unread), signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// Follows the chain of those that rustls reads, and knows who needs one.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// The CAs.
    pub trusted: Vec<CertificateDer<'static>>,
    /// Of the provider.
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(fields) = version_1(end_entity) else {
            return self.verifier.verify_client_cert(end_entity, intermediates, now);
        };
        check_validity(end_entity, now)?;
        check_issuer(&fields, &self.trusted, &self.algorithms)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unread = version_1(certificate);
        verify_tls12(message, (certificate, unread), signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unread = version_1(certificate);
        verify_tls13(message, (certificate, unread), signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn version_1<'a>(certificate: &'a CertificateDer<'_>) -> Option<Fields<'a>> {
    Fields::of(certificate).filter(Fields::is_version_1)
}

/// Servers that sign for themselves are common, and often with what is a CA's certificate, too,
/// which no chain may end in; who lists that very certificate means it.
fn check_trusted(
    certificate: &CertificateDer<'_>,
    name: Option<&ServerName<'_>>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    check_validity(certificate, now)?;
    match name {
        None => {}
        Some(_) if version_1(certificate).is_some() => return Err(no_names()),
        Some(name) => verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?,
    }
    Ok(ServerCertVerified::assertion())
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.from {
        return Err(CertificateError::NotValidYet.into());
    }
    if validity.to < now {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Whether one of the trusted certificates is a CA's, and has signed this one of version 1.
fn check_issuer(
    fields: &Fields<'_>,
    trusted: &[CertificateDer<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let is_named = |issuer: &Fields<'_>| issuer.subject == fields.issuer;
    let authorities = trusted.iter().filter(|certificate| is_authority(certificate));
    let mut error = CertificateError::UnknownIssuer;
    for issuer in authorities.filter_map(|it| Fields::of(it)).filter(is_named) {
        let mut fitting = algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == fields.signature_algorithm
        });
        if fitting.any(|it| issuer.verifies(*it, fields.signed, fields.signature)) {
            return Ok(());
        }
        error = CertificateError::BadSignature;
    }
    Err(error.into())
}

/// By the whole certificate, or by the key alone of one that rustls is not to read.
fn verify_tls12(
    message: &[u8],
    (certificate, unread): (&CertificateDer<'_>, Option<Fields<'_>>),
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match unread {
        Some(fields) => verify_by_key(message, &fields, signature, algorithms),
        None => verify_tls12_signature(message, certificate, signature, algorithms),
    }
}

/// The same of TLS 1.3.
fn verify_tls13(
    message: &[u8],
    (certificate, unread): (&CertificateDer<'_>, Option<Fields<'_>>),
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match unread {
        Some(fields) => {
            let key = SubjectPublicKeyInfoDer::from(fields.key);
            verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
        }
        None => verify_tls13_signature(message, certificate, signature, algorithms),
    }
}

/// What [`verify_tls12_signature`] does, with the key alone.
fn verify_by_key(
    message: &[u8],
    fields: &Fields<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let mapped = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
    let (_, candidates) = mapped.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    match candidates.iter().any(|it| fields.verifies(*it, message, signature.signature())) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

fn no_names() -> Error {
    let what = "of X.509 version 1, which has no names: verify-identity needs version 3";
    CertificateError::Other(OtherError(Arc::new(std::io::Error::other(what)))).into()
}
