//! Secrets, and the keys that are derived from them.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{HASH_BYTES, Scope};

/// Keys that are kept, unless the caller wants another number: those of 256 access keys for the two
/// days around midnight, in two services.
const KEYS_MAX: usize = 1_024;
/// What ends every scope.
pub(crate) const TERMINATOR: &str = "aws4_request";

/// The secret of an access key. It is not shown, and overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// Whether a text is this secret, in a time that does not depend on where the two differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key for one day, region and service. It is not shown, and overwritten when it is dropped.
#[derive(Clone)]
pub struct SigningKey([u8; HASH_BYTES]);

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// The key of a scope.
    #[must_use]
    pub fn derive(secret: &Secret, scope: &Scope) -> Self {
        let seed = Zeroizing::new(format!("AWS4{}", secret.0.as_str()));
        let day = mac(seed.as_bytes(), scope.day.as_bytes());
        let region = mac(&day, scope.region.as_bytes());
        let service = mac(&region, scope.service.as_bytes());
        Self(mac(&service, TERMINATOR.as_bytes()))
    }

    /// The MAC of some text under this key.
    pub(crate) fn sign(&self, text: &[u8]) -> [u8; HASH_BYTES] {
        mac(&self.0, text)
    }
}

/// HMAC takes keys of any length, so that there is always a code.
fn mac(key: &[u8], text: &[u8]) -> [u8; HASH_BYTES] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(text).finalize().into_bytes().into(),
        Err(_) => unreachable!("a key of any length is one"),
    }
}

/// Keys that were derived lately, so that a request costs one MAC of its own and not five.
#[derive(Debug)]
pub struct DerivedKeys {
    keys: BTreeMap<(String, Scope), Kept>,
    keys_max: usize,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    key: SigningKey,
    used: u64,
}

impl Default for DerivedKeys {
    fn default() -> Self {
        Self::new(KEYS_MAX)
    }
}

impl DerivedKeys {
    /// None yet; at most so many.
    #[must_use]
    pub const fn new(keys_max: usize) -> Self {
        Self { keys: BTreeMap::new(), keys_max, uses: 0 }
    }

    /// The key of an access key's secret and a scope. The scope must have been checked, or strangers
    /// could fill the place up; the secret of an access key must not change.
    pub fn get(&mut self, access_key: &str, secret: &Secret, scope: &Scope) -> SigningKey {
        self.uses += 1;
        let name = (access_key.to_owned(), scope.clone());
        if let Some(kept) = self.keys.get_mut(&name) {
            kept.used = self.uses;
            return kept.key.clone();
        }
        let key = SigningKey::derive(secret, scope);
        if self.keys.len() >= self.keys_max {
            self.forget_oldest();
        }
        if self.keys_max > 0 {
            self.keys.insert(name, Kept { key: key.clone(), used: self.uses });
        }
        key
    }

    fn forget_oldest(&mut self) {
        let oldest = self.keys.iter().min_by_key(|(_, kept)| kept.used);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.keys.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn scope(day: &str) -> Scope {
        Scope { day: day.to_owned(), region: "us-east-1".to_owned(), service: "iam".to_owned() }
    }

    fn secret() -> Secret {
        Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned())
    }

    /// The example of "Derive a signing key" in AWS's reference.
    #[test]
    fn derives_the_published_key() {
        let key = SigningKey::derive(&secret(), &scope("20120215"));
        let published = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        assert_eq!(hex(&key.0), published);
    }

    #[test]
    fn keeps_the_keys_that_are_used() {
        let mut keys = DerivedKeys::new(2);
        let days = ["20260101", "20260102", "20260101", "20260103"];
        for day in days {
            let key = keys.get("id", &secret(), &scope(day));
            assert_eq!(key.0, SigningKey::derive(&secret(), &scope(day)).0);
        }
        let kept: Vec<&str> = keys.keys.keys().map(|(_, scope)| scope.day.as_str()).collect();
        assert_eq!(kept, ["20260101", "20260103"]);
        assert_eq!(format!("{keys:?}").matches("SigningKey(..)").count(), 2);
    }
}
