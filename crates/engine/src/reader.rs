//! Reads for servers: straight from the store, never through the node's loop.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_ports::store::{Range, ReadStore, ScoreRange, StoreError};
use rhumb_state::{
    ClearedPrefixes,
    query::{CellScan, ScoreSpan},
};
use rhumb_types::record::{Cell, Head, Space};

/// A source of cells: the newest commit, or one that stays as it is.
pub struct Reader {
    rows: Rows,
    cleared: Arc<ClearedPrefixes>,
}

enum Rows {
    Newest(Arc<dyn ReadStore>),
    Snapshot(Box<dyn ReadStore>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("commit", &self.store().commit_number()).finish()
    }
}

impl Reader {
    pub(crate) const fn newest(store: Arc<dyn ReadStore>, cleared: Arc<ClearedPrefixes>) -> Self {
        Self { rows: Rows::Newest(store), cleared }
    }

    pub(crate) const fn snapshot(store: Box<dyn ReadStore>, cleared: Arc<ClearedPrefixes>) -> Self {
        Self { rows: Rows::Snapshot(store), cleared }
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &dyn ReadStore {
        match &self.rows {
            Rows::Newest(store) => store.as_ref(),
            Rows::Snapshot(store) => store.as_ref(),
        }
    }
}

impl CellScan for Reader {
    type Error = StoreError;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, StoreError> {
        self.store().head(Space::USER, key)
    }

    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        self.store().member(Space::USER, key, member)
    }

    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        self.store().members(Space::USER, key, Range { after: after.cloned(), limit })
    }

    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, StoreError> {
        let ScoreSpan { min, max, after, reverse, limit } = span.clone();
        self.store().scores(Space::USER, key, ScoreRange { min, max, after, reverse, limit })
    }

    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        let range = Range { after: after.cloned(), limit };
        self.store().keys(Space::USER, prefix, range)
    }

    fn prefixes(&self) -> &ClearedPrefixes {
        &self.cleared
    }
}
