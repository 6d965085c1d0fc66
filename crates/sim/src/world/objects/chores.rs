//! What is due in time: lifecycles, versions of regions that wrote at a time, parts that nobody wants,
//! and whether what is held is sound.

use std::time::Duration;

use bytes::Bytes;
use rhumb_objects::{
    index::{self, Target},
    lifecycle::{self, Due, Sweep},
    list::{self, Listing},
    multipart::Orphans,
    rows::Rows as _,
    scrub::{Found, Scrub},
};
use rhumb_types::{
    AckLevel,
    planted::{self, Planted},
    record::{
        BlobRef, BucketConsistency, BucketDefinition, BucketName, HolderRecord, IndexKey, Record,
        Versioning,
    },
};

use super::{
    blobs::Read,
    calls::{Failure, sources, still_acts},
    change::{compare_and_set, hold, writing},
    decide::{By, by_home, change_index, settle_all, sweep_fences},
    here::Here,
};
use crate::branch::Branch;

pub(super) async fn chores(here: Here) {
    loop {
        here.sleep(here.pace().chores).await;
        let buckets: Vec<_> =
            here.buckets().iter().map(|(name, it)| (name.clone(), it.clone())).collect();
        for (name, definition) in &buckets {
            let _later = age(&here, name, definition).await;
            let _later = match definition.consistency {
                BucketConsistency::Linearizable => settle_all(&here, name).await,
                BucketConsistency::Eventual if definition.versioning != Versioning::Off => {
                    mend(&here, name, definition).await
                }
                BucketConsistency::Eventual => Ok(()),
            };
        }
        let _later = sweep_fences(&here).await;
        let _later = sweep_parts(&here).await;
    }
}

async fn age(
    here: &Here,
    bucket: &BucketName,
    definition: &BucketDefinition,
) -> Result<(), Failure> {
    let mut sweep = Sweep::default();
    loop {
        let now = here.now().wall;
        let step = sweep.step(&here.rows(), bucket, &definition.lifecycle, now)?;
        for Due { key, what, .. } in step.due {
            if still_acts(here, bucket, &key).is_err() {
                continue;
            }
            let writing = writing(here);
            here.note(Branch::UploadAged);
            let by = match definition.consistency {
                BucketConsistency::Eventual => By::Anyone(AckLevel::Local),
                BucketConsistency::Linearizable => by_home(here, bucket, &key).await?,
            };
            let target = Target { bucket, versioning: definition.versioning, key: &key };
            change_index(here, &by, |rows| {
                Ok(((), lifecycle::carry_out(rows, target, what, writing.clone())?))
            })
            .await?;
        }
        if step.done {
            return Ok(());
        }
    }
}

async fn mend(
    here: &Here,
    bucket: &BucketName,
    definition: &BucketDefinition,
) -> Result<(), Failure> {
    let listing = Listing { max: list::LISTED_MAX, ..Listing::default() };
    let page = list::versions(&here.rows(), bucket, &listing)?;
    let mut keys: Vec<Bytes> = page.entries.into_iter().map(|it| it.key).collect();
    keys.dedup();
    for key in keys {
        if still_acts(here, bucket, &key).is_err() {
            continue;
        }
        let target = Target { bucket, versioning: definition.versioning, key: &key };
        let by = By::Anyone(AckLevel::Local);
        change_index(here, &by, |rows| Ok(((), index::mend(rows, target)?))).await?;
    }
    Ok(())
}

/// Takes the rows of parts away whose upload has ended.
async fn sweep_parts(here: &Here) -> Result<(), Failure> {
    let mut orphans = Orphans::default();
    loop {
        let step = orphans.step(&here.rows())?;
        if !step.change.is_empty() {
            here.note(Branch::PartsSwept);
            compare_and_set(here, AckLevel::Local, step.change).await?;
        }
        if step.done {
            return Ok(());
        }
    }
}

/// Reads what is held again; what is not sound is fetched from another region.
pub(super) async fn scrub(here: Here) {
    let mut scrub = Scrub::new(Duration::from_secs(1), here.now().wall, None);
    loop {
        here.sleep(here.pace().scrub).await;
        let said = here.rows().rows(b"h", None, usize::MAX).unwrap_or_default();
        for (key, row) in said {
            let Ok(IndexKey::Holder { hash, region }) = IndexKey::decode(&key) else { continue };
            let Ok(record) = HolderRecord::decode(&row) else { continue };
            if region != *here.region() {
                continue;
            }
            let blob = BlobRef { hash, bytes: record.bytes };
            let found = match here.blobs().read(&hash) {
                Read::Sound => Found::Sound,
                Read::Damaged | Read::Missing => Found::Damaged,
            };
            let holders = sources(&here, &hash, here.region());
            let wish = scrub.on_verified(blob, found, holders);
            if let Some(wish) = wish.filter(|_| !planted::is(Planted::NeverRepair)) {
                here.state().want.add(wish);
            }
        }
        give_rows(&here).await;
    }
}

/// Bytes that a crash left without a row are given one, so that their home finds them.
async fn give_rows(here: &Here) {
    let now = here.now().wall;
    for (hash, held) in here.blobs().all() {
        let key = IndexKey::Holder { hash, region: here.region().clone() }.encode();
        let said = here.rows().row(&key).ok().flatten().is_some();
        let old = now.saturating_since(held.since) >= here.pace().ages.grace;
        if !said && old && here.blobs().read(&hash) == Read::Sound {
            here.note(Branch::HeldUnsaid);
            let _later = hold(here, &[BlobRef { hash, bytes: held.bytes }]).await;
        }
    }
}
