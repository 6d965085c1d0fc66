//! The secret that all nodes of a cluster share.
//!
//! Keys for purposes that are not TLS come from it: signed audit heads, sticky tokens. It is made
//! with the authority, and reaches a node with its certificate. It never signs or encrypts itself,
//! so that no purpose can harm another.

use std::path::Path;

use zeroize::Zeroizing;

use super::{
    FileError,
    files::{read_private, write_private},
};

/// Bytes of the secret: 256 bits, the strength of BLAKE3's key derivation.
pub const CLUSTER_SECRET_BYTES: usize = 32;

/// The file of the secret, in an identity's folder and in the authority's.
pub(super) const SECRET_FILE: &str = "cluster.key";

/// Separates keys of Rhumb from those of all other programs.
const CONTEXT: &str = "rhumb 2026 cluster secret v1 ";

/// The secret of a cluster. It shows itself to nobody; take keys from it with
/// [`ClusterSecret::derive`].
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<[u8; CLUSTER_SECRET_BYTES]>);

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("it must hold {} hexadecimal digits", 2 * CLUSTER_SECRET_BYTES)]
    Form,
}

impl std::fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

impl ClusterSecret {
    pub(super) fn create() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; CLUSTER_SECRET_BYTES]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// The key for one purpose. Every node of the cluster gets the same, and knowing one key tells
    /// nothing about the secret or other keys. A purpose is a constant that is never used again for
    /// something else.
    #[must_use]
    pub fn derive(&self, purpose: &'static str) -> [u8; 32] {
        let context = format!("{CONTEXT}{purpose}");
        blake3::derive_key(&context, self.0.as_slice())
    }

    /// The secret for the wire, which is encrypted.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Whether two are the same, in a time that does not tell where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), FileError> {
        use std::fmt::Write;
        let mut text = Zeroizing::new(String::with_capacity(2 * CLUSTER_SECRET_BYTES + 1));
        for byte in self.as_bytes() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        write_private(&folder.join(SECRET_FILE), text.as_bytes())
    }

    pub(super) fn read(folder: &Path) -> Result<Self, SecretError> {
        let text = Zeroizing::new(read_private(&folder.join(SECRET_FILE))?);
        parse(text.trim_ascii()).ok_or(SecretError::Form)
    }
}

fn parse(digits: &[u8]) -> Option<ClusterSecret> {
    if digits.len() != 2 * CLUSTER_SECRET_BYTES {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut bytes = Zeroizing::new([0; CLUSTER_SECRET_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(ClusterSecret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_file_and_gives_one_key_per_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let secret = ClusterSecret::create().unwrap();
        secret.write(folder.path()).unwrap();
        let read = ClusterSecret::read(folder.path()).unwrap();
        assert!(read.is(&secret));
        assert_eq!(read.derive("audit"), secret.derive("audit"));
        assert_ne!(secret.derive("audit"), secret.derive("sticky"));
        let other = ClusterSecret::create().unwrap();
        assert!(!other.is(&secret));
        assert_ne!(other.derive("audit"), secret.derive("audit"));
        assert!(!format!("{secret:?}").contains(char::is_numeric));
    }

    #[test]
    fn anything_but_its_digits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
            write_private(&folder.path().join(SECRET_FILE), bad.as_bytes()).unwrap();
            let refused = ClusterSecret::read(folder.path());
            assert!(matches!(refused, Err(SecretError::Form)), "{bad}");
        }
    }
}
