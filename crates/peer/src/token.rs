//! What a person carries from a member to a new node.
//!
//! A token names where to ask, which authority to expect there, for which region, and a secret that
//! works once. It is a credential: whoever holds it first becomes that node.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rhumb_types::RegionId;
use sha2::{Digest, Sha256};

/// Bytes of a token's secret: 128 bits, so that guessing is hopeless.
pub const SECRET_BYTES: usize = 16;
/// The SHA-256 of an authority's certificate in DER.
pub type Fingerprint = [u8; 32];

const PREFIX: &str = "rhumb-join-";
const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Longest token that is read, in characters.
const TOKEN_CHARACTERS_MAX: usize = 1_024;

/// A join token; `Display` gives the text and `FromStr` reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Where the member that signs listens for peers.
    pub address: String,
    /// The authority that the member's certificate must come from.
    pub fingerprint: Fingerprint,
    /// The region of the node that joins.
    pub region: RegionId,
    /// Works once.
    pub secret: [u8; SECRET_BYTES],
}

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else.
    #[error("this is not a join token: one starts with `{PREFIX}`")]
    Prefix,
    /// Characters are missing or changed.
    #[error("the join token is incomplete or mistyped: copy it again, as one line")]
    Mistyped,
    /// A newer program made it.
    #[error("the join token has format {0}, and this program reads {FORMAT}: upgrade it")]
    Newer(u8),
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("address", &self.address)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region.as_str();
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.fingerprint);
        // A region's name has at most 63 bytes.
        bytes.push(u8::try_from(region.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(region.as_bytes());
        bytes.extend_from_slice(self.address.as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > TOKEN_CHARACTERS_MAX {
            return Err(TokenError::Mistyped);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Mistyped)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Mistyped)?;
        if checksum(body) != *sum {
            return Err(TokenError::Mistyped);
        }
        match body.split_first() {
            Some((&FORMAT, rest)) => parse(rest).ok_or(TokenError::Mistyped),
            Some((&newer, _)) => Err(TokenError::Newer(newer)),
            None => Err(TokenError::Mistyped),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<JoinToken> {
    let (secret, rest) = bytes.split_first_chunk::<SECRET_BYTES>()?;
    let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
    let (length, rest) = rest.split_first()?;
    let (region, address) = rest.split_at_checked(usize::from(*length))?;
    Some(JoinToken {
        address: std::str::from_utf8(address).ok()?.to_owned(),
        fingerprint: *fingerprint,
        region: RegionId::new(std::str::from_utf8(region).ok()?).ok()?,
        secret: *secret,
    })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> impl Strategy<Value = JoinToken> {
        (any::<[u8; SECRET_BYTES]>(), any::<[u8; 32]>(), "[a-z0-9][a-z0-9-]{0,62}", "[ -~]{0,80}")
            .prop_map(|(secret, fingerprint, region, address)| JoinToken {
                address,
                fingerprint,
                region: RegionId::new(&region).unwrap(),
                secret,
            })
    }

    proptest! {
        #[test]
        fn a_token_survives_its_text(token in tokens()) {
            prop_assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token));
        }

        #[test]
        fn one_wrong_character_is_noticed(token in tokens(), at in any::<prop::sample::Index>()) {
            let mut text = token.to_string().into_bytes();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(text).unwrap();
            // The last character may carry bits that no byte uses; those are refused too.
            prop_assert!(text.parse::<JoinToken>().is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(rhumb-join-)?\\PC{0,200}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
