//! The change feed: transactions of every origin, from a cursor.

use std::time::Duration;

use rhumb_ports::store::{ReadStore, StoreError};
use rhumb_types::{
    OriginId,
    record::{CodecError, Record, Transaction, TransactionId, VersionVector},
};

use crate::{Engine, limits::LOG_PAGE_BYTES_MAX};

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

impl Engine {
    /// A page of the change feed after a cursor.
    ///
    /// # Errors
    /// [`LogCursorError`] when the log no longer reaches back so far, or cannot be read.
    pub fn log(&self, cursor: &VersionVector) -> Result<LogPage, LogCursorError> {
        self.log_up_to(cursor, LOG_PAGE_BYTES_MAX)
    }

    /// A page of the change feed with at most so many bytes of each origin's log, or one
    /// transaction where that is larger.
    ///
    /// # Errors
    /// As [`Engine::log`].
    pub fn log_up_to(
        &self,
        cursor: &VersionVector,
        bytes_max: usize,
    ) -> Result<LogPage, LogCursorError> {
        page(self.shared().store.as_ref(), cursor, &self.status().durable, bytes_max)
    }

    /// Waits until something after a cursor is durable, or for a time.
    pub async fn log_grows(&self, cursor: &VersionVector, wait: Duration) {
        let mut status = self.shared().status.clone();
        let grown = status.wait_for(|status| !cursor.includes(&status.durable));
        let _either = tokio::time::timeout(wait, grown).await;
    }
}

/// Reads one page: what `durable` has and `cursor` does not, up to so many bytes of each log.
fn page(
    store: &dyn ReadStore,
    cursor: &VersionVector,
    durable: &VersionVector,
    bytes_max: usize,
) -> Result<LogPage, LogCursorError> {
    let mut transactions = Vec::new();
    // A log that was read only in part ends the page for all: what follows may depend on it.
    let mut end: Option<TransactionId> = None;
    for (origin, head) in durable.iter() {
        let after = cursor.get(origin);
        if after >= head {
            continue;
        }
        let rows = store.log(origin, after, bytes_max).map_err(LogCursorError::Store)?;
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
