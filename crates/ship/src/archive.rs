//! Where the objects of an archive are.

use std::fmt::Write as _;

use rhumb_pack::{ChunkHash, Pack, PackId};

use crate::remote::{Remote, RemoteError};

/// An object that is named by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Pack(PackId),
    Segment(ChunkHash),
}

/// The place of an archive: what stands before all of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The archive below this prefix; an empty one is the whole bucket.
    ///
    /// # Errors
    /// When no key can begin so.
    pub fn new(prefix: &str) -> Result<Self, RemoteError> {
        let path = crate::remote::path(prefix)?;
        let mut prefix = path.to_string();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        Ok(Self(prefix))
    }

    /// The key of the manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}manifest", self.0)
    }

    /// What stands before the keys of packs.
    pub(crate) fn packs(&self) -> String {
        format!("{}packs", self.0)
    }

    /// What stands before the keys of segments.
    pub(crate) fn segments(&self) -> String {
        format!("{}segments", self.0)
    }

    pub(crate) fn key(&self, part: Part) -> String {
        match part {
            Part::Pack(id) => format!("{}/{id}", self.packs()),
            Part::Segment(hash) => {
                let key = format!("{}/", self.segments());
                hash.0.iter().fold(key, |mut key, byte| {
                    // Writing to a string cannot fail.
                    let _infallible = write!(key, "{byte:02x}");
                    key
                })
            }
        }
    }

    /// The part under this key, if the key is that of one.
    pub(crate) fn part(&self, key: &str) -> Option<Part> {
        let (kind, name) = key.strip_prefix(&self.0)?.split_once('/')?;
        let PackId(hash) = PackId::parse(name)?;
        match kind {
            "packs" => Some(Part::Pack(PackId(hash))),
            "segments" => Some(Part::Segment(ChunkHash(hash))),
            _ => None,
        }
    }
}

/// Whether bytes are the part, to their last bit.
pub(crate) fn is_part(part: Part, bytes: &bytes::Bytes) -> bool {
    match part {
        Part::Segment(hash) => ChunkHash::of(bytes) == hash,
        Part::Pack(id) => Pack::parse(bytes.clone(), id)
            .is_ok_and(|pack| (0..pack.chunks()).all(|at| pack.chunk(at).is_ok())),
    }
}

/// What of an archive is there in a region.
pub(crate) async fn present(
    remote: &Remote,
    prefix: &Prefix,
    most: usize,
) -> Result<std::collections::BTreeSet<Part>, RemoteError> {
    use futures_util::TryStreamExt as _;

    let mut parts = std::collections::BTreeSet::new();
    for folder in [prefix.packs(), prefix.segments()] {
        let mut listed = remote.list(&folder);
        while let Some(object) = listed.try_next().await? {
            // An object without bytes is no part, whatever it is called.
            if object.bytes > 0 && parts.len() < most {
                parts.extend(prefix.part(&object.key));
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_parts_and_parts_keys() {
        for prefix in ["", "a", "a/b/"] {
            let prefix = Prefix::new(prefix).unwrap();
            for part in [Part::Pack(PackId([0xab; 32])), Part::Segment(ChunkHash([1; 32]))] {
                assert_eq!(prefix.part(&prefix.key(part)), Some(part));
            }
            assert_eq!(prefix.part(&prefix.manifest()), None);
            assert_eq!(prefix.part("other/packs/00"), None);
        }
        assert_eq!(Prefix::new("a/b/").unwrap().manifest(), "a/b/manifest");
        assert!(Prefix::new("a/../b").is_err());
    }
}
