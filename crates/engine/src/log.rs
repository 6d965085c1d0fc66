//! The change feed: transactions of every origin, from a cursor.

use rhumb_ports::store::{ReadStore, StoreError};
use rhumb_types::{
    OriginId,
    record::{CodecError, Record, Transaction, TransactionId, VersionVector},
};

use crate::limits::LOG_PAGE_BYTES_MAX;

/// Transactions after a cursor, in an order that causality allows, and the cursor after them.
#[derive(Clone, PartialEq, Debug)]
pub struct LogPage {
    /// The transactions.
    pub transactions: Vec<Transaction>,
    /// Where the next page starts.
    pub cursor: VersionVector,
}

/// Why a page cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogCursorError {
    /// The log no longer reaches back to the cursor.
    #[error(
        "the log of {origin} is kept from version {first} on, and the cursor is at {after}: read the state anew and start from the present cursor"
    )]
    Gone {
        /// Whose log.
        origin: OriginId,
        /// The lowest version kept.
        first: u64,
        /// Where the cursor is.
        after: u64,
    },
    /// The store failed.
    #[error("the log cannot be read")]
    Store(#[source] StoreError),
    /// A record cannot be read.
    #[error("a transaction of {origin} cannot be read")]
    Record {
        /// Whose log.
        origin: OriginId,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
}

/// Reads one page: what `durable` has and `cursor` does not.
pub(crate) fn page(
    store: &dyn ReadStore,
    cursor: &VersionVector,
    durable: &VersionVector,
) -> Result<LogPage, LogCursorError> {
    let mut transactions = Vec::new();
    // A log that was read only in part ends the page for all: what follows may depend on it.
    let mut end: Option<TransactionId> = None;
    for (origin, head) in durable.iter() {
        let after = cursor.get(origin);
        if after >= head {
            continue;
        }
        let rows = store.log(origin, after, LOG_PAGE_BYTES_MAX).map_err(LogCursorError::Store)?;
        let first = rows.first().map_or(head + 1, |(version, _)| *version);
        if first != after + 1 {
            return Err(LogCursorError::Gone { origin, first, after });
        }
        let rows = rows.into_iter().take_while(|(version, _)| *version <= head);
        let decoded = rows
            .map(|(_, bytes)| Transaction::decode(&bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| LogCursorError::Record { origin, source })?;
        if let Some(last) = decoded.last().filter(|last| last.version < head) {
            end = Some(end.map_or(last.id(), |end| end.min(last.id())));
        }
        transactions.extend(decoded);
    }
    // A writer's clock is past everything that it has applied, so the order of ids is causal.
    transactions.sort_by_key(Transaction::id);
    transactions.retain(|transaction| end.is_none_or(|end| transaction.id() <= end));
    let mut cursor = cursor.clone();
    for transaction in &transactions {
        cursor.raise(transaction.origin, transaction.version);
    }
    Ok(LogPage { transactions, cursor })
}
