//! The S3 endpoints that `rhumb ship` and its like work with.

use super::Review;
use crate::{
    path::Path,
    settings::{CredentialsSettings, EndpointSettings},
};

/// Refuses settings that cannot be meant together.
pub(super) fn check(review: &mut Review<'_>) {
    for (name, endpoint) in &review.settings().ship.endpoints {
        let path = Path::to("ship").key("endpoints").key(name.as_str());
        one(review, &path, endpoint);
        if let Some(credentials) = &endpoint.credentials {
            of(review, &path.key("credentials"), credentials);
        }
    }
}

fn one(review: &mut Review<'_>, path: &Path, endpoint: &EndpointSettings) {
    let host = ["https://", "http://"].iter().find_map(|scheme| endpoint.url.strip_prefix(scheme));
    if host.is_none_or(str::is_empty) {
        let message =
            "an endpoint is https://HOST or http://HOST, with a port where it is not 443 or 80";
        review.refuse(&path.key("url"), message);
    }
    if endpoint.url.contains('@') {
        // What stands there may be a secret, so it is not repeated.
        review.refuse(&path.key("url"), "no user and no secret here; they go under `credentials`");
    }
    for (bucket, there) in &endpoint.buckets {
        if bucket.is_empty() || there.is_empty() {
            review.refuse(&path.key("buckets").key(bucket), "a bucket has a name on both sides");
        }
    }
}

fn of(review: &mut Review<'_>, path: &Path, credentials: &CredentialsSettings) {
    let CredentialsSettings { profile, file, key_id, secret_file, secret_variable } = credentials;
    match (profile, key_id) {
        (None, None) => review.refuse(path, "name a `profile`, or a `key_id`"),
        (Some(_), Some(_)) => review.refuse(path, "name a `profile` or a `key_id`, not both"),
        (Some(_), None) if secret_file.is_some() || secret_variable.is_some() => {
            review.refuse(path, "a profile has its secret in the credentials file");
        }
        (None, Some(_)) if secret_file.is_some() == secret_variable.is_some() => {
            review.refuse(path, "a key has a `secret_file` or a `secret_variable`");
        }
        (None, Some(_)) if file.is_some() => {
            review.refuse(&path.key("file"), "this is for profiles; a key has a `secret_file`");
        }
        _ => {}
    }
}
