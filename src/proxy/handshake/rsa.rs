//! Passwords under RSA, as `sha256_password` and `caching_sha2_password` send them where there is
//! no TLS.
//!
//! The password with a NUL behind it, XOR the challenge repeated, under RSA-OAEP with SHA-1, MGF1
//! with SHA-1, and no label (RFC 8017, 7.1; the defaults of OpenSSL's `RSA_PKCS1_OAEP_PADDING`).
//! Source: MySQL's `sha2_password` plugin, `xor_string` over the 20 bytes of the scramble.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::net::tls::keys::Hidden;

/// Characters of base64 in a line of PEM.
const LINE: usize = 64;

/// The key that clients without TLS are given when their server is reached by TLS: made when it is
/// first wanted, never in a file, and handed to successors, as clients may keep it for a later
/// COM_CHANGE_USER.
#[derive(Debug, Default)]
pub struct OwnKey(OnceCell<KeyPair>);

impl OwnKey {
    /// The key. Making it takes a good part of a second, on a thread of its own.
    pub async fn get(&self) -> Result<&KeyPair, Unspecified> {
        let made = || async {
            tokio::task::spawn_blocking(KeyPair::generate).await.map_err(|_| Unspecified)?
        };
        self.0.get_or_try_init(made).await
    }

    /// The private half, for a successor; None as long as nobody has wanted it.
    pub fn secret(&self) -> Option<Hidden> {
        self.0.get().map(|pair| pair.secret.clone())
    }

    /// Takes a predecessor's. One that is no key is left alone: a new one is made then.
    pub fn inherit(&self, secret: &Hidden) {
        let private = PrivateDecryptingKey::from_pkcs8(secret.reveal());
        let pair = private.map_err(|_| Unspecified).and_then(KeyPair::new);
        // If there is one already it has been given out.
        let _ = pair.map(|pair| self.0.set(pair));
    }
}

/// A key of ours.
#[derive(Debug)]
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    /// The private half as PKCS #8.
    secret: Hidden,
    pem: String,
}

impl KeyPair {
    fn generate() -> Result<Self, Unspecified> {
        Self::new(PrivateDecryptingKey::generate(KeySize::Rsa2048)?)
    }

    fn new(private: PrivateDecryptingKey) -> Result<Self, Unspecified> {
        let secret = Hidden::new(AsDer::<Pkcs8V1Der<'_>>::as_der(&private)?.as_ref());
        let der = AsDer::<PublicKeyX509Der>::as_der(&private.public_key())?;
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = &*text;
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(rest.len().min(LINE));
            pem.extend([line, "\n"]);
            rest = behind;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(Self { private: OaepPrivateDecryptingKey::new(private)?, secret, pem })
    }

    /// The public half, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The password with its NUL; an error for what was not encrypted with this key.
    ///
    /// One error, whatever is wrong: RFC 8017, 7.1.2, wants step 3's causes indistinguishable, as
    /// who can tell them apart decrypts by asking (Manger). Each question costs a connection.
    pub fn decrypt(&self, sent: &[u8], salt: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let mut plain = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let length = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, sent, &mut plain, None)?.len();
        plain.truncate(length);
        xor(&mut plain, salt);
        Ok(plain)
    }
}

/// A server's key, out of PEM. None for what is no RSA key.
pub fn parse(pem: &[u8]) -> Option<OaepPublicEncryptingKey> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()
}

/// The password, with its NUL, for the server that has this key. An error when it is too long for
/// the key: 213 bytes with 2048 bits.
pub fn encrypt(
    key: &OaepPublicEncryptingKey,
    password: &[u8],
    salt: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut plain = Zeroizing::new(password.to_vec());
    xor(&mut plain, salt);
    let mut sent = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA1_MGF1SHA1, &plain, &mut sent, None)?.len();
    sent.truncate(length);
    Ok(sent)
}

fn xor(bytes: &mut [u8], salt: &[u8]) {
    bytes.iter_mut().zip(salt.iter().cycle()).for_each(|(byte, salt)| *byte ^= salt);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encrypted_is_decrypted_and_nothing_else() {
        let pair = KeyPair::generate().expect("a key");
        let key = parse(pair.pem().as_bytes()).expect("our own PEM");
        let salt = b"abcdefghijklmnopqrst";
        let sent = encrypt(&key, b"swordfish\0", salt).expect("it is short");
        assert_eq!(**pair.decrypt(&sent, salt).expect("ours"), *b"swordfish\0");
        assert!(pair.decrypt(&sent[1..], salt).is_err());
        let other = KeyPair::generate().expect("a key");
        assert!(other.decrypt(&sent, salt).is_err());
        assert!(encrypt(&key, &[b'x'; 300], salt).is_err(), "longer than the key takes");
        assert!(parse(b"no key").is_none());
    }

    #[tokio::test]
    async fn a_successor_goes_on_with_it() {
        let (own, next) = (OwnKey::default(), OwnKey::default());
        assert!(own.secret().is_none(), "nobody has wanted it");
        let pem = own.get().await.expect("a key").pem().to_owned();
        next.inherit(&Hidden::new(b"no key"));
        next.inherit(&own.secret().expect("it is made"));
        assert_eq!(next.get().await.expect("a key").pem(), pem);
    }

    /// The client library's own code is the other side; the password is longer than the challenge,
    /// and its NUL is XORed, too.
    #[test]
    fn clients_take_the_key() {
        let pair = KeyPair::generate().expect("a key");
        let salt = *b"abcdefghijklmnopqrst";
        let password = b"swordfish and a good deal more\0";
        let sent: Vec<u8> = (0..).zip(password).map(|(at, byte)| byte ^ salt[at % 20]).collect();
        let sent = mysql_common::crypto::encrypt(&sent, pair.pem().as_bytes());
        assert_eq!(**pair.decrypt(&sent, &salt).expect("ours"), *password);
    }
}
