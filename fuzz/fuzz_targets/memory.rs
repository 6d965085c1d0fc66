//! Rows of an index in memory.

use std::{collections::BTreeMap, convert::Infallible, ops::Bound};

use bytes::Bytes;
use rhumb_objects::Rows;
use rhumb_types::record::object::OBJECT_KEY_BYTES_MAX;

/// The kind of a row, its key after its bucket, and what it holds.
pub type Row = (u8, Vec<u8>, Vec<u8>);

pub struct Memory(pub BTreeMap<Vec<u8>, Bytes>);

impl Memory {
    /// Rows of the bucket `photos`, and others.
    pub fn of(rows: Vec<Row>) -> Self {
        let row = |(kind, mut key, bytes): Row| {
            key.truncate(OBJECT_KEY_BYTES_MAX);
            let row = match kind % 5 {
                0 => [b"cphotos\0", &key[..]].concat(),
                1 => [b"vphotos\0", &key[..]].concat(),
                2 => [b"uphotos\0", &key[..]].concat(),
                3 => [b"p", &key[..]].concat(),
                _ => key,
            };
            (row, bytes.into())
        };
        Self(rows.into_iter().map(row).collect())
    }
}

impl Rows for Memory {
    type Error = Infallible;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(key).cloned())
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
        Ok(self
            .0
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, bytes)| (Bytes::copy_from_slice(key), bytes.clone()))
            .collect())
    }
}
