//! What a path names.

use std::fmt::Write as _;

use bytes::Bytes;
use rhumb_types::record::BucketName;

use crate::{action::parse_hash, fault::Fault};

/// The bucket of a path that names none.
const BUCKET: &str = "cache";

/// What kind of entry it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// What an action came to, under the hash of the action.
    Action,
    /// Bytes under their own hash.
    Blob,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Action => "ac",
            Self::Blob => "cas",
        }
    }
}

/// What a path names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) bucket: BucketName,
    pub(crate) kind: Kind,
    pub(crate) hash: [u8; 32],
}

impl Entry {
    /// Reads `/ac/HASH`, `/cas/HASH`, and both after the name of a bucket.
    pub(crate) fn parse(path: &str) -> Result<Self, Fault> {
        let wrong = || {
            Fault::not_found(
                "paths are /ac/SHA256 and /cas/SHA256, after /BUCKET if it is not `cache`",
            )
        };
        let mut parts = path.strip_prefix('/').ok_or_else(wrong)?.rsplit('/');
        let (hash, kind) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
        let (bucket, more) = (parts.next().unwrap_or(BUCKET), parts.next());
        let kind = match kind {
            "ac" => Kind::Action,
            "cas" => Kind::Blob,
            _ => return Err(wrong()),
        };
        let (None, Ok(bucket)) = (more, BucketName::new(bucket)) else { return Err(wrong()) };
        let hash = parse_hash(hash.as_bytes());
        let hash = hash.ok_or_else(|| {
            Fault::invalid("the last part of the path is not 64 lower-case hexadecimal digits")
        })?;
        Ok(Self { bucket, kind, hash })
    }

    /// A blob of the same cache.
    pub(crate) fn sibling(&self, hash: [u8; 32]) -> Self {
        Self { bucket: self.bucket.clone(), kind: Kind::Blob, hash }
    }

    /// The key of its object.
    pub(crate) fn key(&self) -> Bytes {
        let mut key = format!("{}/", self.kind.word());
        for byte in self.hash {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        key.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn paths_name_a_bucket_a_kind_and_a_hash() {
        let entry = Entry::parse(&format!("/cas/{HASH}")).unwrap();
        assert_eq!((entry.bucket.as_str(), entry.kind), ("cache", Kind::Blob));
        assert_eq!(entry.key(), format!("cas/{HASH}"));
        let entry = Entry::parse(&format!("/team-a/ac/{HASH}")).unwrap();
        assert_eq!((entry.bucket.as_str(), entry.kind), ("team-a", Kind::Action));
        assert_eq!(entry.sibling([0; 32]).key(), format!("cas/{}", "0".repeat(64)));
    }

    #[test]
    fn other_paths_are_refused() {
        let upper = HASH.to_uppercase();
        for path in [
            "",
            "/",
            "/cas",
            "/cas/",
            &format!("/{HASH}"),
            &format!("/CAS/{HASH}"),
            &format!("/cas/{upper}"),
            &format!("/cas/{HASH}/"),
            &format!("/cas/{HASH}0"),
            &format!("//cas/{HASH}"),
            &format!("/a/b/cas/{HASH}"),
            &format!("/../cas/{HASH}"),
            &format!("/%2e%2e/cas/{HASH}"),
        ] {
            assert!(Entry::parse(path).is_err(), "{path}");
        }
    }
}
