//! Changing rows of the index, by anyone or by who decides about a key of a linearizable bucket in terms, in
//! the order of the engine's steps.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use rhumb_objects::{
    place,
    rows::Change,
    terms::{self, Fences, Found, Look, TERMS_SINCE},
};
use rhumb_ports::store::{Range, ReadStore as _};
use rhumb_state::{Op, visible};
use rhumb_types::{
    AckLevel, RegionId, UnixMillis,
    control::ControlView,
    planted::{self, Planted},
    record::{BucketName, Cell, FenceRecord, IndexKey, Space, Term, VersionVector},
};

use super::{
    calls::{Failure, acts, at_majority, still_acts},
    change::{compare_and_set, set_if},
    here::{Here, IndexRows},
};
use crate::{branch::Branch, time::SECOND};

/// How often a change is worked out anew when rows have changed meanwhile, as in the engine.
const CHANGES_MAX: u64 = 16;
/// Pause before the third of these attempts, in microseconds; it grows with each.
const PAUSE_MICROS: u64 = 2_000;
/// How often it is looked whether all is applied here that other regions had, and the pause after each look.
const FORGET_LOOKS: u32 = 20;
const FORGET_PAUSE: u64 = SECOND / 2;
/// How long the beginning of a term is kept after its end; in the engine a day.
const FENCES_KEPT: Duration = Duration::from_secs(20);

/// Under what a region decides about an object.
pub(super) struct Deciding {
    term: Term,
    fences: Rc<Fences>,
    name: Vec<u8>,
    /// The object's row.
    row: Bytes,
}

/// Who changes rows.
pub(super) enum By {
    /// Whoever has them. It is acknowledged so.
    Anyone(AckLevel),
    /// Who decides about an object. It is acknowledged by a majority.
    Home(Deciding),
}

/// How this region changes a key for whose home it acts.
pub(super) async fn by_home(here: &Here, bucket: &BucketName, key: &Bytes) -> Result<By, Failure> {
    let deciding = deciding(here, bucket, key).await?;
    Ok(deciding.map_or(By::Anyone(AckLevel::Quorum), By::Home))
}

/// Under what this region decides about a key; nothing before all members can read that.
async fn deciding(
    here: &Here,
    bucket: &BucketName,
    key: &Bytes,
) -> Result<Option<Deciding>, Failure> {
    let (view, home, epoch) = acts(here, bucket, key)?;
    if view.protocol < TERMS_SINCE || planted::is(Planted::DecideWithoutTerms) {
        return Ok(None);
    }
    let term = Term { homes: view.homes.version, epoch };
    let known = here.state().terms.get(&home).filter(|(of, _)| *of == term).cloned();
    let fences = match known {
        Some((_, fences)) => fences,
        None => begin(here, &view, &home, term).await?,
    };
    let row = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
    Ok(Some(Deciding { term, fences, name: place::name(bucket, key), row }))
}

/// Begins a term: what is applied here is with a majority before anything is decided.
async fn begin(
    here: &Here,
    view: &ControlView,
    home: &RegionId,
    term: Term,
) -> Result<Rc<Fences>, Failure> {
    let row = terms::fence_row(home, term);
    if cell(here, &row).entries.is_empty() {
        let record = FenceRecord {
            began: here.now().wall,
            homes: view.homes.regions.clone(),
            applied: super::applied(here.store()),
        };
        compare_and_set(here, AckLevel::Local, terms::begin(&row, &record)).await?;
    }
    let written = cell(here, &row);
    let written = written.entries.iter().map(|entry| (entry.dot.origin, entry.dot.version));
    if !at_majority(here, written.collect()).await {
        here.note(Branch::TermUnknown);
        return Err(Failure::unavailable("a majority does not know of the term yet"));
    }
    let fences = Rc::new(fences(here)?);
    here.state().terms.insert(home.clone(), (term, fences.clone()));
    Ok(fences)
}

fn cell(here: &Here, row: &[u8]) -> Cell {
    let head = here.store().head(Space::OBJECTS, row).ok().flatten();
    head.map(|head| head.cell).unwrap_or_default()
}

/// The fences of a store.
pub(crate) fn fences(here: &Here) -> Result<Fences, Failure> {
    let range = Range { after: None, limit: usize::MAX };
    let rows = here.store().keys(Space::OBJECTS, IndexKey::ALL_FENCES, range).unwrap_or_default();
    Fences::read(rows.iter().map(|(key, head)| (key, &head.cell)))
        .map_err(|error| Failure::unavailable(error.to_string()))
}

/// The index, for who changes it. For who decides about an object, what is void of it is settled first.
pub(super) async fn found<'h>(here: &'h Here, by: &By) -> Result<Found<IndexRows<'h>>, Failure> {
    match by {
        By::Anyone(_) => Ok(Found::by_anyone(here.rows())),
        By::Home(deciding) => settle_row(here, deciding).await,
    }
}

async fn settle_row<'h>(
    here: &'h Here,
    deciding: &Deciding,
) -> Result<Found<IndexRows<'h>>, Failure> {
    for _ in 0..CHANGES_MAX {
        let cell = cell(here, &deciding.row);
        let seen = visible::whole(&cell).cloned();
        let chosen = match deciding.fences.look(deciding.term, &deciding.name, &cell) {
            Look::Clear => return Ok(Found::by_home(here.rows(), deciding.row.clone(), seen)),
            Look::Settle(chosen) => chosen,
            Look::Later => return Err(Failure::unavailable("another region has decided since")),
        };
        here.note(if cell.entries.len() > 1 { Branch::LateDropped } else { Branch::LateSettled });
        let expect = vec![(deciding.row.clone(), seen)];
        let change = Change { expect, write: vec![(deciding.row.clone(), chosen)] };
        decided(here, deciding, AckLevel::Local, change).await?;
    }
    Err(Failure::unavailable("the object is being changed too often"))
}

async fn decided(
    here: &Here,
    deciding: &Deciding,
    ack: AckLevel,
    mut change: Change,
) -> Result<Option<VersionVector>, Failure> {
    if planted::is(Planted::CompareNothing) {
        change.expect.clear();
    }
    let (decided, pairs) = terms::split(change.write);
    let (space, term, expected) = (Space::OBJECTS, deciding.term, change.expect);
    set_if(here, ack, Op::Decide { space, term, expected, decided, pairs }).await
}

/// Follows a rule: reads, carries its change out, and asks it anew when a row has changed meanwhile.
pub(super) async fn change_index<T>(
    here: &Here,
    by: &By,
    mut rule: impl FnMut(&Found<IndexRows<'_>>) -> Result<(T, Change), Failure>,
) -> Result<(T, VersionVector), Failure> {
    for attempt in 0..CHANGES_MAX {
        let (answer, change) = rule(&found(here, by).await?)?;
        if change.is_empty() {
            return Ok((answer, VersionVector::new()));
        }
        let written = match by {
            By::Anyone(ack) => compare_and_set(here, *ack, change).await?,
            By::Home(deciding) => decided(here, deciding, AckLevel::Quorum, change).await?,
        };
        if let Some(written) = written {
            return Ok((answer, written));
        }
        here.note(Branch::ChangedMeanwhile);
        if attempt > 0 {
            here.sleep(PAUSE_MICROS * attempt).await;
        }
    }
    Err(Failure::unavailable("the object is being changed too often"))
}

/// Settles what is void of a bucket's objects that this region decides about, and forgets that others are
/// not there once nothing can bring them back.
pub(super) async fn settle_all(here: &Here, bucket: &BucketName) -> Result<(), Failure> {
    let common = common(here).await;
    let prefix = IndexKey::currents(bucket, b"");
    let range = Range { after: None, limit: usize::MAX };
    let rows = here.store().keys(Space::OBJECTS, &prefix, range).unwrap_or_default();
    for (row, head) in rows {
        let Ok(IndexKey::Current { key, .. }) = IndexKey::decode(&row) else { continue };
        if visible::term(&head.cell).is_none() || still_acts(here, bucket, &key).is_err() {
            continue;
        }
        let Some(deciding) = deciding(here, bucket, &key).await? else { return Ok(()) };
        settle_row(here, &deciding).await?;
        let gone = common.as_ref().and_then(|it| terms::forgettable(&head.cell, it));
        if let Some(decision) = gone {
            here.note(Branch::GoneForgotten);
            let op = Op::Forget { space: Space::OBJECTS, key: row, decision };
            set_if(here, AckLevel::Local, op).await?;
        }
    }
    Ok(())
}

/// What all regions that hold data have, where this one has applied what each of them had.
async fn common(here: &Here) -> Option<VersionVector> {
    let (view, status) = (here.view(), here.status());
    let others = view.data_regions().filter(|region| *region != here.region());
    let said = status.reported(others)?;
    for _ in 0..FORGET_LOOKS {
        let common = terms::common(&super::applied(here.store()), &said);
        if common.is_some() {
            return common;
        }
        here.sleep(FORGET_PAUSE).await;
    }
    None
}

/// Takes away the fences of this region's terms that are long over.
pub(super) async fn sweep_fences(here: &Here) -> Result<(), Failure> {
    let now = here.now().wall;
    let kept = u64::try_from(FENCES_KEPT.as_millis()).unwrap_or(u64::MAX);
    let old = fences(here)?.ended(here.region(), UnixMillis(now.0.saturating_sub(kept)));
    if old.is_empty() {
        return Ok(());
    }
    let write = old.into_iter().map(|row| (row, None)).collect();
    compare_and_set(here, AckLevel::Local, Change { expect: Vec::new(), write }).await.map(|_| ())
}
