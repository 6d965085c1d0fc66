//! Users of the RESP server, and access keys of the S3 server and the SQS server.

use std::collections::BTreeSet;

use rhumb_types::control::ApiRole;

use super::Review;
use crate::{
    path::Path,
    settings::{AccessKeySettings, UserSettings},
};

/// Length of a SHA-256 in hexadecimal digits.
const DIGEST_DIGITS: usize = 64;
/// Longest id of an access key; the bound of AWS.
const KEY_ID_MAX: usize = 128;
/// The access key that every cluster has.
const MACHINE: &str = "machine";

/// Checks the users.
pub(super) fn check(review: &mut Review<'_>) {
    let mut names = BTreeSet::new();
    for (at, user) in review.settings().acl.users.iter().enumerate() {
        let path = Path::to("acl").key("users").index(at);
        if user.name.is_empty() || user.name.contains(char::is_whitespace) {
            review.refuse(&path.key("name"), "a user's name is a word without spaces");
        } else if !names.insert(user.name.as_str()) {
            review.refuse(&path.key("name"), format!("there are two users `{}`", user.name));
        }
        check_user(review, &path, user);
    }
    let mut ids = BTreeSet::from([MACHINE]);
    for (at, key) in review.settings().acl.access_keys.iter().enumerate() {
        let path = Path::to("acl").key("access_keys").index(at);
        check_key(review, &path, key);
        if !ids.insert(key.id.as_str()) {
            let message = match key.id.as_str() {
                MACHINE => "the key `machine` is always there; choose another id".to_owned(),
                id => format!("there are two access keys `{id}`"),
            };
            review.refuse(&path.key("id"), message);
        }
    }
}

fn check_key(review: &mut Review<'_>, path: &Path, key: &AccessKeySettings) {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=KEY_ID_MAX).contains(&key.id.len()) || !key.id.bytes().all(known) {
        let message = "an access key's id is 1 to 128 of a-z, A-Z, 0-9, `-` and `_`";
        review.refuse(&path.key("id"), message);
    }
    if key.secret_file.as_os_str().is_empty() {
        review.refuse(&path.key("secret_file"), "name the file that holds the secret");
    }
    if key.role == ApiRole::Auditor {
        let message =
            "an auditor has nothing to do with queues and buckets; use reader, operator or admin";
        review.refuse(&path.key("role"), message);
    }
}

fn check_user(review: &mut Review<'_>, path: &Path, user: &UserSettings) {
    if user.password_sha256.is_empty() {
        let message = format!("`{}` has no password and could never log in; add one", user.name);
        review.refuse(&path.key("password_sha256"), message);
    }
    for (at, digest) in user.password_sha256.iter().enumerate() {
        let is_digest =
            digest.len() == DIGEST_DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_digest {
            // The text may be a password that was meant to be hashed, so it is not repeated.
            review.refuse(
                &path.key("password_sha256").index(at),
                "this is not a SHA-256; write the 64 digits that `printf %s PASSWORD | sha256sum` \
                 prints",
            );
        }
    }
    for (at, rule) in user.commands.iter().enumerate() {
        let name = rule.strip_prefix(['+', '-']).unwrap_or_default();
        let name = name.strip_prefix('@').unwrap_or(name);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"|-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            review.refuse(
                &path.key("commands").index(at),
                format!("`{rule}` is not a rule; use `+get`, `-flushdb`, `+@read` or `-@all`"),
            );
        }
    }
}
