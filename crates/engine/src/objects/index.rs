//! Reading the index, and carrying changes of it out.

use bytes::Bytes;
use rhumb_objects::{
    miss,
    rows::{Change, Rows},
};
use rhumb_ports::store::{Range, ReadStore, StoreError};
use rhumb_state::{Op, Reply, visible};
use rhumb_types::{
    AckLevel,
    record::{Cell, Head, Space, VersionVector},
};

use super::ObjectError;
use crate::{Engine, Request};

/// The newest rows of the index.
pub(super) struct IndexRows<'e> {
    store: &'e dyn ReadStore,
    /// What is passed over.
    seen: Option<&'e VersionVector>,
}

impl IndexRows<'_> {
    fn whole(&self, cell: Cell) -> Option<Bytes> {
        let cell = match self.seen {
            Some(seen) => miss::unseen(cell, seen),
            None => cell,
        };
        visible::whole(&cell).cloned()
    }
}

impl Rows for IndexRows<'_> {
    type Error = StoreError;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let head = self.store.head(Space::OBJECTS, key)?;
        Ok(head.and_then(|head| self.whole(head.cell)))
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut found = Vec::with_capacity(limit.min(1_024));
        let mut after = after.map(Bytes::copy_from_slice);
        while found.len() < limit {
            let wanted = limit - found.len();
            let range = Range { after: after.clone(), limit: wanted };
            let page = self.store.keys(Space::OBJECTS, prefix, range)?;
            let last = page.len() < wanted;
            after = page.last().map(|(key, _)| key.clone()).or(after);
            let held = |(key, head): (Bytes, Head)| Some((key, self.whole(head.cell)?));
            found.extend(page.into_iter().filter_map(held));
            if last {
                break;
            }
        }
        Ok(found)
    }
}

impl Engine {
    pub(super) fn index(&self) -> IndexRows<'_> {
        IndexRows { store: self.shared().store.as_ref(), seen: None }
    }

    /// The rows that somebody has not applied.
    pub(super) fn index_unseen<'e>(&'e self, seen: &'e VersionVector) -> IndexRows<'e> {
        IndexRows { store: self.shared().store.as_ref(), seen: Some(seen) }
    }

    /// What was written; `None` when a row was not as expected.
    pub(super) async fn compare_and_set(
        &self,
        ack: AckLevel,
        change: Change,
    ) -> Result<Option<VersionVector>, ObjectError> {
        let (space, expected, pairs) = (Space::OBJECTS, change.expect, change.write);
        self.set_if(ack, Op::CompareSet { space, expected, pairs }).await
    }

    /// What was written by an operation that answers 1 or 0; `None` when it did nothing.
    pub(super) async fn set_if(
        &self,
        ack: AckLevel,
        op: Op,
    ) -> Result<Option<VersionVector>, ObjectError> {
        let request = Request { ack: Some(ack), ..Request::new(vec![op]) };
        let answer = self.write(request).await?;
        match answer.replies.into_iter().next() {
            Some(Reply::Int(1)) => Ok(Some(answer.written)),
            Some(Reply::Int(_)) => Ok(None),
            Some(Reply::Error(error)) => Err(ObjectError::Invalid(error.to_string())),
            other => Err(ObjectError::Damaged(format!("a change was answered by {other:?}"))),
        }
    }
}
