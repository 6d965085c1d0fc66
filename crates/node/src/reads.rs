//! Answering the node's own reads from a store. Drivers call it where reading may wait.

use std::collections::BTreeMap;

use rhumb_ports::store::{Range, ReadStore, Store, StoreError};
use rhumb_state::{ReadSet, RowId};
use rhumb_types::RegionId;

use crate::{
    event::{Effect, Event, Rows},
    part,
};

/// The snapshots that peers are loading, by transfer.
pub type Transfers<S> = BTreeMap<(RegionId, u64), <S as Store>::Snapshot>;

/// Answers an effect that reads; `None` for one that wants no answer.
pub fn answer<S: Store>(store: &S, transfers: &mut Transfers<S>, effect: Effect) -> Option<Event> {
    Some(match effect {
        Effect::Fetch { ticket, rows } => {
            Event::Fetched { ticket, reads: read_rows(store, rows.into_iter()) }
        }
        Effect::ReadLog { to, origin, after, bytes_max } => {
            let rows = store.log(origin, after, bytes_max);
            Event::LogRead { to, origin, after, rows }
        }
        Effect::ReadSnapshot { to, transfer, after } => {
            let view = transfers.entry((to.clone(), transfer)).or_insert_with(|| store.snapshot());
            Event::SnapshotRead { to, chunk: part::read(view, transfer, after, None) }
        }
        Effect::EndSnapshot { to, transfer } => {
            transfers.remove(&(to, transfer));
            return None;
        }
        Effect::ReadRange { transfer, after, through } => {
            let part = part::read(store, transfer, after, Some(through));
            Event::RangeRead { transfer, part }
        }
        Effect::ReadDue { until, limit } => Event::DueRead { due: store.expired(until, limit) },
        Effect::ReadMembers { space, key, after, limit } => {
            let commit = store.commit_number();
            let rows = store.members(space, &key, Range { after, limit });
            Event::MembersRead {
                space,
                key,
                rows: rows.map(|rows| Rows::page(commit, rows, limit)),
            }
        }
        Effect::ReadKeys { space, prefix, after, limit } => {
            let commit = store.commit_number();
            let rows = store.keys(space, &prefix, Range { after, limit });
            Event::KeysRead {
                space,
                prefix,
                rows: rows.map(|rows| Rows::page(commit, rows, limit)),
            }
        }
        _ => return None,
    })
}

/// Reads rows, tagged with a commit that they are at least as new as (rule 2).
///
/// # Errors
/// [`StoreError`] when the store fails or a row is damaged.
pub fn read_rows(
    store: &dyn ReadStore,
    rows: impl Iterator<Item = RowId>,
) -> Result<ReadSet, StoreError> {
    let mut reads = ReadSet { commit: store.commit_number(), ..ReadSet::default() };
    for row in rows {
        match row {
            RowId::Head(space, key) => {
                let head = store.head(space, &key)?;
                reads.heads.push((space, key, head));
            }
            RowId::Member(space, key, member) => {
                let cell = store.member(space, &key, &member)?;
                reads.members.push((space, key, member, cell));
            }
            RowId::Owned(id) => {
                let row = store.owned(&id)?;
                reads.owned.push((id, row));
            }
        }
    }
    Ok(reads)
}
