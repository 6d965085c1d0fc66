//! Carrying changes of the index out.

use std::time::Duration;

use rhumb_node::SubmitError;
use rhumb_objects::{
    ask::{self, Answer, Ask},
    index::Writing,
    rows::{Change, Rows},
};
use rhumb_ports::store::StoreError;
use rhumb_state::{Op, Reply};
use rhumb_types::{
    AckLevel, ErrorCode,
    planted::{self, Planted},
    record::{BlobRef, BucketConsistency, BucketDefinition, Dot, Space, VersionVector},
};

use super::{
    calls::{Call, Failure, INDEX_CALL_WAIT, Told, acting, settled, still_acts},
    decide::{By, by_home, change_index},
    here::{Here, Pin},
};

/// What was written; `None` when a row was not as expected.
pub(super) async fn compare_and_set(
    here: &Here,
    ack: AckLevel,
    mut change: Change,
) -> Result<Option<VersionVector>, Failure> {
    if planted::is(Planted::CompareNothing) {
        change.expect.clear();
    }
    let (space, expected, pairs) = (Space::OBJECTS, change.expect, change.write);
    set_if(here, ack, Op::CompareSet { space, expected, pairs }).await
}

/// What was written by an operation that answers 1 or 0; `None` when it did nothing.
pub(super) async fn set_if(
    here: &Here,
    ack: AckLevel,
    op: Op,
) -> Result<Option<VersionVector>, Failure> {
    match here.submit(op, ack).await {
        Ok((replies, written)) => match replies.first() {
            Some(Reply::Int(1)) => Ok(Some(written)),
            Some(Reply::Int(_)) => Ok(None),
            other => Err(Failure::new(ErrorCode::Invalid, format!("{other:?}"))),
        },
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &SubmitError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// Carries a change out in this region's index. Of the blobs that it names, those that are held here are
/// said to be, in the same transaction.
async fn decide(
    here: &Here,
    definition: &BucketDefinition,
    ask: &Ask,
    by: &By,
    held: &[BlobRef],
) -> Result<(Answer, VersionVector), Failure> {
    let writing = writing(here);
    change_index(here, by, |rows| {
        let (answer, mut change) = ask::decide(rows, definition.versioning, ask, writing.clone())?;
        say_held(here, rows, (held, Duration::MAX), &mut change)?;
        Ok((answer, change))
    })
    .await
}

/// Who writes, now.
pub(super) fn writing(here: &Here) -> Writing {
    let at = here.now().wall;
    Writing { version: here.new_version(), at, region: here.region().clone() }
}

fn say_held(
    here: &Here,
    rows: &impl Rows<Error = StoreError>,
    blobs: (&[BlobRef], Duration),
    change: &mut Change,
) -> Result<(), Failure> {
    let held = (here.region(), here.now().wall);
    ask::say_held(rows, held, blobs, change)
        .map_err(|error| Failure::unavailable(error.to_string()))
}

/// Says that blobs are held here, for good.
pub(super) async fn hold(here: &Here, blobs: &[BlobRef]) -> Result<(), Failure> {
    hold_young(here, blobs, Duration::MAX).await
}

/// The same, and again where that was said longer ago than `renew`.
pub(super) async fn hold_young(
    here: &Here,
    blobs: &[BlobRef],
    renew: Duration,
) -> Result<(), Failure> {
    if blobs.is_empty() {
        return Ok(());
    }
    let change = change_index(here, &By::Anyone(AckLevel::Local), |rows| {
        let mut change = Change::default();
        say_held(here, rows, (blobs, renew), &mut change)?;
        Ok(((), change))
    });
    change.await.map(|_| ())
}

/// Changes the index: here, or where the key's home is acted for. What the change refers to stays here
/// until it is committed here.
pub(super) async fn change(
    here: &Here,
    definition: &BucketDefinition,
    ask: &Ask,
    pins: Vec<Pin>,
) -> Result<(Answer, VersionVector), Failure> {
    if definition.consistency == BucketConsistency::Eventual {
        let by = By::Anyone(definition.ack);
        return decide(here, definition, ask, &by, ask.what.blobs()).await;
    }
    hold(here, ask.what.blobs()).await?;
    let (answer, written) = change_at_home(here, ask).await?;
    let dot = written.iter().next().map(|(origin, version)| Dot { origin, version });
    if let Some(dot) = dot {
        pins.into_iter().for_each(|pin| pin.until(dot));
    }
    Ok((answer, written))
}

async fn change_at_home(here: &Here, ask: &Ask) -> Result<(Answer, VersionVector), Failure> {
    let acting = acting(here, &ask.bucket, &ask.key)?;
    if acting == *here.region() {
        return change_here(here, ask).await;
    }
    match here.call(&acting, Call::Change(Box::new(ask.clone())), INDEX_CALL_WAIT).await {
        Some(Told::Changed(answer, written)) => Ok((*answer, written)),
        Some(Told::Refused(failure)) => Err(failure),
        Some(Told::Unsent) => Err(Failure::unavailable(format!("{acting} is not connected"))),
        _ => Err(Failure::new(ErrorCode::Unconfirmed, "the home may have done it")),
    }
}

/// Makes a change for whoever asks, if this region acts for the key's home (rule 10).
pub(super) async fn change_here(
    here: &Here,
    ask: &Ask,
) -> Result<(Answer, VersionVector), Failure> {
    let definition = here.definition(&ask.bucket)?;
    still_acts(here, &ask.bucket, &ask.key)?;
    let by = by_home(here, &ask.bucket, &ask.key).await?;
    // The bytes are where they were taken in, and said to be held there already.
    let decided = decide(here, &definition, ask, &by, &[]).await;
    let rests = match &decided {
        // Nothing was written, so nothing of it was confirmed.
        Ok((_, written)) => written.is_empty(),
        Err(failure) => !failure.is_unknown(),
    };
    if rests {
        settled(here, &ask.bucket, &ask.key).await?;
        still_acts(here, &ask.bucket, &ask.key)?;
    }
    let answer = decided?;
    // As the answer leaves, the lease is looked at again (rule 4).
    still_acts(here, &ask.bucket, &ask.key).map_err(|failure| {
        Failure::new(ErrorCode::Unconfirmed, format!("written, but {}", failure.why))
    })?;
    Ok(answer)
}
