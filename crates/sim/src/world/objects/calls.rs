//! What regions ask of each other about objects.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_objects::{
    ask::{self, Answer, Ask},
    grant::{self, HolderEffect, HolderEvent},
    index::{self, Target, Which},
    miss::{Heard, Inquiry, Verdict},
    place,
    rows::Failed,
};
use rhumb_ports::store::ReadStore as _;
use rhumb_types::{
    AckLevel, Epoch, ErrorCode, RegionId,
    control::{ControlView, Homes},
    planted::{self, Planted},
    record::{
        BlobHash, BlobRef, BucketConsistency, BucketDefinition, BucketName, IndexKey, Miss,
        ObjectRecord, Space, VersionVector,
    },
};

use super::{
    blobs::Read,
    decide::{by_home, found},
    here::{Answered, Here, Ticket},
    words,
};
use crate::{branch::Branch, time::SECOND};

/// How long another region is waited for that is asked about the index, in microseconds, as in the
/// engine;
pub(super) const INDEX_CALL_WAIT: u64 = 6 * SECOND;
/// the same for the blocks of a blob that is fetched,
pub(super) const FETCH_CALL_WAIT: u64 = 60 * SECOND;
/// and for copies.
pub(super) const KEEP_WAIT: u64 = 60 * SECOND;

/// A question of one region to another.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// So many bytes of a blob.
    Read { hash: BlobHash, bytes: u64 },
    /// To fetch blobs from the asker, and to keep them.
    Keep { blobs: Vec<BlobRef> },
    /// A version of an object, of what the asker has not applied.
    Find { bucket: BucketName, key: Bytes, which: Which, seen: VersionVector },
    /// A change of the index, at the home of its key.
    Change(Box<Ask>),
    /// A request of a client whose bytes may not lie where it came to.
    Pass(Box<words::Ask>),
    /// Whether a blob is held.
    Ask(grant::Ask),
    /// To remove one.
    Grant(grant::Grant),
}

/// The answer.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// So many bytes.
    Bytes(u64),
    NoBlob,
    Kept,
    Found(Option<Box<ObjectRecord>>),
    Changed(Box<Answer>, VersionVector),
    Refused(Failure),
    Passed(Box<words::Done>),
    Holding(grant::Told),
    Outcome(grant::Outcome),
    /// Nothing can be said.
    Nothing,
    /// It was not even sent, for there is no connection.
    Unsent,
}

/// What travels between the objects of two regions.
#[derive(Debug)]
pub(crate) enum Message {
    Call { number: Ticket, call: Box<Call> },
    Answer { number: Ticket, told: Box<Told> },
}

impl Message {
    /// Its length on the wire, within a few bytes.
    pub(crate) fn bytes(&self) -> u64 {
        const FRAME: u64 = 128;
        match self {
            Self::Answer { told, .. } => match told.as_ref() {
                Told::Bytes(bytes) => FRAME + bytes,
                Told::Found(Some(_)) | Told::Changed(..) => 4 * FRAME,
                _ => FRAME,
            },
            Self::Call { call, .. } => match call.as_ref() {
                Call::Change(_) => 4 * FRAME,
                Call::Keep { blobs } => FRAME + 40 * blobs.len() as u64,
                Call::Pass(ask) => 4 * FRAME + ask.bytes(),
                _ => FRAME,
            },
        }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// In words.
    pub why: String,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, why)
    }

    /// Whether it may have been done all the same.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.code, ErrorCode::Unconfirmed | ErrorCode::Internal)
    }
}

impl<R: rhumb_objects::rows::Refusal, E: std::error::Error> From<Failed<R, E>> for Failure {
    fn from(failed: Failed<R, E>) -> Self {
        Self::new(failed.code(), failed.to_string())
    }
}

// --- Asking ---

/// What was found, here or in another region.
#[derive(Debug, Default)]
pub(super) struct Headed {
    pub(super) record: Option<ObjectRecord>,
    /// Regions that were asked, and had told of more than was applied here.
    pub(super) ahead: Vec<RegionId>,
}

impl From<Option<ObjectRecord>> for Headed {
    fn from(record: Option<ObjectRecord>) -> Self {
        Self { record, ahead: Vec::new() }
    }
}

/// Finds a version, here or in the others (rule 11).
pub(super) async fn head(
    here: &Here,
    bucket: &BucketName,
    key: &Bytes,
    which: Which,
) -> Result<Headed, Failure> {
    let definition = here.definition(bucket)?;
    if definition.consistency == BucketConsistency::Linearizable {
        return head_at_home(here, &definition, (bucket, key), which).await.map(Headed::from);
    }
    let target = Target { bucket, versioning: definition.versioning, key };
    let found = index::find(&here.rows(), target, which)?;
    if let Some(record) = found.record() {
        return Ok(Headed::from(record.content.is_some().then(|| record.clone())));
    }
    if definition.miss == Miss::Local {
        return Ok(Headed::default());
    }
    // Nothing else happens here between the two looks.
    let seen = super::applied(here.store());
    let status = here.status();
    let peers = status.peers.iter().filter(|peer| !peer.witness);
    let peers = peers.map(|peer| (peer.region.clone(), peer.ahead_transactions > 0));
    let peers: Vec<(RegionId, bool)> = peers.collect();
    let mut inquiry = Inquiry::new(peers.iter().cloned());
    let asked: Vec<RegionId> = inquiry.asked().cloned().collect();
    let call = Call::Find { bucket: bucket.clone(), key: key.clone(), which, seen };
    let ask = |region: &RegionId| here.begin_call(region, call.clone(), INDEX_CALL_WAIT);
    let mut open: Vec<(Ticket, RegionId)> =
        asked.into_iter().map(|region| (ask(&region), region)).collect();
    let mut verdict = inquiry.verdict();
    while verdict.is_none() && !open.is_empty() {
        let (ticket, answered) = here.first_of(open.iter().map(|it| it.0).collect()).await;
        let Some(at) = open.iter().position(|it| it.0 == ticket) else { continue };
        let (_, region) = open.swap_remove(at);
        let heard = match answered {
            Answered::Told(Some(Told::Found(Some(record)))) => Heard::Found(record),
            Answered::Told(Some(Told::Found(None))) => Heard::Nothing,
            // It may have told of more while it was waited for.
            _ => Heard::Silence { ahead: here.status().lacks_of(&region) },
        };
        verdict = inquiry.on_answer(&region, heard);
    }
    match verdict {
        Some(Verdict::Found(record)) => {
            here.note(Branch::FoundElsewhere);
            Ok(Headed::from(Some(*record)))
        }
        Some(Verdict::Unsure(region)) => {
            here.note(Branch::MissUnsure);
            Err(Failure::unavailable(format!("{region} may know the object")))
        }
        Some(Verdict::NotThere) | None => {
            let ahead = peers.into_iter().filter(|(_, ahead)| *ahead);
            Ok(Headed { record: None, ahead: ahead.map(|(region, _)| region).collect() })
        }
    }
}

async fn head_at_home(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
    which: Which,
) -> Result<Option<ObjectRecord>, Failure> {
    let acting = acting(here, bucket, key)?;
    if acting == *here.region() {
        return read_at_home(here, definition, (bucket, key), which).await;
    }
    let (bucket, key) = (bucket.clone(), key.clone());
    let call = Call::Find { bucket, key, which, seen: VersionVector::new() };
    match here.call(&acting, call, INDEX_CALL_WAIT).await {
        Some(Told::Found(record)) => {
            Ok(record.map(|it| *it).filter(|record| record.content.is_some()))
        }
        Some(Told::Refused(failure)) => Err(failure),
        _ => Err(Failure::unavailable(format!("{acting} does not answer"))),
    }
}

/// What the key's home says, once a majority has all that this rests on.
async fn read_at_home(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
    which: Which,
) -> Result<Option<ObjectRecord>, Failure> {
    still_acts(here, bucket, key)?;
    let target = Target { bucket, versioning: definition.versioning, key };
    let rows = found(here, &by_home(here, bucket, key).await?).await?;
    let found = index::find(&rows, target, which)?;
    let record = found.record().cloned().filter(|record| record.content.is_some());
    settled(here, bucket, key).await?;
    still_acts(here, bucket, key)?;
    Ok(record)
}

/// Waits until a majority has what an answer about a key rests on.
pub(super) async fn settled(here: &Here, bucket: &BucketName, key: &Bytes) -> Result<(), Failure> {
    let row = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
    let head = here.store().head(Space::OBJECTS, &row).ok().flatten();
    let written = ask::rests_on(head.as_ref().map(|head| &head.cell), super::applied(here.store()));
    if at_majority(here, written).await {
        return Ok(());
    }
    here.note(Branch::AnswerUnsettled);
    Err(Failure::unavailable("a majority does not have what is known here"))
}

/// Waits until a majority of the regions that hold data has something; this one is of them.
pub(super) async fn at_majority(here: &Here, written: VersionVector) -> bool {
    let others = here.status().others_of_majority();
    here.acks(Some(written), others).await >= others
}

/// The region that acts for a key's home.
pub(super) fn acting(here: &Here, bucket: &BucketName, key: &[u8]) -> Result<RegionId, Failure> {
    let view = here.view();
    let home = home(here, &view.homes, bucket, key)?;
    if may_decide(here, home, view.homes.version).is_some() {
        return Ok(here.region().clone());
    }
    match view.acting_for(home) {
        Some(region) if region != here.region() => Ok(region.clone()),
        _ => Err(Failure::unavailable(format!("nobody acts for {home} now"))),
    }
}

fn home<'h>(
    here: &Here,
    homes: &'h Homes,
    bucket: &BucketName,
    key: &[u8],
) -> Result<&'h RegionId, Failure> {
    place::home(homes, bucket, key).map_err(|error| {
        here.note(Branch::HomeMoves);
        Failure::unavailable(error.to_string())
    })
}

fn may_decide(here: &Here, home: &RegionId, version: u64) -> Option<Epoch> {
    let state = here.state();
    let decides = state.leases.get(home).and_then(|it| it.decides(state.now.mono, version));
    let own = planted::is(Planted::ActWithoutLease) && home == here.region();
    let agreed = || state.view.leases.get(home).filter(|_| own).map(|lease| lease.epoch);
    decides.or_else(agreed)
}

pub(super) fn still_acts(here: &Here, bucket: &BucketName, key: &[u8]) -> Result<(), Failure> {
    acts(here, bucket, key).map(|_| ())
}

/// What is agreed, the key's home, and the epoch in which this region acts for it.
pub(super) fn acts(
    here: &Here,
    bucket: &BucketName,
    key: &[u8],
) -> Result<(Arc<ControlView>, RegionId, Epoch), Failure> {
    let view = here.view();
    let home = home(here, &view.homes, bucket, key)?.clone();
    match may_decide(here, &home, view.homes.version) {
        Some(epoch) => Ok((view, home, epoch)),
        None => {
            here.note(Branch::HomeMoved);
            Err(Failure::unavailable(format!("this region no longer acts for {home}")))
        }
    }
}

/// The other regions that may hold a blob, the nearest first.
pub(super) fn sources(here: &Here, hash: &BlobHash, taken_in: &RegionId) -> Vec<RegionId> {
    let Some(snapshot) = here.routing() else { return Vec::new() };
    let Some(at) = snapshot.index(here.region()) else { return Vec::new() };
    rhumb_objects::refer::sources(&here.rows(), &snapshot, at, (hash, taken_in))
}

// --- Answering ---

/// Answers another region.
pub(super) async fn told(here: &Here, from: &RegionId, call: Call) -> Told {
    match call {
        Call::Read { hash, bytes } => {
            if here.blobs().read(&hash) == Read::Sound {
                return Told::Bytes(bytes);
            }
            Told::NoBlob
        }
        Call::Keep { blobs } => match super::fetch::keep_from(here, from, &blobs).await {
            Ok(()) => Told::Kept,
            Err(failure) => Told::Refused(failure),
        },
        Call::Find { bucket, key, which, seen } => {
            match find(here, (&bucket, &key), which, &seen).await {
                Ok(record) => Told::Found(record.map(Box::new)),
                Err(failure) => Told::Refused(failure),
            }
        }
        Call::Change(ask) => match super::change::change_here(here, &ask).await {
            Ok((answer, written)) => Told::Changed(Box::new(answer), written),
            Err(failure) => Told::Refused(failure),
        },
        Call::Pass(ask) => match super::put::asked_here(here, *ask).await {
            Ok(done) => Told::Passed(Box::new(done)),
            Err(failure) => Told::Refused(failure),
        },
        Call::Ask(ask) => asked(here, from, ask).map_or(Told::Nothing, Told::Holding),
        Call::Grant(grant) => Told::Outcome(granted(here, from, grant).await),
    }
}

async fn find(
    here: &Here,
    (bucket, key): (&BucketName, &Bytes),
    which: Which,
    seen: &VersionVector,
) -> Result<Option<ObjectRecord>, Failure> {
    let definition = here.definition(bucket)?;
    if definition.consistency == BucketConsistency::Linearizable {
        return read_at_home(here, &definition, (bucket, key), which).await;
    }
    let target = Target { bucket, versioning: definition.versioning, key };
    let found = index::find(&here.rows_unseen(seen), target, which)?;
    Ok(found.record().cloned())
}

/// Answers a home that asks whether a blob is held.
pub(super) fn asked(here: &Here, from: &RegionId, ask: grant::Ask) -> Option<grant::Told> {
    // The row of what nobody refers to goes by the same grant, where the bytes went before it.
    let said = !ask.surplus && says_held(here, &ask.hash);
    let held = said || here.blobs().get(&ask.hash).is_some();
    let mut state = here.state();
    let (now, mut effects) = (state.now.mono, Vec::new());
    state.holder.on_event(now, HolderEvent::Asked { from: from.clone(), ask }, &mut effects);
    if let Some(HolderEffect::Look { hash, look }) = effects.first().cloned() {
        effects.clear();
        let looked = HolderEvent::Looked { hash, look, held: Some(held) };
        state.holder.on_event(now, looked, &mut effects);
    }
    effects.into_iter().find_map(|effect| match effect {
        HolderEffect::Tell(_, told) => Some(told),
        _ => None,
    })
}

fn says_held(here: &Here, hash: &BlobHash) -> bool {
    let row = IndexKey::Holder { hash: *hash, region: here.region().clone() }.encode();
    here.store()
        .head(Space::OBJECTS, &row)
        .is_ok_and(|head| head.is_some_and(|head| !head.cell.entries.is_empty()))
}

/// Removes a blob that a home has granted, unless something speaks against it.
pub(super) async fn granted(here: &Here, from: &RegionId, grant: grant::Grant) -> grant::Outcome {
    let (round, hash, vector) = (grant.round, grant.hash, grant.vector.clone());
    let mut effects = Vec::new();
    {
        let mut state = here.state();
        let now = state.now.mono;
        let event = HolderEvent::Granted { from: from.clone(), grant };
        state.holder.on_event(now, event, &mut effects);
    }
    if let Some(HolderEffect::Remove(hash)) = effects.first().cloned() {
        super::granted::nothing_pins(here, &hash);
        super::granted::nothing_unseen_refers(here, &hash, &vector);
        let gone = remove(here, hash).await;
        effects.clear();
        let mut state = here.state();
        let now = state.now.mono;
        state.holder.on_event(now, HolderEvent::Removed { hash, gone }, &mut effects);
    }
    let ended = effects.into_iter().find_map(|effect| match effect {
        HolderEffect::End(_, outcome) => Some(outcome),
        _ => None,
    });
    if ended.as_ref().is_some_and(|outcome| outcome.result.is_err()) {
        here.note(Branch::GrantRefused);
    }
    ended.unwrap_or(grant::Outcome { round, hash, result: Err(grant::Refusal::Busy) })
}

/// The row that says that it is held goes first: who reads it finds the bytes.
async fn remove(here: &Here, hash: BlobHash) -> bool {
    let row = IndexKey::Holder { hash, region: here.region().clone() }.encode();
    let change = rhumb_objects::Change { expect: Vec::new(), write: vec![(row, None)] };
    let gone = super::change::compare_and_set(here, AckLevel::Local, change).await;
    if !matches!(gone, Ok(Some(_))) {
        return false;
    }
    here.blobs().remove(&hash);
    here.note(Branch::BlobRemoved);
    true
}
