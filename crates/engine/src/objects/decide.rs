//! Changing rows of the index, by anyone or by who decides about a key of a linearizable bucket in terms
//! (rule 10, ADR 0013); what counts there is said by `rhumb_objects::terms`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rhumb_objects::{
    rows::Change,
    terms::{self, Fences, Found, Look, TERMS_SINCE},
};
use rhumb_ports::store::Range;
use rhumb_state::{Op, visible};
use rhumb_types::{
    AckLevel, RegionId, UnixMillis,
    control::ControlView,
    record::{BucketName, Cell, FenceRecord, IndexKey, Space, Term, VersionVector},
};
use tokio::time::sleep;

use super::{ObjectClient, ObjectError, index::IndexRows};
use crate::limits::{
    ACK_WAIT, FENCES_KEPT, FORGET_LOOKS, FORGET_PAUSE, INDEX_CHANGES_MAX, INDEX_PAUSE,
    WALK_PAGE_ROWS,
};

/// The terms in which this region decides, by home.
#[derive(Default)]
pub(crate) struct Terms(Mutex<BTreeMap<RegionId, (Term, Arc<Fences>)>>);

impl Terms {
    fn known(&self, home: &RegionId, term: Term) -> Option<Arc<Fences>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(home).filter(|(of, _)| *of == term).map(|(_, fences)| fences.clone())
    }

    fn begun(&self, home: &RegionId, term: Term, fences: Arc<Fences>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(home.clone(), (term, fences));
    }
}

/// Under what this region decides about an object.
pub(super) struct Deciding {
    term: Term,
    fences: Arc<Fences>,
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

impl ObjectClient {
    /// How this region changes a key for whose home it acts.
    pub(super) async fn by_home(
        &self,
        bucket: &BucketName,
        key: &Bytes,
    ) -> Result<By, ObjectError> {
        let deciding = self.deciding(bucket, key).await?;
        Ok(deciding.map_or(By::Anyone(AckLevel::Quorum), By::Home))
    }

    /// Under what this region decides about a key; nothing before all members can read that. The first
    /// to ask in a term begins it, which takes a round trip to a majority.
    async fn deciding(
        &self,
        bucket: &BucketName,
        key: &Bytes,
    ) -> Result<Option<Deciding>, ObjectError> {
        let (view, home, epoch) = self.acts(bucket, key)?;
        if view.protocol < TERMS_SINCE {
            return Ok(None);
        }
        let term = Term { homes: view.homes.version, epoch };
        let fences = match self.running().terms.known(&home, term) {
            Some(fences) => fences,
            None => self.begin(&view, &home, term).await?,
        };
        let row = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
        let name = rhumb_objects::place::name(bucket, key);
        Ok(Some(Deciding { term, fences, name, row }))
    }

    /// Begins a term: what is applied here is with a majority before anything is decided.
    async fn begin(
        &self,
        view: &ControlView,
        home: &RegionId,
        term: Term,
    ) -> Result<Arc<Fences>, ObjectError> {
        let row = terms::fence_row(home, term);
        let unknown = || {
            let why = format!("a majority does not know yet that this region decides for {home}");
            ObjectError::Unavailable(why)
        };
        if self.cell(&row)?.entries.is_empty() {
            let record = FenceRecord {
                began: self.engine().clock().now().wall,
                homes: view.homes.regions.clone(),
                applied: self.engine().committed_vector(),
            };
            // Not as expected: somebody else was faster. Not confirmed: it is there, and waited for.
            let begun =
                self.engine().compare_and_set(AckLevel::Local, terms::begin(&row, &record)).await?;
            tracing::debug!(%home, ?term, here = begun.is_some(), "a term begins");
        }
        let written = self.cell(&row)?;
        let written = written.entries.iter().map(|entry| (entry.dot.origin, entry.dot.version));
        self.at_majority(written.collect()).await.then_some(()).ok_or_else(unknown)?;
        let fences = Arc::new(self.fences()?);
        self.running().terms.begun(home, term, fences.clone());
        Ok(fences)
    }

    fn cell(&self, row: &[u8]) -> Result<Cell, ObjectError> {
        let head = self.engine().shared().store.head(Space::OBJECTS, row)?;
        Ok(head.map(|head| head.cell).unwrap_or_default())
    }

    fn fences(&self) -> Result<Fences, ObjectError> {
        let store = &self.engine().shared().store;
        let range = Range { after: None, limit: usize::MAX };
        let rows = store.keys(Space::OBJECTS, IndexKey::ALL_FENCES, range)?;
        let fences = Fences::read(rows.iter().map(|(key, head)| (key, &head.cell)));
        fences.map_err(|error| ObjectError::Damaged(format!("a fence: {error}")))
    }

    /// Waits until a majority of the regions that hold data has something; this one is of them.
    pub(super) async fn at_majority(&self, written: VersionVector) -> bool {
        let others = self.engine().status().others_of_majority();
        self.engine().wait_acks(Some(written), others, ACK_WAIT).await >= others
    }

    /// The index, for who changes it. For who decides about an object, what is void of it is settled first.
    pub(super) async fn found(&self, by: &By) -> Result<Found<IndexRows<'_>>, ObjectError> {
        match by {
            By::Anyone(_) => Ok(Found::by_anyone(self.engine().index())),
            By::Home(deciding) => self.settle_row(deciding).await,
        }
    }

    async fn settle_row(&self, deciding: &Deciding) -> Result<Found<IndexRows<'_>>, ObjectError> {
        for _ in 0..INDEX_CHANGES_MAX {
            let cell = self.cell(&deciding.row)?;
            let seen = visible::whole(&cell).cloned();
            let chosen = match deciding.fences.look(deciding.term, &deciding.name, &cell) {
                Look::Clear => {
                    return Ok(Found::by_home(self.engine().index(), deciding.row.clone(), seen));
                }
                Look::Settle(chosen) => chosen,
                Look::Later => {
                    let why = "another region has decided about the key since".to_owned();
                    return Err(ObjectError::Unavailable(why));
                }
            };
            tracing::info!(key = %deciding.name.escape_ascii(), "a late change is settled");
            let expect = vec![(deciding.row.clone(), seen)];
            let change = Change { expect, write: vec![(deciding.row.clone(), chosen)] };
            // Not as expected: looked at again.
            self.decided(deciding, AckLevel::Local, change).await?;
        }
        Err(too_often())
    }

    /// What was written; `None` when a row was not as expected.
    async fn decided(
        &self,
        deciding: &Deciding,
        ack: AckLevel,
        change: Change,
    ) -> Result<Option<VersionVector>, ObjectError> {
        let (decided, pairs) = terms::split(change.write);
        let (space, term, expected) = (Space::OBJECTS, deciding.term, change.expect);
        self.engine().set_if(ack, Op::Decide { space, term, expected, decided, pairs }).await
    }

    /// Follows a rule: reads, carries its change out, and asks it anew when a row has changed
    /// meanwhile. Gives what the rule answered, and what was written.
    pub(super) async fn change_index<T>(
        &self,
        by: &By,
        mut rule: impl FnMut(&Found<IndexRows<'_>>) -> Result<(T, Change), ObjectError> + Send,
    ) -> Result<(T, VersionVector), ObjectError> {
        for attempt in 0..INDEX_CHANGES_MAX {
            let (answer, change) = rule(&self.found(by).await?)?;
            if change.is_empty() {
                return Ok((answer, VersionVector::new()));
            }
            let written = match by {
                By::Anyone(ack) => self.engine().compare_and_set(*ack, change).await?,
                By::Home(deciding) => self.decided(deciding, AckLevel::Quorum, change).await?,
            };
            if let Some(written) = written {
                return Ok((answer, written));
            }
            // The change that was in the way is committed by now; more of them take turns.
            if attempt > 0 {
                sleep(INDEX_PAUSE * attempt).await;
            }
        }
        Err(too_often())
    }

    /// Settles what is void of a bucket's objects that this region decides about, and forgets that others
    /// are not there once nothing can bring them back.
    pub(super) async fn settle_all(&self, bucket: &BucketName) -> Result<(), ObjectError> {
        let common = self.common().await;
        let prefix = IndexKey::currents(bucket, b"");
        let mut after: Option<Bytes> = None;
        loop {
            let range = Range { after: after.clone(), limit: WALK_PAGE_ROWS };
            let page = self.engine().shared().store.keys(Space::OBJECTS, &prefix, range)?;
            after = page.last().map(|(key, _)| key.clone());
            for (row, head) in &page {
                let Ok(IndexKey::Current { key, .. }) = IndexKey::decode(row) else { continue };
                let decided = visible::term(&head.cell).is_some();
                if !decided || self.still_acts(bucket, &key).is_err() {
                    continue;
                }
                let Some(deciding) = self.deciding(bucket, &key).await? else { return Ok(()) };
                self.settle_row(&deciding).await?;
                let gone = common.as_ref().and_then(|it| terms::forgettable(&head.cell, it));
                if let Some(decision) = gone {
                    let op = Op::Forget { space: Space::OBJECTS, key: row.clone(), decision };
                    self.engine().set_if(AckLevel::Local, op).await?;
                }
            }
            if page.len() < WALK_PAGE_ROWS {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// What all regions that hold data have, where this one has applied what each of them had; `None`
    /// when one has not told.
    async fn common(&self) -> Option<VersionVector> {
        let view = self.engine().agreed().map(|view| view.borrow().clone())?;
        let others = view.data_regions().filter(|region| *region != self.region());
        let said = self.engine().status().reported(others)?;
        for _ in 0..FORGET_LOOKS {
            let common = terms::common(&self.engine().committed_vector(), &said);
            if common.is_some() {
                return common;
            }
            sleep(FORGET_PAUSE).await;
        }
        None
    }

    /// Takes away the fences of this region's terms that are long over.
    pub(super) async fn sweep_fences(&self) -> Result<(), ObjectError> {
        let now = self.engine().clock().now().wall;
        let kept = u64::try_from(FENCES_KEPT.as_millis()).unwrap_or(u64::MAX);
        let old = self.fences()?.ended(self.region(), UnixMillis(now.0.saturating_sub(kept)));
        if old.is_empty() {
            return Ok(());
        }
        let write = old.into_iter().map(|row| (row, None)).collect();
        let change = Change { expect: Vec::new(), write };
        self.engine().compare_and_set(AckLevel::Local, change).await.map(|_| ())
    }
}

fn too_often() -> ObjectError {
    ObjectError::Unavailable("the object is being changed too often; try again".to_owned())
}
