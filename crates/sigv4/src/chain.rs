//! The signatures of a body that comes in chunks, each chained to the one before it.
//!
//! AWS's "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks",
//! and the chapter after it on trailers.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{HASH_BYTES, Refusal, Scope, Seed, SigningKey, Stamp, hex};

/// What is signed of a chunk,
const CHUNK: &str = "AWS4-HMAC-SHA256-PAYLOAD";
/// and of the trailers.
const TRAILERS: &str = "AWS4-HMAC-SHA256-TRAILER";

/// The chain of a body, as far as its chunks have come.
#[derive(Clone, Debug)]
pub struct Chain {
    key: SigningKey,
    scope: Scope,
    stamp: Stamp,
    previous: [u8; HASH_BYTES],
}

impl From<Seed> for Chain {
    fn from(seed: Seed) -> Self {
        let Seed { signature, key, scope, stamp } = seed;
        Self { key, scope, stamp, previous: signature }
    }
}

impl Chain {
    /// The signature of the next chunk, whose SHA-256 is given; the chain goes on from there.
    pub fn sign_chunk(&mut self, hash: [u8; HASH_BYTES]) -> [u8; HASH_BYTES] {
        let Self { scope, stamp, previous, .. } = self;
        let nothing = hex(&Sha256::digest(b""));
        let (previous, hash) = (hex(previous), hex(&hash));
        let text = format!("{CHUNK}\n{stamp}\n{scope}\n{previous}\n{nothing}\n{hash}");
        self.advance(&text)
    }

    /// The signature of the trailers, each written `name:value` and ended by a line feed.
    pub fn sign_trailers(&mut self, trailers: &[u8]) -> [u8; HASH_BYTES] {
        let Self { scope, stamp, previous, .. } = self;
        let (previous, hash) = (hex(previous), hex(&Sha256::digest(trailers)));
        let text = format!("{TRAILERS}\n{stamp}\n{scope}\n{previous}\n{hash}");
        self.advance(&text)
    }

    fn advance(&mut self, text: &str) -> [u8; HASH_BYTES] {
        self.previous = self.key.sign(text.as_bytes());
        self.previous
    }

    /// Whether the next chunk carries its signature. The last one is empty.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`].
    pub fn check_chunk(
        &mut self,
        hash: [u8; HASH_BYTES],
        signature: &[u8; HASH_BYTES],
    ) -> Result<(), Refusal> {
        same(self.sign_chunk(hash), signature)
    }

    /// Whether the trailers carry their signature.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`].
    pub fn check_trailers(
        &mut self,
        trailers: &[u8],
        signature: &[u8; HASH_BYTES],
    ) -> Result<(), Refusal> {
        same(self.sign_trailers(trailers), signature)
    }
}

fn same(own: [u8; HASH_BYTES], given: &[u8; HASH_BYTES]) -> Result<(), Refusal> {
    if bool::from(own.ct_eq(given)) { Ok(()) } else { Err(Refusal::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, unhex};

    fn chain(seed: &str) -> Chain {
        let stamp = Stamp::parse("20130524T000000Z").unwrap();
        let scope = Scope { day: stamp.day(), region: "us-east-1".into(), service: "s3".into() };
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into());
        let key = SigningKey::derive(&secret, &scope);
        Chain::from(Seed { signature: unhex(seed).unwrap(), key, scope, stamp })
    }

    fn hash(length: usize) -> [u8; HASH_BYTES] {
        Sha256::digest(vec![b'a'; length]).into()
    }

    /// The example of AWS: 66560 letters in chunks of 64 KiB.
    #[test]
    fn chunks_are_signed_as_in_the_published_example() {
        let mut chain = chain("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        for (length, published) in [
            (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            assert_eq!(chain.check_chunk(hash(length), &unhex(published).unwrap()), Ok(()));
        }
    }

    /// The example of AWS with a checksum after the body.
    #[test]
    fn trailers_are_signed_as_in_the_published_example() {
        let mut chain = chain("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
        for (length, published) in [
            (65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
            (1_024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
            (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
        ] {
            assert_eq!(chain.check_chunk(hash(length), &unhex(published).unwrap()), Ok(()));
        }
        let published = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
        let trailers = b"x-amz-checksum-crc32c:sOO8/Q==\n";
        assert_eq!(chain.check_trailers(trailers, &unhex(published).unwrap()), Ok(()));
    }

    #[test]
    fn a_chunk_in_another_place_is_not_believed() {
        let mut own = chain("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let mut other = own.clone();
        let (first, second) = (own.sign_chunk(hash(1)), own.sign_chunk(hash(2)));
        assert_eq!(other.check_chunk(hash(2), &second), Err(Refusal::Mismatch));
        assert_eq!(other.check_chunk(hash(1), &first), Err(Refusal::Mismatch), "nor what follows");
    }
}
