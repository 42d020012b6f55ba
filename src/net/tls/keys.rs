//! The keys of one direction: seal a record, open one, go on to the next generation.
//!
//! Invariant: a sequence number is used once with a key, so no nonce ever repeats.

use std::fmt;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, Prk};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::alert::Alert;
use super::wiped;

/// Bytes of a record's header.
pub const HEADER: usize = 5;

/// "The length MUST NOT exceed 2^14 bytes." (RFC 8446, 5.1; RFC 5246, 6.2.1)
pub const MAX_PLAIN: usize = 1 << 14;

/// Bytes of the tag, in all three AEADs (RFC 5116, 5.1 and 5.2; RFC 8439, 2.8).
const TAG: usize = 16;

/// RFC 5288, 3: "nonce_explicit[8]", in front of each TLS 1.2 AES-GCM ciphertext.
const EXPLICIT_NONCE: usize = 8;

/// What a key may encrypt, counted in records and in blocks of 16 bytes.
///
/// RFC 8446, 5.5: "For AES-GCM, up to 2^24.5 full-size records (about 24 million) may be encrypted
/// on a given connection while keeping a safety margin of approximately 2^-57". Such a record is
/// 2^10 blocks, and the bound behind the sentence is over records plus blocks; counting these lets
/// a session of short records live as long as its risk allows. 2^34 is 2^24 full-size records.
const AES_GCM_BUDGET: u64 = 1 << 34;

/// RFC 8446, 5.5: "For ChaCha20/Poly1305, the record sequence number would wrap before the safety
/// limit is reached." 5.3: "Because the size of sequence numbers is 64-bit, they should not wrap."
const CHACHA_BUDGET: u64 = 1 << 60;

/// The protocol version of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// The AEAD of a session, and for TLS 1.3 the hash of its key schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// With SHA-256.
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
    /// With SHA-384.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// With SHA-256.
    #[serde(rename = "chacha20-poly1305")]
    Chacha20Poly1305,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Chacha20Poly1305 => "chacha20-poly1305",
        })
    }
}

impl Suite {
    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// RFC 8446, B.4: TLS_AES_256_GCM_SHA384, the other two with SHA256.
    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }

    fn hash_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 48,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => 32,
        }
    }

    fn budget(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => AES_GCM_BUDGET,
            Self::Chacha20Poly1305 => CHACHA_BUDGET,
        }
    }
}

/// Key material: never shown, zeroized when dropped, hexadecimal in a snapshot, which is to be
/// written to a [`Wiped`](super::wiped::Wiped).
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<Vec<u8>>);

impl Hidden {
    /// Takes a copy.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes themselves.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = Zeroizing::new(String::with_capacity(2 * self.0.len()));
        for byte in self.0.iter() {
            text.push(DIGITS[usize::from(byte >> 4)] as char);
            text.push(DIGITS[usize::from(byte & 15)] as char);
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let digit = |byte: u8| (byte as char).to_digit(16);
        // Allocated whole, so that no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
        for pair in text.as_bytes().chunks(2) {
            let [high, low] = pair else { return Err(D::Error::custom("half a byte")) };
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return Err(D::Error::custom("expected hexadecimal digits")),
            }
        }
        Ok(Self(bytes))
    }
}

/// What has to be known of one direction to go on with it elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfState {
    /// The traffic secret that the next generation is made from; none in TLS 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Hidden>,
    /// The AEAD's key.
    pub key: Hidden,
    /// 12 bytes that the sequence number is XORed into.
    pub iv: Hidden,
    /// The number of the next record.
    pub sequence: u64,
    /// Records plus blocks under this key so far.
    pub spent: u64,
}

impl HalfState {
    /// The same with zeros for all that is secret: for whoever only looks at its shape.
    pub fn without_keys(&self) -> Self {
        let blank = |hidden: &Hidden| Hidden::new(&vec![0; hidden.reveal().len()]);
        Self {
            secret: self.secret.as_ref().map(blank),
            key: blank(&self.key),
            iv: blank(&self.iv),
            ..self.clone()
        }
    }

    /// All that is secret, one behind the other.
    pub fn append_keys(&self, to: &mut Zeroizing<Vec<u8>>) {
        let all = self.secret.iter().chain([&self.key, &self.iv]);
        all.for_each(|hidden| wiped::append(to, hidden.reveal()));
    }

    /// Takes as much as it has of what is secret from the front of what [`Self::append_keys`] has
    /// made; None if there is less.
    pub fn take_keys(&mut self, from: &mut &[u8]) -> Option<()> {
        for hidden in self.secret.iter_mut().chain([&mut self.key, &mut self.iv]) {
            let (own, rest) = from.split_at_checked(hidden.reveal().len())?;
            (*hidden, *from) = (Hidden::new(own), rest);
        }
        Some(())
    }
}

/// One direction of a session.
pub struct Half {
    version: Version,
    suite: Suite,
    aead: LessSafeKey,
    state: HalfState,
    iv: Zeroizing<[u8; 12]>,
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Half").field("sequence", &self.state.sequence).finish_non_exhaustive()
    }
}

/// Where the plaintext of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the front of the buffer it was to go to.
    Out,
    /// In the record's body, from this byte on.
    Within(usize),
}

/// A record that was authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decrypted {
    /// Its content type.
    pub kind: u8,
    /// Where its content is.
    pub place: Place,
    /// Bytes of content.
    pub length: usize,
}

impl Half {
    /// A direction in this state; None when lengths don't fit the suite.
    pub fn new(version: Version, suite: Suite, state: HalfState) -> Option<Self> {
        let secret_fits = match (&state.secret, version) {
            (None, Version::Tls12) => true,
            (Some(secret), Version::Tls13) => secret.reveal().len() == suite.hash_len(),
            (None, Version::Tls13) | (Some(_), Version::Tls12) => false,
        };
        let iv = Zeroizing::new(<[u8; 12]>::try_from(state.iv.reveal()).ok()?);
        let key = UnboundKey::new(suite.aead(), state.key.reveal()).ok()?;
        let half = Self { version, suite, aead: LessSafeKey::new(key), state, iv };
        secret_fits.then_some(half)
    }

    /// What another process needs to go on.
    pub fn state(&self) -> &HalfState {
        &self.state
    }

    /// How far it is: the number of the next record, and what its key has encrypted.
    pub fn progress(&self) -> [u64; 2] {
        [self.state.sequence, self.state.spent]
    }

    /// Whether so much of the key's budget is used up.
    pub fn is_spent(&self, share: Share) -> bool {
        let budget = self.suite.budget();
        let limit = match share {
            Share::Half => budget / 2,
            Share::Whole => budget,
        };
        self.state.spent >= limit
    }

    /// Goes on to the next generation of keys.
    ///
    /// RFC 8446, 7.2: "application_traffic_secret_N+1 = HKDF-Expand-Label(
    /// application_traffic_secret_N, "traffic upd", "", Hash.length)"; 5.3: "Each sequence number
    /// is set to zero at the beginning of a connection and whenever the key is changed".
    pub fn update(&mut self) -> Result<(), Alert> {
        let secret = self.state.secret.as_ref().ok_or(Alert::InternalError)?;
        let length = self.suite.hash_len();
        let secret = self.expand(secret, b"traffic upd", length)?;
        // RFC 8446, 7.3: "[sender]_write_key = HKDF-Expand-Label(Secret, "key", "", key_length)
        // [sender]_write_iv = HKDF-Expand-Label(Secret, "iv", "", iv_length)"
        let key = self.expand(&secret, b"key", self.suite.aead().key_len())?;
        let iv = self.expand(&secret, b"iv", 12)?;
        let state = HalfState { secret: Some(secret), key, iv, sequence: 0, spent: 0 };
        *self = Self::new(self.version, self.suite, state).ok_or(Alert::InternalError)?;
        Ok(())
    }

    /// RFC 8446, 7.1: "struct { uint16 length = Length; opaque label<7..255> = "tls13 " + Label;
    /// opaque context<0..255> = Context; } HkdfLabel", here always with an empty context.
    fn expand(&self, secret: &Hidden, label: &[u8], length: usize) -> Result<Hidden, Alert> {
        let prk = Prk::new_less_safe(self.suite.hash(), secret.reveal());
        let label_len = [(b"tls13 ".len() + label.len()) as u8];
        let info = [&(length as u16).to_be_bytes(), &label_len[..], b"tls13 ", label, &[0]];
        let mut out = Hidden(Zeroizing::new(vec![0; length]));
        let okm = prk.expand(&info, Length(length)).map_err(|_| Alert::InternalError)?;
        okm.fill(&mut out.0).map_err(|_| Alert::InternalError)?;
        Ok(out)
    }

    /// RFC 5288, 3: "struct { opaque salt[4]; opaque nonce_explicit[8]; } GCMNonce", "The
    /// nonce_explicit MAY be the 64-bit sequence number"; the salt is the front of the IV.
    ///
    /// RFC 8446, 5.3: "The 64-bit record sequence number is encoded in network byte order and
    /// padded to the left with zeros to iv_length. The padded sequence number is XORed with either
    /// the static client_write_iv or server_write_iv". RFC 7905, 2, says the same for TLS 1.2; RFC
    /// 5288 leaves the explicit part to the sender, who may do likewise.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = *self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.state.sequence.to_be_bytes()) {
            *byte ^= part;
        }
        nonce
    }

    /// RFC 5246, 6.2.3.3: "additional_data = seq_num + TLSCompressed.type + TLSCompressed.version +
    /// TLSCompressed.length", the length being that of the plaintext.
    fn aad12(&self, kind: u8, length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.state.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&[kind, 3, 3]);
        aad[11..].copy_from_slice(&(length as u16).to_be_bytes());
        aad
    }

    fn has_explicit_nonce(&self) -> bool {
        match (self.version, self.suite) {
            (Version::Tls12, Suite::Aes128Gcm | Suite::Aes256Gcm) => true,
            // RFC 7905, 2: its nonce has no explicit part.
            (Version::Tls12, Suite::Chacha20Poly1305) | (Version::Tls13, _) => false,
        }
    }

    fn advance(&mut self, length: usize) {
        self.state.sequence += 1;
        self.state.spent = self.state.spent.saturating_add(1 + (length as u64).div_ceil(16));
    }

    /// Bytes of a record with so much plaintext.
    pub fn sealed_len(&self, length: usize) -> usize {
        let explicit = if self.has_explicit_nonce() { EXPLICIT_NONCE } else { 0 };
        let kind = match self.version {
            Version::Tls12 => 0,
            Version::Tls13 => 1,
        };
        HEADER + explicit + length + kind + TAG
    }

    /// Writes one record with `plain` in it to the front of `out`, which must be long enough.
    pub fn seal(&mut self, kind: u8, plain: &[u8], out: &mut [u8]) -> Result<usize, Alert> {
        debug_assert!(plain.len() <= MAX_PLAIN, "the caller fragments");
        if self.state.sequence >= CHACHA_BUDGET {
            return Err(Alert::InternalError);
        }
        let total = self.sealed_len(plain.len());
        let out = out.get_mut(..total).ok_or(Alert::InternalError)?;
        let (header, body) = out.split_at_mut(HEADER);
        let nonce = self.nonce();
        // RFC 8446, 5.2: "opaque_type: The outer opaque_type field of a TLSCiphertext record is
        // always set to the value 23"; "legacy_record_version: … is always 0x0303".
        let outer = match self.version {
            Version::Tls12 => kind,
            Version::Tls13 => super::record::APPLICATION_DATA,
        };
        header[..3].copy_from_slice(&[outer, 3, 3]);
        header[3..].copy_from_slice(&((total - HEADER) as u16).to_be_bytes());
        let body = if self.has_explicit_nonce() {
            let (explicit, body) = body.split_at_mut(EXPLICIT_NONCE);
            explicit.copy_from_slice(&nonce[4..]);
            body
        } else {
            body
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (text, rest) = body.split_at_mut(plain.len());
        let sealed = match self.version {
            Version::Tls12 => {
                let aad = Aad::from(self.aad12(kind, plain.len()));
                self.aead.seal_out_of_place_scatter(nonce, aad, plain, text, &[], rest)
            }
            Version::Tls13 => {
                // "additional_data = TLSCiphertext.opaque_type || legacy_record_version || length"
                let aad = Aad::from(&*header);
                self.aead.seal_out_of_place_scatter(nonce, aad, plain, text, &[kind], rest)
            }
        };
        sealed.map_err(|_| Alert::InternalError)?;
        self.advance(plain.len());
        Ok(total)
    }

    /// Opens one record. The plaintext goes to `out` if it fits, otherwise it stays in `body`.
    ///
    /// The AEAD compares tags in constant time and gives out nothing before (RFC 5116, 2.2). Where
    /// the padding of TLS 1.3 ends shows in time; nobody's secrets hang on it (RFC 8446, E.3).
    pub fn open(
        &mut self,
        header: [u8; HEADER],
        body: &mut [u8],
        out: &mut [u8],
    ) -> Result<Decrypted, Alert> {
        if self.state.sequence >= CHACHA_BUDGET {
            return Err(Alert::InternalError);
        }
        let (text, place) = self.decrypt(header, body, out)?;
        // RFC 8446, 5.4: "the full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets"; 6.2,
        // record_overflow: "a record decrypted to a TLSPlaintext record with more than 2^14 bytes".
        // RFC 5246 says the same of a TLSCompressed record; there is no compression.
        let (kind, length, limit) = match self.version {
            Version::Tls12 => (header[0], text.len(), MAX_PLAIN),
            Version::Tls13 => {
                let (kind, length) = inner_plaintext(text)?;
                (kind, length, MAX_PLAIN + 1)
            }
        };
        if text.len() > limit || length > MAX_PLAIN {
            return Err(Alert::RecordOverflow);
        }
        let total = text.len();
        self.advance(total);
        Ok(Decrypted { kind, place, length })
    }

    fn decrypt<'a>(
        &self,
        header: [u8; HEADER],
        body: &'a mut [u8],
        out: &'a mut [u8],
    ) -> Result<(&'a [u8], Place), Alert> {
        let mut nonce = self.nonce();
        let mut start = 0;
        if self.has_explicit_nonce() {
            start = EXPLICIT_NONCE;
            let explicit = body.get(..start).ok_or(Alert::BadRecordMac)?;
            nonce[4..].copy_from_slice(explicit);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        // RFC 5246, 6.2.3.3: "If the decryption fails, a fatal bad_record_mac alert MUST be
        // generated." RFC 8446, 5.2, has the same. A body too short for a tag can't be authentic.
        let tag = body.len().checked_sub(TAG).filter(|tag| *tag >= start);
        let tag = tag.ok_or(Alert::BadRecordMac)?;
        let length = tag - start;
        let aad12 = self.aad12(header[0], length);
        let aad = Aad::from(match self.version {
            Version::Tls12 => &aad12[..],
            Version::Tls13 => &header[..],
        });
        let Some(out) = out.get_mut(..length) else {
            let opened = self.aead.open_in_place(nonce, aad, &mut body[start..]);
            return Ok((opened.map_err(|_| Alert::BadRecordMac)?, Place::Within(start)));
        };
        let (sealed, tag) = (&body[start..tag], &body[tag..]);
        let opened = self.aead.open_separate_gather(nonce, aad, sealed, tag, out);
        opened.map_err(|_| Alert::BadRecordMac)?;
        Ok((out, Place::Out))
    }
}

/// A part of a key's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Time for new keys.
    Half,
    /// Nothing more may be encrypted.
    Whole,
}

/// RFC 8446, 5.4: "the receiving implementation scans the field from the end toward the beginning
/// until it finds a non-zero octet. This non-zero octet is the content type of the message. … If a
/// receiving implementation does not find a non-zero octet in the cleartext, it MUST terminate the
/// connection with an "unexpected_message" alert."
fn inner_plaintext(text: &[u8]) -> Result<(u8, usize), Alert> {
    let at = text.iter().rposition(|byte| *byte != 0).ok_or(Alert::UnexpectedMessage)?;
    Ok((text[at], at))
}

/// A length that the HKDF is asked for.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
