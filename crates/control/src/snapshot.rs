//! The snapshot file: the machine's state, and where in the log it stands.

use std::io;

use bytes::Bytes;

use crate::{
    disk::Disk,
    log::{Flaw, OpenLogError, seal, unseal},
    raft::SnapshotMeta,
};

/// The file; at most one.
pub(crate) const SNAPSHOT_NAME: &str = "snapshot";
const MAGIC: [u8; 4] = *b"RLSN";
const FORMAT: u16 = 1;

/// A snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Where it stands, and who the members were.
    pub(crate) meta: SnapshotMeta,
    /// The machine's state.
    pub(crate) data: Bytes,
}

impl Stored {
    /// Reads the snapshot, if there is one.
    pub(crate) async fn load(disk: &dyn Disk) -> Result<Option<Self>, OpenLogError> {
        let file = disk.read(SNAPSHOT_NAME).await.map_err(OpenLogError::io(SNAPSHOT_NAME))?;
        let decode = |file: Bytes| {
            Self::decode(&file).map_err(|flaw| OpenLogError::flaw(SNAPSHOT_NAME, flaw))
        };
        file.map(decode).transpose()
    }

    /// Puts the snapshot in place of the one before.
    pub(crate) async fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        let body = postcard::to_stdvec(&(&self.meta, &self.data)).map_err(io::Error::other)?;
        disk.replace(SNAPSHOT_NAME, seal(MAGIC, FORMAT, &body)).await
    }

    fn decode(file: &[u8]) -> Result<Self, Flaw> {
        let body = unseal(MAGIC, FORMAT, file)?;
        let (meta, data) =
            postcard::from_bytes(body).map_err(|fault| Flaw::Damaged(fault.to_string()))?;
        Ok(Self { meta, data })
    }
}
