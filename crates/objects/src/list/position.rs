//! Where a page begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use rhumb_types::record::{VersionId, object::OBJECT_KEY_BYTES_MAX};

use super::group;

/// A place in a listing: what comes after it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// After all rows of a key, or where they would be.
    Key(Bytes),
    /// After all keys that start with this.
    Prefix(Bytes),
    /// Before all rows of a key.
    Before(Bytes),
    /// After a version, or an upload, of a key.
    Id {
        /// The key.
        key: Bytes,
        /// Which.
        id: VersionId,
    },
}

/// That a text was not given out as a place in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is none of this service: begin the listing anew")]
pub struct PositionError;

impl Position {
    /// The place of a key that a client names to start after. A common prefix stands for all of its
    /// keys, so that clients can go on after the last that they were given.
    #[must_use]
    pub fn marker(marker: Bytes, prefix: &[u8], delimiter: &[u8]) -> Self {
        let whole = group(prefix, delimiter, &marker).is_some_and(|group| group == marker);
        if whole { Self::Prefix(marker) } else { Self::Key(marker) }
    }

    /// The key or common prefix that it is after, which clients send back as a marker.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Key(key) | Self::Prefix(key) | Self::Before(key) | Self::Id { key, .. } => key,
        }
    }

    /// The version or upload that it is after.
    #[must_use]
    pub const fn id(&self) -> Option<VersionId> {
        match self {
            Self::Id { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The place as a token that says nothing to clients, for listings of objects.
    #[must_use]
    pub fn token(&self) -> String {
        let kind = if matches!(self, Self::Prefix(_)) { PREFIX } else { KEY };
        let bytes: Vec<u8> = [kind].iter().chain(self.key()).copied().collect();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of a token.
    ///
    /// # Errors
    /// [`PositionError`] when it is none.
    pub fn from_token(token: &str) -> Result<Self, PositionError> {
        if token.len() > 2 * OBJECT_KEY_BYTES_MAX {
            return Err(PositionError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PositionError)?;
        let (kind, key) = bytes.split_first().ok_or(PositionError)?;
        let key = Bytes::copy_from_slice(key);
        match *kind {
            KEY => Ok(Self::Key(key)),
            PREFIX => Ok(Self::Prefix(key)),
            _ => Err(PositionError),
        }
    }
}

const KEY: u8 = b'k';
const PREFIX: u8 = b'p';
