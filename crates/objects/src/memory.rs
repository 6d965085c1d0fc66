//! Rows in memory, for tests.

use std::{cell::Cell, collections::BTreeMap, convert::Infallible, ops::Bound};

use bytes::Bytes;
use rhumb_types::{
    Hlc, RegionId, UnixMillis,
    record::{Body, BucketName, Content, VersionId},
};

use crate::{
    index::Writing,
    rows::{Change, Rows},
};

#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    pub(crate) rows: BTreeMap<Bytes, Bytes>,
    /// How many rows were read.
    pub(crate) read: Cell<usize>,
}

impl Rows for Memory {
    type Error = Infallible;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        self.read.set(self.read.get() + 1);
        Ok(self.rows.get(key).cloned())
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Infallible> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows: Vec<_> = self
            .rows
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, bytes)| (key.clone(), bytes.clone()))
            .collect();
        self.read.set(self.read.get() + rows.len());
        Ok(rows)
    }
}

impl Memory {
    /// Carries a change out; `false` when a row is not as expected.
    pub(crate) fn carry_out(&mut self, change: &Change) -> bool {
        if change.expect.iter().any(|(key, bytes)| self.rows.get(key) != bytes.as_ref()) {
            return false;
        }
        for (key, bytes) in &change.write {
            match bytes {
                Some(bytes) => self.rows.insert(key.clone(), bytes.clone()),
                None => self.rows.remove(key),
            };
        }
        true
    }
}

pub(crate) fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

pub(crate) fn id(at: u64) -> VersionId {
    VersionId { hlc: Hlc::from_millis(UnixMillis(at)), entropy: at ^ 0x5555 }
}

pub(crate) fn writing(at: u64) -> Writing {
    Writing { version: id(at), at: UnixMillis(at), region: RegionId::new("us").unwrap() }
}

pub(crate) fn content(etag: &str) -> Content {
    Content {
        bytes: etag.len() as u64,
        etag: etag.to_owned(),
        body: Body::Inline(Bytes::copy_from_slice(etag.as_bytes())),
        parts: Vec::new(),
        checksums: Default::default(),
        headers: Default::default(),
        metadata: Default::default(),
        tags: Default::default(),
    }
}
