//! Sticky tokens: a signed word to a client about which region has its session.
//!
//! `r1.REGION.EPOCH.EXPIRY.MAC`, with epoch, expiry (Unix milliseconds) and MAC in hexadecimal:
//! fit for a cookie or a header, and readable in a log. The MAC is HMAC-SHA256 (RFC 2104) over
//! the cluster's id and all that stands before the MAC.
//!
//! A token is a wish and not a right: health wins over it, and a region whose duties were taken
//! over (its epoch was raised) gets its clients new tokens.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rhumb_types::{ClusterId, Epoch, RegionId, UnixMillis};
use sha2::Sha256;

/// Longest token, in bytes; anything longer is refused unread.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Length of a signing key, in bytes.
pub const KEY_BYTES: usize = 32;
const VERSION: &str = "r1";
const MAC_BYTES: usize = 32;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sticky {
    /// Which region has the session.
    pub region: RegionId,
    /// The region's epoch when the token was issued.
    pub epoch: Epoch,
    /// Until when it holds.
    pub expires: UnixMillis,
}

/// Why a token does not count. A client with such a token is served as one without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StickyError {
    /// Not a token at all.
    #[error("the sticky token is malformed")]
    Malformed,
    /// Not signed by a key of this cluster.
    #[error("the sticky token is not signed by this cluster")]
    Forged,
    /// Too old.
    #[error("the sticky token has expired")]
    Expired,
}

/// The keys that sign tokens. Tokens are issued with the current one; those of the previous one
/// still count, so that keys are rotated without losing sessions.
#[derive(Clone)]
pub struct StickyKeys {
    cluster: ClusterId,
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl fmt::Debug for StickyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rotating = self.previous.is_some();
        f.debug_struct("StickyKeys").field("rotating", &rotating).finish_non_exhaustive()
    }
}

impl StickyKeys {
    /// Keys of a cluster.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        current: &[u8; KEY_BYTES],
        previous: Option<&[u8; KEY_BYTES]>,
    ) -> Self {
        Self { cluster, current: keyed(current), previous: previous.map(keyed) }
    }

    /// A token, signed with the current key.
    #[must_use]
    pub fn issue(&self, sticky: &Sticky) -> String {
        use fmt::Write;
        let Sticky { region, epoch, expires } = sticky;
        let mut token = format!("{VERSION}.{region}.{:x}.{:x}", epoch.0, expires.0);
        let mac = self.signed(&self.current, &token).finalize().into_bytes();
        token.push('.');
        for byte in mac {
            // Writing to a string cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// Reads a token. The signatures are compared in constant time.
    ///
    /// # Errors
    /// [`StickyError`] when it is malformed, forged or expired.
    pub fn verify(&self, token: &str, now: UnixMillis) -> Result<Sticky, StickyError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(StickyError::Malformed);
        }
        let (text, mac) = token.rsplit_once('.').ok_or(StickyError::Malformed)?;
        let mac = mac_of_hex(mac).ok_or(StickyError::Malformed)?;
        let signed_by = |key: &Hmac<Sha256>| self.signed(key, text).verify_slice(&mac).is_ok();
        if !signed_by(&self.current) && !self.previous.as_ref().is_some_and(signed_by) {
            return Err(StickyError::Forged);
        }
        let sticky = parse(text).ok_or(StickyError::Malformed)?;
        if sticky.expires <= now { Err(StickyError::Expired) } else { Ok(sticky) }
    }

    fn signed(&self, key: &Hmac<Sha256>, text: &str) -> Hmac<Sha256> {
        key.clone().chain_update(self.cluster.0.to_be_bytes()).chain_update(text)
    }
}

fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(keyed) => keyed,
        Err(error) => unreachable!("HMAC takes keys of any length: {error}"),
    }
}

fn parse(text: &str) -> Option<Sticky> {
    let mut parts = text.split('.');
    let version = parts.next()?;
    let region = RegionId::new(parts.next()?).ok()?;
    let epoch = Epoch(u64::from_str_radix(parts.next()?, 16).ok()?);
    let expires = UnixMillis(u64::from_str_radix(parts.next()?, 16).ok()?);
    (version == VERSION && parts.next().is_none()).then_some(Sticky { region, epoch, expires })
}

fn mac_of_hex(text: &str) -> Option<[u8; MAC_BYTES]> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut mac = [0; MAC_BYTES];
    if text.len() != 2 * MAC_BYTES {
        return None;
    }
    for (byte, pair) in mac.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: [u8; KEY_BYTES] = [1; KEY_BYTES];
    const NEW: [u8; KEY_BYTES] = [2; KEY_BYTES];

    fn sticky() -> Sticky {
        Sticky {
            region: RegionId::new("us-east-1").unwrap(),
            epoch: Epoch(42),
            expires: UnixMillis(1_000),
        }
    }

    #[test]
    fn a_token_outlives_one_rotation_of_keys_but_not_two() {
        let token = StickyKeys::new(ClusterId(1), &OLD, None).issue(&sticky());
        let rotated = StickyKeys::new(ClusterId(1), &NEW, Some(&OLD));
        assert_eq!(rotated.verify(&token, UnixMillis(999)), Ok(sticky()));
        let again = StickyKeys::new(ClusterId(1), &[3; KEY_BYTES], Some(&NEW));
        assert_eq!(again.verify(&token, UnixMillis(999)), Err(StickyError::Forged));
    }

    #[test]
    fn a_token_expires_and_is_of_one_cluster() {
        let keys = StickyKeys::new(ClusterId(1), &OLD, None);
        let token = keys.issue(&sticky());
        assert_eq!(keys.verify(&token, UnixMillis(1_000)), Err(StickyError::Expired));
        let other = StickyKeys::new(ClusterId(2), &OLD, None);
        assert_eq!(other.verify(&token, UnixMillis(0)), Err(StickyError::Forged));
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0_usize..94, to in 33_u8..127) {
            let keys = StickyKeys::new(ClusterId(1), &OLD, None);
            let token = keys.issue(&sticky());
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            // Upper-case digits of the MAC are the same number.
            prop_assume!(!bytes[at].eq_ignore_ascii_case(&to));
            bytes[at] = to;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(keys.verify(&changed, UnixMillis(0)).is_err());
        }

        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let keys = StickyKeys::new(ClusterId(1), &OLD, None);
            prop_assert!(keys.verify(&text, UnixMillis(0)).is_err());
        }
    }
}
