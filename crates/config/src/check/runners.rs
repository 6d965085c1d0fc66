//! Runners: sets that can serve a job, one way to make each run, and names that GitHub knows.
//!
//! Files with secrets are read when the node starts, not here: the file is checked on other machines too.

use std::time::Duration;

use http::Uri;
use rhumb_regions::{ResidencyTag, affinity::GeoCode};

use super::Review;
use crate::{
    path::Path,
    settings::{HookOfGitHub, RunnersSettings, SetSettings},
    units::Period,
};

/// Most secrets at a time.
const SECRETS_MAX: usize = 2;
/// Most labels of a set.
const LABELS_MAX: usize = 32;
/// Shortest time between two looks, and for a start.
const PERIOD_MIN: Duration = Duration::from_secs(5);
/// Most runners of a set in a region.
const RUNNERS_MAX: u32 = 4_096;

/// Checks the runners, where there are any.
pub(super) fn check(review: &mut Review<'_>) {
    let Some(runners) = &review.settings().runners else { return };
    let path = Path::to("runners");
    let secrets = runners.webhook_secrets.len();
    if secrets == 0 || secrets > SECRETS_MAX {
        let message =
            "name one file with the webhook's secret, or two while one replaces the other";
        review.refuse(&path.key("webhook_secrets"), message);
    }
    if runners.token.is_some() == runners.app.is_some() {
        review.refuse(&path, "give exactly one of `token` and `app`");
    }
    address(review, &path.key("api"), &runners.api);
    for (key, period) in
        [("reconcile_every", runners.reconcile_every), ("start_timeout", runners.start_timeout)]
    {
        if period.0 < PERIOD_MIN {
            let message = format!("GitHub limits requests: use {} or more", Period(PERIOD_MIN));
            review.refuse(&path.key(key), message);
        }
    }
    sets(review, &path, runners);
    accounts(review, &path, runners);
    for (at, hook) in runners.hooks.iter().enumerate() {
        check_hook(review, &path.key("hooks").index(at), hook, runners.app.is_some());
    }
}

/// Secrets leave the machine only encrypted.
fn address(review: &mut Review<'_>, path: &Path, url: &str) {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let Some(uri) = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        let message =
            format!("`{url}` is no address: write https://HOST or https://HOST:PORT/PATH");
        return review.refuse(path, message);
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback());
    if uri.scheme_str() == Some("http") && !here {
        let message = "secrets would be readable on their way: use https://";
        review.refuse(path, message);
    }
}

fn sets(review: &mut Review<'_>, path: &Path, runners: &RunnersSettings) {
    let path = path.key("sets");
    if runners.sets.is_empty() {
        review
            .refuse(&path, "name at least one set: `linux: { labels: [self-hosted, linux], ... }`");
    }
    for (name, set) in &runners.sets {
        let path = path.key(name.as_str());
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(known) {
            let message = format!("`{name}` is no name of a set: use 1 to 32 of a-z, 0-9 and `-`");
            review.refuse(&path, message);
        }
        check_set(review, &path, set);
    }
}

fn check_set(review: &mut Review<'_>, path: &Path, set: &SetSettings) {
    let labels = path.key("labels");
    if set.labels.is_empty() || set.labels.len() > LABELS_MAX {
        review.refuse(&labels, "a set has 1 to 32 labels; jobs name them in `runs-on`");
    }
    for (at, label) in set.labels.iter().enumerate() {
        let path = labels.index(at);
        if label.is_empty() || label.len() > 128 || label.contains(char::is_control) {
            review.refuse(&path, "a label is a short text without control characters");
        } else if label.to_lowercase().starts_with("rhumb-region-") {
            review
                .refuse(&path, "labels of regions are added for the region a runner is started in");
        }
    }
    for (region, most) in &set.max_in {
        let path = path.key("max_in").key(region.as_str());
        review.require_region(&path, region);
        bound(review, &path, *most);
    }
    bound(review, &path.key("max"), set.max);
    if set.burst == 0 {
        review.refuse(&path.key("burst"), "with 0 no runner is ever started");
    }
    match (&set.command, &set.http) {
        (Some(words), None) => {
            if words.first().is_none_or(String::is_empty) {
                review.refuse(&path.key("command"), "name a program: [./run.sh, --jitconfig, ...]");
            } else if set.template.is_none() && words.first().is_some_and(|it| it.starts_with("./"))
            {
                let message = "a program that begins with `./` is one of the `template`: name it";
                review.refuse(&path.key("command"), message);
            }
        }
        (None, Some(launcher)) => {
            address(review, &path.key("http").key("url"), &launcher.url);
            if set.template.is_some() {
                review.refuse(&path.key("template"), "only a `command` has a template");
            }
        }
        _ => review.refuse(path, "give exactly one of `command` and `http`"),
    }
}

fn bound(review: &mut Review<'_>, path: &Path, most: u32) {
    if most > RUNNERS_MAX {
        review.refuse(path, format!("at most {RUNNERS_MAX} runners of a set run in a region"));
    }
}

fn accounts(review: &mut Review<'_>, path: &Path, runners: &RunnersSettings) {
    for (at, owner) in runners.owners.iter().enumerate() {
        if !is_name(owner) {
            review.refuse(&path.key("owners").index(at), format!("`{owner}` is no owner"));
        }
    }
    for (account, place) in &runners.geography {
        let path = path.key("geography").key(account.as_str());
        account_name(review, &path, account);
        if GeoCode::new(place.strip_prefix("continent:").unwrap_or(place)).is_err() {
            let message = format!(
                "`{place}` is not a place: write a country (DE) or a continent (continent:EU)"
            );
            review.refuse(&path, message);
        }
    }
    for (account, tags) in &runners.residency {
        let path = path.key("residency").key(account.as_str());
        account_name(review, &path, account);
        if tags.is_empty() {
            review.refuse(&path, "name at least one jurisdiction, or remove this");
        }
        for (at, tag) in tags.iter().enumerate() {
            let known = review.settings().regions.values();
            let carried = known.flat_map(|region| &region.residency).any(|it| it.as_str() == tag);
            let message = match ResidencyTag::new(tag) {
                Err(error) => error.to_string(),
                Ok(_) if carried => continue,
                Ok(_) => {
                    format!("no region has the jurisdiction `{tag}`: its jobs could run nowhere")
                }
            };
            review.refuse(&path.index(at), message);
        }
    }
}

fn account_name(review: &mut Review<'_>, path: &Path, account: &str) {
    let good = match account.split_once('/') {
        Some((owner, name)) => is_name(owner) && is_name(name),
        None => is_name(account),
    };
    if !good {
        review.refuse(path, format!("`{account}` is neither an owner nor `owner/name`"));
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
}

fn check_hook(review: &mut Review<'_>, path: &Path, hook: &HookOfGitHub, has_app: bool) {
    match (hook.app, &hook.organisation, &hook.repository, hook.id) {
        (true, None, None, None) if !has_app => {
            review.refuse(path, "only an `app` has a hook of its own");
        }
        (true, None, None, None) => {}
        (false, Some(name), None, Some(_)) if is_name(name) => {}
        (false, None, Some(name), Some(_)) => account_name(review, path, name),
        _ => review.refuse(
            path,
            "write `app: true`, or `organisation: acme, id: 7`, or `repository: acme/api, id: 7`",
        ),
    }
}
