//! Rule 16: an older host meets records of a newer release, until it is upgraded.
//!
//! There is no newer release to run, so a record's version byte is raised as it arrives at a host
//! that is held for older; its decoder, the shipped one, then finds what it cannot read.

use bytes::Bytes;
use rhumb_ports::peer::PeerMessage;

use super::World;

/// One transaction in so many is of a kind that the older release does not know.
const NEW_KIND_EVERY: u64 = 40;
/// A version that no release has.
const NEWER: u8 = u8::MAX;

impl World {
    /// From now on a host is of an older release.
    pub(crate) fn downgrade(&mut self, host: usize) {
        self.older = Some(host);
    }

    /// Ends the older release: its process ends, and one of the same release as all others starts.
    pub(crate) fn upgrade(&mut self) {
        let Some(host) = self.older.take() else { return };
        if self.is_up(host) {
            self.crash(host, usize::MAX);
            self.start(host);
        }
    }

    /// A message as the release of a host finds it.
    pub(super) fn as_found_by(&self, host: usize, mut message: PeerMessage) -> PeerMessage {
        if self.older != Some(host) {
            return message;
        }
        if let PeerMessage::Log(batch) = &mut message {
            for (version, transaction) in (batch.first..).zip(&mut batch.transactions) {
                let mut bytes = transaction.to_vec();
                let new_kind = version.is_multiple_of(NEW_KIND_EVERY);
                if let Some(first) = bytes.first_mut().filter(|_| new_kind) {
                    *first = NEWER;
                    *transaction = Bytes::from(bytes);
                }
            }
        }
        message
    }
}
