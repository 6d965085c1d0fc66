//! Keys: a pair that signs and is checked by anyone who knows its public half, or a secret that both
//! sides have.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{hex, unhex};

/// What stands before the 32 bytes of a private key in PKCS#8 (RFC 8410, section 7).
const PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// What stands before the 32 bytes of a public key (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a private key.
    #[error("this is no Ed25519 key in PEM; make one with `openssl genpkey -algorithm ed25519`")]
    Private,
    /// Not a public key.
    #[error(
        "this is no Ed25519 public key: give 64 hexadecimal digits, or PEM as `openssl pkey -pubout` writes it"
    )]
    Public,
    /// Not a shared secret.
    #[error(
        "this is no shared secret: give 64 hexadecimal digits, such as of `openssl rand -hex 32`"
    )]
    Shared,
}

/// An Ed25519 key that signs.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of these 32 random bytes.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self(key)
    }

    /// Reads PEM, as OpenSSL writes it.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        from_pem(text, PRIVATE_LABEL, &PRIVATE_PREFIX).map(Self::from_seed).ok_or(KeyError::Private)
    }

    /// PEM, as OpenSSL reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem(PRIVATE_LABEL, &PRIVATE_PREFIX, self.0.as_bytes())
    }

    /// The half that everyone may know.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// The public half of a pair; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads hexadecimal digits, or PEM as OpenSSL writes it.
    ///
    /// # Errors
    /// When it is no Ed25519 public key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        unhex(text.trim())
            .or_else(|| from_pem(text, PUBLIC_LABEL, &PUBLIC_PREFIX))
            .map(Self)
            .ok_or(KeyError::Public)
    }

    /// PEM, as OpenSSL reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem(PUBLIC_LABEL, &PUBLIC_PREFIX, &self.0)
    }

    /// Strictly as of RFC 8032: no signature has a second form, and no weak key passes.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// A secret that sender and receiver share.
#[derive(Clone)]
pub struct SharedSecret(Zeroizing<[u8; 32]>);

impl SharedSecret {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        unhex(text.trim()).map(|secret| Self(Zeroizing::new(secret))).ok_or(KeyError::Shared)
    }

    pub(crate) fn hash(&self, message: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, message)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

fn pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> String {
    let body = STANDARD.encode([prefix, key].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn from_pem(text: &str, label: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let body = text.split_once(&begin)?.1.split_once(&end)?.0;
    let body: String = body.split_whitespace().collect();
    let mut der = STANDARD.decode(body).ok()?;
    let key = der.strip_prefix(prefix).and_then(|key| key.try_into().ok());
    der.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` of it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIB3/6DUVl0KWFIKjkHMUJlreMMAfFBUOPbUEfe0jgbzS\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAo+ZR/PyNryoM4rQkySH1P9DD6wIoUR4nCgVL3GEWZIw=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_of_openssl_are_read_and_written() {
        let key = SecretKey::from_pem(PRIVATE).unwrap();
        assert_eq!(key.to_pem(), PRIVATE);
        assert_eq!(key.public().to_pem(), PUBLIC);
        assert_eq!(PublicKey::parse(PUBLIC), Ok(key.public()));
        assert_eq!(PublicKey::parse(&format!("{}\n", key.public())), Ok(key.public()));
    }

    #[test]
    fn what_is_no_key_is_refused_and_secrets_are_not_shown() {
        assert_eq!(SecretKey::from_pem(PUBLIC).map(|_| ()).unwrap_err(), KeyError::Private);
        assert_eq!(PublicKey::parse(PRIVATE), Err(KeyError::Public));
        assert_eq!(PublicKey::parse("0g"), Err(KeyError::Public));
        assert!(SharedSecret::parse(&"0".repeat(63)).is_err());
        let shared = SharedSecret::parse(&"ab".repeat(32)).unwrap();
        assert_eq!(format!("{shared:?}"), "SharedSecret(..)");
    }

    #[test]
    fn a_signature_is_of_one_message_by_one_key() {
        let (one, two) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signature = one.sign(b"message");
        assert!(one.public().verifies(b"message", &signature));
        assert!(!one.public().verifies(b"Message", &signature));
        assert!(!two.public().verifies(b"message", &signature));
        // A key of small order would pass for any message without the strict check.
        assert!(!PublicKey([0; 32]).verifies(b"message", &[0; 64]));
    }
}
