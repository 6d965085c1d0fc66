//! fjall's errors in the words of the port.

use std::{io, path::Path};

use rhumb_ports::store::StoreError;

/// Below this much free space a store that fjall has given up on counts as full, in bytes: less
/// than one memtable cannot be flushed any more.
const FULL_BELOW_BYTES: u64 = crate::tables::MEMTABLE_BYTES;

/// What an operation on a data directory failed with.
pub(crate) fn store_error(path: &Path, error: &fjall::Error) -> StoreError {
    let full = match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            is_full(error)
        }
        // The cause went to a worker thread of fjall; look for the usual one.
        fjall::Error::Poisoned => free_bytes(path).is_some_and(|free| free < FULL_BELOW_BYTES),
        _ => false,
    };
    let path = path.display().to_string();
    if full { StoreError::Full { path } } else { StoreError::Disk { path, reason: reason(error) } }
}

/// What an operation on a file of a data directory failed with.
pub(crate) fn io_error(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display().to_string();
    if is_full(error) {
        StoreError::Full { path }
    } else {
        StoreError::Disk { path, reason: error.to_string() }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn reason(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            error.to_string()
        }
        fjall::Error::Storage(fjall::LsmError::ChecksumMismatch { .. }) => {
            "a block of a table has a wrong checksum. Stop the node, move this folder aside and start \
             it: it takes everything from its peers then, without what it alone had"
                .to_owned()
        }
        fjall::Error::Poisoned => "an earlier write to it failed".to_owned(),
        other => other.to_string(),
    }
}
