//! Whether a webhook comes from who knows the secret.
//!
//! GitHub signs the raw body with HMAC-SHA256 and sends `X-Hub-Signature-256: sha256=HEX` ("Validating
//! webhook deliveries" in its documentation). The check comes before anything else is done with the body,
//! and takes as long for a wrong digest as for a right one.
//!
//! Deliberately absent: SHA-1 (`X-Hub-Signature`), which GitHub still sends beside it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::{SECRET_BYTES_MIN, SECRETS_MAX};

/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;
/// What stands before the digest.
const SCHEME: &str = "sha256=";

/// The secrets that are good now: one, or two while one replaces the other.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

/// Why secrets cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There is none, or there are too many.
    #[error("give one webhook secret, or two while one replaces the other")]
    Number,
    /// It could be guessed.
    #[error(
        "a webhook secret has at least {SECRET_BYTES_MIN} bytes: make one with `openssl rand -hex 32`"
    )]
    Short,
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("there is no `X-Hub-Signature-256`: set a secret for the webhook at GitHub")]
    Missing,
    /// It is of another kind, such as SHA-1, or no digest at all.
    #[error("`X-Hub-Signature-256` is not `sha256=` and 64 hexadecimal digits")]
    Malformed,
    /// It was made with another secret or over another body.
    #[error("the signature is not of this body with any secret that is good now")]
    Wrong,
}

impl Secrets {
    /// Takes one or two secrets.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, SecretsError> {
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            return Err(SecretsError::Number);
        }
        let keyed = |secret: &S| {
            let secret = secret.as_ref();
            let keyed = Hmac::<Sha256>::new_from_slice(secret).ok();
            keyed.filter(|_| secret.len() >= SECRET_BYTES_MIN).ok_or(SecretsError::Short)
        };
        secrets.iter().map(keyed).collect::<Result<_, _>>().map(Self)
    }

    /// Checks a body against its signature. Every secret is tried, whichever fits.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn check(&self, header: Option<&str>, body: &[u8]) -> Result<(), SignatureError> {
        let given = digest(header.ok_or(SignatureError::Missing)?)?;
        let mut good = false;
        for keyed in &self.0 {
            // `verify_slice` compares in constant time.
            good |= keyed.clone().chain_update(body).verify_slice(&given).is_ok();
        }
        if good { Ok(()) } else { Err(SignatureError::Wrong) }
    }

    /// The header that GitHub would send with a body, by the first secret.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let mut header = SCHEME.to_owned();
        if let Some(keyed) = self.0.first() {
            for byte in keyed.clone().chain_update(body).finalize().into_bytes() {
                header.push_str(&format!("{byte:02x}"));
            }
        }
        header
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// The digest that a header names.
///
/// # Errors
/// [`SignatureError::Malformed`].
fn digest(header: &str) -> Result<[u8; DIGEST_BYTES], SignatureError> {
    let malformed = SignatureError::Malformed;
    let hex = header.strip_prefix(SCHEME).ok_or(malformed)?.as_bytes();
    if hex.len() != 2 * DIGEST_BYTES {
        return Err(malformed);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = pair else { return Err(malformed) };
        *byte = digit(*high).ok_or(malformed)? << 4 | digit(*low).ok_or(malformed)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vector that GitHub publishes under "Testing the webhook payload validation".
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_published_vector_is_good() {
        let secrets = Secrets::new(&[SECRET]).unwrap();
        assert_eq!(secrets.check(Some(SIGNED), BODY), Ok(()));
        assert_eq!(secrets.sign(BODY), SIGNED);
        assert_eq!(secrets.check(Some(&SIGNED.to_uppercase().replace("SHA", "sha")), BODY), Ok(()));
    }

    #[test]
    fn either_of_two_secrets_is_good_and_a_third_is_not() {
        let old = Secrets::new(&["the old secret of last year"]).unwrap();
        let new = Secrets::new(&["the new secret of this year"]).unwrap();
        let both =
            Secrets::new(&["the new secret of this year", "the old secret of last year"]).unwrap();
        assert_eq!(both.check(Some(&old.sign(BODY)), BODY), Ok(()));
        assert_eq!(both.check(Some(&new.sign(BODY)), BODY), Ok(()));
        assert_eq!(both.check(Some(SIGNED), BODY), Err(SignatureError::Wrong));
    }

    #[test]
    fn anything_but_a_sha256_is_refused() {
        let secrets = Secrets::new(&[SECRET]).unwrap();
        let sha1 = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59";
        let forty = "sha256=01dc10d0c83e72ed246219cdd91669667fe2ca59";
        let hex = SIGNED.trim_start_matches(SCHEME);
        let odd = format!("{SIGNED}0");
        let strange = SIGNED.replace('7', "g");
        let plus = format!("sha256=+{}", &hex[1..]);
        for bad in ["", "sha256=", sha1, forty, hex, &odd, &strange, &plus] {
            assert_eq!(secrets.check(Some(bad), BODY), Err(SignatureError::Malformed), "{bad}");
        }
        assert_eq!(secrets.check(None, BODY), Err(SignatureError::Missing));
    }

    #[test]
    fn secrets_that_could_be_guessed_are_refused() {
        assert_eq!(Secrets::new::<&str>(&[]).err(), Some(SecretsError::Number));
        assert_eq!(Secrets::new(&["a"]).err(), Some(SecretsError::Short));
        assert_eq!(Secrets::new(&[SECRET; 3]).err(), Some(SecretsError::Number));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_found(body in proptest::collection::vec(any::<u8>(), 1..200), at: usize, bit in 0..8_u32) {
            let secrets = Secrets::new(&[SECRET]).unwrap();
            let signed = secrets.sign(&body);
            prop_assert_eq!(secrets.check(Some(&signed), &body), Ok(()));
            let mut changed = body.clone();
            let at = at % changed.len();
            changed[at] ^= 1_u8 << bit;
            prop_assert_eq!(secrets.check(Some(&signed), &changed), Err(SignatureError::Wrong));
        }

        #[test]
        fn no_header_panics(header in ".*") {
            let secrets = Secrets::new(&[SECRET]).unwrap();
            prop_assert!(secrets.check(Some(&header), BODY).is_err());
        }
    }
}
