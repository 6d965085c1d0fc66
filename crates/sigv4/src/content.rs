//! What a signature says of the body.

use sha2::{Digest, Sha256};

use crate::{HASH_BYTES, hex, unhex};

/// What a signature says of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Its SHA-256.
    Hash([u8; HASH_BYTES]),
    /// Nothing; TLS protects it.
    Unsigned,
    /// It comes in chunks, each with a signature that is chained to the one before; the first to the
    /// [`Seed`](crate::Seed).
    Chunks,
    /// As [`Content::Chunks`], and signed trailers follow.
    ChunksAndTrailers,
    /// It comes in chunks without signatures, and trailers follow.
    UnsignedTrailers,
}

/// The words of the `x-amz-content-sha256` header that are no hash.
const WORDS: [(&str, Content); 4] = [
    ("UNSIGNED-PAYLOAD", Content::Unsigned),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Content::Chunks),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Content::ChunksAndTrailers),
    ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Content::UnsignedTrailers),
];

impl Content {
    /// A body that is there.
    #[must_use]
    pub fn of_body(body: &[u8]) -> Self {
        Self::Hash(Sha256::digest(body).into())
    }

    /// What the `x-amz-content-sha256` header declares.
    #[must_use]
    pub fn declared(header: &str) -> Option<Self> {
        let word = WORDS.iter().find(|(word, _)| *word == header).map(|(_, content)| *content);
        word.or_else(|| unhex(header).map(Self::Hash))
    }

    /// As it stands in the canonical request.
    pub(crate) fn text(self) -> String {
        let word = WORDS.iter().find(|(_, content)| *content == self).map(|(word, _)| *word);
        match (self, word) {
            (Self::Hash(hash), _) => hex(&hash),
            (_, word) => word.unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_read_as_it_is_written() {
        let empty = Content::of_body(b"");
        assert_eq!(
            empty.text(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for content in WORDS.map(|(_, content)| content).into_iter().chain([empty]) {
            assert_eq!(Content::declared(&content.text()), Some(content));
        }
        let upper = empty.text().to_uppercase();
        for bad in ["", "unsigned-payload", "e3b0", upper.as_str()] {
            assert_eq!(Content::declared(bad), None, "{bad}");
        }
    }
}
