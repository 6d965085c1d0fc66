//! Keys of linearizable buckets: who decides for them, and what an answer about them waits for (rule 10).

use std::sync::Arc;

use bytes::Bytes;
use rhumb_objects::{
    ask::{self, Answer, Ask},
    index::{Found, ReadRefused, Which},
    place,
};
use rhumb_ports::peer::CallError;
use rhumb_types::{
    Epoch, ErrorCode, RegionId,
    control::{ControlView, Homes},
    record::{BucketDefinition, BucketName, IndexKey, ObjectRecord, Space, VersionVector},
};

use super::{
    ObjectClient, ObjectError,
    wire::{Call, Told},
};
use crate::limits::INDEX_CALL_WAIT;

/// The home of a key, unless it moves.
fn home<'h>(
    homes: &'h Homes,
    bucket: &BucketName,
    key: &[u8],
) -> Result<&'h RegionId, ObjectError> {
    place::home(homes, bucket, key).map_err(|error| ObjectError::Unavailable(error.to_string()))
}

impl ObjectClient {
    /// Finds a version where the key's home is acted for: nothing newer was acknowledged.
    pub(super) async fn head_at_home(
        &self,
        definition: &BucketDefinition,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
    ) -> Result<ObjectRecord, ObjectError> {
        let acting = self.acting(bucket, key)?;
        if acting != *self.region() {
            let (bucket, key) = (bucket.clone(), key.clone());
            let call = Call::Find { bucket, key, which, seen: VersionVector::new() };
            let told = self.call(&acting, &call, INDEX_CALL_WAIT).await;
            return match told {
                Ok(Told::Found(Some(record))) if record.content.is_some() => Ok(*record),
                Ok(Told::Found(_)) if which == Which::Newest => Err(ReadRefused::NoKey.into()),
                Ok(Told::Found(_)) => Err(ReadRefused::NoVersion.into()),
                Ok(Told::Refused(refusal)) => Err(refusal.into()),
                Ok(_) => Err(ObjectError::Damaged("the answer is another's".to_owned())),
                Err(error) => Err(ObjectError::Unavailable(error.to_string())),
            };
        }
        Ok(self.found_at_home(definition, (bucket, key), which).await?.object(which)?)
    }

    /// Finds a version, while this region acts for the key's home: what it says rests on what a majority
    /// has.
    pub(super) async fn found_at_home(
        &self,
        definition: &BucketDefinition,
        (bucket, key): (&BucketName, &Bytes),
        which: Which,
    ) -> Result<Found, ObjectError> {
        let rows = self.found(&self.by_home(bucket, key).await?).await?;
        let found = self.known(&rows, definition, (bucket, key), which)?;
        self.settled(bucket, key).await?;
        Ok(found)
    }

    /// Waits until a majority has what an answer about a key rests on, while this region acts for its
    /// home: what is known here alone would be forgotten by the next one.
    pub(super) async fn settled(
        &self,
        bucket: &BucketName,
        key: &Bytes,
    ) -> Result<(), ObjectError> {
        let row = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
        let head = self.engine().shared().store.head(Space::OBJECTS, &row)?;
        let applied = self.engine().committed_vector();
        let written = ask::rests_on(head.as_ref().map(|head| &head.cell), applied);
        if !self.at_majority(written).await {
            let why = "a majority does not have what is known here yet";
            return Err(ObjectError::Unavailable(why.to_owned()));
        }
        self.still_acts(bucket, key)
    }

    /// Which region acts for a key's home.
    fn acting(&self, bucket: &BucketName, key: &[u8]) -> Result<RegionId, ObjectError> {
        let view = self.agreed()?;
        let home = home(&view.homes, bucket, key)?;
        if self.engine().may_decide(home, view.homes.version).is_some() {
            return Ok(self.region().clone());
        }
        match view.acting_for(home) {
            Some(region) if region != self.region() => Ok(region.clone()),
            _ => Err(ObjectError::Unavailable(format!(
                "nobody acts for {home}, the key's home, now"
            ))),
        }
    }

    fn agreed(&self) -> Result<Arc<ControlView>, ObjectError> {
        let view = self.engine().agreed().map(|view| view.borrow().clone());
        view.ok_or_else(|| ObjectError::Unavailable("this node does not route yet".to_owned()))
    }

    pub(super) fn still_acts(&self, bucket: &BucketName, key: &[u8]) -> Result<(), ObjectError> {
        self.acts(bucket, key).map(|_| ())
    }

    /// What is agreed, the key's home, and the epoch in which this region acts for it.
    pub(super) fn acts(
        &self,
        bucket: &BucketName,
        key: &[u8],
    ) -> Result<(Arc<ControlView>, RegionId, Epoch), ObjectError> {
        let view = self.agreed()?;
        let home = home(&view.homes, bucket, key)?.clone();
        match self.engine().may_decide(&home, view.homes.version) {
            Some(epoch) => Ok((view, home, epoch)),
            None => Err(ObjectError::Unavailable(format!(
                "this region no longer acts for {home}, the key's home"
            ))),
        }
    }

    /// Has a change made by the region that acts for the key's home (rule 10).
    pub(super) async fn change_at_home(
        &self,
        definition: &BucketDefinition,
        ask: &Ask,
    ) -> Result<(Answer, VersionVector), ObjectError> {
        let acting = self.acting(&ask.bucket, &ask.key)?;
        if acting == *self.region() {
            return self.change_acting(definition, ask).await;
        }
        match self.call(&acting, &Call::Change(Box::new(ask.clone())), INDEX_CALL_WAIT).await {
            Ok(Told::Changed(answer, written)) => Ok((*answer, written)),
            Ok(Told::Refused(refusal)) => Err(refusal.into()),
            Ok(_) => Err(ObjectError::Damaged("the answer is another's".to_owned())),
            Err(CallError::Unreachable { sent: true, reason, .. }) => {
                Err(ObjectError::Unconfirmed(format!("{acting} may have done it: {reason}")))
            }
            Err(error) => Err(ObjectError::Unavailable(error.to_string())),
        }
    }

    /// Makes a change, if this region acts for the key's home.
    pub(super) async fn change_acting(
        &self,
        definition: &BucketDefinition,
        ask: &Ask,
    ) -> Result<(Answer, VersionVector), ObjectError> {
        self.still_acts(&ask.bucket, &ask.key)?;
        let by = self.by_home(&ask.bucket, &ask.key).await?;
        // The bytes are where they were taken in, and said to be held there already.
        let decided = self.decide(definition, ask, &by, &[]).await;
        let rests = match &decided {
            // Nothing was written, so nothing of it was confirmed.
            Ok((_, written)) => written.is_empty(),
            // A refusal is an answer about what is there, too.
            Err(error) => !matches!(error.code(), ErrorCode::Unconfirmed | ErrorCode::Internal),
        };
        if rests {
            self.settled(&ask.bucket, &ask.key).await?;
        }
        let answer = decided?;
        // As the answer leaves, the lease is looked at again (rule 4).
        self.still_acts(&ask.bucket, &ask.key)
            .map(|()| answer)
            .map_err(|error| ObjectError::Unconfirmed(format!("written, but {error}")))
    }
}
