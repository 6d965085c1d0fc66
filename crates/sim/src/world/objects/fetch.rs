//! Fetching what this region ought to hold, and does not.

use bytes::Bytes;
use rhumb_objects::{
    refer::{KINDS, Placement, Placements, Referred, holding, referred},
    rows::Rows as _,
    want::{self, Fetch, FetchEnd, Priority, Wish as Wanted},
};
use rhumb_types::{
    RegionId, UnixMillis,
    planted::{self, Planted},
    record::{BlobRef, BucketName},
};

use super::{
    calls::{Call, FETCH_CALL_WAIT, Failure, Told, sources},
    change::{hold, hold_young},
    here::{Answered, Here},
    pace::Pace,
    put::store,
};
use crate::{
    branch::Branch,
    time::{Micros, SECOND},
};

/// Who walks more often finds soon what was missed.
const MOVED_WALK: Micros = 10 * SECOND;

/// Rows that are looked at in a turn.
const ROWS_PER_TURN: usize = 256;
/// Why a blob did not come.
#[derive(Debug)]
pub(super) enum FetchError {
    NotThere,
    Failed(Failure),
}

/// Looks at rows as they are committed, walks over the index, and fetches.
pub(super) async fn replicate(here: Here) {
    let mut turn = 0;
    let mut holders = None;
    let Pace { look: every, walk, .. } = *here.pace();
    // The engine routes from its start; who walks soon need not wait for that.
    while walk > MOVED_WALK && here.routing().is_none() {
        here.sleep(every).await;
    }
    loop {
        let mut rows = Vec::new();
        while let Some(row) = { here.state().rows.pop_front() } {
            rows.push(row);
            if rows.len() == ROWS_PER_TURN {
                break;
            }
        }
        look(&here, rows, Priority::Written).await;
        // Where regions were enabled or disabled, copies ought to be in other places.
        let data = here.routing().map(|snapshot| (snapshot.data(), here.is_returning()));
        let moved = walk > MOVED_WALK && holders.replace(data).is_some_and(|before| before != data);
        if moved || turn % Pace::rounds(every, walk) == 0 {
            for kind in KINDS {
                let rows = here.rows().rows(kind, None, usize::MAX).unwrap_or_default();
                look(&here, rows, Priority::Missing).await;
            }
        }
        begin_fetches(&here);
        turn += 1;
        here.sleep(every).await;
    }
}

/// Looks which blobs of some rows ought to be here and are not.
async fn look(here: &Here, rows: Vec<(Bytes, Bytes)>, priority: Priority) {
    let Some(snapshot) = here.routing() else { return };
    let Some(at) = snapshot.index(here.region()) else { return };
    let mut buckets = Placements::new();
    for (key, row) in rows {
        let Ok(Some(Referred { blobs, place: Some(place) })) = referred(&key, &row) else {
            continue;
        };
        let known = buckets.entry(place.bucket.clone()).or_insert_with(|| {
            let mut placement = Placement::of(&snapshot, here.definition(&place.bucket).ok()?)?;
            if here.is_returning() {
                placement.bounds = placement.bounds.with_returning(&snapshot, at);
            }
            Some(placement)
        });
        let Some(placement) = known else { continue };
        for blob in &blobs {
            let holders = holding(&here.rows(), &snapshot, &blob.hash);
            let ought = placement.ought(&snapshot, &place, holders);
            if ought.regions.contains(at) && !holders.contains(at) {
                want_here(here, *blob, (priority, place.written), &place.taken_in).await;
            }
        }
    }
}

async fn want_here(
    here: &Here,
    blob: BlobRef,
    (priority, written): (Priority, UnixMillis),
    taken_in: &RegionId,
) {
    let Some(_pin) = here.pin(blob.hash).await else { return };
    if here.blobs().get(&blob.hash).is_some() {
        here.note(Branch::HeldUnsaid);
        let _later = hold(here, &[blob]).await;
        return;
    }
    let sources = sources(here, &blob.hash, taken_in);
    here.state().want.add(Wanted { blob, priority, written, sources });
}

fn begin_fetches(here: &Here) {
    loop {
        let next = {
            let mut state = here.state();
            let now = state.now.mono;
            if state.fetching >= here.pace().fetches {
                return;
            }
            state.want.next(now)
        };
        let Some(Fetch { blob, source, priority }) = next else { return };
        here.state().fetching += 1;
        let task = here.clone();
        here.spawn(async move {
            let end = fetch_end(&task, &source, blob).await;
            if (end, priority) == (FetchEnd::Held, Priority::Repair) {
                task.note(Branch::BlobRepaired);
            }
            let mut state = task.state();
            let now = state.now.mono;
            state.fetching -= 1;
            state.want.on_end(now, &blob.hash, end);
        });
    }
}

async fn fetch_end(here: &Here, source: &RegionId, blob: BlobRef) -> FetchEnd {
    let Some(_pin) = here.pin(blob.hash).await else { return FetchEnd::Failed };
    match fetch(here, source, blob).await {
        Ok(()) => {}
        Err(FetchError::NotThere) => return FetchEnd::NotThere,
        Err(FetchError::Failed(_)) => return FetchEnd::Failed,
    }
    match hold(here, &[blob]).await {
        Ok(()) => FetchEnd::Held,
        Err(_) => FetchEnd::Failed,
    }
}

/// Fetches a blob from another region, whole; what is here already and sound is not.
async fn fetch(here: &Here, source: &RegionId, blob: BlobRef) -> Result<(), FetchError> {
    if here.blobs().get(&blob.hash).is_some() {
        return Ok(());
    }
    read_from(here, source, blob).await?;
    store(here, blob).await.map_err(FetchError::Failed)?;
    here.note(Branch::BlobFetched);
    Ok(())
}

/// Reads a blob of another region, some blocks of it at a time.
pub(super) async fn read_from(
    here: &Here,
    source: &RegionId,
    blob: BlobRef,
) -> Result<(), FetchError> {
    let Pace { block_bytes, blocks_ahead, .. } = *here.pace();
    let (mut asked, mut open) = (0, Vec::new());
    loop {
        // A blob of no bytes is one block, too.
        while open.len() < blocks_ahead.max(1)
            && (asked < blob.bytes || (asked, open.len()) == (0, 0))
        {
            let bytes = block_bytes.min(blob.bytes - asked);
            let call = Call::Read { hash: blob.hash, bytes };
            open.push(here.begin_call(source, call, FETCH_CALL_WAIT));
            asked += bytes.max(1);
        }
        let (ticket, answered) = here.first_of(open.clone()).await;
        open.retain(|it| *it != ticket);
        match answered {
            Answered::Told(Some(Told::Bytes(_))) => {}
            Answered::Told(Some(Told::NoBlob)) => return Err(FetchError::NotThere),
            _ => return Err(FetchError::Failed(Failure::unavailable("no answer"))),
        }
        if open.is_empty() && asked >= blob.bytes {
            return Ok(());
        }
    }
}

/// Fetches a blob that is not here from whoever has it, now.
pub(super) async fn fetch_now(
    here: &Here,
    blob: BlobRef,
    taken_in: &RegionId,
) -> Result<(), Failure> {
    if here.blobs().get(&blob.hash).is_some() {
        return Ok(());
    }
    for region in sources(here, &blob.hash, taken_in) {
        match fetch(here, &region, blob).await {
            Ok(()) => return Ok(()),
            Err(FetchError::Failed(failure)) if here.is_full() => return Err(failure),
            Err(_) => {}
        }
    }
    Err(Failure::unavailable("no region is known to hold it"))
}

/// Fetches blobs from who asks for that; they are durable here, and said to be, when it is told.
pub(super) async fn keep_from(
    here: &Here,
    from: &RegionId,
    blobs: &[BlobRef],
) -> Result<(), Failure> {
    let mut pins = Vec::new();
    for blob in blobs {
        let pin = here.pin(blob.hash).await;
        pins.push(pin.ok_or_else(|| Failure::unavailable("the blob cannot be pinned now"))?);
    }
    for blob in blobs {
        match fetch(here, from, *blob).await {
            Ok(()) => {}
            Err(FetchError::NotThere) => return Err(Failure::unavailable("it is not there")),
            Err(FetchError::Failed(failure)) => return Err(failure),
        }
    }
    hold_young(here, blobs, here.pace().ages.surplus_grace / 2).await
}

/// What was found damaged is set aside, and fetched anew.
pub(super) fn repair(here: &Here, blob: BlobRef, taken_in: &RegionId) {
    if planted::is(Planted::NeverRepair) {
        return;
    }
    let sources = sources(here, &blob.hash, taken_in);
    let (priority, written) = (Priority::Repair, UnixMillis(0));
    here.state().want.add(Wanted { blob, priority, written, sources });
}

/// A blob is read from another region: who does that often enough keeps a copy.
pub(super) fn on_remote_read(here: &Here, bucket: &BucketName, blob: BlobRef, taken_in: &RegionId) {
    let Some(snapshot) = here.routing() else { return };
    let Ok(definition) = here.definition(bucket) else { return };
    let promoted = {
        let mut state = here.state();
        let now = state.now.mono;
        let promotions = &mut state.promotions;
        want::promotes(promotions, now, (&snapshot, here.region()), &definition, blob.hash)
    };
    if !promoted {
        return;
    }
    here.note(Branch::Promoted);
    let sources = sources(here, &blob.hash, taken_in);
    let written = here.now().wall;
    here.state().want.add(Wanted { blob, priority: Priority::Promoted, written, sources });
}
