//! From `[tls.*]` to what handshakes need; every error names the key, the file and what is wrong.
//!
//! Loaded once and replaced as a whole when it is loaded again: sessions that live keep what they
//! have. An attempt that fails changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use zeroize::Zeroizing;

use super::certificate::Fields;
use super::verify::{Chain, ChainVerifier, ClientVerifier};
use crate::config::tls::{
    AcceptMode, ConnectMode, MinVersion, TlsAccept, TlsConnect, TlsSection, VerifyClient,
};

/// Sessions of servers that are remembered for resumption; a few for each server address.
const REMEMBERED: usize = 256;

/// Tickets for a TLS 1.3 client; one is what a client needs that connects once more.
const TICKETS: usize = 1;

/// The longest file that is read, in bytes: all public CAs together have a quarter of it.
const LONGEST: u64 = 1 << 20;

/// What is wrong with a file that `[tls.*]` names.
#[derive(Debug, thiserror::Error)]
#[error("{key} {}: {what}", path.display())]
pub struct SettingsError {
    /// The config key, such as `tls.client.certificate`.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what was expected.
    pub what: String,
}

/// How to speak TLS to those who connect.
#[derive(Clone, Debug)]
pub struct Acceptor {
    mode: AcceptMode,
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Reads the files; `name` is `client`, `admin` or `console`. None when TLS is off.
    pub fn load(section: &TlsAccept, name: &str) -> Result<Option<Self>, SettingsError> {
        let keys = format!("tls.{name}.");
        let files = Files { keys: &keys };
        let (Some(certificate), Some(key)) = (&section.certificate, &section.key) else {
            return Ok(None);
        };
        if section.mode == AcceptMode::Off {
            return Ok(None);
        }
        let identity = files.identity(certificate, key)?;
        let wrong = |error: &dyn std::fmt::Display| files.error("certificate", certificate, error);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(section.min_version))
            .map_err(|error| wrong(&error))?;
        let builder = match client_verifier(section, files)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| wrong(&error))?;
        config.send_tls13_tickets = TICKETS;
        Ok(Some(Self { mode: section.mode, config: Arc::new(config) }))
    }

    /// All that is wrong with the files.
    fn errors(section: &TlsAccept, name: &str) -> Vec<SettingsError> {
        let Err(first) = Self::load(section, name) else { return Vec::new() };
        let keys = format!("tls.{name}.");
        let files = Files { keys: &keys };
        let mut errors = files.errors_of_identity(&section.certificate, &section.key);
        errors.extend(client_verifier(section, files).err());
        if errors.is_empty() { vec![first] } else { errors }
    }

    /// For a port whose files cannot be read: whoever asks for TLS is refused, and who must have it
    /// is not let in. None when it is off.
    fn shut(section: &TlsAccept) -> Option<Self> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(section.min_version))
            .expect("there are suites for all versions");
        let nobody = Arc::new(ResolvesServerCertUsingSni::new());
        let config = builder.with_no_client_auth().with_cert_resolver(nobody);
        let shut = Self { mode: section.mode, config: Arc::new(config) };
        (section.mode != AcceptMode::Off).then_some(shut)
    }

    /// Whether a client may go without.
    pub fn mode(&self) -> AcceptMode {
        self.mode
    }

    /// rustls' part of it.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }
}

/// How to speak TLS to servers.
#[derive(Clone, Debug)]
pub struct Connector {
    mode: ConnectMode,
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Reads the files of `[tls.server]`. None when TLS is off.
    pub fn load(section: &TlsConnect) -> Result<Option<Self>, SettingsError> {
        Self::of(section, Files { keys: "tls.server." })
    }

    /// Reads the files of `fleet.etcd_…`. None when TLS is off.
    pub fn of_etcd(section: &TlsConnect) -> Result<Option<Self>, SettingsError> {
        Self::of(section, Files { keys: "fleet.etcd_" })
    }

    /// All that is wrong with the files of `fleet.etcd_…`.
    pub fn errors_of_etcd(section: &TlsConnect) -> Vec<SettingsError> {
        Self::errors(section, Files { keys: "fleet.etcd_" })
    }

    fn errors(section: &TlsConnect, files: Files<'_>) -> Vec<SettingsError> {
        let Err(first) = Self::of(section, files) else { return Vec::new() };
        let mut errors = files.errors_of_identity(&section.certificate, &section.key);
        if matches!(section.mode, ConnectMode::VerifyCa | ConnectMode::VerifyIdentity) {
            errors.extend(section.ca.as_ref().and_then(|ca| files.verifier(ca).err()));
        }
        if errors.is_empty() { vec![first] } else { errors }
    }

    fn of(section: &TlsConnect, files: Files<'_>) -> Result<Option<Self>, SettingsError> {
        let chain = match (section.mode, &section.ca) {
            (ConnectMode::Off, _) => return Ok(None),
            (ConnectMode::Prefer | ConnectMode::Require, _) | (_, None) => Chain::Unchecked,
            (mode @ (ConnectMode::VerifyCa | ConnectMode::VerifyIdentity), Some(ca)) => {
                Chain::Checked {
                    verifier: files.verifier(ca)?,
                    trusted: files.certificates("ca", ca)?,
                    names: mode == ConnectMode::VerifyIdentity,
                }
            }
        };
        let provider = provider();
        let verifier = ChainVerifier::new(chain, provider.signature_verification_algorithms);
        let anywhere = PathBuf::new();
        let path = section.certificate.as_ref().or(section.ca.as_ref()).unwrap_or(&anywhere);
        let wrong = |error: rustls::Error| files.error("certificate", path, &error);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(section.min_version))
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (&section.certificate, &section.key) {
            (Some(certificate), Some(key)) => {
                builder.with_client_cert_resolver(Arc::new(files.identity(certificate, key)?))
            }
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(REMEMBERED);
        Ok(Some(Self { mode: section.mode, config: Arc::new(config) }))
    }

    /// For servers, when the files cannot be read: none of them is trusted. None when TLS is off.
    fn shut(section: &TlsConnect) -> Option<Self> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(section.min_version))
            .expect("there are suites for all versions");
        let builder = builder.with_root_certificates(RootCertStore::empty());
        let config = Arc::new(builder.with_no_client_auth());
        (section.mode != ConnectMode::Off).then_some(Self { mode: section.mode, config })
    }

    /// Whether a server may go without.
    pub fn mode(&self) -> ConnectMode {
        self.mode
    }

    /// rustls' part of it.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The name that a server's certificate must be for: its host as the config writes it, or
    /// `localhost` for one without, behind a Unix socket. None when it can't be a name.
    pub fn server_name(host: Option<&str>) -> Option<ServerName<'static>> {
        ServerName::try_from(host.unwrap_or("localhost").to_owned()).ok()
    }
}

/// What the files of each leg come to; None where TLS is off.
struct Legs {
    client: Result<Option<Acceptor>, SettingsError>,
    server: Result<Option<Connector>, SettingsError>,
    admin: Result<Option<Acceptor>, SettingsError>,
    console: Result<Option<Acceptor>, SettingsError>,
}

impl Legs {
    fn load(section: &TlsSection) -> Self {
        Self {
            client: Acceptor::load(&section.client, "client"),
            server: Connector::load(&section.server),
            admin: Acceptor::load(&section.admin, "admin"),
            console: Acceptor::load(&section.console, "console"),
        }
    }
}

/// What every leg uses at present.
#[derive(Debug, Default)]
pub struct Settings {
    client: ArcSwapOption<Acceptor>,
    server: ArcSwapOption<Connector>,
    admin: ArcSwapOption<Acceptor>,
    console: ArcSwapOption<Acceptor>,
}

impl Settings {
    /// Reads all files that the config names.
    pub fn load(section: &TlsSection) -> Result<Self, SettingsError> {
        let settings = Self::default();
        settings.reload(section)?;
        Ok(settings)
    }

    /// The same as far as they can be read, and what is wrong with the others: those legs shake
    /// hands with nobody. Who must not go without TLS does not.
    pub fn load_what_can_be(section: &TlsSection) -> (Self, Vec<SettingsError>) {
        let Legs { client, server, admin, console } = Legs::load(section);
        let (settings, mut errors) = (Self::default(), Vec::new());
        let acceptors = [
            (&settings.client, client, &section.client),
            (&settings.admin, admin, &section.admin),
            (&settings.console, console, &section.console),
        ];
        for (leg, loaded, section) in acceptors {
            let acceptor = loaded.unwrap_or_else(|error| {
                errors.push(error);
                Acceptor::shut(section)
            });
            leg.store(acceptor.map(Arc::new));
        }
        let connector = server.unwrap_or_else(|error| {
            errors.push(error);
            Connector::shut(&section.server)
        });
        settings.server.store(connector.map(Arc::new));
        (settings, errors)
    }

    /// All that is wrong with the files.
    pub fn errors(section: &TlsSection) -> Vec<SettingsError> {
        let TlsSection { client, server, admin, console } = section;
        let mut errors = Acceptor::errors(client, "client");
        errors.extend(Connector::errors(server, Files { keys: "tls.server." }));
        errors.extend(Acceptor::errors(admin, "admin"));
        errors.extend(Acceptor::errors(console, "console"));
        errors
    }

    /// Reads them again, and replaces everything or nothing. Tickets given out before are worth a
    /// full handshake from then on, as a client may not be trusted any more.
    pub fn reload(&self, section: &TlsSection) -> Result<(), SettingsError> {
        let Legs { client, server, admin, console } = Legs::load(section);
        let (client, server, admin, console) = (client?, server?, admin?, console?);
        self.client.store(client.map(Arc::new));
        self.server.store(server.map(Arc::new));
        self.admin.store(admin.map(Arc::new));
        self.console.store(console.map(Arc::new));
        Ok(())
    }

    /// For clients; None when TLS is off.
    pub fn client(&self) -> Option<Arc<Acceptor>> {
        self.client.load_full()
    }

    /// For servers; None when TLS is off.
    pub fn server(&self) -> Option<Arc<Connector>> {
        self.server.load_full()
    }

    /// For the admin port; None when TLS is off.
    pub fn admin(&self) -> Option<Arc<Acceptor>> {
        self.admin.load_full()
    }

    /// For the HTTP port; None when TLS is off.
    pub fn console(&self) -> Option<Arc<Acceptor>> {
        self.console.load_full()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match oldest {
        MinVersion::Tls12 => &BOTH,
        MinVersion::Tls13 => &BOTH[..1],
    }
}

fn client_verifier(
    section: &TlsAccept,
    files: Files<'_>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, SettingsError> {
    let (path, wanted) = match (&section.ca, section.verify_client) {
        (None, _) | (_, VerifyClient::Off) => return Ok(None),
        (Some(path), wanted) => (path, wanted),
    };
    let roots = Arc::new(files.roots(path)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = match wanted {
        VerifyClient::Require => builder,
        VerifyClient::Optional | VerifyClient::Off => builder.allow_unauthenticated(),
    };
    let verifier = builder.build().map_err(|error| files.error("ca", path, &error))?;
    let trusted = files.certificates("ca", path)?;
    let algorithms = provider().signature_verification_algorithms;
    Ok(Some(Arc::new(ClientVerifier { verifier, trusted, algorithms })))
}

/// Reads the files of one section.
#[derive(Clone, Copy)]
struct Files<'a> {
    /// What its keys begin with.
    keys: &'a str,
}

impl Files<'_> {
    fn error(self, key: &str, path: &Path, what: &dyn std::fmt::Display) -> SettingsError {
        let key = format!("{}{key}", self.keys);
        SettingsError { key, path: path.into(), what: what.to_string() }
    }

    fn read(self, key: &str, path: &Path) -> Result<Vec<u8>, SettingsError> {
        read(path).map_err(|error| self.error(key, path, &error))
    }

    fn certificates(
        self,
        key: &str,
        path: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
        let text = self.read(key, path)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let found = found.map_err(|error| self.error(key, path, &describe(&error)))?;
        if found.is_empty() {
            let expected = "no certificate in it, expected PEM with BEGIN CERTIFICATE";
            return Err(self.error(key, path, &expected));
        }
        Ok(found)
    }

    fn key(self, path: &Path) -> Result<Zeroizing<PrivateKeyDer<'static>>, SettingsError> {
        let text = Zeroizing::new(self.read("key", path)?);
        let key = PrivateKeyDer::from_pem_slice(&text);
        key.map(Zeroizing::new).map_err(|error| match error {
            pem::Error::NoItemsFound => self.error("key", path, &what_instead_of_a_key(&text)),
            error => self.error("key", path, &describe(&error)),
        })
    }

    /// A certificate with the key that belongs to it. Each file is read once: what was checked is
    /// what is used, even while somebody replaces them.
    fn identity(self, certificate: &Path, key: &Path) -> Result<SingleCertAndKey, SettingsError> {
        let chain = self.certificates("certificate", certificate)?;
        let signing = aws_lc_rs::sign::any_supported_type(&*self.key(key)?);
        let signing = signing.map_err(|error| {
            let what =
                format!("{error}, expected an RSA (2048 to 8192 bits), ECDSA or Ed25519 key");
            self.error("key", key, &what)
        })?;
        let identity = CertifiedKey::new(chain, signing);
        match keys_match(&identity) {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(SingleCertAndKey::from(identity))
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                let what =
                    format!("it is not the key of the certificate {}", certificate.display());
                Err(self.error("key", key, &what))
            }
            Err(error) => Err(self.error("certificate", certificate, &error)),
        }
    }

    /// Of each of the two, and if both can be read, of one with the other.
    fn errors_of_identity(
        self,
        certificate: &Option<PathBuf>,
        key: &Option<PathBuf>,
    ) -> Vec<SettingsError> {
        let (Some(certificate), Some(key)) = (certificate, key) else { return Vec::new() };
        let alone = [self.certificates("certificate", certificate).err(), self.key(key).err()];
        let alone: Vec<_> = alone.into_iter().flatten().collect();
        match alone.is_empty() {
            true => self.identity(certificate, key).err().into_iter().collect(),
            false => alone,
        }
    }

    fn roots(self, path: &Path) -> Result<RootCertStore, SettingsError> {
        let mut roots = RootCertStore::empty();
        for (at, certificate) in self.certificates("ca", path)?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                let what = format!("certificate {} can't be a CA's: {error}", at + 1);
                self.error("ca", path, &what)
            })?;
        }
        Ok(roots)
    }

    fn verifier(self, ca: &Path) -> Result<Arc<WebPkiServerVerifier>, SettingsError> {
        let roots = Arc::new(self.roots(ca)?);
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        built.map_err(|error| self.error("ca", ca, &error))
    }
}

/// rustls reads no certificates of version 1; whoever gets to see them may.
fn keys_match(identity: &CertifiedKey) -> Result<(), rustls::Error> {
    let fields = Fields::of(identity.end_entity_cert()?).filter(Fields::is_version_1);
    let (Some(fields), Some(key)) = (fields, identity.key.public_key()) else {
        return identity.keys_match();
    };
    match key.as_ref() == fields.key {
        true => Ok(()),
        false => Err(rustls::InconsistentKeys::KeyMismatch.into()),
    }
}

fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("cut off, expected END {}", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line that is not PEM".into(),
        pem::Error::Base64Decode(_) => "not base64 between BEGIN and END".into(),
        pem::Error::SectionTooLarge => "too large".into(),
        error => error.to_string(),
    }
}

/// A key file without a key that we could use: what people mistake for one.
fn what_instead_of_a_key(text: &[u8]) -> &'static str {
    let has = |label: &[u8]| text.windows(label.len()).any(|window| window == label);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        "the key has a password, expected one without"
    } else if has(b"BEGIN CERTIFICATE") {
        "a certificate, expected its private key"
    } else if has(b"BEGIN PUBLIC KEY") {
        "a public key, expected the private one"
    } else {
        "no key in it, expected PEM with BEGIN PRIVATE KEY"
    }
}

/// Reads a file of certificates or a key. A FIFO or a device, which may never end, is none.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(invalid("expected a regular file".into()));
    }
    if metadata.len() > LONGEST {
        return Err(invalid(format!("{} bytes, expected at most {LONGEST}", metadata.len())));
    }
    std::fs::read(path)
}
