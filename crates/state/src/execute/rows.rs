//! Rows of views of Rhumb's own: compared, and written as a whole or decided about.

use bytes::Bytes;
use rhumb_types::record::{CellId, Decided, Dot, Space, Term, Value};

use super::Editor;
use crate::{op::OpError, reply::Reply, visible};

impl Editor<'_> {
    pub(super) fn compare_set(
        &mut self,
        space: Space,
        expected: &[(Bytes, Option<Bytes>)],
        pairs: &[(Bytes, Option<Bytes>)],
    ) -> Result<Reply, OpError> {
        let as_expected = self.is_as_expected(space, expected)?;
        if as_expected {
            self.set_rows(space, pairs)?;
        }
        Ok(Reply::flag(as_expected))
    }

    pub(super) fn decide(
        &mut self,
        (space, term): (Space, Term),
        expected: &[(Bytes, Option<Bytes>)],
        decided: &[(Bytes, Option<Bytes>)],
        pairs: &[(Bytes, Option<Bytes>)],
    ) -> Result<Reply, OpError> {
        if !self.is_as_expected(space, expected)? {
            return Ok(Reply::flag(false));
        }
        for (key, _) in decided {
            // Somebody decides who has forgotten that another did after it.
            if visible::term(&self.table.head(space, key)?.cell) > Some(term) {
                return Ok(Reply::flag(false));
            }
        }
        for (key, row) in decided {
            let cell = CellId::head(space, key.clone());
            let value = Value::Decided(Decided { term, row: row.clone() });
            self.draft.put(self.table, cell, value, None)?;
        }
        self.set_rows(space, pairs)?;
        Ok(Reply::flag(true))
    }

    pub(super) fn forget(
        &mut self,
        space: Space,
        key: &Bytes,
        decision: Dot,
    ) -> Result<Reply, OpError> {
        let cell = &self.table.head(space, key)?.cell;
        let only = cell.entries.len() == 1 && visible::whole(cell).is_none();
        let is_it = only && visible::winner(cell).is_some_and(|entry| entry.dot == decision);
        if is_it {
            self.draft.remove(self.table, CellId::head(space, key.clone()))?;
        }
        Ok(Reply::flag(is_it))
    }

    fn is_as_expected(
        &self,
        space: Space,
        expected: &[(Bytes, Option<Bytes>)],
    ) -> Result<bool, OpError> {
        for (key, row) in expected {
            if visible::whole(&self.table.head(space, key)?.cell) != row.as_ref() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn set_rows(&mut self, space: Space, pairs: &[(Bytes, Option<Bytes>)]) -> Result<(), OpError> {
        for (key, row) in pairs {
            let cell = CellId::head(space, key.clone());
            match row {
                Some(row) => self.draft.put(self.table, cell, Value::Bytes(row.clone()), None)?,
                None => self.draft.remove(self.table, cell)?,
            }
        }
        Ok(())
    }
}
