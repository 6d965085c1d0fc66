//! Carrying changes of the index out: here, or in a linearizable bucket where the key's home is acted
//! for. What a change comes to is said by `rhumb_objects::ask`.

use std::time::Duration;

use rhumb_objects::{
    ask::{self, Answer, Ask, AskRefused},
    index::Writing,
    rows::{Change, Rows},
};
use rhumb_ports::{clock::Entropy as _, store::StoreError};
use rhumb_types::{
    Hlc,
    record::{BlobRef, BucketDefinition, VersionId, VersionVector},
};

use super::{ObjectClient, ObjectError, decide::By};
use crate::{Engine, OsEntropy};

impl Engine {
    pub(super) fn new_version(&self) -> VersionId {
        let now = self.clock().now().wall;
        VersionId { hlc: Hlc::from_millis(now), entropy: OsEntropy.next_u64() }
    }
}

impl ObjectClient {
    /// Carries a change out in this region's index. Of the blobs that it names, those that are held
    /// here are said to be, in the same transaction.
    pub(super) async fn decide(
        &self,
        definition: &BucketDefinition,
        ask: &Ask,
        by: &By,
        held: &[BlobRef],
    ) -> Result<(Answer, VersionVector), ObjectError> {
        let writing = self.writing();
        self.change_index(by, |rows| {
            let (answer, mut change) =
                ask::decide(rows, definition.versioning, ask, writing.clone())?;
            self.say_held(rows, (held, Duration::MAX), &mut change)?;
            Ok((answer, change))
        })
        .await
    }

    /// Who writes, now.
    pub(super) fn writing(&self) -> Writing {
        let at = self.engine().clock().now().wall;
        Writing { version: self.engine().new_version(), at, region: self.region().clone() }
    }

    /// Adds to a change that this region holds some blobs, for good, and says so again after a time.
    pub(super) fn say_held(
        &self,
        rows: &impl Rows<Error = StoreError>,
        blobs: (&[BlobRef], Duration),
        change: &mut Change,
    ) -> Result<(), ObjectError> {
        let held = (self.region(), self.engine().clock().now().wall);
        Ok(ask::say_held(rows, held, blobs, change)?)
    }
}

impl From<AskRefused> for ObjectError {
    fn from(refused: AskRefused) -> Self {
        match refused {
            AskRefused::Object(refused) => refused.into(),
            AskRefused::Begin(refused) => refused.into(),
            AskRefused::Part(refused) => refused.into(),
            AskRefused::Complete(refused) => refused.into(),
            AskRefused::NoUpload(refused) => refused.into(),
            AskRefused::Meanwhile => Self::Unavailable(refused.to_string()),
        }
    }
}
