//! Where the bytes of objects are kept.

use std::{ops::RangeInclusive, time::Duration};

use super::Review;
use crate::{path::Path, settings::ObjectsSettings};

/// Most blobs that are fetched at a time.
const FETCHES_MAX: usize = 32;
/// Shortest and longest time in which everything that is held is read again.
const SCRUB: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3_600);
/// The buckets that are known.
const SCHEMES: [&str; 3] = ["s3://", "gs://", "az://"];

/// Refuses settings that cannot be meant together.
pub(super) fn check(review: &mut Review<'_>) {
    let settings = review.settings();
    one(review, &Path::to("objects"), &settings.objects);
    for (name, region) in &settings.regions {
        let path = Path::to("regions").key(name.as_str()).key("objects");
        if let Some(objects) = &region.objects {
            if region.witness {
                review.refuse(&path, "a witness holds no objects; leave this out");
            }
            one(review, &path, objects);
        }
    }
}

fn one(review: &mut Review<'_>, path: &Path, objects: &ObjectsSettings) {
    if objects.path.is_empty() {
        review
            .refuse(&path.key("path"), "name a directory, or a bucket such as s3://bucket/prefix");
    }
    let known = SCHEMES.iter().any(|scheme| objects.path.starts_with(scheme));
    if objects.in_bucket() && !known {
        review.refuse(&path.key("path"), "a bucket is s3://, gs:// or az://");
    }
    if !objects.in_bucket() && !objects.options.is_empty() {
        review.refuse(&path.key("options"), "only a bucket has options; `path` is a directory");
    }
    if !(1..=FETCHES_MAX).contains(&objects.fetches) {
        review.refuse(&path.key("fetches"), "fetch 1 to 32 at a time");
    }
    if !SCRUB.contains(&objects.scrub.0) {
        review.refuse(&path.key("scrub"), "read everything again in 1s to 366d");
    }
    if objects.key_file.is_none() && !objects.old_key_files.is_empty() {
        let message = "earlier keys without a key to seal with: name `key_file` too";
        review.refuse(&path.key("old_key_files"), message);
    }
}
