//! What a reader of a node sees: reads go to the store beside the node, as in the engine.

use bytes::Bytes;
use rhumb_ports::store::{Range, ReadStore, ScoreRange, StoreError};
use rhumb_state::{CellScan, ClearedPrefixes, Query, QueryError, Reply, answer, query::ScoreSpan};
use rhumb_types::{
    UnixMillis,
    record::{Cell, Head, Space},
};

/// A reader of one store at one time.
pub(crate) struct Reader<'s, S> {
    scan: Scan<'s, S>,
    now: UnixMillis,
}

impl<'s, S: ReadStore> Reader<'s, S> {
    pub(crate) fn of(store: &'s S, now: UnixMillis) -> Self {
        Self { scan: Scan { store, prefixes: ClearedPrefixes::default() }, now }
    }

    pub(crate) fn ask(&self, query: &Query) -> Result<Reply, QueryError<StoreError>> {
        answer(query, self.now, &self.scan)
    }
}

/// The rows of a store, read as they are.
struct Scan<'s, S> {
    store: &'s S,
    prefixes: ClearedPrefixes,
}

impl<S: ReadStore> CellScan for Scan<'_, S> {
    type Error = StoreError;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, StoreError> {
        self.store.head(Space::USER, key)
    }
    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        self.store.member(Space::USER, key, member)
    }
    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        self.store.members(Space::USER, key, Range { after: after.cloned(), limit })
    }
    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, StoreError> {
        let ScoreSpan { min, max, after, reverse, limit } = span.clone();
        self.store.scores(Space::USER, key, ScoreRange { min, max, after, reverse, limit })
    }
    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        self.store.keys(Space::USER, prefix, Range { after: after.cloned(), limit })
    }
    fn prefixes(&self) -> &ClearedPrefixes {
        &self.prefixes
    }
}
