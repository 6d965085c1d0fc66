//! Hearing what other regions know, before a row that is not here is denied (rule 11).

use rhumb_ports::peer::CallError;
use rhumb_types::{DomainId, record::VersionVector};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ObjectClient, ObjectError,
    wire::{Call, Told},
};
use crate::limits::{CATCH_UP_LOOK_INTERVAL, CATCH_UP_WAIT, INDEX_CALL_WAIT};

impl ObjectClient {
    /// Waits until all is applied here that the other regions had applied when this began, as far as
    /// they can be reached.
    ///
    /// # Errors
    /// `Unavailable` when it does not come in time, or when a region does not answer that has told of more
    /// than is here.
    pub(super) async fn catch_up(&self) -> Result<(), ObjectError> {
        let status = self.engine().status();
        let mut asked = JoinSet::new();
        for peer in status.peers.iter().filter(|peer| !peer.witness) {
            let (client, region) = (self.clone(), peer.region.clone());
            let is_ahead = peer.ahead_transactions > 0;
            asked.spawn(async move {
                let told = client.call(&region, &Call::Applied, INDEX_CALL_WAIT).await;
                (region, is_ahead, told)
            });
        }
        let mut wanted = VersionVector::new();
        while let Some(answer) = asked.join_next().await {
            let Ok((region, is_ahead, told)) = answer else { continue };
            match told {
                Ok(Told::Applied(applied)) => {
                    applied.iter().for_each(|(origin, version)| wanted.raise(origin, version));
                }
                Ok(_) | Err(CallError::Unreachable { .. } | CallError::Refused { .. })
                    if is_ahead =>
                {
                    return Err(ObjectError::Unavailable(format!(
                        "{region} may know of it, and cannot be reached"
                    )));
                }
                Ok(_) | Err(_) => {}
            }
        }
        let arrived = async {
            while !self.engine().committed_vector().includes(&wanted) {
                sleep(CATCH_UP_LOOK_INTERVAL).await;
            }
        };
        timeout(CATCH_UP_WAIT, arrived).await.map_err(|_late| {
            ObjectError::Unavailable("what other regions know has not come here yet".to_owned())
        })
    }

    /// What this region has applied, of what is everywhere.
    pub(super) fn applied(&self) -> VersionVector {
        let mut everywhere = VersionVector::new();
        for (origin, version) in self.engine().committed_vector().iter() {
            if origin.domain() == DomainId::EVERYWHERE {
                everywhere.raise(origin, version);
            }
        }
        everywhere
    }
}
