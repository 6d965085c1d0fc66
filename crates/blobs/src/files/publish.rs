//! Giving finished blobs their names, many at a time.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::mpsc::Receiver,
};

use rhumb_ports::blobs::BlobError;
use rhumb_types::record::{BlobHash, BlobRef};
use tokio::sync::oneshot;

use super::{directory::Directory, open, write::Draft};
use crate::counters::add;

/// Most blobs that share the syncs of their directories.
const BATCH_MAX: usize = 256;

/// A blob whose file is written and synced, and has no name yet.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) draft: Draft,
    pub(super) blob: BlobRef,
    pub(super) answer: oneshot::Sender<Result<BlobRef, BlobError>>,
}

/// A blob that has its name, which is not synced yet.
struct Named {
    blob: BlobRef,
    is_new: bool,
    answer: oneshot::Sender<Result<BlobRef, BlobError>>,
}

/// Publishes until the store is closed.
pub(super) fn run(directory: &Directory, publishing: &Receiver<Finished>) {
    while let Ok(first) = publishing.recv() {
        let more = publishing.try_iter().take(BATCH_MAX - 1);
        let batch: Vec<Finished> = std::iter::once(first).chain(more).collect();
        publish(directory, batch);
    }
}

fn publish(directory: &Directory, batch: Vec<Finished>) {
    let mut shards: BTreeMap<PathBuf, Vec<Named>> = BTreeMap::new();
    for Finished { draft, blob, answer } in batch {
        match directory.usable().and_then(|()| name(directory, draft, blob.hash)) {
            Ok(is_new) => {
                let named = Named { blob, is_new, answer };
                shards.entry(directory.shard(blob.hash)).or_default().push(named);
            }
            Err(error) => answer_with(answer, Err(error)),
        }
    }
    for (shard, named) in shards {
        let synced = open::sync(&shard);
        if let Err(error) = &synced {
            directory.poison(error);
        }
        for named in named {
            settle(directory, named, &synced);
        }
    }
}

/// Gives a blob its name; whether it was new. What is held already is kept, unless it is damaged.
fn name(directory: &Directory, draft: Draft, hash: BlobHash) -> Result<bool, BlobError> {
    if directory.is_held(hash)? {
        return Ok(false);
    }
    draft.rename(&directory.file(hash)).map_err(|error| directory.error(&error))?;
    directory.changed(hash);
    Ok(true)
}

/// Answers for a blob whose directory was synced, or takes back its name.
fn settle(directory: &Directory, named: Named, synced: &io::Result<()>) {
    let Named { blob, is_new, answer } = named;
    let Err(error) = synced else {
        let counters = &directory.counters;
        if is_new {
            add(&counters.stored, 1);
            add(&counters.stored_bytes, blob.bytes);
        } else {
            add(&counters.kept, 1);
        }
        return answer_with(answer, Ok(blob));
    };
    if is_new {
        take_back(directory, blob.hash);
    }
    answer_with(answer, Err(directory.error(error)));
}

fn take_back(directory: &Directory, hash: BlobHash) {
    match fs::remove_file(directory.file(hash)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::error!(%hash, %error, "a blob that was not stored cannot be removed");
        }
        _ => directory.changed(hash),
    }
}

fn answer_with(
    answer: oneshot::Sender<Result<BlobRef, BlobError>>,
    result: Result<BlobRef, BlobError>,
) {
    // Who gave up does not listen.
    let _unheard = answer.send(result);
}
