//! Sealing blobs with a key of the user.
//!
//! Each blob has its own AES-256-GCM key, derived from the user's and a random salt, and its blocks
//! are sealed with a counter and a flag for the last one as nonce: STREAM (Hoang, Reyhanitabar,
//! Rogaway and Vizár, "Online authenticated-encryption and its nonce-reuse misuse-resistance",
//! 2015), with blocks of 64 KiB as `age` has them. Blocks cannot be swapped, left out or cut off,
//! and no nonce repeats under a key.
//!
//! What sealing does not hide: how long a blob is, and, by its name, whether two are equal.

use std::{collections::BTreeMap, fmt};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of an authentication tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 32;

const ID_CONTEXT: &str = "rhumb 2026-11-21 the name of a key that seals blobs";
const BLOB_CONTEXT: &str = "rhumb 2026-11-21 the key of one blob";

/// Names a key without telling it: eight bytes that are derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is {KEY_BYTES} random bytes, or 64 hexadecimal digits: `openssl rand -hex 32` makes one"
)]
pub struct KeyError;

/// A key that seals blobs.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A key from its bytes.
    #[must_use]
    pub fn new(secret: [u8; KEY_BYTES]) -> Self {
        let secret = Zeroizing::new(secret);
        let derived = blake3::derive_key(ID_CONTEXT, secret.as_ref());
        let mut id = [0; 8];
        id.copy_from_slice(derived.split_at(8).0);
        Self { id: KeyId(id), secret }
    }

    /// A key as it lies in a file or a variable: 32 bytes, or 64 hexadecimal digits with white space
    /// around them.
    ///
    /// # Errors
    /// [`KeyError`] when it is neither.
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        if let Ok(secret) = content.try_into() {
            return Ok(Self::new(secret));
        }
        let (pairs, rest) = content.trim_ascii().as_chunks::<2>();
        if pairs.len() != KEY_BYTES || !rest.is_empty() {
            return Err(KeyError);
        }
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in secret.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(KeyError);
            let [high, low] = *pair;
            *byte = u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| KeyError)?;
        }
        Ok(Self::new(*secret))
    }

    /// What the key is called in headers and messages.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }
}

/// The keys of a store: one writes, all of them read. Without one that writes, blobs are not sealed.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    writing: Option<KeyId>,
    known: BTreeMap<KeyId, Key>,
}

impl Keys {
    /// Seals with one key and reads with others, too.
    #[must_use]
    pub fn new(writing: Option<Key>, reading: impl IntoIterator<Item = Key>) -> Self {
        let id = writing.as_ref().map(Key::id);
        let known = reading.into_iter().chain(writing).map(|key| (key.id, key)).collect();
        Self { writing: id, known }
    }

    pub(crate) fn writing(&self) -> Option<&Key> {
        self.writing.and_then(|id| self.known.get(&id))
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&Key> {
        self.known.get(&id)
    }
}

/// What is sealed under one nonce.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A block of the blob.
    Block { index: u64, is_last: bool },
    /// The values of its tree.
    Tree,
}

impl Part {
    fn nonce(self) -> Nonce {
        let (counter, flag) = match self {
            Self::Block { index, is_last } => (index, u8::from(is_last)),
            Self::Tree => (u64::MAX, 2),
        };
        let mut nonce = [0; 12];
        let (_, tail) = nonce.split_at_mut(3);
        let (count, last) = tail.split_at_mut(8);
        count.copy_from_slice(&counter.to_be_bytes());
        last.fill(flag);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The key of one blob.
pub(crate) struct BlobKey(LessSafeKey);

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey")
    }
}

/// The bytes are not what was sealed under this key and place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forged;

impl BlobKey {
    pub(crate) fn derive(key: &Key, salt: &[u8; SALT_BYTES]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(BLOB_CONTEXT);
        hasher.update(key.secret.as_ref()).update(salt);
        let secret = Zeroizing::new(<[u8; 32]>::from(hasher.finalize()));
        let unbound = UnboundKey::new(&AES_256_GCM, secret.as_ref());
        Self(LessSafeKey::new(unbound.expect("the key has the cipher's length")))
    }

    /// Seals in place and gives the tag.
    pub(crate) fn seal(&self, part: Part, about: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let sealed = self.0.seal_in_place_separate_tag(part.nonce(), Aad::from(about), bytes);
        let tag = sealed.expect("a block is shorter than the cipher's bound");
        let mut out = [0; TAG_BYTES];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Opens in place.
    pub(crate) fn open(
        &self,
        part: Part,
        about: &[u8],
        tag: &[u8; TAG_BYTES],
        bytes: &mut [u8],
    ) -> Result<(), Forged> {
        let (nonce, about) = (part.nonce(), Aad::from(about));
        let opened = self.0.open_in_place_separate_tag(nonce, about, Tag::from(*tag), bytes, 0..);
        opened.map(|_| ()).map_err(|_| Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let key = Key::new([0xa5; 32]);
        assert_eq!(Key::parse(&[0xa5; 32]).unwrap().id(), key.id());
        assert_eq!(
            Key::parse(format!(" {}\n", "a5".repeat(32)).as_bytes()).unwrap().id(),
            key.id()
        );
        for wrong in ["", "a5", &"g5".repeat(32), &"a5".repeat(33)] {
            assert!(Key::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(!format!("{key:?}").contains("a5a5"));
    }

    #[test]
    fn a_block_opens_only_in_its_place_and_unchanged() {
        let key = BlobKey::derive(&Key::new([1; 32]), &[2; 32]);
        let place = Part::Block { index: 3, is_last: false };
        let mut sealed = *b"some bytes";
        let tag = key.seal(place, b"about", &mut sealed);
        assert_ne!(&sealed, b"some bytes");
        let open = |key: &BlobKey, part, about: &[u8], tag: &[u8; 16], mut bytes: [u8; 10]| {
            key.open(part, about, tag, &mut bytes).map(|()| bytes)
        };
        assert_eq!(open(&key, place, b"about", &tag, sealed), Ok(*b"some bytes"));
        let others = [
            Part::Block { index: 4, is_last: false },
            Part::Block { index: 3, is_last: true },
            Part::Tree,
        ];
        for other in others {
            assert_eq!(open(&key, other, b"about", &tag, sealed), Err(Forged), "{other:?}");
        }
        assert_eq!(open(&key, place, b"other", &tag, sealed), Err(Forged));
        assert_eq!(open(&key, place, b"about", &[0; 16], sealed), Err(Forged));
        let salted = BlobKey::derive(&Key::new([1; 32]), &[3; 32]);
        assert_eq!(open(&salted, place, b"about", &tag, sealed), Err(Forged));
    }
}
