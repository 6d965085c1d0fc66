//! The machine's state as bytes.

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{CodecError, Record},
};
use serde::{Deserialize, Serialize};

use super::{
    StrongMachine,
    items::{Item, Items},
    requests::{Remembered, Requests},
};

#[derive(Serialize, Deserialize)]
struct Snapshot {
    index: u64,
    now: UnixMillis,
    items: Vec<(Bytes, Item)>,
    floor: Option<UnixMillis>,
    requests: Vec<Remembered>,
}

impl Record for Snapshot {
    const VERSION: u8 = 1;
}

pub(super) fn write(machine: &StrongMachine) -> Bytes {
    let (floor, requests) = machine.requests.parts();
    let items = machine.items.iter().map(|(key, item)| (key.clone(), item.clone())).collect();
    Snapshot { index: machine.index, now: machine.now, items, floor, requests }.encode()
}

pub(super) fn read(bytes: &[u8]) -> Result<StrongMachine, CodecError> {
    let snapshot = Snapshot::decode(bytes)?;
    let mut items = Items::default();
    for (key, item) in snapshot.items {
        items.insert(key, item);
    }
    Ok(StrongMachine {
        index: snapshot.index,
        now: snapshot.now,
        items,
        requests: Requests::from_parts(snapshot.floor, snapshot.requests),
    })
}
