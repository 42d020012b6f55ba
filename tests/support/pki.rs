//! A CA, and two certificates by it: for a server on the loopback, and for a client.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// PEM texts.
pub(crate) struct Pki {
    /// The CA.
    pub ca: String,
    /// For `localhost` and 127.0.0.1.
    pub server: String,
    /// Its key.
    pub server_key: String,
    /// For a client.
    pub client: String,
    /// Its key.
    pub client_key: String,
}

/// The same as files.
pub(crate) struct Files {
    /// The CA.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Pki {
    /// New ones.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(params, key).expect("a CA");
        let sign = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(names).expect("names");
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        let (server, server_key) = sign(&["localhost", "127.0.0.1"]);
        let (client, client_key) = sign(&["somebody"]);
        Self { ca: ca.pem(), server, server_key, client, client_key }
    }

    /// Writes them below a directory.
    pub(crate) fn write(&self, dir: &Path) -> Files {
        let file = |name: &str, text: &str| {
            use std::io::Write as _;
            let path = dir.join(name);
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&path).expect("the directory is ours");
            file.write_all(text.as_bytes()).expect("the disk has room");
            path
        };
        Files {
            ca: file("ca.pem", &self.ca),
            server: file("server.pem", &self.server),
            server_key: file("server-key.pem", &self.server_key),
            client: file("client.pem", &self.client),
            client_key: file("client-key.pem", &self.client_key),
        }
    }
}

impl Files {
    /// Options for a MariaDB that offers TLS.
    pub(crate) fn of_server(&self) -> [String; 3] {
        [
            format!("--ssl-ca={}", self.ca.display()),
            format!("--ssl-cert={}", self.server.display()),
            format!("--ssl-key={}", self.server_key.display()),
        ]
    }

    /// `[tls.client]` and `[tls.server]` of a proxy that offers TLS to clients.
    pub(crate) fn of_proxy(&self, server_mode: &str) -> String {
        format!(
            "[tls.server]\nmode = \"{server_mode}\"\n\
             [tls.client]\nmode = \"prefer\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            self.server.display(),
            self.server_key.display()
        )
    }
}
