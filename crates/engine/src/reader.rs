//! Reads for servers: straight from the store, never through the node's loop.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_ports::store::{Range, ReadStore, ScoreRange, StoreError};
use rhumb_state::{
    ClearedPrefixes,
    query::{CellScan, ScoreSpan},
};
use rhumb_types::record::{Cell, Head, Space};
use tokio::sync::watch;

use crate::recent::{Found, Recent};

/// A source of cells: the newest commit, or one that stays as it is.
pub struct Reader<'e> {
    rows: Rows<'e>,
    cleared: Cleared<'e>,
}

enum Rows<'e> {
    Newest(&'e dyn ReadStore, &'e Recent),
    Snapshot(Box<dyn ReadStore>),
}

/// Removed prefixes: looked at for a moment, or kept for a longer read.
enum Cleared<'e> {
    Shown(watch::Ref<'e, Arc<ClearedPrefixes>>),
    Kept(Arc<ClearedPrefixes>),
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("commit", &self.store().commit_number()).finish()
    }
}

impl<'e> Reader<'e> {
    pub(crate) const fn newest(
        store: &'e dyn ReadStore,
        recent: &'e Recent,
        cleared: watch::Ref<'e, Arc<ClearedPrefixes>>,
    ) -> Self {
        Self { rows: Rows::Newest(store, recent), cleared: Cleared::Shown(cleared) }
    }

    pub(crate) const fn snapshot(store: Box<dyn ReadStore>, cleared: Arc<ClearedPrefixes>) -> Self {
        Self { rows: Rows::Snapshot(store), cleared: Cleared::Kept(cleared) }
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &dyn ReadStore {
        match &self.rows {
            Rows::Newest(store, _) => *store,
            Rows::Snapshot(store) => store.as_ref(),
        }
    }
}

impl CellScan for Reader<'_> {
    type Error = StoreError;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, StoreError> {
        let Rows::Newest(store, recent) = &self.rows else {
            return self.store().head(Space::USER, key);
        };
        let gap = match recent.find(key) {
            Found::Here(head) => return Ok(Some(head)),
            Found::Gap(gap) => Some(gap),
            Found::Closed => None,
        };
        let head = store.head(Space::USER, key)?;
        if let (Some(gap), Some(head)) = (gap, &head) {
            recent.fill(gap, key, head);
        }
        Ok(head)
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
        match &self.cleared {
            Cleared::Shown(cleared) => cleared,
            Cleared::Kept(cleared) => cleared,
        }
    }
}
