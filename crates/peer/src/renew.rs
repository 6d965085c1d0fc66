//! Renewing a certificate while the node runs.

use bytes::Bytes;
use prost::Message;
use rcgen::KeyPair;
use rhumb_ports::peer::{CallError, PeerCall, Service};
use rhumb_types::RegionId;
use std::time::SystemTime;

use crate::{
    identity::{FileError, IdentityError, pem, read_key, replace_certificate},
    join::signing_request,
    pb::JoinReply,
    peer::Peer,
};

/// Why a certificate was not renewed. The old one is still in use.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The member that holds the authority could not be asked, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// This node's own desk refused.
    #[error("{0}")]
    Refused(String),
    /// The key of this node cannot be used.
    #[error("use this node's key: {0}")]
    Key(String),
    /// The answer makes no sense.
    #[error("the member's answer cannot be read: {0}")]
    Answer(String),
    /// Files could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was received cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Peer {
    /// Has the member of a region, which holds the authority, sign this node's key again, and uses
    /// the new certificate for every new connection. The key stays, so that one file changes and a
    /// crash in between does no harm. Gives the new end of validity.
    ///
    /// A node that hands out identities renews its own from its own region.
    ///
    /// # Errors
    /// [`RenewError`].
    pub async fn renew(&self, from: RegionId) -> Result<SystemTime, RenewError> {
        let identities = self.identities();
        let key = read_key(identities.folder())?;
        let key = KeyPair::from_pem(&key).map_err(|error| RenewError::Key(error.to_string()))?;
        let request = Bytes::from(signing_request(&key).map_err(RenewError::Key)?);
        let own = identities.identity();
        let reply = if own.region == from {
            self.renew_here(own, request).await.map_err(RenewError::Refused)?
        } else {
            let answer = self.call(from, Service::Join, request).await?;
            JoinReply::decode(answer).map_err(|error| RenewError::Answer(error.to_string()))?
        };
        let authorities: String = reply.authorities.iter().map(|der| pem(der)).collect();
        replace_certificate(identities.folder(), &authorities, &pem(&reply.certificate))?;
        Ok(identities.reload()?.expires_at())
    }
}
